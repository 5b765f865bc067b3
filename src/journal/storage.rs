//! What the journal needs of a disk: files that are appended to and synced, and a directory that is synced too.
//!
//! The real one is [`Directory`]. Tests run on a simulated one, which loses what was not synced, tears writes, fails and
//! runs full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A flat directory of files.
pub trait Storage: Send + Sync + 'static {
    /// A file that is being written.
    type File: StorageFile;

    /// The names of all files.
    ///
    /// # Errors
    /// Those of the disk, as for every method here.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file, which must not exist, and opens it.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file at its end.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Reads into `buffer` from `offset` on, and answers how much there was: less than asked for at the end only.
    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The size of a file in bytes.
    fn size(&self, name: &str) -> io::Result<u64>;

    /// Gives a file another name, in place of a file that had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals so far durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// The space of the disk; `None` if it cannot tell.
    fn space(&self) -> io::Result<Option<Space>>;

    /// The name that a file has for people.
    fn full_name(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// The space of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it, whoever uses it.
    pub total: u64,
    /// What is free for this process.
    pub free: u64,
}

/// A file that is appended to.
pub trait StorageFile: Send + 'static {
    /// Appends bytes. After an error any part of them may have been written.
    ///
    /// # Errors
    /// Those of the disk.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything appended so far durable. After an error nothing is known of what was appended since the last
    /// success, and trying again proves nothing.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives back the room of everything beyond this many bytes, which is not needed. A crash may bring it back.
    ///
    /// # Errors
    /// Those of the disk; the file may be as it was.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

/// A directory of the file system. Its files are readable by their owner only.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// The directory at `path`, which is made if it does not exist, durably.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(path: &Path) -> io::Result<Directory> {
        let absolute = std::path::absolute(path)?;
        let missing: Vec<&Path> = absolute.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        for parent in missing.into_iter().filter_map(Path::parent) {
            File::open(parent)?.sync_all()?;
        }
        Ok(Directory(path.to_owned()))
    }

    /// The directory at `path` as it is.
    pub fn existing(path: &Path) -> Directory {
        Directory(path.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Storage for Directory {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().append(true).create_new(true).mode(0o600).open(self.0.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().append(true).open(self.0.join(name))
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = File::open(self.0.join(name))?;
        let mut read = 0;
        while read < buffer.len() {
            match file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.0.join(name))?.len())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn space(&self) -> io::Result<Option<Space>> {
        let disk = rustix::fs::statvfs(&self.0)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        let space = Space { total: bytes(disk.f_blocks), free: bytes(disk.f_bavail) };
        // A file system that has no bound of its own says 0.
        Ok((space.total > 0).then_some(space))
    }
}

impl StorageFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

/// Whether the disk, or the share of it that this process may use, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The file whose room is set aside for what has to be written on a full disk, so that something can be dropped.
pub const RESERVE: &str = "ledger.checkpoint.reserve";

/// Writes, and once more with the room that is set aside, if the disk is full.
///
/// # Errors
/// Those of the disk.
pub fn with_reserve<T>(storage: &impl Storage, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match write() {
        Err(error) if is_full(&error) && storage.remove(RESERVE).is_ok() => {
            // Some file systems give its room back only then.
            storage.sync_directory()?;
            write()
        }
        written => written,
    }
}

/// Reads a whole file.
///
/// # Errors
/// Those of the disk.
pub fn read_all(storage: &impl Storage, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(storage.size(name)?).map_err(io::Error::other)?];
    let read = storage.read_at(name, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Replaces a file as a whole: after a crash it is the old one or the new one.
///
/// # Errors
/// Those of the disk; the old file is then still there.
pub fn replace(storage: &impl Storage, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = write_new(storage, name, bytes)?;
    storage.rename(&new, name)?;
    storage.sync_directory()
}

/// Writes what is to take the place of a file, and answers the name under which it is on disk.
///
/// # Errors
/// Those of the disk.
pub fn write_new(storage: &impl Storage, name: &str, bytes: &[u8]) -> io::Result<String> {
    let new = format!("{name}.new");
    // One that a crash left behind.
    if storage.size(&new).is_ok() {
        storage.remove(&new)?;
    }
    let mut file = storage.create(&new)?;
    if let Err(error) = file.append(bytes).and_then(|()| file.sync()) {
        // Half of it is of no use, and a full disk needs the room.
        let _ = storage.remove(&new);
        return Err(error);
    }
    Ok(new)
}
