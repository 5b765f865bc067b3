//! The head of a segment: what the file is, which release wrote it, which ones can read it, and where its records begin.
//!
//! Its first 24 bytes have been the same in every version of the layout, and 0.1.0 knows only these; so a release that
//! cannot read a segment can still tell that it is sound, and refuses it rather than take it for damaged. What follows
//! says its own length, and later fields that this release does not know are passed over. FORMAT.md has the bytes.

use thiserror::Error;

use super::segment::{find_frame, number};
use crate::release::Release;

/// How a segment begins.
pub(super) const MAGIC: [u8; 8] = *b"PLANETJ\n";

/// The version of the layout that this program writes, and the newest that it reads.
const VERSION: u32 = 2;

/// Bytes of what every version has: the magic, the version, the first sequence number, and the CRC-32 of these.
const COMMON: usize = 8 + 4 + 8 + 4;

/// Bytes of the length of the rest, which begins behind it.
const LENGTH: usize = 4;

/// Bytes of a rest without later fields: the writer, the oldest reader, and the CRC-32 of the rest with its length.
const SHORTEST_REST: usize = 6 + 6 + CHECKSUM;

/// The most bytes of a rest; a damaged length is not to make a reader look further.
const LONGEST_REST: usize = 4096;

const CHECKSUM: usize = 4;

/// Bytes of the longest head that any release may write.
pub(super) const LONGEST: usize = COMMON + LENGTH + LONGEST_REST;

/// Bytes of the longest head that this release or an older one writes.
pub(super) const SIZE: usize = COMMON + LENGTH + SHORTEST_REST;

/// The only release that wrote version 1.
const WRITER_OF_VERSION_1: Release = Release { major: 0, minor: 1, patch: 0 };

/// The oldest release that can read what this one writes.
const OLDEST_READER: Release = Release { major: 0, minor: 2, patch: 0 };

/// Why a file is not a segment that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadHead {
    /// Its head is not whole: it was being made when the machine died, or is damaged.
    #[error("its head is torn or damaged")]
    Torn,
    /// It begins with something else.
    #[error("it does not begin as a segment does")]
    Foreign,
    /// A newer version of this program wrote it, in a layout that this one does not know.
    #[error(
        "it has version {0} of the layout, and this program knows versions up to {VERSION}; use the newer program"
    )]
    Version(u32),
    /// A newer release wrote something into it that this one would misread.
    #[error(
        "version {writer} of this program wrote it for version {oldest_reader} or a newer one, and this is version {this}; \
         use version {oldest_reader} or a newer one",
        this = Release::THIS
    )]
    Newer {
        /// The release that wrote it.
        writer: Release,
        /// The oldest release that can read it.
        oldest_reader: Release,
    },
}

impl BadHead {
    /// Whether it is sound, and for a newer program.
    pub(super) fn is_newer(self) -> bool {
        matches!(self, BadHead::Version(_) | BadHead::Newer { .. })
    }
}

/// What a sound head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The sequence number of the segment's first record.
    pub(super) first: u64,
    /// The release that wrote the segment.
    pub(super) writer: Release,
    /// Its bytes: the records begin behind them.
    pub(super) size: usize,
}

/// The head of a segment of this release, whose first record has this sequence number.
pub(super) fn encode(first: u64) -> Vec<u8> {
    encode_as(first, Release::THIS, OLDEST_READER, &[])
}

/// A head of any writer and oldest reader, with the bytes of later fields.
pub(super) fn encode_as(first: u64, writer: Release, oldest_reader: Release, later: &[u8]) -> Vec<u8> {
    let mut head = common(first, VERSION).to_vec();
    head.extend_from_slice(&((SHORTEST_REST + later.len()) as u32).to_le_bytes());
    for Release { major, minor, patch } in [writer, oldest_reader] {
        for number in [major, minor, patch] {
            head.extend_from_slice(&number.to_le_bytes());
        }
    }
    head.extend_from_slice(later);
    let checksum = crc32fast::hash(&head[COMMON..]);
    head.extend_from_slice(&checksum.to_le_bytes());
    head
}

