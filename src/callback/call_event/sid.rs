//! The session ID of a call, which is the key of its event.

use sha2::{Digest, Sha256};

use crate::callback::Key;
use crate::callback::anomaly::{Anomalies, Anomaly};

/// Reads a session ID. A UUID (36 characters, or 32 without dashes, in any case) is known by its own bytes, so that all
/// its spellings are one call; anything else is known by the first 16 bytes of its SHA-256. The key is never all zero.
pub fn read(text: &str, anomalies: &mut Anomalies) -> Key {
    match uuid_bytes(text.as_bytes()) {
        // All zero is no valid trace ID (W3C Trace Context), so the nil UUID is treated as some text.
        Some(bytes) if bytes != [0; 16] => {
            if text.len() != 36 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                anomalies.insert(Anomaly::SidFormat);
            }
            Key::from_bytes(bytes)
        }
        _ => {
            anomalies.insert(Anomaly::SidNotUuid);
            let digest = Sha256::digest(text.as_bytes());
            Key::from_bytes(std::array::from_fn(|at| digest[at]))
        }
    }
}

/// The bytes of a UUID in its usual form, or without dashes.
fn uuid_bytes(text: &[u8]) -> Option<[u8; 16]> {
    let groups = match text.len() {
        36 if [8, 13, 18, 23].into_iter().all(|dash| text[dash] == b'-') => {
            [&text[..8], &text[9..13], &text[14..18], &text[19..23], &text[24..]]
        }
        32 => [text, &[], &[], &[], &[]],
        _ => return None,
    };
    let digit = |character: u8| DIGITS[usize::from(character)];
    let mut bytes = [0; 16];
    let pairs = groups.iter().flat_map(|group| group.chunks_exact(2));
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The values of hexadecimal digits in either case. Every event is asked twice for 32 of them.
const DIGITS: [Option<u8>; 256] = {
    let mut digits = [None; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = Some(value as u8);
        digits[b"0123456789ABCDEF"[value] as usize] = Some(value as u8);
        value += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Key, Vec<Anomaly>) {
        let mut anomalies = Anomalies::default();
        let sid = super::read(text, &mut anomalies);
        (sid, anomalies.iter().collect())
    }

    #[test]
    fn all_spellings_of_a_uuid_are_one_call() {
        let (usual, none) = read("6364e8b3-bdac-436e-9631-0bce2498ce0c");
        assert!(none.is_empty());
        assert_eq!(usual.bytes()[..4], [0x63, 0x64, 0xe8, 0xb3]);
        for odd in ["6364e8b3bdac436e96310bce2498ce0c", "6364E8B3-BDAC-436E-9631-0BCE2498CE0C"] {
            let (sid, anomalies) = read(odd);
            assert_eq!(sid.bytes(), usual.bytes());
            assert_eq!(sid.to_string(), "6364e8b3-bdac-436e-9631-0bce2498ce0c");
            assert_eq!(anomalies, [Anomaly::SidFormat]);
        }
    }

    #[test]
    fn what_is_no_uuid_has_a_key_of_its_own() {
        let nil = "00000000-0000-0000-0000-000000000000";
        let odd =
            ["x", "6364e8b3-bdac-436e-9631-0bce2498ce0", "6364e8b3xbdac-436e-9631-0bce2498ce0c", nil, "통화"];
        let mut keys: Vec<_> = odd
            .iter()
            .map(|text| {
                let (sid, anomalies) = read(text);
                assert_eq!(anomalies, [Anomaly::SidNotUuid], "{text}");
                assert_ne!(sid.bytes(), [0; 16]);
                sid.bytes()
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), odd.len());
    }
}
