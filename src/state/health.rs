//! What is answered to who asks whether the process is alive and ready: the same on the admin port and on that of call events.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use hyper::{Response, StatusCode};

use super::STORAGE;
use super::heartbeat::Heartbeat;
use super::readiness::{LatchStatus, Readiness};
use crate::http::response::{self, Body};
use crate::http::trouble::Trouble;

/// What is said when no beat comes.
const STUCK: &str = "what takes call events is stuck";

/// Whether the process is alive and ready.
#[derive(Debug)]
pub struct Health {
    readiness: Readiness,
    heartbeat: Heartbeat,
}

impl Health {
    /// Ready when every latch of `readiness` is open, and alive.
    pub fn new(readiness: Readiness) -> Health {
        Health { readiness, heartbeat: Heartbeat::default() }
    }

    /// Records a heartbeat of the parts that take call events. It counts for a minute.
    pub fn beat(&self) {
        self.heartbeat.beat(Instant::now());
    }

    /// Stops expecting heartbeats, because the process is ending.
    pub fn rest(&self) {
        self.heartbeat.rest();
    }

    /// Every latch, by name.
    pub fn latches(&self) -> BTreeMap<&'static str, LatchStatus> {
        self.readiness.latches()
    }

    /// Since when the parts that take call events are stuck, if they are.
    pub fn stuck(&self) -> Option<Trouble> {
        let now = Instant::now();
        let pause = self.heartbeat.pause(now).filter(|_| !self.heartbeat.is_regular(now))?;
        Some(Trouble { since: SystemTime::now() - pause, reason: STUCK.to_owned() })
    }

    /// Why no call events are taken yet, or any more, if so.
    pub fn not_serving(&self) -> Option<Trouble> {
        let latches = self.readiness.latches();
        let (name, status) =
            self.readiness.closed(&[STORAGE]).first().and_then(|name| latches.get_key_value(name))?;
        let reason = status.reason.clone().unwrap_or_else(|| (*name).to_owned());
        Some(Trouble { since: status.changed_at, reason })
    }

    /// Whether there is a latch of this name, and it is closed.
    pub fn is_closed(&self, latch: &str) -> bool {
        self.readiness.latches().get(latch).is_some_and(|status| !status.is_open)
    }

    /// The answer to who asks whether the process is alive: 200, or 503 if the parts that take call events are stuck.
    pub fn livez(&self) -> Response<Body> {
        match self.heartbeat.is_regular(Instant::now()) {
            true => response::text(StatusCode::OK, "ok\n"),
            false => response::text(StatusCode::SERVICE_UNAVAILABLE, format!("{STUCK}\n")),
        }
    }

    /// The answer to who asks whether the process is ready: 200, or 503 and what is amiss. `query` is that of the
    /// request, which may have `verbose` and `exclude`, as the probes of Kubernetes's own parts have them.
    pub fn readyz(&self, query: &str) -> Response<Body> {
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let excluded: Vec<&str> =
            pairs.clone().filter(|(name, _)| *name == "exclude").map(|(_, part)| part).collect();
        let closed = self.readiness.closed(&excluded);
        let mut text = String::new();
        if pairs.clone().any(|(name, _)| name == "verbose") {
            for (name, latch) in self.readiness.latches() {
                let state = if latch.is_open { "ok" } else { "not ready" };
                let counts = latch.counts && !excluded.contains(&name);
                text += &format!("{name}: {state}{}\n", if counts { "" } else { " (does not count)" });
            }
        }
        match closed.is_empty() {
            true => response::text(StatusCode::OK, text + "ok\n"),
            false => {
                let latches = self.readiness.latches();
                let named = |name: &&str| match latches.get(name).and_then(|latch| latch.reason.as_ref()) {
                    Some(reason) => format!("{name} ({reason})"),
                    None => (*name).to_owned(),
                };
                text += &format!("not ready: {}\n", closed.iter().map(named).collect::<Vec<_>>().join(", "));
                response::text(StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
    }
}
