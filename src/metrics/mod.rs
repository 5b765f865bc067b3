//! Metrics.

pub mod catalog;
pub mod registry;
pub mod text;
