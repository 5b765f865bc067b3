//! Connections of a client, with TLS or without: rustls on ring, with the system's authorities or those of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file has no usable PEM in it.
    #[error("cannot use {path} for TLS: {source}")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// Certificates and key do not fit.
    #[error("cannot set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// No authority to trust.
    #[error(
        "no certificate authority to trust: the system has none, and no file of them (OTEL_EXPORTER_OTLP_CERTIFICATE) is configured"
    )]
    NoAuthorities,
}

/// What is connected to, and how.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Any URI there; its scheme says whether TLS is used.
    pub uri: &'a Uri,
    /// Time for a connection to come about.
    pub connect_timeout: Duration,
    /// What may be spoken.
    pub versions: Versions,
    /// PEM file of the authorities to trust instead of the system's.
    pub certificate: Option<&'a Path>,
    /// PEM files of the client's certificate and its key.
    pub client_identity: Option<(&'a Path, &'a Path)>,
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

/// A connector for http and https. Authorities and client certificate are read for https only.
///
/// # Errors
/// A certificate or key cannot be used.
pub fn connector(target: &Target<'_>) -> Result<HttpsConnector<HttpConnector>, TlsError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(target.connect_timeout));
    let is_secure = target.uri.scheme_str() == Some("https");
    let roots = if is_secure { authorities(target.certificate)? } else { RootCertStore::empty() };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match target.client_identity.filter(|_| is_secure) {
        Some((certificate, key)) => {
            config.with_client_auth_cert(certificates(certificate)?, private_key(key)?)?
        }
        None => config.with_no_client_auth(),
    };
    let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    Ok(match target.versions {
        Versions::Http1 => builder.enable_http1().wrap_connector(tcp),
        Versions::Http2 => builder.enable_http2().wrap_connector(tcp),
        Versions::Http1OrHttp2 => builder.enable_http1().enable_http2().wrap_connector(tcp),
    })
}

fn authorities(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
        }
        None => {
            // A system's store often has some certificate that cannot be used; the others still can.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let in_file = |source| TlsError::Pem { path: path.to_owned(), source };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(in_file)?.collect();
    let certificates = certificates.map_err(in_file)?;
    if certificates.is_empty() { Err(in_file(pem::Error::NoItemsFound)) } else { Ok(certificates) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem { path: path.to_owned(), source })
}
