"""Roles for many accounts: policies, trust policies, CloudFormation and Terraform, evaluated by iam-simulate and enforced by ministack.

And the first half of docs/organizations.md, which creates them.
"""

import itertools
import json
import re
import subprocess
import sys

import botocore.exceptions
import pytest
import yaml

from harness import ACCOUNT, ROOT, TOOLS, exporter_binary
from infrastructure import AWS, broken_rules, deploy, documents, initialised, lint, plan, refuses, resources, role_of, stubbed, template, tofu
from ministack import Ministack
from simulator import ALLOW_ALL, all_actions, document, simulate, verdicts
from snippets import FakeService, aws_environment, bad_shell, blocks, executed, executes, named, runner

# The accounts of the examples: the files of deploy/aws name the first one.
HUB, MEMBER, STRANGER = ACCOUNT, "210987654321", "999988887777"
HUB_ROLE = f"arn:aws:iam::{HUB}:role/iam-key-exporter-hub"
MEMBER_ROLE = f"arn:aws:iam::{MEMBER}:role/iam-key-exporter"
ORGANIZATION, EXTERNAL_ID = "o-exampleorgid", "a-value-of-your-own"

MEMBER_TEMPLATE = AWS / "organization" / "member-role.yaml"
DELEGATION_TEMPLATE = AWS / "organization" / "delegation.yaml"
HUB_TEMPLATE = AWS / "cloudformation.yaml"

# How a member role is trusted: parameters of the template, variables of the module, file.
TRUSTS = {
    "external-id": ({"ExternalId": EXTERNAL_ID}, {"external_id": EXTERNAL_ID}),
    "organization": ({"OrganizationId": ORGANIZATION}, {"organization_id": ORGANIZATION}),
}
trusted = pytest.mark.parametrize("trust", TRUSTS)

COLLECTORS = ("live", "report", "auto")
# Each combination of the settings that affect permissions, half of them with discovery.
WAYS = [(*each, each[1] != each[2]) for each in itertools.product(COLLECTORS, (False, True), (False, True))]
way = pytest.mark.parametrize("collector, last_used, tags, discovery", WAYS)


def policies(collector, last_used=False, tags=False, discovery=False):
    """The policy documents of a role, by name."""
    names = [*([collector] if collector != "none" else []), *(["last-used"] if last_used else []), *(["tags"] if tags else [])]
    names += ["discovery"] if discovery else []
    return {name: document(f"deploy/aws/policies/{name}.json") for name in names}


def both_conditions():
    """The trust policy for a member role with an external ID in an organisation."""
    trust, other = (document(f"deploy/aws/trust/{name}.json") for name in TRUSTS)
    trust["Statement"][0]["Condition"]["StringEquals"] |= other["Statement"][0]["Condition"]["StringEquals"]
    return trust


def one_organization():
    """The hub role's policy if the organisation is known."""
    policy = document("deploy/aws/policies/assume.json")
    policy["Statement"][0]["Condition"] = {"StringEquals": {"aws:ResourceOrgID": ORGANIZATION}}
    return policy


# --- policies and trust policies --------------------------------------------------------------------------------------


def session(account=HUB, role="iam-key-exporter-hub"):
    """A session of a role, with the condition key that AWS fills with the role's ARN."""
    return {
        "principal": f"arn:aws:sts::{account}:assumed-role/{role}/iam-key-exporter",
        "context": {"aws:PrincipalArn": f"arn:aws:iam::{account}:role/{role}"},
    }


def assumes(trust, caller=None, identity=None, resource=MEMBER_ROLE, **context):
    """The verdict on an AssumeRole of the member role."""
    caller = caller or session()
    return {
        "action": "sts:AssumeRole",
        "resource": resource,
        "account": resource.split(":")[4],
        "identity": [identity or document("deploy/aws/policies/assume.json")],
        "trust": document(f"deploy/aws/trust/{trust}.json") if isinstance(trust, str) else trust,
    } | caller | {"context": caller["context"] | {name.replace("_", ":"): value for name, value in context.items()}}  # fmt: skip


