//! Segments that are made ahead: files of zeros, which become the next segment.
//!
//! Whoever syncs what was appended to a growing file waits until the file system has written the file's new size and
//! blocks as well. That takes about as long as the records do, and as much of the processor again. What takes the place
//! of zeros that are on disk needs its own bytes written, and nothing else, unless somebody asks for the file's times
//! all the while (see `Identity` in `storage`). So while the journal appends, a thread of its own makes the file of the
//! next segment and fills it with zeros.
//!
//! # States
//!
//! ```text
//! none ──1──► filling ──2──► ready ──3──► taken ──4──► the last segment, zeros behind its records ──5──► closed, as long as its records
//!   ▲            │             │            │
//!   └─────6──────┴─────────────┴────────────┘
//! ```
//!
//! 1. It is wanted: the last segment grows and was appended to a few dozen times, or it was made ahead itself and half
//!    of it is used. A quiet exporter has none. A piece is written, synced, and then there is a pause, until the file
//!    has the size of a segment. *A crash* leaves a file that nobody reads, and that the next start removes by its
//!    name, whatever is in it.
//! 2. All of it is synced. *A crash*: the same.
//! 3. The next batch finds no room in the last segment, or that grows; or age closes it. The head is written over the
//!    first zeros and synced under the name that it has. *A crash*: the same, so there never is a segment without a
//!    head.
//! 4. It gets its name as a segment, and the directory is synced, before anything is written behind the head. *A crash*
//!    finds either name: an unfinished file, or a segment without records. From then on each batch is written behind
//!    the last one and synced before the next. *A crash* leaves any part of the last batch, in any order, and zeros
//!    between and behind: a frame that is not sound with none of a later batch behind it, which is the torn end, as in
//!    a file that grew. Zeros are no frame, since the checksum of one is not 0, and no damage, unless something proves
//!    that records were there. What is zeroed is never used again after it had records, so nothing of an older use can
//!    stand there.
//! 5. The next segment begins, and the zeros behind the records are cut. *A crash* may bring them back: behind the last record
//!    of a segment that is followed by another nobody looks.
//! 6. There is no room, the disk fails, somebody removed it, or its room is given back. The journal goes on with
//!    segments that grow.
//!
//! A write or sync that fails abandons a segment of zeros as it does any, and the zeros are cut, if the disk lets them be.
//!
//! # Bounds
//!
//! - One file, as large as a segment, beside the last one. Both count as bytes of the journal, with their zeros. It is
//!   made only if it stays within the limit, and takes no more than a quarter of what the disk has free. So no record
//!   is dropped for it.
//! - Beyond the limit zeros go before records do, first those of the next segment and then those behind the last record.
//! - *A full disk* gets the room of the next segment back: within seconds when less is free than that takes, and at
//!   once where a write finds no room. The zeros behind the last record stay, since they are what takes events while
//!   there is no room for more.
//! - *A slow disk* is written to in pieces, a fifth of the time at most, so a batch waits for one piece at most, and
//!   rarely. The thread holds no lock meanwhile: if the disk hangs it waits by itself, and so it does for a while after
//!   a failure.
//!
//! # What is left out
//!
//! *File systems that write elsewhere* what takes the place of something, such as btrfs and ZFS, and those in memory:
//! nothing is won there. The state knows on which it is, and starts no thread.
//!
//! *Used segments are not used again*, as PostgreSQL does with its log. Sequence numbers would tell old records from
//! new ones, but what names people would stay on disk for longer than is promised. Writing zeros costs a write of the
//! same size once more, in large pieces and off the way of events.

use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tracing::debug;

use super::{DiskJournal, State};
use crate::journal::storage::{NEXT_SEGMENT, Storage, StorageFile};

/// How many batches are appended to a segment that grows before the next one is made ahead.
const LEAST_BATCHES: u32 = 64;

/// Zeros that are written and synced at once.
const PIECE: u64 = 256 * 1024;

/// How much longer the disk is left alone after a piece than that took. With less, batches wait for it to be seen; with
/// more, it may not be there in time.
const REST: u32 = 4;

