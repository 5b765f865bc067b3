//! What is in the segments of a journal: every sound record in order, what is torn off, and what is damaged.

use std::ops::Range;

use super::head::{self, BadHead};
use super::segment::{self, Next};
use super::storage::{Storage, read_all};
use super::{JournalError, LAST, position};
use crate::release::Release;

/// A segment that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The sequence number of its first record.
    pub first: u64,
    /// Its size.
    pub bytes: u64,
    /// Acknowledged records in it that could not be read when it was found.
    pub damaged: u64,
    /// The release that wrote it; `None` if its head is damaged.
    pub writer: Option<Release>,
    /// Where its records begin.
    pub(super) records_at: u64,
}

/// The name of a segment's file.
pub(super) fn file_name(first: u64) -> String {
    format!("{first:020}.segment")
}

/// The sequence number in the name of a segment's file, if it is one.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let first = name.strip_suffix(".segment").filter(|digits| digits.len() == 20)?.parse().ok();
    first.filter(|first| *first <= LAST)
}

/// What a journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its segments in order.
    pub segments: Vec<Segment>,
    /// The sequence number after the last record.
    pub end: u64,
    /// Acknowledged records that cannot be read. A segment whose head is damaged counts as one at least.
    pub damaged: u64,
    /// What is cut at the end.
    pub torn: Torn,
    /// Every record before this sequence number is known to have been acknowledged: by who asked, or by a reader's position.
    pub(super) known: u64,
    /// The sound bytes of the last segment, if nothing in it is damaged.
    pub(super) last: Option<Vec<u8>>,
}

/// The torn end of a journal: what nobody knows to have been acknowledged, behind the last record that is used. Zeros
/// at its end are not part of it: they are what a segment is filled with before it has records, and what a file system
/// has in place of bytes that were never written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Torn {
    /// Its bytes.
    pub bytes: u64,
    /// Sound records in it, behind one that is not, which belong to the same batch or one that is torn as well.
    pub sound: u64,
}

impl Torn {
    /// What is torn of `bytes`, the first record in which should have had this sequence number.
    fn of(bytes: &[u8], expected: u64) -> Torn {
        let (mut sound, mut offset) = (0, 0);
        while let Some(skip) = segment::find_frame(&bytes[offset..], expected..u64::MAX) {
            offset += skip;
            sound += 1;
        }
        Torn { bytes: segment::without_zeros(bytes) as u64, sound }
    }
}

/// A sound record that was found.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Its sequence number.
    pub sequence: u64,
    /// The sequence number of the first record of its segment.
    pub segment: u64,
    /// Where its frame begins in its segment.
    pub offset: u64,
    /// Its bytes.
    pub record: &'a [u8],
}

/// Reads every segment and hands every sound record to `visit`, in order. Every record before the sequence number `known` is
/// known to have been acknowledged, and so is what a position proves.
pub(super) fn read_segments(
    storage: &impl Storage,
    known: u64,
    mut visit: impl FnMut(Stored<'_>),
) -> Result<Found, JournalError> {
    let known = known.max(position::proven(storage)?);
    let mut firsts: Vec<u64> = storage.list()?.iter().filter_map(|name| first_of(name)).collect();
    firsts.sort_unstable();
    let end = firsts.first().copied().unwrap_or(0);
    let mut found = Found { segments: Vec::new(), end, damaged: 0, torn: Torn::default(), known, last: None };
    for (index, &first) in firsts.iter().enumerate() {
        let next = firsts.get(index + 1).copied();
        let name = file_name(first);
        let mut bytes = read_all(storage, &name)?;
        let size = bytes.len() as u64;
        // There may be many zeros behind the last frame. One that ends with zeros has no more of them than the longest
        // may have.
        let written = segment::without_zeros(&bytes);
        bytes.truncate(written + segment::LONGEST_FRAME);
        let extent = next.map_or_else(|| Extent::last(first, known), |next| Extent::followed(first, next));
        let head = match head::read(&bytes) {
            Err(reason) if reason.is_newer() => return Err(JournalError::Segment { name, reason }),
            head => head.ok(),
        };
        let is_head_sound = head.is_some_and(|head| head.first == first);
        let records_at = head.map_or_else(|| head::find_records(&bytes, first), |head| head.size);
        let records = &bytes[records_at..];
        let mut scan = scan(records, extent, &mut |stored: Stored<'_>| {
            visit(Stored { offset: records_at as u64 + stored.offset, ..stored });
        });
        // A head is on disk before the first record. So where nothing is behind it but zeros, it is torn, and elsewhere
        // damaged.
        if !is_head_sound && (scan.sound > 0 || written > head::SIZE) {
            scan.lost = scan.lost.max(1);
            scan.end = scan.end.max(first + 1);
        }
        found.damaged += scan.lost;
        found.torn = scan.torn;
        found.end = scan.end;
        if next.is_none() && scan.lost == 0 && is_head_sound {
            bytes.truncate(records_at + scan.sound);
            found.last = Some(bytes);
        }
        let (damaged, writer) = (scan.lost, head.map(|head| head.writer));
        found.segments.push(Segment { first, bytes: size, damaged, writer, records_at: records_at as u64 });
    }
    Ok(found)
}

