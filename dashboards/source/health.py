"""The state of the exporter: accounts and checks, requests to AWS, resource usage."""

import inventory as f
import grafana as g

JOB = 'job=~"$job"'
CHECK = f.ACCOUNT
REASON_HINT = "The runbook of the alert IamKeyExporterAccountCheckFailing describes the reasons."
THROTTLES = 'code=~"Throttling.*"'


def data_age(of="facts"):
    return f"(time() - max by (account_id) (iam_key_exporter_account_{of}_timestamp_seconds{{{CHECK}}}))"


def per_minute(metric, by):
    return f"sum by ({by}) (rate({metric}{{{JOB}}}[$__rate_interval])) * 60"


def per_hour(of):
    return f"sum(rate(iam_key_exporter_account_{of}_total{{{CHECK}}}[$__rate_interval])) * 3600"


def accounts_table():
    failures = f"max by (account_id, reason) (increase(iam_key_exporter_check_failures_total{{{CHECK}}}[1h])) > 0"
    targets = [
        g.rows(f"max by (account_id) (iam_key_exporter_account_up{{{CHECK}}})"),
        g.rows(f.known_names("account_name, collector")),
        g.rows(data_age("last_success")),
        g.rows(data_age()),
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
        g.column("Value #D", "Age of data", 130, thresholds=g.steps((5 * 3600, g.ORANGE), base="text"), **age),
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
        f"State of the last check of each account, the longest without a successful one first. {REASON_HINT}",
        targets,
        columns,
        no_value="No account is known: check that the exporter is scraped",
        sort=("Last good check", True),
        order=order,
    )


def dashboard():
    board = g.Board(
        g.HEALTH, "State of the exporter: checks, age of the inventories, requests to AWS, resource usage.", f.VARIABLES, "now-6h"
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
            "Accounts whose last check failed: their numbers are those of the last successful check.",
            [g.instant(f"count({up}) - sum({up})")],
            width=3,
            no_value="Not known",
        ),
        g.stat(
            "Vanished",
            "Accounts that the exporter reported within the last day and no longer reports.",
            [g.instant(f"count(count by (account_id) ({f.seen_within_a_day()})) - (count({up}) or vector(0))")],
            width=3,
            no_value="Not known",
        ),
        g.stat(
            "Oldest data",
            "Age of the oldest inventory of an account. Live: up to two intervals. A credential report: up to five hours.",
            [g.instant(f"max({data_age()})")],
            width=3,
            unit="s",
            thresholds=g.steps((5 * 3600, g.ORANGE), (86400, g.RED)),
            no_value="Not known",
            defaults={"decimals": 0},
        ),
        g.stat(
            "Configuration",
            "Whether the last reload of the configuration succeeded. If not, the exporter continues with the previous one.",
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
            "Failing accounts keep the inventory of their last successful check.",
            [g.series(f"sum({up})", "checked"), g.series(f"count({up}) - sum({up})", "failing")],
            width=8,
            stack=True,
            step=True,
            colors={"checked": g.GREEN, "failing": g.RED},
            defaults={"decimals": 0},
        ),
        g.graph(
            "Age of data",
            "Age of the inventories: the oldest account, and the median. Two intervals are the limit for live inventories; "
            "a credential report can be four hours old.",
            [
                g.series(f"max({data_age()})", "oldest"),
                g.series(f"quantile(0.5, {data_age()})", "median"),
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
            "Duration of the last check of an account: the longest, and the median. A check longer than the interval delays the next.",
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
            "Completed checks per hour, successful and failed, over all accounts and replicas.",
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
            f"Failed checks per hour. {REASON_HINT}",
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
            no_value="No check is known to have failed in this time range",
            defaults={"decimals": 0},
        ),
    )
    board.row("Pace")
    oldest = data_age("oldest_observation")
    delays = f"sum by (le) (rate(iam_key_exporter_detection_delay_seconds_bucket{{{JOB}}}[$__rate_interval]))"
    board.line(
        8,
        g.graph(
            "Age of the oldest observations",
            "How long ago the least recently read user of an account was read: the oldest account, and the median.",
            [g.series(f"max({oldest})", "oldest"), g.series(f"quantile(0.5, {oldest})", "median")],
            width=8,
            unit="s",
            fill=0,
            colors={"oldest": g.ORANGE, "median": g.BLUE},
        ),
        g.graph(
            "Detection delay",
            "Time from the creation of a new key until it was exported.",
            [
                g.series(f"histogram_quantile(0.95, {delays})", "95 %"),
                g.series(f"histogram_quantile(0.5, {delays})", "median"),
            ],
            width=8,
            unit="s",
            fill=0,
            interval="30m",
            colors={"95 %": g.ORANGE, "median": g.BLUE},
            no_value="No new key in this time range",
        ),
        g.graph(
            "Late and throttled accounts",
            "Per hour, over all accounts and replicas: checks that were left out because the one before had not ended, requests that AWS "
            "throttled, and times that users could not be read between checks.",
            [
                g.series(per_hour("check_overruns"), "checks left out"),
                g.series(per_hour("throttled_requests"), "requests throttled"),
                g.series(per_hour("sweep_failures"), "sweep failures"),
            ],
            width=8,
            fill=0,
            interval="5m",
            colors={"checks left out": g.ORANGE, "requests throttled": g.YELLOW, "sweep failures": g.RED},
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
            "Requests to AWS per minute, including retries.",
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
            "Failed requests per minute, by operation and AWS's error code, including connection errors. Retries often succeed.",
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
            no_value="No request is known to have failed in this time range",
        ),
        g.graph(
            "Throttled share",
            "Share of the requests that AWS throttled. If it stays high, lower --aws.max-requests-per-second or check less often.",
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
    board.row("Exporter process")
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
            "File descriptors and threads of the replica with the highest number.",
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
            "Size of the inventory metrics in a scrape, plain and compressed. Prometheus requests gzip.",
            [g.series(f"max by (encoding) (iam_key_exporter_exposition_size_bytes{{{JOB}}})", "{{encoding}}")],
            width=8,
            unit="bytes",
            colors={"identity": g.BLUE, "gzip": g.GREEN},
        ),
        g.graph(
            "Duration of a scrape",
            "Duration of the scrape of each replica. Scrapes never wait for AWS.",
            [g.series(f"scrape_duration_seconds{{{JOB}}}", "{{instance}}")],
            width=8,
            unit="s",
        ),
        g.graph(
            "Samples in a scrape",
            "Samples that Prometheus scraped from each replica. --metrics.users reduces their number.",
            [g.series(f"scrape_samples_scraped{{{JOB}}}", "{{instance}}")],
            width=8,
        ),
    )
    board.line(
        4,
        g.stat(
            "Running for",
            "Uptime of the replica that started last.",
            [g.instant(f"time() - max(process_start_time_seconds{{{JOB}}})")],
            width=6,
            unit="s",
            thresholds=g.NEUTRAL,
            no_value="Not known",
            defaults={"decimals": 0},
        ),
        g.stat(
            "Configuration loaded",
            "Time since the configuration was last loaded successfully, for the replica with the oldest load.",
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
