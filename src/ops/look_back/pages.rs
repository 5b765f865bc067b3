//! The answers for who looks with a browser, each with links to the next.

use std::time::SystemTime;

use maud::{Markup, PreEscaped, html};

use crate::callback::call_event::{Parameter, Reason, ValueKind};
use crate::callback::{CallEvent, labels};
use crate::config::look_back::MOST_MINUTES;
use crate::config::trace_url::TraceUrl;
use crate::history::calls::MOST;
use crate::history::share::Share;
use crate::history::why::{Finding, HowTheyFailed, SharedValue, Why};
use crate::http::shown;
use crate::ops::html::{self, CALL_COLUMNS, Column, Time, bare_table, links_to, second, table, text_cell};

/// The minutes that one looks back with a click.
const MINUTES: [u64; 5] = [5, 15, 60, 240, MOST_MINUTES];

/// What failing calls of the last minutes have in common.
pub(super) fn why(why: &Why, minutes: u64) -> String {
    let Why { since, until, calls, failing, failing_callers, unreadable, .. } = why;
    let body = html! {
        main {
            (heading("Why calls fail", &html! {
                "Look back "
                @if !MINUTES.contains(&minutes) { strong { (minutes) } " " }
                @for other in MINUTES {
                    @if other == minutes { strong { (other) } } @else { a href=(format!("why?minutes={other}")) { (other) } }
                    " "
                }
                "minutes. The same as data: " a href=(format!("why.json?minutes={minutes}")) { "why.json" }
            }))
            p { (since) " to " (until) ": " strong { (failing) " of " (calls) " calls failed" } ", of " (failing_callers) " callers." }
            @if !why.is_complete { p.note { "Earlier calls are not kept any more, or too many." } }
            @if *unreadable > 0 { p.note { (unreadable) " calls could not be read." } }
            div.finding.(if *failing > 0 { "warning" } else { "ok" }) { p { (shown(&why.summary)) } }
            @if !why.findings.is_empty() { (findings(why)) }
            @if *failing > 0 { (how_they_failed(why)) }
            @if !why.next.is_empty() {
                p { "Next: " (links_to(&why.next)) }
            }
        }
    };
    html::document("Why calls fail:", &html! {}, &body).into_string()
}

fn findings(why: &Why) -> Markup {
    let columns = [
        Column::Text("In common"),
        Column::Number("Of failing calls"),
        Column::Number("Of the others"),
        Column::Number("Times as often"),
        Column::Text("Note"),
    ];
    let of_finding = |finding: &Finding| {
        let together = finding.together.as_ref().map(|together| shown(&together.text));
        let first = row(why, &finding.value, true, &html! { @if let Some(text) = together { (text) "." } });
        let same = finding.same_calls.iter().map(|value| row(why, value, false, &html! { "the same calls" }));
        let with = finding.goes_with_it.iter().map(|value| row(why, value, false, &html! { "goes with it" }));
        html! { (first) @for row in same { (row) } @for row in with { (row) } }
    };
    table(
        "What they have in common that the others have not",
        &columns,
        why.findings.iter().map(of_finding),
        "Nothing.",
    )
}

fn row(why: &Why, value: &SharedValue, is_finding: bool, note: &Markup) -> Markup {
    let name = match (&value.value, value.parameter.as_str()) {
        (Some(text), parameter) => format!("{parameter}={text}"),
        (None, "to_user_id") => "one callee".to_owned(),
        (None, _) => "one caller".to_owned(),
    };
    let [failing, others] = [(value.failing, why.failing), (value.others, why.calls - why.failing)]
        .map(|(number, of)| Share::new(number, of));
    let calls = value.value.as_ref().filter(|_| value.parameter == Parameter::RcIdc.name());
    html! {
        tr.bad[is_finding] {
            th scope="row" {
                @match calls {
                    Some(idc) => a href=(failing_calls(why, "idc", idc)) { (shown(&name)) },
                    None => (shown(&name)),
                }
            }
            td.number { (failing.percent()) " (" (failing.number) ")" }
            td.number { (others.percent()) " (" (others.number) ")" }
            td.number { @match value.lift { Some(lift) => (lift), None => "\u{221e}" } }
            (text_cell(note))
        }
    }
}

/// Where the failing calls of that time are that have this.
fn failing_calls(why: &Why, name: &str, value: &str) -> String {
    format!("calls?failing=1&{name}={value}&since={}&until={}", why.since, why.until)
}

