//! The promise: a service manager such as systemd is told when the exporter is ready, that it gets on, and that it
//! ends; and the unit that is shipped says what the exporter needs.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use support::Scratch;
use support::exporter::{Exporter, command};

/// What the exporter says next.
fn next(socket: &UnixDatagram) -> String {
    let mut said = [0; 1_024];
    let length = socket.recv(&mut said).expect("something is said in time");
    String::from_utf8_lossy(&said[..length]).trim_end().to_owned()
}

fn started(socket: &Path, watchdog: Option<&str>) -> Exporter {
    let mut command = command();
    command.env("NOTIFY_SOCKET", socket);
    if let Some(microseconds) = watchdog {
        command.env("WATCHDOG_USEC", microseconds);
    }
    Exporter::launch(&mut command)
}

#[test]
fn it_is_told_when_the_exporter_is_ready_gets_on_and_ends() {
    let scratch = Scratch::new("service-manager");
    fs::create_dir_all(&scratch.0).expect("a directory");
    let path = scratch.0.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    for watchdog in [None, Some("60000000")] {
        let mut exporter = started(&path, watchdog);
        let mut said = vec![next(&socket)];
        if watchdog.is_some() {
            said.push(next(&socket));
        }
        said.sort();
        let expected = [Some("READY=1"), watchdog.map(|_| "WATCHDOG=1")];
        assert_eq!(said, expected.into_iter().flatten().collect::<Vec<_>>());
        assert_eq!(exporter.admin("/readyz").status, 200);
        exporter.process.signal("TERM");
        let end = std::iter::from_fn(|| Some(next(&socket))).find(|said| said != "WATCHDOG=1");
        assert_eq!(end.as_deref(), Some("STOPPING=1"));
        assert!(exporter.process.wait().success());
    }
}

#[test]
fn one_that_is_gone_holds_up_nothing() {
    let mut exporter = started(Path::new("/nowhere/notify"), Some("60000000"));
    assert_eq!(exporter.admin("/readyz").status, 200);
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());
}

#[test]
fn the_unit_gives_what_is_asked_for() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd/planet-call-exporter.service");
    let unit = fs::read_to_string(path).expect("the unit");
    let lines: Vec<_> = unit.lines().map(|line| line.trim_start_matches("# ")).collect();
    // Each variable is one of the program's.
    let help = command().arg("--help").output().expect("the exporter runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let variables = lines.iter().filter_map(|line| line.strip_prefix("Environment=")?.split('=').next());
    for variable in variables {
        assert!(help.contains(&format!("[env: {variable}=")), "{variable}");
    }
    for line in ["Type=notify", "WatchdogSec=60s", "DynamicUser=yes", "StateDirectory=planet-call-exporter"] {
        assert!(lines.contains(&line), "{line}");
    }
}