/// The next segment takes no more than this share of what the disk has free.
const SHARE_OF_FREE: u64 = 4;

/// How long nothing is made after there was no room, or the disk failed.
const PAUSE: Duration = Duration::from_secs(10);

/// The next segment, with its size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Next {
    #[default]
    None,
    Filling(u64),
    Ready(u64),
    /// A segment begins with it.
    Taken(u64),
}

impl Next {
    /// What it takes, or will take, of the disk.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Next::None => 0,
            Next::Filling(size) | Next::Ready(size) | Next::Taken(size) => size,
        }
    }
}

impl State {
    /// Whether the next segment is to be made.
    pub(super) fn wants_next(&self) -> bool {
        let is_used = self.segments.last().is_some_and(|last| last.bytes > self.zeroed / 2);
        self.next == Next::None && if self.zeroed > 0 { is_used } else { self.batches >= LEAST_BATCHES }
    }

    /// Whether the last segment grows, has records, and need not grow any more.
    pub(super) fn has_better(&self) -> bool {
        let has_records = self.segments.last().is_some_and(|last| last.bytes > last.records_at);
        has_records && self.zeroed == 0 && matches!(self.next, Next::Ready(_))
    }

    /// The zeros behind the records of the last segment.
    pub(super) fn zeros(&self) -> u64 {
        self.segments.last().map_or(0, |last| self.zeroed.saturating_sub(last.bytes))
    }
}

impl<S: Storage> DiskJournal<S> {
    /// What makes segments ahead, on a thread of its own, as long as there is the journal. To be called once.
    pub fn makes_ahead(self: &Arc<Self>) -> impl FnOnce() + Send + use<S> {
        let (sender, wishes) = sync_channel(1);
        let _ = self.wishes.set(sender);
        let journal = Arc::downgrade(self);
        move || {
            while wishes.recv().is_ok() {
                let Some(journal) = journal.upgrade() else { return };
                let is_made = !journal.state().wants_next() || journal.make_next();
                drop(journal);
                if !is_made {
                    sleep(PAUSE);
                }
            }
        }
    }

    /// Asks for the next segment.
    pub(super) fn wish(&self) {
        if let Some(wishes) = self.wishes.get() {
            // One that is not heard yet says the same.
            let _ = wishes.try_send(());
        }
    }

    /// Makes the next segment, if there is none and there is room, and returns whether it is there.
    pub(crate) fn make_next(&self) -> bool {
        let size = self.segment_bytes();
        {
            let mut state = self.state();
            if state.next != Next::None {
                return true;
            }
            if state.bytes().saturating_add(size) > self.limit() {
                return false;
            }
            state.next = Next::Filling(size);
        }
        let is_filled = self.fill(size).unwrap_or_else(|error| {
            debug!(%error, "the next segment of the journal cannot be made ahead");
            false
        });
        let is_made = {
            let mut state = self.state();
            let is_made = is_filled && state.next == Next::Filling(size);
            state.next = if is_made { Next::Ready(size) } else { Next::None };
            is_made
        };
        if !is_made {
            self.remove_next();
        }
        is_made
    }

    /// Makes a file of so many zeros, as long as nobody wants its room, and returns whether all of it is on disk.
    fn fill(&self, size: u64) -> io::Result<bool> {
        self.storage.check()?;
        if self.storage.size(NEXT_SEGMENT).is_ok() {
            self.storage.remove(NEXT_SEGMENT)?;
        }
        if !self.has_free(size.saturating_mul(SHARE_OF_FREE))? {
            return Ok(false);
        }
        let mut file = self.storage.create(NEXT_SEGMENT)?;
        let zeros = vec![0; PIECE.min(size) as usize];
        let mut filled = 0;
        while filled < size {
            let started = Instant::now();
            let piece = &zeros[..zeros.len().min((size - filled) as usize)];
            file.append(piece)?;
            file.sync()?;
            filled += piece.len() as u64;
            // Whoever needs the room of it removes it.
            if self.state().next != Next::Filling(size)
                || self.storage.size(NEXT_SEGMENT)? != filled
                || !self.has_free(size)?
            {
                return Ok(false);
            }
            sleep((REST * started.elapsed()).min(PAUSE));
        }
        Ok(true)
    }