IN_ORGANIZATION = {"aws_PrincipalOrgID": ORGANIZATION}
RIGHT = {"external-id": {"sts_ExternalId": EXTERNAL_ID}, "organization": IN_ORGANIZATION}


def test_the_hub_role_assumes_a_member_role():
    assert verdicts([assumes(trust, **RIGHT[trust]) for trust in TRUSTS]) == ["Allowed"] * 2
    assert verdicts([assumes(both_conditions(), **RIGHT["external-id"], **IN_ORGANIZATION)]) == ["Allowed"]
    # Under all conditions that AWS has, none of ours is unknown to it.
    assert [answer["ignored"] for answer in simulate([assumes(trust, **RIGHT[trust]) for trust in TRUSTS])] == [[], []]


def test_a_wrong_external_id_is_denied():
    others = [{}, {"sts_ExternalId": "another"}, {"sts_ExternalId": EXTERNAL_ID.upper()}, {"sts_ExternalId": "*"}]
    assert verdicts([assumes("external-id", **other) for other in others]) == ["ImplicitlyDenied"] * 4
    # With both conditions, each alone is not enough.
    assert verdicts([assumes(both_conditions(), **RIGHT[trust]) for trust in TRUSTS]) == ["ImplicitlyDenied"] * 2


def test_a_principal_outside_the_organisation_is_denied():
    others = [{}, {"aws_PrincipalOrgID": "o-otherorgid1"}]
    assert verdicts([assumes("organization", **other) for other in others]) == ["ImplicitlyDenied"] * 2


@trusted
def test_another_principal_is_denied_even_if_it_may_do_everything(trust):
    """Another role of the hub account, the hub role's name in another account of the organisation, a user and root."""
    user = {"principal": f"arn:aws:iam::{HUB}:user/eve", "context": {"aws:PrincipalArn": f"arn:aws:iam::{HUB}:user/eve"}}
    root = {"principal": f"arn:aws:iam::{HUB}:root", "context": {"aws:PrincipalArn": f"arn:aws:iam::{HUB}:root"}}
    others = [session(role="admin"), session(role="iam-key-exporter-hub2"), session(account=STRANGER), session(account=MEMBER), user, root]
    requests = [assumes(trust, other, ALLOW_ALL, **RIGHT["external-id"], **IN_ORGANIZATION) for other in others]
    assert verdicts(requests) == ["ImplicitlyDenied"] * 6


def test_the_hub_role_assumes_nothing_else():
    """Even roles that trust it."""
    names = ["admin", "iam-key-exporter2", "iam-key-exporter/admin", "security/iam-key-exporter"]
    requests = [assumes("organization", resource=f"arn:aws:iam::{MEMBER}:role/{name}", **IN_ORGANIZATION) for name in names]
    assert verdicts(requests) == ["ImplicitlyDenied"] * 4
    for partition in ("aws-cn", "aws-us-gov", "aws-iso-b"):
        trust = json.loads(json.dumps(document("deploy/aws/trust/organization.json")).replace("arn:aws:", f"arn:{partition}:"))
        caller = json.loads(json.dumps(session()).replace("arn:aws:", f"arn:{partition}:"))
        request = assumes(trust, caller, resource=MEMBER_ROLE.replace("arn:aws:", f"arn:{partition}:"), **IN_ORGANIZATION)
        assert verdicts([request]) == ["Allowed"], partition


def test_the_hub_role_stays_in_its_organisation():
    def request(**context):
        return assumes("external-id", identity=one_organization(), **RIGHT["external-id"], **context)

    answers = verdicts([request(aws_ResourceOrgID=ORGANIZATION), request(aws_ResourceOrgID="o-otherorgid1"), request()])
    assert answers == ["Allowed", "ImplicitlyDenied", "ImplicitlyDenied"]


DISCOVERY = document("deploy/aws/policies/discovery.json")["Statement"][0]["Action"]


def test_discovery_only_reads():
    every = all_actions("organizations") + all_actions("iam") + all_actions("account")
    requests = [{"action": action, **session(), "identity": [document("deploy/aws/policies/discovery.json")]} for action in every]
    assert [action for action, verdict in zip(every, verdicts(requests)) if verdict == "Allowed"] == sorted(DISCOVERY)
    assert all(action.partition(":")[2].startswith(("List", "Describe")) for action in DISCOVERY)


