//! The promise: call events that LINE Planet did not send are turned away by a secret in the URL, by address and by
//! rate; they cost no real call anything, and nobody ever sees the secret.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::call::{CallEventQuery, sid};
use support::exporter::{CALL_EVENT_PATH, Exporter, command};
use support::http::{self, Connection, Response};
use support::scrape::Page;
use support::service::Service;
use support::{Scratch, eventually, listen_address};

const OLD: &str = "9f2c-old-secret-of-the-callback_7Qx";
const NEW: &str = "51bd-new-secret-of-the-callback_7Qx";

/// What stands in both, and in nothing else.
const TRACE: &str = "-secret-of-the-callback_7Qx";

/// A file with these lines, as Kubernetes mounts it: a link to one in a directory that is itself a link.
struct Mounted {
    scratch: Scratch,
    number: AtomicUsize,
}

impl Mounted {
    fn with(lines: &str) -> Mounted {
        let mounted = Mounted { scratch: Scratch::new("mounted-secret"), number: AtomicUsize::new(0) };
        mounted.swap(lines);
        symlink("..data/secret", mounted.path()).expect("a link");
        mounted
    }

    fn path(&self) -> PathBuf {
        self.scratch.0.join("secret")
    }

    /// Puts another directory in the place of the one before, at once.
    fn swap(&self, lines: &str) {
        let name = format!("..{}", self.number.fetch_add(1, Ordering::Relaxed));
        let directory = self.scratch.0.join(&name);
        fs::create_dir(&directory).expect("a directory");
        fs::write(directory.join("secret"), lines).expect("written");
        let link = self.scratch.0.join("..data_tmp");
        symlink(&name, &link).expect("a link");
        fs::rename(&link, self.scratch.0.join("..data")).expect("renamed");
    }
}

fn with_secret(file: &Path) -> Command {
    let mut command = command();
    command.arg("--call-event-secret-file").arg(file);
    command
}

fn query(number: usize) -> String {
    CallEventQuery::new(number).encode()
}

fn call(secret: &str, number: usize) -> String {
    format!("{CALL_EVENT_PATH}?secret={secret}&{}", query(number))
}

fn turned_away(page: &Page, reason: &str) -> f64 {
    page.value("planet_exporter_turned_away_requests_total", &[("reason", reason)])
}

#[track_caller]
fn assert_forbidden(answer: &Response) {
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.json()["status"], 403);
}

#[test]
fn only_who_knows_the_secret_brings_calls() {
    let file = Mounted::with(&format!("{OLD}\n"));
    let service = Service::start();
    let exporter = Exporter::launch(with_secret(&file.path()).args(["--forward-to", &service.url()]));
    let good = [
        call(OLD, 0),
        format!("{CALL_EVENT_PATH}?secret={OLD}?{}", query(1)),
        format!("{CALL_EVENT_PATH}?{}&secret={OLD}", query(2)),
        format!("/{CALL_EVENT_PATH}/?secret={OLD}&{}", query(3)),
        format!("{CALL_EVENT_PATH}?secret=wrong&secret={OLD}&{}", query(4)),
    ];
    for target in &good {
        assert_eq!(exporter.get(target).status, 200, "{target}");
    }
    assert_eq!(exporter.get(&format!("{CALL_EVENT_PATH}?secret={OLD}")).status, 200, "a probe");
    let forged = [
        format!("{CALL_EVENT_PATH}?{}", query(10)),
        call(NEW, 10),
        call("", 10),
        call(&OLD[1..], 10),
        call(&format!("{OLD}x"), 10),
        format!("{CALL_EVENT_PATH}/{OLD}?{}", query(10)),
        format!("{CALL_EVENT_PATH}?notsecret={OLD}&{}", query(10)),
        format!("{CALL_EVENT_PATH}?app_svr_data=secret={OLD}&{}", query(10)),
        CALL_EVENT_PATH.to_owned(),
        format!("{CALL_EVENT_PATH}?sid=1"),
        // The service may take these for its callback.
        format!("/x/..{CALL_EVENT_PATH}?{}", query(10)),
        format!("/CALL_EVENT?{}", query(10)),
        format!("/CALL_EVENT?{}", query(10).replace("sid=", "s%69d=")),
    ];
    for target in &forged {
        assert_forbidden(&exporter.get(target));
    }
    for method in ["HEAD", "POST", "PUT"] {
        assert_eq!(http::request(exporter.call_events, method, &forged[0], &[]).status, 403, "{method}");
    }
    let mut two_hosts = Connection::open(exporter.call_events);
    two_hosts.send(format!("GET {} HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", forged[0]));
    assert_forbidden(&two_hosts.receive());

    // What has nothing to do with call events needs none.
    assert_eq!(exporter.get("/other?secret=5").status, 200);
    eventually("the calls", || (service.requests().len() > good.len()).then_some(()));
    let mut targets: Vec<_> = service.requests().into_iter().map(|request| request.target).collect();
    targets.retain(|target| target != "/other?secret=5");
    let sids =
        targets.iter().filter_map(|target| target.split(['?', '&']).find(|part| part.starts_with("sid=")));
    let mut sids: Vec<_> = sids.map(|part| part.replace("%2D", "-")).collect();
    sids.sort_unstable();
    assert_eq!(sids, (0..good.len()).map(|number| format!("sid={}", sid(number))).collect::<Vec<_>>());
    assert_eq!(targets.len(), good.len(), "nothing forged is passed on: {targets:?}");
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), good.len() as f64);
    assert_eq!(turned_away(&page, "secret"), (forged.len() + 4) as f64);
    assert_eq!((turned_away(&page, "address"), turned_away(&page, "rate")), (0.0, 0.0));
    assert_eq!(page.value("planet_exporter_requests_total", &[("code", "403")]), (forged.len() + 4) as f64);
    for result in ["refused", "wrong_path"] {
        assert_eq!(page.value("planet_exporter_events_total", &[("result", result)]), 0.0);
    }
    assert_eq!(exporter.admin("/refused").text(), "");
    let said = exporter.process.stderr.all().iter().filter(|line| line.contains("turned away")).count();
    assert!((1..=2).contains(&said), "{said} lines");
}

