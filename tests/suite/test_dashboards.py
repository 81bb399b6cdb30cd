"""The dashboards are valid: by Grafana's own types, by the rules of a linter, and equal to the script's output."""

import copy
import json
import re
import shutil
import subprocess

import pytest

from dashlint import FOLDER, OVERVIEW, UIDS, dashboard_problems, fill, load
from harness import ROOT, TOOLS

DASHBOARDS = {uid: load(uid) for uid in UIDS}


def run(*arguments):
    return subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=300)


# --- the files ----------------------------------------------------------------------------------------------------


def test_the_files_are_what_the_script_writes(tmp_path):
    written = run(ROOT / "scripts/dashboards", tmp_path)
    assert written.returncode == 0, written.stderr
    assert (
        sorted(p.name for p in tmp_path.iterdir())
        == sorted(p.name for p in FOLDER.glob("*.json"))
        == sorted(f"{u}.json" for u in UIDS)
    )
    for path in tmp_path.iterdir():
        assert (
            path.read_text() == (FOLDER / path.name).read_text()
        ), f"{path.name} is not up to date: run scripts/dashboards"


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


# --- rules of the linter ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", UIDS)
def test_the_linter_finds_no_errors(uid):
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
        (set_at([*DEFAULTS, "thresholds", "steps", 0, "color"], "green"), "a missing value would have the colour"),
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
        (
            set_at(["panels", GRAPH, "fieldConfig", "overrides", 0, "properties", 0, "value", "fixedColor"], "rot"),
            "has a wrong color",
        ),
        (set_at(["panels", TABLE, "transformations", 0, "id"], "mix"), "unknown transformation 'mix'"),
        (
            set_at(["panels", TABLE, "fieldConfig", "overrides", 0, "matcher", "id"], "byname"),
            "an override by 'byname'",
        ),
        (
            set_at(["panels", TABLE, "fieldConfig", "overrides", 0, "properties", 0, "id"], "display"),
            "has a wrong display",
        ),
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
        (
            set_at(["templating", "list", 1, "datasource", "uid"], "prometheus"),
            "variable job: not a query of the data source",
        ),
        (set_at(["templating", "list", 2, "multi"], False), "variable account_id: not several and All"),
        (set_at(["templating", "list", 2, "allValue"], ".*"), "variable account_id: not several and All"),
        (set_at(["templating", "list", 2, "current", "value"], ["123456789012"]), "a developer's machine"),
        (set_at(["templating", "list", 2, "refresh"], 0), "not refreshed with the time range"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_each_error_is_found(change, complaint):
    dashboard = copy.deepcopy(DASHBOARDS[OVERVIEW])
    change(dashboard)
    assert any(complaint in problem for problem in dashboard_problems(dashboard)), list(dashboard_problems(dashboard))


def test_links_refer_to_existing_dashboards_and_pages():
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
