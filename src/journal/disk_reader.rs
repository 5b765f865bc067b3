//! A reader of the journal on disk, whose position survives restarts.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use super::disk::DiskJournal;
use super::recovery::{Segment, file_name};
use super::segment::{self, FRAME_HEAD, HEAD, LONGEST_RECORD, Next};
use super::storage::{Storage, read_all, replace};

/// How much is read at once: more than the longest frame.
const CHUNK: usize = 4 * (FRAME_HEAD + LONGEST_RECORD);

/// A reader: it takes records, and says when it is done with them. Its position is kept in a file and moves when it is
/// done, so that after a restart it takes again what it had not finished.
pub struct DiskReader<S: Storage> {
    journal: Arc<DiskJournal<S>>,
    index: usize,
    name: &'static str,
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
    /// Its position cannot be read or kept.
    pub fn new(journal: &Arc<DiskJournal<S>>, name: &'static str) -> io::Result<DiskReader<S>> {
        let file = position_file(name);
        let position = match journal.storage.size(&file) {
            Ok(_) => match std::str::from_utf8(&read_all(&journal.storage, &file)?)
                .map(|text| text.trim().parse())
            {
                Ok(Ok(position)) => position,
                _ => {
                    warn!(
                        reader = name,
                        file, "a position cannot be read; the reader begins with the oldest record"
                    );
                    0
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let end = journal.end();
                replace(&journal.storage, &file, format!("{end}\n").as_bytes())?;
                end
            }
            Err(error) => return Err(error),
        };
        let index = journal.register(name, position);
        Ok(DiskReader { journal: Arc::clone(journal), index, name, cursor: None })
    }

    /// Takes the next records, at most `max`; none if there are none. Damaged ones are passed over.
    ///
    /// # Errors
    /// Those of the disk; nothing was taken.
    pub fn take(&mut self, max: usize) -> io::Result<Vec<Bytes>> {
        let start = self.journal.state().readers[self.index].taken;
        let (mut next, mut records) = (start, Vec::new());
        while records.len() < max {
            let Some((segment, end)) = self.segment_of(next) else { break };
            match self.read_chunk(segment, next..end, max, &mut records) {
                Ok(cursor) => {
                    next = next.max(cursor.next);
                    self.cursor = Some(cursor);
                }
                // It was dropped while it was looked at; whoever dropped it has moved this reader on.
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        let mut state = self.journal.state();
        let reader = &mut state.readers[self.index];
        // What was dropped meanwhile was counted as given up, although it had been read by then.
        reader.given_up -= reader.taken.min(next).saturating_sub(start);
        reader.taken = reader.taken.max(next);
        if reader.oldest.is_none() {
            // A copy, so that it does not keep the whole chunk that was read.
            reader.oldest = records.first().map(|record| Bytes::copy_from_slice(record));
        }
        Ok(records)
    }

    /// Finishes everything that was taken, durably.
    ///
    /// # Errors
    /// The position cannot be kept; after a restart the same records would be taken again.
    pub fn done(&mut self) -> io::Result<()> {
        let position = {
            let mut state = self.journal.state();
            let reader = &mut state.readers[self.index];
            reader.done = reader.taken;
            reader.oldest = None;
            reader.done
        };
        replace(&self.journal.storage, &position_file(self.name), format!("{position}\n").as_bytes())
    }

    /// How many records wait to be taken.
    pub fn waiting(&self) -> u64 {
        let state = self.journal.state();
        state.end.saturating_sub(state.readers[self.index].taken)
    }

    /// Waits until at least this many records can be taken.
    pub async fn readable(&self, records: u64) {
        loop {
            let appended = self.journal.appended.notified();
            tokio::pin!(appended);
            // Registered before the look, so that an append in between is not missed.
            appended.as_mut().enable();
            if self.waiting() >= records {
                return;
            }
            appended.await;
        }
    }

    /// The segment that holds a record, and the sequence number where it ends.
    fn segment_of(&self, next: u64) -> Option<(Segment, u64)> {
        let state = self.journal.state();
        if next >= state.end {
            return None;
        }
        let index = state.segments.partition_point(|segment| segment.first <= next).checked_sub(1)?;
        let end = state.segments.get(index + 1).map_or(state.end, |following| following.first.min(state.end));
        Some((state.segments[index], end))
    }

    /// Reads a chunk of a segment, gathers those of its records that are `wanted`, and answers where the next one stands.
    fn read_chunk(
        &self,
        segment: Segment,
        wanted: Range<u64>,
        max: usize,
        records: &mut Vec<Bytes>,
    ) -> io::Result<Cursor> {
        let known =
            self.cursor.filter(|cursor| cursor.segment == segment.first && cursor.next <= wanted.start);
        let mut cursor =
            known.unwrap_or(Cursor { segment: segment.first, next: segment.first, offset: HEAD as u64 });
        let file = file_name(segment.first);
        let mut chunk = vec![0; CHUNK];
        let read = self.journal.storage.read_at(&file, cursor.offset, &mut chunk)?;
        chunk.truncate(read);
        let chunk = Bytes::from(chunk);
        let mut at = 0;
        while cursor.next < wanted.end && records.len() < max {
            match segment::read_frame(&chunk[at..]) {
                Next::Frame(frame) if frame.sequence == cursor.next => {
                    if wanted.contains(&frame.sequence) {
                        records.push(chunk.slice_ref(frame.record));
                    }
                    at += frame.size();
                    cursor.offset += frame.size() as u64;
                    cursor.next += 1;
                }
                // The chunk ends within a frame, which the next one begins with.
                Next::Short if at > 0 => break,
                _ => return self.step_over(&file, cursor, wanted.end),
            }
        }
        Ok(cursor)
    }

    /// Where the next sound record of a segment stands, behind damage at `cursor`.
    fn step_over(&self, file: &str, cursor: Cursor, end: u64) -> io::Result<Cursor> {
        let bytes = read_all(&self.journal.storage, file)?;
        let rest = bytes.get(cursor.offset as usize..).unwrap_or_default();
        let found = segment::find_frame(rest, cursor.next + 1..end);
        let found = found.and_then(|skip| match segment::read_frame(&rest[skip..]) {
            Next::Frame(frame) => {
                Some(Cursor { next: frame.sequence, offset: cursor.offset + skip as u64, ..cursor })
            }
            Next::Short | Next::Bad => None,
        });
        let next = found.unwrap_or(Cursor { next: end, ..cursor });
        warn!(file, reader = self.name, records = next.next - cursor.next, "damaged records are passed over");
        Ok(next)
    }
}

fn position_file(reader: &str) -> String {
    format!("{reader}.position")
}
