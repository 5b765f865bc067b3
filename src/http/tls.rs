//! Connections of a client, with TLS or without: rustls on ring, with the system's authorities or those of a file.
//! [`server_tls`](super::server_tls) is the other end.
//!
//! Certificates are renewed while a process runs. [`Reloading`] reads their files again for each new connection and
//! whenever it is told to, and goes on with what it has where they cannot be used.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::client::Resumption;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tracing::{info, warn};

use super::peer::causes;
use super::small_file;

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path} for TLS: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file has no usable PEM in it.
    #[error("cannot use {path} for TLS: {reason}")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: PemFault,
    },
    /// What a file says is no authority, or no certificate of the key.
    #[error("cannot use {path} for TLS: {source}")]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// TLS does not work at all.
    #[error("cannot set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// No authority to trust.
    #[error(
        "no certificate authority to trust: the system has none, and neither SSL_CERT_FILE nor, for a collector, OTEL_EXPORTER_OTLP_CERTIFICATE names a file of them"
    )]
    NoAuthorities,
}

/// What is wrong with a file of PEM. It says nothing of what is in it, which may be a key: the library's own error
/// shows the line that it cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PemFault {
    /// It has no section of the kind that is needed.
    #[error("expected a section of PEM with a certificate, or with a key, and it has none")]
    Nothing,
    /// A section does not begin or end as one does.
    #[error(
        "expected lines such as -----BEGIN CERTIFICATE----- and, for each of them, -----END CERTIFICATE-----, with nothing else on these \
         lines"
    )]
    Lines,
    /// What stands in a section is no base64.
    #[error("expected base64 between -----BEGIN and -----END")]
    Base64,
    /// Something else.
    #[error("expected PEM, and it cannot be read")]
    Other,
}

impl From<pem::Error> for PemFault {
    fn from(error: pem::Error) -> PemFault {
        match error {
            pem::Error::NoItemsFound => PemFault::Nothing,
            pem::Error::MissingSectionEnd { .. } | pem::Error::IllegalSectionStart { .. } => PemFault::Lines,
            pem::Error::Base64Decode(_) => PemFault::Base64,
            _ => PemFault::Other,
        }
    }
}

/// Versions of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// What the other end chooses.
    Http1OrHttp2,
}

/// The PEM files of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// The authorities to trust instead of the system's.
    pub certificate: Option<PathBuf>,
    /// The client's certificate and its key.
    pub client_identity: Option<(PathBuf, PathBuf)>,
}

/// A connector for http and https that trusts the system's authorities. They are read for https only.
///
/// # Errors
/// The system has none.
pub fn connector(
    uri: &Uri,
    connect_timeout: Duration,
    versions: Versions,
) -> Result<HttpsConnector<HttpConnector>, TlsError> {
    Ok(wrap(tcp(connect_timeout), config_for(uri)?, versions))
}

/// The same for HTTP/1.1, with a full handshake each time: no session goes on, in which the other end would not show
/// its certificate.
///
/// # Errors
/// The system has no authorities.
pub fn connector_without_sessions(
    uri: &Uri,
    connect_timeout: Duration,
) -> Result<HttpsConnector<HttpConnector>, TlsError> {
    let mut config = config_for(uri)?;
    config.resumption = Resumption::disabled();
    Ok(wrap(tcp(connect_timeout), config, Versions::Http1))
}

fn tcp(connect_timeout: Duration) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    tcp
}

/// The configuration of who trusts the system's authorities.
fn config_for(uri: &Uri) -> Result<ClientConfig, TlsError> {
    match uri.scheme_str() {
        Some("https") => {
            let system = Files::default().load()?;
            system.config(system.authorities()?)
        }
        _ => plain_config(),
    }
}

/// Connections of `inner`, with TLS where the URI says so.
pub fn wrap<C>(inner: C, config: ClientConfig, versions: Versions) -> HttpsConnector<C> {
    let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    match versions {
        Versions::Http1 => builder.enable_http1().wrap_connector(inner),
        Versions::Http2 => builder.enable_http2().wrap_connector(inner),
        Versions::Http1OrHttp2 => builder.enable_http1().enable_http2().wrap_connector(inner),
    }
}

/// The configuration of who never speaks TLS.
fn plain_config() -> Result<ClientConfig, TlsError> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// What the configuration of every client begins with.
pub(super) fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

/// A file as it was read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct FileContent {
    pub(super) path: PathBuf,
    pem: Vec<u8>,
}

/// Bytes of a file that are read. A bundle of every authority of a system has a fourth of it.
const LARGEST_FILE: u64 = 1024 * 1024;

/// What files say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Loaded {
    certificate: Option<FileContent>,
    client_identity: Option<(FileContent, FileContent)>,
}

impl Files {
    fn load(&self) -> Result<Loaded, TlsError> {
        let client_identity = match &self.client_identity {
            Some((certificate, key)) => Some((FileContent::read(certificate)?, FileContent::read(key)?)),
            None => None,
        };
        let certificate = self.certificate.as_deref().map(FileContent::read).transpose()?;
        Ok(Loaded { certificate, client_identity })
    }
}

