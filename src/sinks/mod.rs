//! Sinks: where events of the journal go. Each drains the journal at a position of its own: [`spans`] and [`logs`] to
//! an OTLP receiver, the [`call_log`] to standard output, [`service`] to the service behind. [`identity`] decides what
//! leaves of users. The totals are pushed, not drained: [`otlp::metrics`].
//!
//! # The loop
//!
//! A [`Sink`] is a type that delivers a batch. One loop, [`drain`], does the rest for all of them: it takes events, forms
//! batches, keeps the order that a sink wants ([`queue`]), tries again, sets aside what has to wait ([`waiting`]), drops what
//! cannot be delivered and counts it, and ends in order.
//!
//! ## States of an event
//!
//! ```text
//! journal ──take──► in hand ──deliver──► on its way ──► delivered, or dropped and counted
//!                    │   ▲                   │
//!                    │   └──── peer away ────┤
//!                set aside                   │ this event, later
//!                    ▼                       ▼
//!                 waiting ──── due ────► on its way
//! ```
//!
//! - *In hand*: taken and not finished; at most [`drain::MOST_IN_HAND`] events. The sink's position names them.
//! - *Waiting*: copied into the sink's waiting journal, because the sink could not take this one, or because an earlier event
//!   of the same order (a caller) waits, or because many are in hand and this one is behind another. The position is past it,
//!   so that it holds no segment of the journal.
//! - Whose turn it is goes round among orders, so an order that fails or has much waits behind itself only. Events that have
//!   failed get half of what may be on its way, and a budget.
//!
//! A batch that is too large, or in which the peer refuses something, goes again in halves, down to single events. A
//! single event that was refused [five times](drain::MOST_REFUSALS), while others passed between, is given up. If
//! nothing passes at all, it is not these events: then single ones go from time to time, until one passes.
//!
//! If the destination is configured wrongly, the position stands likewise, and one attempt goes out a
//! [minute](drain::MISCONFIGURED_PAUSE). What the peer calls exhausted again and again may be too large: batches become
//! smaller, and grow again with each success.
//!
//! If the peer is away, nothing more is set aside: the position stands, and from time to time one attempt goes out, of another
//! order each time, until one succeeds. An event that fails as if the peer were away, while others after it succeed, is one
//! that the peer cannot take now.
//!
//! After a start, what was in hand is taken first, before anything that waits goes: it may be an earlier event of its order.
//!
//! ## A crash at each arrow
//!
//! A *save* makes progress durable, at most 200 ms after it happened; one that failed is tried again after a second. Its steps
//! are in this order:
//!
//! 1. Copies of what has to wait, and the numbers of what no longer does, are appended to the waiting journal and synced.
//! 2. The position is written: the number of the next event, and those of the events before it that are in hand.
//! 3. Segments of the waiting journal in which nothing waits any more are dropped, the oldest first. If at least half of all
//!    copies are finished, or one has been finished for longer than `--segment-age`, the copies that still wait in the oldest
//!    segment move to the end.
//!
//! | the process dies | after the next start |
//! |---|---|
//! | before 1 | what was taken since the last save is taken again; what was delivered since then is delivered again |
//! | within 1 | whole copies count, a torn one does not; either way the event is taken again from the journal, and the copy's origin tells that it waits already |
//! | between 1 and 2 | the same |
//! | between 2 and 3 | nothing is lost; what can be dropped is dropped at the next save |
//! | after 1 failed | what it wrote counts as if it had not failed, unless a later 1 succeeded, which makes it void |
//! | within 3 | a moved copy names the copy that it replaces, in one frame: it is there with both effects or not at all |
//!
//! ## Bounds
//!
//! Events in hand and their bytes ([`drain::MOST_IN_HAND`]); events on their way ([`Settings::concurrency`], and four
//! times as many with those on which the peer hangs while it answers others); waiting events in memory, as one small
//! entry each ([`drain::MOST_WAITING`]); bytes of the waiting journal, which count towards `--state-max-bytes`. Past
//! the bound of entries further events wait on disk only, until half of the entries are free: then an event may
//! overtake an earlier one of its order, which is counted. Past the bound of bytes the oldest waiting events are
//! dropped and counted. Past an age ([`Ages::given_up`]) any event is.

