//! Intake: where callbacks come in.
//!
//! [Routes](crate::config::routes) say which callback arrives on a path; the [`handler`] reads and answers it, in the
//! order that keeps the promise ([`acceptance`]: seen before? journal, and only then 200), once it is [let
//! in](admission). Everything else goes through the [`proxy`] to the service behind, if there is one; call events among
//! it are noticed all the same. The [`checks`] of load balancers are answered on the way, and the [`canary`], which the
//! exporter sends itself.

pub mod acceptance;
pub mod admission;
pub mod canary;
pub mod checks;
pub mod draining;
pub mod handler;
mod metrics;
mod misdirected;
pub mod proxy;
mod unknown;
