#!/usr/bin/env python3
"""Writes the dashboards of this directory: `python3 dashboards/generate.py`, or with --check says whether they agree.

Grafana's classic JSON (schema version 39), which file provisioning takes. Needs nothing but Python.
"""

import json
import pathlib
import sys

DIRECTORY = pathlib.Path(__file__).parent
TAG = "line-planet"

# A fault domain has one colour everywhere.
COLOURS = {
    "none": "green",
    "user": "blue",
    "client": "yellow",
    "network": "orange",
    "platform": "red",
    "application": "purple",
    "unknown": "#808080",
}

# What the variables choose: an exporter, and calls.
EXPORTER = 'job=~"$job",instance=~"$instance"'
CALLS = EXPORTER + ',media_type=~"$media_type",idc=~"$idc"'
ABNORMAL = 'fault_domain!~"none|user"'
WINDOW = "$__rate_interval"


def rate(metric, labels=CALLS, more="", window=WINDOW, by=""):
    """The rate of a counter, added up."""
    selector = ",".join(part for part in (labels, more) if part)
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{selector}}}[{window}]))"


def ratio(part, whole):
    """part / whole, where a part that never was is 0, and a whole of 0 has no ratio."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def quantile(share, metric, more="", by=""):
    """A quantile of a histogram."""
    inner = rate(f"{metric}_bucket", more=more, by=", ".join(filter(None, (by, "le"))))
    return f"histogram_quantile({share}, {inner})"


def calls(more="", by="", window=WINDOW):
    return rate("planet_calls_total", more=more, by=by, window=window)


def asr(by="", window=WINDOW):
    return ratio(calls('answered="true"', by, window), calls("", by, window))


def ner(by="", window=WINDOW):
    return ratio(calls('fault_domain=~"none|user"', by, window), calls("", by, window))


def drops(by="", window=WINDOW):
    return ratio(calls(f'answered="true",{ABNORMAL}', by, window), calls('answered="true"', by, window))


def mean_duration(by="", window=WINDOW):
    total = rate("planet_call_duration_seconds_sum", by=by, window=window)
    count = rate("planet_call_duration_seconds_count", by=by, window=window)
    return f"{total} / ({count} > 0)"


SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def target(expression, legend="", number=0, **more):
    return {
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": expression,
        "legendFormat": legend or "__auto",
        "range": True,
        "refId": "ABCDEFGH"[number],
        **more,
    }


def panel(kind, title, description, unit, targets, width, height=8, **more):
    """A panel; targets are pairs of an expression and a legend."""
    query = more.pop("query", {})
    defaults = {"unit": unit, "color": {"mode": more.pop("colour", "palette-classic")}}
    steps = more.pop("steps", None)
    if steps:
        defaults["thresholds"] = {
            "mode": "absolute",
            "steps": [{"value": value, "color": colour} for value, colour in steps],
        }
    defaults["custom"] = more.pop("custom", {})
    defaults["links"] = more.pop("data_links", [])
    if "max" in more:
        defaults["max"] = more.pop("max")
    overrides = [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in COLOURS.items()
    ]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": overrides + more.pop("overrides", [])},
        "gridPos": {"w": width, "h": height},
        "options": more.pop("options", {}),
        "targets": [target(*pair, number=number, **query) for number, pair in enumerate(targets)],
        **more,
    }


def stat(title, description, unit, expression, width, steps=None, **more):
    options = {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}}
    colour = "thresholds" if steps else "palette-classic"
    return panel("stat", title, description, unit, [(expression, "")], width, 4, options=options, steps=steps,
                 colour=colour, **more)


def series(title, description, unit, targets, width, stacked=False, **more):
    custom = {"lineWidth": 1, "fillOpacity": 30 if stacked else 5, "showPoints": "never"}
    if stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    # What was a week ago is dashed.
    past = {
        "matcher": {"id": "byRegexp", "options": ".*last week.*"},
        "properties": [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [6, 6]}}],
    }
    return panel("timeseries", title, description, unit, targets, width, custom=custom, options=options,
                 overrides=[past], **more)


def heat_map(title, description, metric, more, width):
    expression = f"sum by (le) (increase({metric}_bucket{{{CALLS}{more}}}[{WINDOW}]))"
    result = panel("heatmap", title, description, "dtdurations", [(expression, "{{le}}")], width, query={"format": "heatmap"},
                   options={"calculate": False, "yAxis": {"unit": "s"}, "color": {"scheme": "Blues", "mode": "scheme"}})
    return result


def table(title, description, unit, expression, width, **more):
    return panel("table", title, description, unit, [(expression, "")], width,
                 query={"format": "table", "instant": True, "range": False},
                 transformations=[{"id": "organize", "options": {"excludeByName": {"Time": True}}},
                                  *more.pop("transformations", [])],
                 options={"sortBy": [{"displayName": "Value", "desc": True}]}, **more)


def row(title, **more):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": 24, "h": 1}, **more}


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


VARIABLES = [
    source_variable("datasource", "Data source", "prometheus"),
    variable("job", "Service", "label_values(planet_exporter_build_info, job)"),
    variable("instance", "Instance", 'label_values(planet_exporter_build_info{job=~"$job"}, instance)'),
]
CALL_VARIABLES = VARIABLES + [
    variable("media_type", "Media type", f"label_values(planet_calls_total{{{EXPORTER}}}, media_type)"),
    variable("idc", "IDC", f"label_values(planet_calls_total{{{EXPORTER}}}, idc)"),
]


def dashboard(uid, title, description, variables, panels):
    """A dashboard, whose panels are placed from left to right and from top to bottom."""
    left = top = bottom = 0
    for number, each in enumerate(panels, start=1):
        place = each["gridPos"]
        if left + place["w"] > 24:
            left, top = 0, bottom
        each["id"] = number
        place.update(x=left, y=top)
        left += place["w"]
        bottom = max(bottom, top + place["h"])
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
        "links": [{"type": "dashboards", "title": "Planet", "tags": [TAG], "asDropdown": False, "includeVars": True,
                   "keepTime": True}],
        "annotations": {"list": []},
        "templating": {"list": variables},
        "panels": panels,
    }


GOOD_RATIO = [(None, "red"), (0.95, "yellow"), (0.99, "green")]
BAD_RATIO = [(None, "green"), (0.01, "yellow"), (0.05, "red")]
LAST_EVENT = f"time() - max(planet_call_last_event_time_seconds{{{EXPORTER}}})"


def calls_dashboard():
    domains = rate("planet_calls_total", more=ABNORMAL, by="fault_domain")
    return dashboard("planet-calls", "Planet / Calls", "Are calls connecting, now, in every IDC, audio and video?", CALL_VARIABLES, [
        stat("Attempts", "Ended calls a second: all attempts, answered or not.", "cps", calls(), 4),
        stat("ASR", "Answer-seizure ratio (ITU-T E.425): answered / all attempts. People who don't answer lower it.",
             "percentunit", asr(), 4, max=1),
        stat("NER", "Network effectiveness ratio (ITU-T E.425): attempts that the network delivered, whatever people then did / all; "
             "fault domain none or user / all.", "percentunit", ner(), 4, GOOD_RATIO, max=1),
        stat("Drop ratio", "Answered and then ended abnormally / answered: people who were cut off.", "percentunit", drops(), 4,
             BAD_RATIO, max=1),
        stat("ACD", "Average call duration: mean conversation time of answered calls.", "dtdurations", mean_duration(), 4),
        stat("Since the last event", "Time since the last call event was accepted. It grows in quiet nights, and when the callback does "
             "not get here.", "dtdurations", LAST_EVENT, 4),
        series("Attempts by IDC", "Ended calls a second by IDC; dashed: all of them at the same time last week.", "cps",
               [(calls(by="idc"), "{{idc}}"),
                (f'sum (rate(planet_calls_total{{{CALLS}}}[{WINDOW}] offset 1w))', "all, last week")], 8),
        series("NER by IDC", "Fault domain none or user / all, by IDC. Below 1 is somebody's fault.", "percentunit",
               [(ner("idc"), "{{idc}}")], 8, max=1),
        series("Abnormal releases by fault domain", "Calls a second that ended abnormally, by whose fault it is.", "cps",
               [(domains, "{{fault_domain}}")], 8, stacked=True),
        series("ASR by media type", "Answered / all, audio and video; dashed: both at the same time last week.", "percentunit",
               [(asr("media_type"), "{{media_type}}"),
                (ratio(f'sum (rate(planet_calls_total{{{CALLS},answered="true"}}[{WINDOW}] offset 1w))',
                       f'sum (rate(planet_calls_total{{{CALLS}}}[{WINDOW}] offset 1w))'), "both, last week")], 8, max=1),
        series("Time to answer", "From the creation of an answered call to its answer (start_time - setup_time, whole seconds).", "s",
               [(quantile(share, "planet_call_setup_duration_seconds", 'answered="true"'), legend)
                for share, legend in ((0.5, "median"), (0.95, "p95"))], 8),
        series("Call duration", "Conversation time of answered calls.", "dtdurations",
               [(quantile(share, "planet_call_duration_seconds"), legend) for share, legend in ((0.5, "median"), (0.95, "p95"))], 8),
        heat_map("Call durations", "Answered calls by conversation time.", "planet_call_duration_seconds", "", 8),
        heat_map("Times to answer", "Answered calls by time to answer.", "planet_call_setup_duration_seconds", ',answered="true"', 8),
        series("Billed minutes", "Minutes billed in each minute, by media type.", "short",
               [(rate("planet_call_billed_seconds_total", by="media_type"), "{{media_type}}")], 8),
    ])


def releases_dashboard():
    traces = [{
        "title": "Traces of ${__field.labels.disconnect_reason}",
        "url": "/explore?left=" + json.dumps({
            "datasource": "${traces}",
            "queries": [{"refId": "A", "queryType": "traceql",
                         "query": '{ .error.type = "${__field.labels.disconnect_reason}" }'}],
            "range": {"from": "${__from}", "to": "${__to}"},
        }),
        "targetBlank": True,
    }]
    grown = "sum by (disconnect_reason, fault_domain) (increase(planet_call_abnormal_releases_total{%s}[1h]%s))"
    now, before = grown % (EXPORTER, ""), grown % (EXPORTER, " offset 1h")
    week = grown.replace("[1h]", "[7d]") % (EXPORTER, " offset 1h")
    table_of_both = ("sum by (idc, disconnect_reason) (increase(planet_calls_total{%s,%s}[$__range])) > 0" % (CALLS, ABNORMAL))
    variables = CALL_VARIABLES + [source_variable("traces", "Traces", "tempo")]

    def top(metric, by, more=""):
        return f"topk(10, {rate(metric, more=more, by=by)} > 0)"

    return dashboard("planet-releases", "Planet / Releases", "Why do calls end, whose fault is it, since when?", variables, [
        series("By fault domain", "All ended calls a second by whose fault their end is; none and user are people.", "cps",
               [(calls(by="fault_domain"), "{{fault_domain}}")], 12, stacked=True),
        series("Abnormal reasons", "Abnormal releases a second, the ten most frequent reasons. A reason leads to the traces of its "
               "calls, where a tracing data source is chosen.", "cps",
               [(top("planet_calls_total", "disconnect_reason", ABNORMAL), "{{disconnect_reason}}")], 12, data_links=traces),
        table("Top movers", "What grew most, in all IDCs: abnormal releases in the last hour, less those in the hour before.", "short",
              f"topk(10, ({now} - ({before} or 0 * {now})) > 0)", 8),
        table("First seen", "Abnormal reasons of the last hour, in all IDCs, that no call ended with in the seven days before.", "short",
              f"({now} > 0) unless ({week} > 0)", 8),
        table("IDC x reason", "Abnormal releases in the time that is shown, by IDC and reason.", "short", table_of_both, 8,
              transformations=[{"id": "groupingToMatrix",
                                "options": {"columnField": "idc", "rowField": "disconnect_reason", "valueField": "Value"}}]),
        series("By releaser", "Ended calls a second by who ended them.", "cps", [(calls(by="releaser"), "{{releaser}}")], 8),
        series("By Q.850 cause", "Releases a second by cause (terminate): 16 normal, 17 busy, 18 no user responding, 21 rejected. It is 16 "
               "for every answered call, dropped ones too.", "cps",
               [(top("planet_call_releases_total", "terminate").replace(CALLS, EXPORTER), "{{terminate}}")], 8),
        series("By release code", "Releases a second by LINE Planet's detailed code, the ten most frequent.", "cps",
               [(top("planet_call_releases_total", "rel_code, rel_code_str").replace(CALLS, EXPORTER), "{{rel_code}} {{rel_code_str}}")],
               8),
    ])


def idcs_dashboard():
    return dashboard("planet-idcs", "Planet / IDCs", "One row an IDC, side by side. The IDC is that of the caller: a fault on the callee's side is spread over the IDCs of its callers.", CALL_VARIABLES, [
        row("$idc", repeat="idc"),
        stat("Attempts", "Ended calls a second.", "cps", calls(), 3),
        stat("NER", "Fault domain none or user / all.", "percentunit", ner(), 3, GOOD_RATIO, max=1),
        stat("ASR", "Answered / all.", "percentunit", asr(), 3, max=1),
        stat("Drop ratio", "Answered and then ended abnormally / answered.", "percentunit", drops(), 3, BAD_RATIO, max=1),
        series("Abnormal releases", "Calls a second that ended abnormally, by fault domain.", "cps",
               [(calls(ABNORMAL, "fault_domain"), "{{fault_domain}}")], 6, stacked=True),
        series("Time to answer", "From the creation of an answered call to its answer.", "s",
               [(quantile(share, "planet_call_setup_duration_seconds", 'answered="true"'), legend)
                for share, legend in ((0.5, "median"), (0.95, "p95"))], 6),
    ])


def exporter_dashboard():
    def own(metric, by, more=""):
        return rate(metric, EXPORTER, more, by=by)

    def gauge(metric, by):
        return f"max by ({by}) ({metric}{{{EXPORTER}}})"

    def latency(metric):
        return [(f"histogram_quantile({share}, {rate(metric + '_bucket', EXPORTER, by='le')})", legend)
                for share, legend in ((0.5, "median"), (0.99, "p99"))]

    return dashboard("planet-exporter", "Planet / Exporter", "Is the exporter itself well?", VARIABLES, [
        stat("Up", "Exporters that answer Prometheus.", "short",
             f"sum(up{{{EXPORTER}}} * on (job, instance) planet_exporter_build_info{{{EXPORTER}}})", 3),
        stat("Cannot store", "Exporters that cannot store call events now, and pass them on or answer them 503.", "short",
             f"sum(planet_exporter_storage_failing{{{EXPORTER}}})", 4, [(None, "green"), (1, "red")]),
        stat("Misconfigured", "Destinations of OTLP that answer as if they were configured wrongly.", "short",
             f"sum(planet_exporter_misconfigured{{{EXPORTER}}}) or vector(0)", 4, [(None, "green"), (1, "yellow")]),
        stat("Refused", "Requests a second that could not be read as call events.", "reqps",
             own("planet_exporter_events_total", "", 'result="refused"'), 3, [(None, "green"), (0.001, "yellow")]),
        stat("Oldest undelivered", "Age of the oldest call event that waits for a sink.", "dtdurations",
             f"max(planet_exporter_backlog_age_seconds{{{EXPORTER}}}) or vector(0)", 4, [(None, "green"), (300, "yellow"), (900, "red")]),
        stat("Given up", "Call events in the time that is shown that were not delivered and will not be.", "short",
             f"sum(increase(planet_exporter_dropped_events_total{{{EXPORTER}}}[$__range])) or vector(0)", 3,
             [(None, "green"), (1, "red")]),
        stat("Restarts", "Starts of an exporter in the time that is shown.", "short",
             f"sum(changes(process_start_time_seconds{{{EXPORTER}}}[$__range]) * on (job, instance) "
             f"planet_exporter_build_info{{{EXPORTER}}})", 3),
        series("Call events", "Call events a second by what became of them.", "reqps",
               [(own("planet_exporter_events_total", "result"), "{{result}}")], 8),
        series("Oddities", "Oddities of accepted call events a second, by kind.", "reqps",
               [(own("planet_exporter_anomalies_total", "kind") + " > 0", "{{kind}}")], 8),
        series("Time to answer", "From a call event's head having been read to its answer; storing included.", "s",
               latency("planet_exporter_request_duration_seconds"), 8),
        series("Time to store", "Writing and syncing a batch of call events. Empty without a state directory.", "s",
               latency("planet_exporter_journal_sync_duration_seconds"), 8),
        series("Backlog", "Call events that a sink has not finished.", "short",
               [(gauge("planet_exporter_backlog", "instance, sink"), "{{instance}} {{sink}}")], 8),
        series("Age of the backlog", "Age of the oldest of them.", "dtdurations",
               [(gauge("planet_exporter_backlog_age_seconds", "instance, sink"), "{{instance}} {{sink}}")], 8),
        series("Deliveries", "Attempts to deliver a second, by signal and result.", "reqps",
               [(own("planet_exporter_deliveries_total", "signal, result") + " > 0", "{{signal}} {{result}}")], 8),
        series("Passed on", "Requests a second that were not passed on to the service behind, by error.", "reqps",
               [(own("planet_exporter_proxy_failures_total", "error"), "{{error}}")], 8),
        series("Canary", "Requests of the exporter to itself through its public URL, a second, by what came of them. Empty without --canary-url.",
               "reqps", [(own("planet_exporter_canary_round_trips_total", "result"), "{{result}}")], 8),
        series("Connections", "Open connections.", "short",
               [(gauge("planet_exporter_connections", "instance, listener"), "{{instance}} {{listener}}")], 8),
        series("Memory", "Resident memory.", "bytes",
               [(f"max by (instance) (process_resident_memory_bytes{{{EXPORTER}}} * on (job, instance) "
                 f"planet_exporter_build_info{{{EXPORTER}}})", "{{instance}}")], 8),
        series("Journal", "Bytes that the journal keeps.", "bytes",
               [(gauge("planet_exporter_journal_size_bytes", "instance"), "{{instance}}")], 8),
        series("Session IDs", "Session IDs in the window in which a repeat is recognized.", "short",
               [(gauge("planet_exporter_seen_sids", "instance"), "{{instance}}")], 8),
    ])


def main():
    made = [calls_dashboard(), releases_dashboard(), idcs_dashboard(), exporter_dashboard()]
    wanted = {f"{each['uid']}.json": json.dumps(each, indent=2) + "\n" for each in made}
    if sys.argv[1:] == ["--check"]:
        found = {path.name: path.read_text() for path in DIRECTORY.glob("*.json")}
        differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if differing:
            sys.exit(f"not what generate.py writes: {', '.join(differing)}; run python3 dashboards/generate.py")
        return
    for name, text in wanted.items():
        (DIRECTORY / name).write_text(text)


if __name__ == "__main__":
    main()