    /// Whether the disk has so many bytes free, as far as it tells.
    fn has_free(&self, bytes: u64) -> io::Result<bool> {
        Ok(self.storage.space()?.is_none_or(|space| space.free >= bytes))
    }

    /// Gives the room of the next segment back, unless one begins with it just now.
    pub fn give_next_back(&self) {
        {
            let mut state = self.state();
            match state.next {
                Next::Filling(_) | Next::Ready(_) => state.next = Next::None,
                Next::None | Next::Taken(_) => return,
            }
        }
        self.remove_next();
    }

    fn remove_next(&self) {
        if let Err(error) = self.storage.remove(NEXT_SEGMENT)
            && error.kind() != io::ErrorKind::NotFound
        {
            debug!(%error, "what was made ahead cannot be removed; the next start does it");
        }
    }

    /// Gives the room of the next segment back if the disk has less than that.
    pub fn give_back_on_full_disk(&self) {
        let bytes = self.state().next.bytes();
        if bytes > 0 && self.has_free(bytes).is_ok_and(|has_room| !has_room) {
            self.give_next_back();
        }
    }

    /// Gives back the room of zeros if the journal takes more than it may.
    pub(super) fn give_zeros_back(&self) {
        if self.is_beyond_limit() {
            self.give_next_back();
        }
        if self.is_beyond_limit() {
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            self.cut_zeros(&mut writer.active);
        }
    }

    /// Cuts the zeros behind the records of the segment that is written to; it grows from then on. A crash may bring them back.
    pub(super) fn cut_zeros(&self, active: &mut Option<S::File>) {
        let Some(file) = active else { return };
        let (zeros, last) = {
            let state = self.state();
            (state.zeros(), state.segments.last().map_or(0, |last| last.bytes))
        };
        if zeros > 0 && file.cut(last).is_ok() {
            self.state().zeroed = 0;
        }
    }

    /// The file that was made ahead, if there is one, with the head of a segment and this name, and its size.
    pub(super) fn take_next(&self, name: &str, head: &[u8]) -> Option<(S::File, u64)> {
        let size = {
            let mut state = self.state();
            let Next::Ready(size) = state.next else { return None };
            state.next = Next::Taken(size);
            size
        };
        let taken = self.begin_in_zeros(size, name, head).inspect_err(|error| {
            debug!(%error, "what was made ahead cannot be used");
            self.remove_next();
        });
        self.state().next = Next::None;
        taken.ok().map(|file| (file, size))
    }

