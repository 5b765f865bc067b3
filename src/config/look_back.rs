//! How far is looked [back](crate::history).

/// The most minutes that are looked back.
pub const MOST_MINUTES: u64 = 24 * 60;

/// The minutes that are looked back unless somebody says otherwise.
pub const USUAL_MINUTES: u64 = 15;

/// How many minutes to look back.
///
/// # Errors
/// What was expected.
pub fn minutes(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(minutes @ 1..=MOST_MINUTES) => Ok(minutes),
        _ => Err(format!("expected a number of minutes from 1 to {MOST_MINUTES}")),
    }
}
