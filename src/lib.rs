//! planet-call-exporter: telemetry for LINE Planet.

pub mod admin;
pub mod app;
pub mod call;
pub mod commands;
pub mod config;
pub mod export;
pub mod intake;
pub mod journal;
pub mod ledger;
pub mod logging;
pub mod pipeline;
pub mod readiness;
pub mod server;
pub mod signals;
pub mod state;
