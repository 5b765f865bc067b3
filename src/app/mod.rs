//! Builds the parts, supervises them, and stops them in order.
//!
//! The order of the start: the admin port answers first; then the address of call events is bound, the state is opened, sinks
//! begin, and intake begins.
//!
//! While it runs, no part may end. One that does is named in the log, and the process ends with it: the journal is built for
//! that, and nothing is half alive.
//!
//! The order of the end:
//! 1. The exporter is not ready. For `--drain-time` it still serves everybody.
//! 2. Listeners accept nothing more and finish what they began, for at most half of `--shutdown-timeout`.
//! 3. Sinks and pushes deliver what they can, and say what they leave behind. Unfinished requests go on meanwhile.
//! 4. The process ends. Steps 2 to 4 take at most `--shutdown-timeout`.

mod access;
mod descriptors;
mod first_lines;
mod parts;
mod run_error;
mod sinks;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::http::uri::Scheme;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::otlp::{OtlpSettings, Push, Signal};
use crate::config::routes::Routes;
use crate::config::{Config, ForwardMode, ProxyProtocol};
use crate::http::service::Service;
use crate::http::{Limits, Purpose, Server, TrustedProxies};
use crate::intake::acceptance::{Acceptance, Store};
use crate::intake::admission::Admission;
use crate::intake::canary::sender::{CANARY, Sender as CanarySender};
use crate::intake::checks::Checks;
use crate::intake::draining::Draining;
use crate::intake::handler::CallbackHandler;
use crate::intake::proxy::Proxy;
use crate::journal::Journal;
use crate::metrics::registry::{self, OwnMetrics};
use crate::ops::admin::{self, AdminHandler, Orders};
use crate::ops::reload::Reload;
use crate::ops::service_manager::{self, Said};
use crate::ops::signals::Hangups;
use crate::ops::view::View;
use crate::sinks::destination::{DestinationWatch, OTLP_METRICS, latch_of};
use crate::sinks::otlp::client::OtlpClient;
use crate::sinks::otlp::metrics as otlp_metrics;
use crate::state::committer::CommitterHandle;
use crate::state::fold::Fold;
use crate::state::health::Health;
use crate::state::json_lines::Lines;
use crate::state::known::SharedKnown;
use crate::state::readiness::Readiness;
use crate::state::refused::RefusedRequests;
use crate::state::undurable::{PATIENCE, Passages};
use crate::state::{self, State, Storage};

pub(crate) use first_lines::SAMPLE;
use parts::{Ends, Parts};
pub use run_error::RunError;
use sinks::{ConfiguredSink, OpenedSink};

/// Where an exporter listens, in a form to which a client on this host can connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// The port of call events.
    pub call_events: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
}

