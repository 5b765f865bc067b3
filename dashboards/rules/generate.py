#!/usr/bin/env python3
"""Writes the rule files: `python3 dashboards/rules/generate.py`, or with --check says whether they agree. Needs Python and nothing else.

A rule is read in the file that Prometheus loads; it is changed here, where what several rules share stands once.

How the alerts are made:

- Every ratio of calls reads planet_call_results_total over windows from 3 minutes to a day at once (the label `window`), always with a
  least number of abnormal calls. So a service is judged by its calls and not by the clock: a large one within minutes, a small one within
  ten calls, which the gauge of its last 32 calls confirms.
- One fault, one page. A fault of our own server or keys comes before an IDC, an IDC before a medium, a medium before the service, and a
  page before a ticket. An IDC or a medium is named only if its share is three times that of the others in the same window.
- What is compared with the past says nothing before it has one.
- What is recorded for an alert stands above it in its group, so that both are of the same moment.
"""

import pathlib
import sys
import textwrap

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.dont_write_bytecode = True

from settings import SETTINGS, setting

OBJECTIVE = setting("planet:objective:ratio")
BUDGET = f"(1 - {OBJECTIVE})"
MINIMUM_RELEASES = setting("planet:minimum_releases:count")
DROP_RATIO_LIMIT = setting("planet:drop_ratio_limit:ratio")
TIME_TO_ANSWER_LIMIT = setting("planet:time_to_answer_limit:seconds")
GROWTH_LIMIT = setting("planet:growth_limit:ratio")
EXPECTED_CALLS = setting("planet:expected_calls:count")
BACKLOG_AGE_LIMIT = setting("planet:backlog_age_limit:seconds")


def increase(selector, window):
    """The increase of counters.

    VictoriaMetrics takes the first value of a series for an increase, so the totals of an exporter that it meets for the first time would
    be new calls. Its changes() is above 0 where a series appears within the window; Prometheus's, of a metric that is always 1, never is. What
    began at 0 has not been there before, and counts.
    """
    counters = f"{selector}[{window}]"
    return (f"(increase({counters}) unless (min_over_time({counters}) > 0"
            f" and on (job, instance) changes(planet_exporter_build_info[{window}]) > 0"
            f" unless on (job, instance) planet_exporter_build_info offset {window}))")


# What is judged: a service, its IDCs, its media.
LEVELS = {"job": "job", "job_idc": "job, idc", "job_media": "job, media_type"}
ABNORMAL = 'fault_domain!~"none|user"'
WINDOWS = ("3m", "10m", "30m", "90m")
LONG_WINDOWS = ("4h", "12h", "1d")


def in_windows(windows):
    return f'{{window{"=~" if "|" in windows else "="}"{windows}"}}' if windows else ""


def calls(level, windows=None):
    """The calls in these windows."""
    return f"{level}:planet_calls:increase{in_windows(windows)}"


def abnormal(level, windows=None):
    return f"{level}:planet_calls_abnormal:increase{in_windows(windows)}"


def ratio(level, windows=None):
    return f"{level}:planet_calls_abnormal:ratio{in_windows(windows)}"


def indented(expression, by=2):
    """An expression inside another one's parentheses."""
    return textwrap.indent(textwrap.dedent(expression).strip(), " " * by).strip()


# In seconds.
DAY = 24 * 60 * 60

# What comes and goes wakes nobody twice.
PAGE_KEPT, TICKET_KEPT = "15m", "1h"


# Alerts of which failing calls say why, and those of which no exporter says more: it may not answer, or not be what is wrong.
FAILING_CALLS = ("PlanetPushError", "PlanetAppServerDataError", "PlanetCredentials", "PlanetIdcAbnormalFast", "PlanetIdcAbnormalSlow",
                 "PlanetMediaAbnormalFast", "PlanetCallsAbnormalFast", "PlanetCallsAbnormalSlow", "PlanetCallsDrop", "PlanetReasonGrows")
DAYS, HOURS = ("PlanetCallsAbnormalSlow", "PlanetIdcAbnormalSlow"), ("PlanetReasonGrows",)
REFUSED = ("PlanetCallEventsRefused", "PlanetCallEventsAtWrongPath")
NOTHING_MORE = ("PlanetExporterDown", "PlanetExporterRestarts", "PlanetSettings", "PlanetMetricsTwice")


def next_look(name, description):
    """Where the exporter itself says more than its alert does."""
    if name in NOTHING_MORE:
        return ""
    which = "{{ $labels.instance }}" if "$labels.instance" in description else "an exporter of {{ $labels.job }}"
    minutes = "?minutes=1440" if name in DAYS else "?minutes=60" if name in HOURS else ""
    path = "/why" + minutes if name in FAILING_CALLS else "/refused" if name in REFUSED else "/calls" if name == "PlanetUnknownCodes" else "/status.json"
    return f" Next: {path} on the admin port of {which}."


class File:
    """A rule file in the making."""

    def __init__(self, head):
        self.lines = [f"# {line}" for line in head.strip().splitlines()] + ["groups:"]

    def group(self, name, comment=""):
        self.comment(comment, "  ")
        self.lines += [f"  - name: {name}", "    rules:"]

    def comment(self, text, indent="      "):
        self.lines += [f"{indent}# {line}" for line in textwrap.wrap(text, 130)]

    def record(self, name, expression, window=None, comment=""):
        self.comment(comment)
        self.rule("record", name, expression)
        if window:
            self.lines += ["        labels:", f"          window: {window}"]

    def alert(self, name, severity, expression, summary, description, dashboard, lasting=None, kept=None, comment=""):
        self.comment(comment)
        self.rule("alert", name, expression)
        description += next_look(name, description)
        if lasting:
            self.lines.append(f"        for: {lasting}")
        if kept:
            self.lines.append(f"        keep_firing_for: {kept}")
        self.lines += ["        labels:", f"          severity: {severity}", "        annotations:",
                       f'          summary: "{summary}"', "          description: >-",
                       f"            {description}", f"          dashboard: /d/{dashboard}",
                       f"          runbook_url: dashboards/RUNBOOK.md#{name.lower()}"]

    def rule(self, kind, name, expression):
        self.lines += [f"      - {kind}: {name}", "        expr: |-"]
        self.lines += textwrap.indent(textwrap.dedent(expression).strip(), "          ").splitlines()

    def write(self, name):
        text = "\n".join(self.lines) + "\n"
        if "--check" not in sys.argv:
            (HERE / name).write_text(text)
        elif (HERE / name).read_text() != text:
            sys.exit(f"{name} is not what generate.py writes")


