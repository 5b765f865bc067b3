//! What keeps a message from its peer, told from the errors of the libraries below: they say what happened to them, and people
//! want to know what is the matter with the peer.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// What keeps a message from its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no address of this name.
    Unresolved,
    /// Nobody listens at the address.
    NobodyListens,
    /// There is no way to the address.
    NoRoute,
    /// Nobody takes the connection in time.
    NoConnection,
    /// The proxy on the way makes no connection.
    ProxyRefuses,
    /// No authority that is trusted has signed the certificate.
    Untrusted,
    /// The certificate is of another name.
    OtherName,
    /// The certificate is not valid yet, or not any more.
    NotValidNow,
    /// The peer wants to see a certificate, or another one.
    WantsCertificate,
    /// It was spoken to without TLS, and answers in TLS.
    SpeaksTls,
    /// It was spoken to in TLS, and answers in something else.
    SpeaksNoTls,
    /// It was spoken to in HTTP/2, and answers in HTTP/1, or does not offer HTTP/2.
    SpeaksHttp1,
    /// It was spoken to in HTTP/1, and answers in HTTP/2.
    SpeaksHttp2,
    /// It answers in something that is no HTTP.
    SpeaksOtherwise,
    /// The connection ended before there was an answer.
    Ended,
}

impl Obstacle {
    /// What an error shows of the peer.
    pub fn of(error: &(dyn Error + 'static)) -> Obstacle {
        chain(error).find_map(of_one).unwrap_or(Obstacle::Ended)
    }

    /// What an error on an open connection shows, over which HTTP/2 was spoken or HTTP/1, and which began with these
    /// bytes of the peer.
    pub fn on_connection(error: &(dyn Error + 'static), is_http2: bool, opening: &[u8]) -> Obstacle {
        match opening {
            // A record of TLS: its type, and the version, which begins with 3 in all of them.
            [0x14..=0x17, 3, ..] => Obstacle::SpeaksTls,
            [b'H', b'T', b'T', b'P', b'/', ..] if is_http2 => Obstacle::SpeaksHttp1,
            // SETTINGS of the whole connection, with which every HTTP/2 server begins (RFC 9113, 3.4).
            [_, _, _, 4, _, 0, 0, 0, 0] if !is_http2 => Obstacle::SpeaksHttp2,
            _ => Obstacle::of(error),
        }
    }

    /// Whether an error is one of TLS, whatever it shows.
    pub fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
        chain(error).any(|error| error.is::<rustls::Error>())
    }

    /// Whether the peer speaks another protocol than it was spoken to in, which time does not cure.
    pub fn is_of_protocol(self) -> bool {
        matches!(
            self,
            Obstacle::SpeaksTls
                | Obstacle::SpeaksNoTls
                | Obstacle::SpeaksHttp1
                | Obstacle::SpeaksHttp2
                | Obstacle::SpeaksOtherwise
        )
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Obstacle::Unresolved => "unreachable: its name does not resolve",
            Obstacle::NobodyListens => "unreachable: nobody listens there",
            Obstacle::NoRoute => "unreachable: there is no route to it",
            Obstacle::NoConnection => "unreachable: no connection in time",
            Obstacle::ProxyRefuses => "unreachable: the proxy on the way makes no connection",
            Obstacle::Untrusted => "its certificate is not trusted",
            Obstacle::OtherName => "its certificate is for another name",
            Obstacle::NotValidNow => "its certificate is not valid at this time",
            Obstacle::WantsCertificate => "it refuses this client's certificate, or that there is none",
            Obstacle::SpeaksTls => "it does not speak the protocol: this is a TLS port",
            Obstacle::SpeaksNoTls => "it does not speak the protocol: this port does not speak TLS",
            Obstacle::SpeaksHttp1 => {
                "it does not speak the protocol: it looks like an HTTP/1 port, not one of HTTP/2"
            }
            Obstacle::SpeaksHttp2 => {
                "it does not speak the protocol: it looks like an HTTP/2 port, not one of HTTP/1"
            }
            Obstacle::SpeaksOtherwise => "it does not speak the protocol: its answer is no HTTP",
            Obstacle::Ended => "the connection ended before an answer",
        })
    }
}

/// An error and its causes. What an [`io::Error`] carries is one of them, although it is not its source.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

