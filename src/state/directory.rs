//! The state directory: who holds it, and what is in it beside the journal.
//!
//! `journal/FORMAT.md` lists its files and describes each to the byte.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::Access;
use thiserror::Error;
use tracing::warn;

use super::OpenError;
use super::checkpoints::{CHECKPOINT, Checkpoints, PREVIOUS_CHECKPOINT};
use crate::http::shown;
use crate::journal::storage::{Directory, NEW, Storage, is_locked};
use crate::journal::{self, is_segment};
use crate::ledger::Limits;
use crate::ledger::checkpoint::UnusableCheckpoint;

/// The file that says who holds the directory, and that it is ours.
pub const LOCK: &str = "planet-call-exporter.lock";
/// What a fresh volume may hold without being anybody's.
const NOBODYS: &str = "lost+found";

/// Why a state directory cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// The disk refused.
    #[error(
        "cannot use the state directory {path}: {source}; expected one that this process may make, read and write"
    )]
    Disk {
        /// The directory, or a file in it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process holds it.
    #[error(
        "the state directory {path} is held by {holder}; give each process a directory of its own, or set --state-lock-wait if that one is about to end"
    )]
    Held {
        /// The directory.
        path: PathBuf,
        /// What the holder wrote of itself, and when.
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
    /// Takes hold of the directory at `path`, which is made if it does not exist. While another process holds it, this
    /// waits, up to so long, and `note_held` is told once who that is.
    ///
    /// # Errors
    /// It cannot be made or written, is still held by another process, or is not ours.
    pub fn open(
        path: &Path,
        wait: Duration,
        mut note_held: impl FnMut(&str),
    ) -> Result<StateDirectory, StateError> {
        let disk = |source| StateError::Disk { path: path.to_owned(), source };
        let directory = Directory::new(path).map_err(disk)?;
        refuse_foreign(&directory)?;
        let mut lock = directory.open_or_create(LOCK).map_err(disk)?;
        let take = || match lock.try_lock() {
            // Somebody may have removed the file of who holds it.
            Ok(()) => Ok(directory.try_lock()),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(source)) => Err(disk(source)),
        };
        let started = Instant::now();
        let mut is_said = false;
        while !take()? {
            let waited = started.elapsed();
            if waited >= PATIENCE.max(wait) {
                return Err(StateError::Held { path: path.to_owned(), holder: holder(&lock).map_err(disk)? });
            }
            if waited >= PATIENCE && !is_said {
                is_said = true;
                note_held(&holder(&lock).map_err(disk)?);
            }
            std::thread::sleep(PAUSE);
        }
        let own =
            format!("process {} on {}\n", std::process::id(), gethostname::gethostname().to_string_lossy());
        // Who holds it is told for people only, and a full disk may have no room for it.
        if let Err(error) = lock.set_len(0).and_then(|()| lock.write_all(own.as_bytes())) {
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

/// Who only looks whether a directory is held shares its lock for a moment: so it is tried again for so long, after
/// such pauses.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(20);

/// Looks whether the state directory at `path` could be used, without changing anything.
///
/// # Errors
/// It could not be made or written, is held by another process, or is not ours, or this version cannot read it.
pub fn look(path: &Path, limits: &Limits) -> Result<Look, OpenError> {
    let disk = |source| StateError::Disk { path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(disk)?;
    let found =
        absolute.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok()).unwrap_or(&absolute);
    let usable = |path: &Path, access| {
        rustix::fs::access(path, access)
            .map_err(|error| StateError::Disk { path: path.to_owned(), source: error.into() })
    };
    let directory =
        Directory::existing(found).map_err(|source| StateError::Disk { path: found.to_owned(), source })?;
    usable(found, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?;
    if found != absolute {
        return Ok(Look::ToBeMade);
    }
    refuse_foreign(&directory)?;
    for name in directory.list().map_err(disk)?.iter().filter(|name| *name != NOBODYS) {
        usable(&path.join(name), Access::READ_OK | Access::WRITE_OK)?;
    }
    let lock = match File::open(path.join(LOCK)) {
        Ok(lock) => Some(lock),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(disk(source).into()),
    };
    if directory.is_locked() || lock.as_ref().is_some_and(is_locked) {
        let holder = lock.as_ref().map_or_else(|| Ok(SOMEBODY.to_owned()), holder).map_err(disk)?;
        return Err(StateError::Held { path: path.to_owned(), holder }.into());
    }
    journal::check(&directory)?;
    Checkpoints::new(directory.clone(), path).check(limits)?;
    match is_ours(&directory).map_err(disk)? {
        true => Ok(Look::Ours),
        false => Ok(Look::Empty),
    }
}

/// What stands at the path of a state directory that could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing yet.
    ToBeMade,
    /// An empty directory.
    Empty,
    /// State of this program.
    Ours,
}

fn refuse_foreign(directory: &Directory) -> Result<(), StateError> {
    let disk = |source| StateError::Disk { path: directory.path().to_owned(), source };
    if is_ours(directory).map_err(disk)? {
        return Ok(());
    }
    match directory.list().map_err(disk)?.into_iter().find(|name| name != NOBODYS) {
        Some(file) => Err(StateError::Foreign { path: directory.path().to_owned(), file }),
        None => Ok(()),
    }
}

/// Bytes that are shown of what a holder wrote of itself.
const LONGEST_HOLDER: u64 = 512;

/// Who holds a directory that does not say.
const SOMEBODY: &str = "another process";

/// Who holds a directory, and since when, as its lock file says.
fn holder(mut lock: &File) -> io::Result<String> {
    let mut holder = Vec::new();
    lock.rewind()?;
    lock.take(LONGEST_HOLDER).read_to_end(&mut holder)?;
    let holder = String::from_utf8_lossy(&holder);
    let holder = shown::escaped(holder.trim(), |_| false);
    let since = lock.metadata()?.modified().unwrap_or(SystemTime::UNIX_EPOCH).max(SystemTime::UNIX_EPOCH);
    Ok(match &*holder {
        "" => SOMEBODY.to_owned(),
        // In a pod it may have the same number and the same host as the one that asks.
        holder => format!("{holder} since {}", humantime::format_rfc3339_seconds(since)),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<StateDirectory, StateError> {
        StateDirectory::open(path, Duration::ZERO, |_| {})
    }

    #[test]
    fn who_only_looks_for_a_moment_keeps_nobody_from_a_directory() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().to_owned();
        drop(open(&path).expect("it is free"));
        let looking = File::open(path.join(LOCK)).expect("the lock file");
        looking.lock_shared().expect("a lock");
        let opening = std::thread::spawn(move || open(&path).map(drop));
        std::thread::sleep(PAUSE * 2);
        looking.unlock().expect("unlocked");
        opening.join().expect("no panic").expect("it is free again");
    }

    #[test]
    fn a_look_says_who_holds_a_directory_and_takes_nothing() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("state");
        let look = || look(&path, &Limits::default());
        assert_eq!(look().expect("it can be made"), Look::ToBeMade);
        assert!(!path.exists());
        let held = open(&path).expect("it is free");
        let holder = format!("process {}", std::process::id());
        assert!(look().expect_err("it is held").to_string().contains(&holder));
        drop(held);
        for _ in 0..2 {
            assert_eq!(look().expect("it is free"), Look::Ours);
        }
        open(&path).expect("nobody holds it");
    }
}
