//! A peer that does what a test says.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::callback::{Key, Kind, Record};
use crate::sinks::{Failure, Sink};

/// An event of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) caller: Option<u64>,
    /// How often it came before.
    pub(super) before: u32,
}

/// What the peer does with a batch.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Take,
    TakeAfter(Duration),
    /// It takes the batch, except so many of it.
    TakeExcept(u64),
    Later,
    LaterAfter(Duration),
    Away,
    AwayAfter(Duration),
    Refuse,
    TooLarge,
    Batch,
    Exhausted,
    Misconfigured,
    MoreThanOne,
    Gone,
    Panic,
    Hang,
}

pub(super) type Script = dyn Fn(&[Call]) -> Act + Send + Sync;

/// The peer.
pub(super) struct ScriptedPeer {
    script: Mutex<Box<Script>>,
    seen: Mutex<HashMap<u64, u32>>,
    attempts: Mutex<Vec<(Instant, Vec<Call>)>>,
    taken: Mutex<Vec<Call>>,
    refused: Mutex<Vec<u64>>,
    /// Attempts that it has not answered, and how many these were at most.
    at_once: Mutex<(usize, usize)>,
}

impl ScriptedPeer {
    pub(super) fn new(script: impl Fn(&[Call]) -> Act + Send + Sync + 'static) -> ScriptedPeer {
        ScriptedPeer {
            script: Mutex::new(Box::new(script)),
            seen: Mutex::default(),
            attempts: Mutex::default(),
            taken: Mutex::default(),
            refused: Mutex::default(),
            at_once: Mutex::default(),
        }
    }

    /// From now on it does something else.
    pub(super) fn does(&self, script: impl Fn(&[Call]) -> Act + Send + Sync + 'static) {
        *self.script.lock().expect("no panic") = Box::new(script);
    }

    /// What it took, in order.
    pub(super) fn taken(&self) -> Vec<Call> {
        self.taken.lock().expect("no panic").clone()
    }

    /// How many it took for which this holds.
    pub(super) fn took(&self, of: impl Fn(&Call) -> bool) -> usize {
        self.taken.lock().expect("no panic").iter().filter(|call| of(call)).count()
    }

    /// How many attempts it had not answered at the same time, at most.
    pub(super) fn most_at_once(&self) -> usize {
        self.at_once.lock().expect("no panic").1
    }

    /// Every attempt, when it began and with what.
    pub(super) fn attempts(&self) -> Vec<(Instant, Vec<Call>)> {
        self.attempts.lock().expect("no panic").clone()
    }

    /// The numbers of the events of which it was told that they were refused.
    pub(super) fn refused(&self) -> Vec<u64> {
        self.refused.lock().expect("no panic").clone()
    }
}

impl Sink for ScriptedPeer {
    async fn deliver(&self, records: Vec<Bytes>) -> Result<u64, Failure> {
        let calls: Vec<Call> = records.iter().map(|record| self.see(record)).collect();
        self.attempts.lock().expect("no panic").push((Instant::now(), calls.clone()));
        let _answered = Unanswered::new(&self.at_once);
        let act = self.script.lock().expect("no panic")(&calls);
        let reason = || "the script says so".to_owned();
        let later = |retry_after| Err(Failure::Later { reason: reason(), retry_after });
        let away = Err(Failure::Away { reason: reason(), retry_after: None });
        let refused = match act {
            Act::Take => 0,
            Act::TakeAfter(time) => {
                sleep(time).await;
                0
            }
            Act::TakeExcept(refused) => refused,
            Act::Later => return later(None),
            Act::LaterAfter(time) => return later(Some(time)),
            Act::Away => return away,
            Act::AwayAfter(time) => {
                sleep(time).await;
                return away;
            }
            Act::Refuse => return Err(Failure::Refused(reason())),
            Act::TooLarge => return Err(Failure::TooLarge(reason())),
            Act::Batch => return Err(Failure::Batch(reason())),
            Act::Exhausted => return Err(Failure::Exhausted { reason: reason(), retry_after: None }),
            Act::Misconfigured => return Err(Failure::Misconfigured(reason())),
            Act::MoreThanOne => return Err(Failure::MoreThanOne),
            Act::Gone => return Err(Failure::Gone(reason())),
            Act::Panic => panic!("the script says so"),
            Act::Hang => pending().await,
        };
        self.taken.lock().expect("no panic").extend(calls);
        Ok(refused)
    }

    fn order(&self, record: &Record<'_>) -> Option<u64> {
        read(record).1
    }

    fn note_refused(&self, record: &Record<'_>, _reason: &str) {
        self.refused.lock().expect("no panic").push(read(record).0);
    }
}

/// An attempt that has no answer yet.
struct Unanswered<'a>(&'a Mutex<(usize, usize)>);

impl Unanswered<'_> {
    fn new(at_once: &Mutex<(usize, usize)>) -> Unanswered<'_> {
        let mut counts = at_once.lock().expect("no panic");
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        Unanswered(at_once)
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0 -= 1;
    }
}

impl ScriptedPeer {
    fn see(&self, record: &[u8]) -> Call {
        let (number, caller) = read(&Record::decode(record).expect("a record"));
        let mut seen = self.seen.lock().expect("no panic");
        let times = seen.entry(number).or_default();
        *times += 1;
        Call { number, caller, before: *times - 1 }
    }
}

/// The record of an event with this number, from this caller.
pub(super) fn record(number: u64, caller: Option<u64>) -> Bytes {
    record_at(number, caller, SystemTime::now())
}

/// The same, received at this time.
pub(super) fn record_at(number: u64, caller: Option<u64>, received_at: SystemTime) -> Bytes {
    let query = format!("{number} {}", caller.map(|caller| caller.to_string()).unwrap_or_default());
    let key = Key::from_bytes([7; 16]);
    Record { kind: Kind::CallEvent, received_at, key, envelope: b"", query: query.as_bytes() }.encode()
}

fn read(record: &Record<'_>) -> (u64, Option<u64>) {
    let query = str::from_utf8(record.query).expect("text");
    let (number, caller) = query.split_once(' ').expect("two numbers");
    (number.parse().expect("a number"), caller.parse().ok())
}
