//! The places that connections take, and how one is made when all are taken: the connection goes that has waited
//! longest for its peer, for a request or for the rest of one's head.
//!
//! Proxies keep connections open that they may need again; whoever opens many and says nothing, or never ends a head,
//! takes places as well. Neither may keep others out. What waits is told to go; if a request arrives on it meanwhile,
//! that is answered first, and another one goes. Where answers may be broken off, the oldest is if nothing waits:
//! there, everybody who comes gets a place. To find those that have waited longest takes a look at all connections, so
//! several are told to go at once, and only when hardly any place is left.
//!
//! A peer may have a limit of its own. Then its connections make place for each other only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::client_network::ClientNetwork;
use super::deadlines::Phase;

/// How often connections are told to go for a new one, at most.
const TRIES: usize = 3;

/// How long it waits for them.
const PATIENCE: Duration = Duration::from_millis(200);

/// The part of the places, one in so many, that is made free ahead, so that who comes next need not wait.
const AHEAD: usize = 64;

/// The part that is made free when all are taken.
const AT_ONCE: usize = 16;

/// How many places there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    /// Places.
    pub(super) all: usize,
    /// Places that one peer can have; `None` if it can have all of them.
    pub(super) of_a_peer: Option<usize>,
    /// Whether an answer may be broken off to make a place.
    pub(super) breaks_off: bool,
}

/// The places.
pub(super) struct Places {
    permits: Arc<Semaphore>,
    numbers: Numbers,
    taken: Arc<Mutex<Taken>>,
    evicted: Counter,
}

/// Who has places.
#[derive(Default)]
struct Taken {
    connections: HashMap<u64, Holder>,
    next: u64,
    /// How many connections each peer has that are not told to go, where peers have a limit.
    of_peers: HashMap<ClientNetwork, usize>,
}

struct Holder {
    phase: Arc<Phase>,
    /// The peer that it counts for.
    peer: Option<ClientNetwork>,
}

/// A place that a connection has until this is dropped.
pub(super) struct Place {
    /// What the connection is doing.
    pub(super) phase: Arc<Phase>,
    id: u64,
    taken: Arc<Mutex<Taken>>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// So many places. `evicted` counts the connections that are told to go.
    pub(super) fn new(numbers: Numbers, evicted: Counter) -> Places {
        let permits = Arc::new(Semaphore::new(numbers.all));
        Places { permits, numbers, taken: Arc::default(), evicted }
    }

    /// A place for a connection of this peer, if one is free. Without a peer it has no other limit.
    pub(super) fn take(&self, peer: Option<ClientNetwork>) -> Option<Place> {
        if self.is_at_limit(peer) {
            return None;
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let ahead = self.numbers.all / AHEAD;
        if self.permits.available_permits() < ahead {
            self.evict(ahead, None);
        }
        Some(self.place(peer, permit))
    }

    /// A place that another connection leaves, if one can go; for a peer that has as many as it can have, one of its own.
    pub(super) async fn make(&self, peer: Option<ClientNetwork>) -> Option<Place> {
        if self.is_at_limit(peer) && !self.evict(1, peer) {
            return None;
        }
        for _ in 0..TRIES {
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                return Some(self.place(peer, permit));
            }
            if !self.evict((self.numbers.all / AT_ONCE).max(1), None) {
                return None;
            }
            if let Ok(Ok(permit)) = timeout(PATIENCE, Arc::clone(&self.permits).acquire_owned()).await {
                return Some(self.place(peer, permit));
            }
        }
        None
    }

    /// Has some connections go although there are places, since the process has no room for a further one, such as a
    /// file descriptor.
    pub(super) fn make_room(&self) {
        let open = lock(&self.taken).connections.len();
        self.evict((open / AT_ONCE).max(1), None);
    }

    /// Completes when no place is taken any more.
    pub(super) async fn all_given_back(&self) {
        let all = u32::try_from(self.numbers.all).unwrap_or(u32::MAX);
        let _all = self.permits.acquire_many(all).await;
    }

    fn is_at_limit(&self, peer: Option<ClientNetwork>) -> bool {
        let (Some(peer), Some(most)) = (peer, self.numbers.of_a_peer) else { return false };
        lock(&self.taken).of_peers.get(&peer).is_some_and(|number| *number >= most)
    }

    /// Has this many connections on their way out, of this peer if one is given: tells those to go that have waited longest.
    /// Returns whether any is.
    fn evict(&self, number: usize, of: Option<ClientNetwork>) -> bool {
        let mut taken = lock(&self.taken);
        let holders = || taken.connections.iter().filter(|(_, holder)| of.is_none() || holder.peer == of);
        let going = match of {
            Some(_) => 0,
            None => holders().filter(|(_, holder)| holder.phase.is_going()).count(),
        };
        let wanted = number.saturating_sub(going);
        let since = |since: fn(&Phase) -> Option<u64>| {
            let mut ids: Vec<(u64, u64)> =
                holders().filter_map(|(id, holder)| Some((since(&holder.phase)?, *id))).collect();
            ids.sort_unstable();
            ids.truncate(wanted);
            ids
        };
        let waiting = if wanted > 0 { since(Phase::waits_since) } else { Vec::new() };
        // One at a time, since somebody takes it.
        let answering = match going + waiting.len() {
            0 if self.numbers.breaks_off => since(Phase::answers_since).into_iter().take(1).collect(),
            _ => Vec::new(),
        };
        self.evicted.increment((waiting.len() + answering.len()) as u64);
        for (_, id) in &waiting {
            taken.tell_to_go(*id, Phase::evict);
        }
        for (_, id) in &answering {
            taken.tell_to_go(*id, Phase::break_off);
        }
        going + waiting.len() + answering.len() > 0
    }

