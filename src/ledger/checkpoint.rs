//! The checkpoint: the ledger as bytes, with the position in the journal up to which it is folded.
//!
//! A line that says what it is, its version, and the CRC-32 of these and of the rest; then JSON, so that people can read it.

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::callback::labels;
use crate::callback::reason::{DISCONNECT_REASONS, FaultDomain};

use super::{AbnormalLabels, Ledger, Limits};

const NAME: &str = "planet-call-exporter ledger checkpoint";
const VERSION: u32 = 2;

/// The version whose CRC-32 is that of the JSON alone.
const VERSION_WITH_UNPROTECTED_LINE: u32 = 1;

/// What stands before the checksum.
const CHECKSUM: &str = ", crc32 ";

/// A ledger, and where the journal goes on from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The sequence number of the first record of the journal that is not in the ledger.
    pub position: u64,
    /// The totals.
    pub ledger: Ledger,
}

/// Why bytes are not a checkpoint that can be used.
#[derive(Debug, Error)]
pub enum UnusableCheckpoint {
    /// Not the first line of one.
    #[error("it does not begin as a checkpoint does")]
    Foreign,
    /// A newer version of this program wrote it.
    #[error("it has version {0}, and this program knows version {VERSION}; use the newer program")]
    Version(u32),
    /// The checksum does not fit.
    #[error("its checksum does not fit: it is damaged")]
    Damaged,
    /// The JSON is not that of a ledger.
    #[error("its contents cannot be read: {0}")]
    Contents(#[from] serde_json::Error),
    /// A histogram has other buckets than it should.
    #[error("a histogram does not fit its buckets")]
    Buckets,
}

impl Checkpoint {
    /// The checkpoint as bytes.
    ///
    /// # Errors
    /// Some value of the ledger has no JSON, which none has.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let contents = serde_json::to_vec(self)?;
        let line = format!("{NAME}, version {VERSION}");
        let checksum = checksum(VERSION, line.as_bytes(), &contents);
        let mut bytes = format!("{line}{CHECKSUM}{checksum:08x}\n").into_bytes();
        bytes.extend_from_slice(&contents);
        Ok(bytes)
    }

    /// The checkpoint that was encoded, with these limits.
    ///
    /// # Errors
    /// The bytes are not a checkpoint, are damaged, or were written by a newer version.
    pub fn decode(bytes: &[u8], limits: Limits) -> Result<Checkpoint, UnusableCheckpoint> {
        let line_end = bytes.iter().position(|byte| *byte == b'\n').ok_or(UnusableCheckpoint::Foreign)?;
        let (line, contents) = (&bytes[..line_end], &bytes[line_end + 1..]);
        let FirstLine { protected, version, checksum } =
            FirstLine::read(line).ok_or(UnusableCheckpoint::Foreign)?;
        // Before the version is believed: to refuse a damaged one as newer would be to refuse to start.
        if checksum != self::checksum(version, protected.as_bytes(), contents) {
            return Err(UnusableCheckpoint::Damaged);
        }
        if version > VERSION {
            return Err(UnusableCheckpoint::Version(version));
        }
        let mut checkpoint: Checkpoint = serde_json::from_slice(contents)?;
        if !checkpoint.ledger.complete(limits) {
            return Err(UnusableCheckpoint::Buckets);
        }
        Ok(checkpoint)
    }
}

struct FirstLine<'a> {
    /// What comes before the checksum.
    protected: &'a str,
    version: u32,
    checksum: u32,
}

impl FirstLine<'_> {
    fn read(line: &[u8]) -> Option<FirstLine<'_>> {
        let (protected, checksum) = std::str::from_utf8(line).ok()?.split_once(CHECKSUM)?;
        let version = protected.strip_prefix(NAME)?.strip_prefix(", version ")?.parse().ok()?;
        Some(FirstLine { protected, version, checksum: u32::from_str_radix(checksum, 16).ok()? })
    }
}

fn checksum(version: u32, line: &[u8], contents: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    if version != VERSION_WITH_UNPROTECTED_LINE {
        hasher.update(line);
    }
    hasher.update(contents);
    hasher.finalize()
}

