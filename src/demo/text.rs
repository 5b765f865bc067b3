//! What the demonstration says at its start: what happens, where to look, and how to find out what is wrong.

use std::time::SystemTime;

use super::{IDC, INCIDENT, OF_TEN, PAST, RATE, REASON};
use crate::app::{Listening, SAMPLE};

/// The text of a demonstration whose exporter listens there.
pub(super) fn text(listening: Listening, incident_began: SystemTime, seed: u64) -> String {
    let Listening { call_events, admin } = listening;
    let hours = PAST.as_secs() / 3600;
    let minutes = INCIDENT.as_secs() / 60;
    let began = humantime::format_rfc3339_seconds(incident_began).to_string();
    let began = began.get(11..16).unwrap_or_default();
    format!(
        "\
An exporter with simulated calls: {RATE} a second, and those of the last {hours} hours.

The incident: since {began} UTC, {minutes} minutes ago, {OF_TEN} of 10 calls in {IDC} end with {REASON}.
Find it:

    http://{admin}/                   what is wrong, where and since when
    http://{admin}/why                what failing calls have in common
    http://{admin}/calls?failing=1    the calls
    http://{admin}/metrics            what Prometheus scrapes

Or in a terminal:

    curl -s http://{admin}/why
    curl -s 'http://{admin}/calls?failing=1&idc={IDC}&limit=3'
    curl -sN 'http://{admin}/calls?failing=1&follow=1'
    curl -s http://{admin}/metrics | grep '^planet_call_abnormal_releases_total.*{IDC}'

Send a call of your own, once or twice; it counts once:

    curl -i 'http://{call_events}/call_event?{SAMPLE}'

The same calls again: --seed {seed}. Ctrl-C ends it, and nothing stays.
"
    )
}
