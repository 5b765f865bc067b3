//! The promise: who looks back with a browser is shown pages with links from each answer to the next, which name nobody
//! and run nothing.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::http::{self, Response};

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

/// What the calls of these tests say of people.
const PERSONAL: [&str; 4] = ["caller7Qx", "callee7Qx", "203.0.113.77", "198.51.100.78"];

/// Forty calls, of which every second one fails.
fn exporter(flags: &[&str]) -> Exporter {
    with_calls(Exporter::with(flags))
}

fn with_calls(exporter: Exporter) -> Exporter {
    let [caller, callee, from, to] = PERSONAL;
    for number in 0..40 {
        let call = CallEventQuery::new(number)
            .with("from_user_id", &format!("{caller}-{}", number % 11))
            .with("to_user_id", callee)
            .with("srcip", from)
            .with("dstip", to)
            .with("app_svr_data", "<script>alert(1)</script>\u{1b}[31m");
        let call = match number % 2 {
            0 => call.with("to_service_id", "pay<b>").with("rc_idc", "JP").with("disconnect_reason", "1305"),
            _ => call,
        };
        assert_eq!(exporter.send(&call.encode()).status, 200);
    }
    exporter
}

fn page(exporter: &Exporter, path: &str) -> String {
    let answer = http::request(exporter.admin, "GET", path, &[BROWSER]);
    is_protected(&answer);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let page = answer.text();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"), "{page}");
    for unwanted in PERSONAL.into_iter().chain(["<script>alert", "\u{1b}", "<b>"]) {
        assert!(!page.contains(unwanted), "{unwanted} in {page}");
    }
    page
}

fn is_protected(answer: &Response) {
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("vary"), Some("Accept"));
}

fn has(page: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(page.contains(part), "{part} in {page}"));
}

/// The first link of the page that begins so.
fn link(page: &str, begin: &str) -> String {
    let links = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut links = links.map(|link| link.replace("&amp;", "&"));
    links.find(|link| link.starts_with(begin)).expect("a link")
}

#[test]
fn a_link_leads_from_each_answer_to_the_next() {
    let exporter = exporter(&[]);
    let why = page(&exporter, "/why");
    has(
        &why,
        &[
            "20 of 40 calls failed",
            "100 % of 20 failing calls have rc_idc=JP, and 0 % of the 20 others",
            "to_service_id=pay&lt;b&gt;",
            "the same calls",
            "<a href=\"why?minutes=60\">",
        ],
    );
    let calls = page(&exporter, &format!("/{}", link(&why, "calls?failing=1&idc=JP")));
    assert_eq!(calls.matches("<tr class=\"bad\">").count(), 20, "{calls}");
    let calls = page(&exporter, &format!("/{}", link(&why, "calls?failing=1&reason=")));
    assert_eq!(calls.matches("<tr class=\"bad\">").count(), 20, "{calls}");
    has(&calls, &["at most, in the order", "<a href=\"calls?failing=1&amp;"]);
    let call = page(&exporter, &format!("/{}", link(&calls, "calls?sid=")));
    has(
        &call,
        &[
            &sid(0),
            "SERVER_INTERNAL_ERROR",
            "Fault domain platform",
            "First: ",
            "<svg class=\"course\"",
            "4.0 s until it was answered",
            "30.0 s from then to its end",
            "&lt;script&gt;alert(1)&lt;/script&gt;\\u{1b}[31m",
        ],
    );
    assert!(!call.contains("trace"), "{call}");
    let report = exporter.admin(&format!("/{}", link(&why, "report?since=")));
    has(&report.text(), &["failed: 20 of 40 calls"]);
    let status = http::request(exporter.admin, "GET", "/", &[BROWSER]).text();
    has(&page(&exporter, &format!("/{}", link(&status, "why"))), &["20 of 40 calls failed"]);
    // Whoever is no browser gets text, and where to go on.
    let text = exporter.admin("/why").text();
    let next = text.split("\nNext:\n- ").nth(1).and_then(|next| next.lines().next()).expect("the next path");
    assert_eq!(exporter.admin(next).text().lines().count(), 20, "{next}");
}

#[test]
fn a_call_has_a_link_to_its_trace_where_one_is_configured() {
    let arguments = ["--trace-url", "https://tracing.example/trace/{trace_id}?a=1&b=2"];
    let lines = exporter(&arguments).admin("/calls").text();
    assert!(!lines.contains("trace_url") && lines.lines().count() == 40, "without spans there are none");
    let nobody = support::free_address();
    let mut spans = command();
    spans.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://{nobody}/v1/traces"));
    let exporter = with_calls(Exporter::launch(spans.args(arguments)));
    let trace = format!("https://tracing.example/trace/{}?a=1&b=2", sid(0).replace('-', ""));
    for path in ["/calls".to_owned(), format!("/calls?sid={}", sid(0))] {
        let html = page(&exporter, &path);
        has(&html, &[&format!("<a href=\"{}\"", trace.replace('&', "&amp;"))]);
        let lines = exporter.admin(&path).text();
        let line: serde_json::Value =
            serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
        assert_eq!(line["trace_url"], trace);
    }
}

#[test]
fn what_is_not_there_is_a_page_too() {
    let exporter = Exporter::start();
    has(&page(&exporter, "/why"), &["No calls."]);
    has(
        &page(&exporter, "/calls"),
        &["<tbody class=\"calls\"></tbody>", "No call that was asked for is kept."],
    );
    has(&page(&exporter, "/calls?sid=none"), &["<div class=\"calls\"></div>"]);
    let escaped = page(&exporter, "/calls?sid=%3Cscript%3Ealert(1)%1b%22'");
    has(&escaped, &["<div class=\"calls\"></div>"]);
    let bad = http::request(exporter.admin, "GET", "/calls?idc=%3Cb%3E", &[BROWSER]);
    assert_eq!((bad.status, bad.header("content-type")), (400, Some("application/problem+json")));
    is_protected(&bad);
}

#[test]
fn times_that_cannot_be_are_not_drawn() {
    let exporter = Exporter::start();
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let at = |ago: u64| (now - ago).to_string();
    for (number, [setup, start, end], shown, is_drawn) in [
        (0, [at(0), at(50), at(100)], ["-50.0", "-100.0"], false),
        (1, [at(100), at(90), at(50)], ["10.0", "50.0"], true),
        (2, [at(10), at(50), at(0)], ["-40.0", "10.0"], false),
        (3, ["0".to_owned(), at(90), at(50)], ["not known", "Answered"], false),
        (4, [at(100), at(90), "0".to_owned()], ["not known", "10.0"], false),
        (5, ["7".to_owned(), at(90), at(50)], ["not believed", "Answered"], false),
    ] {
        let call = CallEventQuery::new(number).with("setup_time", &setup).with("start_time", &start);
        assert_eq!(exporter.send(&call.with("end_time", &end).encode()).status, 200);
        let call = page(&exporter, &format!("/calls?sid={}", sid(number)));
        has(&call, &shown);
        assert_eq!(call.contains("svg class=\"course\""), is_drawn, "{number}: {call}");
    }
}
