//! The promise: the status says what is wrong, where and since when, to people and to programs, the same before and
//! after a kill, and names nobody.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::http;
use support::state::journal_of;
use support::{Scratch, eventually, listen_address};

fn status(exporter: &Exporter) -> Value {
    let answer = exporter.admin("/status.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    answer.json()
}

fn part(status: &Value, name: &str) -> Value {
    let parts = status["parts"].as_array().expect("parts");
    parts.iter().find(|part| part["name"] == name).unwrap_or_else(|| panic!("no {name} in {parts:?}")).clone()
}

/// Three hours of calls until now, of which those of the last 40 minutes fail in one of two IDCs. Answers when that began.
fn with_an_incident(state: &Path) -> SystemTime {
    let now = SystemTime::now();
    let began = now - Duration::from_secs(40 * 60);
    let calls = (0..3 * 3_600 / 2).map(|number| {
        let received_at = now - Duration::from_secs(3 * 3_600 - 2 * number as u64);
        let is_korean = number % 2 == 0;
        let query = CallEventQuery::new(number).with("rc_idc", if is_korean { "KR" } else { "JP" });
        let fails = is_korean && received_at >= began && number % 4 == 0;
        let query = if fails {
            query
                .with("disconnect_reason", "1305")
                .with("duration", "0")
                .with("billing_sec", "0")
                .with("releaser_type", "4")
        } else {
            query
        };
        (received_at, query.encode())
    });
    journal_of(state, calls);
    began
}

#[test]
fn an_incident_is_told_by_curl_alone_and_the_same_after_a_kill() {
    let scratch = Scratch::new("status");
    let state = scratch.0.join("state");
    let began = with_an_incident(&state);
    let start = || Exporter::launch(command().arg("--state-dir").arg(&state));
    let exporter = start();
    let before =
        eventually("the whole day", || Some(status(&exporter)).filter(|status| status["is_whole"] == true));
    assert_eq!(before["is_well"], false, "{before}");
    let finding = &before["findings"][0];
    let text = finding["text"].as_str().expect("a text");
    for told in ["only in KR", "SERVER_INTERNAL_ERROR", "platform"] {
        assert!(text.contains(told), "{told} in {text}");
    }
    let since = humantime::parse_rfc3339(finding["since"].as_str().expect("a time")).expect("a time");
    let off = since.duration_since(began).unwrap_or_else(|error| error.duration());
    assert!(off <= Duration::from_secs(120), "it began at {began:?}, and not at {since:?}");
    // From there on, one step leads to the next.
    let next: Vec<&str> =
        finding["next"].as_array().expect("paths").iter().filter_map(Value::as_str).collect();
    assert_eq!(next.len(), 3);
    for (path, told) in next.iter().zip(["rc_idc=KR", "SERVER_INTERNAL_ERROR", "SERVER_INTERNAL_ERROR"]) {
        let answer = exporter.admin(path);
        assert!(answer.status == 200 && answer.text().contains(told), "{path}: {}", answer.text());
    }
    let page = exporter.admin("/").text();
    assert!(page.contains("only in KR") && page.contains("SERVER_INTERNAL_ERROR"), "{page}");
    for identity in ["9286", "2809", "1.2.3.4"] {
        assert!(
            !page.contains(identity) && !before.to_string().contains(&format!("\"{identity}")),
            "{identity}"
        );
    }
    exporter.kill();
    let exporter = start();
    let after =
        eventually("the whole day", || Some(status(&exporter)).filter(|status| status["is_whole"] == true));
    for member in ["counted_calls", "latest_abnormal_calls"] {
        assert_eq!(before[member], after[member], "{member}");
    }
    for window in ["60m", "24h"] {
        // A minute may have gone by.
        let [before, after] =
            [&before, &after].map(|status| status["calls"][window]["abnormal"].as_u64().expect("a number"));
        assert!(before.abs_diff(after) <= 8, "{window}: {before}, {after}");
    }
}

#[test]
fn each_day_can_be_held_against_an_invoice_also_after_a_kill() {
    let scratch = Scratch::new("usage");
    let state = scratch.0.join("state");
    let now = SystemTime::now();
    let calls = (0..90).map(|number| {
        let received_at = now - Duration::from_secs(24 * 3_600) * (2 - number as u32 / 30);
        let media_type = if number % 3 == 0 { "A" } else { "V" };
        let query = CallEventQuery::new(number)
            .with("type", media_type)
            .with("duration", "60")
            .with("billing_sec", "61");
        (received_at, query.encode())
    });
    journal_of(&state, calls);
    let start = || {
        Exporter::launch(command().arg("--state-dir").arg(&state).args(["--services", "caller-service-id"]))
    };
    let exporter = start();
    let answer = exporter.admin("/usage");
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/jsonl; charset=utf-8"))
    );
    let lines: Vec<Value> =
        answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let days: Vec<_> = lines.iter().map(|line| line["day"].as_str().expect("a day")).collect();
    assert!(days.is_sorted() && days.len() == 6, "{days:?}");
    let expected = [("audio", 10, 600.0, 610), ("video", 20, 1_200.0, 1_220)];
    for (line, (media_type, calls, duration, billed)) in lines.iter().zip(expected.into_iter().cycle()) {
        let seconds = (&line["duration_seconds"], &line["billed_seconds"]);
        assert_eq!(
            (&line["media_type"], &line["calls"], seconds),
            (&json!(media_type), &json!(calls), (&json!(duration), &json!(billed)))
        );
        assert_eq!((&line["service"], &line["answered"]), (&json!("caller-service-id"), &json!(calls)));
    }
    exporter.kill();
    assert_eq!(start().admin("/usage").text(), answer.text());
}

