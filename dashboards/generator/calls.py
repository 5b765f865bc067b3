"""Planet / Calls: the first page. Are calls connecting, now, in every IDC, audio and video; if not, where, whose fault is it, and since when?"""

from settings import setting

from . import indicators as of
from .parts import (BAD, DOMAIN_WORDS, GOOD, OF_CALLS, QUIET, RUNBOOK, STATES, WARNING, WINDOW, Column, dashboard, heat_map, link, mappings,
                    override, ratio_of, series, stat, table, timeline)

STATE = {
    of.NO_CALLS: ("No calls", QUIET),
    of.WELL: ("Calls connect", GOOD),
    of.IS_WORSE: ("Worse than usual", WARNING),
    of.PAGES: ("An alert pages", BAD),
    of.FAILS_IN_PART: ("Some calls fail", BAD),
    of.FAILS: ("Calls fail", BAD),
    of.GONE: ("Exporter gone", BAD),
}
SINCE = mappings({of.TOO_LONG: ("more than 6 hours", None), of.NEVER: ("not failing", None)})
# The hour that ended a week ago.
A_WEEK_AGO = {"window": "1h", "offset": "1w"}


def delivered(**when):
    return f"1 - {of.abnormal(**when)} / {of.calls(**when)}"


def answered(**when):
    return f"{of.calls(more=ANSWERED, **when)} / {of.calls(**when)}"


def cut_off(**when):
    return f"{of.abnormal(more=ANSWERED, **when)} / {of.calls(more=ANSWERED, **when)}"


def headline():
    return [
        stat("Now", "The worst of: every exporter gone; calls that fail, as alerts have it, in the last 10 minutes, or of the last 32 calls of each kind; such calls of an IDC or a "
             "medium; an alert that pages; more abnormal calls than the objective allows.", 4, [(of.state_of_all(), "")], words=STATE, is_background=True,
             empty="No exporter in a day"),
        stat("Where and whose, 10 min", "Each IDC that fails while others do not, whose fault most of its abnormal calls are, and how many of its calls ended abnormally. Else a medium, or "
             "everywhere.", 6, [(of.where(), "{{text}}")], words={value: (None, colour) for value, (_, colour) in STATE.items()}, is_background=True, is_named=True),
        stat("Failing since, local time", "When the share of calls that end abnormally was last within its limit: of the IDC that fails longest, or of all; and how many calls of the "
             "IDCs that fail have ended abnormally since.", 5, [(of.failing_since(), "since"), (of.failing_for(), "for"), (of.abnormal_since(), "abnormal calls since")],
             "dateTimeAsIsoNoDateIfToday", words={of.TOO_LONG: ("more than 6 hours", None), of.NEVER: ("not failing", None)}, empty="unknown",
             more=[override("byName", name, {"id": "unit", "value": unit}, {"id": "decimals", "value": 0}) for name, unit in (("for", "s"), ("abnormal calls since", "none"))]),
        ratio_of("Delivered, 10 min", "Network effectiveness ratio (ITU-T E.425): fault domain none or user / all calls, whatever people then did. Last week is the hour that "
                 "ended a week ago.", 3, delivered(), of.calls(), delivered(**A_WEEK_AGO), "NER of {number} calls"),
        ratio_of("Answered, 10 min", "Answer-seizure ratio (ITU-T E.425): answered / all calls. People who don't answer lower it.", 3,
                 answered(), of.calls(), answered(**A_WEEK_AGO), "ASR of {number} calls"),
        ratio_of("Cut off, 10 min", "Drop ratio: answered and then ended abnormally / answered calls.", 3,
                 cut_off(), of.calls(more=ANSWERED), cut_off(**A_WEEK_AGO), "of {number} answered", empty="none answered"),
    ]


ANSWERED = 'answered="true"'


