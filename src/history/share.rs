//! Shares of few things, with what chance may make of them.

/// How sure a bound is: three standard deviations, since many values are looked at, and one of a hundred is odd by
/// chance alone.
const STANDARD_DEVIATIONS: f64 = 3.0;

/// How many of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub number: u64,
    /// Of how many, at least as many.
    pub of: u64,
}

impl Share {
    /// So many of so many.
    pub fn new(number: u64, of: u64) -> Share {
        Share { number, of }
    }

    /// From 0 to 1; of nothing, 0.
    pub fn value(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.number as f64 / self.of as f64 }
    }

    /// What the share of all such things is at least and at most: the interval of Wilson (1927), which holds for few things and
    /// for shares near 0 and 1 as well. Of nothing, it may be anything.
    pub fn bounds(self) -> (f64, f64) {
        if self.of == 0 {
            return (0.0, 1.0);
        }
        let (share, number, deviations) = (self.value(), self.of as f64, STANDARD_DEVIATIONS.powi(2));
        let scale = 1.0 + deviations / number;
        let middle = (share + deviations / (2.0 * number)) / scale;
        let variance = share * (1.0 - share) / number + deviations / (4.0 * number * number);
        let margin = STANDARD_DEVIATIONS * variance.sqrt() / scale;
        ((middle - margin).max(0.0), (middle + margin).min(1.0))
    }

    /// By how much this share exceeds the other one at least; not above 0 if chance can explain all of it.
    pub fn exceeds(self, other: Share) -> f64 {
        self.bounds().0 - other.bounds().1
    }

    /// The same in percent for people.
    pub fn percent(self) -> String {
        percent(self.value())
    }
}

/// A share in percent for people, with a decimal where that says more.
pub fn percent(share: f64) -> String {
    match 100.0 * share {
        percent if percent <= 0.0 => "0 %".to_owned(),
        percent if percent >= 100.0 => "100 %".to_owned(),
        percent if percent < 0.1 => "below 0.1 %".to_owned(),
        percent if percent > 99.9 => "over 99.9 %".to_owned(),
        percent if !(10.0..=90.0).contains(&percent) => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share() -> impl Strategy<Value = Share> {
        (0u64..5_000).prop_flat_map(|of| (0..=of).prop_map(move |number| Share { number, of }))
    }

    proptest! {
        #[test]
        fn a_share_lies_within_its_bounds_which_more_things_narrow(share in share()) {
            let (least, most) = share.bounds();
            prop_assert!((0.0..=1.0).contains(&least) && (0.0..=1.0).contains(&most));
            prop_assert!(share.of == 0 || least <= share.value() + 1e-9 && share.value() <= most + 1e-9);
            let more = Share { number: 4 * share.number, of: 4 * share.of }.bounds();
            prop_assert!(share.of == 0 || more.1 - more.0 < most - least);
            // The others are the other way round.
            let others = Share { number: share.of - share.number, of: share.of }.bounds();
            prop_assert!((others.0 - (1.0 - most)).abs() < 1e-9 && (others.1 - (1.0 - least)).abs() < 1e-9);
        }

        #[test]
        fn the_same_share_exceeds_nothing(share in share(), times in 1u64..50) {
            let others = Share { number: times * share.number, of: times * share.of };
            prop_assert!(share.exceeds(others) <= 0.0 && others.exceeds(share) <= 0.0);
        }
    }

    #[test]
    fn few_things_prove_little() {
        let all_of = |number: u64| Share::new(number, number).exceeds(Share::new(0, 1_000));
        assert!(all_of(1) < 0.1 && all_of(10) > 0.5 && all_of(1_000) > 0.97);
        assert!(Share::new(3, 3).exceeds(Share::new(0, 3)) < 0.0);
        // The interval of 50 of 100 for z = 3, worked out by hand: 0.5 -+ 0.1437.
        let (least, most) = Share::new(50, 100).bounds();
        assert!((least - 0.3563).abs() < 1e-3 && (most - 0.6437).abs() < 1e-3, "{least} {most}");
    }

    #[test]
    fn percents_are_for_people() {
        let percent = |number, of| Share::new(number, of).percent();
        assert_eq!([percent(0, 0), percent(0, 9), percent(9, 9)], ["0 %", "0 %", "100 %"]);
        assert_eq!([percent(176, 214), percent(36, 1_204)], ["82 %", "3.0 %"]);
        assert_eq!([percent(1, 10_000), percent(9_999, 10_000)], ["below 0.1 %", "over 99.9 %"]);
        assert_eq!([percent(999, 1_000), percent(1, 1_000)], ["99.9 %", "0.1 %"]);
    }
}
