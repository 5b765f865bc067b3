//! What is amiss, in sentences: the parts that are not well, calls that do not come any more, and calls that fail more than they did.
//!
//! They are a first look and no alert: those have thresholds that are tested against months of calls, and compare with the weeks before.

use std::time::{Duration, SystemTime};

use super::{Finding, Part, Severity, Time, explain};
use crate::callback::reason::FaultDomain;
use crate::ledger::timeline::{Change, Group, ReasonCounts, Slot, Summary};
use crate::metrics::labels::Label;

/// The share of abnormal calls from which on it is critical.
const CRITICAL_SHARE: f64 = 0.1;

/// The share of abnormal calls that is amiss however long it has been so, and the calls that it takes to say so.
const HIGH_SHARE: f64 = 0.05;
const LEAST_CALLS: u64 = 20;

/// How many calls have to be missing until it is said that none come.
const MISSING_CALLS: f64 = 20.0;

/// How long there may be none at least.
const SHORTEST_PAUSE: Duration = Duration::from_secs(2 * 60);

const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);

/// Parts without which calls fail, or are not counted.
const CRITICAL_PARTS: [&str; 2] = ["intake", "disk"];

/// The findings, the gravest first.
pub(super) fn of(
    parts: &[Part],
    summary: Option<&Summary>,
    last_event: Option<SystemTime>,
    now: SystemTime,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = parts.iter().filter_map(of_part).collect();
    if let Some(summary) = summary {
        findings.extend(last_event.and_then(|last| no_calls(summary, last, now)));
        findings.extend(of_calls(summary));
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn of_part(part: &Part) -> Option<Finding> {
    let reason = part.reason.as_ref()?;
    let is_critical = CRITICAL_PARTS.contains(&part.name);
    Some(Finding {
        severity: if is_critical { Severity::Critical } else { Severity::Warning },
        text: format!("{}: {reason}", part.what),
        since: part.since,
        first_action: None,
    })
}

/// Whether none come where many came: the pause is long for the pace of the hour before it, or of the day.
fn no_calls(summary: &Summary, last: SystemTime, now: SystemTime) -> Option<Finding> {
    let pause = now.duration_since(last).unwrap_or_default();
    let time_before = |spans: &[Slot]| {
        let begin = spans.first().map(|slot| slot.begin);
        begin.and_then(|begin| last.duration_since(begin).ok()).unwrap_or_default()
    };
    // The hour tells most, while enough of it was before the pause.
    let spans = if time_before(&summary.minutes) >= HALF_AN_HOUR { &summary.minutes } else { &summary.tens };
    let calls: u64 = spans.iter().map(|slot| slot.calls).sum();
    let time = time_before(spans).max(SHORTEST_PAUSE);
    let pace = calls as f64 / time.as_secs_f64();
    (pause >= SHORTEST_PAUSE && pace * pause.as_secs_f64() >= MISSING_CALLS).then(|| Finding {
        severity: Severity::Critical,
        text: format!(
            "no call event has come for {}; before, {:.1} came a minute",
            length(pause),
            pace * 60.0
        ),
        since: Some(Time(last)),
        first_action: Some(
            "look whether callbacks reach this exporter: the registered URL, the ingress, certificates"
                .to_owned(),
        ),
    })
}

/// Whether calls fail more than they did, or much anyway. What explains all is said once: of all calls if their share has grown, else of an IDC, else
/// of a reason.
fn of_calls(summary: &Summary) -> Option<Finding> {
    let all = &summary.all;
    let worst = summary
        .reasons
        .iter()
        .filter(|(_, domain, _)| domain.is_abnormal())
        .max_by_key(|(.., counts)| (counts.change.is_some(), counts.lately, counts.hour, counts.day));
    if let Some(change) = all.change {
        let place = place(&summary.idcs).map(|idc| format!(", only in {idc}")).unwrap_or_default();
        let (calls, abnormal) = since(summary, change.since);
        let text = format!(
            "{} of {calls} calls were released abnormally{place}; before, {}",
            share_of(abnormal, calls),
            percent(change.before)
        );
        return Some(finding(text, change, worst));
    }
    if let Some((idc, change)) = summary.idcs.iter().find_map(|(idc, group)| Some((idc, group.change?))) {
        let text = format!(
            "{} of the calls in {} were released abnormally; before, {}",
            percent(change.after),
            idc.as_str(),
            percent(change.before)
        );
        return Some(finding(text, change, worst));
    }
    if let Some(change) = worst.and_then(|(.., counts)| counts.change) {
        let text = format!("{} of all calls; before, {}", percent(change.after), percent(change.before));
        return Some(finding(text, change, worst));
    }
    let share = all.hour.abnormal_share().filter(|_| all.hour.calls >= LEAST_CALLS)?;
    (share >= HIGH_SHARE).then(|| {
        let text = format!(
            "{} of {} calls of the last hour were released abnormally, and it has been so as far back as is known",
            percent(share),
            all.hour.calls
        );
        let (explanation, first_action) = explanation(worst);
        Finding { severity: severity(share), text: text + &explanation, since: None, first_action }
    })
}

fn finding(text: String, change: Change, worst: Option<&(Label, FaultDomain, ReasonCounts)>) -> Finding {
    let (explanation, first_action) = explanation(worst);
    Finding {
        severity: severity(change.after),
        text: text + &explanation,
        since: Some(Time(change.since)),
        first_action,
    }
}

/// What the reason that stands out says, and what to do first.
fn explanation(worst: Option<&(Label, FaultDomain, ReasonCounts)>) -> (String, Option<String>) {
    let Some((reason, fault_domain, _)) = worst else { return (String::new(), None) };
    let explained = explain(reason);
    let meaning = explained.meaning.map(|meaning| format!(", {meaning}")).unwrap_or_default();
    let text = format!("; most by {} (fault domain {}{meaning})", reason.as_str(), fault_domain.as_str());
    (text, explained.first_action.map(str::to_owned))
}

/// The only IDC that is affected, if the others are not.
fn place(idcs: &[(Label, Group)]) -> Option<&str> {
    let with_calls = idcs.iter().filter(|(_, group)| group.hour.calls > 0);
    let mut affected = with_calls.clone().filter(|(_, group)| group.change.is_some());
    let (idc, _) = affected.next()?;
    (affected.next().is_none() && with_calls.count() > 1).then(|| idc.as_str())
}

/// The calls since then, and how many of them were abnormal: by the minute within the hour.
fn since(summary: &Summary, since: SystemTime) -> (u64, u64) {
    let is_within = summary.minutes.first().is_some_and(|slot| slot.begin <= since);
    let slots = if is_within { &summary.minutes } else { &summary.tens };
    let slots = slots.iter().filter(|slot| slot.begin >= since);
    slots.fold((0, 0), |(calls, abnormal), slot| (calls + slot.calls, abnormal + slot.abnormal))
}

fn severity(share: f64) -> Severity {
    if share >= CRITICAL_SHARE { Severity::Critical } else { Severity::Warning }
}

fn share_of(part: u64, whole: u64) -> String {
    percent(part as f64 / whole.max(1) as f64)
}

/// A share in per cent, with as many digits as tell something.
fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent >= 10.0 => format!("{percent:.0} %"),
        percent => format!("{percent:.1} %"),
    }
}

/// A time for people, in whole minutes or hours.
fn length(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0..=119 => format!("{minutes} minutes"),
        _ => format!("{} hours", minutes / 60),
    }
}
