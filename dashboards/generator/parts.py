"""What dashboards are made of: panels, colours, links, and where panels stand. Grafana's classic JSON, schema version 39, which file provisioning takes."""

from . import indicators as of

TAG = "line-planet"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

# A colour means a fault domain or a state, and nothing else; everything else is in the colour of text. They are told apart without seeing red and
# green, and in grey: the worse a state, the lighter.
DOMAINS = {
    "none": "#4A586A",
    "user": "#86C5F4",
    "client": "#F7E967",
    "network": "#F08A24",
    "platform": "#2A6BE4",
    "application": "#A93FA0",
    "unknown": "#C9C9C9",
}
WHO = {
    "none": "none",
    "user": "user: people",
    "client": "client: our app",
    "network": "network: in between",
    "platform": "platform: LINE Planet",
    "application": "application: our server",
    "unknown": "unknown",
}
QUIET, GOOD, WARNING, BAD = "#6B7280", "#174F4A", "#93700F", "#F2495C"
TEXT, FAINT = "text", "#8C93A0"

STATES = {
    of.NO_CALLS: ("no calls", QUIET),
    of.WELL: ("well", GOOD),
    of.IS_WORSE: ("worse", WARNING),
    of.FAILS: ("failing", BAD),
    of.GONE: ("gone", BAD),
}


def mappings(words):
    """Words and colours in place of values: {value: (word, colour)}, either of which may be None."""
    options = {}
    for index, (value, (word, colour)) in enumerate(words.items()):
        result = {"text": word, "color": colour, "index": index}
        options[str(value)] = {key: each for key, each in result.items() if each is not None}
    return [{"type": "value", "options": options}]


def without_a_number(word):
    return {"type": "special", "options": {"match": "null+nan", "result": {"text": word, "index": 99}}}


DOMAIN_NAMES = mappings({domain: (None, colour) for domain, colour in DOMAINS.items()})
DOMAIN_WORDS = mappings({domain: (WHO[domain], colour) for domain, colour in DOMAINS.items()})


def fixed(colour):
    return {"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}


def override(matcher, options, *properties):
    return {"matcher": {"id": matcher, "options": options}, "properties": list(properties)}


DOMAIN_COLOURS = [override("byName", domain, fixed(colour)) for domain, colour in DOMAINS.items()]


def target(expression, legend="", number=0, **more):
    return {
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": expression,
        "legendFormat": legend or "__auto",
        "refId": "ABCDEFGHIJKL"[number],
        **({"instant": True, "range": False} if more.pop("instant", False) else {"instant": False, "range": True}),
        **more,
    }


def panel(kind, title, description, width, height, targets, defaults=None, overrides=(), options=None, **more):
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": "short", "color": {"mode": "fixed", "fixedColor": TEXT}, "custom": {}, **(defaults or {})}, "overrides": list(overrides)},
        "gridPos": {"w": width, "h": height},
        "options": options or {},
        "targets": targets,
        **more,
    }


def stat(title, description, width, values, unit="short", height=4, words=None, empty="no calls", is_background=False, **defaults):
    """Instant values, each an expression and its name. With words each has the colour of its word; else that of text."""
    options = {
        "colorMode": "background_solid" if is_background else "value" if words else "none",
        "graphMode": "none",
        "orientation": "vertical",
        "reduceOptions": {"calcs": ["last"], "fields": "", "values": False},
        "textMode": "value_and_name" if len(values) > 1 else "value",
        **({"text": {"titleSize": 13, "valueSize": 30}} if len(values) > 1 else {}),
    }
    coloured = {"color": {"mode": "thresholds"}, "thresholds": {"mode": "absolute", "steps": [{"value": None, "color": QUIET if is_background else TEXT}]}}
    return panel("stat", title, description, width, height,
                 [target(expression, name, number, instant=True) for number, (expression, name) in enumerate(values)],
                 {**(coloured if words else {}), "unit": unit, "noValue": empty, "mappings": (mappings(words) if words else []) + [without_a_number(empty)], **defaults},
                 # How many a ratio is of.
                 [override("byName", "calls", {"id": "unit", "value": "none"}, {"id": "decimals", "value": 0})], options)


def ratio_of(title, description, width, ratio, number, **more):
    """A ratio, and how many calls it is of."""
    return stat(title, description, width, [(ratio, "share"), (number, "calls")], "percentunit", decimals=1, **more)


# How lines that mean nothing by colour are told apart.
STYLES = {
    "now": (TEXT, None),
    "second": (FAINT, None),
    "past": (FAINT, [6, 6]),
    "limit": (BAD, [2, 4]),
}


