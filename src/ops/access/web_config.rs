//! The web configuration of the admin port: the part of what Prometheus's exporters have under this name
//! (<https://github.com/prometheus/exporter-toolkit>) that has a meaning here. The rest is refused, so that nobody
//! believes in a protection that is not there.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bcrypt::HashParts;
use serde::Deserialize;
use thiserror::Error;

use crate::http::server_tls::{Clients, OldestVersion, ServerFiles};
use crate::http::small_file;

/// Bytes of a file, at most.
const LARGEST_FILE: u64 = 64 * 1024;

/// Characters of a bcrypt hash behind its salt.
pub(super) const DIGEST: usize = 31;

/// The highest cost of a password's hash. One more doubles the time that its verification takes: at 15 about two seconds.
pub(super) const HIGHEST_COST: u32 = 15;

/// Why a web configuration cannot be used. None of it shows a hash.
#[derive(Debug, Error)]
#[error("cannot use {path}: {reason}", path = path.display())]
pub struct UnusableWebConfig {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, Error)]
enum Reason {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("{0}")]
    Yaml(String),
    #[error("expected in basic_auth_users a bcrypt hash for {0:?}, such as htpasswd -nBC 10 \"\" makes")]
    NoHash(String),
    #[error("expected a cost of {HIGHEST_COST} at most for the password of {user:?}, and it has {cost}")]
    TooCostly { user: String, cost: u32 },
    #[error("expected no colon in the user {0:?} of basic_auth_users: no client could send it")]
    Colon(String),
    #[error("client_auth_type {0} needs client_ca_file")]
    NoAuthorities(&'static str),
    #[error(
        "client_ca_file needs a client_auth_type of VerifyClientCertIfGiven or RequireAndVerifyClientCert"
    )]
    UnusedAuthorities,
}

impl Reason {
    /// The same without what stands where a name is expected, but is a hash, such as a user and a hash the wrong way round.
    fn without_hashes(self) -> Reason {
        match self {
            Reason::Yaml(text) => Reason::Yaml(without_hashes(&text)),
            Reason::NoHash(user) => Reason::NoHash(without_hashes(&user)),
            Reason::TooCostly { user, cost } => Reason::TooCostly { user: without_hashes(&user), cost },
            Reason::Colon(user) => Reason::Colon(without_hashes(&user)),
            Reason::Read(_) | Reason::NoAuthorities(_) | Reason::UnusedAuthorities => self,
        }
    }
}

/// A text in which whatever may be a bcrypt hash is left out: what follows on `$2`, and what is as long as the part
/// that is no salt, since a shell may have taken the beginning for a variable.
fn without_hashes(text: &str) -> String {
    let is_of_hash = |character: char| character.is_ascii_alphanumeric() || "$./".contains(character);
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while !rest.is_empty() {
        let (run, behind) = rest.split_at(rest.find(|other| !is_of_hash(other)).unwrap_or(rest.len()));
        let begin = run.find("$2").or((run.len() >= DIGEST).then_some(0));
        shown.push_str(&run[..begin.unwrap_or(run.len())]);
        shown.push_str(if begin.is_some() { "(a hash)" } else { "" });
        let (other, next) = behind.split_at(behind.find(is_of_hash).unwrap_or(behind.len()));
        shown.push_str(other);
        rest = next;
    }
    shown
}

/// What a web configuration says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WebConfig {
    pub(super) tls: Option<ServerFiles>,
    pub(super) users: Users,
}

/// Users with the bcrypt hashes of their passwords.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Users(BTreeMap<String, String>);

impl Users {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, user: &str) -> bool {
        self.0.contains_key(user)
    }

    pub(super) fn hash(&self, user: &str) -> Option<&str> {
        self.0.get(user).map(String::as_str)
    }

    /// That of some user.
    pub(super) fn any_hash(&self) -> Option<&str> {
        self.0.values().next().map(String::as_str)
    }
}

impl fmt::Debug for Users {
    /// Without the hashes.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tls_server_config: Option<TlsServerConfig>,
    basic_auth_users: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsServerConfig {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_auth_type: ClientAuthType,
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    min_version: MinVersion,
}

#[derive(Deserialize, Default, Clone, Copy)]
enum ClientAuthType {
    #[default]
    NoClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Deserialize, Default, Clone, Copy)]
enum MinVersion {
    #[default]
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

impl WebConfig {
    /// Reads a file. Paths in it are relative to its folder.
    pub(super) fn read(path: &Path) -> Result<WebConfig, UnusableWebConfig> {
        let bytes = small_file::read(path, LARGEST_FILE);
        let bytes =
            bytes.map_err(|error| UnusableWebConfig { path: path.to_owned(), reason: error.into() })?;
        WebConfig::of(path, &bytes)
    }

    /// What these bytes of the file say.
    pub(super) fn of(path: &Path, bytes: &[u8]) -> Result<WebConfig, UnusableWebConfig> {
        let text = str::from_utf8(bytes).map_err(|error| Reason::Yaml(error.to_string()));
        let parsed = text.and_then(|text| WebConfig::parse(text, path.parent().unwrap_or(Path::new(""))));
        parsed.map_err(|reason| UnusableWebConfig { path: path.to_owned(), reason: reason.without_hashes() })
    }

