//! The file of a reader's position: text, so that people can read it, and in which they can still write one as 0.1.0 had
//! them. FORMAT.md has both layouts.

use std::io;
use std::str::FromStr;

use thiserror::Error;

use super::LAST;
use super::storage::{Storage, read_all, replace};
use crate::release::Release;

/// The end of the names of these files.
const EXTENSION: &str = ".position";

/// How a position begins since version 2; before that it began with a digit.
const NAME: &str = "planet-call-exporter position, version ";

/// The version of the layout that this program writes, and the newest that it reads.
const VERSION: u32 = 2;

/// The oldest release that can read what this one writes.
const OLDEST_READER: Release = Release { major: 0, minor: 2, patch: 0 };

/// How the last line begins.
const CHECKSUM: &str = "crc32 ";

/// What stands before the checksum in version 1.
const CHECKSUM_IN_LINE: &str = " crc32 ";

/// The file of the reader of this name.
pub fn file_name(reader: &str) -> String {
    format!("{reader}{EXTENSION}")
}

/// The reader whose file has this name, if it is one.
pub fn reader(file_name: &str) -> Option<&str> {
    file_name.strip_suffix(EXTENSION)
}

/// What the positions in `storage` prove: every record before this sequence number was on disk when a reader took it. One
/// that a person wrote, without a checksum, proves nothing.
///
/// # Errors
/// The disk fails.
pub(super) fn proven(storage: &impl Storage) -> io::Result<u64> {
    let names = storage.list()?;
    let positions = names.iter().filter(|name| reader(name).is_some());
    // One that cannot be read is the matter of its reader.
    Ok(positions.filter_map(|name| proven_by(&read_all(storage, name).ok()?)).max().unwrap_or(0))
}

/// Notes that what the waiting journal of this reader's sink has is not needed any more. A position that is not there
/// or cannot be read stays as it is.
///
/// # Errors
/// The disk fails.
pub fn forget_waiting(storage: &impl Storage, reader: &str) -> io::Result<()> {
    let file = file_name(reader);
    let bytes = match read_all(storage, &file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        bytes => bytes?,
    };
    match Position::decode(&bytes) {
        Ok(position) if position.waiting_end > 0 => {
            replace(storage, &file, &Position { waiting_end: 0, ..position }.encode())
        }
        _ => Ok(()),
    }
}

fn proven_by(bytes: &[u8]) -> Option<u64> {
    let has_checksum = std::str::from_utf8(bytes).is_ok_and(|text| text.contains(CHECKSUM));
    Position::decode(bytes).ok().filter(|_| has_checksum).map(|position| position.next)
}

/// Why a position cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadPosition {
    /// It is torn or damaged, or what a person wrote makes no sense.
    #[error("its position is damaged")]
    Damaged,
    /// A newer version of this program wrote it, in a layout that this one does not know.
    #[error(
        "its position has version {0} of the layout, and this program knows versions up to {VERSION}; use the newer \
         program"
    )]
    Version(u32),
    /// A newer release wrote something into it that this one would misread.
    #[error(
        "version {writer} of this program wrote its position for version {oldest_reader} or a newer one, and this is version \
         {this}; use version {oldest_reader} or a newer one",
        this = Release::THIS
    )]
    Newer {
        /// The release that wrote it.
        writer: Release,
        /// The oldest release that can read it.
        oldest_reader: Release,
    },
}

/// Where a reader stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The sequence number of the next record.
    pub next: u64,
    /// Those of the records before it that are not finished, in order.
    pub unfinished: Vec<u64>,
    /// The number after the last entry of the waiting journal of the sink that reads; 0 if it has none. What lies before it was
    /// on disk, so it is damage and no torn end if it cannot be read.
    pub waiting_end: u64,
}

