//! Every row of the table holds for what is known to be answered, and none is without such a case.

use std::collections::BTreeSet;

use hyper::header::{CONTENT_TYPE, RETRY_AFTER};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

use super::*;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

fn headers(content_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !content_type.is_empty() {
        headers.insert(CONTENT_TYPE, content_type.parse().expect("a header"));
    }
    headers
}

/// An OTLP Status as receivers encode it.
fn status(code: Code, message: &str) -> Vec<u8> {
    pb::Status { code: code as i32, message: message.to_owned(), details: Vec::new() }.encode_to_vec()
}

/// The place of the row that an answer is read by, and what follows.
fn read_http(http: u16, content_type: &str, body: &[u8]) -> (usize, Meaning) {
    let has_status = otlp_status(&headers(content_type), body);
    let text = has_status.clone().unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let kind = Kind::Http { status: http, has_status: has_status.is_some() };
    let place = place(Asked { kind, text: &text });
    let http = StatusCode::from_u16(http).expect("a status");
    let error = of_http(http, &headers(content_type), body);
    assert_eq!(error.meaning(), TABLE[place].1, "{http}");
    (place, error.meaning())
}

fn read_grpc(code: Code, message: &str, retry_after: Option<Duration>) -> (usize, Meaning) {
    let kind = Kind::Grpc { code, has_time: retry_after.is_some() };
    let place = place(Asked { kind, text: message });
    let error = of_grpc(code, message, retry_after);
    assert_eq!((error.meaning(), error.retry_after()), (TABLE[place].1, retry_after), "{code:?}");
    (place, error.meaning())
}

fn place(asked: Asked<'_>) -> usize {
    let row = row(asked).expect("a row for every answer");
    TABLE.iter().position(|other| std::ptr::eq(other, row)).expect("it is in the table")
}