/// What every version of the layout begins with, and all that version 1 has.
pub(super) fn common(first: u64, version: u32) -> [u8; COMMON] {
    let mut head = [0; COMMON];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&version.to_le_bytes());
    head[12..20].copy_from_slice(&first.to_le_bytes());
    let checksum = crc32fast::hash(&head[..20]);
    head[20..].copy_from_slice(&checksum.to_le_bytes());
    head
}

/// Reads the head at the beginning of a segment.
pub(super) fn read(bytes: &[u8]) -> Result<Head, BadHead> {
    let (common, rest) = bytes.split_first_chunk::<COMMON>().ok_or(BadHead::Torn)?;
    if common[..8] != MAGIC {
        return Err(BadHead::Foreign);
    }
    // Looked at before the version, which a torn head could seem to have.
    if u64::from(crc32fast::hash(&common[..20])) != number(&common[20..]) {
        return Err(BadHead::Torn);
    }
    let first = number(&common[12..20]);
    match number(&common[8..12]) as u32 {
        1 => Ok(Head { first, writer: WRITER_OF_VERSION_1, size: COMMON }),
        VERSION => {
            let (writer, size) = read_rest(rest)?;
            Ok(Head { first, writer, size: COMMON + size })
        }
        version => Err(BadHead::Version(version)),
    }
}

/// Reads what version 2 adds, and answers the writer and the bytes of it all.
fn read_rest(bytes: &[u8]) -> Result<(Release, usize), BadHead> {
    let length = number(bytes.get(..LENGTH).ok_or(BadHead::Torn)?) as usize;
    if !(SHORTEST_REST..=LONGEST_REST).contains(&length) {
        return Err(BadHead::Torn);
    }
    let rest = bytes.get(..LENGTH + length).ok_or(BadHead::Torn)?;
    let (protected, checksum) = rest.split_at(rest.len() - CHECKSUM);
    if u64::from(crc32fast::hash(protected)) != number(checksum) {
        return Err(BadHead::Torn);
    }
    let release = |at: usize| {
        let number = |place: usize| number(&protected[at + 2 * place..at + 2 * place + 2]) as u16;
        Release { major: number(0), minor: number(1), patch: number(2) }
    };
    let (writer, oldest_reader) = (release(LENGTH), release(LENGTH + 6));
    if oldest_reader > Release::THIS {
        return Err(BadHead::Newer { writer, oldest_reader });
    }
    Ok((writer, rest.len()))
}

/// Gives a head checksums that fit, and returns where the records begin behind it.
#[cfg(feature = "fuzzing")]
pub(super) fn seal(bytes: &mut [u8]) -> usize {
    let Some((common, rest)) = bytes.split_first_chunk_mut::<COMMON>() else { return bytes.len() };
    let checksum = crc32fast::hash(&common[..20]);
    common[20..].copy_from_slice(&checksum.to_le_bytes());
    if number(&common[8..12]) as u32 != VERSION {
        return COMMON;
    }
    let length = rest.get(..LENGTH).map_or(0, number) as usize;
    if length < SHORTEST_REST || rest.len() < LENGTH + length {
        return COMMON;
    }
    let (protected, checksum) = rest[..LENGTH + length].split_at_mut(LENGTH + length - CHECKSUM);
    checksum.copy_from_slice(&crc32fast::hash(protected).to_le_bytes());
    COMMON + LENGTH + length
}

