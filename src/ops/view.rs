//! What there is to see of the exporter at one moment: its metrics, whether it is ready, what was refused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use metrics::{counter, gauge};
use tracing::info;

use crate::history::running::Running;
use crate::journal::Journal;
use crate::metrics::birth::Birth;
use crate::metrics::catalog;
use crate::metrics::family::{self, Family};
use crate::metrics::labels::Labels;
use crate::metrics::registry::{OwnMetrics, ProcessFamily};
use crate::sinks::metrics::SinkStatus;
use crate::sinks::otlp::metrics::Source;
use crate::state::fold::Fold;
use crate::state::health::Health;
use crate::state::known::SharedKnown;
use crate::state::readers::{Asked, Births, Readers, Who};
use crate::state::refused::RefusedRequests;
use crate::state::{STORAGE, State};

/// Everything that is looked at. Until the state is open, there are no totals to see.
pub struct View {
    registry: OwnMetrics,
    health: Arc<Health>,
    refused: Arc<RefusedRequests>,
    own_births: Mutex<OwnBirths>,
    /// The latest of them, in microseconds, for who must not wait for a page.
    latest_own_birth: AtomicU64,
    /// Where metrics are pushed, until it was said that they are scraped too.
    pushed_to: Mutex<Option<String>>,
    opened: OnceLock<Opened>,
}

/// What is looked at once the state is open.
struct Opened {
    fold: Arc<Fold>,
    readers: Arc<Readers>,
    known: SharedKnown,
    journal: Journal,
    sinks: Vec<Arc<SinkStatus>>,
}

impl View {
    /// A view of these, and of nothing else yet.
    pub fn new(registry: OwnMetrics, health: Arc<Health>, refused: Arc<RefusedRequests>) -> View {
        let (own_births, pushed_to) = (Mutex::default(), Mutex::default());
        let latest_own_birth = AtomicU64::default();
        View { registry, health, refused, own_births, latest_own_birth, pushed_to, opened: OnceLock::new() }
    }

    /// Shows the state and the sinks from now on.
    pub fn show(&self, state: &State, sinks: Vec<Arc<SinkStatus>>) {
        let (fold, readers) = (Arc::clone(&state.fold), Arc::clone(&state.readers));
        let (known, journal) = (state.known.clone(), state.journal.clone());
        // It is shown once; a second time would be the same.
        let _ = self.opened.set(Opened { fold, readers, known, journal, sinks });
    }

    /// Notes where metrics are pushed.
    pub fn note_push_to(&self, destination: String) {
        *self.pushed_to() = Some(destination);
    }

    /// Notes that a Prometheus scrapes. One that gets the pushes too has every call twice, which is said once.
    pub fn note_scrape(&self) {
        if let Some(otlp_metrics) = self.pushed_to().take() {
            info!(
                otlp_metrics,
                "metrics are scraped and pushed: a Prometheus that gets both has every call twice; OTEL_METRICS_EXPORTER=none \
                 leaves the pushes out"
            );
        }
    }

    fn pushed_to(&self) -> MutexGuard<'_, Option<String>> {
        // Nothing in here panics between two changes that belong together.
        self.pushed_to.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The refused requests.
    pub fn refused(&self) -> &Arc<RefusedRequests> {
        &self.refused
    }

    /// What a reader of metrics is to be shown that can wait so long; `None` before the state is open, when there are no totals.
    pub async fn shown_to(&self, who: &Who, patience: Duration) -> Option<Asked> {
        let opened = self.opened.get()?;
        let own = Birth::from_micros(self.latest_own_birth.load(Ordering::Acquire));
        let births = Births { totals: opened.fold.births(), own };
        Some(opened.readers.ask(who, births, SystemTime::now(), patience).await)
    }

    /// What was stored, once the state is open.
    pub fn past(&self) -> Option<Running> {
        let Opened { journal, known, .. } = self.opened.get()?;
        Some(Running::new(journal.clone(), known.clone()))
    }

    /// Whether there are totals.
    pub fn is_open(&self) -> bool {
        self.opened.get().is_some()
    }

