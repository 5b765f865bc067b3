//! The variables are followed as the specification says, wrong ones are named and stop nothing, and docs/otlp.md says
//! what the code does.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use hyper::header::AUTHORIZATION;

use super::variables::{Role, SECTIONS, Variable};
use super::*;
use crate::metrics::documented::assert_documented;

fn read(variables: &[(&str, &str)]) -> OtlpSettings {
    OtlpSettings::read(&variables.iter().copied().collect(), Flags::default())
}

/// With `--call-log otlp`.
fn read_with_logs(variables: &[(&str, &str)]) -> OtlpSettings {
    let flags = Flags { pushes_call_log: true, ..Flags::default() };
    OtlpSettings::read(&variables.iter().copied().collect(), flags)
}

fn endpoints(variables: &[(&str, &str)]) -> (Option<String>, Option<String>) {
    let settings = read(variables);
    let endpoint = |push: Push| push.destination().map(|it| it.endpoint.to_string());
    (endpoint(settings.metrics), endpoint(settings.traces))
}

fn both(metrics: &str, traces: &str) -> (Option<String>, Option<String>) {
    (Some(metrics.to_owned()), Some(traces.to_owned()))
}

fn destination_of_spans(variables: &[(&str, &str)]) -> Destination {
    read(variables).traces.destination().expect("a destination").clone()
}

