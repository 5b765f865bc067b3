//! What FORMAT.md promises: its examples are what is written, older files are read, and newer ones are refused.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::header::{HOST, HeaderMap, HeaderValue};

use super::disk::DiskJournal;
use super::disk_reader::DiskReader;
use super::position::{self, BadPosition, Position};
use super::prefixed::Prefixed;
use super::simulated_disk::SimulatedDisk;
use super::storage::{Storage, StorageFile, read_all};
use super::waiting::{self, Copy, WaitingJournal};
use super::{BadHead, JournalError, head, inspect, recovery, segment};
use crate::callback::{Kind, Record, envelope};
use crate::release::Release;

const FORMAT: &str = include_str!("FORMAT.md");

const RELEASE_0_2_0: Release = Release { major: 0, minor: 2, patch: 0 };
const LATER: Release = Release { major: u16::MAX, minor: 0, patch: 0 };

/// The examples of FORMAT.md of this kind.
fn examples(kind: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("```{kind}\n");
    let blocks: Vec<_> = FORMAT.split(&fence).skip(1).map(|rest| rest.split("```").next()).collect();
    blocks.into_iter().flatten()
}

/// The bytes of a dump: in each line the offset, bytes, and what they are behind a semicolon.
fn dumped(dump: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in dump.lines() {
        let mut columns = line.split(';').next().into_iter().flat_map(str::split_whitespace);
        let offset = columns.next().map(|offset| usize::from_str_radix(offset, 16));
        assert_eq!(offset, Some(Ok(bytes.len())), "{line}");
        bytes.extend(columns.map(|byte| u8::from_str_radix(byte, 16).expect("a byte")));
    }
    bytes
}

/// A disk with a file of these bytes.
fn disk_with(name: &str, bytes: &[u8]) -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    let mut file = disk.create(name).expect("a file");
    file.append(bytes).expect("written");
    disk
}

/// The records of a journal on this disk, or why it cannot be opened.
fn records(disk: &SimulatedDisk) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
    let mut records = Vec::new();
    let journal = DiskJournal::open(disk.clone(), 1_000, 0, |sequence, record| {
        records.push((sequence, record.to_vec()));
    })?;
    assert_eq!(journal.damaged(), 0);
    // A reader finds the same.
    let position = position::file_name("spans");
    if disk.size(&position).is_err() {
        disk.create(&position).expect("a file").append(b"0").expect("written");
    }
    let mut reader = DiskReader::new(&Arc::new(journal), "spans")?;
    let taken = reader.take(usize::MAX).expect("a disk that can be read");
    assert!(taken.iter().map(|(sequence, record)| (*sequence, record.to_vec())).eq(records.iter().cloned()));
    Ok(records)
}

#[test]
fn the_examples_of_segments_are_some() {
    let sid = b"\x63\x64\xe8\xb3\xbd\xac\x43\x6e\x96\x31\x0b\xce\x24\x98\xce\x0c";
    let query = b"sid=6364e8b3-bdac-436e-9631-0bce2498ce0c";
    let time = 1_582_527_434_567u64.to_be_bytes();
    let record = [&[3, 1, 0, 28], &time[..], sid, &[0; 4], query].concat();
    let older_record = [&[1], &time[..], sid, query].concat();
    let segments = [
        (head::encode_as(42, RELEASE_0_2_0, RELEASE_0_2_0, &[]), record),
        (head::common(42, 1).to_vec(), older_record),
    ];
    let examples: Vec<_> = examples("segment").map(dumped).collect();
    assert_eq!(examples.len(), segments.len());
    for (example, (mut segment, record)) in examples.into_iter().zip(segments) {
        segment::write_frame(&mut segment, 42, 0, &record);
        assert_eq!(example, segment);
        let disk = disk_with(&recovery::file_name(42), &example);
        assert_eq!(records(&disk).expect("a journal"), [(42, record)]);
    }
}

#[test]
fn the_example_of_a_record_is_one() {
    let [example] = examples("record").map(dumped).collect::<Vec<_>>().try_into().expect("an example");
    let received_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_582_527_434_567);
    let query = b"sid=6364e8b3-bdac-436e-9631-0bce2498ce0c";
    let key = Kind::CallEvent.identify(&[&query[..], b"&duration=1"].concat()).expect("a call").key;
    let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("planet"))]);
    let envelope = envelope::encode("/call_event", &headers).expect("an envelope");
    let record = Record { kind: Kind::CallEvent, received_at, key, envelope: &envelope, query };
    assert_eq!(example, record.encode());
    assert_eq!(Record::decode(&example), Ok(record));
}

