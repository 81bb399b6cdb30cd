"""Every query of the dashboards runs on a real Prometheus and gives correct values: on the demo and on generated fleets."""

import contextlib
import re
import shutil
import subprocess
import sys
import time

import pytest

import fleet
from dashlint import DRILLDOWN, HEALTH, OVERVIEW, UIDS, fill, load, panels
from harness import TOOLS, Exporter, Prometheus, wait_until

DASHBOARDS = {uid: load(uid) for uid in UIDS}
ALL = {"job": ".+", "account_id": ".+", "user_name": ".+"}
NOW, DAY = 1795366800, 86400

# Queries (panel and refId) that may return no data, and the reason. All others always return data.
NOTHING_WRONG = "lists what is wrong, and nothing is"
NO_REQUESTS = "the demo makes no request to AWS"
MAY_BE_EMPTY = {
    (OVERVIEW, "Users with more than one active key", "ABCDEF"): NOTHING_WRONG,
    (OVERVIEW, "Users with old or unused keys", "ABCDEF"): NOTHING_WRONG,
    (OVERVIEW, "Violations over time, by account", "A"): NOTHING_WRONG,
    (OVERVIEW, "Failing accounts by reason", "A"): NOTHING_WRONG,
    (DRILLDOWN, "Findings", "ABCDEF"): NOTHING_WRONG,
    (DRILLDOWN, "Active keys by user", "A"): NOTHING_WRONG,
    (HEALTH, "Accounts", "F"): NOTHING_WRONG,
    (HEALTH, "Failed checks by reason", "A"): NOTHING_WRONG,
    (HEALTH, "Failed requests", "A"): NOTHING_WRONG,
}
NO_ORGANISATION = "the demo has one account"
EMPTY_IN_THE_DEMO = {
    (OVERVIEW, "List of accounts", "A"): NO_ORGANISATION,
    (OVERVIEW, "Age of the list", "A"): NO_ORGANISATION,
    (OVERVIEW, "Filters without a match", "A"): NO_ORGANISATION,
    (OVERVIEW, "Accounts of the organisation by state", "ABCDE"): NO_ORGANISATION,
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


def load_into(prometheus, text):
    imported = run(
        TOOLS.bin("promtool"), "tsdb", "create-blocks-from", "openmetrics", text, prometheus.directory / "data"
    )
    assert imported.returncode == 0, imported.stderr


@contextlib.contextmanager
def prometheus_of_fleet(*arguments, version=""):
    """A Prometheus with the metrics of a generated fleet, the last ones at NOW."""
    prometheus = Prometheus({}, arguments=["--storage.tsdb.retention.time=100y"], version=version)
    text = prometheus.directory / "fleet.om"
    with text.open("w") as out:
        command = [sys.executable, fleet.__file__, "--now", NOW, "--step", 60, *arguments]
        subprocess.run([str(a) for a in command], stdout=out, check=True, timeout=300)
    imported = run(
        TOOLS.bin("promtool"), "tsdb", "create-blocks-from", "openmetrics", text, prometheus.directory / "data"
    )
    assert imported.returncode == 0, imported.stderr
    with prometheus:
        yield prometheus
    shutil.rmtree(prometheus.directory / "data", ignore_errors=True)


def ask(prometheus, panel, target, now, chosen=ALL, span=600, scrape=60):
    """The result that Grafana would get: {labels: newest value}; for graphs all series of the range."""
    if panel.get("interval"):
        scrape = int(panel["interval"].removesuffix("m")) * 60
    step = max(scrape, span // 600)
    expression = fill(target["expr"], chosen, step, scrape, span)
    if target["instant"]:
        answer = prometheus.query(expression, time=now)
    else:
        # Grafana queries multiples of the step; here the last one is `now`, because the histories are short.
        answer = [
            (labels, values[-1][1])
            for labels, values in prometheus.query_range(expression, now - span // step * step, now, step)
        ]
    result = {tuple(sorted(labels.items())): value for labels, value in answer}
    assert len(result) == len(answer)
    return result


def empty_queries(prometheus, now, chosen=ALL, **options):
    """Runs all queries; returns those without data."""
    return {
        (uid, panel["title"], target["refId"])
        for uid in UIDS
        for panel, target in queries(uid)
        if not ask(prometheus, panel, target, now, chosen, **options)
    }


def value(prometheus, uid, title, ref="A", now=NOW, chosen=ALL):
    """The only value of a query, or None."""
    [(panel, target)] = [(p, t) for p, t in queries(uid) if p["title"] == title and t["refId"] == ref]
    answer = ask(prometheus, panel, target, now, chosen)
    assert len(answer) <= 1
    return next(iter(answer.values()), None)


@pytest.fixture(scope="module")
def demo():
    """A Prometheus that has scraped the exporter's demo every second for a while."""
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
def twice():
    """The same, reported by two replicas of the exporter."""
    with prometheus_of_fleet("--state", "bad", *SMALL, "--replicas", 2) as prometheus:
        yield prometheus


@pytest.fixture(scope="module")
def sharded():
    """The same, divided among three shards of two replicas each."""
    with prometheus_of_fleet("--state", "bad", *SMALL, "--replicas", 2, "--shards", 3) as prometheus:
        yield prometheus


@pytest.fixture(scope="module")
def good():
    """One account of ten users, without findings."""
    with prometheus_of_fleet("--state", "good", "--accounts", 1, "--users", 10, "--hours", 0.25) as prometheus:
        yield prometheus


@pytest.fixture(scope="module")
def large():
    with prometheus_of_fleet("--state", "bad", "--accounts", 1000, "--users", 3, "--hours", 0.17) as prometheus:
        yield prometheus


# --- variables ---


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
        assert set(options(bad, uid, "user_name", NOW, ALL | {"account_id": [one.id]})) == {
            u.name for u in one.users if u.status != "unknown" or u.since
        }


@contextlib.contextmanager
def prometheus_of(*lines):
    """A Prometheus with a few samples: name, labels, value, time."""
    prometheus = Prometheus({}, arguments=["--storage.tsdb.retention.time=100y"])
    text = prometheus.directory / "samples.om"
    text.write_text("\n".join([*lines, "# EOF\n"]))
    load_into(prometheus, text)
    with prometheus:
        yield prometheus


def account_up(account, value, *times):
    return [f'iam_key_exporter_account_up{{job="j",account_id="{account}"}} {value} {time}' for time in times]


def test_an_account_that_was_never_checked_can_be_chosen():
    """It has no name yet, only `account_up`."""
    with prometheus_of(*account_up("123456789012", 0, NOW)) as prometheus:
        assert options(prometheus, OVERVIEW, "account_id", NOW) == {"123456789012": "123456789012"}


def test_a_start_of_the_exporter_leaves_no_account_behind():
    """Until the account ID is known, the exporter exports `account_id="unknown"`."""
    start = account_up("unknown", 0, NOW - 3600, NOW - 3540)
    with prometheus_of(*start, *account_up("123456789012", 1, NOW - 3480, NOW)) as prometheus:
        assert value(prometheus, OVERVIEW, "Not checked", now=NOW - 3500) == 1
        assert value(prometheus, OVERVIEW, "Not checked") == 0
        assert value(prometheus, HEALTH, "Vanished") == 0
        assert list(options(prometheus, OVERVIEW, "account_id", NOW)) == ["123456789012"]


def test_a_vanished_account_is_counted_for_a_day():
    gone, there = account_up("111111111111", 1, NOW - 7200), account_up("123456789012", 1, NOW, NOW + DAY)
    with prometheus_of(*gone, *there) as prometheus:
        assert value(prometheus, HEALTH, "Vanished") == value(prometheus, OVERVIEW, "Not checked") == 1
        assert value(prometheus, HEALTH, "Vanished", now=NOW + DAY) == 0


# --- every expression on a real Prometheus ------------------------------------------------------------------------


def test_every_expression_gives_data_on_the_demo(demo):
    now = time.time()
    empty = empty_queries(demo, now, span=60, scrape=1)
    assert empty <= keys_of(MAY_BE_EMPTY) | keys_of(EMPTY_IN_THE_DEMO)
    for name in ("job", "account_id"):
        assert options(demo, OVERVIEW, name, now)


def test_every_expression_gives_data_when_much_is_wrong(bad):
    # No exceptions here, so that a query that never returns data is found.
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
                assert near(ask(old, panel, target, NOW), ask(bad, panel, target, NOW)), (
                    panel["title"],
                    target["refId"],
                )


def near(one, other):
    return one.keys() == other.keys() and all(v == pytest.approx(other[k], nan_ok=True) for k, v in one.items())


# --- the numbers --------------------------------------------------------------------------------------------------


def test_the_overview_shows_correct_numbers(bad):
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
    assert show("Compliance") == pytest.approx(
        sum(u.status in ("compliant", "exempt", "rotating") for _, u in users) / len(users)
    )
    assert show("Not checked") == sum(bool(a.failing) for a in accounts)

    failing = {a.failing for a in accounts if a.failing}
    [(panel, target)] = [(p, t) for p, t in queries(OVERVIEW) if p["title"] == "Failing accounts by reason"]
    by_reason = {dict(row)["reason"]: number for row, number in ask(bad, panel, target, NOW).items()}
    assert by_reason == {reason: sum(a.failing == reason for a in accounts) for reason in failing}
    states = fleet.organization_accounts(accounts)
    titles = [t["legendFormat"] for p, t in queries(OVERVIEW) if p["title"] == "Accounts of the organisation by state"]
    assert {s: show("Accounts of the organisation by state", ref) for s, ref in zip(titles, "ABCDE")} == states
    assert (show("List of accounts"), show("Filters without a match")) == (0, 2) and show("Age of the list") > 3 * 3600
    assert (show("Accounts reported"), show("Shards present"), show("Shards missing")) == (len(accounts), 1, 0)

    active = [(NOW - k.created) / DAY for _, u in users if u.status != "unknown" for k in u.keys if k.active]
    for ref, low, high in (("A", 0, 30), ("B", 30, 90), ("C", 90, 180), ("D", 180, 365), ("E", 365, 1e9)):
        assert show("Active keys by age", ref) == sum(low <= age < high for age in active)
    never = [k for _, u in users if u.status != "unknown" for k in u.keys if k.active and k.last_used is None]
    assert show("Active keys by last use", "D") == len(never)

    [(panel, target)] = [
        (p, t)
        for p, t in queries(OVERVIEW)
        if p["title"] == "Users with more than one active key" and t["refId"] == "A"
    ]
    table = {
        (dict(row)["account_id"], dict(row)["user_name"]): (dict(row), since / 1000)
        for row, since in ask(bad, panel, target, NOW).items()
    }
    assert {who: since for who, (_, since) in table.items()} == pytest.approx(several, abs=1)
    for row, _ in table.values():
        assert (
            row["console"] == "console.aws.amazon.com"
            and row["runbook"] == "IamKeyMultipleActive"
            and row["account_name"]
        )


def differing(one, other):
    """Panels that the two show differently."""
    return {
        panel["title"]
        for uid in UIDS
        for panel, target in queries(uid)
        if not near(ask(one, panel, target, NOW), ask(other, panel, target, NOW))
    }


# They show the replicas themselves, or the activity of each of them.
BY_REPLICA = {
    "Targets up",
    "Version",
    "Memory",
    "CPU",
    "Duration of a scrape",
    "Samples in a scrape",
    "Checks",
    "Failed checks by reason",
    "Late and throttled accounts",
    "Requests by operation",
    "Failed requests",
}


def test_two_replicas_count_once(bad, twice):
    assert differing(twice, bad) == BY_REPLICA


def test_shards_are_one_fleet(bad, sharded):
    processes = {"Size of a scrape", "Shards present", "Accounts per shard"}
    assert differing(sharded, bad) - processes == BY_REPLICA
    [(panel, target)] = [(p, t) for p, t in queries(OVERVIEW) if p["title"] == "Accounts per shard"]
    per_shard = {dict(row)["shard"]: number for row, number in ask(sharded, panel, target, NOW).items()}
    assert per_shard == {"0": 6, "1": 5, "2": 5}
    assert value(sharded, OVERVIEW, "Shards present") == 3 and value(sharded, OVERVIEW, "Shards missing") == 0


def test_a_dead_shard_is_counted(sharded):
    """All processes but those of the last shard, of which one is alive; then of the first two shards only."""
    [(_, target)] = [(p, t) for p, t in queries(OVERVIEW) if p["title"] == "Shards missing"]
    for alive, missing in ((r"iam-key-exporter-[0-4].*", 0), (r"iam-key-exporter-[0-3].*", 1)):
        expression = fill(target["expr"], ALL).replace('job=~".+"', f'job=~".+", instance=~"{alive}"')
        assert [number for _, number in sharded.query(expression, time=NOW)] == [missing]


def values_without_data(prometheus):
    """Panels of the overview that show a value ten minutes after the last scrape."""
    return {p["title"]: answer for p, t in queries(OVERVIEW) if (answer := ask(prometheus, p, t, NOW + 600, span=60))}


def test_missing_data_is_not_shown_as_compliance(bad):
    assert values_without_data(bad) == {"Not checked": {(): ACCOUNTS}}


def test_unknown_values_are_not_zero(bad):
    """A user list that is not exported (--metrics.users=none) leaves panels empty that need it."""
    expression = fill(next(t["expr"] for p, t in queries(OVERVIEW) if p["title"] == "Longest open"), ALL)
    unnamed = expression.replace("aws_iam_user_violation_since_timestamp_seconds", "no_such_metric")
    assert bad.query(expression, time=NOW) and not bad.query(unnamed, time=NOW)


def crowded(prometheus):
    """Panels with too many lines to be readable (tables have pages)."""
    limits = {"table": 1000}
    return {
        panel["title"]
        for uid in UIDS
        for panel, target in queries(uid)
        if len(ask(prometheus, panel, target, NOW)) > limits.get(panel["type"], 25)
    }


def test_a_thousand_accounts_stay_readable(large):
    assert empty_queries(large, NOW) == set()
    # The tables of findings are complete.
    assert crowded(large) <= {"Users with more than one active key", "Users with old or unused keys", "Findings"}


# --- names of columns and series ----------------------------------------------------------------------------------


def names(prometheus, panel):
    """What an override can match: columns of a table, series of everything else."""
    found = set()
    for target in panel["targets"]:
        for row in ask(prometheus, panel, target, NOW):
            labels = dict(row)
            found |= (
                set(labels)
                if panel["type"] == "table"
                else {re.sub(r"\{\{(\w+)\}\}", lambda m, l=labels: l.get(m[1], ""), target["legendFormat"])}
            )
        found.add(f"Value #{target['refId']}")
    return found


def wrong_columns(prometheus):
    """Overrides that match nothing, columns without a title, and tables sorted by a missing column."""
    for uid in UIDS:
        for panel in panels(DASHBOARDS[uid]):
            rules = panel["fieldConfig"]["overrides"]
            wanted, found = {rule["matcher"]["options"] for rule in rules}, names(prometheus, panel)
            yield from wanted - found
            if panel["type"] == "table":
                yield from found - wanted
                titles = {p["value"] for rule in rules for p in rule["properties"] if p["id"] == "displayName"}
                yield from {by["displayName"] for by in panel["options"]["sortBy"]} - titles


def test_every_override_matches_a_column_or_series(bad):
    assert list(wrong_columns(bad)) == []


# --- the checks themselves ----------------------------------------------------------------------------------------


@pytest.fixture
def changed(monkeypatch):
    """`changed(uid, title)`: a panel of a copy of the dashboard, for modification by a test."""

    def change(uid, title):
        dashboard = load(uid)
        monkeypatch.setitem(DASHBOARDS, uid, dashboard)
        return next(p for p in panels(dashboard) if p["title"] == title)

    return change


def test_a_query_that_gives_nothing_is_noticed(bad, changed):
    target = changed(OVERVIEW, "Root keys")["targets"][0]
    target["expr"] = target["expr"].replace('job=~"$job"', 'job=~"$job", account="1"')
    assert empty_queries(bad, NOW) == {(OVERVIEW, "Root keys", "A")}


def test_counting_replicas_is_noticed(bad, twice, changed):
    target = changed(OVERVIEW, "Root keys")["targets"][0]
    target["expr"] = target["expr"].replace("max by (account_id)", "sum by (account_id)")
    assert differing(twice, bad) == BY_REPLICA | {"Root keys"}


def test_a_zero_for_what_is_not_known_is_noticed(bad, changed):
    target = changed(OVERVIEW, "Root keys")["targets"][0]
    target["expr"] += " or vector(0)"
    assert "Root keys" in values_without_data(bad)


def test_a_line_for_every_account_is_noticed(large, changed):
    target = changed(OVERVIEW, "Accounts with most violations")["targets"][0]
    target["expr"] = target["expr"].replace("topk(10, ", "(")
    assert "Accounts with most violations" in crowded(large)


def test_wrong_columns_are_noticed(bad, changed):
    table = changed(DRILLDOWN, "Keys")
    table["options"]["sortBy"][0]["displayName"] = "Ages"
    table["fieldConfig"]["overrides"][0]["matcher"]["options"] = "acount_name"
    assert sorted(wrong_columns(bad)) == ["Ages", "account_name", "acount_name"]
