//! What stands behind a collector: takes OTLP over HTTP and keeps what came, as Prometheus would see it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, Metric, metric, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::scrape::Series;

/// A running backend. It ends with the test's process.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    mood: Arc<Mutex<Mood>>,
}

/// How a backend treats who comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    /// It takes what comes.
    #[default]
    Up,
    /// It is away: it closes connections and takes nothing.
    Away,
    /// It takes what comes and is gone before it has answered.
    Forgetful,
}

/// What a backend received.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// The latest value of every series, under the names that Prometheus gives it.
    pub series: BTreeMap<Series, f64>,
    /// Every span, in the order of arrival.
    pub spans: Vec<Span>,
    /// Every log record, in the order of arrival.
    pub logs: Vec<LogRecord>,
    /// The latest attributes of the resource.
    pub resource: BTreeMap<String, String>,
    /// What is not as it has to be.
    pub complaints: Vec<String>,
}

impl Backend {
    pub fn start() -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (received, mood) = (Arc::default(), Arc::default());
        let backend = Backend { address, received: Arc::clone(&received), mood: Arc::clone(&mood) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (received, mood) = (Arc::clone(&received), Arc::clone(&mood));
                thread::spawn(move || serve(stream, &received, &mood));
            }
        });
        backend
    }

    /// Changes how the backend treats who comes.
    pub fn set_mood(&self, mood: Mood) {
        *self.mood.lock().expect("no panic while locked") = mood;
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was received until now.
    pub fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().expect("no panic while locked")
    }
}

/// Serves a connection until the other end closes it.
fn serve(stream: TcpStream, received: &Mutex<Received>, mood: &Mutex<Mood>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (path, body) = read_request(&mut stream)?;
        let mood = *mood.lock().expect("no panic while locked");
        if mood == Mood::Away {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let outcome = received.lock().expect("no panic while locked").take(&path, &body);
        if mood == Mood::Forgetful {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let status = if outcome.is_ok() { "200 OK" } else { "400 Bad Request" };
        let headers = "content-type: application/x-protobuf\r\ncontent-length: 0";
        write!(stream.get_mut(), "HTTP/1.1 {status}\r\n{headers}\r\n\r\n")?;
    }
}

fn read_request(stream: &mut impl BufRead) -> io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let header = |name: &str| {
        let headers = head.lines().filter_map(|line| line.split_once(':'));
        headers.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    };
    let length = header("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    if header("content-encoding") == Some("gzip") {
        let mut message = Vec::new();
        GzDecoder::new(body.as_slice()).read_to_end(&mut message)?;
        body = message;
    }
    Ok((path, body))
}

impl Received {
    fn take(&mut self, path: &str, body: &[u8]) -> Result<(), prost::DecodeError> {
        match path {
            "/v1/metrics" => {
                for metrics in ExportMetricsServiceRequest::decode(body)?.resource_metrics {
                    self.resource = labels(&metrics.resource.unwrap_or_default().attributes);
                    metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics).for_each(|metric| {
                        self.take_metric(metric);
                    });
                }
            }
            "/v1/traces" => {
                for traces in ExportTraceServiceRequest::decode(body)?.resource_spans {
                    self.resource = labels(&traces.resource.unwrap_or_default().attributes);
                    self.spans.extend(traces.scope_spans.into_iter().flat_map(|scope| scope.spans));
                }
            }
            "/v1/logs" => {
                for logs in ExportLogsServiceRequest::decode(body)?.resource_logs {
                    self.resource = labels(&logs.resource.unwrap_or_default().attributes);
                    self.logs.extend(logs.scope_logs.into_iter().flat_map(|scope| scope.log_records));
                }
            }
            other => self.complaints.push(format!("a request to {other}")),
        }
        Ok(())
    }

    fn take_metric(&mut self, metric: &Metric) {
        let name = prometheus_name(metric);
        let cumulative = AggregationTemporality::Cumulative as i32;
        match &metric.data {
            Some(metric::Data::Sum(sum)) => {
                if sum.aggregation_temporality != cumulative || !sum.is_monotonic {
                    self.complaints.push(format!("{name} is not cumulative and monotonic"));
                }
                for point in sum.data_points.iter().filter(|point| !has_ended(point.flags)) {
                    if point.start_time_unix_nano == 0 {
                        self.complaints.push(format!("{name} has no start time"));
                    }
                    self.series.insert((name.clone(), labels(&point.attributes)), number(&point.value));
                }
            }
            Some(metric::Data::Gauge(gauge)) => {
                for point in gauge.data_points.iter().filter(|point| !has_ended(point.flags)) {
                    self.series.insert((name.clone(), labels(&point.attributes)), number(&point.value));
                }
            }
            Some(metric::Data::Histogram(histogram)) => {
                if histogram.aggregation_temporality != cumulative {
                    self.complaints.push(format!("{name} is not cumulative"));
                }
                for point in histogram.data_points.iter().filter(|point| !has_ended(point.flags)) {
                    let labels = labels(&point.attributes);
                    let mut insert = |suffix: &str, labels: &BTreeMap<_, _>, value| {
                        self.series.insert((format!("{name}_{suffix}"), labels.clone()), value);
                    };
                    insert("count", &labels, point.count as f64);
                    insert("sum", &labels, point.sum.unwrap_or_default());
                    let bounds = point.explicit_bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                    let mut cumulative = 0;
                    for (bound, count) in bounds.zip(&point.bucket_counts) {
                        cumulative += count;
                        let mut labels = labels.clone();
                        labels.insert("le".to_owned(), bound);
                        insert("bucket", &labels, cumulative as f64);
                    }
                }
            }
            other => self.complaints.push(format!("{name} is {other:?}")),
        }
    }
}

/// The name that Prometheus gives a metric that comes by OTLP. Written down here a second time, from Prometheus's own
/// description of its translation, so that an error in the exporter's is found.
fn prometheus_name(metric: &Metric) -> String {
    let mut name: String =
        metric.name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    let unit = match metric.unit.as_str() {
        "s" => "seconds",
        "By" => "bytes",
        "ms" => "milliseconds",
        "1" if matches!(metric.data, Some(metric::Data::Gauge(_))) => "ratio",
        _ => "",
    };
    if !unit.is_empty() && !name.split('_').any(|token| token == unit) {
        name = format!("{name}_{unit}");
    }
    match &metric.data {
        Some(metric::Data::Sum(sum)) if sum.is_monotonic => name + "_total",
        _ => name,
    }
}

/// Whether a point has no value, and says that its series has ended.
fn has_ended(flags: u32) -> bool {
    flags & DataPointFlags::NoRecordedValueMask as u32 != 0
}

fn number(value: &Option<number_data_point::Value>) -> f64 {
    match value {
        Some(number_data_point::Value::AsInt(value)) => *value as f64,
        Some(number_data_point::Value::AsDouble(value)) => *value,
        None => f64::NAN,
    }
}

/// Attributes as text; what is neither text nor number nor truth value is shown as it is in the message.
pub fn labels(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}
