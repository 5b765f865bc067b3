//! The sink of call events for the service behind: each as the request that came, until the service takes it.
//!
//! Call events of one caller go one after another, in the order in which they came; those of different callers may overtake
//! each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{Request, StatusCode};
use sha2::{Digest, Sha256};

use super::{Ages, Failure, Settings, Sink};
use crate::callback::call_event::Parameter;
use crate::callback::{CallEvent, Kind, Record, envelope, record};
use crate::http::backoff::{Backoff, retry_after};
use crate::http::headers::{IDEMPOTENCY_KEY, idempotency_key};
use crate::http::peer::body_for_people;
use crate::http::service::{RequestBody, Service, is_final};
use crate::state::refused::RefusedRequests;
use crate::state::undurable::Passages;

/// How much of a refusal is read, to be shown to people.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The pauses before another attempt.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How call events are delivered: `concurrency` on their way at once, and none again that is older than `max_age`.
pub fn settings(concurrency: usize, max_age: Duration) -> Settings {
    Settings {
        name: "service",
        signal: "call_events",
        peer: "the service behind",
        batch: 1,
        delay: Duration::ZERO,
        concurrency,
        max_age: Some(max_age),
        ages: Ages::default(),
        backoff: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
    }
}

/// The service behind as a sink.
pub struct ServiceSink {
    service: Arc<Service>,
    /// What the service answered to events before they were stored.
    passages: Passages,
    refused: Arc<RefusedRequests>,
    /// Where events go of which the journal does not know the path.
    call_event_path: String,
}

impl ServiceSink {
    /// Delivers to `service`, by default to this path, what `passages` has no answer to; what it refuses for good goes to
    /// `refused`.
    pub fn new(
        service: Arc<Service>,
        passages: Passages,
        refused: Arc<RefusedRequests>,
        call_event_path: String,
    ) -> ServiceSink {
        ServiceSink { service, passages, refused, call_event_path }
    }

    /// The final answer that an event has already, since it was passed on before it was stored.
    async fn answer(&self, record: &[u8]) -> Option<StatusCode> {
        match record::answer(record) {
            Some(status) => StatusCode::from_u16(status).ok(),
            None => self.passages.answer(Record::decode(record).ok()?.key).await,
        }
    }
}

impl Sink for ServiceSink {
    async fn deliver(&self, records: Vec<Bytes>) -> Result<u64, Failure> {
        for record in records {
            match self.answer(&record).await {
                Some(status) => outcome(status, None, b"when it was passed on at once"),
                None => attempt(&self.service, &record, &self.call_event_path).await,
            }
            .map_err(|failure| failure.at(self.service.url()))?;
        }
        Ok(0)
    }

    fn order(&self, record: &Record<'_>) -> Option<u64> {
        match record.kind {
            Kind::CallEvent => caller(&record.call_event().ok()?),
        }
    }

    fn reason_for_everybody<'r>(&self, reason: &'r str) -> &'r str {
        without_body(reason)
    }

    fn note_refused(&self, record: &Record<'_>, reason: &str) {
        self.refused.keep(record.received_at, reason.to_owned(), record.query);
    }
}

/// Who called, if the event says so, as a number that is the same for the same caller, in every release: it is on disk.
fn caller(event: &CallEvent<'_>) -> Option<u64> {
    let user = event.text(Parameter::FromUserId)?;
    let service = event.text(Parameter::FromServiceId).unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update((service.len() as u64).to_le_bytes());
    hasher.update(service);
    hasher.update(user);
    let digest = hasher.finalize();
    Some(u64::from_le_bytes(std::array::from_fn(|at| digest[at])))
}

/// Sends a recorded event to the service.
async fn attempt(service: &Service, record: &[u8], path: &str) -> Result<(), Failure> {
    let request = request(service, record, path).map_err(Failure::Refused)?;
    let timeout = service.timeout();
    let exchange = async {
        let away = |reason| Failure::Away { reason, retry_after: None };
        let response = service.send(request).await.map_err(|error| away(error.explain()))?;
        let (head, body) = response.into_parts();
        // Read to its end, so that the connection can be used again; an answer that breaks off has said enough.
        let body = Limited::new(body, LONGEST_ANSWER).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        outcome(head.status, retry_after(&head.headers), &body)
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {timeout:?}, which --forward-timeout gives it");
        Err(Failure::Away { reason, retry_after: None })
    })
}

/// What stands before the status of an answer.
const ANSWERED: &str = "it answered ";

/// The reason up to the status of the answer: services repeat in the body what was asked, and so who called.
fn without_body(reason: &str) -> &str {
    let end = reason.find(ANSWERED).map(|at| at + ANSWERED.len() + "503".len());
    end.and_then(|end| reason.get(..end)).unwrap_or(reason)
}

