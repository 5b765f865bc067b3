//! The admin port.
//!
//! | request | answer |
//! |---|---|
//! | GET / | the [status] for people: what is wrong, where, since when; with its style and script |
//! | GET /status.json | the same as data |
//! | GET /usage | what calls of each day come to, as JSON lines |
//! | GET /metrics | every metric in text format 0.0.4, or in OpenMetrics 1.0.0 for who asks for it; compressed if asked for |
//! | GET /livez | 200 as long as the process serves, 503 if the parts that take call events are stuck; nothing outside it counts |
//! | GET /readyz | 200 if call events can be taken, else 503 and what is amiss; with `exclude=NAME` whatever that part says; with `verbose` every part |
//! | GET /-/healthy, /-/ready | the same two under Prometheus's names |
//! | POST /-/drain | [draining](crate::intake::draining) begins; only from this host, whatever credentials are configured |
//! | POST /quitquitquit | the exporter ends as at SIGTERM, where that is allowed (`--admin-quit`); likewise |
//! | GET /refused | refused requests as JSON lines; only to this host or with credentials, since they carry personal data |
//! | GET /why, /why.json, /calls, /report | a look back at the calls (`ops::look_back`), likewise |
//!
//! Where credentials are configured, only the paths of health checks answer without them ([`access`](super::access)).
//!
//! An answer that has not been taken after 30 seconds breaks off, but for the calls that somebody follows.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderValue, USER_AGENT, VARY};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::access::{Access, Admitted};
use super::html;
use super::look_back::{self, LookBack};
use super::negotiation::{self, Format};
use super::pages::{Kept, Pages};
use super::refused_body::RefusedBody;
use super::status;
use super::view::View;
use crate::config::Config;
use crate::config::trace_url::TraceUrl;
use crate::http::pace::Pace;
use crate::http::response::{self, Body};
use crate::http::{BindError, Ending, Handler, Limits, ListenAddress, OpenConnection, Purpose, Server};
use crate::metrics::birth::Birth;
use crate::metrics::{openmetrics, text};
use crate::state::readers::{Asked, Births, Who};
use crate::state::thread::{STACK, Thread};

/// Answers the admin port.
pub struct AdminHandler {
    view: Arc<View>,
    access: Arc<Access>,
    text: FormatPages,
    openmetrics: FormatPages,
    status: Pages,
    status_json: Pages,
    usage: Pages,
    look_back: LookBack,
    failures_logged: Pace,
    orders: Orders,
}

/// What a program on this host may order: each begins when its token is cancelled.
pub struct Orders {
    /// To drain.
    pub drain: CancellationToken,
    /// To end; `None` if nobody may.
    pub quit: Option<CancellationToken>,
}

/// The pages of one format.
struct FormatPages {
    plain: Pages,
    compressed: Pages,
}

impl FormatPages {
    /// Pages that `make` makes for who was shown these births, and that are kept in `kept`.
    fn new(
        kept: &Arc<Kept>,
        make: impl Fn(Births) -> (String, Births) + Clone + Send + Sync + 'static,
    ) -> FormatPages {
        let of_compressed = make.clone();
        let plain = Pages::new(kept, move |shown| {
            let (page, births) = make(shown);
            (page.into_bytes(), births)
        });
        let compressed = Pages::new(kept, move |shown| {
            let (page, births) = of_compressed(shown);
            (gzip(page.as_bytes()), births)
        });
        FormatPages { plain, compressed }
    }
}

/// Starts the admin port on a thread and a runtime of its own, so that it answers while everything else is still coming up,
/// and whatever keeps the workers of the others busy. It ends after `stop`. Returns where it listens.
///
/// # Errors
/// The address cannot be listened on, or the thread cannot be started.
pub async fn start(
    address: ListenAddress,
    limits: Limits,
    handler: AdminHandler,
    stop: CancellationToken,
) -> Result<(Vec<SocketAddr>, Thread), BindError> {
    let limits = Limits { answer_timeout: Some(ANSWER_TIMEOUT), ..limits };
    let (to_bound, bound) = oneshot::channel();
    let purpose = Purpose::Admin;
    let place = address.clone();
    let failed = |source: io::Error| BindError { purpose, address: address.clone(), source };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // Pages are made on one thread, while this one answers others.
    runtime.enable_all().max_blocking_threads(1).thread_stack_size(STACK);
    let runtime = runtime.build().map_err(failed)?;
    let thread = Thread::start(purpose.as_str(), move || {
        runtime.block_on(async {
            match Server::bind(purpose, &place, limits).await {
                Ok(server) => {
                    let server = server.with_tls(handler.access.tls().cloned());
                    // Whoever waits for it is there: see below.
                    let _ = to_bound.send(Ok(server.addresses().to_vec()));
                    server.run(Arc::new(handler), Ending { drain: stop.clone(), stop }).await;
                }
                Err(error) => drop(to_bound.send(Err(error))),
            }
        });
    });
    let thread = thread.map_err(failed)?;
    let bound = bound.await.map_err(|_| failed(io::Error::other("its thread has ended")))?;
    Ok((bound?, thread))
}

