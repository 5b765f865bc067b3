//! Who may bring call events. LINE Planet does not sign them, so whoever knows the URL can send calls that never were:
//! they would count, and keep real ones out of the window of session IDs. What stands against that, each where it is
//! configured:
//!
//! | flag | turned away | answer |
//! |---|---|---|
//! | `--allow-from` | who comes from elsewhere | 403 |
//! | `--max-rate` | a peer without the secret that sends more | 429 with Retry-After |
//! | `--call-event-secret-file` | who does not know the [secret](secrets) | 403 |
//!
//! This comes first of all, so that nothing else ever sees the secret: it is taken out of the request
//! (`secret_parameter`), which is from then on one without. Whether or not it was there, a request is looked at only if
//! it is the callback's, or has the query of a call event [without doubt](crate::callback::Kind::is_unmistakable),
//! which a service behind may take at a path that only looks different. A request with the secret is never too many, so
//! that no flood keeps the real ones out.
//!
//! What is turned away is counted, said now and then, not kept, since a flood would push out what is, and never passed
//! on to the service behind. A [canary](super::canary) is no call and may come from anywhere, but needs the secret.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod rate;
mod secret_parameter;
pub mod secrets;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::{Method, Request, Response, StatusCode};
use ipnet::IpNet;
use metrics::{Counter, counter};
use tracing::warn;

use self::rate::RateLimit;
use self::secrets::Secrets;
use super::canary::Nonce;
use crate::callback::shield::shielded;
use crate::config::Config;
use crate::config::routes::Routes;
use crate::http::pace::Pace;
use crate::http::response::{self, Body};
use crate::http::{TrustedProxies, raw_query};
use crate::metrics::catalog;

/// Turns away what may not bring call events.
#[derive(Debug)]
pub struct Admission {
    secrets: Option<Arc<Secrets>>,
    /// From where call events may come; from anywhere if it is empty.
    allowed: Vec<IpNet>,
    rate: Option<RateLimit>,
    proxies: TrustedProxies,
    address: Reason,
    secret: Reason,
    too_fast: Reason,
}

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnedAway {
    /// It comes from elsewhere.
    Address,
    /// It does not have the secret.
    Secret,
    /// Its peer has sent too many; the next may come after this time.
    TooFast(Duration),
}

impl TurnedAway {
    /// What it is answered.
    pub(super) fn answer(self) -> Response<Body> {
        let forbidden = |detail| response::problem(StatusCode::FORBIDDEN, "Not allowed", detail, None);
        match self {
            TurnedAway::Address => forbidden("call events are not taken from this address"),
            TurnedAway::Secret => {
                forbidden("expected the whole URL that is registered with LINE Planet, with its secret")
            }
            TurnedAway::TooFast(wait) => {
                response::too_many("this peer sends more call events than it may", wait)
            }
        }
    }
}

impl Admission {
    /// What is configured; `None` if everybody may bring anything.
    pub fn configured(config: &Config, secrets: Option<Arc<Secrets>>) -> Option<Admission> {
        let is_open = secrets.is_none() && config.allow_from.is_empty() && config.max_rate.is_none();
        (!is_open).then(|| Admission {
            secrets,
            allowed: config.allow_from.clone(),
            rate: config.max_rate.map(|rate| RateLimit::new(rate, Instant::now())),
            proxies: TrustedProxies::new(&config.trusted_proxies),
            address: Reason::new("address"),
            secret: Reason::new("secret"),
            too_fast: Reason::new("rate"),
        })
    }

    /// Looks at a request from `peer`, and takes the secret out of it.
    ///
    /// # Errors
    /// It is turned away.
    pub(super) fn admit<B>(
        &self,
        request: &mut Request<B>,
        routes: &Routes,
        peer: IpAddr,
    ) -> Result<(), TurnedAway> {
        let has_secret = self.secrets.as_ref().map(|secrets| secret_parameter::take(request, secrets));
        let is_from_anywhere = self.allowed.is_empty();
        if has_secret == Some(true) && is_from_anywhere {
            return Ok(());
        }
        let Some(arrival) = Arrival::of(request, routes) else { return Ok(()) };
        let client = self.proxies.client(peer, request.headers());
        let is_allowed = is_from_anywhere || self.allowed.iter().any(|network| network.contains(&client));
        if !is_allowed && arrival != Arrival::Canary {
            self.address.note(client);
            return Err(TurnedAway::Address);
        }
        if has_secret == Some(true) {
            return Ok(());
        }
        if let Some(rate) = &self.rate
            && let Err(wait) = rate.take(client, Instant::now())
        {
            self.too_fast.note(client);
            return Err(TurnedAway::TooFast(wait));
        }
        if has_secret == Some(false) {
            self.secret.note(client);
            return Err(TurnedAway::Secret);
        }
        Ok(())
    }
}

/// What comes that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// A canary.
    Canary,
    /// Anything else at the callback, or a call event elsewhere.
    Other,
}

impl Arrival {
    /// What a request is; `None` if it has nothing to do with call events.
    fn of<B>(request: &Request<B>, routes: &Routes) -> Option<Arrival> {
        // A wrong secret makes no other URL.
        let query = &*secret_parameter::without_any(raw_query::query_of(request));
        if let Some(found) = routes.find(request.uri().path().as_bytes(), query) {
            let is_canary = request.method() == Method::GET && Nonce::of_query(found.query).is_some();
            return Some(if is_canary { Arrival::Canary } else { Arrival::Other });
        }
        // Names may be percent-encoded, so the whole query is read. One that brings out a bug is not let in for that.
        let is_meant = || shielded(|| routes.meant(query).is_some()).unwrap_or(true);
        (!query.is_empty() && is_meant()).then_some(Arrival::Other)
    }
}

/// What is turned away for one reason.
struct Reason {
    name: &'static str,
    turned_away: Counter,
    logged: Pace,
}

impl Reason {
    fn new(name: &'static str) -> Reason {
        let turned_away = counter!(catalog::EXPORTER_TURNED_AWAY_REQUESTS.name, "reason" => name);
        turned_away.increment(0);
        Reason { name, turned_away, logged: Pace::default() }
    }

    fn note(&self, client: IpAddr) {
        self.turned_away.increment(1);
        if let Some(left_out) = self.logged.due() {
            warn!(
                reason = self.name,
                %client,
                left_out,
                "turned away a request with call events; it is not kept, and further ones are logged at most once a minute"
            );
        }
    }
}

impl std::fmt::Debug for Reason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}
