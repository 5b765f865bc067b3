//! What failing calls have in common that the others of the same time have not.
//!
//! # How it is found
//!
//! Two looks at the same calls. The first one finds the values that failing calls often have, of each
//! [aspect](super::features) (`candidates`). The second one counts exactly how many failing calls and how many others
//! have each of them, and each two of them (`counts`).
//!
//! A value stands out by as much as its share among failing calls exceeds that among the others *at least*: the lower
//! bound of the one less the upper bound of the other ([`Share::exceeds`]). So a value that three of three failing
//! calls have by chance does not come first, and one that chance can explain is not told at all. Below [`FEWEST`] calls
//! of either kind nothing is.
//!
//! What stands out most is a *finding*. Another value becomes one of its own only if it still stands out among the
//! calls that have the values above it, or among those that have them not. Otherwise it is told with the finding that
//! explains it: as another name for the same calls, or as something that goes with them.

mod candidates;
mod counts;
mod text;

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::features::{Aspect, Features};
use super::share::Share;
use super::{Gathered, Past, Span, gather};
use candidates::{Candidate, Candidates};
use counts::Counts;

/// Calls of either kind below which nothing is told: what ten failing calls share and ten others do not is just beyond chance.
pub const FEWEST: u64 = 10;

/// The most records that are looked at.
pub const MOST_RECORDS: u64 = 200_000;

/// The most findings, and the most values that are told with one.
const MOST_FINDINGS: usize = 8;
const MOST_WITH_IT: usize = 6;

/// Values of which at least so much of both together are of the same calls are two names for those.
const SAME_CALLS: f64 = 0.9;

/// By how much two values stand out more than either alone, so that it is worth a word.
const CLEARLY: f64 = 0.05;

/// How many different people have a value at least that may lead to one of them.
const FEWEST_PEOPLE: u64 = 3;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Why {
    /// From when on, RFC 3339: later than asked for if earlier calls are not kept any more, or too many.
    pub since: String,
    /// Until when.
    pub until: String,
    /// Whether `since` is as asked for.
    pub is_complete: bool,
    /// Calls of that time.
    pub calls: u64,
    /// How many of them failed.
    pub failing: u64,
    /// How many different callers the failing ones have; at most this program's room for them.
    pub failing_callers: u64,
    /// Calls that could not be read.
    pub unreadable: u64,
    /// The answer in a sentence.
    pub summary: String,
    /// What stands out, the most at first.
    pub findings: Vec<Finding>,
    /// How the failing calls ended, which is no cause.
    pub how_they_failed: Vec<HowTheyFailed>,
    /// The paths of the admin port that say more: which calls those are, and what LINE Planet's support needs to know.
    pub next: Vec<String>,
}

/// Something that failing calls have in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What it is.
    #[serde(flatten)]
    pub value: SharedValue,
    /// With which one above it stands out more than either alone.
    pub together: Option<Together>,
    /// Other names for the same calls.
    pub same_calls: Vec<SharedValue>,
    /// What stands out too, and only since it goes with this.
    pub goes_with_it: Vec<SharedValue>,
}

/// A value that calls share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SharedValue {
    /// The parameter.
    pub parameter: String,
    /// Its value; `null` where it is a person, who is not told.
    pub value: Option<String>,
    /// Failing calls that have it.
    pub failing: u64,
    /// Of all failing calls.
    pub failing_share: f64,
    /// Other calls that have it.
    pub others: u64,
    /// Of all other calls.
    pub others_share: f64,
    /// How many times as often failing calls have it; `null` if no other call has.
    pub lift: Option<f64>,
    /// By how much the first share exceeds the second at least.
    pub exceeds_by: f64,
    /// How many different callers the calls have (callees, where it is of the callee), up to 64.
    pub people: u64,
    /// The same in a sentence.
    pub text: String,
}

/// Calls that have two values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Together {
    /// The parameter of the other one.
    pub parameter: String,
    /// Its value.
    pub value: Option<String>,
    /// Failing calls that have both.
    pub failing: u64,
    /// Other calls that have both.
    pub others: u64,
    /// The same in a sentence.
    pub text: String,
}

/// How failing calls ended, in one regard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HowTheyFailed {
    /// In which regard.
    pub name: &'static str,
    /// The most frequent values.
    pub values: Vec<Ended>,
    /// Failing calls with others.
    pub others: u64,
}

/// How many failing calls ended so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// The value.
    pub value: String,
    /// How many.
    pub calls: u64,
}

/// What the failing calls of the last minutes before `now` share.
///
/// # Errors
/// The calls cannot be read.
pub fn why<P: Past>(past: &P, now: SystemTime, minutes: u64) -> Result<Why, P::Error> {
    let since = now.checked_sub(Duration::from_secs(60 * minutes)).unwrap_or(SystemTime::UNIX_EPOCH);
    let span = Span { since, until: now, most: MOST_RECORDS };
    let features = Features::default();
    let found =
        gather(past, span, Candidates::default, |candidates, event| candidates.note(&features, event))?;
    let candidates = found.of.found();
    // What was received meanwhile is later, so these are the same calls, but for those that are not kept any more.
    let counted =
        gather(past, span, || Counts::of(&candidates), |counts, event| counts.note(&features, event))?;
    Ok(answer(span, &candidates, counted))
}