/// Reads one segment, whose file has these bytes, and hands every sound record to `visit`.
pub(super) fn read_segment(bytes: &[u8], mut visit: impl FnMut(u64, &[u8])) -> Result<(), BadHead> {
    let head = head::read(bytes)?;
    scan(&bytes[head.size..], Extent::last(head.first, 0), &mut |Stored { sequence, record, .. }| {
        visit(sequence, record);
    });
    Ok(())
}

/// What is known of the sequence numbers in a segment.
#[derive(Debug)]
struct Extent {
    records: Range<u64>,
    /// Every record before this one was acknowledged.
    known: u64,
}

impl Extent {
    /// The next segment begins with `next`. What lies at or beyond it was abandoned then.
    fn followed(first: u64, next: u64) -> Extent {
        Extent { records: first..next, known: next }
    }

    /// It is the last one. Every record before `known` was acknowledged.
    fn last(first: u64, known: u64) -> Extent {
        Extent { records: first..u64::MAX, known }
    }
}

/// The result of a scan.
#[derive(Debug, PartialEq, Eq)]
struct Scan {
    /// The sequence number after the last record.
    end: u64,
    /// Records that should be there and are not sound.
    lost: u64,
    /// Bytes up to the end of the last sound frame.
    sound: usize,
    /// What lies behind it, unless it is damaged.
    torn: Torn,
}

