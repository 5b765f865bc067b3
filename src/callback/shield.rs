//! A shield around whatever reads bytes from outside: a bug in it costs those bytes, and not the process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use thiserror::Error;

/// What read the bytes panicked, which is a bug of this program.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("this program has a bug that these bytes bring out: {0}")]
pub struct Panicked(pub String);

impl Panicked {
    /// What the payload of a panic says.
    pub fn of(payload: &(dyn Any + Send)) -> Panicked {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Panicked(text.unwrap_or_else(|| "it does not say more".to_owned()))
    }
}

/// Runs `read`, which changes nothing that outlives it unless it succeeds.
///
/// # Errors
/// It panicked.
pub fn shielded<T>(read: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|payload| Panicked::of(&*payload))
}

/// A place where a test can bring about a panic: bytes with `panic-in-PLACE` in them do, in a program that was built with
/// the feature `fault-injection`.
#[cfg(feature = "fault-injection")]
pub fn fault_point(place: &str, bytes: &[u8]) {
    let marker = format!("panic-in-{place}");
    let has_marker = bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
    assert!(!has_marker, "a test asked for a panic in {place}");
}

/// A place where a test can bring about a panic; in this build, none can.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub fn fault_point(_place: &str, _bytes: &[u8]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_says_what_it_said() {
        assert_eq!(shielded(|| 7), Ok(7));
        let number = 7;
        let outcome = shielded(|| assert!(number == 8, "expected 8, got {number}"));
        assert_eq!(outcome, Err(Panicked("expected 8, got 7".to_owned())));
    }
}
