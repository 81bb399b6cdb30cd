"""Alert rules: promtool's checks, their unit tests (alerts/tests), mutation tests of these, and alerts/check-rules."""

import concurrent.futures
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from harness import ROOT, TOOLS

ALERTS = ROOT / "alerts"
RECORDING = ALERTS / "rules" / "recording.yaml"
RULES = ALERTS / "rules" / "alerts.yaml"
TESTS = sorted((ALERTS / "tests").glob("*.yaml"))
# The newest and the oldest supported version.
PROMTOOLS = ["promtool", "promtool-2.42"]

RUNBOOKS = "https://github.com/iam-key-exporter/iam-key-exporter/blob/main/docs/runbooks/"


def run(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, timeout=600, **options)


def rules(file):
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


ALERT_RULES = {rule["alert"]: rule for rule in rules(RULES)}


# --- promtool -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("promtool", PROMTOOLS)
def test_promtool_accepts_the_rules(promtool):
    result = run(TOOLS.bin(promtool), "check", "rules", "--lint=all", "--lint-fatal", RECORDING, RULES)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("SUCCESS") == 2


@pytest.mark.parametrize("file", TESTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("promtool", PROMTOOLS)
def test_unit_tests(promtool, file):
    result = run(TOOLS.bin(promtool), "test", "rules", file)
    assert result.returncode == 0, result.stdout + result.stderr


# --- form ---------------------------------------------------------------------------------------------------------


def test_there_is_one_file_of_recording_rules_and_one_of_alerts():
    assert all("record" in rule for rule in rules(RECORDING))
    assert all("alert" in rule for rule in rules(RULES))
    assert sorted(path.name for path in (ALERTS / "rules").iterdir()) == ["alerts.yaml", "recording.yaml"]


def test_group_names_are_unique():
    """Two groups of one name are legal in two files, but not in one PrometheusRule; and tests could not order them."""
    names = [group["name"] for file in (RECORDING, RULES) for group in yaml.safe_load(file.read_text())["groups"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ALERT_RULES)
def test_an_alert_has_the_common_structure(name):
    rule = ALERT_RULES[name]
    assert re.fullmatch(r"IamKey([A-Z][a-z]+)+", name)
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    annotations = rule["annotations"]
    assert {"summary", "description", "runbook_url"} <= annotations.keys() <= {"summary", "description", "runbook_url", "since"}
    assert annotations["runbook_url"] == f"{RUNBOOKS}{name}.md"
    assert not annotations["summary"].endswith(".") and annotations["description"].endswith(".")


def test_every_threshold_is_used_and_defined_once():
    defined = {rule["record"] for rule in rules(RECORDING) if rule["record"].startswith("iam_key_exporter:threshold:")}
    text = RECORDING.read_text() + RULES.read_text()
    used = re.findall(r"iam_key_exporter:threshold:\w+", re.sub(r"- record: .*", "", text))
    assert defined and defined == set(used)
    # No other expression compares with a number that is a hidden threshold.
    for rule in [*ALERT_RULES.values(), *(rule for rule in rules(RECORDING) if rule["record"] not in defined)]:
        assert set(re.findall(r"[<>=]=?\s*(?:bool )?(\d[\d.]*)", rule["expr"])) <= {"0", "1"}, rule


@pytest.mark.parametrize("name", ALERT_RULES)
def test_the_unit_tests_show_each_alert_firing_and_silent(name):
    cases = [
        case
        for file in TESTS
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
        if case["alertname"] == name
    ]
    firing = [alert for case in cases for alert in case["exp_alerts"]]
    assert firing and any(not case["exp_alerts"] for case in cases)
    for alert in firing:
        assert alert["exp_labels"]["severity"] == ALERT_RULES[name]["labels"]["severity"]
        assert alert["exp_annotations"].keys() == ALERT_RULES[name]["annotations"].keys()


# --- mutation tests of the unit tests -----------------------------------------------------------------------------


def minutes(duration, change):
    return f"{int(duration.removesuffix('m')) + change}m"


def replace_once(text, old, new):
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
    return text.replace(old, new)


def alert_text(text, name):
    """The lines of one alert."""
    start = text.index(f"      - alert: {name}\n")
    end = re.compile(r"^(?: {0,5}| {6}(?=[-#]).*)\S.*$|\Z", re.MULTILINE).search(text, start + 1)
    return text[start : end.start()]


def mutants():
    """Changes every threshold, `for`, `keep_firing_for` and severity, and removes or replaces parts of the expressions.

    Each mutant is a description, the alert whose tests should fail, and the text of the two files.
    """
    recording, alerts = RECORDING.read_text(), RULES.read_text()
    for match in re.finditer(r"- record: (iam_key_exporter:threshold:\w+)\n +expr: (.*)\n", recording):
        for factor in ("0.75", "1.25"):
            changed = match[0].replace(f"expr: {match[2]}", f"expr: ({match[2]}) * {factor}")
            users = [name for name in ALERT_RULES if match[1] in alert_text(alerts, name)] or ["IamKeyExporterFactsStale"]
            yield f"{match[1]} * {factor}", users[0], recording.replace(match[0], changed), alerts
    for name, rule in ALERT_RULES.items():
        own = alert_text(alerts, name)
        changes = [("severity: ", "severity: un")]
        if "for" in rule:
            changes += [(f"        for: {rule['for']}", f"        for: {minutes(rule['for'], by)}") for by in (-1, +1)]
        if "keep_firing_for" in rule:
            changes.append((f"        keep_firing_for: {rule['keep_firing_for']}\n", ""))
        for old, new in changes:
            yield f"{name}: {old.strip()} -> {new.strip()}", name, recording, alerts.replace(own, replace_once(own, old, new))
    multiple, down = "IamKeyMultipleActive", "IamKeyExporterDown"
    stale, failing = "IamKeyExporterFactsStale", "IamKeyExporterAccountCheckFailingTooLong"
    seen = "job_account_user_rule:iam_key_finding_last_seen_timestamp_seconds:max"
    known = "last_over_time(job_account_user_rule:iam_key_finding:last_known[1h])"
    day = f"last_over_time({seen}[1h]) > time() - 24 * 3600"
    answered = "iam_key_exporter_account_up == 1 and on (job, instance, account_id) aws_iam_users"
    older = f" on (job, account_id) group_left ()\n            {seen}"
    account_names = "job_account_name:aws_iam_account_info_last_seen_timestamp_seconds:max"
    owners = "job_account_user_owner:aws_iam_user_info_last_seen_timestamp_seconds:max"
    clock = "job_account:iam_key_exporter_account_failing_since_timestamp_seconds:min"
    reports = "clamp_min(\n            job_account:iam_key_exporter_facts_age_limit_seconds:base\n              and on (job, account_id) aws_iam_account_info{collector=\"report\"}"
    for alert, old, new in (
        # Replicas are no longer merged, or the wrong one counts.
        (failing, "max by (job, account_id) (iam_key_exporter_account_up)", "iam_key_exporter_account_up"),
        (down, "max by (job) (up{", "min by (job) (up{"),
        (stale, "max by (job, account_id) (iam_key_exporter_account_facts", "min by (job, account_id) (iam_key_exporter_account_facts"),
        ("IamKeyExporterConfigReloadFailed", "min by (job) (iam_key_exporter_config", "max by (job) (iam_key_exporter_config"),
        ("IamKeyExporterUsersUnknown", "max by (job, account_id, status)", "min by (job, account_id, status)"),
        ("IamKeyExporterUserDetailsFailing", "max by (job, account_id) (aws_iam_account_user_details_up)", "min by (job, account_id) (aws_iam_account_user_details_up)"),
        ("IamKeyExemptionUnmatched", "group, tag, account, rule) (aws_iam_exemption_matched)", "group, tag, account, rule, instance) (aws_iam_exemption_matched)"),
        ("IamKeyExemptionUnmatched", "max by (job, user, path, group, tag, account, rule) (aws_iam_exemption_matched)", "min by (job, user, path, group, tag, account, rule) (aws_iam_exemption_matched)"),
        # Missing data resolves a finding immediately or before a day has passed; or findings persist for longer than a day.
        (multiple, known, "job_account_user_rule:iam_key_finding:max"),
        (multiple, f"{day}\n", f"job_account_user_rule:iam_key_finding:max\n"),
        ("IamKeyTooOld", day, day.replace("24", "23")),
        ("IamKeyTooOld", day, day.replace("24", "25")),
        # A failed check, or one without an inventory, resolves a finding.
        ("IamKeyTooOld", answered, "iam_key_exporter_account_up"),
        ("IamKeyUnused", answered, "iam_key_exporter_account_up == 1"),
        ("IamKeyTooOld", answered, "aws_iam_users"),
        # A fix does not resolve a finding.
        (multiple, f"              <{older}", f"              >{older}"),
        # Names: dropped immediately, or two at a time.
        (multiple, f"          or\n          last_over_time({account_names}[1h]) > time() - 24 * 3600\n", ""),
        (multiple, f"            or\n            last_over_time({owners}[1h])\n", ""),
        (multiple, "topk by (job, account_id, user_name) (1,", "topk by (job, account_id, user_name) (2,"),
        # The start of failing checks: reset by a restart, or not reset by a success.
        (failing, f"{clock}[1h])\n              unless", f"{clock}[1m])\n              unless"),
        (failing, f'< on (job, account_id)\n              {seen}{{rule=""}}\n            )', f'< on (job, account_id)\n              {seen}{{rule="-"}}\n            )'),
        # Reports and files have the limit of live inventories; the duration of a check is not added.
        (stale, 'aws_iam_account_info{collector="report"}', 'aws_iam_account_info{collector="-"}'),
        (stale, 'aws_iam_account_info{collector="file"}', 'aws_iam_account_info{collector="-"}'),
        (stale, reports, reports.replace("clamp_min", "clamp_max")),
        (stale, "            + on (job) group_left ()", "            * 0 + on (job) group_left ()"),
        ("IamKeyExporterThrottled", 'code=~"Throttling.*"', 'code=~".+"'),
        ("IamKeyExporterThrottled", 'code=~"Throttling.*"', 'code="Throttling"'),
        ("IamKeyExporterCheckOverruns", "max by (job, account_id) (increase(", "min by (job, account_id) (increase("),
        ("IamKeyExporterCheckOverruns", "check_overruns_total[1h]", "check_overruns_total[2h]"),
        # Shards and organisations.
        ("IamKeyExporterShardMissing", 'count by (job) (count_values by (job) ("shard", iam_key_exporter_shard_ordinal))', "count by (job) (iam_key_exporter_shard_ordinal)"),
        ("IamKeyExporterShardMissing", "max by (job) (iam_key_exporter_total_shards)", "sum by (job) (iam_key_exporter_total_shards)"),
        ("IamKeyExporterShardsMismatched", "min by (job) (iam_key_exporter_total_shards)", "max by (job) (iam_key_exporter_total_shards)"),
        ("IamKeyExporterShardMissingTooLong", "\n            and on (job) job:iam_key_exporter_shards_missing:count > 0", ""),
        ("IamKeyExporterShardMissingTooLong", "          last_over_time(job:iam_key_exporter_shards_complete_timestamp_seconds:max[1h])\n            and on (job) job:iam_key_exporter_shards_missing:count > 0\n          or\n", ""),
        ("IamKeyExporterOrganizationListingFailing", "min by (job) (iam_key_exporter_organization_up)", "max by (job) (iam_key_exporter_organization_up)"),
        ("IamKeyExporterOrganizationStale", "min by (job) (iam_key_exporter_organization_last", "max by (job) (iam_key_exporter_organization_last"),
        ("IamKeyExporterOrganizationFiltersUnmatched", "max by (job) (iam_key_exporter_organization_unmatched", "min by (job) (iam_key_exporter_organization_unmatched"),
        ("IamKeyExporterUsersDropped", "max by (job, account_id) (sum without (status) (aws_iam_users))", "sum by (job, account_id) (job_account_status:aws_iam_users:max)"),
        ("IamKeyExporterClockSkew", "max by (job) (abs(", "min by (job) (abs("),
        ("IamKeyExporterClockSkew", "abs(iam_key_exporter_clock_skew_seconds)", "(iam_key_exporter_clock_skew_seconds)"),
    ):
        yield f"{old} -> {new}", alert, replace_once(recording, old, new), alerts
    for alert, old, new in (
        (down, " unless on () job:up:max == 0", ""),
        ("IamKeyExporterAccountVanished", "            unless on (job) job:up:max == 0\n", ""),
        ("IamKeyExporterAccountVanished", ':max{account_id!="unknown"}[1d]', ":max[1d]"),
        ("IamKeyExporterAccountVanished", "            unless on (job) job:iam_key_exporter_shards_missing:count > 0\n        for", "        for"),
        ("IamKeyExemptionUnmatched", "            unless on (job) job:iam_key_exporter_shards_missing:count > 0\n            unless", "            unless"),
        ("IamKeyExporterOrganizationListingFailing", "{{ if eq .Labels.job $labels.job }}", "{{ if true }}"),
        ("IamKeyExporterUsersDropped", "max_over_time(job_account:aws_iam_users:sum[6h])", "max_over_time(job_account:aws_iam_users:sum[8h])"),
        ("IamKeyExporterUsersDropped", "max_over_time(job_account:aws_iam_users:sum[6h])", "max_over_time(job_account:aws_iam_users:sum[4h])"),
        ("IamKeyExemptionExpiresSoon", ") > time()\n", ")\n"),
        ("IamKeyExemptionUnmatched", "            unless\n          job_exemption:aws_iam_exemption_expires_timestamp_seconds:max <= time()\n", ""),
        ("IamKeyExemptionUnmatched", "\n              unless on (job) job_account:aws_iam_account_user_details_up:max == 0", ""),
        ("IamKeyExemptionUnmatched", '            job_exemption:aws_iam_exemption_matched:max{group="", tag=""} == 0\n            or\n', ""),
        ("IamKeyExporterCheckOverruns", "          unless on (job, account_id) job_account:iam_key_exporter_account_up:max == 0\n", ""),
        ("IamKeyExporterNothingChecked", "timestamp_seconds:max[1d])", "timestamp_seconds:max[1h])"),
        ("IamKeyExporterNothingChecked", f"            or\n            max by (job) ({clock})\n", ""),
        ("IamKeyTooOld", '{rule="multiple_active_keys", user_name!=""}\n        labels', '{user_name!=""}\n        labels'),
        ("IamKeyRootActive", '{rule!="root_access_key", user_name=""}', '{user_name=""}'),
    ):
        assert old in alerts, old
        yield f"{old} -> {new}", alert, recording, alerts.replace(old, new)


def cases_about(file, alert):
    """A pattern of the names of the tests in a file that mention the alert; None if there are none."""
    names = [test["name"] for test in yaml.safe_load(file.read_text())["tests"] if f"'{alert}'" in repr(test)]
    # Go's regular expressions have no escaped space.
    return f"^({'|'.join(re.escape(name).replace(chr(92) + ' ', ' ') for name in names)})$" if names else None


def survives(alert, recording, alerts, place):
    """Whether all unit tests pass with these rules, which are written below `place`."""
    (place / "rules").mkdir(parents=True)
    (place / "rules" / "recording.yaml").write_text(recording)
    (place / "rules" / "alerts.yaml").write_text(alerts)
    shutil.copytree(ALERTS / "tests", place / "tests")
    # One failed test is enough: those about the alert first.
    about = [(file.name, [f"--run={cases_about(file, alert)}"]) for file in TESTS if cases_about(file, alert)]
    for file, selection in [*about, *((file.name, []) for file in TESTS)]:
        result = run(TOOLS.bin("promtool"), "test", "rules", *selection, place / "tests" / file)
        if result.returncode:
            # The failure must be an expectation or an evaluation, not a rule that cannot be parsed.
            output = result.stdout + result.stderr
            assert re.search(r"exp:|time: \w+, err:", output), output
            return False
    return True


def test_the_unit_tests_detect_every_mutant(tmp_path):
    changes = list(mutants())
    assert len(changes) > 120

    def survivor(numbered):
        number, (description, *mutant) = numbered
        return description if survives(*mutant, tmp_path / str(number)) else None

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert [description for description in pool.map(survivor, enumerate(changes)) if description] == []


# --- alerts/check-rules -------------------------------------------------------------------------------------------


def check_rules(*files, promtool="promtool"):
    return run(TOOLS.bin("python"), ALERTS / "check-rules", "--promtool", TOOLS.bin(promtool), *files)


@pytest.mark.parametrize("promtool", PROMTOOLS)
def test_check_rules_accepts_the_shipped_rules(promtool):
    result = check_rules(promtool=promtool)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("alerts.yaml: fine\n")


def test_check_rules_accepts_a_changed_threshold(tmp_path):
    file = tmp_path / "recording.yaml"
    file.write_text(replace_once(RECORDING.read_text(), "expr: 14 * 24 * 3600", "expr: 30 * 24 * 3600"))
    result = check_rules(file, RULES)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ("expr: 24 * 3600", "expr: 1d", "recording.yaml:9: iam_key_exporter:threshold:multiple_active_too_long_seconds: '1d' is not a number"),
        ("expr: 24 * 3600", "expr: -1", "multiple_active_too_long_seconds: -1 is out of range; wanted: 0 or more seconds"),
        ("expr: 24 * 3600", "expr: up", "multiple_active_too_long_seconds: 'up' is not a number"),
        ("expr: 24 * 3600", "expr: 24 *", '"iam_key_exporter:threshold:multiple_active_too_long_seconds"'),
        ("expr: 14 * 24 * 3600", "expr: 0", "exemption_expires_soon_seconds: 0 is out of range; wanted: more than 0 seconds"),
        ("expr: 6 * 3600", "expr: 48 * 3600", "unchecked_too_long_seconds: 172800 is out of range; wanted: more than 0 and less than 86400"),
        ("expr: 2\n", "expr: 0.5\n", "facts_stale_intervals: 0.5 is out of range; wanted: 1 or more check intervals"),
        ("expr: 5 * 3600", "expr: 3600", "facts_stale_report_seconds: 3600 is out of range; wanted: 14400 or more seconds"),
        ("expr: 26 * 3600", "expr: 0", "facts_stale_file_seconds: 0 is out of range"),
        ("expr: 0.2\n", "expr: 20\n", "users_dropped_ratio: 20 is out of range; wanted: more than 0 and at most 1: a fraction, not per cent"),
        ("expr: 5\n", "expr: 0\n", "users_dropped_count: 0 is out of range; wanted: 1 or more users"),
        ("expr: 0.05\n", "expr: 5\n", "throttled_ratio: 5 is out of range"),
        ("threshold:throttled_ratio\n", "threshold:throtled_ratio\n", "throtled_ratio: there is no such threshold; did you mean iam_key_exporter:threshold:throttled_ratio?"),
        ("threshold:throttled_ratio\n", "threshold:users_dropped_ratio\n", "1 duplicate rule(s) found.\nMetric: iam_key_exporter:threshold:users_dropped_ratio"),
        ("threshold:throttled_ratio\n", "other:ratio\n", "iam_key_exporter:threshold:throttled_ratio: missing"),
    ],
)
def test_check_rules_refuses_by_name(tmp_path, old, new, complaint):
    file = tmp_path / "recording.yaml"
    file.write_text(replace_once(RECORDING.read_text(), old, new))
    result = check_rules(file, RULES)
    assert result.returncode == 1
    assert complaint in result.stderr, result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "change, complaint",
    [
        (("for: 15m", "for: 15"), "15"),
        (("        for: 15m", "        forr: 15m"), "forr"),
        (("expr: job:up:max == 0", "expr: job:up:max = 0"), "IamKeyExporterDown"),
    ],
)
def test_check_rules_prints_the_errors_of_promtool(tmp_path, change, complaint):
    file = tmp_path / "alerts.yaml"
    file.write_text(RULES.read_text().replace(*change, 1))
    result = check_rules(RECORDING, file)
    assert result.returncode == 1
    assert complaint in result.stderr and str(file) in result.stderr, result.stderr


def test_check_rules_names_a_missing_file():
    result = check_rules(pathlib.Path("no-such-file.yaml"))
    assert result.returncode == 2
    assert "no-such-file.yaml: no such file" in result.stderr
