"""What a team changes to suit itself: the settings that recording rules record, which alerts and dashboards compare with."""

# By name: the default, and what it is.
SETTINGS = {
    "planet:objective:ratio": (0.99, "The share of calls that must not end abnormally. 1 - this is the error budget."),
    "planet:minimum_releases:count": (10, "Abnormal releases below which no ratio alerts: with little traffic a ratio says little."),
    "planet:drop_ratio_limit:ratio": (0.05, "The share of answered calls that may drop."),
    "planet:time_to_answer_limit:seconds": (30, "The 95th percentile that the time to answer may have, in seconds."),
    "planet:growth_limit:ratio": (5, "How many times its usual number in an hour a reason may grow to."),
    "planet:expected_calls:count": (20, "Calls in 10 minutes, yesterday and last week at this hour, with which alerts begin to expect calls: three times as many for silence within minutes."),
    "planet:backlog_age_limit:seconds": (900, "The age that the oldest undelivered event may have, in seconds."),
}


def setting(name):
    """A setting in an expression. One that is missing has its default, and of several the greatest counts, so that neither silences anything."""
    return f"scalar(max({name}) or vector({SETTINGS[name][0]}))"
