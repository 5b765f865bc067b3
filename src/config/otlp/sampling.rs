//! Of which calls spans are pushed.

use super::reader::Reader;
use super::variables::{TRACES_SAMPLER, TRACES_SAMPLER_ARG};

/// A choice by trace ID, so that everybody who chooses by the same ratio takes the same calls.
///
/// Source: OpenTelemetry specification, "TraceState: Probability Sampling": the last 56 bits of a trace ID are its
/// randomness, and it is taken if they are not below a threshold. They are random in a sid, which is a UUID, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    threshold: u64,
}

const RANDOMNESS: u64 = 1 << 56;

impl Sampling {
    /// Takes every call.
    pub const ALL: Sampling = Sampling { threshold: 0 };
    const NONE: Sampling = Sampling { threshold: RANDOMNESS };

    /// Takes this ratio of calls, from 0 to 1.
    fn ratio(ratio: f64) -> Sampling {
        Sampling { threshold: ((1.0 - ratio) * RANDOMNESS as f64) as u64 }
    }

    /// Whether no call is taken.
    pub fn is_none(self) -> bool {
        self == Sampling::NONE
    }

    /// Whether the call of this trace ID is taken.
    pub fn takes(self, trace_id: [u8; 16]) -> bool {
        let [.., a, b, c, d, e, f, g] = trace_id;
        u64::from_be_bytes([0, a, b, c, d, e, f, g]) >= self.threshold
    }
}

/// The names of samplers. A call has no parent that would decide.
#[derive(Debug, Clone, Copy, Default)]
enum Sampler {
    #[default]
    AlwaysOn,
    AlwaysOff,
    Ratio,
}

/// What the variables say.
pub(super) fn sampling(reader: &Reader<'_>) -> Sampling {
    let choices = [
        ("always_on", Sampler::AlwaysOn),
        ("always_off", Sampler::AlwaysOff),
        ("traceidratio", Sampler::Ratio),
        ("parentbased_always_on", Sampler::AlwaysOn),
        ("parentbased_always_off", Sampler::AlwaysOff),
        ("parentbased_traceidratio", Sampler::Ratio),
    ];
    match reader.choice(&TRACES_SAMPLER, None, &choices) {
        Sampler::AlwaysOn => Sampling::ALL,
        Sampler::AlwaysOff => Sampling::NONE,
        Sampler::Ratio => Sampling::ratio(reader.ratio(&TRACES_SAMPLER_ARG)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_takes_so_many_and_the_same_ones_of_a_smaller_ratio() {
        let ids = (0..4096_u64).map(|number| {
            let mut id = [0xff; 16];
            let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
            id[9..].copy_from_slice(&spread.to_be_bytes()[1..]);
            id
        });
        let ids: Vec<[u8; 16]> = ids.collect();
        let taken = |sampling: Sampling| ids.iter().filter(|id| sampling.takes(**id)).count();
        assert_eq!(
            (taken(Sampling::ALL), taken(Sampling::ratio(1.0)), taken(Sampling::NONE)),
            (4096, 4096, 0)
        );
        assert!(Sampling::ratio(0.0).is_none() && !Sampling::ratio(0.001).is_none());
        let (quarter, half) = (Sampling::ratio(0.25), Sampling::ratio(0.5));
        assert!((900..1150).contains(&taken(quarter)), "{}", taken(quarter));
        assert!((1900..2200).contains(&taken(half)), "{}", taken(half));
        assert!(ids.iter().all(|id| half.takes(*id) || !quarter.takes(*id)));
    }
}
