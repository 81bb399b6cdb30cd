"""The exporter against moto, with accounts created with boto3: its results equal those of boto3.

moto's credential report has quirks that AWS's has not: no row of the root user, no quotation marks around a name with a
comma, and always the same old date as its time of making.
"""

import collections
import json
import subprocess

import pytest

from harness import ACCOUNT, Exporter, Moto, clean_environment, exporter_binary, wait_until

# moto has no rate limits; the default of ten requests per second would only slow the tests down.
FAST = "--aws.max-requests-per-second=1000"
COLLECTORS = ["live", "report"]

# Statuses of a user's keys and paths, assigned in turn.
KEYS = [
    ["Active", "Active"],
    ["Active"],
    [],
    ["Inactive"],
    ["Active", "Inactive"],
    ["Inactive", "Active"],
    ["Inactive", "Inactive"],
]
PATHS = ["/", "/team/", "/team/ci/", "/division_abc/subdivision_xyz/"]
# Names that may cause errors: names within other names, other case, every character that IAM allows, maximum length.
NAMES = ["bob", "bobby", "bo", "user", "root", "Team", "a+b=c@d.e_f-g", "0", "-", "n" * 64]
NAMES += [f"user-{number:03}" for number in range(200 - len(NAMES))]

User = collections.namedtuple("User", "arn keys")


def count(moto):
    """The users according to boto3: name to ARN and keys."""
    iam, users = moto.iam, {}
    for page in iam.get_paginator("list_users").paginate():
        for user in page["Users"]:
            keys = iam.list_access_keys(UserName=user["UserName"])["AccessKeyMetadata"]
            users[user["UserName"]] = User(user["Arn"], keys)
    return users


def with_status(user, status):
    return [key for key in user.keys if key["Status"] == status]


@pytest.fixture(scope="module")
def account():
    """A moto with two hundred users. Tests do not change it."""
    with Moto() as moto:
        for index, name in enumerate(NAMES):
            moto.user(name, *KEYS[index % len(KEYS)], Path=PATHS[index % len(PATHS)])
        yield moto


def check(moto, collector, *arguments):
    """Runs `check`: the exit code, the parsed result (None without output) and the messages."""
    command = [exporter_binary(), "check", f"--collector={collector}", FAST, "--output=json", *arguments]
    result = subprocess.run(command, env=clean_environment() | moto.env, capture_output=True, text=True, timeout=120)
    return result.returncode, json.loads(result.stdout) if result.stdout else None, result.stderr


def exporter(moto, collector, *arguments):
    return Exporter([f"--collector={collector}", FAST, "--check.interval=1s", *arguments], env=moto.env)


def assert_counted_alike(users, counted):
    """Asserts that the users of a check's result equal those of boto3, with all keys."""
    assert {user["name"] for user in users} == set(counted)
    for user in users:
        truth = counted[user["name"]]
        offends = len(with_status(truth, "Active")) > 1
        assert user["arn"] == truth.arn
        assert user["active_access_keys"] == len(with_status(truth, "Active")), user["name"]
        seen = sorted((key["status"], key["created"]) for key in user["access_keys"])
        keys = sorted((key["Status"].lower(), f"{key['CreateDate']:%Y-%m-%dT%H:%M:%SZ}") for key in truth.keys)
        assert seen == keys, user["name"]
        assert user["status"] == ("violation" if offends else "compliant"), user["name"]
        assert [finding["rule"] for finding in user["findings"]] == ["multiple_active_keys"] * offends


def assert_complete_but_for_root(code, messages, collector):
    """moto's reports lack the root user, which AWS's have: the check is incomplete, since the policy covers root."""
    if collector == "live":
        assert (code, messages) == (1, "")
    else:
        assert code == 3 and "keys of the root user could not be read" in messages and messages.count("\n") == 1


