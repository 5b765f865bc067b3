//! What there is to see of the exporter at one moment: its metrics, whether it is ready, what was refused.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use metrics::{counter, gauge};

use crate::journal::Journal;
use crate::metrics::catalog;
use crate::metrics::family::{self, Family};
use crate::metrics::registry::OwnMetrics;
use crate::metrics::text;
use crate::sinks::metrics::SinkStatus;
use crate::state::fold::Fold;
use crate::state::health::Health;
use crate::state::known::SharedKnown;
use crate::state::refused::RefusedRequests;
use crate::state::{STORAGE, State};

/// Everything that is looked at. Until the state is open, there are no totals to see.
pub struct View {
    registry: OwnMetrics,
    health: Arc<Health>,
    refused: Arc<RefusedRequests>,
    opened: OnceLock<Opened>,
}

/// What is looked at once the state is open.
struct Opened {
    fold: Arc<Fold>,
    known: SharedKnown,
    journal: Journal,
    sinks: Vec<Arc<SinkStatus>>,
}

impl View {
    /// A view of these, and of nothing else yet.
    pub fn new(registry: OwnMetrics, health: Arc<Health>, refused: Arc<RefusedRequests>) -> View {
        View { registry, health, refused, opened: OnceLock::new() }
    }

    /// Shows the state and the sinks from now on.
    pub fn show(&self, state: &State, sinks: Vec<Arc<SinkStatus>>) {
        let (fold, known, journal) = (Arc::clone(&state.fold), state.known.clone(), state.journal.clone());
        // It is shown once; a second time would be the same.
        let _ = self.opened.set(Opened { fold, known, journal, sinks });
    }

    /// Whether the exporter is alive and ready.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Shows that they do, for whoever asks within the next minute. It is to be called by one of them every few seconds.
    pub fn beat(&self) {
        if let Some(opened) = self.opened.get() {
            // Who waits here for good is as stuck as everybody else who needs them.
            drop(opened.known.lock());
            opened.fold.position();
        }
        self.health.beat();
    }

    /// Nobody shows it any more, since the process ends.
    pub fn rest(&self) {
        self.health.rest();
    }

    /// The refused requests that are kept, as JSON lines.
    pub fn refused_requests(&self) -> String {
        self.refused.to_json_lines(SystemTime::now())
    }

    /// The page of /metrics.
    pub fn page(&self) -> String {
        let totals = self.totals();
        let (own, process) = self.registry.families_and_process();
        text::render(&family::merge(totals.into_iter().chain(own))) + &process
    }

    /// Every metric of the catalog.
    pub fn families(&self) -> Vec<Family> {
        let totals = self.totals();
        family::merge(totals.into_iter().chain(self.registry.families()))
    }

    /// The totals, once they are there. They come before the exporter's own metrics: the fold catches up with the journal when
    /// its ledger is read, and counts what it quarantines on the way.
    fn totals(&self) -> Vec<Family> {
        self.observe();
        self.opened.get().map(|opened| opened.fold.ledger().families()).unwrap_or_default()
    }

    /// Takes in the samples of histograms and forgets refused requests that are old, which would otherwise stay in memory until
    /// somebody looks.
    pub fn run_upkeep(&self) {
        self.registry.run_upkeep();
        self.refused.forget_old(SystemTime::now());
    }

    /// Records what is only known by looking: sizes, backlogs and ages.
    fn observe(&self) {
        let now = SystemTime::now();
        gauge!(catalog::EXPORTER_REFUSED_REQUESTS.name).set(self.refused.len_at(now) as f64);
        let Some(opened) = self.opened.get() else { return };
        let (seen, undurable) = {
            let known = opened.known.lock();
            (known.window.len_at(now), known.undurable())
        };
        gauge!(catalog::EXPORTER_SEEN_SIDS.name).set(seen as f64);
        gauge!(catalog::EXPORTER_UNDURABLE_EVENTS.name).set(undurable as f64);
        let is_failing = self.health.is_closed(STORAGE);
        gauge!(catalog::EXPORTER_STORAGE_FAILING.name).set(f64::from(u8::from(is_failing)));
        let damaged: u64 = opened.sinks.iter().map(|sink| sink.backlog().damaged).sum();
        let waiting_bytes: u64 = opened.sinks.iter().map(|sink| sink.backlog().waiting_bytes).sum();
        gauge!(catalog::EXPORTER_JOURNAL_SIZE.name).set((opened.journal.bytes() + waiting_bytes) as f64);
        gauge!(catalog::EXPORTER_JOURNAL_DAMAGED.name).set((opened.journal.damaged() + damaged) as f64);
        for reader in opened.journal.readers() {
            let Some(sink) = opened.sinks.iter().find(|sink| sink.name == reader.name) else { continue };
            let backlog = sink.backlog();
            counter!(catalog::EXPORTER_DROPPED_EVENTS.name, "sink" => reader.name, "cause" => "backlog")
                .absolute(reader.dropped + backlog.dropped);
            let age = backlog.oldest.and_then(|oldest| now.duration_since(oldest).ok()).unwrap_or_default();
            let events = reader.backlog + backlog.waiting;
            gauge!(catalog::EXPORTER_BACKLOG.name, "sink" => reader.name).set(events as f64);
            gauge!(catalog::EXPORTER_BACKLOG_AGE.name, "sink" => reader.name).set(age.as_secs_f64());
            gauge!(catalog::EXPORTER_SINK_GONE.name, "sink" => reader.name)
                .set(f64::from(u8::from(backlog.is_gone)));
        }
    }
}
