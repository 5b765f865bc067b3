//! How many events a second a peer may send.

use std::str::FromStr;

/// Events a second, and how many may come at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Events a second, at least one.
    pub per_second: u32,
    /// Events at once, at least one.
    pub burst: u32,
}

/// Without a burst of its own, a rate has that of so many seconds.
const SECONDS_AT_ONCE: u32 = 10;

/// The greatest rate, and the greatest burst.
const MOST: u32 = 1_000_000;

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let number = |text: &str| text.parse().ok().filter(|number| (1..=MOST).contains(number));
        let rate = match text.split_once(':') {
            Some((rate, burst)) => number(rate).zip(number(burst)),
            None => number(text).map(|rate| (rate, (rate * SECONDS_AT_ONCE).min(MOST))),
        };
        rate.map(|(per_second, burst)| Rate { per_second, burst }).ok_or_else(|| {
            format!("expected events a second, and how many may come at once, such as 100 or 100:2000, each up to {MOST}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_burst() {
        for (text, expected) in [
            ("100", Some((100, 1_000))),
            ("100:1", Some((100, 1))),
            ("1000000", Some((MOST, MOST))),
            ("0", None),
            ("100:0", None),
            ("1000001", None),
            ("1.5", None),
            ("100:", None),
            (":100", None),
            ("", None),
        ] {
            let rate = text.parse::<Rate>();
            assert_eq!(rate.as_ref().ok().map(|rate| (rate.per_second, rate.burst)), expected, "{text}");
            assert!(rate.is_ok() || rate.is_err_and(|error| error.contains("such as 100")), "{text}");
        }
    }
}
