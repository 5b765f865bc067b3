//! Checks of the port of call events, as load balancers send them. Most ask for `/`, with GET, HEAD or OPTIONS, unless they are
//! told something else.
//!
//! | request | answer |
//! |---|---|
//! | GET or HEAD of `/`, without a query | 200, and what this port is for |
//! | OPTIONS of `/` or `*` | 200 with Allow |
//! | GET or HEAD of `/livez` | 200 as long as the process serves, else 503 |
//! | GET or HEAD of `/readyz`, or of the path of `--readiness-path` | 200 if call events can be taken, else 503 and what is amiss |
//!
//! With a service behind all of these are its own, but for the path of `--readiness-path`.

use std::sync::Arc;

use hyper::{Method, Request, Response, StatusCode};

use crate::config::path::is_same;
use crate::http::response::{self, Body};
use crate::state::health::Health;

/// Answers checks.
#[derive(Debug)]
pub struct Checks {
    health: Arc<Health>,
    readiness_path: Option<String>,
    /// What this port is for.
    purpose: String,
}

impl Checks {
    /// Tells the `health`, at `readiness_path` whether or not a service is behind. `call_event_path` is where call
    /// events come in.
    pub fn new(health: Arc<Health>, readiness_path: Option<String>, call_event_path: &str) -> Checks {
        let purpose = format!(
            "This port takes call events from LINE Planet at {call_event_path}, for planet-call-exporter. Metrics are on the admin \
             port, 9464 by default. README.md says how to register the URL, and `planet-call-exporter --help` what can be set.\n"
        );
        Checks { health, readiness_path, purpose }
    }

    /// The answer to a request for readiness at the path that was named for it.
    pub(super) fn readiness<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let named = self.readiness_path.as_ref()?;
        is_same(named.as_bytes(), request.uri().path().as_bytes()).then(|| self.readyz(request))
    }

    /// The answer to what no route takes, where no service is behind.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let is_options = request.method() == Method::OPTIONS;
        match (request.uri().path(), request.uri().query()) {
            ("/" | "*", None) if is_options => response::options(ALLOWED),
            ("/", None | Some("")) if is_read(request) => {
                response::text(StatusCode::OK, self.purpose.clone())
            }
            ("/livez", _) if is_read(request) => self.health.livez(),
            ("/livez", _) => response::method_not_allowed(READS),
            ("/readyz", _) => self.readyz(request),
            _ => response::empty(StatusCode::NOT_FOUND),
        }
    }

    fn readyz<B>(&self, request: &Request<B>) -> Response<Body> {
        match is_read(request) {
            true => self.health.readyz(request.uri().query().unwrap_or_default()),
            false => response::method_not_allowed(READS),
        }
    }
}

/// What `/` takes.
const ALLOWED: &str = "GET, HEAD, OPTIONS";

/// What a path takes that tells something.
const READS: &str = "GET, HEAD";

/// Whether a request asks for something, and changes nothing.
pub(super) fn is_read<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper::header::ALLOW;

    use super::*;
    use crate::state::readiness::Readiness;

    fn request(method: &str, target: &str) -> Request<()> {
        Request::builder().method(method).uri(target).body(()).expect("a request")
    }

    async fn read(answer: Response<Body>) -> (u16, String) {
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap_or_else(|error| panic!("{error}"));
        (status, String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }

    #[tokio::test]
    async fn what_load_balancers_ask_by_default_is_answered() {
        let checks = Checks::new(Arc::new(Health::new(Readiness::default())), None, "/planet/call");
        for (method, target) in [("GET", "/"), ("HEAD", "/"), ("GET", "/?")] {
            let (status, text) = read(checks.answer(&request(method, target))).await;
            assert_eq!(status, 200, "{method} {target}");
            assert!(text.contains("/planet/call") && text.lines().count() == 1, "{text}");
        }
        for target in ["/", "*"] {
            let answer = checks.answer(&request("OPTIONS", target));
            assert_eq!(answer.status(), 200, "{target}");
            assert_eq!(answer.headers()[ALLOW], ALLOWED);
        }
        for (method, target) in [("GET", "/?x=1"), ("POST", "/"), ("OPTIONS", "/x"), ("GET", "/livez/x")] {
            assert_eq!(checks.answer(&request(method, target)).status(), 404, "{method} {target}");
        }
        for target in ["/livez", "/readyz"] {
            assert_eq!(read(checks.answer(&request("GET", target))).await, (200, "ok\n".to_owned()));
            assert_eq!(checks.answer(&request("POST", target)).status(), 405);
        }
    }

    #[tokio::test]
    async fn whoever_asks_for_readiness_is_told_what_is_amiss() {
        let readiness = Readiness::default();
        let health = Arc::new(Health::new(readiness.clone()));
        let checks = Checks::new(health, Some("/-/healthy".to_owned()), "/call_event");
        let ask = |target: &'static str| read(checks.answer(&request("GET", target)));
        assert_eq!(ask("/readyz").await.0, 200);
        let _stopping = readiness.latch("stopping");
        assert_eq!(ask("/readyz").await, (503, "not ready: stopping\n".to_owned()));
        assert_eq!(ask("/readyz?exclude=stopping").await.0, 200);
        assert_eq!(ask("/livez").await.0, 200);
        for target in ["/-/healthy", "/-//healthy/?verbose"] {
            let answer = checks.readiness(&request("GET", target)).expect("it is named");
            assert_eq!(answer.status(), 503, "{target}");
        }
        let answer = checks.readiness(&request("POST", "/-/healthy")).expect("it is named");
        assert_eq!(answer.status(), 405);
        assert!(checks.readiness(&request("GET", "/readyz")).is_none());
    }
}