def recording():
    file = File("""
Recording rules of planet-call-exporter: the settings of the alerts, and what they compare with a limit.
Names are level:metric:operation. A job is one service; a service's exporters are added up.
Made by generate.py, but for what you set below.""")
    file.group("planet-settings", "What a team changes to suit itself: these numbers, and nothing else.")
    for name, (value, meaning) in SETTINGS.items():
        file.record(name, f"vector({value})", comment=meaning)
    file.group("planet-indicators", "What alerts compare with a limit.")
    file.record("job:planet_calls_dropped:ratio_rate15m", f"""
        sum by (job) (rate(planet_call_results_total{{answered="true",{ABNORMAL}}}[15m]))
          / (sum by (job) (rate(planet_call_results_total{{answered="true"}}[15m])) > 0)""",
        comment="Drop ratio: answered and ended abnormally / answered.")
    file.record("job:planet_call_setup_duration_seconds:p95_rate15m", """
        histogram_quantile(0.95, sum by (job, le) (rate({__name__=~"planet_call_setup_duration_seconds(_bucket)?",answered="true"}[15m])))""",
        comment="Time to answer, 95th percentile, of classic and native histograms.")
    file.write("recording.rules.yml")


def record_increases(file):
    """What has come in each window."""
    of_calls, of_abnormal = "planet_call_results_total", f"planet_call_results_total{{{ABNORMAL}}}"
    for level, by in LEVELS.items():
        for window in WINDOWS:
            all_of_them = f"sum by ({by}) ({increase(of_calls, window)})"
            file.record(calls(level), all_of_them, window,
                        "Calls, and those that ended abnormally, in each window: of a service, of its IDCs, and of its media. The long windows are added up from ten minutes each, which is cheap."
                        if level == "job" and window == "3m" else "")
            file.record(abnormal(level), f"sum by ({by}) ({increase(of_abnormal, window)})\nor 0 * {all_of_them}", window)
        for window in LONG_WINDOWS:
            for name in (calls, abnormal):
                file.record(name(level), f"sum_over_time({name(level, '10m')}[{window}:10m])", window)
    for window in ("10m", "1h"):
        file.record(f"job_reason:planet_call_abnormal_releases:increase{window}", f"""
            sum by (job, disconnect_reason, fault_domain) ({increase('planet_call_abnormal_releases_total', window)})""",
            comment="Reasons." if window == "10m" else "")
    file.comment("Calls that were answered, events that came again, and the seconds that calls were billed for and lasted.")
    for name, selector, windows, long_windows in (
        ("job:planet_calls_answered:increase", 'planet_call_results_total{answered="true"}', ("10m", "90m"), ("4h", "1d")),
        ("job:planet_calls_repeated:increase", 'planet_exporter_events_total{result="duplicate"}', ("10m",), ("1d",)),
        ("job:planet_calls_billed:increase", "planet_call_billed_seconds_total", ("10m",), ("1d",)),
        ("job:planet_calls_talked:increase", "planet_call_duration_seconds_sum", ("10m",), ("1d",)),
    ):
        for window in windows:
            file.record(name, f"sum by (job) ({increase(selector, window)})", window)
        for window in long_windows:
            file.record(name, f'sum_over_time({name}{{window="10m"}}[{window}:10m])', window)
    for name, more in (("planet_call_duration_seconds", ""), ("planet_call_setup_duration_seconds", ',answered="true"')):
        file.record(f"job_le:{name}:rate10m", f'sum by (job, le) (rate({{__name__=~"{name}(_bucket)?"{more}}}[10m]))',
                    comment="Histograms. Both forms have an answer, classic and native." if not more else "")
    file.record("job:planet_call_pause:seconds", """
        time() - max by (job) (max_over_time(planet_call_last_event_time_seconds[1d]))
        and on (job) max by (job) (planet_exporter_build_info)""",
        comment="How long nothing has come. An exporter without a state directory does not know what came before its start.")


# Whose call fails calls again, and fails again. Where a quarter does, numbers of such calls vary by a third as much again as by chance alone, and more where they are few.
CLUMPS = 1.5


def beyond_chance(level, windows, deviations):
    """More calls end abnormally than chance would have: the usual number and so many of its standard deviations."""
    expected = f"{calls(level, windows)} * on ({LEVELS[level]}) group_left () {level}:planet_calls_abnormal:usual_ratio"
    return f"{abnormal(level, windows)} > {expected} + {deviations * CLUMPS:g} * sqrt({expected})"


def far_beyond_chance(level, windows, deviations):
    """The same where it is asked so often that what is rare comes now and then: of short windows, and of each IDC and medium."""
    short, long = windows or "3m|10m|30m|90m", "" if windows else "4h|12h|1d"
    if level != "job":
        return f"{beyond_chance(level, windows, deviations)} + {2 * deviations}"
    of_short = f"{beyond_chance(level, short, deviations)} + {2 * deviations}"
    return f"({of_short} or {beyond_chance(level, long, deviations)})" if long else of_short


def above_usual(level, windows, budgets):
    return f"{ratio(level, windows)} > on ({LEVELS[level]}) group_left () ({budgets} * {BUDGET} + {level}:planet_calls_abnormal:usual_ratio)"


# The windows in which shares are compared with what is usual, and the shorter one that says whether it goes on.
SHORTER = {"30m": "10m", "90m": "30m", "4h": "90m", "12h": "4h", "1d": "4h"}


def in_a_window(level, window, budgets, least, deviations=0):
    """A share above the usual one. A longer window is for fewer calls: 300 in the shorter one speak for themselves, and it says whether it goes on."""
    if window not in SHORTER:
        return above_usual(level, window, budgets)
    shorter = SHORTER[window]
    more = f" and {beyond_chance(level, shorter, deviations)}" if deviations else ""
    return f"""{above_usual(level, window, budgets)}
  and on ({LEVELS[level]}) ({calls(level, shorter)} < 300 and {ratio(level, shorter)} > {budgets} * {BUDGET} and {abnormal(level, shorter)} > {least}{more})"""


def in_any_window(level, windows, budgets, least, deviations=0):
    return "\nor ".join(in_a_window(level, window, budgets, least, deviations) for window in windows)


def recent(level, share):
    """So do the last 32 calls of each kind."""
    by = LEVELS[level]
    return f"on ({by}) sum by ({by}) (planet_call_recent_abnormal) / sum by ({by}) (planet_call_recent_calls) > {share}"


