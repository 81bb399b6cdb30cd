"""Rules for Grafana dashboards beyond their structure, and Grafana's interpolation of expressions into queries."""

import json
import re

import promql_parser as promql

from harness import ROOT

FOLDER = ROOT / "dashboards"
OVERVIEW, DRILLDOWN, HEALTH = UIDS = (
    "iam-key-exporter-overview",
    "iam-key-exporter-drilldown",
    "iam-key-exporter-health",
)
VARIABLES = ("datasource", "job", "account_id")
COUNTER_FUNCTIONS = ("rate", "increase", "irate")
# Replaces $__rate_interval while an expression is parsed: an unusual duration.
RATE_INTERVAL = "4w1d7m3s"


COLOR_MODES = {
    "thresholds",
    "palette-classic",
    "palette-classic-by-name",
    "fixed",
    "shades",
    "continuous-GrYlRd",
    "continuous-BlPu",
}
LEGEND = {"displayMode": {"list", "table", "hidden"}, "placement": {"bottom", "right"}}
ORIENTATION = {"auto", "horizontal", "vertical"}
CALCS = {"lastNotNull", "last", "first", "firstNotNull", "min", "max", "mean", "sum", "count", "range", "diff", "delta"}
# Values of Grafana's enumerations. The structure check accepts any string here; Grafana then silently uses a default.
ENUMS = {
    "stat": {
        "options.colorMode": {"value", "background", "background_solid", "none"},
        "options.graphMode": {"none", "line", "area"},
        "options.justifyMode": {"auto", "center"},
        "options.textMode": {"auto", "value", "value_and_name", "name", "none"},
        "options.orientation": ORIENTATION,
        "options.percentChangeColorMode": {"standard", "inverted", "same_as_value"},
    },
    "gauge": {"options.orientation": ORIENTATION, "options.sizing": {"auto", "manual"}},
    "bargauge": {
        "options.displayMode": {"basic", "lcd", "gradient"},
        "options.valueMode": {"color", "text", "hidden"},
        "options.namePlacement": {"auto", "top", "left", "hidden"},
        "options.sizing": {"auto", "manual"},
        "options.orientation": ORIENTATION,
        "options.legend.displayMode": LEGEND["displayMode"],
        "options.legend.placement": LEGEND["placement"],
    },
    "timeseries": {
        "options.legend.displayMode": LEGEND["displayMode"],
        "options.legend.placement": LEGEND["placement"],
        "options.tooltip.mode": {"single", "multi", "none"},
        "options.tooltip.sort": {"asc", "desc", "none"},
        "fieldConfig.defaults.custom.drawStyle": {"line", "bars", "points"},
        "fieldConfig.defaults.custom.lineInterpolation": {"linear", "smooth", "stepBefore", "stepAfter"},
        "fieldConfig.defaults.custom.gradientMode": {"none", "opacity", "hue", "scheme"},
        "fieldConfig.defaults.custom.showPoints": {"auto", "always", "never"},
        "fieldConfig.defaults.custom.stacking.mode": {"none", "normal", "percent"},
        "fieldConfig.defaults.custom.thresholdsStyle.mode": {
            "off",
            "line",
            "area",
            "line+area",
            "dashed",
            "dashed+area",
            "series",
        },
        "fieldConfig.defaults.custom.axisPlacement": {"auto", "left", "right", "hidden"},
        "fieldConfig.defaults.custom.axisColorMode": {"text", "series"},
        "fieldConfig.defaults.custom.scaleDistribution.type": {"linear", "log", "symlog"},
        "fieldConfig.defaults.custom.barAlignment": {-1, 0, 1},
    },
    "table": {
        "options.cellHeight": {"sm", "md", "lg"},
        "fieldConfig.defaults.custom.align": {"auto", "left", "center", "right"},
        "fieldConfig.defaults.custom.cellOptions.type": {
            "auto",
            "color-text",
            "color-background",
            "gauge",
            "data-links",
        },
    },
}
PROPERTIES = {  # of overrides: a check of the value each
    "displayName": lambda v: isinstance(v, str),
    "noValue": lambda v: isinstance(v, str),
    "unit": lambda v: known_unit(v),
    "decimals": lambda v: isinstance(v, int),
    "min": lambda v: isinstance(v, int | float),
    "max": lambda v: isinstance(v, int | float),
    "thresholds": lambda v: good_thresholds(v),
    "mappings": lambda v: all(good_mapping(m) for m in v),
    "links": lambda v: all({"title", "url"} <= set(m) for m in v),
    "color": lambda v: v.get("mode") in COLOR_MODES and (v["mode"] != "fixed" or good_color(v.get("fixedColor"))),
    "custom.width": lambda v: isinstance(v, int),
    "custom.align": lambda v: v in ENUMS["table"]["fieldConfig.defaults.custom.align"],
    "custom.cellOptions": lambda v: v.get("type") in ENUMS["table"]["fieldConfig.defaults.custom.cellOptions.type"],
    "custom.hidden": lambda v: isinstance(v, bool),
    "custom.hideFrom": lambda v: set(v) == {"legend", "tooltip", "viz"},
    "custom.lineStyle": lambda v: v.get("fill") in ("solid", "dash", "dot"),
}
UNITS = {
    "none",
    "short",
    "locale",
    "s",
    "ms",
    "percent",
    "percentunit",
    "bytes",
    "decbytes",
    "reqps",
    "reqpm",
    "ops",
    "bool",
}
COLOR = re.compile(
    r"((super-light|light|semi-dark|dark)-)?(red|orange|yellow|green|blue|purple)|text|transparent|#[0-9a-f]{6}"
)


