//! The bearer tokens of `--admin-bearer-token-file`, one a line: while one is changed there are two, the old one and the new one.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;

use super::digests::{Digest, Digests};

/// Characters of a token: at least so many that nobody guesses it, if they are random.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;

/// Tokens at once, at most.
const MOST: usize = 8;

/// Bytes of a file that are read.
const LARGEST_FILE: u64 = 64 * 1024;

/// Why a file of tokens cannot be used. None of it says what is in the file.
#[derive(Debug, Error)]
#[error("cannot use {path}: {reason}", path = path.display())]
pub struct UnusableTokens {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, Error)]
enum Reason {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("expected at least one token, one a line, and it has none")]
    None,
    #[error("expected {MOST} tokens at most, and it has {0}")]
    TooMany(usize),
    #[error(
        "expected {} to {} letters, digits and -._~+/= in line {line}, such as openssl rand -hex 32 makes",
        LENGTHS.start(),
        LENGTHS.end()
    )]
    Line { line: usize },
}

/// The tokens, as they are now.
#[derive(Debug)]
pub(super) struct Tokens {
    path: PathBuf,
    digests: Arc<Digests>,
    current: RwLock<Vec<Digest>>,
}

impl Tokens {
    /// Reads the tokens of a file.
    pub(super) fn of_file(path: &Path, digests: Arc<Digests>) -> Result<Tokens, UnusableTokens> {
        let current = RwLock::new(read(path, &digests)?);
        Ok(Tokens { path: path.to_owned(), digests, current })
    }

    /// Where they are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads them again, and answers whether there are others now. Those that cannot be used leave what was there.
    pub(super) fn read_again(&self) -> Result<bool, UnusableTokens> {
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

fn read(path: &Path, digests: &Digests) -> Result<Vec<Digest>, UnusableTokens> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(LARGEST_FILE).read_to_end(&mut bytes)?;
        tokens(&bytes, digests)
    };
    read().map_err(|reason| UnusableTokens { path: path.to_owned(), reason })
}

/// The tokens in a file: a line each, without the blanks around it.
fn tokens(bytes: &[u8], digests: &Digests) -> Result<Vec<Digest>, Reason> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    let token = |(index, line): (usize, &[u8])| {
        let is_one = LENGTHS.contains(&line.len()) && line.iter().all(|byte| is_of_token(*byte));
        if is_one { Ok(digests.of(&[line])) } else { Err(Reason::Line { line: index + 1 }) }
    };
    let tokens: Vec<_> = lines.filter(|(_, line)| !line.is_empty()).map(token).collect::<Result<_, _>>()?;
    match tokens.len() {
        0 => Err(Reason::None),
        1..=MOST => Ok(tokens),
        number => Err(Reason::TooMany(number)),
    }
}

/// What a bearer token has (RFC 6750, 2.1).
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";

    #[test]
    fn a_file_has_a_token_in_each_line() {
        let digests = Digests::new().expect("randomness");
        for text in [ONE.to_owned(), format!("\n {ONE}\r\n\n{ONE}-._~+/=\n")] {
            assert_eq!(tokens(text.as_bytes(), &digests).expect("tokens")[0], digests.of(&[ONE.as_bytes()]));
        }
        for (text, expected) in [
            (String::new(), "at least one"),
            (format!("{ONE}\n{}\n", &ONE[1..]), "in line 2"),
            (format!("{ONE} {ONE}"), "in line 1"),
            (ONE.repeat(17), "in line 1"),
            (format!("{ONE}\n").repeat(9), "8 tokens at most, and it has 9"),
        ] {
            let error = tokens(text.as_bytes(), &digests).expect_err("unusable").to_string();
            assert!(error.contains(expected) && !error.contains("0123"), "{error}");
        }
    }

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
