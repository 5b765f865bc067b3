//! A segment: one file of the journal.
//!
//! It begins with a `head`. Records follow, each in a frame: a CRC-32 of the rest of the frame, the length of the record, its
//! sequence number, its place in its batch, and the record. Numbers have the least significant byte first; FORMAT.md has an
//! example. Behind the last frame a file may go on with zeros, which are no frame: the checksum of one is never 0.
//!
//! A batch is written and synced as one before the next begins. So a bad frame with nothing of a later batch
//! behind it is the torn end of a batch that was never acknowledged; with something of a later batch behind it, it is damage.

/// Bytes of a frame beside the record.
pub(super) const FRAME_HEAD: usize = 4 + 4 + 8 + 4;

/// The longest record.
pub const LONGEST_RECORD: usize = 128 * 1024;

/// The longest frame.
pub(super) const LONGEST_FRAME: usize = FRAME_HEAD + LONGEST_RECORD;

/// Appends the frame of a record to `buffer`.
pub(super) fn write_frame(buffer: &mut Vec<u8>, sequence: u64, place: u32, record: &[u8]) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&(record.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&sequence.to_le_bytes());
    buffer.extend_from_slice(&place.to_le_bytes());
    buffer.extend_from_slice(record);
    let checksum = crc32fast::hash(&buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// A record in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) sequence: u64,
    /// Its place in its batch.
    pub(super) place: u32,
    pub(super) record: &'a [u8],
}

impl Frame<'_> {
    /// The sequence number of the first record of its batch.
    pub(super) fn batch(&self) -> u64 {
        self.sequence.saturating_sub(self.place.into())
    }

    /// Bytes of the whole frame.
    pub(super) fn size(&self) -> usize {
        FRAME_HEAD + self.record.len()
    }
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A whole and sound frame.
    Frame(Frame<'a>),
    /// The bytes end before the frame does.
    Short,
    /// No frame.
    Bad,
}

/// Reads the frame at the beginning of `bytes`.
pub(super) fn read_frame(bytes: &[u8]) -> Next<'_> {
    let Some(head) = bytes.get(..FRAME_HEAD) else { return Next::Short };
    let length = number(&head[4..8]) as usize;
    if length > LONGEST_RECORD {
        return Next::Bad;
    }
    let Some(frame) = bytes.get(..FRAME_HEAD + length) else { return Next::Short };
    if u64::from(crc32fast::hash(&frame[4..])) != number(&head[..4]) {
        return Next::Bad;
    }
    let (sequence, place) = (number(&head[8..16]), number(&head[16..20]) as u32);
    Next::Frame(Frame { sequence, place, record: &frame[FRAME_HEAD..] })
}

/// The bytes with checksums that fit, from frame to frame as their lengths say.
#[cfg(feature = "fuzzing")]
pub(super) fn seal(bytes: &mut [u8]) {
    let mut rest = bytes;
    while rest.len() >= FRAME_HEAD {
        let length = FRAME_HEAD + number(&rest[4..8]) as usize;
        let Some((frame, behind)) = rest.split_at_mut_checked(length) else { return };
        let checksum = crc32fast::hash(&frame[4..]);
        frame[..4].copy_from_slice(&checksum.to_le_bytes());
        rest = behind;
    }
}

/// The offset of the next sound frame in `bytes` with a sequence number in `expected`, beyond the first byte.
pub(super) fn find_frame(bytes: &[u8], expected: std::ops::Range<u64>) -> Option<usize> {
    (1..bytes.len()).find(|offset| {
        let at = &bytes[*offset..];
        // The sequence number is looked at first, since it is cheap and nearly always settles the matter.
        at.get(8..16).is_some_and(|sequence| expected.contains(&number(sequence)))
            && matches!(read_frame(at), Next::Frame(_))
    })
}

/// How many of these bytes come before the zeros at their end.
pub(super) fn without_zeros(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut rest = bytes;
    // There may be megabytes of them.
    while let Some(before) = rest.strip_suffix(&ZEROS) {
        rest = before;
    }
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Up to eight bytes as a number, the least significant first.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_frame_is_read_as_it_was_written(sequence: u64, place: u32, record: Vec<u8>) {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, sequence, place, &record);
            let frame = Frame { sequence, place, record: &record };
            prop_assert_eq!(read_frame(&bytes), Next::Frame(frame));
            prop_assert_eq!(frame.size(), bytes.len());
            for end in 0..bytes.len() {
                prop_assert_eq!(read_frame(&bytes[..end]), Next::Short);
            }
        }

        #[test]
        fn a_flipped_bit_is_noticed(record in prop::collection::vec(any::<u8>(), 1..100), at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, 7, 0, &record);
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert!(!matches!(read_frame(&bytes), Next::Frame(_)));
        }

        /// So a file of zeros has no frame, wherever one is looked for.
        #[test]
        fn zeros_are_no_frame(before: Vec<u8>, zeros in FRAME_HEAD..1_000) {
            let zeros = vec![0; zeros];
            prop_assert_eq!(read_frame(&zeros), Next::Bad);
            let bytes = [&before[..], &zeros].concat();
            prop_assert_eq!(find_frame(&bytes, 0..u64::MAX), None);
            prop_assert_eq!(without_zeros(&bytes), without_zeros(&before));
            prop_assert!(before[without_zeros(&before)..].iter().all(|byte| *byte == 0));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
            prop_assert!(!matches!(read_frame(&bytes), Next::Frame(_)));
            prop_assert_eq!(find_frame(&bytes, 0..u64::MAX), None);
        }
    }
}
