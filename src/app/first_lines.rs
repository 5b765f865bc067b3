//! The first lines of the log: where the exporter listens and how to try it, where to look, what is on and off, and
//! what is kept.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use tracing::{info, warn};

use crate::config::otlp::{OtlpSettings, Push};
use crate::config::routes::SECRET;
use crate::config::unused::unused;
use crate::config::{Config, ForwardMode, ProxyProtocol, name_of};
use crate::state::volume::Volume;

/// Says where the exporter listens, and what is on and off.
pub(super) fn log(
    config: &Config,
    otlp: &OtlpSettings,
    call_events: &[SocketAddr],
    admin: &[SocketAddr],
    is_admin_tls: bool,
) {
    let admin_scheme = scheme(is_admin_tls);
    let urls = |addresses: &[SocketAddr], scheme: &str, path: &str| {
        let urls: Vec<_> = addresses.iter().map(|address| format!("{scheme}://{address}{path}")).collect();
        urls.join(", ")
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        call_events = urls(call_events, scheme(config.tls_cert_file.is_some()), &config.call_event_path),
        admin = urls(admin, admin_scheme, ""),
        "planet-call-exporter is listening"
    );
    if let Some(address) = call_events.first() {
        info!(
            "calls come in here; this sends the sample call, which counts as one: {}",
            trial(config, *address)
        );
    }
    if let Some(address) = admin.first().copied().map(from_here) {
        info!(
            "look at {admin_scheme}://{address}/metrics for what was counted, and at {admin_scheme}://{address}/ for the rest"
        );
    }
    let endpoint = |push: &Push| match push {
        Push::To(destination) => destination.to_string(),
        Push::Off(_) => "off".to_owned(),
        Push::Misconfigured => "off, misconfigured".to_owned(),
    };
    info!(
        otlp_metrics = endpoint(&otlp.metrics),
        otlp_traces = endpoint(&otlp.traces),
        otlp_logs = endpoint(&otlp.logs),
        call_log = name_of(&config.call_log),
        identity = name_of(&config.identity),
        forward_to = config.forward_to.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string),
        canary = config.canary_url.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string),
        "what leaves beside /metrics"
    );
    for unused in unused(config, otlp) {
        warn!("{unused}");
    }
    match &config.state_dir {
        Some(directory) => log_state(directory),
        None => warn!(
            "no state directory: totals, seen session IDs and what waits for delivery are in memory and begin anew with \
             each start; --state-dir keeps them"
        ),
    }
    if config.forward_to.is_some() && config.forward_mode == ForwardMode::Stored && config.state_dir.is_none()
    {
        warn!(
            "call events for the service behind wait in memory: they are answered 200 before it has them, and what it has not \
             taken is lost if the process dies; --state-dir or --forward-mode inline prevents that"
        );
    }
}

/// Says what a state directory keeps, and for how long.
fn log_state(directory: &Path) {
    let Volume { kind, lasts } = Volume::of(directory);
    let (state_dir, file_system) = (directory.display(), kind);
    match lasts.is_short() {
        true => warn!(%state_dir, file_system, "totals {}", lasts.explain()),
        false => info!(%state_dir, file_system, "totals {}", lasts.explain()),
    }
}

/// A command for a shell that sends the sample call to this address.
fn trial(config: &Config, address: SocketAddr) -> String {
    let address = from_here(address);
    let is_proxy = config.trusted_proxies.iter().any(|network| network.contains(&address.ip()));
    let is_tls = config.tls_cert_file.is_some();
    let mut flags = String::from("-gi");
    if config.proxy_protocol == ProxyProtocol::Required && is_proxy {
        flags.push_str(" --haproxy-protocol");
    }
    if is_tls {
        // The certificate is for the public name.
        flags.push_str(" -k");
    }
    if config.tls_client_ca_file.is_some() {
        flags.push_str(" --cert client.crt --key client.key");
    }
    let path = &config.call_event_path;
    let joint = match path.contains('?') {
        true if path.ends_with('&') => "",
        true => "&",
        false => "?",
    };
    let scheme = scheme(is_tls);
    // As a shell takes it, whatever is in the path. The secret is not in the log: the shell reads it.
    let quoted = |text: &str| text.replace('\'', "'\\''");
    let secret = config.call_event_secret_file.as_deref().map_or_else(String::new, |file| {
        format!("{SECRET}='\"$(head -n 1 '{}')\"'&", quoted(&file.display().to_string()))
    });
    format!("curl {flags} '{}{secret}{SAMPLE}'", quoted(&format!("{scheme}://{address}{path}{joint}")))
}

