//! A part of a directory: the files whose names have a prefix, which those who use it do not see.

use std::io;
use std::time::SystemTime;

use super::storage::{Space, Storage};

/// The files of `storage` that begin with a prefix, without it.
#[derive(Debug, Clone)]
pub struct Prefixed<S> {
    storage: S,
    prefix: String,
}

impl<S> Prefixed<S> {
    /// The files of `storage` that begin with `prefix`.
    pub fn new(storage: S, prefix: String) -> Prefixed<S> {
        Prefixed { storage, prefix }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl<S: Storage> Storage for Prefixed<S> {
    type File = S::File;

    fn list(&self) -> io::Result<Vec<String>> {
        let names = self.storage.list()?;
        Ok(names.iter().filter_map(|name| name.strip_prefix(&self.prefix)).map(str::to_owned).collect())
    }

    fn create(&self, name: &str) -> io::Result<S::File> {
        self.storage.create(&self.name(name))
    }

    fn open(&self, name: &str) -> io::Result<S::File> {
        self.storage.open(&self.name(name))
    }

    fn open_at_start(&self, name: &str) -> io::Result<S::File> {
        self.storage.open_at_start(&self.name(name))
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.storage.read_at(&self.name(name), offset, buffer)
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        self.storage.size(&self.name(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.storage.rename(&self.name(from), &self.name(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(&self.name(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.storage.sync_directory()
    }

    fn space(&self) -> io::Result<Option<Space>> {
        self.storage.space()
    }

    fn check(&self) -> io::Result<()> {
        self.storage.check()
    }

    fn check_file(&self, name: &str, file: &S::File) -> io::Result<()> {
        self.storage.check_file(&self.name(name), file)
    }

    fn written_at(&self, name: &str) -> io::Result<Option<SystemTime>> {
        self.storage.written_at(&self.name(name))
    }

    fn full_name(&self, name: &str) -> String {
        self.storage.full_name(&self.name(name))
    }
}
