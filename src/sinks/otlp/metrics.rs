//! Metrics over OTLP: the catalog's families as cumulative points, pushed at an interval and once more at the end.
//!
//! The messages are OTLP's own, because the SDK cannot be given totals with a start time of their own. A push that
//! fails needs no queue: the next one carries the same totals and what has come since. The receiver is shown each new
//! series at 0 once, and then at its value (`state::readers`). After the last push it is told that the series have
//! ended, so that they do not stand for minutes at what they were.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use opentelemetry::Key;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use opentelemetry_sdk::Resource;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::answer::{Meaning, Taken};
use super::client::OtlpClient;
use super::complaints::Complaints;
use super::origin::{Origin, unix_nanoseconds};
use super::outcome::SendError;
use super::{LARGEST_MESSAGE, parts};
use crate::config::StateLifetime;
use crate::config::otlp::Signal;
use crate::http::backoff::Backoff;
use crate::http::peer::Peer;
use crate::http::trouble::Condition;
use crate::metrics::catalog::Kind;
use crate::metrics::family::{self, Family, Point, Value};
use crate::metrics::labels::Labels;
use crate::sinks::destination::DestinationWatch;
use crate::sinks::drain::{EXHAUSTED_IN_A_ROW, MISCONFIGURED_PAUSE};
use crate::sinks::metrics::{AttemptMetrics, AttemptResult};
use crate::sinks::spans::span::span_id;
use crate::state::readers::{Asked, Births, Who};

/// What is pushed.
pub trait Source {
    /// What the receiver is to be shown; `None` if there is nothing yet.
    fn ask(&self, who: &Who) -> impl Future<Output = Option<Asked>> + Send;

    /// Every family for who was shown these births, and what there is of them.
    fn families(&self, shown: Births) -> (Vec<Family>, Births);

    /// Notes that the receiver has taken everything born up to `births`.
    fn answered(&self, asked: Asked, births: Births);

    /// Shows to whoever looks whether the receiver is away.
    fn show(&self, receiver: Arc<Condition>);
}

/// When a push ends.
#[derive(Debug, Clone)]
pub struct Ends {
    /// It pushes once more.
    pub stop: CancellationToken,
    /// It ends at once.
    pub last: CancellationToken,
    /// How long the totals last.
    pub state: StateLifetime,
}

/// Pushes what `source` has at each `interval`, from one interval after the start on, and once more when stopped. Shows by
/// `destination` whether it is configured rightly.
pub async fn run(
    client: OtlpClient,
    resource: Resource,
    interval: Duration,
    destination: DestinationWatch,
    source: impl Source,
    ends: Ends,
) {
    let signal = Signal::Metrics.as_str();
    let Ends { stop, last, state } = ends;
    let endpoint = client.destination().to_string();
    let mut push = Push {
        who: Who::is_pushed_to(&endpoint),
        complaints: Complaints::of(&client),
        client,
        resource,
        peer: Peer::new("the OTLP receiver", signal, Backoff::new(SHORTEST_PAUSE, interval)),
        destination,
        metrics: AttemptMetrics::new(signal),
        largest: LARGEST_MESSAGE,
        exhausted: 0,
        has_taken: false,
        incomplete: 0,
    };
    source.show(push.peer.condition());
    let mut pause = interval;
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        let Some(pushed) = last.run_until_cancelled(push.push(&source)).await else { break };
        pause = pushed.map_or_else(|Failed(pause)| pause, |_| interval);
    }
    // There is nobody left to try again.
    if last.run_until_cancelled(push.end(&source)).await != Some(Ok(())) {
        let what_becomes = match state {
            StateLifetime::Volume => "the totals are on disk, and pushed after the next start",
            StateLifetime::Pod => {
                "the totals are in a state directory that goes with the pod: what was counted since the push before is lost there, unless \
                 the container starts in it again"
            }
            StateLifetime::Process => "what was counted since the push before is lost there",
        };
        warn!(signal, %endpoint, "ended before the last metrics were pushed; {what_becomes}");
    }
}

/// As what metrics are pushed: to a receiver, series of another identity are other series.
pub fn identity(client: &OtlpClient, resource: &Resource) -> String {
    let attributes = ["service.namespace", "service.name", "service.instance.id"];
    let value = |name| resource.get(&Key::from_static_str(name)).map(|value| format!("{name}={value}"));
    let attributes: Vec<String> = attributes.into_iter().filter_map(value).collect();
    format!("{} {}", client.destination(), attributes.join(","))
}

/// A push that was taken, as far as it ever will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pushed {
    /// With series that the receiver had not been shown.
    WithNew,
    /// With none.
    WithoutNew,
}

/// How much of a request the receiver took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// All of it.
    Whole,
    /// It refused some of it for good.
    Partly,
}