/// What a waiting journal writes that takes these copies, and of which those at these places are finished.
fn entries(copies: &[Copy], finished: &[usize]) -> Vec<Vec<u8>> {
    let disk = SimulatedDisk::default();
    let mut journal = WaitingJournal::open(disk.clone(), "service", 100_000, 0, 100, |_| {}, |_| {})
        .expect("a waiting journal");
    let tickets = journal.append(copies).expect("appended");
    finished.iter().for_each(|number| journal.finish(tickets[*number]));
    journal.append(&[]).expect("noted");
    let mut entries = Vec::new();
    inspect(&Prefixed::new(disk, waiting::prefix("service")), 0, |_, entry| entries.push(entry.to_vec()))
        .expect("a journal");
    entries
}

#[test]
fn the_examples_of_entries_are_some() {
    let copy = Copy { origin: 41, order: Some(0x1122_3344_5566_7788), record: Bytes::from_static(b"record") };
    let [of_copy, of_finished] =
        examples("entry").map(dumped).collect::<Vec<_>>().try_into().expect("two examples");
    let entries = entries(&vec![copy; 10], &[7, 9]);
    assert_eq!((&entries[0], &entries[10]), (&of_copy, &of_finished));
}

#[test]
fn the_examples_of_positions_are_some() {
    let [example, older] = examples("position").collect::<Vec<_>>().try_into().expect("two examples");
    let position = Position { next: 43, unfinished: vec![40, 42], waiting_end: 0 };
    assert_eq!(Position::decode(example.as_bytes()), Ok(position.clone()));
    assert_eq!(Position::decode(older.as_bytes()), Ok(position.clone()));
    assert_eq!(older.as_bytes(), position::encode_version_1(&position));
    // The writer and with it the checksum are those of a later release by now, perhaps.
    let written = String::from_utf8(position.encode()).expect("text");
    let without_checksum = |text: &str| text.split("crc32").next().map(str::to_owned);
    let expected = example.replace("written by 0.2.0", &format!("written by {}", Release::THIS));
    assert_eq!(without_checksum(&written), without_checksum(&expected));
}

/// A segment with this head and two records, of which the second is torn.
fn torn(head: &[u8]) -> Vec<u8> {
    let mut bytes = head.to_vec();
    segment::write_frame(&mut bytes, 7, 0, b"record");
    segment::write_frame(&mut bytes, 8, 0, b"record");
    bytes.truncate(bytes.len() - 1);
    bytes
}

#[test]
fn a_segment_of_another_release_is_read_and_its_torn_end_is_cut_and_nothing_else_of_it_changes() {
    let later = head::encode_as(7, LATER, Release::THIS, b"fields that nobody knows yet");
    for head in [head::common(7, 1).to_vec(), head::encode(7), later] {
        let name = recovery::file_name(7);
        let disk = disk_with(&name, &torn(&head));
        assert_eq!(records(&disk).expect("a journal"), [(7, b"record".to_vec())]);
        let mut sound = head.clone();
        segment::write_frame(&mut sound, 7, 0, b"record");
        assert_eq!(read_all(&disk, &name).expect("a segment"), sound);

        // What is appended goes to a segment of this release, and both are read.
        let journal = DiskJournal::open(disk.clone(), 1_000, 0, |_, _| {}).expect("a journal");
        assert_eq!(journal.append(&[Bytes::from_static(b"next")]).expect("appended"), 8);
        let segment = read_all(&disk, &recovery::file_name(8)).expect("a segment");
        assert_eq!(segment[..head::SIZE], head::encode(8));
        assert_eq!(records(&disk).expect("a journal").len(), 2);
    }
}

#[test]
fn a_segment_for_a_later_release_is_refused_and_stays_as_it_is() {
    let name = recovery::file_name(7);
    let newer = BadHead::Newer { writer: LATER, oldest_reader: LATER };
    let heads =
        [(head::encode_as(7, LATER, LATER, b""), newer), (head::common(7, 3).to_vec(), BadHead::Version(3))];
    for (head, expected) in heads {
        let disk = disk_with(&name, &torn(&head));
        let error = records(&disk).expect_err("a newer segment");
        assert!(matches!(error, JournalError::Segment { reason, .. } if reason == expected), "{error}");
        assert_eq!(read_all(&disk, &name).expect("a segment"), torn(&head));
    }
}

#[test]
fn a_position_for_a_later_release_is_refused_and_stays_as_it_is() {
    let text = format!(
        "planet-call-exporter position, version 2, written by {LATER}, readable from {LATER}\nnext 9\n"
    );
    let text = format!("{text}crc32 {:08x}\n", crc32fast::hash(text.as_bytes()));
    let name = position::file_name("spans");
    let disk = disk_with(&name, text.as_bytes());
    let error = records(&disk).expect_err("a newer position");
    let expected = BadPosition::Newer { writer: LATER, oldest_reader: LATER };
    assert!(
        matches!(&error, JournalError::Position { reader, reason } if reader == "spans" && *reason == expected),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        format!(
            "reader spans cannot go on: version {LATER} of this program wrote its position for version {LATER} or a newer \
             one, and this is version {}; use version {LATER} or a newer one",
            Release::THIS
        )
    );
    assert_eq!(read_all(&disk, &name).expect("a position"), text.as_bytes());
}