fn how_they_failed(why: &Why) -> Markup {
    let columns = [Column::Text("In which regard"), Column::Text("Failing calls")];
    let reason = labels::LabelSource::DisconnectReason.name();
    let row = |how: &HowTheyFailed| {
        html! {
            tr {
                th scope="row" { (how.name) }
                (text_cell(&html! {
                    @for (at, end) in how.values.iter().enumerate() {
                        @if at > 0 { ", " }
                        @if how.name == reason {
                            a href=(failing_calls(why, "reason", &end.value)) { (shown(&end.value)) }
                        } @else { (shown(&end.value)) }
                        " " (Share::new(end.calls, why.failing).percent())
                    }
                    @if how.others > 0 { ", others " (Share::new(how.others, why.failing).percent()) }
                }))
            }
        }
    };
    table("How they failed", &columns, why.how_they_failed.iter().map(row), "None failed.")
}

/// What stands before and behind one call.
pub(super) fn around_one_call() -> [String; 2] {
    let latest = html! { a href="calls" { "The latest calls" } ". " a href="why" { "Why calls fail" } "." };
    around("Call", &latest, |call| html! { div.calls { (call) } p.none { (NONE) } })
}

/// What stands before and behind the calls that a query asks for, at most so many.
pub(super) fn around_calls(query: &str, most: usize) -> [String; 2] {
    let more = (most < MOST).then(|| {
        let other = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("limit="));
        other.map(|pair| format!("{pair}&")).collect::<String>() + &format!("limit={}", MOST.min(10 * most))
    });
    let beside = html! {
        "The latest " (most) " at most, in the order in which they came"
        @if let Some(more) = more { " (" a href=(format!("calls?{more}")) { "more" } ")" } ". "
        a href="why" { "Why calls fail" } "."
    };
    around("Calls", &beside, |calls| {
        let body = html! {
            tbody.calls { (calls) }
            tbody.none { tr { td colspan=(CALL_COLUMNS.len()) { (NONE) } } }
        };
        bare_table("Calls", &CALL_COLUMNS, &body)
    })
}

/// What is said instead of calls.
const NONE: &str = "No call that was asked for is kept.";

/// What stands before and behind the calls of a page.
fn around(title: &str, beside: &Markup, page: impl Fn(Markup) -> Markup) -> [String; 2] {
    /// No page has it elsewhere: it stands for what it must not have.
    const CALLS: &str = "\0";
    let body = html! {
        main {
            (heading(title, beside))
            (page(PreEscaped(CALLS.to_owned())))
            p.note { "Whoever does not ask for HTML, as curl, gets the same as lines of JSON." }
        }
    };
    let page = html::document(title, &html! {}, &body).into_string();
    let (begin, end) = page.split_once(CALLS).unwrap_or((&page, ""));
    [begin.to_owned(), end.to_owned()]
}

/// A call among many.
pub(super) fn row_of_call(call: &CallEvent<'_>, trace_url: Option<&TraceUrl>, now: SystemTime) -> String {
    let row = html! {
        tr.bad[call.fault_domain.is_abnormal()] {
            td { (second(Time(call.received_at), Time(now))) }
            td { (shown(&labels::disconnect_reason(call))) }
            td { (call.fault_domain.as_str()) }
            td { (labels::idc_of_people(call)) }
            td { (call.media_type.as_str()) }
            td { (call.releaser.as_str()) }
            td.number { (call.duration.as_secs_f64()) }
            td { a href=(format!("calls?sid={}", call.sid)) { code { (call.sid) } } " " (link_to_trace(call, trace_url)) }
        }
    };
    row.into_string()
}

fn link_to_trace(call: &CallEvent<'_>, trace_url: Option<&TraceUrl>) -> Markup {
    html! { @if let Some(url) = trace_url { a href=(url.of(call.sid)) rel="noreferrer" { "trace" } } }
}

