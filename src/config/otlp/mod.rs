//! What the `OTEL_*` environment variables say, validated.
//!
//! Source: OpenTelemetry specification, "Environment Variable Specification" and "OpenTelemetry Protocol Exporter".
//! OTLP is on for a signal when an endpoint is set for it. An empty variable is an unset one.

mod proxy;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::Resource;
use percent_encoding::percent_decode_str;
use thiserror::Error;

pub use proxy::OtlpProxy;

use crate::http::peer::url_for_people;

/// A variable that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid value {given:?} for {variable}: expected {expected}")]
pub struct InvalidVariable {
    /// Its name.
    pub variable: String,
    /// Its value; not shown where it can be a secret.
    pub given: String,
    /// What is accepted.
    pub expected: &'static str,
}

/// What a push carries; the value of the label `signal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Metrics.
    Metrics,
    /// Spans.
    Traces,
}

impl Signal {
    /// The value of the label `signal`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Signal::Metrics => "metrics",
            Signal::Traces => "traces",
        }
    }

    /// What it carries, for people.
    pub const fn items(self) -> &'static str {
        match self {
            Signal::Metrics => "metrics",
            Signal::Traces => "spans",
        }
    }

    /// Its form in the names of variables.
    pub const fn in_variables(self) -> &'static str {
        match self {
            Signal::Metrics => "METRICS",
            Signal::Traces => "TRACES",
        }
    }

    /// The path of the signal below a base endpoint, for http/protobuf and for gRPC.
    pub const fn path(self, protocol: Protocol) -> &'static str {
        match (protocol, self) {
            (Protocol::HttpProtobuf, Signal::Metrics) => "/v1/metrics",
            (Protocol::HttpProtobuf, Signal::Traces) => "/v1/traces",
            (Protocol::Grpc, Signal::Metrics) => {
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
            }
            (Protocol::Grpc, Signal::Traces) => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        }
    }
}

/// How OTLP is transported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf in HTTP requests.
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
    /// Headers, or metadata of gRPC, to send along, also for credentials in the endpoint; they can hold secrets and are marked so.
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

/// Everything about OTLP.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    /// Where metrics go, if anywhere.
    pub metrics: Option<Destination>,
    /// Where spans go, if anywhere.
    pub traces: Option<Destination>,
    /// What the pushes say of their source.
    pub resource: Resource,
    is_in_kubernetes: bool,
    /// How often metrics are pushed.
    pub metric_interval: Duration,
    /// How long spans wait for company.
    pub span_delay: Duration,
    /// Spans in one request, at most.
    pub span_batch: usize,
    /// What was asked for and is not done.
    pub warnings: Vec<String>,
}

impl OtlpSettings {
    /// Reads the variables through `variable`.
    ///
    /// # Errors
    /// The first variable that cannot be followed.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<OtlpSettings, InvalidVariable> {
        let variables = Variables(&|name: &str| variable(name).filter(|value| !value.is_empty()));
        let disabled =
            variables.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let destination = |signal| if disabled { Ok(None) } else { variables.destination(signal) };
        Ok(OtlpSettings {
            metrics: destination(Signal::Metrics)?,
            traces: destination(Signal::Traces)?,
            resource: resource(),
            is_in_kubernetes: variables.get("KUBERNETES_SERVICE_HOST").is_some(),
            metric_interval: variables.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000)?,
            span_delay: variables.milliseconds("OTEL_BSP_SCHEDULE_DELAY", 5_000)?,
            span_batch: variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?.min(10_000) as usize,
            warnings: variables.warnings(),
        })
    }

    /// Names the instance after the host and the port of call events, unless the environment names it. In Kubernetes it is the
    /// host's name alone, which is the pod's. Either is the same after a restart, so that series go on.
    pub fn name_instance(&mut self, port: u16) {
        if self.resource.get(&INSTANCE).is_some() {
            return;
        }
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let instance = if self.is_in_kubernetes { host } else { format!("{host}:{port}") };
        let known = self.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        let attributes = known.chain([KeyValue::new(INSTANCE, instance)]).collect::<Vec<_>>();
        self.resource = Resource::builder_empty().with_attributes(attributes).build();
    }
}