/// A push that failed, and when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failed(Duration);

/// The first pause after a failure.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// How many pushes in a row of which something was refused count as none, until one counts as taken all the same.
const MOST_INCOMPLETE: u32 = 3;

/// The push to one receiver.
struct Push {
    who: Who,
    client: OtlpClient,
    resource: Resource,
    peer: Peer,
    destination: DestinationWatch,
    complaints: Complaints,
    metrics: AttemptMetrics,
    /// Bytes of a message, at most, as far as is known.
    largest: usize,
    exhausted: u32,
    /// Whether the receiver has taken anything.
    has_taken: bool,
    /// Pushes in a row of which something was refused.
    incomplete: u32,
}

impl Push {
    /// Pushes what there is.
    async fn push(&mut self, source: &impl Source) -> Result<Pushed, Failed> {
        let Some(asked) = source.ask(&self.who).await else { return Ok(Pushed::WithoutNew) };
        let (families, births) = source.families(asked.shown);
        let sent = self.send(request(&families, &self.resource, SystemTime::now())).await?;
        // What was refused may be what stood at 0. It is shown so again, and not for ever.
        self.incomplete = if sent == Sent::Whole { 0 } else { self.incomplete + 1 };
        if self.incomplete.is_multiple_of(MOST_INCOMPLETE) {
            source.answered(asked, births);
        }
        Ok(if births.are_all_in(asked.shown) { Pushed::WithoutNew } else { Pushed::WithNew })
    }

    /// Pushes for the last time, and then that the series have ended.
    async fn end(&mut self, source: &impl Source) -> Result<(), Failed> {
        if self.push(source).await? == Pushed::WithNew {
            // What was shown at 0 has its value, too.
            self.push(source).await?;
        }
        let end = self.end_of(source).await;
        self.send(end).await.map(|_| ())
    }

    /// What says that every series has ended, a moment after its last value.
    async fn end_of(&self, source: &impl Source) -> ExportMetricsServiceRequest {
        let shown = source.ask(&self.who).await.map_or(Births::ANY, |asked| asked.shown);
        let mut request = request(&source.families(shown).0, &self.resource, SystemTime::now());
        request.resource_metrics.iter_mut().for_each(end_series);
        request
    }

    /// Sends a request, in as many messages as it takes.
    async fn send(&mut self, whole: ExportMetricsServiceRequest) -> Result<Sent, Failed> {
        let mut sent = Sent::Whole;
        let mut messages = VecDeque::from(parts::of(whole, self.largest));
        while let Some(message) = messages.pop_front() {
            let bytes = Bytes::from(message.encode_to_vec());
            let size = bytes.len();
            let started = Instant::now();
            let outcome = self.client.send(bytes).await;
            self.metrics.count(result_of(&outcome), started.elapsed());
            match outcome {
                Ok(taken) => {
                    (self.exhausted, self.has_taken) = (0, true);
                    self.note_answer();
                    self.complaints.note_taken(&taken);
                    if taken.rejected > 0 {
                        sent = Sent::Partly;
                    }
                }
                Err(error) if error.meaning() == Meaning::TooLarge && size > SMALLEST_MESSAGE => {
                    self.note_answer();
                    self.largest = (size / 2).max(SMALLEST_MESSAGE);
                    parts::of(message, self.largest)
                        .into_iter()
                        .rev()
                        .for_each(|part| messages.push_front(part));
                }
                Err(error) => {
                    if let Some(pause) = self.note_failure(&error, size) {
                        // What is left would fail likewise, and the next push has it too.
                        return Err(Failed(pause));
                    }
                    sent = Sent::Partly;
                }
            }
        }
        // What was exhausted for a while is not for ever.
        self.largest = (self.largest + self.largest / 8).min(LARGEST_MESSAGE);
        Ok(sent)
    }

    fn note_answer(&mut self) {
        self.peer.note_back();
        self.destination.note_right();
    }

    /// Takes in a failure, and returns when to try again if nothing more goes now.
    fn note_failure(&mut self, error: &SendError, size: usize) -> Option<Duration> {
        let reason = self.client.explain(error);
        match error.meaning() {
            Meaning::Exhausted => {
                self.exhausted += 1;
                if self.exhausted >= EXHAUSTED_IN_A_ROW {
                    self.exhausted = 0;
                    self.largest = (size / 2).max(SMALLEST_MESSAGE);
                }
                Some(self.peer.note_away(&reason, &reason, error.retry_after()))
            }
            Meaning::Later => Some(self.peer.note_away(&reason, &reason, error.retry_after())),
            // Prometheus answers 400 to samples that are out of order, and takes those of the next push.
            Meaning::Misconfigured if !(error.is_plain_400() && self.has_taken) => {
                self.destination.note_wrong(&reason);
                Some(MISCONFIGURED_PAUSE)
            }
            Meaning::Misconfigured | Meaning::TooLarge | Meaning::Batch => {
                self.note_answer();
                self.complaints.note_refused(&reason);
                None
            }
        }
    }
}

