//! What is looked at: ports, files, the state directory, and with `--connect` the peers.

use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::{Plan, ports};
use crate::config::IdentityMode;
use crate::config::otlp::{Push, Signal};
use crate::config::remark::Remark;
use crate::http::Purpose;
use crate::http::peer::causes;
use crate::http::server_tls::ServerTls;
use crate::http::service::{Service, ServiceUrl};
use crate::intake::admission::secrets::Secrets;
use crate::ledger::Limits;
use crate::ops::access::Access;
use crate::sinks::identity::Identity;
use crate::sinks::otlp::client::OtlpClient;
use crate::state::directory::{Look, look};

/// One thing that was looked at.
pub(super) struct Finding {
    pub(super) what: String,
    /// What there is to say of it, or what is wrong.
    pub(super) outcome: Result<String, String>,
}

/// All that can be looked at.
pub(super) async fn of(plan: &Plan, connect: bool) -> Vec<Finding> {
    let Plan { config, otlp, .. } = plan;
    let mut findings = Vec::new();
    let mut add = |what: &str, outcome| findings.push(Finding { what: what.to_owned(), outcome });
    if let Err(contradiction) = config.check_paths() {
        add("flags", Err(contradiction.to_string()));
    }
    let call_events = ports::check(Purpose::CallEvents, &config.listen, &[]).await;
    let taken = call_events.as_deref().unwrap_or_default();
    let admin = ports::check(Purpose::Admin, &config.admin_listen, taken).await;
    if let (Ok(call_events), Ok(admin)) = (&call_events, &admin)
        && let Err(contradiction) = config.check_service(call_events, admin).await
    {
        add("flags", Err(contradiction.to_string()));
    }
    add(Purpose::CallEvents.flag(), call_events.map(|_| format!("{} is free", config.listen)));
    add(Purpose::Admin.flag(), admin.map(|_| format!("{} is free", config.admin_listen)));
    if let Some(files) = config.tls_files() {
        let tls = ServerTls::new(Purpose::CallEvents, &files);
        add("--tls-cert-file", tls.map(|tls| expiry(&tls)).map_err(|error| causes(&error)));
    }
    if config.admin_web_config_file.is_some() || config.admin_bearer_token_file.is_some() {
        match Access::configured(config) {
            Ok(access) => add("access to the admin port", Ok(describe(&access))),
            Err(error) => add(&format!("--{}", error.flag()), Err(causes(&error))),
        }
    }
    if let Some(path) = &config.call_event_secret_file {
        let found = Secrets::of_file(path).map(|secrets| match secrets.number() {
            1 => "the secret can be used".to_owned(),
            number => format!("{number} secrets can be used"),
        });
        add("--call-event-secret-file", found.map_err(|error| error.to_string()));
    }
    if config.identity == IdentityMode::Hash {
        let key = Identity::configured(config).map(|_| "the key can be used".to_owned());
        add("--identity-key-file", key.map_err(|error| error.to_string()));
    }
    if let Some(directory) = &config.state_dir {
        let found = look(directory, &Limits::default()).map(|found| match found {
            Look::ToBeMade => "is not there yet, and can be made",
            Look::Empty => "is empty, and can be written",
            Look::Ours => "can be read and written, and nobody holds it",
        });
        add("--state-dir", found.map(str::to_owned).map_err(|error| error.to_string()));
    }
    if let Some(url) = &config.forward_to {
        add("--forward-to", service(url, config.forward_timeout, connect).await);
    }
    for signal in Signal::ALL {
        let what = format!("OTLP {}", signal.as_str());
        match otlp.push(signal) {
            Push::Off(_) => {}
            Push::Misconfigured => add(&what, Err(misconfigured(plan))),
            Push::To(destination) => {
                add(&what, collector(OtlpClient::new((**destination).clone()), connect).await);
            }
        }
    }
    findings
}

fn expiry(tls: &ServerTls) -> String {
    format!("the certificate can be used, and expires {}", httpdate::fmt_http_date(tls.expires()))
}

fn describe(access: &Access) -> String {
    let tls = access.tls().map_or_else(|| "plain HTTP".to_owned(), |tls| format!("TLS; {}", expiry(tls)));
    format!(
        "{tls}; {}",
        if access.asks_for_credentials() { "credentials are needed" } else { "no credentials" }
    )
}

/// What was said of the variable that spoils a destination.
fn misconfigured(plan: &Plan) -> String {
    let fatal = plan.remarks.iter().filter(|remark| matches!(remark, Remark::Fatal(_)));
    fatal.map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

async fn service(url: &ServiceUrl, timeout: Duration, connect: bool) -> Result<String, String> {
    Service::new(url.clone(), timeout).map_err(|error| causes(&error))?;
    if !connect {
        return Ok(NOT_TRIED.to_owned());
    }
    let (host, port) = url.host_and_port();
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok("takes connections".to_owned()),
        Ok(Err(error)) => Err(format!("{host}:{port} cannot be connected to: {error}")),
        Err(_) => Err(format!("{host}:{port} takes no connection within {timeout:?}")),
    }
}

/// What is said of a peer without `--connect`.
const NOT_TRIED: &str = "not tried; --connect does";

/// Of a collector its files are looked at. An empty message is one that a receiver takes and that says nothing.
async fn collector(client: OtlpClient, connect: bool) -> Result<String, String> {
    match client.trouble() {
        Some(trouble) => Err(trouble),
        None if !connect => Ok(NOT_TRIED.to_owned()),
        None => match client.send(Bytes::new()).await {
            Ok(_) => Ok("takes an empty push".to_owned()),
            Err(error) => Err(client.explain(&error)),
        },
    }
}
