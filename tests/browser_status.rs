//! The promise: the status page is one for people: it refreshes itself, works on a phone, in the dark and without
//! JavaScript, says when the exporter is gone, and its browser has nothing to complain of. With a real Chromium.

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

/// Node with this script, which looks at the exporter and leaves pictures.
fn node(script: &str, exporter: &Exporter, pictures: &Path) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(script);
    let mut command = Command::new("node");
    command.env(
        "PLANET_TEST_BROWSER",
        std::env::var("PLANET_TEST_BROWSER").unwrap_or_else(|_| BROWSER.to_owned()),
    );
    command.arg(script).arg(format!("http://{}/", exporter.admin)).arg(pictures);
    command
}

#[test]
#[ignore = "needs the Chromium that tests/run --peers installs"]
fn people_see_the_status_in_a_browser() {
    let scratch = Scratch::new("browser");
    std::fs::create_dir_all(&scratch.0).expect("a directory");
    let exporter = Exporter::start();
    let mut browser = Process::start("node", &mut node("status.mjs", &exporter, &scratch.0));
    browser.eventually("the page", |browser| browser.stdout.find("opened"));
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 200);
    browser.eventually("the call", |browser| browser.stdout.find("refreshed"));
    // It hangs, which its connections do not tell.
    exporter.process.signal("STOP");
    browser.eventually("the end of the exporter", |browser| browser.stdout.find("stale"));
    assert_eq!(browser.wait().code(), Some(0), "{:?}", browser.stderr.all());
}

#[test]
#[ignore = "needs the Chromium that tests/run --peers installs"]
fn people_get_from_the_status_to_a_call_with_clicks() {
    let scratch = Scratch::new("browser-look-back");
    std::fs::create_dir_all(&scratch.0).expect("a directory");
    let exporter = Exporter::start();
    for number in 0..60 {
        let call = CallEventQuery::new(number).with("from_user_id", &number.to_string());
        let call = match number % 3 {
            0 => call.with("rc_idc", "JP").with("disconnect_reason", "1305"),
            _ => call,
        };
        assert_eq!(exporter.send(&call.encode()).status, 200);
    }
    let output = node("look_back.mjs", &exporter, &scratch.0).output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