def test_the_delegation_is_to_one_account_and_of_the_same_operations():
    (statement,) = document("deploy/aws/organization/delegation.json")["Statement"]
    assert statement["Action"] == DISCOVERY
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{HUB}:root"}


def test_an_instance_profile_trusts_ec2_only():
    def request(principal):
        return {"action": "sts:AssumeRole", "principal": principal, "resource": HUB_ROLE, "identity": [], "trust": document("deploy/aws/trust/ec2.json")}

    assert verdicts([request("ec2.amazonaws.com"), request("lambda.amazonaws.com")]) == ["Allowed", "ImplicitlyDenied"]


# --- CloudFormation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [MEMBER_TEMPLATE, DELEGATION_TEMPLATE], ids=lambda path: path.stem)
def test_cfn_lint_finds_no_errors(path):
    assert lint(path) == ""


def deployed(moto, path, **parameters):
    """Creates the stack; returns the role, with its inline policies."""
    moto.reset()
    outputs = deploy(moto.client("cloudformation", region="eu-central-1"), path, **parameters)
    return role_of(moto.iam, outputs["RoleArn"])


@way
def test_cloudformation_makes_the_member_role(moto, collector, last_used, tags, discovery):
    switches = {"CollectLastUsed": last_used, "CollectTags": tags, "Discovery": discovery}
    parameters = {"HubRoleArn": HUB_ROLE, "Collector": collector} | {name: str(value).lower() for name, value in switches.items()}
    trust = "external-id" if last_used else "organization"
    role = deployed(moto, MEMBER_TEMPLATE, **parameters, **TRUSTS[trust][0])
    assert role["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/iam-key-exporter"
    assert role["Inline"] == policies(collector, last_used, tags, discovery)
    assert role["AssumeRolePolicyDocument"] == document(f"deploy/aws/trust/{trust}.json")
    assert "PermissionsBoundary" not in role


def test_cloudformation_takes_names_of_the_member_role(moto):
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
    conditions = TRUSTS["external-id"][0] | TRUSTS["organization"][0]
    parameters = {"RoleName": "keys", "RolePath": "/security/", "PermissionsBoundary": boundary}
    role = deployed(moto, MEMBER_TEMPLATE, HubRoleArn=HUB_ROLE, **conditions, **parameters)
    assert role["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/security/keys"
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary
    assert role["AssumeRolePolicyDocument"] == both_conditions()


def test_the_templates_work_in_every_partition():
    """No ARN names a partition, except in patterns of parameters."""
    for path in (HUB_TEMPLATE, MEMBER_TEMPLATE, DELEGATION_TEMPLATE):
        text = path.read_text(encoding="utf-8")
        assert "arn:aws" not in text, path
        assert "arn:${AWS::Partition}:" in text or "arn:*:iam::*:role/" in text


def test_cloudformation_makes_the_hub_role(moto):
    parameters = {"Collector": "none", "Trust": "ec2", "RoleName": "iam-key-exporter-hub", "MemberRoleName": "iam-key-exporter"}
    role = deployed(moto, HUB_TEMPLATE, **parameters)
    assert role["Arn"] == HUB_ROLE
    assert role["AssumeRolePolicyDocument"] == document("deploy/aws/trust/ec2.json")
    assert role["Inline"] == {"assume": document("deploy/aws/policies/assume.json")}
    (profile,) = moto.iam.list_instance_profiles()["InstanceProfiles"]
    assert (profile["InstanceProfileName"], [each["Arn"] for each in profile["Roles"]]) == ("iam-key-exporter-hub", [HUB_ROLE])
    cluster = f"arn:aws:eks:eu-central-1:{ACCOUNT}:cluster/production"
    parameters |= {"Trust": "pod-identity", "ClusterArn": cluster, "Discovery": "true", "OrganizationId": ORGANIZATION}
    role = deployed(moto, HUB_TEMPLATE, **parameters)
    assert role["AssumeRolePolicyDocument"] == document("deploy/aws/trust/pod-identity.json")
    assert role["Inline"] == {"assume": one_organization()} | policies("none", discovery=True)
    assert moto.iam.list_instance_profiles()["InstanceProfiles"] == []
    role = deployed(moto, HUB_TEMPLATE, **parameters | {"MemberRoleName": "security/keys", "Discovery": "false", "OrganizationId": ""})
    assert role["Inline"]["assume"]["Statement"][0]["Resource"] == "arn:*:iam::*:role/security/keys"


BAD_PARAMETERS = {
    "HubRoleArn": ["", "iam-key-exporter-hub", "*", f"arn:aws:iam::{HUB}:role/*", f"arn:aws:iam::{HUB}:root", f"arn:aws:iam::{HUB}:user/a"],
    "OrganizationId": ["*", "o-", "r-abcd", "o-EXAMPLEORGID"],
    "ExternalId": ["*", "a", "a b", "x" * 1225],
    "Collector": ["file", "", "none"],
    "CollectLastUsed": ["yes"],
    "CollectTags": ["owner"],
    "Discovery": ["yes"],
    "RoleName": ["", "a b", "a/b", "x" * 65],
    "RolePath": ["", "security", "/security", "//", "/*/"],
    "PermissionsBoundary": ["boundary", f"arn:aws:iam::{ACCOUNT}:role/x"],
}


def test_cloudformation_rejects_invalid_parameters():
    """Including wildcards, which would widen the trust policy."""
    parameters = template(MEMBER_TEMPLATE)["Parameters"]
    assert set(BAD_PARAMETERS) == set(parameters)
    for name, values in BAD_PARAMETERS.items():
        assert [value for value in values if not refuses(parameters[name], value)] == [], name
        assert "Default" not in parameters[name] or not refuses(parameters[name], parameters[name]["Default"])
    good = {"HubRoleArn": "arn:aws-cn:iam::123456789012:role/security/hub", "RolePath": "/security/keys/", "ExternalId": "x" * 1224}
    for name, value in good.items():
        assert not refuses(parameters[name], value)
    (account,) = template(DELEGATION_TEMPLATE)["Parameters"].values()
    assert not refuses(account, HUB) and refuses(account, "*") and refuses(account, "")


def test_cloudformation_rejects_a_member_role_without_a_condition():
    assert broken_rules(MEMBER_TEMPLATE, HubRoleArn=HUB_ROLE) == ["OrganizationId or ExternalId must be given."]
    for parameters, _ in TRUSTS.values():
        assert broken_rules(MEMBER_TEMPLATE, HubRoleArn=HUB_ROLE, **parameters) == []


def test_the_delegation_of_the_template_is_the_document():
    (resource,) = template(DELEGATION_TEMPLATE)["Resources"].values()
    assert resource["Type"] == "AWS::Organizations::ResourcePolicy"
    text = json.dumps(resource["Properties"]["Content"])
    text = text.replace('{"Fn::Sub": "arn:${AWS::Partition}:iam::${HubAccountId}:root"}', f'"arn:aws:iam::{HUB}:root"')
    assert json.loads(text) == document("deploy/aws/organization/delegation.json")


# --- Terraform --------------------------------------------------------------------------------------------------------

MODULE = AWS / "terraform" / "member"


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return initialised(MODULE, tmp_path_factory.mktemp("member"))


@pytest.fixture(scope="module")
def hub_module(tmp_path_factory):
    return initialised(AWS / "terraform", tmp_path_factory.mktemp("hub"))


@way
def test_terraform_makes_the_member_role(module, collector, last_used, tags, discovery):
    trust = "external-id" if last_used else "organization"
    switches = {"collector": collector, "collect_last_used": last_used, "collect_tags": tags, "discovery": discovery}
    outputs = plan(module, {"hub_role_arn": HUB_ROLE} | switches | TRUSTS[trust][1])
    expected = policies(collector, last_used, tags, discovery)
    assert json.loads(outputs["assume_role_policy"]) == document(f"deploy/aws/trust/{trust}.json")
    assert documents(outputs["policies"]) == expected
    assert outputs["role_arn"] == f"arn:aws:iam::{ACCOUNT}:role/iam-key-exporter"
    # As passed to the resources.
    role, attached = outputs["seen"]["aws_iam_role"]["all"], outputs["seen"]["aws_iam_role_policy"]
    assert json.loads(role["trust"]) == json.loads(outputs["assume_role_policy"])
    assert documents({name: policy["all"]["policy"] for name, policy in attached.items()}) == expected


def test_terraform_takes_names_of_the_member_role(module):
    hub = "arn:aws-cn:iam::123456789012:role/security/hub"
    conditions = TRUSTS["external-id"][1] | TRUSTS["organization"][1]
    outputs = plan(module, {"hub_role_arn": hub, "name": "keys", "path": "/security/", "tags": {"owner": "security"}} | conditions)
    assert outputs["role_arn"] == f"arn:aws:iam::{ACCOUNT}:role/security/keys"
    text = json.dumps(both_conditions()).replace(HUB_ROLE, hub).replace("arn:aws:", "arn:aws-cn:")
    assert json.loads(outputs["assume_role_policy"]) == json.loads(text)
    assert outputs["seen"]["aws_iam_role"]["all"]["tags"] == {"owner": "security"}


@pytest.mark.parametrize(
    "variables, complaint",
    [
        ({"hub_role_arn": HUB_ROLE}, "Give organization_id or external_id."),
        ({"hub_role_arn": "*"}, "hub_role_arn must be the ARN of an IAM role"),
        ({"hub_role_arn": f"arn:aws:iam::{HUB}:role/*"}, "hub_role_arn must be the ARN of an IAM role"),
        ({"hub_role_arn": HUB_ROLE, "external_id": "*"}, "external_id must have 2 to 1224 of the characters"),
        ({"hub_role_arn": HUB_ROLE, "external_id": "a"}, "external_id must have 2 to 1224 of the characters"),
        ({"hub_role_arn": HUB_ROLE, "external_id": ""}, "external_id must have 2 to 1224 of the characters"),
        ({"hub_role_arn": HUB_ROLE, "organization_id": "*"}, "organization_id must be the ID of an organization"),
        ({"hub_role_arn": HUB_ROLE, "path": "security"}, "path must begin and end with a slash"),
        ({"hub_role_arn": HUB_ROLE, "collector": "none"}, "collector must be auto, live or report."),
    ],
)
def test_terraform_refuses(module, variables, complaint):
    answer = plan(module, variables)
    assert isinstance(answer, str), answer
    assert complaint in " ".join(answer.split())


def test_terraform_makes_the_hub_role(hub_module):
    variables = {"name": "iam-key-exporter-hub", "collector": "none", "ec2": True, "member_role_name": "iam-key-exporter"}
    outputs = plan(hub_module, variables)
    assert json.loads(outputs["assume_role_policy"]) == document("deploy/aws/trust/ec2.json")
    assert documents(outputs["policies"]) == {"assume": document("deploy/aws/policies/assume.json")}
    profile = {"name": "iam-key-exporter-hub", "role": "iam-key-exporter-hub"}
    assert [each["all"] for each in outputs["seen"]["aws_iam_instance_profile"]] == [profile]
    cluster = {"cluster_arn": f"arn:aws:eks:eu-central-1:{ACCOUNT}:cluster/production"}
    outputs = plan(hub_module, variables | {"ec2": False, "pod_identity": cluster, "discovery": True, "organization_id": ORGANIZATION})
    assert documents(outputs["policies"]) == {"assume": one_organization()} | policies("none", discovery=True)
    assert outputs["seen"]["aws_iam_instance_profile"] == []


def test_terraform_has_its_own_provider_only():
    """There is a stub for every resource."""
    assert resources(MODULE) == ["aws_iam_role", "aws_iam_role_policy"]


def test_the_modules_work_in_every_partition():
    for source in (AWS / "terraform").rglob("*.tf"):
        assert "arn:aws" not in source.read_text(encoding="utf-8"), source


# --- roles of the templates, in an AWS that enforces them ---------------------------------------------------------------


@pytest.fixture(scope="module")
def aws():
    with Ministack() as aws:
        yield aws


@pytest.fixture
def organization(aws):
    """The ID of an organisation of the hub account with one member, and the member's account ID."""
    aws.reset()
    organizations = aws.client("organizations", HUB)
    identifier = organizations.describe_organization()["Organization"]["Id"]
    created = organizations.create_account(Email="payments@example.com", AccountName="payments")
    return identifier, created["CreateAccountStatus"]["AccountId"]


def hub_role(aws, **parameters):
    """The hub role's ARN and credentials."""
    parameters = {"Collector": "none", "Trust": "ec2", "RoleName": "iam-key-exporter-hub", "MemberRoleName": "iam-key-exporter"} | parameters
    arn = deploy(aws.client("cloudformation", HUB), HUB_TEMPLATE, **parameters)["RoleArn"]
    return arn, aws.assume(HUB, arn)


def member_role(aws, account, **parameters):
    return deploy(aws.client("cloudformation", account), MEMBER_TEMPLATE, **parameters)["RoleArn"]


def denied(function, *arguments, **options):
    with pytest.raises(botocore.exceptions.ClientError) as error:
        function(*arguments, **options)
    return error.value.response["Error"]["Code"] == "AccessDenied"


def other_role(aws, account, name="admin"):
    """Credentials of a role of an account that may do everything."""
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}]}
    iam = aws.client("iam", account)
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(ALLOW_ALL))
    return aws.assume(account, arn)


