//! The promise: a call event that is answered 200 is in the metrics at once and counts once; one that cannot be a call
//! is answered with what is wrong with it and is kept to be looked at.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use support::call::{CallEventQuery, DOCUMENTED_SAMPLE, sid};
use support::exporter::Exporter;
use support::http;

#[test]
fn the_documented_sample_is_in_the_metrics_at_once() {
    let exporter = Exporter::start();
    let answer = exporter.send(DOCUMENTED_SAMPLE);
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b""[..]));

    let page = exporter.metrics();
    let idc = [("media_type", "video"), ("idc", "KR")];
    let reason = [idc[0], idc[1], ("disconnect_reason", "NORMAL"), ("fault_domain", "none")];
    let answered = [idc[0], idc[1], ("answered", "true")];
    let call = [reason[0], reason[1], reason[2], reason[3], ("releaser", "callee"), ("answered", "true")];
    let release = [("terminate", "16"), ("rel_code", "1"), ("rel_code_str", "NORMAL")];
    for (name, labels, expected) in [
        ("planet_calls_total", &call[..], 1.0),
        ("planet_call_duration_seconds_count", &reason[..], 1.0),
        ("planet_call_duration_seconds_sum", &reason[..], 30.0),
        ("planet_call_setup_duration_seconds_count", &answered[..], 1.0),
        ("planet_call_setup_duration_seconds_sum", &answered[..], 4.0),
        ("planet_call_billed_seconds_total", &idc[..], 25.0),
        ("planet_call_releases_total", &release[..], 1.0),
    ] {
        let only_one = BTreeMap::from([(support::scrape::series(name, labels).1, expected)]);
        assert_eq!(page.named(name), only_one, "{name}");
    }
    let bucket = |name: &str, labels: &[(&str, &str)], bound: &str| {
        page.value(&format!("{name}_bucket"), &[labels, &[("le", bound)]].concat())
    };
    for (bound, expected) in [("10", 0.0), ("30", 1.0), ("60", 1.0), ("+Inf", 1.0)] {
        assert_eq!(bucket("planet_call_duration_seconds", &reason, bound), expected, "up to {bound} s");
    }
    for (bound, expected) in [("3", 0.0), ("4", 1.0), ("+Inf", 1.0)] {
        assert_eq!(
            bucket("planet_call_setup_duration_seconds", &answered, bound),
            expected,
            "up to {bound} s"
        );
    }
    assert_eq!(page.sum("planet_call_abnormal_releases_total"), 0.0);
    assert_eq!(page.sum("planet_exporter_anomalies_total"), 0.0);
    assert_eq!(exporter.accepted(), 1.0);
}

#[test]
fn a_repeat_is_answered_200_and_changes_nothing_but_its_own_count() {
    let exporter = Exporter::start();
    let first = CallEventQuery::new(1).with("sid", "6364e8b3-bdac-436e-9631-0bce2498ce0c");
    assert_eq!(exporter.send(&first.encode()).status, 200);
    let before = exporter.metrics().beginning_with("planet_call");
    let other_spelling = first.clone().with("sid", "6364E8B3BDAC436E96310BCE2498CE0C");
    let other_content = first.clone().with("rc_idc", "JP").with("disconnect_reason", "1301");
    for repeat in [&first, &other_spelling, &other_content] {
        assert_eq!(exporter.send(&repeat.encode()).status, 200);
    }
    let after = exporter.metrics();
    assert_eq!(after.beginning_with("planet_call"), before);
    assert_eq!(after.value("planet_exporter_events_total", &[("result", "duplicate")]), 3.0);
    assert_eq!(after.value("planet_exporter_events_total", &[("result", "accepted")]), 1.0);
}

