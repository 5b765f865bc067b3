//! Files of credentials, one a line: while one is changed there are two, the one that is in use still and the one that will be.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::small_file;

/// Characters of a credential: at least so many that nobody guesses it, if they are random.
pub(super) const LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;

/// Credentials at once, at most.
pub(super) const MOST: usize = 8;

/// Bytes of a file, at most.
const LARGEST_FILE: u64 = 64 * 1024;

/// A kind of credentials.
#[derive(Debug)]
pub struct Kind {
    /// The flag that names the file.
    pub flag: &'static str,
    /// What one of them is called.
    pub one: &'static str,
    /// The characters that they have beside letters and digits.
    pub marks: &'static str,
}

/// Why a file of credentials cannot be used. None of it says what is in the file.
#[derive(Debug, Error)]
#[error("cannot use {path} for {flag}: {reason}", path = path.display())]
pub struct UnusableCredentials {
    path: PathBuf,
    flag: &'static str,
    reason: Reason,
}

#[derive(Debug, Error)]
pub(super) enum Reason {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("expected at least one {0}, one a line, and it has none")]
    None(&'static str),
    #[error("expected {MOST} {one}s at most, and it has {number}")]
    TooMany { one: &'static str, number: usize },
    #[error(
        "expected {} to {} letters, digits and {marks} in line {line}, such as openssl rand -hex 32 makes",
        LENGTHS.start(),
        LENGTHS.end()
    )]
    Line { line: usize, marks: &'static str },
}

/// Reads a file of credentials of this kind.
///
/// # Errors
/// It cannot be read, or has something else in it.
pub fn read(path: &Path, kind: &Kind) -> Result<Vec<Box<str>>, UnusableCredentials> {
    let read = || lines(&small_file::read(path, LARGEST_FILE)?, kind);
    read().map_err(|reason| UnusableCredentials { path: path.to_owned(), flag: kind.flag, reason })
}

/// The credentials in a file: a line each, without the blanks around it.
pub(super) fn lines(bytes: &[u8], kind: &Kind) -> Result<Vec<Box<str>>, Reason> {
    let is_of_one = |byte: &u8| byte.is_ascii_alphanumeric() || kind.marks.as_bytes().contains(byte);
    let credential = |(index, line): (usize, &[u8])| {
        let is_one = LENGTHS.contains(&line.len()) && line.iter().all(is_of_one);
        let text = str::from_utf8(line).ok().filter(|_| is_one).map(Box::from);
        text.ok_or(Reason::Line { line: index + 1, marks: kind.marks })
    };
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    let found: Vec<_> =
        lines.filter(|(_, line)| !line.is_empty()).map(credential).collect::<Result<_, _>>()?;
    match found.len() {
        0 => Err(Reason::None(kind.one)),
        1..=MOST => Ok(found),
        number => Err(Reason::TooMany { one: kind.one, number }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { flag: "--a-file", one: "secret", marks: "-._~" };
    const ONE: &str = "0123456789abcdef";

    #[test]
    fn a_file_has_a_credential_in_each_line() {
        let read = |text: &str| lines(text.as_bytes(), &KIND);
        for text in [ONE.to_owned(), format!("{ONE}\n"), format!("\n {ONE}\r\n\n{ONE}-._~A\n")] {
            let found = read(&text).expect("credentials");
            assert_eq!((&*found[0], found.len()), (ONE, text.matches(ONE).count()));
        }
        for (text, expected) in [
            (String::new(), "at least one secret"),
            ("\n \n".to_owned(), "at least one secret"),
            (format!("{ONE}\n{}\n", &ONE[1..]), "in line 2"),
            (ONE.repeat(17), "in line 1"),
            (format!("{ONE}%20"), "in line 1"),
            (format!("{ONE}+/="), "in line 1"),
            (format!("{ONE} {ONE}"), "in line 1"),
            (format!("{ONE}\u{e9}"), "in line 1"),
            (format!("{ONE}\n").repeat(9), "8 secrets at most, and it has 9"),
        ] {
            let error = read(&text).expect_err("unusable").to_string();
            assert!(error.contains(expected) && !error.contains("0123"), "{error}");
        }
        let more = Kind { marks: "-._~+/=", ..KIND };
        assert_eq!(lines(format!("{ONE}+/=").as_bytes(), &more).expect("credentials").len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_read_to_its_end_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secrets");
        let error = read(&path, &KIND).expect_err("no file").to_string();
        assert!(error.contains("--a-file") && error.contains("secrets"), "{error}");
        // What stands behind the limit would be left out without a word.
        std::fs::write(&path, format!("{ONE}\n{}", "\n".repeat(LARGEST_FILE as usize))).expect("written");
        let error = read(&path, &KIND).expect_err("too large").to_string();
        assert!(error.contains("expected 65536 bytes at most"), "{error}");
    }
}
