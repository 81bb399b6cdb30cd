"""Rules, dashboards and runbooks agree with docs/metrics.md, and docs/metrics.md with a scrape."""

import json
import re

import pytest
import yaml

from harness import ROOT, Exporter, Samples, wait_until

RULE_FILES = [ROOT / "alerts" / "rules" / "recording.yaml", ROOT / "alerts" / "rules" / "alerts.yaml"]
DASHBOARDS = sorted((ROOT / "dashboards").glob("*.json"))
OURS = ("aws_iam_", "iam_key_exporter_")

# Public metrics that neither a rule nor a panel uses, and the reason.
UNUSED = {
    "iam_key_exporter_web_config_last_reload_success_timestamp_seconds": "for the investigation of a failed reload",
}
# Metrics that a scrape of the demo does not contain, and the reason.
NOT_IN_THE_DEMO = {
    "iam_key_exporter_aws_requests_total": "the demo sends no request to AWS",
    "iam_key_exporter_aws_request_failures_total": "the demo sends no request to AWS",
    "iam_key_exporter_clock_skew_seconds": "the demo sends no request to AWS",
    "iam_key_exporter_web_config_last_reload_successful": "the demo has no web configuration",
    "iam_key_exporter_web_config_last_reload_success_timestamp_seconds": "the demo has no web configuration",
    "iam_key_exporter_web_certificate_expiry_timestamp_seconds": "the demo has no web configuration",
}


def documented():
    """The metrics of docs/metrics.md: name to labels; `tag_*` stands for any label that begins so."""
    found = {}
    for line in (ROOT / "docs" / "metrics.md").read_text().splitlines():
        row = re.match(r"\| `((?:aws_iam|iam_key_exporter)_\w+)` \| (gauge|counter|histogram) \| (.*?) \|", line)
        if row:
            found[row[1]] = set(re.findall(r"`([\w*]+)", row[3])) | ({"le"} if row[2] == "histogram" else set())
    return found


def family(name, metrics):
    """The family of a series, which for histograms has another name."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if "le" in metrics.get(base, ()) else name


def used(expression):
    """(name, labels of its matchers) of each metric of the exporter, and of each recorded series, in an expression or a query."""
    for match in re.finditer(r"(?<![\w:$\"'])([a-zA-Z_:][\w:]*)(\s*\{([^{}]*)\})?", re.sub(r"\$\{(\w+)\}", r"$\1", expression)):
        name = match[1]
        if name.startswith(OURS) or ":" in name.strip(":"):
            matchers = re.sub(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", "''", match[3] or "")
            yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))


def rules():
    for file in RULE_FILES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                yield f"{file.name}: {rule.get('alert') or rule.get('record')}", rule


def expressions_of_rules():
    for place, rule in rules():
        yield place, str(rule["expr"])
        for annotation in rule.get("annotations", {}).values():
            for query in re.findall(r'query "([^"]+)"', annotation):
                yield place, query


def expressions_of_dashboards():
    """Every expression and every query of a variable, at any depth."""

    def texts(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("expr", "query", "definition") and isinstance(value, str):
                    yield value
                else:
                    yield from texts(value)
        elif isinstance(node, list):
            for value in node:
                yield from texts(value)

    for file in DASHBOARDS:
        for text in texts(json.loads(file.read_text())):
            yield file.name, text


def complaints(expressions, recorded):
    """Yields names and labels that are not in the contract."""
    metrics = documented()
    for place, expression in expressions:
        for name, labels in used(expression):
            if ":" in name:
                if name not in recorded:
                    yield f"{place}: no rule records {name}"
            elif (name := family(name, metrics)) not in metrics:
                yield f"{place}: docs/metrics.md does not know {name}"
            else:
                # Prometheus adds job and instance.
                for label in labels - metrics[name] - {"job", "instance"}:
                    if not (label.startswith("tag_") and "tag_*" in metrics[name]):
                        yield f"{place}: {name} has no label {label}"


def test_rules_and_dashboards_use_only_what_exists():
    recorded = {rule["record"] for _, rule in rules() if "record" in rule}
    expressions = [*expressions_of_rules(), *expressions_of_dashboards()]
    assert len(list(expressions_of_rules())) > 45 and len(DASHBOARDS) == 3
    assert list(complaints(expressions, recorded)) == []


@pytest.mark.parametrize(
    "expression, complaint",
    [
        ("sum(aws_iam_user) > 0", "docs/metrics.md does not know aws_iam_user"),
        ('aws_iam_users{state="unknown"}', "aws_iam_users has no label state"),
        ('sum by (job) (rate(iam_key_exporter_check_total{reason!="x"}[5m]))', "docs/metrics.md does not know iam_key_exporter_check_total"),
        ("iam_key_exporter:threshold:nothing", "no rule records iam_key_exporter:threshold:nothing"),
        ('label_values(aws_iam_accounts{job=~"$job"}, account_id)', "docs/metrics.md does not know aws_iam_accounts"),
    ],
)
def test_a_wrong_name_is_found(expression, complaint):
    assert list(complaints([("here", expression)], set())) == [f"here: {complaint}"]


def test_every_metric_is_used_or_there_is_a_reason():
    seen = {name for _, expression in [*expressions_of_rules(), *expressions_of_dashboards()] for name, _ in used(expression)}
    metrics = set(documented())
    seen = {family(name, documented()) for name in seen}
    assert len(metrics) > 20
    assert sorted(metrics - seen - set(UNUSED)) == [], "give each a panel, a rule, or a reason in UNUSED"
    assert sorted(set(UNUSED) & seen) == [], "used meanwhile: take it out of UNUSED"
    assert set(UNUSED) <= metrics


def test_every_recorded_series_is_used():
    recorded = {rule["record"] for _, rule in rules() if "record" in rule}
    seen = {name for _, expression in [*expressions_of_rules(), *expressions_of_dashboards()] for name, _ in used(expression)}
    assert recorded - seen == set()


def test_a_scrape_shows_what_is_documented(started):
    exporters = [started(Exporter(["--demo", f"--demo.scenario={scenario}"])) for scenario in ("account", "organization")]
    exporters[0].wait_checked()
    wait_until(lambda: "\niam_key_exporter_organization_accounts{" in exporters[1].get("/metrics").body, what="the list of accounts")
    pages = [exporter.get("/metrics").body for exporter in exporters]
    scraped = {name for page in pages for name in re.findall(r"^# TYPE (\S+) ", page, re.MULTILINE)}
    ours = {name for name in scraped if name.startswith(OURS)}
    metrics = documented()
    assert ours | set(NOT_IN_THE_DEMO) == set(metrics)
    for key in {key for page in pages for key in Samples.parse(page)}:
        name, _, labels = key.partition("{")
        if name in metrics:
            present = set(re.findall(r'(?:^|,)(\w+)="', labels))
            plain = {label for label in metrics[name] if label != "tag_*"}
            # Optional labels depend on a flag; all others are present.
            assert present - plain <= {label for label in present if label.startswith("tag_") and "tag_*" in metrics[name]}, key


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    alerts = {rule["alert"] for _, rule in rules() if "alert" in rule}
    pages = {path.stem for path in (ROOT / "docs" / "runbooks").glob("IamKey*.md")}
    assert pages == alerts
    for _, rule in rules():
        if "alert" in rule:
            page = rule["annotations"]["runbook_url"].partition("/blob/main/")[2]
            assert (ROOT / page).is_file(), page
