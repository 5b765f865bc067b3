//! What the `OTEL_*` environment variables say.
//!
//! Source: OpenTelemetry specification, "Environment Variable Specification" and "OpenTelemetry Protocol Exporter". One
//! table (`variables`) has each of them. OTLP is on for metrics and spans when an endpoint is set for them, or when it
//! is asked for by name, and for logs when `--call-log` asks for it. An empty variable is an unset one.
//!
//! A cluster may set these for all of its pods, so none of them stops anything: what cannot be read is said, and it is
//! as if it were not set; where that would push elsewhere than was meant, the signal is not pushed.

mod destination;
mod proxy;
mod reader;
mod resource;
mod sampling;
mod variables;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use opentelemetry_sdk::Resource;

use self::reader::Reader;
use self::variables::{
    HISTOGRAM_AGGREGATION, LOG_LEVEL, LOG_MAX_EXPORT_BATCH_SIZE, LOG_SCHEDULE_DELAY, MAX_EXPORT_BATCH_SIZE,
    METRIC_EXPORT_INTERVAL, SCHEDULE_DELAY, SDK_DISABLED, TEMPORALITY_PREFERENCE,
};
use super::environment::Environment;
use super::remark::{InvalidVariable, Remark};
use super::{CallLog, Config};
use crate::http::peer::url_for_people;

pub use proxy::OtlpProxy;
pub use sampling::Sampling;

/// What a push carries; the value of the label `signal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Metrics.
    Metrics,
    /// Spans.
    Traces,
    /// The call log.
    Logs,
}

impl Signal {
    /// All of them.
    pub const ALL: [Signal; 3] = [Signal::Metrics, Signal::Traces, Signal::Logs];

    /// The value of the label `signal`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Signal::Metrics => "metrics",
            Signal::Traces => "traces",
            Signal::Logs => "logs",
        }
    }

    /// What it carries, for people.
    pub const fn items(self) -> &'static str {
        match self {
            Signal::Metrics => "metrics",
            Signal::Traces => "spans",
            Signal::Logs => "logs",
        }
    }

    /// Its form in the names of variables.
    pub const fn in_variables(self) -> &'static str {
        match self {
            Signal::Metrics => "METRICS",
            Signal::Traces => "TRACES",
            Signal::Logs => "LOGS",
        }
    }

    /// The path of the signal below a base endpoint, for http/protobuf and for gRPC.
    pub const fn path(self, protocol: Protocol) -> &'static str {
        match (protocol, self) {
            (Protocol::HttpProtobuf, Signal::Metrics) => "/v1/metrics",
            (Protocol::HttpProtobuf, Signal::Traces) => "/v1/traces",
            (Protocol::HttpProtobuf, Signal::Logs) => "/v1/logs",
            (Protocol::Grpc, Signal::Metrics) => {
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
            }
            (Protocol::Grpc, Signal::Traces) => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            (Protocol::Grpc, Signal::Logs) => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

/// How OTLP is transported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf in HTTP requests.
    #[default]
    HttpProtobuf,
}

/// Where and how one signal is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Which signal.
    pub signal: Signal,
    /// The full URI that requests go to, without credentials. A query may hold a secret.
    pub endpoint: Uri,
    /// How.
    pub protocol: Protocol,
    /// Headers, or metadata of gRPC, to send along, also for credentials in the endpoint; they can hold secrets and are
    /// marked so.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Time for one whole attempt.
    pub timeout: Duration,
    /// Whether messages are compressed.
    pub gzip: bool,
    /// PEM file of the authorities to trust instead of the system's.
    pub certificate: Option<PathBuf>,
    /// PEM files of the client's certificate and its key.
    pub client_identity: Option<(PathBuf, PathBuf)>,
    /// Through which proxy, if through one.
    pub proxy: Option<OtlpProxy>,
}

impl Destination {
    /// Whether the way there is TLS. Without it no file is read.
    pub fn is_secure(&self) -> bool {
        self.endpoint.scheme_str() == Some("https")
    }

