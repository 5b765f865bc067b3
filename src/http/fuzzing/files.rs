//! Laws of the files that whoever operates the exporter writes, whatever is in them.

use std::time::SystemTime;

use crate::http::credentials::{Kind, LENGTHS, MOST, lines};
use crate::http::peer::causes;
use crate::http::server_tls::what_is_made_of;

/// The kinds of credentials, by what they may have.
const KINDS: [Kind; 2] = [
    Kind { flag: "--a-file", one: "secret", marks: "-._~" },
    Kind { flag: "--a-file", one: "token", marks: "-._~+/=" },
];

/// A file of secrets or bearer tokens. Each that is found is a line of it, in its order, and what is said of others
/// tells nothing of them.
pub fn credentials_file(bytes: &[u8]) {
    let others: Vec<u8> = bytes.iter().map(|byte| other_letter(*byte)).collect();
    for kind in &KINDS {
        let found = lines(bytes, kind).map_err(|error| error.to_string());
        let of_others = lines(&others, kind).map_err(|error| error.to_string());
        match (found, of_others) {
            (Ok(found), Ok(of_others)) => {
                assert!((1..=MOST).contains(&found.len()) && found.len() == of_others.len());
                let file = String::from_utf8_lossy(bytes);
                let written =
                    file.lines().map(|line| line.trim_matches(|blank: char| blank.is_ascii_whitespace()));
                assert!(written.filter(|line| !line.is_empty()).eq(found.iter().map(AsRef::as_ref)));
                assert!(found.iter().all(|one| LENGTHS.contains(&one.len())));
            }
            (Err(error), Err(of_others)) => assert_eq!(error, of_others),
            (found, of_others) => panic!("{found:?}, and with other letters {of_others:?}"),
        }
    }
}

/// Another letter or digit; anything else is what it was.
fn other_letter(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => b'a' + (byte - b'a' + 1) % 26,
        b'A'..=b'Z' => b'A' + (byte - b'A' + 1) % 26,
        b'0'..=b'9' => b'0' + (byte - b'0' + 1) % 10,
        other => other,
    }
}

/// Base64 in a row that is no word of a message, and numbers in a row that may be bytes.
const TEXT: usize = 24;
const NUMBERS: usize = 4;

/// A file that has a certificate, its key and those of an authority. What cannot be used is said, and nothing of a key.
pub fn tls_files(bytes: &[u8]) {
    for authorities in [None, Some(bytes)] {
        match what_is_made_of(bytes, bytes, authorities) {
            Ok(expires) => assert!(expires >= SystemTime::UNIX_EPOCH),
            Err(error) => {
                let error = causes(&error);
                assert!(error.contains("a-file") && !error.contains(char::is_control), "{error}");
                let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
                let shown = error.as_bytes().split(|byte| !is_base64(byte)).filter(|run| run.len() >= TEXT);
                for run in shown {
                    assert!(!bytes.windows(TEXT).any(|window| window == &run[..TEXT]), "{error}");
                }
                let are_numbers: Vec<bool> = error
                    .split(", ")
                    .map(|word| word.trim_matches(['[', ']']).parse::<u8>().is_ok())
                    .collect();
                assert!(
                    !are_numbers.windows(NUMBERS).any(|row| row.iter().all(|is_number| *is_number)),
                    "{error}"
                );
                assert!(error.len() < 500, "{error}");
            }
        }
    }
}
