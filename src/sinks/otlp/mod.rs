//! OTLP.

pub mod client;
mod grpc;
pub mod metrics;
pub mod outcome;
