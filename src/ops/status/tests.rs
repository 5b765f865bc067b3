use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::callback::CallEvent;
use crate::ledger::timeline::Timeline;
use crate::ops::commands::admin_port::LONGEST_ANSWER;

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
        let event = CallEvent::read(query.as_bytes(), at(second)).expect("a call");
        timeline.note(&event, at(second.max(NOW - 3_600)));
    }
    let started_at = at(NOW - 86_400);
    Course {
        timeline,
        known_since: started_at,
        is_whole: true,
        callers: None,
        started_at,
        last_event,
        calls: number,
    }
}

fn seen(course: Course, parts: Vec<Part>) -> Seen {
    Seen {
        now: at(NOW),
        started_at: at(NOW - 86_400),
        parts,
        course: Some(course),
        refused: 0,
        refused_lately: 0,
        latest_refused: None,
        quarantined: 0,
    }
}

fn json_of(seen: Seen) -> Value {
    serde_json::from_str(&Status::new(seen).to_json()).expect("JSON")
}

fn status_of(course: Course, parts: Vec<Part>) -> Value {
    json_of(seen(course, parts))
}

/// The texts of the findings of these calls.
fn findings<'a>(calls: impl IntoIterator<Item = (u64, &'a str, u32)>) -> Vec<String> {
    let status = status_of(course(calls), Vec::new());
    let findings = status["findings"].as_array().expect("findings").iter();
    findings
        .map(|finding| {
            format!(
                "{}: {}",
                finding["severity"].as_str().expect("a severity"),
                finding["text"].as_str().expect("a text")
            )
        })
        .collect()
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
        json!([{"name": "intake", "what": "intake of call events", "state": "ok", "since": null, "reason": null}])
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
    let few = || (0..24).map(|hour| (NOW - 86_400 + hour * 3_600, "KR", 1001));
    assert_eq!(findings(few()), [""; 0]);
    // For more than a day, it does of any.
    let long_ago = few().map(|(second, ..)| (second - 100_000, "KR", 1001));
    assert_eq!(findings(long_ago), ["warning: no call event has come for 28 hours"]);
    // Nor what the exporter missed while it did not run.
    let restarted = Seen {
        started_at: at(NOW - 60),
        ..seen(course(usual().filter(|(second, ..)| *second < until)), Vec::new())
    };
    assert_eq!(json_of(restarted)["findings"], json!([]));
}

#[test]
fn an_idc_is_explained_by_its_own_reasons_and_named_only_if_the_others_are_known_to_be_well() {
    // One in thirty calls of KR always fails, and then most of those of JP, for another reason.
    let calls = usual().map(|(second, idc, reason)| match idc {
        "KR" if second % 120 == 0 => (second, idc, 1302),
        "JP" if second >= NOW - 1_200 && second % 8 != 2 => (second, idc, 1305),
        _ => (second, idc, reason),
    });
    let told = findings(calls);
    assert!(
        told[0].contains("only in JP") && told[0].contains("SERVER_INTERNAL_ERROR (fault domain platform"),
        "{told:?}"
    );
    // Three calls do not tell whether an IDC is well.
    let calls = usual()
        .filter(|(_, idc, _)| *idc == "KR")
        .map(|(second, idc, reason)| (second, idc, if second >= NOW - 600 { 1305 } else { reason }));
    let told = findings(calls.chain((0..3).map(|number| (NOW - 10 + number, "JP", 1305))));
    assert!(told[0].contains("most in KR"), "{told:?}");
}

#[test]
fn a_newer_incident_is_told_before_an_older_one_that_goes_on() {
    let calls = (NOW - 6 * 3_600..NOW).step_by(2).map(|second| {
        let reason = match second {
            _ if second >= NOW - 300 => 1305,
            _ if second >= NOW - 4 * 3_600 && second % 8 == 0 => 1302,
            _ => 1001,
        };
        (second, "KR", reason)
    });
    let told = findings(calls);
    assert!(told[0].starts_with("critical: 9") && told[0].contains("SERVER_INTERNAL_ERROR"), "{told:?}");
    assert!(told[1].contains("had grown before"), "{told:?}");
}

