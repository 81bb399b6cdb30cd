"""The exporter with the roles of the templates, against ministack, which enforces policies, trust policies and external IDs."""

import pytest
import yaml

from harness import ACCOUNT, ROOT, Exporter, wait_until
from infrastructure import AWS, deploy
from ministack import Ministack
from snippets import executes, runner

HUB = ACCOUNT
# Accounts, and how their roles and the exporter's configuration fit together.
RIGHT, WRONG, UNTRUSTED, POOR, MISSING = "111111111111", "222222222222", "333333333333", "444444444444", "555555555555"
EXTERNAL_ID = "a-value-of-your-own"
FAST = "--aws.max-requests-per-second=1000"


@pytest.fixture(scope="module")
def aws():
    """Tests do not change it."""
    with Ministack() as aws:
        yield Fleet(aws)


class Fleet:
    """The hub account, with the hub role, and accounts with member roles."""

    def __init__(self, aws):
        self.aws = aws
        self.organizations = aws.client("organizations", HUB)
        self.organization = self.organizations.describe_organization()["Organization"]["Id"]
        self.hub, self.environment = self.hub_role("iam-key-exporter-hub", Discovery="true")
        aws.user(HUB, "alice", "Active")
        for account in (RIGHT, WRONG, UNTRUSTED, POOR, MISSING):
            aws.user(account, "bob", "Active", "Active")
        self.member(RIGHT, ExternalId=EXTERNAL_ID)
        self.member(WRONG, ExternalId="another-value")
        self.member(UNTRUSTED, ExternalId=EXTERNAL_ID, HubRoleArn=self.hub + "-2")
        # The exporter reads the report in every account; this role may only read live.
        self.member(POOR, ExternalId=EXTERNAL_ID, Collector="live")

    def hub_role(self, name, **parameters):
        """The ARN of a role in the hub account, and the environment of a program with its credentials."""
        parameters = {"RoleName": name, "MemberRoleName": "iam-key-exporter", "Trust": "ec2", "Collector": "live"} | parameters
        arn = deploy(self.aws.client("cloudformation", HUB), AWS / "cloudformation.yaml", stack=name, **parameters)["RoleArn"]
        return arn, self.aws.env(self.aws.assume(HUB, arn))

    def member(self, account, **parameters):
        parameters = {"HubRoleArn": self.hub} | parameters
        return deploy(self.aws.client("cloudformation", account), AWS / "organization" / "member-role.yaml", **parameters)["RoleArn"]


@pytest.fixture
def configuration(tmp_path):
    """Writes a configuration file; returns the flag."""

    def write(**sections):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(sections), encoding="utf-8")
        return f"--config.file={path}"

    return write


def listed(*accounts):
    role = "arn:aws:iam::{}:role/iam-key-exporter"
    return [{"role_arn": role.format(account), "external_id": EXTERNAL_ID, "name": f"account-{account[0]}"} for account in accounts]


def up(samples):
    return {labels["account_id"]: value for labels, value in samples.select("iam_key_exporter_account_up")}


def all_checked(running, count):
    """A scrape in which so many accounts have had a check."""
    running.wait_checked()

    def scrape():
        samples = running.metrics()
        checked = [value for _, value in samples.select("iam_key_exporter_checks_total") if value]
        return len(checked) == count and samples

    return wait_until(scrape, what="a check of every account")


ALL = (RIGHT, WRONG, UNTRUSTED, POOR, MISSING)


def test_accounts_whose_role_cannot_be_used_affect_no_other(aws, configuration):
    flag = configuration(accounts=[*listed(*ALL), {"self": True}])
    with Exporter([FAST, "--check.interval=1s", "--collector=report", flag], env=aws.environment) as running:
        samples = all_checked(running, 6)
        log = running.log
    # The role of the hub account itself reads live, too.
    assert up(samples) == {account: float(account == RIGHT) for account in (*ALL, HUB)}
    assert samples.value("aws_iam_user_active_access_keys", account_id=RIGHT, user_name="bob") == 2
    assert not [labels for labels, _ in samples.select("aws_iam_users") if labels["account_id"] != RIGHT]
    for account in (WRONG, UNTRUSTED, MISSING, POOR):
        reasons = samples.select("iam_key_exporter_check_failures_total", account_id=account)
        expected = "access_denied" if account == POOR else "role_denied"
        assert [labels["reason"] for labels, value in reasons if value] == [expected], account
    assert EXTERNAL_ID not in log


def test_members_of_the_organisation_with_the_hub_role(aws, configuration):
    names = ["payments", "shop"]
    created = [aws.organizations.create_account(Email=f"{name}@example.com", AccountName=name)["CreateAccountStatus"] for name in names]
    payments, shop = (status["AccountId"] for status in created)
    for account in (payments, shop):
        aws.aws.user(account, "bob", "Active", "Active")
    aws.member(payments, OrganizationId=aws.organization)
    # The role of this account trusts another organisation.
    aws.member(shop, OrganizationId="o-otherorgid1")
    flag = configuration(organization={"role_name": "iam-key-exporter"})
    with Exporter([FAST, "--check.interval=1s", "--collector=live", flag], env=aws.environment) as running:
        samples = all_checked(running, 3)
    assert up(samples) == {HUB: 1, payments: 1, shop: 0}
    assert samples.value("aws_iam_account_info", account_id=payments, account_name="payments", collector="live", partition="aws") == 1
    assert samples.value("iam_key_exporter_organization_up") == 1


def test_a_hub_role_without_permissions(aws, configuration):
    """Without discovery, the organisation cannot be listed; without the roles' name, they cannot be assumed."""
    _, environment = aws.hub_role("iam-key-exporter-hub-2", MemberRoleName="other-roles")
    with Exporter([FAST, configuration(organization={"role_name": "iam-key-exporter"})], env=environment) as running:
        wait_until(lambda: running.metrics().value("iam_key_exporter_organization_up") == 0 and "access_denied" in running.log, what="a denial")
        assert "DescribeOrganization" in running.log
        assert running.get("/-/ready").status == 503
        assert not running.metrics().select("aws_iam_users")
    with Exporter([FAST, "--collector=live", configuration(accounts=[*listed(RIGHT), {"self": True}])], env=environment) as running:
        samples = all_checked(running, 2)
    assert up(samples) == {RIGHT: 0, HUB: 1}


# --- docs/organizations.md --------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, request, aws):
    yield from runner([ROOT / "docs" / "organizations.md"], tmp_path, aws.environment, request.function)


@executes("verify")
def test_the_exporter_of_the_page(run, aws, tmp_path):
    run.save("config.yaml")
    with Exporter([FAST, f"--config.file={tmp_path / 'config.yaml'}"], env=aws.environment) as running:
        running.wait_checked()
        output = run("verify", {"localhost:19674": f"127.0.0.1:{running.port}"})
    # The management account has no member role here.
    assert f'iam_key_exporter_account_up{{account_id="{HUB}"}} 0' in output
    assert f'account_id="{HUB}",reason="role_denied"' in output
    assert 'iam_key_exporter_organization_accounts{state="active"}' in output
