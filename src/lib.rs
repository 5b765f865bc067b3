//! planet-call-exporter: turns the call events of LINE Planet into metrics and spans, each call once.
//!
//! # The way of an event
//!
//! ```text
//! GET ─► intake ─► parse ─► seen before? ─► journal (synced) ─► 200
//!                                             ├─► ledger ──► /metrics (pull), OTLP metrics (push)
//!                                             ├─► OTLP spans, at their own position
//!                                             ├─► the service behind, at its own position
//!                                             └─► call log, at its own position
//! ```
//!
//! 1. [`server`] accepts a connection and bounds what its peer can stretch.
//! 2. [`intake::handler`] answers the callback; [`call`] reads the query into an event, pure and without state.
//! 3. [`intake::acceptance`] decides: a repeat is answered at once; anything else goes to the [`journal`] first. On disk the
//!    [`intake::committer`] stores what waits as one batch with one sync.
//! 4. The [`ledger`] takes what was stored into the totals. It is a fold over the journal: after a crash the same records
//!    make the same totals, from the latest checkpoint on.
//! 5. [`export`] shows the totals to Prometheus and pushes them over OTLP; readers of the journal deliver spans and
//!    write the call log.
//! 6. [`forward`] brings call events from the journal to the service behind, and passes everything else on to it.
//!
//! # The parts
//!
//! [`call`] ◄ [`ledger`] ◄ [`export`] ◄ [`forward`] ◄ [`intake`]: a part knows only those before it; intake knows of export
//! the catalog of metrics, and of forward the proxy. [`journal`] stands alone and knows bytes, not calls. [`pipeline`] opens
//! journal, ledger and acceptance with what a [`state`] directory holds, and keeps it in order. [`app`] builds everything,
//! starts it and stops it in order; nobody knows [`app`]. [`config`] is the command line, [`commands`] what the program can do
//! beside running, [`admin`] the admin port, [`readiness`] its latches, [`refused`] what was refused; [`retry`] and [`tls`]
//! serve every delivery.
//!
//! # What always holds
//!
//! A request is answered 200 only after its event is stored. A call counts once. Memory is bounded by configuration, never by
//! traffic, time or a dead collector. What comes from outside cannot panic the process, create series without limit
//! or forge a line of a log.

pub mod app;
pub mod callback;
pub mod config;
pub mod http;
pub mod intake;
pub mod journal;
pub mod ledger;
pub mod metrics;
pub mod ops;
pub mod release;
pub mod sinks;
pub mod state;