#[test]
fn what_is_over_is_not_told_any_more() {
    for hours in [2, 5] {
        let calls = (NOW - 10 * 3_600..NOW).step_by(2).map(|second| {
            let is_bad = (NOW - 600 - hours * 3_600..NOW - 600).contains(&second);
            (second, "KR", if is_bad { 1305 } else { 1001 })
        });
        let told = findings(calls);
        assert!(told.iter().all(|text| text.contains("of the last hour")), "{told:?}");
    }
}

#[test]
fn few_calls_that_all_fail_are_told_and_few_that_fail_are_not() {
    let told = findings((0..19).map(|number| (NOW - 60 + number, "KR", 1305)));
    assert!(told[0].starts_with("critical: 100 % of 19 calls of the last hour"), "{told:?}");
    let told = findings((0..3).map(|number| (NOW - 60 + number, "KR", 1305)));
    assert_eq!(told, [""; 0]);
}

#[test]
fn what_a_clock_received_that_was_ahead_hides_nothing() {
    let ahead = (0..200).map(|number| (NOW + 3_600 + number, "KR", 1001));
    let calls = ahead.chain((0..100).map(|number| (NOW - 200 + number, "KR", 1305)));
    let mut timeline = Timeline::new(&[]);
    for (second, idc, reason) in calls {
        let query = format!("sid={second}&type=A&rc_idc={idc}&disconnect_reason={reason}&duration=0");
        let event = CallEvent::read(query.as_bytes(), at(second)).expect("a call");
        timeline.note(&event, at(second));
    }
    let summary = timeline.summary(at(NOW));
    assert_eq!((summary.all.hour.calls, summary.all.hour.abnormal, summary.latest.len()), (100, 100, 20));
}

/// Whatever comes, `planet-call-exporter probe /status.json` can show it, as the runbook does where there is no curl.
#[test]
fn all_of_it_is_short_enough_for_a_probe() {
    let codes: Vec<String> =
        ('A'..='Z').flat_map(|one| ('A'..='Z').map(move |two| format!("{one}{two}"))).collect();
    let reasons = || DisconnectReason::all().map(|reason| reason.code as u32).chain(9_000..9_100);
    let of_idc = |(number, idc): (u64, &'_ String)| {
        let begin = NOW - 3_000 + number;
        reasons().map(move |reason| (begin, idc.clone(), reason)).collect::<Vec<_>>()
    };
    let calls: Vec<_> = (0..).zip(&codes).flat_map(of_idc).collect();
    let trouble = || Some(Trouble { since: at(NOW - 60), reason: "\u{e9}".repeat(300) });
    let parts = ["intake", "disk", "canary", "spans", "service", "otlp_logs", "otlp_metrics"];
    let parts = parts.map(|name| Part::new(name, "the disk of the state directory", trouble())).into();
    let seen = seen(course(calls.iter().map(|(second, idc, reason)| (*second, &idc[..], *reason))), parts);
    let json = Status::new(seen).to_json();
    assert!(json.len() <= LONGEST_ANSWER, "{} bytes", json.len());
    let status: Value = serde_json::from_str(&json).expect("JSON");
    let lengths = ["idcs", "reasons"].map(|member| status[member].as_array().map(Vec::len));
    assert_eq!(lengths, [Some(MOST_IDCS), Some(MOST_REASONS)]);
}

#[test]
fn nothing_is_well_before_the_last_day_is_read() {
    let course = Course { is_whole: false, ..course([]) };
    let status = json_of(seen(course, Vec::new()));
    assert_eq!((&status["is_well"], &status["findings"]), (&Value::Null, &json!([])));
}

#[test]
fn events_that_are_dropped_set_aside_or_none_are_told() {
    let part = Part::new("service", "the service behind", None).with_last_drop(Some(at(NOW - 60)));
    let seen = Seen { refused_lately: 30, quarantined: 1, ..seen(course(usual()), vec![part]) };
    let status = json_of(seen);
    let texts: Vec<_> = status["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|finding| finding["text"].as_str().expect("a text"))
        .collect();
    assert_eq!(
        texts,
        [
            "the service behind: events were dropped in the last 15 minutes",
            "30 requests of the last 5 minutes could not be call events",
            "events that the exporter could not process and has set aside: 1",
        ]
    );
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
    assert!(render(&Status::new(empty), "/").contains("Nothing is known yet"));
}
