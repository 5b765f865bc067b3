//! Intake: where callbacks come in.

pub mod acceptance;
pub mod call_events;
pub mod proxy;
