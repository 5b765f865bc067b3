//! The delivery of spans: reads the journal at its own position, sends, and moves on.
//!
//! What is slow or down is a reader that stands still: intake never waits for it. Spans leave through
//! opentelemetry-otlp's exporter, which turns each outcome into text; so the typed outcome is left beside it by the
//! HTTP client that it is given.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use metrics::{Counter, counter};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::callback::Record;
use crate::journal::Reader;

use super::identity::Identity;
use super::otlp::client::OtlpClient;
use super::otlp::outcome::SendError;
use super::otlp::receiver::Receiver;
use super::span as spans;
use crate::config::otlp::Signal;
use crate::metrics::catalog;

/// The name of the spans' reader, the value of the label `reader`.
pub const READER: &str = "spans";

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Delivers the spans of calls.
pub struct SpanDelivery {
    reader: Reader,
    sender: SpanSender,
    receiver: Receiver,
    identity: Identity,
    batch: usize,
    delay: Duration,
    meters: Meters,
}

impl SpanDelivery {
    /// Delivers what `reader` reads through `client`: up to `batch` spans at once, after at most `delay`.
    ///
    /// # Errors
    /// The span exporter cannot be built.
    pub fn new(
        reader: Reader,
        client: OtlpClient,
        resource: &Resource,
        identity: Identity,
        batch: usize,
        delay: Duration,
    ) -> Result<SpanDelivery, ExporterBuildError> {
        let receiver = Receiver::new(Signal::Traces, LONGEST_PAUSE);
        let sender = SpanSender::new(client, resource)?;
        Ok(SpanDelivery { reader, sender, receiver, identity, batch, delay, meters: Meters::new() })
    }

    /// Delivers until `stop`, and then what is left for as long as that succeeds.
    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.full_batch()).await.is_some() {
            let records = self.reader.take(self.batch);
            if let Err(Undelivered(spans)) = self.deliver(&records, &stop).await {
                return self.give_up_the_rest(spans);
            }
        }
        loop {
            let records = self.reader.take(self.batch);
            if records.is_empty() {
                return;
            }
            if let Err(Undelivered(spans)) = self.deliver(&records, &stop).await {
                return self.give_up_the_rest(spans);
            }
        }
    }

    /// Waits for a full batch, or for as long as the first span may wait for company.
    async fn full_batch(&self) {
        self.reader.readable(1).await;
        // Out of time is as good as full.
        let _ = tokio::time::timeout(self.delay, self.reader.readable(self.batch as u64)).await;
    }

    /// Delivers records, in smaller parts if they are too large, and finishes them: delivered or refused for good.
    /// Fails only if the end came first.
    async fn deliver(
        &mut self,
        records: &[(u64, Bytes)],
        stop: &CancellationToken,
    ) -> Result<(), Undelivered> {
        let spans: Vec<SpanData> = records.iter().filter_map(|(_, record)| self.span(record)).collect();
        let mut parts = vec![spans];
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.send(&part, stop).await {
                Ok(refused) => {
                    let refused = refused.min(part.len() as u64);
                    self.meters.delivered.increment(part.len() as u64 - refused);
                    self.meters.refused.increment(refused);
                }
                Err(SendError::TooLarge(_)) if part.len() > 1 => {
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
                Err(error) if error.is_retryable() => {
                    let spans = parts.iter().map(Vec::len).sum::<usize>() + part.len();
                    return Err(Undelivered(spans as u64));
                }
                Err(error) => {
                    warn!(spans = part.len(), %error, "the OTLP receiver refused spans; they are given up");
                    self.meters.refused.increment(part.len() as u64);
                }
            }
        }
        self.reader.done();
        Ok(())
    }

    /// Sends spans until they are taken or refused, and answers how many of them were refused. Once stopped, one
    /// failure ends it.
    async fn send(&mut self, spans: &[SpanData], stop: &CancellationToken) -> Result<u64, SendError> {
        loop {
            let is_last_attempt = stop.is_cancelled();
            let outcome = self.receiver.attempt(self.sender.send(spans.to_vec()), |refused| *refused).await;
            match outcome {
                Err(error) if error.is_retryable() && !is_last_attempt => {
                    let pause = self.receiver.pause(&error);
                    stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                }
                outcome => return outcome,
            }
        }
    }

    fn span(&self, record: &[u8]) -> Option<SpanData> {
        match Record::decode(record).and_then(|record| record.event()) {
            Ok(event) => Some(spans::span(&event, &self.identity)),
            Err(reason) => {
                error!(%reason, "a record of the journal is not a call event; it has no span");
                self.meters.refused.increment(1);
                None
            }
        }
    }

    fn give_up_the_rest(&self, taken: u64) {
        let waiting = taken + self.reader.waiting();
        if self.reader.is_durable() {
            return warn!(
                spans = waiting,
                "ended before all spans were delivered; they are delivered after the next start"
            );
        }
        self.meters.shutdown.increment(waiting);
        warn!(spans = waiting, "ended before all spans were delivered; they are given up");
    }
}

