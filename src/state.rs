//! The state directory: who holds it, and what is in it beside the journal.
//!
//! | file | what |
//! |---|---|
//! | planet-call-exporter.lock | who holds the directory; says that the directory is ours |
//! | NUMBER.segment | the journal, see `journal::segment` |
//! | NAME.position | how far a reader of the journal is |
//! | ledger.checkpoint, ledger.checkpoint.previous | the totals, see `ledger::checkpoint` |
//! | refused.jsonl, refused.jsonl.previous | refused requests |

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tracing::error;

use crate::journal::storage::{Directory, Storage, read_all, replace};
use crate::ledger::Limits;
use crate::ledger::checkpoint::{Checkpoint, UnusableCheckpoint};

/// The file that says who holds the directory, and that it is ours.
pub const LOCK: &str = "planet-call-exporter.lock";
/// The file of the latest checkpoint.
pub const CHECKPOINT: &str = "ledger.checkpoint";
/// The file of the checkpoint before it.
pub const PREVIOUS_CHECKPOINT: &str = "ledger.checkpoint.previous";

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
        lock.set_len(0).and_then(|()| lock.write_all(holder.as_bytes())).map_err(disk)?;
        Ok(StateDirectory { directory, _lock: lock })
    }

    /// The directory, for the journal.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The latest checkpoint that can be used, with these limits; `None` if there is none.
    ///
    /// # Errors
    /// The disk refuses, or a newer version of this program wrote the checkpoint. A damaged one is reported, and the one
    /// before it stands in.
    pub fn read_checkpoint(&self, limits: Limits) -> Result<Option<Checkpoint>, StateError> {
        for name in [CHECKPOINT, PREVIOUS_CHECKPOINT] {
            let path = self.directory.path().join(name);
            let bytes = match read_all(&self.directory, name) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(StateError::Disk { path, source }),
            };
            match Checkpoint::decode(&bytes, limits) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(source @ UnusableCheckpoint::Version(_)) => {
                    return Err(StateError::Checkpoint { path, source });
                }
                Err(error) => error!(%error, name, "a checkpoint of the ledger cannot be used"),
            }
        }
        Ok(None)
    }

    /// Keeps a checkpoint in place of the latest one, which becomes the previous one.
    ///
    /// # Errors
    /// The disk refuses; the latest checkpoint is then still there, or the previous one.
    pub fn write_checkpoint(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let bytes = checkpoint.encode()?;
        if self.directory.size(CHECKPOINT).is_ok() {
            self.directory.rename(CHECKPOINT, PREVIOUS_CHECKPOINT)?;
        }
        replace(&self.directory, CHECKPOINT, &bytes)
    }
}
