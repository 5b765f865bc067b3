"""Planet / Calls: the first page. Are calls connecting, now, in every IDC, audio and video; if not, where, whose fault is it, and since when?"""

from . import indicators as of
from .parts import (BAD, DOMAIN_NAMES, DOMAIN_WORDS, GOOD, OF_CALLS, QUIET, STATES, WARNING, WINDOW, Column, dashboard, heat_map, link, mappings,
                    ratio_of, series, stat, table, timeline)

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


def headline():
    return [
        stat("Now", "The worst of: every exporter gone; calls that fail, as alerts have it, in the last 10 minutes, or of the last 32 calls of each kind; such calls of an IDC or a "
             "medium; an alert that pages; more abnormal calls than the objective allows.", 6, [(of.state_of_all(), "")], words=STATE, is_background=True,
             empty="No exporter in a day"),
        stat("Failing since", "When the share of calls that end abnormally was last within its limit: of the IDC that fails longest, or of all.", 5, [(of.failing_since(), "")],
             "dateTimeAsIsoNoDateIfToday", words={of.TOO_LONG: ("more than 6 hours", None), of.NEVER: ("not failing", None)}, empty="unknown"),
        ratio_of("Delivered (NER), 10 minutes", "Network effectiveness ratio (ITU-T E.425): fault domain none or user / all calls, whatever people then did. The number of calls is "
                 "beside it.", 5, f"1 - {of.abnormal()} / {of.calls()}", of.calls()),
        ratio_of("Answered (ASR), 10 min", "Answer-seizure ratio (ITU-T E.425): answered / all calls. People who don't answer lower it.", 4,
                 f"{of.calls(more=ANSWERED)} / {of.calls()}", of.calls()),
        ratio_of("Cut off, 10 minutes", "Drop ratio: answered and then ended abnormally / answered calls.", 4,
                 f"{of.abnormal(more=ANSWERED)} / {of.calls(more=ANSWERED)}", of.calls(more=ANSWERED), empty="none answered"),
    ]


ANSWERED = 'answered="true"'


def alerts():
    """Alerts that fire, with what they are about in one column."""
    about = '"where", " ", "idc", "media_type", "disconnect_reason", "sink", "signal", "kind", "setting", "instance"'
    since = f"1000 * (ALERTS_FOR_STATE{{{of.ALERTS}}} and ignoring (alertstate) {of.FIRING})"
    trimmed = f'label_replace(label_join({since}, {about}), "where", "$1", "where", " *(.*?) *")'
    fire = f'max by (alertname, severity, where) (label_replace({trimmed}, "where", "$1 $2", "where", "(.*?) +(.*)"))'
    no_rules = 'label_replace(absent(planet:objective:ratio), "alertname", "The rules are not loaded", "", "") * 0'
    return table("Alerts that fire", "What rules/alerts.rules.yml says, and when each began; pages before tickets. RUNBOOK.md has a section for each.", 11, [
        Column("Alert", label="alertname", width=200),
        Column("Severity", label="severity", width=76, words=mappings({"page": (None, BAD), "ticket": (None, WARNING)}), coloured=True),
        Column("Where", label="where"),
        Column("Fires since", f"{fire} or {no_rules}", width=160, unit="dateTimeAsIsoNoDateIfToday", words=mappings({0: ("-", None)})),
    ], "Severity", height=5, empty="No alert fires", descending=False)


def shares(by):
    """Columns of a table by a label: how calls end, and how they did in the hour that ended a week ago."""
    return [
        Column("State", of.state(by), width=70, words=mappings(STATES), coloured=True),
        Column("Calls", f"round({of.calls(by=by)})", decimals=0, width=55),
        Column("Abnormal", f"round({of.abnormal(by=by)})", decimals=0, width=88),
        Column("Share", of.share(of.abnormal(by=by), of.calls(by=by)), unit="percentunit", decimals=1, width=66),
        Column("Last week", of.share(of.abnormal(by=by, **A_WEEK_AGO), of.calls(by=by, **A_WEEK_AGO)), unit="percentunit", decimals=1, empty="-", width=92),
    ]


def audio_and_video():
    return table("Audio and video, 10 minutes", "By medium: calls, and the share that ended abnormally; last week is the hour that ended a week ago.", 7,
                 [Column("Medium", label="media_type", width=72), *(each for each in shares("media_type") if each.name != "Abnormal")], "State", height=5)


def idcs():
    by = "idc"
    return table("IDC of the caller, 10 minutes", "By data centre of the caller: a fault on the callee's side is spread over the IDCs of its callers. Last week is the hour that ended "
                 "a week ago. An IDC leads to its page.", 12, [
        Column("IDC", label=by, width=50, link=("This IDC", link("planet-idcs", idc="${__value.raw}"))),
        *shares(by),
        Column("Mostly", label="fault_domain", words=DOMAIN_NAMES, coloured=True, width=92),
        Column("", of.whose(by)),
        Column("Failing since", of.failing_since(by), unit="dateTimeAsIsoNoDateIfToday", words=SINCE, empty="unknown"),
    ], "State")


