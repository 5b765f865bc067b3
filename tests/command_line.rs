//! The promise: what is configured is what runs, what cannot be configured is refused with a reason, and a signal ends
//! the exporter in order.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::time::{Duration, Instant};

use support::call::{CallEventQuery, DOCUMENTED_SAMPLE};
use support::exporter::{CALL_EVENT_PATH, Exporter, command};
use support::http::{self, Connection};
use support::{PATIENCE, eventually};

/// Runs the exporter to its end.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command().args(arguments).envs(variables.iter().copied()).output().expect("the exporter runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output in UTF-8")
}

#[test]
fn help_has_every_flag_with_its_environment_variable() {
    let output = run(&["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    let flags: Vec<_> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--")?.split([' ', '=']).next())
        .collect();
    for contract in ["listen", "call-event-path", "admin-listen", "identity", "idcs", "log-format"] {
        assert!(flags.contains(&contract), "--{contract} is in the help:\n{help}");
    }
    for flag in flags {
        let (_, behind) = help.split_once(&format!(" --{flag} <")).expect("a flag with a value");
        let description = behind.split("\n      --").next().unwrap_or_default();
        let variable = format!("[env: PLANET_{}", flag.to_uppercase().replace('-', "_"));
        // One that may hold a secret by mistake is shown without its value.
        let is_there = ["]", "=]"].iter().any(|end| description.contains(&format!("{variable}{end}")));
        assert!(is_there, "--{flag} has {variable}:\n{description}");
    }
    assert!(help.contains("OTEL_EXPORTER_OTLP_"), "it says how OTLP is turned on");
}

#[test]
fn a_password_in_a_url_is_refused_and_not_shown() {
    let url = "http://user:s3cret@app:8080";
    for (arguments, environment) in
        [(&["--forward-to", url][..], &[][..]), (&[], &[("PLANET_FORWARD_TO", url)])]
    {
        let output = run(arguments, environment);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains("such as http://") && !said.contains("s3cret"), "{said}");
    }
    let output = run(&["--help"], &[("PLANET_FORWARD_TO", url)]);
    assert!(!text(&output.stdout).contains("s3cret"));
}

#[test]
fn version_is_the_one_that_runs() {
    let output = run(&["--version"], &[]);
    let version = text(&output.stdout).trim().strip_prefix("planet-call-exporter ").map(str::to_owned);
    let version = version.expect("name and version");
    let exporter = Exporter::start();
    assert_eq!(exporter.metrics().value("planet_exporter_build_info", &[("version", &version)]), 1.0);
    assert!(exporter.process.stderr.wait_for("is listening").contains(&version));
}

#[test]
fn the_environment_configures_and_flags_come_first() {
    let variables = [
        ("PLANET_LISTEN", "127.0.0.1:0"),
        ("PLANET_ADMIN_LISTEN", "127.0.0.1:0"),
        ("PLANET_CALL_EVENT_PATH", "/from/environment"),
        ("PLANET_IDCS", "KR,JP"),
        ("PLANET_MAX_URI_BYTES", "500"),
    ];
    let exporter = Exporter::launch_as_it_is(command().envs(variables).args(["--max-uri-bytes", "1KiB"]));
    let path = |bytes: usize| format!("/from/environment?{DOCUMENTED_SAMPLE}{}", "x".repeat(bytes));
    assert_eq!(exporter.get(&path(0)).status, 200);
    assert_eq!(exporter.get(&path(300)).status, 200, "the flag allows more than the variable");
    assert_eq!(exporter.get(&path(1_000)).status, 414);
    assert_eq!(exporter.send(DOCUMENTED_SAMPLE).status, 404);
    let labels = exporter.metrics().named("planet_call_billed_seconds_total").into_keys();
    let idcs: std::collections::BTreeSet<_> = labels.map(|labels| labels["idc"].clone()).collect();
    assert_eq!(idcs.into_iter().collect::<Vec<_>>(), ["JP", "KR"]);
}

