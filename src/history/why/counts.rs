//! How many failing calls and how many others have each candidate, and each two of them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::candidates::{Candidate, MOST};
use super::{Ended, HowTheyFailed};
use crate::callback::CallEvent;
use crate::callback::labels::OTHER;
use crate::history::features::{Aspect, Features, how, names_of_how};
use crate::history::frequent::Tally;
use crate::history::share::Share;

/// People that are told apart: with a value, and with failing calls.
const MOST_WITH_A_VALUE: usize = 64;
const MOST_FAILING: usize = 20_000;

/// Values of how calls ended that are counted, and that are told.
const MOST_ENDS: usize = 128;
const MOST_TOLD: usize = 5;

/// How many failing calls, and how many others.
type Both = [u32; 2];

/// What is counted.
#[derive(Debug)]
pub(super) struct Counts {
    /// The index of a candidate by its aspect and value.
    indices: Vec<HashMap<String, usize>>,
    pub(super) failing: u64,
    pub(super) others: u64,
    /// A row for each candidate: calls that have it and each one up to it, itself the last.
    together: Vec<Vec<Both>>,
    /// Who has each candidate.
    people: Vec<HashSet<u64>>,
    failing_callers: HashSet<u64>,
    how: Vec<Tally<u64>>,
}

impl Counts {
    /// Counts these.
    pub(super) fn of(candidates: &[Candidate]) -> Counts {
        debug_assert!(candidates.len() <= MOST, "what is counted is bounded");
        let mut indices = vec![HashMap::new(); Aspect::ALL.len()];
        for (at, candidate) in candidates.iter().enumerate() {
            indices[candidate.aspect as usize].insert(candidate.value.clone(), at);
        }
        Counts {
            indices,
            failing: 0,
            others: 0,
            together: (1..=candidates.len()).map(|length| vec![[0; 2]; length]).collect(),
            people: vec![HashSet::new(); candidates.len()],
            failing_callers: HashSet::new(),
            how: names_of_how().map(|_| Tally::new(MOST_ENDS)).collect(),
        }
    }

    /// Counts a call.
    pub(super) fn note(&mut self, features: &Features, event: &CallEvent<'_>) {
        let is_failing = event.fault_domain.is_abnormal();
        *(if is_failing { &mut self.failing } else { &mut self.others }) += 1;
        let mut has = Vec::new();
        features.each(event, |aspect, value| {
            if let Some(at) = self.indices[aspect as usize].get(value) {
                has.push(*at);
                let people = &mut self.people[*at];
                if people.len() < MOST_WITH_A_VALUE {
                    people.insert(features.person(event, aspect.person()));
                }
            }
        });
        has.sort_unstable();
        for (number, at) in has.iter().enumerate() {
            for other in &has[..=number] {
                self.together[*at][*other][usize::from(!is_failing)] += 1;
            }
        }
        if is_failing {
            if self.failing_callers.len() < MOST_FAILING {
                self.failing_callers.insert(features.person(event, Aspect::Caller.person()));
            }
            let mut tallies = self.how.iter_mut();
            how(event, |_, value| {
                if let Some(tally) = tallies.next() {
                    *tally.of(value) += 1;
                }
            });
        }
    }

    /// How many failing calls and how many others have both of these.
    pub(super) fn both(&self, one: usize, other: usize) -> (u64, u64) {
        let [failing, others] = self.together[one.max(other)][one.min(other)];
        (failing.into(), others.into())
    }

    /// How many of the failing calls have it.
    pub(super) fn failing_share(&self, at: usize) -> Share {
        Share::new(self.both(at, at).0, self.failing)
    }

    /// How many of the others have it.
    pub(super) fn others_share(&self, at: usize) -> Share {
        Share::new(self.both(at, at).1, self.others)
    }

    /// How much of the calls that have one of these have both, from 0 to 1.
    pub(super) fn overlap(&self, one: usize, other: usize) -> f64 {
        let all = |(failing, others): (u64, u64)| failing + others;
        let both = all(self.both(one, other));
        Share::new(both, all(self.both(one, one)) + all(self.both(other, other)) - both).value()
    }

    /// How many people have it, as far as they are told apart.
    pub(super) fn people(&self, at: usize) -> u64 {
        self.people[at].len() as u64
    }

    /// How many callers failing calls have, as far as they are told apart.
    pub(super) fn failing_callers(&self) -> u64 {
        self.failing_callers.len() as u64
    }

    /// How failing calls ended.
    pub(super) fn how_they_failed(self) -> Vec<HowTheyFailed> {
        let tallies = names_of_how().zip(self.how);
        let told = tallies.map(|(name, tally)| {
            let (mut values, mut others) = tally.sorted(|calls| Reverse(*calls));
            others += values.iter().skip(MOST_TOLD).map(|(_, calls)| calls).sum::<u64>();
            values.truncate(MOST_TOLD);
            let values = values.into_iter().map(|(value, calls)| Ended { value, calls }).collect();
            HowTheyFailed { name, values, others }
        });
        // That nothing was sent says nothing.
        told.filter(|how| how.values.iter().any(|end| end.value != OTHER)).collect()
    }
}
