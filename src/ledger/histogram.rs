//! A histogram with explicit buckets, exact in its sum: durations are whole milliseconds.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The upper bounds of a histogram's buckets, in seconds, each inclusive; above the last stands infinity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Vec<f64>", try_from = "Vec<f64>")]
pub struct Buckets(Arc<[f64]>);

/// Why a list of bucket bounds cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidBuckets {
    /// A bound that is no number.
    #[error("{0:?} is not a number of seconds; expected bounds such as 1,10,60,600")]
    NotANumber(String),
    /// Bounds that are not positive, finite and ascending.
    #[error("expected positive bounds in ascending order, such as 1,10,60,600")]
    NotAscending,
    /// No bounds, or too many.
    #[error("expected 1 to {most} bounds, got {0}", most = Buckets::MOST)]
    Number(usize),
}

impl Buckets {
    /// The most bounds that a histogram may have.
    pub const MOST: usize = 50;

    /// Buckets with these upper bounds in seconds.
    ///
    /// # Errors
    /// Bounds must be 1 to [`Buckets::MOST`], positive, finite and ascending.
    pub fn new(bounds: &[f64]) -> Result<Buckets, InvalidBuckets> {
        if bounds.is_empty() || bounds.len() > Buckets::MOST {
            return Err(InvalidBuckets::Number(bounds.len()));
        }
        let positive = bounds.iter().all(|bound| bound.is_finite() && *bound > 0.0);
        if !positive || !bounds.is_sorted_by(|lower, upper| lower < upper) {
            return Err(InvalidBuckets::NotAscending);
        }
        Ok(Buckets(bounds.into()))
    }

    /// The upper bounds in seconds, without infinity.
    pub fn bounds(&self) -> &[f64] {
        &self.0
    }

    fn none() -> Buckets {
        Buckets(Arc::new([]))
    }
}

impl From<Buckets> for Vec<f64> {
    fn from(buckets: Buckets) -> Vec<f64> {
        buckets.0.to_vec()
    }
}

impl TryFrom<Vec<f64>> for Buckets {
    type Error = InvalidBuckets;

    fn try_from(bounds: Vec<f64>) -> Result<Buckets, InvalidBuckets> {
        Buckets::new(&bounds)
    }
}

impl FromStr for Buckets {
    type Err = InvalidBuckets;

    fn from_str(text: &str) -> Result<Buckets, InvalidBuckets> {
        let bound =
            |bound: &str| bound.trim().parse().map_err(|_| InvalidBuckets::NotANumber(bound.to_owned()));
        Buckets::new(&text.split(',').map(bound).collect::<Result<Vec<f64>, _>>()?)
    }
}

impl fmt::Display for Buckets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds: Vec<_> = self.0.iter().map(f64::to_string).collect();
        formatter.write_str(&bounds.join(","))
    }
}

/// Counts of durations by bucket, and their exact sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Not written down with each histogram, since all of a metric share them.
    #[serde(skip, default = "Buckets::none")]
    buckets: Buckets,
    /// One count a bucket, not cumulative; the last is for what is above every bound.
    counts: Box<[u64]>,
    sum_milliseconds: u64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new(buckets: &Buckets) -> Histogram {
        let counts = vec![0; buckets.bounds().len() + 1].into_boxed_slice();
        Histogram { buckets: buckets.clone(), counts, sum_milliseconds: 0 }
    }

    /// Gives a histogram that was read back its buckets. Returns whether they fit its counts.
    pub(super) fn set_buckets(&mut self, buckets: &Buckets) -> bool {
        self.buckets = buckets.clone();
        self.counts.len() == buckets.bounds().len() + 1
    }

    /// Counts a duration. Returns the place of its bucket.
    pub fn observe(&mut self, duration: Duration) -> usize {
        let seconds = duration.as_secs_f64();
        let bucket = self.buckets.bounds().partition_point(|bound| *bound < seconds);
        // There is a count for each bucket, and one for what is above every bound.
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.sum_milliseconds = self.sum_milliseconds.saturating_add(milliseconds);
        bucket
    }

    /// Counts what another histogram with the same buckets counted.
    pub(super) fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.sum_milliseconds = self.sum_milliseconds.saturating_add(other.sum_milliseconds);
    }

    /// The upper bounds in seconds, without infinity. The histograms of a metric share them.
    pub fn bounds(&self) -> &Arc<[f64]> {
        &self.buckets.0
    }

    /// One count a bucket, not cumulative; one more than there are bounds.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_millis(self.sum_milliseconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_and_sum_are_those_of_the_durations(seconds in prop::collection::vec(0u64..20_000, 0..200)) {
            let mut histogram = Histogram::new(&"1,60,3600".parse().expect("buckets"));
            for seconds in &seconds {
                histogram.observe(Duration::from_secs(*seconds));
            }
            prop_assert_eq!(histogram.counts().iter().sum::<u64>(), seconds.len() as u64);
            prop_assert_eq!(histogram.sum().as_secs(), seconds.iter().sum::<u64>());
            let up_to_a_minute = seconds.iter().filter(|seconds| **seconds <= 60).count() as u64;
            prop_assert_eq!(histogram.counts()[..2].iter().sum::<u64>(), up_to_a_minute);
        }
    }

    #[test]
    fn bounds_are_checked() {
        assert_eq!(
            "0.5, 1,2".parse::<Buckets>().map(|buckets| buckets.to_string()),
            Ok("0.5,1,2".to_owned())
        );
        assert_eq!("1,x".parse::<Buckets>(), Err(InvalidBuckets::NotANumber("x".to_owned())));
        for wrong in ["2,1", "1,1", "0,1", "-1", "inf", "NaN"] {
            assert_eq!(wrong.parse::<Buckets>(), Err(InvalidBuckets::NotAscending), "{wrong}");
        }
        assert_eq!(Buckets::new(&[]), Err(InvalidBuckets::Number(0)));
    }
}