/// A message that is so small is not made smaller.
const SMALLEST_MESSAGE: usize = 16 * 1024;

fn result_of(outcome: &Result<Taken, SendError>) -> AttemptResult {
    match outcome {
        Ok(taken) if taken.rejected > 0 => AttemptResult::Partial,
        Ok(_) => AttemptResult::Success,
        Err(error) if error.meaning() == Meaning::Batch || error.is_plain_400() => AttemptResult::Refused,
        Err(_) => AttemptResult::Retry,
    }
}

/// The families as a message.
fn request(families: &[Family], resource: &Resource, now: SystemTime) -> ExportMetricsServiceRequest {
    let Origin { resource, schema_url, scope } = Origin::of(resource);
    let metrics =
        families.iter().filter(|family| !family.points.is_empty()).map(|family| metric(family, now));
    let scope_metrics =
        ScopeMetrics { scope: Some(scope), metrics: metrics.collect(), schema_url: String::new() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![scope_metrics],
            schema_url,
        }],
    }
}

/// Leaves of every point that its series has ended.
fn end_series(metrics: &mut ResourceMetrics) {
    let ended = DataPointFlags::NoRecordedValueMask as u32;
    for metric in metrics.scope_metrics.iter_mut().flat_map(|scope| &mut scope.metrics) {
        match &mut metric.data {
            Some(metric::Data::Sum(Sum { data_points, .. }) | metric::Data::Gauge(Gauge { data_points })) => {
                for point in data_points {
                    (point.value, point.flags) = (None, ended);
                    point.exemplars.clear();
                }
            }
            Some(metric::Data::Histogram(Histogram { data_points, .. })) => {
                for point in data_points {
                    (point.count, point.sum, point.flags) = (0, None, ended);
                    point.exemplars.clear();
                    point.bucket_counts.clear();
                    point.explicit_bounds.clear();
                }
            }
            _ => {}
        }
    }
}

