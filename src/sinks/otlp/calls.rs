//! Calls over OTLP, one by one: the sink of spans and that of logs. They differ in what a call becomes ([`Form`]); how
//! it gets to a receiver, and what becomes of an answer, is the same.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tracing::error;

use super::LARGEST_MESSAGE;
use super::answer::Taken;
use super::client::OtlpClient;
use super::complaints::Complaints;
use super::outcome::SendError;
use crate::callback::{CallEvent, Record};
use crate::config::otlp::Batches;
use crate::http::backoff::Backoff;
use crate::http::pace::{LeftOut, Pace};
use crate::sinks::{Ages, Failure, Settings, Sink};

/// The pauses before another attempt.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How calls are delivered to a receiver.
pub(in crate::sinks) fn settings(
    name: &'static str,
    signal: &'static str,
    peer: &'static str,
    batches: Batches,
) -> Settings {
    Settings {
        name,
        signal,
        peer,
        batch: batches.size,
        delay: batches.delay,
        concurrency: 1,
        max_age: None,
        ages: Ages::default(),
        backoff: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
    }
}

/// Sends a message of several items, or of one, which makes one message however large it is.
///
/// # Errors
/// It makes more than one message, or the receiver does not take it.
pub(in crate::sinks) async fn send(
    client: &OtlpClient,
    message: Bytes,
    is_one: bool,
) -> Result<Taken, SendError> {
    match message.len() > LARGEST_MESSAGE && !is_one {
        true => Err(SendError::MoreThanOne(message.len())),
        false => client.send(message).await,
    }
}

/// What a call becomes, and how several are sent.
pub trait Form: Send + Sync + 'static {
    /// What one call becomes.
    type Item: Send;

    /// What this call becomes; `None` if it is not to be sent.
    fn item(&self, event: &CallEvent<'_>) -> Option<Self::Item>;

    /// Sends these.
    ///
    /// # Errors
    /// They make more than one message, or the receiver does not take them.
    fn send(&self, items: Vec<Self::Item>) -> impl Future<Output = Result<Taken, SendError>> + Send;
}

/// An OTLP receiver of calls as a sink.
pub struct OtlpSink<F> {
    form: F,
    client: OtlpClient,
    complaints: Mutex<Complaints>,
    unreadable: Pace,
}

impl<F: Form> OtlpSink<F> {
    /// Sends calls in this form, which goes through `client`.
    pub fn new(client: OtlpClient, form: F) -> OtlpSink<F> {
        let complaints = Mutex::new(Complaints::of(&client));
        OtlpSink { form, client, complaints, unreadable: Pace::default() }
    }

    /// Says that a record is none of a call.
    fn note_unreadable(&self, reason: &str) {
        if let Some(LeftOut { times, .. }) = self.unreadable.note(reason, 1) {
            let signal = self.client.signal().as_str();
            error!(signal, %reason, left_out = times, "a record of the journal is not a call event; it is not sent");
        }
    }

    /// Sends so many items and returns how many of them the receiver refused.
    async fn send(&self, items: Vec<F::Item>) -> Result<u64, Failure> {
        match self.form.send(items).await {
            Ok(taken) => {
                self.complaints.lock().unwrap_or_else(PoisonError::into_inner).note_taken(&taken);
                Ok(taken.rejected)
            }
            Err(error) => {
                let reason = self.client.explain(&error);
                Err(error.into_failure(reason))
            }
        }
    }
}

impl<F: Form> Sink for OtlpSink<F> {
    async fn deliver(&self, records: Vec<Bytes>) -> Result<u64, Failure> {
        let (mut items, mut unreadable) = (Vec::with_capacity(records.len()), 0);
        for record in &records {
            match Record::decode(record).and_then(|record| record.call_event()) {
                Ok(event) => items.extend(self.form.item(&event)),
                Err(reason) => {
                    unreadable += 1;
                    self.note_unreadable(&reason.to_string());
                }
            }
        }
        match items.is_empty() {
            true => Ok(unreadable),
            false => Ok(unreadable + self.send(items).await?),
        }
    }
}
