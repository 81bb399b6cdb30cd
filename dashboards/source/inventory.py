"""Expressions and panels about the inventory that several dashboards use.

Two replicas of the exporter report the same account, so every expression first takes the maximum over the replicas
(`max by (account_id, ...)`) and only then sums. A missing sample stays missing: no expression turns it into 0.
"""

import grafana as g

ACCOUNT = 'job=~"$job", account_id=~"$account_id"'
USER = ACCOUNT + ', user_name=~"$user_name"'
DAY = 86400

RULES = {  # rule: text, colour
    "multiple_active_keys": ("More than one active key", g.RED),
    "key_age": ("Old key", g.ORANGE),
    "unused_key": ("Unused key", g.YELLOW),
    "root_access_key": ("Root has a key", g.PURPLE),
}
STATUSES = {
    "compliant": ("Compliant", g.GREEN),
    "rotating": ("Rotating", g.BLUE),
    "exempt": ("Exempt", g.PURPLE),
    "unknown": ("Unknown", g.GREY),
    "violation": ("In violation", g.RED),
}
RUNBOOKS = {"multiple_active_keys": "IamKeyMultipleActive", "key_age": "IamKeyTooOld", "unused_key": "IamKeyUnused"}
RUNBOOK_URL = "https://github.com/iam-key-exporter/iam-key-exporter/blob/main/docs/runbooks/"
CONSOLES = {
    "aws|": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}

RULE_COLORS = {text: color for text, color in RULES.values()}
RULE_MAPPING = g.text_of({rule: text for rule, (text, _) in RULES.items()})
RULE_MAPPING_SHORT = g.text_of(
    {rule: text for rule, (text, _) in RULES.items()} | {"multiple_active_keys": "Several keys"}
)
# A violation of more than a day is critical in the alerts, too.
DAYS_IN_VIOLATION = g.steps((1, g.RED), base=g.ORANGE)
KEY_AGES = g.steps((60, g.YELLOW), (90, g.RED))
RATIO = g.steps((0.9, g.ORANGE), (0.98, g.YELLOW), (1, g.GREEN), base=g.RED)


def violations(rule):
    return f'max by (account_id) (aws_iam_access_key_violations{{{ACCOUNT}, rule="{rule}"}})'


def users(status=""):
    matcher = f', status=~"{status}"' if status else ""
    return f"max by (account_id, status) (aws_iam_users{{{ACCOUNT}{matcher}}})"


def exemptions(what):
    """One series for each exemption of the configuration, which all processes share: one that matches is enough."""
    labels = "user, path, group, tag, account, rule"
    return f'max by ({labels}) (aws_iam_exemption_{what}{{job=~"$job"}})'


def known_names(labels="account_name"):
    """One series per account, even while two replicas report different names."""
    return f"topk by (account_id) (1, max by (account_id, {labels}) (aws_iam_account_info{{{ACCOUNT}}}))"


def named(expr, labels="account_name"):
    return f"({expr}) * on (account_id) group_left ({labels}) {known_names(labels)}"


def called(expr):
    """Adds the label `account`: the account's name, or its ID if it has none."""
    expr = f'label_replace({named(expr)}, "account", "$1", "account_id", "(.*)")'
    return f'label_replace({expr}, "account", "$1", "account_name", "(.+)")'


def in_violation(rules, scope=ACCOUNT):
    return f'aws_iam_user_violation_since_timestamp_seconds{{{scope}, rule=~"{rules}"}}'


def since(rules, scope=ACCOUNT):
    return f"min by (account_id, user_name, rule) ({in_violation(rules, scope)})"


def active_keys_created(scope=ACCOUNT, of=""):
    """Creation time of each active key: the product is 0 for inactive ones.

    `of` restricts the keys to the users of a selector before the expensive part.
    """
    created = f"aws_iam_access_key_created_timestamp_seconds{{{scope}}}"
    if of:
        created = f"({created} and on (account_id, user_name) {of})"
    return f"(max by (account_id, user_name, key) ({created} * aws_iam_access_key_active{{{scope}}}) > 0)"


def active_keys_last_used(scope=ACCOUNT):
    return (
        f"(max by (account_id, user_name, key) (aws_iam_access_key_last_used_timestamp_seconds{{{scope}}}"
        f" * aws_iam_access_key_active{{{scope}}}) > 0)"
    )


def seen_within_a_day():
    """Accounts that the exporter reports or has reported. `unknown` is an account whose ID has not been determined yet: it
    counts only while it is exported, because every start of the exporter exports it for a moment."""
    up = "iam_key_exporter_account_up"
    return f'(last_over_time({up}{{{ACCOUNT}, account_id!="unknown"}}[1d]) or {up}{{{ACCOUNT}}})'