@trusted
def test_only_the_hub_role_assumes_a_member_role(aws, organization, trust):
    identifier, account = organization
    hub, credentials = hub_role(aws, OrganizationId=identifier)
    condition, external = ({"OrganizationId": identifier}, {}) if trust == "organization" else ({"ExternalId": EXTERNAL_ID}, {"ExternalId": EXTERNAL_ID})
    member = member_role(aws, account, HubRoleArn=hub, **condition)
    session = aws.assume(credentials, member, **external)
    assert aws.client("iam", session).list_users()["Users"] == []
    assert denied(aws.client("iam", session).list_roles)
    assert denied(aws.client("iam", session).create_user, UserName="eve")
    # Another role of the hub account; another account of the organisation; the hub role's name in an account outside.
    assert denied(aws.assume, other_role(aws, HUB), member, **external)
    assert denied(aws.assume, other_role(aws, account), member, **external)
    assert denied(aws.assume, other_role(aws, STRANGER, "iam-key-exporter-hub"), member, **external)


def test_the_external_id_is_required(aws, organization):
    _, account = organization
    hub, credentials = hub_role(aws)
    member = member_role(aws, account, HubRoleArn=hub, ExternalId=EXTERNAL_ID)
    assert denied(aws.assume, credentials, member, ExternalId="another")
    assert denied(aws.assume, credentials, member)
    assert aws.assume(credentials, member, ExternalId=EXTERNAL_ID)


