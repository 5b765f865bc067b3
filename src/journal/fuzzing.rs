//! Laws of the journal's files, whatever their bytes are.
//!
//! Checksums keep bytes at random from what stands behind them, so each law is asked twice: of the bytes as they are,
//! and of the bytes with checksums that fit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::disk::DiskJournal;
use super::disk_reader::DiskReader;
use super::position::{self, Position};
use super::recovery::{Found, file_name};
use super::segment::FRAME_HEAD;
use super::simulated_disk::SimulatedDisk;
use super::storage::{Storage, read_all, replace};
use super::waiting::{self, Copy, WaitingJournal, look};
use super::{JournalError, LAST, head, inspect, recovery, segment};

/// What the journal may take, so that nothing is dropped.
const MAX_BYTES: u64 = 1 << 30;

/// The records of a journal with their sequence numbers.
type Records = Vec<(u64, Vec<u8>)>;

/// A disk with this file.
fn disk_with(name: &str, bytes: &[u8]) -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    write(&disk, name, bytes);
    disk
}

fn write(disk: &SimulatedDisk, name: &str, bytes: &[u8]) {
    replace(disk, name, bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
}

fn open(disk: &SimulatedDisk, known: u64) -> Result<(DiskJournal<SimulatedDisk>, Records), JournalError> {
    let mut records = Vec::new();
    let journal = DiskJournal::open(disk.clone(), MAX_BYTES, known, |sequence, record| {
        records.push((sequence, record.to_vec()));
    })?;
    Ok((journal, records))
}

/// The name that a segment with these bytes would have.
fn name_of(bytes: &[u8]) -> String {
    let first = head::read(bytes).map_or(0, |head| head.first);
    file_name(if first <= LAST { first } else { 0 })
}

/// The bytes with checksums that fit.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let records_at = head::seal(&mut bytes);
    segment::seal(&mut bytes[records_at..]);
    bytes
}

/// What was found adds up: no record twice, none that is nowhere in the bytes, none that nobody knows of.
fn adds_up(found: &Found, records: &Records, bytes: usize) {
    assert!(records.is_sorted_by(|before, after| before.0 < after.0), "in order");
    let size: usize = records.iter().map(|(_, record)| FRAME_HEAD + record.len()).sum();
    assert!(size <= bytes, "records of {size} bytes in {bytes}");
    let first = found.segments.first().map_or(0, |segment| segment.first);
    assert!(records.iter().all(|(sequence, _)| (first..found.end).contains(sequence)));
    let (numbers, sound) = (found.end - first, records.len() as u64);
    assert!(sound <= numbers && numbers <= sound + found.damaged, "{sound} of {numbers} in {found:?}");
}

/// A segment of the journal. What is sound in it is read, by whoever reads it, and stays readable when the journal goes on.
pub fn journal_segment(bytes: &[u8]) {
    for bytes in [bytes, &sealed(bytes)] {
        // For `replay`, which takes a segment by itself.
        let _ = recovery::read_segment(bytes, |_, _| {});
        let disk = disk_with(&name_of(bytes), bytes);
        let mut seen = Vec::new();
        let visit = |sequence, record: &[u8]| seen.push((sequence, record.to_vec()));
        let Ok(found) = inspect(&disk, 0, visit) else {
            assert!(super::check(&disk).is_err(), "it is refused before anything is changed");
            continue;
        };
        adds_up(&found, &seen, bytes.len());
        goes_on(&disk, seen);
    }
}

/// A journal with these records goes on, and has them all after another start.
fn goes_on(disk: &SimulatedDisk, mut expected: Records) {
    let (journal, records) = open(disk, 0).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(records, expected);
    let new = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let first = journal.append(&new).unwrap_or_else(|error| panic!("{error}"));
    assert!(expected.last().is_none_or(|(last, _)| *last < first));
    expected.extend((first..).zip(new.iter().map(|record| record.to_vec())));
    drop(journal);
    let (journal, records) = open(&disk.after_kill(), 0).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((records, journal.end()), (expected, first + 2));
}

