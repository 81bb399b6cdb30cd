"""Building blocks of Grafana dashboards (classic JSON), with the settings that all dashboards of the project share."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
OVERVIEW, DRILLDOWN, HEALTH = "iam-key-exporter-overview", "iam-key-exporter-drilldown", "iam-key-exporter-health"
TITLES = {
    OVERVIEW: "IAM access keys: overview",
    DRILLDOWN: "IAM access keys: account and user",
    HEALTH: "IAM key exporter: health",
}
COLUMNS = 24

GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "#8e8e8e"


def steps(*pairs, base=GREEN, below=GREY):
    """Thresholds: the colour from 0 up, then pairs of a value and the colour from that value up.

    Grafana gives the lowest step's colour to a missing value, so that one must not look like good news.
    """
    return {"mode": "absolute", "steps": [{"value": v, "color": c} for v, c in ((None, below), (0, base), *pairs)]}


NEUTRAL = steps(base="text")
NONE_ALLOWED = steps((1, RED))
NONE_WANTED = steps((1, YELLOW))


def instant(expr, legend=""):
    """The current value: no data if there is no current sample, regardless of earlier ones."""
    return {"expr": expr, "legendFormat": legend, "instant": True, "range": False, "format": "time_series"}


def series(expr, legend):
    return {"expr": expr, "legendFormat": legend, "instant": False, "range": True, "format": "time_series"}


def rows(expr):
    """One query of a table; its value is the column `Value #A` for the first query, `Value #B` for the second, ..."""
    return {"expr": expr, "legendFormat": "", "instant": True, "range": False, "format": "table"}


def panel(kind, title, description, targets, *, width, unit, no_value, thresholds, options, **more):
    defaults = {"unit": unit, "noValue": no_value, "thresholds": thresholds, "mappings": [], **more.pop("defaults", {})}
    for ref, target in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", targets, strict=False):
        target.update(refId=ref, datasource=DATASOURCE, editorMode="code")
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width},
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "options": options,
        **more,
    }


REDUCE = {"values": False, "calcs": ["lastNotNull"], "fields": ""}


def stat(
    title,
    description,
    targets,
    *,
    width,
    unit="locale",
    no_value="No data",
    thresholds=NONE_ALLOWED,
    fill=False,
    **more,
):
    options = {
        "colorMode": "background" if fill else "value",
        "graphMode": "none",
        "justifyMode": "center",
        "textMode": more.pop("text", "value"),
        "orientation": more.pop("orientation", "auto"),
        "reduceOptions": REDUCE | {"fields": more.pop("fields", "")},
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    }
    more["defaults"] = {"color": {"mode": "thresholds"}, **more.get("defaults", {})}
    return panel(
        "stat",
        title,
        description,
        targets,
        width=width,
        unit=unit,
        no_value=no_value,
        thresholds=thresholds,
        options=options,
        **more,
    )


def gauge(title, description, targets, *, width, thresholds, no_value, unit="percentunit", **more):
    options = {
        "minVizHeight": 75,
        "minVizWidth": 75,
        "orientation": "auto",
        "reduceOptions": REDUCE,
        "showThresholdLabels": False,
        "showThresholdMarkers": True,
        "sizing": "auto",
    }
    more["defaults"] = {"color": {"mode": "thresholds"}, "min": 0, "max": 1, **more.get("defaults", {})}
    return panel(
        "gauge",
        title,
        description,
        targets,
        width=width,
        unit=unit,
        no_value=no_value,
        thresholds=thresholds,
        options=options,
        **more,
    )


def bars(title, description, targets, *, width, unit="locale", no_value="No data", thresholds, **more):
    options = {
        "displayMode": "basic",
        "valueMode": "color",
        "namePlacement": "left",
        "showUnfilled": True,
        "sizing": "manual",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 28,
        "orientation": "horizontal",
        "reduceOptions": REDUCE,
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
    }
    more["defaults"] = {"color": {"mode": "thresholds"}, "min": 0, **more.get("defaults", {})}
    return panel(
        "bargauge",
        title,
        description,
        targets,
        width=width,
        unit=unit,
        no_value=no_value,
        thresholds=thresholds,
        options=options,
        **more,
    )


def graph(
    title,
    description,
    targets,
    *,
    width,
    unit="locale",
    no_value="No data in this time range",
    thresholds=NEUTRAL,
    stack=False,
    draw="line",
    step=False,
    fill=8,
    soft_max=None,
    legend=("lastNotNull",),
    colors=None,
    **more,
):
    """Lines end where data ends: gaps are not connected."""
    defaults = {
        "color": {"mode": "palette-classic"},
        "min": 0,
        "custom": {
            "drawStyle": draw,
            "lineInterpolation": "stepAfter" if step else "linear",
            "lineWidth": 2 if not stack else 1,
            "spanNulls": False,
            "fillOpacity": 100 if draw == "bars" else 40 if stack else fill,
            "gradientMode": "none",
            "showPoints": "auto",
            "pointSize": 4,
            "stacking": {"mode": "normal" if stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "off"},
            "axisPlacement": "auto",
            "axisLabel": "",
            "axisBorderShow": False,
            "axisCenteredZero": False,
            "axisColorMode": "text",
            "scaleDistribution": {"type": "linear"},
            "barAlignment": 0,
            "insertNulls": False,
            "hideFrom": {"legend": False, "tooltip": False, "viz": False},
        },
    } | more.pop("defaults", {})
    if soft_max is not None:
        defaults["custom"]["axisSoftMax"] = soft_max
    table = more.pop("table", False)
    options = {
        "legend": {
            "showLegend": True,
            "displayMode": "table" if table else "list",
            "placement": "right" if table else "bottom",
            "calcs": list(legend),
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    overrides = [
        override(name, color={"mode": "fixed", "fixedColor": color}) for name, color in (colors or {}).items()
    ] + more.pop("overrides", [])
    return panel(
        "timeseries",
        title,
        description,
        targets,
        width=width,
        unit=unit,
        no_value=no_value,
        thresholds=thresholds,
        options=options,
        defaults=defaults,
        overrides=overrides,
        **more,
    )


def override(name, **properties):
    """Field options for one series or column. `custom__x` stands for `custom.x`."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()],
    }


