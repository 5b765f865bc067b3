//! Who may see what on the admin port.
//!
//! Without credentials everybody who reaches the port sees everything but `/refused`, which carries personal data and
//! is for this host (`loopback`). With users (`web_config`, `passwords`) or tokens (`tokens`) nobody sees anything
//! without them but the paths of health checks, and with them everything. TLS comes from the same web configuration.

mod digests;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod loopback;
mod passwords;
mod tokens;
mod web_config;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use thiserror::Error;
use tracing::warn;

use crate::config::Config;
use crate::http::Purpose;
use crate::http::credentials::UnusableCredentials;
use crate::http::pace::Pace;
use crate::http::response::{self, Body};
use crate::http::server_tls::ServerTls;
use crate::http::tls::TlsError;
use digests::{Digests, NoRandomness};
use loopback::Loopback;
use passwords::{Checked, Passwords};
use tokens::Tokens;
use web_config::{UnusableWebConfig, Users, WebConfig};

/// Why access to the admin port cannot be set up.
#[derive(Debug, Error)]
pub enum AccessError {
    /// The web configuration cannot be used.
    #[error(transparent)]
    WebConfig(#[from] UnusableWebConfig),
    /// A file that it names cannot be used.
    #[error("{source} (named in {path})", path = .path.display())]
    Tls {
        /// The web configuration.
        path: PathBuf,
        /// Why not.
        source: TlsError,
    },
    /// The bearer tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] UnusableCredentials),
    /// TLS cannot be begun or ended while the port is open.
    #[error("tls_server_config of {path} was added or removed, which needs a restart", path = .0.display())]
    NeedsRestart(PathBuf),
    /// There is no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl AccessError {
    /// The flag that led to it.
    pub fn flag(&self) -> &'static str {
        match self {
            AccessError::Tokens(_) => "admin-bearer-token-file",
            AccessError::WebConfig(_)
            | AccessError::Tls { .. }
            | AccessError::NeedsRestart(_)
            | AccessError::NoRandomness(_) => "admin-web-config-file",
        }
    }
}

/// Who may see what on the admin port.
pub struct Access {
    web: Option<Web>,
    tokens: Option<Tokens>,
    passwords: Passwords,
    loopback: Loopback,
    refusal_logged: Pace,
}

/// What the web configuration says.
struct Web {
    path: PathBuf,
    tls: Option<Arc<ServerTls>>,
    users: RwLock<Arc<Users>>,
}

/// Whether a web configuration has the admin port speak TLS.
///
/// # Errors
/// It cannot be read or used.
pub fn speaks_tls(web_config: &Path) -> Result<bool, AccessError> {
    Ok(WebConfig::read(web_config)?.tls.is_some())
}

/// A request that is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// With credentials.
    ByCredentials,
    /// Without, since nobody needs any.
    AsEverybody,
}

