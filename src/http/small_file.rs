//! Files that whoever operates the exporter writes and renews, such as certificates, keys and secrets.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a file of at most this many bytes.
///
/// # Errors
/// It cannot be read, or is larger: a part of it could pass for the whole.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 <= most {
        true => Ok(bytes),
        false => {
            let expected = format!("expected {most} bytes at most, and it has more");
            Err(io::Error::new(io::ErrorKind::FileTooLarge, expected))
        }
    }
}