/// All that is known of a call, but for whose it was.
pub(super) fn one_call(call: &CallEvent<'_>, trace_url: Option<&TraceUrl>) -> String {
    let reason = match call.reason {
        Reason::Known(reason) => Some(reason),
        _ => None,
    };
    let sent = Parameter::TABLE.into_iter().filter(|(_, _, kind, _)| *kind != ValueKind::Identity);
    let sent = sent.filter_map(|(parameter, name, ..)| Some((name, call.text(parameter)?)));
    let anomalies: Vec<_> = call.anomalies.iter().map(|anomaly| anomaly.as_str()).collect();
    let rows = sent.map(
        |(name, value)| html! { tr { th scope="row" { (name) } (text_cell(&html! { (shown(value)) })) } },
    );
    let page = html! {
        section aria-label="How it ended" {
            p { "Session ID: " code { (call.sid) } " " (link_to_trace(call, trace_url)) }
            div.finding.(if call.fault_domain.is_abnormal() { "warning" } else { "ok" }) {
                p {
                    strong { (shown(&labels::disconnect_reason(call))) } ": "
                    @if let Some(reason) = reason { (reason.meaning) ". " }
                    "Fault domain " (call.fault_domain.as_str()) ", released by " (call.releaser.as_str()) ", in "
                    (labels::idc_of_people(call)) "."
                }
                @if let Some(reason) = reason.filter(|_| call.fault_domain.is_abnormal()) { p { "First: " (reason.first_action) "." } }
            }
            @if !anomalies.is_empty() { p.note { "Odd about it: " (anomalies.join(", ")) "." } }
        }
        (course(call))
        (table("What was sent", &[Column::Text("Parameter"), Column::Text("Value")], rows, "Nothing."))
    };
    page.into_string()
}

/// The times of a call, and if they are in order, drawn from its creation to its end.
fn course(call: &CallEvent<'_>) -> Markup {
    let times = [
        ("Created", call.setup_time, Some(Parameter::SetupTime)),
        ("Answered", call.start_time, Some(Parameter::StartTime)),
        ("Ended", call.end_time, Some(Parameter::EndTime)),
        ("Received", Some(call.received_at), None),
    ];
    let row = |(name, at, sent): (&str, Option<SystemTime>, Option<Parameter>)| {
        let was_sent = sent.and_then(|sent| call.number(sent)).is_some_and(|number| number != 0);
        html! {
            tr {
                th scope="row" { (name) }
                td { @match at {
                    Some(at) => (humantime::format_rfc3339_millis(at)),
                    None if name == "Answered" && !call.answered => "not answered",
                    None if was_sent => "not believed",
                    None => "not known",
                } }
                td.number { @if let (Some(from), Some(at)) = (call.setup_time, at) { (after(from, at)) } }
            }
        }
    };
    let columns = [Column::Text("Moment"), Column::Text("UTC"), Column::Number("After its creation, s")];
    html! {
        @if let (Some(begin), Some(end)) = (call.setup_time, call.end_time) {
            @let answered = call.start_time.unwrap_or(end);
            @if begin <= answered && answered <= end && begin < end {
                section aria-label="Course" {
                    h2 { "Course" }
                    p {
                        @if call.start_time.is_some() {
                            span.ringing { (after(begin, answered)) " s until it was answered" } ", "
                            span.talking { (after(answered, end)) " s from then to its end" }
                        } @else if call.answered {
                            span.ringing { (after(begin, end)) " s to its end; when it was answered is not known" }
                        } @else {
                            span.ringing { (after(begin, end)) " s until it ended without an answer" }
                        }
                    }
                    (drawn(seconds(begin, answered) / seconds(begin, end)))
                }
            }
        }
        (table("Times", &columns, times.into_iter().map(row), "None."))
    }
}

/// The seconds from one moment to another, below zero if that was before it.
fn seconds(from: SystemTime, to: SystemTime) -> f64 {
    match to.duration_since(from) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// The same for people.
fn after(from: SystemTime, to: SystemTime) -> String {
    format!("{:.1}", seconds(from, to))
}

/// A bar of which the first share is the time before the answer.
fn drawn(ringing: f64) -> Markup {
    const WIDTH: f64 = 1_000.0;
    let answered = format!("{:.1}", WIDTH * ringing);
    html! {
        svg.course viewBox=(format!("0 0 {WIDTH} 20")) preserveAspectRatio="none" role="img" {
            title { "From its creation to its end, and when it was answered" }
            rect.ringing x="0" y="0" width=(answered) height="20" {}
            rect.talking x=(answered) y="0" width=(format!("{:.1}", WIDTH * (1.0 - ringing))) height="20" {}
        }
    }
}

fn heading(title: &str, beside: &Markup) -> Markup {
    html! {
        header {
            h1 { (title) }
            p { a href="./" { "Status" } ". " (beside) }
        }
    }
}

/// A text from outside, with what would act on the page instead of being shown escaped.
fn shown(text: &str) -> String {
    shown::escaped(text, |_| false).into_owned()
}
