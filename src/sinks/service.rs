//! The delivery of call events to the service: reads the journal at its own position, sends several at once, and finishes
//! each when it is taken.
//!
//! Call events of one caller go one after another, in the order in which they came; those of different callers may overtake
//! each other. What fails is tried again after a pause of its own, so that one event which the service cannot take holds up
//! its caller only. While the service is away altogether, one event at a time finds out whether it is back.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Empty, Limited};
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};
use metrics::{Counter, counter};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::callback::call_event::Parameter;
use crate::callback::envelope;
use crate::callback::{CallEvent, Record};
use crate::http::headers::IDEMPOTENCY_KEY;
use crate::http::peer::{Pauses, Presence, causes, for_people, retry_after};
use crate::http::service::{RequestBody, Service};
use crate::journal::Reader;
use crate::metrics::catalog;
use crate::sinks::otlp::receiver::{AttemptMeters, AttemptResult};
use crate::state::refused::RefusedRequests;

/// The name of this reader, the value of the label `reader`.
pub const READER: &str = "service";

/// The value of the label `signal` for attempts to deliver.
const SIGNAL: &str = "call_events";

/// Events that may be unfinished at once, and their bytes: what one event that fails for hours may have behind it.
const MOST_UNFINISHED: usize = 1024;
const MOST_UNFINISHED_BYTES: usize = 8 * 1024 * 1024;

/// Events that are read at once.
const BATCH: usize = 64;

/// How much of a refusal is read, to be shown to people.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How long what was finished may wait to be noted durably. After a crash it is delivered once more.
const SAVE_INTERVAL: Duration = Duration::from_millis(200);

/// The pauses before another attempt.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How events are delivered.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where events go of which the journal does not know the path.
    pub call_event_path: String,
    /// Events on their way at once.
    pub concurrency: usize,
    /// The age past which a failed event is not tried again.
    pub max_age: Duration,
}

/// Delivers call events to the service.
pub struct ServiceDelivery {
    reader: Reader,
    service: Arc<Service>,
    refused: Arc<RefusedRequests>,
    settings: Settings,
    /// What was taken and not finished, by sequence number.
    events: BTreeMap<u64, Event>,
    bytes: usize,
    attempts: JoinSet<Attempt>,
    last_success: Option<Instant>,
    /// While the service is away: when it is asked again.
    away_until: Option<Instant>,
    away_pauses: Pauses,
    presence: Presence,
    /// Since when something is finished that is not noted durably.
    unsaved_since: Option<Instant>,
    meters: Meters,
}

/// An event that is not finished.
struct Event {
    record: Bytes,
    received_at: SystemTime,
    caller: Option<u64>,
    is_on_its_way: bool,
    not_before: Instant,
    pauses: Pauses,
}

/// An attempt that has ended.
struct Attempt {
    sequence: u64,
    started: Instant,
    outcome: Result<(), Failure>,
}

/// Why an event was not taken.
enum Failure {
    /// The service will never take it.
    Refused(String),
    /// The service cannot take this one now.
    Again { reason: String, retry_after: Option<Duration> },
    /// The service cannot take anything now, it seems.
    Away { reason: String, retry_after: Option<Duration> },
}

impl ServiceDelivery {
    /// Delivers what `reader` reads to `service`; what that refuses for good goes to `refused`.
    pub fn new(
        reader: Reader,
        service: Arc<Service>,
        refused: Arc<RefusedRequests>,
        settings: Settings,
    ) -> ServiceDelivery {
        ServiceDelivery {
            reader,
            service,
            refused,
            settings,
            events: BTreeMap::new(),
            bytes: 0,
            attempts: JoinSet::new(),
            last_success: None,
            away_until: None,
            away_pauses: Pauses::new(SHORTEST_PAUSE, LONGEST_PAUSE),
            presence: Presence::new("the service behind", SIGNAL),
            unsaved_since: None,
            meters: Meters::new(),
        }
    }