/// Runs the exporter until `stop` completes, or until a program on this host ends it (`--admin-quit`), and then shuts it
/// down in order. Reads its files again at each of `hangups`. Calls `ready` once it takes call events.
///
/// # Errors
/// A part cannot be started, and nothing is served then; or a part ended unexpectedly.
pub async fn run(
    config: Config,
    mut otlp: OtlpSettings,
    stop: impl Future<Output = ()>,
    hangups: Hangups,
    ready: impl FnOnce(Listening),
) -> Result<(), RunError> {
    let connections = descriptors::raise_limit(&config);
    let routes = Routes::of(&config);
    config.check_paths()?;
    let mut reload = Reload::default();
    let secrets = access::secrets(&config, &mut reload)?;
    let registry = OwnMetrics::install()?;
    registry::record_start(SystemTime::now());
    let readiness = Readiness::default();
    let starting = readiness.latch(state::STARTING);
    let mut parts = Parts::default();
    let ends = Ends::default();

    let (refused, refused_lines) = refused_requests(&config);
    let health = Arc::new(Health::new(readiness.clone()));
    let view = Arc::new(View::new(registry, Arc::clone(&health), Arc::clone(&refused)));
    let access = access::admin(&config, &mut reload)?;
    let call_events_tls = access::call_events_tls(&config, &mut reload)?;
    let is_admin_tls = access.tls().is_some();
    let quit = CancellationToken::new();
    let orders = Orders { drain: ends.intake.drain.clone(), quit: config.admin_quit.then(|| quit.clone()) };
    // Without spans no call has one.
    let trace_url = config.trace_url.clone().filter(|_| otlp.traces.destination().is_some());
    let (shown, stop_admin) = (Arc::clone(&view), ends.admin.clone());
    let admin_handler = AdminHandler::new(shown, access, &config, trace_url, orders, stop_admin);
    let (admin, admin_thread) = admin::start(
        config.admin_listen.clone(),
        limits(&config, connections.admin, ADMIN_HEAD),
        admin_handler,
        ends.admin.clone(),
    )
    .await?;
    parts.watch_admin(admin_thread);
    let head_bytes = CALL_EVENT_HEADERS + config.max_uri_bytes;
    let is_proxied = config.proxy_protocol == ProxyProtocol::Required;
    let trusted = is_proxied.then(|| TrustedProxies::new(&config.trusted_proxies));
    let limits = limits(&config, connections.call_events, head_bytes);
    let call_events = Server::bind(Purpose::CallEvents, &config.listen, limits).await;
    let call_events = call_events.map_err(|error| match config.same_port(&error, &admin) {
        Some(contradiction) => RunError::from(contradiction),
        None => RunError::from(error),
    })?;
    let call_events = call_events.with_proxy_protocol(trusted).with_tls(call_events_tls);
    otlp.name_instance(call_events.addresses().first().map_or(config.listen.port(), SocketAddr::port));
    let service = service(&config, call_events.addresses(), &admin).await?;

    let canary = config.canary_url.clone().map(|url| {
        CanarySender::new(url, secrets.clone(), config.canary_interval, readiness.latch_for_show(CANARY))
    });

    let passages = service.is_some().then(|| Passages::new(config.forward_mode == ForwardMode::Stored));
    let sinks =
        sinks::configured(&config, &otlp, service.as_ref(), passages.as_ref(), &refused, &mut reload)?;

    let stop = async {
        tokio::select! {
            () = stop => {}
            () = quit.cancelled() => {}
        }
    };
    let mut stop = pin!(stop);
    let Opened { mut state, sinks } = tokio::select! {
        opened = open(&config, &readiness, passages, sinks) => opened?,
        () = &mut stop => {
            info!("stopped before the state was open");
            return Ok(());
        }
        name = parts.ended() => return Err(RunError::PartEnded(name)),
    };
    std::mem::take(&mut state.threads).into_iter().for_each(|thread| parts.watch(thread));
    let start = |sink: OpenedSink| sink.start(&mut parts, &readiness, &state.quarantine, &ends);
    let statuses = sinks.into_iter().map(start).collect();
    view.show(&state, statuses);
    for signal in Signal::ALL {
        if *otlp.push(signal) == Push::Misconfigured {
            DestinationWatch::show_none(signal.as_str(), &readiness.latch_for_show(latch_of(signal)));
        }
    }
    if let Some(destination) = otlp.metrics.destination() {
        let client = OtlpClient::new(destination.clone());
        sinks::register(&client, &mut reload);
        view.note_push_to(destination.to_string());
        let view = Arc::clone(&view);
        let ends = otlp_metrics::Ends {
            stop: ends.pushes.clone(),
            last: ends.last.clone(),
            state: config.state_lifetime(),
        };
        let (resource, interval) = (otlp.resource.clone(), otlp.metric_interval);
        state.readers.push_as(otlp_metrics::identity(&client, &resource), state.fold.births());
        let latch = readiness.latch_for_show(OTLP_METRICS);
        let destination = DestinationWatch::new(client.signal().as_str(), latch, client.trouble());
        parts.spawn_push(
            "the push of metrics",
            otlp_metrics::run(client, resource, interval, destination, view, ends),
        );
    }
    first_lines::log(&config, &otlp, call_events.addresses(), &admin, is_admin_tls);

    let listening = call_events.addresses().first().zip(admin.first()).map(|(call_events, admin)| {
        Listening { call_events: first_lines::from_here(*call_events), admin: first_lines::from_here(*admin) }
    });

    let State { known, fold, journal, storage, quarantine_file, .. } = state;
    let refused_file = match (journal, refused_lines) {
        (Journal::Disk(journal), Some(lines)) => {
            Some(lines.into_file(journal.storage().clone(), config.refused_age))
        }
        _ => None,
    };
    let store = start_storage(&mut parts, &ends, storage, fold, &known);
    let draining = Draining::new(ends.intake.clone(), config.state_lifetime());
    let scheme = if config.tls_files().is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    let proxy = service.map(|service| Proxy::new(service, scheme, draining));
    if let Some(proxy) = proxy.as_ref().filter(|_| config.forward_mode == ForwardMode::Inline) {
        // Otherwise a sink delivers to it.
        view.watch("service", proxy.condition());
    }
    let handler = CallbackHandler::new(
        routes,
        Admission::configured(&config, secrets),
        config.max_uri_bytes,
        Acceptance::new(known, store),
        refused,
        proxy,
        Checks::new(health, config.readiness_path.clone(), &config.call_event_path),
    );
    parts.spawn_intake("intake", call_events.run(Arc::new(handler), ends.intake.clone()));
    if let Some(canary) = canary {
        let (drain, stop) = (ends.intake.drain.clone(), ends.sinks.clone());
        parts.spawn_sink("the canary", async move {
            canary.run(drain).await;
            // It sends none while the exporter drains, and no part may end before it is told to.
            stop.cancelled().await;
        });
    }
    parts.spawn_sink("the file reloader", reload.run(hangups, ends.sinks.clone()));
    parts.spawn_sink("the housekeeping task", upkeep(view, ends.sinks.clone()));
    for (name, file) in [("the file of refused requests", refused_file), ("the quarantine", quarantine_file)]
    {
        if let Some(file) = file {
            parts.spawn_file(name, file.run(ends.admin.clone()));
        }
    }

    starting.open();
    service_manager::tell(Said::Ready);
    if let Some(listening) = listening {
        ready(listening);
    }
    tokio::select! {
        () = &mut stop => {}
        name = parts.ended() => return Err(RunError::PartEnded(name)),
    }
    drain_and_stop(&mut parts, &ends, &config, &readiness).await
}

