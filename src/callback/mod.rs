//! LINE Planet's callbacks, pure: what they say, and what that means. Nothing here does input or output, keeps state or reads
//! a clock.
//!
//! A [`Kind`] is one callback. Its module reads the query string ([`call_event`]) and defines the event's [`Key`], by which a
//! repeat is recognized, and its [`Fingerprint`], by which a repeat that says something else is.
//!
//! - [`record`]: a callback as the journal keeps it. [`envelope`]: what else is needed to pass it on.
//! - [`reason`]: the published tables, and the fault domains derived from them. [`idc`]: the table of data centres.
//! - [`anomaly`]: what is odd without being wrong. [`labels`]: what metrics say of a call.
//! - [`shield`]: catches panics around all reading.

pub mod anomaly;
pub mod call_event;
pub mod envelope;
pub mod fingerprint;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod idc;
pub mod key;
pub mod labels;
pub mod reason;
pub mod record;
pub mod shield;

use std::borrow::Cow;

pub use anomaly::{Anomalies, Anomaly};
pub use call_event::{CallEvent, NotACall};
pub use fingerprint::Fingerprint;
pub use key::Key;
pub use record::Record;

/// What intake has to know of an event. Holding one guarantees that the query can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identified {
    /// What makes it the same event when it comes again.
    pub key: Key,
    /// Detects a repeat that says something else.
    pub fingerprint: Fingerprint,
    /// What is odd about the query by its parameters alone.
    pub oddities: Anomalies,
}

/// One of LINE Planet's callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The 1-to-1 call event: a call has ended.
    CallEvent,
}

impl Kind {
    /// What intake has to know of an event of this kind that came with this query.
    ///
    /// # Errors
    /// The query cannot be that of such an event.
    pub fn identify(self, query: &[u8]) -> Result<Identified, NotACall> {
        match self {
            Kind::CallEvent => CallEvent::identify(query),
        }
    }

    /// Whether a query is that of an event of this kind without doubt, wherever it came.
    pub fn is_unmistakable(self, query: &[u8]) -> bool {
        match self {
            Kind::CallEvent => CallEvent::is_unmistakable(query),
        }
    }

    /// The names of a query that are no documented parameters of this kind, at most this many.
    pub fn unknown_parameters(self, query: &[u8], most: usize) -> Vec<Cow<'_, str>> {
        match self {
            Kind::CallEvent => CallEvent::unknown_parameters(query, most),
        }
    }

    /// The number by which records name the kind.
    pub const fn number(self) -> u8 {
        match self {
            Kind::CallEvent => 1,
        }
    }

    /// The kind with this number in records.
    pub const fn from_number(number: u8) -> Option<Kind> {
        match number {
            1 => Some(Kind::CallEvent),
            _ => None,
        }
    }
}