    /// The files of certificates and keys that are read for it.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let (certificate, key) = self.client_identity.as_ref().map(|(one, other)| (one, other)).unzip();
        [self.certificate.as_ref(), certificate, key].into_iter().flatten().map(PathBuf::as_path)
    }
}

/// Where it goes, for people: without secrets.
impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&url_for_people(&self.endpoint.to_string()))?;
        match &self.proxy {
            Some(proxy) => write!(formatter, " through {}", url_for_people(&proxy.uri.to_string())),
            None => Ok(()),
        }
    }
}

/// Whether a signal is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// It is not, and that is right.
    Off(WhyOff),
    /// It is not, though it was asked for, since a variable cannot be followed.
    Misconfigured,
    /// It is.
    To(Box<Destination>),
}

/// Why a signal is not pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyOff {
    /// Nothing is to be pushed.
    Disabled,
    /// Its exporter is another one, or none.
    Exporter,
    /// Spans are pushed of no call.
    Sampler,
    /// The call log goes elsewhere, or nowhere.
    CallLog,
    /// Nothing says where to.
    NoEndpoint,
}

impl Push {
    /// Where the signal goes, if anywhere.
    pub fn destination(&self) -> Option<&Destination> {
        match self {
            Push::To(destination) => Some(destination),
            Push::Off(_) | Push::Misconfigured => None,
        }
    }

    /// That a signal is rightly not pushed, and why.
    fn why_off(&self, signal: Signal) -> Option<String> {
        let Push::Off(reason) = self else { return None };
        Some(format!("{} are not pushed, since {}", signal.as_str(), reason.explain(signal)))
    }
}

impl WhyOff {
    /// The reason for people, as it stands behind "since".
    pub fn explain(self, signal: Signal) -> String {
        match self {
            WhyOff::Disabled => "OTEL_SDK_DISABLED is true".to_owned(),
            // The flag asks for logs, and nothing else takes them back.
            WhyOff::Exporter if signal == Signal::Logs => "OTEL_LOGS_EXPORTER is none".to_owned(),
            WhyOff::Exporter => format!("OTEL_{}_EXPORTER does not name otlp", signal.in_variables()),
            WhyOff::Sampler => "OTEL_TRACES_SAMPLER takes no call".to_owned(),
            WhyOff::CallLog => "--call-log is not otlp".to_owned(),
            WhyOff::NoEndpoint => "no endpoint is set".to_owned(),
        }
    }
}

/// What flags say on which variables depend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// Whether one says the level of the log.
    pub has_log_level: bool,
    /// Whether the call log is to go over OTLP.
    pub pushes_call_log: bool,
}

impl Flags {
    /// What is configured.
    pub fn of(config: &Config) -> Flags {
        let pushes_call_log = config.call_log == CallLog::Otlp;
        Flags { has_log_level: config.log_level.is_some(), pushes_call_log }
    }
}

/// Everything about OTLP.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    /// Whether and where metrics are pushed.
    pub metrics: Push,
    /// Whether and where spans are pushed.
    pub traces: Push,
    /// Whether and where the call log is pushed.
    pub logs: Push,
    /// Of which calls spans are pushed.
    pub sampling: Sampling,
    /// What the pushes say of their source.
    pub resource: Resource,
    is_in_kubernetes: bool,
    /// How often metrics are pushed.
    pub metric_interval: Duration,
    /// How spans form batches.
    pub span_batches: Batches,
    /// How logs do.
    pub log_batches: Batches,
    /// The level of the log, unless a flag says it.
    pub log_level: &'static str,
    /// What is to be said of the variables.
    pub remarks: Vec<Remark>,
}

/// How what is pushed of single calls forms batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    /// How many are in one request, at most.
    pub size: usize,
    /// How long one waits for company.
    pub delay: Duration,
}

/// Milliseconds that can be configured.
const MILLISECONDS: RangeInclusive<u64> = 1..=i32::MAX as u64;
const BATCH_SIZES: RangeInclusive<u64> = 1..=10_000;

