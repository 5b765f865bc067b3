//! A disk in memory that does to files what real ones do: it loses what was not synced, tears what was being written,
//! also where that takes the place of something, forgets names of which the directory was not synced, refuses writes
//! and syncs, and runs full.

#![allow(clippy::expect_used, reason = "a test fails by panicking, and so does a law")]
#![cfg_attr(not(test), allow(dead_code, reason = "laws need a part of what tests do"))]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use super::storage::{Space, Storage, StorageFile};

/// The disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<u64, Contents>,
    /// What the directory says now.
    names: BTreeMap<String, u64>,
    /// What the directory said at each change since its last sync, the first being the synced one.
    unsynced_names: Vec<BTreeMap<String, u64>>,
    next: u64,
    /// Bytes of an append that are written before it fails, if the next one is to fail.
    failing_append: Option<usize>,
    is_sync_failing: bool,
    /// Bytes that all files may take.
    capacity: Option<usize>,
    /// Before how many more changes the machine stops, if it is to, and what it left then.
    stops_in: Option<usize>,
    stopped: Option<Box<Inner>>,
}

#[derive(Debug, Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    /// What is durable of it, and of what stood there before.
    durable: Vec<u8>,
    /// What was written since the last sync, and where.
    unsynced: Vec<(usize, Vec<u8>)>,
    /// Whether a sync failed: nothing appended from then on becomes durable by a later one, as on real kernels, which
    /// may drop the pages and forget the error.
    is_poisoned: bool,
    /// Whether an append failed for another reason than want of room: such a file cannot be cut either.
    is_broken: bool,
}

impl SimulatedDisk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// Lets the next append write this many of its bytes and fail.
    pub(crate) fn fail_append(&self, written: usize) {
        self.inner().failing_append = Some(written);
    }

    /// Lets the next sync of a file fail.
    pub(crate) fn fail_sync(&self) {
        self.inner().is_sync_failing = true;
    }

    /// Stops the disk: who uses it waits until the returned guard is dropped.
    pub(crate) fn hold(&self) -> impl Drop {
        self.inner()
    }

    /// Lets the disk have room for this many bytes more, or for any number.
    pub(crate) fn limit(&self, room: Option<usize>) {
        let mut inner = self.inner();
        inner.capacity = room.map(|room| inner.used() + room);
    }

    /// What is on the disk after the power was lost. `choice` decides how much of what was not synced survives, and what
    /// stands in place of the rest.
    pub(crate) fn after_power_loss(&self, choice: u64) -> SimulatedDisk {
        let inner = self.inner();
        let mut random = Choices(choice);
        let mut histories = inner.unsynced_names.clone();
        histories.push(inner.names.clone());
        let names = histories.swap_remove(random.below(histories.len()));
        let mut files = BTreeMap::new();
        for id in names.values() {
            let bytes = inner.files[id].after_power_loss(&mut random);
            files.insert(*id, Contents { durable: bytes.clone(), bytes, ..Contents::default() });
        }
        let inner = Inner { files, names, next: inner.next, ..Inner::default() };
        SimulatedDisk(Arc::new(Mutex::new(inner)))
    }

    /// What is on the disk after the process was killed: everything that was written.
    pub(crate) fn after_kill(&self) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(self.inner().image())))
    }

    /// Lets the machine stop before the change after so many more.
    pub(crate) fn stop_in(&self, changes: usize) {
        self.inner().stops_in = Some(changes);
    }

    /// The disk as it was when the machine stopped, if it has; it is not to stop any more.
    pub(crate) fn stopped(&self) -> Option<SimulatedDisk> {
        let mut inner = self.inner();
        inner.stops_in = None;
        inner.stopped.take().map(|stopped| SimulatedDisk(Arc::new(Mutex::new(*stopped))))
    }

    /// Flips a bit of a file.
    pub(crate) fn flip_bit(&self, name: &str, byte: usize, bit: u8) {
        let mut inner = self.inner();
        let id = inner.names[name];
        let contents = inner.files.get_mut(&id).expect("the file of a name");
        contents.bytes[byte] ^= 1 << bit;
        if let Some(durable) = contents.durable.get_mut(byte) {
            *durable ^= 1 << bit;
        }
    }
}

impl Contents {
    /// Writes at `offset`.
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[offset..end].copy_from_slice(bytes);
        self.unsynced.push((offset, bytes.to_vec()));
    }

    fn sync(&mut self) {
        if self.is_poisoned {
            return;
        }
        self.durable.resize(self.bytes.len(), 0);
        for (offset, written) in self.unsynced.drain(..) {
            let places = self.durable.iter_mut().skip(offset);
            places.zip(written).for_each(|(place, byte)| *place = byte);
        }
    }

    /// What is left of it: of what took the place of something, pieces; of what made it longer, the beginning and something in
    /// place of the rest. What was cut may be back.
    fn after_power_loss(&self, random: &mut Choices) -> Vec<u8> {
        let mut left = self.durable.clone();
        if random.below(2) == 0 {
            left.truncate(self.bytes.len());
        }
        for (offset, written) in &self.unsynced {
            let mut rest = &written[..written.len().min(left.len().saturating_sub(*offset))];
            let mut at = *offset;
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.len().min(1 + random.below(LONGEST_PIECE)));
                let place = &mut left[at..at + piece.len()];
                match random.below(3) {
                    0 => {}
                    1 => place.copy_from_slice(piece),
                    _ => place.fill_with(|| random.anything()),
                }
                (at, rest) = (at + piece.len(), behind);
            }
        }
        let longer = self.bytes.get(self.durable.len()..).unwrap_or_default();
        let kept = random.below(longer.len() + 1);
        left.extend_from_slice(&longer[..kept]);
        let torn = random.below(longer.len() - kept + 1);
        left.extend((0..torn).map(|_| random.anything()));
        left
    }
}

