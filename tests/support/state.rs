//! State directories with calls of the past.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use planet_call_exporter::callback::{Kind, Record};
use planet_call_exporter::journal::disk::DiskJournal;
use planet_call_exporter::journal::storage::Directory;

/// Records that are appended at once.
const AT_ONCE: usize = 5_000;

/// Makes a state directory whose journal has these calls, each received then, with this query, and that has no checkpoint.
pub fn journal_of(directory: &Path, calls: impl IntoIterator<Item = (SystemTime, String)>) {
    let storage = Directory::new(directory).expect("a directory");
    // It says that the directory is the exporter's.
    fs::write(directory.join("planet-call-exporter.lock"), "").expect("written");
    let journal = DiskJournal::open(storage, 1 << 30, 0, |_, _| {}).expect("a journal");
    let record = |(received_at, query): (SystemTime, String)| {
        let key = Kind::CallEvent.identify(query.as_bytes()).expect("a call").key;
        let query = query.as_bytes();
        Record { kind: Kind::CallEvent, received_at, key, envelope: b"", query }.encode()
    };
    let mut records = calls.into_iter().map(record).peekable();
    while records.peek().is_some() {
        let some: Vec<Bytes> = records.by_ref().take(AT_ONCE).collect();
        journal.append(&some).expect("appended");
    }
}
