//! Views of the ledger and readers of the journal: everything that leaves the exporter.
//!
//! Pulled: [`catalog`] has every metric once, [`prometheus`] renders it for a scrape, and [`own_metrics`] are those of
//! the exporter itself. Pushed: [`otlp_settings`] says where to, [`otlp_client`] is the way there, [`receiver`] tells how
//! attempts go; [`otlp_metrics`] pushes the catalog, and [`delivery`] the [`spans`] of the journal's calls.
//! [`call_log`] writes them out, and [`identity`] decides what leaves of users.

pub mod call_log;
pub mod catalog;
pub mod delivery;
pub mod identity;
pub mod otlp_client;
pub mod otlp_metrics;
pub mod otlp_settings;
pub mod own_metrics;
pub mod prometheus;
pub mod receiver;
pub mod spans;