def series(title, description, width, lines, unit="short", height=8, stacked=False, step="", empty="no calls", shades=False, exemplar=False, more=(), **defaults):
    """A graph. A line is an expression, its name, and its style; stacked ones are bars in the colours of fault domains."""
    custom = {"lineWidth": 1, "fillOpacity": 0, "showPoints": "never", "axisSoftMin": 0}
    if stacked:
        custom = {"drawStyle": "bars", "lineWidth": 0, "fillOpacity": 100, "barWidthFactor": 0.95, "stacking": {"mode": "normal", "group": "A"}, "axisSoftMin": 0}
    styled = []
    for number, (_, _, *style) in enumerate(lines):
        if style:
            colour, dash = STYLES[style[0]]
            line = [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": dash}}] if dash else []
            styled.append(override("byFrameRefID", "ABCDEFGH"[number], fixed(colour), *line))
    colour = {"mode": "shades", "fixedColor": "#B4BAC4"} if shades else {"mode": "fixed", "fixedColor": TEXT}
    options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "multi", "sort": "desc"}}
    interval = {**({"interval": step} if step else {}), **({"exemplar": True} if exemplar else {})}
    return panel("timeseries", title, description, width, height,
                 [target(expression, name, number, **interval) for number, (expression, name, *_) in enumerate(lines)],
                 {"unit": unit, "noValue": empty, "color": colour, "custom": custom, **defaults}, [*styled, *DOMAIN_COLOURS, *more], options)


def timeline(title, description, width, lines, height=8):
    """States over time, a row each."""
    return panel("state-timeline", title, description, width, height,
                 [target(expression, name, number, interval="1m") for number, (expression, name) in enumerate(lines)],
                 {"unit": "short", "noValue": "no calls", "color": {"mode": "thresholds"}, "thresholds": {"mode": "absolute", "steps": [{"value": None, "color": QUIET}]},
                  "mappings": mappings(STATES), "custom": {"fillOpacity": 100, "lineWidth": 0}},
                 options={"showValue": "auto", "mergeValues": True, "rowHeight": 0.9, "alignValue": "left", "legend": {"showLegend": False},
                          "tooltip": {"mode": "single", "sort": "none"}})


def heat_map(title, description, metric, width, more="", height=8):
    expression = f"sum by (le) (increase({{{of.histogram(metric)}{of.CALLS}{more}}}[$__rate_interval]))"
    return panel("heatmap", title, description, width, height, [target(expression, "{{le}}", format="heatmap", interval="1m")],
                 {"unit": "s", "noValue": "no calls"},
                 options={"calculate": False, "yAxis": {"unit": "s"}, "color": {"scheme": "Greys", "mode": "scheme", "reverse": False}, "legend": {"show": False},
                          "tooltip": {"mode": "single", "yHistogram": False}})


