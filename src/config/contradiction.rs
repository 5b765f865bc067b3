//! Flags that contradict each other.

use std::io::ErrorKind;
use std::net::SocketAddr;

use thiserror::Error;

use super::Config;
use super::routes::{Routes, SECRET};
use crate::http::service::ServiceUrl;
use crate::http::{BindError, ListenAddress, Purpose};

/// Flags that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Contradiction {
    /// What is passed on would come back.
    #[error("--forward-to {url} is where {} listens; expected the URL of the service behind", .listener.flag())]
    ForwardToSelf {
        /// The URL.
        url: ServiceUrl,
        /// Who would get it.
        listener: Purpose,
    },
    /// A path has two meanings.
    #[error("--readiness-path {0} is where call events come in; expected another path")]
    ReadinessAtCallback(String),
    /// Both listeners would have one address.
    #[error("--listen {listen} and --admin-listen {admin} are the same port; expected two")]
    SamePort {
        /// Where call events would come in.
        listen: ListenAddress,
        /// Where the admin port is.
        admin: ListenAddress,
    },
    /// The secret stands where it does not change by itself, and where it is shown.
    #[error(
        "--call-event-path has the parameter {SECRET}, which is that of --call-event-secret-file; expected the path without it, and the \
         secret in the file"
    )]
    SecretInPath,
}

impl Contradiction {
    /// The flag that is to be changed.
    pub const fn flag(&self) -> &'static str {
        match self {
            Contradiction::ForwardToSelf { .. } => "forward-to",
            Contradiction::ReadinessAtCallback(_) => "readiness-path",
            Contradiction::SamePort { .. } => "listen",
            Contradiction::SecretInPath => "call-event-path",
        }
    }
}

impl Config {
    /// Looks for a path with two meanings, and for a secret in one.
    ///
    /// # Errors
    /// There is one.
    pub fn check_paths(&self) -> Result<(), Contradiction> {
        let mut parameters = self.call_event_path.split(['?', '&']).skip(1);
        let is_secret = |parameter: &str| parameter.split('=').next() == Some(SECRET);
        if self.call_event_secret_file.is_some() && parameters.any(is_secret) {
            return Err(Contradiction::SecretInPath);
        }
        match &self.readiness_path {
            Some(path) if Routes::of(self).find(path.as_bytes(), &[]).is_some() => {
                Err(Contradiction::ReadinessAtCallback(path.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Why call events cannot come in, if it is that the admin port, which has these addresses, is there.
    pub fn same_port(&self, error: &BindError, admin: &[SocketAddr]) -> Option<Contradiction> {
        let port = self.listen.port();
        let is_there = error.source.kind() == ErrorKind::AddrInUse && port != 0;
        (is_there && admin.iter().any(|address| address.port() == port)).then(|| Contradiction::SamePort {
            listen: self.listen.clone(),
            admin: self.admin_listen.clone(),
        })
    }

    /// Looks whether the service behind is this process, which listens on these addresses.
    ///
    /// # Errors
    /// It is.
    pub async fn check_service(
        &self,
        call_events: &[SocketAddr],
        admin: &[SocketAddr],
    ) -> Result<(), Contradiction> {
        let Some(url) = &self.forward_to else { return Ok(()) };
        for (listener, addresses) in [(Purpose::CallEvents, call_events), (Purpose::Admin, admin)] {
            if url.leads_to(addresses).await {
                return Err(Contradiction::ForwardToSelf { url: url.clone(), listener });
            }
        }
        Ok(())
    }
}
