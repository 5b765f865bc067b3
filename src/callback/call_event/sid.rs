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
    let dashed = match text.len() {
        36 => true,
        32 => false,
        _ => return None,
    };
    let mut digits = 0;
    let mut bytes = [0u8; 16];
    for (at, &character) in text.iter().enumerate() {
        if dashed && matches!(at, 8 | 13 | 18 | 23) {
            if character != b'-' {
                return None;
            }
            continue;
        }
        let digit = (character as char).to_digit(16)? as u8;
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(bytes)
}

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