/// Where the records of a segment begin whose head is damaged: at the frame of the first one, or else, where that is
/// damaged as well, no earlier than behind the shortest head.
pub(super) fn find_records(bytes: &[u8], first: u64) -> usize {
    let found = find_frame(bytes, first..first.saturating_add(1)).filter(|offset| *offset <= LONGEST);
    found.unwrap_or(COMMON).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::segment::write_frame;

    fn release(text: &str) -> Release {
        text.parse().expect("a release")
    }

    /// How release 0.1.0 reads a head.
    fn read_as_0_1_0(bytes: &[u8]) -> Result<u64, BadHead> {
        let head = bytes.get(..24).ok_or(BadHead::Torn)?;
        if head[..8] != MAGIC {
            return Err(BadHead::Foreign);
        }
        if u64::from(crc32fast::hash(&head[..20])) != number(&head[20..]) {
            return Err(BadHead::Torn);
        }
        match number(&head[8..12]) as u32 {
            1 => Ok(number(&head[12..20])),
            version => Err(BadHead::Version(version)),
        }
    }

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let head = encode(42);
        assert_eq!(read(&head), Ok(Head { first: 42, writer: Release::THIS, size: SIZE }));
        assert_eq!(read(&[head.as_slice(), b"records"].concat()), read(&head));
        for end in 0..SIZE {
            assert_eq!(read(&head[..end]), Err(BadHead::Torn), "cut at {end}");
        }
        assert_eq!(read(&[0; SIZE]), Err(BadHead::Foreign));
    }

    #[test]
    fn a_head_of_0_1_0_is_read() {
        let head = Head { first: 42, writer: release("0.1.0"), size: 24 };
        assert_eq!(read(&common(42, 1)), Ok(head));
        assert_eq!(read(&[&common(42, 1)[..], b"records"].concat()), Ok(head));
    }

    #[test]
    fn release_0_1_0_refuses_a_sound_head_and_takes_it_neither_for_its_own_nor_for_damaged() {
        assert_eq!(read_as_0_1_0(&encode(42)), Err(BadHead::Version(2)));
        assert_eq!(read_as_0_1_0(&common(42, 1)), Ok(42));
    }

    #[test]
    fn a_later_layout_is_refused() {
        assert_eq!(read(&common(42, 3)), Err(BadHead::Version(3)));
        assert!(BadHead::Version(3).is_newer());
    }

    #[test]
    fn a_later_release_is_read_if_this_one_may_and_refused_by_name_if_not() {
        let later = release("65535.0.7");
        let head = encode_as(42, later, Release::THIS, b"a field");
        assert_eq!(read(&head), Ok(Head { first: 42, writer: later, size: SIZE + 7 }));

        let refused = read(&encode_as(42, later, release("65535.0.1"), b"")).expect_err("a newer head");
        assert!(refused.is_newer());
        assert_eq!(
            refused.to_string(),
            format!(
                "version 65535.0.7 of this program wrote it for version 65535.0.1 or a newer one, and this is version {}; \
                 use version 65535.0.1 or a newer one",
                Release::THIS
            )
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_none_seems_to_be_a_newer_release() {
        let later = encode_as(7, Release::THIS, OLDEST_READER, b"later fields");
        for head in [common(7, 1).to_vec(), encode(7), later] {
            for at in 0..head.len() {
                for bit in 0..8 {
                    let mut changed = head.clone();
                    changed[at] ^= 1 << bit;
                    // Behind it stand records, into which a damaged length may reach.
                    changed.extend_from_slice(&[0xa5; LONGEST_REST]);
                    let outcome = read(&changed);
                    let is_noticed = matches!(outcome, Err(BadHead::Torn | BadHead::Foreign));
                    assert!(is_noticed, "bit {bit} of byte {at}: {outcome:?}");
                }
            }
        }
    }

    #[test]
    fn behind_a_damaged_head_the_records_are_found() {
        for mut bytes in
            [common(7, 1).to_vec(), encode(7), encode_as(7, Release::THIS, OLDEST_READER, &[1; 4_000])]
        {
            let size = bytes.len();
            (7..9).for_each(|sequence| write_frame(&mut bytes, sequence, 0, b"record"));
            bytes[9] ^= 1;
            assert_eq!(find_records(&bytes, 7), size);
            bytes[size] ^= 1;
            assert_eq!(find_records(&bytes, 7), COMMON, "the first one is damaged as well");
        }
        assert_eq!(find_records(b"short", 7), 5);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>, first: u64) {
            prop_assert!(read(&bytes).is_err());
            prop_assert!(read(&[&common(first, VERSION)[..], &bytes].concat()).is_err());
            prop_assert!(find_records(&bytes, first) <= bytes.len());
        }
    }
}
