"""The runbooks: there is one for each alert, and every command in them has the documented effect."""

import csv
import json
import re
import stat
import sys

import promql_parser
import pytest
import yaml

import harness
from harness import ACCOUNT, ROOT, Exporter, Prometheus, wait_until
from recorder import Recorder
from snippets import FakeService, account, aged_moto_server, aws_environment, bad_shell, blocks, broken_links, executed, executes, named, runner  # noqa: F401

RUNBOOKS = ROOT / "docs" / "runbooks"
HOW_TO = RUNBOOKS / "access-keys.md"
INDEX = RUNBOOKS / "README.md"
PAGES = sorted(set(RUNBOOKS.glob("*.md")) - {HOW_TO, INDEX})
ALL = [*PAGES, HOW_TO, INDEX]

# Values in the pages that a reader replaces.
KEEP, OTHER, USER = "AKIAIOSFODNN7EXAMPLE", "AKIAI44QH8DHBEXAMPLE", "alice"


@pytest.fixture
def run(account, tmp_path, request):
    """Runs blocks of the runbooks against the account."""
    yield from runner(ALL, tmp_path, aws_environment(account.url), request.function)


def alerts():
    document = yaml.safe_load((ROOT / "alerts" / "rules" / "alerts.yaml").read_text(encoding="utf-8"))
    return {rule["alert"]: rule for group in document["groups"] for rule in group["rules"] if "alert" in rule}


# --- the pages ----------------------------------------------------------------------------------------------------


def test_every_alert_has_a_page_and_every_page_an_alert():
    assert [page.stem for page in PAGES] == sorted(alerts())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_its_parts(page):
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^#+ .+$", text, flags=re.M) == [
        f"# {page.stem}",
        "## Meaning",
        "## Impact",
        "## Diagnosis",
        "## Mitigation",
    ]
    for part in re.split(r"^#+ .+$", text, flags=re.M)[1:]:
        assert len(part.split()) > 1, "an empty part"
    rule = alerts()[page.stem]
    assert f"\nSeverity: {rule['labels']['severity']}.\n" in text
    assert rule["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{page.name}")


def test_the_index_lists_every_page_with_its_severity():
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \| .+ \|$", INDEX.read_text(encoding="utf-8"), flags=re.M)
    assert {name: severity for name, _, severity in rows} == {name: rule["labels"]["severity"] for name, rule in alerts().items()}
    assert all(name == file for name, file, _ in rows)


def test_links_resolve():
    assert broken_links(*ALL) == []


def test_every_block_is_run_by_a_test():
    assert executed(sys.modules[__name__]) == sorted(named("run", *ALL))
    for block in blocks(*ALL):
        assert block.language in ("bash", "python", "promql"), f"{block.where}: no test runs a block in {block.language!r}"
        assert (block.name is None) == (block.language == "promql"), f"{block.where}: no name, so no test runs it"


def test_shellcheck_finds_no_errors():
    assert bad_shell(*ALL) == []


def test_expressions_are_promql_about_metrics_that_exist():
    documented = set(re.findall(r"`((?:aws_iam|iam_key_exporter)_\w+)`", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))
    expressions = [block for block in blocks(*ALL) if block.language == "promql"]
    assert expressions
    for block in expressions:
        promql_parser.parse(block.text)
        used = set(re.findall(r"\b(?:aws_iam|iam_key_exporter)_\w+", block.text))
        assert used <= documented, f"{block.where}: {used - documented}"


# Expressions that return nothing for a healthy exporter that sends no requests to AWS, has one account, and no web configuration.
QUIET = (
    "increase(iam_key_exporter_check_failures_total",
    "left_organization",
    "iam_key_exporter_organization_",
    "iam_key_exporter_aws_request",
    "iam_key_exporter_clock_skew",
    "iam_key_exporter_web_",
    "iam_key_exporter_account_check_overruns",
    "iam_key_exporter_account_throttled",
)


def test_expressions_return_what_they_are_for(tmp_path, start_exporter, start_prometheus):
    """On a real Prometheus that scrapes the demo, in which every rule is violated by some user."""
    config = tmp_path / "config.yaml"
    config.write_text(EXEMPTION.format(expires="2999-12-31") + EXEMPTION.format(expires="2020-12-31").partition("\n")[2].replace("ci-*", "gone"))
    exporter = start_exporter(["--demo", f"--config.file={config}"]).wait_checked()
    prometheus = start_prometheus({"scrape_configs": [Prometheus.scrape("iam-key-exporter", exporter)]})
    wait_until(lambda: prometheus.query("count_over_time(aws_iam_users[1m]) >= 3"), what="three scrapes")
    for block in blocks(*ALL):
        if block.language == "promql":
            found = prometheus.query(block.text)
            assert bool(found) != any(quiet in block.text for quiet in QUIET), f"{block.where}: {found}"