    /// Delivers until `stop`, and then what is left for as long as that succeeds.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut is_stopping = false;
        loop {
            self.take_more();
            self.begin_attempts();
            if is_stopping && self.is_at_a_standstill() {
                break;
            }
            let (has_room, wake_at) = (self.has_room(), self.wake_at());
            tokio::select! {
                biased;
                Some(attempt) = self.attempts.join_next() => self.finish(attempt),
                () = stop.cancelled(), if !is_stopping => is_stopping = true,
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
                () = self.reader.readable(1), if has_room => {}
            }
            if self.unsaved_since.is_some_and(|since| since.elapsed() >= SAVE_INTERVAL) {
                self.save();
            }
        }
        // Before waiting for what is on its way, since the time for the end may run out meanwhile.
        self.save();
        while let Some(attempt) = self.attempts.join_next().await {
            self.finish(attempt);
        }
        self.save();
        self.account_for_the_rest();
    }

    /// Whether nothing more goes out without waiting for the service or for a pause.
    fn is_at_a_standstill(&self) -> bool {
        let can_take_more = self.has_room() && self.reader.is_readable();
        self.attempts.is_empty() && (self.away_until.is_some() || !can_take_more)
    }

    fn has_room(&self) -> bool {
        self.events.len() < MOST_UNFINISHED && self.bytes < MOST_UNFINISHED_BYTES
    }

    /// Takes events from the journal, unless enough are unfinished.
    fn take_more(&mut self) {
        if !self.has_room() || !self.reader.is_readable() {
            return;
        }
        let room = MOST_UNFINISHED - self.events.len();
        let records = self.reader.take(room.min(BATCH));
        for (sequence, record) in records {
            match event(&record) {
                Some(event) => {
                    self.bytes += event.record.len();
                    self.events.insert(sequence, event);
                }
                None => {
                    error!(sequence, "a record of the journal is not a call event; it is not passed on");
                    self.meters.refused.increment(1);
                    self.unsaved_since.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    /// Begins as many attempts as may be.
    fn begin_attempts(&mut self) {
        let now = Instant::now();
        let most = match self.away_until {
            Some(until) if until > now => 0,
            Some(_) => 1,
            None => self.settings.concurrency,
        };
        let mut callers = HashSet::new();
        for (&sequence, event) in &mut self.events {
            if self.attempts.len() >= most {
                break;
            }
            let is_first_of_caller = event.caller.is_none_or(|caller| callers.insert(caller));
            if !is_first_of_caller || event.is_on_its_way || event.not_before > now {
                continue;
            }
            event.is_on_its_way = true;
            let (service, record) = (Arc::clone(&self.service), event.record.clone());
            let path = self.settings.call_event_path.clone();
            self.attempts.spawn(async move {
                let outcome = attempt(&service, &record, &path).await;
                Attempt { sequence, started: now, outcome }
            });
        }
    }

    /// When something is due without anything else happening.
    fn wake_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let events = self.events.values().filter(|event| !event.is_on_its_way);
        let next_event = events.map(|event| event.not_before).filter(|at| *at > now).min();
        let save = self.unsaved_since.map(|since| since + SAVE_INTERVAL);
        let away = self.away_until.filter(|until| *until > now && !self.events.is_empty());
        [next_event, save, away].into_iter().flatten().min()
    }

    /// Takes in how an attempt ended.
    fn finish(&mut self, attempt: Result<Attempt, tokio::task::JoinError>) {
        let Attempt { sequence, started, outcome } = match attempt {
            Ok(attempt) => attempt,
            // Nobody cancels an attempt, so it has panicked. As a bug it must not be taken for a success.
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let result = match &outcome {
            Ok(()) => AttemptResult::Success,
            Err(Failure::Refused(_)) => AttemptResult::Refused,
            Err(_) => AttemptResult::Retry,
        };
        self.meters.attempts.count(result, started.elapsed());
        match outcome {
            Ok(()) => {
                self.last_success = Some(Instant::now());
                self.note_back();
                self.meters.delivered.increment(1);
                self.remove(sequence);
            }
            Err(Failure::Refused(reason)) => {
                self.note_back();
                warn!(sequence, %reason, "the service refused a call event; it is kept among the refused");
                self.keep_refused(sequence, reason);
                self.meters.refused.increment(1);
            }
            Err(Failure::Again { reason, retry_after }) => {
                self.note_back();
                self.try_again(sequence, reason, retry_after);
            }
            Err(Failure::Away { reason, retry_after }) => {
                // If another attempt succeeded meanwhile, the service is there, and something is wrong with this one.
                if self.last_success.is_none_or(|success| success < started) {
                    self.note_away(&reason, retry_after);
                }
                self.try_again(sequence, reason, retry_after);
            }
        }
    }

    fn note_back(&mut self) {
        self.away_until = None;
        self.away_pauses.reset();
        self.presence.note_back();
    }

    fn note_away(&mut self, reason: &str, retry_after: Option<Duration>) {
        self.presence.note_away(&reason);
        let now = Instant::now();
        // Of attempts that fail together the first says when the service is asked again.
        if self.away_until.is_none_or(|until| until <= now) {
            self.away_until = Some(now + self.away_pauses.next(retry_after));
        }
    }

    /// Has an event tried again later, unless it is too old.
    fn try_again(&mut self, sequence: u64, reason: String, retry_after: Option<Duration>) {
        let Some(event) = self.events.get_mut(&sequence) else { return };
        let age = SystemTime::now().duration_since(event.received_at).unwrap_or_default();
        if age < self.settings.max_age {
            event.is_on_its_way = false;
            event.not_before = Instant::now() + event.pauses.next(retry_after);
            return;
        }
        let reason = format!("not delivered within {:?}: {reason}", self.settings.max_age);
        warn!(sequence, %reason, "a call event is too old to be tried again; it is kept among the refused");
        self.keep_refused(sequence, reason);
        self.meters.age.increment(1);
    }

    fn keep_refused(&mut self, sequence: u64, reason: String) {
        let Some(event) = self.remove(sequence) else { return };
        if let Ok(record) = Record::decode(&event.record) {
            self.refused.keep(event.received_at, reason, &String::from_utf8_lossy(record.query));
        }
    }

    /// Takes out an event that is finished.
    fn remove(&mut self, sequence: u64) -> Option<Event> {
        let event = self.events.remove(&sequence)?;
        self.bytes -= event.record.len();
        self.unsaved_since.get_or_insert_with(Instant::now);
        Some(event)
    }

    /// Notes durably what is finished.
    fn save(&mut self) {
        self.unsaved_since = None;
        let unfinished: Vec<u64> = self.events.keys().copied().collect();
        self.reader.done_except(&unfinished);
    }

    fn account_for_the_rest(&self) {
        let events = self.events.len() as u64 + self.reader.waiting();
        if events == 0 {
            return;
        }
        if self.reader.is_durable() {
            return warn!(
                events,
                "ended before all call events were passed on; they are after the next start"
            );
        }
        self.meters.shutdown.increment(events);
        warn!(events, "ended before all call events were passed on; they are given up");
    }
}

/// A recorded event as one that is to be delivered.
fn event(record: &[u8]) -> Option<Event> {
    let decoded = Record::decode(record).ok()?;
    let caller = decoded.event().ok().and_then(|event| caller(&event));
    Some(Event {
        // A copy, so that it does not keep the whole chunk of the journal that was read.
        record: Bytes::copy_from_slice(record),
        received_at: decoded.received_at,
        caller,
        is_on_its_way: false,
        not_before: Instant::now(),
        pauses: Pauses::new(SHORTEST_PAUSE, LONGEST_PAUSE),
    })
}

/// Who called, if the event says so, as a number that is the same for the same caller.
fn caller(event: &CallEvent<'_>) -> Option<u64> {
    let user = event.text(Parameter::FromUserId)?;
    let mut hasher = DefaultHasher::new();
    (event.text(Parameter::FromServiceId), user).hash(&mut hasher);
    Some(hasher.finish())
}

/// Sends a recorded event to the service.
async fn attempt(service: &Service, record: &[u8], path: &str) -> Result<(), Failure> {
    let request = request(service, record, path).map_err(Failure::Refused)?;
    let timeout = service.timeout();
    let exchange = async {
        let away = |reason| Failure::Away { reason, retry_after: None };
        let response = service.send(request).await.map_err(|error| away(causes(&error)))?;
        let (head, body) = response.into_parts();
        // Read to its end, so that the connection can be used again; an answer that breaks off has said enough.
        let body = Limited::new(body, LONGEST_ANSWER).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        outcome(head.status, retry_after(&head.headers), &body)
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| {
        Err(Failure::Away { reason: format!("no answer within {timeout:?}"), retry_after: None })
    })
}

/// What an answer means: a client error is final, except where it says that another time may be better.
fn outcome(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let reason = for_people(&format!("the service answered {status}: {}", String::from_utf8_lossy(body)));
    Err(match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Failure::Away { reason, retry_after },
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY => {
            Failure::Again { reason, retry_after }
        }
        status if status.is_client_error() => Failure::Refused(reason),
        _ => Failure::Again { reason, retry_after },
    })
}

/// The request that a recorded event came with, with the key by which the service recognizes it when it comes again.
fn request(service: &Service, record: &[u8], path: &str) -> Result<Request<RequestBody>, String> {
    let record = Record::decode(record).map_err(|error| error.to_string())?;
    let (recorded_path, headers) = envelope::decode(record.envelope);
    let path_and_query =
        format!("{}?{}", recorded_path.unwrap_or(path), String::from_utf8_lossy(record.query));
    let uri = service.url().join(&path_and_query);
    let mut request = Request::new(Either::Right(Empty::new()));
    *request.uri_mut() = uri.map_err(|error| format!("its path and query make no URI: {error}"))?;
    *request.headers_mut() = headers;
    let key = HeaderValue::from_str(&format!("\"{}\"", record.sid));
    request.headers_mut().insert(IDEMPOTENCY_KEY, key.map_err(|error| error.to_string())?);
    Ok(request)
}

/// The metrics of the delivery.
struct Meters {
    attempts: AttemptMeters,
    delivered: Counter,
    refused: Counter,
    age: Counter,
    shutdown: Counter,
}

impl Meters {
    fn new() -> Meters {
        let given_up = |cause: &'static str| counter!(catalog::EXPORTER_GIVEN_UP_EVENTS.name, "reader" => READER, "cause" => cause);
        Meters {
            attempts: AttemptMeters::new(SIGNAL),
            delivered: counter!(catalog::EXPORTER_DELIVERED_EVENTS.name, "reader" => READER),
            refused: given_up("refused"),
            age: given_up("age"),
            shutdown: given_up("shutdown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callback::record;

    #[test]
    fn answers_are_told_apart() {
        let of =
            |status: u16| match outcome(StatusCode::from_u16(status).expect("a status"), None, b"why\nnot") {
                Ok(()) => "taken",
                Err(Failure::Refused(reason)) => {
                    assert!(reason.contains("why not"));
                    "refused"
                }
                Err(Failure::Again { .. }) => "again",
                Err(Failure::Away { .. }) => "away",
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
            }
        }
    }

    #[test]
    fn the_request_is_the_one_that_came() {
        let query = "sid=6364E8B3bdac436e96310bce2498ce0c&duration=1&app_svr_data=%2F+%00";
        let event = CallEvent::read(query.as_bytes(), SystemTime::UNIX_EPOCH).expect("a call");
        let mut headers = hyper::HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer token"));
        let envelope = envelope::encode("/other_path", &headers).expect("an envelope");
        let url = "http://127.0.0.1:8080/base".parse().expect("a URL");
        let service = Service::new(url, Duration::from_secs(1)).expect("a service");
        for (envelope, path) in [(&envelope[..], "/other_path"), (b"", "/call_event")] {
            let record = record::encode(&event, envelope, query.as_bytes());
            let request = request(&service, &record, "/call_event").expect("a request");
            assert_eq!(request.uri().to_string(), format!("http://127.0.0.1:8080/base{path}?{query}"));
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
