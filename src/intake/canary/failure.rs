//! Why a canary did not come back, and what is likely to help.

use std::error::Error;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderMap, LOCATION};
use thiserror::Error;

use super::Nonce;
use crate::http::obstacle::Obstacle;
use crate::http::peer::{causes, url_for_people};
use crate::http::tls::TlsError;

/// Why a canary did not come back.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// No connection, or it ended before an answer.
    #[error("{obstacle} ({detail})")]
    NoAnswer {
        /// Why.
        obstacle: Obstacle,
        /// Whether TLS is what went wrong.
        is_of_tls: bool,
        /// What the libraries say.
        detail: String,
    },
    /// TLS is not possible from here.
    #[error("{0}")]
    NoAuthorities(TlsError),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// An exporter got it, and cannot store.
    #[error("an exporter got it and answered that it cannot store call events")]
    Refused,
    /// Another answer than that of an exporter.
    #[error("it was answered {status}{}", location.as_ref().map(|to| format!(", to {to}")).unwrap_or_default())]
    Status {
        /// The status.
        status: StatusCode,
        /// Where it redirects to.
        location: Option<String>,
    },
    /// An answer that no exporter gives.
    #[error("it was answered {0} without the proof that an exporter got it")]
    NoEcho(StatusCode),
}

/// The results of a round trip that is none, as the metric has them.
pub(super) const REASONS: [&str; 7] = [UNRESOLVED, UNREACHABLE, TLS, TIMEOUT, REFUSED, STATUS, NO_ECHO];
const UNRESOLVED: &str = "unresolved";
const UNREACHABLE: &str = "unreachable";
const TLS: &str = "tls";
const TIMEOUT: &str = "timeout";
const REFUSED: &str = "refused";
const STATUS: &str = "status";
const NO_ECHO: &str = "no_echo";

impl Failure {
    /// What an error means that was there instead of an answer.
    pub(super) fn no_answer(error: &(dyn Error + 'static)) -> Failure {
        Failure::NoAnswer {
            obstacle: Obstacle::of(error),
            is_of_tls: Obstacle::is_of_tls(error),
            detail: causes(error),
        }
    }

    /// What an answer means to the canary with this nonce: nothing, if it is that of an exporter which takes call events.
    pub(super) fn of_answer(nonce: Nonce, status: StatusCode, headers: &HeaderMap) -> Option<Failure> {
        match (status, nonce.is_echoed(headers)) {
            (StatusCode::OK, true) => None,
            (StatusCode::SERVICE_UNAVAILABLE, true) => Some(Failure::Refused),
            (status, _) if status.is_success() => Some(Failure::NoEcho(status)),
            (status, _) => {
                let location = headers.get(LOCATION).filter(|_| status.is_redirection());
                let location = location.map(|to| url_for_people(&String::from_utf8_lossy(to.as_bytes())));
                Some(Failure::Status { status, location })
            }
        }
    }

    /// The value of the label `result`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Failure::NoAnswer { obstacle: Obstacle::Unresolved, .. } => UNRESOLVED,
            Failure::NoAnswer { obstacle: Obstacle::NoConnection, .. } | Failure::Timeout(_) => TIMEOUT,
            Failure::NoAnswer { is_of_tls: true, .. }
            | Failure::NoAnswer { obstacle: Obstacle::SpeaksTls, .. }
            | Failure::NoAuthorities(_) => TLS,
            Failure::NoAnswer { .. } => UNREACHABLE,
            Failure::Refused => REFUSED,
            Failure::Status { .. } => STATUS,
            Failure::NoEcho(_) => NO_ECHO,
        }
    }

    /// What is likely to help.
    pub(super) fn cure(&self) -> &'static str {
        match self {
            Failure::NoAnswer { obstacle, .. } => of_obstacle(*obstacle),
            Failure::NoAuthorities(_) => {
                "install the system's authorities, or let SSL_CERT_FILE name a file of them"
            }
            Failure::Timeout(_) => {
                "what stands in front of the exporter may hang, or a firewall may drop what goes there"
            }
            Failure::Refused => "that exporter's log and its /readyz say why it cannot",
            Failure::Status { status, .. } => of_status(*status),
            Failure::NoEcho(_) => {
                "something else than an exporter answers at --canary-url, or what stands between drops the parameter \
                 planet_exporter_canary or the answer's header Planet-Exporter-Canary"
            }
        }
    }
}