#[test]
fn concurrent_repeats_of_one_call_count_once() {
    let exporter = Exporter::start();
    let (clients, calls) = (8, 50);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut connection = http::Connection::open(exporter.call_events);
                for call in 0..calls {
                    let query = CallEventQuery::new(call).encode();
                    assert_eq!(connection.get(&format!("/call_event?{query}")).status, 200);
                }
            });
        }
    });
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), calls as f64);
    assert_eq!(page.value("planet_exporter_events_total", &[("result", "accepted")]), calls as f64);
    let repeats = ((clients - 1) * calls) as f64;
    assert_eq!(page.value("planet_exporter_events_total", &[("result", "duplicate")]), repeats);
    assert_eq!(page.value("planet_exporter_seen_sids", &[]), calls as f64);
}

#[test]
fn what_cannot_be_a_call_is_answered_400_with_the_reason_and_kept() {
    let exporter = Exporter::with(&["--probe-status", "400"]);
    let without_numbers = format!("sid={}&setup_time=soon&duration=&terminate=x", sid(3));
    let cases = [
        ("", None, "no query string"),
        ("nothing-like-a-form", None, "form-encoded"),
        ("type=V&duration=30", Some("sid"), "sid is missing or empty"),
        ("sid=&type=V&duration=30", Some("sid"), "sid is missing or empty"),
        (&without_numbers, Some("setup_time"), "setup_time, start_time, end_time"),
    ];
    for (query, parameter, detail) in cases {
        let answer = exporter.send(query);
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{query}");
        let problem = answer.json();
        assert_eq!(problem["status"], 400, "{query}");
        assert_eq!(problem.get("parameter").and_then(|name| name.as_str()), parameter, "{query}");
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(detail)), "{query}: {problem}");
    }
    let no_query_at_all = exporter.get("/call_event");
    assert_eq!(no_query_at_all.status, 400);

    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), 0.0);
    assert_eq!(page.value("planet_exporter_events_total", &[("result", "refused")]), 6.0);
    let kept = exporter.admin("/refused").text();
    let kept: Vec<serde_json::Value> =
        kept.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let expected: Vec<_> = cases.iter().map(|(query, ..)| *query).chain([""]).collect();
    assert_eq!(kept.iter().map(|line| &line["query"]).collect::<Vec<_>>(), expected);
    for (line, (query, _, detail)) in kept.iter().zip(cases) {
        assert!(line["reason"].as_str().is_some_and(|reason| reason.contains(detail)), "{query}: {line}");
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }
}

#[test]
fn the_refused_requests_that_are_kept_are_the_latest() {
    let exporter = Exporter::with(&["--refused-max", "3"]);
    for number in 0..10 {
        assert_eq!(exporter.send(&format!("number={number}")).status, 400);
    }
    let kept = exporter.admin("/refused").text();
    let queries: Vec<_> = kept
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line of JSON")["query"].clone())
        .collect();
    assert_eq!(queries, ["number=7", "number=8", "number=9"]);
    assert_eq!(exporter.metrics().value("planet_exporter_refused_requests", &[]), 3.0);
}

#[test]
fn odd_events_are_accepted_and_their_oddities_counted() {
    let exporter = Exporter::start();
    let event = CallEventQuery::new;
    let cases = [
        (event(0).with("disconnect_reason", "1999"), "unknown_disconnect_reason"),
        (event(1).with("type", "X"), "unknown_media_type"),
        (event(2).with("releaser_type", "9"), "unknown_releaser_type"),
        (event(3).with("terminate", "99").with("duration", "0"), "unknown_terminate"),
        (event(4).with("duration", "-1"), "impossible_duration"),
        (event(5).without("rc_idc"), "missing_parameter"),
        (event(6).with("new_parameter", "1"), "unknown_parameter"),
        (event(7).with("setup_time", "1582527400000"), "milliseconds"),
        (event(8).with("rc_idc", "한국"), "unusual_idc"),
        (event(9).with("sid", "not-a-uuid"), "sid_not_uuid"),
        (event(10).with("end_time", "1582527401"), "clock_backwards"),
        (event(11).with("rel_code", "one"), "unusable_number"),
    ];
    let total = cases.len() as f64;
    for (query, anomaly) in cases {
        let kind = [("kind", anomaly)];
        let before = exporter.metrics().value("planet_exporter_anomalies_total", &kind);
        assert_eq!(exporter.send(&query.encode()).status, 200, "{anomaly}");
        assert_eq!(
            exporter.metrics().value("planet_exporter_anomalies_total", &kind),
            before + 1.0,
            "{anomaly}"
        );
    }
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), total);
    let abnormal = page.named("planet_call_abnormal_releases_total");
    let unknown = abnormal.iter().filter(|(labels, _)| labels["disconnect_reason"] == "UNKNOWN");
    assert_eq!(unknown.map(|(_, value)| *value).sum::<f64>(), 1.0);
    let by_number = |labels: &BTreeMap<String, String>| labels["disconnect_reason"] == "1999";
    assert!(page.named("planet_calls_total").keys().any(by_number), "an unknown reason keeps its number");
}

