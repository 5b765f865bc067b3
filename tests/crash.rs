//! The promise: every acknowledged call is counted exactly once, has its span and its log record and reaches the
//! service behind, whatever dies and however often.
//!
//! The simulator sends over many connections, and sends again what was not acknowledged, while the exporter is killed
//! at random moments and started again, the receiver of spans and logs and the service come and go, and somebody
//! scrapes. PLANET_TEST_KILLS says how often, PLANET_TEST_SEED from which seed.

#![cfg(feature = "simulator")]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test of chance says what it did")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::backend::{Backend, Mood};
use support::exporter::{Exporter, command};
use support::scrape::Series;
use support::service::{Answer, Request, Service};
use support::{Scratch, eventually, free_address, simulator};

/// A state directory, and where its exporter listens each time it is started.
struct Site {
    directory: Scratch,
    call_events: SocketAddr,
    admin: SocketAddr,
    backend: Backend,
    service: Service,
}

impl Site {
    fn new(name: &str) -> Site {
        let (call_events, admin) = (free_address(), free_address());
        Site {
            directory: Scratch::new(name),
            call_events,
            admin,
            backend: Backend::start(),
            service: Service::start(),
        }
    }

    fn start(&self) -> Exporter {
        let state = self.directory.0.join("state");
        let endpoint = |path: &str| format!("http://{}{path}", self.backend.address());
        Exporter::launch_as_it_is(
            command()
                .args(["--listen", &self.call_events.to_string(), "--admin-listen", &self.admin.to_string()])
                .args(["--idcs", "KR,JP", "--state-dir", &state.to_string_lossy()])
                .args(["--forward-to", &self.service.url(), "--call-log", "otlp"])
                .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint("/v1/traces"))
                .env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", endpoint("/v1/logs"))
                .env("OTEL_BSP_SCHEDULE_DELAY", "50")
                .env("OTEL_BLRP_SCHEDULE_DELAY", "50"),
        )
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// Kills and restarts the exporter while the simulator runs.
fn kill_again_and_again(site: &Site, mut exporter: Exporter, kills: u64, random: &mut StdRng) -> Exporter {
    let mut seen: BTreeMap<Series, f64> = BTreeMap::new();
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(random.random_range(20..700)));
        site.backend.set_mood(match random.random_range(0..6) {
            0 => Mood::Away,
            1 => Mood::Forgetful,
            _ => Mood::Up,
        });
        match random.random_range(0..6) {
            0 => site.service.answer(|_| Answer::HangUp),
            1 => site.service.answer(|_| Answer::status(503)),
            2 => site
                .service
                .answer(|request| Answer::status(if request.sid().as_str() < "8" { 500 } else { 200 })),
            _ => site.service.answer(|_| Answer::status(200)),
        }
        let series = simulator::series_of_calls(&exporter.metrics());
        for (name, value) in &seen {
            assert!(series.get(name) >= Some(value), "{name:?} went down from {value} before kill {kill}");
        }
        assert!(kill == 0 || series != seen, "traffic goes on");
        seen = series;
        exporter.kill();
        exporter = site.start();
    }
    exporter
}

/// What the simulator sends until it is interrupted.
const TRAFFIC: [&str; 14] = [
    "--rate",
    "400",
    "--for",
    "1h",
    "--connections",
    "32",
    "--retry-for",
    "60s",
    "--odd-share",
    "0.05",
    "--repeat-share",
    "0.05",
    "--abnormal-share",
    "0.1",
];

#[test]
fn every_acknowledged_call_is_counted_once_and_reaches_everyone() {
    let kills = from_environment("PLANET_TEST_KILLS", 30);
    let seed = from_environment("PLANET_TEST_SEED", u64::from(std::process::id()));
    eprintln!("seed {seed}, {kills} kills");
    let mut random = StdRng::seed_from_u64(seed);
    let site = Site::new("crash");
    let (sids, seed) = (site.directory.0.join("sids"), seed.to_string());
    let exporter = site.start();
    let mut arguments = vec!["--seed", &seed, "--sids", sids.to_str().expect("a path in UTF-8")];
    arguments.extend(TRAFFIC);
    let simulator = simulator::start(site.call_events, &arguments);
    eventually("the first call", || (exporter.accepted() > 0.0).then_some(()));
    let exporter = kill_again_and_again(&site, exporter, kills, &mut random);
    site.backend.set_mood(Mood::Up);
    site.service.answer(|_| Answer::status(200));
    let report = simulator::interrupt(simulator);

    let page = exporter.metrics();
    simulator::assert_same(&simulator::series_of_calls(&page), &report.series);
    assert_eq!(page.sum("planet_calls_total"), report.acknowledged as f64);
    assert_eq!(page.sum("planet_exporter_journal_damaged_records"), 0.0);

    let sids = std::fs::read_to_string(&sids).expect("the acknowledged sids");
    let sids: BTreeSet<String> = sids.lines().map(|sid| sid.replace('-', "")).collect();
    assert_eq!(sids.len() as u64, report.acknowledged);
    eventually("the spans of all calls", || {
        (spans_by_trace(&site.backend).len() >= sids.len()).then_some(())
    });
    let spans = spans_by_trace(&site.backend);
    assert_eq!(
        spans.keys().cloned().collect::<BTreeSet<_>>(),
        sids,
        "a span for each call and for nothing else"
    );
    let repeated = spans.values().filter(|ids| ids.len() > 1).count();
    assert!(spans.values().all(|ids| ids.windows(2).all(|pair| pair[0] == pair[1])), "the same span again");
    eventually("the log records of all calls", || {
        (logs_by_trace(&site.backend).len() >= sids.len()).then_some(())
    });
    let records = logs_by_trace(&site.backend);
    assert_eq!(records.keys().collect::<BTreeSet<_>>(), sids.iter().collect(), "a record for each call");
    assert!(records.iter().all(|(trace, ids)| ids.iter().all(|id| *id == spans[trace][0])), "as their spans");
    eventually("every call at the service", || {
        let backlog = exporter.metrics().value("planet_exporter_backlog", &[("sink", "service")]);
        (backlog == 0.0).then_some(())
    });
    let requests = site.service.requests();
    let arrived: BTreeSet<String> = requests.iter().map(Request::trace_id).collect();
    assert_eq!(arrived, sids, "each call reached the service, and nothing else did");
    eprintln!(
        "{} calls, {} repeats, {repeated} spans delivered more than once, {} requests to the service",
        report.acknowledged,
        report.duplicates,
        requests.len()
    );
}

/// The span IDs of every trace that the backend received, in the order of their arrival.
fn spans_by_trace(backend: &Backend) -> BTreeMap<String, Vec<Vec<u8>>> {
    by_trace(backend.received().spans.iter().map(|span| (&span.trace_id, &span.span_id)))
}

/// The same of the log records.
fn logs_by_trace(backend: &Backend) -> BTreeMap<String, Vec<Vec<u8>>> {
    by_trace(backend.received().logs.iter().map(|record| (&record.trace_id, &record.span_id)))
}

fn by_trace<'i>(ids: impl Iterator<Item = (&'i Vec<u8>, &'i Vec<u8>)>) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut by_trace: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (trace_id, span_id) in ids {
        let trace_id = trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
        by_trace.entry(trace_id).or_default().push(span_id.clone());
    }
    by_trace
}
