//! The promise: a state directory that is removed, moved away or mounted over while the exporter runs takes no call
//! with it: what would not be found by the next start is not acknowledged, readiness says so, and the exporter goes on
//! when the directory is back.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::process::Process;
use support::{Scratch, eventually};

/// What is said once when the journal cannot be written.
const TROUBLE: &str = "the journal cannot be written";

fn start(state: &Path) -> Exporter {
    Exporter::launch(command().arg("--state-dir").arg(state))
}

fn send(exporter: &Exporter, number: usize) -> u16 {
    exporter.send(&CallEventQuery::new(number).encode()).status
}

fn send_all(exporter: &Exporter, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| assert_eq!(send(exporter, number), 200));
}

fn calls(exporter: &Exporter) -> f64 {
    exporter.metrics().sum("planet_calls_total")
}

fn until_ready(exporter: &Exporter) {
    eventually("readiness", || (exporter.admin("/readyz").status == 200).then_some(()));
}

/// Waits until it says that it has nowhere to store, which nobody has to send a call for.
fn until_unready(exporter: &Exporter) -> Duration {
    let begin = Instant::now();
    eventually("no readiness", || (exporter.admin("/readyz").status == 503).then_some(()));
    assert_eq!(exporter.admin("/readyz").text(), "not ready: storage\n");
    begin.elapsed()
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).expect("a directory").next().is_none()
}

#[test]
fn nothing_is_acknowledged_into_files_that_are_removed() {
    let scratch = Scratch::new("removed");
    let state = scratch.0.join("state");
    let exporter = Exporter::launch(command().args(["--call-log", "stdout", "--state-dir"]).arg(&state));
    let (numbers, acknowledged, is_over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let removed_at = thread::scope(|scope| {
        let answered: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut latest = Instant::now();
                    while !is_over.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        if send(&exporter, numbers.fetch_add(1, Ordering::Relaxed)) == 200 {
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                            latest = begun;
                        }
                    }
                    latest
                })
            })
            .collect();
        eventually("calls", || (acknowledged.load(Ordering::Relaxed) > 500).then_some(()));
        eventually("the end of the directory", || {
            // Files come while others go.
            let _ = fs::remove_dir_all(&state);
            (!state.exists()).then_some(())
        });
        let removed_at = Instant::now();
        thread::sleep(Duration::from_secs(2));
        is_over.store(true, Ordering::Relaxed);
        let latest = answered.into_iter().map(|thread| thread.join().expect("no panic")).max();
        (removed_at, latest.expect("a thread"))
    });
    let (removed_at, latest) = removed_at;
    assert!(latest < removed_at, "{:?} after the end", latest - removed_at);

    assert_eq!(exporter.admin("/readyz").text(), "not ready: storage\n");
    assert_eq!(exporter.admin("/livez").status, 200);
    let status = exporter.admin("/status.json").json();
    let parts = status["parts"].as_array().expect("parts");
    let disk = parts.iter().find(|part| part["name"] == "disk").expect("the disk");
    assert!(
        disk["reason"].as_str().is_some_and(|reason| reason.contains("was removed or moved away")),
        "{disk}"
    );
    assert_eq!(status["findings"][0]["severity"], "critical");
    let said = exporter.process.stderr.all();
    let of_journal: Vec<_> = said.iter().filter(|line| line.contains(TROUBLE)).collect();
    assert!(of_journal.len() == 1 && of_journal[0].contains("was removed or"), "{of_journal:?}");
    let trouble = said.iter().filter(|line| line.contains("ERROR") || line.contains("WARN")).count();
    assert!(trouble <= 3, "the journal, a position, a checkpoint: {said:#?}");
    assert_eq!(calls(&exporter), acknowledged.load(Ordering::Relaxed) as f64);
    // Where nothing can be read, that is no answer of no calls.
    for path in ["/why", "/why.json", "/calls", "/report?since=1h"] {
        let answer = exporter.admin(path);
        assert!(
            answer.status == 500 && answer.text().contains("cannot be read"),
            "{path}: {}",
            answer.text()
        );
    }
    exporter.process.stderr.wait_for("cannot look back");
    let said = exporter.process.stderr.all();
    assert_eq!(said.iter().filter(|line| line.contains("cannot look back")).count(), 1, "{said:#?}");

    // Another directory of the same name is not the one that is held.
    fs::create_dir(&state).expect("another directory");
    assert_eq!(send(&exporter, 1 << 20), 503);
    assert!(exporter.send("sid=&duration=1").status == 400 && is_empty(&state));
    exporter.kill();
    send_all(&start(&state), 0..1);
}