#[test]
fn a_wrong_value_ends_with_2_and_names_flag_value_and_what_is_accepted() {
    for (flag, value, accepted) in [
        ("--listen", "20200", "a port such as :20200"),
        ("--admin-listen", "localhost", "localhost:20200"),
        ("--call-event-path", "call_event", "such as /call_event"),
        ("--identity", "some", "drop, hash, keep"),
        ("--idcs", "KR,J P", "such as KR,JP"),
        ("--duration-buckets", "5,1", "ascending"),
        ("--setup-buckets", "one", "such as 1,10,60,600"),
        ("--max-series", "-1", "decimal digits"),
        ("--seen-max", "many", "decimal digits"),
        ("--state-max-bytes", "5", "at least 1MiB"),
        ("--seen-age", "24", "such as 500ms, 10s, 5m or 24h"),
        ("--backlog-max-bytes", "64 apples", "such as 64MiB"),
        ("--max-uri-bytes", "1MiB", "up to 65534"),
        ("--header-timeout", "0s", "above zero"),
        ("--call-log", "stderr", "off, stdout, otlp"),
        ("--log-format", "xml", "text, json"),
        ("--log-level", "a=b=c", "filter directives"),
    ] {
        let variable = format!("PLANET_{}", flag.trim_start_matches('-').to_uppercase().replace('-', "_"));
        let by_flag = run(&[&format!("{flag}={value}")], &[]);
        let by_variable = run(&[], &[(&variable, value)]);
        for output in [by_flag, by_variable] {
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{flag} {value}: {message}");
            assert!(message.contains(flag), "{flag} is named: {message}");
            assert!(message.contains(accepted), "{flag}: {accepted:?} is named: {message}");
            let named = value.split(',').any(|part| message.contains(&format!("'{part}'")));
            assert!(named || message.contains(&format!("'{value}'")), "{value} is named: {message}");
        }
    }
    assert_eq!(run(&["--no-such-flag"], &[]).status.code(), Some(2));
    let without_key = run(&["--identity", "hash"], &[]);
    assert_eq!(without_key.status.code(), Some(2));
    assert!(text(&without_key.stderr).contains("--identity-key-file"));
}

#[test]
fn a_port_in_use_is_named_and_ends_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (listen, admin) in [(address.as_str(), "127.0.0.1:0"), ("127.0.0.1:0", address.as_str())] {
        let output = run(&["--listen", listen, "--admin-listen", admin], &[]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(&address) && message.contains("in use"), "{message}");
    }
}

#[test]
fn the_log_is_json_or_text_and_says_where_it_listens() {
    let json = Exporter::start();
    let line = json.process.stderr.wait_for("is listening");
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["call_events"], format!("http://{}{CALL_EVENT_PATH}", json.call_events));
    assert_eq!(line["admin"], format!("http://{}", json.admin));
    json.process.stderr.wait_for("in memory");

    let as_text = Exporter::with(&["--log-format", "text"]);
    let line = as_text.process.stderr.wait_for("is listening");
    assert!(serde_json::from_str::<serde_json::Value>(&line).is_err(), "{line}");
    assert!(line.contains(" INFO ") && line.contains(&as_text.admin.to_string()), "{line}");
    assert!(!line.contains('\u{1b}'), "no colours where there is no terminal: {line:?}");
    assert_eq!(as_text.process.stdout.all(), Vec::<String>::new());

    let quiet = Exporter::with(&["--log-level", "info,planet_call_exporter=debug"]);
    assert_eq!(quiet.send("wrong").status, 400);
    assert_eq!(quiet.send("wrong").status, 400);
    quiet.process.stderr.wait_for("\"DEBUG\"");
}

#[test]
fn the_log_says_what_is_on_and_what_is_off() {
    let off = Exporter::start();
    let line = off.process.stderr.wait_for("what leaves beside /metrics");
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    for name in ["otlp_metrics", "otlp_traces", "otlp_logs", "call_log"] {
        assert_eq!(line[name], "off", "{line}");
    }
    assert_eq!(line["identity"], "drop", "{line}");
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("OTEL_METRICS_EXPORTER", "none")];
    let on = Exporter::launch(command().envs(variables).args(["--call-log", "stdout"]));
    let line = on.process.stderr.wait_for("what leaves beside /metrics");
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(line["otlp_metrics"], "off", "{line}");
    assert_eq!(line["otlp_traces"], "http://127.0.0.1:9/v1/traces", "{line}");
    assert_eq!((&line["call_log"], &line["otlp_logs"]), (&"stdout".into(), &"off".into()), "{line}");
    let pushed = Exporter::launch(command().args(["--call-log", "otlp"]));
    let line = pushed.process.stderr.wait_for("what leaves beside /metrics");
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(line["call_log"], "otlp", "{line}");
    assert_eq!(line["otlp_logs"], "http://localhost:4318/v1/logs", "{line}");
}