pub mod call_log;
pub mod destination;
pub mod drain;
pub mod identity;
pub mod logs;
pub mod metrics;
pub mod otlp;
pub mod queue;
mod retry_budget;
pub mod service;
pub mod spans;
pub mod waiting;

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;

use crate::callback::Record;
use crate::config::StateLifetime;
use crate::http::backoff::Backoff;

/// Where events go.
pub trait Sink: Send + Sync + 'static {
    /// Delivers events, in their order, and returns how many of them the peer refused for good while it took the others.
    fn deliver(&self, records: Vec<Bytes>) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// What has to be delivered in the order in which it came, as a number: events with the same one go one after another.
    /// `None` if nothing has to wait for this event.
    fn order(&self, _record: &Record<'_>) -> Option<u64> {
        None
    }

    /// What everybody may know of a reason, who may not know whom a call is of.
    fn reason_for_everybody<'r>(&self, reason: &'r str) -> &'r str {
        reason
    }

    /// Takes note of an event that was refused for good, or that was too old to be tried again.
    fn note_refused(&self, _record: &Record<'_>, _reason: &str) {}
}

/// Why a batch was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The peer will never take it.
    Refused(String),
    /// It makes more than one message, so nothing was sent yet.
    MoreThanOne,
    /// It is larger than the peer takes.
    TooLarge(String),
    /// Something in it is not to the peer's liking.
    Batch(String),
    /// The peer cannot take this one now.
    Later {
        /// What it said.
        reason: String,
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
    },
    /// The peer cannot take anything now, it seems.
    Away {
        /// What it said, or what failed.
        reason: String,
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
    },
    /// The same, and it may be for the size of the batch, if the peer says so again and again.
    Exhausted {
        /// What it said.
        reason: String,
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
    },
    /// The way to the peer is configured wrongly, so it says nothing about what was sent, and will take nothing until somebody
    /// does something about it.
    Misconfigured(String),
    /// There is no peer any more, and will be none before the next start.
    Gone(String),
}

impl Failure {
    /// The same, with the place in front of what is said of it.
    fn at(mut self, place: &impl Display) -> Failure {
        match &mut self {
            Failure::MoreThanOne => {}
            Failure::Refused(reason)
            | Failure::TooLarge(reason)
            | Failure::Batch(reason)
            | Failure::Misconfigured(reason)
            | Failure::Gone(reason)
            | Failure::Later { reason, .. }
            | Failure::Away { reason, .. }
            | Failure::Exhausted { reason, .. } => *reason = format!("{place}: {reason}"),
        }
        self
    }
}

/// How long what a sink has to deliver is kept. Events name people, so they leave in time.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// The age past which an event is given up, whether or not it was tried.
    pub given_up: Duration,
    /// The age at which a segment of the waiting journal is closed, so that it can go.
    pub segment: Duration,
    /// How long what is left at the end of the process lasts.
    pub state: StateLifetime,
}

impl Default for Ages {
    fn default() -> Ages {
        let (given_up, segment) = (Duration::from_secs(7 * 24 * 3_600), Duration::from_secs(1_800));
        Ages { given_up, segment, state: StateLifetime::Process }
    }
}

/// How a sink is drained into.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The value of the label `sink`, and the name of its position.
    pub name: &'static str,
    /// The value of the label `signal` for attempts to deliver.
    pub signal: &'static str,
    /// The peer as people call it.
    pub peer: &'static str,
    /// Events in one batch, at most.
    pub batch: usize,
    /// How long an event may wait for a full batch.
    pub delay: Duration,
    /// Batches on their way at once, at most.
    pub concurrency: usize,
    /// The age past which an event that failed is not tried again, if there is one.
    pub max_age: Option<Duration>,
    /// How long what it has to deliver is kept.
    pub ages: Ages,
    /// The pauses before another attempt.
    pub backoff: Backoff,
}
