//! The promise: a pod that ends acknowledges no call that dies with it. From the beginning of its deletion on, when its
//! preStop hook has the exporter drain, clients are sent elsewhere, and what only the pod would keep is acknowledged by
//! the service behind or not at all.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use support::authority::Authority;
use support::backend::Backend;
use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::http::{Connection, Response};
use support::scrape::Series;
use support::service::{Answer, Service};
use support::{Scratch, eventually, listen_address};

fn call_event(number: usize) -> String {
    format!("/call_event?{}", CallEventQuery::new(number).encode())
}

/// A command that asks the exporter's admin port.
fn ask(exporter: &Exporter, arguments: &[&str]) -> Output {
    let admin = exporter.admin.to_string();
    command().args(arguments).args(["--admin-listen", &admin]).output().expect("it runs")
}

fn drain(exporter: &Exporter) {
    let output = ask(exporter, &["drain"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a call gets on a connection that its client would keep: the status, and whether the exporter closes it.
fn says_close(exporter: &Exporter, number: usize) -> (u16, bool) {
    let answer = Connection::open(exporter.call_events).get(&call_event(number));
    (answer.status, answer.header("connection") == Some("close"))
}

/// An exporter whose state goes with its pod, in front of a service.
fn of_pod(scratch: &Scratch, service: &str) -> Command {
    let mut command = command();
    command.arg("--state-dir").arg(scratch.0.join("state"));
    command.args(["--state-ephemeral", "true", "--forward-to", service]);
    command
}

#[test]
fn draining_sends_clients_elsewhere_and_goes_on_serving() {
    let exporter = Exporter::start();
    let mut connection = Connection::open(exporter.call_events);
    assert_eq!(connection.get(&call_event(0)).header("connection"), None);
    for _ in 0..2 {
        drain(&exporter);
    }
    assert_eq!(connection.get(&call_event(1)).header("connection"), Some("close"));
    assert_eq!(connection.receive_until_closed(), b"");
    assert_eq!(says_close(&exporter, 2), (200, true));
    for path in ["/readyz", "/livez"] {
        assert_eq!(exporter.admin(path).status, 200, "{path}");
    }
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 3.0);
    let lines = exporter.process.stderr.all();
    assert_eq!(lines.iter().filter(|line| line.contains("draining")).count(), 1, "{lines:?}");
}

#[test]
fn only_this_host_can_have_it_drain_whatever_credentials_there_are() {
    let scratch = Scratch::new("drain-access");
    let token = scratch.0.join("token");
    fs::write(&token, "0123456789abcdef\n").expect("a file");
    let exporter = Exporter::launch(command().arg("--admin-bearer-token-file").arg(&token));
    let post = |connection: &mut Connection, headers: &str| -> Response {
        connection.send(format!("POST /-/drain HTTP/1.1\r\nhost: a\r\n{headers}content-length: 0\r\n\r\n"));
        connection.receive()
    };
    let mut elsewhere = Connection::open_from(Ipv4Addr::new(127, 0, 0, 2).into(), exporter.admin);
    assert_eq!(post(&mut elsewhere, "authorization: Bearer 0123456789abcdef\r\n").status, 403);
    let mut here = Connection::open(exporter.admin);
    assert_eq!(post(&mut here, "x-forwarded-for: 127.0.0.1\r\n").status, 403, "a proxy delivers it");
    let got = here.get("/-/drain");
    assert_eq!((got.status, got.header("allow")), (405, Some("POST")));
    assert_eq!(says_close(&exporter, 0), (200, false), "it does not drain");

    drain(&exporter);
    assert_eq!(says_close(&exporter, 1), (200, true));
}

#[test]
fn commands_reach_an_admin_port_that_speaks_tls() {
    let authority = Authority::new("drain-tls");
    let (certificate, key) = authority.issue("localhost");
    authority.file("tls.crt", &certificate);
    authority.file("tls.key", &key);
    let web = authority.file("web.yml", "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n");
    let exporter = Exporter::launch_unready(command().arg("--admin-web-config-file").arg(&web));
    let web = web.to_str().expect("UTF-8");
    eventually("it is ready", || {
        ask(&exporter, &["probe", "/readyz", "--admin-web-config-file", web]).status.success().then_some(())
    });
    assert!(!ask(&exporter, &["probe"]).status.success(), "plain HTTP to a port that speaks TLS");
    assert!(ask(&exporter, &["drain", "--admin-web-config-file", web]).status.success());
    assert_eq!(says_close(&exporter, 0), (200, true));
}

#[test]
fn a_probe_says_how_an_exporter_is() {
    let exporter = Exporter::start();
    let probe = |path: &str| {
        let output = ask(&exporter, &["probe", path]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
        (output.status.code(), said)
    };
    assert_eq!(probe("/livez"), (Some(0), "ok\n".to_owned()));
    let (code, said) = probe("/readyz?verbose");
    assert!(code == Some(0) && said.contains("starting: ok\n"), "{said}");
    let (code, said) = probe("/nowhere");
    assert!(code == Some(1) && said.contains("answers 404: not found"), "{said}");
    let (code, said) = probe("livez");
    assert!(code == Some(1) && said.contains("expected a path such as /livez"), "{said}");

    let nobody = listen_address();
    for command_name in ["probe", "drain"] {
        let output = command().args([command_name, "--admin-listen", &nobody.to_string()]).output();
        let output = output.expect("it runs");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.code() == Some(1) && said.contains(&nobody.to_string()), "{said}");
    }
}

#[test]
fn what_would_die_with_the_pod_is_the_services_to_acknowledge() {
    for mode in ["stored", "inline"] {
        let scratch = Scratch::new("drain-pod");
        let address = listen_address();
        let exporter =
            Exporter::launch(of_pod(&scratch, &format!("http://{address}")).args(["--forward-mode", mode]));
        let totals = || exporter.metrics().sum("planet_calls_total");
        drain(&exporter);

        // Nobody listens.
        let answer = exporter.get(&call_event(0));
        assert_eq!(answer.status, 503, "{mode}");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(totals(), 0.0, "what is not acknowledged comes again, maybe to another pod");
        let result = |result| exporter.metrics().value("planet_exporter_events_total", &[("result", result)]);
        assert_eq!((result("not_taken"), result("unavailable")), (1.0, 0.0), "the disk is well");

        let service = Service::start_at(address);
        service.answer(|request| match &request.sid() {
            first if *first == sid(1) => Answer::Send(201, "x-own: yes\r\n", b"taken".to_vec()),
            second if *second == sid(2) => Answer::status(500),
            third if *third == sid(3) => Answer::status(400),
            _ => Answer::status(200),
        });
        let answer = exporter.get(&call_event(1));
        assert_eq!(
            (answer.status, answer.header("x-own"), answer.text().as_str()),
            (201, Some("yes"), "taken")
        );
        assert_eq!(totals(), 1.0);
        assert_eq!(exporter.get(&call_event(2)).status, 500);
        assert_eq!(totals(), 1.0, "the service does not have it");
        assert_eq!(exporter.get(&call_event(3)).status, 400);
        assert_eq!(totals(), 2.0, "the service will never have it");
        let repeat = exporter.get(&call_event(1));
        assert_eq!((repeat.status, repeat.header("planet-exporter-result")), (201, Some("duplicate")));
        assert_eq!(exporter.get(&call_event(0)).status, 200, "it comes again, and counts now");
        assert_eq!(totals(), 3.0);

        if mode == "stored" {
            let backlog = || exporter.metrics().value("planet_exporter_backlog", &[("sink", "service")]);
            eventually("the sink has passed them", || (backlog() == 0.0).then_some(()));
        }
        let arrived: Vec<_> = service.requests().iter().map(|request| request.sid()).collect();
        assert_eq!(arrived, [1, 2, 3, 1, 0].map(sid), "{mode}: none is delivered a second time");
        drop(service);
        let repeat = exporter.get(&call_event(1));
        assert_eq!((repeat.status, repeat.header("planet-exporter-result")), (200, Some("duplicate")));
        assert_eq!((totals(), result("duplicate")), (3.0, 2.0), "sent elsewhere, it would count twice");
    }
}

/// A service that takes connections and says nothing does not keep the exporter from ending in time.
#[test]
fn a_service_that_hangs_does_not_take_the_time_of_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let mut exporter = Exporter::with(&["--forward-to", &url, "--shutdown-timeout", "1m"]);
    drain(&exporter);
    let mut connection = Connection::open(exporter.call_events);
    connection.send(format!("GET {} HTTP/1.1\r\nhost: a\r\n\r\n", call_event(0)));
    let _asked = listener.accept().expect("the service is asked");
    exporter.process.signal("TERM");
    let answer = connection.receive();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(exporter.process.wait().code(), Some(0));
}

#[test]
fn a_hook_waits_even_if_the_exporter_does_not_drain() {
    let exporter = Exporter::with(&["--admin-trust-loopback", "never"]);
    let started = Instant::now();
    let output = ask(&exporter, &["drain", "--wait", "300ms"]);
    assert!(started.elapsed() >= Duration::from_millis(300));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.code() == Some(1) && said.contains("answers 403"), "{said}");
}