def over(level):
    """Ten minutes with so many calls say by themselves that it is over."""
    return f"on ({LEVELS[level]}) ({calls(level, '10m')} > 50 and {ratio(level, '10m')} < 2 * {BUDGET})"


def failing(level):
    """So many calls end abnormally that somebody must get up; and until they do so half as often. What has been so and is over stays in the longer windows, so that
    a few calls are not enough from the next hour on until half a day is over.
    """
    by = LEVELS[level]
    name = f"{level}:planet_calls_failing:ratio"
    return f"""
        (
          {ratio(level, "3m")} > 0.2 + 3 / {abnormal(level, "3m")}
          and {abnormal(level, "3m")} >= {MINIMUM_RELEASES}
        ) or (
          {ratio(level, "10m|30m|90m|4h|12h")} > 0.75
          and {abnormal(level, "10m|30m|90m|4h|12h")} > 4.5
          and on ({by}) sum by ({by}) (planet_call_recent_abnormal) >= 9
          unless {over(level)}
        ) or (
          {above_usual(level, "10m", 4)}
          and {abnormal(level, "10m")} >= 2 * {MINIMUM_RELEASES}
          and {far_beyond_chance(level, "10m", 4)}
        ) or (
          (
            {textwrap.indent(in_any_window(level, SHORTER, 4, 2.5, 3), " " * 12).strip()}
          )
          and {abnormal(level)} >= 1.2 * {MINIMUM_RELEASES}
          and {far_beyond_chance(level, None, 4)}
          and {recent(level, f"4 * {BUDGET}")}
          unless {over(level)}
          unless on ({by}) (max_over_time({name}[12h] offset 5m) unless on ({by}) max_over_time({name}[1h]))
        ) or (
          (
            {textwrap.indent(in_any_window(level, ["10m", *SHORTER], 2, 0.5), " " * 12).strip()}
          )
          and on ({by}) {name} offset 5m
          unless {over(level)}
        )"""


def failing_alone(level):
    """An IDC or a medium, if the others have less than a third of its share, where at its share enough of theirs, four or more, would have ended abnormally that it is not
    chance, and at their share far fewer of its own. Which one it is does not change from minute to minute: one that was named stays until the others have two thirds of its share, and where
    the service as a whole was failing for a quarter of an hour, none is named within the next one.
    """
    by, name = LEVELS[level], f"{level}:planet_calls_failing_alone:ratio"
    others = f"({calls('job')} - on (job, window) group_right () {calls(level)})"
    others_abnormal = f"({abnormal('job')} - on (job, window) group_right () {abnormal(level)})"
    expected = f"({others_abnormal} / {others} * {calls(level)})"
    return f"""
        ({level}:planet_calls_failing:ratio or {ratio(level)} and on (job, window) job:planet_calls_failing:ratio)
        and (
          {others_abnormal}
            < 1 / 3 * {ratio(level)} * {others}
          and (
            {ratio(level)} * {others} > 20 - 16 * {ratio(level)}
            or {ratio(level)} * {others} > 6 and {abnormal(level)} > 8.5
          )
          and {abnormal(level)} > {expected} + {4 * CLUMPS:g} * sqrt(clamp_min({expected}, 0))
          or {others_abnormal}
            < 2 / 3 * {ratio(level)} * {others}
          and on ({by}) {name} offset 5m
        )
        unless on (job) (max_over_time(job:planet_calls_failing:ratio[1h] offset 15m) unless on (job) max_over_time({name}[15m] offset 5m))"""


OWN_FAULTS = 'disconnect_reason=~"PUSH_ERROR|LEGACY_PUSH_ERROR|APP_SERVER_DATA_ERROR|AUTH_ERROR|SERVICE_ACCESS_TOKEN_ERROR|SERVICE_INVALID_ID"'


def record_judgements(file):
    """What is judged of it."""
    for level in LEVELS:
        file.record(ratio(level), f"{abnormal(level)} / ({calls(level)} > 0)",
                    comment="The share of calls that ended abnormally." if level == "job" else "")
    for level, by in LEVELS.items():
        file.record(f"{level}:planet_calls_abnormal:usual_ratio", f"""
            max by ({by}) (
              avg_over_time({level}:planet_calls_abnormal:calm_ratio[1w:1h])
              and count_over_time({level}:planet_calls_abnormal:calm_ratio[1w:1h]) >= 24
            )
            or max by ({by}) (avg_over_time(clamp_max({level}:planet_calls_abnormal:ratio{{window="12h"}}, 0.08)[1w:1h]))
            or 0 * max by ({by}) ({calls(level, "3m")})""",
            comment="What is usual: the week's average of when nobody had to be told, or, where there was less than a day of it, of all, in which an outage counts for little." if level == "job" else "")
    for level in LEVELS:
        file.record(f"{level}:planet_calls_failing:ratio", failing(level),
                    comment="So many calls end abnormally that somebody must get up: a fifth within 3 minutes, or half if they are ten; three quarters of a longer window and nine of the last 32 calls of each kind, for services with few calls; or four budgets more than usual, by more than chance."
                    if level == "job" else "")
    for level in ("job_idc", "job_media"):
        file.record(f"{level}:planet_calls_failing_alone:ratio", failing_alone(level),
                    comment="An IDC, or a medium, whose share is three times that of the others, by more than chance. Which one it is does not change from minute to minute."
                    if level == "job_idc" else "")
    file.record("job:planet_calls_failing_anywhere:ratio", "job:planet_calls_failing:ratio",
                comment="The same as what it reads, but as late as an IDC or a medium alone where a rule is shown the records of the evaluation before, as by vmalert.")
    shares = []
    for window in ("10m", "1h", "12h"):
        number = f"job_reason:planet_call_abnormal_releases:increase{window}{{}}" if window != "12h" else "sum_over_time(job_reason:planet_call_abnormal_releases:increase10m{}[12h:10m])"
        shares.append(f"""{number.format("{" + OWN_FAULTS + "}")} / on (job) group_left () (sum by (job) ({number.format("")}) > 4.5)""")
    name = "job_reason:planet_calls_failing:ratio"
    file.record(name, f"""
        (
          {shares[0]}
          or {shares[1]}
            unless on (job) {shares[0].rsplit("/ ", 1)[1].replace("on (job) group_left () ", "")}
          or {shares[2]}
            unless on (job) {shares[1].rsplit("/ ", 1)[1].replace("on (job) group_left () ", "")}
        ) > 0.5
        or ({name} offset 5m and on (job) {FAILING})""",
        comment="One fault of our own, if it is more than half of what ends abnormally. It does not change before calls are well.")
    file.record("job:planet_calls_expected:increase", """
        min by (job, window) (
          label_replace(job:planet_calls:increase{window=~"10m|4h|12h"} offset 1d, "of", "yesterday", "", "")
          or label_replace(job:planet_calls:increase{window=~"10m|4h|12h"} offset 1w, "of", "last week", "", "")
        )""", comment="Calls that are usual now: the lesser of yesterday's and last week's at this hour. A new installation has none.")
    for name in ("planet_call_duration_seconds", "planet_call_setup_duration_seconds"):
        file.record(f"job:{name}:median", f"histogram_quantile(0.5, job_le:{name}:rate10m) > 0", "10m",
                    "Median times. Without calls there is none." if "setup" not in name else "")
        file.record(f"job:{name}:median", f"histogram_quantile(0.5, sum_over_time(job_le:{name}:rate10m[1d:10m])) > 0", "1d")
    file.record("job:planet_calls_answered:usual_ratio", """
        sum by (job) (sum_over_time(job:planet_calls_answered:increase{window="10m"}[1w:10m] offset 1d))
          / sum by (job) (sum_over_time(job:planet_calls:increase{window="10m"}[1w:10m] offset 1d))""",
        comment="The week's share of calls that are answered.")
    file.record("job:planet_calls_billed:ratio", "job:planet_calls_billed:increase / (job:planet_calls_talked:increase > 0)",
                comment="The share of their duration for which calls are billed.")