    fn place(&self, peer: Option<ClientNetwork>, permit: OwnedSemaphorePermit) -> Place {
        let phase = Arc::new(Phase::new());
        let peer = peer.filter(|_| self.numbers.of_a_peer.is_some());
        let mut taken = lock(&self.taken);
        let id = taken.next;
        taken.next += 1;
        if let Some(peer) = peer {
            *taken.of_peers.entry(peer).or_default() += 1;
        }
        taken.connections.insert(id, Holder { phase: Arc::clone(&phase), peer });
        Place { phase, id, taken: Arc::clone(&self.taken), _permit: permit }
    }
}

impl Taken {
    /// Tells a connection to go, which counts no more for its peer.
    fn tell_to_go(&mut self, id: u64, tell: fn(&Phase)) {
        let Some(holder) = self.connections.get_mut(&id) else { return };
        tell(&holder.phase);
        let peer = holder.peer.take();
        self.count_off(peer);
    }

    fn count_off(&mut self, peer: Option<ClientNetwork>) {
        let Some(peer) = peer else { return };
        if let Some(number) = self.of_peers.get_mut(&peer) {
            *number -= 1;
            if *number == 0 {
                self.of_peers.remove(&peer);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        let peer = taken.connections.remove(&self.id).and_then(|holder| holder.peer);
        taken.count_off(peer);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::advance;

    use std::net::IpAddr;

    use super::*;
    use crate::http::Limits;
    use crate::http::deadlines::Deadlines;

    fn places(all: usize, of_a_peer: Option<usize>, breaks_off: bool) -> Places {
        Places::new(Numbers { all, of_a_peer, breaks_off }, Counter::noop())
    }

    fn connection(place: &Place) -> (Deadlines<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(1_000);
        let limits = Limits::patient(3, 8_192);
        (Deadlines::new(near, Arc::clone(&place.phase), limits), far)
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_goes_that_has_been_idle_longest_and_no_busy_one() {
        let places = places(3, None, false);
        let mut taken = Vec::new();
        for _ in 0..3 {
            let place = places.take(None).expect("a place");
            let (stream, far) = connection(&place);
            taken.push((place, stream, far));
            advance(Duration::from_millis(1)).await;
        }
        assert!(places.take(None).is_none());
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
            let made = [places.make(None).await, places.make(None).await];
            (made, places.make(None).await.is_none())
        };
        let (_taken, (made, is_last_busy)) = tokio::join!(goes, makes);
        assert!(made.iter().all(Option::is_some) && is_last_busy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_arrives_meanwhile_is_read_first() {
        let places = places(1, None, false);
        let place = places.take(None).expect("a place");
        let (mut stream, mut far) = connection(&place);
        place.phase.evict();
        far.write_all(b"a request").await.expect("sent");
        let mut read = [0; 9];
        stream.read_exact(&mut read).await.expect("received");
        assert_eq!((&read, place.phase.is_leaving()), (b"a request", true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_keeps_no_place() {
        let places = places(1, None, false);
        let place = places.take(None).expect("a place");
        let (mut stream, mut far) = connection(&place);
        far.write_all(b"G").await.expect("sent");
        let read = async {
            assert_eq!(stream.read(&mut [0; 9]).await.expect("received"), 1);
            // The rest never comes, and the connection ends when its place is needed.
            place.phase.evicted().await;
            assert_eq!(stream.read(&mut [0; 9]).await.expect("an end"), 0);
            drop(place);
        };
        let ((), made) = tokio::join!(read, async {
            advance(Duration::from_millis(1)).await;
            places.make(None).await
        });
        assert!(made.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_broken_off_only_where_it_may_be_and_nothing_waits() {
        let strict = places(1, None, false);
        let place = strict.take(None).expect("a place");
        let _serving = place.phase.serving();
        assert!(strict.make(None).await.is_none());

        let places = places(2, None, true);
        let [older, newer] = [places.take(None), places.take(None)].map(|place| place.expect("a place"));
        let _older = older.phase.serving();
        advance(Duration::from_millis(1)).await;
        let _newer = newer.phase.serving();
        let goes = async {
            older.phase.broken_off().await;
            drop(older);
        };
        let ((), made) = tokio::join!(goes, places.make(None));
        assert!(made.is_some() && !newer.phase.is_leaving());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_at_its_limit_takes_places_from_itself_alone() {
        let places = places(9, Some(2), false);
        let peer = |address: &str| Some(ClientNetwork::from(address.parse::<IpAddr>().expect("an address")));
        let other = places.take(peer("192.0.2.1")).expect("a place");
        let (_other, _far) = connection(&other);
        advance(Duration::from_millis(1)).await;
        let addresses = ["2001:db8::1", "2001:db8::2"].map(peer);
        let mut taken = addresses.map(|peer| places.take(peer).expect("a place"));
        let _served = taken[0].phase.serving();
        let served = taken[1].phase.serving();
        assert!(places.take(addresses[0]).is_none(), "both addresses are one peer");
        assert!(places.make(addresses[0]).await.is_none(), "neither of them waits");
        drop(served);
        assert!(places.make(addresses[0]).await.is_some_and(|_| taken[1].phase.is_leaving()));
        assert!(!other.phase.is_leaving());
        // What is told to go counts no more, and does not count off twice.
        let further = places.take(addresses[1]).expect("a place");
        taken[1] = further;
        assert!(places.take(addresses[0]).is_none());
        drop(taken);
        assert!(places.take(addresses[0]).is_some() && places.take(None).is_some());
    }
}
