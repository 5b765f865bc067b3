//! A call event as the journal keeps it: when it was received, and its query string byte for byte.

use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// The layout that this program writes: this byte, the time of receipt in milliseconds since the Unix epoch as eight
/// bytes with the most significant first, then the query string.
const VERSION: u8 = 1;
const HEAD: usize = 1 + 8;

/// Why bytes are not a record that this program can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnreadableRecord {
    /// Too short for a record.
    #[error("a record of a call event has at least {HEAD} bytes, this one has {0}")]
    TooShort(usize),
    /// Written by a newer version of this program.
    #[error("the record has version {0}, this program knows version {VERSION} only")]
    Version(u8),
}

/// The record of a call event.
pub fn encode(received_at: SystemTime, query: &[u8]) -> Bytes {
    let since_epoch = received_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut record = BytesMut::with_capacity(HEAD + query.len());
    record.put_u8(VERSION);
    record.put_u64(since_epoch.as_millis() as u64);
    record.put_slice(query);
    record.freeze()
}

/// The time of receipt and the query string of a record.
///
/// # Errors
/// Bytes that are too short, or of another version.
pub fn decode(record: &[u8]) -> Result<(SystemTime, &[u8]), UnreadableRecord> {
    let (head, query) = record.split_first_chunk::<HEAD>().ok_or(UnreadableRecord::TooShort(record.len()))?;
    let [version, time @ ..] = *head;
    if version != VERSION {
        return Err(UnreadableRecord::Version(version));
    }
    let time = Duration::from_millis(u64::from_be_bytes(time));
    let received_at = SystemTime::UNIX_EPOCH.checked_add(time).unwrap_or(SystemTime::UNIX_EPOCH);
    Ok((received_at, query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let received_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_582_527_434_567);
        assert_eq!(decode(&encode(received_at, b"sid=1&x=%00")), Ok((received_at, &b"sid=1&x=%00"[..])));
        assert_eq!(decode(&[VERSION; 3]), Err(UnreadableRecord::TooShort(3)));
        assert_eq!(decode(&[9; 20]), Err(UnreadableRecord::Version(9)));
    }
}