def test_the_hub_role_of_another_organisation_is_denied(aws, organization):
    _, account = organization
    hub, credentials = hub_role(aws)
    member = member_role(aws, account, HubRoleArn=hub, OrganizationId="o-otherorgid1")
    assert denied(aws.assume, credentials, member)


def test_the_hub_role_does_not_leave_its_organisation(aws, organization):
    identifier, _ = organization
    hub, credentials = hub_role(aws, OrganizationId=identifier)
    # An account outside, whose role trusts the hub role.
    assert denied(aws.assume, credentials, member_role(aws, STRANGER, HubRoleArn=hub, ExternalId=EXTERNAL_ID), ExternalId=EXTERNAL_ID)


def test_a_recreated_hub_role_is_trusted_again(aws, organization):
    identifier, account = organization
    hub, _ = hub_role(aws)
    member = member_role(aws, account, HubRoleArn=hub, OrganizationId=identifier)
    aws.client("cloudformation", HUB).delete_stack(StackName="exporter")
    again, credentials = hub_role(aws)
    assert again == hub and aws.assume(credentials, member)


def test_discovery_is_allowed_where_it_is_asked_for(aws, organization):
    _, account = organization
    _, credentials = hub_role(aws, Discovery="true")
    organizations = aws.client("organizations", credentials)
    assert {each["Id"] for each in organizations.list_accounts()["Accounts"]} == {HUB, account}
    root = organizations.list_roots()["Roots"][0]["Id"]
    assert organizations.list_accounts_for_parent(ParentId=root)["Accounts"]
    assert organizations.list_organizational_units_for_parent(ParentId=root)["OrganizationalUnits"] == []
    assert organizations.list_parents(ChildId=account)["Parents"]
    assert organizations.list_tags_for_resource(ResourceId=account)["Tags"] == []
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        organizations.close_account(AccountId=account)
    aws.client("cloudformation", HUB).delete_stack(StackName="exporter")
    _, credentials = hub_role(aws)
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        aws.client("organizations", credentials).list_accounts()