/// A journal of which every record before `known` is in a checkpoint goes on.
pub fn goes_on_from(known: u64) {
    let disk = SimulatedDisk::default();
    for records in 1..3 {
        let (journal, seen) = open(&disk, known).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(seen.len(), records - 1);
        journal.append(&[Bytes::from_static(b"record")]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(journal.end(), known + records as u64);
    }
}

/// The position of a sink. What is read is the same when it is written again, and its reader takes every record once
/// that it has not finished.
pub fn sink_position(bytes: &[u8]) {
    for bytes in [bytes, &position::sealed(bytes)] {
        let decoded = Position::decode(bytes);
        if let Ok(position) = &decoded {
            if position.next > LAST - 10 {
                // Nobody counts on from there but this law.
                continue;
            }
            assert_eq!(Position::decode(&position.encode()).as_ref(), Ok(position));
        }
        let disk = SimulatedDisk::default();
        let (journal, _) = open(&disk, 0).unwrap_or_else(|error| panic!("{error}"));
        let records: Vec<Bytes> = (0..5u8).map(|record| Bytes::copy_from_slice(&[record])).collect();
        journal.append(&records).unwrap_or_else(|error| panic!("{error}"));
        drop(journal);
        write(&disk, &position::file_name("spans"), bytes);
        let Ok((journal, _)) = open(&disk, 0) else { continue };
        let journal = Arc::new(journal);
        let mut reader = match DiskReader::new(&journal, "spans") {
            Ok(reader) => reader,
            Err(error) => {
                assert!(decoded.is_err() && super::check(&disk).is_err(), "{error}");
                continue;
            }
        };
        let mut taken = Vec::new();
        journal.append(&records[..1]).unwrap_or_else(|error| panic!("{error}"));
        loop {
            let records = reader.take(2).unwrap_or_else(|error| panic!("{error}"));
            if records.is_empty() {
                break;
            }
            taken.extend(records.into_iter().map(|(sequence, _)| sequence));
        }
        assert!(taken.is_sorted_by(|before, after| before < after), "{taken:?}");
        let end = journal.end();
        assert_eq!(taken.last(), Some(&(end - 1)), "the new one is among them");
        reader.done_except(&[end - 1], reader.waiting_end()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(reader.waiting(), 0);
        let kept = read_all(&disk, &position::file_name("spans")).unwrap_or_else(|error| panic!("{error}"));
        let kept = Position::decode(&kept).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((kept.next, kept.unfinished), (end, vec![end - 1]));
    }
}

/// A segment of a waiting journal. What waits in it is what a look says, each once, and stays there while the journal goes on.
pub fn waiting_segment(bytes: &[u8]) {
    for bytes in [bytes, &sealed(bytes)] {
        let name = format!("{}{}", waiting::prefix("service"), name_of(bytes));
        let disk = disk_with(&name, bytes);
        let open = |disk: &SimulatedDisk, most| {
            let mut waiting = Vec::new();
            let visit = |copy: waiting::Waiting| waiting.push(copy);
            let journal = WaitingJournal::open(disk.clone(), "service", MAX_BYTES, 0, most, visit, |_| {});
            journal.map(|journal| (journal, waiting))
        };
        let looked = look::inspect(disk.clone(), "service", 0);
        let Ok((mut journal, found)) = open(&disk, usize::MAX) else {
            assert!(looked.is_err());
            continue;
        };
        assert_eq!(looked.ok().map(|looked| looked.waiting), Some(found.len() as u64));
        for waiting in &found {
            let record = journal.read(waiting.ticket).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(record, waiting.copy.record);
        }
        if let Some(first) = found.first() {
            journal.finish(first.ticket);
        }
        let new = Copy { origin: 7, order: None, record: Bytes::from_static(b"record") };
        journal.append(std::slice::from_ref(&new)).unwrap_or_else(|error| panic!("{error}"));
        drop(journal);
        let copies = |found: &[waiting::Waiting]| -> Vec<Copy> {
            found.iter().map(|waiting| waiting.copy.clone()).collect()
        };
        let expected = [copies(found.get(1..).unwrap_or_default()), vec![new]].concat();
        let (_, again) = open(&disk.after_kill(), usize::MAX).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(copies(&again), expected);
        // Those that are not kept in memory are found on disk.
        let (mut journal, mut few) = open(&disk, 1).unwrap_or_else(|error| panic!("{error}"));
        while journal.unindexed() > 0 {
            let more = journal.index(2).unwrap_or_else(|error| panic!("{error}"));
            assert!(!more.is_empty(), "{} are left", journal.unindexed());
            few.extend(more);
        }
        assert_eq!(copies(&few), expected);
    }
}

/// Sizes of the batches in the segments of the journal that is damaged.
const BATCHES: [&[u64]; 3] = [&[2, 3], &[1, 4, 1], &[3, 2]];

/// A journal of which each eight bytes damage something: a bit is flipped, a piece is cut out, moved, zeroed, a file
/// goes on with zeros, or it is cut short. What is read is what was written there, and what is not read is counted, as
/// far as anybody can know.
pub fn damaged_journal(script: &[u8]) {
    let disk = SimulatedDisk::default();
    let (journal, _) = open(&disk, 0).unwrap_or_else(|error| panic!("{error}"));
    let mut written = Vec::new();
    for (place, batches) in BATCHES.iter().enumerate() {
        for batch in *batches {
            let record = |at| {
                let sequence = written.len() as u64 + at;
                (sequence, format!("record {sequence} {}", "x".repeat(sequence as usize % 7)).into_bytes())
            };
            let records: Records = (0..*batch).map(record).collect();
            let bytes: Vec<Bytes> =
                records.iter().map(|(_, record)| Bytes::copy_from_slice(record)).collect();
            journal.append(&bytes).unwrap_or_else(|error| panic!("{error}"));
            written.extend(records);
        }
        if place + 1 < BATCHES.len() {
            let closed = journal.close_older_than(Duration::ZERO, Instant::now());
            closed.unwrap_or_else(|error| panic!("{error}"));
        }
    }
    drop(journal);
    let mut names = disk.list().unwrap_or_default();
    names.sort_unstable();
    let mut size = 0;
    for damage in script.chunks_exact(8) {
        let name = &names[usize::from(damage[0]) % names.len()];
        let mut bytes = read_all(&disk, name).unwrap_or_default();
        damage_bytes(&mut bytes, damage);
        write(&disk, name, &bytes);
    }
    for name in &names {
        size += read_all(&disk, name).unwrap_or_default().len();
    }
    for known in [0, written.len() as u64] {
        let mut records = Vec::new();
        let visit = |sequence, record: &[u8]| records.push((sequence, record.to_vec()));
        let found = inspect(&disk, known, visit).unwrap_or_else(|error| panic!("{error}"));
        adds_up(&found, &records, size);
        assert!(records.iter().all(|record| written.contains(record)), "only what was written");
        let missing = (written.len() - records.len()) as u64;
        assert!(known == 0 || found.damaged >= missing, "{missing} are missing, and {found:?}");
    }
    let mut records = Vec::new();
    let found = inspect(&disk, 0, |sequence, record| records.push((sequence, record.to_vec())));
    assert!(found.is_ok());
    goes_on(&disk, records);
}

fn damage_bytes(bytes: &mut Vec<u8>, damage: &[u8]) {
    let number = |at: usize| usize::from(u16::from_be_bytes([damage[at], damage[at + 1]]));
    let size = bytes.len();
    if size == 0 {
        return;
    }
    let (from, to) = (number(2) % size, number(4) % size);
    let until = from + usize::from(damage[6]).min(size - from);
    match damage[1] % 6 {
        0 => bytes[from] ^= 1 << (damage[6] % 8),
        1 => drop(bytes.drain(from..until)),
        2 => bytes.copy_within(from..until.min(from + (size - to)), to),
        3 => bytes[from..until].fill(0),
        // As much as a segment that was made ahead has behind its records.
        4 => bytes.resize(size + 100 * usize::from(damage[6]), 0),
        _ => bytes.truncate(from),
    }
}
