"""docs/prevention.md: its commands have the documented effect, and its policies deny what is documented and nothing else."""

import json
import re
import stat
import sys

import pytest

from harness import ACCOUNT, ROOT
from simulator import ADMINISTRATOR, ALLOW_ALL, document, simulate, verdicts
from snippets import account, aged_moto_server, aws_environment, bad_shell, blocks, broken_links, executed, executes, named, runner  # noqa: F401

PAGE = ROOT / "docs" / "prevention.md"
POLICIES = "deploy/aws/prevention"
ROTATION = f"arn:aws:iam::{ACCOUNT}:role/access-key-rotation"
ROOT_USER = f"arn:aws:iam::{ACCOUNT}:root"
USER = f"arn:aws:iam::{ACCOUNT}:user/bob"
TAG = "access-key-issued"


@pytest.fixture
def run(account, tmp_path, request):
    """Runs blocks of the page, from a directory that contains the policies at the same path as the checkout."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    yield from runner([PAGE], tmp_path, aws_environment(account.url), request.function)


def test_every_block_is_run_by_a_test():
    assert executed(sys.modules[__name__]) == sorted(named("run", PAGE))
    assert all(block.name for block in blocks(PAGE)), "a block without a name, so no test runs it"
    assert bad_shell(PAGE) == []


def test_links_resolve():
    assert broken_links(PAGE) == []


def test_every_policy_is_on_the_page():
    linked = set(re.findall(r"prevention/([\w-]+\.json)\)", PAGE.read_text(encoding="utf-8")))
    assert linked == {path.name for path in (ROOT / POLICIES).iterdir()}


# --- commands -------------------------------------------------------------------------------------------------------


@executes("create-user-cli", "create-user-python")
def test_users_are_created_without_keys(run, account):
    for block in ("create-user-cli", "create-user-python"):
        run(block)
        assert account.statuses("backup") == {}
        assert account.iam.list_user_tags(UserName="backup")["Tags"] == [{"Key": "owner", "Value": "platform"}]
        account.iam.delete_user(UserName="backup")


@executes("attach-cli", "attach-python")
def test_permissions_come_with_a_group_and_without_a_key(run, account):
    account.iam.create_user(UserName="backup")
    # moto has AWS's own policies only on request, and then loads all of them.
    policy = account.iam.create_policy(PolicyName="reader", PolicyDocument=json.dumps(ALLOW_ALL))["Policy"]["Arn"]
    for block in ("attach-cli", "attach-python"):
        run(block, {"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess": policy})
        (group,) = (group["GroupName"] for group in account.iam.list_groups_for_user(UserName="backup")["Groups"])
        assert group == "backup-writers"
        assert [each["PolicyArn"] for each in account.iam.list_attached_group_policies(GroupName=group)["AttachedPolicies"]] == [policy]
        assert account.statuses("backup") == {}
        account.iam.remove_user_from_group(GroupName=group, UserName="backup")
        account.iam.detach_group_policy(GroupName=group, PolicyArn=policy)
        account.iam.delete_group(GroupName=group)


@executes("list-cli", "list-python")
def test_listing_names_users_with_more_than_one_active_key(run, account):
    for name, *statuses in (("a", "Active"), ("b", "Active", "Inactive"), ("c",), ("bob", "Active", "Active")):
        account.iam.create_user(UserName=name)
        for status in statuses:
            key = account.key(name, status=status)
    for block in ("list-cli", "list-python"):
        assert run(block) == "bob: 2 active access keys\n"
    account.iam.update_access_key(UserName="bob", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    for block in ("list-cli", "list-python"):
        assert run(block) == ""


@executes("list-exporter")
def test_a_check_ends_with_the_verdict(run, account):
    account.iam.create_user(UserName="bob")
    key = [account.key("bob")["AccessKeyId"] for _ in range(2)][0]
    run("list-exporter", fails=True)
    account.iam.update_access_key(UserName="bob", AccessKeyId=key, Status="Inactive")
    run("list-exporter")


@executes("scp-cli", "scp-python")
def test_the_policy_is_attached_in_the_organisation(run, account):
    organizations = account.client("organizations")
    for block in ("scp-cli", "scp-python"):
        account.reset()
        organizations.create_organization(FeatureSet="ALL")
        member = organizations.create_account(Email="a@example.com", AccountName="a")["CreateAccountStatus"]["AccountId"]
        printed = run(block, {"123456789012": member})
        attached = organizations.list_policies_for_target(TargetId=member, Filter="SERVICE_CONTROL_POLICY")["Policies"]
        (policy,) = (policy for policy in attached if not policy["AwsManaged"])
        assert policy["Name"] == "deny-create-access-key"
        content = organizations.describe_policy(PolicyId=policy["Id"])["Policy"]["Content"]
        assert json.loads(content) == document(f"{POLICIES}/deny-create-access-key.json")
        if block == "scp-cli":
            assert f"{policy['Id']}\tdeny-create-access-key" in printed


@executes("deny-policy-cli", "deny-policy-python")
def test_the_policy_is_attached_to_a_group(run, account):
    for block in ("deny-policy-cli", "deny-policy-python"):
        account.reset()
        account.iam.create_group(GroupName="administrators")
        run(block)
        (attached,) = account.iam.list_attached_group_policies(GroupName="administrators")["AttachedPolicies"]
        assert attached["PolicyName"] == "deny-create-access-key"
        version = account.iam.get_policy_version(PolicyArn=attached["PolicyArn"], VersionId="v1")["PolicyVersion"]
        assert version["Document"] == document(f"{POLICIES}/deny-create-access-key.json")


def tags(moto, user_name):
    return {tag["Key"]: tag["Value"] for tag in moto.iam.list_user_tags(UserName=user_name)["Tags"]}


@executes("issue-cli", "issue-python")
def test_issuing_a_key_sets_the_tag(run, account, tmp_path):
    file = tmp_path / "access-key.json"
    for block in ("issue-cli", "issue-python"):
        account.reset()
        account.iam.create_user(UserName="backup")
        run(block)
        key = json.loads(file.read_text())["AccessKey"]
        assert account.statuses("backup") == {key["AccessKeyId"]: "Active"} and key["SecretAccessKey"]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert tags(account, "backup") == {TAG: "true"}
        run(block, fails=True)  # it overwrites no secret, and creates no key whose secret would be lost
        assert len(account.statuses("backup")) == 1
        file.unlink()


@executes("tag-all-cli", "tag-all-python")
def test_tags_are_synchronised_with_the_keys(run, account):
    for block in ("tag-all-cli", "tag-all-python"):
        account.reset()
        for name, *statuses in (("active", "Active"), ("inactive", "Inactive"), ("two", "Active", "Active"), ("none",), ("gone",)):
            account.iam.create_user(UserName=name, Tags=[{"Key": "owner", "Value": "x"}])
            for status in statuses:
                account.key(name, status=status)
        account.iam.tag_user(UserName="gone", Tags=[{"Key": TAG, "Value": "true"}])
        run(block)
        tagged, plain = {"owner": "x", TAG: "true"}, {"owner": "x"}
        assert {name: tags(account, name) for name in ("active", "inactive", "two", "none", "gone")} == {
            "active": tagged,
            "inactive": tagged,
            "two": tagged,
            "none": plain,
            "gone": plain,
        }


# --- policies -------------------------------------------------------------------------------------------------------


def request(action, principal=ADMINISTRATOR, scps=(), identity=(ALLOW_ALL,), resource=USER, **context):
    """A request of a principal with full access about a user."""
    return {
        "action": f"iam:{action}",
        "principal": principal,
        "resource": resource,
        "context": {"aws:PrincipalArn": principal} | context,
        "identity": list(identity),
        "scps": list(scps),
    }


def test_the_textbook_policy_has_no_effect():
    """Neither for the first key nor for the second, neither as SCP nor as IAM policy: AWS has no such condition key."""
    textbook = json.loads(named("text", PAGE)["textbook"].text)
    for count in ("0", "1", "2"):
        answers = simulate(
            [
                request("CreateAccessKey", scps=[textbook], **{"iam:AccessKeysCount": count}),
                request("CreateAccessKey", identity=[ALLOW_ALL, textbook], **{"iam:AccessKeysCount": count}),
            ]
        )
        assert answers == [{"result": "Allowed", "ignored": ["iam:AccessKeysCount"]}] * 2


def test_the_textbook_policy_with_if_exists_denies_the_first_key_too():
    textbook = named("text", PAGE)["textbook"].text.replace("NumericGreaterThanEquals", "NumericGreaterThanEqualsIfExists")
    assert verdicts([request("CreateAccessKey", scps=[json.loads(textbook)])]) == ["ExplicitlyDenied"]


def known(requests):
    """The verdicts; every condition key of the requests must exist in AWS."""
    answers = simulate(requests)
    assert [answer["ignored"] for answer in answers] == [[]] * len(requests)
    return [answer["result"] for answer in answers]


@pytest.mark.parametrize("kind", ["scp", "identity"])
def test_only_the_rotation_role_creates_keys(kind):
    policy = document(f"{POLICIES}/deny-create-access-key.json")
    how = {"scps": [policy]} if kind == "scp" else {"identity": [ALLOW_ALL, policy]}
    other_role = f"arn:aws:iam::{ACCOUNT}:role/access-key-rotation-2"
    other_path = f"arn:aws:iam::{ACCOUNT}:role/team/access-key-rotation"
    same_name = f"arn:aws:iam::{ACCOUNT}:user/access-key-rotation"
    china = "arn:aws-cn:iam::123456789012:role/access-key-rotation"
    denied = [request("CreateAccessKey", principal, **how) for principal in (ADMINISTRATOR, USER, other_role, other_path, same_name)]
    assert known(denied) == ["ExplicitlyDenied"] * len(denied)
    allowed = [request("CreateAccessKey", ROTATION, **how)]
    # The condition reads aws:PrincipalArn: a role in another partition.
    allowed.append(request("CreateAccessKey", ROTATION, **how) | {"context": {"aws:PrincipalArn": china}})
    allowed += [request(action, **how) for action in ("UpdateAccessKey", "DeleteAccessKey", "ListAccessKeys", "CreateLoginProfile", "TagUser")]
    assert known(allowed) == ["Allowed"] * len(allowed)
    # Without the condition key in the request there is no principal that could be exempt.
    assert known([request("CreateAccessKey", ROTATION, **how) | {"context": {}}]) == ["ExplicitlyDenied"]


def test_the_service_control_policy_applies_to_root_users():
    policy = document(f"{POLICIES}/deny-create-access-key.json")
    # No other policy restricts a root user: this policy alone decides.
    assert known([request("CreateAccessKey", ROOT_USER, scps=[policy])]) == ["ExplicitlyDenied"]


@pytest.mark.parametrize("kind", ["scp", "identity"])
def test_only_the_rotation_role_creates_keys_for_tagged_users(kind):
    policy = document(f"{POLICIES}/deny-second-access-key.json")
    how = {"scps": [policy]} if kind == "scp" else {"identity": [ALLOW_ALL, policy]}
    tagged = [{f"iam:ResourceTag/{TAG}": value} for value in ("true", "false", "")]
    denied = [request("CreateAccessKey", **how, **tag) for tag in tagged]
    # The user itself, too.
    denied.append(request("CreateAccessKey", USER, **how, **tagged[0]))
    denied += [request("UntagUser", **how, **{"aws:TagKeys": keys}) for keys in ([TAG], ["owner", TAG], [TAG.upper()])]
    assert known(denied) == ["ExplicitlyDenied"] * len(denied)
    allowed = [
        request("CreateAccessKey", **how),
        request("CreateAccessKey", **how, **{"iam:ResourceTag/owner": "platform"}),
        request("CreateAccessKey", ROTATION, **how, **tagged[0]),
        request("UntagUser", ROTATION, **how, **{"aws:TagKeys": [TAG]}),
        request("UntagUser", **how, **{"aws:TagKeys": ["owner"]}),
        request("TagUser", **how, **{"aws:TagKeys": [TAG], f"aws:RequestTag/{TAG}": "true"}),
        request("UpdateAccessKey", **how, **tagged[0]),
        request("DeleteAccessKey", **how, **tagged[0]),
        request("DeleteUser", **how, **tagged[0]),
    ]
    assert known(allowed) == ["Allowed"] * len(allowed)


def test_no_policy_distinguishes_activating_from_deactivating():
    """`iam:UpdateAccessKey` has no condition key for the status: the simulator has none either."""
    (answer,) = simulate([request("UpdateAccessKey", **{"iam:Status": "Active", "iam:AccessKeyStatus": "Active"})])
    assert sorted(answer["ignored"]) == ["iam:AccessKeyStatus", "iam:Status"]
