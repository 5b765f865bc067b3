//! Who telemetry comes from, as every message says it.

use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;

/// The resource and the scope of the exporter's telemetry.
#[derive(Debug, Clone)]
pub(in crate::sinks) struct Origin {
    pub(in crate::sinks) resource: Resource,
    /// The schema of the resource; empty if it has none.
    pub(in crate::sinks) schema_url: String,
    pub(in crate::sinks) scope: InstrumentationScope,
}

impl Origin {
    /// The exporter, with this resource.
    pub(in crate::sinks) fn of(resource: &opentelemetry_sdk::Resource) -> Origin {
        let resource = ResourceAttributesWithSchema::from(resource);
        Origin {
            resource: Resource { attributes: resource.attributes.0, ..Resource::default() },
            schema_url: resource.schema_url.unwrap_or_default(),
            scope: InstrumentationScope {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            },
        }
    }
}

/// A time as messages have it; one before 1970 is 0.
pub(in crate::sinks) fn unix_nanoseconds(time: SystemTime) -> u64 {
    let since_epoch: Duration = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}
