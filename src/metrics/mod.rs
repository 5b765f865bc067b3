//! The ground floor: the catalog of every metric, their values at one moment, the registry of the exporter's own, and the
//! pages that Prometheus reads. It knows no other part.

pub mod birth;
pub mod catalog;
#[cfg(test)]
pub(crate) mod documented;
pub mod family;
pub mod labels;
pub mod openmetrics;
mod recorder;
pub mod registry;
pub mod text;
