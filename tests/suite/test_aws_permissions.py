"""Permissions match the operations that the exporter calls: policies, trust policies, CloudFormation, Terraform, docs/permissions.md."""

import itertools
import json
import re
import subprocess
import sys

import pytest
import yaml

from harness import ACCOUNT, ROOT, clean_environment, exporter_binary
from infrastructure import AWS, broken_rules, deploy, documents, initialised, lint, plan, refuses, resources, role_of, stubbed, template, tofu
from recorder import Recorder
from simulator import all_actions, document, simulate, verdicts
from snippets import FakeService, aws_environment, bad_shell, blocks, broken_links, executed, executes, named, runner

PAGE = ROOT / "docs" / "permissions.md"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/iam-key-exporter"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/iam-key-exporter/exporter"

COLLECTORS = ("live", "report", "auto")
# Every combination of settings that affects permissions: collector, --collect.last-used, --collect.tags.
WAYS = list(itertools.product(COLLECTORS, (False, True), (False, True)))
way = pytest.mark.parametrize("collector, last_used, tags", WAYS)


def policy_names(collector, last_used, tags):
    return [collector, *(["last-used"] if last_used else []), *(["tags"] if tags else [])]


def policies(collector, last_used, tags):
    """The policy documents for a combination of settings, by name."""
    return {name: document(f"deploy/aws/policies/{name}.json") for name in policy_names(collector, last_used, tags)}


def actions(policy):
    (statement,) = policy["Statement"]
    assert set(statement) == {"Sid", "Effect", "Action", "Resource"} and statement["Effect"] == "Allow"
    return statement["Action"]


# --- the operations that the exporter calls -------------------------------------------------------------------------


