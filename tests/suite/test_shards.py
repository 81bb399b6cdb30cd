"""Shards as real processes: their union under a real Prometheus with our rules, and what a rolling change does.

    target/tools/bin/pytest -s tests/suite/test_shards.py -k rolling      prints the tables of docs/kubernetes.md#shards
"""

import json
import re

import pytest

from harness import ROOT, Exporter, Moto, Prometheus, wait_until

RULES = sorted((ROOT / "alerts" / "rules").glob("*.yaml"))
JOB, ALONE = "iam-key-exporter", "unsharded-iam-key-exporter"
DEMO = ("--demo", "--demo.scenario=organization")


def shard(number, total, *arguments, **options):
    return Exporter([*arguments, f"--shard={number}", f"--total-shards={total}"], **options)


# --- three shards of the demo's organisation ----------------------------------------------------------------------


@pytest.fixture
def three(started):
    """(shards, Prometheus): three shards, and a process that checks all accounts alone, in another job."""
    shards = [started(shard(number, 3, *DEMO)) for number in range(3)]
    alone = started(Exporter(DEMO))
    for exporter in (*shards, alone):
        exporter.wait_checked()
    config = {
        "global": {"evaluation_interval": "1s"},
        "scrape_configs": [Prometheus.scrape(JOB, *shards), Prometheus.scrape(ALONE, alone)],
    }
    prometheus = started(Prometheus(config, RULES))
    wait_until(lambda: prometheus.query(f'count_over_time(job:up:max{{job="{JOB}"}}[1m]) >= 3'), what="the rules")
    return shards, prometheus


def labels_of(prometheus, expression, job):
    """The series of a job: their labels, without the target's."""
    target = ("__name__", "job", "instance")
    found = prometheus.query(expression.replace("JOB", f'job="{job}"'))
    return {tuple(sorted((k, v) for k, v in labels.items() if k not in target)) for labels, _ in found}


UNIONS = [
    "iam_key_exporter_account_up{JOB}",
    "aws_iam_users{JOB}",
    "aws_iam_access_key_violations{JOB}",
    "aws_iam_user_violation_since_timestamp_seconds{JOB}",
    "aws_iam_user_active_access_keys{JOB}",
    "job_account_user_rule:iam_key_finding:last_known{JOB}",
    "job_account:iam_key_exporter_account_up:max{JOB}",
    "job_account:aws_iam_users:sum{JOB}",
]


def value(prometheus, expression):
    [(_, number)] = prometheus.query(expression)
    return number


def test_the_union_of_three_shards_is_the_organisation_and_a_dead_one_shows(three):
    shards, prometheus = three

    def union_differs():
        return [u for u in UNIONS if labels_of(prometheus, u, JOB) != labels_of(prometheus, u, ALONE)]

    wait_until(lambda: not union_differs(), what="the union to be complete")
    assert all(labels_of(prometheus, union, JOB) for union in UNIONS)
    # No account is reported by two shards, and each shard has some.
    assert set(v for _, v in prometheus.query(f'count by (account_id) (iam_key_exporter_account_up{{job="{JOB}"}})')) == {1}
    assert len(prometheus.query(f'count by (instance) (iam_key_exporter_account_up{{job="{JOB}"}})')) == 3
    missing, up = f'job:iam_key_exporter_shards_missing:count{{job="{JOB}"}}', f'job:up:max{{job="{JOB}"}}'
    assert value(prometheus, missing) == 0
    findings = labels_of(prometheus, UNIONS[5], JOB)

    shards[1].kill()
    wait_until(lambda: value(prometheus, missing) == 1, what="the missing shard")
    alerts = f'ALERTS{{job="{JOB}", alertname="IamKeyExporterShardMissing"}}'
    wait_until(lambda: prometheus.query(alerts), what="the alert to be pending")
    assert value(prometheus, up) == 1, "the job as a whole is up"
    assert labels_of(prometheus, UNIONS[0], JOB) < labels_of(prometheus, UNIONS[0], ALONE)
    # Its accounts do not alert one by one, and their findings persist.
    explained = f'job="{JOB}", alertname=~"IamKeyExporter(AccountVanished|Down|ShardsMismatched)|IamKeyExemptionUnmatched"'
    # The groups of rules are not evaluated at the same moment: one can know of the missing shard before another.
    wait_until(lambda: not prometheus.query(f"ALERTS{{{explained}}}"), what="the alerts that the missing shard explains to end")
    assert not prometheus.query(f'count_over_time(ALERTS{{alertstate="firing", {explained}}}[5m])')
    assert labels_of(prometheus, UNIONS[5], JOB) == findings
    # The other job is not concerned.
    assert value(prometheus, f'job:iam_key_exporter_shards_missing:count{{job="{ALONE}"}}') == 0


