//! The secrets of `--call-event-secret-file`, one a line: the registered URL has one of them as its parameter `secret`. While it is changed
//! there are two, the one that is registered still and the one that will be.
//!
//! The file is read again every few seconds and at SIGHUP, since Kubernetes puts another one in its place. Where it cannot be used, the
//! secrets stay what they were.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use memchr::memmem;
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::http::pace::{LeftOut, Pace};
use crate::http::peer::causes;

/// Characters that a secret has: at least so many that nobody guesses it, if they are random.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;

/// Secrets at once, at most. Each is compared with that of every request.
const MOST: usize = 8;

/// Bytes of a file that are read.
const LARGEST_FILE: u64 = 64 * 1024;

/// How often the file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// After this time the same failure is said again.
const AGAIN: Duration = Duration::from_secs(3_600);

/// Why a file of secrets cannot be used. None of it says what is in the file.
#[derive(Debug, Error)]
#[error("cannot use {path} for --call-event-secret-file: {reason}", path = path.display())]
pub struct UnusableSecrets {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, Error)]
enum Reason {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("expected at least one secret, one a line, and it has none")]
    None,
    #[error("expected {MOST} secrets at most, and it has {0}")]
    TooMany(usize),
    #[error(
        "expected {} to {} letters, digits, dashes, dots, underscores and tildes in line {line}, such as openssl rand -hex 32 makes",
        LENGTHS.start(),
        LENGTHS.end()
    )]
    Line { line: usize },
}

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
    pub fn of_file(path: &Path) -> Result<Secrets, UnusableSecrets> {
        Ok(Secrets { path: path.to_owned(), current: RwLock::new(read(path)?) })
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many there are.
    pub fn number(&self) -> usize {
        self.current().len()
    }

    /// Reads them again, and answers whether there are others now.
    ///
    /// # Errors
    /// They cannot be read, and stay what they were.
    pub fn read_again(&self) -> Result<bool, UnusableSecrets> {
        let new = read(&self.path)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = *current != new;
        *current = new;
        Ok(is_other)
    }

    /// Reads them again now and then until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let said = Pace::new(AGAIN);
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            let secrets = Arc::clone(&self);
            let read = tokio::task::spawn_blocking(move || secrets.read_again());
            let failure = match read.await {
                Ok(Ok(false)) => continue,
                Ok(Ok(true)) => {
                    info!(path = %self.path.display(), secrets = self.number(), "the secrets of call events have changed");
                    said.forget();
                    continue;
                }
                Ok(Err(unusable)) => causes(&unusable),
                Err(panicked) => causes(&panicked),
            };
            if let Some(LeftOut { times, .. }) = said.note(&failure, 0) {
                error!(error = %failure, left_out = times, "the secrets of call events cannot be read again; the old ones are kept");
            }
        }
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

#[cfg(test)]
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

fn read(path: &Path) -> Result<Arc<[Box<str>]>, UnusableSecrets> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(LARGEST_FILE).read_to_end(&mut bytes)?;
        secrets_of(&bytes)
    };
    read().map_err(|reason| UnusableSecrets { path: path.to_owned(), reason })
}

/// The secrets in a file: a line each, without the blanks around it.
fn secrets_of(bytes: &[u8]) -> Result<Arc<[Box<str>]>, Reason> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    let secret = |(index, line): (usize, &[u8])| {
        let is_one = LENGTHS.contains(&line.len()) && line.iter().all(|byte| is_unreserved(*byte));
        let text = str::from_utf8(line).ok().filter(|_| is_one).map(Box::from);
        text.ok_or(Reason::Line { line: index + 1 })
    };
    let secrets: Arc<[Box<str>]> =
        lines.filter(|(_, line)| !line.is_empty()).map(secret).collect::<Result<_, _>>()?;
    match secrets.len() {
        0 => Err(Reason::None),
        1..=MOST => Ok(secrets),
        number => Err(Reason::TooMany(number)),
    }
}

/// What stands in a URL as it is, however it is written (RFC 3986, 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";

    #[test]
    fn a_file_has_a_secret_in_each_line() {
        let read = |text: &str| secrets_of(text.as_bytes());
        for text in [ONE.to_owned(), format!("{ONE}\n"), format!("\n {ONE}\r\n\n{ONE}-._~A\n")] {
            let secrets = read(&text).expect("secrets");
            assert_eq!((&*secrets[0], secrets.len()), (ONE, text.matches(ONE).count()));
        }
        for (text, expected) in [
            (String::new(), "at least one"),
            ("\n \n".to_owned(), "at least one"),
            (format!("{ONE}\n{}\n", &ONE[1..]), "in line 2"),
            (ONE.repeat(17), "in line 1"),
            (format!("{ONE}%20"), "in line 1"),
            (format!("{ONE} {ONE}"), "in line 1"),
            (format!("{ONE}\u{e9}"), "in line 1"),
            (format!("{ONE}\n").repeat(9), "8 secrets at most, and it has 9"),
        ] {
            let error = read(&text).expect_err("unusable").to_string();
            assert!(error.contains(expected) && !error.contains("0123"), "{error}");
        }
    }

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
