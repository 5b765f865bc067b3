//! Laws of the files of JSON lines, whatever their bytes are.

use std::time::{Duration, SystemTime};

use super::json_lines::young_lines;

/// What is old leaves a file and nothing else does, and what was left is young.
pub fn lines_that_grow_old(bytes: &[u8]) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    for age in [Duration::ZERO, Duration::from_secs(24 * 3_600), Duration::MAX] {
        let Some(young) = young_lines(bytes, age, now) else { continue };
        assert!(young.len() < bytes.len());
        assert_eq!(young_lines(&young, age, now), None, "once is enough");
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let mut kept = young.split_inclusive(|byte| *byte == b'\n');
        assert!(kept.all(|line| lines.any(|other| other == line)), "in their order, and whole");
    }
}