def column(field, title, width=None, no_value="–", **properties):
    # Without its own text, an empty cell would show the text of the empty table.
    sized = {"custom__width": width} if width else {}
    return override(field, displayName=title, noValue=no_value, **sized, **properties)


def hidden(field):
    # Two spellings: Grafana 12.2 replaced the first by the second. Links may still use a hidden field.
    return override(field, custom__hidden=True, custom__hideFrom={"legend": True, "tooltip": True, "viz": True})


def table(title, description, targets, columns, *, width=COLUMNS, no_value, sort=None, thresholds=NEUTRAL, order=()):
    """A table of several queries, joined by their common labels. `order`: fields from left to right."""
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "frameIndex": 0,
        "sortBy": [{"displayName": sort[0], "desc": sort[1]}] if sort else [],
        "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": "", "enablePagination": True},
    }
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False, "filterable": False}
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {name: i for i, name in enumerate(order)},
        "renameByName": {},
    }
    return panel(
        "table",
        title,
        description,
        targets,
        width=width,
        unit="none",
        no_value=no_value,
        thresholds=thresholds,
        options=options,
        defaults={"custom": custom, "color": {"mode": "thresholds"}},
        overrides=columns,
        transformations=[{"id": "merge", "options": {}}, {"id": "organize", "options": organize}],
    )


def text_of(mapping):
    """Value mappings: value to text, or to a pair of text and colour."""
    options = {}
    for i, (value, shown) in enumerate(mapping.items()):
        shown, color = shown if isinstance(shown, tuple) else (shown, None)
        options[value] = {"index": i, "text": shown} | ({"color": color} if color else {})
    return [{"type": "value", "options": options}]


def link(title, url, blank=False):
    return {"title": title, "url": url, "targetBlank": blank}


def to_dashboard(uid, title, **variables):
    """A link to another dashboard of the project with this one's data source, job and time range."""
    chosen = "".join(f"&var-{name}={value}" for name, value in variables.items())
    return link(title, f"/d/{uid}?${{datasource:queryparam}}&${{job:queryparam}}{chosen}&${{__url_time_range}}")


def open_dashboard(uid):
    """A link of a dashboard or panel to another dashboard of the project, with all variables and the time range."""
    return {
        "type": "link",
        "title": TITLES[uid],
        "url": f"/d/{uid}",
        "icon": "dashboard",
        "tooltip": TITLES[uid],
        "tags": [],
        "asDropdown": False,
        "targetBlank": False,
        "includeVars": True,
        "keepTime": True,
    }


def variable(name, label, query, description, *, sort=1, regex=""):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "description": description,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"Variable-{name}"},
        "definition": query,
        "regex": regex,
        "refresh": 2,
        "sort": sort,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "skipUrlSync": False,
        "options": [],
    }


DATASOURCE_VARIABLE = {
    "type": "datasource",
    "name": "datasource",
    "label": "Data source",
    "description": "The Prometheus that scrapes the exporter.",
    "query": "prometheus",
    "regex": "",
    "refresh": 1,
    "multi": False,
    "includeAll": False,
    "hide": 0,
    "skipUrlSync": False,
    "options": [],
}


class Board:
    """A dashboard whose panels are laid out in lines of equal height."""

    def __init__(self, uid, description, variables, time):
        self.uid, self.panels, self.y = uid, [], 0
        self.json = {
            "uid": uid,
            "title": TITLES[uid],
            "description": description,
            "tags": ["aws", "iam", "iam-key-exporter", "security"],
            "schemaVersion": 41,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "1m",
            "time": {"from": time, "to": "now"},
            "timepicker": {},
            "annotations": {"list": []},
            "templating": {"list": [DATASOURCE_VARIABLE, *variables]},
            "links": [open_dashboard(other) for other in TITLES if other != uid],
            "panels": self.panels,
        }

    def add(self, panel, x, y, width, height):
        self.panels.append({"id": len(self.panels) + 1, **panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}})

    def row(self, title):
        self.add({"type": "row", "title": title, "collapsed": False, "panels": []}, 0, self.y, COLUMNS, 1)
        self.y += 1

    def line(self, height, *panels):
        x = 0
        for panel in panels:
            self.add(panel, x, self.y, panel["gridPos"]["w"], height)
            x += panel["gridPos"]["w"]
        if x != COLUMNS:
            raise ValueError(f"the line of {panels[0]['title']!r} is {x} columns wide, not {COLUMNS}")
        self.y += height