impl Position {
    /// The position that a file with these bytes has.
    ///
    /// # Errors
    /// It is damaged, or sound and for a newer release.
    pub fn decode(bytes: &[u8]) -> Result<Position, BadPosition> {
        let text = std::str::from_utf8(bytes).map_err(|_| BadPosition::Damaged)?;
        if !text.starts_with(NAME) {
            return decode_version_1(text.trim_ascii_end()).ok_or(BadPosition::Damaged);
        }
        // Before the version is believed: to refuse a damaged one as newer would be to refuse to start.
        let lines = sound_lines(text).ok_or(BadPosition::Damaged)?;
        let (first, lines) = lines.split_once('\n').ok_or(BadPosition::Damaged)?;
        check_first_line(first)?;
        let (mut next, mut unfinished, mut waiting_end) = (None, Vec::new(), 0);
        for (key, value) in lines.lines().filter_map(|line| line.split_once(' ')) {
            match key {
                "next" => next = Some(value.parse().map_err(|_| BadPosition::Damaged)?),
                "unfinished" => unfinished = numbers(value).ok_or(BadPosition::Damaged)?,
                "waiting" => waiting_end = value.parse().map_err(|_| BadPosition::Damaged)?,
                // A later release has something to say that this one need not know.
                _ => {}
            }
        }
        let position = Position { next: next.ok_or(BadPosition::Damaged)?, unfinished, waiting_end };
        position.in_order().ok_or(BadPosition::Damaged)
    }

    /// The bytes of its file.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!(
            "{NAME}{VERSION}, written by {}, readable from {OLDEST_READER}\nnext {}\n",
            Release::THIS,
            self.next
        );
        if !self.unfinished.is_empty() {
            text.push_str("unfinished");
            self.unfinished.iter().for_each(|sequence| text.push_str(&format!(" {sequence}")));
            text.push('\n');
        }
        if self.waiting_end > 0 {
            text.push_str(&format!("waiting {}\n", self.waiting_end));
        }
        with_checksum(text)
    }

    /// The position, if it is one: what is unfinished comes in order, and before the next record, which a journal can have.
    fn in_order(self) -> Option<Position> {
        let is_in_order =
            self.unfinished.iter().chain([&self.next]).is_sorted_by(|before, after| before < after);
        (is_in_order && self.next.max(self.waiting_end) <= LAST).then_some(self)
    }
}

/// The bytes of a file with these lines and their checksum.
fn with_checksum(lines: String) -> Vec<u8> {
    let checksum = crc32fast::hash(lines.as_bytes());
    format!("{lines}{CHECKSUM}{checksum:08x}\n").into_bytes()
}

/// The bytes with a checksum that fits, so that what is before it is read.
#[cfg(feature = "fuzzing")]
pub(super) fn sealed(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter(|line| !line.starts_with(CHECKSUM));
    with_checksum(lines.map(|line| format!("{line}\n")).collect())
}

/// The lines before the checksum, if it fits.
fn sound_lines(text: &str) -> Option<&str> {
    let text = text.trim_ascii_end();
    let (lines, last) = text.split_at(text.rfind('\n')? + 1);
    let checksum = u32::from_str_radix(last.strip_prefix(CHECKSUM)?, 16).ok()?;
    (checksum == crc32fast::hash(lines.as_bytes())).then_some(lines)
}

/// Whether this release may read what follows a sound first line.
fn check_first_line(line: &str) -> Result<(), BadPosition> {
    let line = line.strip_prefix(NAME).ok_or(BadPosition::Damaged)?;
    let mut parts = line.split(", ");
    let version: u32 = parts.next().and_then(|part| part.parse().ok()).ok_or(BadPosition::Damaged)?;
    if version > VERSION {
        return Err(BadPosition::Version(version));
    }
    let mut release = |before: &str| {
        let release = parts.next().and_then(|part| part.strip_prefix(before));
        release.and_then(|release| Release::from_str(release).ok()).ok_or(BadPosition::Damaged)
    };
    let (writer, oldest_reader) = (release("written by ")?, release("readable from ")?);
    if oldest_reader > Release::THIS {
        return Err(BadPosition::Newer { writer, oldest_reader });
    }
    Ok(())
}

/// Version 1, and what a person writes: the next sequence number, those that are unfinished, and a CRC-32 of these; a person
/// needs none.
fn decode_version_1(line: &str) -> Option<Position> {
    let numbers = match line.split_once(CHECKSUM_IN_LINE) {
        Some((numbers, checksum)) => {
            let checksum = u32::from_str_radix(checksum, 16).ok()?;
            (checksum == crc32fast::hash(numbers.as_bytes())).then_some(numbers)?
        }
        None => line,
    };
    let mut unfinished = self::numbers(numbers)?;
    let next = unfinished.remove(0);
    Position { next, unfinished, waiting_end: 0 }.in_order()
}

/// One or more numbers with a space between them.
fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()
}

