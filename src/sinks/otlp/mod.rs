//! OTLP: the [`client`] that carries messages of both signals to a receiver over either protocol (`grpc` is one of them), the
//! [`outcome`] of each, and the push of [`metrics`].

pub mod client;
mod grpc;
pub mod metrics;
pub mod outcome;