/// How long a piece is at most of which all is on the disk after the power was lost, or nothing.
const LONGEST_PIECE: usize = 64;

/// A sequence of choices from a seed (SplitMix64).
struct Choices(u64);

impl Choices {
    /// A byte in place of one that was never written.
    fn anything(&mut self) -> u8 {
        if self.below(2) == 0 { 0 } else { self.below(256) as u8 }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound as u64) as usize
    }
}

impl Inner {
    fn id(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Bytes of the files that have a name.
    fn used(&self) -> usize {
        self.names.values().map(|id| self.files[id].bytes.len()).sum()
    }

    /// What a process that is killed leaves.
    fn image(&self) -> Inner {
        Inner {
            files: self.files.clone(),
            names: self.names.clone(),
            unsynced_names: self.unsynced_names.clone(),
            next: self.next,
            ..Inner::default()
        }
    }

    /// Notes that something is about to change.
    fn note_change(&mut self) {
        match self.stops_in.take() {
            Some(0) => self.stopped = Some(Box::new(self.image())),
            Some(changes) => self.stops_in = Some(changes - 1),
            None => {}
        }
    }

    fn note_names(&mut self) {
        self.note_change();
        let names = self.names.clone();
        self.unsynced_names.push(names);
    }
}

impl Storage for SimulatedDisk {
    type File = SimulatedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut inner = self.inner();
        if inner.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.note_names();
        let id = inner.next;
        inner.next += 1;
        inner.names.insert(name.to_owned(), id);
        inner.files.insert(id, Contents::default());
        Ok(SimulatedFile { disk: self.clone(), id, at: None })
    }

    fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        Ok(SimulatedFile { disk: self.clone(), id: self.inner().id(name)?, at: None })
    }

    fn open_at_start(&self, name: &str) -> io::Result<SimulatedFile> {
        Ok(SimulatedFile { disk: self.clone(), id: self.inner().id(name)?, at: Some(0) })
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = self.inner();
        let bytes = inner.files[&inner.id(name)?].bytes.get(offset as usize..).unwrap_or_default();
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        let inner = self.inner();
        Ok(inner.files[&inner.id(name)?].bytes.len() as u64)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        let id = inner.id(from)?;
        inner.note_names();
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.id(name)?;
        inner.note_names();
        inner.names.remove(name);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.note_change();
        inner.unsynced_names.clear();
        Ok(())
    }

    fn space(&self) -> io::Result<Option<Space>> {
        let inner = self.inner();
        let space = |capacity: usize| Space {
            total: capacity as u64,
            free: capacity.saturating_sub(inner.used()) as u64,
        };
        Ok(inner.capacity.map(space))
    }

    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    fn check_file(&self, _: &str, _: &SimulatedFile) -> io::Result<()> {
        Ok(())
    }

    fn written_at(&self, _: &str) -> io::Result<Option<SystemTime>> {
        Ok(None)
    }
}

/// An open file of the disk.
#[derive(Debug)]
pub(crate) struct SimulatedFile {
    disk: SimulatedDisk,
    id: u64,
    /// Where the next append writes, if that is not the end.
    at: Option<usize>,
}

impl StorageFile for SimulatedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.note_change();
        let used = inner.used();
        let room = inner.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(used));
        let failing = inner.failing_append.take();
        let contents = inner.files.get_mut(&self.id).expect("an open file");
        let at = self.at.unwrap_or(contents.bytes.len());
        // What takes the place of something needs no room.
        let room = room.saturating_add(contents.bytes.len().saturating_sub(at));
        let written = bytes.len().min(room).min(failing.unwrap_or(usize::MAX));
        contents.write(at, &bytes[..written]);
        self.at = self.at.map(|at| at + written);
        contents.is_broken |= failing.is_some();
        if failing.is_some() || written < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.note_change();
        let is_failing = std::mem::take(&mut inner.is_sync_failing);
        let contents = inner.files.get_mut(&self.id).expect("an open file");
        contents.is_poisoned |= is_failing;
        if is_failing {
            return Err(io::Error::other("the disk refused the sync"));
        }
        contents.sync();
        Ok(())
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.note_change();
        let contents = inner.files.get_mut(&self.id).expect("an open file");
        if contents.is_broken {
            return Err(io::Error::other("the disk refused to cut the file"));
        }
        contents.bytes.truncate(bytes as usize);
        Ok(())
    }
}
