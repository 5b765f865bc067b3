//! Compares what fired with what happened.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::happening::{Effect, Severity};
use super::play::{Outcome, Plan, Truth, minute_of};
use super::rules::Fired;
use super::service::{DAY, Size};

/// The head of the table.
pub const HEADING: &str =
    "| size | incident | must | fired after | verdict | all that fired |\n|---|---|---|---|---|---|\n";

/// How long after an incident what fires is charged to it, in minutes.
const AFTERMATH: usize = 240;

/// How an incident was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    InTime,
    Late,
    Never,
}

/// When the right alert fired, in minutes and in calls from the first that suffered, and whether that was in time.
pub fn found(plan: &Plan, outcome: &Outcome, truth: &Truth) -> (Found, Option<(f64, u32)>) {
    let incident = truth.incident;
    let Some(first) = truth.first else { return (Found::Never, None) };
    let is_right = |fired: &&Fired| {
        incident.alerts.contains(&fired.name())
            && (fired.is_page() || incident.severity == Severity::Ticket)
            && (first as f64..truth.end as f64).contains(&minute_of(fired.from))
    };
    let Some(fired) = outcome.fired.iter().filter(is_right).min_by_key(|fired| fired.from) else {
        return (Found::Never, None);
    };
    // A sample has the calls of the minute before it.
    let minutes = minute_of(fired.from) - first as f64 + 1.0;
    let until = (minute_of(fired.from) as usize - truth.begin + 1).min(truth.affected.len());
    let calls: u32 = truth.affected[first - truth.begin..until].iter().sum();
    // A small service is judged by its calls, and where there are none by its pauses.
    let limit = match (plan.size, incident.effect) {
        (Size::Small, Effect::Traffic(0.0) | Effect::Down | Effect::Vanished | Effect::CrashLoop) => {
            3.0 * outcome.service.longest_usual_pause()
        }
        _ => incident.minutes,
    };
    let is_in_time = minutes <= limit || incident.calls > 0.0 && f64::from(calls) <= incident.calls;
    (if is_in_time { Found::InTime } else { Found::Late }, Some((minutes, calls)))
}

/// Pages that came beside the first one of an incident.
pub fn further_pages<'a>(outcome: &'a Outcome, truth: &Truth) -> Vec<&'a Fired> {
    let mut pages: Vec<_> = during(outcome, truth).into_iter().filter(|fired| fired.is_page()).collect();
    pages.sort_by_key(|fired| fired.from);
    pages.into_iter().skip(1).collect()
}

fn during<'a>(outcome: &'a Outcome, truth: &Truth) -> Vec<&'a Fired> {
    let next = outcome.truths.iter().map(|other| other.begin).filter(|begin| *begin > truth.begin).min();
    let end = next.unwrap_or(usize::MAX).min(truth.end + AFTERMATH);
    let within = truth.begin as f64..end as f64;
    outcome.fired.iter().filter(|fired| within.contains(&minute_of(fired.from))).collect()
}

/// What fired although nothing had happened.
pub fn false_alarms(outcome: &Outcome) -> Vec<&Fired> {
    let is_of_one = |fired: &&Fired| {
        let minute = minute_of(fired.from);
        outcome
            .truths
            .iter()
            .any(|truth| minute >= truth.begin as f64 && minute < (truth.end + AFTERMATH) as f64)
    };
    outcome.fired.iter().filter(|fired| !is_of_one(fired)).collect()
}

fn shown(fired: &Fired) -> String {
    let name = fired.name().trim_start_matches("Planet");
    let labels =
        ["idc", "media_type", "disconnect_reason"].iter().filter_map(|label| fired.labels.get(*label));
    let labels: Vec<_> = labels.map(String::as_str).collect();
    let severity = if fired.is_page() { "page" } else { "ticket" };
    if labels.is_empty() {
        format!("{severity} {name}")
    } else {
        format!("{severity} {name}({})", labels.join(", "))
    }
}

/// The rows of a play.
pub fn table(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = String::new();
    let size = plan.size.as_str();
    for truth in &outcome.truths {
        let incident = truth.incident;
        let (verdict, after) = found(plan, outcome, truth);
        let must = format!(
            "{}, {:.0} min or {:.0} calls",
            incident.severity.as_str(),
            incident.minutes,
            incident.calls
        );
        let after =
            after.map_or("-".to_owned(), |(minutes, calls)| format!("{minutes:.1} min, {calls} calls"));
        let all: Vec<_> = during(outcome, truth)
            .into_iter()
            .map(|fired| {
                let (from, to) =
                    (minute_of(fired.from) - truth.begin as f64, minute_of(fired.to) - truth.begin as f64);
                format!("{} {from:.0}-{to:.0}", shown(fired))
            })
            .collect();
        let _ = writeln!(
            text,
            "| {size} | {} | {must} | {after} | {verdict:?} | {} |",
            incident.name,
            all.join("; ")
        );
    }
    let alarms = false_alarms(outcome);
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for fired in &alarms {
        let minute = minute_of(fired.from) as usize;
        let moment = format!("{}d{:02}:{:02}", minute / DAY, minute % DAY / 60, minute % 60);
        kinds.entry(shown(fired)).or_default().push(moment);
    }
    let kinds: Vec<_> = kinds
        .iter()
        .map(|(kind, moments)| format!("{kind} x {} ({})", moments.len(), moments.join(" ")))
        .collect();
    let what = if outcome.truths.is_empty() { "a normal month" } else { "between the incidents" };
    let pages = alarms.iter().filter(|fired| fired.is_page()).count();
    let tickets = alarms.len() - pages;
    let _ = writeln!(
        text,
        "| {size} | {what}, {} days | nothing | | {pages} pages, {tickets} tickets | {} |",
        outcome.days,
        kinds.join("; ")
    );
    text
}