#[test]
fn every_known_answer_is_read_as_it_is_meant() {
    use Meaning::{Batch, Exhausted, Later, Misconfigured, TooLarge};
    let of_status = status(Code::InvalidArgument, "no");
    let too_large = status(Code::InvalidArgument, "http: request body too large");
    let over_grpc = status(Code::ResourceExhausted, "grpc: received message larger than max (5 vs. 4)");
    let http: &[(u16, &str, &[u8], Meaning)] = &[
        // Size.
        (413, HTML, b"<html>Request Entity Too Large</html>", TooLarge),
        (400, PROTOBUF, &too_large, TooLarge),
        (400, TEXT, b"http: request body too large", TooLarge),
        (429, PROTOBUF, &over_grpc, TooLarge),
        // Another time, whatever the body is.
        (408, HTML, b"<html>", Later),
        (429, TEXT, b"slow down", Exhausted),
        (429, PROTOBUF, &status(Code::ResourceExhausted, "quota"), Exhausted),
        (502, HTML, b"<html>Bad Gateway</html>", Later),
        (503, PROTOBUF, &status(Code::Unavailable, "data refused due to high memory usage"), Later),
        (504, "", b"", Later),
        // The destination.
        (301, HTML, b"", Misconfigured),
        (308, HTML, b"<a href=\"https://c\">", Misconfigured),
        (401, PROTOBUF, &status(Code::Unauthenticated, "authentication didn't succeed"), Misconfigured),
        (401, TEXT, b"", Misconfigured),
        (403, HTML, b"<html>Request blocked by the firewall</html>", Misconfigured),
        (404, TEXT, b"404 page not found", Misconfigured),
        // The batch: only with an OTLP Status.
        (400, PROTOBUF, &of_status, Batch),
        (400, JSON, br#"{"code":3,"message":"no"}"#, Batch),
        (500, PROTOBUF, &status(Code::Internal, "no"), Batch),
        (422, JSON, br#"{"message":"no"}"#, Batch),
        // Without one it is from somebody else.
        (400, TEXT, b"Client sent an HTTP request to an HTTPS server.\n", Misconfigured),
        (400, JSON, b"[]", Misconfigured),
        (405, TEXT, b"405 method not allowed, supported: [POST]", Misconfigured),
        (415, TEXT, b"415 unsupported media type", Misconfigured),
        (500, HTML, b"<html>Internal Server Error</html>", Misconfigured),
        (501, "", b"", Misconfigured),
        (505, "", b"", Misconfigured),
    ];
    let minute = Some(Duration::from_secs(60));
    let grpc: &[(Code, &str, Option<Duration>, Meaning)] = &[
        (
            Code::ResourceExhausted,
            "grpc: received message larger than max (5449104 vs. 4194304)",
            None,
            TooLarge,
        ),
        (Code::ResourceExhausted, "gRPC message exceeds maximum size 4194304: 5449104", None, TooLarge),
        (
            Code::OutOfRange,
            "Error, decoded message length too large: found 5, the limit is: 4",
            None,
            TooLarge,
        ),
        (Code::ResourceExhausted, "rate limit", minute, Later),
        (Code::ResourceExhausted, "rate limit", None, Exhausted),
        (Code::Cancelled, "", None, Later),
        (Code::DeadlineExceeded, "", None, Later),
        (Code::Aborted, "", None, Later),
        (Code::Unavailable, "data refused due to high memory usage", minute, Later),
        (Code::DataLoss, "", None, Later),
        (
            Code::Unauthenticated,
            "missing or empty authorization metadata: authorization",
            None,
            Misconfigured,
        ),
        (Code::PermissionDenied, "", None, Misconfigured),
        (
            Code::Unimplemented,
            "unknown service opentelemetry.proto.collector.trace.v1.TraceService",
            None,
            Misconfigured,
        ),
        (Code::InvalidArgument, "", None, Batch),
        (Code::Internal, "", None, Batch),
        (Code::Unknown, "", None, Batch),
        (Code::FailedPrecondition, "", None, Batch),
        (Code::NotFound, "", None, Batch),
        (Code::AlreadyExists, "", None, Batch),
    ];
    let mut rows = BTreeSet::new();
    for (status, content_type, body, expected) in http {
        let (place, meaning) = read_http(*status, content_type, body);
        assert_eq!(meaning, *expected, "{status} {content_type} {}", String::from_utf8_lossy(body));
        rows.insert(place);
    }
    for (code, message, retry_after, expected) in grpc {
        let (place, meaning) = read_grpc(*code, message, *retry_after);
        assert_eq!(meaning, *expected, "{code:?} {message}");
        rows.insert(place);
    }
    for (obstacle, expected) in [
        (Obstacle::SpeaksTls, Misconfigured),
        (Obstacle::SpeaksNoTls, Misconfigured),
        (Obstacle::SpeaksHttp1, Misconfigured),
        (Obstacle::SpeaksHttp2, Misconfigured),
        (Obstacle::SpeaksOtherwise, Misconfigured),
        (Obstacle::Unresolved, Later),
        (Obstacle::NobodyListens, Later),
        (Obstacle::Untrusted, Later),
        (Obstacle::Ended, Later),
    ] {
        assert_eq!(of_obstacle(obstacle), expected, "{obstacle}");
        rows.insert(place(Asked { kind: Kind::NoAnswer(obstacle), text: "" }));
    }
    let without_case: Vec<_> = (0..TABLE.len()).filter(|place| !rows.contains(place)).collect();
    assert_eq!(without_case, Vec::<usize>::new(), "every row has a case");
    assert!(TABLE.iter().all(|(_, _, source)| !source.is_empty()));
}

#[test]
fn every_status_has_a_row() {
    for status in 100..1000 {
        read_http(status, TEXT, b"");
    }
    for code in 0..17 {
        read_grpc(Code::from_i32(code), "", None);
    }
}

#[test]
fn a_failure_tells_when_to_come_again_and_what_it_says() {
    let mut with_time = headers(TEXT);
    with_time.insert(RETRY_AFTER, "17".parse().expect("a header"));
    let error = of_http(StatusCode::SERVICE_UNAVAILABLE, &with_time, b"why\nnot");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
    assert_eq!(error.to_string(), "it answered 503: why not");
    let decoded =
        of_http(StatusCode::BAD_REQUEST, &headers(PROTOBUF), &status(Code::InvalidArgument, "too old"));
    assert_eq!(decoded.to_string(), "it answered 400: too old");
    let page = b"<html><head><title>Blocked by policy</title></head><body><h1>x</h1></body></html>";
    let page = of_http(StatusCode::FORBIDDEN, &headers(HTML), page);
    assert_eq!(page.to_string(), "it answered 403: Blocked by policy");
    assert!(!decoded.is_plain_400());
    assert!(of_http(StatusCode::BAD_REQUEST, &headers(TEXT), b"out of order sample").is_plain_400());
    let mut redirect = headers(HTML);
    redirect.insert("location", "https://u:secret@c/v1/traces?token=secret".parse().expect("a header"));
    let redirect = of_http(StatusCode::PERMANENT_REDIRECT, &redirect, b"");
    assert_eq!(redirect.to_string(), "it answered 308 to https://c/v1/traces");
}

#[test]
fn a_success_comes_from_who_receives_otlp() {
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 2,
            error_message: "too old".to_owned(),
        }),
    };
    let two = Taken { rejected: 2, message: "too old".to_owned() };
    let in_json = br#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}"#;
    let of_points = br#"{"partialSuccess":{"rejectedDataPoints":2,"errorMessage":"too old"}}"#;
    let of_more_than_all = br#"{"partialSuccess":{"rejectedSpans":"18446744073709551615"}}"#;
    for (content_type, body, expected) in [
        // Prometheus answers without a body.
        ("", &b""[..], Taken::default()),
        (PROTOBUF, b"", Taken::default()),
        (PROTOBUF, &partial.encode_to_vec(), two.clone()),
        ("", &partial.encode_to_vec(), two.clone()),
        (JSON, b"{}", Taken::default()),
        (JSON, in_json, two.clone()),
        ("", in_json, two.clone()),
        (JSON, of_more_than_all, Taken { rejected: MOST_REJECTED, message: String::new() }),
        ("application/json; charset=utf-8", of_points, two),
    ] {
        assert_eq!(taken_by_http(&headers(content_type), body), Ok(expected));
    }
    for (content_type, body) in [
        (HTML, &b"<html>Welcome</html>"[..]),
        (TEXT, b"ok"),
        (PROTOBUF, b"\xff\xff"),
        (JSON, b"[]"),
        ("", b"ok"),
    ] {
        let error = taken_by_http(&headers(content_type), body).expect_err(content_type);
        assert_eq!(error.meaning(), Meaning::Misconfigured, "{content_type}");
    }
}
