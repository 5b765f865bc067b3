//! The secrets of `--call-event-secret-file`, one a line: the registered URL has one of them as its parameter `secret`.
//! While it is changed there are two, the one that is registered still and the one that will be.
//!
//! The file is read again every few seconds and at SIGHUP, since Kubernetes puts another one in its place. Where it
//! cannot be used, the secrets stay what they were.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use memchr::memmem;
use subtle::{Choice, ConstantTimeEq};

use crate::http::credentials::{self, Kind, UnusableCredentials};

/// What stands in a URL as it is, however it is written (RFC 3986, 2.3). Each is compared with that of every request.
const KIND: Kind = Kind { flag: "--call-event-secret-file", one: "secret", marks: "-._~" };

/// The secrets, as they are now.
pub struct Secrets {
    path: PathBuf,
    current: RwLock<Arc<[Box<str>]>>,
}

impl Secrets {
    /// Reads the secrets of a file.
    ///
    /// # Errors
    /// It cannot be read, or has something else in it.
    pub fn of_file(path: &Path) -> Result<Secrets, UnusableCredentials> {
        Ok(Secrets { path: path.to_owned(), current: RwLock::new(read(path)?) })
    }

    /// How many there are.
    pub fn number(&self) -> usize {
        self.current().len()
    }

    /// Reads them again, and returns whether there are others now.
    ///
    /// # Errors
    /// They cannot be read, and stay what they were.
    pub fn read_again(&self) -> Result<bool, UnusableCredentials> {
        let new = read(&self.path)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = *current != new;
        *current = new;
        Ok(is_other)
    }

    /// Whether this is one of them. How long that takes tells nothing but their lengths.
    pub(super) fn contains(&self, value: &[u8]) -> bool {
        let current = self.current();
        let is_one = |one: Choice, secret: &str| one | secret.as_bytes().ct_eq(value);
        current.iter().fold(Choice::from(0), |one, secret| is_one(one, secret)).into()
    }

    /// Whether one of them stands within these bytes of a request that has shown that it knows one.
    pub(super) fn is_within(&self, bytes: &[u8]) -> bool {
        self.current().iter().any(|secret| memmem::find(bytes, secret.as_bytes()).is_some())
    }

    /// The one that the exporter itself sends.
    pub(in crate::intake) fn first(&self) -> Option<Box<str>> {
        self.current().first().cloned()
    }

    fn current(&self) -> Arc<[Box<str>]> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Secrets {
    /// These, of no file.
    pub(super) fn of(secrets: &[&str]) -> Secrets {
        let secrets = secrets.iter().map(|secret| Box::from(*secret)).collect();
        Secrets { path: PathBuf::new(), current: RwLock::new(secrets) }
    }
}

impl fmt::Debug for Secrets {
    /// Without them.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Secrets").field("path", &self.path).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Arc<[Box<str>]>, UnusableCredentials> {
    Ok(credentials::read(path, &KIND)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::peer::causes;

    const ONE: &str = "0123456789abcdef";

    #[test]
    fn only_the_whole_of_one_of_them_is_one() {
        let secrets = Secrets::of(&[ONE, "fedcba9876543210~"]);
        assert!(secrets.contains(ONE.as_bytes()) && secrets.contains(b"fedcba9876543210~"));
        for other in ["", &ONE[1..], "0123456789abcdeF", "0123456789abcdef0", "fedcba9876543210"] {
            assert!(!secrets.contains(other.as_bytes()), "{other}");
        }
        assert!(secrets.is_within(format!("a {ONE} b").as_bytes()) && !secrets.is_within(b"0123"));
    }

    #[test]
    fn a_file_that_cannot_be_used_leaves_what_was_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secrets");
        let error = Secrets::of_file(&path).expect_err("no file");
        assert!(causes(&error).contains("--call-event-secret-file"), "{error}");
        std::fs::write(&path, ONE).expect("written");
        let secrets = Secrets::of_file(&path).expect("secrets");
        assert_eq!(secrets.read_again().ok(), Some(false));
        for unusable in ["", "short"] {
            std::fs::write(&path, unusable).expect("written");
            assert!(secrets.read_again().is_err() && secrets.contains(ONE.as_bytes()));
        }
        std::fs::remove_file(&path).expect("removed");
        assert!(secrets.read_again().is_err() && secrets.contains(ONE.as_bytes()));
        std::fs::write(&path, "another-secret-of-them").expect("written");
        assert_eq!(secrets.read_again().ok(), Some(true));
        assert!(!secrets.contains(ONE.as_bytes()) && secrets.contains(b"another-secret-of-them"));
    }
}
