//! The sink of spans: one [`span`](mod@span) a call, to an OTLP receiver.

pub mod span;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use opentelemetry_sdk::Resource;

use super::Settings;
use super::identity::Identity;
use super::otlp::calls::{self, Form};
use super::otlp::origin::Origin;
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
    origin: Origin,
    identity: Identity,
    sampling: Sampling,
}

impl Spans {
    /// Spans of the calls that `sampling` takes, with as much of users as `identity` says.
    pub fn new(resource: &Resource, identity: Identity, sampling: Sampling) -> Spans {
        Spans { origin: Origin::of(resource), identity, sampling }
    }
}

impl Form for Spans {
    type Item = Span;
    type Message = ExportTraceServiceRequest;

    fn item(&self, event: &CallEvent<'_>) -> Option<Span> {
        let is_taken = self.sampling.takes(event.sid.bytes());
        is_taken.then(|| span::span(event, &self.identity).into())
    }

    fn message(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let Origin { resource, schema_url, scope } = self.origin.clone();
        let scope_spans = ScopeSpans { scope: Some(scope), spans, schema_url: String::new() };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![scope_spans],
                schema_url,
            }],
        }
    }
}
