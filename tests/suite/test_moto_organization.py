"""Organisations and roles against moto, which keeps accounts apart: what the exporter reads equals what boto3 created.

moto answers no `Paths` of accounts, so that organisational units are found by walking the tree.
"""

import json

import pytest

from harness import ACCOUNT, Exporter, wait_until

ROLE = "security/iam-key-exporter"


class Organization:
    """An organisation of the account `ACCOUNT` with four members in a tree of units."""

    def __init__(self, moto):
        self.moto, self.api = moto, moto.client("organizations")
        self.api.create_organization(FeatureSet="ALL")
        root = self.api.list_roots()["Roots"][0]["Id"]
        self.unit = self.create_unit(root, "workloads")
        self.inner = self.create_unit(self.unit, "production")
        self.members = {}
        for name, parent, users in [("payments", self.inner, 3), ("search", self.unit, 2), ("sandbox", root, 1), ("archive", root, 1)]:
            self.members[name] = self.create_account(name, root, parent, users)
        moto.user("own", "Active")

    def create_unit(self, parent, name):
        return self.api.create_organizational_unit(ParentId=parent, Name=name)["OrganizationalUnit"]["Id"]

    def create_account(self, name, root, parent, users):
        tags = [{"Key": "env", "Value": "test" if name == "sandbox" else "prod"}]
        created = self.api.create_account(Email=f"{name}@example.com", AccountName=name, Tags=tags)["CreateAccountStatus"]
        account = created["AccountId"]
        if parent != root:
            self.api.move_account(AccountId=account, SourceParentId=root, DestinationParentId=parent)
        client = self.moto.client("iam", account=account)
        for number in range(users):
            self.moto.user(f"{name}-{number}", "Active", "Active" if number == 0 else "Inactive", client=client)
        return account


@pytest.fixture
def organization(moto):
    return Organization(moto)


def serve(organization, tmp_path, **settings):
    """The samples of `serve` with these settings of the organisation, once every account was checked."""
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"organization": {"role_name": ROLE, **settings}}), encoding="utf-8")
    flags = [f"--config.file={config}", "--collector=live", "--aws.max-requests-per-second=1000", "--check.interval=1h"]
    with Exporter(flags, env=organization.moto.env) as exporter:
        exporter.wait_checked()
        return exporter.metrics()


def users(samples):
    """The number of users by account that is up."""
    up = [key for key, value in samples.items() if key.startswith("iam_key_exporter_account_up{") and value == 1]
    accounts = [key.split('"')[1] for key in up]
    return {account: sum(value for key, value in samples.items() if key.startswith(f'aws_iam_users{{account_id="{account}"')) for account in accounts}


def test_every_account_of_an_organisation_is_read_with_its_role(organization, tmp_path):
    samples = serve(organization, tmp_path)
    members = organization.members
    assert users(samples) == {ACCOUNT: 1, members["payments"]: 3, members["search"]: 2, members["sandbox"]: 1, members["archive"]: 1}
    for account in members.values():
        assert samples[f'aws_iam_access_key_violations{{account_id="{account}",rule="multiple_active_keys"}}'] == 1
    assert samples["iam_key_exporter_organization_up"] == 1
    assert samples['iam_key_exporter_aws_requests_total{operation="AssumeRole",service="sts"}'] == len(members)
    names = {key for key in samples if key.startswith("aws_iam_account_info{")}
    assert any('account_name="payments"' in name and members["payments"] in name for name in names), names


@pytest.mark.parametrize(
    "include, expected",
    [
        ("unit", {"payments", "search"}),  # with its subtree
        ("inner", {"payments"}),
        ("tag", {"sandbox"}),
    ],
)
def test_members_are_selected_by_unit_and_tag(organization, tmp_path, include, expected):
    filters = {
        "unit": {"organizational_units": [organization.unit]},
        "inner": {"organizational_units": [organization.inner]},
        "tag": {"tags": {"env": "test"}},
    }
    samples = serve(organization, tmp_path, include=filters[include], management_account="skip")
    assert set(users(samples)) == {organization.members[name] for name in expected}


def test_a_suspended_account_is_not_read(organization, tmp_path):
    organization.api.close_account(AccountId=organization.members["archive"])
    samples = serve(organization, tmp_path)
    assert organization.members["archive"] not in users(samples)
    states = {key.split('"')[1]: value for key, value in samples.items() if key.startswith("iam_key_exporter_organization_accounts{")}
    assert (states["active"], states["suspended"]) == (4, 1), states


def test_an_account_without_an_organisation_says_so(moto, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"organization": {"role_name": ROLE}}), encoding="utf-8")
    with Exporter([f"--config.file={config}"], env=moto.env) as exporter:
        wait_until(lambda: "AWSOrganizationsNotInUseException" in exporter.log, what="the reason in the log")
        assert exporter.metrics()["iam_key_exporter_organization_up"] == 0