    /// Notes that a reader has taken an answer with everything born up to `births` to its end.
    pub fn note_taken(&self, asked: Asked, births: Births) {
        if let Some(opened) = self.opened.get() {
            opened.readers.answered(asked, births);
        }
    }

    /// The page of /metrics for who was shown these births, as `render` makes it, and what there is on it.
    pub fn page(
        &self,
        shown: Births,
        render: impl FnOnce(&[Family], &[ProcessFamily]) -> String,
    ) -> (String, Births) {
        let (totals, births) = self.totals(shown);
        let (own, own_births, process) = self.own(shown, OwnMetrics::families_and_process);
        let page = render(&family::merge(totals.into_iter().chain(own)), &process);
        (page, Births { totals: births, own: own_births })
    }

    /// The totals, once they are there. They come before the exporter's own metrics: the fold catches up with the journal when
    /// its ledger is read, and counts what it quarantines on the way.
    fn totals(&self, shown: Births) -> (Vec<Family>, Birth) {
        self.observe();
        let Some(opened) = self.opened.get() else { return (Vec::new(), Birth::NONE) };
        let (ledger, callers) = opened.fold.ledger_and_callers(SystemTime::now());
        let mut families = ledger.families();
        families.extend(callers.map(|callers| callers.family(&ledger)));
        show_at_zero(&mut families, shown.totals);
        (families, ledger.births())
    }

    /// The exporter's own metrics as they are to be shown, and what `read` has beside them.
    fn own<T>(
        &self,
        shown: Births,
        read: impl FnOnce(&OwnMetrics) -> (Vec<Family>, T),
    ) -> (Vec<Family>, Birth, T) {
        // Before they are read, so that nobody else notes a series meanwhile that is not among them.
        let mut births = self.own_births();
        let (mut families, beside) = read(&self.registry);
        births.note(&mut families, SystemTime::now());
        self.latest_own_birth.store(births.latest.as_micros(), Ordering::Release);
        show_at_zero(&mut families, shown.own);
        (families, births.latest, beside)
    }

    fn own_births(&self) -> MutexGuard<'_, OwnBirths> {
        // Nothing in here panics between two changes that belong together.
        self.own_births.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets refused requests that are old, which would otherwise stay in memory until somebody looks.
    pub fn forget_old(&self) {
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

impl Source for Arc<View> {
    async fn ask(&self, who: &Who) -> Option<Asked> {
        self.shown_to(who, Duration::MAX).await
    }

    fn families(&self, shown: Births) -> (Vec<Family>, Births) {
        let (mut totals, births) = self.totals(shown);
        let without_start = self.opened.get().map(|opened| opened.readers.without_start());
        for point in totals.iter_mut().flat_map(|family| &mut family.points) {
            point.started_at = point.started_at.filter(|_| Some(point.born) > without_start);
        }
        let (own, own_births, ()) = self.own(shown, |registry| (registry.families(), ()));
        (family::merge(totals.into_iter().chain(own)), Births { totals: births, own: own_births })
    }

    fn answered(&self, asked: Asked, births: Births) {
        self.note_taken(asked, births);
    }
}

/// Lets every series that was born later stand at 0.
fn show_at_zero(families: &mut [Family], shown: Birth) {
    for point in families.iter_mut().flat_map(|family| &mut family.points) {
        if point.born > shown {
            point.start_at_zero();
        }
    }
}

/// When the series of the exporter's own metrics were seen for the first time. They are as many as the program has words for.
#[derive(Default)]
struct OwnBirths {
    /// By the name of the metric.
    births: HashMap<&'static str, HashMap<Labels, Birth>>,
    latest: Birth,
}

impl OwnBirths {
    /// Says of each point when it was born; those that are new, at `now`.
    fn note(&mut self, families: &mut [Family], now: SystemTime) {
        let birth = self.latest.next_at(now);
        for family in families {
            let births = self.births.entry(family.metric.name).or_default();
            for point in &mut family.points {
                point.born = births.get(&point.labels).copied().unwrap_or_else(|| {
                    births.insert(point.labels.clone(), birth);
                    self.latest = birth;
                    birth
                });
                point.started_at = Some(point.born.time());
            }
        }
    }
}