# --- the page ---------------------------------------------------------------------------------------------------------

PAGE = ROOT / "docs" / "organizations.md"


@pytest.fixture
def run(tmp_path, request, moto):
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    yield from runner([PAGE], tmp_path, aws_environment(moto.url), request.function)


def table(first):
    """Rows of the page's table with this first column heading: names to defaults."""
    (body,) = re.findall(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE.read_text(encoding="utf-8"), flags=re.M)
    listed = {}
    for line in body.splitlines():
        names, defaults, _ = (cell.strip() for cell in line.strip("|").split("|"))
        names, defaults = re.findall(r"`(\w+)`", names), re.findall(r"`([^`]+)`", defaults) or [None]
        listed |= dict(zip(names, defaults * len(names) if len(defaults) == 1 else defaults, strict=True))
    return listed


def test_the_tables_name_every_parameter_and_variable():
    parameters = template(MEMBER_TEMPLATE)["Parameters"]
    assert table("parameter") == {name: parameter.get("Default") or None for name, parameter in parameters.items()}
    text = (MODULE / "variables.tf").read_text(encoding="utf-8")
    variables = re.findall(r'^variable "(\w+)" {\n((?:  .*\n|\n)*)}', text, flags=re.M)
    defaults = {name: re.search(r"^  default +?= (.+)$", body, flags=re.M) for name, body in variables}
    assert table("variable") == {name: default and default[1].strip() for name, default in defaults.items()}


