"""Selected accounts, with their users and keys."""

import inventory as f
import grafana as g

KEY = "account_id, user_name, key"
MANY = 500  # maximum number of rows of a table: with all accounts selected there can be a hundred thousand keys


def key(metric):
    return f"max by ({KEY}) ({metric}{{{f.USER}}})"


def users_table():
    chosen = f"topk({MANY}, max by (account_id, user_name) (aws_iam_user_active_access_keys{{{f.USER}}}))"
    of_user = lambda expr: f"({expr}) and on (account_id, user_name) {chosen}"
    ages = f"(time() - {f.active_keys_created(f.USER)}) / {f.DAY}"
    idle = f"(time() - {f.active_keys_last_used(f.USER)}) / {f.DAY}"
    rule_count = f"count by (account_id, user_name) ({f.since('.+', f.USER)})"
    info = f"topk by (account_id, user_name) (1, max by (account_id, user_name, path, owner) (aws_iam_user_info{{{f.USER}}}))"
    targets = [
        g.rows(f.console_host(f.named(chosen, "account_name, partition"))),
        g.rows(of_user(f"sum by (account_id, user_name) ({key('aws_iam_access_key_active')} == bool 0)")),
        g.rows(of_user(f"max by (account_id, user_name) ({ages})")),
        g.rows(of_user(f"min by (account_id, user_name) ({idle})")),
        g.rows(of_user(f"{rule_count} or {chosen} * 0")),
        g.rows(of_user(info)),
    ]
    columns = [
        *f.account_columns(),
        g.column("user_name", "User", links=[f.USER_LINK]),
        g.column("path", "Path", 100),
        g.column("owner", "Owner", 125),
        f.number_column("Value #A", "Active keys", g.steps((2, g.RED), base="text"), 110),
        f.number_column("Value #B", "Inactive keys", width=105),
        f.days_column("Value #C", "Oldest key", f.KEY_AGES),
        f.days_column("Value #D", "Last used", f.KEY_AGES),
        f.number_column("Value #E", "Rules violated", g.steps((1, g.RED), base="text"), 105),
        f.console_column(),
        g.hidden("partition"),
        g.hidden("Value #F"),
    ]
    order = (
        "account_name",
        "account_id",
        "user_name",
        "path",
        "owner",
        *(f"Value #{ref}" for ref in "ABCDE"),
        "console",
    )
    return g.table(
        "Users and their keys",
        f"Users of the selected accounts with their keys, those with most active keys first; at most {MANY}. Last used: days since any active key was used, "
        "if known. Users whose keys could not be read are not listed here but counted as unknown.",
        targets,
        columns,
        no_value="No user is known",
        sort=("Active keys", True),
        order=order,
    )


def keys_table():
    created = key("aws_iam_access_key_created_timestamp_seconds")
    chosen = f"topk({MANY}, time() - {created})"
    of_key = lambda expr: f"({expr}) and on ({KEY}) {chosen}"
    targets = [
        g.rows(f.console_host(f.named(f"{chosen} * 0 + on ({KEY}) {created} * 1000", "account_name, partition"))),
        g.rows(of_key(key("aws_iam_access_key_active"))),
        g.rows(f"{chosen} / {f.DAY}"),
        g.rows(of_key(f"{key('aws_iam_access_key_last_used_timestamp_seconds')} * 1000")),
        g.rows(of_key(f"(time() - {key('aws_iam_access_key_last_used_timestamp_seconds')}) / {f.DAY}")),
    ]
    columns = [
        *f.account_columns(),
        g.column("user_name", "User", links=[f.USER_LINK]),
        g.column("key", "Key", 65),
        g.column(
            "Value #B",
            "State",
            90,
            mappings=g.text_of({"1": ("active", g.BLUE), "0": ("inactive", g.GREY)}),
            custom__cellOptions=f.COLORED_TEXT,
            custom__align="left",
        ),
        g.column("Value #A", "Created", 150, unit=f.DATE),
        f.days_column("Value #C", "Age", f.KEY_AGES),
        g.column("Value #D", "Last used", 150, unit=f.DATE),
        f.days_column("Value #E", "Idle", f.KEY_AGES),
        f.console_column(),
        g.hidden("partition"),
    ]
    order = (
        "account_name",
        "account_id",
        "user_name",
        "key",
        "Value #B",
        "Value #A",
        "Value #C",
        "Value #D",
        "Value #E",
        "console",
    )
    return g.table(
        "Keys",
        f"Every key of the selected users, the oldest first; at most {MANY}. Keys of a user are numbered in the order of creation. "
        "No date of last use: never used, or unknown.",
        targets,
        columns,
        no_value="No key is known",
        sort=("Age", True),
        order=order,
    )


