"""The state of all accounts at a glance, for a wall display and the daily review."""

import inventory as f
import grafana as g

AGE = f"(time() - {f.active_keys_created()}) / {f.DAY}"
IDLE = f"(time() - {f.active_keys_last_used()}) / {f.DAY}"
AGES = ((0, 30, g.GREEN), (30, 90, g.GREEN), (90, 180, g.ORANGE), (180, 365, g.RED), (365, None, "dark-red"))
IDLES = ((0, 30, g.GREEN), (30, 90, g.YELLOW), (90, None, g.RED))


def span(low, high):
    return f"{low} to {high} days" if high else f"over {low} days"


def between(expr, low, high, known):
    """Number of keys in the range; 0 if there are none, but keys are known. `known`: a cheap metric that exists in that case."""
    inside = f"({expr} >= {low}) < {high}" if high else f"{expr} >= {low}"
    return f"count({inside}) or count({known}{{{f.ACCOUNT}}}) * 0"


def count_of_rule(title, rule, description, color, width):
    return g.stat(
        title,
        description,
        [g.instant(f"sum({f.violations(rule)})")],
        width=width,
        thresholds=g.steps((1, color)),
        no_value="Not known",
    )


STATES = {  # of the organisation's accounts: text, colour
    "active": g.GREEN,
    "unknown": g.GREY,
    "pending": g.BLUE,
    "suspended": g.YELLOW,
    "excluded": g.PURPLE,
}
JOB = 'job=~"$job"'
NO_ORGANISATION = "No organisation"


def organisation(board):
    """The organisation's accounts, and the shards that divide them. The only sums over processes are those over shards."""
    of = lambda name: f"iam_key_exporter_organization_{name}{{{JOB}}}"
    ordinals = f'count by (job) (count_values by (job) ("shard", iam_key_exporter_shard_ordinal{{{JOB}}}))'
    up = f"max by (account_id) (iam_key_exporter_account_up{{{f.ACCOUNT}}})"
    failures = f"max by (account_id, reason) (increase(iam_key_exporter_check_failures_total{{{f.ACCOUNT}}}[1h])) > 0"
    board.row("Organisation and shards")
    board.line(
        4,
        g.stat(
            "List of accounts",
            "Whether the last listing of the organisation's accounts succeeded, in every process. Otherwise the last complete list stays in force.",
            [g.instant(f"min({of('up')})")],
            width=4,
            thresholds=g.steps((1, g.GREEN), base=g.RED),
            no_value=NO_ORGANISATION,
            defaults={"mappings": g.text_of({"0": ("Failed", g.RED), "1": ("OK", g.GREEN)})},
        ),
        g.stat(
            "Age of the list",
            "Time since the last complete listing of the organisation's accounts, of the process with the oldest one.",
            [g.instant(f"time() - min({of('last_success_timestamp_seconds')})")],
            width=4,
            unit="s",
            thresholds=g.steps((2 * 3600, g.ORANGE)),
            no_value=NO_ORGANISATION,
            defaults={"decimals": 0},
        ),
        g.stat(
            "Filters without a match",
            "Entries of include and exclude in the configuration that match no account of the organisation. The exporter's log names them.",
            [g.instant(f"max({of('unmatched_filters')})")],
            width=4,
            thresholds=g.NONE_WANTED,
            no_value=NO_ORGANISATION,
        ),
        g.stat(
            "Accounts reported",
            "Accounts that the exporter reports, in all shards.",
            [g.instant(f"count({up})")],
            width=4,
            thresholds=g.NEUTRAL,
            no_value="Not known",
        ),
        g.stat(
            "Shards present",
            "Different shards that Prometheus scrapes; replicas of one count once. 1 without shards.",
            [g.instant(f"sum({ordinals})")],
            width=4,
            thresholds=g.NEUTRAL,
            no_value="Not known",
        ),
        g.stat(
            "Shards missing",
            "Shards whose process is not scraped: their accounts are not checked, and the numbers on this page are without them.",
            [g.instant(f"sum(max by (job) (iam_key_exporter_total_shards{{{JOB}}}) - on (job) {ordinals})")],
            width=4,
            no_value="Not known",
            links=[g.open_dashboard(g.HEALTH)],
        ),
    )
    board.line(
        8,
        g.bars(
            "Accounts of the organisation by state",
            "Active accounts, and those in a state that the exporter does not know, are checked. Suspended includes closed ones; "
            "excluded: by the configuration.",
            [g.instant(f'max(iam_key_exporter_organization_accounts{{{JOB}, state="{state}"}})', state) for state in STATES],
            width=8,
            thresholds=g.NEUTRAL,
            no_value=NO_ORGANISATION,
            overrides=[g.override(state, color={"mode": "fixed", "fixedColor": color}) for state, color in STATES.items()],
        ),
        g.bars(
            "Failing accounts by reason",
            "Accounts whose last check failed, by the reason of most failures within the last hour. Accounts that left the organisation or are suspended "
            "end by themselves.",
            [g.instant(f"count by (reason) (topk by (account_id) (1, {failures}) and on (account_id) {up} == 0)", "{{reason}}")],
            width=8,
            thresholds=g.NONE_ALLOWED,
            no_value="No account is known to fail",
        ),
        g.bars(
            "Accounts per shard",
            "Accounts that each shard reports, the twenty largest. While the number of shards changes, an account may be reported by two.",
            [
                g.instant(
                    "topk(20, max by (job, shard) (count by (job, instance)"
                    f" (iam_key_exporter_account_up{{{f.ACCOUNT}}}) * on (job, instance) group_right ()"
                    f' count_values by (job, instance) ("shard", iam_key_exporter_shard_ordinal{{{JOB}}})))',
                    "{{job}}: shard {{shard}}",
                )
            ],
            width=8,
            thresholds=g.NEUTRAL,
            no_value="Not known",
        ),
    )


