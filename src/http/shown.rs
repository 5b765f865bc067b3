//! Text from outside where it is shown: in labels, in JSON, in the log and on a terminal.
//!
//! A terminal obeys control characters, and formatting characters of bidirectional text let a line read otherwise than
//! it is. So labels do not have them, and everywhere else they are escaped.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Whether a character acts on what is shown instead of being shown: control characters, and the formatting characters of
/// bidirectional text (Unicode, UAX #9, section 2).
pub fn acts(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The text without them, as a label has it.
pub fn without_acting(text: &str) -> Cow<'_, str> {
    replaced(text, |_, _| {})
}

/// The text with U+FFFD in their places, as one that is compared with known ones: it is none of those.
pub fn with_replacements(text: &str) -> Cow<'_, str> {
    replaced(text, |shown, _| shown.push(char::REPLACEMENT_CHARACTER))
}

/// The text for people, each of them as an escape sequence of Rust, but for those that `stays` admits.
pub fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    replaced(text, |shown, character| match stays(character) {
        true => shown.push(character),
        false => shown.extend(character.escape_default()),
    })
}

/// JSON with those escaped that JSON itself lets pass. They can be in its strings only.
pub fn json_escaped(json: &str) -> Cow<'_, str> {
    replaced(json, |shown, character| match character.is_ascii_whitespace() {
        true => shown.push(character),
        // All of them are in the basic plane. Writing to a text does not fail.
        false => drop(write!(shown, "\\u{:04x}", u32::from(character))),
    })
}

/// The value as JSON in which every acting character is escaped; empty if it has a form that JSON cannot have.
pub fn to_json(value: &impl Serialize) -> String {
    let mut json = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut json, Escaping);
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(json).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// Compact JSON that escapes them.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        CompactFormatter.write_string_fragment(writer, &json_escaped(fragment))
    }
}

fn replaced(text: &str, replace: impl Fn(&mut String, char)) -> Cow<'_, str> {
    // Most texts are plain, which bytes tell sooner than characters.
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain || !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match acts(character) {
            true => replace(&mut shown, character),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What terminals and readers were seen to obey.
    const ACTING: &str =
        "\u{7}\u{8}\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}";

    proptest! {
        #[test]
        fn nothing_that_acts_is_shown_and_json_stays_what_it_says(text in "(\\PC|[\u{0}-\u{9f}\u{200e}-\u{2069}]){0,40}") {
            prop_assert!(!without_acting(&text).contains(acts));
            prop_assert!(!with_replacements(&text).contains(acts));
            prop_assert!(!escaped(&text, |_| false).contains(acts));
            let json = to_json(&text);
            prop_assert!(!json.contains(acts));
            prop_assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text.clone());
            // The same of JSON that another writer made.
            let json = serde_json::to_string(&text).expect("JSON");
            let escaped = json_escaped(&json);
            prop_assert!(!escaped.contains(acts));
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).expect("JSON"), text);
        }
    }

    #[test]
    fn what_acts_is_known() {
        assert!(ACTING.chars().all(acts));
        assert!(!"a ~\u{a0}\u{200b}\u{5d0}\u{fffd}\u{1f600}".contains(acts));
        assert_eq!(without_acting("a\u{1b}[31mb"), "a[31mb");
        assert_eq!(with_replacements("K\u{202e}R"), "K\u{fffd}R");
        assert_eq!(escaped("a\u{9b}b\nc", |character| character == '\n'), "a\\u{9b}b\nc");
        assert_eq!(to_json(&"\u{7f}\u{1b}\u{202e}"), "\"\\u007f\\u001b\\u202e\"");
    }
}