#[test]
fn what_outlives_the_pod_is_stored_and_acknowledged_as_ever() {
    let scratch = Scratch::new("drain-volume");
    let address = listen_address();
    let exporter = Exporter::launch(
        command()
            .arg("--state-dir")
            .arg(scratch.0.join("state"))
            .args(["--forward-to", &format!("http://{address}")]),
    );
    drain(&exporter);
    assert_eq!(exporter.get(&call_event(0)).status, 200);
    let service = Service::start_at(address);
    eventually("it is delivered", || (service.requests().len() == 1).then_some(()));
}

/// What LINE Planet does: calls on connections that it keeps open, and again what was not acknowledged, somewhere else.
#[test]
fn every_call_that_a_pod_acknowledges_reaches_its_service_though_that_ends_first() {
    for is_on_disk in [true, false] {
        let scratch = Scratch::new("drain-load");
        let (service, received) = (Service::start(), Arc::new(Mutex::new(BTreeSet::new())));
        let keep = Arc::clone(&received);
        service.answer(move |request| {
            keep.lock().expect("no panic").insert(request.sid());
            Answer::status(200)
        });
        let mut command = match is_on_disk {
            true => of_pod(&scratch, &service.url()),
            false => {
                let mut command = command();
                command.args(["--forward-to", &service.url()]);
                command
            }
        };
        let mut exporter = Exporter::launch(&mut command);
        let is_over = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (address, is_over) = (exporter.call_events, Arc::clone(&is_over));
                let acknowledged = Arc::clone(&acknowledged);
                thread::spawn(move || {
                    let mut connection = None;
                    for number in (client..).step_by(4) {
                        if is_over.load(Ordering::SeqCst) {
                            break;
                        }
                        let mut open = connection.take().unwrap_or_else(|| Connection::open(address));
                        let answer = open.get(&call_event(number));
                        match answer.status {
                            200 => drop(acknowledged.lock().expect("no panic").insert(sid(number))),
                            503 => {}
                            other => panic!("{other}"),
                        }
                        connection = (answer.header("connection") != Some("close")).then_some(open);
                    }
                })
            })
            .collect();
        let calls = || exporter.metrics().sum("planet_calls_total");
        eventually("calls", || (calls() > 100.0).then_some(()));
        drain(&exporter);
        eventually("calls while it drains", || (calls() > 400.0).then_some(()));
        // A service that ends gives what was acknowledged before the time of its own preStop hook.
        let before = acknowledged.lock().expect("no panic").clone();
        let is_there = || before.is_subset(&received.lock().expect("no panic"));
        eventually("what was acknowledged before it drained", || is_there().then_some(()));
        // It closes its listener and its connections, and the pod goes on.
        drop(service);
        let not_taken =
            || exporter.metrics().value("planet_exporter_events_total", &[("result", "not_taken")]);
        eventually("calls without a service", || (not_taken() > 20.0).then_some(()));
        is_over.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().expect("no panic"));
        let acknowledged = acknowledged.lock().expect("no panic");
        let received = received.lock().expect("no panic");
        let lost: Vec<_> = acknowledged.difference(&received).collect();
        assert!(lost.is_empty(), "on disk: {is_on_disk}; lost of {}: {lost:?}", acknowledged.len());
        assert_eq!(calls(), acknowledged.len() as f64);
        exporter.process.signal("TERM");
        assert_eq!(exporter.process.wait().code(), Some(0));
        assert!(exporter.process.stderr.find("ended before all events were delivered").is_none());
    }
}