const fn of_obstacle(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Unresolved => "the name in --canary-url has no address, as seen from here",
        Obstacle::NobodyListens | Obstacle::NoRoute | Obstacle::NoConnection | Obstacle::ProxyRefuses => {
            "what stands in front of the exporter may be away, or the network, a firewall or a network policy may let nothing \
             from here to the public address"
        }
        Obstacle::Untrusted => {
            "its certificate has to come, with those between, from one of the system's authorities or of the file that \
             SSL_CERT_FILE names; whether LINE Planet trusts it is another question"
        }
        Obstacle::OtherName => "the host in --canary-url has to be a name that is in the certificate",
        Obstacle::NotValidNow => "the certificate has to be renewed, or the clock of this machine is wrong",
        Obstacle::WantsCertificate => "a certificate of the client is asked for, and the canary has none",
        Obstacle::SpeaksNoTls => {
            "there is no TLS at this port: the URL that is registered may need another one"
        }
        Obstacle::SpeaksTls => "use https:// in --canary-url",
        Obstacle::SpeaksHttp1 | Obstacle::SpeaksHttp2 | Obstacle::SpeaksOtherwise => {
            "it may be a TLS port (use https:// in --canary-url), or not speak HTTP/1.1"
        }
        Obstacle::Ended => {
            "what stands in front of the exporter breaks connections off, or TLS with it is not possible"
        }
    }
}

fn of_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => {
            "redirects are not followed: register the URL that it leads to, and use it in --canary-url"
        }
        401 | 403 | 407 => {
            "what stands in front admits others only: the address that the exporter comes from has to be admitted too"
        }
        404 | 405 => {
            "the path in --canary-url has to be the one that is registered, and to arrive as --call-event-path at the exporter"
        }
        400 => "the exporter there may be older than the canary, or what stands between may change the query",
        502..=504 => "what stands in front finds no exporter that answers",
        _ => "it comes from what stands in front of the exporter",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn only_an_exporter_that_takes_call_events_makes_a_round_trip() {
        let (nonce, other) = (Nonce(1), Nonce(2));
        let echoed = nonce.answer(None).headers().clone();
        let of_other = other.answer(None).headers().clone();
        let none = HeaderMap::new();
        for (status, headers, expected) in [
            (200, &echoed, None),
            (503, &echoed, Some("refused")),
            (200, &none, Some("no_echo")),
            (204, &echoed, Some("no_echo")),
            (200, &of_other, Some("no_echo")),
            (503, &none, Some("status")),
            (404, &echoed, Some("status")),
            (301, &none, Some("status")),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let failure = Failure::of_answer(nonce, status, headers);
            assert_eq!(failure.as_ref().map(Failure::reason), expected, "{status}");
        }
    }

    #[test]
    fn where_a_redirect_leads_is_said_without_its_secrets() {
        let headers = HeaderMap::from_iter([(LOCATION, "https://u:p@b/c?token=s".parse().expect("a value"))]);
        let failure = Failure::of_answer(Nonce(1), StatusCode::FOUND, &headers).expect("a failure");
        assert_eq!(failure.to_string(), "it was answered 302 Found, to https://b/c");
        assert!(failure.cure().contains("--canary-url"));
    }

    #[test]
    fn an_error_has_the_reason_of_what_is_the_matter() {
        let rejected = rustls::Error::AlertReceived(rustls::AlertDescription::UnrecognisedName);
        for (error, reason) in [
            (io::Error::other("dns error"), "unresolved"),
            (io::ErrorKind::ConnectionRefused.into(), "unreachable"),
            (io::ErrorKind::ConnectionReset.into(), "unreachable"),
            (io::ErrorKind::TimedOut.into(), "timeout"),
            (io::Error::other(rejected), "tls"),
            (io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired)), "tls"),
        ] {
            assert_eq!(Failure::no_answer(&error).reason(), reason, "{error}");
            assert!(REASONS.contains(&reason));
        }
    }
}