/// Time in which an answer must have been taken, whatever its reader takes meanwhile, so that slow readers keep neither
/// connections nor pages: three times what Prometheus waits for a page by default.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

impl AdminHandler {
    /// Shows what is to be seen in `view` to whom `access` lets, as configured, and takes `orders`. Calls have their
    /// traces at `trace_url`. Who follows calls does so until `stop`.
    pub fn new(
        view: Arc<View>,
        access: Arc<Access>,
        config: &Config,
        trace_url: Option<TraceUrl>,
        orders: Orders,
        stop: CancellationToken,
    ) -> AdminHandler {
        let (call_event_path, with_created) = (config.call_event_path.clone(), config.created_series);
        let kept = Arc::default();
        let (of_text, of_openmetrics) = (Arc::clone(&view), Arc::clone(&view));
        let text = FormatPages::new(&kept, move |shown| of_text.page(shown, text::render_all));
        let openmetrics = FormatPages::new(&kept, move |shown| {
            of_openmetrics
                .page(shown, |families, process| openmetrics::render(families, process, with_created))
        });
        let [of_status, of_status_json, of_usage] = std::array::from_fn(|_| Arc::clone(&view));
        // Of their own, so that who looks at the status takes no page from a Prometheus.
        let kept = Arc::default();
        let status = Pages::new(&kept, move |shown| {
            (status::render(&of_status.status(), &call_event_path).into_bytes(), shown)
        });
        let status_json =
            Pages::new(&kept, move |shown| (of_status_json.status().to_json().into_bytes(), shown));
        let usage = Pages::new(&kept, move |shown| (of_usage.usage().into_bytes(), shown));
        let look_back = LookBack::new(Arc::clone(&view), trace_url, stop);
        let failures_logged = Pace::default();
        AdminHandler {
            view,
            access,
            text,
            openmetrics,
            status,
            status_json,
            usage,
            look_back,
            failures_logged,
            orders,
        }
    }
}

impl Handler for AdminHandler {
    const TELLS_CONNECTIONS_APART: bool = true;

    async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let path = request.uri().path();
        self.access.note(peer.ip());
        let is_method_known = matches!(*request.method(), Method::GET | Method::HEAD);
        match path {
            "/livez" | "/-/healthy" if is_method_known => return self.view.health().livez(),
            "/readyz" | "/-/ready" if is_method_known => {
                return self.view.health().readyz(request.uri().query().unwrap_or_default());
            }
            DRAIN => return self.order(&request, peer, &self.orders.drain, "draining"),
            QUIT if let Some(quit) = &self.orders.quit => return self.order(&request, peer, quit, "ending"),
            _ => {}
        }
        let admitted = match self.access.admit(request.headers(), peer.ip()).await {
            Ok(admitted) => admitted,
            Err(refusal) => return refusal,
        };
        let is_look_back = look_back::PATHS.contains(&path);
        if !PATHS.contains(&path) && !is_look_back {
            return response::text(StatusCode::NOT_FOUND, "not found\n");
        }
        if !is_method_known {
            return response::method_not_allowed("GET, HEAD");
        }
        let sees_personal_data =
            || admitted == Admitted::ByCredentials || self.access.is_from_here(peer.ip(), request.headers());
        match path {
            "/metrics" => self.metrics(&request, peer).await,
            "/refused" if sees_personal_data() => self.refused(),
            _ if is_look_back && sees_personal_data() => self.look_back.answer(&request).await,
            path if is_look_back || path == "/refused" => {
                response::text(StatusCode::FORBIDDEN, "only from the same host, or with credentials\n")
            }
            "/status.json" => self.status_page(&self.status_json, "application/json").await,
            "/usage" => self.status_page(&self.usage, response::JSON_LINES).await,
            "/style.css" => response::content(StatusCode::OK, "text/css; charset=utf-8", html::STYLE),
            "/status.js" => {
                response::content(StatusCode::OK, "text/javascript; charset=utf-8", status::SCRIPT)
            }
            _ => self.status_page(&self.status, html::CONTENT_TYPE).await,
        }
    }
}

/// What there is to see.
const PATHS: [&str; 11] = [
    "/",
    "/status.json",
    "/style.css",
    "/status.js",
    "/usage",
    "/metrics",
    "/refused",
    "/livez",
    "/readyz",
    "/-/healthy",
    "/-/ready",
];

/// Where draining begins.
pub const DRAIN: &str = "/-/drain";

/// Where the exporter ends, under the name that other sidecars have made usual (Envoy, Istio's agent).
pub const QUIT: &str = "/quitquitquit";

