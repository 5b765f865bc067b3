//! `planet-call-exporter canary URL`: sends one [canary](crate::intake::canary), to see whether call events get to an
//! exporter from here.

use std::path::Path;

use thiserror::Error;

use crate::config::canary_url::CanaryUrl;
use crate::http::credentials::UnusableCredentials;
use crate::intake::admission::secrets::Secrets;
use crate::intake::canary::sender::{self, Lost};

/// Why no canary came back.
#[derive(Debug, Error)]
pub enum CanaryError {
    /// The secret cannot be used.
    #[error(transparent)]
    Secret(#[from] UnusableCredentials),
    /// It was sent, and lost.
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// Sends a canary to `url`, with the secret of a file if there is one, and answers what to say when it has come back.
///
/// # Errors
/// The secret cannot be read, or the canary does not come back.
pub async fn send(url: CanaryUrl, secret_file: Option<&Path>) -> Result<String, CanaryError> {
    let secrets = secret_file.map(Secrets::of_file).transpose()?;
    let said = format!("the canary came back: an exporter takes call events at {url}\n");
    sender::send(url, secrets.as_ref()).await?;
    Ok(said)
}
