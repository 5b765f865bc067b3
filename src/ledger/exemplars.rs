//! Calls to look at: the latest that each bucket of a row counted, or the row itself if it is a number.
//!
//! They are no part of the totals: in memory only, never in a checkpoint, and two rows are equal whatever calls they show. As
//! many as a row has buckets is the most, and they leave with their row.

use crate::metrics::family::Exemplar;

/// The exemplars of a row by the places of its buckets, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Exemplars(Vec<(usize, Exemplar)>);

impl PartialEq for Exemplars {
    /// Always: see above.
    fn eq(&self, _: &Exemplars) -> bool {
        true
    }
}

impl Exemplars {
    /// Takes in the exemplar of a place, unless the one that is there came later: Prometheus refuses those that do not
    /// come in order.
    pub(super) fn note(&mut self, place: usize, exemplar: Exemplar) {
        match self.0.binary_search_by_key(&place, |(place, _)| *place) {
            Ok(at) if self.0[at].1.at <= exemplar.at => self.0[at].1 = exemplar,
            Ok(_) => {}
            Err(at) => self.0.insert(at, (place, exemplar)),
        }
    }

    /// Each with its place.
    pub(super) fn to_vec(&self) -> Vec<(usize, Exemplar)> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn exemplar(number: u8, second: u64) -> Exemplar {
        Exemplar {
            trace_id: [number; 16],
            value: 1.0,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
        }
    }

    #[test]
    fn each_place_has_its_latest_and_none_that_is_out_of_order() {
        let mut exemplars = Exemplars::default();
        for (place, number, second) in [(3, 1, 10), (0, 2, 11), (3, 3, 12), (3, 4, 12), (3, 5, 9), (1, 6, 5)]
        {
            exemplars.note(place, exemplar(number, second));
        }
        let kept: Vec<_> =
            exemplars.to_vec().iter().map(|(place, kept)| (*place, kept.trace_id[0])).collect();
        assert_eq!(kept, [(0, 2), (1, 6), (3, 4)]);
        assert_eq!(exemplars, Exemplars::default(), "they are no part of the totals");
    }
}
