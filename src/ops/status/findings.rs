//! What is amiss, in sentences: the parts that are not well, calls that do not come any more, and calls that fail more
//! than they did.
//!
//! They are a first look and no alert: those have thresholds that are tested against months of calls, and compare with
//! the weeks before.

use std::time::{Duration, SystemTime};

use super::{Finding, Part, Seen, Severity, State, Time, explain};
use crate::callback::reason::FaultDomain;
use crate::config::look_back::MOST_MINUTES;
use crate::history::share::{Share, percent};
use crate::ledger::timeline::{Change, Group, Slot, Summary};
use crate::metrics::labels::Label;
use crate::state::fold::Course;

/// The share of abnormal calls from which on it is critical.
const CRITICAL_SHARE: f64 = 0.1;

/// The shares of abnormal calls that are amiss however long it has been so, and the calls that it takes to say so.
const HIGH_SHARES: [(f64, u64); 2] = [(0.05, 20), (0.5, 5)];

/// How many calls have to be missing until it is said that none come.
const MISSING_CALLS: f64 = 20.0;

/// How long there may be none at least.
const SHORTEST_PAUSE: Duration = Duration::from_secs(2 * 60);

const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);

/// A service without a call for so long has none that it could be compared with.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long it is told that events were dropped.
const AFTER_A_DROP: Duration = Duration::from_secs(15 * 60);

/// How many requests that could not be call events are amiss, and which share of all.
const REFUSED_REQUESTS: u64 = 10;
const REFUSED_SHARE: f64 = 0.05;

/// Parts without which calls fail, or are not counted.
const CRITICAL_PARTS: [&str; 2] = ["intake", "disk"];

/// IDCs of which it is told apart that they fail.
const MOST_IDCS: usize = 3;

