//! The state directory: who holds it, and what is in it beside the journal.
//!
//! | file | what |
//! |---|---|
//! | planet-call-exporter.lock | who holds the directory; says that the directory is ours, as a checkpoint or a segment does |
//! | NUMBER.segment | the journal, see `journal::segment` |
//! | NAME.position | how far a reader of the journal is |
//! | ledger.checkpoint, ledger.checkpoint.previous | the totals, see `ledger::checkpoint` |
//! | ledger.checkpoint.damaged | a latest checkpoint that could not be used, for people to look at |
//! | NAME.waiting.NUMBER.segment | what waits for a sink, see `journal::waiting` |
//! | refused.jsonl, refused.jsonl.previous | refused requests |
//! | quarantined.jsonl, quarantined.jsonl.previous | records that a part cannot read, see `quarantine` |

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tracing::{error, warn};

use crate::journal::is_segment;
use crate::journal::storage::{Directory, NEW, Storage, read_all, write_new};
use crate::ledger::Limits;
use crate::ledger::checkpoint::{Checkpoint, UnusableCheckpoint};

/// The file that says who holds the directory, and that it is ours.
pub const LOCK: &str = "planet-call-exporter.lock";
/// The file of the latest checkpoint.
pub const CHECKPOINT: &str = "ledger.checkpoint";
/// The file of the checkpoint before it.
pub const PREVIOUS_CHECKPOINT: &str = "ledger.checkpoint.previous";

/// The file of a latest checkpoint that could not be used.
const DAMAGED_CHECKPOINT: &str = "ledger.checkpoint.damaged";

/// What a fresh volume may hold without being anybody's.
const NOBODYS: &str = "lost+found";

/// Why a state directory cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// The disk refused.
    #[error("cannot use the state directory {path}: {source}")]
    Disk {
        /// The directory, or a file in it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process holds it.
    #[error("the state directory {path} is held by {holder}; give each process a directory of its own")]
    Held {
        /// The directory.
        path: PathBuf,
        /// What the holder wrote of itself.
        holder: String,
    },
    /// It is somebody else's.
    #[error(
        "{path} holds other files, such as {file}, and no state of this program; expected an empty directory"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the files.
        file: String,
    },
    /// A checkpoint is damaged, or another version of this program wrote it, which can read it.
    #[error("the checkpoint in {path} cannot be used: {source}")]
    Checkpoint {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: UnusableCheckpoint,
    },
}

/// A state directory that this process holds until it ends.
#[derive(Debug)]
pub struct StateDirectory {
    directory: Directory,
    _lock: File,
    kept: Kept,
}