class Column:
    """A column of a table: a label, or a value that is asked for."""

    def __init__(self, name, expression=None, label=None, width=None, unit=None, decimals=None, words=None, coloured=False, warns_from=None, link=None, empty=None):
        self.name, self.expression, self.label, self.width = name, expression, label, width
        self.unit = unit or ("string" if label else "none")
        self.decimals, self.words, self.coloured, self.link = decimals, words, coloured, link
        # A label may be empty.
        self.empty = "-" if label and empty is None else empty
        self.warns_from = warns_from

    def override(self):
        properties = [{"id": "unit", "value": self.unit}]
        if self.width:
            properties.append({"id": "custom.width", "value": self.width})
        if self.decimals is not None:
            properties.append({"id": "decimals", "value": self.decimals})
        if self.words:
            properties.append({"id": "mappings", "value": self.words})
        if self.warns_from is not None:
            steps = [{"value": None, "color": "transparent"}, {"value": self.warns_from, "color": WARNING}]
            properties.append({"id": "thresholds", "value": {"mode": "absolute", "steps": steps}})
        if self.coloured or self.warns_from is not None:
            properties.append({"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}})
        if self.label or self.coloured:
            properties.append({"id": "custom.align", "value": "left"})
        if self.link:
            title, url = self.link
            properties.append({"id": "links", "value": [{"title": title, "url": url}]})
        if self.empty is not None:
            properties.append({"id": "noValue", "value": self.empty})
        return override("byName", self.name, *properties)


def table(title, description, width, columns, sort, height=6, empty="no calls", descending=True):
    """A table of instant values, a row for each set of labels: the first columns' labels, and a column for each expression."""
    asked = [column for column in columns if column.expression]
    refs = {id(column): "ABCDEFGHIJKL"[number] for number, column in enumerate(asked)}
    def names(column):
        if column.label:
            return [column.label]
        return [f"Value #{refs[id(column)]}"] + (["Value"] if len(asked) == 1 else [])
    rename = {name: column.name for column in columns for name in names(column)}
    order = {name: index for index, column in enumerate(columns) for name in names(column)}
    # A column without a name is asked for the sake of its labels only.
    hidden = {"Time": True, **{name: True for column in columns if not column.name for name in names(column)}}
    organize = {"excludeByName": hidden, "renameByName": {old: new for old, new in rename.items() if new}, "indexByName": order}
    return panel("table", title, description, width, height,
                 [target(column.expression, "", number, format="table", instant=True) for number, column in enumerate(asked)],
                 {"unit": "none", "noValue": empty, "custom": {"align": "right", "filterable": False},
                  "thresholds": {"mode": "absolute", "steps": [{"value": None, "color": "transparent"}]}, "color": {"mode": "thresholds"}},
                 [column.override() for column in columns if column.name],
                 {"sortBy": [{"displayName": sort, "desc": descending}], "cellHeight": "sm", "showHeader": True},
                 transformations=[{"id": "merge", "options": {}}, {"id": "organize", "options": organize}])


def row(title, **more):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": 24, "h": 1}, **more}


def link(uid, **chosen):
    """The address of a dashboard with what is chosen here, and this. Only Planet / Releases has reasons to choose."""
    kept = {"datasource", "job", "instance", "media_type", "idc"} - chosen.keys()
    variables = [f"${{{name}:queryparam}}" for name in sorted(kept)]
    return f"/d/{uid}?" + "&".join(variables + [f"var-{name}={value}" for name, value in chosen.items()] + ["${__url_time_range}"])


def variable(name, label, query, multi=True):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": multi,
        "includeAll": multi,
        "allValue": ".+" if multi else None,
        "current": {"text": "All", "value": "$__all"} if multi else {},
    }


def source_variable(name, label, kind):
    return {"type": "datasource", "name": name, "label": label, "query": kind, "refresh": 1}


EXPORTERS = [
    source_variable("datasource", "Data source", "prometheus"),
    variable("job", "Service", "label_values(planet_exporter_build_info, job)"),
    variable("instance", "Instance", 'label_values(planet_exporter_build_info{job=~"$job"}, instance)'),
]
WINDOW = {
    "type": "interval", "name": "window", "label": "Averaged over", "query": "10m,30m,1h,6h,1d", "auto": True, "auto_min": "10m", "auto_count": 150, "refresh": 2,
    "current": {"text": "auto", "value": "$__auto_interval_window"},
    "options": [{"text": text, "value": value, "selected": value.startswith("$")}
                for text, value in [("auto", "$__auto_interval_window")] + [(each, each) for each in ("10m", "30m", "1h", "6h", "1d")]],
}
OF_CALLS = EXPORTERS + [
    variable("media_type", "Media type", f"label_values(planet_call_results_total{{{of.EXPORTER}}}, media_type)"),
    variable("idc", "IDC", f"label_values(planet_call_results_total{{{of.EXPORTER}}}, idc)"),
]


def fired(name, severity, colour):
    """When alerts fired, over every graph."""
    return {
        "name": name, "datasource": SOURCE, "enable": True, "hide": False, "iconColor": colour, "step": "60s", "titleFormat": "{{alertname}} {{idc}}{{media_type}}{{instance}}",
        "textFormat": severity, "tagKeys": "", "useValueForTime": False,
        "expr": f'max by (alertname, idc, media_type, instance) (ALERTS{{{of.ALERTS},alertstate="firing",severity="{severity}"}})',
    }


def dashboard(uid, title, description, variables, rows):
    """A dashboard. A row is a list of panels from left to right, in which a list stands for panels one below the other."""
    panels, top = [], 0
    for each in rows:
        left = height = 0
        for stack in each:
            down = 0
            for part in stack if isinstance(stack, list) else [stack]:
                part["gridPos"].update(x=left, y=top + down)
                down += part["gridPos"]["h"]
                panels.append(part)
            left, height = left + part["gridPos"]["w"], max(height, down)
        assert left == 24, f"{title}: a row of {left} columns"
        top += height
    for number, each in enumerate(panels, start=1):
        each["id"] = number
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [{"type": "dashboards", "title": "Planet", "tags": [TAG], "asDropdown": False, "includeVars": True, "keepTime": True}],
        "annotations": {"list": [fired("Pages", "page", BAD), fired("Tickets", "ticket", WARNING)]},
        "templating": {"list": variables},
        "panels": panels,
    }
