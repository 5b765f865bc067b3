//! The status as a page for people.
//!
//! It is whole without JavaScript and takes nothing from elsewhere. With it, the page takes the place of itself every
//! few seconds.

use maud::{Markup, html};

use super::{
    AbnormalCall, Calls, Finding, Grown, Named, Numbers, Part, Point, ReasonRow, Severity, State, Status,
    plot,
};
use crate::history::share::{Share, percent};
use crate::ops::html::{self, CALL_COLUMNS, Column, Time, ago, clock, links_to, table, text_cell, time};

/// Its script.
pub const SCRIPT: &str = include_str!("status.js");

/// The page of a status.
pub fn render(status: &Status, call_event_path: &str) -> String {
    let title = match status.is_well {
        Some(true) => "OK",
        Some(false) => "!",
        None => "\u{2026}",
    };
    let head = html! {
        script src="status.js" defer {}
        noscript { meta http-equiv="refresh" content="10"; }
    };
    let body = html! {
        p id="stale" role="alert" {}
        main id="status" {
            (heading(status))
            (findings(status))
            @if let Some(calls) = &status.calls { (of_calls(calls, status.time)) }
            (parts(&status.parts))
            (refused(status))
            (links(call_event_path))
        }
    };
    html::document(title, &head, &body).into_string()
}

fn heading(status: &Status) -> Markup {
    html! {
        header {
            h1 { "planet-call-exporter " small { (status.version) } }
            p { "As of " (time(status.time)) ". All times are in UTC." }
        }
    }
}

fn findings(status: &Status) -> Markup {
    let findings = &status.findings;
    let has_calls = status.calls.as_ref().is_none_or(|calls| calls.counted_calls > 0);
    html! {
        section.findings aria-label="Findings" {
            // Without numbers that change all the time, which a screen reader would read out each time.
            p.only-heard role="status" { (heard(findings)) }
            @if findings.is_empty() {
                p.finding.ok {
                    @match status.is_well {
                        Some(_) => strong { "All is well." },
                        None => "Nothing is known yet that is wrong: the calls of the last day are still being read.",
                    }
                    @if !has_calls { " No call event has come yet." }
                }
            }
            @for finding in findings {
                div.finding.(severity(finding.severity)) {
                    p {
                        strong { (severity(finding.severity)) ": " }
                        (finding.text) "."
                        @if let Some(since) = finding.since { " Since " (time(since)) "." }
                    }
                    @if let Some(action) = &finding.first_action { p { "First: " (action) "." } }
                    @if !finding.next.is_empty() {
                        p { "Next: " (links_to(&finding.next)) }
                    }
                }
            }
        }
    }
}

/// The findings as they are read out.
fn heard(findings: &[Finding]) -> String {
    let of = |wanted: Severity| findings.iter().filter(|finding| finding.severity == wanted).count();
    match (of(Severity::Critical), of(Severity::Warning)) {
        (0, 0) => "No findings.".to_owned(),
        (critical, warnings) => format!("Findings: {critical} critical, {warnings} warnings."),
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
    }
}

