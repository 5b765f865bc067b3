//! The sinks that are configured: built before the state is open, since that takes a while and what is configured wrongly is to
//! be told at once, and started when it is.

use std::sync::Arc;

use super::RunError;
use super::parts::{Ends, Parts};
use crate::config::otlp::{Destination, OtlpSettings};
use crate::config::{CallLog, Config, ForwardMode};
use crate::http::service::Service;
use crate::journal::{Journal, Reader};
use crate::ops::reload::{Reload, Reread};
use crate::sinks::call_log::{self, CallLogSink};
use crate::sinks::destination::{DestinationWatch, OTLP_LOGS, OTLP_TRACES};
use crate::sinks::drain::{Drain, MOST_WAITING};
use crate::sinks::identity::Identity;
use crate::sinks::logs::{self, Logs};
use crate::sinks::metrics::SinkStatus;
use crate::sinks::otlp::calls::OtlpSink;
use crate::sinks::otlp::client::OtlpClient;
use crate::sinks::service::{self, ServiceSink};
use crate::sinks::spans::{self, Spans};
use crate::sinks::waiting::Waiting;
use crate::sinks::{Ages, Settings, Sink};
use crate::state::quarantine::Quarantine;
use crate::state::readiness::Readiness;
use crate::state::refused::RefusedRequests;
use crate::state::undurable::Passages;

/// A sink that is configured.
pub(super) struct ConfiguredSink {
    kind: Kind,
    settings: Settings,
}

enum Kind {
    /// With what is wrong with its destination at the start.
    Spans(Arc<OtlpSink<Spans>>, Option<String>),
    /// Likewise.
    Logs(Arc<OtlpSink<Logs>>, Option<String>),
    CallLog(Arc<CallLogSink>),
    Service(Arc<ServiceSink>),
}

/// A sink with what it drains.
pub(super) struct OpenedSink {
    sink: ConfiguredSink,
    reader: Reader,
    waiting: Waiting,
}

/// Every sink that is configured.
pub(super) fn configured(
    config: &Config,
    otlp: &OtlpSettings,
    service: Option<&Arc<Service>>,
    passages: Option<&Passages>,
    refused: &Arc<RefusedRequests>,
    reload: &mut Reload,
) -> Result<Vec<ConfiguredSink>, RunError> {
    let identity = Identity::configured(config)?;
    let mut sinks = Vec::new();
    let (given_up, segment, state) = (config.state_max_age, config.segment_age, config.state_lifetime());
    let ages = Ages { given_up, segment, state };
    let mut add =
        |kind, settings| sinks.push(ConfiguredSink { kind, settings: Settings { ages, ..settings } });
    if let Some(destination) = otlp.traces.destination() {
        let client = client(destination, reload);
        let form = Spans::new(client.clone(), &otlp.resource, identity.clone(), otlp.sampling)?;
        let trouble = client.trouble();
        add(Kind::Spans(Arc::new(OtlpSink::new(client, form)), trouble), spans::settings(otlp.span_batches));
    }
    if let Some(destination) = otlp.logs.destination() {
        let spans = otlp.traces.destination().map(|_| otlp.sampling);
        let client = client(destination, reload);
        let form = Logs::new(client.clone(), &otlp.resource, identity.clone(), spans);
        let trouble = client.trouble();
        add(Kind::Logs(Arc::new(OtlpSink::new(client, form)), trouble), logs::settings(otlp.log_batches));
    }
    if config.call_log == CallLog::Stdout {
        add(Kind::CallLog(Arc::new(CallLogSink::new(identity))), call_log::settings());
    }
    if let Some((service, passages)) =
        service.zip(passages).filter(|_| config.forward_mode == ForwardMode::Stored)
    {
        let path = config.call_event_path.clone();
        let sink = ServiceSink::new(Arc::clone(service), passages.clone(), Arc::clone(refused), path);
        add(
            Kind::Service(Arc::new(sink)),
            service::settings(config.forward_concurrency, config.forward_max_age),
        );
    }
    Ok(sinks)
}

/// The client of a receiver, whose files are read again at SIGHUP.
fn client(destination: &Destination, reload: &mut Reload) -> OtlpClient {
    let client = OtlpClient::new(destination.clone());
    register(&client, reload);
    client
}

/// Has the certificates and keys towards a receiver read again at SIGHUP, if there is TLS.
pub(super) fn register(client: &OtlpClient, reload: &mut Reload) {
    if client.destination().is_secure() {
        let files: Vec<_> = client.destination().files().map(|file| file.display().to_string()).collect();
        let what = match files.is_empty() {
            true => "the system's certificate authorities".to_owned(),
            false => files.join(", "),
        };
        let name = format!("{what} for OTLP {}", client.signal().as_str());
        let client = client.clone();
        reload.register(name, move || Ok(Reread::by(client.read_again()?)));
    }
}

impl ConfiguredSink {
    /// Opens what the sink drains, which reads all that waits for it.
    pub(super) fn open(self, journal: &Journal) -> Result<OpenedSink, RunError> {
        let name = self.settings.name;
        let reader = journal.reader(name).map_err(RunError::Position)?;
        let waiting = Waiting::open(journal, &reader, name, MOST_WAITING)?;
        Ok(OpenedSink { sink: self, reader, waiting })
    }
}

impl OpenedSink {
    /// Starts to drain. What the sink fails on goes to `quarantine`; whether a destination of OTLP is configured rightly, to
    /// `readiness`.
    pub(super) fn start(
        self,
        parts: &mut Parts,
        readiness: &Readiness,
        quarantine: &Quarantine,
        ends: &Ends,
    ) -> Arc<SinkStatus> {
        let OpenedSink { sink: ConfiguredSink { kind, settings }, reader, waiting } = self;
        let watch = |latch, trouble: &Option<String>| {
            let latch = readiness.latch_for_show(latch);
            Some(DestinationWatch::new(settings.signal, latch, trouble.clone()))
        };
        let destination = match &kind {
            Kind::Spans(_, trouble) => watch(OTLP_TRACES, trouble),
            Kind::Logs(_, trouble) => watch(OTLP_LOGS, trouble),
            Kind::CallLog(_) | Kind::Service(_) => None,
        };
        let quarantine = quarantine.clone();
        let drained = Drained { settings, reader, waiting, destination, quarantine, ends };
        match kind {
            Kind::Spans(sink, _) => drained.into(sink, parts),
            Kind::Logs(sink, _) => drained.into(sink, parts),
            Kind::CallLog(sink) => drained.into(sink, parts),
            Kind::Service(sink) => drained.into(sink, parts),
        }
    }
}

/// What is drained, and how.
struct Drained<'a> {
    settings: Settings,
    reader: Reader,
    waiting: Waiting,
    destination: Option<DestinationWatch>,
    quarantine: Quarantine,
    ends: &'a Ends,
}

impl Drained<'_> {
    fn into<S: Sink>(self, sink: Arc<S>, parts: &mut Parts) -> Arc<SinkStatus> {
        let Drained { settings, reader, waiting, destination, quarantine, ends } = self;
        let name = settings.name;
        quarantine.start_at_zero(name);
        let drain = Drain::new(sink, settings, reader, waiting, quarantine);
        let drain = drain.with_destination(destination).ending_at(ends.last.clone());
        let status = drain.status();
        parts.spawn_sink(name, drain.run(ends.sinks.clone()));
        status
    }
}
