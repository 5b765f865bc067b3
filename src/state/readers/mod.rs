//! Zeros first: a new series is shown to each reader at 0 once, and then at its value.
//!
//! Prometheus's `increase()` and `rate()` see differences between samples. The first value of a series is none, so a
//! call that makes a series is lost to every graph and alert, and so are all others that come before the first sample.
//! A sample of 0 that comes before makes them an increase. Only one reader needs it, and each needs its own: one who
//! scrapes after another must not find that the other has had the 0.
//!
//! # Who is a reader
//!
//! - Who scrapes as Prometheus does, with the header `X-Prometheus-Scrape-Timeout-Seconds`: an address with a
//!   User-Agent, and of several that share these each connection, since Prometheus keeps its own open. Behind a proxy
//!   connections say nothing; there it is who the proxy says.
//! - Each endpoint to which metrics are pushed.
//! - Nobody else. A person with curl sees values at once.
//!
//! # What is known
//!
//! Series are numbered at [`Birth`]. A reader has three marks: what it was *shown*, the latest birth in an answer that
//! it has taken to its end; what of that is *kept*, in a checkpoint that is on disk; and what it was shown at its
//! *value*. Without a state directory what is shown is kept.
//!
//! ```text
//!              an answer with it at 0           a checkpoint has the series
//!              was taken to its end             and the mark of the reader
//! not shown ──────────────────────────► shown ──────────────────────────────► kept
//!  shown at 0                          shown at 0                             shown at its value
//! ```
//!
//! A checkpoint keeps no mark beyond the series that it has itself. So whatever was shown at its value is in a checkpoint with
//! its birth and with the mark, and is never shown at 0 again: that would count all of it a second time.
//!
//! # A crash at each arrow
//!
//! - Before or during an answer: the mark is where it was, and the series is shown at 0 once more. Nothing but 0 was
//!   seen of it.
//! - After the answer, before the checkpoint: the same.
//! - After the checkpoint: the series and the mark are restored, and its value comes next.
//! - An answer that was handed over and got lost with its reader: that reader misses what the series counted so far, as
//!   it would without all this. It is never the other way round.
//!
//! Where marks cannot be believed (the latest checkpoint was damaged and the one before it stands in, or an older release wrote
//! it), everything that is there after the start is *old*: it is shown at its value to everybody. So are series whose labels
//! a change of configuration has changed.
//!
//! # When it is not certain who asks
//!
//! A new connection may be that of a reader whose last one broke, was taken by another one with the same address and
//! User-Agent, or never ended as far as can be told from here. It may come from another address than before. So whoever
//! comes on a new connection is shown at its value whatever anyone like it (the same program, whatever its version) was
//! shown at its value. It may miss the first value of a series, and nothing is counted twice. A reader of which nothing
//! is known at all is shown at 0 what is younger than `--series-zero-for`, since totals of old, shown at 0 first, would
//! count as new calls; a checkpoint knows it before it is answered. There is no clock in it for readers that are known.
//!
//! # Bounds
//!
//! At most 64 readers are remembered, each for a day after it asked last. For a further one, the one goes that has not
//! asked for longest. What a forgotten one was shown at its value is old from then on. A checkpoint is asked for when a
//! reader was shown something new; they take a tenth of the time at most. An answer waits for it for at most a second;
//! after that, what is not kept is shown at 0 again, as it is as long as a disk fails. A series that leaves and comes
//! back is born again.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use crate::journal::until;
use crate::ledger::checkpoint::{Mark, Marks};
use crate::metrics::birth::Birth;

/// Readers that are remembered.
const MOST_READERS: usize = 64;

/// How long an answer waits for the checkpoint that lets it show values.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a reader is remembered that does not ask.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What tells readers apart is no longer than this, in bytes.
const LONGEST_NAME: usize = 128;

/// How exact it is what is young: of those who are not known, most are shown the same page.
const YOUNG_STEP: Duration = Duration::from_secs(60);