fn of_one(error: &(dyn Error + 'static)) -> Option<Obstacle> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return of_tls(error);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return of_io(error);
    }
    if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
        return Some(Obstacle::SpeaksOtherwise);
    }
    // The connector's own errors are known by nothing else. Tests with a real name and a real proxy hold this.
    let text = error.to_string();
    match text.as_str() {
        "dns error" => Some(Obstacle::Unresolved),
        "tunnel error: proxy authorization required"
        | "tunnel error: unsuccessful"
        | "tunnel error: unexpected end of file" => Some(Obstacle::ProxyRefuses),
        _ => None,
    }
}

fn of_io(error: &io::Error) -> Option<Obstacle> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Obstacle::NobodyListens),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => Some(Obstacle::NoRoute),
        io::ErrorKind::TimedOut => Some(Obstacle::NoConnection),
        _ => None,
    }
}

fn of_tls(error: &rustls::Error) -> Option<Obstacle> {
    match error {
        rustls::Error::InvalidMessage(_) => Some(Obstacle::SpeaksNoTls),
        rustls::Error::InvalidCertificate(error) => Some(match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Obstacle::OtherName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Obstacle::NotValidNow,
            _ => Obstacle::Untrusted,
        }),
        rustls::Error::NoApplicationProtocol
        | rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            Some(Obstacle::SpeaksHttp1)
        }
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA,
        ) => Some(Obstacle::WantsCertificate),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    /// An error as it arrives: within others, which wrap it in both ways.
    fn wrapped(error: impl Into<Box<dyn Error + Send + Sync>>) -> Outer {
        Outer(io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    #[test]
    fn an_obstacle_is_found_however_deep_it_lies() {
        use AlertDescription::{CertificateRequired, HandshakeFailure, NoApplicationProtocol, UnknownCA};
        use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage as NoMessage};
        for (error, expected) in [
            (NoMessage(InvalidMessage::InvalidContentType), Obstacle::SpeaksNoTls),
            (InvalidCertificate(CertificateError::UnknownIssuer), Obstacle::Untrusted),
            (InvalidCertificate(CertificateError::NotValidForName), Obstacle::OtherName),
            (InvalidCertificate(CertificateError::Expired), Obstacle::NotValidNow),
            (InvalidCertificate(CertificateError::NotValidYet), Obstacle::NotValidNow),
            (AlertReceived(CertificateRequired), Obstacle::WantsCertificate),
            (AlertReceived(UnknownCA), Obstacle::WantsCertificate),
            (AlertReceived(NoApplicationProtocol), Obstacle::SpeaksHttp1),
            (AlertReceived(HandshakeFailure), Obstacle::Ended),
        ] {
            assert_eq!(Obstacle::of(&wrapped(error.clone())), expected, "{error}");
        }
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, Obstacle::NobodyListens),
            (io::ErrorKind::HostUnreachable, Obstacle::NoRoute),
            (io::ErrorKind::NetworkUnreachable, Obstacle::NoRoute),
            (io::ErrorKind::TimedOut, Obstacle::NoConnection),
            (io::ErrorKind::ConnectionReset, Obstacle::Ended),
            (io::ErrorKind::UnexpectedEof, Obstacle::Ended),
        ] {
            assert_eq!(Obstacle::of(&wrapped(io::Error::from(kind))), expected, "{kind}");
        }
        for (text, expected) in
            [("dns error", Obstacle::Unresolved), ("tunnel error: unsuccessful", Obstacle::ProxyRefuses)]
        {
            assert_eq!(Obstacle::of(&wrapped(text)), expected);
        }
    }

    #[test]
    fn how_the_peer_begins_says_what_it_speaks() {
        let error = wrapped(io::Error::from(io::ErrorKind::ConnectionReset));
        let of = |is_http2, opening: &[u8]| Obstacle::on_connection(&error, is_http2, opening);
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0];
        for (is_http2, opening, expected) in [
            (false, &b"\x15\x03\x03\x00\x02\x02\x46"[..], Obstacle::SpeaksTls),
            (true, b"\x15\x03\x01\x00\x02", Obstacle::SpeaksTls),
            (true, b"HTTP/1.1 ", Obstacle::SpeaksHttp1),
            (false, b"HTTP/1.1 ", Obstacle::Ended),
            (false, &settings, Obstacle::SpeaksHttp2),
            (true, &settings, Obstacle::Ended),
            (false, b"", Obstacle::Ended),
        ] {
            assert_eq!(of(is_http2, opening), expected, "{opening:?}");
        }
    }
}