#[test]
fn the_page_takes_nothing_from_elsewhere_and_may_do_nothing_else() {
    let exporter = Exporter::start();
    let page = exporter.admin("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.text().contains("All is well."));
    for (path, content_type) in
        [("/style.css", "text/css; charset=utf-8"), ("/status.js", "text/javascript; charset=utf-8")]
    {
        let answer = exporter.admin(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)));
    }
    assert_eq!(http::request(exporter.admin, "HEAD", "/status.json", &[]).status, 200);
    assert_eq!(http::request(exporter.admin, "POST", "/status.json", &[]).status, 405);
    let status = status(&exporter);
    assert_eq!((&status["is_well"], &status["counted_calls"]), (&json!(true), &json!(0)));
}

#[test]
fn a_collector_that_is_away_is_told_with_its_reason_and_since_when() {
    let collector = listen_address();
    let endpoint = format!("http://{collector}");
    let mut command = command();
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let exporter = Exporter::launch(&mut command);
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 200);
    for name in ["spans", "otlp_metrics"] {
        let part = eventually("trouble", || {
            Some(part(&status(&exporter), name)).filter(|part| part["state"] == "failing")
        });
        let reason = part["reason"].as_str().expect("a reason");
        assert!(reason.contains("refused"), "{reason}");
        assert!(part["since"].is_string());
    }
    assert_eq!(part(&status(&exporter), "spans")["backlog"], 1);
    let receiver = support::otlp_receiver::OtlpReceiver::start_at(collector, []);
    eventually("all well", || (status(&exporter)["is_well"] == true).then_some(()));
    eventually("no backlog", || (part(&status(&exporter), "spans")["backlog"] == 0).then_some(()));
    drop(receiver);
}

/// A service that refuses everything with 503 and says in the body what it was asked. Answers where it is.
fn service_that_repeats_what_it_is_asked() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            let _ = reader.read_line(&mut line);
            let mut header = String::new();
            while reader.read_line(&mut header).is_ok_and(|bytes| bytes > 2) {
                header.clear();
            }
            let body = format!("no such user: {line}");
            let head =
                format!("HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    address
}

#[test]
fn what_a_service_says_of_a_caller_is_not_told() {
    let service = format!("http://{}", service_that_repeats_what_it_is_asked());
    let exporter = Exporter::with(&["--forward-to", &service]);
    let caller = CallEventQuery::new(1).with("from_user_id", "somebody-in-particular");
    assert_eq!(exporter.send(&caller.encode()).status, 200);
    let part = eventually("trouble", || {
        Some(part(&status(&exporter), "service")).filter(|part| part["state"] == "failing")
    });
    assert!(part["reason"].as_str().is_some_and(|reason| reason.ends_with("it answered 503")), "{part}");
    for path in ["/", "/status.json"] {
        assert!(!exporter.admin(path).text().contains("somebody-in-particular"), "{path}");
    }
}