impl OtlpSettings {
    /// What `environment` says. Of the log's level it is not asked if a flag says it.
    pub fn read(environment: &Environment, flags: Flags) -> OtlpSettings {
        let reader = Reader::new(environment);
        let disabled = reader.boolean(&SDK_DISABLED, None).then_some(WhyOff::Disabled);
        let sampling = sampling::sampling(&reader);
        let unsampled = sampling.is_none().then_some(WhyOff::Sampler);
        let metrics = destination::push(&reader, environment, Signal::Metrics, disabled);
        let traces = destination::push(&reader, environment, Signal::Traces, disabled.or(unsampled));
        let unasked = (!flags.pushes_call_log).then_some(WhyOff::CallLog);
        let logs = destination::push(&reader, environment, Signal::Logs, disabled.or(unasked));
        let resource = resource::resource(&reader);
        let milliseconds = |variable| Duration::from_millis(reader.number(variable, None, MILLISECONDS));
        let metric_interval = milliseconds(&METRIC_EXPORT_INTERVAL);
        let batches = |size, delay| Batches {
            size: reader.number(size, None, BATCH_SIZES) as usize,
            delay: milliseconds(delay),
        };
        let span_batches = batches(&MAX_EXPORT_BATCH_SIZE, &SCHEDULE_DELAY);
        let log_batches = batches(&LOG_MAX_EXPORT_BATCH_SIZE, &LOG_SCHEDULE_DELAY);
        let log_level = if flags.has_log_level { LOG_LEVEL.default() } else { log_level(&reader) };
        reader.nothing_but_the_default(
            &TEMPORALITY_PREFERENCE,
            "metrics stay cumulative, since totals go on across restarts; the collector's cumulativetodelta processor makes deltas \
             of them",
        );
        reader.nothing_but_the_default(
            &HISTOGRAM_AGGREGATION,
            "histograms keep the buckets of --duration-buckets and --setup-buckets; no processor of the collector makes \
             exponential ones of them",
        );
        note_proxies(&reader, environment);
        let remarks =
            reader.finish(&[(Signal::Metrics, &metrics), (Signal::Traces, &traces), (Signal::Logs, &logs)]);
        OtlpSettings {
            metrics,
            traces,
            logs,
            sampling,
            resource,
            is_in_kubernetes: environment.get("KUBERNETES_SERVICE_HOST").is_some(),
            metric_interval,
            span_batches,
            log_batches,
            log_level,
            remarks,
        }
    }

    /// Whether and where a signal is pushed.
    pub fn push(&self, signal: Signal) -> &Push {
        match signal {
            Signal::Metrics => &self.metrics,
            Signal::Traces => &self.traces,
            Signal::Logs => &self.logs,
        }
    }

    /// Names the instance after the host and the port of call events, unless the environment names it. In Kubernetes it is the
    /// host's name alone, which is the pod's. Either is the same after a restart, so that series go on.
    pub fn name_instance(&mut self, port: u16) {
        if self.resource.get(&resource::INSTANCE).is_some() {
            return;
        }
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let instance = if self.is_in_kubernetes { host } else { format!("{host}:{port}") };
        self.resource = resource::with(&self.resource, resource::INSTANCE, instance);
    }
}

fn log_level(reader: &Reader<'_>) -> &'static str {
    let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
    let choices: Vec<_> = levels.into_iter().chain([("none", "off")]).collect();
    reader.choice(&LOG_LEVEL, None, &choices)
}

/// Says which proxies cannot be used.
fn note_proxies(reader: &Reader<'_>, environment: &Environment) {
    for name in proxy::unusable(|name| environment.get(name).map(str::to_owned)) {
        reader.note(Remark::Invalid(InvalidVariable {
            variable: name.to_owned(),
            given: "(not shown)".to_owned(),
            expected: "a URL of http://, since that is the only way to a proxy".to_owned(),
            instead: "the collector is reached without it".to_owned(),
        }));
    }
}

#[cfg(test)]
mod tests;