#[test]
fn a_path_with_a_query_of_its_own_takes_the_secret_on_either_side() {
    let file = Mounted::with(OLD);
    let mut command = with_secret(&file.path());
    let exporter = Exporter::launch(command.args(["--call-event-path", "/callback?action=call"]));
    for (number, target) in [
        format!("/callback?action=call&secret={OLD}&"),
        format!("/callback?action=call&secret={OLD}?"),
        format!("/callback?action=call?secret={OLD}&"),
        format!("/callback?secret={OLD}&action=call&"),
        format!("/callback?secret={OLD}&action=call?"),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(exporter.get(&format!("{target}{}", query(number))).status, 200, "{target}");
        assert_forbidden(&exporter.get(&format!("{}{}", target.replace(OLD, NEW), query(10))));
    }
    assert_eq!(exporter.accepted(), 5.0);
}

#[test]
fn a_secret_is_renewed_without_a_call_lost() {
    let file = Mounted::with(&format!("{OLD}\n"));
    let exporter = Exporter::launch(&mut with_secret(&file.path()));
    let mut number = 0;
    let mut answered = |secret: &str| {
        number += 1;
        exporter.get(&call(secret, number)).status
    };
    assert_eq!((answered(OLD), answered(NEW)), (200, 403));
    file.swap(&format!("{OLD}\n{NEW}\n"));
    eventually("the new secret", || (answered(NEW) == 200).then_some(()));
    assert_eq!(answered(OLD), 200);
    // What cannot be used changes nothing, and is said without what is in it.
    file.swap("half of a sec");
    let line = exporter.process.stderr.wait_for("changed and cannot be used");
    assert!(line.contains("--call-event-secret-file") && line.contains("ERROR"), "{line}");
    assert!(!line.contains("half of"), "{line}");
    assert_eq!((answered(OLD), answered(NEW)), (200, 200));
    // At a signal it is read at once.
    exporter.process.signal("HUP");
    exporter.process.stderr.wait_for("SIGHUP: cannot be read again");
    assert_eq!((answered(OLD), answered(NEW)), (200, 200));
    file.swap(NEW);
    exporter.process.signal("HUP");
    exporter.process.stderr.wait_for("SIGHUP: read again");
    assert_eq!((answered(OLD), answered(NEW)), (403, 200));
    let errors = exporter.process.stderr.all();
    let said = errors.iter().filter(|line| line.contains("changed and cannot be used")).count();
    assert_eq!(said, 1, "it is said once");
}