FAILING_IDC = "job_idc:planet_calls_failing_alone:ratio"
FAILING_MEDIUM = "job_media:planet_calls_failing_alone:ratio"
FAILING = "(job:planet_calls_failing:ratio or job_idc:planet_calls_failing:ratio or job_media:planet_calls_failing:ratio)"
FAILING_LATELY = """(
  max_over_time(job:planet_calls_failing:ratio[12h]) or max_over_time(job_idc:planet_calls_failing:ratio[12h]) or max_over_time(job_media:planet_calls_failing:ratio[12h])
)"""
DROPPING = f"""(
  job:planet_calls_dropped:ratio_rate15m > {DROP_RATIO_LIMIT}
  and on (job) sum by (job) ({increase('planet_call_results_total{answered="true",' + ABNORMAL + '}', "15m")}) >= {MINIMUM_RELEASES}
)"""


def decaying(level, least):
    """More calls than usual end abnormally, as far as an exporter of a few hours can know."""
    return f"""
        (
          {textwrap.indent(in_any_window(level, ["10m", *SHORTER], 2, 1.5), " " * 10).strip()}
        )
        and {abnormal(level)} >= {least}
        and {far_beyond_chance(level, None, 3)}
        and {recent(level, f"2 * {BUDGET}")}
        and on (job) {calls("job", "10m")} offset 2h
        unless {over(level)}"""


def there(*moments):
    """The exporter was there at these moments of the past."""
    return "\n          ".join(f"and on (job) max by (job) (planet_exporter_build_info offset {moment})" for moment in moments)


def record_slower(file):
    """What is slower, or missing."""
    file.record("job:planet_calls_decaying:ratio", decaying("job", 7),
        comment="More calls than usual end abnormally, but not so many that somebody must get up.")
    for level, by in LEVELS.items():
        file.record(f"{level}:planet_calls_abnormal:calm_ratio", f"""
            {ratio(level, "12h")}
              unless on (job) (max_over_time(job:planet_calls_failing:ratio[12h]) or max_over_time(job:planet_calls_decaying:ratio[12h]))""" + (f"""
              unless on ({by}) max_over_time({level}:planet_calls_failing:ratio[12h])""" if level != "job" else ""),
            comment="The share of 12 hours in which nobody had to be told." if level == "job" else "")
    past = "job_reason:planet_call_abnormal_releases:increase1h[3d:1h] offset 1h"
    file.record("job_reason:planet_call_abnormal_releases:usual1h", f"""
        avg_over_time({past}) < quantile_over_time(0.95, {past})
        or quantile_over_time(0.95, {past})
        or 0 * job_reason:planet_call_abnormal_releases:increase1h""",
        comment="What is usual of a reason in an hour: the average of three days, or, after an outage, what 19 of 20 hours do not exceed. Of a new one it is 0.")
    file.record("job:planet_calls:surge", f"""
        clamp_min(max by (job) ({calls("job", "90m")}) / (max by (job) ({calls("job", "1d")}) / 16), 1)
        and on (job) count_over_time({calls("job", "10m")}[1d:10m]) >= 130""",
        comment="How many times the day's average of calls came in the last 90 minutes, if it was more.")
    file.record("job:planet_call_pause:max1d", "max_over_time(job:planet_call_pause:seconds[1d:2m])",
        comment="A day's longest pause.")
    file.record("job:planet_calls_missing:seconds", f"""
        (
          job:planet_call_pause:seconds > clamp_min(3 * quantile_over_time(0.66, job:planet_call_pause:max1d[1w:1d] offset 1d), 600)
          and on (job) count_over_time(job:planet_call_pause:seconds[1d:1h] offset 6d)
          {there("30m", "1h", "2h", "4h")}
        ) or (
          job:planet_call_pause:seconds > 4 * 3600
          and on (job) job:planet_calls_expected:increase{{window="4h"}} >= 1.5 * {EXPECTED_CALLS}
          and on (job) count_over_time(job:planet_call_pause:seconds[1d:1h] offset 6d)
          {there("30m", "1h", "2h", "4h")}
        ) or (
          job:planet_call_pause:seconds > 120
          and on (job) job:planet_call_pause:seconds * on (job) max by (job) (job:planet_calls_expected:increase{{window="10m"}}) / 600 > 2 * {EXPECTED_CALLS}
          and on (job) job:planet_calls_expected:increase{{window="10m"}} >= 3 * {EXPECTED_CALLS}
          {there("5m", "10m", "20m")}
          unless on (job) {calls("job", "3m")} > 0
        ) or (
          job:planet_call_pause:seconds > 240 + job:planet_calls_missing:seconds offset 5m
        )""",
        comment="No call came for three times the longest pause of most days of a week, for hours where calls are usual, or for minutes where many are usual at this hour. "
        "It needs an exporter that was there all the while.")
    file.record("job:planet_exporter_not_storing:increase15m", f"""
        sum by (job) ({increase('planet_exporter_events_total{result=~"unavailable|undurable|uncounted"}', "15m")}) > 0""",
        comment="Call events that came and could not be stored, so that calls only seem to be missing.")
    callers, releases = 'sum by (job) (planet_call_abnormal_callers{window="60m"})', "sum by (job) (job_reason:planet_call_abnormal_releases:increase1h)"
    file.record("job:planet_call_abnormal_callers:few", f"""
        {callers} < 3
        and on (job) 8 * {callers} < ({releases} < 100)
        and on (job) {ratio("job", "90m")} < 0.9""",
        comment="The callers of the last hour's abnormal calls, if one or two make nearly all of them while others' calls are well: a bot, a tester, a device.")
    starts = """
          max by (job, instance) (
            changes(planet_exporter_start_time_seconds[{window}]) or on (job, instance) changes(process_start_time_seconds[{window}])
          ) - on (job, instance) max by (job, instance) (changes(planet_exporter_build_info[{window}]))"""
    file.record("job_instance:planet_exporter_starts:changes20m", f"""
        max by (job, instance) ({starts.format(window="20m")}
          > 2
          or {starts.format(window="10m").strip()}
          > 0 and on (job, instance) (up == 0 and avg_over_time(up[5m]) < 0.5)
        )""", comment="Exporters that start again and again, or are down again within minutes after a start.")


