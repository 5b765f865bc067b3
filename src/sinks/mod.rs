//! Sinks.

pub mod call_log;
pub mod identity;
pub mod otlp;
pub mod service;
pub mod span;
pub mod spans_delivery;