def check(moto, *flags, denied=()):
    """Runs one check: its output and exit code, and the operations that it called."""
    with Recorder(moto.url, lambda operation, _: operation in denied) as recorder:
        result = subprocess.run(
            [exporter_binary(), "check", "--output=json", *flags],
            env=clean_environment() | aws_environment(recorder.url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
    return result, recorder.operations


def called(moto, *flags):
    """The operations of one check, which must find the user with two keys."""
    result, operations = check(moto, *flags)
    assert result.returncode == 1 and "bob" in result.stdout, f"{result.returncode}\n{result.stdout}\n{result.stderr}"
    return operations


@way
def test_the_policy_allows_what_the_exporter_calls_and_nothing_else(moto, collector, last_used, tags):
    moto.user("bob", "Active", "Active", Tags=[{"Key": "owner", "Value": "platform"}])
    moto.user("bobby", "Active", "Inactive")
    moto.user("carol")
    flags = [f"--collector={collector}", *(["--collect.last-used"] if last_used else []), *(["--collect.tags=owner"] if tags else [])]
    operations = called(moto, *flags)
    if collector == "auto":  # which uses one of the other two
        large = called(moto, *flags, "--collector.report-above=1")
        assert {"iam:GetCredentialReport"} <= large - operations
        operations |= large
    allowed = sorted(action for policy in policies(collector, last_used, tags).values() for action in actions(policy))
    # Needs no permission: AWS allows it even if a policy denies it.
    assert sorted(operations - {"sts:GetCallerIdentity"}) == allowed


WITHOUT = {  # collector, flag and denied operation: the result of the check
    ("live", "", "iam:ListUsers"): "fails",
    ("live", "", "iam:ListAccessKeys"): "fails",
    ("live", "", "iam:GetAccountSummary"): "does not know root",
    ("live", "--collect.last-used", "iam:GetAccessKeyLastUsed"): "fails",
    ("live", "--collect.tags=owner", "iam:GetAccountAuthorizationDetails"): "stands",
    ("live", "", "iam:ListAccountAliases"): "stands",
    ("report", "", "iam:GenerateCredentialReport"): "fails",
    ("report", "", "iam:GetCredentialReport"): "fails",
    ("report", "", "iam:ListAccessKeys"): "stands",
    ("report", "--collect.tags=owner", "iam:GetAccountAuthorizationDetails"): "stands",
    ("report", "--collect.last-used", "iam:GetAccessKeyLastUsed"): "stands",
    ("auto", "", "iam:GetAccountSummary"): "fails",
}


@pytest.mark.parametrize("collector, flag, operation", WITHOUT)
def test_a_missing_permission_has_the_effect_that_the_page_names(moto, collector, flag, operation):
    moto.user("bob", "Active", "Active")
    result, operations = check(moto, f"--collector={collector}", *flag.split(), denied={operation})
    assert operation in operations
    if WITHOUT[collector, flag, operation] == "fails":
        assert (result.returncode, result.stdout) == (3, "")
        assert operation.partition(":")[2] in result.stderr and "access_denied" in result.stderr
    else:
        knows_root = WITHOUT[collector, flag, operation] == "stands"
        # A refused answer is an incomplete check, whatever the policy says about the users.
        assert result.returncode == (1 if knows_root else 3), result.stderr
        output = json.loads(result.stdout)
        assert [user["status"] for user in output["users"]] == ["violation"]
        assert (output["root"]["active_access_keys"] is not None) == knows_root


# --- policies and trust policies --------------------------------------------------------------------------------------


def test_there_is_a_policy_for_every_combination_of_settings():
    names = {name for each in WAYS for name in policy_names(*each)} | {"assume", "discovery"}
    assert sorted(path.stem for path in (AWS / "policies").iterdir()) == sorted(names)


@way
def test_everything_else_is_denied(collector, last_used, tags):
    """Every action of IAM and STS, and some actions of other services that read or return secrets."""
    documents = list(policies(collector, last_used, tags).values())
    allowed = {action for policy in documents for action in actions(policy)}
    elsewhere = ["s3:GetObject", "s3:PutObject", "secretsmanager:GetSecretValue", "ssm:GetParameter", "kms:Decrypt", "ec2:RunInstances"]
    every = all_actions("iam") + all_actions("sts") + elsewhere
    assert allowed < set(every) and len(every) > 150
    requests = [{"action": action, "principal": SESSION, "identity": documents} for action in every]
    allowed.add("sts:GetCallerIdentity")  # by AWS, for all principals
    assert dict(zip(every, verdicts(requests))) == {action: "Allowed" if action in allowed else "ImplicitlyDenied" for action in every}


TAGS = "aws:RequestTag/"
POD = {
    TAGS + "eks-cluster-arn": f"arn:aws:eks:eu-central-1:{ACCOUNT}:cluster/production",
    TAGS + "kubernetes-namespace": "monitoring",
    TAGS + "kubernetes-service-account": "iam-key-exporter",
}


def test_pod_identity_trusts_one_service_account_of_one_cluster():
    trust = document("deploy/aws/trust/pod-identity.json")

    def request(action, **context):
        return {"action": action, "principal": "pods.eks.amazonaws.com", "resource": ROLE, "identity": [], "trust": trust, "context": POD | context}

    both = ("sts:AssumeRole", "sts:TagSession")
    assert verdicts([request(action) for action in both]) == ["Allowed"] * 2
    others = [
        {TAGS + "kubernetes-namespace": "default"},
        {TAGS + "kubernetes-service-account": "iam-key-exporter2"},
        {TAGS + "eks-cluster-arn": f"arn:aws:eks:eu-central-1:{ACCOUNT}:cluster/staging"},
    ]
    assert verdicts([request(action, **other) for other in others for action in both]) == ["ImplicitlyDenied"] * 6
    # No tags at all; and a service that is not EKS.
    assert verdicts([request("sts:AssumeRole") | {"context": {}}]) == ["ImplicitlyDenied"]
    assert verdicts([request("sts:AssumeRole") | {"principal": "ec2.amazonaws.com"}]) == ["ImplicitlyDenied"]


def test_irsa_trusts_one_service_account_of_one_cluster():
    text = json.dumps(document("deploy/aws/trust/irsa.json"))
    (provider,) = set(re.findall(r"oidc\.eks\.[\w.-]+/id/\w+", text))
    # iam-simulate supports the condition keys of a few providers only, without those of EKS.
    known = "accounts.google.com"
    trust = json.loads(text.replace(provider, known))

    def request(audience, subject, principal=known):
        return {
            "action": "sts:AssumeRoleWithWebIdentity",
            "principal": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{principal}",
            "resource": ROLE,
            "identity": [],
            "trust": trust,
            "context": {f"{known}:aud": audience, f"{known}:sub": subject},
        }

    exporter = "system:serviceaccount:monitoring:iam-key-exporter"
    answers = simulate(
        [
            request("sts.amazonaws.com", exporter),
            request("sts.amazonaws.com", exporter + "2"),
            request("sts.amazonaws.com", "system:serviceaccount:default:iam-key-exporter"),
            request("vault", exporter),
            request("sts.amazonaws.com", exporter, "login.example.com"),
        ]
    )
    assert answers == [{"result": result, "ignored": []} for result in ["Allowed"] + ["ImplicitlyDenied"] * 4]


# --- CloudFormation ---------------------------------------------------------------------------------------------------

TEMPLATE = AWS / "cloudformation.yaml"
CLUSTER = f"arn:aws:eks:eu-central-1:{ACCOUNT}:cluster/production"
OIDC = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"
TRUSTS = {"pod-identity": {"ClusterArn": CLUSTER}, "irsa": {"OidcProviderArn": OIDC}}


def test_cfn_lint_finds_no_errors(tmp_path):
    assert lint(TEMPLATE) == ""
    bad = tmp_path / "bad.yaml"
    bad.write_text(TEMPLATE.read_text().replace("RoleName: !Ref RoleName", "Rolename: !Ref RoleName"))
    assert "Rolename" in lint(bad)


def deployed(moto, **parameters):
    """Creates the stack; returns the role, with its inline policies."""
    moto.reset()
    outputs = deploy(moto.client("cloudformation", region="eu-central-1"), TEMPLATE, **parameters)
    (role,) = moto.iam.list_roles()["Roles"]
    assert outputs == {"RoleArn": role["Arn"]}
    return role_of(moto.iam, role["Arn"])


@way
def test_cloudformation_makes_the_role(moto, collector, last_used, tags):
    switches = {"Collector": collector, "CollectLastUsed": str(last_used).lower(), "CollectTags": str(tags).lower()}
    for trust, parameters in TRUSTS.items():
        role = deployed(moto, Trust=trust, **switches, **parameters)
        assert role["RoleName"] == "iam-key-exporter"
        assert role["Inline"] == policies(collector, last_used, tags)
        assert role["AssumeRolePolicyDocument"] == document(f"deploy/aws/trust/{trust}.json")
        assert "PermissionsBoundary" not in role


def test_cloudformation_takes_names(moto):
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
    role = deployed(moto, ClusterArn=CLUSTER, Namespace="security", ServiceAccount="keys", RoleName="keys", PermissionsBoundary=boundary)
    assert role["RoleName"] == "keys"
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary
    expected = document("deploy/aws/trust/pod-identity.json")
    text = json.dumps(expected).replace('"monitoring"', '"security"').replace('"iam-key-exporter"', '"keys"')
    assert role["AssumeRolePolicyDocument"] == json.loads(text)
    role = deployed(moto, Trust="irsa", OidcProviderArn=OIDC, Namespace="security", ServiceAccount="keys", OidcAudience="sts.amazonaws.com.cn")
    text = json.dumps(document("deploy/aws/trust/irsa.json")).replace("sts.amazonaws.com", "sts.amazonaws.com.cn")
    assert role["AssumeRolePolicyDocument"] == json.loads(text.replace("monitoring:iam-key-exporter", "security:keys"))


BAD_PARAMETERS = {
    "Collector": ["file", ""],
    "MemberRoleName": ["*", "a b", "/security/keys", "security/", "a/*", "x" * 65],
    "OrganizationId": ["*", "o-", "r-abcd", "o-EXAMPLEORGID"],
    "Discovery": ["yes"],
    "CollectLastUsed": ["yes"],
    "CollectTags": ["owner"],
    "Trust": ["lambda"],
    "Namespace": ["", "*", "Monitoring", "a b", 'a"'],
    "ServiceAccount": ["", "*", "a:b"],
    "ClusterArn": ["production", "*", f"arn:aws:eks:eu-central-1:{ACCOUNT}:cluster/*"],
    "OidcProviderArn": ["https://oidc.eks.eu-central-1.amazonaws.com/id/X", f'arn:aws:iam::{ACCOUNT}:oidc-provider/x"'],
    "OidcAudience": ["", "*", 'a"'],
    "RoleName": ["", "a b", "a/b", "x" * 65],
    "PermissionsBoundary": ["boundary", f"arn:aws:iam::{ACCOUNT}:role/x"],
}


def test_cloudformation_rejects_invalid_parameters():
    """Including wildcards and quotes, which would widen the trust policy."""
    parameters = template(TEMPLATE)["Parameters"]
    assert set(BAD_PARAMETERS) == set(parameters)
    for name, values in BAD_PARAMETERS.items():
        assert not refuses(parameters[name], parameters[name]["Default"])
        for value in values:
            assert refuses(parameters[name], value), f"{name}: {value!r}"
    for name, value in {"ClusterArn": CLUSTER, "OidcProviderArn": OIDC, "PermissionsBoundary": "arn:aws-cn:iam::aws:policy/x"}.items():
        assert not refuses(parameters[name], value)


def test_cloudformation_rejects_a_role_without_a_trusted_principal():
    assert broken_rules(TEMPLATE) == ["Trust is pod-identity, so ClusterArn must be given."]
    assert broken_rules(TEMPLATE, Trust="irsa", ClusterArn=CLUSTER) == ["Trust is irsa, so OidcProviderArn must be given."]
    for trust, parameters in TRUSTS.items():
        assert broken_rules(TEMPLATE, Trust=trust, **parameters) == []


def test_cloudformation_rejects_a_hub_role_with_the_name_of_the_member_roles():
    (problem,) = broken_rules(TEMPLATE, Trust="ec2", MemberRoleName="iam-key-exporter")
    assert problem.startswith("MemberRoleName is RoleName")
    assert broken_rules(TEMPLATE, Trust="ec2", MemberRoleName="iam-key-exporter", RoleName="iam-key-exporter-hub") == []


# --- Terraform --------------------------------------------------------------------------------------------------------

MODULE = AWS / "terraform"


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return initialised(MODULE, tmp_path_factory.mktemp("module"))


TERRAFORM_TRUSTS = {"pod-identity": {"pod_identity": {"cluster_arn": CLUSTER}}, "irsa": {"irsa": {"oidc_provider_arn": OIDC}}}


@way
def test_terraform_makes_the_role(module, collector, last_used, tags):
    trust = "irsa" if tags else "pod-identity"
    outputs = plan(module, TERRAFORM_TRUSTS[trust] | {"collector": collector, "collect_last_used": last_used, "collect_tags": tags})
    expected = policies(collector, last_used, tags)
    assert json.loads(outputs["assume_role_policy"]) == document(f"deploy/aws/trust/{trust}.json")
    assert documents(outputs["policies"]) == expected
    assert outputs["role_arn"] == ROLE
    # As passed to the resources.
    role, attached = outputs["seen"]["aws_iam_role"]["all"], outputs["seen"]["aws_iam_role_policy"]
    assert json.loads(role["trust"]) == json.loads(outputs["assume_role_policy"])
    assert {name: json.loads(policy["all"]["policy"]) for name, policy in attached.items()} == expected
    assert {policy["all"]["role"] for policy in attached.values()} == {"iam-key-exporter"}


def test_terraform_takes_names(module):
    irsa = {"irsa": {"oidc_provider_arn": OIDC, "audience": "sts.amazonaws.com.cn"}, "namespace": "security", "service_account": "keys"}
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
    outputs = plan(module, irsa | {"name": "keys", "tags": {"owner": "security"}, "permissions_boundary": boundary})
    text = json.dumps(document("deploy/aws/trust/irsa.json")).replace("sts.amazonaws.com", "sts.amazonaws.com.cn")
    assert json.loads(outputs["assume_role_policy"]) == json.loads(text.replace("monitoring:iam-key-exporter", "security:keys"))
    assert outputs["role_arn"] == f"arn:aws:iam::{ACCOUNT}:role/keys"
    role = outputs["seen"]["aws_iam_role"]["all"]
    assert role["tags"] == {"owner": "security"} and role["boundary"] == boundary


@pytest.mark.parametrize(
    "variables, complaint",
    [
        ({}, "Give one of pod_identity, irsa and ec2."),
        (TERRAFORM_TRUSTS["pod-identity"] | TERRAFORM_TRUSTS["irsa"], "Give one of pod_identity, irsa and ec2."),
        (TERRAFORM_TRUSTS["irsa"] | {"ec2": True}, "Give one of pod_identity, irsa and ec2."),
        ({"collector": "file"}, "collector must be auto, live, report or none."),
        ({"member_role_name": "*"}, "member_role_name must be the name of a role"),
        ({"member_role_name": "/security/keys"}, "member_role_name must be the name of a role"),
        ({"ec2": True, "member_role_name": "iam-key-exporter"}, "member_role_name is name"),
        ({"organization_id": "*"}, "organization_id must be the ID of an organization"),
        ({"name": "a/b"}, "name must have 1 to 64 of the characters"),
        ({"namespace": "*"}, "namespace must be the name of a Kubernetes namespace"),
        ({"service_account": "*"}, "service_account must be the name of a Kubernetes service account"),
        ({"pod_identity": {"cluster_arn": "production"}}, "pod_identity.cluster_arn must be the ARN of an EKS cluster."),
        ({"irsa": {"oidc_provider_arn": "https://example.com"}}, "irsa.oidc_provider_arn must be the ARN of an IAM OIDC provider."),
    ],
)
def test_terraform_refuses(module, variables, complaint):
    answer = plan(module, variables)
    assert isinstance(answer, str), answer
    assert complaint in " ".join(answer.split())


def test_terraform_is_formatted(tmp_path):
    assert tofu(MODULE, "fmt", "-check", "-diff", "-recursive").stdout == ""
    (tmp_path / "bad.tf").write_text('variable "a" {\ntype=string\n}\n')
    assert tofu(tmp_path, "fmt", "-check").returncode != 0


def test_terraform_has_its_own_provider_only():
    """There is a stub for every resource."""
    assert resources(MODULE) == ["aws_iam_instance_profile", "aws_iam_role", "aws_iam_role_policy"]


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(moto, tmp_path, request):
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    yield from runner([PAGE], tmp_path, aws_environment(moto.url), request.function)


def test_every_block_is_run_by_a_test():
    assert executed(sys.modules[__name__]) == sorted(named("run", PAGE))
    assert all(block.name for block in blocks(PAGE)), "a block without a name, so no test runs it"
    assert bad_shell(PAGE) == []
    assert broken_links(PAGE, AWS / "README.md") == []


def table(first):
    """Rows of the page's table with this first column heading."""
    text = PAGE.read_text(encoding="utf-8")
    (body,) = re.findall(rf"^\| {re.escape(first)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, flags=re.M)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()]


def test_the_table_of_operations_is_that_of_the_policies():
    rows = {row[0].strip("`"): row[1:] for row in table("operation")}
    for column, collector in enumerate(COLLECTORS):
        marked = {operation for operation, row in rows.items() if row[column] == "x"}
        assert marked == {"sts:GetCallerIdentity", *actions(document(f"deploy/aws/policies/{collector}.json"))}
    for name, flag in (("last-used", "--collect.last-used"), ("tags", "--collect.tags")):
        (operation,) = actions(document(f"deploy/aws/policies/{name}.json"))
        assert rows[operation][:3] == ["", "", ""] and flag in rows[operation][3]
    assert len(rows) == 9
    # The results of the test above, in the wording of the page.
    for (collector, _, operation), effect in WITHOUT.items():
        words = rows[operation][4]
        if f"`{collector}`: " in words:
            words = words.partition(f"`{collector}`: ")[2].partition(";")[0]
        assert ("the check fails" in words) == (effect == "fails"), f"{collector} {operation}: {words}"


def test_the_tables_name_every_parameter_and_variable():
    parameters = template(TEMPLATE)["Parameters"]
    listed = {}
    for names, default, _ in table("parameter"):
        names, defaults = re.findall(r"`(\w+)`", names), re.findall(r"`([\w.-]+)`", default) or [""]
        listed |= dict(zip(names, defaults * len(names) if len(defaults) == 1 else defaults))
    assert listed == {name: parameter["Default"] for name, parameter in parameters.items()}
    text = (MODULE / "variables.tf").read_text(encoding="utf-8")
    variables = re.findall(r'^variable "(\w+)" {', text, flags=re.M)
    assert sorted(name for row in table("variable") for name in re.findall(r"`(\w+)`", row[0])) == sorted(variables)


@executes("cloudformation")
def test_the_stack_of_the_page(run, moto):
    assert run("cloudformation").splitlines()[-1] == ROLE
    (role,) = moto.iam.list_roles()["Roles"]
    assert moto.iam.get_role(RoleName=role["RoleName"])["Role"]["AssumeRolePolicyDocument"] == document("deploy/aws/trust/pod-identity.json")


def test_the_module_of_the_page(tmp_path):
    copy = stubbed(MODULE, tmp_path)
    text = named("text", PAGE)["module"].text
    (source,) = re.findall(r'source = "(.+)"', text)
    assert source.partition("?")[0].endswith("//" + str(MODULE.relative_to(ROOT)))
    caller = tmp_path / "caller"
    caller.mkdir()
    (caller / "main.tf").write_text(text.replace(source, f"../{copy.name}") + 'output "arn" { value = module.iam_key_exporter.role_arn }\n')
    assert tofu(caller, "init", "-no-color").returncode == 0
    assert plan(caller, {})["arn"] == ROLE
    page_format = tmp_path / "format"
    page_format.mkdir()
    (page_format / "main.tf").write_text(text)
    assert tofu(page_format, "fmt", "-check", "-diff").stdout == ""


@executes("pod-identity")
def test_the_association_of_the_page(run):
    """moto has no associations: a fake server receives the request."""
    with FakeService({"association": {}}) as eks:
        run("pod-identity", env={"AWS_ENDPOINT_URL_EKS": eks.url})
    ((path, _, body),) = eks.requests
    assert path == "/clusters/production/pod-identity-associations"
    body.pop("clientRequestToken")
    assert body == {"namespace": "monitoring", "serviceAccount": "iam-key-exporter", "roleArn": ROLE}


def test_the_values_of_the_page_are_the_charts():
    values = yaml.safe_load(named("text", PAGE)["irsa-values"].text)
    chart = yaml.safe_load((ROOT / "helm" / "iam-key-exporter" / "values.yaml").read_text(encoding="utf-8"))
    assert values == {"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": ROLE}}}
    assert isinstance(chart["serviceAccount"]["annotations"], dict)


@executes("put-role-policy")
def test_a_policy_is_put_on_a_role(run, moto):
    moto.iam.create_role(RoleName="monitoring", AssumeRolePolicyDocument=json.dumps(document("deploy/aws/trust/irsa.json")))
    run("put-role-policy")
    answer = moto.iam.get_role_policy(RoleName="monitoring", PolicyName="iam-key-exporter")
    assert answer["PolicyDocument"] == document("deploy/aws/policies/auto.json")


@executes("try-permissions")
def test_trying_the_permissions(run, moto):
    moto.user("alice", "Active")
    with Recorder(moto.url) as recorder:
        assert run("try-permissions", env={"AWS_ENDPOINT_URL": recorder.url}).count(ACCOUNT) == 2
    assert {"iam:ListUsers", "iam:GetCredentialReport"} <= recorder.operations