def test_the_page_about_failing_checks_explains_every_reason():
    metrics = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    listed = re.search(r"^Reasons of `iam_key_exporter_check_failures_total`: (.*?)\.$", metrics, flags=re.M | re.S)[1]
    page = (RUNBOOKS / "IamKeyExporterAccountCheckFailing.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, flags=re.M) == re.findall(r"`(\w+)`", listed)


# --- review, choose -----------------------------------------------------------------------------------------------


@executes("account-cli")
def test_the_account_is_printed(run):
    assert run("account-cli") == ACCOUNT + "\n"


@executes("review-cli", "review-python")
def test_review_shows_each_key_with_status_age_and_last_use(run, account):
    account.iam.create_user(UserName=USER)
    assert run("review-cli") == f"{USER} has no access keys\n"
    assert run("review-python") == ""
    used = account.key(USER, created=100, used=2)["AccessKeyId"]
    never = account.key(USER, created=5, status="Inactive")["AccessKeyId"]
    dates = {key["AccessKeyId"]: f"{key['CreateDate']:%Y-%m-%d}" for key in account.iam.list_access_keys(UserName=USER)["AccessKeyMetadata"]}
    last_use = f"{account.iam.get_access_key_last_used(AccessKeyId=used)['AccessKeyLastUsed']['LastUsedDate']:%Y-%m-%d}"
    for block in ("review-cli", "review-python"):
        lines = dict(re.match(r"(\w+) +(.*)", line).groups() for line in run(block).splitlines())
        assert set(lines) == {used, never}
        assert lines[used].startswith("Active") and f"created {dates[used]}" in lines[used]
        assert f"last used {last_use}" in lines[used] and "s3" in lines[used]
        assert lines[never].startswith("Inactive") and f"created {dates[never]}" in lines[never]
        assert "never" in lines[never] and "s3" not in lines[never]


@executes("users-of-key-cli", "users-of-key-python")
def test_cloudtrail_is_queried_for_the_key(run):
    """moto has no LookupEvents: a fake server answers as AWS documents it."""
    details = {"sourceIPAddress": "203.0.113.7", "userAgent": "backup/1.0"}
    event = {"EventId": "1", "EventTime": 1795370400, "EventSource": "s3.amazonaws.com", "EventName": "ListBuckets", "CloudTrailEvent": json.dumps(details)}
    with FakeService({"Events": [event]}) as cloudtrail:
        env = {"AWS_ENDPOINT_URL_CLOUDTRAIL": cloudtrail.url}
        assert run("users-of-key-cli", env=env).split()[1:] == ["s3.amazonaws.com", "ListBuckets"]
        assert run("users-of-key-python", env=env).split()[-3:] == ["ListBuckets", "203.0.113.7", "backup/1.0"]
    for _, target, body in cloudtrail.requests:
        assert target.endswith(".LookupEvents")
        assert body["LookupAttributes"] == [{"AttributeKey": "AccessKeyId", "AttributeValue": OTHER}]
    assert len(cloudtrail.requests) == 2


@executes("try-cli", "try-python")
def test_trying_a_key_shows_its_user(run, account, tmp_path):
    account.iam.create_user(UserName=USER)
    key = account.key(USER)
    profile = tmp_path / "credentials"
    profile.write_text(f"[application]\naws_access_key_id = {key['AccessKeyId']}\naws_secret_access_key = {key['SecretAccessKey']}\n")
    # Credentials in the environment would take precedence over the profile in Python.
    env = {"AWS_SHARED_CREDENTIALS_FILE": str(profile)}
    for block in ("try-cli", "try-python"):
        assert run(block, env=env) == f"arn:aws:iam::{ACCOUNT}:user/{USER}\n"
    used = account.iam.get_access_key_last_used(AccessKeyId=key["AccessKeyId"])["AccessKeyLastUsed"]
    assert used["ServiceName"] == "sts"


# --- deactivate, verify, undo, delete -------------------------------------------------------------------------------


@pytest.fixture
def two_keys(account):
    """alice with two active keys, and another user whose name has hers as a prefix: (the key to keep, the other)."""
    for name in (USER, USER + "-2"):
        account.iam.create_user(UserName=name)
        account.key(name)
        account.key(name)
    return sorted(account.statuses(USER))


@executes("deactivate-cli", "deactivate-python")
def test_the_others_are_deactivated(run, account, two_keys):
    keep, other = two_keys
    for block in ("deactivate-cli", "deactivate-python"):
        account.iam.update_access_key(UserName=USER, AccessKeyId=other, Status="Active")
        run(block, {KEEP: keep})
        assert account.statuses(USER) == {keep: "Active", other: "Inactive"}
        assert set(account.statuses(USER + "-2").values()) == {"Active"}
        # Again, keeping the key that is inactive now: both would be inactive.
        assert f"{other} is not an active key of {USER}: nothing changed" in run(block, {KEEP: other}, fails=True)
        assert account.statuses(USER) == {keep: "Active", other: "Inactive"}


@executes("deactivate-cli", "deactivate-python")
def test_a_key_of_another_user_is_not_kept(run, account, two_keys):
    strange = next(iter(account.statuses(USER + "-2")))
    for block in ("deactivate-cli", "deactivate-python"):
        for wrong in (strange, two_keys[0][:-1], "AKIA"):
            assert "nothing changed" in run(block, {KEEP: wrong}, fails=True)
    assert set(account.statuses(USER).values()) == {"Active"}


@executes("verify-cli", "verify-python")
def test_verify_distinguishes_one_key_from_two(run, account, two_keys):
    assert run("verify-cli") == "2\n"
    assert f"{USER} has 2 active keys" in run("verify-python", fails=True)
    account.iam.update_access_key(UserName=USER, AccessKeyId=two_keys[1], Status="Inactive")
    assert run("verify-cli") == "1\n"
    assert run("verify-python") == f"{USER}: 1 active\n"


@executes("verify-exporter", "multiple-review")
def test_the_exporter_distinguishes_one_key_from_two(run, account, two_keys):
    run("verify-exporter", fails=True)
    review = run("multiple-review")
    assert re.search(r"keep key \d, deactivate key \d", review) and all(key in review for key in two_keys)
    account.iam.update_access_key(UserName=USER, AccessKeyId=two_keys[1], Status="Inactive")
    assert "1 compliant" in run("verify-exporter")  # and exits with 0


@executes("undo-cli", "undo-python")
def test_undo_activates_the_key(run, account, two_keys):
    for block in ("undo-cli", "undo-python"):
        account.iam.update_access_key(UserName=USER, AccessKeyId=two_keys[1], Status="Inactive")
        run(block, {OTHER: two_keys[1]})
        assert set(account.statuses(USER).values()) == {"Active"}


@executes("delete-cli", "delete-python")
def test_only_inactive_keys_are_deleted(run, account):
    account.iam.create_user(UserName=USER)
    for block in ("delete-cli", "delete-python"):
        active = account.key(USER)["AccessKeyId"]
        inactive = account.key(USER, status="Inactive")["AccessKeyId"]
        for wrong in (active, OTHER):
            replace = {OTHER: wrong} if wrong != OTHER else None
            assert f"{wrong} is not an inactive key of {USER}: nothing deleted" in run(block, replace, fails=True)
        assert len(account.statuses(USER)) == 2
        run(block, {OTHER: inactive})
        assert account.statuses(USER) == {active: "Active"}
        account.iam.delete_access_key(UserName=USER, AccessKeyId=active)


# --- all users ------------------------------------------------------------------------------------------------------


@pytest.fixture
def violating(account):
    """Creates users of every kind. Returns, for those in violation, the key to keep and the others."""

    def user(name, *keys):
        account.iam.create_user(UserName=name)
        return [account.key(name, **key)["AccessKeyId"] for key in keys]

    user("none")
    user("one", dict(created=200, used=1))
    user("one-active", dict(created=200, used=1), dict(created=10, status="Inactive"))
    return {
        # used last
        "bob": user("bob", dict(created=50, used=20), dict(created=60, used=1))[::-1],
        # used, before never used
        "bobby": user("bobby", dict(created=10), dict(created=20, used=30))[::-1],
        # younger than 90 days, before used last
        "a,b=c@d.e_f+g-h": user("a,b=c@d.e_f+g-h", dict(created=91, used=1), dict(created=80))[::-1],
        # neither used: the newest
        "-dash": user("-dash", dict(created=3), dict(created=2))[::-1],
        # both older than 90 days: used last
        "old": user("old", dict(created=300, used=2), dict(created=200, used=100)),
    }


def all_statuses(moto):
    pages = moto.iam.get_paginator("list_users").paginate()
    return {user["UserName"]: moto.statuses(user["UserName"]) for page in pages for user in page["Users"]}


def after(before, violating):
    """The expected statuses after the plan was applied."""
    off = {key for _, *others in violating.values() for key in others}
    return {user: {key: "Inactive" if key in off else status for key, status in keys.items()} for user, keys in before.items()}


@executes("all-plan-cli", "all-apply-cli", "all-undo-cli")
def test_all_users_with_the_cli(run, account, violating, tmp_path):
    before = all_statuses(account)
    printed = run("all-plan-cli")
    assert all_statuses(account) == before, "a plan changes nothing"
    rows = [line.split("\t") for line in printed.splitlines()]
    plan = {}
    for action, user, key, created, used in rows:
        assert re.match(r"\d{4}-", created) and re.match(r"\d{4}-|-$", used)
        assert (action == "keep") == (user not in plan), "the key to keep comes first"
        plan.setdefault(user, []).append(key)
    assert plan == violating
    run("all-apply-cli")
    assert all_statuses(account) == after(before, violating)
    run("all-undo-cli")
    assert all_statuses(account) == before
    # A person corrects the plan: bob keeps the other key, and old is removed.
    swapped = {"keep": "deactivate", "deactivate": "keep"}
    corrected = [[swapped[row[0]], *row[1:]] if row[1] == "bob" else row for row in rows if row[1] != "old"]
    (tmp_path / "plan.tsv").write_text("".join("\t".join(row) + "\n" for row in corrected))
    assert "old" not in run("all-plan-cli"), "it does not overwrite a plan, which is needed to undo"
    run("all-apply-cli")
    del violating["old"]
    violating["bob"].reverse()
    assert all_statuses(account) == after(before, violating)


@executes("all-plan-python", "all-apply-python", "all-undo-python")
def test_all_users_with_python(run, account, violating, tmp_path):
    run.save("one_active_key.py")
    before = all_statuses(account)
    run("all-plan-python")
    assert all_statuses(account) == before, "a plan changes nothing"
    run("all-plan-python", fails=True)  # it does not overwrite a plan
    with open(tmp_path / "plan.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    plan = {}
    for row in rows:
        assert (row["action"] == "keep") == (row["user_name"] not in plan), "the key to keep comes first"
        plan.setdefault(row["user_name"], []).append(row["key"])
    assert plan == violating
    run("all-apply-python")
    assert all_statuses(account) == after(before, violating)
    run("all-undo-python")
    assert all_statuses(account) == before
    # The key to keep was deactivated after the plan was created: its user is skipped.
    account.iam.update_access_key(UserName="bob", AccessKeyId=violating["bob"][0], Status="Inactive")
    run("all-apply-python")
    assert account.statuses("bob") == {violating["bob"][0]: "Inactive", violating["bob"][1]: "Active"}
    assert account.statuses("bobby") == {violating["bobby"][0]: "Active", violating["bobby"][1]: "Inactive"}


def test_the_script_explains_itself(account, tmp_path, request):
    import subprocess

    script = tmp_path / "one_active_key.py"
    script.write_text(named("file", HOW_TO)["one_active_key.py"].text)
    env = harness.clean_environment() | aws_environment(account.url)
    result = subprocess.run([harness.TOOLS.bin("python"), script, "destroy", "x"], env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "plan|apply|undo FILE" in result.stderr


# --- the pages of the alerts ----------------------------------------------------------------------------------------


POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'


@executes("too-long-owner")
def test_tags_groups_and_policies_of_a_user(run, account):
    account.iam.create_user(UserName=USER, Tags=[{"Key": "owner", "Value": "payments"}])
    account.iam.create_group(GroupName="writers")
    account.iam.add_user_to_group(GroupName="writers", UserName=USER)
    policy = account.iam.create_policy(PolicyName="payments-writer", PolicyDocument=POLICY)["Policy"]
    account.iam.attach_user_policy(UserName=USER, PolicyArn=policy["Arn"])
    assert run("too-long-owner").split() == ["owner", "payments", "writers", "payments-writer"]


@executes("rotate-create-cli", "rotate-create-python")
def test_a_new_key_is_written_to_a_private_file(run, account, tmp_path):
    account.iam.create_user(UserName=USER)
    file = tmp_path / "new-access-key.json"
    for block in ("rotate-create-cli", "rotate-create-python"):
        assert run(block) == ""
        key = json.loads(file.read_text())["AccessKey"]
        assert account.statuses(USER) == {key["AccessKeyId"]: "Active"} and key["SecretAccessKey"]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        # It overwrites no secret, and creates no key whose secret would be lost.
        run(block, fails=True)
        assert json.loads(file.read_text())["AccessKey"] == key and len(account.statuses(USER)) == 1
        file.unlink()
        account.iam.delete_access_key(UserName=USER, AccessKeyId=key["AccessKeyId"])


@executes("unused-cli", "unused-python")
def test_an_unused_key_is_deactivated(run, account):
    account.iam.create_user(UserName=USER)
    for block in ("unused-cli", "unused-python"):
        key, other = account.key(USER)["AccessKeyId"], account.key(USER)["AccessKeyId"]
        run(block, {OTHER: key})
        assert account.statuses(USER) == {key: "Inactive", other: "Active"}
        for each in (key, other):
            account.iam.delete_access_key(UserName=USER, AccessKeyId=each)


@executes("root-summary", "dropped-count", "details-allowed", "vanished-identity", "failing-identity", "stale-report")
def test_commands_about_the_account(run, account):
    for name in ("a", "b", "c"):
        account.iam.create_user(UserName=name)
    assert run("root-summary") == "0\n"
    assert run("dropped-count") == "3\n3\n"
    assert run("details-allowed").split() == ["a", "b", "c"]
    assert run("vanished-identity") == ACCOUNT + "\n"
    assert run("failing-identity").startswith("arn:aws:")
    assert re.fullmatch(r"(STARTED|INPROGRESS|COMPLETE)\n\d{4}-\S+\n", run("stale-report"))


@executes("unnamed-check", "nothing-checked", "failing-check", "failing-by-hand", "unknown-check", "unknown-by-hand")
def test_a_manual_check_names_the_users_in_violation(run, account, two_keys, tmp_path):
    for block in ("unnamed-check", "nothing-checked", "failing-check"):
        run(block, fails=True)
    assert "exit code 1" in run("failing-by-hand")
    rows = (tmp_path / "access-keys.csv").read_text()
    assert USER in rows and USER + "-2" in rows
    with Recorder(account.url, lambda operation, parameters: parameters.get("UserName") == USER) as recorder:
        output = run("unknown-check", env={"AWS_ENDPOINT_URL": recorder.url})
    assert re.search(rf"^ *{USER} +unknown ", output, flags=re.M) and "access_denied" in output and "exit code 3" in output
    assert all(key in run("unknown-by-hand") for key in two_keys)
    for name in (USER, USER + "-2"):
        account.iam.update_access_key(UserName=name, AccessKeyId=sorted(account.statuses(name))[1], Status="Inactive")
    for block in ("unnamed-check", "nothing-checked", "failing-check"):
        assert "2 compliant" in run(block)
    assert "exit code" not in run("failing-by-hand")


@executes("unmatched-user")
def test_a_user_is_shown_with_its_arn_and_status(run, account, two_keys):
    arn = f"arn:aws:iam::{ACCOUNT}:user/{USER}\n"
    account.iam.update_access_key(UserName=USER, AccessKeyId=two_keys[1], Status="Inactive")
    assert run("unmatched-user").startswith(arn) and "1 compliant" in run("unmatched-user")


CONFIG = "/etc/iam-key-exporter/config.yaml"
EXEMPTION = """exemptions:
  - user: "ci-*"
    reason: rotation tool keeps two keys
    expires: {expires}
"""


@executes("exemption-verify", "expired-exemptions", "down-config", "reload-verify")
def test_verify_config_shows_exemptions_and_errors(run, tmp_path):
    config = tmp_path / "config.yaml"
    here = {CONFIG: str(config)}
    config.write_text(EXEMPTION.format(expires="2999-12-31"))
    for block in ("exemption-verify", "down-config", "reload-verify"):
        assert "2999-12-31" in run(block, here)
    assert "4:    expires: 2999-12-31" in run("expired-exemptions", here)
    config.write_text(EXEMPTION.format(expires="tomorrow"))
    for block in ("exemption-verify", "down-config", "reload-verify"):
        complaint = run(block, here, fails=True)
        assert str(config) in complaint and "expires" in complaint and "4" in complaint


@executes("down-health", "absent-metrics", "reload")
def test_requests_to_a_running_exporter(run, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(EXEMPTION.format(expires="2999-12-31"))
    with Exporter(["--demo", f"--config.file={config}", "--web.enable-lifecycle"]) as exporter:
        here = {"localhost:19674": f"127.0.0.1:{exporter.port}"}
        run("down-health", here)
        assert run("absent-metrics", here).startswith("iam_key_exporter_build_info{")
        run("reload", here)
        config.write_text("polic: {}\n")
        run("reload", here, fails=True)
        assert exporter.metrics().value("iam_key_exporter_config_last_reload_successful") == 0
    for block in ("down-health", "reload", "absent-metrics"):
        run(block, here, fails=True)
