"""The exporter with the accounts of an organisation, against moto: its results equal those of boto3.

moto keeps accounts apart, but does not evaluate trust policies: test_trust.py does that.
"""

import json
import subprocess

import pytest
import yaml

from harness import ACCOUNT, Exporter, Moto, clean_environment, exporter_binary, wait_until
from recorder import Recorder
from simulator import document

# moto has no rate limits; the default of ten requests per second would only slow the tests down.
FAST = "--aws.max-requests-per-second=1000"
ROLE_NAME = "iam-key-exporter"

# Name, parent unit, tags, and the users with the statuses of their keys.
MEMBERS = {
    "payments": ("prod", {"env": "production"}, {"bob": ["Active", "Active"], "bobby": ["Active"]}),
    "shop": ("workloads", {"env": "production-2"}, {"bob": ["Active", "Inactive"], "carol": []}),
    "audit": ("security", {"env": "test"}, {"dave": ["Active", "Active"], "erin": ["Active", "Active"]}),
    "former": ("workloads", {}, {"frank": ["Active", "Active"]}),
}
UNITS = {"workloads": "root", "security": "root", "prod": "workloads"}


class Organization:
    """An organisation in moto: the management account, which the exporter runs in, four members in nested units, one suspended."""

    def __init__(self, moto):
        self.moto = moto
        self.client = moto.client("organizations")
        self.client.create_organization(FeatureSet="ALL")
        self.units = {"root": self.client.list_roots()["Roots"][0]["Id"]}
        for unit, parent in UNITS.items():
            created = self.client.create_organizational_unit(ParentId=self.units[parent], Name=unit)
            self.units[unit] = created["OrganizationalUnit"]["Id"]
        moto.user("alice", "Active", "Active")
        self.accounts = {"master": ACCOUNT}
        for name, (unit, tags, users) in MEMBERS.items():
            self.create(name, unit, tags, users)
        self.client.close_account(AccountId=self.accounts["former"])

    def create(self, name, unit, tags, users):
        """Creates an account; returns its ID."""
        pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
        created = self.client.create_account(Email=f"{name}@example.com", AccountName=name, Tags=pairs)
        account = self.accounts[name] = created["CreateAccountStatus"]["AccountId"]
        if unit != "root":
            parents = {"SourceParentId": self.units["root"], "DestinationParentId": self.units[unit]}
            self.client.move_account(AccountId=account, **parents)
        for user, keys in users.items():
            self.moto.user(user, *keys, client=self.moto.client("iam", account=account))
        return account

    def names(self, accounts):
        known = {account: name for name, account in self.accounts.items()}
        return sorted(known[account] for account in accounts)

    def counted(self, name):
        """The users of an account according to boto3: name to the number of active keys."""
        iam = self.moto.client("iam", account=self.accounts[name])
        users = [user["UserName"] for user in iam.list_users()["Users"]]
        keys = {user: iam.list_access_keys(UserName=user)["AccessKeyMetadata"] for user in users}
        return {user: sum(key["Status"] == "Active" for key in each) for user, each in keys.items()}


@pytest.fixture(scope="module")
def organization():
    """Tests do not change it."""
    with Moto() as moto:
        yield Organization(moto)


@pytest.fixture
def configuration(tmp_path):
    """Writes a configuration file; returns the flag."""

    def write(**sections):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(sections), encoding="utf-8")
        return f"--config.file={path}"

    return write


def exporter(environment, *flags):
    return Exporter([FAST, "--check.interval=1s", *flags], env=environment)


def accounts_of(samples, metric="aws_iam_account_info"):
    return {labels["account_id"] for labels, _ in samples.select(metric)}


def all_checked(running, *accounts):
    """A scrape in which each of these accounts has had a check."""
    running.wait_checked()

    def scrape():
        samples = running.metrics()
        checked = {labels["account_id"] for labels, value in samples.select("iam_key_exporter_checks_total") if value}
        return checked >= set(accounts) and samples

    return wait_until(scrape, what="a check of every account")


