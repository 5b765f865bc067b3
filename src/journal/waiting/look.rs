//! A look at the waiting journals in a directory, which changes nothing and may be had while an exporter runs.

use std::collections::{BTreeSet, HashSet};

use super::entry::Entry;
use super::prefix;
use crate::journal::JournalError;
use crate::journal::prefixed::Prefixed;
use crate::journal::recovery::{Found, first_of, read_segments};
use crate::journal::storage::Storage;

/// What a waiting journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundWaiting {
    /// Its segments, and what of them is damaged.
    pub journal: Found,
    /// Copies that are not finished.
    pub waiting: u64,
    /// Entries of kinds that this release does not know.
    pub unknown: u64,
}

impl FoundWaiting {
    /// Whether all of it is there, as far as is known.
    pub fn is_sound(&self) -> bool {
        self.journal.damaged == 0 && !self.is_missing()
    }

    /// Whether nothing is left of it, although there was something.
    pub fn is_missing(&self) -> bool {
        self.journal.segments.is_empty() && self.journal.known > 0
    }
}

/// The sinks that have a waiting journal among the files with these names.
pub fn sinks<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let between = prefix("");
    let sinks = names.into_iter().filter_map(|name| {
        let (sink, segment) = name.split_once(&between)?;
        first_of(segment).map(|_| sink)
    });
    sinks.collect()
}

/// Looks at the waiting journal of this sink in `storage`. Entries before `known` are known to have been on disk.
///
/// # Errors
/// The disk fails, or a newer version of this program wrote it.
pub fn inspect(storage: impl Storage, sink: &str, known: u64) -> Result<FoundWaiting, JournalError> {
    let (mut waiting, mut unknown) = (HashSet::new(), 0);
    let journal = read_segments(&Prefixed::new(storage, prefix(sink)), known, |stored| {
        match Entry::read(stored.record) {
            Some(Entry::Copy { replaces, .. }) => {
                if let Some(replaced) = replaces {
                    waiting.remove(&replaced);
                }
                // Behind what it replaces: no entry is about itself.
                waiting.insert(stored.sequence);
            }
            Some(Entry::Finished(numbers)) => numbers.iter().for_each(|finished| {
                waiting.remove(finished);
            }),
            None => unknown += 1,
        }
    })?;
    Ok(FoundWaiting { journal, waiting: waiting.len() as u64, unknown })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::journal::disk::DiskJournal;
    use crate::journal::simulated_disk::SimulatedDisk;
    use crate::journal::waiting::entry::encode;
    use crate::journal::waiting::{Copy, WaitingJournal};

    fn copies(origins: std::ops::Range<u64>) -> Vec<Copy> {
        let copy = |origin| Copy { origin, order: None, record: Bytes::from_static(b"record") };
        origins.map(copy).collect()
    }

    #[test]
    fn what_is_finished_or_moved_does_not_wait_and_what_is_unknown_is_counted() {
        let disk = SimulatedDisk::default();
        // So small that there are several segments, of which the oldest can be moved.
        let open = || WaitingJournal::open(disk.clone(), "spans", 1_000, 0, 100, |_| {}, |_| {});
        let mut journal = open().expect("a waiting journal");
        let mut tickets = Vec::new();
        for origin in 0..10 {
            tickets.extend(journal.append(&copies(origin..origin + 1)).expect("appended"));
        }
        assert_eq!(inspect(disk.clone(), "spans", 0).expect("a look").waiting, 10);
        journal.finish(tickets[3]);
        journal.finish(tickets[5]);
        journal.append(&copies(10..11)).expect("appended");
        let found = inspect(disk.clone(), "spans", 0).expect("a look");
        assert_eq!((found.waiting, found.unknown, found.journal.damaged), (9, 0, 0));
        assert_eq!(inspect(disk.clone(), "service", 0).expect("a look").waiting, 0);

        let mut waiting = Vec::new();
        WaitingJournal::open(disk.clone(), "spans", 1_000, 0, 100, |copy| waiting.push(copy), |_| {})
            .expect("a waiting journal");
        assert_eq!(waiting.len(), 9);
        let mut journal = open().expect("a waiting journal");
        journal.move_to_end(&waiting[..1]).expect("moved");
        assert_eq!(inspect(disk.clone(), "spans", 0).expect("a look").waiting, 9);

        let storage = Prefixed::new(disk.clone(), prefix("spans"));
        let journal = DiskJournal::open(storage, 1_000, 0, |_, _| {}).expect("a journal");
        journal.append(&[Bytes::from_static(b"\x09later")]).expect("appended");
        let found = inspect(disk.clone(), "spans", 0).expect("a look");
        assert_eq!((found.waiting, found.unknown), (9, 1));
        journal.append(&[encode(&copies(11..12)[0], Some(journal.end()))]).expect("appended");
        assert_eq!(inspect(disk, "spans", 0).expect("a look").waiting, 10, "it says that it replaces itself");
    }

    #[test]
    fn sinks_are_told_by_the_names_of_their_segments() {
        let names = [
            "00000000000000000000.segment",
            "service.waiting.00000000000000000000.segment",
            "service.waiting.00000000000000000007.segment",
            "spans.position",
            "spans.waiting.00000000000000000000.segment",
            "notes.waiting.txt",
        ];
        assert_eq!(sinks(names).into_iter().collect::<Vec<_>>(), ["service", "spans"]);
    }
}
