//! What the journal needs of a disk: files that are appended to and synced, and a directory that is synced too.
//!
//! The real one is [`Directory`]. Tests run on a simulated one, which loses what was not synced, tears writes, fails and
//! runs full.
//!
//! A directory can be removed, moved away or mounted over while it is in use. What is written then is not where the next
//! process looks for it, and must not be acknowledged. So a [`Directory`] is held by its descriptor, all names in it are
//! relative to that, and who acknowledges asks before whether it [is in place](Storage::check_file).

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, statat, unlinkat};
#[cfg(target_os = "linux")]
use rustix::{
    fs::{Statx, StatxFlags},
    io::Errno,
};
use thiserror::Error;

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

    /// Opens a file at its beginning: what is appended takes the place of what it has.
    fn open_at_start(&self, name: &str) -> io::Result<Self::File>;

    /// Reads into `buffer` from `offset` on, and returns how much there was: less than asked for at the end only.
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

    /// Whether the directory is where the next process looks for it.
    fn check(&self) -> io::Result<()>;

    /// Whether the next process finds in the file of this name what is written to `file`.
    fn check_file(&self, name: &str, file: &Self::File) -> io::Result<()>;

    /// When a file was written to last; `None` if that is not known.
    fn written_at(&self, name: &str) -> io::Result<Option<SystemTime>>;

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

/// Why what is written is not where the next process looks for it.
#[derive(Debug, Error)]
pub enum OutOfPlace {
    /// There is no directory any more.
    #[error("the directory {0} was removed or moved away; it is used again when it is back")]
    Gone(PathBuf),
    /// There is another directory in its place.
    #[error(
        "at {0} is another directory than the one that this process holds, which was mounted over or replaced; it is used \
         again when it is back"
    )]
    Replaced(PathBuf),
    /// The file was removed, or there is another one in its place.
    #[error("the file {0} was removed or replaced")]
    File(PathBuf),
}

/// Whether somebody holds the lock of a file. There is no way to ask: it is shared for a moment with who else asks.
pub fn is_locked(file: &File) -> bool {
    match file.try_lock_shared() {
        // It goes with the descriptor at the latest.
        Ok(()) => file.unlock().is_err(),
        Err(error) => matches!(error, TryLockError::WouldBlock),
    }
}

/// A directory of the file system, held by its descriptor: it stays the same one whatever happens to its path. Its files are
/// readable by their owner only. Clones are the same directory.
#[derive(Debug, Clone)]
pub struct Directory(Arc<Held>);

#[derive(Debug)]
struct Held {
    path: PathBuf,
    descriptor: File,
}

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
        Directory::existing(path)
    }

    /// The directory at `path` as it is.
    ///
    /// # Errors
    /// It cannot be opened, or is no directory.
    pub fn existing(path: &Path) -> io::Result<Directory> {
        let descriptor = File::open(path)?;
        if !descriptor.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Directory(Arc::new(Held { path: path.to_owned(), descriptor })))
    }

    /// Where it is, or was when it was opened.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Locks the directory itself until the last clone is dropped, and returns whether nobody else had. Where the file system
    /// cannot lock directories, everybody gets the lock.
    pub fn try_lock(&self) -> bool {
        !matches!(self.0.descriptor.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Whether somebody has locked the directory.
    pub fn is_locked(&self) -> bool {
        is_locked(&self.0.descriptor)
    }

    /// Opens a file for reading and appending, and makes it if it does not exist.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open_or_create(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)
    }

    /// When a file was written to last.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn modified(&self, name: &str) -> io::Result<SystemTime> {
        self.open_with(name, OFlags::RDONLY)?.metadata()?.modified()
    }

    fn open_with(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(openat(&self.0.descriptor, name, flags | OFlags::CLOEXEC, mode)?.into())
    }
}

impl Storage for Directory {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0.descriptor)? {
            let entry = entry?;
            names.extend(entry.file_name().to_str().ok().map(str::to_owned));
        }
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::WRONLY | OFlags::APPEND)
    }

    fn open_at_start(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::WRONLY)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.open_with(name, OFlags::RDONLY)?;
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
        let found = statat(&self.0.descriptor, name, AtFlags::empty())?;
        u64::try_from(found.st_size).map_err(io::Error::other)
    }

    fn written_at(&self, name: &str) -> io::Result<Option<SystemTime>> {
        self.modified(name).map(Some)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.0.descriptor, from, &self.0.descriptor, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.0.descriptor, name, AtFlags::empty())?)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.descriptor.sync_all()
    }

    fn space(&self) -> io::Result<Option<Space>> {
        let disk = rustix::fs::fstatvfs(&self.0.descriptor)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        let space = Space { total: bytes(disk.f_blocks), free: bytes(disk.f_bavail) };
        // A file system that has no bound of its own says 0.
        Ok((space.total > 0).then_some(space))
    }

    fn check(&self) -> io::Result<()> {
        let Held { path, descriptor } = &*self.0;
        match fs::metadata(path) {
            Ok(found) if is_same(&found, &descriptor.metadata()?) => Ok(()),
            Ok(_) => Err(io::Error::other(OutOfPlace::Replaced(path.clone()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(io::Error::other(OutOfPlace::Gone(path.clone())))
            }
            Err(error) => Err(error),
        }
    }

    fn check_file(&self, name: &str, file: &File) -> io::Result<()> {
        let path = self.0.path.join(name);
        let found = Identity::at(&path);
        if let Ok(found) = &found
            && *found == Identity::of(file)?
        {
            return Ok(());
        }
        // It is told which of them is out of place.
        self.check()?;
        match found {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Err(io::Error::other(OutOfPlace::File(path))),
        }
    }
}

/// Whether two descriptions are of one file. They are to be taken at the same time: some file systems number files anew.
fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// What tells a file from all others. Its times are not asked for, which is why these are no [`fs::Metadata`]: a kernel
/// that was asked for them has them change with the very next write, and a sync would have them to write as well.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl From<fs::Metadata> for Identity {
    fn from(found: fs::Metadata) -> Identity {
        Identity { device: found.dev(), inode: found.ino() }
    }
}