def dashboard():
    board = g.Board(
        g.DRILLDOWN, "Users, keys and findings of selected AWS accounts.", [*f.VARIABLES, f.USER_VARIABLE], "now-7d"
    )
    board.line(
        4,
        g.stat(
            "Users",
            "IAM users of the selected accounts. The root user is not counted.",
            [g.instant(f"sum({f.users()})")],
            width=3,
            thresholds=g.NEUTRAL,
            no_value="Not known",
        ),
        g.stat(
            "In violation",
            "Users of the selected accounts in violation of at least one rule.",
            [g.instant(f"sum({f.users('violation')})")],
            width=3,
            no_value="Not known",
        ),
        g.stat(
            "Several keys",
            "Users of the selected accounts with more than one active access key.",
            [g.instant(f"sum({f.violations('multiple_active_keys')})")],
            width=3,
            no_value="Not known",
        ),
        g.stat(
            "Unknown",
            "Users whose keys could not be read in the last check.",
            [g.instant(f"sum({f.users('unknown')})")],
            width=3,
            thresholds=g.NONE_WANTED,
            no_value="Not known",
        ),
        g.stat(
            "Active keys",
            "Active access keys of the users of the selected accounts.",
            [g.instant(f'sum(max by (account_id) (aws_iam_access_keys{{{f.ACCOUNT}, status="active"}}))')],
            width=3,
            thresholds=g.NEUTRAL,
            no_value="Not known",
        ),
        g.stat(
            "Root keys",
            "Active access keys of the root users of the selected accounts. There should be none.",
            [g.instant(f"sum(max by (account_id) (aws_iam_account_root_active_access_keys{{{f.ACCOUNT}}}))")],
            width=3,
            no_value="Not known",
        ),
        g.stat(
            "Compliance",
            "Share of users that are known to comply with the policy: compliant, rotating or exempt.",
            [g.instant(f"sum({f.users('compliant|rotating|exempt')}) / (sum({f.users()}) > 0)")],
            width=3,
            unit="percentunit",
            thresholds=f.RATIO,
            no_value="Not known",
            defaults={"decimals": 1},
        ),
        g.stat(
            "Age of data",
            "Age of the oldest inventory of the selected accounts. A credential report can be four hours old.",
            [
                g.instant(
                    f"time() - min(max by (account_id) (iam_key_exporter_account_facts_timestamp_seconds{{{f.ACCOUNT}}}))"
                )
            ],
            width=3,
            unit="s",
            thresholds=g.steps((5 * 3600, g.ORANGE)),
            no_value="Not known",
            defaults={"decimals": 0},
        ),
    )
    board.line(
        6,
        f.accounts_table(
            "Selected accounts", "Verdicts, state of the last check and age of the inventory, by account."
        ),
    )
    board.line(
        8,
        f.findings_table(
            "Findings",
            "Violations of the selected users: one row per user and rule.",
            "multiple_active_keys|key_age|unused_key",
            scope=f.USER,
            no_value="No violation of these users is known",
        ),
    )
    board.line(9, users_table())
    board.line(9, keys_table())
    active = f"max by (account_id, user_name) (aws_iam_user_active_access_keys{{{f.USER}}})"
    # Queries the history of the few series of violations, not of all users.
    violated = f.in_violation("multiple_active_keys", f.USER)
    latest = f"topk(15, max by (account_id, user_name) (max_over_time({violated}[$__range] @ end())))"
    board.line(
        9,
        g.graph(
            "Active keys by user",
            "Selected users in violation of the one-key rule at any time in this range; the fifteen whose violation began last.",
            [g.series(f"{active} and on (account_id, user_name) {latest}", "{{user_name}} {{account_id}}")],
            width=12,
            step=True,
            fill=0,
            table=True,
            thresholds=g.steps((2, g.RED)),
            no_value="No user is known to have had more than one active key",
            defaults={"decimals": 0},
            legend=("lastNotNull",),
        ),
        f.violations_graph(12),
    )
    board.line(
        8,
        f.users_graph(12),
        g.graph(
            "Keys over time",
            "Access keys of the users of the selected accounts. Inactive keys should be deleted once they are known to be unused.",
            [
                g.series(f'sum(max by (account_id) (aws_iam_access_keys{{{f.ACCOUNT}, status="{status}"}}))', status)
                for status in ("active", "inactive")
            ],
            width=12,
            step=True,
            stack=True,
            colors={"active": g.BLUE, "inactive": g.GREY},
            defaults={"decimals": 0},
        ),
    )
    return board.json
