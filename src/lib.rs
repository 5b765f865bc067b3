//! planet-call-exporter: telemetry for LINE Planet.

pub mod call;
pub mod export;
pub mod journal;
pub mod ledger;
