#!/usr/bin/env python3
"""Metrics of a generated fleet of AWS accounts, as OpenMetrics text with a history, for Prometheus to import.

    fleet.py --accounts 500 --users 100 --state bad --now 1795370400 > fleet.om
    promtool tsdb create-blocks-from openmetrics fleet.om data

The demo of the exporter shows one account and two minutes; dashboards must also bear hundreds of accounts, weeks of
history, accounts that cannot be read, and a fleet in which nothing is wrong. Names and labels are those of
docs/metrics.md. Everything follows from the arguments: the same ones give the same text.
"""

import argparse
import random
import sys
from dataclasses import dataclass, field

DAY = 86400
RULES = ("multiple_active_keys", "key_age", "unused_key", "root_access_key")
SHARES = {
    "good": (0,),
    "some": (0, 0, 0.02, 0.06),
    "bad": (0, 0.02, 0.1, 0.25),
}  # share of users with findings, by account
REASONS = (
    "credentials access_denied role_denied throttled timeout connection service_failure report_malformed report_pending "
    "file_unreadable file_malformed account_mismatch pagination unexpected_response internal left_organization "
    "account_suspended account_excluded"
).split()
TEAMS = "payments identity search billing data-lake mobile fulfilment risk platform analytics".split()
STAGES = "prod staging dev sandbox".split()
PEOPLE = (
    "amara bo chen dana eli fatima goran hana ines jonas kofi lena mateo nia omar priya quinn rosa sven tara".split()
)
SERVICES = "ci-deploy terraform backup+nightly exporter,legacy metabase airflow smtp-relay s3-sync datadog github-actions".split()
OPERATIONS = {
    "ListUsers": 0.02,
    "ListAccessKeys": 4.0,
    "GetAccountSummary": 0.02,
    "GetCallerIdentity": 0.02,
    "GetAccessKeyLastUsed": 2.0,
}


@dataclass
class Key:
    created: float
    last_used: float | None
    active: bool


@dataclass
class User:
    name: str
    owner: str
    keys: list[Key]
    status: str = "compliant"
    since: dict[str, float] = field(default_factory=dict)  # rule: when the violation began


@dataclass
class Account:
    id: str
    name: str
    users: list[User]
    fixed: list[tuple[float, float]]  # violations of the past: began, ended
    root_keys: int = 0
    failing: str = ""  # reason
    duration: float = 5.0


def make_user(rng, number, now, wrong):
    team = rng.choice(TEAMS)
    if rng.random() < 0.5:
        name = f"{rng.choice(PEOPLE)}.{rng.choice(PEOPLE)}-{number}"
    else:
        name = f"{rng.choice(SERVICES)}-{number}"
    # Without findings, keys are young and in use; otherwise a few are unused.
    keys = []
    for _ in range(rng.choice((0, 1, 1, 1))):
        created = now - rng.uniform(1, 88) * DAY
        keys.append(Key(created, now - rng.uniform(0, 20) * DAY, True))
    if rng.random() < 0.1:
        keys.insert(0, Key(now - rng.uniform(90, 700) * DAY, None, False))
    user = User(name, f"team-{team}", keys)
    if not wrong:
        return user
    fate = rng.random()
    if fate < 0.35:  # a second key beside an old one
        user.keys = [
            Key(now - rng.uniform(50, 900) * DAY, now - rng.uniform(0, 60) * DAY, True),
            Key(now - rng.expovariate(1 / 12) * DAY, now - rng.uniform(0, 1) * DAY, True),
        ]
        user.since["multiple_active_keys"] = user.keys[1].created
    elif fate < 0.75:
        user.keys = [Key(now - rng.uniform(95, 1500) * DAY, now - rng.uniform(0, 30) * DAY, True)]
    elif fate < 0.9:
        user.keys = [Key(now - rng.uniform(95, 400) * DAY, None, True)]
    else:
        user.status = rng.choice(("exempt", "rotating", "unknown"))
        return user
    for key in user.keys:
        if now - key.created > 90 * DAY:
            user.since["key_age"] = min(key.created + 90 * DAY, user.since.get("key_age", now))
            if key.last_used is None:
                user.since["unused_key"] = key.created + 90 * DAY
    user.status = "violation"
    return user


