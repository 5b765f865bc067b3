//! The values that failing calls often have.

use std::cmp::Reverse;

use crate::callback::CallEvent;
use crate::history::features::{Aspect, Features};
use crate::history::frequent::Frequent;

/// Values of an aspect that are kept: any that more than one failing call in 65 has is among them. Names and values in
/// `app_svr_data` are many a call.
const ROOM: usize = 64;
const ROOM_OF_APPS: usize = 512;

/// The values that are counted exactly, the most frequent ones.
pub(super) const MOST: usize = 128;

/// Failing calls that have a value at least.
const LEAST: u64 = 3;

/// A value that failing calls often have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) aspect: Aspect,
    pub(super) value: String,
}

/// The most frequent values of each aspect, in the order of the aspects.
#[derive(Debug)]
pub(super) struct Candidates(Vec<Frequent<String>>);

impl Default for Candidates {
    fn default() -> Candidates {
        let room = |aspect: Aspect| match aspect {
            Aspect::AppValue | Aspect::AppName => ROOM_OF_APPS,
            _ => ROOM,
        };
        Candidates(Aspect::ALL.map(|aspect| Frequent::new(room(aspect))).into())
    }
}

impl Candidates {
    /// Notes what a call has, if it failed.
    pub(super) fn note(&mut self, features: &Features, event: &CallEvent<'_>) {
        if event.fault_domain.is_abnormal() {
            features.each(event, |aspect, value| self.0[aspect as usize].note(value));
        }
    }

    /// The values that were found.
    pub(super) fn found(self) -> Vec<Candidate> {
        let of_aspects = Aspect::ALL.into_iter().zip(self.0);
        let mut found: Vec<_> = of_aspects
            .flat_map(|(aspect, frequent)| {
                frequent.found().map(move |(value, count)| (count, Candidate { aspect, value }))
            })
            .filter(|(count, _)| *count >= LEAST)
            .collect();
        found.sort_by(|(count, one), (of_other, other)| {
            let key = |count: u64, candidate: &Candidate| (Reverse(count), candidate.aspect);
            key(*count, one).cmp(&key(*of_other, other)).then_with(|| one.value.cmp(&other.value))
        });
        found.truncate(MOST);
        found.into_iter().map(|(_, candidate)| candidate).collect()
    }
}
