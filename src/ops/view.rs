//! What there is to see of the exporter at one moment: its metrics, whether it is ready, what was refused.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use metrics::{counter, gauge};
use tracing::info;

use crate::history::running::Running;
use crate::http::trouble::{Condition, Trouble};
use crate::intake::canary::sender::CANARY;
use crate::journal::Journal;
use crate::metrics::birth::Birth;
use crate::metrics::catalog;
use crate::metrics::family::{self, Family};
use crate::metrics::labels::Labels;
use crate::metrics::registry::{OwnMetrics, ProcessFamily};
use crate::ops::status::{Part, Seen, Status};
use crate::ops::usage;
use crate::sinks::destination::{OTLP_LOGS, OTLP_METRICS, OTLP_TRACES};
use crate::sinks::metrics::SinkStatus;
use crate::sinks::otlp::metrics::Source;
use crate::sinks::{logs, spans};
use crate::state::fold::Fold;
use crate::state::health::Health;
use crate::state::known::SharedKnown;
use crate::state::quarantine::Quarantine;
use crate::state::readers::{Asked, Births, Readers, Who};
use crate::state::refused::RefusedRequests;
use crate::state::{STORAGE, State};

/// How far back refused requests are told.
const LATELY: Duration = Duration::from_secs(5 * 60);

/// Everything that is looked at. Until the state is open, there are no totals to see.
pub struct View {
    started_at: SystemTime,
    registry: OwnMetrics,
    health: Arc<Health>,
    refused: Arc<RefusedRequests>,
    own_births: Mutex<OwnBirths>,
    /// The latest of them, in microseconds, for who must not wait for a page.
    latest_own_birth: AtomicU64,
    /// Where metrics are pushed, until it was said that they are scraped too.
    pushed_to: Mutex<Option<String>>,
    /// Whether what the exporter talks to is away, beside what sinks deliver to.
    watched: Mutex<Vec<(&'static str, Arc<Condition>)>>,
    opened: OnceLock<Opened>,
}

/// What is looked at once the state is open.
struct Opened {
    fold: Arc<Fold>,
    readers: Arc<Readers>,
    known: SharedKnown,
    journal: Journal,
    quarantine: Quarantine,
    sinks: Vec<Arc<SinkStatus>>,
}

impl View {
    /// A view of these, and of nothing else yet.
    pub fn new(registry: OwnMetrics, health: Arc<Health>, refused: Arc<RefusedRequests>) -> View {
        let (own_births, pushed_to) = (Mutex::default(), Mutex::default());
        let (latest_own_birth, watched, opened) = (AtomicU64::default(), Mutex::default(), OnceLock::new());
        let started_at = SystemTime::now();
        View {
            started_at,
            registry,
            health,
            refused,
            own_births,
            latest_own_birth,
            pushed_to,
            watched,
            opened,
        }
    }

    /// Shows the state and the sinks from now on.
    pub fn show(&self, state: &State, sinks: Vec<Arc<SinkStatus>>) {
        let (fold, readers) = (Arc::clone(&state.fold), Arc::clone(&state.readers));
        let (known, journal, quarantine) =
            (state.known.clone(), state.journal.clone(), state.quarantine.clone());
        // It is shown once; a second time would be the same.
        let _ = self.opened.set(Opened { fold, readers, known, journal, quarantine, sinks });
    }

    /// Notes where metrics are pushed.
    pub fn note_push_to(&self, destination: String) {
        *self.pushed_to() = Some(destination);
    }

    /// Shows whether the peer of this part is away.
    pub fn watch(&self, part: &'static str, peer: Arc<Condition>) {
        self.watched().push((part, peer));
    }

