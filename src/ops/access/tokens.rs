//! The bearer tokens of `--admin-bearer-token-file`, one a line: while one is changed there are two, the old one and
//! the new one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::digests::{Digest, Digests};
use crate::http::credentials::{self, Kind, UnusableCredentials};

/// What a bearer token has (RFC 6750, 2.1).
const KIND: Kind = Kind { flag: "--admin-bearer-token-file", one: "token", marks: "-._~+/=" };

/// The tokens, as they are now.
#[derive(Debug)]
pub(super) struct Tokens {
    path: PathBuf,
    digests: Arc<Digests>,
    current: RwLock<Vec<Digest>>,
}

impl Tokens {
    /// Reads the tokens of a file.
    pub(super) fn of_file(path: &Path, digests: Arc<Digests>) -> Result<Tokens, UnusableCredentials> {
        let current = RwLock::new(read(path, &digests)?);
        Ok(Tokens { path: path.to_owned(), digests, current })
    }

    /// Where they are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads them again, and returns whether there are others now. Those that cannot be used leave what was there.
    pub(super) fn read_again(&self) -> Result<bool, UnusableCredentials> {
        let new = read(&self.path, &self.digests)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = *current != new;
        *current = new;
        Ok(is_other)
    }

    /// Whether this is one of them.
    pub(super) fn contains(&self, token: &[u8]) -> bool {
        let digest = self.digests.of(&[token]);
        self.current.read().unwrap_or_else(PoisonError::into_inner).contains(&digest)
    }
}

fn read(path: &Path, digests: &Digests) -> Result<Vec<Digest>, UnusableCredentials> {
    let tokens = credentials::read(path, &KIND)?;
    Ok(tokens.iter().map(|token| digests.of(&[token.as_bytes()])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";

    #[test]
    fn a_file_that_cannot_be_used_leaves_what_was_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        std::fs::write(&path, ONE).expect("written");
        let tokens = Tokens::of_file(&path, Arc::new(Digests::new().expect("randomness"))).expect("tokens");
        assert_eq!(tokens.read_again().ok(), Some(false));
        std::fs::write(&path, "short").expect("written");
        assert!(tokens.read_again().is_err() && tokens.contains(ONE.as_bytes()));
        std::fs::write(&path, "another-token-of-them").expect("written");
        assert_eq!(tokens.read_again().ok(), Some(true));
        assert!(!tokens.contains(ONE.as_bytes()) && tokens.contains(b"another-token-of-them"));
        assert!(!tokens.contains(b"") && !tokens.contains(b"another-token-of-the"));
    }
}