fn answer(span: Span, candidates: &[Candidate], counted: Gathered<Counts>) -> Why {
    let Gathered { of: counts, since, unreadable } = counted;
    let (failing, others) = (counts.failing, counts.others);
    let findings = match failing < FEWEST || others < FEWEST {
        true => Vec::new(),
        false => findings(candidates, &counts),
    };
    let time = |time| humantime::format_rfc3339_seconds(time).to_string();
    // The end of the second, so that the calls of that second are among those that are looked for later.
    let until = time(span.until + Duration::from_secs(1));
    let failing_callers = counts.failing_callers();
    let how_they_failed = counts.how_they_failed();
    Why {
        since: time(since),
        next: if failing > 0 { next(&time(since), &until) } else { Vec::new() },
        until,
        is_complete: since == span.since,
        calls: failing + others,
        failing,
        failing_callers,
        unreadable,
        summary: text::summary(failing, others, &findings),
        findings,
        how_they_failed,
    }
}

/// Where to look next.
fn next(since: &str, until: &str) -> Vec<String> {
    ["calls?failing=1&", "report?"].map(|path| format!("/{path}since={since}&until={until}")).to_vec()
}

/// The indices of the candidates that stand out, with by how much, the most at first.
fn standing_out(candidates: &[Candidate], counts: &Counts) -> Vec<(usize, f64)> {
    let is_told = |at: usize| !candidates[at].aspect.is_personal() || counts.people(at) >= FEWEST_PEOPLE;
    let mut standing_out: Vec<_> = (0..candidates.len())
        .filter(|at| is_told(*at))
        .map(|at| (at, counts.failing_share(at).exceeds(counts.others_share(at))))
        .filter(|(_, exceeds_by)| *exceeds_by > 0.0)
        .collect();
    standing_out.sort_by(|(at, by), (other, of_other)| {
        let order = of_other.total_cmp(by);
        order.then_with(|| (candidates[*at].aspect, at).cmp(&(candidates[*other].aspect, other)))
    });
    standing_out
}

fn findings(candidates: &[Candidate], counts: &Counts) -> Vec<Finding> {
    let mut findings: Vec<(usize, Finding)> = Vec::new();
    for (at, exceeds_by) in standing_out(candidates, counts) {
        let value = shared_value(&candidates[at], at, exceeds_by, counts);
        let has_room = findings.len() < MOST_FINDINGS;
        let explains = findings
            .iter_mut()
            .find(|(above, _)| counts.overlap(*above, at) >= SAME_CALLS || is_explained(counts, *above, at));
        match explains {
            Some((above, finding)) => {
                let same = counts.overlap(*above, at) >= SAME_CALLS;
                let with_it = if same { &mut finding.same_calls } else { &mut finding.goes_with_it };
                if with_it.len() < MOST_WITH_IT {
                    with_it.push(value);
                }
            }
            None if has_room => {
                let together = together(&findings, at, &value, counts);
                findings.push((
                    at,
                    Finding { value, together, same_calls: Vec::new(), goes_with_it: Vec::new() },
                ));
            }
            None => {}
        }
    }
    findings.into_iter().map(|(_, finding)| finding).collect()
}

/// The finding with which this value stands out most, if it does more than either of them alone.
fn together<'f>(
    findings: &'f [(usize, Finding)],
    at: usize,
    value: &SharedValue,
    counts: &Counts,
) -> Option<Together> {
    let both = |(above, finding): &'f (usize, Finding)| {
        let (failing, others) = counts.both(*above, at);
        let (failing, others) = (Share::new(failing, counts.failing), Share::new(others, counts.others));
        let alone = value.exceeds_by.max(finding.value.exceeds_by);
        let exceeds_by = failing.exceeds(others);
        (exceeds_by > alone + CLEARLY).then_some((exceeds_by, &finding.value, failing, others))
    };
    let (_, other, failing, others) =
        findings.iter().filter_map(both).max_by(|(by, ..), (of_other, ..)| by.total_cmp(of_other))?;
    Some(Together {
        parameter: other.parameter.clone(),
        value: other.value.clone(),
        failing: failing.number,
        others: others.number,
        text: text::of_both(other, value, failing, others),
    })
}

/// Whether a value stands out only since it goes with one above it: neither among the calls that have that, nor among
/// those that have it not.
fn is_explained(counts: &Counts, above: usize, at: usize) -> bool {
    let [failing, others] = [Counts::failing_share, Counts::others_share].map(|share| {
        let (above, value) = (share(counts, above), share(counts, at));
        (above, value)
    });
    let (both_failing, both_others) = counts.both(above, at);
    let within = |(above, _): (Share, Share), both: u64| Share::new(both, above.number);
    let beside =
        |(above, value): (Share, Share), both: u64| Share::new(value.number - both, above.of - above.number);
    within(failing, both_failing).exceeds(within(others, both_others)) <= 0.0
        && beside(failing, both_failing).exceeds(beside(others, both_others)) <= 0.0
}

fn shared_value(candidate: &Candidate, at: usize, exceeds_by: f64, counts: &Counts) -> SharedValue {
    let (failing, others) = (counts.failing_share(at), counts.others_share(at));
    let (parameter, value) = candidate.aspect.shown(&candidate.value);
    let rounded = |share: f64| (share * 10_000.0).round() / 10_000.0;
    let lift = (others.number > 0).then(|| failing.value() / others.value());
    SharedValue {
        text: text::sentence(&parameter, value.as_deref(), failing, others),
        parameter,
        value,
        failing: failing.number,
        failing_share: rounded(failing.value()),
        others: others.number,
        others_share: rounded(others.value()),
        lift: lift.map(|lift| (lift * 10.0).round() / 10.0),
        exceeds_by: rounded(exceeds_by),
        people: if matches!(candidate.aspect, Aspect::Caller | Aspect::Callee) {
            1
        } else {
            counts.people(at)
        },
    }
}

#[cfg(test)]
mod tests;
