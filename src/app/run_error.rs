//! Why the exporter cannot start, and what says more of it.

use thiserror::Error;

use crate::config::Contradiction;
use crate::config::given::Given;
use crate::http::credentials::UnusableCredentials;
use crate::http::tls::TlsError;
use crate::http::{BindError, Purpose};
use crate::journal::JournalError;
use crate::metrics::registry::InstallError;
use crate::ops::access::AccessError;
use crate::sinks::identity::UnusableKey;
use crate::sinks::waiting::OpenWaitingError;
use crate::state::OpenError;

/// Why the exporter cannot start, or ended before it was asked to.
#[derive(Debug, Error)]
pub enum RunError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The exporter's own metrics cannot be recorded.
    #[error(transparent)]
    Metrics(#[from] InstallError),
    /// The key of --identity hash cannot be used.
    #[error(transparent)]
    IdentityKey(#[from] UnusableKey),
    /// The secrets of call events cannot be used.
    #[error(transparent)]
    Secrets(#[from] UnusableCredentials),
    /// What keeps the calls cannot be opened.
    #[error(transparent)]
    State(#[from] OpenError),
    /// The position of a sink cannot be read or kept.
    #[error("cannot use the position of a sink in the state directory: {0}")]
    Position(JournalError),
    /// What waits for a sink cannot be read.
    #[error(transparent)]
    Waiting(#[from] OpenWaitingError),
    /// Flags contradict each other.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// TLS towards a collector or the service cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS on the port of call events cannot be set up.
    #[error("{0}")]
    ListenerTls(#[source] TlsError),
    /// Access to the admin port cannot be set up.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A part ended although nothing had asked it to.
    #[error("{0} has ended unexpectedly; the process ends, since nothing may be half alive")]
    PartEnded(&'static str),
}

/// The page on flags and variables.
const FLAGS: &str = "docs/configuration.md";

/// What a state directory is, and what may be done with it.
const STATE: &str = "docs/operations.md, State directory";

impl RunError {
    /// The error for people, with the flag or variable that led to it, and the page to read.
    pub fn explain(&self, given: &Given) -> String {
        let Some((flag, page)) = self.origin() else { return self.to_string() };
        let by = given.by(flag).map_or_else(|| format!("--{flag}"), str::to_owned);
        let said = self.to_string();
        match said.starts_with(&by) {
            true => format!("{said}; see {page}"),
            false => format!("{by}: {said}; see {page}"),
        }
    }

    /// The flag that led to it, if one did, and the page to read. An error that no setting led to has none.
    fn origin(&self) -> Option<(&'static str, &'static str)> {
        match self {
            RunError::Bind(BindError { purpose: Purpose::CallEvents, .. }) => Some(("listen", FLAGS)),
            RunError::Bind(BindError { purpose: Purpose::Admin, .. }) => Some(("admin-listen", FLAGS)),
            RunError::IdentityKey(_) => Some(("identity-key-file", FLAGS)),
            RunError::Secrets(_) => Some(("call-event-secret-file", FLAGS)),
            RunError::State(_) | RunError::Position(_) | RunError::Waiting(_) => Some(("state-dir", STATE)),
            RunError::Contradiction(contradiction) => Some((contradiction.flag(), FLAGS)),
            RunError::Tls(_) => Some(("forward-to", FLAGS)),
            RunError::ListenerTls(_) => Some(("tls-cert-file", FLAGS)),
            RunError::Access(error) => Some((error.flag(), FLAGS)),
            RunError::Metrics(_) | RunError::PartEnded(_) => None,
        }
    }
}