/// Starts what keeps a state directory, and returns where accepted events go.
fn start_storage(
    parts: &mut Parts,
    ends: &Ends,
    storage: Storage,
    fold: Arc<Fold>,
    known: &SharedKnown,
) -> Store {
    let (committer, keeper) = match storage {
        Storage::Memory(journal) => return Store::Memory(journal, fold),
        Storage::Directory(committer, keeper) => (Arc::new(committer), keeper),
    };
    // After the sinks: it keeps what receivers were shown at the end.
    parts.spawn_file("the state directory keeper", keeper.run(ends.admin.clone()));
    let watch = watch_storage(Arc::clone(&committer), known.clone(), ends.sinks.clone());
    parts.spawn_sink("the watch of the disk", watch);
    Store::Disk(committer)
}

/// Ends everything in order.
async fn drain_and_stop(
    parts: &mut Parts,
    ends: &Ends,
    config: &Config,
    readiness: &Readiness,
) -> Result<(), RunError> {
    let _stopping = readiness.latch("stopping");
    service_manager::tell(Said::Stopping);
    if !config.drain_time.is_zero() {
        info!(drain_time = ?config.drain_time, "draining: not ready, and each answer closes its connection");
        ends.intake.drain.cancel();
        tokio::select! {
            () = tokio::time::sleep(config.drain_time) => {}
            name = parts.ended() => return Err(RunError::PartEnded(name)),
        }
    }
    info!("stopping: finishing what was accepted");
    match parts.end(ends, config.shutdown_timeout).await {
        true => info!("stopped"),
        false => warn!(timeout = ?config.shutdown_timeout, "stopped before everything was finished"),
    }
    Ok(())
}

