//! A callback as the journal keeps it: of which kind it is, when it was received, its key, how it came, and its query string
//! byte for byte. `journal/FORMAT.md` has the layout.

use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::{CallEvent, Key, Kind, NotACall};

/// The layout of release 0.1.0 without an envelope, which is always a call event: this byte, the time of receipt in
/// milliseconds since the Unix epoch as eight bytes, the sixteen bytes of the key, then the query string. Here and below,
/// numbers have the most significant byte first.
const PLAIN: u8 = 1;

/// The layout of release 0.1.0 with an envelope: before the query string stand the length of the envelope, as four bytes,
/// and the envelope.
const WITH_ENVELOPE: u8 = 2;

/// The layout since release 0.2.0: this byte, the kind as one byte, the length of the fields that follow as two bytes, the
/// fields (time of receipt, key, length of the envelope, and whatever a later release adds), the envelope, the query string.
const WITH_KIND: u8 = 3;

/// Bytes of the time of receipt and the key.
const TIME_AND_KEY: usize = 8 + 16;

/// Bytes of the fields that this release knows.
const FIELDS: usize = TIME_AND_KEY + 4;

/// Bytes of the field behind those: the status of an answer, as two bytes. A record has it only if its event was passed on
/// before it was stored. A release that does not know it delivers the event once more.
const ANSWER: usize = 2;

/// Why bytes are not a record that this program can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnreadableRecord {
    /// Too short for a record.
    #[error("a record of {0} bytes ends before its fields do")]
    TooShort(usize),
    /// Written by a newer version of this program.
    #[error(
        "the record has version {0}, and this program knows versions up to {WITH_KIND}; use the newer program"
    )]
    Version(u8),
    /// A kind of callback that this program does not know.
    #[error("the record is of a kind of callback that this program does not know, number {0}")]
    Kind(u8),
    /// The query is not that of a call event.
    #[error("the recorded request is not a call event: {0}")]
    NotACall(#[from] NotACall),
}

/// A recorded callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Which callback it is.
    pub kind: Kind,
    /// When it was received.
    pub received_at: SystemTime,
    /// What makes it the same event when it comes again.
    pub key: Key,
    /// What else of the request is needed to pass it on; empty if it need not be. Whoever passes it on knows what is in it.
    pub envelope: &'a [u8],
    /// The event's query string as it came, without a query that the URL was registered with.
    pub query: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a record of this or an earlier release.
    ///
    /// # Errors
    /// Bytes that are too short, of another version, or of a kind that this program does not know.
    pub fn decode(bytes: &'a [u8]) -> Result<Record<'a>, UnreadableRecord> {
        let too_short = || UnreadableRecord::TooShort(bytes.len());
        let (&version, rest) = bytes.split_first().ok_or_else(too_short)?;
        let (kind, fields, rest) = match version {
            PLAIN | WITH_ENVELOPE => {
                let (fields, rest) = rest.split_at_checked(TIME_AND_KEY).ok_or_else(too_short)?;
                (Kind::CallEvent, fields, rest)
            }
            WITH_KIND => {
                let (&[kind, high, low], rest) = rest.split_first_chunk().ok_or_else(too_short)?;
                let kind = Kind::from_number(kind).ok_or(UnreadableRecord::Kind(kind))?;
                let length = usize::from(u16::from_be_bytes([high, low]));
                let (fields, rest) = rest.split_at_checked(length).ok_or_else(too_short)?;
                (kind, fields, rest)
            }
            version => return Err(UnreadableRecord::Version(version)),
        };
        let (&time, fields) = fields.split_first_chunk().ok_or_else(too_short)?;
        let (&key, fields) = fields.split_first_chunk().ok_or_else(too_short)?;
        let (envelope_length, rest) = match version {
            PLAIN => (0, rest),
            WITH_ENVELOPE => {
                let (&length, rest) = rest.split_first_chunk().ok_or_else(too_short)?;
                (u32::from_be_bytes(length), rest)
            }
            _ => {
                let (&length, _) = fields.split_first_chunk().ok_or_else(too_short)?;
                (u32::from_be_bytes(length), rest)
            }
        };
        let (envelope, query) = rest.split_at_checked(envelope_length as usize).ok_or_else(too_short)?;
        let since_epoch = Duration::from_millis(u64::from_be_bytes(time));
        let received_at = SystemTime::UNIX_EPOCH.checked_add(since_epoch).unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Record { kind, received_at, key: Key::from_bytes(key), envelope, query })
    }

    /// The record as bytes.
    pub fn encode(&self) -> Bytes {
        let since_epoch = self.received_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut record = BytesMut::with_capacity(1 + 3 + FIELDS + self.envelope.len() + self.query.len());
        record.put_u8(WITH_KIND);
        record.put_u8(self.kind.number());
        record.put_u16(FIELDS as u16);
        record.put_u64(since_epoch.as_millis() as u64);
        record.put_slice(&self.key.bytes());
        record.put_u32(self.envelope.len() as u32);
        record.put_slice(self.envelope);
        record.put_slice(self.query);
        record.freeze()
    }

    /// The call event, as it was read when it came.
    ///
    /// # Errors
    /// The query is not that of a call event.
    pub fn call_event(&self) -> Result<CallEvent<'a>, UnreadableRecord> {
        Ok(CallEvent::read(self.query, self.received_at)?)
    }
}

