//! The state directory: who holds it, and what is in it beside the journal.
//!
//! | file | what |
//! |---|---|
//! | planet-call-exporter.lock | who holds the directory; says that the directory is ours |
//! | NUMBER.segment | the journal, see `journal::segment` |
//! | NAME.position | how far a reader of the journal is |
//! | ledger.checkpoint, ledger.checkpoint.previous | the totals, see `ledger::checkpoint` |
//! | ledger.checkpoint.damaged | a latest checkpoint that could not be used, for people to look at |
//! | refused.jsonl, refused.jsonl.previous | refused requests |

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tracing::{error, warn};

use crate::journal::storage::{Directory, Storage, read_all, write_new};
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
        /// The directory.
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
    /// A newer version of this program wrote the checkpoint.
    #[error("the checkpoint in {path} cannot be used: {source}")]
    Checkpoint {
        /// The directory.
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
}

impl StateDirectory {
    /// Takes hold of the directory at `path`, which is made if it does not exist.
    ///
    /// # Errors
    /// It cannot be made or written, is held by another process, or is not ours.
    pub fn open(path: &Path) -> Result<StateDirectory, StateError> {
        let disk = |source| StateError::Disk { path: path.to_owned(), source };
        let directory = Directory::new(path).map_err(disk)?;
        let names = directory.list().map_err(disk)?;
        if !names.iter().any(|name| name == LOCK)
            && let Some(file) = names.into_iter().find(|name| name != NOBODYS)
        {
            return Err(StateError::Foreign { path: path.to_owned(), file });
        }
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(disk)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder).map_err(disk)?;
                return Err(StateError::Held { path: path.to_owned(), holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(disk(source)),
        }
        let holder =
            format!("process {} on {}\n", std::process::id(), gethostname::gethostname().to_string_lossy());
        // Who holds it is told for people only, and a full disk may have no room for it.
        if let Err(error) = lock.write_all(holder.as_bytes()).and_then(|()| lock.set_len(holder.len() as u64))
        {
            warn!(%error, "the state directory does not say which process holds it");
        }
        Ok(StateDirectory { directory, _lock: lock })
    }

    /// The directory, for the journal.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What is kept of the totals, with these limits; `None` if there is nothing that can be used.
    ///
    /// # Errors
    /// The disk refuses, or a newer version of this program wrote a checkpoint. A damaged one is reported and set aside,
    /// and the one before it stands in.
    pub fn read_checkpoints(&self, limits: Limits) -> Result<Option<KeptCheckpoints>, StateError> {
        let latest = self.read_checkpoint(CHECKPOINT, limits)?;
        let previous = self.read_checkpoint(PREVIOUS_CHECKPOINT, limits)?;
        let previous_position = previous.as_ref().map(|previous| previous.position);
        Ok(latest
            .or(previous)
            .map(|latest| KeptCheckpoints { previous: previous_position.unwrap_or(latest.position), latest }))
    }

    fn read_checkpoint(&self, name: &str, limits: Limits) -> Result<Option<Checkpoint>, StateError> {
        let path = self.directory.path().join(name);
        let disk = |source| StateError::Disk { path: path.clone(), source };
        let bytes = match read_all(&self.directory, name) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(disk(source)),
        };
        match Checkpoint::decode(&bytes, limits) {
            Ok(checkpoint) => Ok(Some(checkpoint)),
            Err(source @ UnusableCheckpoint::Version(_)) => Err(StateError::Checkpoint { path, source }),
            Err(error) => {
                error!(%error, name, "a checkpoint of the ledger cannot be used");
                // Otherwise the next one would put it in the place of the previous one, which may be the only good one.
                self.directory.rename(name, DAMAGED_CHECKPOINT).map_err(disk)?;
                Ok(None)
            }
        }
    }

    /// Keeps a checkpoint in place of the latest one, which becomes the previous one.
    ///
    /// # Errors
    /// The disk refuses; the latest checkpoint is then still there, or the previous one.
    pub fn write_checkpoint(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let new = write_new(&self.directory, CHECKPOINT, &checkpoint.encode()?)?;
        if self.directory.size(CHECKPOINT).is_ok() {
            self.directory.rename(CHECKPOINT, PREVIOUS_CHECKPOINT)?;
        }
        self.directory.rename(&new, CHECKPOINT)?;
        self.directory.sync_directory()
    }
}

/// What is kept of the totals.
#[derive(Debug)]
pub struct KeptCheckpoints {
    /// The latest checkpoint that can be used.
    pub latest: Checkpoint,
    /// The position of the one before it, which may have to stand in; if there is none, that of the latest.
    pub previous: u64,
}