/// What is refused, and the lines for its file, if there is to be one.
fn refused_requests(config: &Config) -> (Arc<RefusedRequests>, Option<Lines>) {
    let (most, age) = (config.refused_max, config.refused_age);
    let (refused, lines) = match config.state_dir {
        Some(_) => {
            let (refused, lines) = RefusedRequests::in_directory(most, age);
            (refused, Some(lines))
        }
        None => (RefusedRequests::in_memory(most, age), None),
    };
    (Arc::new(refused), lines)
}

/// What is open: the state, and what the sinks drain.
struct Opened {
    state: State,
    sinks: Vec<OpenedSink>,
}

/// Opens the state and what the sinks drain, which may take a while, in which nothing else waits.
async fn open(
    config: &Config,
    readiness: &Readiness,
    passages: Option<Passages>,
    sinks: Vec<ConfiguredSink>,
) -> Result<Opened, RunError> {
    let (config, readiness) = (config.clone(), readiness.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let state = state::open(&config, &readiness, passages)?;
        let sinks = sinks.into_iter().map(|sink| sink.open(&state.journal)).collect::<Result<_, _>>()?;
        Ok(Opened { state, sinks })
    });
    opened.await.unwrap_or_else(|panic| {
        error!(%panic, "the state cannot be opened");
        Err(RunError::PartEnded("opening the state"))
    })
}

/// The service behind, if there is one.
async fn service(
    config: &Config,
    call_events: &[SocketAddr],
    admin: &[SocketAddr],
) -> Result<Option<Arc<Service>>, RunError> {
    let Some(url) = &config.forward_to else { return Ok(None) };
    config.check_service(call_events, admin).await?;
    Ok(Some(Arc::new(Service::new(url.clone(), config.forward_timeout)?)))
}

fn limits(config: &Config, connections: usize, head_bytes: usize) -> Limits {
    Limits {
        connections,
        connections_of_a_peer: config.max_connections_per_peer,
        header_timeout: config.header_timeout,
        idle_timeout: config.idle_timeout,
        stall_timeout: config.idle_timeout.min(LONGEST_STALL),
        answer_timeout: None,
        head_bytes,
    }
}

/// How long a peer may take nothing of an answer, unless connections may not even be idle that long.
const LONGEST_STALL: Duration = Duration::from_secs(75);

/// Bytes of the headers of a call event, or of a request that is passed on. What is open times what it may hold bounds
/// memory.
const CALL_EVENT_HEADERS: usize = 32 * 1024;

/// Bytes of the head of a request to the admin port.
const ADMIN_HEAD: usize = 16 * 1024;

/// Forgets now and then what is kept for a while only, and shows that this runtime gets on.
async fn upkeep(view: Arc<View>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(Duration::from_secs(5));
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        view.forget_old();
        view.beat();
        service_manager::tell(Said::Alive);
    }
    view.rest();
}

/// How often it is looked whether the journal can be written.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Watches the disk until `stop`, and tries once more then to store what is held. A task of its own, since the keeper waits for
/// the same disk.
async fn watch_storage(committer: Arc<CommitterHandle>, known: SharedKnown, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        committer.watch(Instant::now());
    }
    if known.lock().undurable() == 0 {
        return;
    }
    // How it ended is seen from what is still held.
    let _ = tokio::time::timeout(PATIENCE, committer.probe()).await;
    let events = known.lock().undurable();
    if events > 0 {
        error!(events, "call events could not be stored until the end, and are missing from the totals");
    }
}
