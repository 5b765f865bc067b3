//! What a start does: it reads what is there, says what is damaged or torn, and makes durable what was read.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, OnceLock};

use tokio::sync::Notify;
use tracing::{error, warn};

use super::ahead::Next;
use super::{DiskJournal, State, Writer};
use crate::http::pace::Pace;
use crate::journal::JournalError;
use crate::journal::recovery::{Found, Segment, Stored, file_name, read_segments};
use crate::journal::storage::{Storage, StorageFile, replace};

impl<S: Storage> DiskJournal<S> {
    /// Opens the journal in `storage` and hands every record to `visit`, in order, with its sequence number. Those before
    /// `known` are known to have been acknowledged; the next record gets at least that number. Segments may take `max_bytes`.
    ///
    /// # Errors
    /// The disk fails, or a newer version of this program wrote it. Damage is no error: it is reported, counted and stepped
    /// over.
    pub fn open(
        storage: S,
        max_bytes: u64,
        known: u64,
        mut visit: impl FnMut(u64, &[u8]),
    ) -> Result<DiskJournal<S>, JournalError> {
        DiskJournal::open_with_places(storage, max_bytes, known, |stored| {
            visit(stored.sequence, stored.record);
        })
    }

    /// The same, for who wants to know where each record is.
    ///
    /// # Errors
    /// Those of [`DiskJournal::open`].
    pub(in crate::journal) fn open_with_places(
        storage: S,
        max_bytes: u64,
        known: u64,
        visit: impl FnMut(Stored<'_>),
    ) -> Result<DiskJournal<S>, JournalError> {
        let mut found = read_segments(&storage, known, visit)?;
        report(&storage, &found);
        if let Some(last) = found.segments.last_mut() {
            let name = file_name(last.first);
            secure(&storage, &name, found.last.as_deref())?;
            last.bytes = storage.size(&name)?;
        }
        let state = State {
            end: found.end.max(found.known),
            segments: found.segments,
            readers: Vec::new(),
            damaged: found.damaged,
            drops_logged: Pace::default(),
            zeroed: 0,
            batches: 0,
            next: Next::None,
        };
        Ok(DiskJournal {
            storage,
            writer: Mutex::new(Writer { active: None, buffer: Vec::new(), since: None }),
            state: Mutex::new(state),
            wishes: OnceLock::new(),
            appended: Notify::new(),
            max_bytes,
            beside: AtomicU64::new(0),
            logged: Pace::default(),
        })
    }
}

/// Says what was found damaged or torn.
fn report(storage: &impl Storage, found: &Found) {
    for Segment { first, damaged, .. } in found.segments.iter().filter(|segment| segment.damaged > 0) {
        error!(
            segment = storage.full_name(&file_name(*first)),
            records = damaged,
            "a segment of the journal is damaged; its sound records are used"
        );
    }
    if let Some(last) = found.segments.last().filter(|_| found.torn.bytes > 0) {
        warn!(
            segment = storage.full_name(&file_name(last.first)),
            bytes = found.torn.bytes,
            sound_records = found.torn.sound,
            "the journal has a torn end, which is cut: what was being written and was never acknowledged, as far as \
             checkpoints and positions tell"
        );
    }
}

/// Makes durable what was read of the last segment. What a killed process had written and not synced can be read now, and
/// must stay, since it is in the totals now. Syncing the file is not enough: where a sync failed before, another may
/// succeed without anything having been written. So the segment is written anew, without its torn end.
fn secure(storage: &impl Storage, name: &str, sound: Option<&[u8]>) -> io::Result<()> {
    match sound.map(|bytes| replace(storage, name, bytes)) {
        Some(Ok(())) => Ok(()),
        // A damaged segment is left as it is for people to look at, and a full disk is no reason not to start.
        Some(Err(_)) | None => {
            let mut file = storage.open(name)?;
            if let Some(sound) = sound {
                // A full disk needs the room of the torn end.
                let _ = file.cut(sound.len() as u64);
            }
            file.sync()?;
            // That it is there makes void what lies beyond its first record in the one before it.
            storage.sync_directory()
        }
    }
}