impl Ledger {
    /// Adds what is not written down: the limits, the buckets of each histogram, and reasons that are newer than the
    /// checkpoint. Answers whether everything fits.
    fn complete(&mut self, limits: Limits) -> bool {
        self.limits = limits;
        self.expect_known_reasons();
        let Ledger { durations, setup_durations, duration_buckets, setup_buckets, .. } = self;
        durations.values_mut().all(|histogram| histogram.set_buckets(duration_buckets))
            && setup_durations.values_mut().all(|histogram| histogram.set_buckets(setup_buckets))
    }
}

impl<'de> Deserialize<'de> for AbnormalLabels {
    /// A reason that this program does not know, because a newer one wrote it, is `UNKNOWN`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AbnormalLabels, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            disconnect_reason: String,
            fault_domain: FaultDomain,
        }
        let Written { disconnect_reason, fault_domain } = Written::deserialize(deserializer)?;
        let mut names = DISCONNECT_REASONS.iter().map(|reason| reason.name);
        let known = names.find(|name| *name == disconnect_reason);
        Ok(AbnormalLabels { disconnect_reason: known.unwrap_or(labels::UNKNOWN_REASON), fault_domain })
    }
}

/// Maps whose keys are label sets, as pairs: JSON's keys are texts.
pub(super) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K, V, S>(map: &BTreeMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize,
        V: Serialize,
        S: Serializer,
    {
        serializer.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::callback::CallEvent;

    fn checkpoint() -> Checkpoint {
        let buckets = |text: &str| text.parse().expect("buckets");
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let mut ledger = Ledger::new(started_at, Limits::default(), buckets("0.1,60"), buckets("1.5,7"));
        ledger.expect_idc("KR");
        for (number, reason) in [1001, 1109, 1301, 1399, 5].into_iter().enumerate() {
            let query = format!(
                "sid={number}&type=A&rc_idc=JP&setup_time=1600000000&start_time=1600000004&end_time=1600000034&\
                 duration=30&terminate=16&rel_code=1&rel_code_str=%22%0A&billing_sec=30&disconnect_reason={reason}"
            );
            ledger.apply(&CallEvent::read(query.as_bytes(), started_at).expect("a call"));
        }
        Checkpoint { position: 5, ledger }
    }

    #[test]
    fn what_is_written_is_read() {
        let checkpoint = checkpoint();
        let bytes = checkpoint.encode().expect("encoded");
        assert_eq!(Checkpoint::decode(&bytes, Limits::default()).expect("decoded"), checkpoint);
    }

    /// A checkpoint of another version, with the checksum that it should have.
    fn of_version(version: u32) -> Vec<u8> {
        let contents = serde_json::to_vec(&checkpoint()).expect("encoded");
        let line = format!("{NAME}, version {version}");
        let checksum = checksum(version, line.as_bytes(), &contents);
        [format!("{line}{CHECKSUM}{checksum:08x}\n").as_bytes(), &contents].concat()
    }

    #[test]
    fn any_change_is_damage_and_not_a_newer_version() {
        let bytes = checkpoint().encode().expect("encoded");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let outcome = Checkpoint::decode(&changed, Limits::default());
                let is_noticed =
                    matches!(outcome, Err(UnusableCheckpoint::Foreign | UnusableCheckpoint::Damaged));
                // The checksum's own digits may be written in either case.
                let is_case = outcome.is_ok() && bytes[at].eq_ignore_ascii_case(&changed[at]);
                assert!(is_noticed || is_case, "bit {bit} of byte {at}: {outcome:?}");
            }
            assert!(Checkpoint::decode(&bytes[..at], Limits::default()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_version_is_refused_as_such_and_an_older_one_read() {
        let outcome = |version| Checkpoint::decode(&of_version(version), Limits::default());
        assert!(
            matches!(outcome(VERSION + 1), Err(UnusableCheckpoint::Version(version)) if version == VERSION + 1)
        );
        assert_eq!(outcome(VERSION_WITH_UNPROTECTED_LINE).expect("decoded"), checkpoint());
    }
}
