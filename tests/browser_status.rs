//! The promise: the status page is one for people: it refreshes itself, works on a phone, in the dark and without JavaScript, says when the exporter
//! is gone, and its browser has nothing to complain of. With a real Chromium.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Command;

use support::Scratch;
use support::call::CallEventQuery;
use support::exporter::Exporter;
use support::process::Process;

/// Where tests/run puts what npm has.
const BROWSER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/browser");

#[test]
#[ignore = "needs the Chromium that tests/run --peers installs"]
fn people_see_the_status_in_a_browser() {
    let scratch = Scratch::new("browser");
    std::fs::create_dir_all(&scratch.0).expect("a directory");
    let exporter = Exporter::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/status.mjs");
    let mut command = Command::new("node");
    command.env(
        "PLANET_TEST_BROWSER",
        std::env::var("PLANET_TEST_BROWSER").unwrap_or_else(|_| BROWSER.to_owned()),
    );
    command.arg(script).arg(format!("http://{}/", exporter.admin)).arg(&scratch.0);
    let mut browser = Process::start("node", &mut command);
    browser.eventually("the page", |browser| browser.stdout.find("opened"));
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 200);
    browser.eventually("the call", |browser| browser.stdout.find("refreshed"));
    // It hangs, which its connections do not tell.
    exporter.process.signal("STOP");
    browser.eventually("the end of the exporter", |browser| browser.stdout.find("stale"));
    assert_eq!(browser.wait().code(), Some(0), "{:?}", browser.stderr.all());
}