def dashboard():
    board = g.Board(
        g.OVERVIEW,
        "Which IAM users have more than one active access key, since when, and in which accounts.",
        f.VARIABLES,
        "now-24h",
    )
    several = "multiple_active_keys"
    expires, matched = f.exemptions("expires_timestamp_seconds"), f.exemptions("matched")
    board.line(
        5,
        g.stat(
            "More than one active key",
            "Users that violate the policy itself: an IAM user has at most one active access key. Exempt and rotating users are not counted. "
            "No data means unknown, not compliant.",
            [g.instant(f"sum({f.violations(several)})")],
            width=5,
            fill=True,
            no_value="Not known",
        ),
        g.gauge(
            "Compliance",
            "Share of users that are known to comply with the policy: compliant, rotating or exempt. Users whose keys could not be read do not count as compliant.",
            [g.instant(f"sum({f.users('compliant|rotating|exempt')}) / (sum({f.users()}) > 0)")],
            width=4,
            thresholds=f.RATIO,
            no_value="Not known",
            defaults={"decimals": 1},
        ),
        g.stat(
            "Longest open",
            "Duration of the longest current violation of the one-key rule, from AWS's own dates.",
            [g.instant(f"time() - min({f.since(several)}) or sum({f.violations(several)}) == 0")],
            width=3,
            unit="s",
            no_value="Not known",
            thresholds=g.steps((1, g.ORANGE), (f.DAY, g.RED)),
            defaults={"mappings": g.text_of({"0": ("None", g.GREEN)}), "decimals": 1},
        ),
        g.stat(
            "Root keys",
            "Active access keys of root users. There should be none.",
            [g.instant(f"sum(max by (account_id) (aws_iam_account_root_active_access_keys{{{f.ACCOUNT}}}))")],
            width=3,
            no_value="Not known",
        ),
        count_of_rule(
            "Old keys",
            "key_age",
            "Users with an active key older than the limit (90 days unless configured).",
            g.ORANGE,
            3,
        ),
        count_of_rule(
            "Unused keys",
            "unused_key",
            "Users with an active key that was never used, or not for the limit (90 days unless "
            "configured). Unknown if last use is not read (--collect.last-used).",
            g.YELLOW,
            3,
        ),
        g.stat(
            "Not checked",
            "Accounts whose last check failed, and accounts that the exporter reported within the last day and no longer reports. "
            "Their numbers are outdated or missing: see the health dashboard.",
            [
                g.instant(
                    f"count(count by (account_id) ({f.seen_within_a_day()}))"
                    f" - (count(max by (account_id) (iam_key_exporter_account_up{{{f.ACCOUNT}}}) == 1) or vector(0))",
                )
            ],
            width=3,
            no_value="Not known",
            links=[g.open_dashboard(g.HEALTH)],
        ),
    )
    board.line(
        9,
        f.findings_table(
            "Users with more than one active key",
            "Users, start of the violation, and links for remediation. Owner is the value of the user's tag, if the exporter reads it (--collect.owner-tag). "
            "A user is removed from the table by the first check that finds it compliant.",
            several,
            no_value="No user is known to have more than one active key",
        ),
    )
    board.line(8, f.violations_graph(12), f.users_graph(12))
    worst = f'topk(10, max by (account_id) (max_over_time(aws_iam_access_key_violations{{{f.ACCOUNT}, rule="{several}"}}[$__range] @ end())) > 0)'
    board.line(
        9,
        g.bars(
            "Accounts with most violations",
            "Users with more than one active key: the ten accounts with the most.",
            [g.instant(f"topk(10, {f.called(f.violations(several))})", "{{account}}")],
            width=8,
            thresholds=g.NONE_ALLOWED,
            no_value="Not known",
            defaults={"displayName": "${__field.labels.account}"},
        ),
        g.graph(
            "Violations over time, by account",
            "Users with more than one active key, in the ten accounts with the most in this time range.",
            [g.series(f.called(f"{f.violations(several)} and on (account_id) {worst}"), "{{account}}")],
            width=16,
            step=True,
            no_value="No violation is known in this time range",
            defaults={"decimals": 0},
            table=True,
            legend=("lastNotNull", "max"),
            fill=0,
        ),
    )
    board.line(
        7,
        g.bars(
            "Active keys by age",
            "Days since the key was created. Complete if the exporter exports series for all users (--metrics.users=all or keyed).",
            [g.instant(between(AGE, low, high, "aws_iam_access_key_active"), span(low, high)) for low, high, _ in AGES],
            width=8,
            thresholds=g.NEUTRAL,
            no_value="No active key is known",
            overrides=[
                g.override(span(low, high), color={"mode": "fixed", "fixedColor": color}) for low, high, color in AGES
            ],
        ),
        g.bars(
            "Active keys by last use",
            "Days since the key was last used. Keys count as never used only if last use is read (--collect.last-used, or the credential report).",
            [
                *(
                    g.instant(
                        between(IDLE, low, high, "aws_iam_access_key_last_used_timestamp_seconds"), span(low, high)
                    )
                    for low, high, _ in IDLES
                ),
                g.instant(
                    f"count((max by (account_id, user_name, key) (aws_iam_access_key_active{{{f.ACCOUNT}}}) == 1)"
                    f" unless on (account_id, user_name, key) aws_iam_access_key_last_used_timestamp_seconds{{{f.ACCOUNT}}}"
                    f" and on (account_id) {f.violations('unused_key')}) or count({f.violations('unused_key')}) * 0",
                    "never used",
                ),
            ],
            width=8,
            thresholds=g.NEUTRAL,
            no_value="Not known",
            overrides=[
                *(
                    g.override(span(low, high), color={"mode": "fixed", "fixedColor": color})
                    for low, high, color in IDLES
                ),
                g.override("never used", color={"mode": "fixed", "fixedColor": "dark-red"}),
            ],
        ),
        g.bars(
            "Keys by status",
            "Access keys of users. An inactive key cannot be used, but takes one of the user's two slots: delete it once it is known to be unused.",
            [
                g.instant(f'sum(max by (account_id) (aws_iam_access_keys{{{f.ACCOUNT}, status="{status}"}}))', status)
                for status in ("active", "inactive")
            ],
            width=4,
            thresholds=g.NEUTRAL,
            no_value="Not known",
            overrides=[
                g.override("active", color={"mode": "fixed", "fixedColor": g.BLUE}),
                g.override("inactive", color={"mode": "fixed", "fixedColor": g.GREY}),
            ],
        ),
        g.bars(
            "Exemptions by state",
            "Exemptions of the exporter's configuration. Expired ones are no longer applied; unmatched ones match no user: they are misspelled, or the users were deleted.",
            [
                g.instant(f"count({of_state}) or count({expires}) * 0", state)
                for state, of_state in (
                    ("used", f"{matched} == 1 unless {expires} <= time()"),
                    ("expired", f"{expires} <= time()"),
                    ("unmatched", f"{matched} == 0 unless {expires} <= time()"),
                )
            ],
            width=4,
            thresholds=g.NONE_WANTED,
            no_value="None",
            overrides=[g.override("used", color={"mode": "fixed", "fixedColor": g.PURPLE})],
        ),
    )
    board.line(
        9,
        f.findings_table(
            "Users with old or unused keys",
            "Findings of the other rules about users: one row per user and rule.",
            "key_age|unused_key",
            no_value="No user is known to have an old or unused key",
        ),
    )
    organisation(board)
    board.row("Accounts and exemptions")
    board.line(
        10,
        f.accounts_table(
            "Accounts", "All accounts, those with most users in violation first. Click an account to drill down."
        ),
    )
    board.line(
        7,
        g.table(
            "Exemptions",
            "Every exemption of the configuration, the next to expire first. After its last day an exemption is no longer applied. "
            "Without account or rule it applies to all of them. User, path, group and tags can have wildcards.",
            [g.rows(f"{expires} * 1000"), g.rows(f"({expires} - time()) / {f.DAY}"), g.rows(matched)],
            [
                g.column("user", "User (name or ARN)"),
                g.column("path", "Path", 140),
                g.column("group", "Group", 140),
                g.column("tag", "Tags", 180),
                g.column("account", "Account ID", 140, "all"),
                g.column("rule", "Rule", 220, "all", mappings=f.RULE_MAPPING),
                g.column("Value #A", "Expires", unit=f.DATE),
                f.days_column("Value #B", "Left", g.steps((14, "text"), base=g.ORANGE, below=g.RED), 110),
                g.column(
                    "Value #C",
                    "Matches",
                    100,
                    mappings=g.text_of({"0": ("No user", g.YELLOW), "1": ("Users", "text")}),
                    custom__cellOptions=f.COLORED_TEXT,
                    custom__align="left",
                ),
            ],
            no_value="No exemption is known",
            sort=("Left", False),
            order=("user", "path", "group", "tag", "account", "rule", "Value #A", "Value #B", "Value #C"),
        ),
    )
    return board.json