/// What an answer means: a client error is final, except where it says that another time may be better.
fn outcome(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let said = body_for_people(body);
    let reason = format!("{ANSWERED}{}{}{said}", status.as_u16(), if said.is_empty() { "" } else { ": " });
    Err(match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Failure::Away { reason, retry_after },
        status if is_final(status) => Failure::Refused(reason),
        _ => Failure::Later { reason, retry_after },
    })
}

/// The request that a recorded event came with, with the key by which the service recognizes it when it comes again.
fn request(service: &Service, record: &[u8], path: &str) -> Result<Request<RequestBody>, String> {
    let record = Record::decode(record).map_err(|error| error.to_string())?;
    let (recorded_path, headers) = envelope::decode(record.envelope);
    let (path, query) = envelope::target(recorded_path.unwrap_or(path), record.query);
    let request = service.url().request(path, &query);
    let mut request = request.map_err(|error| error.to_string())?;
    *request.headers_mut() = headers;
    let key = idempotency_key(record.key);
    request.headers_mut().insert(IDEMPOTENCY_KEY, key.map_err(|error| error.to_string())?);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn what_everybody_may_know_of_an_answer_is_its_status() {
        for (reason, shown) in [
            ("http://a/b: it answered 503: no such user 9286", "http://a/b: it answered 503"),
            ("it answered 503", "it answered 503"),
            ("http://a: unreachable: nobody listens there", "http://a: unreachable: nobody listens there"),
        ] {
            assert_eq!(without_body(reason), shown);
        }
    }

    #[test]
    fn answers_are_told_apart() {
        let of =
            |status: u16| match outcome(StatusCode::from_u16(status).expect("a status"), None, b"why\nnot") {
                Ok(()) => "taken",
                Err(Failure::Refused(reason)) => {
                    assert!(reason.contains("why not"));
                    "refused"
                }
                Err(Failure::Later { .. }) => "again",
                Err(Failure::Away { .. }) => "away",
                other => panic!("{other:?}"),
            };
        let cases: [(&str, &[u16]); 4] = [
            ("taken", &[200, 201, 202, 204]),
            ("refused", &[400, 401, 403, 404, 405, 410, 413, 414, 422, 431]),
            ("again", &[301, 408, 409, 425, 500, 501, 505, 507]),
            ("away", &[429, 502, 503, 504]),
        ];
        for (expected, statuses) in cases {
            for status in statuses {
                assert_eq!(of(*status), expected, "{status}");
                let status = StatusCode::from_u16(*status).expect("a status");
                assert_eq!(is_final(status), matches!(expected, "taken" | "refused"), "{status}");
            }
        }
    }

    #[test]
    fn the_request_is_the_one_that_came() {
        let query = "sid=6364E8B3bdac436e96310bce2498ce0c&duration=1&app_svr_data=%2F+%00";
        let (received_at, query) = (SystemTime::UNIX_EPOCH, query.as_bytes());
        let key = Kind::CallEvent.identify(query).expect("a call").key;
        let mut headers = hyper::HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer token"));
        let envelope = envelope::encode("/other_path", &headers).expect("an envelope");
        let url = "http://127.0.0.1:8080/base".parse().expect("a URL");
        let service = Service::new(url, Duration::from_secs(1)).expect("a service");
        let registered = envelope::encode("/a?x=1?", &headers).expect("an envelope");
        for (envelope, target) in
            [(&envelope[..], "/other_path?"), (b"", "/call_event?"), (&registered[..], "/a?x=1?")]
        {
            let record = Record { kind: Kind::CallEvent, received_at, key, envelope, query }.encode();
            let request = request(&service, &record, "/call_event").expect("a request");
            assert_eq!(
                request.uri().to_string(),
                format!("http://127.0.0.1:8080/base{target}{}", str::from_utf8(query).expect("text"))
            );
            assert_eq!(request.headers().contains_key("authorization"), !envelope.is_empty());
            assert_eq!(request.headers()[IDEMPOTENCY_KEY], "\"6364e8b3-bdac-436e-9631-0bce2498ce0c\"");
        }
    }

    #[test]
    fn callers_are_told_apart() {
        let of = |query: &str| {
            let query = format!("sid=1&duration=1&{query}");
            caller(&CallEvent::read(query.as_bytes(), SystemTime::UNIX_EPOCH).expect("a call"))
        };
        assert_eq!(of("from_service_id=a&from_user_id=1"), of("from_user_id=1&from_service_id=a"));
        assert_ne!(of("from_service_id=a&from_user_id=1"), of("from_service_id=b&from_user_id=1"));
        assert_eq!(of("from_service_id=a"), None);
    }
}
