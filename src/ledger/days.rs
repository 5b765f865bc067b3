//! The totals of each day, to compare with an invoice: calls, the time that people talked and the billed time, by media
//! type, and with `--services` by service.
//!
//! A day is one of UTC, and a call is of the day in which its event was received. A call is in it once, as in every total. Days
//! are part of a checkpoint, so they outlast the journal; of those with calls, the latest [`MOST_DAYS`] are kept.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::label::Label;
use super::settings::with_service;
use super::table::LabelSet;
use super::{Limits, second};
use crate::callback::CallEvent;
use crate::callback::labels::LabelSource::{self, MediaType, Service};

/// Days that are kept: two months, of which the longest have 62 days.
pub const MOST_DAYS: usize = 62;

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// What calls of a day come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Calls.
    pub calls: u64,
    /// Those that were answered.
    pub answered: u64,
    /// The time that people talked, in milliseconds.
    pub duration_milliseconds: u64,
    /// The billed time.
    pub billed_seconds: u64,
}

impl Usage {
    /// What one call comes to.
    pub(super) fn of(event: &CallEvent<'_>) -> Usage {
        Usage {
            calls: 1,
            answered: u64::from(event.answered),
            duration_milliseconds: u64::try_from(event.duration.as_millis()).unwrap_or(u64::MAX),
            billed_seconds: event.billed_seconds,
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        let pairs = [
            (&mut self.calls, other.calls),
            (&mut self.answered, other.answered),
            (&mut self.duration_milliseconds, other.duration_milliseconds),
            (&mut self.billed_seconds, other.billed_seconds),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(more));
    }
}

/// What each day had.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Days(BTreeMap<u64, BTreeMap<LabelSet, Usage>>);

impl Days {
    /// The labels: with that of the service, where services are told apart.
    pub(super) fn labels(limits: &Limits) -> impl Iterator<Item = LabelSource> + Clone + use<> {
        [MediaType].into_iter().chain((!limits.services.is_empty()).then_some(Service))
    }

    /// Adds a call with these labels.
    pub(super) fn add(&mut self, received_at: SystemTime, labels: &[Label], usage: Usage) {
        self.add_to(second(received_at) / DAY, labels, usage);
    }

    /// Adds to the day of this number since the Unix epoch.
    pub(super) fn add_to(&mut self, day: u64, labels: &[Label], usage: Usage) {
        let of_day = self.0.entry(day).or_default();
        match of_day.get_mut(labels) {
            Some(sum) => *sum += usage,
            None => drop(of_day.insert(labels.into(), usage)),
        }
        if self.0.len() > MOST_DAYS {
            self.0.pop_first();
        }
    }

    /// Each day with its labels and what it had, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &LabelSet, &Usage)> {
        self.0.iter().flat_map(|(day, usages)| usages.iter().map(|(labels, usage)| (*day, labels, usage)))
    }

    /// The same with the label of the service or without it. What had none before is of the service `other`.
    pub(super) fn relabelled(self, has_services: bool) -> Days {
        let mut relabelled = Days::default();
        for (day, labels, usage) in self.iter() {
            relabelled.add_to(day, &with_service(labels, has_services), *usage);
        }
        relabelled
    }
}

/// The last day that is told from those after it: that of the year 9999, which is the last that RFC 3339 can write.
const LAST_DAY: u64 = 2_932_896;

/// The beginning of the day of this number since the Unix epoch.
pub(super) fn begin(day: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(day.min(LAST_DAY) * DAY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::Ledger;

    /// What the days of a ledger say together.
    fn sum(ledger: &Ledger) -> Usage {
        let mut sum = Usage::default();
        ledger.days().for_each(|(.., usage)| sum += usage);
        sum
    }

    fn ledger(services: &[&str]) -> Ledger {
        let services = services.iter().map(|service| (*service).to_owned()).collect();
        let buckets = || "1,60".parse().expect("buckets");
        Ledger::new(SystemTime::UNIX_EPOCH, Limits { services, ..Limits::default() }, buckets(), buckets())
    }

    fn apply(ledger: &mut Ledger, day: u64, query: &str) {
        let received_at = SystemTime::UNIX_EPOCH + Duration::from_secs(day * DAY + 7);
        ledger.apply(CallEvent::read(query.as_bytes(), received_at).expect("a call"));
    }

    proptest! {
        #[test]
        fn each_call_is_in_one_day_whatever_the_settings(
            calls in prop::collection::vec((0u64..MOST_DAYS as u64, "[AV]", "[ab]", 0u64..100, 0u64..100), 0..200),
        ) {
            let mut ledger = ledger(&["a"]);
            let mut expected = Usage::default();
            for (number, (day, media_type, service, duration, billed)) in calls.iter().enumerate() {
                let query = format!("sid={number}&type={media_type}&from_service_id={service}&duration={duration}&billing_sec={billed}");
                apply(&mut ledger, *day, &query);
                expected += Usage {
                    calls: 1,
                    answered: u64::from(duration + billed > 0),
                    duration_milliseconds: duration * 1_000,
                    billed_seconds: *billed,
                };
            }
            prop_assert_eq!(sum(&ledger), expected);
            prop_assert_eq!(expected.calls, ledger.calls());
            for services in [vec![], vec!["a".to_owned(), "c".to_owned()]] {
                ledger = ledger.reconfigured(Limits { services, ..Limits::default() }, &[], SystemTime::UNIX_EPOCH);
                prop_assert_eq!(sum(&ledger), expected);
            }
        }
    }

    #[test]
    fn the_latest_days_are_kept() {
        let mut ledger = ledger(&[]);
        for day in 0..2 * MOST_DAYS as u64 {
            apply(&mut ledger, 20_000 + day, "sid=1&type=A&duration=2&billing_sec=2");
        }
        let days: Vec<_> = ledger.days().collect();
        assert_eq!(days.len(), MOST_DAYS);
        let (first, labels, usage) = &days[0];
        assert_eq!(*first, SystemTime::UNIX_EPOCH + Duration::from_secs((20_000 + MOST_DAYS as u64) * DAY));
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("media_type", "audio")]);
        assert_eq!(*usage, Usage { calls: 1, answered: 1, duration_milliseconds: 2_000, billed_seconds: 2 });
    }
}
