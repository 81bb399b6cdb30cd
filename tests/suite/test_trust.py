"""The exporter with the roles of the templates, against ministack, which enforces policies, trust policies and external IDs."""

import json
import os
import re
import subprocess

import pytest
import yaml

from harness import ACCOUNT, ROOT, TOOLS, Exporter, clean_environment, exporter_binary, wait_until
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
        # Members of the organisation; the role of the second one trusts another organisation.
        self.payments, self.shop = self.create("payments"), self.create("shop")
        self.member(self.payments, OrganizationId=self.organization)
        self.member(self.shop, OrganizationId="o-otherorgid1")

    def create(self, name):
        """Creates an account of the organisation."""
        account = self.organizations.create_account(Email=f"{name}@example.com", AccountName=name)["CreateAccountStatus"]["AccountId"]
        self.aws.user(account, "bob", "Active", "Active")
        return account

    def hub_role(self, name, **parameters):
        """The ARN of a role in the hub account, and the environment of a program with its credentials."""
        parameters = {"RoleName": name, "MemberRoleName": "iam-key-exporter", "Trust": "ec2", "Collector": "live"} | parameters
        arn = deploy(self.aws.client("cloudformation", HUB), AWS / "cloudformation.yaml", stack=name, **parameters)["RoleArn"]
        return arn, self.aws.env(self.aws.assume(HUB, arn))

    def member(self, account, **parameters):
        parameters = {"HubRoleArn": self.hub} | parameters
        template = AWS / "organization" / "member-role.yaml"
        return deploy(self.aws.client("cloudformation", account), template, stack="iam-key-exporter", **parameters)["RoleArn"]


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


def check(fleet, *flags, command="check"):
    """Runs a command with the credentials of the hub role: the exit code, the output and the messages."""
    command = [exporter_binary(), command, *([FAST] if command == "check" else []), *flags]
    result = subprocess.run(command, env=clean_environment() | fleet.environment, capture_output=True, text=True, timeout=120)
    return result.returncode, result.stdout, result.stderr


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
    flag = configuration(organization={"role_name": "iam-key-exporter"})
    with Exporter([FAST, "--check.interval=1s", "--collector=live", flag], env=aws.environment) as running:
        samples = all_checked(running, 3)
    assert up(samples) == {HUB: 1, aws.payments: 1, aws.shop: 0}
    assert samples.value("aws_iam_account_info", account_id=aws.payments, account_name="payments", collector="live", partition="aws") == 1
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


def test_check_names_every_account_that_cannot_be_read(aws, configuration):
    flag = configuration(accounts=listed(*ALL))
    code, output, messages = check(aws, flag, "--collector=report", "--output=json")
    assert code == 3
    assert [account for account in ALL if account in messages] == [WRONG, UNTRUSTED, POOR, MISSING]
    (read,) = json.loads(output)["accounts"]
    assert (read["account"]["id"], read["account"]["name"]) == (RIGHT, "account-1")
    failed = {each["account"]["id"]: each["reason"] for each in json.loads(output)["failed"]}
    assert failed == {WRONG: "role_denied", UNTRUSTED: "role_denied", MISSING: "role_denied", POOR: "access_denied"}
    assert messages.count("external ID") == 3 and "trust policy" in messages
    assert "GenerateCredentialReport" in messages
    assert EXTERNAL_ID not in messages + output


def test_one_account_of_the_configuration(aws, configuration):
    flag = configuration(accounts=listed(*ALL))
    code, output, messages = check(aws, flag, f"--account={RIGHT}", "--collector=live", "--output=json")
    assert code == 1, messages
    assert "bob" in output
    assert check(aws, flag, f"--account={WRONG}", "--collector=live")[0] == 3


def test_the_commands_that_verify_config_prints_make_every_account_reachable(configuration, tmp_path):
    """The table names what is missing; its commands, run in the accounts, create it."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    with Ministack() as server:
        fleet = Fleet(server)
        flag = configuration(accounts=listed(*ALL), organization={"role_name": "iam-key-exporter"})
        verify = ["--aws", "--collector=report", flag]
        code, output, messages = check(fleet, *verify, command="verify-config")
        assert (code, messages) == (3, "")
        assert EXTERNAL_ID not in output
        rows = {line.split()[0]: line for line in output.partition("\n\n")[0].splitlines()}
        for account in (WRONG, UNTRUSTED, MISSING, fleet.shop):
            assert "the role cannot be assumed" in rows[account], account
        assert "missing permission: iam:GenerateCredentialReport" in rows[POOR]
        assert all(rows[account].endswith("reachable") for account in ("organization", RIGHT, fleet.payments))
        given = {"HUB_ROLE_ARN": fleet.hub, "HUB_ROLE": "iam-key-exporter-hub", "EXTERNAL_ID": EXTERNAL_ID, "ORGANIZATION_ID": fleet.organization}
        fixed = set()
        for accounts, commands in re.findall(r"^([\d, ]+): .*\n((?:  aws .*\n)+)", output, flags=re.M):
            for placeholder, value in given.items():
                commands = re.sub(rf"\b{placeholder}\b", value, commands)
            for account in accounts.split(", "):
                environment = clean_environment() | server.env(account) | {"PATH": f"{TOOLS.bin('aws').parent}:{os.environ['PATH']}"}
                result = subprocess.run(["bash", "-ec", commands], env=environment, cwd=tmp_path, capture_output=True, text=True)
                assert result.returncode == 0, f"{account}: {commands}\n{result.stdout}{result.stderr}"
                fixed.add(account)
        assert fixed == {WRONG, UNTRUSTED, MISSING, POOR, fleet.shop, HUB}
        code, output, messages = check(fleet, *verify, command="verify-config")
        assert (code, messages) == (0, ""), output


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


@executes("check")
def test_the_check_of_the_page(run):
    run.save("config.yaml")
    assert f"cannot assume arn:aws:iam::{HUB}:role/iam-key-exporter" in run("check", fails=True)
