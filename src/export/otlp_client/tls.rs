//! TLS towards a collector: rustls on ring, with the system's authorities or those of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

use crate::export::otlp_settings::{Destination, Protocol};

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
        "no certificate authority to trust: the system has none, and OTEL_EXPORTER_OTLP_CERTIFICATE is not set"
    )]
    NoAuthorities,
}

/// A connector for http and https. Authorities and client certificate are read for https only.
pub(super) fn connector(destination: &Destination) -> Result<HttpsConnector<HttpConnector>, TlsError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(destination.timeout));
    let is_secure = destination.endpoint.scheme_str() == Some("https");
    let roots =
        if is_secure { authorities(destination.certificate.as_deref())? } else { RootCertStore::empty() };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match destination.client_identity.as_ref().filter(|_| is_secure) {
        Some((certificate, key)) => {
            config.with_client_auth_cert(certificates(certificate)?, private_key(key)?)?
        }
        None => config.with_no_client_auth(),
    };
    let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    Ok(match destination.protocol {
        Protocol::Grpc => builder.enable_http2().wrap_connector(tcp),
        Protocol::HttpProtobuf => builder.enable_http1().enable_http2().wrap_connector(tcp),
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