@pytest.mark.parametrize("collector", COLLECTORS)
def test_the_result_of_a_check_equals_that_of_boto3(account, collector):
    counted = count(account)
    assert len(counted) == 200
    offenders = [name for name, user in counted.items() if len(with_status(user, "Active")) == 2]
    assert len(offenders) == 29 and "bob" in offenders and "bobby" not in offenders

    code, result, messages = check(account, collector)
    assert_complete_but_for_root(code, messages, collector)
    assert result["account"] == {"id": ACCOUNT, "name": "", "partition": "aws"}
    assert result["collector"] == collector
    assert_counted_alike(result["users"], counted)
    assert result["summary"]["violations"]["multiple_active_keys"] == len(offenders)
    assert result["summary"]["users"] == {
        "compliant": 200 - len(offenders), "violation": len(offenders), "exempt": 0, "rotating": 0, "unknown": 0,
    }  # fmt: skip


def test_both_collectors_reach_the_same_verdicts(account):
    (_, live, _), (_, report, _) = (check(account, collector) for collector in COLLECTORS)

    def verdicts(result):
        return [(user["name"], user["status"], [(f["rule"], f["since"]) for f in user["findings"]]) for user in result["users"]]

    assert verdicts(live) == verdicts(report)


def test_auto_takes_the_report_above_the_threshold(account):
    for threshold, collector in [(200, "live"), (199, "report")]:
        _, result, messages = check(account, "auto", f"--collector.report-above={threshold}")
        assert result is not None, messages
        assert result["collector"] == collector


def test_root_is_known_to_the_live_collector_only(account):
    assert check(account, "live")[1]["root"]["active_access_keys"] == 0
    report = check(account, "report")[1]
    assert report["root"]["active_access_keys"] is None
    assert report["summary"]["violations"]["root_access_key"] is None


def test_key_ids_and_the_advice_name_real_keys(account):
    counted = count(account)
    _, result, _ = check(account, "live", "--metrics.access-key-id")
    for user in result["users"]:
        truth = counted[user["name"]]
        assert {(key["id"], key["status"]) for key in user["access_keys"]} == {
            (key["AccessKeyId"], key["Status"].lower()) for key in truth.keys
        }
        for finding in user["findings"]:
            assert sorted(finding["keep"] + finding["deactivate"]) == [1, 2]


@pytest.mark.parametrize("collector", COLLECTORS)
def test_a_user_is_not_confused_with_one_whose_name_has_the_same_prefix(account, collector):
    code, result, _ = check(account, collector, "--user=bobby")
    assert [user["name"] for user in result["users"]] == ["bobby"]
    assert (code, result["users"][0]["active_access_keys"]) == (0, 1)
    code, result, _ = check(account, collector, "--user=bob")
    assert [user["name"] for user in result["users"]] == ["bob"]
    assert (code, result["users"][0]["active_access_keys"]) == (1, 2)
    code, result, messages = check(account, collector, "--user=bobb")
    assert (code, result) == (2, None)
    assert "bobb" in messages