/// The warnings that a setting has no effect, in their order.
fn without_effect(exporter: &Exporter) -> Vec<String> {
    // They come before it.
    exporter.process.stderr.wait_for("no state directory");
    let lines = exporter.process.stderr.all();
    let lines = lines.iter().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    let warnings = lines.filter(|line: &serde_json::Value| line["level"] == "WARN");
    let messages = warnings.map(|line| line["message"].as_str().expect("a message").to_owned());
    messages.filter(|message| message.contains("no effect")).collect()
}

#[test]
fn a_setting_without_effect_is_said_once_with_what_gave_it_and_why() {
    let variables =
        [("PLANET_FORWARD_TIMEOUT", "5s"), ("PLANET_BACKLOG_MAX_BYTES", "1MiB"), ("PLANET_IDCS", "KR")];
    let flags = ["--forward-mode", "stored", "--trusted-proxies", "10.0.0.0/8", "--segment-age", "1h"];
    let exporter = Exporter::launch(command().envs(variables).args(flags));
    let expected = [
        "--segment-age has no effect: nothing is on disk without --state-dir",
        "PLANET_BACKLOG_MAX_BYTES has no effect: nothing waits for delivery: spans and the call log are off, and no service \
         behind gets call events from the journal",
        "--forward-mode has no effect: there is no service behind without --forward-to",
        "PLANET_FORWARD_TIMEOUT has no effect: there is no service behind without --forward-to",
        "--trusted-proxies has no effect: nobody asks for the addresses of clients without --proxy-protocol required, --allow-from or --max-rate",
    ];
    assert_eq!(without_effect(&exporter), expected);

    let variables = [("PLANET_IDENTITY", "keep"), ("PLANET_CALL_LOG", "stdout")];
    let exporter = Exporter::launch(command().envs(variables).args(["--identity", "keep"]));
    assert_eq!(without_effect(&exporter), Vec::<String>::new());
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let help = run(&["--help"], &[]);
    let help = text(&help.stdout);
    let variables = help.split("[env: ").skip(1).filter_map(|rest| rest.split('=').next());
    let empty: Vec<_> = variables.map(|variable| (variable, "")).collect();
    assert!(empty.len() > 30, "{empty:?}");
    let exporter = Exporter::launch(command().envs(empty.iter().copied()));
    assert_eq!(exporter.send(DOCUMENTED_SAMPLE).status, 200);
    assert_eq!(without_effect(&exporter), Vec::<String>::new());

    // A flag that needs another finds it missing.
    let without_key = run(&["--identity", "hash"], &empty);
    assert_eq!(without_key.status.code(), Some(2));
    assert!(text(&without_key.stderr).contains("--identity-key-file"));
    for arguments in
        [&["state", "/nowhere"][..], &["replay", "/nowhere", "--to", "http://127.0.0.1:9"], &["--help"]]
    {
        assert_eq!(run(arguments, &empty), run(arguments, &[]), "{arguments:?}");
    }
}

/// A connection on which a request has begun, so that the exporter cannot end before it is finished.
fn begin_request(exporter: &Exporter, number: usize) -> (Connection, String) {
    let request = format!("GET {CALL_EVENT_PATH}?{} HTTP/1.1\r\n", CallEventQuery::new(number).encode());
    let (begun, rest) = request.split_at(30);
    let mut connection = Connection::open(exporter.call_events);
    connection.send(begun);
    eventually("the connection was accepted", || {
        let open = exporter.metrics().value("planet_exporter_connections", &[("listener", "call_events")]);
        (open >= 1.0).then_some(())
    });
    (connection, format!("{rest}host: test\r\n\r\n"))
}

