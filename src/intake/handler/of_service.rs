//! Events that the service behind is to answer: since the disk does not take them
//! ([`undurable`](crate::state::undurable)), or since what is stored dies with the pod
//! ([`draining`](super::super::draining)).

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use super::{CallbackHandler, Event, Proxy, marked, name_event, not_stored, not_to_be_stored};
use crate::callback::{Record, record};
use crate::http::response::{self, Body};
use crate::http::service::is_final;
use crate::intake::acceptance::Outcome;
use crate::state::known::NotStored;
use crate::state::undurable::{Passage, Uncounted};

/// Where an event is that is not stored.
pub(super) enum Held {
    /// In memory.
    InMemory(Passage),
    /// Nowhere.
    Nowhere(Uncounted),
}

impl CallbackHandler {
    /// Passes on an event before it is stored, and stores it if the answer is final: the service's answer, or 503 if it
    /// has none.
    pub(super) async fn ask_first(
        &self,
        proxy: &Proxy,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        event: Event,
    ) -> Response<Body> {
        name_event(&mut request, event.key);
        let came = event.record.clone();
        let query = Record::decode(&came).map(|record| record.query).unwrap_or_default();
        let response = match proxy.ask_first(request, peer).await {
            Ok(response) if is_final(response.status()) => response,
            Err(failure) if failure.is_of_client() => return failure.answer(),
            other if !self.acceptance.knows(event.key, event.received_at) => {
                self.acceptance.note_not_taken();
                return other.unwrap_or_else(|failure| response::unavailable(&failure.to_string(), "1"));
            }
            // It counts here; answered otherwise, it would come again to an exporter that does not know it.
            _ => return self.answer_known(event, query, peer).await,
        };
        let status = response.status();
        let record = record::with_answer(&event.record, status.as_u16());
        match self.accept(Event { record, ..event }, query, peer).await {
            Ok(Outcome::Undurable(passage)) => {
                passage.end(status);
                marked(response, false)
            }
            Ok(Outcome::Accepted | Outcome::Uncounted(_)) => marked(response, false),
            Ok(Outcome::Duplicate | Outcome::Answered(_)) => marked(response, true),
            Err(reason) => not_stored(reason),
        }
    }

    /// Answers a repeat of an event that is stored or on its way, without the service.
    async fn answer_known(&self, event: Event, query: &[u8], peer: SocketAddr) -> Response<Body> {
        match self.accept(event, query, peer).await {
            Ok(Outcome::Accepted) => not_to_be_stored(marked(response::empty(StatusCode::OK), false)),
            Ok(Outcome::Duplicate) => not_to_be_stored(marked(response::empty(StatusCode::OK), true)),
            Ok(Outcome::Answered(status)) => not_to_be_stored(marked(response::empty(status), true)),
            Ok(Outcome::Undurable(passage)) => self.refuse(Held::InMemory(passage)),
            Ok(Outcome::Uncounted(uncounted)) => self.refuse(Held::Nowhere(uncounted)),
            Err(reason) => not_stored(reason),
        }
    }

    /// Passes on an event that is not stored: the service's answer, or 503 if it has none.
    pub(super) async fn pass_on(
        &self,
        proxy: &Proxy,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        held: Held,
    ) -> Response<Body> {
        let key = match &held {
            Held::InMemory(passage) => passage.key(),
            Held::Nowhere(uncounted) => uncounted.key(),
        };
        name_event(&mut request, key);
        let answer = proxy.ask(request, peer).await.map(|response| marked(response, false));
        match (answer, held) {
            (Ok(response), Held::InMemory(passage)) => {
                passage.end(response.status());
                response
            }
            (Ok(response), Held::Nowhere(_)) => response,
            (Err(_), held) => self.refuse(held),
        }
    }

    /// The answer to an event that is neither stored nor passed on.
    fn refuse(&self, held: Held) -> Response<Body> {
        if let Held::Nowhere(uncounted) = held {
            uncounted.refuse();
        }
        self.acceptance.note_unavailable();
        not_stored(NotStored::Storage)
    }
}
