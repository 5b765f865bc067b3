"""What the panels ask Prometheus: indicators, limits and states, as PromQL.

Headlines look at a fixed window that their title names; graphs of shares at $window, which is at least that and grows with what is shown, so that
neither the zoom nor the width of a screen changes a number. Limits are those of the alerts: the settings that the recording rules record, with the same
defaults where there are no rules.
"""

from settings import setting

# What the variables choose: an exporter, and calls.
EXPORTER = 'job=~"$job",instance=~"$instance"'
CALLS = EXPORTER + ',media_type=~"$media_type",idc=~"$idc"'
ABNORMAL = 'fault_domain!~"none|user"'
NOW = "10m"
# Alerts have the labels of what they are about, some not even a job.
ALERTS = 'alertname=~"Planet.*",job=~"$job|"'
FIRING = f'ALERTS{{{ALERTS},alertstate="firing"}}'
BUILD = f"planet_exporter_build_info{{{EXPORTER}}}"
# Seen within three minutes: what is pushed leaves no mark when it ends, and is found for five.
ALIVE = f"({BUILD} and time() - timestamp({BUILD}) < 180)"
KNOWN = f"last_over_time({BUILD}[1d])"
# The window that alerts have for services with few calls.
SLOW = "90m"


def limit(budgets):
    """The share of abnormal calls that is so many error budgets above what is usual, where a rule records that."""
    usual = 'scalar(max(job:planet_calls_abnormal:usual_ratio{job=~"$job"}) or vector(0))'
    return f"({budgets} * (1 - {setting('planet:objective:ratio')}) + {usual})"


# As alerts have it: four budgets page, two and a half are a ticket.
FAILING, WORSE = limit(4), limit(2.5)
LEAST = setting("planet:minimum_releases:count")


def total(function, metric, window, labels=CALLS, more="", by="", offset=""):
    """rate() or increase() of a counter, added up."""
    selector = ",".join(part for part in (labels, more) if part)
    return f"sum{f' by ({by})' if by else ''} ({function}({metric}{{{selector}}}[{window}]{offset and f' offset {offset}'}))"


def increase(metric, window, labels=EXPORTER, more="", by="", offset=""):
    return total("increase", metric, window, labels, more, by, offset)


def calls(window=NOW, more="", by="", offset=""):
    """How many calls ended in a window."""
    return increase("planet_call_results_total", window, CALLS, more, by, offset)


def abnormal(window=NOW, by="", offset="", more=""):
    return calls(window, ",".join(filter(None, (ABNORMAL, more))), by, offset)


def of_enough(expression, more, offset=""):
    """A quantile where it is of at least ten calls."""
    return f"{expression} and on () {calls('$window', more, offset=offset)} >= 10"


def share(part, whole, least=0):
    """part / whole, where there are calls at all, and at least so many."""
    return f"{part} / ({whole} {f'>= {least}' if least else '> 0'})"


def a_minute(metric="planet_call_results_total", labels=CALLS, more="", by="", window="$__rate_interval", offset=""):
    return "60 * " + total("rate", metric, window, labels, more, by, offset)


def histogram(metric):
    """A selector's beginning that finds a histogram of either form: classic, or converted to a native one."""
    return f'__name__=~"{metric}(_bucket)?",'


def quantile(of, metric, window="$window", labels=CALLS, more="", offset=""):
    selector = histogram(metric) + labels + (more and f",{more}")
    return f"histogram_quantile({of}, sum by (le) (rate({{{selector}}}[{window}]{offset and f' offset {offset}'})))"


def seconds_of(metric, window, offset=""):
    """What a histogram of either form has added up, a second."""
    past = offset and f" offset {offset}"
    return f"(sum(rate({metric}_sum{{{CALLS}}}[{window}]{past})) or sum(histogram_sum(rate({metric}{{{CALLS}}}[{window}]{past}))))"


def mean(metric, window, labels=CALLS, more=""):
    """The mean of a histogram of either form."""
    def part(name):
        selector = labels + (more and f",{more}")
        return f"(sum(rate({metric}_{name}{{{selector}}}[{window}])) or sum(histogram_{name}(rate({metric}{{{selector}}}[{window}]))))"
    return f"{part('sum')} / ({part('count')} > 0)"


# States, in the order of their weight.
NO_CALLS, WELL, IS_WORSE, PAGES, FAILS_IN_PART, FAILS, GONE = range(7)


def failing(by="", window=NOW):
    """Where calls fail as alerts have it: many at once, or of the last ones where there are few."""
    def recent(name):
        return f"sum{f' by ({by})' if by else ''} (planet_call_recent_{name}{{{CALLS}}})"
    at_once = f"{abnormal(window, by)} >= {LEAST} and {share(abnormal(window, by), calls(window, by=by))} > {FAILING}"
    of_few = (f"{abnormal(SLOW, by)} >= 1.2 * {LEAST} and {share(abnormal(SLOW, by), calls(SLOW, by=by))} > {FAILING} "
              f"and {recent('abnormal')} / {recent('calls')} > {FAILING}")
    return f"(({at_once}) or ({of_few}))"


def state(by="", window=NOW):
    """The state of calls as a number, by labels. Of exporters that are gone it is not known."""
    # What is far in the past may have few samples left.
    gone = f"{calls(window, by=by)} * 0 + {GONE} unless on () count({ALIVE if window == NOW else BUILD})"
    worse = f"({abnormal(window, by)} >= 0.8 * {LEAST} and {share(abnormal(window, by), calls(window, by=by))} > {WORSE})"
    return (f"({gone}) or {failing(by, window)} * 0 + {FAILS} or {worse} * 0 + {IS_WORSE} or ({calls(window, by=by)} > 0) * 0 + {WELL} "
            f"or {calls(window, by=by)} * 0 + {NO_CALLS}")


