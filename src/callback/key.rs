//! The key of an event: what makes it the same event when it comes again.

use std::fmt;

/// The 16 bytes by which an event is known, from the window in which a repeat is recognized to the trace ID of a call.
///
/// Each kind of callback says how its key comes about: a call's is its session ID, see
/// [`call_event::sid`](super::call_event::sid).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 16]);

impl Key {
    /// The key that has these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Key {
        Key(bytes)
    }

    /// The bytes.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Key {
    /// In the form of a UUID: 36 lower-case characters.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(formatter, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}
