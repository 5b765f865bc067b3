//! What is likely to help where a delivery fails, by one table of signs. It is read from the top, and the first sign that fits
//! holds; a failure without a row is one that time cures.

use super::answer::{IN_GRPC, Meaning};
use super::outcome::SendError;
use crate::config::otlp::{Destination, Protocol};
use crate::http::obstacle::Obstacle;

/// By what a failure is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// What keeps messages away.
    Obstacle(Obstacle),
    /// The same, where this protocol is spoken.
    ObstacleFor(Obstacle, Protocol),
    /// The same, where a proxy is asked for the connection.
    ObstacleBehindProxy(Obstacle),
    /// The connection ended without an answer; with TLS or not.
    Ended { is_secure: bool },
    /// The files of TLS cannot be used.
    Files,
    /// No answer in time.
    Timeout,
    /// An answer with this status, or one of its kind.
    Status(&'static str),
    /// An answer that has these words in it.
    Words(&'static str),
    /// An answer of HTTP to gRPC.
    HttpToGrpc,
    /// An answer to a path that has the path of a signal twice.
    DoubledPath,
    /// An answer to the path / where the endpoint of one signal is set.
    NoPath,
    /// Any other answer that does not come from a receiver that takes what is sent.
    AnyAnswer,
}

/// The sign, and what is likely to help. In braces: the signal, its form in the names of variables, and its path.
type Row = (Sign, &'static str);

const PROXY: &str = "the way there leads through the proxy that HTTPS_PROXY or HTTP_PROXY names; NO_PROXY says what is reached without it";
const CREDENTIALS: &str =
    "the credentials in OTEL_EXPORTER_OTLP_HEADERS or in the endpoint may be missing, wrong or expired";
const TLS_PORT: &str = "this is a TLS port: use https://";
const GRPC_PORT: &str = "looks like a gRPC port: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc";
const HTTP_PORT: &str = "looks like an HTTP port: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf";
const NOBODY: &str = "the receiver may not be running, or it listens elsewhere: usually on port 4317 for grpc and 4318 for http/protobuf";
const SLOW: &str = "it may hang, or a firewall drops what goes there; OTEL_EXPORTER_OTLP_TIMEOUT says how long an attempt may take";

static TABLE: &[Row] = &[
    // On the way.
    (
        Sign::Obstacle(Obstacle::ProxyRefuses),
        "the proxy that HTTPS_PROXY or HTTP_PROXY names may want other credentials in its URL, or let nobody through to it",
    ),
    (Sign::ObstacleBehindProxy(Obstacle::Unresolved), PROXY),
    (Sign::ObstacleBehindProxy(Obstacle::NobodyListens), PROXY),
    (Sign::ObstacleBehindProxy(Obstacle::NoRoute), PROXY),
    (Sign::Obstacle(Obstacle::Unresolved), "the host in the endpoint may be misspelt, or not be there yet"),
    (Sign::Obstacle(Obstacle::NobodyListens), NOBODY),
    (Sign::Obstacle(Obstacle::NoRoute), "the network of this machine does not lead there"),
    (Sign::Obstacle(Obstacle::NoConnection), SLOW),
    (Sign::Timeout, SLOW),
    // Certificates.
    (
        Sign::Files,
        "OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY should name PEM files; they are read again for each attempt",
    ),
    (
        Sign::Obstacle(Obstacle::Untrusted),
        "OTEL_EXPORTER_OTLP_CERTIFICATE names the file of the authority to trust; without it the system's are",
    ),
    (
        Sign::Obstacle(Obstacle::OtherName),
        "the host in the endpoint must be a name that is in its certificate",
    ),
    (
        Sign::Obstacle(Obstacle::NotValidNow),
        "its certificate needs to be renewed, or the clock of this machine is wrong",
    ),
    (
        Sign::Obstacle(Obstacle::WantsCertificate),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY name what is shown to it",
    ),
    // Another protocol.
    (Sign::Obstacle(Obstacle::SpeaksTls), TLS_PORT),
    (Sign::Obstacle(Obstacle::SpeaksNoTls), "this port does not speak TLS: use http://"),
    (Sign::ObstacleFor(Obstacle::SpeaksHttp2, Protocol::HttpProtobuf), GRPC_PORT),
    (Sign::ObstacleFor(Obstacle::SpeaksHttp1, Protocol::Grpc), HTTP_PORT),
    (Sign::Obstacle(Obstacle::SpeaksOtherwise), "something other than an OTLP receiver listens there"),
    (
        Sign::Ended { is_secure: false },
        "if it stays so, it may be a TLS port (use https://), or one of another OTEL_EXPORTER_OTLP_PROTOCOL",
    ),
    (Sign::Ended { is_secure: true }, "if it stays so, the port may not speak TLS (use http://)"),
    (Sign::Status(IN_GRPC), GRPC_PORT),
    (Sign::Words("to an https server"), TLS_PORT),
    (Sign::Words("to https port"), TLS_PORT),
    // Answers of a receiver, or of what stands before it.
    (
        Sign::Status("407"),
        "the proxy that HTTPS_PROXY or HTTP_PROXY names wants other credentials in its URL",
    ),
    (Sign::Status("401"), CREDENTIALS),
    (Sign::Status("403"), CREDENTIALS),
    (Sign::Status("Unauthenticated"), CREDENTIALS),
    (Sign::Status("PermissionDenied"), CREDENTIALS),
    (Sign::Status("3"), "the endpoint should name where it redirects to"),
    (Sign::Status("Unimplemented"), "the receiver may have no pipeline for {signal}"),
    (Sign::HttpToGrpc, HTTP_PORT),
    (
        Sign::DoubledPath,
        "the endpoint ends in the path of a signal already: set OTEL_EXPORTER_OTLP_{SIGNAL}_ENDPOINT, or drop the path",
    ),
    (Sign::NoPath, "OTEL_EXPORTER_OTLP_{SIGNAL}_ENDPOINT is used as it is: it should end in {path}"),
    (Sign::Status("404"), "the path may be wrong, or the receiver takes no {signal}"),
    (
        Sign::AnyAnswer,
        "what answers may not be an OTLP receiver, or be one of another OTEL_EXPORTER_OTLP_PROTOCOL",
    ),
];

/// What is likely to help against a failure at this destination, if anything but time.
pub(super) fn cure(error: &SendError, destination: &Destination) -> Option<String> {
    let (_, cure) = TABLE.iter().find(|(sign, _)| sign.fits(error, destination))?;
    let signal = destination.signal;
    let path = signal.path(Protocol::HttpProtobuf);
    let upper = signal.in_variables();
    Some(cure.replace("{signal}", signal.as_str()).replace("{SIGNAL}", upper).replace("{path}", path))
}

impl Sign {
    fn fits(self, error: &SendError, destination: &Destination) -> bool {
        let protocol = destination.protocol;
        match (self, error) {
            (Sign::Obstacle(sign), SendError::NoAnswer { obstacle, .. }) => sign == *obstacle,
            (Sign::ObstacleFor(sign, its), SendError::NoAnswer { obstacle, .. }) => {
                sign == *obstacle && its == protocol
            }
            (Sign::ObstacleBehindProxy(sign), SendError::NoAnswer { obstacle, .. }) => {
                sign == *obstacle && destination.proxy.is_some()
            }
            (Sign::Ended { is_secure }, SendError::NoAnswer { obstacle: Obstacle::Ended, .. }) => {
                is_secure == (destination.endpoint.scheme_str() == Some("https"))
            }
            (Sign::Files, SendError::Tls(_)) | (Sign::Timeout, SendError::Timeout(_)) => true,
            (sign, SendError::Answer { meaning: Meaning::Misconfigured, code, message, .. }) => match sign {
                Sign::Status(status) => code.starts_with(status),
                Sign::Words(words) => message.to_ascii_lowercase().contains(words),
                // What speaks gRPC answers with its codes, which are words.
                Sign::HttpToGrpc => protocol == Protocol::Grpc && !code.starts_with(char::is_uppercase),
                Sign::DoubledPath => protocol == Protocol::HttpProtobuf && is_doubled(destination),
                Sign::NoPath => {
                    protocol == Protocol::HttpProtobuf && matches!(destination.endpoint.path(), "" | "/")
                }
                Sign::AnyAnswer => true,
                _ => false,
            },
            _ => false,
        }
    }
}

/// Whether the path of a signal stands before the path of this one.
fn is_doubled(destination: &Destination) -> bool {
    let path = destination.endpoint.path();
    let base = path.strip_suffix(destination.signal.path(Protocol::HttpProtobuf));
    base.is_some_and(|base| ["/v1/traces", "/v1/metrics", "/v1/logs"].iter().any(|path| base.ends_with(path)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use hyper::{HeaderMap, StatusCode};
    use tonic::Code;

    use super::super::answer;
    use super::*;
    use crate::config::otlp::{Flags, OtlpSettings};

    /// Where spans go with these variables, each given after `OTEL_EXPORTER_OTLP_`, but for that of a proxy.
    fn destination(variables: &[(&str, &str)]) -> Destination {
        let whole = |name: &str| match name {
            "HTTPS_PROXY" => name.to_owned(),
            name => format!("OTEL_EXPORTER_OTLP_{name}"),
        };
        let environment = variables.iter().map(|(name, value)| (whole(name), *value)).collect();
        let settings = OtlpSettings::read(&environment, Flags::default());
        settings.traces.destination().expect("a destination").clone()
    }

    fn no_answer(obstacle: Obstacle) -> SendError {
        SendError::NoAnswer { obstacle, detail: "detail".to_owned() }
    }

    fn http(status: u16, body: &str) -> SendError {
        let status = StatusCode::from_u16(status).expect("a status");
        answer::of_http(status, &HeaderMap::new(), body.as_bytes())
    }

    fn grpc(code: Code) -> SendError {
        answer::of_grpc(code, "", None)
    }

    /// Every row of the table, by failures that are known.
    #[test]
    fn every_sign_has_its_cure() {
        let base = destination(&[("ENDPOINT", "http://c:4318")]);
        let secure = destination(&[("ENDPOINT", "https://c:4318")]);
        let of_grpc = destination(&[("ENDPOINT", "http://c:4317"), ("PROTOCOL", "grpc")]);
        let proxied = destination(&[("ENDPOINT", "https://c"), ("HTTPS_PROXY", "http://p:3128")]);
        let doubled = destination(&[("ENDPOINT", "http://c:4318/v1/metrics")]);
        let without_path = destination(&[("TRACES_ENDPOINT", "http://c:4318")]);
        let tls_words = "Client sent an HTTP request to an HTTPS server.\n";
        let nginx_words =
            "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head>";
        let cases: &[(SendError, &Destination, &str)] = &[
            (no_answer(Obstacle::ProxyRefuses), &proxied, "other credentials in its URL"),
            (no_answer(Obstacle::Unresolved), &proxied, "NO_PROXY"),
            (no_answer(Obstacle::NobodyListens), &proxied, "NO_PROXY"),
            (no_answer(Obstacle::NoRoute), &proxied, "NO_PROXY"),
            (no_answer(Obstacle::Unresolved), &base, "the host in the endpoint"),
            (no_answer(Obstacle::NobodyListens), &base, "4318 for http/protobuf"),
            (no_answer(Obstacle::NoRoute), &base, "network"),
            (no_answer(Obstacle::NoConnection), &base, "a firewall drops"),
            (SendError::Timeout(Duration::from_secs(1)), &base, "OTEL_EXPORTER_OTLP_TIMEOUT"),
            (SendError::Tls("cannot read ca.pem".to_owned()), &secure, "should name PEM files"),
            (no_answer(Obstacle::Untrusted), &secure, "OTEL_EXPORTER_OTLP_CERTIFICATE names"),
            (no_answer(Obstacle::OtherName), &secure, "a name that is in its certificate"),
            (no_answer(Obstacle::NotValidNow), &secure, "renewed"),
            (no_answer(Obstacle::WantsCertificate), &secure, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
            (no_answer(Obstacle::SpeaksTls), &base, "use https://"),
            (no_answer(Obstacle::SpeaksNoTls), &secure, "use http://"),
            (no_answer(Obstacle::SpeaksHttp2), &base, "set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
            (no_answer(Obstacle::SpeaksHttp1), &of_grpc, "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
            (no_answer(Obstacle::SpeaksOtherwise), &base, "something other"),
            (no_answer(Obstacle::Ended), &base, "use https://"),
            (no_answer(Obstacle::Ended), &secure, "use http://"),
            (answer::no_otlp(answer::IN_GRPC, b""), &secure, "set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
            (http(400, tls_words), &base, "use https://"),
            (http(400, nginx_words), &base, "use https://"),
            (http(400, tls_words), &of_grpc, "use https://"),
            (http(407, ""), &base, "the proxy that"),
            (http(401, "token expired"), &base, "OTEL_EXPORTER_OTLP_HEADERS"),
            (http(403, ""), &of_grpc, "OTEL_EXPORTER_OTLP_HEADERS"),
            (grpc(Code::Unauthenticated), &of_grpc, "OTEL_EXPORTER_OTLP_HEADERS"),
            (grpc(Code::PermissionDenied), &of_grpc, "OTEL_EXPORTER_OTLP_HEADERS"),
            (http(301, ""), &base, "where it redirects to"),
            (http(308, ""), &of_grpc, "where it redirects to"),
            (grpc(Code::Unimplemented), &of_grpc, "no pipeline for traces"),
            (http(404, ""), &of_grpc, "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
            (answer::no_otlp("success that is no answer of gRPC", b""), &of_grpc, "=http/protobuf"),
            (http(404, ""), &doubled, "set OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or drop the path"),
            (http(404, ""), &without_path, "it should end in /v1/traces"),
            (http(404, ""), &base, "the receiver takes no traces"),
            (http(500, "<html>"), &base, "may not be an OTLP receiver"),
            (http(400, ""), &base, "another OTEL_EXPORTER_OTLP_PROTOCOL"),
        ];
        let mut rows = BTreeSet::new();
        for (error, destination, expected) in cases {
            let row = TABLE.iter().position(|(sign, _)| sign.fits(error, destination));
            rows.insert(row.unwrap_or_else(|| panic!("no row for {error}")));
            let cure = cure(error, destination).expect("a cure");
            assert!(cure.contains(expected) && !cure.contains('{'), "{error}: {cure}");
        }
        let without_case: Vec<_> = (0..TABLE.len()).filter(|row| !rows.contains(row)).collect();
        assert_eq!(without_case, Vec::<usize>::new(), "every row has a case");
    }

    #[test]
    fn what_time_cures_has_no_other_cure() {
        let (http_destination, grpc_destination) = (
            destination(&[("ENDPOINT", "http://c:4318")]),
            destination(&[("ENDPOINT", "http://c:4317"), ("PROTOCOL", "grpc")]),
        );
        for error in [
            http(429, ""),
            http(503, "to an https server"),
            http(413, ""),
            grpc(Code::Unavailable),
            grpc(Code::InvalidArgument),
            SendError::Interrupted("it broke off".to_owned()),
        ] {
            assert_eq!(cure(&error, &http_destination), None, "{error}");
            assert_eq!(cure(&error, &grpc_destination), None, "{error}");
        }
    }
}
