//! The promise: the journal stays within --state-max-bytes, but for a segment, whatever comes and however fast; what does not
//! fit is the oldest that waits, and never a total. On a disk that has room for little more than that, nothing is refused.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::call::CallEventQuery;
use support::exporter::Exporter;
use support::free_address;
use support::small_disk::SmallDisk;

const LIMIT: u64 = 4 * 1024 * 1024;
const SEGMENT: u64 = LIMIT / 16;

/// Starts an exporter whose spans nobody takes.
fn start(command: &mut Command) -> Exporter {
    let receiver = format!("http://{}", free_address());
    Exporter::launch(
        command.args(["--state-max-bytes", "4MiB"]).env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", receiver),
    )
}

/// Bytes of the segments in a directory; those that go meanwhile count or not.
fn segment_bytes(state: &Path) -> u64 {
    let entries = fs::read_dir(state).expect("a directory").flatten();
    let segments = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "segment"));
    segments.filter_map(|segment| segment.metadata().ok()).map(|segment| segment.len()).sum()
}

/// Sends calls of 30 KB with these numbers from several clients at once, and answers how many were not taken, and the
/// most bytes of segments that there were meanwhile.
fn send(exporter: &Exporter, state: &Path, numbers: std::ops::Range<usize>) -> (u64, u64) {
    let (refused, most, is_done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let padding = "x".repeat(30_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                most.fetch_max(segment_bytes(state), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (refused, padding, numbers) = (&refused, &padding, numbers.clone());
                scope.spawn(move || {
                    for number in numbers.skip(client).step_by(8) {
                        let query = CallEventQuery::new(number).with("pad", padding).encode();
                        refused.fetch_add(u64::from(exporter.send(&query).status != 200), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("a client"));
        is_done.store(true, Ordering::Relaxed);
    });
    (refused.into_inner(), most.into_inner())
}

#[test]
fn a_burst_on_a_small_disk_stays_within_the_limit_and_is_taken_whole() {
    let disk = SmallDisk::of("8m");
    let exporter = start(&mut disk.exporter());
    let (refused, most) = send(&exporter, &disk.file("state"), 0..800);
    assert_eq!(refused, 0);
    assert!(most <= LIMIT + SEGMENT, "{most} bytes");
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), 800.0);
    let spans = [("sink", "spans")];
    let dropped = page.value("planet_exporter_dropped_events_total", &[spans[0], ("cause", "backlog")]);
    assert!(dropped > 0.0);
    assert_eq!(page.value("planet_exporter_backlog", &spans) + dropped, 800.0);
    exporter.process.stderr.wait_for("events that waited are dropped");
    exporter.kill();

    let exporter = start(&mut disk.exporter());
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 800.0);
    let (refused, most) = send(&exporter, &disk.file("state"), 800..1_000);
    assert!(refused == 0 && most <= LIMIT + SEGMENT, "{refused} refused, {most} bytes");
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), 1_000.0);
    assert_eq!(page.sum("planet_exporter_journal_damaged_records"), 0.0);
}

#[test]
fn a_disk_that_is_smaller_than_the_limit_is_said_and_takes_a_burst_all_the_same() {
    let disk = SmallDisk::of("3m");
    let exporter = start(&mut disk.exporter());
    exporter.process.stderr.wait_for("the disk is too small for --state-max-bytes");
    let (refused, most) = send(&exporter, &disk.file("state"), 0..300);
    assert!(refused == 0 && most < 3 * 1024 * 1024, "{refused} refused, {most} bytes");
    exporter.kill();
    let exporter = start(&mut disk.exporter());
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 300.0);
    assert_eq!(send(&exporter, &disk.file("state"), 300..400).0, 0);
}