#[test]
fn an_answer_tells_what_is_wrong_with_the_request() {
    let exporter = Exporter::start();
    assert_eq!(exporter.get("/elsewhere").status, 404);
    assert_eq!(exporter.get(&format!("/call_event/more?{DOCUMENTED_SAMPLE}")).status, 404);
    assert_eq!(exporter.get(&format!("/CALL_EVENT?{DOCUMENTED_SAMPLE}")).status, 404);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"] {
        let path = format!("/call_event?{DOCUMENTED_SAMPLE}");
        let answer = http::request(exporter.call_events, method, &path, &[]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")), "{method}");
    }
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), 0.0);
    assert_eq!(page.value("planet_exporter_requests_total", &[("code", "404")]), 3.0);
    assert_eq!(page.value("planet_exporter_requests_total", &[("code", "405")]), 6.0);
}

#[test]
fn a_uri_may_be_as_long_as_configured_and_no_longer() {
    let longest_path_and_query = |bytes: usize, number: usize| {
        let query = format!(
            "/call_event?{}&app_svr_data=",
            CallEventQuery::new(number).without("app_svr_data").encode()
        );
        let padding = "x".repeat(bytes - query.len());
        query + &padding
    };
    let by_default = Exporter::start();
    assert_eq!(by_default.get(&longest_path_and_query(32 * 1024, 1)).status, 200);
    assert_eq!(by_default.get(&longest_path_and_query(32 * 1024 + 1, 2)).status, 414);
    assert_eq!(by_default.get(&longest_path_and_query(100_000, 3)).status, 414);
    assert_eq!(by_default.accepted(), 1.0);
    let page = by_default.metrics();
    assert_eq!(page.value("planet_exporter_requests_total", &[("code", "414")]), 1.0);
    // Whose calls are lost learns of it: what could be read is counted, said, and kept as far as it tells which call it was.
    assert_eq!(page.value("planet_exporter_events_total", &[("result", "refused")]), 1.0);
    let line = by_default.process.stderr.wait_for("a call event that is too large");
    assert!(line.contains("32769 bytes") && line.contains("--max-uri-bytes allows 32768"), "{line}");
    let kept = by_default.admin("/refused").json();
    let text = |name: &str| kept[name].as_str().expect("a text").to_owned();
    assert!(text("reason").starts_with("too_large: "), "{kept}");
    assert!(text("query").starts_with("sid=00000002") && text("query").len() <= 1024, "{kept}");

    let largest = Exporter::with(&["--max-uri-bytes", "65534"]);
    assert_eq!(largest.get(&longest_path_and_query(65_534, 1)).status, 200);
    assert_eq!(largest.get(&longest_path_and_query(65_535, 2)).status, 414);
    assert_eq!(largest.accepted(), 1.0);
}

#[test]
fn the_callback_is_where_it_was_configured_to_be() {
    let exporter = Exporter::with(&["--call-event-path", "/planet/ended"]);
    assert_eq!(exporter.get(&format!("/planet/ended?{DOCUMENTED_SAMPLE}")).status, 200);
    assert_eq!(exporter.send(DOCUMENTED_SAMPLE).status, 404);
    assert_eq!(exporter.accepted(), 1.0);
}

