//! The JSON of checkpoints that release 0.1.0 wrote: a map for each metric, and nothing of accepted events and anomalies,
//! which then did not outlive the process.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;

use super::contents::{self, AdmittedReasons, Contents, Entries, LedgerContents, Rows, WrittenRow};
use super::{Checkpoint, UnreadableContents};
use crate::callback::labels::{self, LabelSource};
use crate::callback::reason::DISCONNECT_REASONS;
use crate::ledger::histogram::Buckets;
use crate::ledger::table::Total;
use crate::ledger::{LIMIT, Limits};
use crate::metrics::birth::Birth;
use crate::metrics::catalog::{self, Metric};

#[derive(Deserialize)]
struct Older {
    position: u64,
    ledger: OlderLedger,
}

#[derive(Deserialize)]
struct OlderLedger {
    started_at: SystemTime,
    duration_buckets: Buckets,
    setup_buckets: Buckets,
    reasons: AdmittedReasons,
    calls: Rows<OlderValue>,
    durations: Rows<OlderValue>,
    setup_durations: Rows<OlderValue>,
    billed_seconds: Rows<OlderValue>,
    releases: Rows<OlderValue>,
    abnormal_releases: Rows<OlderValue>,
    last_event: Option<SystemTime>,
    overflows: OlderOverflows,
}

/// The value of a label; `answered` was no text.
#[derive(Deserialize)]
#[serde(untagged)]
enum OlderValue {
    Text(String),
    Flag(bool),
}

#[derive(Deserialize)]
struct OlderOverflows {
    idc: u64,
    disconnect_reason: u64,
    call_series: u64,
    release_series: u64,
}

/// The checkpoint of which this is the JSON.
pub(super) fn read(json: &[u8], limits: &Limits) -> Result<Checkpoint, UnreadableContents> {
    let Older { position, ledger } = serde_json::from_slice(json)?;
    contents::restore(Contents { position, marks: None, ledger: ledger.into_contents() }, limits)
}

impl OlderLedger {
    fn into_contents(self) -> LedgerContents {
        let accepted = self.calls.iter().map(|WrittenRow(_, total, ..)| match total {
            Total::Number(calls) => *calls,
            Total::Histogram(_) => 0,
        });
        let accepted = accepted.fold(0, u64::saturating_add);
        let overflow = |limit, number| row(LIMIT, limit, number);
        let overflows = vec![
            overflow("idc", self.overflows.idc),
            overflow("disconnect_reason", self.overflows.disconnect_reason),
            overflow("calls", self.overflows.call_series),
            overflow("releases", self.overflows.release_series),
        ];
        let table = |metric: &Metric, rows| (metric.name.to_owned(), rows);
        let tables = vec![
            table(&catalog::CALLS, texts(self.calls)),
            table(&catalog::CALL_DURATION, texts(self.durations)),
            table(&catalog::CALL_SETUP_DURATION, texts(self.setup_durations)),
            table(&catalog::CALL_BILLED, texts(self.billed_seconds)),
            table(&catalog::CALL_RELEASES, texts(self.releases)),
            table(&catalog::CALL_ABNORMAL_RELEASES, texts(self.abnormal_releases)),
            table(
                &catalog::EXPORTER_EVENTS,
                vec![row(LabelSource::Result.name(), labels::ACCEPTED, accepted)],
            ),
            table(&catalog::EXPORTER_LABEL_OVERFLOWS, overflows),
        ];
        let mut reasons = self.reasons;
        // Known reasons stood among those that were admitted.
        reasons.values.retain(|value| DISCONNECT_REASONS.iter().all(|reason| reason.name != value));
        LedgerContents {
            started_at: self.started_at,
            last_event: self.last_event,
            duration_buckets: self.duration_buckets,
            setup_buckets: self.setup_buckets,
            settings: None,
            unknown_reasons: BTreeMap::new(),
            reasons,
            departed: BTreeMap::new(),
            looked_at: 0,
            births: Birth::NONE,
            recent: Vec::new(),
            last_events: Vec::new(),
            days: Vec::new(),
            tables: Entries(tables),
        }
    }
}

/// Rows whose label values are texts.
fn texts(rows: Rows<OlderValue>) -> Rows<String> {
    let text = |(name, value)| match value {
        OlderValue::Text(text) => (name, text),
        OlderValue::Flag(flag) => (name, labels::answered(flag).to_owned()),
    };
    let row = |WrittenRow(labels, total, used, born): WrittenRow<OlderValue>| {
        WrittenRow(Entries(labels.0.into_iter().map(text).collect()), total, used, born)
    };
    rows.into_iter().map(row).collect()
}

/// A row of one label.
fn row(name: &str, value: &str, number: u64) -> WrittenRow<String> {
    WrittenRow(Entries(vec![(name.to_owned(), value.to_owned())]), Total::Number(number), None, None)
}