/// The record, which [`Record::encode`] made, with the status of the service's answer: what the service said of the event for
/// good before it was stored. One that has an answer keeps it.
pub fn with_answer(record: &Bytes, status: u16) -> Bytes {
    if answer(record).is_some() {
        return record.clone();
    }
    let (head, rest) = record.split_at_checked(4 + FIELDS).unwrap_or((record, &[]));
    let mut answered = BytesMut::with_capacity(record.len() + ANSWER);
    answered.put_slice(head);
    if let Some(length) = answered.get_mut(2..4) {
        length.copy_from_slice(&((FIELDS + ANSWER) as u16).to_be_bytes());
    }
    answered.put_u16(status);
    answered.put_slice(rest);
    answered.freeze()
}

/// The status of the service's answer, if the record has one.
pub fn answer(record: &[u8]) -> Option<u16> {
    let (&[version, _, high, low], rest) = record.split_first_chunk()?;
    let fields = rest.get(..usize::from(u16::from_be_bytes([high, low])))?;
    let status = fields.get(FIELDS..FIELDS + ANSWER).filter(|_| version == WITH_KIND)?;
    Some(u16::from_be_bytes(status.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] = b"sid=6364e8b3-bdac-436e-9631-0bce2498ce0c&duration=1&app_svr_data=%00";

    fn record<'a>(envelope: &'a [u8], query: &'a [u8]) -> Record<'a> {
        let received_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_582_527_434_567);
        Record { kind: Kind::CallEvent, received_at, key: Key::from_bytes([7; 16]), envelope, query }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for envelope in [&b""[..], b"how it came"] {
            let record = record(envelope, QUERY);
            let bytes = record.encode();
            assert_eq!(Record::decode(&bytes), Ok(record));
            let event = CallEvent::read(QUERY, record.received_at).expect("a call");
            assert_eq!(record.call_event(), Ok(event));
            for end in 0..bytes.len() - QUERY.len() {
                assert_eq!(Record::decode(&bytes[..end]), Err(UnreadableRecord::TooShort(end)));
            }
        }
    }

    #[test]
    fn a_record_may_have_an_answer_and_is_the_same_otherwise() {
        for envelope in [&b""[..], b"how it came"] {
            let record = record(envelope, QUERY);
            let bytes = record.encode();
            let answered = with_answer(&bytes, 404);
            assert_eq!(Record::decode(&answered), Ok(record));
            assert_eq!((answer(&bytes), answer(&answered)), (None, Some(404)));
            for end in 0..4 + FIELDS + ANSWER {
                assert_eq!(answer(&answered[..end]), None);
            }
        }
        let plain = [&[1], &[0; TIME_AND_KEY][..], QUERY].concat();
        assert_eq!(answer(&plain), None);
    }

    #[test]
    fn what_release_0_1_0_wrote_is_read() {
        let head = [&1_582_527_434_567u64.to_be_bytes()[..], &[7; 16]].concat();
        let plain = [&[1], &head[..], QUERY].concat();
        assert_eq!(Record::decode(&plain), Ok(record(b"", QUERY)));
        let with_envelope = [&[2], &head[..], &[0, 0, 0, 3], b"how", QUERY].concat();
        assert_eq!(Record::decode(&with_envelope), Ok(record(b"how", QUERY)));
        assert_eq!(Record::decode(&with_envelope[..28]), Err(UnreadableRecord::TooShort(28)));
    }

    #[test]
    fn a_later_release_may_add_fields_but_not_kinds() {
        let bytes = record(b"how", QUERY).encode();
        let mut later = bytes.to_vec();
        later[3] += 2;
        later.splice(4 + FIELDS..4 + FIELDS, [1, 2]);
        assert_eq!(Record::decode(&later), Ok(record(b"how", QUERY)));
        later[1] = 200;
        assert_eq!(Record::decode(&later), Err(UnreadableRecord::Kind(200)));
        later[0] = 9;
        assert_eq!(Record::decode(&later), Err(UnreadableRecord::Version(9)));
    }
}
