//! Views of the ledger and readers of the journal: everything that leaves the exporter.

pub mod catalog;