fn metric(family: &Family, now: SystemTime) -> Metric {
    let time = unix_nanoseconds(now);
    let numbers = || family.points.iter().filter_map(|point| number(point, time)).collect();
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match family.metric.kind {
        Kind::Sum => metric::Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Gauge => metric::Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram => metric::Data::Histogram(Histogram {
            data_points: family.points.iter().filter_map(|point| histogram(point, time)).collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: family.metric.name.to_owned(),
        description: family.metric.description.to_owned(),
        unit: family.metric.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

fn number(point: &Point, time: u64) -> Option<NumberDataPoint> {
    let (start, value) = match point.value {
        Value::Sum(value) => {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            (start(point, time), number_data_point::Value::AsInt(value))
        }
        Value::Gauge(value) => (0, number_data_point::Value::AsDouble(value)),
        Value::Histogram { .. } => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(&point.labels),
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(value),
        exemplars: exemplars(point),
        ..NumberDataPoint::default()
    })
}

fn histogram(point: &Point, time: u64) -> Option<HistogramDataPoint> {
    let Value::Histogram { bounds, counts, sum } = &point.value else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(&point.labels),
        start_time_unix_nano: start(point, time),
        time_unix_nano: time,
        count: counts.iter().copied().fold(0, u64::saturating_add),
        sum: Some(*sum),
        bucket_counts: counts.clone(),
        explicit_bounds: bounds.to_vec(),
        exemplars: exemplars(point),
        ..HistogramDataPoint::default()
    })
}

/// The calls to look at, each by its span.
fn exemplars(point: &Point) -> Vec<Exemplar> {
    let exemplar = |(_, exemplar): &(usize, family::Exemplar)| Exemplar {
        filtered_attributes: Vec::new(),
        time_unix_nano: unix_nanoseconds(exemplar.at),
        span_id: span_id(exemplar.trace_id).to_bytes().to_vec(),
        trace_id: exemplar.trace_id.to_vec(),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
    };
    point.exemplars.iter().map(exemplar).collect()
}

/// When a point's series began, if that is to be told. After the point itself, since the clock was ahead then, it is none.
fn start(point: &Point, time: u64) -> u64 {
    point.started_at.map(unix_nanoseconds).filter(|start| *start <= time).unwrap_or(0)
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    let attribute = |(name, value): (&str, &str)| KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    };
    labels.iter().map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::otlp::{Flags, OtlpSettings};
    use crate::metrics::birth::Birth;
    use crate::metrics::catalog;
    use crate::metrics::labels::Label;
    use crate::state::readiness::Readiness;

    fn point(start: u64, value: Value) -> Point {
        let started_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(start));
        let labels = [("idc", Label::Known("KR"))].into();
        Point { labels, started_at, born: Birth::NONE, value, exemplars: Vec::new() }
    }

    fn with_exemplar(point: Point) -> Point {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(4);
        let exemplar = family::Exemplar { trace_id: [7; 16], value: 8.5, at };
        Point { exemplars: vec![(1, exemplar)], ..point }
    }

    /// A source that is asked and never answers, as if the receiver hung.
    #[derive(Default)]
    struct Hanging {
        asked: Arc<tokio::sync::Notify>,
    }

    impl Source for Hanging {
        async fn ask(&self, _: &Who) -> Option<Asked> {
            self.asked.notify_one();
            std::future::pending().await
        }

        fn families(&self, shown: Births) -> (Vec<Family>, Births) {
            (Vec::new(), shown)
        }

        fn answered(&self, _: Asked, _: Births) {}

        fn show(&self, _: Arc<Condition>) {}
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_at_once_in_the_middle_of_a_push() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), "http://127.0.0.1:9");
        let environment = std::iter::once(endpoint).collect();
        let settings = OtlpSettings::read(&environment, Flags::default());
        let client = OtlpClient::new(settings.traces.destination().expect("a destination").clone());
        let latch = Readiness::default().latch_for_show("otlp");
        let destination = DestinationWatch::new("metrics", latch, None);
        let (stop, last) = (CancellationToken::new(), CancellationToken::new());
        let ends = Ends { stop: stop.clone(), last: last.clone(), state: StateLifetime::Process };
        let (source, interval) = (Hanging::default(), Duration::from_secs(10));
        let asked = Arc::clone(&source.asked);
        let resource = Resource::builder_empty().build();
        let run = tokio::spawn(run(client, resource, interval, destination, source, ends));
        asked.notified().await;
        stop.cancel();
        last.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(60), run).await;
        ended.expect("it does not wait for the push").expect("no panic");
    }

    #[test]
    fn families_become_cumulative_points_each_from_its_own_start() {
        let histogram_value =
            Value::Histogram { bounds: [1.0, 10.0].into(), counts: vec![1, 2, 3], sum: 90.5 };
        let families = [
            Family {
                metric: &catalog::CALLS,
                points: vec![point(1, Value::Sum(7)), point(2, Value::Sum(8))],
            },
            Family { metric: &catalog::CALL_LAST_EVENT_TIME, points: vec![point(1, Value::Gauge(1.5))] },
            Family {
                metric: &catalog::CALL_DURATION,
                points: vec![with_exemplar(point(3, histogram_value))],
            },
        ];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        let request = request(&families, &Resource::builder_empty().build(), now);
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let names: Vec<_> =
            metrics.iter().map(|metric| (metric.name.as_str(), metric.unit.as_str())).collect();
        let expected =
            [("planet.calls", "{call}"), ("planet.call.last_event.time", "s"), ("planet.call.duration", "s")];
        assert_eq!(names, expected);
        let Some(metric::Data::Sum(sum)) = &metrics[0].data else { panic!("a sum") };
        assert!(sum.is_monotonic);
        assert_eq!(sum.aggregation_temporality, AggregationTemporality::Cumulative as i32);
        let point = &sum.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1_000_000_000, 5_000_000_000));
        assert_eq!(point.value, Some(number_data_point::Value::AsInt(7)));
        assert_eq!(point.attributes[0].key, "idc");
        assert_eq!(sum.data_points[1].start_time_unix_nano, 2_000_000_000);
        let Some(metric::Data::Histogram(histogram)) = &metrics[2].data else { panic!("a histogram") };
        let point = &histogram.data_points[0];
        assert_eq!(point.start_time_unix_nano, 3_000_000_000);
        assert_eq!((point.count, point.sum, &point.bucket_counts[..]), (6, Some(90.5), &[1, 2, 3][..]));
        let exemplar = &point.exemplars[0];
        assert_eq!((&exemplar.trace_id[..], exemplar.span_id.len()), (&[7; 16][..], 8));
        assert_eq!(exemplar.value, Some(exemplar::Value::AsDouble(8.5)));
        assert_eq!((point.exemplars.len(), exemplar.time_unix_nano), (1, 4_000_000_000));
        let mut ended = request;
        ended.resource_metrics.iter_mut().for_each(end_series);
        let Some(metric::Data::Histogram(histogram)) =
            &ended.resource_metrics[0].scope_metrics[0].metrics[2].data
        else {
            panic!("a histogram")
        };
        assert!(histogram.data_points[0].exemplars.is_empty(), "what has ended shows no call");
    }
}
