//! The variables are followed as the specification says, and wrong ones are named.

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<OtlpSettings, InvalidVariable> {
    OtlpSettings::read(|name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

fn endpoints(variables: &[(&str, &str)]) -> (Option<String>, Option<String>) {
    let settings = read(variables).expect("valid");
    let endpoint = |destination: Option<Destination>| destination.map(|it| it.endpoint.to_string());
    (endpoint(settings.metrics), endpoint(settings.traces))
}

fn both(metrics: &str, traces: &str) -> (Option<String>, Option<String>) {
    (Some(metrics.to_owned()), Some(traces.to_owned()))
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
    ])
    .expect("valid");
    let (metrics, traces) = (settings.metrics.expect("metrics"), settings.traces.expect("traces"));
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
fn wrong_values_name_the_variable() {
    for (variable, value) in [
        (ENDPOINT, "collector:4318"),
        (ENDPOINT, "ftp://c"),
        (PROTOCOL, "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no value"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/does/not/exist.pem"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_TRACES_EXPORTER", "jaeger"),
    ] {
        let error = read(&[(variable, value), (ENDPOINT, "http://c:4318")]).expect_err(variable);
        assert_eq!(error.variable, variable);
        assert!(error.to_string().contains(error.expected));
    }
}

#[test]
fn a_secret_header_is_not_shown() {
    let error =
        read(&[(ENDPOINT, "http://c"), ("OTEL_EXPORTER_OTLP_HEADERS", "secret")]).expect_err("no pair");
    assert!(!error.to_string().contains("secret"));
}

#[test]
fn delta_is_warned_of() {
    let preference = ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta");
    assert_eq!(read(&[preference]).expect("valid").warnings.len(), 1);
}

#[test]
fn an_instance_is_named_after_the_pod_or_host_and_port() {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let instance = |variables: &[(&str, &str)], port| {
        let mut settings = read(variables).expect("valid");
        settings.name_instance(port);
        settings.resource.get(&INSTANCE).map(|instance| instance.to_string())
    };
    assert_eq!(instance(&[], 9464), Some(format!("{host}:9464")));
    assert_ne!(instance(&[], 9464), instance(&[], 9465));
    assert_eq!(instance(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")], 9464), Some(host));
}

#[test]
fn credentials_in_an_endpoint_are_sent_and_not_shown() {
    let authorization = |variables: &[(&str, &str)]| {
        let traces = read(variables).expect("valid").traces.expect("a destination");
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
    let traces =
        read(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://u:p@c/a?token=t")]).expect("valid").traces;
    assert_eq!(traces.expect("a destination").to_string(), "http://c/a");
}

#[test]
fn an_endpoint_that_is_none_is_refused_without_its_secrets() {
    for given in
        ["user:s3cret@c:4318", "ftp://user:s3cret@c", "http://user:s3/cret@c d", "http:// ?token=s3cret"]
    {
        let error = read(&[(ENDPOINT, given)]).expect_err(given).to_string();
        assert!(error.contains(ENDPOINT) && !error.contains("s3") && !error.contains("cret"), "{error}");
    }
}