def known_unit(unit):
    return unit in UNITS or bool(re.match(r"(suffix|prefix|time):.", unit or ""))


def good_color(color):
    return bool(COLOR.fullmatch(color or ""))


def good_thresholds(thresholds):
    steps = (thresholds or {}).get("steps") or [{}]
    values = [step.get("value", 0) for step in steps[1:]]
    return (
        (thresholds or {}).get("mode") in ("absolute", "percentage")
        and steps[0].get("value", 0) is None
        and all(isinstance(value, int | float) for value in values)
        and values == sorted(set(values))
        and all(good_color(step.get("color")) for step in steps)
    )


def good_mapping(mapping):
    if mapping.get("type") == "value":
        return all("index" in result for result in mapping["options"].values())
    return mapping.get("type") in ("regex", "range", "special") and "result" in mapping["options"]


def contract():
    """Metrics documented in docs/metrics.md, and those of every scrape and process: name to (type, labels)."""
    metrics = {}
    for line in (ROOT / "docs/metrics.md").read_text().splitlines():
        if match := re.match(r"\| `((?:aws_iam|iam_key_exporter)_\w+)` \| (\w+) \| (.*?) \|", line):
            metrics[match[1]] = (match[2], re.findall(r"`(\w+)", match[3]))
            if match[2] == "histogram":
                labels = metrics.pop(match[1])[1]
                metrics[f"{match[1]}_bucket"] = ("counter", [*labels, "le"])
                metrics |= {f"{match[1]}_{part}": ("counter", labels) for part in ("sum", "count")}
    for name in "up scrape_duration_seconds scrape_samples_scraped".split():
        metrics[name] = ("gauge", [])
    for name in "resident_memory_bytes virtual_memory_bytes open_fds max_fds threads start_time_seconds".split():
        metrics[f"process_{name}"] = ("gauge", [])
    metrics["process_cpu_seconds_total"] = ("counter", [])
    return metrics


def load(uid):
    return json.loads((FOLDER / f"{uid}.json").read_text())


def panels(dashboard):
    """All panels except rows, including those inside collapsed rows."""
    for panel in dashboard["panels"]:
        yield from (panel.get("panels") or [] if panel["type"] == "row" else [panel])


def fill(text, chosen, step=15, scrape=15, span=3600):
    """The expression as Grafana sends it. `chosen`: variable to list of values, or to a string that stands for All."""
    own = {
        "__rate_interval": f"{max(step + scrape, 4 * scrape)}s",
        "__interval": f"{step}s",
        "__range": f"{span}s",
    }

    def value(match):
        name = match[1] or match[2]
        if name.isdigit():  # a group of label_replace: not a variable, so Grafana does not replace it
            return match[0]
        if name in own:
            return own[name]
        if isinstance(chosen[name], str):
            return chosen[name]
        escaped = [re.sub(r"([.+*?|()\[\]{}^$])", r"\\\\\1", v.replace("\\", r"\\\\")) for v in chosen[name]]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"

    return re.sub(r"\$(\w+)|\$\{(\w+)\}", value, text)


def walk(node, function=None):
    """Every selector of a parsed expression: (selector, range or None, the function that it is an argument of)."""
    match node:
        case promql.VectorSelector():
            yield node, None, function
        case promql.MatrixSelector():
            yield node.vector_selector, node.range, function
        case promql.Call():
            for argument in node.args:
                yield from walk(argument, node.func.name)
        case promql.BinaryExpr():
            yield from walk(node.lhs)
            yield from walk(node.rhs)
        case promql.AggregateExpr():
            if node.param is not None:
                yield from walk(node.param)
            yield from walk(node.expr)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from walk(node.expr, function)
        case promql.NumberLiteral() | promql.StringLiteral():
            return
        case _:
            raise TypeError(f"what is {type(node)}?")


