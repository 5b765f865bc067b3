//! Where a signal is pushed, if it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::reader::Reader;
use super::variables::{
    CERTIFICATE, CLIENT_CERTIFICATE, CLIENT_KEY, COMPRESSION, ENDPOINT, HEADERS, INSECURE,
    LOG_EXPORT_TIMEOUT, LOGS_EXPORTER, METRIC_EXPORT_TIMEOUT, METRICS_EXPORTER, PROTOCOL,
    SPAN_EXPORT_TIMEOUT, TIMEOUT, TRACES_EXPORTER, Variable,
};
use super::{Destination, MILLISECONDS, Protocol, Push, Signal, WhyOff, proxy};
use crate::config::environment::Environment;
use crate::config::remark::{InvalidVariable, Remark};
use crate::http::peer::url_for_people;

/// Where OTLP goes that was asked for without saying where.
const DEFAULT_HTTP: &str = "http://localhost:4318";
const DEFAULT_GRPC: &str = "http://localhost:4317";

/// What a variable says of exporters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selection {
    Otlp,
    None,
    /// It says nothing, or nothing that there is.
    Open,
}

/// The push of a signal, unless it is off for a reason that comes before all others.
pub(super) fn push(
    reader: &Reader<'_>,
    environment: &Environment,
    signal: Signal,
    off: Option<WhyOff>,
) -> Push {
    let selection = selection(reader, signal);
    if let Some(reason) = off {
        if reason == WhyOff::CallLog && selection == Selection::Otlp {
            let reason = "logs are not pushed, since --call-log is not otlp; set it so to have each call pushed as one".to_owned();
            reader.note(Remark::WithoutEffect { variable: LOGS_EXPORTER.name.to_owned(), reason });
        }
        return Push::Off(reason);
    }
    let is_given = ENDPOINT.names(Some(signal)).iter().any(|name| environment.get(name).is_some());
    // Logs are asked for by a flag.
    let is_asked = is_given || signal == Signal::Logs;
    match selection {
        Selection::None => return Push::Off(WhyOff::Exporter),
        Selection::Open if !is_asked => return Push::Off(WhyOff::NoEndpoint),
        Selection::Open | Selection::Otlp => {}
    }
    match destination(reader, environment, signal) {
        Ok(destination) => Push::To(Box::new(destination)),
        Err(invalid) => {
            reader.note(Remark::Fatal(invalid));
            Push::Misconfigured
        }
    }
}

/// A list. What is not offered in it is said and disregarded.
fn selection(reader: &Reader<'_>, signal: Signal) -> Selection {
    let variable = match signal {
        Signal::Metrics => METRICS_EXPORTER,
        Signal::Traces => TRACES_EXPORTER,
        Signal::Logs => LOGS_EXPORTER,
    };
    let Some((name, value)) = reader.given(&variable, None) else { return Selection::Open };
    let exporters: Vec<String> = value.split(',').map(|one| one.trim().to_ascii_lowercase()).collect();
    let has = |exporter: &str| exporters.iter().any(|one| one == exporter);
    let has_page = signal == Signal::Metrics && has("prometheus");
    let selection = match (has("otlp"), has("none") || has_page) {
        (true, _) => Selection::Otlp,
        (false, true) => Selection::None,
        (false, false) => Selection::Open,
    };
    // /metrics is there in any case.
    let is_offered = |one: &String| match one.as_str() {
        "otlp" | "none" => true,
        "prometheus" => signal == Signal::Metrics,
        _ => false,
    };
    if !exporters.iter().all(is_offered) {
        let push = match selection {
            Selection::Otlp => "the push over OTLP is on",
            Selection::None => "the push over OTLP is off",
            Selection::Open if signal == Signal::Logs => "--call-log decides over the push",
            Selection::Open => "whether an endpoint is set decides over the push",
        };
        let expected = match signal {
            Signal::Metrics => "otlp, prometheus or none",
            Signal::Traces | Signal::Logs => "otlp or none",
        };
        reader.note_invalid(name, value, expected, push.to_owned());
    }
    selection
}

fn destination(
    reader: &Reader<'_>,
    environment: &Environment,
    signal: Signal,
) -> Result<Destination, InvalidVariable> {
    let choices = [("grpc", Protocol::Grpc), ("http/protobuf", Protocol::HttpProtobuf)];
    let protocol = reader.choice(&PROTOCOL, Some(signal), &choices);
    let (endpoint, credentials) = endpoint(reader, signal, protocol)?;
    let is_secure = endpoint.scheme_str() == Some("https");
    let file = |variable| if is_secure { file(reader, signal, variable) } else { None };
    let certificate = file(&CERTIFICATE).map(|(_, path)| path);
    let client_identity = match (file(&CLIENT_CERTIFICATE), file(&CLIENT_KEY)) {
        (Some((_, certificate)), Some((_, key))) => Some((certificate, key)),
        (None, None) => None,
        (Some((variable, path)), None) => return Err(half(variable, &path, &CLIENT_KEY)),
        (None, Some((variable, path))) => return Err(half(variable, &path, &CLIENT_CERTIFICATE)),
    };
    let mut headers = headers(reader, signal)?;
    // What is said in so many words holds.
    if !headers.iter().any(|(name, _)| name == AUTHORIZATION) {
        headers.extend(credentials.map(|credentials| (AUTHORIZATION, credentials)));
    }
    Ok(Destination {
        signal,
        protocol,
        headers,
        timeout: timeout(reader, signal),
        gzip: reader.choice(&COMPRESSION, Some(signal), &[("gzip", true), ("none", false)]),
        certificate,
        client_identity,
        proxy: proxy::of(&endpoint, |name| environment.get(name).map(str::to_owned)),
        endpoint,
    })
}

