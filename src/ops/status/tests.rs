use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::callback::CallEvent;
use crate::ledger::timeline::Timeline;

const NOW: u64 = 1_790_000_000;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

/// How calls of these seconds went, each with its IDC and disconnect reason.
fn course<'a>(calls: impl IntoIterator<Item = (u64, &'a str, u32)>) -> Course {
    let mut timeline = Timeline::new(&[]);
    let (mut number, mut last_event) = (0, None);
    for (second, idc, reason) in calls {
        number += 1;
        last_event = last_event.max(Some(at(second)));
        let duration = if reason == 1001 { 30 } else { 0 };
        let query =
            format!("sid={number}&type=A&rc_idc={idc}&disconnect_reason={reason}&duration={duration}");
        timeline.note(&CallEvent::read(query.as_bytes(), at(second)).expect("a call"));
    }
    Course {
        timeline,
        is_whole: true,
        callers: None,
        started_at: at(NOW - 86_400),
        last_event,
        calls: number,
    }
}

fn seen(course: Course, parts: Vec<Part>) -> Seen {
    Seen { now: at(NOW), parts, course: Some(course), refused: 0, latest_refused: None }
}

fn status_of(course: Course, parts: Vec<Part>) -> Value {
    serde_json::from_str(&Status::new(seen(course, parts)).to_json()).expect("JSON")
}

/// A call each two seconds for three hours until now, of KR and JP in turns.
fn usual() -> impl Iterator<Item = (u64, &'static str, u32)> {
    (NOW - 3 * 3_600..NOW).step_by(2).map(|second| (second, ["KR", "JP"][second as usize / 2 % 2], 1001))
}

#[test]
fn all_is_well_when_calls_are_as_usual() {
    let status = status_of(course(usual()), vec![Part::new("intake", "intake of call events", None)]);
    assert_eq!((&status["is_well"], &status["findings"]), (&json!(true), &json!([])));
    assert_eq!(
        status["parts"],
        json!([{"name": "intake", "what": "intake of call events", "is_well": true, "since": null, "reason": null}])
    );
    let lately = &status["calls"]["5m"];
    assert_eq!((&lately["calls_per_minute"], &lately["answered_ratio"]), (&json!(30.0), &json!(1.0)));
    assert_eq!(status["minutes"].as_array().map(Vec::len), Some(61));
    assert_eq!(status["reasons"][0]["reason"], "NORMAL");
}

#[test]
fn an_incident_is_told_with_its_place_its_beginning_and_what_to_do() {
    let began = NOW - 40 * 60;
    let calls = usual().map(|(second, idc, reason)| {
        let fails = second >= began && idc == "KR" && second % 8 == 0;
        (second, idc, if fails { 1313 } else { reason })
    });
    let status = status_of(course(calls), Vec::new());
    let finding = &status["findings"][0];
    let text = finding["text"].as_str().expect("a text");
    for part in ["only in KR", "APP_SERVER_DATA_ERROR", "application", "25 % of 12"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(finding["severity"], "critical");
    let since = humantime::parse_rfc3339(finding["since"].as_str().expect("a time")).expect("a time");
    let off = at(began).duration_since(since).unwrap_or_else(|error| error.duration());
    assert!(off <= Duration::from_secs(60), "{off:?}");
    assert!(finding["first_action"].as_str().is_some_and(|action| action.contains("our server")));
    assert_eq!(status["idcs"][0]["name"], "KR");
    assert_eq!(status["latest_abnormal_calls"].as_array().map(Vec::len), Some(20));
}

#[test]
fn that_no_calls_come_any_more_is_told() {
    let until = NOW - 10 * 60;
    let status = status_of(course(usual().filter(|(second, ..)| *second < until)), Vec::new());
    let text = status["findings"][0]["text"].as_str().expect("a text");
    assert!(text.starts_with("no call event has come for 10 minutes"), "{text}");
    // Of a service with a call an hour that says nothing.
    let few = (0..24).map(|hour| (NOW - 86_400 + hour * 3_600, "KR", 1001));
    assert_eq!(status_of(course(few), Vec::new())["findings"], json!([]));
}

#[test]
fn what_is_amiss_with_parts_is_told_the_gravest_first() {
    let trouble = |reason: &str| Some(Trouble { since: at(NOW - 60), reason: reason.to_owned() });
    let parts = vec![
        Part::new("spans", "the OTLP receiver", trouble("connection refused")),
        Part::new("disk", "the disk of the state directory", trouble("no space left")),
    ];
    let status = status_of(course(usual()), parts);
    let texts: Vec<_> =
        status["findings"].as_array().expect("findings").iter().map(|finding| &finding["text"]).collect();
    assert_eq!(
        texts,
        ["the disk of the state directory: no space left", "the OTLP receiver: connection refused"]
    );
    assert_eq!(status["findings"][1]["severity"], "warning");
}

#[test]
fn the_page_says_what_the_data_say_and_escapes_what_came_from_outside() {
    let parts = vec![Part::new(
        "spans",
        "the OTLP receiver",
        Some(Trouble { since: at(NOW), reason: "<script>".to_owned() }),
    )];
    let calls = usual().chain([(NOW - 1, "KR", 1305)]);
    let page = render(&Status::new(seen(course(calls), parts)), "/<call>");
    assert!(!page.contains("<script>") && page.contains("&lt;script&gt;") && page.contains("/&lt;call&gt;"));
    for text in ["SERVER_INTERNAL_ERROR", "platform", "1305", "First: ", "By data centre"] {
        assert!(page.contains(text), "{text}");
    }
    // Everything comes from here, under whatever path that is.
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("=\"/"), "{page}");
    let attributes = page.split(" on").skip(1).filter_map(|rest| rest.split([' ', '>']).next());
    let handlers: Vec<_> = attributes.filter(|attribute| attribute.contains("=\"")).collect();
    assert!(!page.contains(" style=") && handlers.is_empty(), "what the policy forbids: {handlers:?}");
    let empty = Seen { course: None, ..seen(course(usual()), Vec::new()) };
    assert!(render(&Status::new(empty), "/").contains("All is well."));
}
