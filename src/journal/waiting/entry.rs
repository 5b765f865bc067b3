//! What a waiting journal consists of: copies and where they are, entries, and sets of their numbers.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

/// The kinds of entries.
const COPY: u8 = 1;
const FINISHED: u8 = 2;

/// Bytes of a copy beside the record: kind, flags, origin, order, number of the replaced copy.
pub(super) const COPY_HEAD: usize = 1 + 1 + 8 + 8 + 8;

/// The flags of a copy: whether it has an order, and whether it replaces another.
const HAS_ORDER: u8 = 1;
const REPLACES: u8 = 2;

/// Where a copy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Its number.
    pub(super) number: u64,
    /// Where its frame begins in its segment, and the length of its entry.
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Ticket {
    pub(super) fn new(number: u64, offset: u64, length: usize) -> Ticket {
        // A segment is far smaller than 4 GiB.
        Ticket { number, offset: offset as u32, length: length as u32 }
    }

    /// The ticket of a copy that is kept elsewhere, under this number.
    pub fn of_number(number: u64) -> Ticket {
        Ticket { number, ..Ticket::default() }
    }

    /// The number of the copy.
    pub fn number(self) -> u64 {
        self.number
    }
}

/// An event that is to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Its sequence number in the journal.
    pub origin: u64,
    /// What it has to be delivered in the order of.
    pub order: Option<u64>,
    /// Its record.
    pub record: Bytes,
}

/// A copy that waits, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Where it is.
    pub ticket: Ticket,
    /// The event.
    pub copy: Copy,
}

/// A set of numbers, a bit each, in words of which only those are there that have one: a number from a damaged file
/// costs no more than another.
#[derive(Debug, Default)]
pub(super) struct Numbers(BTreeMap<u64, u64>);

impl Numbers {
    /// Adds a number.
    pub(super) fn insert(&mut self, number: u64) {
        *self.0.entry(number / 64).or_default() |= 1 << (number % 64);
    }

    /// Whether this number is in the set.
    pub(super) fn contains(&self, number: u64) -> bool {
        self.0.get(&(number / 64)).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}

/// A record of a waiting journal.
pub(super) enum Entry<'a> {
    Copy { origin: u64, order: Option<u64>, replaces: Option<u64>, record: &'a [u8] },
    Finished(Vec<u64>),
}

impl<'a> Entry<'a> {
    /// Reads an entry; `None` if it is of a kind that this release does not know.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Entry<'a>> {
        let (&kind, rest) = bytes.split_first()?;
        match kind {
            COPY => {
                let (&flags, rest) = rest.split_first()?;
                let (&origin, rest) = rest.split_first_chunk()?;
                let (&order, rest) = rest.split_first_chunk()?;
                let (&replaces, record) = rest.split_first_chunk()?;
                let given = |flag, number| (flags & flag != 0).then(|| u64::from_le_bytes(number));
                Some(Entry::Copy {
                    origin: u64::from_le_bytes(origin),
                    order: given(HAS_ORDER, order),
                    replaces: given(REPLACES, replaces),
                    record,
                })
            }
            FINISHED => {
                let (numbers, _) = rest.as_chunks();
                Some(Entry::Finished(numbers.iter().map(|number| u64::from_le_bytes(*number)).collect()))
            }
            _ => None,
        }
    }
}

/// The entry of a copy, which replaces the one with this number, if one is given.
pub(super) fn encode(copy: &Copy, replaces: Option<u64>) -> Bytes {
    let mut entry = BytesMut::with_capacity(COPY_HEAD + copy.record.len());
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    entry.put_u8(COPY);
    entry.put_u8(flag(copy.order.is_some(), HAS_ORDER) | flag(replaces.is_some(), REPLACES));
    entry.put_u64_le(copy.origin);
    entry.put_u64_le(copy.order.unwrap_or_default());
    entry.put_u64_le(replaces.unwrap_or_default());
    entry.put_slice(&copy.record);
    entry.freeze()
}

/// The entry that says that these copies are finished.
pub(super) fn encode_finished(numbers: &[u64]) -> Bytes {
    let mut entry = BytesMut::with_capacity(1 + 8 * numbers.len());
    entry.put_u8(FINISHED);
    numbers.iter().for_each(|number| entry.put_u64_le(*number));
    entry.freeze()
}
