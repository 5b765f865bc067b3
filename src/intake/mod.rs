//! Intake: where call events come in.
//!
//! [`handler`] answers the callback; [`acceptance`] decides what becomes of an event, in the order that keeps the promise
//! (seen before? journal, ledger, and only then 200), with the [`committer`] where the journal is on disk; [`totals`] holds
//! what must agree, with [`seen`], the window of seen sids.

pub mod acceptance;
pub mod committer;
pub mod handler;
pub mod seen;
pub mod totals;