#[test]
fn a_file_that_cannot_be_used_at_the_start_is_named() {
    let scratch = Scratch::new("unusable-secret");
    let file = scratch.0.join("secret");
    for (lines, expected) in
        [(None, "No such file"), (Some(""), "at least one secret"), (Some("too short, 7Qx"), "in line 1")]
    {
        if let Some(lines) = lines {
            fs::write(&file, lines).expect("written");
        }
        let run = |command: &mut Command| {
            let output = command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]).output();
            let output = output.expect("the exporter runs");
            let said = [output.stdout, output.stderr].concat();
            (output.status.code(), String::from_utf8(said).expect("text"))
        };
        let mut checked = command();
        checked.arg("check").arg("--call-event-secret-file").arg(&file);
        for (code, said) in [run(&mut with_secret(&file)), run(&mut checked)] {
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("--call-event-secret-file") && said.contains(expected), "{said}");
            assert!(!said.contains("7Qx"), "{said}");
        }
    }
    fs::write(&file, OLD).expect("written");
    let mut contradicting = with_secret(&file);
    let output =
        contradicting.args(["--call-event-path", "/a?secret=b"]).output().expect("the exporter runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--call-event-path"));
}

/// Every file in a directory with this text in it.
fn files_with(text: &str, directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let has = |file: &PathBuf| {
        let bytes = fs::read(file).expect("a file");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    files.filter(has).collect()
}

#[test]
fn nobody_ever_sees_the_secret() {
    for mode in ["stored", "inline"] {
        let file = Mounted::with(&format!("{OLD}\n{NEW}\n"));
        let scratch = Scratch::new("never-seen");
        let state = scratch.0.join("state");
        let service = Service::start();
        let receiver = support::otlp_receiver::OtlpReceiver::start([]);
        let mut command = with_secret(&file.path());
        command.args(["--forward-to", &service.url(), "--forward-mode", mode, "--identity", "keep"]);
        command.args(["--call-log", "stdout", "--log-level", "trace"]).arg("--state-dir").arg(&state);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint());
        command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").env("OTEL_BSP_SCHEDULE_DELAY", "50");
        let exporter = Exporter::launch(&mut command);

        let contradicting = CallEventQuery::new(1).with("disconnect_reason", "1305").encode();
        let targets = [
            call(OLD, 1),
            call(NEW, 2),
            call(OLD, 1),
            format!("{CALL_EVENT_PATH}?secret={OLD}&{contradicting}"),
            format!("{CALL_EVENT_PATH}?secret={OLD}&type=A"),
            format!("{CALL_EVENT_PATH}?secret={OLD}"),
            format!("{CALL_EVENT_PATH}?{}&secret={OLD}#\"<>", query(3)),
            format!("{CALL_EVENT_PATH}?secret={OLD}&{}&app_svr_data=\"<raw> data\"", query(4)),
            format!("{CALL_EVENT_PATH}?secret={OLD}&{}&unknown_one=1", query(5)),
            format!("/wrong?secret={OLD}&{}", query(6)),
            format!("/other?secret={OLD}&x=1"),
            format!("http://elsewhere{}", call(OLD, 7)),
        ];
        for target in &targets {
            for method in ["GET", "POST"] {
                let mut connection = Connection::open(exporter.call_events);
                let seen_by_proxies = format!("x-original-uri: {target}\r\nreferer: http://a{target}\r\n");
                let fields = format!("host: test\r\nx-other: 1\r\n{seen_by_proxies}\r\n");
                connection.send(format!("{method} {target} HTTP/1.1\r\n{fields}"));
                let answer = connection.receive();
                assert!(!format!("{answer:?} {}", answer.text()).contains(TRACE), "{target}");
            }
        }
        let mut two_hosts = Connection::open(exporter.call_events);
        two_hosts.send(format!("GET {} HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", call(OLD, 8)));
        assert_eq!(two_hosts.receive().status, 400);

        eventually("the spans", || (receiver.taken().len() >= 6).then_some(()));
        let page = exporter.metrics();
        assert_eq!(page.sum("planet_calls_total"), 6.0, "of 1, 2, 3, 4, 5, and 7");
        eventually("the calls at the service", || {
            let requests = service.requests();
            (1..6)
                .all(|number| requests.iter().any(|request| request.target.contains(&query(number)[..20])))
                .then_some(())
        });
        eventually("what was refused in its file", || state.join("refused.jsonl").exists().then_some(()));
        let refused = exporter.admin("/refused").text();
        assert!(refused.lines().count() >= 4, "{refused}");
        let shown = command_output(&["state", state.to_str().expect("text"), "--calls"]);
        let outputs = [
            refused,
            shown,
            exporter.admin("/").text(),
            exporter.admin("/metrics").text(),
            exporter.admin("/readyz?verbose").text(),
            exporter.process.stdout.all().join("\n"),
            exporter.process.stderr.all().join("\n"),
            format!("{:?}", receiver.taken()),
            format!("{:?}", receiver.metrics()),
        ];
        for output in &outputs {
            let line = output.lines().find(|line| line.contains(TRACE));
            assert_eq!(line, None, "{mode}");
        }
        for request in service.requests() {
            assert!(!format!("{request:?}").contains(TRACE), "{mode}: {request:?}");
            let raw = String::from_utf8_lossy(&request.raw_target).into_owned();
            assert!(!raw.contains(TRACE), "{raw}");
        }
        for request in service.requests() {
            assert_eq!(request.header("x-other"), Some("1"), "all else is passed on: {request:?}");
        }
        let call = sid(2).replace('-', "%2D");
        assert!(!files_with(&call, &state).is_empty(), "the calls are there");
        assert_eq!(files_with(TRACE, &state), Vec::<PathBuf>::new());
    }
}

