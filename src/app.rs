//! Builds the parts, starts them, and stops them in order.
//!
//! The order of the end, which nothing else knows: not ready; listeners accept no more and finish what they began, for half
//! of the time if it takes longer; readers and pushes deliver what they can, while requests go on that still are not
//! finished; then the process ends, all within `--shutdown-timeout`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry_otlp::ExporterBuildError;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::callback::Record;
use crate::config::otlp::{Destination, OtlpSettings};
use crate::config::{CallLog, Config, ForwardMode, IdentityMode};
use crate::http::service::{Service, ServiceUrl};
use crate::http::tls::TlsError;
use crate::http::{self as server, BindError, Server};
use crate::intake::acceptance::Acceptance;
use crate::intake::call_events::CallEventHandler;
use crate::intake::proxy::Proxy;
use crate::journal::Journal;
use crate::metrics::family::{self, Family};
use crate::metrics::registry::{self as own_metrics, InstallError, OwnMetrics};
use crate::metrics::{catalog, text};
use crate::ops::admin::AdminHandler;
use crate::sinks::call_log;
use crate::sinks::identity::Identity;
use crate::sinks::otlp::client::OtlpClient;
use crate::sinks::otlp::metrics as otlp_metrics;
use crate::sinks::service::{self as forward_delivery, ServiceDelivery};
use crate::sinks::spans_delivery::{self as delivery, SpanDelivery};
use crate::state::readiness::Readiness;
use crate::state::refused::RefusedRequests;
use crate::state::{self as pipeline, OpenError, Pipeline};

