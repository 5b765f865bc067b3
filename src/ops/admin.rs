//! The admin port.
//!
//! | request | answer |
//! |---|---|
//! | GET / | what this is, its version, links |
//! | GET /metrics | every metric in text format 0.0.4, compressed if asked for |
//! | GET /livez | 200 as long as the process serves; nothing outside it counts |
//! | GET /readyz | 200 if call events can be taken, else 503 and what is amiss |
//! | GET /refused | refused requests as JSON lines; only to this host, since they carry personal data |

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::Handler;
use crate::http::response::{self, Body};
use crate::metrics::text;
use crate::state::readiness::Readiness;
use crate::state::refused::RefusedRequests;

/// Answers the admin port.
pub struct AdminHandler<Page> {
    /// Makes the page of /metrics.
    page: Page,
    /// What /readyz tells.
    readiness: Readiness,
    /// What /refused shows.
    refused: Arc<RefusedRequests>,
    /// The path of the call event callback, for the landing page.
    call_event_path: String,
    places: Arc<Semaphore>,
}

/// Metrics pages that are on their way at once. With many series a page takes megabytes until its reader has taken it, so
/// a further one waits.
const CONCURRENT_PAGES: usize = 4;

impl<Page> AdminHandler<Page> {
    /// Shows pages that `page` makes, whether `readiness` is open, and what was `refused`; names the path of call events.
    pub fn new(
        page: Page,
        readiness: Readiness,
        refused: Arc<RefusedRequests>,
        call_event_path: String,
    ) -> AdminHandler<Page> {
        let places = Arc::new(Semaphore::new(CONCURRENT_PAGES));
        AdminHandler { page, readiness, refused, call_event_path, places }
    }
}

impl<Page: Fn() -> String + Send + Sync + 'static> Handler for AdminHandler<Page> {
    async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let path = request.uri().path();
        if !["/", "/metrics", "/livez", "/readyz", "/refused"].contains(&path) {
            return response::text(StatusCode::NOT_FOUND, "not found\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return response::method_not_allowed("GET, HEAD");
        }
        match path {
            "/metrics" => self.metrics(&request).await,
            "/livez" => response::text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readyz(),
            "/refused" if peer.ip().to_canonical().is_loopback() => self.refused(),
            "/refused" => response::text(StatusCode::FORBIDDEN, "only from the same host\n"),
            _ => self.landing_page(),
        }
    }
}

impl<Page: Fn() -> String> AdminHandler<Page> {
    async fn metrics(&self, request: &Request<Incoming>) -> Response<Body> {
        // The semaphore is never closed; without a place the page would only be unbounded.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let text = (self.page)().into_bytes();
        let compressed = if accepts_gzip(request) { gzip(&text) } else { None };
        let is_gzip = compressed.is_some();
        let page = Placed { page: compressed.unwrap_or(text), _place: place };
        let mut answer = response::content(StatusCode::OK, text::CONTENT_TYPE, Bytes::from_owner(page));
        if is_gzip {
            answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        answer
    }

    fn readyz(&self) -> Response<Body> {
        let closed = self.readiness.closed();
        match closed.is_empty() {
            true => response::text(StatusCode::OK, "ok\n"),
            false => {
                response::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", closed.join(", ")))
            }
        }
    }

    fn refused(&self) -> Response<Body> {
        response::content(StatusCode::OK, "application/jsonl; charset=utf-8", self.refused.to_json_lines())
    }

    fn landing_page(&self) -> Response<Body> {
        let page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>planet-call-exporter</title></head>\n\
             <body>\n<h1>planet-call-exporter</h1>\n\
             <p>Version {version}. Telemetry for LINE Planet: each call event that comes in on <code>{path}</code> \
             becomes counters, duration histograms and a span.</p>\n<ul>\n\
             <li><a href=\"/metrics\">/metrics</a>: every metric, for Prometheus</li>\n\
             <li><a href=\"/livez\">/livez</a>: whether the process serves</li>\n\
             <li><a href=\"/readyz\">/readyz</a>: whether call events can be taken</li>\n\
             <li><a href=\"/refused\">/refused</a>: requests that could not be call events, to this host only</li>\n\
             </ul>\n</body>\n</html>\n",
            version = env!("CARGO_PKG_VERSION"),
            path = escape_html(&self.call_event_path),
        );
        response::content(StatusCode::OK, "text/html; charset=utf-8", page)
    }
}

/// A page that holds its place until its last byte has gone.
struct Placed {
    page: Vec<u8>,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.page
    }
}

/// Whether the client takes gzip. The names of codings have no case, and a weight of 0 refuses one (RFC 9110, sections
/// 8.4.1 and 12.5.3).
fn accepts_gzip(request: &Request<Incoming>) -> bool {
    let accepted = request.headers().get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.unwrap_or(1.0) > 0.0
    })
}

fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
