//! What is said where an address cannot be listened on.

use std::io;

use thiserror::Error;

use super::sockets::ListenAddress;

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Call events, and everything that is passed on.
    CallEvents,
    /// Administration.
    Admin,
}

impl Purpose {
    /// The value of the label `listener`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Purpose::CallEvents => "call_events",
            Purpose::Admin => "admin",
        }
    }

    /// The flag that says where it listens.
    pub const fn flag(self) -> &'static str {
        match self {
            Purpose::CallEvents => "--listen",
            Purpose::Admin => "--admin-listen",
        }
    }

    /// The variable that says where it listens.
    pub const fn variable(self) -> &'static str {
        match self {
            Purpose::CallEvents => "PLANET_LISTEN",
            Purpose::Admin => "PLANET_ADMIN_LISTEN",
        }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, Error)]
#[error(
    "cannot listen on {address} for {}: {source}{}; choose another address with {} or {}",
    .purpose.as_str(), likely_cause(.address, .source), .purpose.flag(), .purpose.variable()
)]
pub struct BindError {
    /// Whose address it is.
    pub purpose: Purpose,
    /// The address.
    pub address: ListenAddress,
    /// Why not.
    pub source: io::Error,
}

/// The default of the admin port, and of the Prometheus exporters of OpenTelemetry SDKs.
const OPENTELEMETRY_PORT: u16 = 9464;

/// What is likely to be behind an error, for people.
fn likely_cause(address: &ListenAddress, error: &io::Error) -> &'static str {
    match (error.kind(), address.port()) {
        (io::ErrorKind::AddrInUse, OPENTELEMETRY_PORT) => {
            ", maybe by an application in the same pod, since 9464 is also the default of OpenTelemetry SDKs' Prometheus \
             exporters"
        }
        (io::ErrorKind::PermissionDenied, 1..1024) => {
            ", since ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)"
        }
        (io::ErrorKind::AddrNotAvailable, _) => ", since this host has no such address",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_had_is_told_with_what_to_change() {
        let said = |purpose, address: &str, kind: io::ErrorKind| {
            let address = address.parse().expect("an address");
            BindError { purpose, address, source: kind.into() }.to_string()
        };
        assert_eq!(
            said(Purpose::CallEvents, ":80", io::ErrorKind::PermissionDenied),
            "cannot listen on :80 for call_events: permission denied, since ports below 1024 need a privilege \
             (CAP_NET_BIND_SERVICE); choose another address with --listen or PLANET_LISTEN"
        );
        assert_eq!(
            said(Purpose::Admin, "localhost:9464", io::ErrorKind::AddrInUse),
            "cannot listen on localhost:9464 for admin: address in use, maybe by an application in the same pod, since 9464 \
             is also the default of OpenTelemetry SDKs' Prometheus exporters; choose another address with --admin-listen or \
             PLANET_ADMIN_LISTEN"
        );
        for (address, kind) in [
            (":8080", io::ErrorKind::AddrInUse),
            (":8080", io::ErrorKind::PermissionDenied),
            (":9464", io::ErrorKind::PermissionDenied),
        ] {
            let said = said(Purpose::Admin, address, kind);
            assert_eq!(
                said,
                format!(
                    "cannot listen on {address} for admin: {kind}; choose another address with --admin-listen or PLANET_ADMIN_LISTEN"
                )
            );
        }
    }
}
