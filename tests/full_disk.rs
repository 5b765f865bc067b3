//! The promise: while the disk is full nothing is acknowledged, readiness says so, and when there is room again the
//! exporter goes on by itself, with exact totals. On a real file system that is full: a small tmpfs in a namespace.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use support::call::CallEventQuery;
use support::exporter::Exporter;
use support::process::Process;
use support::{Scratch, eventually};

/// A file system of one MiB, which lives as long as the process that holds its namespace.
struct SmallDisk {
    holder: Process,
    mount: PathBuf,
    _scratch: Scratch,
}

impl SmallDisk {
    fn new() -> SmallDisk {
        let scratch = Scratch::new("full-disk");
        let mount = scratch.0.clone();
        let script = "mount -t tmpfs -o size=1m tmpfs \"$0\" && echo mounted && exec sleep 3600";
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(&mount);
        let mut holder = Process::start("unshare of util-linux", &mut command);
        holder.eventually("a small file system", |holder| holder.stdout.find("mounted"));
        SmallDisk { holder, mount, _scratch: scratch }
    }

    /// Takes all the room that there is.
    fn fill(&self) {
        let mut filler = File::create(self.file("filler")).expect("a filler");
        let block = [0; 4096];
        while filler.write_all(&block).is_ok() {}
    }

    /// The path, from outside the namespace, of a file on the disk.
    fn file(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.mount.strip_prefix("/").expect("an absolute path")).join(name)
    }

    /// The command of an exporter with its state on the disk.
    fn exporter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.env_clear().envs(std::env::vars().filter(|(name, _)| name == "PATH"));
        command.args([
            "--target",
            &self.holder.id().to_string(),
            "--user",
            "--mount",
            "--preserve-credentials",
        ]);
        command.arg(env!("CARGO_BIN_EXE_planet-call-exporter"));
        command.arg("--state-dir").arg(self.mount.join("state"));
        command
    }
}

#[test]
fn a_full_disk_stops_intake_until_there_is_room_and_no_call_is_lost() {
    let disk = SmallDisk::new();
    let exporter = Exporter::launch(&mut disk.exporter());
    let filler = disk.file("filler");
    let mut acknowledged = 0;
    let mut numbers = 0..;
    let mut send = |exporter: &Exporter| {
        let answer = exporter.send(&CallEventQuery::new(numbers.next().expect("endless")).encode());
        acknowledged += u64::from(answer.status == 200);
        answer
    };
    for _ in 0..20 {
        assert_eq!(send(&exporter).status, 200);
    }
    fs::write(&filler, vec![0; 900 * 1024]).expect("room for a filler");
    let refused = eventually("a full disk", || Some(send(&exporter)).filter(|answer| answer.status != 200));
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    let answer = exporter.admin("/readyz");
    assert_eq!((answer.status, answer.text().as_str()), (503, "not ready: storage\n"));
    assert_eq!(exporter.admin("/livez").status, 200);
    assert_eq!(exporter.metrics().sum("planet_exporter_storage_failing"), 1.0);
    exporter.process.stderr.wait_for("the journal cannot be written");
    assert_eq!(send(&exporter).status, 503);

    fs::remove_file(&filler).expect("the filler goes");
    // Nobody sends, since it is not ready; it finds out by itself.
    eventually("readiness", || (exporter.admin("/readyz").status == 200).then_some(()));
    assert_eq!(exporter.metrics().sum("planet_exporter_storage_failing"), 0.0);
    for _ in 0..20 {
        assert_eq!(send(&exporter).status, 200);
    }
    assert_eq!(exporter.metrics().sum("planet_calls_total"), acknowledged as f64);
    exporter.kill();
    let page = Exporter::launch(&mut disk.exporter()).metrics();
    assert_eq!(page.sum("planet_calls_total"), acknowledged as f64);
    assert_eq!(page.sum("planet_exporter_journal_damaged_records"), 0.0);
}

#[test]
fn with_a_full_disk_it_starts_with_the_totals_and_takes_nothing_until_there_is_room() {
    let disk = SmallDisk::new();
    let exporter = Exporter::launch(&mut disk.exporter());
    for number in 0..20 {
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
    }
    exporter.kill();
    disk.fill();
    let exporter = Exporter::launch_unready(&mut disk.exporter());
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 20.0);
    eventually("it is not ready", || (exporter.admin("/readyz").status == 503).then_some(()));
    assert_eq!(exporter.send(&CallEventQuery::new(20).encode()).status, 503);
    fs::remove_file(disk.file("filler")).expect("the filler goes");
    eventually("readiness", || (exporter.admin("/readyz").status == 200).then_some(()));
    for number in 10..30 {
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
    }
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 30.0);
    exporter.kill();
    assert_eq!(Exporter::launch(&mut disk.exporter()).metrics().sum("planet_calls_total"), 30.0);
}