/// Why the exporter cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The exporter's own metrics cannot be recorded.
    #[error(transparent)]
    Metrics(#[from] InstallError),
    /// The key of --identity hash cannot be used.
    #[error("cannot use {path} for --identity hash: {reason}")]
    IdentityKey {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// What keeps the calls cannot be opened.
    #[error(transparent)]
    Pipeline(#[from] OpenError),
    /// The position of a reader cannot be read or kept.
    #[error("cannot use the position of a reader in the state directory: {0}")]
    Reader(io::Error),
    /// Every request would come back.
    #[error("--forward-to {0} is where call events come in; expected the URL of the service behind")]
    ForwardToSelf(ServiceUrl),
    /// TLS towards a collector or the service cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The exporter of spans cannot be built.
    #[error(transparent)]
    SpanExporter(#[from] ExporterBuildError),
}

/// Runs the exporter until `stop` completes, then ends it in order.
///
/// # Errors
/// A part cannot be started; nothing is served then.
pub async fn run(
    config: Config,
    otlp: OtlpSettings,
    stop: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let own_metrics = Arc::new(OwnMetrics::install()?);
    own_metrics::record_build_info();
    let readiness = Readiness::default();
    let starting = readiness.latch("starting");

    let call_events = Server::bind(
        "call_events",
        config.listen,
        limits(&config, CALL_EVENT_HEADERS + config.max_uri_bytes),
    )
    .await?;
    let admin = Server::bind("admin", config.admin_listen, limits(&config, ADMIN_HEAD)).await?;
    let Pipeline { journal, acceptance, keeper } = pipeline::open(&config, &readiness)?;
    let (refused, refused_file) = RefusedRequests::new(config.refused_max, config.state_dir.as_deref());
    let refused = Arc::new(refused);
    let view = Arc::new(View {
        acceptance: Arc::clone(&acceptance),
        journal: journal.clone(),
        refused: Arc::clone(&refused),
        readiness: readiness.clone(),
        own_metrics: Arc::clone(&own_metrics),
    });
    let stop_readers = CancellationToken::new();
    let mut readers = JoinSet::new();
    start_readers(&mut readers, &config, &otlp, &view, &stop_readers)?;
    let service = service(&config, &call_events)?;
    if let Some(service) = service.as_ref().filter(|_| config.forward_mode == ForwardMode::Stored) {
        let reader = view.journal.reader(forward_delivery::READER).map_err(StartError::Reader)?;
        let settings = forward_delivery::Settings {
            call_event_path: config.call_event_path.clone(),
            concurrency: config.forward_concurrency,
            max_age: config.forward_max_age,
        };
        let delivery = ServiceDelivery::new(reader, Arc::clone(service), Arc::clone(&refused), settings);
        readers.spawn(delivery.run(stop_readers.clone()));
    }
    log_start(&config, &otlp, &call_events, &admin);

    let call_event_handler = Arc::new(CallEventHandler::new(
        config.call_event_path.clone(),
        config.max_uri_bytes,
        Arc::clone(&acceptance),
        Arc::clone(&refused),
        service.map(|service| (Proxy::new(service), config.forward_mode)),
    ));
    let path = config.call_event_path.clone();
    let admin_handler = Arc::new(AdminHandler::new(move || view.page(), readiness.clone(), refused, path));

    let (stop_intake, stop_admin) = (CancellationToken::new(), CancellationToken::new());
    let mut intake = tokio::spawn(call_events.run(call_event_handler, stop_intake.clone()));
    let admin = tokio::spawn(admin.run(admin_handler, stop_admin.clone()));
    let refused_file = refused_file.map(|file| tokio::spawn(file.run(stop_admin.clone())));
    readers.spawn(upkeep(own_metrics, stop_readers.clone()));
    if let Some(keeper) = keeper {
        readers.spawn(keeper.run(stop_readers.clone()));
        readers.spawn(pipeline::watch_storage(acceptance, stop_readers.clone()));
    }

    starting.open();
    stop.await;
    let stopping = readiness.latch("stopping");
    info!("stopping: finishing what was accepted");
    let in_order = async {
        stop_intake.cancel();
        let finished = tokio::time::timeout(config.shutdown_timeout / 2, &mut intake).await;
        stop_readers.cancel();
        while readers.join_next().await.is_some() {}
        if finished.is_err() {
            let _ = intake.await;
        }
        stop_admin.cancel();
        let _ = admin.await;
        if let Some(refused_file) = refused_file {
            let _ = refused_file.await;
        }
    };
    match tokio::time::timeout(config.shutdown_timeout, in_order).await {
        Ok(()) => info!("stopped"),
        Err(_) => warn!(timeout = ?config.shutdown_timeout, "stopped before everything was finished"),
    }
    drop(stopping);
    Ok(())
}

/// Starts everything that reads the journal or pushes the totals.
fn start_readers(
    readers: &mut JoinSet<()>,
    config: &Config,
    otlp: &OtlpSettings,
    view: &Arc<View>,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    let identity = identity(config)?;
    if let Some(destination) = &otlp.traces {
        let client = OtlpClient::new(destination.clone())?;
        let reader = view.journal.reader(delivery::READER).map_err(StartError::Reader)?;
        let (batch, delay) = (otlp.span_batch, otlp.span_delay);
        let delivery = SpanDelivery::new(reader, client, &otlp.resource, identity.clone(), batch, delay)?;
        readers.spawn(delivery.run(stop.clone()));
    }
    if let Some(destination) = &otlp.metrics {
        let client = OtlpClient::new(destination.clone())?;
        let view = Arc::clone(view);
        let source = move || view.families();
        readers.spawn(otlp_metrics::run(
            client,
            otlp.resource.clone(),
            otlp.metric_interval,
            source,
            stop.clone(),
        ));
    }
    if config.call_log == CallLog::Stdout {
        let reader = view.journal.reader(call_log::READER).map_err(StartError::Reader)?;
        readers.spawn(call_log::run(reader, identity, stop.clone()));
    }
    Ok(())
}

/// The service behind, if there is one.
fn service(config: &Config, call_events: &Server) -> Result<Option<Arc<Service>>, StartError> {
    let Some(url) = &config.forward_to else { return Ok(None) };
    if call_events.local_address().is_ok_and(|address| url.is_local_port(address.port())) {
        return Err(StartError::ForwardToSelf(url.clone()));
    }
    Ok(Some(Arc::new(Service::new(url.clone(), config.forward_timeout)?)))
}

/// What leaves of users, with the key read from its file.
fn identity(config: &Config) -> Result<Identity, StartError> {
    let path = match (config.identity, &config.identity_key_file) {
        (IdentityMode::Drop, _) => return Ok(Identity::Drop),
        (IdentityMode::Keep, _) => return Ok(Identity::Keep),
        (IdentityMode::Hash, path) => path.clone().unwrap_or_default(),
    };
    let unusable = |reason: String| StartError::IdentityKey { path: path.clone(), reason };
    let key = std::fs::read(&path).map_err(|error: io::Error| unusable(error.to_string()))?;
    let key = key.trim_ascii_end();
    if key.len() < SHORTEST_KEY {
        return Err(unusable(format!("expected a key of at least {SHORTEST_KEY} bytes, got {}", key.len())));
    }
    Ok(Identity::hash(key))
}

/// The shortest key of --identity hash: 128 bits.
const SHORTEST_KEY: usize = 16;

fn limits(config: &Config, head_bytes: usize) -> server::Limits {
    server::Limits {
        connections: config.max_connections,
        header_timeout: config.header_timeout,
        idle_timeout: config.idle_timeout,
        head_bytes,
    }
}

/// Bytes of the headers of a call event, or of a request that is passed on. What is open times what it may hold bounds
/// memory.
const CALL_EVENT_HEADERS: usize = 32 * 1024;

/// Bytes of the head of a request to the admin port.
const ADMIN_HEAD: usize = 16 * 1024;

/// Says where the exporter listens, and what is on and off.
fn log_start(config: &Config, otlp: &OtlpSettings, call_events: &Server, admin: &Server) {
    let address =
        |server: &Server| server.local_address().map(|address| address.to_string()).unwrap_or_default();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        call_events = %format_args!("http://{}{}", address(call_events), config.call_event_path),
        admin = %format_args!("http://{}", address(admin)),
        "planet-call-exporter is listening"
    );
    let endpoint = |destination: &Option<Destination>| match destination {
        Some(destination) => destination.endpoint.to_string(),
        None => "off".to_owned(),
    };
    info!(
        otlp_metrics = endpoint(&otlp.metrics),
        otlp_traces = endpoint(&otlp.traces),
        call_log = if config.call_log == CallLog::Stdout { "stdout" } else { "off" },
        identity = ?config.identity,
        forward_to = config.forward_to.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string),
        "what leaves beside /metrics"
    );
    for warning in &otlp.warnings {
        warn!("{warning}");
    }
    match &config.state_dir {
        Some(directory) => info!(state_dir = %directory.display(), "totals survive crashes and restarts"),
        None => warn!(
            "no state directory: totals, seen session IDs and what waits for delivery are in memory and begin anew with \
             each start"
        ),
    }
    if config.forward_to.is_some() && config.forward_mode == ForwardMode::Stored && config.state_dir.is_none()
    {
        warn!(
            "call events for the service behind wait in memory: they are answered 200 before it has them, and what it has not \
             taken is lost if the process dies; --state-dir or --forward-mode inline prevents that"
        );
    }
}

/// Takes in the samples of the exporter's own histograms now and then.
async fn upkeep(own_metrics: Arc<OwnMetrics>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(Duration::from_secs(5));
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        own_metrics.run_upkeep();
    }
}

