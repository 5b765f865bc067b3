//! Call events that come to a wrong place: another path than the registered one, or another method. A slip in a URL would lose
//! every call without a trace; so each is kept among the refused, said and counted. Its answer is that of any other request
//! there.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use hyper::Request;
use metrics::{Counter, counter};
use tracing::{debug, warn};

use crate::callback::shield::{Panicked, shielded};
use crate::config::routes::{Route, Routes};
use crate::http::pace::Pace;
use crate::http::peer::for_people;
use crate::http::raw_query;
use crate::metrics::catalog;
use crate::state::refused::RefusedRequests;

/// Without which a query is no call event.
const SID: &[u8] = b"sid=";

/// Keeps, says and counts call events that come to a wrong place.
pub(super) struct Misdirected {
    refused: Arc<RefusedRequests>,
    longest_uri: usize,
    wrong_path: Counter,
    logged: Pace,
}

impl Misdirected {
    /// Keeps them among `refused`, and of those whose URI would have more than `longest_uri` bytes the beginning.
    pub(super) fn new(refused: Arc<RefusedRequests>, longest_uri: usize) -> Misdirected {
        let wrong_path = counter!(catalog::EXPORTER_EVENTS.name, "result" => "wrong_path");
        Misdirected { refused, longest_uri, wrong_path, logged: Pace::default() }
    }

    /// Looks at a request that none of `routes` takes. The service behind may take session IDs elsewhere, so only what
    /// is a call event [without doubt](crate::callback::Kind::is_unmistakable) is one.
    ///
    /// # Errors
    /// Its query brings out a bug.
    pub(super) fn look<B>(
        &self,
        routes: &Routes,
        request: &Request<B>,
        peer: SocketAddr,
    ) -> Result<(), Panicked> {
        let (path, query) = (request.uri().path(), raw_query::query_of(request));
        // Most of what is passed on has none.
        let has_sid = query.windows(SID.len()).any(|window| window == SID);
        if !has_sid {
            return Ok(());
        }
        let Some(route) = shielded(|| routes.meant(query))? else { return Ok(()) };
        let is_right_path = routes.find(path.as_bytes(), query).is_some();
        let slip = if is_right_path { "wrong_method" } else { "wrong_path" };
        let came = for_people(&format!("{} {path}", request.method()));
        let expected = Expected(route);
        self.wrong_path.increment(1);
        let event_query = route.event_query(query).unwrap_or(query);
        let reason = format!("{slip}: a call event came as {came}; expected {expected}");
        // At the right place it would be too large as well.
        match route.path.len() + 1 + query.len() > self.longest_uri {
            true => self.refused.keep_beginning(SystemTime::now(), reason, event_query),
            false => self.refused.keep(SystemTime::now(), reason, event_query),
        }
        match self.logged.due() {
            Some(left_out) => warn!(
                came,
                %expected,
                %peer,
                left_out,
                "a call event came to a wrong place; it is kept among the refused, and further ones are logged at most once a minute"
            ),
            None => debug!(came, %expected, %peer, "a call event came to a wrong place"),
        }
        Ok(())
    }
}

impl fmt::Debug for Misdirected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Misdirected")
    }
}

/// What would have been right.
struct Expected<'a>(&'a Route);

impl fmt::Display for Expected<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "GET {}", self.0)
    }
}