#[test]
fn what_is_left_when_the_pod_goes_is_lost_and_that_is_said_and_counted() {
    let scratch = Scratch::new("drain-left");
    let (address, backend) = (listen_address(), Backend::start());
    let start = || {
        let collector = format!("http://{}", backend.address());
        let mut command = of_pod(&scratch, &format!("http://{address}"));
        Exporter::launch(
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).env("OTEL_TRACES_EXPORTER", "none"),
        )
    };
    let mut exporter = start();
    for number in 0..3 {
        assert_eq!(exporter.get(&call_event(number)).status, 200);
    }
    drain(&exporter);
    exporter.process.signal("TERM");
    assert_eq!(exporter.process.wait().code(), Some(0));
    let line = exporter.process.stderr.find("ended before all events were delivered").expect("a line");
    assert!(line.contains("\"events\":3") && line.contains("lost, unless the container starts"), "{line}");

    let lost = |(name, labels): &Series| {
        name == "planet_exporter_dropped_events_total"
            && labels.get("cause").is_some_and(|cause| cause == "shutdown")
    };
    let pushed: f64 =
        backend.received().series.iter().filter(|(series, _)| lost(series)).map(|(_, value)| value).sum();
    assert_eq!(pushed, 3.0, "it is in the last push of metrics");

    // The container started again in the same pod.
    let service = Service::start_at(address);
    let exporter = start();
    eventually("they are delivered", || (service.requests().len() == 3).then_some(()));
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 3.0);
}
