//! The promise: whatever the service does with some call events, it gets the others, and in the end all of them.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::http::Connection;
use support::service::{Answer, Service};
use support::{Scratch, eventually};

/// The first number of the events that the service takes at once.
const HONEST: usize = 100_000;

fn start(service: &Service, state: &Path) -> Exporter {
    Exporter::launch(command().args(["--forward-to", &service.url(), "--state-dir"]).arg(state))
}

/// Sends events with these numbers over several connections; `caller` says who called.
fn send(address: SocketAddr, numbers: std::ops::Range<usize>, caller: fn(usize) -> String) {
    const CONNECTIONS: usize = 16;
    thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let numbers = numbers.clone().skip(connection).step_by(CONNECTIONS);
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                for number in numbers {
                    let query = CallEventQuery::new(number).with("from_user_id", &caller(number)).encode();
                    assert_eq!(connection.get(&format!("/call_event?{query}")).status, 200);
                }
            });
        }
    });
}

/// How often each event arrived.
fn arrivals(service: &Service) -> BTreeMap<String, usize> {
    let mut arrivals = BTreeMap::new();
    for request in service.requests() {
        *arrivals.entry(request.sid()).or_default() += 1;
    }
    arrivals
}

fn eventually_honest(service: &Service, number: usize) {
    eventually("the honest events", || {
        let arrivals = arrivals(service);
        (HONEST..HONEST + number).all(|number| arrivals.contains_key(&sid(number))).then_some(())
    });
}

fn waiting(exporter: &Exporter) -> f64 {
    exporter.metrics().value("planet_exporter_backlog", &[("sink", "service")])
}

fn sids(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(sid).collect()
}

#[test]
fn a_service_that_answers_but_takes_nothing_is_said_once() {
    let (service, scratch) = (Service::start(), Scratch::new("deliveries-nothing"));
    service.answer(|_| Answer::status(500));
    let exporter = start(&service, &scratch.0.join("state"));
    send(exporter.call_events, HONEST..HONEST + 40, |number| number.to_string());
    let nothing = "the service behind takes no event";
    let said = exporter.process.stderr.wait_for(nothing);
    assert!(said.contains("500"), "{said}");
    service.answer(|_| Answer::status(200));
    exporter.process.stderr.wait_for("the service behind takes events again");
    eventually_honest(&service, 40);
    eventually("no backlog", || (waiting(&exporter) == 0.0).then_some(()));
    assert_eq!(exporter.process.stderr.all().iter().filter(|line| line.contains(nothing)).count(), 1);
}

#[test]
fn a_caller_whose_events_fail_holds_up_nobody_else_also_after_a_kill() {
    let (service, scratch) = (Service::start(), Scratch::new("deliveries-fail"));
    let state = scratch.0.join("state");
    let failing = sids(0..1);
    service.answer(move |request| Answer::status(if failing.contains(&request.sid()) { 500 } else { 200 }));
    let exporter = start(&service, &state);
    send(exporter.call_events, 0..1, |_| "failing".to_owned());
    send(exporter.call_events, 1..1_100, |_| "failing".to_owned());
    send(exporter.call_events, HONEST..HONEST + 700, |number| number.to_string());
    eventually_honest(&service, 700);
    eventually("a backlog of one caller", || (waiting(&exporter) == 1_100.0).then_some(()));
    exporter.kill();

    let exporter = start(&service, &state);
    send(exporter.call_events, HONEST + 700..HONEST + 800, |number| number.to_string());
    eventually_honest(&service, 800);
    eventually("a backlog of one caller again", || (waiting(&exporter) == 1_100.0).then_some(()));
    service.answer(|_| Answer::status(200));
    eventually("no backlog", || (waiting(&exporter) == 0.0).then_some(()));
    let arrivals = arrivals(&service);
    assert!((1..1_100).all(|number| arrivals[&sid(number)] == 1), "those behind it come once");
    assert_eq!(arrivals.len(), 1_900);
}

#[test]
fn a_caller_with_many_events_holds_up_nobody_else() {
    let (service, scratch) = (Service::start(), Scratch::new("deliveries-many"));
    service.answer(|_| Answer::SendAfter(Duration::from_millis(50), 200));
    let exporter = start(&service, &scratch.0.join("state"));
    send(exporter.call_events, 0..3_000, |_| "bot".to_owned());
    send(exporter.call_events, HONEST..HONEST + 500, |number| number.to_string());
    eventually_honest(&service, 500);
    assert!(waiting(&exporter) > 1_000.0, "the many still wait, one after another");
}

#[test]
fn events_on_which_the_service_hangs_hold_up_nobody_else() {
    let (service, scratch) = (Service::start(), Scratch::new("deliveries-hang"));
    let hanging = sids(0..40);
    service.answer(move |request| match hanging.contains(&request.sid()) {
        true => Answer::SendAfter(Duration::from_secs(3_600), 200),
        false => Answer::status(200),
    });
    let mut command = command();
    // So long that the events which it hangs on do not come to an end within this test.
    let command = command.args(["--forward-to", &service.url(), "--forward-timeout", "1h", "--state-dir"]);
    let exporter = Exporter::launch(command.arg(scratch.0.join("state")));
    send(exporter.call_events, 0..40, |number| number.to_string());
    send(exporter.call_events, HONEST..HONEST + 800, |number| number.to_string());
    eventually_honest(&service, 800);
    eventually("only those that hang", || (waiting(&exporter) == 40.0).then_some(()));
}