fn command_output(arguments: &[&str]) -> String {
    let output = command().args(arguments).output().expect("the exporter runs");
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8([output.stdout, output.stderr].concat()).expect("text")
}

#[test]
fn a_flood_keeps_no_real_call_out() {
    let file = Mounted::with(OLD);
    let scratch = Scratch::new("flood");
    let mut command = with_secret(&file.path());
    command.args(["--max-rate", "1:1", "--seen-max", "1000", "--refused-max", "10"]);
    let exporter = Exporter::launch(command.arg("--state-dir").arg(scratch.0.join("state")));
    // One that is refused, and is to be there afterwards.
    let refused = format!("{CALL_EVENT_PATH}?secret={OLD}&type=V&marker=kept");
    assert_eq!(exporter.get(&refused).status, 400);
    let (is_over, forged) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = exporter.call_events;
    std::thread::scope(|scope| {
        for flood in 0..3 {
            let (is_over, forged) = (&is_over, &forged);
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                for number in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    // They take the sids of real calls before those come.
                    let target = match flood {
                        0 => format!("{CALL_EVENT_PATH}?{}", query(number % 400)),
                        1 => format!("{CALL_EVENT_PATH}?type=V"),
                        _ => call(NEW, 100_000 + number),
                    };
                    let status = connection.get(&target).status;
                    assert!(status == 403 || status == 429, "{status}");
                    forged.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("a flood", || (forged.load(Ordering::Relaxed) > 100).then_some(()));
        let mut connection = Connection::open(address);
        for number in 0..400 {
            let answer = match number % 10 {
                // A new connection gets its place as well.
                0 => http::get(address, &call(OLD, number)),
                _ => connection.get(&call(OLD, number)),
            };
            assert_eq!(answer.status, 200, "call {number}");
            assert_eq!(answer.header("planet-exporter-result"), None, "call {number} was taken for a repeat");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), 400.0);
    let away = turned_away(&page, "secret") + turned_away(&page, "rate");
    assert_eq!(away, forged.load(Ordering::Relaxed) as f64);
    assert!(turned_away(&page, "rate") > 0.0);
    let kept = exporter.admin("/refused").text();
    assert!(kept.lines().count() == 1 && kept.contains("marker=kept"), "{kept}");
}

/// The answer to a call event with these header fields.
fn sent_with(exporter: &Exporter, number: usize, fields: &[(&str, &str)]) -> u16 {
    let target = format!("{CALL_EVENT_PATH}?{}", query(number));
    http::request(exporter.call_events, "GET", &target, fields).status
}

#[test]
fn an_address_that_is_not_allowed_brings_nothing() {
    let spoofed = [("x-forwarded-for", "203.0.113.7")];
    let exporter = Exporter::with(&["--allow-from", "203.0.113.0/24,2001:db8::/32"]);
    assert_eq!(sent_with(&exporter, 1, &[]), 403);
    assert_eq!(sent_with(&exporter, 1, &spoofed), 403, "nobody is trusted to say so");
    assert_eq!(sent_with(&exporter, 1, &[("forwarded", "for=203.0.113.7")]), 403);
    assert_eq!(turned_away(&exporter.metrics(), "address"), 3.0);
    assert_eq!(exporter.get("/readyz").status, 200, "checks come from elsewhere");
    let allowing = Exporter::with(&["--allow-from", "127.0.0.0/8"]);
    assert_eq!(sent_with(&allowing, 1, &[]), 200);
    assert_eq!(sent_with(&allowing, 2, &[("x-forwarded-for", "198.51.100.1")]), 200);
}

#[test]
fn a_trusted_proxy_says_who_the_client_is_and_the_client_cannot() {
    let networks = ["--allow-from", "203.0.113.0/24", "--trusted-proxies", "127.0.0.1,10.0.0.0/8"];
    let exporter = Exporter::with(&networks);
    for (status, fields) in [
        (200, &[("x-forwarded-for", "203.0.113.7")][..]),
        (200, &[("x-forwarded-for", "198.51.100.1, 203.0.113.7")]),
        (200, &[("x-forwarded-for", "203.0.113.7, 10.1.2.3")]),
        (200, &[("forwarded", "for=203.0.113.7;proto=https, for=10.1.2.3")]),
        (403, &[]),
        (403, &[("x-forwarded-for", "203.0.113.7, 198.51.100.1")]),
        (403, &[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "198.51.100.1")]),
        (403, &[("x-forwarded-for", "203.0.113.7, 198.51.100.1, 10.1.2.3")]),
        (403, &[("x-forwarded-for", "203.0.113.7, unknown")]),
        (403, &[("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=203.0.113.7")]),
        (403, &[("forwarded", "for=198.51.100.1"), ("x-forwarded-for", "203.0.113.7")]),
        (403, &[("forwarded", "for=198.51.100.1;host=\"a,for=203.0.113.7\"")]),
    ] {
        assert_eq!(sent_with(&exporter, 1, fields), status, "{fields:?}");
    }
    assert_eq!(exporter.accepted(), 1.0);
}

#[test]
fn the_address_of_the_proxy_protocol_counts_before_any_header_field() {
    let networks = ["--allow-from", "203.0.113.0/24", "--trusted-proxies", "127.0.0.1"];
    let exporter = Exporter::with(&[&networks[..], &["--proxy-protocol", "required"]].concat());
    for (number, (client, spoofed, status)) in
        [("203.0.113.7", "198.51.100.1", 200), ("198.51.100.1", "203.0.113.7", 403)].into_iter().enumerate()
    {
        let mut connection = Connection::open(exporter.call_events);
        connection.send(format!(
            "PROXY TCP4 {client} 127.0.0.1 4711 20200\r\nGET {CALL_EVENT_PATH}?{} HTTP/1.1\r\nhost: test\r\n\
             x-forwarded-for: {spoofed}\r\n\r\n",
            query(number)
        ));
        assert_eq!(connection.receive().status, status, "{client}");
    }
}

#[test]
fn a_journal_from_before_the_secret_is_read_as_ever() {
    let scratch = Scratch::new("before-the-secret");
    let state = scratch.0.join("state");
    let service = Service::start();
    service.answer(|_| support::service::Answer::status(503));
    let forward = ["--forward-to", &service.url()];
    let exporter = Exporter::launch(command().args(forward).arg("--state-dir").arg(&state));
    for number in 0..5 {
        assert_eq!(exporter.send(&query(number)).status, 200);
    }
    exporter.kill();
    let before = service.requests().len();
    service.answer(|_| support::service::Answer::status(200));
    let file = Mounted::with(OLD);
    let mut command = with_secret(&file.path());
    let exporter = Exporter::launch(command.args(forward).arg("--state-dir").arg(&state));
    let repeat = exporter.get(&call(OLD, 0));
    assert_eq!((repeat.status, repeat.header("planet-exporter-result")), (200, Some("duplicate")));
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 5.0);
    eventually("what waited", || {
        let requests = service.requests();
        (0..5)
            .all(|number| requests[before..].iter().any(|request| request.sid() == sid(number)))
            .then_some(())
    });
}