/// A URI without the user and password that may stand in it, and these as Basic authorization, as for any URL (RFC 7617).
fn without_credentials(uri: Uri) -> Option<(Uri, Option<HeaderValue>)> {
    let authority = uri.authority()?.as_str();
    let Some((credentials, host)) = authority.rsplit_once('@') else { return Some((uri, None)) };
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let mut basic: Vec<u8> = percent_decode_str(user).collect();
    basic.push(b':');
    basic.extend(percent_decode_str(password));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(basic))).ok()?;
    value.set_sensitive(true);
    let host = host.parse().ok()?;
    let mut parts = uri.into_parts();
    parts.authority = Some(host);
    Some((Uri::from_parts(parts).ok()?, Some(value)))
}

/// Who the telemetry comes from: what the environment says, and a default where it says nothing. Which instance it is, is known
/// later.
fn resource() -> Resource {
    let detected = Resource::builder().build();
    let service_name = Key::from_static_str("service.name");
    let is_named =
        detected.get(&service_name).is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut defaults = vec![("service.version", env!("CARGO_PKG_VERSION").to_owned())];
    defaults.retain(|(name, _)| detected.get(&Key::from_static_str(name)).is_none());
    if !is_named {
        defaults.push(("service.name", env!("CARGO_PKG_NAME").to_owned()));
    }
    let defaults = defaults.into_iter().map(|(name, value)| KeyValue::new(name, value));
    Resource::builder().with_attributes(defaults).build()
}

const INSTANCE: Key = Key::from_static_str("service.instance.id");