/// Everything that metrics are read from, at one moment.
struct View {
    acceptance: Arc<Acceptance>,
    journal: Journal,
    refused: Arc<RefusedRequests>,
    readiness: Readiness,
    own_metrics: Arc<OwnMetrics>,
}

impl View {
    /// The page of /metrics.
    fn page(&self) -> String {
        let mut page = text::render(&self.families());
        page.push_str(&self.own_metrics.process_page());
        page
    }

    /// Every metric of the catalog: those of the ledger, and those of the process.
    fn families(&self) -> Vec<Family> {
        self.observe();
        let of_ledger = self.acceptance.ledger().families();
        family::merge(of_ledger.into_iter().chain(self.own_metrics.families()))
    }

    /// Records what is only known by looking: sizes, backlogs and ages.
    fn observe(&self) {
        use metrics::{counter, gauge};

        let now = SystemTime::now();
        gauge!(catalog::EXPORTER_SEEN_SIDS.name).set(self.acceptance.seen_sids(now) as f64);
        gauge!(catalog::EXPORTER_REFUSED_REQUESTS.name).set(self.refused.len() as f64);
        let is_failing = self.readiness.closed().contains(&pipeline::STORAGE);
        gauge!(catalog::EXPORTER_STORAGE_FAILING.name).set(f64::from(u8::from(is_failing)));
        gauge!(catalog::EXPORTER_JOURNAL_SIZE.name).set(self.journal.bytes() as f64);
        gauge!(catalog::EXPORTER_JOURNAL_DAMAGED.name).set(self.journal.damaged() as f64);
        for reader in self.journal.readers() {
            let oldest = reader.oldest.as_deref().and_then(|bytes| Record::decode(bytes).ok());
            let age =
                oldest.and_then(|oldest| now.duration_since(oldest.received_at).ok()).unwrap_or_default();
            gauge!(catalog::EXPORTER_BACKLOG.name, "reader" => reader.name).set(reader.backlog as f64);
            gauge!(catalog::EXPORTER_BACKLOG_AGE.name, "reader" => reader.name).set(age.as_secs_f64());
            counter!(catalog::EXPORTER_GIVEN_UP_EVENTS.name, "reader" => reader.name, "cause" => "backlog")
                .absolute(reader.given_up);
        }
    }
}