    fn watched(&self) -> MutexGuard<'_, Vec<(&'static str, Arc<Condition>)>> {
        // Nothing in here panics between two changes that belong together.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How everything is.
    pub fn status(&self) -> Status {
        let now = SystemTime::now();
        // What is stuck would hold this up, too.
        let opened = self.opened.get().filter(|_| self.health.stuck().is_none());
        Status::new(Seen {
            now,
            started_at: self.started_at,
            parts: self.parts(now),
            course: opened.map(|opened| opened.fold.course(now)),
            refused: self.refused.len_at(now),
            refused_lately: now.checked_sub(LATELY).map_or(0, |since| self.refused.since(since)),
            latest_refused: self.refused.latest(),
            quarantined: opened.map_or(0, |opened| opened.quarantine.len()),
        })
    }

    /// What calls of each day come to, as JSON lines; none until the state is open.
    pub fn usage(&self) -> String {
        self.opened.get().map(|opened| opened.fold.show_days(usage::lines)).unwrap_or_default()
    }

    /// How each part is: that of the way of call events first, and then what they go to.
    fn parts(&self, now: SystemTime) -> Vec<Part> {
        let latches = self.health.latches();
        let of_latch = |name: &str| latches.get(name).and_then(|latch| latch.trouble.clone());
        let intake = "the intake of call events";
        let mut parts = vec![match (self.health.stuck(), self.health.not_serving()) {
            (None, Some(reason)) => Part::waiting("intake", intake, reason),
            (stuck, _) => Part::new("intake", intake, stuck),
        }];
        if latches.contains_key(STORAGE) {
            parts.push(Part::new("disk", "the disk of the state directory", of_latch(STORAGE)));
        }
        if latches.contains_key(CANARY) {
            parts.push(Part::new("canary", "the way from outside, as the canary goes it", of_latch(CANARY)));
        }
        let backlogs = self.opened.get().map(|opened| opened.journal.readers()).unwrap_or_default();
        for sink in self.opened.get().iter().flat_map(|opened| &opened.sinks) {
            let backlog = sink.backlog();
            let misconfigured = match sink.name {
                spans::NAME => of_latch(OTLP_TRACES),
                logs::NAME => of_latch(OTLP_LOGS),
                _ => None,
            };
            let unread =
                backlogs.iter().find(|reader| reader.name == sink.name).map_or(0, |reader| reader.backlog);
            let gone = backlog.is_gone.then(|| Trouble {
                since: sink.last_drop().unwrap_or(now),
                reason: "it is gone; what goes there is dropped until the next start".to_owned(),
            });
            let part = Part::new(sink.name, sink.peer, gone.or(misconfigured).or(sink.trouble()));
            let part = part.with_last_drop(sink.last_drop());
            parts.push(part.with_backlog(unread + backlog.waiting, backlog.oldest, now));
        }
        let mut others: BTreeMap<&'static str, Option<Trouble>> = BTreeMap::new();
        if latches.contains_key(OTLP_METRICS) {
            others.insert(OTLP_METRICS, of_latch(OTLP_METRICS));
        }
        for (part, peer) in self.watched().iter() {
            let trouble = others.entry(part).or_default();
            *trouble = trouble.take().or_else(|| peer.trouble());
        }
        let what =
            |part| if part == OTLP_METRICS { "the OTLP receiver of metrics" } else { "the service behind" };
        parts.extend(others.into_iter().map(|(part, trouble)| Part::new(part, what(part), trouble)));
        parts
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

    /// Records a heartbeat of the parts that take call events, which counts for a minute. Call it every few seconds.
    pub fn beat(&self) {
        if let Some(opened) = self.opened.get() {
            // Who waits here for good is as stuck as everybody else who needs them.
            drop(opened.known.lock());
            opened.fold.position();
        }
        self.health.beat();
    }

    /// Stops expecting heartbeats, because the process is ending.
    pub fn rest(&self) {
        self.health.rest();
    }

    /// The refused requests.
    pub fn refused(&self) -> &Arc<RefusedRequests> {
        &self.refused
    }

    /// What a reader of metrics is to be shown that can wait so long; `None` before the state is open, when there are
    /// no totals.
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

    fn show(&self, receiver: Arc<Condition>) {
        self.watch(OTLP_METRICS, receiver);
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
