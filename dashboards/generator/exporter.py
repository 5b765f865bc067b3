"""Planet / Exporter: is the exporter itself well, and is this number right? Of scraped and of pushed metrics alike: what only a scrape has, up and process_*, is asked for beside
what both have."""

from settings import SETTINGS, setting

from . import indicators as of
from .indicators import EXPORTER, KNOWN
from .parts import (BAD, EXPORTERS, GOOD, QUIET, WARNING, WINDOW, Column, dashboard, mappings, series, stat, table)

BY = "job, instance"
HOUR = "1h"
LEFT, ALIVE, BEHIND, NOT_READY, NOT_STORING, RESTARTING, DEAD = range(7)
STATES = {
    LEFT: ("left", QUIET),
    ALIVE: ("well", GOOD),
    BEHIND: ("behind", WARNING),
    NOT_READY: ("not ready", BAD),
    NOT_STORING: ("not storing", BAD),
    RESTARTING: ("restarting", BAD),
    DEAD: ("dead", BAD),
}
ALL_STATES = {
    LEFT: ("No exporter", QUIET),
    ALIVE: ("Exporters are well", GOOD),
    BEHIND: ("Behind with a sink", WARNING),
    NOT_READY: ("Not ready: answers 503", BAD),
    NOT_STORING: ("Cannot store", BAD),
    RESTARTING: ("Restarting", BAD),
    DEAD: ("An exporter is dead", BAD),
}


def restarts(window):
    """Starts in a window: of the time of the start, which an exporter of 0.1.0 shows as that of any process only; where it is pushed, counters that began anew."""
    own = f"sum by ({BY}) (changes(planet_exporter_start_time_seconds{{{EXPORTER}}}[{window}]))"
    times = f"{own} or sum by ({BY}) (changes(process_start_time_seconds{{{EXPORTER}}}[{window}])) and on ({BY}) last_over_time({of.BUILD}[{window}])"
    counters = f'max by ({BY}) (resets({{__name__=~"planet_exporter_requests_total|planet_exporter_deliveries_total",{EXPORTER}}}[{window}]))'
    return f"({times} or {counters})"


def states():
    """The state of each exporter as a number: the worst counts."""
    def where(condition, state):
        return f"max by ({BY}) ({condition}) * 0 + {state}"
    unstored = of.increase("planet_exporter_events_total", "5m", more='result=~"unavailable|undurable|uncounted"', by=BY)
    unready = of.increase("planet_exporter_requests_total", "5m", more='code="503"', by=BY)
    age = f"max by ({BY}) (planet_exporter_backlog_age_seconds{{{EXPORTER}}})"
    return " or ".join([
        # It does not answer Prometheus; or nothing of its whole job is there any more.
        where(f"up{{{EXPORTER}}} == 0 and on ({BY}) {KNOWN} or ({KNOWN} unless on (job) {of.ALIVE})", DEAD),
        where(f"{restarts('20m')} > 2", RESTARTING),
        where(f"planet_exporter_storage_failing{{{EXPORTER}}} > 0 or {unstored} > 0", NOT_STORING),
        where(f"{unready} > 0", NOT_READY),
        where(f"{age} > {setting('planet:backlog_age_limit:seconds')} or planet_exporter_sink_gone{{{EXPORTER}}} > 0 or planet_exporter_misconfigured{{{EXPORTER}}} > 0", BEHIND),
        where(of.ALIVE, ALIVE),
        # Another has taken its place.
        where(KNOWN, LEFT),
    ])


def exporters():
    def gauge(metric):
        return f"max by ({BY}) ({metric}{{{EXPORTER}}})"
    lost = of.increase("planet_exporter_dropped_events_total", HOUR, by=BY)
    return table("Exporters", "Every exporter of the last day. dead: does not answer, or its whole service is gone; left: others of its service are there; restarting: more than twice in 20 "
                 "minutes; not storing: its disk does not take events; not ready: it answers 503; behind: a sink is older than the limit, gone, or configured wrongly.", 24, [
        Column("Service", label="job", width=200),
        Column("Instance", label="instance", width=230),
        Column("State", states(), width=105, words=mappings(STATES), coloured=True),
        Column("Version", label="version", width=90),
        Column("", f"max by ({BY}, version) ({KNOWN})"),
        Column("Started", f"1000 * max by ({BY}) (planet_exporter_start_time_seconds{{{EXPORTER}}} or on ({BY}) (process_start_time_seconds{{{EXPORTER}}} and on ({BY}) {of.BUILD}))", unit="dateTimeAsIsoNoDateIfToday", empty="-", width=170),
        Column("Starts, 1 hour", f"round({restarts(HOUR)})", decimals=0, empty="-", width=115),
        Column("Last call", f"1000 * max by ({BY}) (last_over_time(planet_call_last_event_time_seconds{{{EXPORTER}}}[1d]) > 0)", unit="dateTimeAsIsoNoDateIfToday", empty="never", width=170),
        Column("Oldest in a sink", gauge("planet_exporter_backlog_age_seconds"), unit="s", decimals=0, empty="-", width=125),
        Column("Lost, 1 hour", f"round({lost})", decimals=0, empty="-"),
    ], "State", height=6, empty="No exporter in a day")