fn of_calls(calls: &Calls, now: Time) -> Markup {
    let (lately, hour) = (&calls.calls.lately, &calls.calls.hour);
    let counts: Vec<_> = calls.minutes.iter().map(|point| Some(point.calls as f64)).collect();
    let share = |of: fn(&Point) -> u64| -> Vec<Option<f64>> {
        let share = |point: &Point| (point.calls > 0).then(|| of(point) as f64 / point.calls as f64);
        calls.minutes.iter().map(share).collect()
    };
    let abnormal = share(|point| point.abnormal);
    let tallest =
        |values: &[Option<f64>], least: f64| values.iter().flatten().fold(least, |top, value| value.max(top));
    // Small shares stay small.
    let (most, top) = (tallest(&counts, 1.0), tallest(&abnormal, 0.1));
    let figures = [
        Figure {
            name: "Calls a minute",
            values: [lately, hour].map(|window| format!("{:.1}", window.calls_per_minute)),
            top: most.to_string(),
            plot: plot::bars(&counts, most, "Calls in each minute of the last hour", "calls"),
        },
        Figure {
            name: "Answered",
            values: [lately, hour].map(|window| ratio(window.counts.answered_ratio)),
            top: ratio(Some(1.0)),
            plot: plot::bars(
                &share(|point| point.answered),
                1.0,
                "The share of answered calls in each minute of the last hour",
                "answered",
            ),
        },
        Figure {
            name: "Abnormal",
            values: [lately, hour].map(|window| ratio(window.counts.abnormal_ratio)),
            top: ratio(Some(top)),
            plot: plot::bars(
                &abnormal,
                top,
                "The share of abnormal calls in each minute of the last hour",
                "abnormal",
            ),
        },
    ];
    html! {
        section aria-label="Calls" {
            h2 { "Calls" }
            @if !calls.is_whole { p.note { "The last day is still being read from the journal." } }
            div.figures { @for figure in figures { (figure.show()) } }
            @if let Some(callers) = &calls.abnormal_callers {
                p {
                    "Different callers with an abnormal call: " strong { (callers.lately) } " in the last 5 minutes, "
                    strong { (callers.hour) } " in the last hour."
                }
            }
        }
        (groups("By data centre", "IDC", &calls.idcs, now))
        (groups("By media type", "Media type", &calls.media_types, now))
        (reasons(&calls.reasons, now))
        (latest(&calls.latest_abnormal_calls, now))
        section aria-label="Total" {
            p {
                "Calls counted since " (time(calls.counted_since)) ": " strong { (calls.counted_calls) }
                @if let Some(last) = calls.last_event { ", the latest at " (time(last)) }
                "."
            }
        }
    }
}

/// A number of the last 5 and 60 minutes, and a plot of the hour.
struct Figure {
    name: &'static str,
    values: [String; 2],
    /// The value at the top of the plot.
    top: String,
    plot: Markup,
}

impl Figure {
    fn show(&self) -> Markup {
        let [lately, hour] = &self.values;
        html! {
            div.figure {
                h3 { (self.name) }
                p { strong { (lately) } " in the last 5 minutes" br; (hour) " in the last hour" }
                p.top { (self.top) }
                (self.plot)
            }
        }
    }
}

fn groups(title: &str, name: &'static str, groups: &[Named], now: Time) -> Markup {
    let columns = [
        Column::Text(name),
        Column::Number("Calls, 5 min"),
        Column::Number("Abnormal, 5 min"),
        Column::Number("Calls, 60 min"),
        Column::Number("Abnormal, 60 min"),
        Column::Text("Whose fault, 60 min"),
        Column::Text("Since"),
    ];
    let row = |group: &Named| {
        html! {
            tr.bad[group.calls.change.is_some()] {
                th scope="row" { (group.name.as_str()) }
                (numbers(&group.calls.lately.counts)) (numbers(&group.calls.hour.counts))
                td { (by_fault_domain(&group.calls.hour.counts)) }
                td { (grown(group.calls.change.as_ref(), now)) }
            }
        }
    };
    table(title, &columns, groups.iter().map(row), NO_CALLS)
}

/// What is said instead of calls.
const NO_CALLS: &str = "No calls in the last day.";

fn numbers(counts: &Numbers) -> Markup {
    html! {
        td.number { (counts.calls) }
        td.number { (counts.abnormal) @if counts.abnormal > 0 { " (" (Share::new(counts.abnormal, counts.calls).percent()) ")" } }
    }
}

