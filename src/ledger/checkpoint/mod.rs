//! The checkpoint: the ledger as bytes, with the position in the journal up to which it is folded.
//!
//! A line that says what it is, its version, and the CRC-32 of these and of the rest; then JSON, so that people can read it.
//! The JSON begins with the release that wrote it and the oldest one that can read it, which are looked at before anything
//! else. Fields may be added as long as an older reader may overlook them; what it may not, raises the oldest reader.
//!
//! A checkpoint is *damaged* if its checksum does not fit. One whose checksum fits is as it was written, and if this program
//! cannot read it, another one can: it is refused, with what to do, and never set aside.

mod contents;
mod older;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Ledger, Limits};
use crate::journal::LAST;
use crate::metrics::birth::Birth;
use crate::release::{NotARelease, Release};

const NAME: &str = "planet-call-exporter ledger checkpoint";

/// The version of the first line, and of what stands in the JSON beside the releases.
const VERSION: u32 = 3;

/// The version whose CRC-32 is that of the JSON alone.
const VERSION_WITH_UNPROTECTED_LINE: u32 = 1;

/// The last version that does not name its writer, and the release that wrote it.
const VERSION_WITHOUT_RELEASES: u32 = 2;
const ITS_WRITER: Release = Release { major: 0, minor: 1, patch: 0 };

/// The oldest release that can read what this one writes.
const OLDEST_READER: Release = Release { major: 0, minor: 2, patch: 0 };

/// What stands before the checksum.
const CHECKSUM: &str = ", crc32 ";

/// A ledger, and where the journal goes on from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The sequence number of the first record of the journal that is not in the ledger.
    pub position: u64,
    /// The totals.
    pub ledger: Ledger,
    /// What readers of metrics were shown of them; `None` if an older release wrote it, which did not know.
    pub marks: Option<Marks>,
}

/// What readers of metrics were shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// What was born up to then is shown at its value to everybody.
    pub old: Birth,
    /// What metrics were pushed as last, if they were.
    #[serde(default)]
    pub pushed_as: Option<String>,
    /// What was born up to then is pushed without the time of its start.
    #[serde(default)]
    pub without_start: Birth,
    /// Each reader's.
    pub readers: Vec<Mark>,
}

/// What a reader was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its number in this process.
    #[serde(skip)]
    pub number: u64,
    /// Where it is, and what tells it from others there.
    pub reader: String,
    /// Which program it is.
    pub program: String,
    /// The latest birth of which it was shown the series.
    pub shown: Birth,
    /// When it asked last.
    pub asked_at: SystemTime,
}

/// Why bytes are not a checkpoint that can be used.
#[derive(Debug, Error)]
pub enum UnusableCheckpoint {
    /// Not the first line of one.
    #[error("it does not begin as a checkpoint does: it is damaged")]
    Foreign,
    /// The checksum does not fit.
    #[error("its checksum does not fit: it is damaged")]
    Damaged,
    /// It asks for a newer release.
    #[error(
        "version {writer} of this program wrote it for version {oldest_reader} or a newer one, and this is version {this}; \
         use version {oldest_reader} or a newer one",
        this = Release::THIS
    )]
    Newer {
        /// The release that wrote it.
        writer: String,
        /// The oldest one that can read it.
        oldest_reader: Release,
    },
    /// It has another format.
    #[error(
        "version {writer} of this program wrote it in format {format}, and this is version {this}, which knows formats up \
         to {VERSION}; use version {writer} or a newer one",
        this = Release::THIS
    )]
    Format {
        /// The release that wrote it.
        writer: String,
        /// The version of the format.
        format: u32,
    },
    /// It is whole, but does not say who wrote it.
    #[error(
        "it does not say which version of this program wrote it: {0}; use the version that did, or move the file elsewhere \
         to go on with what the checkpoint before it and the journal have"
    )]
    NoReleases(serde_json::Error),
    /// It is whole, but this program cannot read what is in it.
    #[error(
        "version {writer} of this program wrote it, and this is version {this}, which cannot read it: {reason}; use version \
         {writer}, or move the file elsewhere to go on with what the checkpoint before it and the journal have",
        this = Release::THIS
    )]
    Contents {
        /// The release that wrote it.
        writer: String,
        /// What cannot be read.
        reason: UnreadableContents,
    },
}

impl UnusableCheckpoint {
    /// Whether the bytes are not those that were written. What is not damaged, another release can read.
    pub fn is_damage(&self) -> bool {
        matches!(self, UnusableCheckpoint::Foreign | UnusableCheckpoint::Damaged)
    }
}

