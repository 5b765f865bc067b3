"""What the panels ask Prometheus: indicators, limits and states, as PromQL.

Headlines look at a fixed window that their title names; graphs of shares at $window, which is at least that and grows with what is shown, so that
neither the zoom nor the width of a screen changes a number. Limits are those of the alerts: the settings that the recording rules record, with the same
defaults where there are no rules.
"""

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

# The settings of rules/recording.rules.yml and their defaults.
SETTINGS = {
    "planet:objective:ratio": 0.99,
    "planet:minimum_releases:count": 10,
    "planet:drop_ratio_limit:ratio": 0.05,
    "planet:time_to_answer_limit:seconds": 30,
    "planet:growth_limit:ratio": 5,
    "planet:expected_calls:count": 20,
    "planet:backlog_age_limit:seconds": 900,
}


def setting(name):
    """A setting, or its default, as a number that other expressions compare with."""
    return f"scalar(max({name}) or vector({SETTINGS[name]}))"


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


def whose(by):
    """The fault domain of most abnormal calls, by a label."""
    most = f"topk by ({by}) (1, {abnormal(by=f'{by}, fault_domain')} > 0)"
    nobody = f'label_replace({calls(by=by)} * 0, "fault_domain", "nobody", "", "")'
    return f"{most} or on ({by}) {nobody}"