def faults():
    def number(window):
        return f"round({of.abnormal(window, 'fault_domain')}) and on (fault_domain) {of.abnormal('1h', 'fault_domain')} > 0.5"
    return table("Whose fault", "Calls that ended abnormally by whose fault it is.", 6, [
        Column("Whose", label="fault_domain", words=DOMAIN_WORDS, coloured=True),
        Column("10 min", number("10m"), width=65),
        Column("1 hour", number("1h"), width=65),
    ], "10 min", height=5, empty="none seen in an hour")


def reasons():
    by = "disconnect_reason, fault_domain"
    def found(window, offset=""):
        return of.increase("planet_calls_total", window, of.CALLS, of.ABNORMAL, by, offset)
    top = f"topk(8, {found('1h')} > 0.5)"
    return table("Why", "The most frequent reasons of abnormal ends in an hour; last week is the hour that ended a week ago. A reason leads to its page.", 12, [
        Column("Reason", label="disconnect_reason", link=("This reason", link("planet-releases", reason="${__value.raw}"))),
        Column("Whose", label="fault_domain", words=DOMAIN_WORDS, coloured=True, width=185),
        Column("10 min", f"round({found('10m')}) and on ({by}) {top}", width=65),
        Column("1 hour", f"round({top})", width=65),
        Column("Last week", f"round({found('1h', '1w')}) and on ({by}) {top}", width=90, empty="-"),
    ], "10 min", empty="none seen in an hour")


def page():
    last_week = "last week"
    def abnormal_share(offset=""):
        return of.share(of.abnormal("$window", offset=offset), of.calls("$window", offset=offset), 10)
    def answered(offset=""):
        return of.share(of.calls("$window", ANSWERED, offset=offset), of.calls("$window", offset=offset), 10)
    setup, duration = "planet_call_setup_duration_seconds", "planet_call_duration_seconds"
    states = [(f"{of.state(by, '$window')} > 0", name) for by, name in (("idc", "IDC {{idc}}"), ("media_type", "{{media_type}}"))]
    return dashboard("planet-calls", "Planet / Calls", "Are calls connecting, now, in every IDC, audio and video?", OF_CALLS + [WINDOW], [
        headline(),
        [alerts(), faults(), audio_and_video()],
        [idcs(), reasons()],
        [timeline("Where and since when", "The state of each IDC and medium, each point of the time before it that is chosen as window.", 12, states, height=7),
         series("Abnormal calls a minute, by whose fault", "Calls that ended abnormally.", 12,
                [(of.a_minute(more=of.ABNORMAL, by="fault_domain") + " > 0", "{{fault_domain}}")], stacked=True, step="1m", height=7, empty="none seen")],
        [series("Calls a minute", "All calls that ended; dashed: a week before.", 8,
                [(of.a_minute(), "now", "now"), (of.a_minute(window="$window", offset="1w"), last_week, "past")], step="1m"),
         series("Share of abnormal calls", "Averaged over the window that is chosen, of at least ten calls; dashed: a week before; dotted: the limit at which an alert pages.", 8,
                [(abnormal_share(), "now", "now"), (abnormal_share("1w"), last_week, "past"), (of.constant(of.FAILING), "limit", "limit")], "percentunit"),
         series("Share of answered calls (ASR)", "Averaged over the window that is chosen, of at least ten calls; dashed: a week before.", 8,
                [(answered(), "now", "now"), (answered("1w"), last_week, "past")], "percentunit", max=1)],
        [series("Time to answer", "From the creation of an answered call to its answer (start_time - setup_time, whole seconds), of at least ten calls; dotted: the limit of the 95th percentile.", 8,
                [(of.of_enough(of.quantile(0.5, setup, more=ANSWERED), ANSWERED), "median", "now"),
                 (of.of_enough(of.quantile(0.95, setup, more=ANSWERED), ANSWERED), "p95", "second"),
                 (of.constant(of.setting("planet:time_to_answer_limit:seconds")), "limit of p95", "limit")], "s", exemplar=True),
         series("Call duration", "Conversation time of answered calls, of at least ten; dashed: a week before.", 8,
                [(of.of_enough(of.quantile(0.5, duration), ANSWERED), "median", "now"),
                 (of.of_enough(of.mean(duration, "$window"), ANSWERED), "mean (ACD)", "second"),
                 (of.of_enough(of.quantile(0.5, duration, offset="1w"), ANSWERED, "1w"), "median last week", "past")], "dthms", exemplar=True),
         series("Billed minutes a minute", "Billed time of calls, all media.", 8, [(of.total("rate", "planet_call_billed_seconds_total", "$window"), "billed", "now")])],
        [heat_map("Times to answer", "Answered calls by time to answer.", setup, 12, f",{ANSWERED}"),
         heat_map("Call durations", "Answered calls by conversation time.", duration, 12)],
    ])