/// What of a checkpoint cannot be read.
#[derive(Debug, Error)]
pub enum UnreadableContents {
    /// The JSON is not that of a checkpoint.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The oldest reader is no release.
    #[error("its oldest reader is none: {0}")]
    OldestReader(#[from] NotARelease),
    /// It was folded further than any journal gets.
    #[error("its position is {0}; expected {LAST} at most")]
    Position(u64),
    /// A metric stands in it twice.
    #[error("it has {0} twice")]
    RepeatedTable(String),
    /// A row has a label that this program does not know, or the same one twice.
    #[error("{metric} has an unexpected label {label}")]
    Label {
        /// The metric.
        metric: String,
        /// The name of the label.
        label: String,
    },
    /// Two rows have the same labels.
    #[error("{metric} has two rows with the labels {labels}")]
    RepeatedRow {
        /// The metric.
        metric: String,
        /// The values of the labels.
        labels: String,
    },
    /// A histogram has other buckets than it should, or stands where a number should, or the other way round.
    #[error("{0} has a value that does not fit its kind and its buckets")]
    Total(String),
}

/// What is read first.
#[derive(Deserialize)]
struct Releases {
    writer: String,
    oldest_reader: String,
}

impl Checkpoint {
    /// The totals of an empty journal, of which nobody was shown anything.
    pub fn of(ledger: Ledger) -> Checkpoint {
        Checkpoint { position: 0, ledger, marks: None }
    }

    /// The checkpoint as bytes.
    ///
    /// # Errors
    /// Some value of the ledger has no JSON, which none has.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        Ok(with_first_line(VERSION, &contents::write(self)?))
    }

    /// The checkpoint that was encoded, with the settings that it keeps, and these limits where it keeps none.
    ///
    /// # Errors
    /// The bytes are not a checkpoint, are damaged, or were written by a release that this one cannot follow.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Checkpoint, UnusableCheckpoint> {
        let line_end = bytes.iter().position(|byte| *byte == b'\n').ok_or(UnusableCheckpoint::Foreign)?;
        let (line, contents) = (&bytes[..line_end], &bytes[line_end + 1..]);
        let FirstLine { protected, version, checksum } =
            FirstLine::read(line).ok_or(UnusableCheckpoint::Foreign)?;
        // Before the version is believed: to refuse a damaged one as newer would be to refuse to start.
        if checksum != self::checksum(version, protected.as_bytes(), contents) {
            return Err(UnusableCheckpoint::Damaged);
        }
        if version <= VERSION_WITHOUT_RELEASES {
            let read = older::read(contents, limits);
            let writer = ITS_WRITER.to_string();
            return read.map_err(|reason| UnusableCheckpoint::Contents { writer, reason });
        }
        let writer = check_releases(contents)?;
        if version > VERSION {
            return Err(UnusableCheckpoint::Format { writer, format: version });
        }
        contents::read(contents, limits).map_err(|reason| UnusableCheckpoint::Contents { writer, reason })
    }
}

/// Returns who wrote the JSON, if this release may read it.
fn check_releases(contents: &[u8]) -> Result<String, UnusableCheckpoint> {
    let Releases { writer, oldest_reader } =
        serde_json::from_slice(contents).map_err(UnusableCheckpoint::NoReleases)?;
    match oldest_reader.parse::<Release>() {
        Ok(oldest_reader) if oldest_reader > Release::THIS => {
            Err(UnusableCheckpoint::Newer { writer, oldest_reader })
        }
        Ok(_) => Ok(writer),
        Err(error) => Err(UnusableCheckpoint::Contents { writer, reason: error.into() }),
    }
}

struct FirstLine<'a> {
    /// What comes before the checksum.
    protected: &'a str,
    version: u32,
    checksum: u32,
}

impl FirstLine<'_> {
    fn read(line: &[u8]) -> Option<FirstLine<'_>> {
        let (protected, checksum) = std::str::from_utf8(line).ok()?.split_once(CHECKSUM)?;
        let version = protected.strip_prefix(NAME)?.strip_prefix(", version ")?.parse().ok()?;
        Some(FirstLine { protected, version, checksum: u32::from_str_radix(checksum, 16).ok()? })
    }
}

/// Contents with their first line.
fn with_first_line(version: u32, contents: &[u8]) -> Vec<u8> {
    let line = format!("{NAME}, version {version}");
    let checksum = checksum(version, line.as_bytes(), contents);
    let mut bytes = format!("{line}{CHECKSUM}{checksum:08x}\n").into_bytes();
    bytes.extend_from_slice(contents);
    bytes
}

/// The bytes with a checksum that fits, so that what is behind it is read.
#[cfg(feature = "fuzzing")]
pub(super) fn sealed(bytes: &[u8]) -> Vec<u8> {
    let line_end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, contents) = bytes.split_at(line_end);
    let version = FirstLine::read(line).map_or(VERSION, |line| line.version);
    with_first_line(version, contents.strip_prefix(b"\n").unwrap_or(contents))
}

fn checksum(version: u32, line: &[u8], contents: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    if version != VERSION_WITH_UNPROTECTED_LINE {
        hasher.update(line);
    }
    hasher.update(contents);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