    fn begin_in_zeros(&self, size: u64, name: &str, head: &[u8]) -> io::Result<S::File> {
        if self.storage.size(NEXT_SEGMENT)? != size {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "somebody changed its size"));
        }
        let mut file = self.storage.open_at_start(NEXT_SEGMENT)?;
        file.append(head)?;
        file.sync()?;
        self.storage.rename(NEXT_SEGMENT, name)?;
        self.storage.sync_directory()?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use bytes::Bytes;
    use tempfile::tempdir;

    use super::*;
    use crate::journal::disk_reader::DiskReader;
    use crate::journal::past::Place;
    use crate::journal::recovery::{Torn, file_name, read_segments};
    use crate::journal::simulated_disk::SimulatedDisk;
    use crate::journal::storage::{Directory, read_all, replace, with_reserve};
    use crate::journal::{head, inspect_segment, segment};

    const MAX_BYTES: u64 = 16_000;
    const SEGMENT: u64 = 1_000;

    fn open(disk: &SimulatedDisk) -> DiskJournal<SimulatedDisk> {
        DiskJournal::open(disk.clone(), MAX_BYTES, 0, |_, _| {}).expect("a journal")
    }

    fn append(journal: &DiskJournal<impl Storage>) {
        journal.append(&[Bytes::from_static(b"record")]).expect("appended");
    }

    /// A journal whose last segment was made ahead and has a record, behind one that grew and has one too.
    fn in_zeros(disk: &SimulatedDisk) -> DiskJournal<SimulatedDisk> {
        let journal = open(disk);
        append(&journal);
        assert!(journal.make_next());
        append(&journal);
        journal
    }

    fn size(disk: &SimulatedDisk, name: &str) -> Option<u64> {
        disk.size(name).ok()
    }

    const FRAME: u64 = (segment::FRAME_HEAD + b"record".len()) as u64;
    const ONE_RECORD: u64 = head::SIZE as u64 + FRAME;

    #[test]
    fn what_was_made_ahead_becomes_the_next_segment_and_is_cut_when_it_is_closed() {
        let disk = SimulatedDisk::default();
        let journal = open(&disk);
        append(&journal);
        assert!(journal.make_next());
        assert_eq!((size(&disk, NEXT_SEGMENT), journal.bytes()), (Some(SEGMENT), ONE_RECORD + SEGMENT));
        assert!(journal.begins_segment(&[]), "the last one need not grow any more");
        append(&journal);
        assert_eq!((size(&disk, NEXT_SEGMENT), journal.bytes()), (None, ONE_RECORD + SEGMENT));
        assert_eq!(journal.segments(), [(0, 1), (1, 2)]);
        assert_eq!(size(&disk, &file_name(1)), Some(SEGMENT));
        assert!(!journal.begins_segment(&[]));
        for _ in 0..2 {
            append(&journal);
        }
        journal.close_older_than(Duration::ZERO, Instant::now()).expect("closed");
        assert_eq!(size(&disk, &file_name(1)), Some(ONE_RECORD + 2 * FRAME));
        assert_eq!(journal.bytes(), 2 * ONE_RECORD + 2 * FRAME + head::SIZE as u64);
    }

    #[test]
    fn zeros_behind_the_records_are_neither_torn_nor_damaged_for_whoever_reads() {
        let disk = SimulatedDisk::default();
        let journal = Arc::new(in_zeros(&disk));
        append(&journal);
        let mut looked = Vec::new();
        let found = read_segments(&disk, 0, |stored| looked.push(stored.sequence)).expect("a look");
        assert_eq!((found.end, found.damaged, found.torn), (3, 0, Torn::default()));
        assert_eq!(looked, [0, 1, 2]);
        let mut visited = Vec::new();
        let visit = |place: Place, _: &[u8]| {
            visited.push(place.sequence);
            ControlFlow::Continue(())
        };
        journal.visit(Place::default(), None, visit).expect("a look back");
        assert_eq!(visited, [0, 1, 2]);
        let mut replayed = Vec::new();
        let bytes = read_all(&disk, &file_name(1)).expect("a segment");
        inspect_segment("segment".as_ref(), &bytes, |sequence, _| replayed.push(sequence))
            .expect("a segment");
        assert_eq!(replayed, [1, 2]);
        disk.create("spans.position").and_then(|mut file| file.append(b"0")).expect("written");
        let mut reader = DiskReader::new(&journal, "spans").expect("a reader");
        let taken: Vec<u64> =
            reader.take(9).expect("taken").into_iter().map(|(sequence, _)| sequence).collect();
        assert_eq!(taken, [0, 1, 2]);

        // A start keeps the records and gives back the rest.
        let disk = disk.after_kill();
        let journal = open(&disk);
        assert_eq!((journal.end(), journal.damaged()), (3, 0));
        assert_eq!(size(&disk, &file_name(1)), Some(ONE_RECORD + FRAME));
    }

    #[test]
    fn an_empty_segment_of_zeros_with_a_damaged_head_has_lost_nothing() {
        let disk = SimulatedDisk::default();
        let journal = open(&disk);
        append(&journal);
        assert!(journal.make_next());
        journal.close_older_than(Duration::ZERO, Instant::now()).expect("closed");
        assert_eq!(size(&disk, &file_name(1)), Some(SEGMENT));
        disk.flip_bit(&file_name(1), 5, 0);
        let journal = open(&disk.after_kill());
        assert_eq!((journal.end(), journal.damaged()), (1, 0));
        append(&journal);
        assert_eq!(journal.segments(), [(0, 1), (1, 2)]);
    }

    #[test]
    fn what_an_earlier_process_made_ahead_is_not_used_whatever_is_in_it() {
        let disk = SimulatedDisk::default();
        append(&open(&disk));
        let mut bytes = head::encode(1);
        segment::write_frame(&mut bytes, 1, 0, b"never acknowledged");
        disk.create(NEXT_SEGMENT).and_then(|mut file| file.append(&bytes)).expect("written");
        let journal = open(&disk);
        assert_eq!((journal.end(), journal.damaged()), (1, 0));
        append(&journal);
        assert!(journal.make_next());
        assert_eq!(read_all(&disk, NEXT_SEGMENT).expect("zeros"), vec![0; SEGMENT as usize]);
    }

    #[test]
    fn a_full_disk_gets_the_room_of_the_next_segment_back() {
        let disk = SimulatedDisk::default();
        // Whoever writes finds no room.
        let journal = in_zeros(&disk);
        assert!(journal.make_next());
        disk.limit(Some(0));
        with_reserve(&disk, || replace(&disk, "position", &[1; 900]))
            .expect("the room of what was made ahead");
        assert_eq!(size(&disk, NEXT_SEGMENT), None);
        // The next batch that needs it does without.
        disk.limit(None);
        (0..SEGMENT / FRAME).for_each(|_| append(&journal));
        assert_eq!(journal.segments().len(), 3);
        assert_eq!(journal.bytes(), disk_bytes(&disk));

        // Others fill it.
        assert!(journal.make_next());
        disk.limit(Some(SEGMENT as usize));
        journal.give_back_on_full_disk();
        assert_eq!(size(&disk, NEXT_SEGMENT), Some(SEGMENT));
        disk.limit(Some(SEGMENT as usize - 1));
        journal.give_back_on_full_disk();
        assert_eq!((size(&disk, NEXT_SEGMENT), journal.bytes()), (None, disk_bytes(&disk)));
        disk.limit(Some(4 * SEGMENT as usize - 1));
        assert!(!journal.make_next(), "it may take a quarter of the room");
    }

    /// Bytes of the segments on the disk.
    fn disk_bytes(disk: &SimulatedDisk) -> u64 {
        let names = disk.list().expect("names");
        let segments = names.iter().filter(|name| name.ends_with(".segment") || *name == NEXT_SEGMENT);
        segments.map(|name| disk.size(name).expect("a size")).sum()
    }

    #[test]
    fn on_a_full_disk_events_take_the_place_of_zeros() {
        let disk = SimulatedDisk::default();
        let journal = in_zeros(&disk);
        disk.limit(Some(0));
        for _ in 0..(SEGMENT - ONE_RECORD) / FRAME {
            append(&journal);
        }
        journal.append(&[Bytes::from_static(b"record")]).expect_err("no room");
    }

    #[test]
    fn beyond_the_limit_zeros_go_before_records() {
        let disk = SimulatedDisk::default();
        let journal = in_zeros(&disk);
        assert!(journal.make_next());
        let records = 2 * ONE_RECORD;
        // Something else takes what is left, and then more.
        let free = MAX_BYTES - journal.bytes();
        journal.note_beside(0, free);
        journal.drop_beyond_limit(u64::MAX);
        assert_eq!(size(&disk, NEXT_SEGMENT), Some(SEGMENT), "it is within the limit");
        journal.note_beside(0, 1);
        journal.drop_beyond_limit(u64::MAX);
        assert_eq!((size(&disk, NEXT_SEGMENT), size(&disk, &file_name(1))), (None, Some(SEGMENT)));
        journal.note_beside(0, SEGMENT);
        journal.drop_beyond_limit(u64::MAX);
        assert_eq!((size(&disk, &file_name(1)), journal.bytes()), (Some(ONE_RECORD), records));
        assert_eq!(journal.first(), 0, "no record had to go");
        assert!(!journal.make_next(), "there is no room within the limit");
        append(&journal);
        assert_eq!(journal.segments(), [(0, 1), (1, 3)], "it goes on in the same one");
        assert_eq!(journal.bytes(), disk_bytes(&disk));
    }

    #[test]
    fn a_batch_that_fails_in_zeros_gives_them_back_and_leaves_nothing_that_counts() {
        let disk = SimulatedDisk::default();
        let journal = in_zeros(&disk);
        disk.fail_sync();
        journal.append(&[Bytes::from_static(b"refused")]).expect_err("no sync");
        assert_eq!(size(&disk, &file_name(1)), Some(ONE_RECORD));
        append(&journal);
        assert_eq!((journal.segments(), journal.bytes()), (vec![(0, 1), (1, 2), (2, 3)], disk_bytes(&disk)));
    }

    #[test]
    fn what_cannot_be_made_or_used_is_done_without() {
        let disk = SimulatedDisk::default();
        let journal = open(&disk);
        append(&journal);
        disk.fail_append(7);
        assert!(!journal.make_next());
        disk.fail_sync();
        assert!(!journal.make_next());
        assert_eq!((size(&disk, NEXT_SEGMENT), journal.bytes()), (None, ONE_RECORD));
        // Its head cannot be synced; somebody removed it; somebody changed it.
        let spoil: [fn(&SimulatedDisk); 3] = [
            SimulatedDisk::fail_sync,
            |disk| disk.remove(NEXT_SEGMENT).expect("removed"),
            |disk| disk.open(NEXT_SEGMENT).and_then(|mut file| file.append(b"more")).expect("written"),
        ];
        for spoil in spoil {
            assert!(journal.make_next());
            spoil(&disk);
            append(&journal);
            assert_eq!(size(&disk, NEXT_SEGMENT), None);
            assert_eq!(journal.bytes(), disk_bytes(&disk));
        }
        assert_eq!(journal.end(), 4);
    }

    fn wait_for_next(journal: &DiskJournal<Directory>) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !matches!(journal.state().next, Next::Ready(_)) {
            assert!(Instant::now() < deadline, "it is not made");
            sleep(Duration::from_millis(1));
        }
    }

    fn size_of_last(journal: &DiskJournal<Directory>) -> u64 {
        let last = journal.segments().last().map_or(0, |(first, _)| *first);
        journal.storage().size(&file_name(last)).expect("a size")
    }

    #[test]
    fn segments_are_made_ahead_for_who_appends_much_and_until_the_journal_goes() {
        let scratch = tempdir().expect("a directory");
        let storage = Directory::new(scratch.path()).expect("a directory");
        let journal = DiskJournal::open(storage.clone(), 16 * 1024 * 1024, 0, |_, _| {}).expect("a journal");
        let journal = Arc::new(journal);
        let maker = std::thread::spawn(journal.makes_ahead());
        for _ in 1..LEAST_BATCHES {
            append(&journal);
        }
        assert_eq!(journal.state().next, Next::None, "this could be all for today");
        for segments in 2..4 {
            append(&journal);
            wait_for_next(&journal);
            while journal.segments().len() < segments {
                journal.append(&vec![Bytes::from(vec![1; 1_000]); 100]).expect("appended");
            }
            assert_eq!(size_of_last(&journal), journal.segment_bytes());
            // The next one is made when half of it is used.
            assert_eq!(journal.state().next, Next::None);
            while journal.state().zeros() > journal.segment_bytes() / 2 {
                journal.append(&vec![Bytes::from(vec![1; 1_000]); 100]).expect("appended");
            }
        }
        let end = journal.end();
        drop(journal);
        maker.join().expect("it ends with the journal");
        let journal = DiskJournal::open(storage, 1 << 24, 0, |_, _| {}).expect("a journal");
        assert_eq!((journal.end(), journal.damaged()), (end, 0));
    }
}