@pytest.mark.parametrize("collector", ["live", "report"])
def test_the_metrics_of_every_account_equal_the_counts_of_boto3(organization, configuration, collector):
    flag = configuration(organization={"role_name": ROLE_NAME})
    active = [name for name in organization.accounts if name != "former"]
    with exporter(organization.moto.env, flag, f"--collector={collector}") as running:
        samples = all_checked(running, *(organization.accounts[name] for name in active))
    assert organization.names(accounts_of(samples)) == sorted(active)
    for name in active:
        account = organization.accounts[name]
        counted = organization.counted(name)
        exported = samples.select("aws_iam_user_active_access_keys", account_id=account)
        assert {labels["user_name"]: value for labels, value in exported} == counted, name
        violations = samples.value("aws_iam_access_key_violations", account_id=account, rule="multiple_active_keys")
        assert violations == sum(count > 1 for count in counted.values()), name
        assert samples.value("iam_key_exporter_account_up", account_id=account) == 1
        assert samples.value("aws_iam_account_info", account_id=account, account_name=name, collector=collector) == 1
    assert not samples.select("aws_iam_users", account_id=organization.accounts["former"])
    assert samples.value("iam_key_exporter_organization_up") == 1
    states = {labels["state"]: value for labels, value in samples.select("iam_key_exporter_organization_accounts")}
    assert states == {"active": 4, "suspended": 1, "pending": 0, "excluded": 0, "unknown": 0}


def selections(organization):
    """Sections include and exclude, and the names of the accounts that are left."""
    units, accounts = organization.units, organization.accounts
    return {
        "a unit is its whole subtree": ({"include": {"organizational_units": [units["workloads"]]}}, ["payments", "shop"]),
        "a unit at the bottom": ({"include": {"organizational_units": [units["prod"]]}}, ["payments"]),
        "the root": ({"include": {"organizational_units": [units["root"]]}}, ["audit", "master", "payments", "shop"]),
        "all but a unit": ({"exclude": {"organizational_units": [units["security"]]}}, ["master", "payments", "shop"]),
        "a tag": ({"include": {"tags": {"env": "production*"}}}, ["payments", "shop"]),
        "all but a tag": ({"exclude": {"tags": {"env": "production"}}}, ["audit", "master", "shop"]),
        "accounts": ({"include": {"accounts": [accounts["shop"], accounts["audit"]]}}, ["audit", "shop"]),
        "exclude takes precedence": (
            {"include": {"organizational_units": [units["workloads"]]}, "exclude": {"accounts": [accounts["payments"]]}},
            ["shop"],
        ),
        "no management account": ({"management_account": "skip"}, ["audit", "payments", "shop"]),
        "the management account by the role": ({"management_account": "assume"}, ["audit", "master", "payments", "shop"]),
    }


@pytest.mark.parametrize(
    "selection",
    ["a unit is its whole subtree", "a unit at the bottom", "the root", "all but a unit", "a tag", "all but a tag", "accounts"]
    + ["exclude takes precedence", "no management account", "the management account by the role"],
)
def test_selected_accounts(organization, configuration, selection):
    sections, expected = selections(organization)[selection]
    flag = configuration(organization={"role_name": ROLE_NAME} | sections)
    with exporter(organization.moto.env, flag) as running:
        samples = all_checked(running, *(organization.accounts[name] for name in expected))
    assert organization.names(accounts_of(samples)) == expected
    assert organization.names(accounts_of(samples, "iam_key_exporter_account_up")) == expected
    states = {labels["state"]: value for labels, value in samples.select("iam_key_exporter_organization_accounts")}
    assert states == {"active": len(expected), "suspended": 1, "pending": 0, "excluded": 4 - len(expected), "unknown": 0}


def test_the_policies_allow_what_the_exporter_calls_for_an_organisation_and_nothing_else(organization, configuration):
    """The hub role's operations, and those of member roles, which are the collector's."""
    sections = {"include": {"organizational_units": [organization.units["root"]]}, "exclude": {"tags": {"env": "none"}}}
    plain = operations(organization, configuration(organization={"role_name": ROLE_NAME}))
    flag = configuration(organization={"role_name": ROLE_NAME} | sections)
    filtered = operations(organization, flag)
    # AWS may name the units of an account in the list of accounts. Then only those of others are requested.
    named = operations(organization, flag, lambda operation, body: with_paths(organization, body) if operation == "organizations:ListAccounts" else body)
    assert filtered - named == {f"organizations:{each}" for each in ("ListRoots", "ListAccountsForParent", "ListOrganizationalUnitsForParent")}
    filtered |= named
    allowed = {name: set(document(f"deploy/aws/policies/{name}.json")["Statement"][0]["Action"]) for name in ("assume", "discovery", "live")}
    # The alias of an account is its name where the organisation does not name it.
    assert filtered - {"sts:GetCallerIdentity"} == set().union(*allowed.values()) - {"iam:ListAccountAliases"}
    assert plain & allowed["discovery"] == {"organizations:DescribeOrganization", "organizations:ListAccounts"}