/// How many spans of a batch were not delivered when the end came.
struct Undelivered(u64);

/// Sends batches through opentelemetry-otlp's span exporter.
struct SpanSender {
    exporter: SpanExporter,
    outcome: Arc<Outcome>,
}

impl SpanSender {
    fn new(client: OtlpClient, resource: &Resource) -> Result<SpanSender, ExporterBuildError> {
        let outcome = Arc::new(Outcome::default());
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_endpoint(client.endpoint().to_string())
            .with_retry_policy(RetryPolicy::disabled())
            .with_http_client(Adapter { client, outcome: Arc::clone(&outcome) })
            .build()?;
        exporter.set_resource(resource);
        Ok(SpanSender { exporter, outcome })
    }

    /// Sends spans and answers how many of them the receiver refused.
    async fn send(&self, spans: Vec<SpanData>) -> Result<u64, SendError> {
        let exported = self.exporter.export(spans).await;
        let answer = match (self.outcome.take(), exported) {
            (Some(outcome), _) => outcome?,
            // Without an outcome nothing was sent: the exporter found the message too large.
            (None, Err(error)) => return Err(SendError::TooLarge(error.to_string())),
            (None, Ok(())) => Bytes::new(),
        };
        // An answer that cannot be decoded still says that the spans were taken.
        let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        let Some(partial) = answer.partial_success.filter(|partial| partial.rejected_spans > 0) else {
            return Ok(0);
        };
        let (spans, reason) = (partial.rejected_spans, partial.error_message);
        warn!(spans, ?reason, "the OTLP receiver refused some of the spans; they are given up");
        Ok(spans.unsigned_abs())
    }
}

/// The typed outcome of the latest request.
#[derive(Debug, Default)]
struct Outcome(Mutex<Option<Result<Bytes, SendError>>>);

impl Outcome {
    fn put(&self, outcome: Result<Bytes, SendError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    fn take(&self) -> Option<Result<Bytes, SendError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The HTTP client that the exporter is given: it takes the encoded message and sends it over
/// whichever protocol is configured.
#[derive(Debug)]
struct Adapter {
    client: OtlpClient,
    outcome: Arc<Outcome>,
}

#[async_trait]
impl HttpClient for Adapter {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outcome = self.client.send(request.into_body()).await;
        self.outcome.put(outcome.clone());
        Ok(Response::new(outcome?))
    }
}

/// The metrics of the delivery.
struct Meters {
    delivered: Counter,
    refused: Counter,
    shutdown: Counter,
}

impl Meters {
    fn new() -> Meters {
        let given_up = |cause: &'static str| counter!(catalog::EXPORTER_GIVEN_UP_EVENTS.name, "reader" => READER, "cause" => cause);
        Meters {
            delivered: counter!(catalog::EXPORTER_DELIVERED_EVENTS.name, "reader" => READER),
            refused: given_up("refused"),
            shutdown: given_up("shutdown"),
        }
    }
}
