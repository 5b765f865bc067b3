//! The promise of examples/proxies: behind these proxies, in these very configurations, no call is lost when exporters are
//! restarted, killed, or close idle connections; and none is changed on its way.
//!
//! Each proxy is a module of tests. They need what `tests/run --peers` installs. Numbers are counts, never times.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use support::exporter::{CALL_EVENT_PATH, Exporter, command};
use support::http::{self, Connection};
use support::load::{self, CLIENTS, Load, Sent, query};
use support::proxy::{Kind, Proxy};
use support::relay;
use support::service::Service;
use support::{Scratch, eventually, listen_address};

/// Time in which a stopping exporter still takes calls, so that balancers can act first: more than their checks need.
const DRAIN: [&str; 2] = ["--drain-time", "2s"];

/// An exporter that can be ended and started again at the same address, with the same state directory.
struct Member {
    address: SocketAddr,
    state: PathBuf,
    arguments: Vec<String>,
    running: Option<Exporter>,
}

impl Member {
    fn start(&mut self) {
        let mut command = command();
        command.args(["--listen", &self.address.to_string(), "--admin-listen", "127.0.0.1:0"]);
        command.arg("--state-dir").arg(&self.state).args(DRAIN).args(&self.arguments);
        self.running = Some(Exporter::launch_as_it_is(&mut command));
    }

    fn exporter(&self) -> &Exporter {
        self.running.as_ref().expect("a running exporter")
    }

    /// Ends it as Kubernetes does.
    fn stop(&mut self) {
        let mut exporter = self.running.take().expect("a running exporter");
        exporter.process.signal("TERM");
        assert!(exporter.process.wait().success());
    }

    fn counted(&self) -> usize {
        self.exporter().metrics().sum("planet_calls_total") as usize
    }

    /// Waits until calls come to it again.
    fn wait_for_calls(&self) {
        let before = self.counted();
        eventually("calls at an exporter that is ready", || (self.counted() > before).then_some(()));
    }

    /// The sids of the calls in its journal.
    fn sids(&self) -> BTreeSet<String> {
        let output = command().arg("state").arg(&self.state).arg("--calls").output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8(output.stdout).expect("text");
        let sid = |line: &str| {
            let call: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            call["parameters"]["sid"].as_str().expect("a sid").to_owned()
        };
        lines.lines().map(sid).collect()
    }
}

/// Two exporters behind a proxy.
struct Scene {
    // It ends before the exporters.
    proxy: Proxy,
    members: [Member; 2],
    _scratch: Scratch,
}

impl Scene {
    fn start(kind: Kind) -> Scene {
        Scene::with(kind, &[])
    }

    fn with(kind: Kind, arguments: &[&str]) -> Scene {
        Scene::with_proxy(arguments, |exporters| kind.start(exporters))
    }

    /// Exporters with these arguments, and what `start` puts in front of them.
    fn with_proxy(arguments: &[&str], start: impl Fn([SocketAddr; 2]) -> Proxy) -> Scene {
        let scratch = Scratch::new("behind-a-proxy");
        let members = ["one", "other"].map(|name| {
            let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
            let state = scratch.0.join(name);
            let mut member = Member { address: listen_address(), state, arguments, running: None };
            member.start();
            member
        });
        let proxy = start(members.each_ref().map(|member| member.address));
        Scene { proxy, members, _scratch: scratch }
    }

    fn counted(&self) -> usize {
        self.members.iter().map(Member::counted).sum()
    }

    /// Sends calls of these numbers, from several clients at once, as fast as they are answered.
    fn send(&self, numbers: Range<usize>) -> Sent {
        load::send(self.proxy.address, numbers)
    }

    /// Checks that every acknowledged call is in a journal.
    fn assert_none_lost(&self, sent: &Sent) {
        let [one, other] = self.members.each_ref().map(Member::sids);
        let lost =
            sent.acknowledged.iter().filter(|sid| !one.contains(*sid) && !other.contains(*sid)).count();
        assert_eq!(lost, 0, "of {} acknowledged calls", sent.acknowledged.len());
    }
}

fn loses_nothing_in_a_rolling_restart(kind: Kind) {
    let mut scene = Scene::start(kind);
    let load = Load::start(scene.proxy.address);
    load.wait_for(100);
    for index in 0..2 {
        scene.members[index].stop();
        load.wait_for(100);
        scene.members[index].start();
        scene.members[index].wait_for_calls();
        // More than balancers need to find out that it is back, each group of them for itself.
        load.wait_for(400);
    }
    let sent = load.end();
    sent.assert_none_failed();
    assert_eq!(scene.counted(), sent.acknowledged.len(), "each is counted once");
    scene.assert_none_lost(&sent);
}