ACCEPTED, PANICKED = 'result="accepted"', 'result="panicked"'
# What must not happen: words, and how many in the last hour, or now.
CHECKS = {
    "Requests that are no call event (refused)": of.increase("planet_exporter_events_total", HOUR, more='result="refused"'),
    "Call events at a wrong path": of.increase("planet_exporter_events_total", HOUR, more='result="wrong_path"'),
    "Requests turned away (secret, address, rate)": of.increase("planet_exporter_turned_away_requests_total", HOUR),
    "Call events not stored (unavailable, undurable, uncounted)": of.increase("planet_exporter_events_total", HOUR, more='result=~"unavailable|undurable|uncounted"'),
    "Call events that bring out a bug (panicked, quarantined)":
        f'({of.increase("planet_exporter_events_total", HOUR, more=PANICKED)} + {of.increase("planet_exporter_quarantined_events_total", HOUR)})',
    "Codes that are not in the table (unknown_*)": of.increase("planet_exporter_anomalies_total", HOUR, more='kind=~"unknown_.*"'),
    "Events counted under other (limit of labels)": of.increase("planet_exporter_label_overflows_total", HOUR),
    "Call events that a sink gave up": of.increase("planet_exporter_dropped_events_total", HOUR),
    "Deliveries that failed (retry, refused)": of.increase("planet_exporter_deliveries_total", HOUR, more='result=~"retry|refused"'),
    "Requests not passed on to the service behind": of.increase("planet_exporter_proxy_failures_total", HOUR),
    "Connections without a place (evicted, rejected)":
        f'({of.increase("planet_exporter_evicted_connections_total", HOUR)} + {of.increase("planet_exporter_rejected_connections_total", HOUR)})',
    "Canaries that did not come back": of.increase("planet_exporter_canary_round_trips_total", HOUR, more='result!="success"'),
    "Damaged records of the journal, now": f"sum(planet_exporter_journal_damaged_records{{{EXPORTER}}})",
    "Sinks that are gone, now": f"sum(planet_exporter_sink_gone{{{EXPORTER}}})",
    "Destinations configured wrongly, now": f"sum(planet_exporter_misconfigured{{{EXPORTER}}})",
    "Certificates that expire within 14 days, now":
        f"sum(planet_exporter_certificate_expiry_time_seconds{{{EXPORTER}}} - time() < bool {14 * 24 * 3600})",
}


def checks():
    rows = " or ".join(f'label_replace(round({asked}), "check", "{words}", "", "")' for words, asked in CHECKS.items())
    return table("What must not happen, 1 hour", "What alerts of the exporter look at: how often in the last hour, or now. Those that happened come first.", 12, [
        Column("What", label="check"),
        Column("How often", rows, decimals=0, width=100, warns_from=1),
    ], "How often", height=8, empty="No exporter")


def settings():
    rows = " or ".join(f'label_replace(max({name}) or vector({default}), "setting", "{name}", "", "")' for name, (default, _) in SETTINGS.items())
    recorded = " or ".join(f'label_replace(count({name}), "setting", "{name}", "", "")' for name in SETTINGS)
    return table("Settings", "What alerts and dashboards compare with: as recorded by the group planet-settings, of several rules the greatest; or the default, where none records it.", 12, [
        Column("Setting", label="setting"),
        Column("Value", rows, width=90),
        Column("Recorded by", recorded, width=130, empty="no rule: default", words=mappings({1: ("1 rule", None)})),
    ], "Setting", height=8, descending=False)


def latency(metric):
    return [(of.quantile(share, metric, "$window", EXPORTER), legend, style) for share, legend, style in ((0.5, "median", "now"), (0.99, "p99", "second"))]