/// What is said of these variables.
fn said(variables: &[(&str, &str)]) -> Vec<String> {
    read(variables).remarks.iter().map(ToString::to_string).collect()
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

#[test]
fn without_an_endpoint_nothing_is_pushed() {
    assert_eq!(endpoints(&[]), (None, None));
    assert_eq!(endpoints(&[(ENDPOINT, "")]), (None, None));
    assert_eq!(endpoints(&[(ENDPOINT, "http://c:4318"), ("OTEL_SDK_DISABLED", "true")]), (None, None));
}

#[test]
fn endpoints_follow_the_specification() {
    assert_eq!(
        endpoints(&[(ENDPOINT, "http://c:4318")]),
        both("http://c:4318/v1/metrics", "http://c:4318/v1/traces")
    );
    assert_eq!(
        endpoints(&[(ENDPOINT, "https://c/otlp/")]),
        both("https://c/otlp/v1/metrics", "https://c/otlp/v1/traces")
    );
    let traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    assert_eq!(endpoints(&[(traces, "http://c/a?b")]), (None, Some("http://c/a?b".to_owned())));
    let none = "OTEL_METRICS_EXPORTER";
    assert_eq!(endpoints(&[(ENDPOINT, "http://c"), (none, "none")]).0, None);
}

#[test]
fn grpc_has_a_path_a_service_and_may_lack_a_scheme() {
    let (metrics, traces) = endpoints(&[(ENDPOINT, "http://c:4317"), (PROTOCOL, "grpc")]);
    let service = "http://c:4317/opentelemetry.proto.collector";
    assert_eq!(metrics, Some(format!("{service}.metrics.v1.MetricsService/Export")));
    assert_eq!(traces, Some(format!("{service}.trace.v1.TraceService/Export")));
    let (secure, _) = endpoints(&[(ENDPOINT, "c:4317"), (PROTOCOL, "grpc")]);
    assert!(secure.is_some_and(|uri| uri.starts_with("https://c:4317/")));
    let insecure = "OTEL_EXPORTER_OTLP_INSECURE";
    let (plain, _) = endpoints(&[(ENDPOINT, "c:4317"), (PROTOCOL, "grpc"), (insecure, "true")]);
    assert!(plain.is_some_and(|uri| uri.starts_with("http://c:4317/")));
}

#[test]
fn a_signal_has_variables_of_its_own() {
    let settings = read(&[
        (ENDPOINT, "http://c:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "y=2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
    ]);
    let (metrics, traces) = (settings.metrics.destination(), settings.traces.destination());
    let (metrics, traces) = (metrics.expect("metrics"), traces.expect("traces"));
    let headers: Vec<_> =
        metrics.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
    assert_eq!(headers, [("api-key", "a b"), ("x", "1")]);
    assert_eq!(traces.headers.len(), 1);
    assert!(metrics.gzip && !traces.gzip);
    assert_eq!(
        (metrics.timeout, settings.metric_interval),
        (Duration::from_millis(500), Duration::from_secs(1))
    );
}

#[test]
fn a_wrong_value_is_named_and_the_next_best_holds() {
    for (variable, value, expected, instead) in [
        (PROTOCOL, "http/json", "grpc or http/protobuf", "the default, http/protobuf, applies"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "10s", "a whole number", "OTEL_EXPORTER_OTLP_TIMEOUT holds"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip or none", "the default, none, applies"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "from 1 to 2147483647", "the default, 60000, applies"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "2147483648", "from 1 to 2147483647", "60000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "-1", "a whole number", "treated as unset"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10001", "from 1 to 10000", "512"),
        ("OTEL_TRACES_EXPORTER", "jaeger", "otlp or none", "the push"),
        ("OTEL_SDK_DISABLED", "1", "true or false", "the default, false, applies"),
        ("OTEL_TRACES_SAMPLER", "xray", "always_off", "the default, parentbased_always_on, applies"),
        ("OTEL_LOG_LEVEL", "loud", "debug", "the default, info, applies"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta", "cumulative", "cumulativetodelta"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "lowmemory", "cumulative", "cumulativetodelta"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
            "explicit_bucket_histogram",
            "--duration-buckets",
        ),
    ] {
        let variables = [(ENDPOINT, "http://c:4318"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "7"), (variable, value)];
        let said = said(&variables);
        let [line] = &said[..] else { panic!("{variable}: {said:?}") };
        assert!(line.starts_with(&format!("{variable}={value}: expected ")), "{line}");
        assert!(line.contains(expected) && line.contains(instead), "{line}");
        let settings = read(&variables);
        for push in [&settings.metrics, &settings.traces] {
            let destination = push.destination().expect("it is pushed");
            assert_eq!((destination.protocol, destination.gzip), (Protocol::HttpProtobuf, false));
            assert_eq!(destination.timeout, Duration::from_millis(7));
        }
        assert_eq!(settings.metric_interval, Duration::from_secs(60));
        assert_eq!((settings.span_batches.size, settings.log_level), (512, "info"));
    }
}

#[test]
fn case_does_not_matter_and_blanks_neither() {
    let settings = read(&[
        (ENDPOINT, " http://c:4317 "),
        (PROTOCOL, "GRPC"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZip "),
        ("OTEL_METRICS_EXPORTER", " Otlp "),
        ("OTEL_TRACES_EXPORTER", "NONE"),
        ("OTEL_METRIC_EXPORT_INTERVAL", " 5 "),
        ("OTEL_LOG_LEVEL", "Warn"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Cumulative"),
    ]);
    let metrics = settings.metrics.destination().expect("metrics");
    assert_eq!((metrics.protocol, metrics.gzip), (Protocol::Grpc, true));
    assert_eq!(settings.traces, Push::Off(WhyOff::Exporter));
    assert_eq!((settings.metric_interval, settings.log_level), (Duration::from_millis(5), "warn"));
    assert_eq!(settings.remarks, []);
}

#[test]
fn a_destination_that_cannot_be_used_is_not_pushed_to() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for (variable, value, shown) in [
        (ENDPOINT, "collector:4318", "collector:4318"),
        (ENDPOINT, "ftp://c", "ftp://c"),
        (ENDPOINT, "http://c:65536", "http://c:65536"),
        (ENDPOINT, "http://c:", "http://c:"),
        (ENDPOINT, "http://:4318", "http://:4318"),
        (ENDPOINT, "ftp://user:secret@c", "ftp://c"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "(not shown)"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", file, file),
    ] {
        let variables = [(ENDPOINT, "https://c"), (variable, value)];
        let settings = read(&variables);
        assert_eq!((settings.metrics, settings.traces), (Push::Misconfigured, Push::Misconfigured));
        let [remark @ Remark::Fatal(_)] = &settings.remarks[..] else { panic!("{:?}", settings.remarks) };
        let line = remark.to_string();
        assert!(
            line.starts_with(&format!("{variable}={shown}: expected ")) && !line.contains("secret"),
            "{line}"
        );
    }
    let one = [(ENDPOINT, "http://c"), ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "=")];
    let settings = read(&one);
    assert!(settings.metrics.destination().is_some() && settings.traces == Push::Misconfigured);
}

#[test]
fn a_certificate_that_is_not_there_is_said_and_waited_for() {
    let variables = [(ENDPOINT, "https://c"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/does/not/exist.pem")];
    assert!(read(&variables).metrics.destination().is_some_and(|metrics| metrics.certificate.is_some()));
    assert!(matches!(&said(&variables)[..], [line] if line.contains("waits until it is there")));
    let without_tls = [(ENDPOINT, "http://c"), variables[1]];
    let said = said(&without_tls);
    assert_eq!(said, ["OTEL_EXPORTER_OTLP_CERTIFICATE has no effect: it has one for an endpoint of https"]);
}

#[test]
fn exporters_are_a_list_of_which_what_is_offered_counts() {
    const AT_HOME: &str = "http://localhost:4318/v1/metrics";
    for (exporters, endpoint, expected, remarks) in [
        ("otlp", "", Some(AT_HOME), 0),
        ("otlp,prometheus", "", Some(AT_HOME), 0),
        ("console, otlp", "", Some(AT_HOME), 1),
        ("prometheus", "http://c", None, 0),
        ("none", "http://c", None, 0),
        ("console", "http://c", Some("http://c/v1/metrics"), 1),
        ("console", "", None, 1),
    ] {
        let variables =
            [("OTEL_METRICS_EXPORTER", exporters), ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint)];
        let settings = read(&variables);
        let is_said = |remark: &&Remark| remark.to_string().starts_with("OTEL_METRICS_EXPORTER=");
        assert_eq!(settings.remarks.iter().filter(is_said).count(), remarks, "{exporters}");
        let whole = endpoint.to_owned() + "/";
        let found = settings.metrics.destination().map(|metrics| metrics.endpoint.to_string());
        let expected = expected.map(|expected| if endpoint.is_empty() { expected } else { &whole });
        assert_eq!(found.as_deref(), expected, "{exporters}");
    }
}

#[test]
fn logs_are_pushed_if_the_call_log_is_to_be_and_nothing_says_no() {
    let logs = |variables: &[(&str, &str)]| read_with_logs(variables).logs;
    let endpoint = |variables: &[(&str, &str)]| {
        logs(variables).destination().expect("a destination").endpoint.to_string()
    };
    let (of_logs, exporter) = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_LOGS_EXPORTER");
    assert_eq!(endpoint(&[]), "http://localhost:4318/v1/logs");
    assert_eq!(endpoint(&[(exporter, "otlp")]), "http://localhost:4318/v1/logs");
    assert_eq!(endpoint(&[(ENDPOINT, "http://c/a")]), "http://c/a/v1/logs");
    assert_eq!(endpoint(&[(ENDPOINT, "http://c"), (of_logs, "http://d/e")]), "http://d/e");
    assert_eq!(
        endpoint(&[("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc")]),
        "http://localhost:4317/opentelemetry.proto.collector.logs.v1.LogsService/Export"
    );
    assert_eq!(logs(&[(exporter, "none")]), Push::Off(WhyOff::Exporter));
    assert_eq!(logs(&[("OTEL_SDK_DISABLED", "true")]), Push::Off(WhyOff::Disabled));
    assert_eq!(logs(&[(of_logs, "c:4318")]), Push::Misconfigured);
    // The sampler is that of spans.
    assert!(logs(&[("OTEL_TRACES_SAMPLER", "always_off")]).destination().is_some());
    // Whatever the variables say, the flag asks.
    for variables in [(of_logs, "http://c"), (ENDPOINT, "http://c"), (exporter, "otlp")] {
        assert_eq!(read(&[variables]).logs, Push::Off(WhyOff::CallLog));
    }
    assert_eq!(said(&[(exporter, "none")]), Vec::<String>::new(), "it says what is so");
    let console = read_with_logs(&[(exporter, "console")]);
    assert!(console.logs.destination().is_some());
    let [remark] = &console.remarks[..] else { panic!("{:?}", console.remarks) };
    assert!(remark.to_string().ends_with("--call-log decides over the push"), "{remark}");
}

#[test]
fn logs_have_batches_and_a_time_of_their_own() {
    let settings = read_with_logs(&[
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "3"),
        ("OTEL_BLRP_EXPORT_TIMEOUT", "4"),
        (ENDPOINT, "http://c"),
    ]);
    assert_eq!(settings.log_batches, Batches { size: 3, delay: Duration::from_secs(1) });
    assert_eq!(settings.span_batches, Batches { size: 2, delay: Duration::from_millis(1) });
    let timeout = |push: Push| push.destination().map(|it| it.timeout.as_millis());
    assert_eq!((timeout(settings.traces), timeout(settings.logs)), (Some(10_000), Some(4)));
    let delay = read_with_logs(&[("OTEL_BLRP_SCHEDULE_DELAY", "5")]).log_batches.delay;
    assert_eq!(delay, Duration::from_millis(5));
}

#[test]
fn the_sampler_turns_spans_off_or_takes_a_part() {
    let sampled = |sampler: &str, argument: &str| {
        read(&[
            (ENDPOINT, "http://c"),
            ("OTEL_TRACES_SAMPLER", sampler),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ])
    };
    let off = sampled("parentbased_always_off", "");
    assert!(off.traces == Push::Off(WhyOff::Sampler) && off.metrics.destination().is_some());
    assert_eq!(sampled("traceidratio", "0").traces, Push::Off(WhyOff::Sampler));
    let part = sampled("traceidratio", "0.5");
    assert!(part.traces.destination().is_some() && part.remarks.is_empty() && part.sampling != Sampling::ALL);
    for argument in ["2", "-1", "NaN", "half"] {
        let settings = sampled("traceidratio", argument);
        assert_eq!((settings.remarks.len(), settings.sampling), (1, Sampling::ALL), "{argument}");
    }
}

#[test]
fn the_shorter_of_both_times_ends_an_attempt() {
    let timeouts = |variables: &[(&str, &str)]| {
        let all: Vec<_> = [(ENDPOINT, "http://c")].into_iter().chain(variables.iter().copied()).collect();
        let settings = read(&all);
        let timeout = |push: &Push| push.destination().map(|it| it.timeout.as_millis());
        (timeout(&settings.metrics), timeout(&settings.traces))
    };
    let exports = [("OTEL_METRIC_EXPORT_TIMEOUT", "300"), ("OTEL_BSP_EXPORT_TIMEOUT", "20000")];
    assert_eq!(timeouts(&[]), (Some(10_000), Some(10_000)));
    assert_eq!(timeouts(&exports), (Some(300), Some(10_000)));
    assert_eq!(
        timeouts(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"), exports[1]]),
        (Some(60_000), Some(20_000))
    );
}

#[test]
fn what_is_set_in_vain_is_said_with_the_reason_and_without_its_value() {
    for (variables, expected) in [
        (
            &[("OTEL_PROPAGATORS", "secret")][..],
            "OTEL_PROPAGATORS has no effect: a call event begins its trace",
        ),
        (&[("OTEL_EXPORTER_OTLP_ENDPONT", "secret")], "did you mean OTEL_EXPORTER_OTLP_ENDPOINT?"),
        (
            &[("OTEL_EXPORTER_OTLP_TRACE_HEADERS", "secret")],
            "did you mean OTEL_EXPORTER_OTLP_TRACES_HEADERS?",
        ),
        (
            &[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "secret")],
            "logs are not pushed, since --call-log is not otlp",
        ),
        (&[("OTEL_BLRP_SCHEDULE_DELAY", "7")], "logs are not pushed, since --call-log is not otlp"),
        (&[("OTEL_LOGS_EXPORTER", "otlp")], "since --call-log is not otlp; set it so"),
        (&[("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "7")], "a log record has what the call event says"),
        (&[("OTEL_SOMETHING", "secret")], "OTEL_SOMETHING is not known"),
        (&[("OTEL_EXPORTER_OTLP_HEADERS", "secret")], "not pushed, since no endpoint is set"),
        (&[("OTEL_SERVICE_NAME", "secret")], "not pushed, since no endpoint is set"),
        (&[(ENDPOINT, "http://secret"), ("OTEL_SDK_DISABLED", "true")], "since OTEL_SDK_DISABLED is true"),
        (
            &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c"), ("OTEL_BSP_SCHEDULE_DELAY", "7")],
            "OTEL_BSP_SCHEDULE_DELAY has no effect: traces are not pushed, since no endpoint is set",
        ),
        (
            &[(ENDPOINT, "http://c"), ("OTEL_EXPORTER_OTLP_INSECURE", "true")],
            "for an endpoint of grpc without",
        ),
        (&[(ENDPOINT, "http://c"), ("OTEL_TRACES_SAMPLER_ARG", "0.5")], "where OTEL_TRACES_SAMPLER is"),
        (
            &[
                (ENDPOINT, "http://secret"),
                ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c"),
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c"),
            ],
            "OTEL_EXPORTER_OTLP_ENDPOINT has no effect: its forms",
        ),
    ] {
        let said = said(variables);
        let [line] = &said[..] else { panic!("{variables:?}: {said:?}") };
        assert!(line.contains(expected) && !line.contains("secret"), "{line}");
    }
    let environment = [("OTEL_LOG_LEVEL", "debug")].into_iter().collect();
    let settings = OtlpSettings::read(&environment, Flags { has_log_level: true, ..Flags::default() });
    assert!(matches!(&settings.remarks[..], [remark] if remark.to_string().contains("--log-level")));
}

/// Everything that is followed, set to what makes a difference.
const EVERYTHING: &[(&str, &str)] = &[
    (ENDPOINT, "c:4317"),
    (PROTOCOL, "grpc"),
    ("OTEL_EXPORTER_OTLP_INSECURE", "false"),
    ("OTEL_TRACES_SAMPLER", "traceidratio"),
];

#[test]
fn every_variable_that_the_table_calls_followed_is_read() {
    let asked = |variable: &&Variable| matches!(variable.role, Role::Followed { .. });
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for variable in variables::all().filter(asked) {
        let value = match (variable.name, variable.default()) {
            (name, _) if name.ends_with("_CERTIFICATE") || name.ends_with("_KEY") => file,
            (name, _) if name.ends_with("_TIMEOUT") => "5",
            (name, "") if name.ends_with("_EXPORTER") => "otlp",
            (_, "") => "a=b",
            (_, default) => default,
        };
        let mut variables = EVERYTHING.to_vec();
        if !EVERYTHING.iter().any(|(name, _)| *name == variable.name) {
            variables.push((variable.name, value));
        }
        if variable.name.contains("_CLIENT_") {
            variables.push(("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", file));
            variables.push(("OTEL_EXPORTER_OTLP_CLIENT_KEY", file));
        }
        if variable.name != "OTEL_TRACES_SAMPLER_ARG" {
            variables.push(("OTEL_TRACES_SAMPLER_ARG", "0.5"));
        }
        let remarks = read_with_logs(&variables).remarks;
        let of_it = |line: &String| line.starts_with(variable.name);
        assert_eq!(remarks.iter().map(ToString::to_string).find(of_it), None);
    }
}

#[test]
fn a_name_stands_in_the_table_once() {
    let names: Vec<&str> = variables::all().map(|variable| variable.name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    for name in names.iter().filter(|name| !name.ends_with('*')) {
        let (found, _) = variables::find(name).expect("it is known");
        assert_eq!(found.name, *name);
    }
}

/// What stands before the tables in docs/otlp.md.
const MARK: &str = "<!-- The tables are made of src/config/otlp/variables.rs: PLANET_TEST_UPDATE=1 cargo test --lib documentation -->\n";

/// The tables of docs/otlp.md.
fn tables() -> String {
    let mut text = String::new();
    for (title, variables) in SECTIONS {
        let _ = write!(text, "\n## {title}\n\n| variable | default | effect |\n|---|---|---|\n");
        for variable in *variables {
            let name = match variable.has_forms {
                true => format!("`{}`, also with `METRICS_`, `TRACES_` or `LOGS_`", variable.name),
                false => format!("`{}`", variable.name),
            };
            let default = match variable.default() {
                "" => String::new(),
                default => format!("`{default}`"),
            };
            let what = match variable.role {
                Role::Followed { what, only: "", .. } => what.to_owned(),
                Role::Followed { what, only, .. } => format!("{what} It has an effect {only}."),
                Role::Unused(reason) => format!("Not used: {reason}."),
            };
            let _ = writeln!(text, "| {name} | {default} | {what} |");
        }
    }
    text
}

#[test]
fn the_documentation_says_what_the_table_says() {
    assert_documented("docs/otlp.md", MARK, &tables());
}

#[test]
fn an_instance_is_named_after_the_pod_or_host_and_port() {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let instance = |variables: &[(&str, &str)], port| {
        let mut settings = read(variables);
        settings.name_instance(port);
        settings.resource.get(&resource::INSTANCE).map(|instance| instance.to_string())
    };
    assert_eq!(instance(&[], 9464), Some(format!("{host}:9464")));
    assert_ne!(instance(&[], 9464), instance(&[], 9465));
    assert_eq!(instance(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")], 9464), Some(host));
}

#[test]
fn credentials_in_an_endpoint_are_sent_and_not_shown() {
    let authorization = |variables: &[(&str, &str)]| {
        let traces = destination_of_spans(variables);
        let shown = format!("{traces} {traces:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("dXNl"), "{shown}");
        assert!(!traces.endpoint.to_string().contains('@'));
        let of = traces.headers.iter().filter(|(name, _)| name == AUTHORIZATION);
        of.map(|(_, value)| value.to_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let basic = ["Basic dXNlcjpzM2NyZXRA"];
    assert_eq!(authorization(&[(ENDPOINT, "https://user:s3cret%40@c:4318")]), basic);
    assert_eq!(authorization(&[(ENDPOINT, "user:s3cret%40@c:4317"), (PROTOCOL, "grpc")]), basic);
    assert_eq!(authorization(&[(ENDPOINT, "https://user@c")]), ["Basic dXNlcjo="]);
    assert_eq!(authorization(&[(ENDPOINT, "https://c")]), [""; 0]);
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20token");
    assert_eq!(authorization(&[(ENDPOINT, "https://user:s3cret@c"), headers]), ["Bearer token"]);
    let traces = destination_of_spans(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://u:p@c/a?token=t")]);
    assert_eq!(traces.to_string(), "http://c/a");
}

#[test]
fn an_endpoint_that_is_none_is_refused_without_its_secrets() {
    for given in
        ["user:s3cret@c:4318", "ftp://user:s3cret@c", "http://user:s3/cret@c d", "http:// ?token=s3cret"]
    {
        let settings = read(&[(ENDPOINT, given)]);
        assert_eq!(settings.traces, Push::Misconfigured, "{given}");
        let said: String = settings.remarks.iter().map(ToString::to_string).collect();
        assert!(said.contains(ENDPOINT) && !said.contains("s3") && !said.contains("cret"), "{said}");
    }
}