/// The variables that are set.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }

    /// A variable in its form for one signal or, failing that, its general form, with the name that was found.
    fn for_signal(&self, signal: Signal, name: &str) -> Option<(String, String)> {
        let specific = format!("OTEL_EXPORTER_OTLP_{}_{name}", signal.in_variables());
        let general = format!("OTEL_EXPORTER_OTLP_{name}");
        [specific, general].into_iter().find_map(|variable| Some((self.get(&variable)?, variable)))
    }

    fn number(&self, variable: &str, default: u64) -> Result<u64, InvalidVariable> {
        let Some(given) = self.get(variable) else { return Ok(default) };
        match given.trim().parse() {
            Ok(number @ 1..) => Ok(number),
            _ => Err(InvalidVariable {
                variable: variable.to_owned(),
                given,
                expected: "a whole number above zero",
            }),
        }
    }

    fn milliseconds(&self, variable: &str, default: u64) -> Result<Duration, InvalidVariable> {
        self.number(variable, default).map(Duration::from_millis)
    }

    fn destination(&self, signal: Signal) -> Result<Option<Destination>, InvalidVariable> {
        let exporter = format!("OTEL_{}_EXPORTER", signal.in_variables());
        match self.get(&exporter).as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                let given = other.to_owned();
                return Err(InvalidVariable { variable: exporter, given, expected: "otlp or none" });
            }
        }
        let Some((given, variable)) = self.for_signal(signal, "ENDPOINT") else { return Ok(None) };
        let protocol = self.protocol(signal)?;
        let is_base = variable == "OTEL_EXPORTER_OTLP_ENDPOINT";
        let endpoint = self.endpoint(&given, signal, protocol, is_base).and_then(without_credentials);
        let Some((endpoint, credentials)) = endpoint else {
            let expected = "a URL such as http://collector:4318, or for grpc http://collector:4317";
            return Err(InvalidVariable { variable, given: url_for_people(&given), expected });
        };
        let mut headers = self.headers(signal)?;
        // What is said in so many words holds.
        if !headers.iter().any(|(name, _)| name == AUTHORIZATION) {
            headers.extend(credentials.map(|credentials| (AUTHORIZATION, credentials)));
        }
        let proxy = proxy::of(&endpoint, |name| self.get(name));
        Ok(Some(Destination {
            signal,
            endpoint,
            protocol,
            headers,
            timeout: self.timeout(signal)?,
            gzip: self.gzip(signal)?,
            certificate: self.file(signal, "CERTIFICATE")?,
            client_identity: self.client_identity(signal)?,
            proxy,
        }))
    }

    fn protocol(&self, signal: Signal) -> Result<Protocol, InvalidVariable> {
        let Some((given, variable)) = self.for_signal(signal, "PROTOCOL") else {
            return Ok(Protocol::HttpProtobuf);
        };
        match given.as_str() {
            "grpc" => Ok(Protocol::Grpc),
            "http/protobuf" => Ok(Protocol::HttpProtobuf),
            _ => Err(InvalidVariable { variable, given, expected: "grpc or http/protobuf" }),
        }
    }

    /// The full URI of a signal. The general endpoint of http/protobuf is a base below which each signal has its path;
    /// its form for one signal is used as it is. gRPC has one path for each service.
    fn endpoint(&self, given: &str, signal: Signal, protocol: Protocol, is_base: bool) -> Option<Uri> {
        let has_scheme = given.contains("://");
        let url = match (has_scheme, protocol) {
            (true, _) => given.to_owned(),
            (false, Protocol::Grpc) if self.insecure(signal) => format!("http://{given}"),
            (false, Protocol::Grpc) => format!("https://{given}"),
            (false, Protocol::HttpProtobuf) => return None,
        };
        let uri: Uri = url.parse().ok()?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return None;
        }
        let path = match (protocol, is_base) {
            (Protocol::Grpc, _) => signal.path(protocol).to_owned(),
            (Protocol::HttpProtobuf, true) => {
                uri.path().trim_end_matches('/').to_owned() + signal.path(protocol)
            }
            (Protocol::HttpProtobuf, false) => return Some(uri),
        };
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(path.parse().ok()?);
        Uri::from_parts(parts).ok()
    }

    fn insecure(&self, signal: Signal) -> bool {
        self.for_signal(signal, "INSECURE").is_some_and(|(value, _)| value.eq_ignore_ascii_case("true"))
    }

    /// Headers are a list `name=value,name=value` whose values are percent-encoded, as in W3C Baggage.
    fn headers(&self, signal: Signal) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidVariable> {
        let Some((given, variable)) = self.for_signal(signal, "HEADERS") else { return Ok(Vec::new()) };
        let header = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            let name: HeaderName = name.trim().parse().ok()?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let mut value = HeaderValue::from_str(&value).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        };
        let pairs = given.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        pairs.map(header).collect::<Option<_>>().ok_or(InvalidVariable {
            variable,
            given: "(not shown)".to_owned(),
            expected: "name=value pairs joined by commas, with percent-encoded values",
        })
    }

    fn timeout(&self, signal: Signal) -> Result<Duration, InvalidVariable> {
        match self.for_signal(signal, "TIMEOUT") {
            Some((_, variable)) => self.milliseconds(&variable, 10_000),
            None => Ok(Duration::from_secs(10)),
        }
    }

    fn gzip(&self, signal: Signal) -> Result<bool, InvalidVariable> {
        let Some((given, variable)) = self.for_signal(signal, "COMPRESSION") else { return Ok(false) };
        match given.as_str() {
            "gzip" => Ok(true),
            "none" => Ok(false),
            _ => Err(InvalidVariable { variable, given, expected: "gzip or none" }),
        }
    }

    fn file(&self, signal: Signal, name: &str) -> Result<Option<PathBuf>, InvalidVariable> {
        let Some((given, variable)) = self.for_signal(signal, name) else { return Ok(None) };
        match Path::new(&given).is_file() {
            true => Ok(Some(PathBuf::from(given))),
            false => Err(InvalidVariable { variable, given, expected: "the path of a readable PEM file" }),
        }
    }

    fn client_identity(&self, signal: Signal) -> Result<Option<(PathBuf, PathBuf)>, InvalidVariable> {
        match (self.file(signal, "CLIENT_CERTIFICATE")?, self.file(signal, "CLIENT_KEY")?) {
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (None, None) => Ok(None),
            (certificate, _) => {
                let missing = if certificate.is_some() { "CLIENT_KEY" } else { "CLIENT_CERTIFICATE" };
                Err(InvalidVariable {
                    variable: format!("OTEL_EXPORTER_OTLP_{missing}"),
                    given: String::new(),
                    expected: "a PEM file, since a client's certificate and its key go together",
                })
            }
        }
    }

    /// Totals that survive restarts have to be cumulative, so another temporality is not offered.
    fn warnings(&self) -> Vec<String> {
        let variable = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
        let preference =
            self.get(variable).filter(|preference| !preference.eq_ignore_ascii_case("cumulative"));
        let warning =
            |preference| format!("{variable}={preference} is not followed: metrics are always cumulative");
        preference.map(warning).into_iter().chain(proxy::warnings(|name| self.get(name))).collect()
    }
}

#[cfg(test)]
mod tests;