impl Loaded {
    fn config(&self, authorities: RootCertStore) -> Result<ClientConfig, TlsError> {
        let config = builder()?.with_root_certificates(authorities);
        let Some((certificate, key)) = &self.client_identity else {
            return Ok(config.with_no_client_auth());
        };
        let config = config.with_client_auth_cert(certificate.certificates()?, key.private_key()?);
        config.map_err(|source| TlsError::Certificate { path: certificate.path.clone(), source })
    }

    fn authorities(&self) -> Result<RootCertStore, TlsError> {
        let roots = match &self.certificate {
            Some(file) => file.authorities()?,
            None => {
                let mut roots = RootCertStore::empty();
                // A system's store often has some certificate that cannot be used; the others still can.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        if roots.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(roots) }
    }
}

impl FileContent {
    pub(super) fn read(path: &Path) -> Result<FileContent, TlsError> {
        let path = path.to_owned();
        match small_file::read(&path, LARGEST_FILE) {
            Ok(pem) => Ok(FileContent { path, pem }),
            Err(source) => Err(TlsError::Unreadable { path, source }),
        }
    }

    /// One with these bytes.
    #[cfg(feature = "fuzzing")]
    pub(super) fn of(path: PathBuf, pem: &[u8]) -> FileContent {
        FileContent { path, pem: pem.to_vec() }
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.pem).map_err(|error| self.unusable(error.into()))
    }

    pub(super) fn authorities(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            let added = roots.add(certificate);
            added.map_err(|source| TlsError::Certificate { path: self.path.clone(), source })?;
        }
        Ok(roots)
    }

    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.pem).collect();
        let certificates = certificates.map_err(|error| self.unusable(error.into()))?;
        if certificates.is_empty() { Err(self.unusable(PemFault::Nothing)) } else { Ok(certificates) }
    }

    fn unusable(&self, reason: PemFault) -> TlsError {
        TlsError::Pem { path: self.path.clone(), reason }
    }
}

impl fmt::Debug for FileContent {
    /// Without what is in it, which may be a key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("FileContent").field(&self.path).finish()
    }
}

/// TLS with files that may change, or may come later.
#[derive(Debug)]
pub struct Reloading {
    is_secure: bool,
    files: Files,
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    loaded: Loaded,
    authorities: RootCertStore,
    config: ClientConfig,
    /// What was said last of files that cannot be used.
    complaint: Option<String>,
}

impl Reloading {
    /// TLS with these files for connections to `uri`; they are not looked at if it has none.
    pub fn new(uri: &Uri, files: Files) -> Reloading {
        Reloading { is_secure: uri.scheme_str() == Some("https"), files, current: Mutex::default() }
    }

    /// The configuration of a new connection. It reads the files, if there are any, so it may block for a moment. Once
    /// they could be used, files that cannot be are said once, and leave everything as it was.
    ///
    /// # Errors
    /// A file cannot be used and never could, or the system has no authorities.
    pub fn config(&self) -> Result<ClientConfig, TlsError> {
        if !self.is_secure {
            return plain_config();
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let current = match &mut *current {
            Some(current) => {
                if self.files != Files::default() {
                    current.take_in(self.files.load());
                }
                current
            }
            none => none.insert(Current::new(self.files.load()?)?),
        };
        Ok(current.config.clone())
    }

    /// Reads the files again, or without one of authorities those of the system, and returns whether new connections
    /// are another matter from now on. Where they cannot be used, everything stays as it was.
    ///
    /// # Errors
    /// A file cannot be used, or the system has no authorities.
    pub fn read_again(&self) -> Result<bool, TlsError> {
        if !self.is_secure {
            return Ok(false);
        }
        let new = Current::new(self.files.load()?)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = current.as_ref().is_some_and(|current| current.is_as(&new));
        *current = Some(new);
        Ok(!is_same)
    }
}

impl Current {
    fn new(loaded: Loaded) -> Result<Current, TlsError> {
        let authorities = loaded.authorities()?;
        let config = loaded.config(authorities.clone())?;
        Ok(Current { loaded, authorities, config, complaint: None })
    }

    /// Whether it trusts the same authorities and shows the same certificate.
    fn is_as(&self, other: &Current) -> bool {
        self.loaded == other.loaded && self.authorities.roots == other.authorities.roots
    }

    fn take_in(&mut self, loaded: Result<Loaded, TlsError>) {
        let changed = match loaded {
            Ok(loaded) if loaded == self.loaded => Ok(None),
            loaded => loaded.and_then(Current::new).map(Some),
        };
        match changed {
            Ok(None) => self.complaint = None,
            Ok(Some(changed)) => {
                info!("certificates have changed; new connections use them");
                *self = changed;
            }
            Err(error) => {
                let complaint = causes(&error);
                if self.complaint.as_ref() != Some(&complaint) {
                    warn!(error = %complaint, "certificates have changed and cannot be used; the old ones are kept");
                }
                self.complaint = Some(complaint);
            }
        }
    }
}