/// The latest births of the series of the totals, which outlive the process, and of those of the exporter itself, which do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Births {
    /// Of the totals.
    pub totals: Birth,
    /// Of the exporter itself.
    pub own: Birth,
}

impl Births {
    /// After every birth: who is shown these sees each value at once.
    pub const ANY: Births = Births { totals: Birth::ANY, own: Birth::ANY };

    /// Whether everything born up to these was shown to who was shown those.
    pub fn are_all_in(self, shown: Births) -> bool {
        self.totals <= shown.totals && self.own <= shown.own
    }

    fn max(self, other: Births) -> Births {
        Births { totals: self.totals.max(other.totals), own: self.own.max(other.own) }
    }
}

/// Who reads.
#[derive(Debug, Clone)]
pub struct Who {
    /// Where it is, and what tells it from others there.
    name: String,
    /// Which program it is, which stays the same wherever it is.
    program: String,
    /// Gone when its connection has ended; `None` if connections say nothing.
    connection: Option<Weak<()>>,
}

impl Who {
    /// Who scrapes from this address with this User-Agent, on this connection or for `proxied`, as a proxy calls it.
    pub fn scrapes(address: IpAddr, agent: &str, proxied: Option<&str>, connection: Option<Weak<()>>) -> Who {
        let (agent, address) = (cut(agent), address.to_canonical());
        let program = agent.split('/').next().unwrap_or_default().to_owned();
        match proxied {
            Some(client) => {
                Who { name: format!("{address} {} {agent}", cut(client)), program, connection: None }
            }
            None => Who { name: format!("{address} {agent}"), program, connection },
        }
    }

    /// Who is pushed to at this endpoint.
    pub fn is_pushed_to(endpoint: &impl std::fmt::Display) -> Who {
        Who { name: format!("otlp {endpoint}"), program: "otlp".to_owned(), connection: None }
    }
}

/// The beginning of a text that tells readers apart.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_NAME)]
}

/// An answer that a reader waits for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    reader: u64,
    /// What it is shown at its value: what was born up to then. Everything else is shown at 0.
    pub shown: Births,
}

/// What every reader was shown.
#[derive(Debug)]
pub struct Readers {
    known: Mutex<Known>,
    zero_for: Duration,
    /// Whether there are checkpoints.
    is_on_disk: bool,
    /// A mark is to be kept.
    unkept: Notify,
    /// A mark was kept.
    kept: Notify,
}

#[derive(Debug)]
struct Known {
    /// Everything up to then is old.
    old: Births,
    /// What metrics were pushed as last.
    pushed_as: Option<String>,
    /// What was born up to then is pushed without the time of its start.
    without_start: Birth,
    readers: Vec<Reader>,
    /// The number of the next reader.
    next: u64,
    /// Questions so far.
    asked: u64,
}

#[derive(Debug)]
struct Reader {
    number: u64,
    who: Who,
    shown: Births,
    kept: Births,
    /// What it was shown at its value.
    valued: Births,
    /// Whether a checkpoint knows it.
    is_in_checkpoint: bool,
    /// How many questions there had been when it asked last, and when that was.
    asked: u64,
    asked_at: SystemTime,
}

impl Reader {
    fn is_connected(&self) -> bool {
        self.who.connection.as_ref().is_some_and(|connection| connection.strong_count() > 0)
    }

    fn is_on(&self, connection: Option<&Weak<()>>) -> bool {
        match (&self.who.connection, connection) {
            (Some(known), Some(connection)) => self.is_connected() && known.ptr_eq(connection),
            (None, None) => true,
            _ => false,
        }
    }

    fn is_unkept(&self) -> bool {
        self.kept.totals < self.shown.totals || !self.is_in_checkpoint
    }
}

impl Readers {
    /// Readers with these marks in a state directory, in which everything up to `marks.old` is old.
    pub fn on_disk(marks: &Marks, zero_for: Duration) -> Readers {
        Readers::new(marks, zero_for, true)
    }

