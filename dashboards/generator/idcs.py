"""Planet / IDCs: side by side, then one row an IDC."""

from . import indicators as of
from .calls import ANSWERED, SINCE, STATE, shares
from .parts import DOMAIN_WORDS, OF_CALLS, STATES, WINDOW, Column, dashboard, link, ratio_of, row, series, stat, table


def side_by_side():
    by = "idc"
    setup = "planet_call_setup_duration_seconds"
    answered = of.calls(more=ANSWERED, by=by)
    median = f"histogram_quantile(0.5, sum by (idc, le) (rate({{{of.histogram(setup)}{of.CALLS},{ANSWERED}}}[10m]))) > 0"
    return table("Side by side, 10 minutes", "Last week is the hour that ended a week ago.", 24, [
        Column("IDC", label=by, width=80, link=("This IDC", link("planet-idcs", idc="${__value.raw}"))),
        *shares(by),
        Column("Answered", of.share(answered, of.calls(by=by)), unit="percentunit", decimals=1, width=95),
        Column("Cut off", of.share(of.abnormal(more=ANSWERED, by=by), answered), unit="percentunit", decimals=1, width=95),
        Column("Time to answer", median, unit="s", decimals=1, width=130),
        Column("Callers hit, 5 min", f'sum by (idc) (planet_call_abnormal_callers{{{of.EXPORTER},idc=~"$idc",window="5m"}})', decimals=0, empty="-", width=140),
        Column("Mostly", label="fault_domain", words=DOMAIN_WORDS, coloured=True, width=190),
        Column("", of.whose(by)),
        Column("Failing since", of.failing_since(by), unit="dateTimeAsIsoNoDateIfToday", words=SINCE, empty="unknown"),
    ], "State", height=7)


def page():
    setup = "planet_call_setup_duration_seconds"
    words = {value: each for value, each in STATE.items() if value in STATES}
    abnormal = of.share(of.abnormal("$window"), of.calls("$window"), 10)
    before = of.share(of.abnormal("$window", offset="1w"), of.calls("$window", offset="1w"), 10)
    return dashboard("planet-idcs", "Planet / IDCs", "One row an IDC, side by side. The IDC is that of the caller: a fault on the callee's side is spread over the IDCs of its callers.", OF_CALLS + [WINDOW], [
        [side_by_side()],
        [row("$idc", repeat="idc")],
        [[stat("Now, 10 minutes", "The state of this IDC's calls.", 5, [(of.state(), "")], words=words, is_background=True, height=4),
          ratio_of("Delivered (NER), 10 minutes", "Fault domain none or user / all calls.", 5, f"1 - {of.abnormal()} / {of.calls()}", of.calls(), height=4)],
         series("Abnormal calls a minute, by whose fault", "Calls that ended abnormally.", 7, [(of.a_minute(more=of.ABNORMAL, by="fault_domain") + " > 0", "{{fault_domain}}")],
                stacked=True, step="1m", empty="none seen"),
         series("Share of abnormal calls", "Averaged over the window that is chosen, of at least ten calls; dashed: a week before; dotted: the limit at which an alert pages.", 6,
                [(abnormal, "now", "now"), (before, "last week", "past"), (of.constant(of.FAILING), "limit", "limit")], "percentunit"),
         series("Time to answer", "From the creation of an answered call to its answer, of at least ten calls.", 6,
                [(of.of_enough(of.quantile(0.5, setup, more=ANSWERED), ANSWERED), "median", "now"),
                 (of.of_enough(of.quantile(0.95, setup, more=ANSWERED), ANSWERED), "p95", "second")], "s")],
    ])