@pytest.mark.parametrize("collector", COLLECTORS)
def test_the_metrics_equal_the_counts_of_boto3(account, collector):
    counted = count(account)
    with exporter(account, collector) as running:
        samples = running.wait_checked().metrics()
    expected = {name: len(with_status(user, "Active")) for name, user in counted.items()}
    assert {
        labels["user_name"]: value for labels, value in samples.select("aws_iam_user_active_access_keys", account_id=ACCOUNT)
    } == expected
    since = {
        labels["user_name"]: value
        for labels, value in samples.select("aws_iam_user_violation_since_timestamp_seconds", rule="multiple_active_keys")
    }
    # The violation began when the later one of the two keys was created.
    assert since == {
        name: int(max(key["CreateDate"] for key in user.keys).timestamp())
        for name, user in counted.items()
        if expected[name] > 1
    }
    assert samples.value("aws_iam_access_key_violations", rule="multiple_active_keys") == len(since)
    assert samples.value("aws_iam_users", status="violation") == len(since)
    assert samples.value("aws_iam_users", status="compliant") == 200 - len(since)
    for status in ["Active", "Inactive"]:
        keys = sum(len(with_status(user, status)) for user in counted.values())
        assert samples.value("aws_iam_access_keys", status=status.lower()) == keys
        assert sum(value == (status == "Active") for _, value in samples.select("aws_iam_access_key_active")) == keys
    assert samples.value("aws_iam_account_info", partition="aws", collector=collector) == 1
    roots = samples.select("aws_iam_account_root_active_access_keys")
    assert [value for _, value in roots] == ([0] if collector == "live" else [])
    assert samples.value("iam_key_exporter_account_up", account_id=ACCOUNT) == 1
    # A live check sends at most one request per user and the four requests about the account.
    requests = sum(value for _, value in samples.select("iam_key_exporter_aws_requests_total"))
    checks = samples.value("iam_key_exporter_checks_total", account_id=ACCOUNT) + 1
    assert requests <= checks * (200 + 4 if collector == "live" else len(since) + 4)
    assert not samples.select("iam_key_exporter_aws_request_failures_total")


@pytest.mark.parametrize("collector", COLLECTORS)
def test_changes_show_within_one_interval(moto, collector):
    first, second = moto.user("carol", "Active", "Active")
    moto.user("dave", "Active")

    with exporter(moto, collector) as running:

        def violations():
            return running.metrics().value("aws_iam_access_key_violations", rule="multiple_active_keys")

        def after_a_whole_check():
            """A scrape after a check that started after now: the next check to end may have started before."""
            goal = running.metrics().value("iam_key_exporter_checks_total", account_id=ACCOUNT) + 2

            def scrape():
                samples = running.metrics()
                return samples if samples.value("iam_key_exporter_checks_total", account_id=ACCOUNT) >= goal else None

            return wait_until(scrape, what="two more checks")

        running.wait_checked()
        assert violations() == 1

        moto.iam.update_access_key(UserName="carol", AccessKeyId=first, Status="Inactive")
        samples = after_a_whole_check()
        assert samples.value("aws_iam_access_key_violations", rule="multiple_active_keys") == 0
        assert samples.value("aws_iam_user_active_access_keys", user_name="carol") == 1
        assert not samples.select("aws_iam_user_violation_since_timestamp_seconds")

        moto.iam.create_access_key(UserName="dave")
        samples = after_a_whole_check()
        assert samples.value("aws_iam_access_key_violations", rule="multiple_active_keys") == 1
        assert samples.value("aws_iam_user_violation_since_timestamp_seconds", user_name="dave") > 0

        moto.iam.delete_access_key(UserName="carol", AccessKeyId=first)
        moto.iam.delete_access_key(UserName="carol", AccessKeyId=second)
        moto.iam.delete_user(UserName="carol")
        samples = after_a_whole_check()
        assert not [key for key in samples if "carol" in key]
        assert sum(value for _, value in samples.select("aws_iam_users")) == 1


@pytest.mark.parametrize("collector", COLLECTORS)
def test_a_name_with_a_comma_is_one_user(moto, collector):
    # moto writes the comma into its report without quotes, so that the row has two additional cells.
    moto.user("a,b", "Active", "Active", Path="/team/")
    moto.user("a", "Active")
    moto.user("x,y,z", "Inactive")
    code, result, messages = check(moto, collector)
    assert_complete_but_for_root(code, messages, collector)
    assert_counted_alike(result["users"], count(moto))


@pytest.mark.parametrize("collector", COLLECTORS)
def test_an_account_without_users(moto, collector):
    code, result, messages = check(moto, collector)
    if collector == "live":
        assert (code, result["users"], messages) == (0, [], "")
    else:
        # On AWS the root user always has a row: a report without any row contains no information.
        assert (code, result) == (3, None)
        assert "no rows" in messages