/// The findings, the gravest first.
pub(super) fn of(seen: &Seen, summary: Option<&Summary>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = seen.parts.iter().flat_map(|part| of_part(part, seen.now)).collect();
    findings.extend(refused(seen, summary));
    if seen.quarantined > 0 {
        let text =
            format!("events that the exporter could not process and has set aside: {}", seen.quarantined);
        findings.push(warning(
            text,
            Some("look at quarantined.jsonl in the state directory, and at the log; report it as a bug"),
        ));
    }
    if let Some((course, summary)) = seen.course.as_ref().zip(summary) {
        findings.extend(no_calls(course, summary, seen.started_at, seen.now));
        findings.extend(of_calls(summary, seen.now));
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn warning(text: String, first_action: Option<&str>) -> Finding {
    let first_action = first_action.map(str::to_owned);
    Finding { severity: Severity::Warning, text, since: None, first_action, next: Vec::new() }
}

fn of_part(part: &Part, now: SystemTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(reason) = &part.reason {
        let is_critical = part.state == State::Failing && CRITICAL_PARTS.contains(&part.name);
        findings.push(Finding {
            severity: if is_critical { Severity::Critical } else { Severity::Warning },
            text: format!("{}: {reason}", part.what),
            since: part.since,
            first_action: first_action(part).map(str::to_owned),
            next: Vec::new(),
        });
    }
    if let Some(at) = part.last_drop
        && now.duration_since(at.0).unwrap_or_default() < AFTER_A_DROP
    {
        findings.push(warning(
            format!("{}: events were dropped in the last 15 minutes", part.what),
            Some("look at the log and at planet_exporter_dropped_events_total, which say why"),
        ));
    }
    findings
}

/// What to do first for a part.
fn first_action(part: &Part) -> Option<&'static str> {
    match (part.name, part.state) {
        ("disk", _) => Some(
            "look at the volume of --state-dir: its room, its inodes, whether it is still there and writable",
        ),
        ("intake", State::Failing) => {
            Some("look at the log and at the node; restart the exporter if it does not go on")
        }
        ("spans" | "otlp_metrics" | "otlp_logs", _) => {
            Some("look whether the receiver runs, and at the OTEL_EXPORTER_OTLP_ variables")
        }
        ("service", _) => Some("look whether the service behind runs and answers at --forward-to"),
        _ => None,
    }
}

/// Whether much of what comes is no call event.
fn refused(seen: &Seen, summary: Option<&Summary>) -> Option<Finding> {
    let refused = seen.refused_lately as u64;
    let calls = summary.map_or(0, |summary| summary.all.lately.calls);
    let share = refused as f64 / (refused + calls).max(1) as f64;
    (refused >= REFUSED_REQUESTS && share >= REFUSED_SHARE).then(|| {
        warning(
            format!("{refused} requests of the last 5 minutes could not be call events"),
            Some("look at /refused, which has them and why"),
        )
    })
}

/// Whether none come where many came: the pause is long for the pace of the hour before it, or of the day. What the
/// exporter missed while it did not run is no pause.
fn no_calls(course: &Course, summary: &Summary, started_at: SystemTime, now: SystemTime) -> Option<Finding> {
    let slots = summary.minutes.iter().rev().chain(summary.tens.iter().rev());
    let in_slots = slots.filter(|slot| slot.calls > 0).map(|slot| slot.begin).next();
    // A last call that is yet to come is from a clock that was ahead.
    let last = course.last_event.filter(|last| *last <= now).or(in_slots)?;
    let pause = now.duration_since(last.max(started_at)).unwrap_or_default();
    let text = |before: &str| {
        format!("no call event has come for {}{before}", length(now.duration_since(last).unwrap_or_default()))
    };
    let first_action = Some(
        "look whether callbacks reach this exporter: the registered URL, the ingress, certificates"
            .to_owned(),
    );
    if pause >= LONGEST_PAUSE {
        return Some(Finding { since: Some(Time(last)), first_action, ..warning(text(""), None) });
    }
    let time_before = |spans: &[Slot]| {
        let begin = spans.first().map(|slot| slot.begin.max(course.known_since));
        begin.and_then(|begin| last.duration_since(begin).ok()).unwrap_or_default()
    };
    // The hour tells most, while enough of it was before the pause.
    let spans = if time_before(&summary.minutes) >= HALF_AN_HOUR { &summary.minutes } else { &summary.tens };
    let calls: u64 = spans.iter().map(|slot| slot.calls).sum();
    let pace = calls as f64 / time_before(spans).max(SHORTEST_PAUSE).as_secs_f64();
    (pause >= SHORTEST_PAUSE && pace * pause.as_secs_f64() >= MISSING_CALLS).then(|| Finding {
        severity: Severity::Critical,
        since: Some(Time(last)),
        first_action,
        ..warning(text(&format!("; before, {:.1} came a minute", pace * 60.0)), None)
    })
}

/// Whether calls fail more than they did, or much anyway: all of them first, then IDCs that fail for another reason.
fn of_calls(summary: &Summary, now: SystemTime) -> Vec<Finding> {
    let all = &summary.all;
    let mut findings = Vec::new();
    if let Some(change) = all.change {
        let (calls, abnormal) = since(summary, change.since);
        let text = format!(
            "{} of {calls} calls were released abnormally{}; before, {}",
            Share::new(abnormal, calls).percent(),
            place(&summary.idcs, change),
            percent(change.before)
        );
        findings.push(finding(text, change, all, now));
    }
    if let Some(older) = all.older {
        let text = format!(
            "the share of abnormal calls had grown before, to {} from {}",
            percent(older.after),
            percent(older.before)
        );
        findings.push(Finding {
            severity: severity(older.after),
            since: Some(Time(older.since)),
            ..warning(text, None)
        });
    }
    let is_told = |group: &Group| all.change.is_some() && group.cause == all.cause;
    let others = summary.idcs.iter().filter(|(_, group)| !is_told(group));
    for (idc, group, change) in
        others.filter_map(|(idc, group)| Some((idc, group, group.change?))).take(MOST_IDCS)
    {
        let text = format!(
            "{} of the calls in {} were released abnormally; before, {}",
            percent(change.after),
            idc.as_str(),
            percent(change.before)
        );
        findings.push(finding(text, change, group, now));
    }
    if !findings.is_empty() {
        return findings;
    }
    if let Some((reason, domain, change)) =
        summary.reasons.iter().find_map(|(reason, domain, counts)| Some((reason, domain, counts.change?)))
    {
        let text = format!("{} of all calls; before, {}", percent(change.after), percent(change.before));
        let (explanation, first_action) = explanation(Some(&(reason.clone(), *domain)));
        return vec![Finding {
            severity: severity(change.after),
            since: Some(Time(change.since)),
            first_action,
            next: next(minute_before(change.since), Some(&(reason.clone(), *domain)), now),
            ..warning(text + &explanation, None)
        }];
    }
    let hour = Duration::from_secs(60 * 60);
    let windows = [(&all.hour, "hour", hour), (&all.day, "day", 24 * hour)];
    let high = windows.into_iter().find_map(|(counts, window, length)| {
        let share = counts.abnormal_share()?;
        let is_high = HIGH_SHARES.iter().any(|(high, calls)| share >= *high && counts.calls >= *calls);
        is_high.then_some((share, counts.calls, window, length))
    });
    let of_high = high.map(|(share, calls, window, of_window)| {
        let text = format!(
            "{} of {calls} calls of the last {window} were released abnormally, and it has been so as far back as is known",
            percent(share)
        );
        let (explanation, first_action) = explanation(all.cause.as_ref());
        let since = now.checked_sub(of_window).unwrap_or(now);
        let next = next(since, all.cause.as_ref(), now);
        Finding { severity: severity(share), first_action, next, ..warning(text + &explanation, None) }
    });
    of_high.into_iter().collect()
}

fn finding(text: String, change: Change, group: &Group, now: SystemTime) -> Finding {
    let (explanation, first_action) = explanation(group.cause.as_ref());
    let lately = group.lately.abnormal_share().unwrap_or_default();
    Finding {
        severity: severity(change.after.max(lately)),
        text: text + &explanation,
        since: Some(Time(change.since)),
        first_action,
        next: next(minute_before(change.since), group.cause.as_ref(), now),
    }
}

/// A minute before a change, which is known to the minute: its first calls may have come in the one before.
fn minute_before(change: SystemTime) -> SystemTime {
    change.checked_sub(Duration::from_secs(60)).unwrap_or(change)
}

/// Where to look next: what the failing calls have in common, which they are, and what LINE Planet's support needs to know.
fn next(since: SystemTime, cause: Option<&(Label, FaultDomain)>, now: SystemTime) -> Vec<String> {
    let minutes = now.duration_since(since).unwrap_or_default().as_secs().div_ceil(60).max(1);
    let since = humantime::format_rfc3339_seconds(since);
    let reason = cause.map(|(reason, _)| reason.as_str());
    let calls = reason.map(|reason| format!("/calls?reason={reason}&since={since}"));
    let of_reason = reason.map(|reason| format!("&reason={reason}")).unwrap_or_default();
    let why = format!("/why?minutes={}", minutes.min(MOST_MINUTES));
    [Some(why), calls, Some(format!("/report?since={since}{of_reason}"))].into_iter().flatten().collect()
}

/// What the reason that stands out says, and what to do first.
fn explanation(cause: Option<&(Label, FaultDomain)>) -> (String, Option<String>) {
    let Some((reason, fault_domain)) = cause else { return (String::new(), None) };
    let explained = explain(reason);
    let meaning = explained.meaning.map(|meaning| format!(", {meaning}")).unwrap_or_default();
    let text = format!("; most by {} (fault domain {}{meaning})", reason.as_str(), fault_domain.as_str());
    let first_action =
        explained.first_action.unwrap_or("search the calls of this reason in /calls or in the call log");
    (text, Some(first_action.to_owned()))
}

/// Where calls fail, if that is in one IDC: only there, if the others have enough calls to tell.
fn place(idcs: &[(Label, Group)], change: Change) -> String {
    let with_calls = idcs.iter().filter(|(_, group)| group.hour.calls > 0);
    let (affected, others): (Vec<_>, Vec<_>) = with_calls.partition(|(_, group)| group.change.is_some());
    let [(idc, _)] = affected[..] else { return String::new() };
    let sum = |of: fn(&Group) -> u64| others.iter().map(|(_, group)| of(group)).sum::<u64>();
    let (calls, abnormal) = (sum(|group| group.hour.calls), sum(|group| group.hour.abnormal));
    let is_well = abnormal as f64 / (calls.max(1) as f64) < (change.before + change.after) / 2.0;
    match calls {
        0 => String::new(),
        _ if calls >= LEAST_CALLS_ELSEWHERE && is_well => format!(", only in {}", idc.as_str()),
        _ => format!(", most in {}", idc.as_str()),
    }
}

/// The calls that the other IDCs have to have until it is said that they are well.
const LEAST_CALLS_ELSEWHERE: u64 = 10;

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

/// A time for people, in whole minutes or hours.
fn length(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0..=119 => format!("{minutes} minutes"),
        _ => format!("{} hours", minutes / 60),
    }
}