    /// Readers of what is in memory only.
    pub fn in_memory(zero_for: Duration) -> Readers {
        Readers::new(&Marks::default(), zero_for, false)
    }

    fn new(marks: &Marks, zero_for: Duration, is_on_disk: bool) -> Readers {
        let reader = |(number, mark): (u64, &Mark)| {
            let shown = Births { totals: mark.shown, own: Birth::NONE };
            let Mark { reader, program, .. } = mark.clone();
            // Its connection is none of this process.
            let who = Who { name: reader, program, connection: Some(Weak::new()) };
            let asked_at = mark.asked_at;
            Reader {
                number,
                who,
                shown,
                kept: shown,
                valued: shown,
                is_in_checkpoint: true,
                asked: number,
                asked_at,
            }
        };
        let readers: Vec<Reader> = (0..).zip(marks.readers.iter().take(MOST_READERS)).map(reader).collect();
        let (pushed_as, without_start) = (marks.pushed_as.clone(), marks.without_start);
        let old = Births { totals: marks.old, own: Birth::NONE };
        let next = readers.len() as u64;
        let known = Known { old, pushed_as, without_start, next, readers, asked: next };
        Readers { known: Mutex::new(known), zero_for, is_on_disk, unkept: Notify::new(), kept: Notify::new() }
    }

    /// What a reader is to be shown that asks at `now`, when everything that there is was born up to `births`. It may wait as
    /// long as it has `patience`, and never for more than a second, until that is known.
    pub async fn ask(&self, who: &Who, births: Births, now: SystemTime, patience: Duration) -> Asked {
        let reader = self.find(who, births, now);
        // A checkpoint may be on its way.
        let _ = tokio::time::timeout(patience.min(PATIENCE), self.until_kept(reader)).await;
        let mut known = self.known();
        let asked = known.readers.iter_mut().find(|known| known.number == reader);
        // One that was forgotten meanwhile may have been shown anything.
        let shown = asked.map_or(Births::ANY, |asked| {
            asked.valued = asked.valued.max(asked.kept);
            asked.kept
        });
        Asked { reader, shown }
    }

    /// Notes that a reader has taken an answer with everything born up to `births` to its end.
    pub fn answered(&self, asked: Asked, births: Births) {
        let mut known = self.known();
        let Some(reader) = known.readers.iter_mut().find(|reader| reader.number == asked.reader) else {
            return;
        };
        reader.shown = reader.shown.max(births);
        // The exporter's own metrics end with the process, as this mark does.
        reader.kept.own = reader.shown.own;
        if !self.is_on_disk {
            reader.kept = reader.shown;
        } else if reader.kept.totals < reader.shown.totals {
            self.unkept.notify_one();
        }
    }

    /// The marks that a checkpoint keeps which has everything born up to `births`.
    pub fn marks(&self, births: Birth) -> Marks {
        let known = self.known();
        let mark = |reader: &Reader| Mark {
            number: reader.number,
            reader: reader.who.name.clone(),
            program: reader.who.program.clone(),
            shown: reader.shown.totals.min(births),
            asked_at: reader.asked_at,
        };
        let mut readers: Vec<&Reader> = known.readers.iter().collect();
        readers.sort_by_key(|reader| reader.asked);
        Marks {
            old: known.old.totals,
            pushed_as: known.pushed_as.clone(),
            without_start: known.without_start,
            readers: readers.into_iter().map(mark).collect(),
        }
    }

    /// Notes that a checkpoint with these marks is on disk.
    pub fn note_kept(&self, marks: &Marks) {
        let mut known = self.known();
        for mark in &marks.readers {
            let reader = known.readers.iter_mut().find(|reader| reader.number == mark.number);
            if let Some(reader) = reader {
                reader.kept.totals = reader.kept.totals.max(mark.shown);
                reader.is_in_checkpoint = true;
            }
        }
        drop(known);
        self.kept.notify_waiters();
    }

