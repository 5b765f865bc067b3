//! The fingerprint of an event: enough of what it says to notice a repeat that says something else.

use std::num::NonZeroU32;

/// A checksum of what is counted of an event, or nothing where that is not known (yet); and whether a repeat was noticed that
/// contradicts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fingerprint(Option<NonZeroU32>);

/// The bit that says that a repeat contradicts it.
const CONTRADICTED: u32 = 1 << 31;

impl Fingerprint {
    /// Of an event of which nothing is known but its key.
    pub const UNKNOWN: Fingerprint = Fingerprint(None);

    /// The fingerprint of an event that says these numbers, some of which may be missing.
    pub fn of(numbers: impl IntoIterator<Item = Option<i64>>) -> Fingerprint {
        let mut hasher = crc32fast::Hasher::new();
        for number in numbers {
            hasher.update(&[u8::from(number.is_some())]);
            hasher.update(&number.unwrap_or_default().to_be_bytes());
        }
        // The one value that stands for none is given to another.
        Fingerprint(NonZeroU32::new((hasher.finalize() & !CONTRADICTED).max(1)))
    }

    /// Whether an event with this fingerprint says something else than one with the other.
    pub fn contradicts(self, other: Fingerprint) -> bool {
        let differ = |(one, other): (NonZeroU32, NonZeroU32)| (one.get() ^ other.get()) & !CONTRADICTED != 0;
        self.0.zip(other.0).is_some_and(differ)
    }

    /// Notes that a repeat contradicts it. Returns whether that is the first.
    pub fn note_contradiction(&mut self) -> bool {
        let is_first = self.0.is_some_and(|known| known.get() & CONTRADICTED == 0);
        self.0 = self.0.map(|known| known | CONTRADICTED);
        is_first
    }

    /// Takes over another fingerprint if this one is not known.
    pub fn learn(&mut self, other: Fingerprint) {
        self.0 = self.0.or(other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_contradicts() {
        let one = Fingerprint::of([Some(16), None, Some(30)]);
        for other in [[Some(16), Some(0), Some(30)], [Some(17), None, Some(30)], [None, Some(16), Some(30)]] {
            assert!(Fingerprint::of(other).contradicts(one), "{other:?}");
        }
        assert!(!one.contradicts(Fingerprint::of([Some(16), None, Some(30)])));
        assert!(!one.contradicts(Fingerprint::UNKNOWN) && !Fingerprint::UNKNOWN.contradicts(one));
        let mut contradicted = one;
        assert_eq!([contradicted.note_contradiction(), contradicted.note_contradiction()], [true, false]);
        assert!(!contradicted.contradicts(one) && contradicted.contradicts(Fingerprint::of([None])));
        let mut learned = Fingerprint::UNKNOWN;
        learned.learn(one);
        learned.learn(Fingerprint::of([None]));
        assert_eq!(learned, one);
    }
}