def alerts_of_calls(file):
    """What people are told about calls."""
    for name, reasons, summary, description in (
        ("PlanetPushError", "PUSH_ERROR|LEGACY_PUSH_ERROR", "Our own server fails calls of {{ $labels.job }} (PUSH_ERROR)",
         "Most of the calls of {{ $labels.job }} that end abnormally now end with {{ $labels.disconnect_reason }}: our server does not take the notify callback, so callees' phones do not ring. Look at our server first."),
        ("PlanetAppServerDataError", "APP_SERVER_DATA_ERROR", "Our own server fails calls of {{ $labels.job }} (APP_SERVER_DATA_ERROR)",
         "Most of the calls of {{ $labels.job }} that end abnormally now end with APP_SERVER_DATA_ERROR: LINE Planet cannot deliver its data to our server. Look at our server first."),
        ("PlanetCredentials", "AUTH_ERROR|SERVICE_ACCESS_TOKEN_ERROR|SERVICE_INVALID_ID", "LINE Planet does not take the credentials of {{ $labels.job }}",
         "Most of the calls of {{ $labels.job }} that end abnormally now end with {{ $labels.disconnect_reason }}: access tokens are invalid, or not for this service. Look at who issues them first."),
    ):
        file.alert(name, "page", f"""
            max by (job, disconnect_reason) (job_reason:planet_calls_failing:ratio{{disconnect_reason=~"{reasons}"}})
            and on (job) {FAILING}
        unless on (job) job:planet_call_abnormal_callers:few""", summary, description, "planet-releases", kept=PAGE_KEPT)
    file.alert("PlanetIdcAbnormalFast", "page", f"""
        max by (job, idc) ({FAILING_IDC})
        unless on (job) job_reason:planet_calls_failing:ratio
        unless on (job) job:planet_call_abnormal_callers:few""",
        "Calls of {{ $labels.job }} in IDC {{ $labels.idc }} end abnormally",
        "{{ $value | humanizePercentage }} of the calls of {{ $labels.job }} whose caller is served by IDC {{ $labels.idc }} end abnormally, and far fewer in the others. Look at the fault domain first: platform and network are LINE Planet's.",
        "planet-idcs", kept=PAGE_KEPT)
    file.alert("PlanetMediaAbnormalFast", "page", f"""
        max by (job, media_type) ({FAILING_MEDIUM})
        unless on (job) (job_reason:planet_calls_failing:ratio or {FAILING_IDC})
        unless on (job) job:planet_call_abnormal_callers:few""",
        "{{ $labels.media_type }} calls of {{ $labels.job }} end abnormally",
        "{{ $value | humanizePercentage }} of the {{ $labels.media_type }} calls of {{ $labels.job }} end abnormally, and far fewer of the others. Was there a release of the app or the SDK?",
        "planet-calls", kept=PAGE_KEPT)
    anywhere = "job:planet_calls_failing_anywhere:ratio"
    file.alert("PlanetCallsAbnormalFast", "page", f"""
        max by (job) (
          {anywhere}{{window="3m"}}
          or {anywhere}{{window="10m"}} and on (job) {calls("job", "10m")} > 100
          or {anywhere} > 0.75 and on (job) {anywhere} offset 5m
          or {anywhere} and on (job) {anywhere} offset 10m
        )
        unless on (job) (job_reason:planet_calls_failing:ratio or {FAILING_IDC} or {FAILING_MEDIUM})
        unless on (job) job:planet_call_abnormal_callers:few""",
        "Calls of {{ $labels.job }} end abnormally",
        "{{ $value | humanizePercentage }} of the calls of {{ $labels.job }} end abnormally, in no IDC and no medium alone. Look at the fault domain first.",
        "planet-calls", kept=PAGE_KEPT, comment="With few calls it waits for minutes in which it may turn out to be one IDC.")
    file.alert("PlanetCallsDrop", "page", f"""
        {DROPPING.replace(chr(10), chr(10) + "        ")}
        unless on (job) {FAILING}""",
        "Answered calls of {{ $labels.job }} drop",
        "{{ $value | humanizePercentage }} of the answered calls of {{ $labels.job }} ended abnormally in 15 minutes: people were cut off while they talked.",
        "planet-calls", "5m", kept=PAGE_KEPT)
    file.alert("PlanetCallsAbnormalSlow", "ticket", f"""
        max by (job) (job:planet_calls_decaying:ratio)
        unless on (job) {FAILING_LATELY}
        unless on (job) job:planet_calls_dropped:ratio_rate15m > {DROP_RATIO_LIMIT}""",
        "Calls of {{ $labels.job }} end abnormally more often than usual",
        "{{ $value | humanizePercentage }} of the calls of {{ $labels.job }} end abnormally, which is more than the objective allows and more than usual.",
        "planet-calls", "2m", kept=TICKET_KEPT)
    file.alert("PlanetIdcAbnormalSlow", "ticket", f"""
        max by (job, idc) ({indented(decaying("job_idc", 10))})
        unless on (job) {FAILING_LATELY}
        unless on (job) (job:planet_calls_decaying:ratio or job:planet_calls_dropped:ratio_rate15m > {DROP_RATIO_LIMIT})""",
        "Calls of {{ $labels.job }} in IDC {{ $labels.idc }} end abnormally more often than usual",
        "{{ $value | humanizePercentage }} of the calls of {{ $labels.job }} whose caller is served by IDC {{ $labels.idc }} end abnormally, which is more than the objective allows and more than usual.",
        "planet-idcs", "5m", kept=TICKET_KEPT)
    usual = """(
      job_reason:planet_call_abnormal_releases:usual1h * on (job) group_left () job:planet_calls:surge
      or job_reason:planet_call_abnormal_releases:usual1h
    )"""
    file.alert("PlanetReasonGrows", "ticket", f"""
        job_reason:planet_call_abnormal_releases:increase1h{{fault_domain=~"client|network|platform|application"}}
          > 2.5 + {GROWTH_LIMIT} * {usual} + {3 * CLUMPS:g} * sqrt({usual})
        and on (job) count_over_time(job_reason:planet_call_abnormal_releases:increase1h[1d:1h] offset 3d)
        unless on (job) {FAILING_LATELY}
        unless on (job) job:planet_calls_decaying:ratio""",
        "{{ $labels.disconnect_reason }} grows at {{ $labels.job }}",
        "{{ $value | printf \"%.0f\" }} calls of {{ $labels.job }} ended with {{ $labels.disconnect_reason }} (fault domain {{ $labels.fault_domain }}) in an hour, many times what was usual in the three days before.",
        "planet-releases", kept=TICKET_KEPT, comment="A reason that is rare or new comes three times in an hour, or one that is not comes far more often than by chance.")
    file.alert("PlanetTimeToAnswer", "ticket", f"""
        max by (job) (
          (
            job:planet_call_setup_duration_seconds:median > 2 * avg_over_time(job:planet_call_setup_duration_seconds:median[1w:1h] offset 1d)
            and job:planet_call_setup_duration_seconds:median > 3
            and count_over_time(job:planet_call_setup_duration_seconds:median[1d:1h] offset 3d)
            or label_replace(job:planet_call_setup_duration_seconds:p95_rate15m > {TIME_TO_ANSWER_LIMIT}, "window", "10m", "", "")
          )
          and on (job, window) job:planet_calls_answered:increase >= 40
        )""",
        "Calls of {{ $labels.job }} are answered late",
        "Calls of {{ $labels.job }} take {{ $value | humanizeDuration }} to be answered: that is the median, more than twice what is usual, or the time of one in twenty, over the limit.",
        "planet-calls", "2m", kept=TICKET_KEPT)
    file.alert("PlanetCallsShort", "ticket", """
        max by (job) (
          job:planet_call_duration_seconds:median < 0.5 * avg_over_time(job:planet_call_duration_seconds:median[1w:1h] offset 1d)
          and count_over_time(job:planet_call_duration_seconds:median[1d:1h] offset 3d)
          and on (job, window) job:planet_calls_answered:increase >= 60
        )""",
        "Answered calls of {{ $labels.job }} are short",
        "Half of the answered calls of {{ $labels.job }} last less than {{ $value | humanizeDuration }}, not half of what is usual: perhaps they are cut off, or nothing is heard.",
        "planet-calls", "2m", kept=TICKET_KEPT)
    answered = "job:planet_calls_answered:increase"
    windows = "10m|90m|4h|1d"
    expected = f"(({calls('job', windows)} - {abnormal('job', windows)}) * on (job) group_left () job:planet_calls_answered:usual_ratio)"
    file.alert("PlanetCallsUnanswered", "ticket", f"""
        max by (job) (
          {answered} < 0.5 * {expected}
          and {answered} < {expected} - 4 * sqrt({expected})
        )""",
        "Few calls of {{ $labels.job }} are answered",
        "{{ $value | printf \"%.0f\" }} calls of {{ $labels.job }} were answered, less than half of what is usual of as many calls that did not end abnormally: perhaps pushes are lost, and phones do not ring.",
        "planet-calls", "2m", kept=TICKET_KEPT)
    file.alert("PlanetCallsRepeated", "ticket", f"""
        max by (job) (
          job:planet_calls_repeated:increase > 0.5 * {calls("job", "10m|1d")}
          and job:planet_calls_repeated:increase > 3 * job:planet_calls_repeated:increase offset 1d
          and job:planet_calls_repeated:increase >= 2 * {MINIMUM_RELEASES}
        )""",
        "Call events of {{ $labels.job }} come again and again",
        "{{ $value | printf \"%.0f\" }} call events of {{ $labels.job }} had come before, more than half as many as there were calls. Each call counts once; but something sends them again, such as a proxy, or LINE Planet, which does not see the answers.",
        "planet-exporter", "2m", kept=TICKET_KEPT)
    usual = "avg_over_time(job:planet_calls_billed:ratio[1w:1h] offset 1d)"
    file.alert("PlanetBillingDiverges", "ticket", f"""
        max by (job) (
          (job:planet_calls_billed:ratio < 0.75 * {usual} or job:planet_calls_billed:ratio > 1.33 * {usual})
          and count_over_time(job:planet_calls_billed:ratio[1d:1h] offset 3d)
          and on (job, window) job:planet_calls_answered:increase >= 50
        )""",
        "Calls of {{ $labels.job }} are billed otherwise than usual",
        "Calls of {{ $labels.job }} are billed for {{ $value | humanizePercentage }} of the time that they last, which is a quarter less or a third more than usual.",
        "planet-calls", "5m", kept=TICKET_KEPT)
    file.alert("PlanetNoCalls", "page", """
        max by (job) (job:planet_calls_missing:seconds)
        unless on (job) (job:planet_exporter_not_storing:increase15m or job_instance:planet_exporter_starts:changes20m)""",
        "No calls reach {{ $labels.job }}",
        "Not one call event of {{ $labels.job }} came for {{ $value | humanizeDuration }}, although calls are usual at this hour: either nobody can call, or the callback does not get here. Make a call.",
        "planet-calls", kept=PAGE_KEPT)
    for_minutes = f'job:planet_calls_expected:increase{{window="10m"}} >= 2.5 * {EXPECTED_CALLS}'
    # Where the exporter was away, or no calls came at all, the window has less for a reason that is known.
    is_whole = """
            and on (job) count_over_time(job:planet_call_pause:seconds[{window}:10m]) >= {steps}
            unless on (job) max_over_time(job:planet_calls_missing:seconds[{window}])"""
    file.alert("PlanetFewCalls", "ticket", f"""
        max by (job) (
          (
            {calls("job", "10m|12h")} < 0.15 * job:planet_calls_expected:increase
            and {calls("job", "10m|12h")} < 0.3 * job:planet_calls_expected:increase - 3 * sqrt(0.3 * job:planet_calls_expected:increase)
            and on (job) {for_minutes}{is_whole.format(window="30m", steps=3)}
          ) or (
            {calls("job", "12h")} < 0.15 * job:planet_calls_expected:increase
            and on (job) job:planet_calls_expected:increase{{window="12h"}} >= 2.5 * {EXPECTED_CALLS}
            unless on (job) {for_minutes}{is_whole.format(window="12h", steps=70)}
          )
        )
        unless on (job) (job:planet_exporter_not_storing:increase15m or job_instance:planet_exporter_starts:changes20m)""",
        "Few calls reach {{ $labels.job }}",
        "Only {{ $value | printf \"%.0f\" }} calls of {{ $labels.job }} came, less than 15 % of what came at this hour of yesterday and of the same day last week.",
        "planet-calls", "3m", kept=TICKET_KEPT)
    file.alert("PlanetUnknownCodes", "ticket", f"""
        sum by (job, kind) ({increase('planet_exporter_anomalies_total{kind=~"unknown_.*"}', "1h")}) > 0
        unless sum by (job, kind) (increase(planet_exporter_anomalies_total{{kind=~"unknown_.*"}}[1d] offset 1h)) > 0""",
        "LINE Planet sends {{ $labels.job }} something new ({{ $labels.kind }})",
        "{{ $value | printf \"%.0f\" }} call events of {{ $labels.job }} had the oddity {{ $labels.kind }} in an hour, which none had in the day before, such as after a release of the SDK.",
        "planet-exporter")


