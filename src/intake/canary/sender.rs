//! The sender of canaries: one at a time, each on a connection of its own. `planet-call-exporter canary` [sends](send)
//! a single one.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, USER_AGENT};
use hyper::service::Service;
use hyper::{Request, StatusCode};
use hyper_util::service::TowerToHyperService;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Nonce;
use super::failure::{Failure, REASONS};
use crate::config::canary_url::CanaryUrl;
use crate::http::headers::add_host;
use crate::http::pace::{LeftOut, Pace};
use crate::http::tls;
use crate::intake::admission::secrets::Secrets;
use crate::metrics::catalog;
use crate::state::readiness::Latch;

/// The name of the latch.
pub const CANARY: &str = "canary";

/// How long a round trip may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer's head at most.
const LARGEST_HEAD: usize = 16 * 1024;

/// After this time the same failure is said again.
const AGAIN: Duration = Duration::from_secs(3_600);

/// Sends canaries, and notes which come back.
#[derive(Debug)]
pub struct Sender {
    url: CanaryUrl,
    secrets: Option<Arc<Secrets>>,
    interval: Duration,
    latch: Latch,
    metrics: CanaryMetrics,
    failing_since: Option<Instant>,
    said: Pace,
}

impl Sender {
    /// Sends one to `url` every `interval`, with the first of `secrets` unless the URL has one. `latch` is closed while
    /// they do not come back.
    pub fn new(url: CanaryUrl, secrets: Option<Arc<Secrets>>, interval: Duration, latch: Latch) -> Sender {
        latch.open();
        let said = Pace::new(AGAIN);
        Sender { url, secrets, interval, latch, metrics: CanaryMetrics::new(), failing_since: None, said }
    }

    /// Sends them until `stop`. One that is on its way then is forgotten.
    pub async fn run(mut self, stop: CancellationToken) {
        let first = tokio::time::Instant::now() + self.interval;
        let mut rounds = tokio::time::interval_at(first, self.interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(rounds.tick()).await.is_some() {
            let started = Instant::now();
            match stop.run_until_cancelled(round_trip(&self.url, self.secrets.as_deref())).await {
                Some(Ok(())) => self.note_success(started.elapsed()),
                Some(Err(failure)) => self.note_failure(&failure),
                None => return,
            }
        }
    }

    fn note_success(&mut self, time: Duration) {
        self.metrics.success.increment(1);
        self.metrics.duration.record(time);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.metrics.last_success.set(now.as_secs_f64());
        self.latch.open();
        if let Some(since) = self.failing_since.take() {
            self.said.forget();
            info!(url = %self.url, failing_seconds = since.elapsed().as_secs(), "the canary comes back again");
        }
    }

    fn note_failure(&mut self, failure: &Failure) {
        let reason = failure.reason();
        failures(reason).increment(1);
        self.failing_since.get_or_insert_with(Instant::now);
        let error = format!("{failure}; {}", failure.cure());
        self.latch.close(&error);
        if let Some(LeftOut { times, .. }) = self.said.note(&error, 0) {
            warn!(
                url = %self.url,
                reason,
                %error,
                left_out = times,
                "the canary does not come back: call events may not get here either"
            );
        }
    }
}

/// Why a canary did not come back, and what is likely to help.
#[derive(Debug, Error)]
#[error("the canary does not come back from {url}: {failure}; {cure}", cure = .failure.cure())]
pub struct Lost {
    url: CanaryUrl,
    failure: Failure,
}

/// Sends one canary to `url`, with the first of `secrets` unless the URL has one.
///
/// # Errors
/// It does not come back.
pub async fn send(url: CanaryUrl, secrets: Option<&Secrets>) -> Result<(), Lost> {
    round_trip(&url, secrets).await.map_err(|failure| Lost { url, failure })
}

async fn round_trip(url: &CanaryUrl, secrets: Option<&Secrets>) -> Result<(), Failure> {
    let nonce = Nonce::random();
    let answer = tokio::time::timeout(TIMEOUT, exchange(url, secrets, nonce)).await;
    let (status, headers) = answer.unwrap_or(Err(Failure::Timeout(TIMEOUT)))?;
    Failure::of_answer(nonce, status, &headers).map_or(Ok(()), Err)
}

/// Sends a canary over a new connection, and returns the head of the answer.
async fn exchange(
    url: &CanaryUrl,
    secrets: Option<&Secrets>,
    nonce: Nonce,
) -> Result<(StatusCode, HeaderMap), Failure> {
    let uri = url.uri().clone();
    let mut request = Request::new(Empty::<Bytes>::new());
    let secret = secrets.and_then(Secrets::first);
    *request.uri_mut() = url.target(secret.as_deref(), &nonce.query()).unwrap_or_default();
    let headers = request.headers_mut();
    add_host(headers, &uri);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    // With the authorities of now, without which a canary fails, and nothing else.
    let connector = tls::connector_without_sessions(&uri, TIMEOUT).map_err(Failure::NoAuthorities)?;
    let connector = TowerToHyperService::new(connector);
    let stream = connector.call(uri).await.map_err(|error| Failure::no_answer(&*error))?;
    let no_answer = |error: hyper::Error| Failure::no_answer(&error);
    let handshake = http1::Builder::new().max_buf_size(LARGEST_HEAD).handshake(stream).await;
    let (mut sender, connection) = handshake.map_err(no_answer)?;
    // It is closed with this.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let (head, _) = sender.send_request(request).await.map_err(no_answer)?.into_parts();
    Ok((head.status, head.headers))
}

/// Who asks.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

fn failures(result: &'static str) -> Counter {
    counter!(catalog::EXPORTER_CANARY_ROUND_TRIPS.name, "result" => result)
}

/// The metrics of the sender.
struct CanaryMetrics {
    success: Counter,
    duration: Histogram,
    last_success: Gauge,
}

impl CanaryMetrics {
    /// All of them, at 0, so that the first of anything is an increase.
    fn new() -> CanaryMetrics {
        REASONS.iter().for_each(|reason| failures(reason).increment(0));
        let success = counter!(catalog::EXPORTER_CANARY_ROUND_TRIPS.name, "result" => "success");
        success.increment(0);
        let last_success = gauge!(catalog::EXPORTER_CANARY_LAST_SUCCESS_TIME.name);
        last_success.set(0.0);
        CanaryMetrics { success, duration: histogram!(catalog::EXPORTER_CANARY_DURATION.name), last_success }
    }
}

impl std::fmt::Debug for CanaryMetrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("CanaryMetrics")
    }
}