/// The bytes of a position as release 0.1.0 wrote it.
#[cfg(test)]
pub(super) fn encode_version_1(position: &Position) -> Vec<u8> {
    let numbers = std::iter::once(&position.next).chain(&position.unfinished).map(u64::to_string);
    let numbers = numbers.collect::<Vec<_>>().join(" ");
    let checksum = crc32fast::hash(numbers.as_bytes());
    format!("{numbers}{CHECKSUM_IN_LINE}{checksum:08x}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_any_change_is_noticed() {
        for unfinished in [vec![], vec![7, 9, 1_000]] {
            let position = Position { next: 1_234, unfinished, waiting_end: 0 };
            for bytes in [position.encode(), encode_version_1(&position)] {
                assert_eq!(Position::decode(&bytes), Ok(position.clone()));
                for at in 0..bytes.len() {
                    for bit in 0..8 {
                        let mut changed = bytes.clone();
                        changed[at] ^= 1 << bit;
                        let decoded = Position::decode(&changed);
                        let is_same = decoded.as_ref() == Ok(&position);
                        assert!(is_same || decoded == Err(BadPosition::Damaged), "bit {bit} of byte {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_torn_one_is_damaged() {
        let bytes = Position { next: 1_234, unfinished: vec![7], waiting_end: 8 }.encode();
        for end in 0..bytes.len() - 1 {
            assert_eq!(Position::decode(&bytes[..end]), Err(BadPosition::Damaged), "cut at {end}");
        }
    }

    #[test]
    fn a_person_may_write_one() {
        assert_eq!(Position::decode(b"0\n"), Ok(Position::default()));
        assert_eq!(
            Position::decode(b"12 3 4"),
            Ok(Position { next: 12, unfinished: vec![3, 4], waiting_end: 0 })
        );
        for wrong in ["", "\n", "-1", "12 4 3", "12 3 3", "12 12", "12 3 crc32", "12  3", "0x1"] {
            assert_eq!(Position::decode(wrong.as_bytes()), Err(BadPosition::Damaged), "{wrong}");
        }
    }

    #[test]
    fn what_the_program_wrote_proves_what_was_on_disk_and_what_a_person_wrote_does_not() {
        let position = Position { next: 1_234, unfinished: vec![7], waiting_end: 0 };
        for bytes in [position.encode(), encode_version_1(&position)] {
            assert_eq!(proven_by(&bytes), Some(1_234));
            assert_eq!(proven_by(&bytes[1..]), None);
        }
        assert_eq!(proven_by(b"1234 7"), None);
    }

    /// What is read of a sound file with these lines behind `planet-call-exporter position, version `.
    fn decode(lines: &str) -> Result<Position, BadPosition> {
        Position::decode(&with_checksum(format!("{NAME}{lines}")))
    }

    #[test]
    fn a_later_release_is_read_if_this_one_may_and_refused_by_name_if_not() {
        let later = "2, written by 65535.0.7, readable from 0.2.0, at noon\nnext 9\nunknown\nsince noon\n\
                     unfinished 3 4\n";
        assert_eq!(decode(later), Ok(Position { next: 9, unfinished: vec![3, 4], waiting_end: 0 }));

        let newer =
            decode("2, written by 65535.0.7, readable from 65535.0.1\nnext 9\n").expect_err("a newer one");
        assert_eq!(
            newer.to_string(),
            format!(
                "version 65535.0.7 of this program wrote its position for version 65535.0.1 or a newer one, and this is \
                 version {}; use version 65535.0.1 or a newer one",
                Release::THIS
            )
        );
        assert_eq!(decode("3\nwho knows\n"), Err(BadPosition::Version(3)));
    }

    #[test]
    fn a_sound_checksum_does_not_make_a_position() {
        let first_line = "2, written by 0.2.0, readable from 0.2.0\n";
        let far = LAST + 1;
        let (far_next, far_end) = (format!("next {far}\n"), format!("next 9\nwaiting {far}\n"));
        let misplaced = ["next 9\nunfinished 9\n", "next 9\nunfinished 4 3\n", &far_next, &far_end];
        for lines in ["", "next\n", "next nine\n"].into_iter().chain(misplaced) {
            assert_eq!(decode(&format!("{first_line}{lines}")), Err(BadPosition::Damaged), "{lines}");
        }
        for first_line in ["2\n", "two\n", "2, written by me, readable from 0.2.0\n", "2, written by 0.2.0\n"]
        {
            assert_eq!(decode(&format!("{first_line}next 9\n")), Err(BadPosition::Damaged), "{first_line}");
        }
    }
}