fn loses_nothing_acknowledged_when_an_exporter_is_killed(kind: Kind) {
    let mut scene = Scene::start(kind);
    let load = Load::start(scene.proxy.address);
    for index in 0..2 {
        load.wait_for(100);
        scene.members[index].running.take().expect("a running exporter").kill();
        load.wait_for(100);
        scene.members[index].start();
        scene.members[index].wait_for_calls();
    }
    let sent = load.end();
    match kind.retries_what_was_sent {
        true => sent.assert_none_failed(),
        // What was on its way to the exporter at each of the two moments.
        false => assert!(sent.failed.len() <= 2 * CLIENTS, "{:?}", sent.failed),
    }
    scene.assert_none_lost(&sent);
    let counted = scene.counted();
    assert!(counted >= sent.acknowledged.len(), "{counted} of {}", sent.acknowledged.len());
    let twice = counted - sent.acknowledged.len();
    assert!(twice <= 2 * CLIENTS, "{twice} counted twice, or without an answer");
}

/// Bursts at the very moment at which connections are closed that have been idle for a second, on a way that makes that moment
/// longer. Exporters close them; or the proxy does, where they must not.
fn loses_nothing_when_idle_connections_are_closed(kind: Kind) {
    const IDLE: Duration = Duration::from_secs(1);
    const BURST: usize = 24;
    let of_exporters = if kind.closes_first.is_some() { "2s" } else { "1s" };
    let scene = Scene::with_proxy(&["--idle-timeout", of_exporters], |exporters| {
        let ways = exporters.map(|exporter| relay::start(exporter, Duration::from_millis(5)));
        kind.start_changed(ways, |example| match kind.closes_first {
            Some(setting) => example.replace(setting, &setting.replace("60s", "1s")),
            None => example.to_owned(),
        })
    });
    let (mut acknowledged, mut last) = (0, Instant::now());
    for burst in 0..10 {
        // From 30 ms before that moment on: the first connections of a burst have been idle for longer than the last.
        let moment = last + IDLE + Duration::from_millis(3 * burst) - Duration::from_millis(30);
        thread::sleep(moment.saturating_duration_since(Instant::now()));
        let first = burst as usize * BURST;
        let sent = scene.send(first..first + BURST);
        last = Instant::now();
        sent.assert_none_failed();
        acknowledged += sent.acknowledged.len();
    }
    assert_eq!(scene.counted(), acknowledged, "each is counted once");
}

fn sends_no_calls_to_an_exporter_that_is_not_ready(kind: Kind) {
    let scene = Scene::start(kind);
    scene.send(0..40).assert_none_failed();
    let [unready, ready] = &scene.members;
    assert!(unready.counted() > 0 && ready.counted() > 0, "both get calls");

    let aside = unready.state.with_extension("aside");
    std::fs::rename(&unready.state, &aside).expect("a directory that is moved away");
    eventually("no readiness", || (unready.exporter().get("/readyz").status == 503).then_some(()));
    let refused =
        || unready.exporter().metrics().value("planet_exporter_events_total", &[("result", "unavailable")]);
    let mut next = 40;
    if kind.checks_health {
        eventually("no calls at the exporter that is not ready", || {
            let before = refused();
            scene.send(next..next + 20);
            next += 20;
            (refused() == before).then_some(())
        });
    }
    let (before, counted) = (refused(), ready.counted());
    scene.send(next..next + 100).assert_none_failed();
    assert_eq!(ready.counted(), counted + 100);
    if kind.checks_health {
        assert_eq!(refused(), before, "calls came to an exporter that is not ready");
    }

    std::fs::rename(&aside, &unready.state).expect("a directory that is back");
    let counted = unready.counted();
    eventually("calls at the exporter that is ready again", || {
        scene.send(next + 100..next + 120);
        next += 20;
        (unready.counted() > counted).then_some(())
    });
}

fn changes_no_byte_of_a_query(kind: Kind) {
    let service = Service::start();
    let scene = Scene::with(kind, &["--forward-to", &service.url(), "--readiness-path", "/readyz"]);
    // A check that waits for a way to the exporters may have come through.
    let checks = service.requests().len();
    let odd = "a=1+2%2B3&&b=%00&c=%zz&d=&e&f=%&g=~!*'()%20%2f%2F&=h&i==&";
    for number in 0..4 {
        let target = format!("{CALL_EVENT_PATH}?{odd}{}&{odd}", query(number).encode());
        assert_eq!(http::get(scene.proxy.address, &target).status, 200, "{target}");
        let arrived =
            eventually("the call at the service", || service.requests().get(checks + number).cloned());
        assert_eq!(arrived.target, target);
    }
}

fn lets_long_queries_pass(kind: Kind) {
    let scene = Scene::start(kind);
    let data = "x".repeat(25_000);
    for number in 0..4 {
        let query = self::query(number).with("app_svr_data", &data).encode();
        assert_eq!(http::get(scene.proxy.address, &format!("{CALL_EVENT_PATH}?{query}")).status, 200);
    }
    assert_eq!(scene.counted(), 4);
}

