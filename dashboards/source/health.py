"""Does the exporter see what it should see, and what does that cost?"""

import facts as f
import grafana as g

JOB = 'job=~"$job"'
CHECK = f.ACCOUNT
REASON_HINT = "The reasons are explained in the runbook of the alert IamKeyExporterAccountCheckFailing."
THROTTLES = 'code=~"Throttling.*"'


def facts_age(of="facts"):
    return f"(time() - max by (account_id) (iam_key_exporter_account_{of}_timestamp_seconds{{{CHECK}}}))"


def per_minute(metric, by):
    return f"sum by ({by}) (rate({metric}{{{JOB}}}[$__rate_interval])) * 60"


def accounts_table():
    failures = f"max by (account_id, reason) (increase(iam_key_exporter_check_failures_total{{{CHECK}}}[1h])) > 0"
    targets = [
        g.rows(f"max by (account_id) (iam_key_exporter_account_up{{{CHECK}}})"),
        g.rows(f.known_names("account_name, collector")),
        g.rows(facts_age("last_success")),
        g.rows(facts_age()),
        g.rows(f"max by (account_id) (iam_key_exporter_last_check_duration_seconds{{{CHECK}}})"),
        g.rows(f"topk by (account_id) (1, {failures})"),
        g.rows(f"sum by (account_id) ({f.users('unknown')})"),
    ]
    age = {"unit": "s", "decimals": 0, "custom__align": "right", "custom__cellOptions": f.COLORED_TEXT}
    columns = [
        *f.account_columns(),
        g.column("collector", "Collector", 110),
        g.column(
            "Value #A",
            "Last check",
            110,
            mappings=g.text_of({"0": ("Failed", g.RED), "1": ("OK", g.GREEN)}),
            custom__cellOptions=f.COLORED_TEXT,
            custom__align="left",
        ),
        g.column("reason", "Failed within an hour for", 200),
        g.column(
            "Value #C",
            "Last good check",
            150,
            thresholds=g.steps((3600, g.ORANGE), (6 * 3600, g.RED), base="text"),
            **age,
        ),
        g.column("Value #D", "Age of facts", 130, thresholds=g.steps((5 * 3600, g.ORANGE), base="text"), **age),
        g.column("Value #E", "Check took", 120, unit="s", decimals=1, custom__align="right"),
        f.number_column("Value #G", "Users unknown", g.steps((1, g.YELLOW), base="text"), 130),
        g.hidden("Value #B"),
        g.hidden("Value #F"),
    ]
    order = (
        "account_name",
        "account_id",
        "collector",
        "Value #A",
        "reason",
        "Value #C",
        "Value #D",
        "Value #E",
        "Value #G",
    )
    return g.table(
        "Accounts",
        f"State of the last check of each account, the longest without a good one first. {REASON_HINT}",
        targets,
        columns,
        no_value="No account is known: is the exporter being scraped?",
        sort=("Last good check", True),
        order=order,
    )


