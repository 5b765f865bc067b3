//! The places that connections take, and how one is made when all are taken: the connection goes that has been idle longest.
//!
//! Proxies keep connections open that they may need again, and whoever opens many and says nothing takes places as well. Neither may
//! keep others out. Only what is idle is told to go; if a request arrives on it meanwhile, that is answered first, and another
//! one goes. A look for the one that has been idle longest goes through all connections, which is done only when there is no
//! place left.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::deadlines::Phase;

/// How many connections are told to go at most for a new one.
const TRIES: usize = 3;

/// How long it waits for each.
const PATIENCE: Duration = Duration::from_millis(200);

/// The part of the places, one in so many, that is made free ahead, so that who comes next need not wait.
const AHEAD: usize = 64;

/// The places.
pub(super) struct Places {
    permits: Arc<Semaphore>,
    number: usize,
    taken: Arc<Mutex<HashMap<u64, Arc<Phase>>>>,
    next: AtomicU64,
    evicted: Counter,
}

/// A place that a connection has until this is dropped.
pub(super) struct Place {
    /// What the connection is doing.
    pub(super) phase: Arc<Phase>,
    id: u64,
    taken: Arc<Mutex<HashMap<u64, Arc<Phase>>>>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// So many places. `evicted` counts the connections that are told to go.
    pub(super) fn new(number: usize, evicted: Counter) -> Places {
        let permits = Arc::new(Semaphore::new(number));
        Places { permits, number, taken: Arc::default(), next: AtomicU64::new(0), evicted }
    }

    /// A place, if one is free.
    pub(super) fn take(&self) -> Option<Place> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        if self.permits.available_permits() < self.number / AHEAD {
            self.evict();
        }
        Some(self.place(permit))
    }

    /// A place that an idle connection leaves, if there is one.
    pub(super) async fn make(&self) -> Option<Place> {
        for _ in 0..TRIES {
            if !self.evict() {
                return None;
            }
            if let Ok(Ok(permit)) = timeout(PATIENCE, Arc::clone(&self.permits).acquire_owned()).await {
                return Some(self.place(permit));
            }
        }
        None
    }

    /// Completes when no place is taken any more.
    pub(super) async fn all_given_back(&self) {
        let all = u32::try_from(self.number).unwrap_or(u32::MAX);
        let _all = self.permits.acquire_many(all).await;
    }

    /// Tells the connection to go that has been idle longest. Answers whether there is one.
    fn evict(&self) -> bool {
        let idle_longest = self.idle_longest();
        if let Some(phase) = &idle_longest {
            phase.evict();
            self.evicted.increment(1);
        }
        idle_longest.is_some()
    }

    fn idle_longest(&self) -> Option<Arc<Phase>> {
        let taken = lock(&self.taken);
        let idle = taken.values().filter_map(|phase| Some((phase.idle_since()?, phase)));
        idle.min_by_key(|(since, _)| *since).map(|(_, phase)| Arc::clone(phase))
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        let (id, phase) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::<Phase>::default());
        lock(&self.taken).insert(id, Arc::clone(&phase));
        Place { phase, id, taken: Arc::clone(&self.taken), _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.taken).remove(&self.id);
    }
}

fn lock(taken: &Mutex<HashMap<u64, Arc<Phase>>>) -> MutexGuard<'_, HashMap<u64, Arc<Phase>>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::advance;

    use super::*;
    use crate::http::Limits;
    use crate::http::deadlines::Deadlines;

    fn connection(place: &Place) -> (Deadlines<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(1_000);
        let hour = Duration::from_secs(3_600);
        let limits = Limits {
            connections: 3,
            header_timeout: hour,
            idle_timeout: hour,
            stall_timeout: hour,
            answer_timeout: None,
            head_bytes: 8_192,
        };
        (Deadlines::new(near, Arc::clone(&place.phase), limits), far)
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_goes_that_has_been_idle_longest_and_no_busy_one() {
        let places = Places::new(3, Counter::noop());
        let mut taken = Vec::new();
        for _ in 0..3 {
            let place = places.take().expect("a place");
            let (stream, far) = connection(&place);
            taken.push((place, stream, far));
            advance(Duration::from_millis(1)).await;
        }
        assert!(places.take().is_none());
        // The first is being served, and the second was a moment ago.
        let serving = taken[0].0.phase.serving();
        let (place, stream, far) = &mut taken[1];
        far.write_all(b"a request").await.expect("sent");
        stream.read_exact(&mut [0; 9]).await.expect("received");
        drop(place.phase.serving());
        stream.write_all(b"an answer").await.expect("sent");
        let goes = async {
            for at in [2, 1] {
                taken[at].0.phase.evicted().await;
                let (_, mut stream, _far) = taken.remove(at);
                assert_eq!(stream.read(&mut [0]).await.expect("an end"), 0);
            }
            // Until it is idle, the last one stays.
            drop(serving);
            taken
        };
        let makes = async {
            let made = [places.make().await.is_some(), places.make().await.is_some()];
            (made, places.make().await.is_none())
        };
        let (_taken, (made, is_last_busy)) = tokio::join!(goes, makes);
        assert_eq!((made, is_last_busy), ([true, true], true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_arrives_meanwhile_is_read_first() {
        let places = Places::new(1, Counter::noop());
        let place = places.take().expect("a place");
        let (mut stream, mut far) = connection(&place);
        place.phase.evict();
        far.write_all(b"a request").await.expect("sent");
        let mut read = [0; 9];
        stream.read_exact(&mut read).await.expect("received");
        assert_eq!((&read, place.phase.is_leaving()), (b"a request", true));
    }
}