impl AdminHandler {
    /// Does as it is told. Whoever may look may not do so, since the exporter would not take it back.
    fn order(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        order: &CancellationToken,
        what: &'static str,
    ) -> Response<Body> {
        if !self.access.may_order(peer.ip(), request.headers()) {
            return response::text(StatusCode::FORBIDDEN, "only from the same host\n");
        }
        if request.method() != Method::POST {
            return response::method_not_allowed("POST");
        }
        if !order.is_cancelled() {
            info!(%peer, "a program on this host orders it: {what}");
            order.cancel();
        }
        response::text(StatusCode::OK, format!("{what}\n"))
    }

    async fn metrics(&self, request: &Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let asked_at = Instant::now();
        let scraper = Scraper::of(request, peer);
        if scraper.is_some() {
            self.view.note_scrape();
        }
        let format = Format::wanted(request.headers());
        let is_gzip = negotiation::accepts_gzip(request.headers());
        let pages = match format {
            Format::Text => &self.text,
            Format::OpenMetrics => &self.openmetrics,
        };
        let pages = if is_gzip { &pages.compressed } else { &pages.plain };
        let (mut asked, shown) = self.shown_to(scraper.as_ref()).await;
        let mut page = pages.page(shown).await;
        if asked.is_none() && scraper.is_some() && self.view.is_open() {
            // The totals came meanwhile, and may be on it.
            let (asked_again, shown) = self.shown_to(scraper.as_ref()).await;
            asked = asked_again;
            page = pages.page(shown).await;
        }
        let page = match page {
            Ok(page) => page,
            Err(error) => return self.cannot_be_made("metrics", &error),
        };
        let page = match (asked, scraper) {
            (Some(asked), Some(scraper)) => {
                let view = Arc::clone(&self.view);
                page.at_end(move |births| {
                    // Later nobody waits for it any more.
                    if asked_at.elapsed() < scraper.timeout {
                        view.note_taken(asked, births);
                    }
                })
            }
            _ => page,
        };
        let mut answer = response::with_content_type(response::streamed(page), format.content_type());
        let headers = answer.headers_mut();
        headers.insert(VARY, HeaderValue::from_static(negotiation::VARY));
        if is_gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        answer
    }

    /// What who asks is to be shown; without a scraper, everything at its value.
    async fn shown_to(&self, scraper: Option<&Scraper>) -> (Option<Asked>, Births) {
        let Some(scraper) = scraper else { return (None, Births::ANY) };
        let asked = self.view.shown_to(&scraper.who, scraper.timeout / 4).await;
        (asked, asked.map_or(BEFORE_TOTALS, |asked| asked.shown))
    }

    fn refused(&self) -> Response<Body> {
        let body = RefusedBody::new(Arc::clone(self.view.refused()));
        let mut answer = response::with_content_type(response::streamed(body), response::JSON_LINES);
        html::protect(&mut answer);
        answer
    }

    async fn status_page(&self, pages: &Pages, content_type: &'static str) -> Response<Body> {
        let page = match pages.page(Births::ANY).await {
            Ok(page) => page,
            Err(error) => return self.cannot_be_made("status", &error),
        };
        let mut answer = response::with_content_type(response::streamed(page), content_type);
        html::protect(&mut answer);
        answer
    }

    fn cannot_be_made(&self, page: &str, error: &JoinError) -> Response<Body> {
        if let Some(left_out) = self.failures_logged.due() {
            error!(page, %error, left_out, "a page cannot be made");
        }
        response::empty(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// What a scraper is shown before there are totals: of the exporter's own metrics nothing, which it will see at 0 then.
const BEFORE_TOTALS: Births = Births { totals: Birth::ANY, own: Birth::NONE };

/// The header that tells a Prometheus, or what scrapes like one, from people.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// Headers that say for whom a proxy scrapes.
const NAMES_OF_PROXIED: [&str; 3] = ["x-forwarded-for", "forwarded", "via"];

/// Who scrapes, and how long it waits for the page.
struct Scraper {
    who: Who,
    timeout: Duration,
}

impl Scraper {
    /// Who scrapes; `None` if it is somebody else who looks.
    fn of(request: &Request<Incoming>, peer: SocketAddr) -> Option<Scraper> {
        let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
        let seconds = text(SCRAPE_TIMEOUT).filter(|_| request.method() == Method::GET)?;
        let timeout = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let proxied = NAMES_OF_PROXIED.into_iter().find_map(text);
        let connection = request.extensions().get::<OpenConnection>().map(OpenConnection::downgrade);
        let who = Who::scrapes(peer.ip(), text(USER_AGENT.as_str()).unwrap_or_default(), proxied, connection);
        Some(Scraper { who, timeout: timeout.unwrap_or(ANSWER_TIMEOUT) })
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
