//! planet-call-exporter: turns the callbacks of LINE Planet into metrics and spans, each call once.
//!
//! # The way of an event
//!
//! ```text
//! callback ─► route ─► parse ─► seen? ─► journal (synced) ─► 200
//!                                          │
//!                                          ├─► fold: ledger ──► /metrics (pull), OTLP metrics (push)
//!                                          ├─► sink: spans
//!                                          ├─► sink: call log
//!                                          └─► sink: the service behind ─► its waiting journal
//! ```
//!
//! 1. [`http`] accepts a connection and bounds what its peer can stretch.
//! 2. [`config::routes`] say which kind of callback arrives at a URL; [`intake::handler`] answers it. [`callback`]
//!    reads the query, pure and without state.
//! 3. [`intake::acceptance`] knows keys and bytes: a repeat is answered at once; anything else goes to the [`journal`]
//!    first. On disk the [`state::committer`] stores what waits as one batch with one sync.
//! 4. The [`state::fold`] takes what was stored into the [`ledger`], off the way of events. After a crash the same records make
//!    the same totals, from the latest checkpoint on.
//! 5. Each of the [`sinks`] drains the journal at its own position. One that is slow or down stands still and holds up nobody
//!    else; a single event that has to wait is set aside, so that the position moves on.
//! 6. [`ops::admin`] shows the totals to Prometheus, [`sinks::otlp::metrics`] pushes them; [`state::readers`] know what
//!    each reader was shown, and let it see a new series at 0 first.
//!
//! One way, no back and forth. The journal is the record; the ledger is a fold over it.
//!
//! # The rooms
//!
//! | room | what it is for |
//! |---|---|
//! | [`metrics`] | the ground: the catalog, the registry of the exporter's own metrics, Prometheus's text |
//! | [`http`] | the other ground: listener, deadlines, responses, TLS, backoff and what is known of a peer, the service's client |
//! | [`release`] | which release wrote a file, and which ones can read it |
//! | [`callback`] | LINE Planet's callbacks, pure |
//! | [`journal`] | append, sync, read from a position; what waits for a sink; FORMAT.md |
//! | [`ledger`] | totals as a fold: label tables, histograms, limits, checkpoint |
//! | [`simulation`] | calls like those of a busy service, for the demonstration and the call-simulator |
//! | [`config`] | flags and OTLP variables |
//! | [`state`] | what a state directory is: committer, window of keys, fold, checkpoints |
//! | [`intake`] | routes, handler, acceptance, the proxy |
//! | [`sinks`] | the loop that drains the journal; spans, call log, the service behind, OTLP |
//! | [`history`] | looking back: what failing calls have in common, single calls, reports |
//! | [`ops`] | admin port, logging, signals, the subcommands |
//! | [`app`] | builds the parts, supervises them, stops them in order |
//! | [`demo`] | an exporter with simulated calls and an incident under way |
//! | [`fuzzing`] | laws of what reads bytes from outside, with the feature of that name only |
//!
//! A room uses only rooms that stand above it in this table; [`intake`], [`sinks`] and the rest of the house know nothing of
//! [`app`]. A test holds the code against that. CONTRIBUTING.md says what changes where.
//!
//! # What always holds
//!
//! A request is answered 200 only after its event is stored; if the disk does not take it, the answer is that of the
//! service behind, or 503 ([`state::undurable`]). A call counts once. Memory is bounded by configuration, never by
//! traffic, time or a dead peer. What comes from outside cannot end the process, create series without limit or forge a
//! line of a log: what panics on it is caught and set aside ([`callback::shield`]). A part that ends unexpectedly ends
//! the process.

pub mod app;
pub mod callback;
pub mod config;
pub mod demo;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod history;
pub mod http;
pub mod intake;
pub mod journal;
pub mod ledger;
pub mod metrics;
pub mod ops;
pub mod release;
pub mod simulation;
pub mod sinks;
pub mod state;