def expression_problems(expression, metrics, instant):
    try:
        parsed = promql.parse(expression.replace("$__rate_interval", RATE_INTERVAL).replace("$__range", "1w"))
    except ValueError as error:
        yield f"is not PromQL: {error}"
        return
    rate_interval = promql.parse(f"x[{RATE_INTERVAL}]").range
    for selector, window, function in walk(parsed):
        name = selector.name
        matchers = {(m.name, str(m.op), m.value) for m in selector.matchers.matchers}
        if name not in metrics:
            yield f"uses {name}, which no documentation knows"
            continue
        kind, labels = metrics[name]
        if ("job", "MatchOp.Re", "$job") not in matchers:
            yield f'{name} lacks job=~"$job"'
        if "account_id" in labels and ("account_id", "MatchOp.Re", "$account_id") not in matchers:
            yield f'{name} lacks account_id=~"$account_id"'
        if kind == "counter" and function not in COUNTER_FUNCTIONS:
            yield f"{name} is a counter and used without rate"
        if kind != "counter" and function in COUNTER_FUNCTIONS:
            yield f"{function} of {name}, which is no counter"
        # An instant query has no step that the window must fit.
        if function in COUNTER_FUNCTIONS and window != rate_interval and not instant:
            yield f"{function} of {name} is not over $__rate_interval"


def unknown_keys(panel):
    """Keys that Grafana would ignore, in parts that the structure check does not cover: field options and transformations."""
    config = panel.get("fieldConfig", {})
    defaults = config.get("defaults", {})
    thresholds, rules = defaults.get("thresholds", {}), config.get("overrides", [])
    known = [
        (config, "defaults overrides"),
        (defaults, "unit noValue thresholds mappings color min max decimals displayName links custom"),
        (thresholds, "mode steps"),
        *((step, "value color") for step in thresholds.get("steps", [])),
        (defaults.get("color", {}), "mode fixedColor seriesBy"),
        *((mapping, "type options") for mapping in defaults.get("mappings", [])),
        *((rule, "matcher properties") for rule in rules),
        *((rule["matcher"], "id options") for rule in rules),
        *((item, "id value") for rule in rules for item in rule["properties"]),
        *((change["options"], "excludeByName indexByName renameByName") for change in panel.get("transformations", [])),
    ]
    for place, keys in known:
        yield from set(place) - set(keys.split())


def value_at(panel, path):
    for part in path.split("."):
        if not isinstance(panel, dict) or part not in panel:
            return None
        panel = panel[part]
    return panel


def panel_problems(panel, metrics):
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if len(panel.get("title", "")) < 3:
        yield "no title"
    if len(panel.get("description", "")) < 20 or not panel["description"].endswith("."):
        yield "no description, or not a sentence"
    if not known_unit(defaults.get("unit")):
        yield f"unknown unit {defaults.get('unit')!r}"
    if not defaults.get("noValue"):
        yield "no text for no value"
    if not good_thresholds(defaults.get("thresholds")):
        yield "no thresholds, or wrong ones"
    elif panel["type"] != "timeseries" and defaults["thresholds"]["steps"][0]["color"] not in ("text", "#8e8e8e"):
        yield "a missing value would have the colour of a good or bad one"
    if defaults.get("color", {}).get("mode") not in COLOR_MODES:
        yield f"unknown colour mode {defaults.get('color', {}).get('mode')!r}"
    if not all(good_mapping(mapping) for mapping in defaults.get("mappings", [])):
        yield "a wrong value mapping"
    if panel["type"] not in ENUMS:
        yield f"type {panel['type']!r} is not one that we know"
    for key in unknown_keys(panel):
        yield f"unknown option {key!r}"
    for path, allowed in ENUMS.get(panel["type"], {}).items():
        if value_at(panel, path) not in allowed:
            yield f"{path} is {value_at(panel, path)!r}, not one of {sorted(map(str, allowed))}"
    for calc in (value_at(panel, "options.reduceOptions.calcs") or []) + (
        value_at(panel, "options.legend.calcs") or []
    ):
        if calc not in CALCS:
            yield f"unknown calculation {calc!r}"
    for transformation in panel.get("transformations", []):
        if transformation["id"] not in ("merge", "organize", "joinByField", "sortBy", "filterFieldsByName"):
            yield f"unknown transformation {transformation['id']!r}"
    for rule in panel.get("fieldConfig", {}).get("overrides", []):
        if rule["matcher"]["id"] != "byName":
            yield f"an override by {rule['matcher']['id']!r}"
        for item in rule["properties"]:
            if item["id"] not in PROPERTIES or not PROPERTIES[item["id"]](item.get("value")):
                yield f"the override of {rule['matcher']['options']!r} has a wrong {item['id']}"
    if panel.get("datasource") != {"type": "prometheus", "uid": "${datasource}"}:
        yield "its data source is not the variable"
    targets = panel.get("targets", [])
    if not targets:
        yield "no query"
    refs = [target.get("refId") for target in targets]
    if not all(refs) or len(set(refs)) != len(refs):
        yield f"queries without a refId of their own: {refs}"
    for target in targets:
        where = f"query {target.get('refId')}"
        if target.get("datasource") != {"type": "prometheus", "uid": "${datasource}"}:
            yield f"{where}: its data source is not the variable"
        if target.get("format") not in ("time_series", "table", "heatmap") or target.get("editorMode") not in (
            "code",
            "builder",
        ):
            yield f"{where}: wrong format or editorMode"
        if (target.get("format") == "table") is not (panel["type"] == "table"):
            yield f"{where}: format {target.get('format')} in a {panel['type']}"
        if target.get("instant") is target.get("range"):
            yield f"{where}: either instant or range"
        # A value of hours ago must not appear as a current one.
        if panel["type"] != "timeseries" and not target.get("instant"):
            yield f"{where}: not instant, so that it shows old values as if they were of now"
        for problem in expression_problems(target.get("expr", ""), metrics, target.get("instant")):
            yield f"{where}: {problem}"


