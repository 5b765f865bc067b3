//! A reader of the journal on disk, whose position survives restarts.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use super::disk::DiskJournal;
use super::position::{BadPosition, Position, file_name as position_file};
use super::recovery::{Segment, file_name};
use super::segment::{self, FRAME_HEAD, LONGEST_RECORD, Next};
use super::storage::{Storage, read_all, replace, with_reserve};
use super::{BYTES_AT_ONCE, JournalError};

/// How much is read at once: more than the longest frame.
const CHUNK: usize = 4 * (FRAME_HEAD + LONGEST_RECORD);

/// A reader: it takes records, and says when it is done with them. Its position is kept in a file and moves when it is
/// done, so that after a restart it takes again what it had not finished, and only that.
pub struct DiskReader<S: Storage> {
    journal: Arc<DiskJournal<S>>,
    index: usize,
    name: &'static str,
    /// Where the waiting journal of its sink ended when the position was kept.
    waiting_end: u64,
    /// Where the record `next` stands, if that is known: in which segment, at which offset.
    cursor: Option<Cursor>,
}

#[derive(Debug, Clone, Copy)]
struct Cursor {
    next: u64,
    segment: u64,
    offset: u64,
}

impl<S: Storage> DiskReader<S> {
    /// The reader of this name, at the position it had, or else at the end of the journal.
    ///
    /// # Errors
    /// Its position cannot be read or kept, or is for a newer release. A damaged one is reported, and the reader begins with
    /// the oldest record.
    pub fn new(journal: &Arc<DiskJournal<S>>, name: &'static str) -> Result<DiskReader<S>, JournalError> {
        let file = position_file(name);
        let position = match journal.storage.size(&file) {
            Ok(_) => match Position::decode(&read_all(&journal.storage, &file)?) {
                Ok(position) => position,
                Err(BadPosition::Damaged) => {
                    warn!(
                        reader = name,
                        file, "a position cannot be read; the reader begins with the oldest record"
                    );
                    Position { next: journal.first(), ..Position::default() }
                }
                Err(reason) => {
                    return Err(JournalError::Position { reader: name.to_owned(), reason });
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let position = Position { next: journal.end(), ..Position::default() };
                replace(&journal.storage, &file, &position.encode())?;
                position
            }
            Err(error) => return Err(error.into()),
        };
        let waiting_end = position.waiting_end;
        let index = journal.register(name, position);
        Ok(DiskReader { journal: Arc::clone(journal), index, name, waiting_end, cursor: None })
    }

    /// Takes the next records with their sequence numbers, at most `max` and about a megabyte; none if there are
    /// none. Damaged ones are passed over.
    ///
    /// # Errors
    /// Those of the disk; nothing was taken.
    pub fn take(&mut self, max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        while self.to_take_again() > 0 {
            let records = self.take_again(max)?;
            // Without any, all that were looked for are damaged or dropped; others may be there.
            if !records.is_empty() {
                return Ok(records);
            }
        }
        self.take_next(max)
    }

    /// Takes what it had not finished before the last start: those that lie within `max` records of the first of them.
    fn take_again(&mut self, max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let wanted = self.journal.with_reader(self.index, |reader, _| reader.again(max));
        let (Some(&first), Some(&last)) = (wanted.first(), wanted.last()) else { return Ok(Vec::new()) };
        let (mut next, end, mut records) = (first, last + 1, Vec::new());
        while next < end && !is_enough(&records) {
            let Some((segment, segment_end)) = self.journal.segment_of(next) else {
                next = end;
                break;
            };
            match self.read_chunk((segment, segment_end), next..end.min(segment_end), max, &mut records) {
                Ok(cursor) => {
                    next = next.max(cursor.next);
                    self.cursor = Some(cursor);
                }
                // It was dropped since the start.
                Err(error) if error.kind() == io::ErrorKind::NotFound => next = segment_end,
                Err(error) => return Err(error),
            }
        }
        let wanted = &wanted[..wanted.partition_point(|sequence| *sequence < next)];
        records.retain(|(sequence, _)| wanted.binary_search(sequence).is_ok());
        let read: Vec<u64> = records.iter().map(|(sequence, _)| *sequence).collect();
        self.journal.with_reader(self.index, |reader, _| reader.take_again(wanted, &read));
        Ok(records)
    }

    fn take_next(&mut self, max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let start = self.journal.with_reader(self.index, |reader, _| reader.taken());
        let (mut next, mut records) = (start, Vec::new());
        while records.len() < max && !is_enough(&records) {
            let Some((segment, end)) = self.journal.segment_of(next) else { break };
            match self.read_chunk((segment, end), next..end, max, &mut records) {
                Ok(cursor) => {
                    next = next.max(cursor.next);
                    self.cursor = Some(cursor);
                }
                // It was dropped while it was looked at; whoever dropped it has moved this reader on.
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        self.journal.with_reader(self.index, |reader, _| reader.take(start, next));
        Ok(records)
    }

    /// Finishes everything that was taken except the records with these sequence numbers, in ascending order, durably. The
    /// waiting journal of its sink ends at `waiting_end`.
    ///
    /// # Errors
    /// The position cannot be kept; after a restart the same records would be taken again.
    pub fn done_except(&mut self, unfinished: &[u64], waiting_end: u64) -> io::Result<()> {
        let position =
            self.journal.with_reader(self.index, |reader, _| reader.position(unfinished, waiting_end));
        let (storage, file, bytes) = (&self.journal.storage, position_file(self.name), position.encode());
        // A full disk may get room only when a reader moves on.
        with_reserve(storage, || replace(storage, &file, &bytes))?;
        // Only now, since what is done may be dropped, and what was dropped counts as such where it is taken again.
        self.journal.with_reader(self.index, |reader, _| reader.finish(position.next, unfinished));
        Ok(())
    }

    /// Where the waiting journal of its sink ended when the position was kept.
    pub fn waiting_end(&self) -> u64 {
        self.waiting_end
    }

    /// Everything before this sequence number is finished.
    pub fn unfinished_from(&self) -> u64 {
        self.journal.with_reader(self.index, |reader, _| reader.unfinished_from(0))
    }

    /// How many records wait to be taken again, since they had been taken and not finished before the start.
    pub fn to_take_again(&self) -> usize {
        self.journal.with_reader(self.index, |reader, _| reader.to_take_again())
    }

    /// How many records wait to be taken.
    pub fn waiting(&self) -> u64 {
        self.journal.with_reader(self.index, |reader, end| reader.waiting(end))
    }

    /// How many records were dropped before it took them.
    pub fn dropped(&self) -> u64 {
        self.journal.with_reader(self.index, |reader, _| reader.dropped())
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Waits until at least this many records can be taken.
    pub async fn readable(&self, records: u64) {
        super::until(&self.journal.appended, || self.waiting() >= records).await;
    }

    /// Reads a chunk of a segment, which has records up to `end`, gathers those of them that are `wanted`, and returns where
    /// the next one stands.
    fn read_chunk(
        &self,
        (segment, end): (Segment, u64),
        wanted: Range<u64>,
        max: usize,
        records: &mut Vec<(u64, Bytes)>,
    ) -> io::Result<Cursor> {
        let known =
            self.cursor.filter(|cursor| cursor.segment == segment.first && cursor.next <= wanted.start);
        let start = Cursor { segment: segment.first, next: segment.first, offset: segment.records_at };
        let mut cursor = known.unwrap_or(start);
        let file = file_name(segment.first);
        let rest = segment.bytes.saturating_sub(cursor.offset);
        let mut chunk = vec![0; CHUNK.min(rest as usize)];
        let read = self.journal.storage.read_at(&file, cursor.offset, &mut chunk)?;
        chunk.truncate(read);
        let chunk = Bytes::from(chunk);
        let mut at = 0;
        while cursor.next < wanted.end && records.len() < max {
            match segment::read_frame(&chunk[at..]) {
                Next::Frame(frame) if frame.sequence == cursor.next => {
                    if wanted.contains(&frame.sequence) {
                        records.push((frame.sequence, chunk.slice_ref(frame.record)));
                    }
                    at += frame.size();
                    cursor.offset += frame.size() as u64;
                    cursor.next += 1;
                }
                // The chunk ends within a frame, which the next one begins with.
                Next::Short if at > 0 => break,
                _ => return self.step_over(&file, cursor, end),
            }
        }
        Ok(cursor)
    }

    /// Where the next sound record of a segment stands, behind damage at `cursor`.
    fn step_over(&self, file: &str, cursor: Cursor, end: u64) -> io::Result<Cursor> {
        let bytes = read_all(&self.journal.storage, file)?;
        let rest = bytes.get(cursor.offset as usize..).unwrap_or_default();
        // The next one that is looked for may be sound: the damage was seen when it was the last, and others came
        // behind it since.
        let found = segment::find_frame(rest, cursor.next..end);
        let found = found.and_then(|skip| match segment::read_frame(&rest[skip..]) {
            Next::Frame(frame) => {
                Some(Cursor { next: frame.sequence, offset: cursor.offset + skip as u64, ..cursor })
            }
            Next::Short | Next::Bad => None,
        });
        let next = found.unwrap_or(Cursor { next: end, ..cursor });
        let records = next.next - cursor.next;
        if records > 0 {
            warn!(file, reader = self.name, records, "damaged records are passed over");
        }
        Ok(next)
    }
}

fn is_enough(records: &[(u64, Bytes)]) -> bool {
    records.iter().map(|(_, record)| record.len()).sum::<usize>() >= BYTES_AT_ONCE
}
