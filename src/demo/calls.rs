//! The calls of the demonstration: those before its start as records of a journal, and those after it over HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::DemoError;
use crate::callback::{CallEvent, Kind, Record};
use crate::config::Config;
use crate::http::peer::causes;
use crate::journal::disk::DiskJournal;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::{Ledger, Limits};
use crate::simulation::{Call, Scenario};
use crate::state::directory::StateDirectory;

/// Calls that are written with one sync.
const BATCH: usize = 1024;

/// The calls that are still to come.
#[derive(Debug)]
pub(super) struct CallsToCome {
    scenario: Scenario,
    began: SystemTime,
    next: Call,
}

/// Writes the calls of the first `past` of a scenario that `began` then into a new state directory.
pub(super) fn write_past(
    directory: &Path,
    mut scenario: Scenario,
    began: SystemTime,
    past: Duration,
) -> Result<CallsToCome, DemoError> {
    let directory = StateDirectory::open(directory, Duration::ZERO, |_| {})?;
    // Calls are counted from then on.
    let Config { duration_buckets, setup_buckets, .. } = Config::of_flags([])?;
    let ledger = Ledger::new(began, Limits::default(), duration_buckets, setup_buckets);
    directory.checkpoints().write(&Checkpoint::of(ledger))?;
    let journal = DiskJournal::open(directory.directory().clone(), u64::MAX, 0, |_, _| {})?;
    let mut batch = Vec::with_capacity(BATCH);
    let next = loop {
        let call = scenario.next_call();
        if call.at >= past {
            break call;
        }
        batch.extend(record(&call, began));
        if batch.len() == BATCH {
            journal.append(&batch)?;
            batch.clear();
        }
    };
    journal.append(&batch)?;
    Ok(CallsToCome { scenario, began, next })
}

/// The record of a call that was received when it was due.
fn record(call: &Call, began: SystemTime) -> Option<Bytes> {
    let query = call.query.as_bytes();
    let key = CallEvent::identify(query).ok()?.key;
    let received_at = began + call.at;
    Some(Record { kind: Kind::CallEvent, received_at, key, envelope: &[], query }.encode())
}

impl CallsToCome {
    /// Sends each at its time to the exporter that listens there, until `stop` is cancelled.
    pub(super) async fn send(&mut self, to: SocketAddr, stop: &CancellationToken) {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        loop {
            let due = (self.began + self.next.at).duration_since(SystemTime::now()).unwrap_or_default();
            if stop.run_until_cancelled(tokio::time::sleep(due)).await.is_none() {
                return;
            }
            let call = std::mem::replace(&mut self.next, self.scenario.next_call());
            for _ in 0..=usize::from(call.is_repeated) {
                let sent = stop.run_until_cancelled(send(&client, to, &call)).await;
                if let Some(Err(reason)) = sent {
                    warn!(reason, "a simulated call was not taken");
                }
            }
        }
    }
}

type HttpClient = Client<HttpConnector, Empty<Bytes>>;

/// Sends a call once, and answers why it was not taken.
async fn send(client: &HttpClient, to: SocketAddr, call: &Call) -> Result<(), String> {
    let uri =
        Uri::try_from(format!("http://{to}/call_event?{}", call.query)).map_err(|error| causes(&error))?;
    let response = client.get(uri).await.map_err(|error| causes(&error))?;
    let status = response.status();
    response.into_body().collect().await.map_err(|error| causes(&error))?;
    if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
}
