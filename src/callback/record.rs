//! A call event as the journal keeps it: when it was received, which call it is, how it came, and its query string byte for
//! byte.

use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::{CallEvent, NotACall, Sid};

/// The layout of a record without an envelope: this byte, the time of receipt in milliseconds since the Unix epoch as eight
/// bytes with the most significant first, the sixteen bytes of the sid, then the query string.
const PLAIN: u8 = 1;

/// The layout of a record with an envelope: before the query string stand the length of the envelope, as four bytes with
/// the most significant first, and the envelope.
const WITH_ENVELOPE: u8 = 2;

const HEAD: usize = 1 + 8 + 16;

/// Why bytes are not a record that this program can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnreadableRecord {
    /// Too short for a record.
    #[error("a record of a call event has at least {HEAD} bytes, this one has {0}")]
    TooShort(usize),
    /// Written by a newer version of this program.
    #[error(
        "the record has version {0}, and this program knows versions up to {WITH_ENVELOPE}; use the newer program"
    )]
    Version(u8),
    /// The query is not that of a call event.
    #[error("the recorded request is not a call event: {0}")]
    NotACall(#[from] NotACall),
}

/// A recorded call event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When the event was received.
    pub received_at: SystemTime,
    /// The call's identity.
    pub sid: Sid,
    /// What else of the request is needed to pass it on; empty if it need not be. Whoever passes it on knows what is in it.
    pub envelope: &'a [u8],
    /// The query string as it came.
    pub query: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a record.
    ///
    /// # Errors
    /// Bytes that are too short, or of another version.
    pub fn decode(bytes: &'a [u8]) -> Result<Record<'a>, UnreadableRecord> {
        let version = *bytes.first().ok_or(UnreadableRecord::TooShort(0))?;
        let too_short = || UnreadableRecord::TooShort(bytes.len());
        let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or_else(too_short)?;
        let (envelope, query) = match version {
            PLAIN => (&[][..], rest),
            WITH_ENVELOPE => {
                let (length, rest) = rest.split_first_chunk().ok_or_else(too_short)?;
                rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(too_short)?
            }
            version => return Err(UnreadableRecord::Version(version)),
        };
        let time = u64::from_be_bytes(std::array::from_fn(|at| head[1 + at]));
        let received_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(time));
        let sid = Sid::from_bytes(std::array::from_fn(|at| head[9 + at]));
        Ok(Record { received_at: received_at.unwrap_or(SystemTime::UNIX_EPOCH), sid, envelope, query })
    }

    /// The call event, as it was read when it came.
    ///
    /// # Errors
    /// The query is not that of a call event.
    pub fn event(&self) -> Result<CallEvent<'a>, UnreadableRecord> {
        Ok(CallEvent::read(self.query, self.received_at)?)
    }
}

/// The record of a call event that came with `query`. An empty `envelope` is none.
pub fn encode(event: &CallEvent<'_>, envelope: &[u8], query: &[u8]) -> Bytes {
    let since_epoch = event.received_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut record = BytesMut::with_capacity(HEAD + size_of::<u32>() + envelope.len() + query.len());
    record.put_u8(if envelope.is_empty() { PLAIN } else { WITH_ENVELOPE });
    record.put_u64(since_epoch.as_millis() as u64);
    record.put_slice(&event.sid.bytes());
    if !envelope.is_empty() {
        record.put_u32(envelope.len() as u32);
        record.put_slice(envelope);
    }
    record.put_slice(query);
    record.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let received_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_582_527_434_567);
        let query = b"sid=6364e8b3-bdac-436e-9631-0bce2498ce0c&duration=1&app_svr_data=%00";
        let event = CallEvent::read(query, received_at).expect("a call");
        for envelope in [&b""[..], b"how it came"] {
            let record = encode(&event, envelope, query);
            assert_eq!(Record::decode(&record), Ok(Record { received_at, sid: event.sid, envelope, query }));
            assert_eq!(Record::decode(&record).and_then(|record| record.event()), Ok(event.clone()));
            assert_eq!(Record::decode(&record[..3]), Err(UnreadableRecord::TooShort(3)));
        }
        let record = encode(&event, b"how it came", query);
        assert_eq!(Record::decode(&record[..30]), Err(UnreadableRecord::TooShort(30)));
        assert_eq!(Record::decode(&[9; 40]), Err(UnreadableRecord::Version(9)));
    }
}
