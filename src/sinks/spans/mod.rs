//! The sink of spans: one [`span`](mod@span) a call, to an OTLP receiver.
//!
//! Spans leave through opentelemetry-otlp's exporter, which turns each outcome into text; so the typed outcome is left beside
//! it by the HTTP client that it is given.

pub mod span;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};

use super::Settings;
use super::identity::Identity;
use super::otlp::answer::Taken;
use super::otlp::calls::{self, Form};
use super::otlp::client::OtlpClient;
use super::otlp::outcome::SendError;
use crate::callback::CallEvent;
use crate::config::otlp::{Batches, Sampling, Signal};

/// The name of the sink.
pub const NAME: &str = "spans";

/// How spans are delivered.
pub fn settings(batches: Batches) -> Settings {
    calls::settings(NAME, Signal::Traces.as_str(), "the OTLP receiver", batches)
}

/// The form of calls as spans.
pub struct Spans {
    exporter: SpanExporter,
    outcome: Arc<Outcome>,
    identity: Identity,
    sampling: Sampling,
}

impl Spans {
    /// Spans of the calls that `sampling` takes, which go through `client`, with as much of users as `identity` says.
    ///
    /// # Errors
    /// The span exporter cannot be built.
    pub fn new(
        client: OtlpClient,
        resource: &Resource,
        identity: Identity,
        sampling: Sampling,
    ) -> Result<Spans, ExporterBuildError> {
        let outcome = Arc::new(Outcome::default());
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_endpoint(client.destination().endpoint.to_string())
            .with_retry_policy(RetryPolicy::disabled())
            .with_http_client(Adapter { client, outcome: Arc::clone(&outcome) })
            .build()?;
        exporter.set_resource(resource);
        Ok(Spans { exporter, outcome, identity, sampling })
    }
}

impl Form for Spans {
    type Item = SpanData;

    fn item(&self, event: &CallEvent<'_>) -> Option<SpanData> {
        let is_taken = self.sampling.takes(event.sid.bytes());
        is_taken.then(|| span::span(event, &self.identity))
    }

    async fn send(&self, spans: Vec<SpanData>) -> Result<Taken, SendError> {
        self.outcome.is_one_span.store(spans.len() == 1, Ordering::Relaxed);
        let exported = self.exporter.export(spans).await;
        match (self.outcome.take(), exported) {
            (Some(outcome), _) => outcome,
            // Without an outcome nothing was sent.
            (None, Err(error)) => Err(SendError::NoMessage(error.to_string())),
            (None, Ok(())) => Ok(Taken::default()),
        }
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

#[async_trait]
impl HttpClient for Adapter {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let is_one = self.outcome.is_one_span.load(Ordering::Relaxed);
        let outcome = calls::send(&self.client, request.into_body(), is_one).await;
        self.outcome.put(outcome.clone());
        // The exporter need not know more than that it went well.
        outcome.map(|_| Response::new(Bytes::new())).map_err(Into::into)
    }
}