def console_host(expr):
    """Adds the label `console`: the AWS console of the account's partition."""
    for partition, host in CONSOLES.items():
        expr = f'label_replace({expr}, "console", "{host}", "partition", "{partition}")'
    return expr


def runbook_page(expr, rules):
    """Adds the label `runbook`: the page about the rule."""
    for rule in rules.split("|"):
        expr = f'label_replace({expr}, "runbook", "{RUNBOOKS[rule]}", "rule", "{rule}")'
    return expr


CONSOLE_LINK = g.link(
    "Security credentials of this user in the AWS console (sign in to the account first)",
    "https://${__data.fields.console}/iam/home#/users/details/${__data.fields.user_name:percentencode}?section=security_credentials",
    blank=True,
)
ACCOUNT_LINK = g.to_dashboard(g.DRILLDOWN, "Drill down into this account", account_id="${__data.fields.account_id}")
USER_LINK = g.to_dashboard(
    g.DRILLDOWN,
    "Drill down into this user",
    account_id="${__data.fields.account_id}",
    user_name="${__data.fields.user_name:percentencode}",
)
DATE = "time:YYYY-MM-DD HH:mm"
COLORED_TEXT = {"type": "color-text"}
ANY_TO = lambda text: [{"type": "regex", "options": {"pattern": ".+", "result": {"index": 0, "text": text}}}]


def account_columns(width=None):
    return [
        g.column("account_name", "Account", width, links=[ACCOUNT_LINK]),
        g.column("account_id", "Account ID", 118, links=[ACCOUNT_LINK]),
    ]


def console_column():
    return g.column("console", "AWS", 88, mappings=ANY_TO("Console ↗"), links=[CONSOLE_LINK])


def days_column(field, title, thresholds, width=95):
    return g.column(
        field,
        title,
        width,
        unit="suffix: d",
        decimals=0,
        thresholds=thresholds,
        custom__cellOptions=COLORED_TEXT,
        custom__align="right",
    )


def number_column(field, title, thresholds=None, width=90):
    colored = {"thresholds": thresholds, "custom__cellOptions": COLORED_TEXT} if thresholds else {}
    return g.column(field, title, width, unit="locale", custom__align="right", **colored)


def findings_table(title, description, rules, *, scope=ACCOUNT, no_value, width=g.COLUMNS):
    """Users in violation: one row per user and rule. The other queries add columns to the rows of the first."""
    begun = since(rules, scope)
    ages = f"(time() - {active_keys_created(scope, in_violation(rules, scope))}) / {DAY}"
    of_user = lambda expr: f"{begun} * 0 + on (account_id, user_name) group_left () {expr}"
    owner = f'topk by (account_id, user_name) (1, max by (account_id, user_name, owner) (aws_iam_user_info{{{scope}, owner!=""}}))'
    targets = [
        g.rows(runbook_page(console_host(named(f"{begun} * 1000", "account_name, partition")), rules)),
        g.rows(f"(time() - {begun}) / {DAY}"),
        g.rows(of_user(f"max by (account_id, user_name) (aws_iam_user_active_access_keys{{{scope}}})")),
        g.rows(of_user(f"min by (account_id, user_name) ({ages})")),
        g.rows(of_user(f"max by (account_id, user_name) ({ages})")),
        g.rows(f"{begun} * on (account_id, user_name) group_left (owner) {owner}"),
    ]
    several = "|" in rules
    columns = [
        *account_columns(),
        g.column("user_name", "User", links=[USER_LINK]),
        g.column("owner", "Owner", 125),
        g.column("rule", "Rule", 105, mappings=RULE_MAPPING_SHORT) if several else g.hidden("rule"),
        # Without a width, so that the header of an empty table, which has no labels, fills the panel.
        g.column("Value #A", "Since", unit=DATE),
        days_column("Value #B", "For", DAYS_IN_VIOLATION, 75),
        number_column("Value #C", "Active keys", g.steps((2, g.RED), base="text"), 90),
        days_column("Value #D", "Newest key", KEY_AGES),
        days_column("Value #E", "Oldest key", KEY_AGES),
        console_column(),
        g.column(
            "runbook",
            "What to do",
            98,
            mappings=ANY_TO("Runbook ↗"),
            links=[g.link("How to fix it", RUNBOOK_URL + "${__value.raw}.md", blank=True)],
        ),
        g.hidden("partition"),
        g.hidden("Value #F"),
    ]
    order = (
        "account_name",
        "account_id",
        "user_name",
        "owner",
        "rule",
        "Value #A",
        "Value #B",
        "Value #C",
        "Value #D",
        "Value #E",
        "console",
        "runbook",
    )
    return g.table(
        title, description, targets, columns, width=width, no_value=no_value, sort=("For", True), order=order
    )