@executes("hub-role")
def test_the_hub_role_of_the_page(run, moto):
    run("hub-role")
    role = role_of(moto.iam, HUB_ROLE)
    assert role["Inline"] == {"assume": one_organization()} | policies("none", discovery=True)
    assert role["AssumeRolePolicyDocument"] == document("deploy/aws/trust/pod-identity.json")


@executes("ids", "stack-set", "stack-set-failures")
def test_the_stack_set_of_the_page(run, moto):
    organizations = moto.client("organizations")
    organizations.create_organization(FeatureSet="ALL")
    root = organizations.list_roots()["Roots"][0]["Id"]
    unit = organizations.create_organizational_unit(ParentId=root, Name="workloads")["OrganizationalUnit"]["Id"]
    accounts = [
        organizations.create_account(Email=f"{name}@example.com", AccountName=name)["CreateAccountStatus"]["AccountId"] for name in ("one", "two")
    ]
    organizations.move_account(AccountId=accounts[1], SourceParentId=root, DestinationParentId=unit)
    identifier, management, printed = run("ids").split()
    assert (management, printed) == (ACCOUNT, root)
    run("stack-set", {ORGANIZATION: identifier, "r-exam": root})
    assert run("stack-set-failures") == ""
    cloudformation = moto.client("cloudformation")
    assert cloudformation.describe_stack_set(StackSetName="iam-key-exporter")["StackSet"]["PermissionModel"] == "SERVICE_MANAGED"
    trust = json.loads(json.dumps(document("deploy/aws/trust/organization.json")).replace(ORGANIZATION, identifier))
    for account in accounts:
        role = role_of(moto.client("iam", account=account), f"arn:aws:iam::{account}:role/iam-key-exporter")
        assert role["AssumeRolePolicyDocument"] == trust
        assert role["Inline"] == policies("auto")


