//! Whether this release may read what is in a directory: looked at before anything there is changed, so that a refusal leaves
//! all of it to the newer release.

use super::position::{self, BadPosition, Position};
use super::storage::{Storage, read_all};
use super::{JournalError, head};

/// How the names of segments end, those of waiting journals too.
const SEGMENT: &str = ".segment";

/// Refuses a segment or a position in `storage` that asks for a newer release, whoever would use it. What is damaged, or
/// cannot be read, is left to those who need it.
///
/// # Errors
/// The disk fails, or a newer release wrote one of the files.
pub fn check(storage: &impl Storage) -> Result<(), JournalError> {
    let mut names = storage.list()?;
    names.sort_unstable();
    for name in names {
        if name.ends_with(SEGMENT) {
            let mut beginning = vec![0; head::LONGEST];
            let read = storage.read_at(&name, 0, &mut beginning).unwrap_or(0);
            match head::read(&beginning[..read]) {
                Err(reason) if reason.is_newer() => return Err(JournalError::Segment { name, reason }),
                _ => {}
            }
        } else if let Some(reader) = position::reader(&name) {
            let bytes = read_all(storage, &name).unwrap_or_default();
            match Position::decode(&bytes) {
                Ok(_) | Err(BadPosition::Damaged) => {}
                Err(reason) => return Err(JournalError::Position { reader: reader.to_owned(), reason }),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::BadHead;
    use crate::journal::simulated_disk::SimulatedDisk;
    use crate::journal::storage::StorageFile;
    use crate::release::Release;

    const LATER: Release = Release { major: u16::MAX, minor: 0, patch: 0 };

    fn disk_with(name: &str, bytes: &[u8]) -> SimulatedDisk {
        let disk = SimulatedDisk::default();
        disk.create(name).expect("a file").append(bytes).expect("written");
        disk
    }

    #[test]
    fn what_this_release_or_an_older_one_wrote_and_what_is_damaged_passes() {
        let later_fields = head::encode_as(7, LATER, Release::THIS, &[1; 3000]);
        let mut damaged = head::encode_as(7, LATER, LATER, b"");
        damaged[30] ^= 1;
        let segments = [head::encode(7), head::common(7, 1).to_vec(), later_fields, damaged, Vec::new()];
        for segment in segments {
            check(&disk_with("00000000000000000007.segment", &segment)).expect("a directory to be used");
        }
        for position in [&b"43 40 42"[..], &Position::default().encode(), b"damaged", b""] {
            check(&disk_with("spans.position", position)).expect("a directory to be used");
        }
    }

    #[test]
    fn what_asks_for_a_newer_release_is_refused_whoever_would_use_it() {
        for name in ["00000000000000000007.segment", "nobody.waiting.00000000000000000007.segment"] {
            for segment in [head::encode_as(7, LATER, LATER, &[1; 3000]), head::common(7, 3).to_vec()] {
                let error = check(&disk_with(name, &segment)).expect_err("a newer segment");
                let JournalError::Segment { name: refused, reason } = error else { panic!("{error}") };
                assert_eq!(refused, name);
                assert!(matches!(reason, BadHead::Newer { .. } | BadHead::Version(3)), "{reason}");
            }
        }
        let lines = format!(
            "planet-call-exporter position, version 2, written by {LATER}, readable from {LATER}\nnext 9\n"
        );
        let position = format!("{lines}crc32 {:08x}\n", crc32fast::hash(lines.as_bytes()));
        let error = check(&disk_with("nobody.position", position.as_bytes())).expect_err("a newer position");
        assert!(matches!(error, JournalError::Position { ref reader, .. } if reader == "nobody"), "{error}");
    }
}