def alerts():
    """Alerts that fire, with what they are about in one column."""
    about = '"where", " ", "idc", "media_type", "disconnect_reason", "sink", "signal", "kind", "setting", "instance"'
    since = f"1000 * (ALERTS_FOR_STATE{{{of.ALERTS}}} and ignoring (alertstate) {of.FIRING})"
    trimmed = f'label_replace(label_join({since}, {about}), "where", "$1", "where", " *(.*?) *")'
    fire = f'max by (alertname, severity, where) (label_replace({trimmed}, "where", "$1 $2", "where", "(.*?) +(.*)"))'
    no_rules = 'label_replace(absent(planet:objective:ratio), "alertname", "The rules are not loaded", "", "") * 0'
    return table("Alerts that fire", "What rules/alerts.rules.yml says, and when each began, in local time; pages before tickets. An alert leads to its section of the runbook, whose address stands at the top.", 10, [
        Column("Alert", label="alertname", width=200, link=("Runbook", "${runbook:raw}#:~:text=${__value.raw},-Run:")),
        Column("Severity", label="severity", width=76, words=mappings({"page": (None, BAD), "ticket": (None, WARNING)}), coloured=True),
        Column("Where", label="where"),
        Column("Fires since", f"{fire} or {no_rules}", width=160, unit="dateTimeAsIsoNoDateIfToday", words=mappings({0: ("-", None)})),
    ], "Severity", height=5, empty="No alert fires", descending=False)


def shares(by, state=""):
    """Columns of a table by a label: how calls end, and how they did in the hour that ended a week ago."""
    return [
        Column("State", state or of.state(by), width=80, words=mappings(STATES), coloured=True),
        Column("Calls", f"round({of.calls(by=by)})", decimals=0, width=58),
        Column("Abnormal", f"round({of.abnormal(by=by)})", decimals=0, width=88, is_count=True),
        Column("Abnormal %", of.share(of.abnormal(by=by), of.calls(by=by)), unit="percentunit", decimals=1, width=104),
        Column("Last week, 1 h", of.share(of.abnormal(by=by, **A_WEEK_AGO), of.calls(by=by, **A_WEEK_AGO)), unit="percentunit", decimals=1, empty="-", width=118),
    ]


def audio_and_video():
    return table("Audio and video, all IDCs, 10 min", "By medium, of all IDCs that are chosen: calls, and the share that ended abnormally; last week is the hour that ended a week ago. in an "
                 "IDC: it fails only because an IDC does, and is within its limit in the others.", 8,
                 [Column("Medium", label="media_type", width=72), *(each for each in shares("media_type", of.state_of_media()) if each.name != "Abnormal")], "State", height=5)


def idcs():
    by = "idc"
    return table("IDC of the caller, 10 min", "By data centre of the caller: a fault on the callee's side is spread over the IDCs of its callers. Last week is the hour that ended "
                 "a week ago. An IDC leads to its page.", 13, [
        Column("IDC", label=by, width=50, link=("This IDC", link("planet-idcs", idc="${__value.raw}"))),
        *shares(by),
        Column("Mostly", label="fault_domain", width=92),
        Column("", of.whose(by)),
        Column("Failing since", of.failing_since(by), unit="dateTimeAsIsoNoDateIfToday", words=SINCE, empty="unknown"),
    ], "State")


def faults():
    def number(window):
        return f"round({of.abnormal(window, 'fault_domain')}) and on (fault_domain) {of.abnormal('1h', 'fault_domain')} > 0.5"
    return table("Whose fault", "Calls that ended abnormally by whose fault it is.", 6, [
        Column("Whose", label="fault_domain", words=DOMAIN_WORDS),
        Column("10 min", number("10m"), width=68, is_count=True),
        Column("1 hour", number("1h"), width=68, is_count=True),
    ], "10 min", height=5, empty="none seen in an hour")


def reasons():
    by = "disconnect_reason, fault_domain"
    def found(window, offset=""):
        return of.increase("planet_calls_total", window, of.CALLS, of.ABNORMAL, by, offset)
    top = f"topk(8, {found('1h')} > 0.5)"
    return table("Why", "The most frequent reasons of abnormal ends in an hour; last week is the hour that ended a week ago. A reason leads to its page.", 11, [
        Column("Reason", label="disconnect_reason", link=("This reason", link("planet-releases", reason="${__value.raw}"))),
        Column("Whose", label="fault_domain", words=DOMAIN_WORDS, width=172),
        Column("10 min", f"round({found('10m')}) and on ({by}) {top}", width=64, is_count=True),
        Column("1 hour", f"round({top})", width=62, is_count=True),
        Column("Last week, 1 h", f"round({found('1h', '1w')}) and on ({by}) {top}", width=118, empty="-", is_count=True),
    ], "10 min", empty="none seen in an hour")


