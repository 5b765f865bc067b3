//! The first lines of the log: where the exporter listens, what is on and off, and what is kept.

use std::net::SocketAddr;

use tracing::{info, warn};

use crate::config::otlp::{OtlpSettings, Push};
use crate::config::unused::unused;
use crate::config::{Config, ForwardMode, name_of};

/// Says where the exporter listens, and what is on and off.
pub(super) fn log(config: &Config, otlp: &OtlpSettings, call_events: &[SocketAddr], admin: &[SocketAddr]) {
    let urls = |addresses: &[SocketAddr], path: &str| {
        let urls: Vec<_> = addresses.iter().map(|address| format!("http://{address}{path}")).collect();
        urls.join(", ")
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        call_events = urls(call_events, &config.call_event_path),
        admin = urls(admin, ""),
        "planet-call-exporter is listening"
    );
    let endpoint = |push: &Push| match push {
        Push::To(destination) => destination.to_string(),
        Push::Off(_) => "off".to_owned(),
        Push::Misconfigured => "off, misconfigured".to_owned(),
    };
    info!(
        otlp_metrics = endpoint(&otlp.metrics),
        otlp_traces = endpoint(&otlp.traces),
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
        Some(directory) => info!(state_dir = %directory.display(), "totals survive crashes and restarts"),
        None => warn!(
            "no state directory: totals, seen session IDs and what waits for delivery are in memory and begin anew with \
             each start"
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
