"""The dashboards are well-formed, ask only for what there is, and show the truth: on the exporter's demo and on made-up fleets."""

import contextlib
import copy
import json
import re
import shutil
import subprocess
import sys
import time

import pytest

import fleet
from dashlint import FOLDER, dashboard_problems, fill, panels
from harness import ROOT, TOOLS, Exporter, Prometheus, free_port, wait_until

UIDS = ("iam-key-exporter-overview", "iam-key-exporter-drilldown", "iam-key-exporter-health")
OVERVIEW, DRILLDOWN, HEALTH = UIDS
DASHBOARDS = {uid: json.loads((FOLDER / f"{uid}.json").read_text()) for uid in UIDS}
ALL = {"job": ".+", "account_id": ".+", "user_name": ".+"}
NOW, DAY = 1795366800, 86400

# Queries (panel and refId) that may give nothing, and why. All others always give something.
NOTHING_WRONG = "lists what is wrong, and nothing is"
NO_REQUESTS = "the demo makes no request to AWS"
MAY_BE_EMPTY = {
    (OVERVIEW, "Users with more than one active key", "ABCDEF"): NOTHING_WRONG,
    (OVERVIEW, "Users with old or unused keys", "ABCDEF"): NOTHING_WRONG,
    (OVERVIEW, "Violations over time, by account", "A"): NOTHING_WRONG,
    (DRILLDOWN, "Findings", "ABCDEF"): NOTHING_WRONG,
    (DRILLDOWN, "Active keys by user", "A"): NOTHING_WRONG,
    (HEALTH, "Accounts", "F"): NOTHING_WRONG,
    (HEALTH, "Failed checks by reason", "A"): NOTHING_WRONG,
    (HEALTH, "Failed requests", "A"): NOTHING_WRONG,
}
EMPTY_IN_THE_DEMO = {
    (HEALTH, "Requests by operation", "A"): NO_REQUESTS,
    (HEALTH, "Throttled share", "A"): NO_REQUESTS,
}


def keys_of(table):
    return {(uid, title, ref) for uid, title, refs in table for ref in refs}


def queries(uid):
    for panel in panels(DASHBOARDS[uid]):
        for target in panel["targets"]:
            yield panel, target


def run(*arguments):
    return subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=300)


# --- Prometheus ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def prometheus_of_fleet(*arguments, version=""):
    """A Prometheus that has the metrics of a made-up fleet, the last ones of the moment NOW."""
    prometheus = Prometheus({}, arguments=["--storage.tsdb.retention.time=100y"], version=version)
    text = prometheus.directory / "fleet.om"
    with text.open("w") as out:
        command = [sys.executable, fleet.__file__, "--now", NOW, "--step", 60, *arguments]
        subprocess.run([str(a) for a in command], stdout=out, check=True, timeout=300)
    imported = run(TOOLS.bin("promtool"), "tsdb", "create-blocks-from", "openmetrics", text, prometheus.directory / "data")
    assert imported.returncode == 0, imported.stderr
    with prometheus:
        yield prometheus
    shutil.rmtree(prometheus.directory / "data", ignore_errors=True)