#[test]
fn a_directory_that_is_away_for_a_while_is_missed_and_found_again() {
    let scratch = Scratch::new("away");
    let (state, away) = (scratch.0.join("state"), scratch.0.join("away"));
    let exporter = start(&state);
    send_all(&exporter, 0..10);
    fs::rename(&state, &away).expect("moved");
    let took = until_unready(&exporter);
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(send(&exporter, 10), 503);
    fs::create_dir(&state).expect("another directory");
    assert_eq!(send(&exporter, 10), 503);
    assert_eq!(exporter.send("sid=&duration=1").status, 400);
    assert!(is_empty(&state));

    fs::remove_dir(&state).expect("removed");
    fs::rename(&away, &state).expect("moved back");
    until_ready(&exporter);
    send_all(&exporter, 5..20);
    assert_eq!(calls(&exporter), 20.0);
    exporter.kill();
    let exporter = start(&state);
    assert_eq!(calls(&exporter), 20.0);
    assert_eq!(exporter.metrics().sum("planet_exporter_journal_damaged_records"), 0.0);
}

/// A namespace of mounts, which lives as long as the process that holds it.
struct Mounts(Process);

impl Mounts {
    fn new() -> Mounts {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", "echo ready && exec sleep 3600"]);
        let mut holder = Process::start("unshare of util-linux", &mut command);
        holder.eventually("a namespace", |holder| holder.stdout.find("ready"));
        Mounts(holder)
    }

    /// A command in it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.env_clear().envs(std::env::vars().filter(|(name, _)| name == "PATH"));
        command.args(["--target", &self.0.id().to_string(), "--user", "--mount", "--preserve-credentials"]);
        command.arg(program);
        command
    }

    fn run(&self, program: &str, arguments: &[&str], path: &Path) {
        let output = self.command(program).args(arguments).arg(path).output().expect("nsenter runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_directory_that_is_mounted_over_is_missed_and_found_again() {
    let scratch = Scratch::new("mounted-over");
    let state = scratch.0.join("state");
    let mounts = Mounts::new();
    let mut of_exporter = mounts.command(env!("CARGO_BIN_EXE_planet-call-exporter"));
    let exporter = Exporter::launch(of_exporter.arg("--state-dir").arg(&state));
    send_all(&exporter, 0..10);
    mounts.run("mount", &["-t", "tmpfs", "tmpfs"], &state);
    assert_eq!(send(&exporter, 10), 503);
    until_unready(&exporter);
    exporter.process.stderr.wait_for("another directory than the one that this process holds");
    mounts.run("umount", &[], &state);
    until_ready(&exporter);
    send_all(&exporter, 10..20);
    assert_eq!(calls(&exporter), 20.0);
    exporter.kill();
    assert_eq!(calls(&start(&state)), 20.0);
}

fn segments(state: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(state).expect("a directory").map(|entry| entry.expect("an entry").path());
    files.filter(|file| file.extension().is_some_and(|ending| ending == "segment")).collect()
}

#[test]
fn a_segment_that_is_removed_costs_nothing_that_is_acknowledged_later() {
    let scratch = Scratch::new("segment");
    let state = scratch.0.join("state");
    let exporter = start(&state);
    send_all(&exporter, 0..10);
    segments(&state).iter().for_each(|segment| fs::remove_file(segment).expect("removed"));
    eventually("another segment", || (send(&exporter, 10) == 200).then_some(()));
    assert_eq!(segments(&state).len(), 1);
    assert_eq!(calls(&exporter), 11.0);
    exporter.kill();
    // The first ten were in no checkpoint yet, and are gone with their segment.
    let exporter = start(&state);
    assert!(calls(&exporter) >= 1.0);
    send_all(&exporter, 10..11);
    assert_eq!(exporter.metrics().value("planet_exporter_events_total", &[("result", "duplicate")]), 1.0);
}

#[test]
fn a_missing_lock_file_is_no_reason_not_to_start_and_no_way_to_hold_a_directory_twice() {
    let scratch = Scratch::new("lock-file");
    let state = scratch.0.join("state");
    let lock = state.join("planet-call-exporter.lock");
    let exporter = start(&state);
    send_all(&exporter, 0..10);
    fs::remove_file(&lock).expect("removed");
    let second = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--state-dir"];
    let output = command().args(second).arg(&state).output().expect("the exporter runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("is held by another process"), "{said}");
    send_all(&exporter, 10..20);
    exporter.kill();
    fs::remove_file(&lock).expect("removed");
    let exporter = start(&state);
    assert_eq!(calls(&exporter), 20.0);
    assert!(lock.exists());
    exporter.kill();

    // Sound segments alone will do.
    for file in ["planet-call-exporter.lock", "ledger.checkpoint", "ledger.checkpoint.previous"] {
        let _ = fs::remove_file(state.join(file));
    }
    assert_eq!(calls(&start(&state)), 20.0);
}