#[cfg(target_os = "linux")]
impl Identity {
    fn at(path: &Path) -> io::Result<Identity> {
        let asked = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO);
        Identity::read(asked, || fs::symlink_metadata(path))
    }

    fn of(file: &File) -> io::Result<Identity> {
        let asked = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::INO);
        Identity::read(asked, || file.metadata())
    }

    fn read(
        asked: rustix::io::Result<Statx>,
        otherwise: impl FnOnce() -> io::Result<fs::Metadata>,
    ) -> io::Result<Identity> {
        match asked {
            Ok(found) => Ok(Identity {
                device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
                inode: found.stx_ino,
            }),
            // An old kernel, or a sandbox that does not let it be asked.
            Err(Errno::NOSYS | Errno::PERM) => otherwise().map(Identity::from),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Identity {
    fn at(path: &Path) -> io::Result<Identity> {
        fs::symlink_metadata(path).map(Identity::from)
    }

    fn of(file: &File) -> io::Result<Identity> {
        file.metadata().map(Identity::from)
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

/// The file that is made ahead for the next segment of the journal. Its name is that of something unfinished, which a
/// start removes.
pub const NEXT_SEGMENT: &str = "next.segment.new";

/// Writes, and again with the room of what was made ahead and then with what is set aside, as long as the disk is full.
///
/// # Errors
/// Those of the disk.
pub fn with_reserve<T>(storage: &impl Storage, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut written = write();
    for name in [NEXT_SEGMENT, RESERVE] {
        if written.as_ref().is_err_and(is_full) && storage.remove(name).is_ok() {
            // Some file systems give its room back only then.
            storage.sync_directory()?;
            written = write();
        }
    }
    written
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

/// How the name ends under which is written what is to take the place of a file.
pub const NEW: &str = ".new";

/// Writes what is to take the place of a file, and answers the name under which it is on disk.
///
/// # Errors
/// Those of the disk.
pub fn write_new(storage: &impl Storage, name: &str, bytes: &[u8]) -> io::Result<String> {
    let new = format!("{name}{NEW}");
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

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    fn why(result: io::Result<()>) -> String {
        result.expect_err("out of place").to_string()
    }

    #[test]
    fn a_file_is_in_place_as_long_as_its_path_leads_to_it() {
        let scratch = tempdir().expect("a directory");
        let path = scratch.path().join("state");
        let directory = Directory::new(&path).expect("a directory");
        let file = directory.create("a").expect("a file");
        directory.check_file("a", &file).expect("in place");
        fs::rename(path.join("a"), path.join("b")).expect("renamed");
        assert!(why(directory.check_file("a", &file)).contains("removed or replaced"));
        directory.check_file("b", &file).expect("in place");
        fs::write(path.join("a"), "").expect("another");
        assert!(why(directory.check_file("a", &file)).contains("removed or replaced"));
        directory.check().expect("in place");
    }

    #[test]
    fn a_directory_stays_the_same_wherever_it_goes_and_it_is_told_that_it_is_not_in_place() {
        let scratch = tempdir().expect("a directory");
        let (path, away) = (scratch.path().join("state"), scratch.path().join("away"));
        let directory = Directory::new(&path).expect("a directory");
        let file = directory.create("a").expect("a file");
        fs::rename(&path, &away).expect("moved");
        assert!(why(directory.check()).contains("removed or moved away"));
        fs::create_dir(&path).expect("another");
        assert!(why(directory.check_file("a", &file)).contains("another directory"));
        replace(&directory, "b", b"text").expect("written");
        assert_eq!(fs::read(away.join("b")).expect("read"), b"text");
        assert_eq!(fs::read_dir(&path).expect("read").count(), 0);
        fs::remove_dir(&path).expect("removed");
        fs::rename(&away, &path).expect("moved back");
        directory.check_file("a", &file).expect("in place");
        let mut names = directory.list().expect("names");
        names.sort_unstable();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn nothing_can_be_made_in_a_directory_that_was_removed() {
        let scratch = tempdir().expect("a directory");
        let path = scratch.path().join("state");
        let directory = Directory::new(&path).expect("a directory");
        fs::remove_dir(&path).expect("removed");
        fs::create_dir(&path).expect("another");
        assert!(directory.create("a").is_err());
        assert!(why(directory.check()).contains("another directory"));
    }

    #[test]
    fn a_directory_is_locked_once() {
        let scratch = tempdir().expect("a directory");
        let first = Directory::existing(scratch.path()).expect("a directory");
        let second = Directory::existing(scratch.path()).expect("a directory");
        assert!(first.try_lock() && !second.try_lock());
        drop(first);
        assert!(second.try_lock());
    }
}