# --- rolling changes ----------------------------------------------------------------------------------------------

ACCOUNTS = [f"{number:012}" for number in range(100_000_000_001, 100_000_000_121)]


def reported(exporter):
    """Accounts whose inventory a process exports."""
    return set(re.findall(r'^aws_iam_users\{account_id="(\d+)"', exporter.get("/metrics").body, re.MULTILINE))


class StatefulSet:
    """Processes that are replaced as Kubernetes replaces the pods of a StatefulSet."""

    def __init__(self, started, arguments, env):
        self.started, self.arguments, self.env, self.pods, self.table = started, arguments, env, {}, []

    def start(self, number, total):
        self.pods[number] = self.started(shard(number, total, *self.arguments, env=self.env))
        self.pods[number].wait_checked()

    def stop(self, number):
        self.pods.pop(number).terminate()

    def count(self, step):
        found = [account for pod in self.pods.values() for account in reported(pod)]
        none = len(ACCOUNTS) - len(set(found))
        self.table.append((step, none, len(found) - len(set(found))))

    def change(self, old, new):
        """Pods that are too many end, new ones start; then the others are replaced, the last one first."""
        self.count(f"{old} shards")
        for number in range(old, new):
            self.start(number, new)
            self.count(f"pod {number} started")
        for number in reversed(range(new, old)):
            self.stop(number)
            self.count(f"pod {number} ended")
        for number in reversed(range(min(old, new))):
            self.stop(number)
            self.count(f"pod {number} ended")
            self.start(number, new)
            self.count(f"pod {number} replaced")


@pytest.fixture(scope="module")
def moto():
    with Moto() as server:
        yield server


@pytest.mark.parametrize("old, new", [(3, 4), (4, 3), (3, 3)])
def test_gap_and_overlap_of_a_rolling_change(started, moto, tmp_path, old, new):
    config = tmp_path / "config.yaml"
    roles = [{"role_arn": f"arn:aws:iam::{account}:role/iam-key-exporter"} for account in ACCOUNTS]
    config.write_text(json.dumps({"accounts": roles}))
    pods = StatefulSet(started, [f"--config.file={config}", "--collector=live", "--aws.max-requests-per-second=1000"], moto.env)
    for number in range(old):
        pods.start(number, old)
    pods.change(old, new)
    print(f"\n{len(ACCOUNTS)} accounts, {old} to {new} shards\n\n| step | reported by none | reported by two |\n|---|---|---|")
    for row in pods.table:
        print("| {} | {} | {} |".format(*row))
    gaps, overlaps = [none for _, none, _ in pods.table], [two for _, _, two in pods.table]
    assert (gaps[0], overlaps[0]) == (gaps[-1], overlaps[-1]) == (0, 0)
    replaced = [none for step, none, _ in pods.table if "ended" not in step]
    if new >= old:
        # With all pods running, every account is reported.
        assert set(replaced) == {0}
    if new > old:
        assert max(overlaps) == len(reported(pods.pods[new - 1])), "what moves, moves to the new shard"
    else:
        assert set(overlaps) == {0}