def make_fleet(accounts, users, state, now, seed=7):
    rng = random.Random(seed)
    fleet = []
    for i in range(accounts):
        name = f"{TEAMS[i % len(TEAMS)]}-{STAGES[i // len(TEAMS) % len(STAGES)]}"
        if i >= len(TEAMS) * len(STAGES):
            name += f"-{i // (len(TEAMS) * len(STAGES)) + 1}"
        share = 0.6 if state == "bad" and accounts == 1 else rng.choice(SHARES[state])
        members = [make_user(rng, n, now, rng.random() < share) for n in range(1, users + 1)]
        fixed = []
        for _ in range({"good": 0, "some": rng.random() < 0.4, "bad": max(1, users // 10)}[state]):
            began = now - rng.uniform(0.2, 3) * DAY
            ended = began + rng.uniform(0.02, 0.6) * DAY
            if ended < now - 600:
                fixed.append((began, ended))
        account = Account(str(100_000_000_000 + rng.randrange(899_999_999_999)), name, members, fixed)
        account.duration = 1 + users * 0.06 * rng.uniform(0.8, 1.6)
        if state != "good" and accounts > 1:
            account.root_keys = int(i % 50 == 5)
            account.failing = "access_denied" if i % 97 == 13 else "throttled" if i % 97 == 31 else ""
        fleet.append(account)
    return fleet


class Writer:
    """Writes samples; the labels of the target are added, once a replica."""

    def __init__(self, out, replicas, shards):
        self.out, self.shards = out, []
        for shard in range(shards):
            names = [f"iam-key-exporter-{shard * replicas + replica}" for replica in range(replicas)]
            self.shards.append([f'instance="{name}:19674",job="iam-key-exporter",pod="{name}"' for name in names])
        self.in_all_shards()

    def in_all_shards(self):
        self.targets = [target for shard in self.shards for target in shard]

    def in_shard(self, number):
        self.targets = self.shards[number % len(self.shards)]

    def series(self, name, labels, samples):
        """samples: pairs of time and value, by time; None ends a stretch."""
        samples = [f"{value:.10g} {time:.0f}\n" for time, value in samples if value is not None]
        text = "".join(f'{k}="{v}",' for k, v in labels.items())
        for target in self.targets:
            head = f"{name}{{{text}{target}}} "
            self.out.write("".join(head + sample for sample in samples))


def write_account(writer, account, times, user_times):
    now = times[-1]
    one = {"account_id": account.id}
    constant = lambda value: [(t, value) for t in times]
    writer.series(
        "aws_iam_account_info",
        one | {"account_name": account.name, "partition": "aws", "collector": "live"},
        constant(1),
    )
    begun = {rule: sorted(u.since[rule] for u in account.users if rule in u.since) for rule in RULES}
    counts = {rule: [(t, sum(s <= t for s in begun[rule])) for t in times] for rule in RULES}
    counts["multiple_active_keys"] = [
        (t, n + sum(a <= t < b for a, b in account.fixed)) for t, n in counts["multiple_active_keys"]
    ]
    counts["root_access_key"] = constant(int(account.root_keys))
    for rule in RULES:
        writer.series("aws_iam_access_key_violations", one | {"rule": rule}, counts[rule])
    statuses = {
        s: sum(u.status == s for u in account.users)
        for s in ("compliant", "rotating", "violation", "exempt", "unknown")
    }
    extra = [n - counts["multiple_active_keys"][-1][1] for _, n in counts["multiple_active_keys"]]
    for status, number in statuses.items():
        change = {"compliant": -1, "violation": 1}.get(status, 0)
        writer.series(
            "aws_iam_users", one | {"status": status}, [(t, max(0, number + change * e)) for t, e in zip(times, extra)]
        )
    keys = [k for u in account.users for k in u.keys]
    for status, active in (("active", True), ("inactive", False)):
        writer.series("aws_iam_access_keys", one | {"status": status}, constant(sum(k.active is active for k in keys)))
    writer.series("aws_iam_account_root_active_access_keys", one, constant(int(account.root_keys)))
    for user in account.users:
        who = one | {"user_name": user.name}
        writer.series("aws_iam_user_info", who | {"path": "/", "owner": user.owner}, [(t, 1) for t in user_times])
        for rule, since in user.since.items():
            writer.series(
                "aws_iam_user_violation_since_timestamp_seconds", who | {"rule": rule}, [(t, since) for t in user_times]
            )
        if user.status == "unknown":
            continue
        writer.series(
            "aws_iam_user_active_access_keys",
            who,
            [(t, sum(k.active and k.created <= t for k in user.keys)) for t in user_times],
        )
        for number, key in enumerate(user.keys, 1):
            which = who | {"key": str(number)}
            writer.series("aws_iam_access_key_active", which, [(t, int(key.active)) for t in user_times])
            writer.series("aws_iam_access_key_created_timestamp_seconds", which, [(t, key.created) for t in user_times])
            if key.last_used:
                writer.series(
                    "aws_iam_access_key_last_used_timestamp_seconds", which, [(t, key.last_used) for t in user_times]
                )
    # The exporter's view of the account. A failing one has been failing for nine hours.
    broke = now - 9 * 3600 if account.failing else float("inf")
    phase = int(account.id) % 300  # accounts are not all checked in the same second
    good = lambda t: min(t, broke) - (min(t, broke) + phase) % 300
    writer.series("iam_key_exporter_account_up", one, [(t, int(t < broke)) for t in times])
    writer.series("iam_key_exporter_account_last_success_timestamp_seconds", one, [(t, good(t)) for t in times])
    writer.series(
        "iam_key_exporter_account_facts_timestamp_seconds", one, [(t, good(t) - account.duration) for t in times]
    )
    writer.series("iam_key_exporter_checks_total", one, [(t, (t - times[0] + DAY) // 300) for t in times])
    writer.series(
        "iam_key_exporter_account_oldest_observation_timestamp_seconds",
        one,
        [(t, good(t) - account.duration - phase) for t in times],
    )
    for name, rate in (("check_overruns", 1 / 3600), ("throttled_requests", 1 / 600), ("sweep_failures", 1 / 7200)):
        rate = rate if account.failing else 0
        writer.series(
            f"iam_key_exporter_account_{name}_total", one, [(t, int(rate * (t - times[0] + DAY))) for t in times]
        )
    for reason in REASONS:
        failed = (lambda t: max(0, t - broke) // 300) if reason == account.failing else (lambda t: 0)
        writer.series(
            "iam_key_exporter_check_failures_total", one | {"reason": reason}, [(t, failed(t)) for t in times]
        )
    wobble = random.Random(account.id)
    writer.series(
        "iam_key_exporter_last_check_duration_seconds",
        one,
        [(t, account.duration * wobble.uniform(0.9, 1.2)) for t in times],
    )


def organization_accounts(fleet):
    number = len(fleet)
    return {"active": number, "unknown": 0, "pending": 1, "suspended": 1 + number // 50, "excluded": number // 25}


def write_exporter(writer, fleet, times, state):
    users = sum(len(a.users) for a in fleet)
    writer.series("iam_key_exporter_build_info", {"version": "0.1.0", "revision": "4f2a91c"}, [(t, 1) for t in times])
    writer.series("iam_key_exporter_check_interval_seconds", {}, [(t, 300) for t in times])
    writer.series("iam_key_exporter_total_shards", {}, [(t, len(writer.shards)) for t in times])
    for shard in range(len(writer.shards)):
        writer.in_shard(shard)
        writer.series("iam_key_exporter_shard_ordinal", {}, [(t, shard) for t in times])
    writer.in_all_shards()
    writer.series("iam_key_exporter_organization_up", {}, [(t, int(state != "bad")) for t in times])
    listed = lambda t: t - t % 900 if state != "bad" else times[0] - 3 * 3600
    writer.series("iam_key_exporter_organization_last_success_timestamp_seconds", {}, [(t, listed(t)) for t in times])
    writer.series("iam_key_exporter_organization_unmatched_filters", {}, [(t, 2 * (state == "bad")) for t in times])
    for name, number in organization_accounts(fleet).items():
        writer.series("iam_key_exporter_organization_accounts", {"state": name}, [(t, number) for t in times])
    for reason in (*REASONS[:-2], "shrunken"):
        failed = (lambda t: max(0, t - times[0]) // 900) if state == "bad" and reason == "shrunken" else (lambda t: 0)
        writer.series("iam_key_exporter_organization_failures_total", {"reason": reason}, [(t, failed(t)) for t in times])
    writer.series("iam_key_exporter_config_last_reload_successful", {}, [(t, 1) for t in times])
    writer.series(
        "iam_key_exporter_config_last_reload_success_timestamp_seconds", {}, [(t, times[0] - 3 * DAY) for t in times]
    )
    for name, share in OPERATIONS.items():
        service = "sts" if name == "GetCallerIdentity" else "iam"
        rate = len(fleet) / 300 if share < 1 else users * (share / 6) / 300
        writer.series(
            "iam_key_exporter_aws_requests_total",
            {"service": service, "operation": name},
            [(t, rate * (t - times[0] + DAY)) for t in times],
        )
    failures = (
        {
            ("ListAccessKeys", "Throttling"): 0.02,
            ("ListUsers", "AccessDenied"): 0.002,
            ("ListAccessKeys", "timeout"): 0.001,
        }
        if state != "good"
        else {}
    )
    for (operation, code), rate in failures.items():
        labels = {"service": "iam", "operation": operation, "code": code}
        writer.series(
            "iam_key_exporter_aws_request_failures_total",
            labels,
            [(t, rate * len(fleet) / 10 * (t - times[0] + DAY)) for t in times],
        )
    new_keys = lambda t: len(fleet) * (t - times[0] + DAY) // 600
    for le, share in (("60", 0.1), ("300", 0.5), ("1800", 0.8), ("14400", 0.99), ("+Inf", 1)):
        writer.series(
            "iam_key_exporter_detection_delay_seconds_bucket", {"le": le}, [(t, int(share * new_keys(t))) for t in times]
        )
    for encoding, size in (("identity", 520), ("gzip", 38)):
        writer.series(
            "iam_key_exporter_exposition_size_bytes", {"encoding": encoding}, [(t, size * users) for t in times]
        )
    exemptions = [
        ({"user": "ci-*"}, fleet[0].id, "multiple_active_keys", 39, 1),
        ({"user": "break-glass"}, "", "", 6 if state == "bad" else 200, 0 if state == "bad" else 1),
        ({"user": "arn:aws:iam::*:user/rotation/*"}, "", "key_age", -3 if state == "bad" else 120, 1),
        ({"path": "/service/*", "group": "bots", "tag": "team=data-*,stage=prod"}, "", "key_age", 80, 1),
    ]
    for selector, account, rule, days, matched in exemptions:
        labels = selector | {"account": account, "rule": rule}
        writer.series(
            "aws_iam_exemption_expires_timestamp_seconds", labels, [(t, times[-1] + days * DAY) for t in times]
        )
        writer.series("aws_iam_exemption_matched", labels, [(t, matched) for t in times])
    noise = random.Random(1)
    memory = 6e6 + users * 900
    for name, value in {
        "process_resident_memory_bytes": memory,
        "process_virtual_memory_bytes": memory * 9,
        "process_open_fds": 24,
        "process_max_fds": 1024,
        "process_threads": 4,
        "process_start_time_seconds": times[0] - 2 * DAY,
    }.items():
        moving = name == "process_resident_memory_bytes"
        writer.series(name, {}, [(t, value * (noise.uniform(1, 1.05) if moving else 1)) for t in times])
    writer.series("process_cpu_seconds_total", {}, [(t, (t - times[0] + DAY) * (0.001 + users * 4e-7)) for t in times])
    # What Prometheus itself adds to a scrape.
    writer.series("up", {}, [(t, 1) for t in times])
    writer.series("scrape_duration_seconds", {}, [(t, 0.002 + users * 1.5e-6 * noise.uniform(1, 1.3)) for t in times])
    writer.series("scrape_samples_scraped", {}, [(t, 60 + users * 5) for t in times])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accounts", type=int, default=1)
    parser.add_argument("--users", type=int, default=10, help="users an account")
    parser.add_argument("--state", choices=tuple(SHARES), default="bad")
    parser.add_argument("--now", type=float, required=True, help="Unix time of the last sample")
    parser.add_argument("--hours", type=float, default=1, help="length of the history")
    parser.add_argument("--user-hours", type=float, default=0, help="length of the history of single users")
    parser.add_argument("--step", type=float, default=300, help="seconds between samples")
    parser.add_argument("--replicas", type=int, default=1, help="processes for each shard")
    parser.add_argument("--shards", type=int, default=1)
    args = parser.parse_args()
    fleet = make_fleet(args.accounts, args.users, args.state, args.now)
    history = lambda hours: [args.now - args.step * n for n in range(round(hours * 3600 / args.step), -1, -1)]
    writer = Writer(sys.stdout, args.replicas, args.shards)
    for number, account in enumerate(fleet):
        writer.in_shard(number)
        write_account(writer, account, history(args.hours), history(args.user_hours))
    writer.in_all_shards()
    write_exporter(writer, fleet, history(args.hours), args.state)
    sys.stdout.write("# EOF\n")


if __name__ == "__main__":
    main()
