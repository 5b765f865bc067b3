//! What leaves the exporter of user IDs and IP addresses.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::config::{Config, IdentityMode};

/// What spans and the call log carry of an identity.
#[derive(Clone)]
pub enum Identity {
    /// Nothing.
    Drop,
    /// HMAC-SHA-256 with a key: the same user is the same text, and only who has the key can tell which.
    Hash(Box<Hmac<Sha256>>),
    /// What was sent.
    Keep,
}

/// Why the key of --identity hash cannot be used.
#[derive(Debug, Error)]
#[error("cannot use {path} for --identity hash: {reason}")]
pub struct UnusableKey {
    /// The file.
    path: PathBuf,
    /// Why not.
    reason: String,
}

/// The shortest key of --identity hash: 128 bits.
const SHORTEST_KEY: usize = 16;

impl Identity {
    /// What is configured, with the key read from its file.
    ///
    /// # Errors
    /// The key cannot be read, or is too short.
    pub fn configured(config: &Config) -> Result<Identity, UnusableKey> {
        match (config.identity, &config.identity_key_file) {
            (IdentityMode::Drop, _) => Ok(Identity::Drop),
            (IdentityMode::Keep, _) => Ok(Identity::Keep),
            (IdentityMode::Hash, path) => Identity::with_key_of(path.as_deref().unwrap_or(Path::new(""))),
        }
    }

    fn with_key_of(path: &Path) -> Result<Identity, UnusableKey> {
        let unusable = |reason: String| UnusableKey { path: path.to_owned(), reason };
        let key = std::fs::read(path).map_err(|error: io::Error| unusable(error.to_string()))?;
        let key = key.trim_ascii_end();
        if key.len() < SHORTEST_KEY {
            return Err(unusable(format!(
                "expected a key of at least {SHORTEST_KEY} bytes, got {}",
                key.len()
            )));
        }
        Ok(Identity::hash(key))
    }

    /// Hashes with this key.
    pub fn hash(key: &[u8]) -> Identity {
        match Hmac::new_from_slice(key) {
            Ok(hmac) => Identity::Hash(Box::new(hmac)),
            // HMAC takes keys of any length (RFC 2104), so this does not come about; nothing is the safe answer.
            Err(_) => Identity::Drop,
        }
    }

    /// What is to be carried of a value, if anything.
    pub fn apply(&self, value: &str) -> Option<String> {
        match self {
            Identity::Drop => None,
            Identity::Keep => Some(value.to_owned()),
            Identity::Hash(hmac) => {
                let mut hmac = hmac.clone();
                hmac.update(value.as_bytes());
                let digest = hmac.finalize().into_bytes();
                Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
            }
        }
    }
}

impl fmt::Debug for Identity {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Identity::Drop => "Drop",
            Identity::Hash(_) => "Hash",
            Identity::Keep => "Keep",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_dropped_hashed_or_kept() {
        assert_eq!(Identity::Drop.apply("9286"), None);
        assert_eq!(Identity::Keep.apply("9286").as_deref(), Some("9286"));
        // RFC 4231, test case 2.
        let hashed = Identity::hash(b"Jefe").apply("what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hashed.as_deref(), Some(expected));
    }
}