impl StateDirectory {
    /// Takes hold of the directory at `path`, which is made if it does not exist.
    ///
    /// # Errors
    /// It cannot be made or written, is held by another process, or is not ours.
    pub fn open(path: &Path) -> Result<StateDirectory, StateError> {
        let disk = |source| StateError::Disk { path: path.to_owned(), source };
        let directory = Directory::new(path).map_err(disk)?;
        if !is_ours(&directory).map_err(disk)?
            && let Some(file) = directory.list().map_err(disk)?.into_iter().find(|name| name != NOBODYS)
        {
            return Err(StateError::Foreign { path: path.to_owned(), file });
        }
        let mut lock = directory.open_or_create(LOCK).map_err(disk)?;
        let is_free = match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(source)) => return Err(disk(source)),
        };
        // Somebody may have removed the file of who holds it.
        if !is_free || !directory.try_lock() {
            let mut holder = String::new();
            lock.read_to_string(&mut holder).map_err(disk)?;
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                holder => holder.to_owned(),
            };
            return Err(StateError::Held { path: path.to_owned(), holder });
        }
        let holder =
            format!("process {} on {}\n", std::process::id(), gethostname::gethostname().to_string_lossy());
        // Who holds it is told for people only, and a full disk may have no room for it.
        if let Err(error) = lock.set_len(0).and_then(|()| lock.write_all(holder.as_bytes())) {
            warn!(%error, "the state directory does not say which process holds it");
        }
        Ok(StateDirectory { directory, _lock: lock, kept: Kept::default() })
    }

    /// The directory, for the journal.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Removes what was being written in place of a file when a process died. It is of no use, and may name people.
    pub fn remove_unfinished(&self) {
        for name in self.directory.list().unwrap_or_default() {
            if name.ends_with(NEW)
                && let Err(error) = self.directory.remove(&name)
            {
                warn!(%error, file = name, "what an earlier process did not finish writing cannot be removed");
            }
        }
    }

    /// The latest checkpoint that can be used, with these limits; `None` if there is none.
    ///
    /// # Errors
    /// It is whole and this version of the program cannot read it, or the disk refuses and nothing can stand in. One that
    /// is damaged is reported and set aside, and the one before it stands in.
    pub fn read_checkpoint(&mut self, limits: Limits) -> Result<Option<Checkpoint>, StateError> {
        let latest = self.read(CHECKPOINT, limits);
        if latest.as_ref().is_err_and(is_whole) {
            return latest;
        }
        let is_to_be_set_aside = latest.is_err();
        let (checkpoint, before) = match (latest, self.read(PREVIOUS_CHECKPOINT, limits)) {
            (Ok(Some(latest)), previous) => (Some(latest), previous.unwrap_or_else(report)),
            (latest, Ok(Some(previous))) => (latest.unwrap_or_else(report).or(Some(previous)), None),
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
            let path = self.directory.path().join(CHECKPOINT);
            let set_aside = self.directory.rename(CHECKPOINT, DAMAGED_CHECKPOINT);
            set_aside.map_err(|source| StateError::Disk { path, source })?;
        }
        self.kept = Kept {
            latest: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.position),
            previous: before.map_or(0, |before| before.position),
        };
        Ok(checkpoint)
    }

    fn read(&self, name: &str, limits: Limits) -> Result<Option<Checkpoint>, StateError> {
        let path = self.directory.path().join(name);
        match read_all(&self.directory, name) {
            Ok(bytes) => Checkpoint::decode(&bytes, limits)
                .map(Some)
                .map_err(|source| StateError::Checkpoint { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Disk { path, source }),
        }
    }

    /// Keeps a checkpoint in place of the latest one, which becomes the previous one.
    ///
    /// # Errors
    /// The disk refuses; the latest checkpoint is then still there, or the previous one.
    pub fn write_checkpoint(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let new = write_new(&self.directory, CHECKPOINT, &checkpoint.encode()?)?;
        if self.directory.size(CHECKPOINT).is_ok() {
            self.directory.rename(CHECKPOINT, PREVIOUS_CHECKPOINT)?;
        }
        self.directory.rename(&new, CHECKPOINT)?;
        self.directory.sync_directory()?;
        self.kept = Kept { latest: checkpoint.position, previous: self.kept.latest };
        Ok(())
    }

    /// The position of the latest checkpoint; 0 if there is none.
    pub fn checkpoint_position(&self) -> u64 {
        self.kept.latest
    }

    /// The sequence number of the first record of the journal that a checkpoint needs: the one before the latest may have to
    /// stand in, and where there is none, the journal from its beginning.
    pub fn needed_from(&self) -> u64 {
        self.kept.previous
    }
}

/// Whether a directory holds state of this program: it says so, or has a checkpoint or a segment of the journal.
///
/// # Errors
/// Those of the disk.
pub fn is_ours(directory: &Directory) -> io::Result<bool> {
    let names = directory.list()?;
    let is_known = |name: &str| [LOCK, CHECKPOINT, PREVIOUS_CHECKPOINT].contains(&name);
    if names.iter().any(|name| is_known(name)) {
        return Ok(true);
    }
    let mut beginning = [0; 8];
    let mut segments = names.iter().filter(|name| name.ends_with(".segment"));
    Ok(segments.any(|name| directory.read_at(name, 0, &mut beginning).is_ok() && is_segment(&beginning)))
}

/// The positions of the two checkpoints; 0 where there is none.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    latest: u64,
    previous: u64,
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
