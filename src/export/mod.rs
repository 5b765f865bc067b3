//! Views of the ledger and readers of the journal: everything that leaves the exporter.
//!
//! [`catalog`] has every metric once; [`prometheus`] renders it for a scrape. [`own_metrics`] are those of the exporter
//! itself.

pub mod catalog;
pub mod own_metrics;
pub mod prometheus;