def variable_problems(dashboard):
    variables = {v["name"]: v for v in dashboard["templating"]["list"]}
    for name in VARIABLES:
        if name not in variables:
            yield f"no variable {name}"
    for name, v in variables.items():
        if not v.get("label") or not v.get("description"):
            yield f"variable {name}: no label or description"
        if v.get("hide") not in (0, 1, 2):
            yield f"variable {name}: wrong hide"
        if name == "datasource":
            if v["type"] != "datasource" or v.get("query") != "prometheus":
                yield "variable datasource: not one of Prometheus data sources"
            continue
        if v["type"] != "query" or v.get("datasource", {}).get("uid") != "${datasource}":
            yield f"variable {name}: not a query of the data source"
        if not (v.get("multi") and v.get("includeAll") and v.get("allValue") == ".+"):
            yield f"variable {name}: not several and All, as .+"
        if v.get("current", {}).get("value") != ["$__all"]:
            yield f"variable {name}: starts with a value of a developer's machine"
        if v.get("refresh") != 2 or v.get("sort") not in range(9):
            yield f"variable {name}: not refreshed with the time range, or wrong sort"


def dashboard_problems(dashboard, metrics=None):
    """All errors of a dashboard, as messages."""
    metrics = metrics or contract()
    if not 39 <= dashboard.get("schemaVersion", 0) <= 42:
        yield f"schemaVersion {dashboard.get('schemaVersion')}, not one of 39 to 42"
    for key in ("__inputs", "__requires", "__elements"):
        if key in dashboard:
            yield f"{key}: it is an export that asks for a data source"
    for key in ("uid", "title", "description", "tags"):
        if not dashboard.get(key):
            yield f"no {key}"
    if len(dashboard.get("uid", "")) > 40:
        yield "uid is longer than Grafana allows"
    if dashboard.get("id") is not None:
        yield "id: belongs to another database"
    if dashboard.get("editable") is not False:
        yield "editable: a change in the browser would be lost"
    if dashboard.get("graphTooltip") not in (0, 1, 2) or not re.fullmatch(r"\d+[smh]", dashboard.get("refresh", "")):
        yield "wrong graphTooltip or refresh"
    yield from variable_problems(dashboard)
    for link in dashboard.get("links", []):
        if link["type"] not in ("link", "dashboards") or not (link["keepTime"] and link["includeVars"]):
            yield f"the link {link['title']!r} loses the time range or the variables"
    ids, titles, placed = {}, set(), []
    for panel in [*dashboard["panels"], *(p for row in dashboard["panels"] for p in row.get("panels") or [])]:
        name, box = panel.get("title"), panel["gridPos"]
        if panel.get("id") in ids:
            yield f"panels {ids[panel.get('id')]!r} and {name!r} have the same id"
        ids[panel.get("id")] = name
        if box["x"] < 0 or box["x"] + box["w"] > 24 or box["w"] < 1 or box["h"] < 1:
            yield f"panel {name!r} is outside of the grid"
        for other, o in placed:
            if (
                box["x"] < o["x"] + o["w"]
                and o["x"] < box["x"] + box["w"]
                and box["y"] < o["y"] + o["h"]
                and o["y"] < box["y"] + box["h"]
            ):
                yield f"panels {other!r} and {name!r} overlap"
        placed.append((name, box))
    for panel in panels(dashboard):
        if panel.get("title") in titles:
            yield f"two panels are called {panel['title']!r}"
        titles.add(panel.get("title"))
        for problem in panel_problems(panel, metrics):
            yield f"panel {panel.get('title')!r}: {problem}"
