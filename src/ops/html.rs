//! What pages for people are made of.
//!
//! Each is whole without JavaScript and takes nothing from elsewhere, which [`protect`] has the browser enforce.

use std::time::SystemTime;

use hyper::Response;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY as CONTENT_SECURITY_POLICY_HEADER, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use maud::{DOCTYPE, Markup, html};
use serde::{Serialize, Serializer};

use crate::http::response::Body;

/// The content type of a page.
pub(super) const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// The style of all pages.
pub(super) const STYLE: &str = include_str!("html/style.css");

/// What a page may do: show what it has from here. Nobody may show it in a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Has the browser keep nothing of an answer, and do no more with it than show it.
pub(super) fn protect(answer: &mut Response<Body>) {
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY_HEADER, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// A page with this title, and this beside what every page has in its head.
pub(super) fn document(title: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " planet-call-exporter" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="style.css";
                (head)
            }
            body { (body) }
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    /// Of texts.
    Text(&'static str),
    /// Of numbers.
    Number(&'static str),
}

/// What is said of a call in a table of calls.
pub(super) const CALL_COLUMNS: [Column; 8] = [
    Column::Text("Received"),
    Column::Text("Reason"),
    Column::Text("Whose fault"),
    Column::Text("IDC"),
    Column::Text("Media type"),
    Column::Text("Released by"),
    Column::Number("Duration, s"),
    Column::Text("Session ID"),
];

/// A section with a table of these rows, or with `none` where there are none.
pub(super) fn table(
    title: &str,
    columns: &[Column],
    rows: impl Iterator<Item = Markup>,
    none: &str,
) -> Markup {
    let rows: Vec<Markup> = rows.collect();
    let body = html! {
        tbody {
            @for row in &rows { (row) }
            @if rows.is_empty() { tr { td colspan=(columns.len()) { (none) } } }
        }
    };
    html! {
        section aria-label=(title) {
            h2 { (title) }
            (bare_table(title, columns, &body))
        }
    }
}

/// A table with this name and body. Where it is wider than the screen, it scrolls on its own, with the keyboard too.
pub(super) fn bare_table(name: &str, columns: &[Column], body: &Markup) -> Markup {
    html! {
        div.scrolled role="region" aria-label=(format!("Table: {name}")) tabindex="0" {
            table {
                thead { tr {
                    @for column in columns {
                        @match column {
                            Column::Text(name) => th scope="col" { (name) },
                            Column::Number(name) => th.number scope="col" { (name) },
                        }
                    }
                } }
                (body)
            }
        }
    }
}

/// Links to these paths of the admin port, relative to the page.
pub(super) fn links_to(paths: &[String]) -> Markup {
    html! {
        @for path in paths {
            @let path = path.trim_start_matches('/');
            a href=(path) { (path.split('?').next().unwrap_or_default()) } " "
        }
    }
}

/// A cell with a text that may be long.
pub(super) fn text_cell(text: &Markup) -> Markup {
    html! { td.text { div { (text) } } }
}

/// A moment: in JSON as RFC 3339, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) SystemTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_seconds(self.0))
    }
}

/// A moment for people and for machines.
pub(super) fn time(Time(at): Time) -> Markup {
    let machine = humantime::format_rfc3339_seconds(at).to_string();
    let people = machine.replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(machine) { (people) } }
}

/// The time of the day, with the date if it is another day.
pub(super) fn clock(at: Time, now: Time) -> Markup {
    time_of_day(at, now, "2026-01-31T09:00".len())
}

/// The same to the second.
pub(super) fn second(at: Time, now: Time) -> Markup {
    time_of_day(at, now, "2026-01-31T09:00:00".len())
}

/// The same, up to this place of what RFC 3339 has.
fn time_of_day(Time(at): Time, Time(now): Time, end: usize) -> Markup {
    let [machine, today] = [at, now].map(|at| humantime::format_rfc3339_seconds(at).to_string());
    let begin = if machine[..10] == today[..10] { 11 } else { 5 };
    html! { time datetime=(machine) title=(machine) { (machine[begin..end].replace('T', " ")) } }
}

/// The time of a day, and how long ago that was.
pub(super) fn ago(at: Option<Time>, now: Time) -> Markup {
    html! { @if let Some(at) = at { (clock(at, now)) " (" (length(at.0, now.0)) ")" } }
}

fn length(at: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(at).unwrap_or_default().as_secs();
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7_199 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3_600),
    }
}