fn wait_until_not_ready(exporter: &Exporter) {
    eventually("it is not ready", || {
        let answer = http::try_request(exporter.admin, "GET", "/readyz", &[]).ok()?;
        (answer.status == 503 && answer.text().contains("stopping")).then_some(())
    });
}

#[test]
fn a_signal_finishes_what_was_begun_and_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let arguments = ["--header-timeout", "1h", "--shutdown-timeout", "1h"];
        let mut exporter = Exporter::with(&arguments);
        let mut idle = Connection::open(exporter.call_events);
        assert_eq!(idle.get(&format!("{CALL_EVENT_PATH}?{DOCUMENTED_SAMPLE}")).status, 200);
        let (mut begun, rest) = begin_request(&exporter, 1);
        assert_eq!(exporter.admin("/readyz").status, 200);

        exporter.process.signal(signal);
        wait_until_not_ready(&exporter);
        assert_eq!(idle.receive_until_closed(), b"", "an idle connection is closed");
        eventually("nothing new is accepted", || TcpStream::connect(exporter.call_events).err());
        assert_eq!(exporter.admin("/livez").status, 200);
        assert_eq!(exporter.accepted(), 1.0, "metrics are shown to the end");
        assert_eq!(exporter.process.ended(), None);

        begun.send(rest);
        let answer = begun.receive();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{signal}");
        assert_eq!(exporter.process.wait().code(), Some(0), "{signal}");
        exporter.process.stderr.wait_for("\"stopped\"");
    }
}

#[test]
fn an_orderly_end_takes_no_longer_than_configured() {
    let mut exporter = Exporter::with(&["--header-timeout", "1h", "--shutdown-timeout", "1s"]);
    let (mut never_finished, _) = begin_request(&exporter, 1);
    let signalled = Instant::now();
    exporter.process.signal("TERM");
    assert_eq!(exporter.process.wait().code(), Some(0));
    assert!(signalled.elapsed() >= Duration::from_secs(1), "it waited for the request");
    assert!(signalled.elapsed() < PATIENCE, "and not for the header timeout");
    exporter.process.stderr.wait_for("stopped before everything was finished");
    assert_eq!(never_finished.receive_until_closed(), b"");
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut exporter = Exporter::with(&["--header-timeout", "1h", "--shutdown-timeout", "1h"]);
    let (_begun, _) = begin_request(&exporter, 1);
    exporter.process.signal("TERM");
    wait_until_not_ready(&exporter);
    exporter.process.signal("TERM");
    assert_eq!(exporter.process.wait().code(), Some(1));
    exporter.process.stderr.wait_for("ended at once by a second signal");
}

#[test]
fn the_admin_port_answers_what_it_says_and_nothing_else() {
    let exporter = Exporter::start();
    let landing = exporter.admin("/");
    assert_eq!(landing.header("content-type"), Some("text/html; charset=utf-8"));
    let page = landing.text();
    let links: Vec<_> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let links: Vec<_> =
        links.into_iter().filter(|link| !link.starts_with("data:")).map(|link| format!("/{link}")).collect();
    for path in [
        "/metrics",
        "/livez",
        "/-/healthy",
        "/-/ready",
        "/refused",
        "/status.json",
        "/why",
        "/calls",
        "/usage",
    ] {
        assert!(links.iter().any(|link| link == path), "{path} in {links:?}");
    }
    for link in &links {
        assert_eq!(exporter.admin(link).status, 200, "{link}");
        let head = http::request(exporter.admin, "HEAD", link, &[]);
        assert_eq!(head.status, 200, "HEAD {link}");
        let posted = http::request(exporter.admin, "POST", link, &[]);
        assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")), "POST {link}");
    }
    assert_eq!(exporter.admin("/elsewhere").status, 404);
    assert_eq!(exporter.admin(&format!("{CALL_EVENT_PATH}?{DOCUMENTED_SAMPLE}")).status, 404);
    assert_eq!(exporter.get("/metrics").status, 404, "metrics are not shown where calls come in");
    assert_eq!(exporter.accepted(), 0.0);
}