def test_the_module_of_the_page(tmp_path):
    copy = stubbed(MODULE, tmp_path)
    text = named("text", PAGE)["module"].text
    (source,) = re.findall(r'\bsource = "(.+)"', text)
    assert source.partition("?")[0].endswith("//" + str(MODULE.relative_to(ROOT)))
    caller = tmp_path / "caller"
    caller.mkdir()
    local = text.replace(source, f"../{copy.relative_to(tmp_path)}")
    (caller / "main.tf").write_text(local + 'output "trust" { value = module.iam_key_exporter.assume_role_policy }\n')
    assert tofu(caller, "init", "-no-color").returncode == 0
    assert json.loads(plan(caller, {})["trust"]) == document("deploy/aws/trust/organization.json")
    page_format = tmp_path / "format"
    page_format.mkdir()
    (page_format / "main.tf").write_text(text)
    assert tofu(page_format, "fmt", "-check", "-diff").stdout == ""


@executes("delegation")
def test_the_delegation_of_the_page(run):
    """Neither moto nor ministack has resource policies: a fake server receives the requests."""

    def requests(errors=()):
        with FakeService({}, errors) as organizations:
            run("delegation", env={"AWS_ENDPOINT_URL_ORGANIZATIONS": organizations.url})
        return [(target.partition(".")[2], body) for _, target, body in organizations.requests]

    # A policy that exists is not replaced.
    assert requests() == [("DescribeResourcePolicy", {})]
    _, (operation, body) = requests({"DescribeResourcePolicy": "ResourcePolicyNotFoundException"})
    assert operation == "PutResourcePolicy"
    assert json.loads(body["Content"]) == document("deploy/aws/organization/delegation.json")


@executes("management-account")
def test_the_management_account_of_the_page(run, moto):
    run("management-account")
    role = role_of(moto.iam, f"arn:aws:iam::{ACCOUNT}:role/iam-key-exporter")
    assert role["Inline"] == policies("auto", discovery=True)
    assert role["AssumeRolePolicyDocument"] == document("deploy/aws/trust/organization.json")


def test_the_configurations_of_the_page(tmp_path):
    """Each is valid, and has no setting without effect."""
    written = [block for block in blocks(PAGE) if block.language == "yaml" and block.name != "values"]
    assert len(written) >= 4
    for block in written:
        path = tmp_path / "config.yaml"
        path.write_text(block.text, encoding="utf-8")
        result = subprocess.run([exporter_binary(), "verify-config", f"--config.file={path}"], capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, ""), f"{block.where}: {result.stderr}"
        for setting in re.findall(r"^ *(?:- )?(\w+):", block.text, flags=re.M):
            assert f"{setting}:" in result.stdout, f"{block.where}: {setting}"


def test_the_values_of_the_page_have_its_configuration():
    values = named("text", PAGE)["values"].text
    assert yaml.safe_load(values) == {"config": yaml.safe_load(named("file", PAGE)["config.yaml"].text)}
    command = [TOOLS.bin("helm3"), "template", "iam-key-exporter", ROOT / "helm" / "iam-key-exporter", "--kube-version=1.34.0", "--values=-"]
    rendered = subprocess.run(command, input=values, capture_output=True, text=True)
    assert rendered.returncode == 0, rendered.stderr
    assert "role_name: iam-key-exporter" in rendered.stdout


@executes("association")
def test_the_association_of_the_page(run):
    with FakeService({"association": {}}) as eks:
        run("association", env={"AWS_ENDPOINT_URL_EKS": eks.url})
    ((path, _, body),) = eks.requests
    assert path == "/clusters/production/pod-identity-associations"
    assert (body["namespace"], body["serviceAccount"], body["roleArn"]) == ("monitoring", "iam-key-exporter", HUB_ROLE)


def test_every_block_of_the_page_is_run_by_a_test():
    import test_trust

    assert sorted(executed(sys.modules[__name__]) + executed(test_trust)) == sorted(named("run", PAGE))
    assert all(block.name for block in blocks(PAGE)), "a block without a name, so no test runs it"
    assert bad_shell(PAGE) == []