def page():
    last_week = "last week"
    def abnormal_share(offset=""):
        return of.share(of.abnormal("$window", offset=offset), of.calls("$window", offset=offset), 10)
    def answered_share(offset=""):
        return of.share(of.calls("$window", ANSWERED, offset=offset), of.calls("$window", offset=offset), 10)
    setup, duration = "planet_call_setup_duration_seconds", "planet_call_duration_seconds"
    (billed, talked), (billed_before, talked_before) = [
        (of.total("rate", "planet_call_billed_seconds_total", "$window", offset=offset), of.seconds_of(duration, "$window", offset)) for offset in ("", "1w")
    ]
    states = [(f"({of.state('idc', '$window')}) > 0", "IDC {{idc}}"), (f"({of.state_of_media('$window')}) > 0", "{{media_type}}")]
    return dashboard("planet-calls", "Planet / Calls", "Are calls connecting, now, in every IDC, audio and video?", OF_CALLS + [WINDOW, RUNBOOK], [
        headline(),
        [alerts(), faults(), audio_and_video()],
        [idcs(), reasons()],
        [timeline("Where and since when", "The state of each IDC and medium, each point of the time before it that is chosen as window.", 12, states, height=7),
         series("Abnormal calls a minute, by whose fault; dashed line: an alert begins to fire", "Calls that ended abnormally, of all IDCs that are chosen. Where it is shaded an alert fires, which its mark "
                "below names.", 12, [(of.a_minute(more=of.ABNORMAL, by="fault_domain") + " > 0", "{{fault_domain}}")], stacked=True, step="1m", height=7, empty="none seen",
                axis="calls a minute")],
        [series("Calls a minute", "All calls that ended; dashed: a week before.", 8,
                [(of.a_minute(), "now", "now"), (of.a_minute(window="$window", offset="1w"), last_week, "past")], step="1m"),
         series("Share of abnormal calls", "Averaged over the window that is chosen, of at least ten calls; dashed: a week before; dotted: the limit at which an alert pages.", 8,
                [(abnormal_share(), "now", "now"), (abnormal_share("1w"), last_week, "past"), (of.constant(of.FAILING), "limit", "limit")], "percentunit"),
         series("Share of answered calls (ASR)", "Averaged over the window that is chosen, of at least ten calls; dashed: a week before.", 8,
                [(answered_share(), "now", "now"), (answered_share("1w"), last_week, "past")], "percentunit", max=1)],
        [series("Time to answer", "From the creation of an answered call to its answer (start_time - setup_time, whole seconds), of at least ten calls; dotted: the limit of the 95th percentile.", 8,
                [(of.of_enough(of.quantile(0.5, setup, more=ANSWERED), ANSWERED), "median", "now"),
                 (of.of_enough(of.quantile(0.95, setup, more=ANSWERED), ANSWERED), "p95", "second"),
                 (of.constant(setting("planet:time_to_answer_limit:seconds")), "limit of p95", "limit")], "s", exemplar=True),
         series("Call duration", "Conversation time of answered calls, of at least ten; dashed: a week before.", 8,
                [(of.of_enough(of.quantile(0.5, duration), ANSWERED), "median", "now"),
                 (of.of_enough(of.mean(duration, "$window"), ANSWERED), "mean (ACD)", "second"),
                 (of.of_enough(of.quantile(0.5, duration, offset="1w"), ANSWERED, "1w"), "median last week", "past")], "dthms", exemplar=True),
         series("Billed minutes a minute", "Billed time of calls, all media.", 8, [(of.total("rate", "planet_call_billed_seconds_total", "$window"), "billed", "now")])],
        [series("Billed share of duration", "Billed time / conversation time of answered calls: above 1, as each call is billed in whole units.", 8,
                [(of.share(billed, talked), "now", "now"), (of.share(billed_before, talked_before), last_week, "past")], "percentunit"),
         series("Callers with an abnormal call, 5 min", "Different callers of abnormal calls in five minutes, by IDC and exporter added up: few of many abnormal calls are a bot, a test or a broken device.", 8,
                [(f'sum by (idc) (planet_call_abnormal_callers{{{of.EXPORTER},idc=~"$idc",window="5m"}})', "{{idc}}")], shades=True),
         series("Repeated call events a minute", "Call events that had come before; each call counts once. Many come of a proxy, or of LINE Planet not seeing answers.", 8,
                [(of.a_minute("planet_exporter_events_total", of.EXPORTER, 'result="duplicate"'), "repeated", "now")], empty="none seen")],
        [heat_map("Times to answer", "Answered calls by time to answer.", setup, 12, f",{ANSWERED}"),
         heat_map("Call durations", "Answered calls by conversation time.", duration, 12)],
    ])