/// What anybody can send to a public address shuts no exporter out.
fn takes_every_call_after_large_posts(kind: Kind) {
    let scene = Scene::start(kind);
    for bytes in [300_000, 10_000_000] {
        for path in ["/elsewhere", CALL_EVENT_PATH, "/elsewhere", CALL_EVENT_PATH] {
            let mut connection = Connection::open(scene.proxy.address);
            let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {bytes}\r\n\r\n");
            // The proxy may refuse it before it has all of it.
            if connection.try_send(head).and_then(|()| connection.try_send(vec![b'x'; bytes])).is_ok() {
                let _ = connection.try_receive();
            }
        }
        let first = bytes;
        scene.send(first..first + 600).assert_none_failed();
    }
    assert_eq!(scene.counted(), 1_200);
}

/// What a client writes into the fields in which proxies name clients is believed by nobody.
fn names_the_client_and_not_whom_it_claims_to_be(kind: Kind) {
    let scene = Scene::with(kind, &["--allow-from", "127.0.0.2", "--trusted-proxies", "127.0.0.1"]);
    let answered = |source: [u8; 4], number: usize, fields: &str| {
        let mut connection = Connection::open_from(source.into(), scene.proxy.address);
        let target = format!("{CALL_EVENT_PATH}?{}", query(number).encode());
        connection.send(format!("GET {target} HTTP/1.1\r\nhost: test\r\n{fields}\r\n"));
        connection.receive().status
    };
    let (allowed, other) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    assert_eq!(answered(allowed, 1, ""), 200);
    assert_eq!(answered(allowed, 2, "x-forwarded-for: 127.0.0.3\r\n"), 200);
    let claims = [
        "",
        "x-forwarded-for: 127.0.0.2\r\n",
        "x-forwarded-for: 127.0.0.2\r\nx-forwarded-for: 127.0.0.2\r\n",
        "x-forwarded-for: 127.0.0.2, 127.0.0.1\r\n",
        "forwarded: for=127.0.0.2\r\n",
        "forwarded: for=127.0.0.2\r\nx-forwarded-for: 127.0.0.2\r\n",
        "connection: x-forwarded-for, forwarded\r\nx-forwarded-for: 127.0.0.2\r\n",
        "x-real-ip: 127.0.0.2\r\n",
    ];
    for fields in claims {
        // Envoy answers 400 itself where Connection names such a field.
        let status = answered(other, 3, fields);
        assert!(matches!(status, 400 | 403), "{status}: {fields}");
    }
    assert_eq!(scene.counted(), 2);
}

/// A cache would answer a repeat, or whoever checks the port, in the place of the exporter.
#[test]
#[ignore = "needs the proxies that tests/run --peers installs"]
fn varnish_keeps_no_answer() {
    let exporter = Exporter::start();
    let proxy = Proxy::varnish(exporter.call_events);
    let target = format!("{CALL_EVENT_PATH}?{}", query(1).encode());
    for _ in 0..3 {
        assert_eq!(http::get(proxy.address, &target).status, 200);
        assert_eq!(http::get(proxy.address, "/readyz").status, 200);
    }
    let events = |result| exporter.metrics().value("planet_exporter_events_total", &[("result", result)]);
    assert_eq!((events("accepted"), events("duplicate")), (1.0, 2.0));
    let requests = exporter.metrics().value("planet_exporter_requests_total", &[("code", "200")]);
    assert!(requests >= 6.0, "{requests} of 3 calls and 3 checks");
}

/// The tests of a proxy.
macro_rules! proxies {
    ($($name:ident: $kind:ident),* $(,)?) => {
        $(
            mod $name {
                use crate::support::proxy::$kind;

                proxies! { @tests $kind:
                    loses_nothing_in_a_rolling_restart,
                    loses_nothing_acknowledged_when_an_exporter_is_killed,
                    loses_nothing_when_idle_connections_are_closed,
                    sends_no_calls_to_an_exporter_that_is_not_ready,
                    changes_no_byte_of_a_query,
                    lets_long_queries_pass,
                    takes_every_call_after_large_posts,
                    names_the_client_and_not_whom_it_claims_to_be,
                }
            }
        )*
    };
    (@tests $kind:ident: $($test:ident),* $(,)?) => {
        $(
            #[test]
            #[ignore = "needs the proxies that tests/run --peers installs"]
            fn $test() {
                crate::$test($kind);
            }
        )*
    };
}

proxies! {
    nginx: NGINX,
    haproxy: HAPROXY,
    caddy: CADDY,
    traefik: TRAEFIK,
    envoy: ENVOY,
    apache: APACHE,
}
