//! The checkpoints of the totals in a state directory: the latest one, and the one before it, which stands in if the latest is
//! damaged.
//!
//! What the journal may drop depends on them, so a full disk must not keep one from being written. Room is set aside for that
//! beforehand: a file of zeros, which is removed when a checkpoint needs its room, and made again when there is enough.

use std::io;
use std::path::{Path, PathBuf};

use tracing::{debug, error};

use super::directory::StateError;
use crate::journal::storage::{RESERVE, Space, Storage, read_all, replace, with_reserve, write_new};
use crate::ledger::Limits;
use crate::ledger::checkpoint::Checkpoint;

/// The file of the latest checkpoint.
pub const CHECKPOINT: &str = "ledger.checkpoint";
/// The file of the checkpoint before it.
pub const PREVIOUS_CHECKPOINT: &str = "ledger.checkpoint.previous";

/// The file of a latest checkpoint that could not be used.
const DAMAGED_CHECKPOINT: &str = "ledger.checkpoint.damaged";

/// The least that is set aside, unless this share of the disk is less; more for checkpoints that are larger than half of it.
const SMALLEST_RESERVE: u64 = 1024 * 1024;
const SMALL_SHARE: u64 = 16;

/// The checkpoints in `storage`.
#[derive(Debug)]
pub struct Checkpoints<S> {
    storage: S,
    path: PathBuf,
    kept: Kept,
}

/// The positions of the two checkpoints; 0 where there is none.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    latest: u64,
    previous: u64,
}

impl<S: Storage> Checkpoints<S> {
    /// The checkpoints in `storage`, which people know as `path`. None is read yet.
    pub fn new(storage: S, path: &Path) -> Checkpoints<S> {
        Checkpoints { storage, path: path.to_owned(), kept: Kept::default() }
    }

    /// The latest checkpoint that can be used, with these limits where it keeps none; `None` if there is none.
    ///
    /// # Errors
    /// It is whole and this version of the program cannot read it, or the disk refuses and nothing can stand in. One that
    /// is damaged is reported and set aside, and the one before it stands in.
    pub fn read(&mut self, limits: &Limits) -> Result<Option<Checkpoint>, StateError> {
        let latest = self.read_file(CHECKPOINT, limits);
        if latest.as_ref().is_err_and(is_whole) {
            return latest;
        }
        let is_to_be_set_aside = latest.is_err();
        let (checkpoint, before) = match (latest, self.read_file(PREVIOUS_CHECKPOINT, limits)) {
            (Ok(Some(latest)), previous) => (Some(latest), previous.unwrap_or_else(report)),
            (latest, Ok(Some(previous))) => {
                // Readers may have been shown more than it knows of.
                let previous = Checkpoint { marks: None, ..previous };
                (latest.unwrap_or_else(report).or(Some(previous)), None)
            }
            (latest, previous) => {
                // The journal is all that there is, unless a person can help.
                for error in [latest.err(), previous.err()].into_iter().flatten() {
                    match &error {
                        StateError::Checkpoint { .. } if !is_whole(&error) => report(error),
                        _ => return Err(error),
                    };
                }
                (None, None)
            }
        };
        if is_to_be_set_aside {
            // Otherwise the next one would put it in the place of the previous one, which may be the only good one.
            let path = self.path.join(CHECKPOINT);
            let set_aside = self.storage.rename(CHECKPOINT, DAMAGED_CHECKPOINT);
            set_aside.map_err(|source| StateError::Disk { path, source })?;
        }
        self.kept = Kept {
            latest: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.position),
            previous: before.map_or(0, |before| before.position),
        };
        Ok(checkpoint)
    }

    /// Whether they can be read, as far as that decides over a start. Nothing is changed.
    ///
    /// # Errors
    /// The one that would be used is whole, and this version of the program cannot read it.
    pub fn check(&self, limits: &Limits) -> Result<(), StateError> {
        match self.read_file(CHECKPOINT, limits) {
            Ok(Some(_)) => Ok(()),
            Err(error) if is_whole(&error) => Err(error),
            Ok(None) | Err(_) => match self.read_file(PREVIOUS_CHECKPOINT, limits) {
                Err(error) if is_whole(&error) => Err(error),
                Ok(_) | Err(_) => Ok(()),
            },
        }
    }

    fn read_file(&self, name: &str, limits: &Limits) -> Result<Option<Checkpoint>, StateError> {
        let path = self.path.join(name);
        match read_all(&self.storage, name) {
            Ok(bytes) => Checkpoint::decode(&bytes, limits)
                .map(Some)
                .map_err(|source| StateError::Checkpoint { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Disk { path, source }),
        }
    }

    /// Keeps a checkpoint in place of the latest one, which becomes the previous one. On a full disk it takes the room that is
    /// set aside.
    ///
    /// # Errors
    /// The disk refuses; the latest checkpoint is then still there, or the previous one.
    pub fn write(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let bytes = checkpoint.encode()?;
        let set_aside = self.storage.size(RESERVE).unwrap_or(0);
        let new = with_reserve(&self.storage, || write_new(&self.storage, CHECKPOINT, &bytes))?;
        if self.storage.size(CHECKPOINT).is_ok() {
            self.storage.rename(CHECKPOINT, PREVIOUS_CHECKPOINT)?;
        }
        self.storage.rename(&new, CHECKPOINT)?;
        self.storage.sync_directory()?;
        self.kept = Kept { latest: checkpoint.position, previous: self.kept.latest };
        if let Err(error) = self.set_aside(bytes.len() as u64, set_aside) {
            debug!(%error, "no room can be set aside for the next checkpoint");
        }
        Ok(())
    }

    /// Sets room aside for the next checkpoint, where one of `bytes` was the last, and `before` bytes were set aside for that.
    /// What was is set aside again. Beyond that it is not to be the last room that there is, which who appends needs.
    fn set_aside(&self, bytes: u64, before: u64) -> io::Result<()> {
        let space = self.storage.space()?.unwrap_or(Space { total: u64::MAX, free: u64::MAX });
        let wanted = SMALLEST_RESERVE.min(space.total / SMALL_SHARE).max(2 * bytes);
        let now = self.storage.size(RESERVE).unwrap_or(0);
        if now >= wanted {
            return Ok(());
        }
        let size = match space.free {
            free if free >= 2 * wanted => wanted,
            free if now == 0 => wanted.min(before).min(free),
            _ => return Ok(()),
        };
        if size == 0 { Ok(()) } else { replace(&self.storage, RESERVE, &vec![0; size as usize]) }
    }

    /// The position of the latest checkpoint; 0 if there is none.
    pub fn position(&self) -> u64 {
        self.kept.latest
    }

    /// The sequence number of the first record of the journal that a checkpoint needs: the one before the latest may have to
    /// stand in, and where there is none, the journal from its beginning.
    pub fn needed_from(&self) -> u64 {
        self.kept.previous
    }
}

/// Whether a checkpoint is as it was written, so that another version of this program can read it.
fn is_whole(error: &StateError) -> bool {
    matches!(error, StateError::Checkpoint { source, .. } if !source.is_damage())
}

/// Reports a checkpoint that cannot be used.
fn report(error: StateError) -> Option<Checkpoint> {
    error!(%error, "a checkpoint of the ledger cannot be used");
    None
}