def own(metric, by, more="", filtered=True):
    """A counter of the exporter itself, a minute."""
    return of.a_minute(metric, EXPORTER, more, by) + (" > 0" if filtered else "")


def page():
    def graph(title, description, lines, unit="short", **more):
        return series(title, description, 8, lines, unit, **{"shades": True, "empty": "none", **more})
    def gauge(metric, by, legend):
        return [(f"max by ({by}) ({metric}{{{EXPORTER}}})", legend)]
    age = "planet_exporter_backlog_age_seconds"
    all_states = f"max({states()}) or absent({KNOWN}) * 0"
    alive = f"count(({states()}) != {LEFT} != {DEAD})"
    return dashboard("planet-exporter", "Planet / Exporter", "Is the exporter itself well? Is this number right?", EXPORTERS + [WINDOW], [
        [stat("Now", "The worst state of an exporter of the last day.", 8, [(all_states, "")], words=ALL_STATES, is_background=True, empty="No exporter"),
         stat("Alive", "Exporters that are there now, whose metrics are scraped or pushed.", 4, [(f"{alive} or vector(0)", "")], "none", empty="none"),
         stat("Since the last call event", "Time since a call event was accepted. It grows in quiet nights, and when the callback does not get here.", 6,
              [(f"time() - max(last_over_time(planet_call_last_event_time_seconds{{{EXPORTER}}}[1d]) > 0)", "")], "dthms", empty="no call in a day"),
         stat("Call events, 10 min", "Accepted, each counted once; repeats are not.", 6,
              [(f"round({of.increase('planet_exporter_events_total', '10m', more=ACCEPTED)})", "")], "none", empty="none")],
        [exporters()],
        [checks(), settings()],
        [graph("Call events a minute", "By what became of them.", [(own("planet_exporter_events_total", "result"), "{{result}}")]),
         graph("Oddities a minute", "Of accepted call events, by kind.", [(own("planet_exporter_anomalies_total", "kind"), "{{kind}}")]),
         graph("Requests a minute", "To the listener of call events, by status code.", [(own("planet_exporter_requests_total", "code"), "{{code}}")])],
        [graph("Time to answer", "From a call event's head having been read to its answer; storing included.", latency("planet_exporter_request_duration_seconds"), "s"),
         graph("Time to store", "Writing and syncing a batch of call events. Empty without a state directory.", latency("planet_exporter_journal_sync_duration_seconds"), "s"),
         graph("Not stored", "Call events that wait in memory until the disk takes them, by instance.", gauge("planet_exporter_undurable_events", "instance", "{{instance}}"))],
        [graph("Backlog", "Call events that a sink has not finished.", gauge("planet_exporter_backlog", "instance, sink", "{{instance}} {{sink}}")),
         graph("Age of the backlog", "Age of the oldest of them; dotted: the limit at which an alert fires.",
               [*gauge(age, "instance, sink", "{{instance}} {{sink}}"), (of.constant(setting("planet:backlog_age_limit:seconds")), "limit", "limit")], "dthms"),
         graph("Deliveries a minute", "Attempts to deliver, by signal and result.", [(own("planet_exporter_deliveries_total", "signal, result"), "{{signal}} {{result}}")])],
        [graph("Not passed on, a minute", "Requests that were not passed on to the service behind, by error.", [(own("planet_exporter_proxy_failures_total", "error"), "{{error}}")]),
         graph("Canary, a minute", "Requests of the exporter to itself through its public URL, by what came of them. Empty without --canary-url.",
               [(own("planet_exporter_canary_round_trips_total", "result"), "{{result}}")]),
         graph("Connections", "Open connections.", gauge("planet_exporter_connections", "instance, listener", "{{instance}} {{listener}}"))],
        [graph("Memory", "Resident memory; only of exporters that are scraped.",
               [(f"max by (instance) (process_resident_memory_bytes{{{EXPORTER}}} and on ({BY}) {of.BUILD})", "{{instance}}")], "bytes", empty="only where metrics are scraped"),
         graph("Journal", "Bytes that the journal keeps.", gauge("planet_exporter_journal_size_bytes", "instance", "{{instance}}"), "bytes"),
         graph("Session IDs", "Session IDs in the window in which a repeat is recognized.", gauge("planet_exporter_seen_sids", "instance", "{{instance}}"))],
    ])