    fn parse(text: &str, folder: &Path) -> Result<WebConfig, Reason> {
        let parsed = serde_saphyr::from_str::<Option<Written>>(text);
        // What is around the error may be a hash.
        let parsed = parsed.map_err(|error| Reason::Yaml(error.without_snippet().to_string()))?;
        let Some(Written { tls_server_config, basic_auth_users }) = parsed else {
            return Ok(WebConfig { tls: None, users: Users::default() });
        };
        let users = basic_auth_users.unwrap_or_default();
        for (user, hash) in &users {
            if user.contains(':') {
                return Err(Reason::Colon(user.clone()));
            }
            let cost = hash.parse().map(|parts: HashParts| parts.get_cost());
            let cost = cost.map_err(|_| Reason::NoHash(user.clone()))?;
            if cost > HIGHEST_COST {
                return Err(Reason::TooCostly { user: user.clone(), cost });
            }
        }
        let tls = tls_server_config.map(|tls| tls.files(folder)).transpose()?;
        Ok(WebConfig { tls, users: Users(users) })
    }
}

impl TlsServerConfig {
    fn files(self, folder: &Path) -> Result<ServerFiles, Reason> {
        let authorities = self.client_ca_file.filter(|file| !file.as_os_str().is_empty());
        let authorities = authorities.map(|file| folder.join(file));
        let clients = match (self.client_auth_type, authorities) {
            (ClientAuthType::NoClientCert, None) => Clients::Anyone,
            (ClientAuthType::NoClientCert, Some(_)) => return Err(Reason::UnusedAuthorities),
            (ClientAuthType::VerifyClientCertIfGiven, Some(file)) => Clients::IfGiven(file),
            (ClientAuthType::VerifyClientCertIfGiven, None) => {
                return Err(Reason::NoAuthorities("VerifyClientCertIfGiven"));
            }
            (ClientAuthType::RequireAndVerifyClientCert, Some(file)) => Clients::Required(file),
            (ClientAuthType::RequireAndVerifyClientCert, None) => {
                return Err(Reason::NoAuthorities("RequireAndVerifyClientCert"));
            }
        };
        let oldest = match self.min_version {
            MinVersion::Tls12 => OldestVersion::Tls12,
            MinVersion::Tls13 => OldestVersion::Tls13,
        };
        let (certificate, key) = (folder.join(self.cert_file), folder.join(self.key_file));
        Ok(ServerFiles { certificate, key, clients, oldest })
    }
}

#[cfg(feature = "fuzzing")]
impl Users {
    /// Each with the hash.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(user, hash)| (user.as_str(), hash.as_str()))
    }
}

#[cfg(test)]
impl Users {
    /// One user.
    pub(super) fn one(user: &str, hash: String) -> Users {
        Users(BTreeMap::from([(user.to_owned(), hash)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the exporter-toolkit's documentation, for the password "test".
    const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

    fn parse(text: &str) -> Result<WebConfig, UnusableWebConfig> {
        WebConfig::of(Path::new("/etc/web/web.yml"), text.as_bytes())
    }

    #[test]
    fn what_prometheus_exporters_take_is_taken() {
        for text in ["", "# nothing\n", "{}", "basic_auth_users:\n"] {
            let config = parse(text).expect(text);
            assert!(config.tls.is_none() && config.users.is_empty(), "{text}");
        }
        let text = format!(
            "tls_server_config:\n  cert_file: tls.crt\n  key_file: /run/tls.key\n  client_auth_type: \"RequireAndVerifyClientCert\"\n  \
             client_ca_file: ca.crt\n  min_version: TLS13\nbasic_auth_users:\n  alice: {HASH}\n  bob: '{HASH}'\n"
        );
        let config = parse(&text).expect("a configuration");
        let files = ServerFiles {
            certificate: "/etc/web/tls.crt".into(),
            key: "/run/tls.key".into(),
            clients: Clients::Required("/etc/web/ca.crt".into()),
            oldest: OldestVersion::Tls13,
        };
        assert_eq!((config.tls, config.users.hash("bob")), (Some(files), Some(HASH)));
        assert!(!format!("{:?}", config.users).contains("$2y"));
    }

    #[test]
    fn what_has_no_meaning_here_is_refused_by_name_and_no_hash_is_shown() {
        let tls = "tls_server_config:\n  cert_file: a\n  key_file: b\n";
        for (text, expected) in [
            ("http_server_config:\n  http2: false\n".to_owned(), "http_server_config"),
            (format!("{tls}  cipher_suites: [x]\n"), "cipher_suites"),
            (format!("{tls}  client_auth_type: RequireAnyClientCert\n"), "RequireAnyClientCert"),
            (format!("{tls}  client_auth_type: RequireAndVerifyClientCert\n"), "client_ca_file"),
            (format!("{tls}  client_ca_file: c\n"), "client_auth_type"),
            (format!("{tls}  min_version: TLS10\n"), "TLS10"),
            ("tls_server_config:\n  cert_file: a\n".to_owned(), "key_file"),
            (format!("basic_auth_users:\n  alice: {HASH}\n  bob: secret\n"), "bob"),
            (format!("basic_auth_users:\n  a:b: {HASH}\n"), "a:b"),
            (format!("basic_auth_users:\n  alice: {}\n", HASH.replace("$10$", "$31$")), "it has 31"),
            (format!("basic_auth_users: {HASH}\n"), "map"),
            // The wrong way round, and where there is none.
            (format!("basic_auth_users:\n  {HASH}: alice\n"), "bcrypt hash for \"(a hash)\""),
            (format!("{HASH}: alice\n"), "(a hash)"),
            (format!("{}: alice\n", &HASH[7..]), "(a hash)"),
            (format!("{tls}  client_auth_type: {HASH}\n"), "(a hash)"),
            (format!("{tls}  min_version: x{HASH}\n"), "x(a hash)"),
            (format!("basic_auth_users:\n  alice: {HASH}\n  alice: {HASH}\n"), "alice"),
            (format!("basic_auth_users:\n  alice: {HASH}\nweb: x\n"), "web"),
        ] {
            let error = parse(&text).expect_err(&text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("QOauh") && !error.contains("secret"), "{error}");
        }
    }
}