/// What happens where a destination cannot be used.
fn nothing_is_pushed() -> String {
    "nothing is pushed until it is corrected".to_owned()
}

/// The URI that requests go to, and the authorization for the credentials that stand in the variable, if any.
fn endpoint(
    reader: &Reader<'_>,
    signal: Signal,
    protocol: Protocol,
) -> Result<(Uri, Option<HeaderValue>), InvalidVariable> {
    let default = match protocol {
        Protocol::Grpc => DEFAULT_GRPC,
        Protocol::HttpProtobuf => DEFAULT_HTTP,
    };
    let (variable, given) =
        reader.given(&ENDPOINT, Some(signal)).unwrap_or_else(|| (ENDPOINT.name.to_owned(), default));
    let url = match (given.contains("://"), protocol) {
        (true, _) => Some(given.to_owned()),
        (false, Protocol::Grpc) if reader.boolean(&INSECURE, Some(signal)) => Some(format!("http://{given}")),
        (false, Protocol::Grpc) => Some(format!("https://{given}")),
        (false, Protocol::HttpProtobuf) => None,
    };
    let is_base = variable == ENDPOINT.name;
    let uri = url.and_then(|url| uri(&url, signal, protocol, is_base));
    uri.and_then(without_credentials).ok_or_else(|| InvalidVariable {
        variable,
        given: url_for_people(given),
        expected: "a URL such as http://collector:4318, or for grpc http://collector:4317".to_owned(),
        instead: nothing_is_pushed(),
    })
}

/// The full URI of a signal. The general endpoint of http/protobuf is a base below which each signal has its path;
/// its form for one signal is used as it is. gRPC has one path for each service.
fn uri(url: &str, signal: Signal, protocol: Protocol, is_base: bool) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let (host, authority) = (uri.host().filter(|host| !host.is_empty())?, uri.authority()?);
    let has_sound_port = authority.port_u16().is_some() || authority.as_str().ends_with(host);
    if !matches!(uri.scheme_str(), Some("http" | "https")) || !has_sound_port {
        return None;
    }
    let path = match (protocol, is_base) {
        (Protocol::Grpc, _) => signal.path(protocol).to_owned(),
        (Protocol::HttpProtobuf, true) => uri.path().trim_end_matches('/').to_owned() + signal.path(protocol),
        (Protocol::HttpProtobuf, false) => return Some(uri),
    };
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
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

/// What stands in the place of a secret.
const NOT_SHOWN: &str = "(not shown)";

/// Headers are a list `name=value,name=value` whose values are percent-encoded, as in W3C Baggage.
fn headers(reader: &Reader<'_>, signal: Signal) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidVariable> {
    let Some((variable, given)) = reader.given(&HEADERS, Some(signal)) else { return Ok(Vec::new()) };
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let name: HeaderName = name.trim().parse().ok()?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    let pairs = given.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs.map(header).collect::<Option<_>>().ok_or_else(|| InvalidVariable {
        variable,
        given: NOT_SHOWN.to_owned(),
        expected: "name=value pairs joined by commas, with percent-encoded values".to_owned(),
        instead: nothing_is_pushed(),
    })
}

/// The time for one attempt: that of OTLP, or that of an export if it is shorter.
fn timeout(reader: &Reader<'_>, signal: Signal) -> Duration {
    let of_export = match signal {
        Signal::Metrics => METRIC_EXPORT_TIMEOUT,
        Signal::Traces => SPAN_EXPORT_TIMEOUT,
        Signal::Logs => LOG_EXPORT_TIMEOUT,
    };
    let of_otlp = reader.number(&TIMEOUT, Some(signal), MILLISECONDS);
    let of_export = reader.number_if_set(&of_export, MILLISECONDS);
    Duration::from_millis(of_export.map_or(of_otlp, |of_export| of_export.min(of_otlp)))
}

/// The path of a file. It is read again for each connection, so it may come to be later.
fn file(reader: &Reader<'_>, signal: Signal, variable: &Variable) -> Option<(String, PathBuf)> {
    let (name, given) = reader.given(variable, Some(signal))?;
    if !Path::new(given).is_file() {
        let instead = "what is to be pushed waits until it is there".to_owned();
        reader.note_invalid(name.clone(), given, "the path of a readable PEM file", instead);
    }
    Some((name, PathBuf::from(given)))
}

/// Only one of a client's certificate and its key is there.
fn half(variable: String, path: &Path, missing: &Variable) -> InvalidVariable {
    let expected =
        format!("{} beside it, since a client's certificate and its key go together", missing.name);
    InvalidVariable { variable, given: path.display().to_string(), expected, instead: nothing_is_pushed() }
}