fn by_fault_domain(counts: &Numbers) -> String {
    let text = |(fault_domain, calls): (&&str, &u64)| format!("{fault_domain} {calls}");
    counts.abnormal_by_fault_domain.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn reasons(reasons: &[ReasonRow], now: Time) -> Markup {
    let columns = [
        Column::Text("Reason"),
        Column::Text("Meaning"),
        Column::Text("Whose fault"),
        Column::Number("5 min"),
        Column::Number("60 min"),
        Column::Number("24 h"),
        Column::Text("More since"),
        Column::Text("First seen"),
        Column::Text("Last seen"),
    ];
    table("By disconnect reason", &columns, reasons.iter().map(|row| reason(row, now)), NO_CALLS)
}

fn reason(row: &ReasonRow, now: Time) -> Markup {
    html! {
        tr.bad[row.change.is_some()] {
            th scope="row" { (row.reason.as_str()) @if let Some(code) = row.code { " " small { (code) } } }
            td.meaning {
                @if let Some(meaning) = row.meaning { (meaning) "." }
                @if row.is_abnormal { @if let Some(action) = row.first_action { " First: " (action) "." } }
            }
            td { @if row.is_abnormal { strong { (row.fault_domain) } } @else { (row.fault_domain) } }
            td.number { (row.lately) }
            td.number { (row.hour) @if let Some(share) = row.ratio_60m { " (" (ratio(Some(share))) ")" } }
            td.number { (row.day) }
            td { (grown(row.change.as_ref(), now)) }
            td { @if let Some(at) = row.first_seen { (clock(at, now)) } } td { (ago(row.last_seen, now)) }
        }
    }
}

fn latest(calls: &[AbnormalCall], now: Time) -> Markup {
    let row = |call: &AbnormalCall| {
        html! {
            tr {
                td { (ago(Some(call.time), now)) } td { (call.reason.as_str()) } td { (call.fault_domain) } td { (call.idc.as_str()) }
                td { (call.media_type) } td { (call.releaser) } td.number { (call.duration_seconds) }
                td { a href=(format!("calls?sid={}", call.sid)) { code { (call.sid) } } }
            }
        }
    };
    table("Latest abnormal calls", &CALL_COLUMNS, calls.iter().map(row), "None.")
}

fn parts(parts: &[Part]) -> Markup {
    let columns = [
        Column::Text("Part"),
        Column::Text("State"),
        Column::Text("Since"),
        Column::Text("Why"),
        Column::Number("Waiting events"),
    ];
    let row = |part: &Part| {
        html! {
            tr.bad[part.state == State::Failing] {
                th scope="row" { (part.what) " " small { (part.name) } }
                td { @match part.state { State::Ok => "ok", State::Waiting => "not up", State::Failing => strong { "failing" } } }
                td { @if let Some(since) = part.since { (time(since)) } }
                (text_cell(&html! { @if let Some(reason) = &part.reason { (reason) } }))
                td.number {
                    @if let Some(events) = part.backlog { (events) }
                    @if let Some(age) = part.backlog_age_seconds { ", the oldest " (age) " s old" }
                }
            }
        }
    };
    table("Parts", &columns, parts.iter().map(row), "None.")
}

fn refused(status: &Status) -> Markup {
    html! {
        section aria-label="Refused requests" {
            h2 { "Refused requests" }
            p {
                "Kept requests that could not be call events: " (status.refused.kept)
                @if let Some(latest) = status.refused.latest { ", the latest from " (time(latest)) }
                ". " a href="refused" { "Show them" } " (from the exporter's host, or with credentials)."
            }
        }
    }
}

fn links(call_event_path: &str) -> Markup {
    html! {
        footer {
            p { "Call events come in on " code { (call_event_path) } ". The same as data: " a href="status.json" { "status.json" } "." }
            nav aria-label="Other pages" {
                ul {
                    li { a href="why" { "why" } ": what the failing calls of the last minutes have in common (from the exporter's host, or with credentials)" }
                    li { a href="calls" { "calls" } ": the latest calls, likewise" }
                    li { a href="report?since=1h" { "report" } ": what to send to LINE Planet's support, likewise" }
                    li { a href="usage" { "usage" } ": totals of each day, to compare with an invoice" }
                    li { a href="metrics" { "metrics" } ", for Prometheus" }
                    li { a href="livez" { "livez" } ", or " a href="-/healthy" { "-/healthy" } ": whether the process serves" }
                    li { a href="readyz?verbose" { "readyz" } ", or " a href="-/ready" { "-/ready" } ": whether call events can be taken" }
                }
            }
        }
    }
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "\u{2013}".to_owned(), percent)
}

fn grown(grown: Option<&Grown>, now: Time) -> Markup {
    html! {
        @if let Some(Grown { since, ratio_before, ratio_since }) = grown {
            (clock(*since, now)) ": " (ratio(Some(*ratio_before))) " \u{2192} " (ratio(Some(*ratio_since)))
        }
    }
}