impl Access {
    /// What is configured, with its files read. Passwords are verified by the threads of this runtime that may block.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub fn configured(config: &Config) -> Result<Access, AccessError> {
        let digests = Arc::new(Digests::new()?);
        let web = config.admin_web_config_file.as_deref().map(Web::read).transpose()?;
        let tokens = config.admin_bearer_token_file.as_deref();
        let tokens = tokens.map(|path| Tokens::of_file(path, Arc::clone(&digests))).transpose()?;
        let access = Access {
            web,
            tokens,
            passwords: Passwords::new(digests),
            loopback: Loopback::new(config.admin_trust_loopback),
            refusal_logged: Pace::default(),
        };
        if access.asks_for_credentials() && access.tls().is_none() {
            warn!(
                "credentials come in the clear to the admin port: expected tls_server_config in --admin-web-config-file"
            );
        }
        Ok(access)
    }

    /// TLS of the port, if it speaks that.
    pub fn tls(&self) -> Option<&Arc<ServerTls>> {
        self.web.as_ref()?.tls.as_ref()
    }

    /// The web configuration, if there is one.
    pub fn web_config_file(&self) -> Option<&Path> {
        self.web.as_ref().map(|web| web.path.as_path())
    }

    /// The file of bearer tokens, if there is one.
    pub fn token_file(&self) -> Option<&Path> {
        self.tokens.as_ref().map(Tokens::path)
    }

    /// Reads the web configuration and the files that it names again, and returns whether anything is another matter now.
    ///
    /// # Errors
    /// One of them cannot be used, and all stays as it was.
    pub fn read_web_config_again(&self) -> Result<bool, AccessError> {
        let Some(web) = &self.web else { return Ok(false) };
        let is_other = web.read_again()?;
        self.passwords.keep_only(&web.users());
        Ok(is_other)
    }

    /// Reads the bearer tokens again, and returns whether there are others now.
    ///
    /// # Errors
    /// They cannot be used, and stay what they were.
    pub fn read_tokens_again(&self) -> Result<bool, AccessError> {
        let read = self.tokens.as_ref().map(Tokens::read_again).transpose()?;
        Ok(read.unwrap_or(false))
    }

    /// Notes that this peer asks for something, whatever it is.
    pub fn note(&self, peer: IpAddr) {
        self.loopback.note(peer);
    }

    /// Whether who sends this request may see more than whether the exporter is well.
    ///
    /// # Errors
    /// The answer to who may not.
    pub async fn admit(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Admitted, Response<Body>> {
        let users = self.web.as_ref().map(Web::users).filter(|users| !users.is_empty());
        if users.is_none() && self.tokens.is_none() {
            return Ok(Admitted::AsEverybody);
        }
        let checked = match headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(Credentials::read)
        {
            None => Checked::Wrong,
            Some(Credentials::Bearer(token)) => match &self.tokens {
                Some(tokens) if tokens.contains(token) => Checked::Right,
                _ => Checked::Wrong,
            },
            Some(Credentials::Basic { user, password }) => match &users {
                Some(users) => self.passwords.check(users, &user, password).await,
                None => Checked::Wrong,
            },
        };
        match checked {
            Checked::Right => Ok(Admitted::ByCredentials),
            Checked::Wrong => {
                if let Some(left_out) = self.refusal_logged.due() {
                    let has_credentials = headers.contains_key(AUTHORIZATION);
                    warn!(%peer, has_credentials, left_out, "a request to the admin port was refused for its credentials; this is logged at most once a minute");
                }
                Err(self.challenge(users.is_some()))
            }
            Checked::NotNow => {
                let mut answer =
                    response::text(StatusCode::SERVICE_UNAVAILABLE, "too many passwords to verify\n");
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                Err(answer)
            }
        }
    }

    /// Whether a request that was let in as everybody may see personal data, since it comes from this host.
    pub fn is_from_here(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        self.loopback.trusts(peer, headers)
    }

    /// Whether a request may begin to drain, since a program on this host makes it. That a mesh delivers others'
    /// requests from another loopback address does not matter.
    pub fn may_order(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        self.loopback.is_of_program(peer, headers)
    }

    /// Whether credentials are needed, but for health checks.
    pub fn asks_for_credentials(&self) -> bool {
        self.tokens.is_some() || self.web.as_ref().is_some_and(|web| !web.users().is_empty())
    }

    fn challenge(&self, has_users: bool) -> Response<Body> {
        let mut answer = response::text(StatusCode::UNAUTHORIZED, "unauthorized\n");
        let (headers, schemes) =
            (answer.headers_mut(), [(has_users, BASIC), (self.tokens.is_some(), BEARER)]);
        for (_, challenge) in schemes.into_iter().filter(|(is_taken, _)| *is_taken) {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        answer
    }
}

const BASIC: &str = "Basic realm=\"planet-call-exporter\", charset=\"UTF-8\"";
const BEARER: &str = "Bearer realm=\"planet-call-exporter\"";

impl Web {
    fn read(path: &Path) -> Result<Web, AccessError> {
        let WebConfig { tls, users } = WebConfig::read(path)?;
        let new = |files| ServerTls::new(Purpose::Admin, &files).map(Arc::new);
        let tls =
            tls.map(new).transpose().map_err(|source| AccessError::Tls { path: path.to_owned(), source })?;
        Ok(Web { path: path.to_owned(), tls, users: RwLock::new(Arc::new(users)) })
    }

    fn read_again(&self) -> Result<bool, AccessError> {
        let WebConfig { tls: files, users } = WebConfig::read(&self.path)?;
        let is_other_tls = match (&self.tls, files) {
            (None, None) => false,
            (Some(tls), Some(files)) => tls
                .read_again(&files)
                .map_err(|source| AccessError::Tls { path: self.path.clone(), source })?,
            (None, Some(_)) | (Some(_), None) => return Err(AccessError::NeedsRestart(self.path.clone())),
        };
        let mut current = self.users.write().unwrap_or_else(PoisonError::into_inner);
        let has_other_users = **current != users;
        *current = Arc::new(users);
        Ok(is_other_tls || has_other_users)
    }

    fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a request shows.
#[derive(Debug, PartialEq, Eq)]
enum Credentials<'a> {
    Bearer(&'a [u8]),
    Basic { user: String, password: Vec<u8> },
}

impl Credentials<'_> {
    /// Reads the value of Authorization (RFC 7617, RFC 6750).
    fn read(header: &[u8]) -> Option<Credentials<'_>> {
        let space = header.iter().position(|byte| *byte == b' ')?;
        let (scheme, rest) = (&header[..space], header[space..].trim_ascii());
        if scheme.eq_ignore_ascii_case(b"Bearer") {
            return Some(Credentials::Bearer(rest));
        }
        if !scheme.eq_ignore_ascii_case(b"Basic") {
            return None;
        }
        let decoded = BASE64_STANDARD.decode(rest).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let user = str::from_utf8(&decoded[..colon]).ok()?.to_owned();
        Some(Credentials::Basic { user, password: decoded[colon + 1..].to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_they_are_written() {
        let basic = |user: &str, password: &str| {
            Some(Credentials::Basic { user: user.to_owned(), password: password.as_bytes().to_vec() })
        };
        for (header, expected) in [
            ("Basic YWxpY2U6c2VjcmV0", basic("alice", "secret")),
            ("basic   YWxpY2U6c2VjOnJldA==", basic("alice", "sec:ret")),
            ("Basic Og==", basic("", "")),
            ("BEARER abc", Some(Credentials::Bearer(b"abc"))),
            ("Bearer ", Some(Credentials::Bearer(b""))),
            ("Basic YWxpY2U=", None),
            ("Basic ###", None),
            ("Basic", None),
            ("Digest abc", None),
            ("", None),
        ] {
            assert_eq!(Credentials::read(header.as_bytes()), expected, "{header}");
        }
    }
}