def with_paths(organization, body):
    """The answer of ListAccounts with `Paths`, which moto omits, of all accounts but one."""
    answer = json.loads(body)
    for account in answer["Accounts"]:
        if account["Name"] != "payments":
            account["Paths"] = [f"o-exampleorgid/{organization.units['root']}/{account['Id']}/"]
    return json.dumps(answer).encode()


def operations(organization, flag, rewrites=lambda operation, body: body):
    with Recorder(organization.moto.url, rewrites=rewrites) as recorder:
        environment = organization.moto.env | {"AWS_ENDPOINT_URL": recorder.url}
        with exporter(environment, flag, "--collector=live") as running:
            all_checked(running, *(organization.accounts[name] for name in ("master", "payments", "shop", "audit")))
    roles = {parameters["RoleArn"] for operation, parameters in recorder.calls if operation == "sts:AssumeRole"}
    assert roles == {f"arn:aws:iam::{organization.accounts[name]}:role/{ROLE_NAME}" for name in ("payments", "shop", "audit")}
    return recorder.operations


def test_a_denied_account_affects_no_other(organization, configuration):
    payments, shop, audit = (organization.accounts[name] for name in ("payments", "shop", "audit"))

    def denies(operation, parameters):
        return operation == "sts:AssumeRole" and payments in parameters["RoleArn"]

    flag = configuration(organization={"role_name": ROLE_NAME})
    with Recorder(organization.moto.url, denies) as recorder:
        environment = organization.moto.env | {"AWS_ENDPOINT_URL": recorder.url}
        with exporter(environment, flag, "--collector=live") as running:
            samples = all_checked(running, ACCOUNT, payments, shop, audit)
        up = {labels["account_id"]: value for labels, value in samples.select("iam_key_exporter_account_up")}
        assert up == {ACCOUNT: 1, payments: 0, shop: 1, audit: 1}
        assert not samples.select("aws_iam_users", account_id=payments)
        failures = samples.select("iam_key_exporter_check_failures_total", account_id=payments)
        assert [labels["reason"] for labels, value in failures if value] == ["role_denied"]


def test_an_organisation_that_cannot_be_listed(organization, configuration):
    flag = configuration(organization={"role_name": ROLE_NAME})
    with Recorder(organization.moto.url, lambda operation, _: operation == "organizations:ListAccounts") as recorder:
        environment = organization.moto.env | {"AWS_ENDPOINT_URL": recorder.url}
        with exporter(environment, flag) as running:
            wait_until(lambda: running.metrics().value("iam_key_exporter_organization_up") == 0, what="organization_up 0")
            assert running.get("/-/ready").status == 503


def credentials_of(organization, name):
    """The environment of a program that runs in an account, with credentials of a role there."""
    role = {"RoleArn": f"arn:aws:iam::{organization.accounts[name]}:role/iam-key-exporter-hub", "RoleSessionName": "test"}
    keys = organization.moto.client("sts").assume_role(**role)["Credentials"]
    return organization.moto.env | {
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
    }


def test_an_exporter_in_a_member_account_lists_the_organisation_with_a_role(organization, configuration):
    """The hub account is checked by its member role, like any other."""
    discovery = f"arn:aws:iam::{ACCOUNT}:role/{ROLE_NAME}"
    sections = {"role_name": ROLE_NAME, "management_account": "assume", "discovery_role_arn": discovery}
    names = ["audit", "master", "payments", "shop"]
    with Recorder(organization.moto.url) as recorder:
        environment = credentials_of(organization, "audit") | {"AWS_ENDPOINT_URL": recorder.url}
        with exporter(environment, configuration(organization=sections)) as running:
            samples = all_checked(running, *(organization.accounts[name] for name in names))
    assert organization.names(accounts_of(samples)) == names
    assumed = {parameters["RoleArn"] for operation, parameters in recorder.calls if operation == "sts:AssumeRole"}
    assert assumed == {f"arn:aws:iam::{organization.accounts[name]}:role/{ROLE_NAME}" for name in names}


def test_credentials_of_a_member_are_not_those_of_the_management_account(organization, configuration):
    """`management_account: self` where the exporter runs elsewhere: an error of that account, with a reason."""
    discovery = f"arn:aws:iam::{ACCOUNT}:role/{ROLE_NAME}"
    flag = configuration(organization={"role_name": ROLE_NAME, "discovery_role_arn": discovery})
    with exporter(credentials_of(organization, "audit"), flag) as running:
        samples = all_checked(running, ACCOUNT, *(organization.accounts[name] for name in ("audit", "payments", "shop")))
    up = {labels["account_id"]: value for labels, value in samples.select("iam_key_exporter_account_up")}
    assert [account for account, value in up.items() if not value] == [ACCOUNT]
    failures = samples.select("iam_key_exporter_check_failures_total", account_id=ACCOUNT)
    assert [labels["reason"] for labels, value in failures if value] == ["account_mismatch"]
    assert not samples.select("aws_iam_users", account_id=ACCOUNT)