def accounts_table(title, description):
    by_account = lambda expr: f"sum by (account_id) ({expr})"
    targets = [
        g.rows(known_names("account_name, collector")),
        g.rows(by_account(users())),
        *(g.rows(violations(rule)) for rule in RULES),
        g.rows(by_account(users("unknown"))),
        g.rows(f"{by_account(users('compliant|rotating|exempt'))} / ({by_account(users())} > 0)"),
        g.rows(f"max by (account_id) (iam_key_exporter_account_up{{{ACCOUNT}}})"),
        g.rows(f"time() - max by (account_id) (iam_key_exporter_account_facts_timestamp_seconds{{{ACCOUNT}}})"),
    ]
    bad = g.steps((1, g.RED), base="text")
    columns = [
        *account_columns(),
        g.column("collector", "Collector", 80),
        g.hidden("Value #A"),
        number_column("Value #B", "Users", width=75),
        number_column("Value #C", "More than one", bad, 125),
        number_column("Value #D", "Old", g.steps((1, g.ORANGE), base="text")),
        number_column("Value #E", "Unused", g.steps((1, g.YELLOW), base="text")),
        number_column("Value #F", "Root keys", bad),
        number_column("Value #G", "Unknown", g.steps((1, g.YELLOW), base="text")),
        g.column(
            "Value #H",
            "Compliance",
            150,
            unit="percentunit",
            min=0,
            max=1,
            decimals=1,
            thresholds=RATIO,
            custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
        ),
        g.column(
            "Value #I",
            "Last check",
            90,
            mappings=g.text_of({"0": ("Failed", g.RED), "1": ("OK", g.GREEN)}),
            custom__cellOptions=COLORED_TEXT,
            custom__align="left",
        ),
        g.column(
            "Value #J",
            "Age of data",
            105,
            unit="s",
            decimals=0,
            custom__align="right",
            thresholds=g.steps((5 * 3600, g.ORANGE), base="text"),
            custom__cellOptions=COLORED_TEXT,
        ),
    ]
    order = ("account_name", "account_id", "collector", *(f"Value #{ref}" for ref in "BCDEFGHIJ"))
    return g.table(
        title, description, targets, columns, no_value="No account is known", sort=("More than one", True), order=order
    )


def violations_graph(width):
    return g.graph(
        "Violations over time",
        "Users in violation of each rule (for root keys: accounts), without exempt and rotating ones. A gap means that there was no data.",
        [g.series(f"sum({violations(rule)})", text) for rule, (text, _) in RULES.items()],
        width=width,
        step=True,
        colors=RULE_COLORS,
        no_value="No data in this time range",
        soft_max=5,
        defaults={"decimals": 0},
    )


def users_graph(width):
    return g.graph(
        "Users by status over time",
        "All IAM users by status. Rotating: violated, within the grace period. Exempt: by the configuration. Unknown: the keys could not be read.",
        [g.series(f"sum({users(status)})", text) for status, (text, _) in reversed(STATUSES.items())],
        width=width,
        stack=True,
        step=True,
        colors={text: color for text, color in STATUSES.values()},
        no_value="No data in this time range",
        defaults={"decimals": 0},
    )


VARIABLES = [
    g.variable(
        "job",
        "Job",
        'label_values({__name__=~"aws_iam_users|iam_key_exporter_build_info"}, job)',
        "Jobs of Prometheus that scrape the exporter.",
    ),
    g.variable(
        "account_id",
        "Account",
        # Accounts of the last day, so that the selection survives an outage; accounts without a successful check have no name yet.
        'query_result(label_join(max by (account_id, account_name) (last_over_time(aws_iam_account_info{job=~"$job"}[1d])) or on (account_id)'
        ' max by (account_id) (last_over_time(iam_key_exporter_account_up{job=~"$job", account_id!="unknown"}[1d])), "text", " ", "account_name", "account_id"))',
        "AWS accounts, by name and ID.",
        sort=5,
        regex='/account_id="(?<value>[^"]+)".*text="\\s*(?<text>[^"]+)"/',
    ),
]
USER_VARIABLE = g.variable(
    "user_name",
    "User",
    'label_values({__name__=~"aws_iam_user_active_access_keys|aws_iam_user_violation_since_timestamp_seconds", '
    + ACCOUNT
    + "}, user_name)",
    "IAM users of the selected accounts; with many users select an account first.",
)
