//! Reading all that a journal has, beside those who append and take.

use std::io;

use super::DiskJournal;
use crate::journal::recovery::file_name;
use crate::journal::segment::{self, FRAME_HEAD, LONGEST_RECORD, Next};
use crate::journal::storage::Storage;

/// How much is read at once where records are visited: at least one of the longest.
const VISITED_AT_ONCE: usize = 2 * (FRAME_HEAD + LONGEST_RECORD);

impl<S: Storage> DiskJournal<S> {
    /// Reads what the segments have now, a block at a time, and hands every record to `visit`, up to the first damaged one of each
    /// segment. A segment that is dropped meanwhile is passed over.
    ///
    /// # Errors
    /// The disk fails.
    pub fn visit(&self, mut visit: impl FnMut(u64, &[u8])) -> io::Result<()> {
        let mut block = vec![0; VISITED_AT_ONCE];
        for (first, _) in self.segments() {
            match self.visit_segment(first, &mut block, &mut visit) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                visited => visited?,
            }
        }
        Ok(())
    }

    fn visit_segment(
        &self,
        first: u64,
        block: &mut [u8],
        visit: &mut impl FnMut(u64, &[u8]),
    ) -> io::Result<()> {
        let mut offset = self.records_at(first);
        loop {
            let read = self.storage.read_at(&file_name(first), offset, block)?;
            let mut bytes = &block[..read];
            while let Next::Frame(frame) = segment::read_frame(bytes) {
                visit(frame.sequence, frame.record);
                bytes = &bytes[frame.size()..];
            }
            let visited = read - bytes.len();
            if visited == 0 {
                return Ok(());
            }
            offset += visited as u64;
        }
    }
}