def test_accounts_join_and_leave(moto, configuration):
    organization = Organization(moto)
    flag = configuration(organization={"role_name": ROLE_NAME, "refresh_interval": "1s", "retention": "0s"})
    with exporter(moto.env, flag, "--collector=live") as running:
        running.wait_checked()
        joined = organization.create("joined", "prod", {}, {"grace": ["Active", "Active"]})
        samples = all_checked(running, joined)
        assert samples.value("aws_iam_account_info", account_id=joined, account_name="joined", collector="live", partition="aws") == 1
        assert samples.value("aws_iam_access_key_violations", account_id=joined, rule="multiple_active_keys") == 1
        payments = organization.accounts["payments"]
        organization.client.close_account(AccountId=payments)
        wait_until(lambda: not [key for key in running.metrics() if payments in key], what="the end of the series of an account")
        samples = running.metrics()
    assert organization.names(accounts_of(samples)) == ["audit", "joined", "master", "shop"]
    states = {labels["state"]: value for labels, value in samples.select("iam_key_exporter_organization_accounts")}
    assert states == {"active": 4, "suspended": 2, "pending": 0, "excluded": 0, "unknown": 0}


# --- check ------------------------------------------------------------------------------------------------------------


def check(environment, *flags):
    """Runs `check`: the exit code, the output and the messages."""
    command = [exporter_binary(), "check", FAST, *flags]
    result = subprocess.run(command, env=clean_environment() | environment, capture_output=True, text=True, timeout=120)
    return result.returncode, result.stdout, result.stderr


def test_check_counts_every_account_like_boto3(organization, configuration):
    code, output, messages = check(organization.moto.env, configuration(organization={"role_name": ROLE_NAME}), "--output=json")
    assert (code, messages) == (1, "")
    accounts = {each["account"]["name"]: each for each in json.loads(output)["accounts"]}
    assert sorted(accounts) == ["audit", "master", "payments", "shop"]
    for name, account in accounts.items():
        assert account["account"]["id"] == organization.accounts[name]
        assert {user["name"]: user["active_access_keys"] for user in account["users"]} == organization.counted(name)


def test_check_names_a_denied_account(organization, configuration):
    payments = organization.accounts["payments"]

    def denies(operation, parameters):
        return operation == "sts:AssumeRole" and payments in parameters["RoleArn"]

    with Recorder(organization.moto.url, denies) as recorder:
        environment = organization.moto.env | {"AWS_ENDPOINT_URL": recorder.url}
        code, output, messages = check(environment, configuration(organization={"role_name": ROLE_NAME}), "--output=json")
    assert code == 3
    assert payments in messages and organization.accounts["audit"] not in messages
    assert organization.names(each["account"]["id"] for each in json.loads(output)["accounts"]) == ["audit", "master", "shop"]
    assert [(each["account"]["id"], each["reason"]) for each in json.loads(output)["failed"]] == [(payments, "role_denied")]


def test_check_of_an_organisation_that_cannot_be_listed(organization, configuration):
    with Recorder(organization.moto.url, lambda operation, _: operation == "organizations:ListAccounts") as recorder:
        environment = organization.moto.env | {"AWS_ENDPOINT_URL": recorder.url}
        code, _, messages = check(environment, configuration(organization={"role_name": ROLE_NAME}))
    assert code == 3
    assert "ListAccounts" in messages


@pytest.mark.parametrize("collector", ["live", "report", "auto"])
def test_verify_config_needs_no_other_permissions_than_the_collector(organization, configuration, collector):
    flags = ["--aws", configuration(organization={"role_name": ROLE_NAME}), f"--collector={collector}"]
    with Recorder(organization.moto.url) as recorder:
        environment = clean_environment() | organization.moto.env | {"AWS_ENDPOINT_URL": recorder.url}
        command = [exporter_binary(), "verify-config", *flags]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    allowed = {
        action for name in ("assume", "discovery", collector) for action in document(f"deploy/aws/policies/{name}.json")["Statement"][0]["Action"]
    }
    assert recorder.operations - {"sts:GetCallerIdentity"} <= allowed
    assert {"sts:AssumeRole", "iam:ListAccessKeys"} <= recorder.operations
