//! OTLP: the [`client`] that carries messages of all signals to a receiver over either protocol (`grpc` is one of them)
//! by a `connection`, what an [`answer`] says, the [`outcome`] of each and what is likely to help (`cures`), its
//! [`complaints`], the push of [`metrics`], the sink of [`calls`], and from whom (`origin`) all of it comes.

pub mod answer;
pub mod calls;
pub mod client;
pub mod complaints;
mod connection;
mod cures;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod grpc;
pub mod metrics;
pub(in crate::sinks) mod origin;
pub mod outcome;
mod parts;

/// Bytes of an encoded message, at most, before it is compressed: half of the 4 MiB that receivers over gRPC take unless they
/// are told otherwise.
pub const LARGEST_MESSAGE: usize = 2 * 1024 * 1024;