fn scheme(is_tls: bool) -> &'static str {
    if is_tls { "https" } else { "http" }
}

/// An address at which this host reaches a listener of its own. One on `[::]` takes IPv4 too.
pub(super) fn from_here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// The query of the sample in LINE Planet's documentation.
pub(crate) const SAMPLE: &str = "sid=6364e8b3-bdac-436e-9631-0bce2498ce0c&type=V&from_user_id=9286\
    &from_service_id=caller-service-id&to_user_id=2809&to_service_id=callee-service-id&setup_time=1582527400\
    &start_time=1582527404&end_time=1582527434&duration=30&terminate=16&srcip=1.2.3.4&dstip=1.2.3.5&stid=voip.next\
    &rel_code=1&rel_code_str=NORMAL&billing_sec=25&rc_idc=KR&disconnect_reason=1001&releaser_type=1\
    &app_svr_data=appSvrData";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CommandLine;

    fn command(arguments: &str, address: &str) -> String {
        let arguments = ["planet-call-exporter"].into_iter().chain(arguments.split_whitespace());
        let config = CommandLine::read_from(arguments).expect("a configuration").config;
        trial(&config, address.parse().expect("an address"))
    }

    #[test]
    fn the_command_goes_where_calls_come_in_as_a_shell_and_curl_take_it() {
        let required = "--proxy-protocol required --trusted-proxies";
        for (arguments, address, begin) in [
            ("", "0.0.0.0:20200", "curl -gi 'http://127.0.0.1:20200/call_event?sid="),
            ("", "[::]:1", "curl -gi 'http://127.0.0.1:1/call_event?sid="),
            ("", "[::1]:1", "curl -gi 'http://[::1]:1/call_event?sid="),
            ("", "192.0.2.7:1", "curl -gi 'http://192.0.2.7:1/call_event?sid="),
            ("--call-event-path /a?b=c", "127.0.0.1:1", "curl -gi 'http://127.0.0.1:1/a?b=c&sid="),
            ("--call-event-path /a?b=c&", "127.0.0.1:1", "curl -gi 'http://127.0.0.1:1/a?b=c&sid="),
            (
                "--call-event-secret-file /a/secret",
                "127.0.0.1:1",
                "curl -gi 'http://127.0.0.1:1/call_event?secret='\"$(head -n 1 '/a/secret')\"'&sid=",
            ),
            ("--call-event-path /it's", "127.0.0.1:1", "curl -gi 'http://127.0.0.1:1/it'\\''s?sid="),
            (
                &format!("{required} 127.0.0.0/8"),
                "0.0.0.0:1",
                "curl -gi --haproxy-protocol 'http://127.0.0.1:1/call_event?sid=",
            ),
            (
                "--tls-cert-file a --tls-key-file b",
                "127.0.0.1:1",
                "curl -gi -k 'https://127.0.0.1:1/call_event?sid=",
            ),
            (
                "--tls-cert-file a --tls-key-file b --tls-client-ca-file c",
                "127.0.0.1:1",
                "curl -gi -k --cert client.crt --key client.key 'https://127.0.0.1:1/call_event?sid=",
            ),
            (&format!("{required} 10.0.0.0/8"), "0.0.0.0:1", "curl -gi 'http://127.0.0.1:1/call_event?sid="),
        ] {
            let command = command(arguments, address);
            assert!(command.starts_with(begin) && command.ends_with("appSvrData'"), "{command}");
        }
    }
}
