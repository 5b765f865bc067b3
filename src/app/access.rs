//! TLS of the listeners and access to the admin port, with files that are read again when they change.

use std::sync::Arc;

use super::run_error::RunError;
use crate::config::Config;
use crate::http::Purpose;
use crate::http::server_tls::ServerTls;
use crate::ops::access::Access;
use crate::ops::reload::{Reload, Reread};

/// TLS of the port of call events, if it speaks that.
pub(super) fn call_events_tls(
    config: &Config,
    reload: &mut Reload,
) -> Result<Option<Arc<ServerTls>>, RunError> {
    let Some(files) = config.tls_files() else { return Ok(None) };
    let tls = Arc::new(ServerTls::new(Purpose::CallEvents, &files).map_err(RunError::ListenerTls)?);
    let name = format!("the certificate {} of call events", files.certificate.display());
    let of_reload = Arc::clone(&tls);
    reload.watch(name, move || Ok(reread(of_reload.read_again(&files)?)));
    Ok(Some(tls))
}

/// Access to the admin port.
pub(super) fn admin(config: &Config, reload: &mut Reload) -> Result<Arc<Access>, RunError> {
    let access = Arc::new(Access::configured(config)?);
    if let Some(file) = access.web_config_file() {
        let (name, access) = (format!("the web configuration {}", file.display()), Arc::clone(&access));
        reload.watch(name, move || Ok(reread(access.read_web_config_again()?)));
    }
    if let Some(file) = access.token_file() {
        let (name, access) = (format!("the bearer tokens of {}", file.display()), Arc::clone(&access));
        reload.watch(name, move || Ok(reread(access.read_tokens_again()?)));
    }
    Ok(access)
}

fn reread(is_other: bool) -> Reread {
    if is_other { Reread::Changed } else { Reread::Unchanged }
}