def dashboard():
    board = g.Board(
        g.HEALTH, "Whether the exporter reaches AWS and its facts are fresh, and what it uses.", f.VARIABLES, "now-6h"
    )
    up = f"max by (account_id) (iam_key_exporter_account_up{{{CHECK}}})"
    board.line(
        4,
        g.stat(
            "Targets up",
            "Targets of the job that Prometheus can scrape.",
            [g.instant(f"sum(up{{{JOB}}})")],
            width=3,
            thresholds=g.steps((1, g.GREEN), base=g.RED),
            no_value="No target",
        ),
        g.stat(
            "Targets down",
            "Targets of the job that Prometheus cannot scrape.",
            [g.instant(f"count(up{{{JOB}}}) - sum(up{{{JOB}}})")],
            width=3,
            no_value="No target",
        ),
        g.stat(
            "Accounts OK",
            "Accounts whose last check succeeded.",
            [g.instant(f"sum({up})")],
            width=3,
            thresholds=g.steps((1, g.GREEN), base=g.RED),
            no_value="Not known",
        ),
        g.stat(
            "Failing",
            "Accounts whose last check failed: their numbers are those of the last good check.",
            [g.instant(f"count({up}) - sum({up})")],
            width=3,
            no_value="Not known",
        ),
        g.stat(
            "Vanished",
            "Accounts that the exporter reported within a day, but reports no longer.",
            [g.instant(f"count(count by (account_id) ({f.seen_within_a_day()})) - (count({up}) or vector(0))")],
            width=3,
            no_value="Not known",
        ),
        g.stat(
            "Oldest facts",
            "Age of the oldest facts about an account. Live: up to two intervals. A credential report: up to five hours.",
            [g.instant(f"max({facts_age()})")],
            width=3,
            unit="s",
            thresholds=g.steps((5 * 3600, g.ORANGE), (86400, g.RED)),
            no_value="Not known",
            defaults={"decimals": 0},
        ),
        g.stat(
            "Configuration",
            "Whether the last reload of the configuration succeeded. If not, the exporter goes on with the old one.",
            [g.instant(f"min(iam_key_exporter_config_last_reload_successful{{{JOB}}})")],
            width=3,
            thresholds=g.steps((1, g.GREEN), base=g.RED),
            no_value="Not known",
            defaults={"mappings": g.text_of({"0": ("Not loaded", g.RED), "1": ("Loaded", g.GREEN)})},
        ),
        g.stat(
            "Version",
            "Versions of the exporter that are running.",
            [g.instant(f"count by (version) (iam_key_exporter_build_info{{{JOB}}})", "{{version}}")],
            width=3,
            text="name",
            thresholds=g.NEUTRAL,
            no_value="Not known",
        ),
    )
    board.line(9, accounts_table())
    board.row("Checks")
    interval = f"max(iam_key_exporter_check_interval_seconds{{{JOB}}})"
    board.line(
        8,
        g.graph(
            "Accounts by state of the last check",
            "Failing accounts keep the facts of their last good check.",
            [g.series(f"sum({up})", "checked"), g.series(f"count({up}) - sum({up})", "failing")],
            width=8,
            stack=True,
            step=True,
            colors={"checked": g.GREEN, "failing": g.RED},
            defaults={"decimals": 0},
        ),
        g.graph(
            "Age of facts",
            "How old facts about AWS are: in the account with the oldest ones, and in the middle one. Two intervals are the limit for live facts; "
            "a credential report can be four hours old.",
            [
                g.series(f"max({facts_age()})", "oldest"),
                g.series(f"quantile(0.5, {facts_age()})", "median"),
                g.series(f"2 * {interval}", "two intervals"),
            ],
            width=8,
            unit="s",
            fill=0,
            colors={"oldest": g.ORANGE, "median": g.BLUE},
            overrides=[
                g.override(
                    "two intervals",
                    custom__lineStyle={"fill": "dash", "dash": [8, 8]},
                    color={"mode": "fixed", "fixedColor": g.GREY},
                )
            ],
        ),
        g.graph(
            "Duration of checks",
            "How long the last check of an account took: the longest, and the middle one. A check longer than the interval delays the next.",
            [
                g.series(f"max(iam_key_exporter_last_check_duration_seconds{{{CHECK}}})", "longest"),
                g.series(
                    f"quantile(0.5, max by (account_id) (iam_key_exporter_last_check_duration_seconds{{{CHECK}}}))",
                    "median",
                ),
            ],
            width=8,
            unit="s",
            fill=0,
            colors={"longest": g.ORANGE, "median": g.BLUE},
        ),
    )
    board.line(
        8,
        g.graph(
            "Checks",
            "Checks finished an hour, good and failed, over all accounts and replicas.",
            [
                g.series(f"sum(rate(iam_key_exporter_checks_total{{{CHECK}}}[$__rate_interval])) * 3600", "finished"),
                g.series(
                    f"sum(rate(iam_key_exporter_check_failures_total{{{CHECK}}}[$__rate_interval])) * 3600", "failed"
                ),
            ],
            width=12,
            colors={"finished": g.GREEN, "failed": g.RED},
            interval="5m",
            defaults={"decimals": 0},
        ),
        g.graph(
            "Failed checks by reason",
            f"Failed checks an hour. {REASON_HINT}",
            [
                g.series(
                    f"sum by (reason) (rate(iam_key_exporter_check_failures_total{{{CHECK}}}[$__rate_interval])) * 3600 > 0",
                    "{{reason}}",
                )
            ],
            width=12,
            draw="bars",
            stack=True,
            interval="5m",
            no_value="No check failed in this time range, as far as is known",
            defaults={"decimals": 0},
        ),
    )
    board.row("Requests to AWS")
    requests = f"rate(iam_key_exporter_aws_requests_total{{{JOB}}}[$__rate_interval])"
    throttled = f"rate(iam_key_exporter_aws_request_failures_total{{{JOB}, {THROTTLES}}}[$__rate_interval])"
    board.line(
        8,
        g.graph(
            "Requests by operation",
            "Requests to AWS a minute, retries included.",
            [
                g.series(
                    per_minute("iam_key_exporter_aws_requests_total", "service, operation"), "{{service}} {{operation}}"
                )
            ],
            width=9,
            unit="reqpm",
            stack=True,
            interval="5m",
            legend=(),
            no_value="No request to AWS in this time range",
        ),
        g.graph(
            "Failed requests",
            "Requests that AWS refused or that did not get through, a minute, by operation and AWS's error code. Retries often succeed.",
            [
                g.series(
                    f'{per_minute("iam_key_exporter_aws_request_failures_total", "operation, code")} > 0',
                    "{{operation}} {{code}}",
                )
            ],
            width=9,
            unit="reqpm",
            interval="5m",
            fill=0,
            legend=(),
            no_value="No request failed in this time range, as far as is known",
        ),
        g.graph(
            "Throttled share",
            "Share of the requests that AWS refused as too many. If it stays high, lower --aws.max-requests-per-second or check less often.",
            [
                g.series(
                    f"(sum({throttled}) or 0 * sum({requests})) / (sum({requests}) > 0)",
                    "throttled",
                )
            ],
            width=6,
            unit="percentunit",
            interval="5m",
            colors={"throttled": g.ORANGE},
            thresholds=g.steps((0.05, g.ORANGE)),
            no_value="No request to AWS in this time range",
            soft_max=0.1,
        ),
    )
    board.row("The exporter itself")
    board.line(
        8,
        g.graph(
            "Memory",
            "Resident memory of each replica.",
            [g.series(f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}")],
            width=8,
            unit="bytes",
        ),
        g.graph(
            "CPU",
            "Processor time that each replica uses: 100 % is one core.",
            [
                g.series(
                    f"sum by (instance) (rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval]))", "{{instance}}"
                )
            ],
            width=8,
            unit="percentunit",
            soft_max=0.05,
        ),
        g.graph(
            "Open files and threads",
            "File descriptors and threads of the replica that has most of them.",
            [
                g.series(f"max(process_open_fds{{{JOB}}})", "open files"),
                g.series(f"max(process_threads{{{JOB}}})", "threads"),
            ],
            width=8,
            fill=0,
            defaults={"decimals": 0},
        ),
    )
    board.line(
        8,
        g.graph(
            "Size of a scrape",
            "Size of the facts in a scrape, plain and compressed. Prometheus asks for gzip.",
            [g.series(f"max by (encoding) (iam_key_exporter_exposition_size_bytes{{{JOB}}})", "{{encoding}}")],
            width=8,
            unit="bytes",
            colors={"identity": g.BLUE, "gzip": g.GREEN},
        ),
        g.graph(
            "Duration of a scrape",
            "How long Prometheus waited for each replica. Scrapes never wait for AWS.",
            [g.series(f"scrape_duration_seconds{{{JOB}}}", "{{instance}}")],
            width=8,
            unit="s",
        ),
        g.graph(
            "Samples in a scrape",
            "Samples that Prometheus took from each replica. --metrics.users makes them fewer.",
            [g.series(f"scrape_samples_scraped{{{JOB}}}", "{{instance}}")],
            width=8,
        ),
    )
    board.line(
        4,
        g.stat(
            "Running for",
            "How long the replica that started last has been running.",
            [g.instant(f"time() - max(process_start_time_seconds{{{JOB}}})")],
            width=6,
            unit="s",
            thresholds=g.NEUTRAL,
            no_value="Not known",
            defaults={"decimals": 0},
        ),
        g.stat(
            "Configuration loaded",
            "How long ago the configuration was last loaded successfully, by the replica that did so first.",
            [g.instant(f"time() - min(iam_key_exporter_config_last_reload_success_timestamp_seconds{{{JOB}}})")],
            width=6,
            unit="s",
            thresholds=g.NEUTRAL,
            no_value="Not known",
            defaults={"decimals": 0},
        ),
        g.stat(
            "Time between checks",
            "The configured interval (--check.interval).",
            [g.instant(interval)],
            width=6,
            unit="s",
            thresholds=g.NEUTRAL,
            no_value="Not known",
        ),
        g.stat(
            "Open files used",
            "Share of the file descriptors that the operating system allows.",
            [g.instant(f"max(process_open_fds{{{JOB}}} / process_max_fds{{{JOB}}})")],
            width=6,
            unit="percentunit",
            thresholds=g.steps((0.5, g.YELLOW), (0.8, g.RED)),
            no_value="Not known",
            defaults={"decimals": 1},
        ),
    )
    return board.json
