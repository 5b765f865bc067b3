//! Since when a share is as it is: the moment at which the calls before it and those after it differ most.

use std::time::SystemTime;

/// The calls of a span of time, and how many of them are hits: of those that are looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    /// When it begins.
    pub(super) begin: SystemTime,
    /// All calls.
    pub(super) calls: u64,
    /// The hits among them.
    pub(super) hits: u64,
}

/// When a share grew, and what it was before and is since.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The beginning of the first span of the time since then.
    pub since: SystemTime,
    /// The share before.
    pub before: f64,
    /// The share since.
    pub after: f64,
}

/// How much likelier two shares have to make what was seen than one, as twice the logarithm of that ratio. Chance
/// brings 10.8 once in a thousand looks at one moment (the chi-square distribution with one degree of freedom); here
/// the best of many moments is looked for.
const LEAST_EVIDENCE: f64 = 25.0;

/// The fewest hits since then. Fewer are bad luck, whatever the share.
const FEWEST_HITS: u64 = 4;

/// By how many times a share has to have grown, and by how much. Nights and days differ by less.
const LEAST_GROWTH: f64 = 2.0;
const LEAST_RISE: f64 = 0.02;

/// The latest spans that have to go on with it, until they have this many calls.
const LATEST_SPANS: usize = 6;
pub(super) const LATEST_CALLS: u64 = 10;

impl Change {
    /// When the share of hits among the calls of these spans, the oldest first, grew to what it is at the end, if it did.
    pub(super) fn find(spans: &[Span]) -> Option<Change> {
        let counts: Vec<(u64, u64)> =
            spans.iter().map(|span| (span.calls, span.hits.min(span.calls))).collect();
        let whole = counts.iter().fold((0, 0), add);
        let mut before = (0, 0);
        let mut best: Option<(f64, usize, Change)> = None;
        for (at, count) in counts.iter().enumerate() {
            let after = (whole.0 - before.0, whole.1 - before.1);
            let change = Change { since: spans[at].begin, before: share(before), after: share(after) };
            let evidence = 2.0 * (likelihood(before) + likelihood(after) - likelihood(whole));
            // A span without a hit is none of the time since then.
            let is_candidate = before.0 > 0 && count.1 > 0 && after.1 >= FEWEST_HITS && change.is_large();
            if is_candidate && best.as_ref().is_none_or(|(most, ..)| evidence > *most) {
                best = Some((evidence, at, change));
            }
            before = add(before, count);
        }
        let (evidence, at, change) = best?;
        let goes_on = change.goes_on(latest(counts[at..].iter().copied()));
        (evidence >= LEAST_EVIDENCE && goes_on).then_some(change)
    }

    /// Whether the latest calls, and the hits among them, are more like those since the change than those before it.
    pub(super) fn goes_on(&self, latest: (u64, u64)) -> bool {
        share(latest) >= (self.before + self.after) / 2.0
    }

    fn is_large(&self) -> bool {
        self.after >= LEAST_GROWTH * self.before && self.after >= self.before + LEAST_RISE
    }
}

fn add((calls, hits): (u64, u64), (more_calls, more_hits): &(u64, u64)) -> (u64, u64) {
    (calls + more_calls, hits + more_hits)
}

/// The latest calls, and the hits among them: those of a few spans, or of more until they are enough to tell.
pub(super) fn latest(counts: impl DoubleEndedIterator<Item = (u64, u64)>) -> (u64, u64) {
    let mut latest = (0, 0);
    for (number, count) in counts.rev().enumerate() {
        if number >= LATEST_SPANS && latest.0 >= LATEST_CALLS {
            break;
        }
        latest = add(latest, &count);
    }
    latest
}

fn share((calls, hits): (u64, u64)) -> f64 {
    if calls == 0 { 0.0 } else { hits as f64 / calls as f64 }
}

/// The logarithm of how likely these hits are at their own share.
fn likelihood((calls, hits): (u64, u64)) -> f64 {
    let part = |number: u64| match number {
        0 => 0.0,
        number => number as f64 * (number as f64 / calls as f64).ln(),
    };
    part(hits) + part(calls - hits)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn find(counts: impl IntoIterator<Item = (u64, u64)>) -> Option<(u64, Change)> {
        let begin = |number: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(60 * number);
        let span = |(number, (calls, hits)): (u64, (u64, u64))| Span { begin: begin(number), calls, hits };
        let spans: Vec<Span> = (0..).zip(counts).map(span).collect();
        let change = Change::find(&spans)?;
        let since = change.since.duration_since(SystemTime::UNIX_EPOCH).expect("after it");
        Some((since.as_secs() / 60, change))
    }

    /// Calls of so many spans, each of which is a hit with this probability.
    fn chance(random: &mut fastrand::Rng, spans: usize, calls: u64, probability: f64) -> Vec<(u64, u64)> {
        let mut hits = || (0..calls).filter(|_| random.f64() < probability).count() as u64;
        (0..spans).map(|_| (calls, hits())).collect()
    }

    #[test]
    fn an_incident_is_found_in_the_minute_in_which_it_began() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut counts = chance(&mut random, 40, 50, 0.01);
            counts.extend(chance(&mut random, 21, 50, 0.3));
            let (since, change) = find(counts).expect("a change");
            assert!((39..=41).contains(&since), "seed {seed}: {since}");
            assert!(change.before < 0.03 && (0.2..0.4).contains(&change.after), "seed {seed}: {change:?}");
        }
    }

    #[test]
    fn a_steady_share_is_no_change_whatever_it_is() {
        for seed in 0..1_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let probability = [0.002, 0.02, 0.2, 0.6][seed as usize % 4];
            let calls = [1, 5, 50][seed as usize % 3];
            let counts = chance(&mut random, 61, calls, probability);
            assert_eq!(find(counts), None, "seed {seed}, {probability} of {calls}");
        }
    }

    #[test]
    fn what_is_over_is_no_change() {
        let quiet = || std::iter::repeat_n((50, 0), 20);
        let bad = || std::iter::repeat_n((50, 25), 20);
        assert_eq!(find(quiet().chain(bad()).chain(quiet())), None);
        let (since, change) = find(quiet().chain(quiet()).chain(bad())).expect("a change");
        assert_eq!((since, change.before, change.after), (40, 0.0, 0.5));
        // Without calls lately, what went on before still does.
        let (since, _) = find(quiet().chain(bad()).chain(std::iter::repeat_n((0, 0), 10))).expect("a change");
        assert_eq!(since, 20);
    }

    #[test]
    fn few_calls_are_no_evidence() {
        assert_eq!(find([(0, 0); 61]), None);
        assert_eq!(find([(10, 0), (3, 3)]), None);
        assert_eq!(find([(10, 0), (4, 4)]), None);
        // Everything failed from the beginning on: there is no before.
        assert_eq!(find([(50, 50); 61]), None);
        let few = std::iter::repeat_n((1, 0), 40).chain(std::iter::repeat_n((1, 1), 10));
        assert_eq!(find(few).map(|(since, _)| since), Some(40));
    }
}
