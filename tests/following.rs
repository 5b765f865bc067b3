//! The promise: who follows calls sees each as it comes, once, for as long as that takes, and holds up neither the end
//! of the exporter nor anybody else.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use support::Scratch;
use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::http::{self, Connection};

/// How many may follow.
const MOST: usize = 8;

fn call(number: usize) -> CallEventQuery {
    CallEventQuery::new(number).with("rc_idc", ["KR", "JP"][number % 2])
}

fn send(exporter: &Exporter, number: usize) {
    assert_eq!(exporter.send(&call(number).encode()).status, 200);
}

fn follow(exporter: &Exporter, parameters: &str) -> Connection {
    let mut connection = Connection::open(exporter.admin);
    connection.send(format!("GET /calls?follow=1{parameters} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    let head = connection.receive_head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/jsonl; charset=utf-8")));
    connection
}

/// The sids of so many calls that come next.
fn next(connection: &mut Connection, number: usize) -> Vec<String> {
    let mut lines = String::new();
    while lines.lines().count() < number {
        let chunk = connection.receive_chunk();
        assert!(!chunk.is_empty(), "the end, after {lines:?}");
        lines += str::from_utf8(&chunk).expect("text");
    }
    sids(&lines)
}

fn sids(lines: &str) -> Vec<String> {
    let sid = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["parameters"]["sid"].as_str().expect("a sid").to_owned()
    };
    lines.lines().map(sid).collect()
}

fn sees_each_call_once(mut exporter: Exporter) {
    for number in 0..3 {
        send(&exporter, number);
    }
    let mut all = follow(&exporter, "&limit=2");
    let mut of_jp = follow(&exporter, "&idc=JP");
    assert_eq!(next(&mut all, 2), [1, 2].map(sid));
    assert_eq!(next(&mut of_jp, 1), [sid(1)]);
    for number in 3..9 {
        // A repeat is no call.
        send(&exporter, number);
        send(&exporter, number);
        assert_eq!(next(&mut all, 1), [sid(number)]);
    }
    assert_eq!(next(&mut of_jp, 3), [3, 5, 7].map(sid));
    exporter.process.signal("TERM");
    // Whole, and at once.
    assert!([all, of_jp].iter_mut().all(|connection| connection.receive_chunk().is_empty()));
    assert!(exporter.process.wait().success());
}

#[test]
fn each_call_is_seen_once_as_it_comes() {
    sees_each_call_once(Exporter::start());
    let scratch = Scratch::new("following");
    sees_each_call_once(Exporter::launch(command().arg("--state-dir").arg(scratch.0.join("state"))));
}

/// Sends calls until told to stop, and answers the sids of those that were acknowledged.
fn traffic(exporter: &Exporter, stop: &AtomicBool) -> Vec<String> {
    let mut connection = Connection::open(exporter.call_events);
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let request = format!("GET /call_event?{} HTTP/1.1\r\nhost: a\r\n\r\n", call(number).encode());
        if stop.load(Ordering::Relaxed) || connection.try_send(request).is_err() {
            break;
        }
        match connection.try_receive() {
            Ok(answer) if answer.status == 200 => acknowledged.push(sid(number)),
            Ok(_) | Err(_) => break,
        }
    }
    acknowledged
}

/// All that comes until the end.
fn rest(connection: &mut Connection) -> Vec<String> {
    let chunks = std::iter::from_fn(|| Some(connection.receive_chunk()).filter(|chunk| !chunk.is_empty()));
    let lines = String::from_utf8(chunks.flatten().collect()).expect("text");
    sids(&lines)
}

#[test]
fn every_call_that_was_acknowledged_is_seen_until_the_end() {
    let scratch = Scratch::new("following-to-the-end");
    let mut exporter = Exporter::launch(command().arg("--state-dir").arg(scratch.0.join("state")));
    let stop = AtomicBool::new(false);
    let until = SystemTime::now() + Duration::from_secs(2);
    let until = humantime::format_rfc3339_millis(until).to_string();
    let mut to_moment = follow(&exporter, &format!("&limit=10000&until={until}"));
    let mut to_end = follow(&exporter, "&limit=10000");
    thread::scope(|scope| {
        let acknowledged = scope.spawn(|| traffic(&exporter, &stop));
        let seen = rest(&mut to_moment);
        let expected = exporter.admin(&format!("/calls?limit=10000&until={until}")).text();
        assert_eq!(seen, sids(&expected));
        assert!(!seen.is_empty());
        exporter.process.signal("TERM");
        let seen = rest(&mut to_end);
        stop.store(true, Ordering::Relaxed);
        let acknowledged = acknowledged.join().expect("traffic");
        // The answer to the last one may have been lost.
        assert!(seen.starts_with(&acknowledged), "{} and {}", seen.len(), acknowledged.len());
        assert!(seen.len() <= acknowledged.len() + 1, "{} and {}", seen.len(), acknowledged.len());
    });
    assert!(exporter.process.wait().success());
}

#[test]
fn what_memory_had_no_room_for_is_told() {
    let exporter = Exporter::start();
    let mut follower = follow(&exporter, "");
    let long = "x".repeat(10_000);
    let mut connection = Connection::open(exporter.call_events);
    // More than buffers and memory hold, while the follower takes nothing.
    let number = 2_000;
    for number in 0..number {
        let call = call(number).with("app_svr_data", &long).encode();
        assert_eq!(connection.get(&format!("/call_event?{call}")).status, 200);
    }
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < number as u64 {
        let chunk = follower.receive_chunk();
        let text = String::from_utf8(chunk).expect("text");
        seen += text.matches("\"time\":").count() as u64;
        missed += text
            .split("{\"missed\":")
            .skip(1)
            .filter_map(|rest| rest.split('}').next()?.parse::<u64>().ok())
            .sum::<u64>();
    }
    assert_eq!(seen + missed, number as u64);
    assert!(missed > 0 && seen > 0, "{seen} seen, {missed} missed");
}

#[test]
fn it_ends_when_nothing_more_can_be_asked_for() {
    let exporter = Exporter::start();
    send(&exporter, 0);
    let mut before = follow(&exporter, "&until=1s");
    assert!(before.receive_chunk().is_empty());
}

#[test]
fn one_too_many_takes_the_place_of_the_one_that_has_followed_for_longest() {
    let exporter = Exporter::start();
    let mut followers: Vec<_> = (0..MOST).map(|_| follow(&exporter, "")).collect();
    // Who is shown none of them, or asks for what is over, takes no place.
    assert!(follow(&exporter, "&until=1s").receive_chunk().is_empty());
    assert_eq!(http::request(exporter.admin, "HEAD", "/calls?follow=1", &[]).status, 200);
    send(&exporter, 1);
    for follower in &mut followers {
        assert_eq!(next(follower, 1), [sid(1)]);
    }
    let mut one_more = follow(&exporter, "&limit=1");
    assert_eq!(next(&mut one_more, 1), [sid(1)]);
    assert!(followers[0].receive_chunk().is_empty());
    followers[0] = one_more;
    send(&exporter, 0);
    for follower in &mut followers {
        assert_eq!(next(follower, 1), [sid(0)]);
    }
}
