"""Planet / Releases: why do calls end, whose fault is it, since when?"""

import json

from . import indicators as of
from .parts import (DOMAIN_NAMES, DOMAIN_WORDS, DOMAINS, OF_CALLS, WINDOW, Column, dashboard, fixed, link, override, series, source_variable, table,
                    variable)

RELEASES = of.CALLS + ',disconnect_reason=~"$reason"'
TRACES = {
    "title": "Traces of this reason",
    "url": "/explore?left=" + json.dumps({
        "datasource": "${traces}",
        "queries": [{"refId": "A", "queryType": "traceql", "query": '{ .error.type = "${__field.labels.disconnect_reason}" }'}],
        "range": {"from": "${__from}", "to": "${__to}"},
    }),
    "targetBlank": True,
}
CAUSES = {"16": "16 normal", "17": "17 busy", "18": "18 no user responding", "21": "21 rejected"}


def found(window, more="", by="", offset="", metric="planet_calls_total", labels=RELEASES):
    return of.increase(metric, window, labels, more, by, offset)


def reason_columns():
    return [
        Column("Reason", label="disconnect_reason", link=("This reason only", link("planet-releases", reason="${__value.raw}"))),
        Column("Whose", label="fault_domain", words=DOMAIN_NAMES, coloured=True, width=95),
    ]


def reasons():
    by = "disconnect_reason, fault_domain"
    top = f"topk(15, {found('$__range', of.ABNORMAL, by)} > 0.5)"
    def number(window, offset=""):
        return f"round({found(window, of.ABNORMAL, by, offset)}) and on ({by}) {top}"
    return table("Reasons of abnormal ends", "The most frequent ones in the time that is shown; last week is the hour that ended a week ago.", 12, [
        reason_columns()[0],
        Column("Whose", label="fault_domain", words=DOMAIN_WORDS, coloured=True, width=185),
        Column("Shown", f"round({top})", width=70),
        Column("1 hour", number("1h"), width=70),
        Column("Last week", number("1h", "1w"), width=90, empty="-"),
    ], "Shown", height=9, empty="none seen")


def movers():
    by = "disconnect_reason, fault_domain"
    labels = of.EXPORTER + ',idc=~"$idc",disconnect_reason=~"$reason"'
    def number(offset=""):
        return found("1h", "", by, offset, "planet_call_abnormal_releases_total", labels)
    before = f"({number('1h')} or 0 * {number()})"
    grown = f"topk(10, {number()} - {before} > 0.5)"
    return table("Top movers", "What grew most, both media together: abnormal releases in the last hour, less those in the hour before.", 12, [
        *reason_columns(),
        Column("Hour before", f"round({before}) and on ({by}) {grown}", width=105),
        Column("1 hour", f"round({number()}) and on ({by}) {grown}", width=70),
        Column("More", f"round({grown})", width=70),
    ], "More", height=9, empty="none seen in an hour")


def first_seen():
    by = "disconnect_reason, fault_domain"
    labels = of.EXPORTER + ',idc=~"$idc",disconnect_reason=~"$reason"'
    def number(window, offset=""):
        return found(window, "", by, offset, "planet_call_abnormal_releases_total", labels)
    return table("First seen", "Abnormal reasons of the last hour that no call ended with in the seven days before.", 8, [
        *reason_columns(), Column("1 hour", f"round({number('1h')} > 0.5) unless on ({by}) {number('7d', '1h')} > 0.5", width=70),
    ], "1 hour", height=8, empty="none seen in an hour")


def matrix():
    shown = table("IDC and reason", "Abnormal releases in the time that is shown, by IDC of the caller and reason.", 16, [
        Column("idc", label="idc"), Column("disconnect_reason", label="disconnect_reason"), Column("Value", f"round({found('$__range', of.ABNORMAL, 'idc, disconnect_reason')} > 0.5)"),
    ], "", height=8, empty="none seen")
    # A reason is a row, as a reason is long, and an IDC a column.
    name = "disconnect_reason\\idc"
    shown["transformations"] = [
        {"id": "groupingToMatrix", "options": {"columnField": "idc", "rowField": "disconnect_reason", "valueField": "Value", "emptyValue": "zero"}},
        {"id": "organize", "options": {"renameByName": {name: "Reason"}, "indexByName": {name: 0}, "excludeByName": {}}},
    ]
    shown["fieldConfig"]["overrides"] = [override("byName", "Reason", {"id": "unit", "value": "string"}, {"id": "custom.align", "value": "left"}, {"id": "custom.width", "value": 290})]
    shown["options"]["sortBy"] = [{"displayName": "Reason", "desc": False}]
    return shown


def counts(title, description, width, metric, labels, columns, sort="Shown"):
    """How many releases there were in the time that is shown, by labels."""
    by = ", ".join(label for label, _, _ in columns)
    asked = f"topk(12, {found('$__range', '', by, '', metric, labels)} > 0.5)"
    return table(title, description, width, [
        *(Column(name, label=label, words=words) for label, name, words in columns),
        Column("Shown", f"round({asked})", width=80),
        Column("Share", f"{asked} / scalar({found('$__range', '', '', '', metric, labels)})", unit="percentunit", decimals=1, width=80),
    ], sort, height=8)


def page():
    variables = OF_CALLS + [variable("reason", "Reason", f"label_values(planet_calls_total{{{of.CALLS}}}, disconnect_reason)"), WINDOW, source_variable("traces", "Traces", "tempo")]
    by_reason = of.a_minute("planet_calls_total", RELEASES, of.ABNORMAL, "fault_domain, disconnect_reason")
    of_domain = [override("byRegexp", f"^{domain} .*", fixed(colour)) for domain, colour in DOMAINS.items()]
    causes = [{"type": "value", "options": {cause: {"text": text, "index": index} for index, (cause, text) in enumerate(CAUSES.items())}}]
    return dashboard("planet-releases", "Planet / Releases", "Why do calls end, whose fault is it, since when?", variables, [
        [reasons(), movers()],
        [series("Calls a minute, by whose fault their end is", "All calls that ended; none and user are people.", 12,
                [(of.a_minute("planet_calls_total", RELEASES, by="fault_domain") + " > 0", "{{fault_domain}}")], stacked=True, step="1m"),
         series("Abnormal calls a minute, by reason", "In the colour of whose fault it is; the ten most frequent ones. A reason leads to the traces of its calls, where a tracing data source is chosen.", 12,
                [(f"topk(10, {by_reason} > 0)", "{{fault_domain}} {{disconnect_reason}}")], stacked=True, step="1m", empty="none seen", more=of_domain, links=[TRACES])],
        [first_seen(), matrix()],
        [counts("Who ended calls", "By releaser, in the time that is shown.", 6, "planet_calls_total", RELEASES, [("releaser", "Releaser", None)]),
         counts("Q.850 cause", "terminate, in the time that is shown. It is 16 for every answered call, dropped ones too. Of all IDCs, media and reasons.", 7, "planet_call_releases_total", of.EXPORTER,
                [("terminate", "Cause", causes)]),
         counts("Release code", "LINE Planet's detailed code, in the time that is shown. Of all IDCs, media and reasons.", 11, "planet_call_releases_total", of.EXPORTER,
                [("rel_code", "Code", None), ("rel_code_str", "Name", None)])],
    ])