def alone(window=NOW):
    """How many IDCs fail, where it is one, or others do not."""
    return f"count({failing('idc', window)}) < clamp_min(count({calls(window, by='idc')} > 0), 2)"


def state_of_media(window=NOW):
    """The state of media. One that fails only because of IDCs that fail alone, and not in the others, fails in part."""
    by = "media_type, idc"
    # More abnormal calls than the limit allows, of the other IDCs.
    more = f"({abnormal(window, by)} or {calls(window, by=by)} * 0) - {FAILING} * {calls(window, by=by)}"
    within = f"sum by (media_type) (({more}) unless on (idc) {failing('idc', window)}) <= 0"
    return f"({failing('media_type', window)} and on (media_type) ({within}) and on () ({alone(window)})) * 0 + {FAILS_IN_PART} or {state('media_type', window)}"


def where():
    """Where calls fail, whose fault most of it is, and how many of how many calls it is, as the label text; the value is the state. IDCs that fail alone are named, else a medium,
    else it is everywhere."""
    def places(by, what):
        one = f"topk by ({by}) (1, {abnormal(by=f'{by}, fault_domain' if by else 'fault_domain')} > 0) and on ({by}) {what}"
        for label, number in (("abnormal", abnormal(by=by)), ("calls", calls(by=by))):
            one = f'({one}) * on ({by}) group_left ({label}) count_values by ({by}) ("{label}", round({number}))'
        place = f'"$1", "{by}"' if by else '"everywhere", ""'
        joined = f'label_join(label_replace({one}, "place", {place}, "(.*)"), "text", ";", "place", "fault_domain", "abnormal", "calls")'
        return f'label_replace({joined}, "text", "$1: $2, $3 of $4", "text", "(.*);(.*);(.*);(.*)") * 0 + {FAILS}'
    def word(found, text, value):
        return f'label_replace({found}, "text", "{text}", "", "") * 0 + {value}'
    return " or on () ".join([
        places("idc", f"({failing('idc')} and on () ({alone()}))"),
        places("", f"({failing()} or count({failing('idc')}))"),
        places("media_type", failing("media_type")),
        word(f"count({ALIVE})", "no IDC fails", WELL),
        word(f"count({KNOWN})", "unknown", GONE),
        word("vector(0)", "no exporter", NO_CALLS),
    ])


def state_of_all():
    """The state of calls, of those of an IDC or a medium, of alerts that page, and of exporters that are gone: the worst of them."""
    gone = f"(count({KNOWN}) unless count({ALIVE})) * 0 + {GONE}"
    pages = f'count(ALERTS{{{ALERTS},alertstate="firing",severity="page"}}) * 0 + {PAGES}'
    # With exporters that have had no call yet there is no series of calls.
    part = f"count({failing('idc')} or {failing('media_type')}) * 0 + {FAILS_IN_PART}"
    return f"{gone} or {failing()} * 0 + {FAILS} or {part} or {pages} or {state()} or count({BUILD}) * 0 + {NO_CALLS}"


# In place of a time.
TOO_LONG, NEVER = -1, -2


def constant(number):
    """A number as a line, while there are exporters."""
    return f"count({BUILD}) * 0 + {number}"


def began(by=""):
    """When the share of abnormal calls of ten minutes was last within its limit, in milliseconds, where calls fail now and it was within six hours; where only the longer
    window is over the limit, that one's."""
    def since(window, step):
        ratio = share(abnormal(window, by), calls(window, by=by))
        return f"max_over_time(timestamp({ratio} <= {FAILING})[6h:{step}]) and {ratio} > {FAILING}"
    return f"1000 * (({since(NOW, '1m')} or {since(SLOW, '5m')}) and {failing(by)})"


def failing_since(by=""):
    """When calls began to fail, in milliseconds; of all calls when those of the first IDC did, where that is known, since in the share of all it is seen later."""
    first = began(by) if by else f"min({began('idc')}) or {began()}"
    return f"{first} or {failing(by)} * 0 + {TOO_LONG} or ({calls(by=by)} * 0 + {NEVER} and on () count({ALIVE}))"


def failing_for():
    """For how many seconds calls have failed, where it is known since when."""
    return f"time() - (min({began('idc')}) or {began()}) / 1000"


def abnormal_since():
    """How many calls ended abnormally since then, at the IDCs that fail: the counters of each exporter, less what they were when the share of the IDC was last within its limit, or
    all of them where it began anew."""
    counters = f"sum by (idc, job, instance) (planet_call_results_total{{{CALLS},{ABNORMAL}}})"
    ratio = share(abnormal(by="idc"), calls(by="idc"))
    now = f"({counters} and on (idc) {began('idc')} and on (idc) {ratio} > {FAILING})"
    before = f"last_over_time(({counters} and on (idc) {ratio} <= {FAILING})[6h:1m])"
    return f"sum({now} - {before} >= 0 or {now})"


def whose(by):
    """The fault domain of most abnormal calls, by a label, where they are not well."""
    most = f"topk by ({by}) (1, {abnormal(by=f'{by}, fault_domain')} > 0) and on ({by}) ({state(by)}) > {WELL} < {GONE}"
    nobody = f'label_replace({calls(by=by)} * 0, "fault_domain", "-", "", "")'
    return f"{most} or on ({by}) {nobody}"