def alerts_of_exporter(file):
    """What people are told about the exporter itself."""
    file.alert("PlanetCallEventsRefused", "ticket", f"""
        sum by (job) ({increase('planet_exporter_events_total{result="refused"}', "10m")}) > 0""",
        'Call events of {{ $labels.job }} cannot be read',
        '{{ $value | printf "%.0f" }} requests to the callback of {{ $labels.job }} in 10 minutes could not be read as call events; they are kept at /refused.',
        "planet-exporter")
    file.alert("PlanetCallEventsAtWrongPath", "ticket", f"""
        sum by (job) ({increase('planet_exporter_events_total{result="wrong_path"}', "15m")}) > 0""",
        'Call events come to a wrong path of {{ $labels.job }}',
        '{{ $value | printf "%.0f" }} call events came to {{ $labels.job }} in 15 minutes at another path than the one that is configured, or with another method. They are not counted; they are kept at /refused.',
        "planet-exporter")
    file.alert("PlanetRequestsTurnedAway", "ticket", f"""
        sum by (job, reason) ({increase('planet_exporter_turned_away_requests_total', "1h")}) > 3""",
        'Call events to {{ $labels.job }} are turned away ({{ $labels.reason }})',
        '{{ $value | printf "%.0f" }} requests with call events to {{ $labels.job }} were turned away in an hour ({{ $labels.reason }}): somebody forges them, or the URL that is registered with LINE Planet, the networks or the rate are not what is configured, and real calls are lost.',
        "planet-exporter")
    file.alert("PlanetConnectionsRunOut", "ticket", f"""
        sum by (job, instance) (
          {increase('planet_exporter_evicted_connections_total{listener="call_events"}', "10m")}
          + {increase('planet_exporter_rejected_connections_total{listener="call_events"}', "10m")}
        ) > 0""",
        '{{ $labels.instance }} of {{ $labels.job }} has no place for connections',
        '{{ $value | printf "%.0f" }} connections in 10 minutes came when all places were taken. Idle ones were closed for them; where none was idle, the new one was answered 503, and a call event on it is lost unless the proxy asks another exporter.',
        "planet-exporter")
    remaining = "min by (job, instance, listener) (planet_exporter_certificate_expiry_time_seconds) - time()"
    file.alert("PlanetCertificateExpiresSoon", "page", f"""
        {remaining} < {2 * DAY}""",
        'The certificate of {{ $labels.listener }} of {{ $labels.job }} expires within 2 days',
        'The certificate with which {{ $labels.instance }} listens for {{ $labels.listener }} has {{ $value | humanizeDuration }} left. Once it has expired, clients refuse it, and no call event arrives.',
        "planet-exporter",
        comment="The two do not overlap, so that a page ends its ticket.")
    file.alert("PlanetCertificateExpires", "ticket", f"""
        ({remaining} < {14 * DAY}) >= {2 * DAY}""",
        'The certificate of {{ $labels.listener }} of {{ $labels.job }} expires within 14 days',
        'The certificate with which {{ $labels.instance }} listens for {{ $labels.listener }} has {{ $value | humanizeDuration }} left and was not renewed.',
        "planet-exporter")
    file.alert("PlanetExporterDown", "page", f"""
        (
          up == 0
          and on (job, instance) last_over_time(planet_exporter_build_info[1d]) > 0
          and on (job) planet_exporter_build_info
          or
          max by (job) (count_over_time(planet_exporter_build_info[20m] offset 2m)) >= 15
          unless on (job) count_over_time(planet_exporter_build_info[2m])
          and on () count(count_over_time(up[2m]))
          or
          max by (job) (last_over_time(planet_exporter_build_info[1d]))
          unless on (job) planet_exporter_build_info
          unless on () (count(count_over_time(up[1h])) unless on () count(up))
        )
        unless on (job) job_instance:planet_exporter_starts:changes20m""",
        '{{ with $labels.instance }}An exporter{{ else }}Every exporter{{ end }} of {{ $labels.job }} is gone',
        '{{ with $labels.instance }}{{ . }}{{ else }}Every exporter{{ end }} of {{ $labels.job }} has not been seen for 3 minutes: it does not answer Prometheus, is no target any more, or pushes nothing. Call events may be lost at the source meanwhile.',
        "planet-exporter", "3m", kept=PAGE_KEPT,
        comment="What is pushed every minute is missed after two, while Prometheus sees others; all else, when Prometheus has nothing of it any more.")
    file.alert("PlanetCanaryFailing", "page", f"""
        sum by (job) ({increase('planet_exporter_canary_round_trips_total{result="success"}', "3m")}) == 0""",
        'The way to {{ $labels.job }} is broken',
        'No canary of {{ $labels.job }} has come back for 5 minutes: what the exporter sends to its own public URL does not arrive. Call events may not arrive either, and those that do not are lost.',
        "planet-exporter", "2m")
    file.alert("PlanetExporterRestarts", "page", f"""
        job_instance:planet_exporter_starts:changes20m""",
        '{{ $labels.instance }} of {{ $labels.job }} starts again and again',
        '{{ $labels.instance }} of {{ $labels.job }} has started {{ $value | printf "%.0f" }} times in 10 to 20 minutes, and does not stay up. Call events may be lost at the source between its starts. Look at the end of its log.',
        "planet-exporter", kept="30m")
    missing = "\n        ".join(f'or label_replace(absent({name}), "setting", "{name}", "", "")' for name in SETTINGS)
    file.alert("PlanetSettings", "ticket", f"""
        count by (setting) (label_replace({{__name__=~"planet:[a-z_]+:(ratio|count|seconds)"}}, "setting", "$1", "__name__", "(.*)")) > 1
        {missing}""",
        'The setting {{ $labels.setting }} of the Planet alerts is missing or there more than once',
        '{{ $labels.setting }} is recorded by no rule or by more than one. Where it is missing, alerts use its default; where there are several, the greatest.',
        "planet-exporter", "10m")
    file.alert("PlanetBacklogOld", "ticket", f"""
        max by (job, instance, sink) (planet_exporter_backlog_age_seconds)
          > {BACKLOG_AGE_LIMIT}""",
        '{{ $labels.sink }} of {{ $labels.job }} are not delivered',
        'The oldest call event that waits for {{ $labels.sink }} at {{ $labels.instance }} is {{ $value | humanizeDuration }} old. Nothing is lost until the limit of the backlog is reached.',
        "planet-exporter", "5m")
    file.alert("PlanetEventsDropped", "ticket", f"""
        sum by (job, sink, cause) ({increase('planet_exporter_dropped_events_total', "10m")}) > 0""",
        'Call events of {{ $labels.job }} are not delivered and will not be',
        '{{ $value | printf "%.0f" }} call events of {{ $labels.job }} were dropped for {{ $labels.sink }} in 10 minutes ({{ $labels.cause }}). The totals are right all the same.',
        "planet-exporter")
    file.alert("PlanetSinkGone", "ticket", f"""
        max by (job, instance, sink) (planet_exporter_sink_gone) > 0""",
        '{{ $labels.sink }} of {{ $labels.instance }} is gone',
        'What {{ $labels.sink }} writes to at {{ $labels.instance }} of {{ $labels.job }} is gone. Its call events are dropped until the next start. The totals are right all the same.',
        "planet-exporter")
    file.alert("PlanetDeliveriesFailing", "ticket", f"""
        sum by (job, instance, signal) ({increase('planet_exporter_deliveries_total{signal=~"metrics|traces|logs",result=~"retry|refused"}', "15m")}) > 0
        unless on (job, instance, signal)
          sum by (job, instance, signal) ({increase('planet_exporter_deliveries_total{result=~"success|partial"}', "15m")}) > 0
        unless on (job, instance, signal)
          max by (job, instance, signal) (planet_exporter_misconfigured) > 0""",
        '{{ $labels.signal }} of {{ $labels.instance }} do not arrive: every push fails',
        '{{ $labels.instance }} of {{ $labels.job }} has tried to push {{ $labels.signal }} {{ $value | printf "%.0f" }} times in 15 minutes, and nothing was taken. Spans wait until the limit of the backlog is reached; the metrics that are pushed stand still, while those that are scraped go on.',
        "planet-exporter", "10m")
    file.alert("PlanetOtlpMisconfigured", "ticket", f"""
        max by (job, instance, signal) (planet_exporter_misconfigured) > 0""",
        '{{ $labels.signal }} of {{ $labels.instance }} do not arrive: the destination seems to be configured wrongly',
        'Where {{ $labels.instance }} of {{ $labels.job }} pushes {{ $labels.signal }}, the answers are not those of an OTLP receiver that takes them, such as for a wrong token or path. Nothing is lost until the limit of the backlog is reached.',
        "planet-exporter", "2m")
    file.alert("PlanetMetricsTwice", "ticket", f"""
        count by (job) (planet_exporter_build_info unless on (job, instance) up)
          and on (job) (planet_exporter_build_info and on (job, instance) up)
        or count by (job) (
          count by (job, instance) (planet_exporter_build_info and on (job, instance) up) > 1
        )""",
        'Metrics of {{ $labels.job }} are scraped and pushed',
        '{{ $value | printf "%.0f" }} exporters of {{ $labels.job }} push their metrics to a Prometheus that scrapes them too, so that every call is there twice.',
        "planet-exporter", "15m")
    file.alert("PlanetExporterBug", "ticket", f"""
        sum by (job, instance) ({increase('planet_exporter_quarantined_events_total', "10m")}) > 0
        or sum by (job, instance) ({increase('planet_exporter_events_total{result="panicked"}', "10m")}) > 0""",
        '{{ $labels.instance }} of {{ $labels.job }} has a bug that call events bring out',
        '{{ $value | printf "%.0f" }} call events brought out a bug of {{ $labels.instance }} of {{ $labels.job }} in 10 minutes. They are kept; everything else goes on.',
        "planet-exporter")
    file.alert("PlanetStorageFailing", "page", f"""
        max by (job, instance) (planet_exporter_storage_failing) > 0
        or sum by (job, instance) ({increase('planet_exporter_events_total{result=~"unavailable|undurable|uncounted"}', "5m")}) > 0""",
        '{{ $labels.instance }} of {{ $labels.job }} cannot store call events',
        '{{ $labels.instance }} of {{ $labels.job }} cannot store call events. With a service behind it passes them on and holds them in memory, and they are missing from the totals until the disk takes them; without one it answers them 503.',
        "planet-exporter", "1m")
    file.alert("PlanetJournalDamaged", "ticket", f"""
        max by (job, instance) (planet_exporter_journal_damaged_records) > 0""",
        'The journal of {{ $labels.instance }} is damaged',
        '{{ $value | printf "%.0f" }} acknowledged call events in the state directory of {{ $labels.instance }} cannot be read.',
        "planet-exporter")


def alerts():
    file = File("""
Alerts of planet-call-exporter. Their limits are in the group planet-settings of recording.rules.yml; what to do is in RUNBOOK.md.
severity is page (somebody gets up) or ticket (somebody looks within working hours).
Made by generate.py, which says how they are made.""")
    file.group("planet-calls")
    record_increases(file)
    record_judgements(file)
    record_slower(file)
    alerts_of_calls(file)
    file.group("planet-exporter")
    alerts_of_exporter(file)
    file.write("alerts.rules.yml")


def check_readme():
    """The table of settings for people has the same defaults."""
    text = (HERE.parent / "README.md").read_text()
    for name, (default, _) in SETTINGS.items():
        if f"| {name} | {default} |" not in text:
            sys.exit(f"README.md does not say that {name} is {default} by default")


if __name__ == "__main__":
    recording()
    alerts()
    check_readme()