def ask(prometheus, panel, target, now, chosen=ALL, span=600, scrape=60):
    """The answer that Grafana would get: {labels: newest value}; for graphs every series of the range counts."""
    if panel.get("interval"):
        scrape = int(panel["interval"].removesuffix("m")) * 60
    step = max(scrape, span // 600)
    expression = fill(target["expr"], chosen, step, scrape, span)
    if target["instant"]:
        answer = prometheus.query(expression, time=now)
    else:
        # Grafana asks for multiples of the step; here the last one is `now`, for the sake of short histories.
        answer = [(labels, values[-1][1]) for labels, values in prometheus.query_range(expression, now - span // step * step, now, step)]
    result = {tuple(sorted(labels.items())): value for labels, value in answer}
    assert len(result) == len(answer)
    return result


def empty_queries(prometheus, now, chosen=ALL, **options):
    """Asks for everything; which queries gave nothing."""
    return {
        (uid, panel["title"], target["refId"])
        for uid in UIDS for panel, target in queries(uid) if not ask(prometheus, panel, target, now, chosen, **options)
    }


def value(prometheus, uid, title, ref="A", now=NOW, chosen=ALL):
    """The only value of a query, or None."""
    [(panel, target)] = [(p, t) for p, t in queries(uid) if p["title"] == title and t["refId"] == ref]
    answer = ask(prometheus, panel, target, now, chosen)
    assert len(answer) <= 1
    return next(iter(answer.values()), None)


@pytest.fixture(scope="module")
def demo():
    """A Prometheus that scrapes the exporter's demo every second, and has done so for a while."""
    with Exporter(["--demo"]) as exporter:
        exporter.wait_checked()
        with Prometheus({"scrape_configs": [Prometheus.scrape("iam-key-exporter", exporter)]}) as prometheus:
            wait_until(lambda: prometheus.query('count_over_time(up{job="iam-key-exporter"}[5m]) >= 4'))
            yield prometheus


ACCOUNTS, USERS = 16, 12
SMALL = ("--accounts", ACCOUNTS, "--users", USERS, "--hours", 0.25)


@pytest.fixture(scope="module")
def bad():
    with prometheus_of_fleet("--state", "bad", *SMALL) as prometheus:
        yield prometheus


@pytest.fixture(scope="module")
def good():
    """One account of ten users, nothing wrong."""
    with prometheus_of_fleet("--state", "good", "--accounts", 1, "--users", 10, "--hours", 0.25) as prometheus:
        yield prometheus


@pytest.fixture(scope="module")
def large():
    with prometheus_of_fleet("--state", "bad", "--accounts", 500, "--users", 6, "--hours", 0.17) as prometheus:
        yield prometheus


# --- the files ----------------------------------------------------------------------------------------------------


def test_the_files_are_what_the_script_writes(tmp_path):
    written = run(ROOT / "scripts/dashboards", tmp_path)
    assert written.returncode == 0, written.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in FOLDER.glob("*.json")) == sorted(f"{u}.json" for u in UIDS)
    for path in tmp_path.iterdir():
        assert path.read_text() == (FOLDER / path.name).read_text(), f"{path.name} is not up to date: run scripts/dashboards"


def test_a_line_that_does_not_fill_the_grid_is_refused(tmp_path):
    source = tmp_path / "dashboards/source"
    shutil.copytree(FOLDER / "source", source)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/dashboards", tmp_path / "scripts/dashboards")
    health = source / "health.py"
    health.write_text(health.read_text().replace("width=3", "width=4", 1))
    refused = run(tmp_path / "scripts/dashboards", tmp_path)
    assert refused.returncode != 0 and "columns wide, not 24" in refused.stderr


@pytest.mark.parametrize("uid", UIDS)
def test_grafanas_own_types_accept_the_structure(uid):
    checked = run(TOOLS.bin("dashcheck"), FOLDER / f"{uid}.json")
    assert checked.returncode == 0, checked.stderr


def set_at(path, new):
    """A change of a dashboard: the value at a path of keys and indexes."""

    def change(dashboard):
        place = dashboard
        for step in path[:-1]:
            place = place[step]
        if new is KeyError:
            del place[path[-1]]
        else:
            place[path[-1]] = new

    return change


@pytest.mark.parametrize(
    "change, complaint",
    [
        (set_at(["panels", 0, "options", "colourMode"], "value"), "colourMode"),
        (set_at(["panels", 0, "options", "reduceOptions", "calc"], []), "calc"),
        (set_at(["panels", 0, "targets", 0, "expression"], "up"), "expression"),
        (set_at(["panels", 0, "gridPos", "w"], "six"), "gridPos"),
        (set_at(["panels", 0, "type"], "singlestatt"), "singlestatt"),
        (set_at(["refreshh"], "1m"), "refreshh"),
        (set_at(["schemaVersion"], "41"), "schemaVersion"),
        (set_at(["templating", "list", 0, "multii"], True), "multii"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_wrong_structure_is_found(tmp_path, change, complaint):
    dashboard = copy.deepcopy(DASHBOARDS[OVERVIEW])
    change(dashboard)
    (tmp_path / "bad.json").write_text(json.dumps(dashboard))
    checked = run(TOOLS.bin("dashcheck"), tmp_path / "bad.json")
    assert checked.returncode == 1 and complaint in checked.stderr


# --- what a linter asks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", UIDS)
def test_nothing_to_complain_about(uid):
    assert DASHBOARDS[uid]["uid"] == uid
    assert list(dashboard_problems(DASHBOARDS[uid])) == []


FIRST = ["panels", 0]
DEFAULTS = [*FIRST, "fieldConfig", "defaults"]
GRAPH = next(i for i, p in enumerate(DASHBOARDS[OVERVIEW]["panels"]) if p["type"] == "timeseries")
TABLE = next(i for i, p in enumerate(DASHBOARDS[OVERVIEW]["panels"]) if p["type"] == "table")
SELECTED = 'job=~"$job", account_id=~"$account_id"'


def expression(text):
    return set_at([*FIRST, "targets", 0, "expr"], text)


def graph_of(text):
    return set_at(["panels", GRAPH, "targets", 0, "expr"], text)


@pytest.mark.parametrize(
    "change, complaint",
    [
        (set_at(["schemaVersion"], 38), "schemaVersion 38"),
        (set_at(["__inputs"], []), "__inputs"),
        (set_at(["uid"], ""), "no uid"),
        (set_at(["uid"], "x" * 41), "uid is longer"),
        (set_at(["id"], 7), "id: belongs to"),
        (set_at(["editable"], True), "editable"),
        (set_at(["refresh"], "often"), "wrong graphTooltip or refresh"),
        (set_at(["links", 0, "keepTime"], False), "loses the time range"),
        (set_at([*FIRST, "id"], 2), "have the same id"),
        (set_at([*FIRST, "gridPos", "w"], 6), "overlap"),
        (set_at([*FIRST, "gridPos", "x"], 20), "outside of the grid"),
        (set_at([*FIRST, "title"], ""), "no title"),
        (set_at([*FIRST, "title"], "Compliance"), "two panels are called 'Compliance'"),
        (set_at([*FIRST, "description"], KeyError), "no description"),
        (set_at([*DEFAULTS, "unit"], KeyError), "unknown unit None"),
        (set_at([*DEFAULTS, "unit"], "secs"), "unknown unit 'secs'"),
        (set_at([*DEFAULTS, "noValue"], KeyError), "no text for no value"),
        (set_at([*DEFAULTS, "thresholds"], KeyError), "no thresholds"),
        (set_at([*DEFAULTS, "thresholds", "steps", 1, "color"], "grene"), "no thresholds, or wrong ones"),
        (set_at([*DEFAULTS, "thresholds", "mode"], "relative"), "no thresholds, or wrong ones"),
        (set_at([*DEFAULTS, "color", "mode"], "treshold"), "unknown colour mode"),
        (set_at([*DEFAULTS, "noval"], "x"), "unknown option 'noval'"),
        (set_at([*DEFAULTS, "thresholds", "steps", 0, "colour"], "red"), "unknown option 'colour'"),
        (set_at(["panels", TABLE, "transformations", 1, "options", "exclude"], {}), "unknown option 'exclude'"),
        (set_at(["panels", TABLE, "fieldConfig", "overrides", 0, "props"], []), "unknown option 'props'"),
        (set_at([*FIRST, "options", "colorMode"], "backgroud"), "options.colorMode is 'backgroud'"),
        (set_at([*FIRST, "options", "reduceOptions", "calcs"], ["newest"]), "unknown calculation 'newest'"),
        (set_at([*FIRST, "type"], "text"), "type 'text' is not one that we know"),
        (set_at(["panels", GRAPH, "options", "tooltip", "mode"], "all"), "options.tooltip.mode is 'all'"),
        (set_at(["panels", GRAPH, "fieldConfig", "defaults", "custom", "drawStyle"], "lines"), "drawStyle is 'lines'"),
        (set_at(["panels", GRAPH, "fieldConfig", "overrides", 0, "properties", 0, "value", "fixedColor"], "rot"), "has a wrong color"),
        (set_at(["panels", TABLE, "transformations", 0, "id"], "mix"), "unknown transformation 'mix'"),
        (set_at(["panels", TABLE, "fieldConfig", "overrides", 0, "matcher", "id"], "byname"), "an override by 'byname'"),
        (set_at(["panels", TABLE, "fieldConfig", "overrides", 0, "properties", 0, "id"], "display"), "has a wrong display"),
        (set_at(["panels", TABLE, "targets", 0, "format"], "time_series"), "format time_series in a table"),
        (set_at([*FIRST, "datasource", "uid"], "P4169E866C3094E38"), "its data source is not the variable"),
        (set_at([*FIRST, "targets", 0, "datasource"], KeyError), "query A: its data source is not the variable"),
        (set_at([*FIRST, "targets"], []), "no query"),
        (set_at([*FIRST, "targets", 0, "refId"], KeyError), "without a refId"),
        (set_at(["panels", GRAPH, "targets", 1, "refId"], "A"), "without a refId of their own"),
        (set_at([*FIRST, "targets", 0, "editorMode"], "text"), "wrong format or editorMode"),
        (set_at([*FIRST, "targets", 0, "range"], True), "either instant or range"),
        (set_at(["panels", 1, "targets", 0, "instant"], False), "not instant"),
        (expression("sum(up"), "is not PromQL"),
        (expression(f"sum(aws_iam_userz{{{SELECTED}}})"), "uses aws_iam_userz, which no documentation knows"),
        (expression('sum(aws_iam_users{account_id=~"$account_id"})'), 'lacks job=~"$job"'),
        (expression('sum(aws_iam_users{job="iam-key-exporter", account_id=~"$account_id"})'), 'lacks job=~"$job"'),
        (expression('1 - sum(aws_iam_users{job=~"$job"} or aws_iam_users)'), 'lacks account_id=~"$account_id"'),
        (expression(f"iam_key_exporter_checks_total{{{SELECTED}}}"), "is a counter and used without rate"),
        (expression(f"rate(aws_iam_users{{{SELECTED}}}[$__rate_interval])"), "which is no counter"),
        (graph_of(f"rate(iam_key_exporter_checks_total{{{SELECTED}}}[5m])"), "is not over $__rate_interval"),
        (set_at(["templating", "list"], DASHBOARDS[OVERVIEW]["templating"]["list"][1:]), "no variable datasource"),
        (set_at(["templating", "list", 0, "query"], "loki"), "not one of Prometheus"),
        (set_at(["templating", "list", 1, "label"], ""), "variable job: no label"),
        (set_at(["templating", "list", 1, "datasource", "uid"], "prometheus"), "variable job: not a query of the data source"),
        (set_at(["templating", "list", 2, "multi"], False), "variable account_id: not several and All"),
        (set_at(["templating", "list", 2, "allValue"], ".*"), "variable account_id: not several and All"),
        (set_at(["templating", "list", 2, "current", "value"], ["123456789012"]), "somebody's machine"),
        (set_at(["templating", "list", 2, "refresh"], 0), "not refreshed with the time range"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_each_complaint_is_made(change, complaint):
    dashboard = copy.deepcopy(DASHBOARDS[OVERVIEW])
    change(dashboard)
    assert any(complaint in problem for problem in dashboard_problems(dashboard)), list(dashboard_problems(dashboard))


def test_links_lead_to_dashboards_and_pages_that_exist():
    for uid, dashboard in DASHBOARDS.items():
        urls = re.findall(r'"url": "([^"]+)"', json.dumps(dashboard))
        targets = {m[1] for url in urls if (m := re.match(r"/d/([\w-]+)", url))}
        assert targets <= set(UIDS), f"{uid} links to a dashboard that does not exist"
        assert set(UIDS) - {uid} <= {link["url"].removeprefix("/d/") for link in dashboard["links"]}
        for page in re.findall(r'\\"runbook\\", \\"(\w+)\\"', json.dumps(dashboard)):
            assert (ROOT / "docs/runbooks" / f"{page}.md").is_file(), f"{uid}: no runbook {page}"
    assert "docs/runbooks/${__value.raw}.md" in json.dumps(DASHBOARDS[OVERVIEW])


# --- filling in variables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, filled",
    [
        ('up{job=~"$job"}', 'up{job=~".+"}'),
        ('up{job=~"${job}"}', 'up{job=~".+"}'),
        ('x{account_id=~"$account_id"}', 'x{account_id=~"(1|2)"}'),
        ('x{user_name=~"$user_name"}', r'x{user_name=~"a\\.b\\+c"}'),
        ('label_replace(x, "a", "$1", "b", "(.*)")', 'label_replace(x, "a", "$1", "b", "(.*)")'),
        ("rate(x[$__rate_interval])", "rate(x[60s])"),
        ("max_over_time(x[$__range])", "max_over_time(x[3600s])"),
    ],
)
def test_variables_are_filled_in_as_grafana_does(text, filled):
    assert fill(text, {"job": ".+", "account_id": ["1", "2"], "user_name": ["a.b+c"]}) == filled


def options(prometheus, uid, name, now, chosen=ALL):
    """The options of a variable: value to text."""
    [variable] = [v for v in DASHBOARDS[uid]["templating"]["list"] if v["name"] == name]
    query = fill(variable["query"]["query"], chosen)
    if match := re.fullmatch(r"label_values\((.+), (\w+)\)", query):
        found = prometheus.api(f"label/{match[2]}/values", **{"match[]": match[1], "start": now - 600, "end": now})
        return {option: option for option in found}
    expression = re.fullmatch(r"query_result\((.+)\)", query)[1]
    pattern = re.compile(variable["regex"].strip("/").replace("(?<", "(?P<"))
    result = {}
    for labels, number in prometheus.query(expression, time=now):
        text = "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "} " + str(number)
        match = pattern.search(text)
        result[match["value"]] = match["text"]
    return result


@pytest.mark.parametrize("uid", UIDS)
def test_the_variables_offer_every_account(bad, uid):
    assert options(bad, uid, "job", NOW) == {"iam-key-exporter": "iam-key-exporter"}
    accounts = fleet.make_fleet(ACCOUNTS, USERS, "bad", NOW)
    assert options(bad, uid, "account_id", NOW) == {a.id: f"{a.name} {a.id}" for a in accounts}
    assert options(bad, uid, "account_id", NOW + DAY / 2) != {}, "the choice is lost in an outage"
    if uid == DRILLDOWN:
        one = accounts[3]
        assert set(options(bad, uid, "user_name", NOW, ALL | {"account_id": [one.id]})) == {u.name for u in one.users if u.status != "unknown" or u.since}


def test_an_account_that_was_never_checked_can_be_chosen(tmp_path):
    """It has no name yet, only `account_up`."""
    text = tmp_path / "young.om"
    text.write_text(f'iam_key_exporter_account_up{{job="j",account_id="unknown"}} 0 {NOW}\n# EOF\n')
    prometheus = Prometheus({}, arguments=["--storage.tsdb.retention.time=100y"])
    assert run(TOOLS.bin("promtool"), "tsdb", "create-blocks-from", "openmetrics", text, prometheus.directory / "data").returncode == 0
    with prometheus:
        assert options(prometheus, OVERVIEW, "account_id", NOW) == {"unknown": "unknown"}


# --- every expression on a real Prometheus ------------------------------------------------------------------------


def test_every_expression_gives_data_on_the_demo(demo):
    now = time.time()
    empty = empty_queries(demo, now, span=60, scrape=1)
    assert empty <= keys_of(MAY_BE_EMPTY) | keys_of(EMPTY_IN_THE_DEMO)
    for name in ("job", "account_id"):
        assert options(demo, OVERVIEW, name, now)


def test_every_expression_gives_data_when_much_is_wrong(bad):
    # No exception here: a query that never gives anything would be found.
    assert empty_queries(bad, NOW) == set()


def test_every_expression_gives_data_for_chosen_accounts_and_users(bad):
    accounts = fleet.make_fleet(ACCOUNTS, USERS, "bad", NOW)
    wrong = max(accounts, key=lambda a: sum("multiple_active_keys" in u.since for u in a.users))
    user = next(u for u in wrong.users if "multiple_active_keys" in u.since)
    chosen = {"job": ["iam-key-exporter"], "account_id": [wrong.id, accounts[0].id], "user_name": [user.name]}
    empty = empty_queries(bad, NOW, chosen)
    assert empty <= keys_of(MAY_BE_EMPTY) | keys_of({(OVERVIEW, "Active keys by last use", "ABCD"): ""})
    assert not any(uid == DRILLDOWN for uid, _, _ in empty)


def test_only_what_is_listed_is_empty_when_nothing_is_wrong(good):
    assert empty_queries(good, NOW) == keys_of(MAY_BE_EMPTY)


def test_the_oldest_prometheus_gives_the_same_answers(bad):
    with prometheus_of_fleet("--state", "bad", *SMALL, version="2.42") as old:
        for uid in UIDS:
            for panel, target in queries(uid):
                assert near(ask(old, panel, target, NOW), ask(bad, panel, target, NOW)), (panel["title"], target["refId"])


def near(one, other):
    return one.keys() == other.keys() and all(v == pytest.approx(other[k], nan_ok=True) for k, v in one.items())


# --- the numbers --------------------------------------------------------------------------------------------------


def test_the_overview_tells_the_truth(bad):
    accounts = fleet.make_fleet(ACCOUNTS, USERS, "bad", NOW)
    users = [(a, u) for a in accounts for u in a.users]
    several = {(a.id, u.name): u.since["multiple_active_keys"] for a, u in users if "multiple_active_keys" in u.since}
    assert several, "the fleet has nothing to show"
    show = lambda title, ref="A": value(bad, OVERVIEW, title, ref)
    assert show("More than one active key") == len(several)
    assert show("Longest open") == pytest.approx(NOW - min(several.values()), abs=1)
    assert show("Root keys") == sum(a.root_keys for a in accounts)
    assert show("Old keys") == sum("key_age" in u.since for _, u in users)
    assert show("Unused keys") == sum("unused_key" in u.since for _, u in users)
    assert show("Compliance") == pytest.approx(sum(u.status in ("compliant", "exempt", "rotating") for _, u in users) / len(users))
    assert show("Not checked") == sum(bool(a.failing) for a in accounts)

    active = [(NOW - k.created) / DAY for _, u in users if u.status != "unknown" for k in u.keys if k.active]
    for ref, low, high in (("A", 0, 30), ("B", 30, 90), ("C", 90, 180), ("D", 180, 365), ("E", 365, 1e9)):
        assert show("Active keys by age", ref) == sum(low <= age < high for age in active)
    never = [k for _, u in users if u.status != "unknown" for k in u.keys if k.active and k.last_used is None]
    assert show("Active keys by last use", "D") == len(never)

    [(panel, target)] = [(p, t) for p, t in queries(OVERVIEW) if p["title"] == "Users with more than one active key" and t["refId"] == "A"]
    table = {(dict(row)["account_id"], dict(row)["user_name"]): (dict(row), since / 1000) for row, since in ask(bad, panel, target, NOW).items()}
    assert {who: since for who, (_, since) in table.items()} == pytest.approx(several, abs=1)
    for row, _ in table.values():
        assert row["console"] == "console.aws.amazon.com" and row["runbook"] == "IamKeyMultipleActive" and row["account_name"]


def test_two_replicas_count_once(bad):
    """Graphs of the replicas themselves show both; everything else is the same."""
    by_replica = {"Targets up", "Version", "Memory", "CPU", "Duration of a scrape", "Samples in a scrape", "Checks", "Failed checks by reason",
                  "Requests by operation", "Failed requests"}
    with prometheus_of_fleet("--state", "bad", *SMALL, "--replicas", 2) as twice:
        differing = {
            panel["title"] for uid in UIDS for panel, target in queries(uid)
            if not near(ask(twice, panel, target, NOW), ask(bad, panel, target, NOW))
        }
    assert differing == by_replica


def test_silence_is_not_all_well(bad):
    """Ten minutes after the last scrape nothing claims that there are no violations."""
    for panel, target in queries(OVERVIEW):
        answer = ask(bad, panel, target, NOW + 600, span=60)
        if panel["title"] == "Not checked":
            assert list(answer.values()) == [ACCOUNTS]
        else:
            assert answer == {}, panel["title"]


def test_what_cannot_be_known_is_not_zero(bad):
    """A user list that is not exported (--metrics.users=none) leaves panels empty that need it."""
    expression = fill(next(t["expr"] for p, t in queries(OVERVIEW) if p["title"] == "Longest open"), ALL)
    unnamed = expression.replace("aws_iam_user_violation_since_timestamp_seconds", "no_such_metric")
    assert bad.query(expression, time=NOW) and not bad.query(unnamed, time=NOW)


def test_five_hundred_accounts_stay_readable(large):
    assert empty_queries(large, NOW) == set()
    for uid in UIDS:
        for panel, target in queries(uid):
            answer = ask(large, panel, target, NOW)
            limit = 500 if panel["type"] == "table" and uid != OVERVIEW else 5000 if panel["type"] == "table" else 25
            assert len(answer) <= limit, f"{panel['title']} has {len(answer)} lines"


# --- names of columns and series ----------------------------------------------------------------------------------


def names(prometheus, panel):
    """What an override can match: columns of a table, series of everything else."""
    found = set()
    for target in panel["targets"]:
        for row in ask(prometheus, panel, target, NOW):
            labels = dict(row)
            found |= set(labels) if panel["type"] == "table" else {re.sub(r"\{\{(\w+)\}\}", lambda m, l=labels: l.get(m[1], ""), target["legendFormat"])}
        found.add(f"Value #{target['refId']}")
    return found


@pytest.mark.parametrize("uid", UIDS)
def test_every_override_matches_a_column_or_series(bad, uid):
    for panel in panels(DASHBOARDS[uid]):
        wanted = {rule["matcher"]["options"] for rule in panel["fieldConfig"]["overrides"]}
        assert wanted <= names(bad, panel), f"{panel['title']}: {wanted - names(bad, panel)}"
        if panel["type"] == "table":
            shown = names(bad, panel) - wanted
            assert not shown, f"{panel['title']}: columns without a title: {shown}"
            titles = {p["value"] for rule in panel["fieldConfig"]["overrides"] for p in rule["properties"] if p["id"] == "displayName"}
            assert all(by["displayName"] in titles for by in panel["options"]["sortBy"])
