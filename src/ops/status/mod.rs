//! The status: what is wrong, where, since when, and what to do first, for who is called at night. `/` shows it to
//! people, `/status.json` to programs.
//!
//! Everything in it is known at once: the parts say how they are, and the timeline of the ledger how calls go. It names nobody.

mod findings;
mod page;
mod plot;

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use crate::callback::call_event::MediaType;
use crate::callback::reason::older::CALL_END_REASONS;
use crate::callback::reason::{DisconnectReason, FaultDomain};
use crate::http::trouble::Trouble;
use crate::ledger::timeline::{self, Change, Counts, ReasonCounts, Slot, Summary};
use crate::metrics::labels::Label;
use crate::ops::html::Time;
use crate::state::fold::Course;

pub use page::{SCRIPT, render};

/// Disconnect reasons and IDCs that are shown, those that matter most first: so many that all of it is short enough for
/// `planet-call-exporter probe`.
const MOST_REASONS: usize = 40;
const MOST_IDCS: usize = 20;

/// The status at a moment.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The moment.
    time: Time,
    version: &'static str,
    /// Whether nothing is amiss; not known until the last day is read.
    is_well: Option<bool>,
    /// What is amiss, the gravest first.
    findings: Vec<Finding>,
    parts: Vec<Part>,
    /// How calls go; missing until the state is open.
    #[serde(flatten)]
    calls: Option<Calls>,
    refused: Refused,
}

/// What is amiss.
#[derive(Debug, Serialize)]
struct Finding {
    severity: Severity,
    /// A sentence.
    text: String,
    since: Option<Time>,
    /// What to do first.
    first_action: Option<String>,
    /// Paths of the admin port that say more.
    next: Vec<String>,
}

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// Calls fail, or are not counted.
    Critical,
    /// Less than that.
    Warning,
}

/// How a part of the exporter is, or what it talks to.
#[derive(Debug, Serialize)]
pub struct Part {
    /// Its name, which is that of a sink where it is one.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    state: State,
    since: Option<Time>,
    reason: Option<String>,
    /// When it dropped an event last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_drop: Option<Time>,
    /// Events that it has not finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<u64>,
    /// How long ago the oldest of them was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog_age_seconds: Option<u64>,
}

/// The state of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Not up yet, or not any more.
    Waiting,
    /// Something is amiss with it.
    Failing,
}

impl Part {
    /// A part with which this is amiss, if anything is.
    pub fn new(name: &'static str, what: &'static str, trouble: Option<Trouble>) -> Part {
        let state = if trouble.is_some() { State::Failing } else { State::Ok };
        let (since, reason) = trouble.map(|trouble| (Time(trouble.since), trouble.reason)).unzip();
        Part { name, what, state, since, reason, last_drop: None, backlog: None, backlog_age_seconds: None }
    }

    /// A part that is not up for this reason.
    pub fn waiting(name: &'static str, what: &'static str, reason: Trouble) -> Part {
        Part { state: State::Waiting, ..Part::new(name, what, Some(reason)) }
    }

    /// The same, which dropped an event then.
    pub fn with_last_drop(self, last_drop: Option<SystemTime>) -> Part {
        Part { last_drop: last_drop.map(Time), ..self }
    }

    /// The same with a backlog of so many events, the oldest of which was received then.
    pub fn with_backlog(mut self, events: u64, oldest: Option<SystemTime>, now: SystemTime) -> Part {
        self.backlog = Some(events);
        self.backlog_age_seconds =
            oldest.map(|oldest| now.duration_since(oldest).unwrap_or_default().as_secs());
        self
    }
}