/// Goes through the frames of a segment. In the last one, a bad frame with nothing of a later batch behind it is the torn
/// end of a batch that was never acknowledged, unless it is known to have been; anywhere else it is damage, which is
/// stepped over.
fn scan(bytes: &[u8], extent: Extent, visit: &mut impl FnMut(Stored<'_>)) -> Scan {
    let Extent { records, known } = extent;
    // A frame takes more than a byte for each record before it, so one that says it is further on is none of this segment.
    let records = records.start..records.end.min(records.start.saturating_add(bytes.len() as u64));
    let mut expected = records.start;
    let mut lost = 0;
    let mut offset = 0;
    let mut torn = Torn::default();
    while expected < records.end {
        let rest = &bytes[offset..];
        match segment::read_frame(rest) {
            Next::Frame(frame) if frame.sequence == expected => {
                let (segment, at) = (records.start, offset as u64);
                visit(Stored { sequence: expected, segment, offset: at, record: frame.record });
                expected += 1;
                offset += frame.size();
                continue;
            }
            Next::Short if rest.is_empty() => break,
            _ => {}
        }
        let behind = expected + 1..records.end;
        if expected >= known && !has_later_batch(rest, expected, behind.clone()) {
            torn = Torn::of(rest, expected);
            break;
        }
        let Some(skip) = segment::find_frame(rest, behind) else { break };
        let Next::Frame(frame) = segment::read_frame(&rest[skip..]) else { break };
        lost += frame.sequence - expected;
        expected = frame.sequence;
        offset += skip;
    }
    lost += known.saturating_sub(expected);
    expected = expected.max(known);
    Scan { end: expected, lost, sound: offset, torn }
}

/// Whether some frame behind a bad one belongs to a batch that began after the bad one's record.
fn has_later_batch(bytes: &[u8], bad: u64, behind: Range<u64>) -> bool {
    let mut offset = 0;
    while let Some(skip) = segment::find_frame(&bytes[offset..], behind.clone()) {
        offset += skip;
        if let Next::Frame(frame) = segment::read_frame(&bytes[offset..])
            && frame.batch() > bad
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment's frames: batches of these sizes, each record being its sequence number, eight times.
    fn frames(batches: &[u32]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts, mut sequence) = (Vec::new(), Vec::new(), 10);
        for batch in batches {
            for place in 0..*batch {
                starts.push(bytes.len());
                segment::write_frame(&mut bytes, sequence, place, &[sequence as u8; 8]);
                sequence += 1;
            }
        }
        (bytes, starts)
    }

    fn read(bytes: &[u8], extent: Extent) -> (Vec<u64>, u64, u64) {
        let mut seen = Vec::new();
        let scan = scan(bytes, extent, &mut |stored: Stored<'_>| seen.push(stored.sequence));
        (seen, scan.end, scan.lost)
    }

    fn followed(next: u64) -> Extent {
        Extent::followed(10, next)
    }

    fn last(known: u64) -> Extent {
        Extent::last(10, known)
    }

    #[test]
    fn a_sound_segment_is_read_whole() {
        let (bytes, _) = frames(&[2, 3]);
        assert_eq!(read(&bytes, last(0)), (vec![10, 11, 12, 13, 14], 15, 0));
        assert_eq!(read(&bytes, followed(15)), read(&bytes, last(0)));
    }

    #[test]
    fn a_torn_last_batch_is_cut_wherever_it_is_torn() {
        let (mut bytes, starts) = frames(&[2, 3]);
        bytes[starts[3]] ^= 1;
        assert_eq!(read(&bytes, last(0)), (vec![10, 11, 12], 13, 0));
        for end in starts[4]..bytes.len() {
            assert_eq!(read(&bytes[..end], last(0)), (vec![10, 11, 12], 13, 0));
        }
    }

    #[test]
    fn what_is_known_to_have_been_acknowledged_is_no_torn_end() {
        let (mut bytes, starts) = frames(&[2, 3]);
        bytes[starts[3]] ^= 1;
        assert_eq!(read(&bytes, last(14)), (vec![10, 11, 12, 14], 15, 1));
        assert_eq!(read(&bytes, last(13)), (vec![10, 11, 12], 13, 0));
        assert_eq!(read(&bytes[..starts[3]], last(15)), (vec![10, 11, 12], 15, 2));
    }

    #[test]
    fn damage_before_a_later_batch_is_stepped_over_and_counted() {
        let (mut bytes, starts) = frames(&[2, 3]);
        bytes[starts[1] + 3] ^= 1;
        assert_eq!(read(&bytes, last(0)), (vec![10, 12, 13, 14], 15, 1));
        assert_eq!(read(&bytes, followed(15)), (vec![10, 12, 13, 14], 15, 1));
    }

    #[test]
    fn a_segment_that_is_not_the_last_has_no_torn_end() {
        let (bytes, starts) = frames(&[2, 3]);
        assert_eq!(read(&bytes[..starts[4]], followed(15)), (vec![10, 11, 12, 13], 15, 1));
        assert_eq!(read(&[], followed(15)), (vec![], 15, 5));
    }

    /// What is torn of the last segment with these bytes.
    fn torn(bytes: &[u8], known: u64) -> Torn {
        scan(bytes, last(known), &mut |_: Stored<'_>| {}).torn
    }

    #[test]
    fn what_is_torn_is_told_with_its_bytes_and_what_is_sound_in_it() {
        let (mut bytes, starts) = frames(&[2, 4]);
        assert_eq!(torn(&bytes, 0), Torn::default());
        let size = bytes.len();
        assert_eq!(torn(&bytes[..size - 1], 0), Torn { bytes: (size - starts[5] - 1) as u64, sound: 0 });
        bytes[starts[3]] ^= 1;
        assert_eq!(torn(&bytes, 0), Torn { bytes: (size - starts[3]) as u64, sound: 2 });
        // What is known to have been acknowledged is damaged and not torn.
        assert_eq!(torn(&bytes, 14), Torn::default());
    }

    #[test]
    fn a_frame_that_is_further_on_than_the_segment_can_be_is_none_of_it() {
        for far in [u64::MAX - 1, 1 << 60] {
            let (mut bytes, starts) = frames(&[2, 3]);
            segment::write_frame(&mut bytes, far, 0, b"far");
            assert_eq!(read(&bytes, last(0)), (vec![10, 11, 12, 13, 14], 15, 0));
            assert_eq!(read(&bytes, followed(16)), (vec![10, 11, 12, 13, 14], 16, 1));
            bytes.drain(starts[1]..starts[2] - 1);
            assert_eq!(
                read(&bytes, last(0)),
                (vec![10, 12, 13, 14], 15, 1),
                "what is cut out is still stepped over"
            );
        }
    }

    #[test]
    fn zeros_behind_the_end_are_neither_torn_nor_damaged() {
        let (mut bytes, starts) = frames(&[2, 3]);
        let torn_end = bytes[starts[4]..bytes.len() - 1].to_vec();
        bytes.truncate(starts[4]);
        bytes.extend([0; 5_000]);
        assert_eq!(read(&bytes, last(0)), (vec![10, 11, 12, 13], 14, 0));
        assert_eq!(torn(&bytes, 0), Torn::default());
        // Where a record should be they are damage.
        assert_eq!(read(&bytes, last(15)), (vec![10, 11, 12, 13], 15, 1));
        assert_eq!(read(&bytes, followed(15)), (vec![10, 11, 12, 13], 15, 1));
        // Behind a torn end they are no part of it.
        bytes.truncate(starts[4]);
        let last_byte = torn_end.iter().rposition(|byte| *byte != 0).expect("a byte");
        bytes.extend(&torn_end);
        bytes.extend([0; 5_000]);
        assert_eq!(torn(&bytes, 0), Torn { bytes: last_byte as u64 + 1, sound: 0 });
    }

    #[test]
    fn what_lies_beyond_the_next_segments_first_was_abandoned() {
        let (bytes, _) = frames(&[2, 3]);
        assert_eq!(read(&bytes, followed(12)), (vec![10, 11], 12, 0));
    }
}