#[test]
fn the_older_generation_of_the_callback_is_read_by_its_own_reasons() {
    let exporter = Exporter::start();
    let older = |number, rest: &str| {
        let sid = sid(number);
        let query = format!(
            "sid={sid}&type=A&from_user_id=1&from_service_id=a&to_user_id=2&to_service_id=b&setup_time=1600000000\
             &start_time=0&end_time=1600000009&duration=0&terminate=16&srcip=1.2.3.4&dstip=1.2.3.5&rel_code=9&{rest}"
        );
        assert_eq!(exporter.send(&query).status, 200);
    };
    older(1, "rel_code_str=X&call_end_reason=1001&releaser=responder");
    older(2, "rel_code_str=X&call_end_reason=1010&releaser=mcs-1.example");
    older(3, "rel_code_str=X&releaser=initiator");
    older(4, "rel_code_str=CANCEL&releaser=initiator");
    let page = exporter.metrics();
    let calls = |reason, fault_domain, releaser| {
        let labels = [
            ("media_type", "audio"),
            ("idc", "other"),
            ("disconnect_reason", reason),
            ("fault_domain", fault_domain),
            ("releaser", releaser),
            ("answered", "false"),
        ];
        page.value("planet_calls_total", &labels)
    };
    assert_eq!(calls("LEGACY_CALLEE_BUSY", "user", "callee"), 1.0);
    assert_eq!(calls("LEGACY_CALLER_NETWORK_ERROR", "network", "cloud_server"), 1.0);
    // Cause 16 proves nothing where nobody answered.
    assert_eq!(calls("other", "unknown", "caller"), 1.0);
    assert_eq!(calls("other", "user", "caller"), 1.0);
    assert_eq!(page.sum("planet_exporter_anomalies_total"), 0.0);
}

#[test]
fn forged_idcs_and_reasons_take_no_label_from_honest_calls() {
    let exporter = Exporter::with(&["--idcs", "lab-1"]);
    for number in 0..100 {
        let forged = CallEventQuery::new(number).with("rc_idc", &format!("X{number}"));
        assert_eq!(
            exporter.send(&forged.with("disconnect_reason", &format!("{}", 5_000 + number)).encode()).status,
            200
        );
    }
    for (number, idc) in [(100, "KR"), (101, "lab-1"), (102, "ZZ")] {
        assert_eq!(exporter.send(&CallEventQuery::new(number).with("rc_idc", idc).encode()).status, 200);
    }
    let page = exporter.metrics();
    let of_idc = |idc: &str| -> f64 {
        let calls = page.named("planet_calls_total");
        calls.iter().filter(|(labels, _)| labels["idc"] == idc).map(|(_, value)| value).sum()
    };
    assert_eq!(["KR", "lab-1", "other"].map(of_idc), [1.0, 1.0, 101.0]);
    assert_eq!(page.value("planet_exporter_anomalies_total", &[("kind", "unusual_idc")]), 101.0);
    assert_eq!(page.value("planet_exporter_label_overflows_total", &[("limit", "disconnect_reason")]), 36.0);
}

#[test]
fn services_are_told_apart_where_they_are_named() {
    let exporter = Exporter::with(&["--services", "shop,chat"]);
    for (number, service) in ["shop", "shop", "game"].into_iter().enumerate() {
        let query = CallEventQuery::new(number).with("from_service_id", service);
        assert_eq!(exporter.send(&query.with("user_rel_code", "APP\n7").encode()).status, 200);
    }
    let page = exporter.metrics();
    let releases = |service| {
        page.value("planet_call_user_releases_total", &[("user_rel_code", "APP7"), ("service", service)])
    };
    assert_eq!((releases("shop"), releases("other")), (2.0, 1.0));
    let abnormal = page.named("planet_call_abnormal_releases_total");
    assert!(abnormal.iter().any(|(labels, value)| labels["service"] == "chat" && *value == 0.0));
}
