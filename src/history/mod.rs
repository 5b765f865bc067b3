//! Looking back, for the people on call: what the accepted calls of a time have to say.
//!
//! | module | question |
//! |---|---|
//! | [`why`] | what do the failing calls have in common that the others have not? |
//! | [`calls`] | which calls are those? |
//! | [`report`] | what does LINE Planet's support need to know? |
//!
//! The answers come from the journal, which has every call for as long as a repeat of it is recognized: from that of
//! this process ([`running`]), or from a state directory in which another one may be running (`ops::commands`). Without
//! a state directory there are the latest records in memory. Nothing is kept beside that, and the way of an event knows
//! nothing of it.
//!
//! All of it is bounded: in memory by how many values are counted ([`frequent`]), in time by how many calls are looked at
//! ([`Span::most`]), of which the latest count. A call is *failing* if it is abnormal, which means neither as it should be nor
//! people's behaviour.

pub mod calls;
pub mod features;
pub mod frequent;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod report;
pub mod running;
pub mod share;
pub mod why;

use std::time::SystemTime;

use crate::callback::shield::shielded;
use crate::callback::{CallEvent, Kind, Record};

/// A time that is looked back on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Calls that were received from then on.
    pub since: SystemTime,
    /// Calls that were received before then.
    pub until: SystemTime,
    /// The latest records, at most this many, whether or not they are of this time.
    pub most: u64,
}

/// Where what was stored can be read again.
pub trait Past {
    /// Why it cannot be read.
    type Error;

    /// Gathers the records, the latest `most` of them, in what `begin` makes: hands each to `take` with its sequence
    /// number, in order. What was stored before `since` may be left out. It may begin anew.
    ///
    /// # Errors
    /// They cannot be read.
    fn gather<T>(
        &self,
        since: SystemTime,
        most: u64,
        begin: impl Fn() -> T,
        take: impl FnMut(&mut T, u64, &[u8]),
    ) -> Result<T, Self::Error>;
}

/// What was gathered of a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathered<T> {
    /// What was made of the calls.
    pub of: T,
    /// From when on it has all calls: later than asked for, if earlier ones are not kept any more, or too many.
    pub since: SystemTime,
    /// Calls that could not be read.
    pub unreadable: u64,
}

/// What is gathered, and what is known of where it began.
struct Gathering<T> {
    of: T,
    /// The sequence number of the first record that was looked at, and when that was received.
    first: Option<(u64, SystemTime)>,
    unreadable: u64,
}

/// Gathers the calls of a time in what `begin` makes.
///
/// # Errors
/// They cannot be read.
pub fn gather<P: Past, T>(
    past: &P,
    span: Span,
    begin: impl Fn() -> T,
    mut take: impl FnMut(&mut T, &CallEvent<'_>),
) -> Result<Gathered<T>, P::Error> {
    let begin = || Gathering { of: begin(), first: None, unreadable: 0 };
    let gathered = past.gather(span.since, span.most, begin, |gathering, sequence, bytes| {
        let read = shielded(|| {
            let Ok(record) = Record::decode(bytes) else { return false };
            gathering.first.get_or_insert((sequence, record.received_at));
            if !(span.since..span.until).contains(&record.received_at) {
                return true;
            }
            match record.kind {
                Kind::CallEvent => record.call_event().map(|event| take(&mut gathering.of, &event)).is_ok(),
            }
        });
        gathering.unreadable += u64::from(read != Ok(true));
    })?;
    let Gathering { of, first, unreadable } = gathered;
    let since = match first {
        Some((sequence, received_at)) if sequence > 0 => span.since.max(received_at),
        _ => span.since,
    };
    Ok(Gathered { of, since, unreadable })
}

#[cfg(test)]
pub(crate) mod past_of_tests {
    use std::convert::Infallible;
    use std::time::{Duration, SystemTime};

    use bytes::Bytes;

    use super::Past;
    use crate::callback::{Key, Kind, Record};

    /// Records at hand, the first of which has this sequence number.
    #[derive(Debug, Default)]
    pub(crate) struct Records {
        pub(crate) first: u64,
        pub(crate) records: Vec<Bytes>,
    }

    /// A second of the time of the tests.
    pub(crate) fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + second)
    }

    impl Records {
        /// Appends a call that was received at this second.
        pub(crate) fn add(&mut self, second: u64, query: &str) {
            let key = Key::from_bytes((self.records.len() as u128).to_be_bytes());
            let query = query.as_bytes();
            let record = Record { kind: Kind::CallEvent, received_at: at(second), key, envelope: b"", query };
            self.records.push(record.encode());
        }
    }

    impl Past for Records {
        type Error = Infallible;

        fn gather<T>(
            &self,
            _: SystemTime,
            most: u64,
            begin: impl Fn() -> T,
            mut take: impl FnMut(&mut T, u64, &[u8]),
        ) -> Result<T, Infallible> {
            let mut gathered = begin();
            let skip = self.records.len().saturating_sub(most as usize);
            for (sequence, record) in (self.first..).zip(&self.records).skip(skip) {
                take(&mut gathered, sequence, record);
            }
            Ok(gathered)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::past_of_tests::{Records, at};
    use super::*;

    fn seen(records: &Records, since: u64, until: u64, most: u64) -> Gathered<Vec<i64>> {
        let span = Span { since: at(since), until: at(until), most };
        let take = |seen: &mut Vec<i64>, event: &CallEvent<'_>| {
            seen.extend(event.number(crate::callback::call_event::Parameter::RelCode));
        };
        gather(records, span, Vec::new, take).expect("records at hand")
    }

    #[test]
    fn the_calls_of_a_time_are_gathered_and_from_when_on_they_are_all() {
        let mut records = Records::default();
        for second in 0..10 {
            records.add(second, &format!("sid={second}&duration=1&rel_code={second}"));
        }
        let of = |of: std::ops::Range<i64>, since: u64, unreadable: u64| Gathered {
            of: of.collect::<Vec<_>>(),
            since: at(since),
            unreadable,
        };
        assert_eq!(seen(&records, 3, 7, 100), of(3..7, 3, 0));
        assert_eq!(seen(&records, 3, 7, 5), of(5..7, 5, 0), "the latest five of all");
        // What came before is not kept any more.
        records.first = 1;
        records.records.remove(0);
        assert_eq!(seen(&records, 0, 3, 100), of(1..3, 1, 0));
        records.records.insert(0, bytes::Bytes::from_static(b"\x01short"));
        assert_eq!(seen(&records, 3, 7, 100), of(3..7, 3, 1));
    }
}
