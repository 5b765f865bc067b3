//! Who may bring call events and see the admin port, and TLS of both, with files that are read again when they change.

use std::sync::Arc;

use super::run_error::RunError;
use crate::config::Config;
use crate::http::Purpose;
use crate::http::server_tls::ServerTls;
use crate::intake::admission::secrets::Secrets;
use crate::ops::access::Access;
use crate::ops::reload::{Reload, Reread};

/// The secrets of call events, if there are to be any.
pub(super) fn secrets(config: &Config, reload: &mut Reload) -> Result<Option<Arc<Secrets>>, RunError> {
    let Some(file) = &config.call_event_secret_file else { return Ok(None) };
    let secrets = Arc::new(Secrets::of_file(file)?);
    let (name, of_reload) =
        (format!("the secrets of call events in {}", file.display()), Arc::clone(&secrets));
    reload.watch(name, move || Ok(Reread::by(of_reload.read_again()?)));
    Ok(Some(secrets))
}

/// TLS of the port of call events, if it speaks that.
pub(super) fn call_events_tls(
    config: &Config,
    reload: &mut Reload,
) -> Result<Option<Arc<ServerTls>>, RunError> {
    let Some(files) = config.tls_files() else { return Ok(None) };
    let tls = Arc::new(ServerTls::new(Purpose::CallEvents, &files).map_err(RunError::ListenerTls)?);
    let name = format!("the certificate {} of call events", files.certificate.display());
    let of_reload = Arc::clone(&tls);
    reload.watch(name, move || Ok(Reread::by(of_reload.read_again(&files)?)));
    Ok(Some(tls))
}

/// Access to the admin port.
pub(super) fn admin(config: &Config, reload: &mut Reload) -> Result<Arc<Access>, RunError> {
    let access = Arc::new(Access::configured(config)?);
    if let Some(file) = access.web_config_file() {
        let (name, access) = (format!("the web configuration {}", file.display()), Arc::clone(&access));
        reload.watch(name, move || Ok(Reread::by(access.read_web_config_again()?)));
    }
    if let Some(file) = access.token_file() {
        let (name, access) = (format!("the bearer tokens of {}", file.display()), Arc::clone(&access));
        reload.watch(name, move || Ok(Reread::by(access.read_tokens_again()?)));
    }
    Ok(access)
}
