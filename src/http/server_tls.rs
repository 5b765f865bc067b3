//! TLS of a listener: its certificate, which may be renewed while the listener serves, and whose certificates it takes.
//!
//! A connection has what was in the files when it was made. Files that cannot be used change nothing. Nothing of a
//! session is kept beyond a change, so that a client whose authority has gone is not let in again.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use metrics::gauge;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use x509_parser::parse_x509_certificate;

use super::Purpose;
use super::tls::{FileContent, TlsError};
use crate::metrics::catalog;

/// The files of a listener's TLS, in PEM, and what it expects of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// The certificate, and those between it and an authority behind it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whose certificates clients show.
    pub clients: Clients,
    /// The oldest version that is spoken.
    pub oldest: OldestVersion,
}

/// Whose certificates clients show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clients {
    /// Nobody's.
    Anyone,
    /// If they show one, one of these authorities.
    IfGiven(PathBuf),
    /// One of these authorities.
    Required(PathBuf),
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldestVersion {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

/// TLS of a listener, with the certificate of now.
#[derive(Debug)]
pub struct ServerTls {
    listener: Purpose,
    current: RwLock<Arc<Current>>,
}

#[derive(Debug)]
struct Current {
    loaded: Loaded,
    config: Arc<ServerConfig>,
    expires: SystemTime,
}

/// What the files say.
#[derive(Debug, PartialEq, Eq)]
struct Loaded {
    files: ServerFiles,
    certificate: FileContent,
    key: FileContent,
    authorities: Option<FileContent>,
}

impl ServerTls {
    /// TLS of a listener with these files.
    ///
    /// # Errors
    /// A file cannot be read or used, or the key is not that of the certificate.
    pub fn new(listener: Purpose, files: &ServerFiles) -> Result<ServerTls, TlsError> {
        let current = Current::read(files)?;
        let tls = ServerTls { listener, current: RwLock::new(Arc::new(current)) };
        tls.show();
        Ok(tls)
    }

    /// Reads files again, be it the same or others, and returns whether new connections have something else from now on.
    ///
    /// # Errors
    /// A file cannot be read or used. Everything stays as it was then.
    pub fn read_again(&self, files: &ServerFiles) -> Result<bool, TlsError> {
        if Loaded::read(files).is_ok_and(|loaded| loaded == self.current().loaded) {
            return Ok(false);
        }
        let new = Current::read(files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        self.show();
        Ok(true)
    }

    /// When the certificate expires.
    pub fn expires(&self) -> SystemTime {
        self.current().expires
    }

    /// What a new connection has.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().config)
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn show(&self) {
        let since_epoch = self.expires().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let expiry = catalog::EXPORTER_CERTIFICATE_EXPIRY_TIME.name;
        gauge!(expiry, "listener" => self.listener.as_str()).set(since_epoch.as_secs_f64());
    }
}

impl Current {
    /// What the files say. A certificate and a key are put in place one after the other, or all at once between the
    /// reading of two files; so what cannot be used is read a second time.
    fn read(files: &ServerFiles) -> Result<Current, TlsError> {
        let read = || Current::of(Loaded::read(files)?);
        read().or_else(|_| read())
    }

    fn of(loaded: Loaded) -> Result<Current, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions: &[_] = match loaded.files.oldest {
            OldestVersion::Tls12 => &[&TLS12, &TLS13],
            OldestVersion::Tls13 => &[&TLS13],
        };
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
        let builder = match &loaded.authorities {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(file.authorities()?), provider);
                let verifier = match loaded.files.clients {
                    Clients::Required(_) => verifier.build(),
                    Clients::Anyone | Clients::IfGiven(_) => verifier.allow_unauthenticated().build(),
                };
                let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let certificates = loaded.certificate.certificates()?;
        let unusable = |source| TlsError::Certificate { path: loaded.certificate.path.clone(), source };
        let expires = certificates.first().and_then(|certificate| expiry(certificate));
        let expires = expires.ok_or_else(|| unusable(rustls::CertificateError::BadEncoding.into()))?;
        let config = builder.with_single_cert(certificates, loaded.key.private_key()?);
        let mut config = config.map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Current { loaded, config: Arc::new(config), expires })
    }
}

impl Loaded {
    fn read(files: &ServerFiles) -> Result<Loaded, TlsError> {
        let authorities = match &files.clients {
            Clients::Anyone => None,
            Clients::IfGiven(file) | Clients::Required(file) => Some(FileContent::read(file)?),
        };
        Ok(Loaded {
            certificate: FileContent::read(&files.certificate)?,
            key: FileContent::read(&files.key)?,
            authorities,
            files: files.clone(),
        })
    }
}

