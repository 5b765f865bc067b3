//! The sink of spans: one [`span`](mod@span) a call, to an OTLP receiver.
//!
//! Spans leave through opentelemetry-otlp's exporter, which turns each outcome into text; so the typed outcome is left beside
//! it by the HTTP client that it is given.

pub mod span;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tracing::error;

use super::identity::Identity;
use super::otlp::LARGEST_MESSAGE;
use super::otlp::answer::Taken;
use super::otlp::client::OtlpClient;
use super::otlp::complaints::Complaints;
use super::otlp::outcome::SendError;
use super::{Ages, Failure, Settings, Sink};
use crate::callback::Record;
use crate::config::otlp::Sampling;
use crate::http::backoff::Backoff;
use crate::http::pace::{LeftOut, Pace};

/// The pauses before another attempt.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The name of the sink.
pub const NAME: &str = "spans";

/// How spans are delivered: up to `batch` at once, after at most `delay`.
pub fn settings(batch: usize, delay: Duration) -> Settings {
    Settings {
        name: NAME,
        signal: "traces",
        peer: "the OTLP receiver",
        batch,
        delay,
        concurrency: 1,
        max_age: None,
        ages: Ages::default(),
        backoff: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
    }
}

/// An OTLP receiver of spans as a sink.
pub struct SpanSink {
    sender: SpanSender,
    identity: Identity,
    sampling: Sampling,
    unreadable: Pace,
}

impl SpanSink {
    /// Sends spans of the calls that `sampling` takes through `client`, with as much of users as `identity` says.
    ///
    /// # Errors
    /// The span exporter cannot be built.
    pub fn new(
        client: OtlpClient,
        resource: &Resource,
        identity: Identity,
        sampling: Sampling,
    ) -> Result<SpanSink, ExporterBuildError> {
        Ok(SpanSink {
            sender: SpanSender::new(client, resource)?,
            identity,
            sampling,
            unreadable: Pace::default(),
        })
    }

    fn is_sampled(&self, span: &SpanData) -> bool {
        self.sampling.takes(span.span_context.trace_id().to_bytes())
    }

    fn span(&self, record: &[u8]) -> Option<SpanData> {
        match Record::decode(record).and_then(|record| record.call_event()) {
            Ok(event) => Some(span::span(&event, &self.identity)),
            Err(reason) => {
                if let Some(LeftOut { times, .. }) = self.unreadable.note(&reason.to_string(), 1) {
                    error!(%reason, left_out = times, "a record of the journal is not a call event; it has no span");
                }
                None
            }
        }
    }
}

impl Sink for SpanSink {
    async fn deliver(&self, records: Vec<Bytes>) -> Result<u64, Failure> {
        let mut spans: Vec<SpanData> = records.iter().filter_map(|record| self.span(record)).collect();
        let without_span = (records.len() - spans.len()) as u64;
        spans.retain(|span| self.is_sampled(span));
        if spans.is_empty() {
            return Ok(without_span);
        }
        Ok(without_span + self.sender.send(spans).await?)
    }
}

/// Sends batches through opentelemetry-otlp's span exporter.
struct SpanSender {
    exporter: SpanExporter,
    client: OtlpClient,
    outcome: Arc<Outcome>,
    complaints: Mutex<Complaints>,
}

impl SpanSender {
    fn new(client: OtlpClient, resource: &Resource) -> Result<SpanSender, ExporterBuildError> {
        let outcome = Arc::new(Outcome::default());
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_endpoint(client.destination().endpoint.to_string())
            .with_retry_policy(RetryPolicy::disabled())
            .with_http_client(Adapter { client: client.clone(), outcome: Arc::clone(&outcome) })
            .build()?;
        exporter.set_resource(resource);
        let complaints = Mutex::new(Complaints::of(&client));
        Ok(SpanSender { exporter, client, outcome, complaints })
    }

    /// Sends spans and answers how many of them the receiver refused.
    async fn send(&self, spans: Vec<SpanData>) -> Result<u64, Failure> {
        self.outcome.is_one_span.store(spans.len() == 1, Ordering::Relaxed);
        let exported = self.exporter.export(spans).await;
        let taken = match (self.outcome.take(), exported) {
            (Some(Ok(taken)), _) => taken,
            (Some(Err(error)), _) => {
                let reason = self.client.explain(&error);
                return Err(error.into_failure(reason));
            }
            // Without an outcome nothing was sent: the exporter found the message too large.
            (None, Err(error)) => return Err(Failure::TooLarge(error.to_string())),
            (None, Ok(())) => Taken::default(),
        };
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).note_taken(&taken);
        Ok(taken.rejected)
    }
}

/// The typed outcome of the latest request.
#[derive(Debug, Default)]
struct Outcome {
    /// Whether the request is of one span, which makes one message however large it is.
    is_one_span: AtomicBool,
    latest: Mutex<Option<Result<Taken, SendError>>>,
}

impl Outcome {
    fn put(&self, outcome: Result<Taken, SendError>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    fn take(&self) -> Option<Result<Taken, SendError>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The HTTP client that the exporter is given: it takes the encoded message and sends it over
/// whichever protocol is configured.
#[derive(Debug)]
struct Adapter {
    client: OtlpClient,
    outcome: Arc<Outcome>,
}

impl Adapter {
    async fn send(&self, message: Bytes) -> Result<Taken, SendError> {
        if message.len() > LARGEST_MESSAGE && !self.outcome.is_one_span.load(Ordering::Relaxed) {
            return Err(SendError::MoreThanOne(message.len()));
        }
        self.client.send(message).await
    }
}

#[async_trait]
impl HttpClient for Adapter {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outcome = self.send(request.into_body()).await;
        self.outcome.put(outcome.clone());
        // The exporter need not know more than that it went well.
        outcome.map(|_| Response::new(Bytes::new())).map_err(Into::into)
    }
}
