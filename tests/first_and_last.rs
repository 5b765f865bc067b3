//! The promise: who starts after an exporter that is ready knows when that is, and the Job whose exporter is no native
//! sidecar can end it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::net::TcpListener;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use support::Scratch;
use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::http;

fn wait(admin: &str, timeout: &str) -> Child {
    let mut command = command();
    command.args(["wait", "--admin-listen", admin, "--timeout", timeout]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the exporter runs")
}

fn ended(child: Child) -> Output {
    child.wait_with_output().expect("it ends")
}

#[test]
fn wait_ends_when_an_exporter_is_ready() {
    let address = support::free_address().to_string();
    let waiting = wait(&address, "60s");
    let scratch = Scratch::new("wait");
    let state = scratch.0.join("state");
    let arguments = ["--listen", "127.0.0.1:0", "--admin-listen", &address];
    let exporter = Exporter::launch_listening(command().arg("--state-dir").arg(&state).args(arguments));
    let output = ended(waiting);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(exporter.admin("/readyz").status, 200);
    assert!(ended(wait(&address, "1ms")).status.success(), "it is ready already");
}

#[test]
fn wait_ends_in_time_and_says_why_nobody_is_ready() {
    // One that takes connections and says nothing, and none.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a listener");
    for (admin, reason) in [
        (silent.local_addr().expect("an address").to_string(), "none within"),
        (support::free_address().to_string(), "refused"),
    ] {
        let begun = Instant::now();
        let output = ended(wait(&admin, "1s"));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(begun.elapsed() >= Duration::from_millis(800), "{:?}", begun.elapsed());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&admin) && said.contains(reason), "{said}");
    }
}

#[test]
fn a_program_on_this_host_ends_it_where_that_is_allowed() {
    let exporter = Exporter::start();
    assert_eq!(http::request(exporter.admin, "POST", "/quitquitquit", &[]).status, 404);

    let mut exporter = Exporter::with(&["--admin-quit", "true"]);
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 200);
    assert_eq!(exporter.admin("/quitquitquit").status, 405);
    let forwarded = [("x-forwarded-for", "127.0.0.1")];
    assert_eq!(http::request(exporter.admin, "POST", "/quitquitquit", &forwarded).status, 403);
    assert_eq!(exporter.process.ended(), None);
    let answer = http::request(exporter.admin, "POST", "/quitquitquit", &[]);
    assert_eq!((answer.status, answer.text()), (200, "ending\n".to_owned()));
    assert!(exporter.process.wait().success());
    exporter.process.stderr.wait_for("stopped");
}