/// When a certificate in DER expires.
fn expiry(certificate: &[u8]) -> Option<SystemTime> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// When what is made of files with these bytes expires.
#[cfg(feature = "fuzzing")]
pub(super) fn what_is_made_of(
    certificate: &[u8],
    key: &[u8],
    authorities: Option<&[u8]>,
) -> Result<SystemTime, TlsError> {
    let path = || PathBuf::from("a-file");
    let clients = authorities.map_or(Clients::Anyone, |_| Clients::Required(path()));
    let loaded = Loaded {
        files: ServerFiles { certificate: path(), key: path(), clients, oldest: OldestVersion::Tls12 },
        certificate: FileContent::of(path(), certificate),
        key: FileContent::of(path(), key),
        authorities: authorities.map(|bytes| FileContent::of(path(), bytes)),
    };
    Current::of(loaded).map(|current| current.expires)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;
    use crate::http::peer::causes;

    /// Writes a certificate that expires at the end of the year, and its key.
    fn write(directory: &Path, year: i32) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(year, 12, 31);
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(directory.join("tls.crt"), certificate.pem()).expect("written");
        fs::write(directory.join("tls.key"), key.serialize_pem()).expect("written");
    }

    fn files(directory: &Path, clients: Clients) -> ServerFiles {
        let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
        ServerFiles { certificate, key, clients, oldest: OldestVersion::Tls12 }
    }

    #[test]
    fn what_cannot_be_used_is_said_and_leaves_what_was_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, other) = (directory.path(), tempfile::tempdir().expect("a directory"));
        let files = files(path, Clients::Anyone);
        let error = ServerTls::new(Purpose::Admin, &files).expect_err("no files");
        assert!(causes(&error).contains("tls.crt"), "{error}");
        write(path, 2040);
        let tls = ServerTls::new(Purpose::Admin, &files).expect("TLS");
        let day_before = SystemTime::UNIX_EPOCH + Duration::from_secs(2240524800);
        assert_eq!(tls.expires(), day_before, "the end of 2040");
        assert!(!tls.read_again(&files).expect("the same"));
        write(other.path(), 2041);
        // The key of another certificate, half of a certificate, no certificate, nothing.
        let config = tls.config();
        let half = fs::read(path.join("tls.crt")).expect("a certificate")[..100].to_vec();
        let foreign = fs::read(other.path().join("tls.crt")).expect("a certificate");
        for unusable in
            [&foreign[..], &half, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b""]
        {
            fs::write(path.join("tls.crt"), unusable).expect("written");
            let error = causes(&tls.read_again(&files).expect_err("unusable"));
            assert!(error.contains("tls.crt") && !error.contains("AAAA"), "{error}");
            assert!(Arc::ptr_eq(&config, &tls.config()) && tls.expires() == day_before);
        }
        write(path, 2041);
        assert!(tls.read_again(&files).expect("a new one"));
        assert!(tls.expires() > day_before && !Arc::ptr_eq(&config, &tls.config()));
    }

    #[test]
    fn a_key_that_lost_its_line_ends_is_not_shown() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        write(path, 2040);
        let key = fs::read_to_string(path.join("tls.key")).expect("a key");
        let middle = key.lines().nth(1).expect("base64");
        let as_numbers = format!("{:?}", &middle.as_bytes()[..20]);
        for broken in [key.replace('\n', ""), key.replace('\n', " "), key.replace("KEY-----\n", "KEY-----")] {
            fs::write(path.join("tls.key"), &broken).expect("written");
            let error =
                causes(&ServerTls::new(Purpose::Admin, &files(path, Clients::Anyone)).expect_err("no key"));
            assert!(error.contains("tls.key") && error.contains("-----BEGIN"), "{error}");
            assert!(
                !error.contains(middle) && !error.contains(as_numbers.trim_matches(['[', ']'])),
                "{error}"
            );
        }
    }

    #[test]
    fn authorities_of_clients_are_read_as_well() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        write(path, 2040);
        let ca = path.join("ca.crt");
        let files = files(path, Clients::Required(ca.clone()));
        assert!(
            causes(&ServerTls::new(Purpose::Admin, &files).expect_err("no authority")).contains("ca.crt")
        );
        fs::copy(path.join("tls.crt"), &ca).expect("copied");
        let tls = ServerTls::new(Purpose::Admin, &files).expect("TLS");
        let certificate = fs::read_to_string(&ca).expect("a certificate");
        fs::write(&ca, certificate.repeat(2)).expect("written");
        assert!(tls.read_again(&files).expect("changed"));
        fs::write(&ca, "").expect("written");
        assert!(tls.read_again(&files).is_err());
    }
}