    /// Notes as what metrics are pushed from now on, when everything that there is was born up to `births`. If it is
    /// not the same as before, the series that are there are new ones to their receiver, who would take what they
    /// counted for new if it were told when they started.
    pub fn push_as(&self, identity: String, births: Birth) {
        let mut known = self.known();
        if self.is_on_disk && known.pushed_as.as_ref() != Some(&identity) {
            (known.pushed_as, known.without_start) = (Some(identity), births);
        }
    }

    /// What was born up to then is pushed without the time of its start.
    pub fn without_start(&self) -> Birth {
        self.known().without_start
    }

    /// Whether a mark is not kept yet.
    pub fn has_unkept(&self) -> bool {
        self.is_on_disk && self.known().readers.iter().any(Reader::is_unkept)
    }

    /// Completes when a mark is to be kept.
    pub async fn unkept(&self) {
        self.unkept.notified().await;
    }

    async fn until_kept(&self, number: u64) {
        let is_unkept = |reader: &Reader| reader.number == number && reader.is_unkept();
        let is_kept = || !self.is_on_disk || !self.known().readers.iter().any(is_unkept);
        until(&self.kept, is_kept).await;
    }

    /// The number of the reader, which is known from then on.
    fn find(&self, who: &Who, births: Births, now: SystemTime) -> u64 {
        let mut known = self.known();
        known.asked += 1;
        let asked = known.asked;
        let is_forgotten = |reader: &Reader| now.duration_since(reader.asked_at).is_ok_and(|age| age >= DAY);
        let Known { readers, old, .. } = &mut *known;
        for forgotten in readers.extract_if(.., |reader| !reader.is_connected() && is_forgotten(reader)) {
            *old = old.max(forgotten.valued);
        }
        let of_name = |reader: &&mut Reader| reader.who.name == who.name;
        let mut same = known.readers.iter_mut().filter(of_name);
        if let Some(reader) = same.find(|reader| reader.is_on(who.connection.as_ref())) {
            (reader.asked, reader.asked_at) = (asked, now);
            return reader.number;
        }
        let of_program = known.readers.iter().filter(|reader| reader.who.program == who.program);
        let valued = of_program.map(|reader| reader.valued).fold(known.old, Births::max);
        let ended = known.readers.iter_mut().filter(of_name).filter(|reader| !reader.is_connected());
        if let Some(reader) = ended.max_by_key(|reader| (reader.shown.totals, reader.shown.own)) {
            (reader.shown, reader.kept) = (reader.shown.max(valued), reader.kept.max(valued));
            (reader.asked, reader.asked_at) = (asked, now);
            reader.who = who.clone();
            return reader.number;
        }
        let shown = self.old_for_who_is_not_known(births, now).max(valued);
        let number = known.next;
        known.next += 1;
        if known.readers.len() == MOST_READERS {
            let places = known.readers.iter().enumerate();
            let place = places.min_by_key(|(_, reader)| (reader.is_connected(), reader.asked));
            if let Some((place, _)) = place {
                let forgotten = known.readers.remove(place);
                known.old = known.old.max(forgotten.valued);
            }
        }
        known.readers.push(Reader {
            number,
            who: who.clone(),
            shown,
            kept: shown,
            valued: shown,
            is_in_checkpoint: false,
            asked,
            asked_at: now,
        });
        // What it is shown at its value must be known to a checkpoint before.
        self.unkept.notify_one();
        number
    }

    /// What is not young.
    fn old_for_who_is_not_known(&self, births: Births, now: SystemTime) -> Births {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let steps = since_epoch.saturating_sub(self.zero_for).as_secs().div_ceil(YOUNG_STEP.as_secs());
        let young = Birth::at(SystemTime::UNIX_EPOCH + YOUNG_STEP * u32::try_from(steps).unwrap_or(u32::MAX));
        let old = |births: Birth| match births.time() > now {
            // The clock was ahead once, and says nothing of what is young.
            true => births,
            // What is born later may be given a time before that: an event that was held while the disk failed.
            false => births.min(young),
        };
        Births { totals: old(births.totals), own: old(births.own) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in here panics between two changes that belong together.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
