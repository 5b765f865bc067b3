//! The promise: who follows calls sees each as it comes, once, for as long as that takes, and holds up neither the end of the exporter nor
//! anybody else.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use support::Scratch;
use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::http::Connection;

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
    // One that ended by itself has no place any more.
    assert!(follow(&exporter, "&until=1s").receive_chunk().is_empty());
    assert!(followers[0].receive_chunk().is_empty());
    followers[0] = follow(&exporter, "");
    send(&exporter, 0);
    for follower in &mut followers {
        assert_eq!(next(follower, 1), [sid(0)]);
    }
}
