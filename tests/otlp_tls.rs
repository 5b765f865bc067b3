//! The promise: spans go out over TLS, to whom the standard variables say is to be trusted, and as whom they say.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::Command;

use support::authority::Authority;
use support::call::CallEventQuery;
use support::eventually;
use support::exporter::{Exporter, command};
use support::otlp_receiver::OtlpReceiver;
use tonic::transport::Certificate;

fn pushing_to(receiver: &OtlpReceiver) -> Command {
    let mut command = command();
    command
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("https://localhost:{}", receiver.address().port()))
        .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    command
}

fn send_a_call(exporter: &Exporter) {
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 200);
}

#[test]
fn a_receiver_is_trusted_if_its_authority_is() {
    let authority = Authority::new("tls");
    let receiver = OtlpReceiver::start_with_tls(authority.server());
    let trusted = authority.file("ca.pem", &authority.issuer.pem());
    let exporter = Exporter::launch(pushing_to(&receiver).env("OTEL_EXPORTER_OTLP_CERTIFICATE", trusted));
    send_a_call(&exporter);
    eventually("the span", || (receiver.taken().len() == 1).then_some(()));
}

#[test]
fn a_receiver_of_another_authority_gets_nothing() {
    let (authority, other) = (Authority::new("tls-one"), Authority::new("tls-other"));
    let receiver = OtlpReceiver::start_with_tls(authority.server());
    let trusted = other.file("ca.pem", &other.issuer.pem());
    let exporter = Exporter::launch(pushing_to(&receiver).env("OTEL_EXPORTER_OTLP_CERTIFICATE", trusted));
    send_a_call(&exporter);
    let line = exporter.process.stderr.wait_for("the OTLP receiver is away");
    assert!(line.contains("certificate"), "{line}");
    assert!(receiver.traces().is_empty());
}

#[test]
fn a_client_certificate_is_shown_to_who_asks_for_one() {
    let authority = Authority::new("tls-client");
    let asks = authority.server().client_ca_root(Certificate::from_pem(authority.issuer.pem()));
    let receiver = OtlpReceiver::start_with_tls(asks);
    let trusted = authority.file("ca.pem", &authority.issuer.pem());
    let (certificate, key) = authority.issue("planet-call-exporter");
    let certificate = authority.file("client.pem", &certificate);
    let key = authority.file("client.key", &key);

    let without = Exporter::launch(pushing_to(&receiver).env("OTEL_EXPORTER_OTLP_CERTIFICATE", &trusted));
    send_a_call(&without);
    without.process.stderr.wait_for("the OTLP receiver is away");
    assert!(receiver.traces().is_empty());

    let with = Exporter::launch(
        pushing_to(&receiver)
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &trusted)
            .env("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate)
            .env("OTEL_EXPORTER_OTLP_CLIENT_KEY", key),
    );
    send_a_call(&with);
    eventually("the span", || (receiver.taken().len() == 1).then_some(()));
}

#[test]
fn certificates_that_change_are_read_again_and_unusable_ones_are_named_and_not_taken() {
    let (first, second) = (Authority::new("tls-first"), Authority::new("tls-second"));
    let receiver = OtlpReceiver::start_with_tls(second.server());
    let trusted = first.file("ca.pem", &first.issuer.pem());
    let exporter = Exporter::launch(pushing_to(&receiver).env("OTEL_EXPORTER_OTLP_CERTIFICATE", &trusted));
    send_a_call(&exporter);
    exporter.process.stderr.wait_for("the OTLP receiver is away");
    // Half of a file, as whoever writes it may leave it for a moment.
    fs::write(&trusted, &second.issuer.pem()[..100]).expect("written");
    let line = exporter.process.stderr.wait_for("cannot be used; the old ones are kept");
    assert!(line.contains(trusted.to_str().expect("text")), "{line}");
    assert!(receiver.taken().is_empty());
    fs::write(&trusted, second.issuer.pem()).expect("written");
    eventually("the span", || (receiver.taken().len() == 1).then_some(()));
}