#[test]
fn a_peer_that_sends_too_much_is_told_when_to_come_again() {
    let exporter = Exporter::with(&["--max-rate", "1:3", "--trusted-proxies", "127.0.0.1"]);
    let from = |client: &str, number| sent_with(&exporter, number, &[("x-forwarded-for", client)]);
    let statuses: Vec<u16> = (0..20).map(|number| from("203.0.113.7", number)).collect();
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert!((3..20).contains(&taken) && statuses[..3] == [200; 3], "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    let fields = [("x-forwarded-for", "203.0.113.7")];
    let target = format!("{CALL_EVENT_PATH}?{}", query(50));
    let answer = eventually("another that is too many", || {
        let answer = http::request(exporter.call_events, "GET", &target, &fields);
        (answer.status == 429).then_some(answer)
    });
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(from("203.0.113.8", 60), 200, "another peer has its own rate");
    for number in 0..3 {
        from(&format!("2001:db8::{number}"), 70 + number);
    }
    assert_eq!(from("2001:db8::ffff", 80), 429, "a network of IPv6 is one peer");
    assert_eq!(from("2001:db8:0:1::1", 81), 200);
    assert!(turned_away(&exporter.metrics(), "rate") >= 2.0);
    assert_eq!(exporter.admin("/refused").text(), "");
}

/// Waits until another canary has come back; panics if one does not.
fn wait_for_canary(exporter: &Exporter) {
    let trips = |result: &str| {
        exporter.metrics().value("planet_exporter_canary_round_trips_total", &[("result", result)])
    };
    let before = trips("success");
    eventually("a canary", || (trips("success") > before).then_some(()));
    assert_eq!(trips("status"), 0.0);
}

#[test]
fn the_canary_knows_the_secret_and_may_come_from_anywhere() {
    let file = Mounted::with(OLD);
    let address = listen_address();
    let url = format!("http://{address}{CALL_EVENT_PATH}");
    let mut command = with_secret(&file.path());
    command.args(["--listen", &address.to_string(), "--admin-listen", "127.0.0.1:0"]);
    command.args(["--allow-from", "203.0.113.7", "--max-rate", "1:1"]);
    let exporter = Exporter::launch_as_it_is(command.args(["--canary-url", &url, "--canary-interval", "1s"]));
    wait_for_canary(&exporter);
    file.swap(&format!("{NEW}\n{OLD}\n"));
    exporter.process.stderr.wait_for("changed and was read again");
    wait_for_canary(&exporter);
    file.swap(NEW);
    exporter.process.signal("HUP");
    exporter.process.stderr.wait_for("SIGHUP: read again");
    wait_for_canary(&exporter);
    let canary = "planet_exporter_canary=0123456789abcdef0123456789abcdef";
    assert_forbidden(&exporter.get(&format!("{CALL_EVENT_PATH}?{canary}")));
    assert_forbidden(&exporter.get(&call(NEW, 1)));
    assert!(turned_away(&exporter.metrics(), "address") >= 1.0, "a call is no canary");
}

#[test]
#[cfg(feature = "simulator")]
fn calls_are_sent_again_and_made_up_with_the_secret_only() {
    let file = Mounted::with(OLD);
    let scratch = Scratch::new("replayed-with-a-secret");
    let exporter = Exporter::launch(&mut with_secret(&file.path()));
    let requests = scratch.0.join("requests");
    let line = |number| serde_json::json!({ "query": query(number) }).to_string();
    fs::write(&requests, format!("{}\n{}\n", line(1), line(2))).expect("written");
    let without = format!("http://{}{CALL_EVENT_PATH}", exporter.call_events);
    let with = format!("{without}?secret={OLD}");
    let replayed = |to: &str| {
        let output = command().arg("replay").arg(&requests).args(["--to", to]).output().expect("it runs");
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
    };
    let simulated = |to: &str| {
        let mut simulator = Command::new(env!("CARGO_BIN_EXE_call-simulator"));
        simulator.args(["--rate", "0", "--calls", "20", "--odd-share", "0", "--target", to]);
        let output = simulator.output().expect("it runs");
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
    };
    let wrong = with.replace(OLD, NEW);
    for (code, said) in [replayed(&without), replayed(&wrong), simulated(&without), simulated(&wrong)] {
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("answers 403") && said.contains("?secret=SECRET"), "{said}");
        assert!(!said.contains(TRACE) && !said.contains("sid="), "{said}");
    }
    assert_eq!(exporter.accepted(), 0.0);
    let (code, said) = replayed(&with);
    assert_eq!((code, said.trim()), (Some(0), "2 taken, 0 known already, 0 refused"));
    let (code, said) = simulated(&with);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains(TRACE), "{said}");
    assert_eq!(exporter.accepted(), 22.0);
}

#[test]
fn check_says_who_may_bring_calls_and_not_how() {
    let file = Mounted::with(&format!("{OLD}\n{NEW}\n"));
    let path = file.path();
    let path = path.to_str().expect("text");
    let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let arguments = ["--call-event-secret-file", path, "--allow-from", "203.0.113.0/24", "--max-rate", "9"];
    let said = command_output(&[&["check"][..], &ports, &arguments].concat());
    for expected in
        ["2 secrets can be used", "who comes from 203.0.113.0/24", "9 a second", "90 at once", path]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains(TRACE), "{said}");
}
