//! The state directory: who holds it, and what is in it beside the journal.
//!
//! | file | what |
//! |---|---|
//! | planet-call-exporter.lock | who holds the directory; says that the directory is ours, as a checkpoint or a segment does |
//! | NUMBER.segment | the journal, see `journal::segment` |
//! | NAME.position | how far a reader of the journal is |
//! | ledger.checkpoint, ledger.checkpoint.previous | the totals, see `ledger::checkpoint` |
//! | ledger.checkpoint.reserve | zeros, whose room is for the next checkpoint if the disk is full |
//! | ledger.checkpoint.damaged | a latest checkpoint that could not be used, for people to look at |
//! | NAME.waiting.NUMBER.segment | what waits for a sink, see `journal::waiting` |
//! | refused.jsonl, refused.jsonl.previous | refused requests |
//! | quarantined.jsonl, quarantined.jsonl.previous | records that a part cannot read, see `quarantine` |

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tracing::warn;

use super::checkpoints::{CHECKPOINT, Checkpoints, PREVIOUS_CHECKPOINT};
use crate::journal::is_segment;
use crate::journal::storage::{Directory, NEW, Storage};
use crate::ledger::checkpoint::UnusableCheckpoint;

/// The file that says who holds the directory, and that it is ours.
pub const LOCK: &str = "planet-call-exporter.lock";
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
        Ok(StateDirectory { directory, _lock: lock })
    }

    /// The directory, for the journal.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The checkpoints in it.
    pub fn checkpoints(&self) -> Checkpoints<Directory> {
        Checkpoints::new(self.directory.clone(), self.directory.path())
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