/// How calls go.
#[derive(Debug, Serialize)]
struct Calls {
    counted_since: Time,
    /// Since when every call is in what follows.
    known_since: Time,
    counted_calls: u64,
    last_event: Option<Time>,
    /// Whether all of the last day that the journal has is in what follows.
    is_whole: bool,
    calls: Windows,
    media_types: Vec<Named>,
    idcs: Vec<Named>,
    reasons: Vec<ReasonRow>,
    /// How many callers had an abnormal call in the last 5 and 60 minutes.
    abnormal_callers: Option<AbnormalCallers>,
    latest_abnormal_calls: Vec<AbnormalCall>,
    minutes: Vec<Point>,
    ten_minutes: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct AbnormalCallers {
    #[serde(rename = "5m")]
    lately: u64,
    #[serde(rename = "60m")]
    hour: u64,
}

/// Calls of the last five minutes, of the last hour and of the last day.
#[derive(Debug, Serialize)]
struct Windows {
    #[serde(rename = "5m")]
    lately: Window,
    #[serde(rename = "60m")]
    hour: Window,
    #[serde(rename = "24h")]
    day: Window,
    #[serde(flatten)]
    change: Option<Grown>,
}

#[derive(Debug, Serialize)]
struct Window {
    #[serde(flatten)]
    counts: Numbers,
    calls_per_minute: f64,
}

#[derive(Debug, Serialize)]
struct Numbers {
    calls: u64,
    answered: u64,
    answered_ratio: Option<f64>,
    abnormal: u64,
    abnormal_ratio: Option<f64>,
    abnormal_by_fault_domain: BTreeMap<&'static str, u64>,
}

/// Since when the share of abnormal calls is what it is.
#[derive(Debug, Serialize)]
struct Grown {
    since: Time,
    ratio_before: f64,
    ratio_since: f64,
}

/// The calls of a media type or an IDC.
#[derive(Debug, Serialize)]
struct Named {
    name: Label,
    #[serde(flatten)]
    calls: Windows,
}

/// The calls of a disconnect reason.
#[derive(Debug, Serialize)]
struct ReasonRow {
    reason: Label,
    code: Option<i64>,
    fault_domain: &'static str,
    is_abnormal: bool,
    #[serde(rename = "5m")]
    lately: u64,
    #[serde(rename = "60m")]
    hour: u64,
    #[serde(rename = "24h")]
    day: u64,
    /// Of all calls of the last hour.
    ratio_60m: Option<f64>,
    first_seen: Option<Time>,
    last_seen: Option<Time>,
    #[serde(flatten)]
    change: Option<Grown>,
    meaning: Option<&'static str>,
    first_action: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct AbnormalCall {
    time: Time,
    sid: String,
    media_type: &'static str,
    idc: Label,
    reason: Label,
    fault_domain: &'static str,
    releaser: &'static str,
    duration_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Point {
    time: Time,
    calls: u64,
    answered: u64,
    abnormal: u64,
}

/// Requests that could not be call events.
#[derive(Debug, Serialize)]
struct Refused {
    kept: u64,
    latest: Option<Time>,
}

/// What a status is made of.
#[derive(Debug)]
pub struct Seen {
    /// The moment.
    pub now: SystemTime,
    /// When the process started.
    pub started_at: SystemTime,
    /// How the parts are.
    pub parts: Vec<Part>,
    /// How calls go, once that is known.
    pub course: Option<Course>,
    /// How many refused requests are kept.
    pub refused: usize,
    /// How many of them were received in the last five minutes.
    pub refused_lately: usize,
    /// When the latest of them was received.
    pub latest_refused: Option<SystemTime>,
    /// How many records this process has quarantined.
    pub quarantined: u64,
}

impl Status {
    /// The status that was seen.
    pub fn new(seen: Seen) -> Status {
        let summary = seen.course.as_ref().map(|course| course.timeline.summary(seen.now));
        let findings = findings::of(&seen, summary.as_ref());
        let Seen { now, parts, course, refused, latest_refused, .. } = seen;
        let is_whole = course.as_ref().is_some_and(|course| course.is_whole);
        Status {
            time: Time(now),
            version: env!("CARGO_PKG_VERSION"),
            is_well: if findings.is_empty() { is_whole.then_some(true) } else { Some(false) },
            findings,
            parts,
            calls: course.zip(summary).map(|(course, summary)| Calls::new(course, summary, now)),
            refused: Refused { kept: refused as u64, latest: latest_refused.map(Time) },
        }
    }

    /// As JSON, for people to read too.
    pub fn to_json(&self) -> String {
        crate::http::shown::to_json(self) + "\n"
    }
}

impl Calls {
    fn new(course: Course, summary: Summary, now: SystemTime) -> Calls {
        let Summary { minutes, tens, all, media_types, idcs, reasons, latest } = summary;
        let hour = all.hour.calls;
        let spans = Lengths::new(&minutes, &tens, course.known_since, now);
        let abnormal_callers = course.callers.map(|callers| {
            let [(_, lately), (_, hour)] = callers.by_window();
            AbnormalCallers { lately, hour }
        });
        let named = |name: Label, group| Named { name, calls: Windows::new(group, &spans) };
        Calls {
            counted_since: Time(course.started_at),
            known_since: Time(course.known_since),
            counted_calls: course.calls,
            last_event: course.last_event.map(Time),
            is_whole: course.is_whole,
            calls: Windows::new(all, &spans),
            media_types: media_types
                .into_iter()
                .map(|(media_type, group)| named(Label::Known(MediaType::as_str(media_type)), group))
                .collect(),
            idcs: idcs.into_iter().take(MOST_IDCS).map(|(idc, group)| named(idc, group)).collect(),
            reasons: reasons
                .into_iter()
                .take(MOST_REASONS)
                .map(|(reason, fault_domain, counts)| ReasonRow::new(reason, fault_domain, counts, hour))
                .collect(),
            abnormal_callers,
            latest_abnormal_calls: latest.into_iter().map(AbnormalCall::from).collect(),
            minutes: minutes.iter().map(Point::from).collect(),
            ten_minutes: tens.iter().map(Point::from).collect(),
        }
    }
}

/// How long the windows are in minutes, of which calls are counted.
struct Lengths {
    lately: f64,
    hour: f64,
    day: f64,
}

impl Lengths {
    fn new(minutes: &[Slot], tens: &[Slot], known_since: SystemTime, now: SystemTime) -> Lengths {
        // A window that began before every call is known is shorter.
        let since = |begin: Option<SystemTime>| {
            let begin = begin.unwrap_or(now).max(known_since);
            (now.duration_since(begin).unwrap_or_default().as_secs_f64() / 60.0).max(1.0)
        };
        let lately = minutes.iter().rev().nth(timeline::LATELY).map(|slot| slot.begin);
        Lengths {
            lately: since(lately),
            hour: since(minutes.first().map(|slot| slot.begin)),
            day: since(tens.first().map(|slot| slot.begin)),
        }
    }
}

impl Windows {
    fn new(group: timeline::Group, lengths: &Lengths) -> Windows {
        let window = |counts: Counts, minutes: f64| Window {
            calls_per_minute: rounded(counts.calls as f64 / minutes),
            counts: Numbers::from(counts),
        };
        Windows {
            lately: window(group.lately, lengths.lately),
            hour: window(group.hour, lengths.hour),
            day: window(group.day, lengths.day),
            change: group.change.map(Grown::from),
        }
    }
}

impl From<Counts> for Numbers {
    fn from(counts: Counts) -> Numbers {
        Numbers {
            calls: counts.calls,
            answered: counts.answered,
            answered_ratio: counts.answered_share().map(rounded),
            abnormal: counts.abnormal,
            abnormal_ratio: counts.abnormal_share().map(rounded),
            abnormal_by_fault_domain: counts
                .fault_domains
                .iter()
                .map(|(fault_domain, calls)| (fault_domain.as_str(), *calls))
                .collect(),
        }
    }
}

impl From<Change> for Grown {
    fn from(change: Change) -> Grown {
        let Change { since, before, after } = change;
        Grown { since: Time(since), ratio_before: rounded(before), ratio_since: rounded(after) }
    }
}

impl ReasonRow {
    fn new(reason: Label, fault_domain: FaultDomain, counts: ReasonCounts, hour: u64) -> ReasonRow {
        let Explained { code, meaning, first_action } = explain(&reason);
        ReasonRow {
            code,
            fault_domain: fault_domain.as_str(),
            is_abnormal: fault_domain.is_abnormal(),
            lately: counts.lately,
            hour: counts.hour,
            day: counts.day,
            ratio_60m: (hour > 0).then(|| rounded(counts.hour as f64 / hour as f64)),
            first_seen: counts.first_seen.map(Time),
            last_seen: counts.last_seen.map(Time),
            change: counts.change.map(Grown::from),
            meaning,
            first_action,
            reason,
        }
    }
}

/// What the tables say of a reason.
#[derive(Debug, Default)]
struct Explained {
    code: Option<i64>,
    meaning: Option<&'static str>,
    first_action: Option<&'static str>,
}

fn explain(reason: &Label) -> Explained {
    let name = reason.as_str();
    if let Some(known) = DisconnectReason::all().find(|known| known.name == name) {
        let (meaning, first_action) = (Some(known.meaning), Some(known.first_action));
        return Explained { code: Some(known.code), meaning, first_action };
    }
    if let Some(older) = CALL_END_REASONS.iter().find(|older| older.label == name) {
        return Explained { code: Some(older.code), ..Explained::default() };
    }
    Explained { code: name.parse().ok(), ..Explained::default() }
}

impl From<timeline::AbnormalCall> for AbnormalCall {
    fn from(call: timeline::AbnormalCall) -> AbnormalCall {
        AbnormalCall {
            time: Time(call.received_at),
            sid: call.sid.to_string(),
            media_type: call.media_type.as_str(),
            idc: call.idc,
            reason: call.reason,
            fault_domain: call.fault_domain.as_str(),
            releaser: call.releaser.as_str(),
            duration_seconds: call.duration.as_secs_f64(),
        }
    }
}

impl From<&Slot> for Point {
    fn from(slot: &Slot) -> Point {
        let Slot { begin, calls, answered, abnormal } = *slot;
        Point { time: Time(begin), calls, answered, abnormal }
    }
}

/// Four digits behind the point are enough for people, and for a share of ten thousand calls.
fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests;
