//! Parameters that the documentation does not have: the event is accepted, and the log says which they are.

use tracing::warn;

use crate::callback::Kind;
use crate::http::pace::LogPace;

/// Names that a line has at most.
const MOST_NAMES: usize = 5;

/// Bytes of a name that a line has at most, before what cannot be printed is escaped.
const LONGEST_NAME: usize = 64;

/// Says which unknown parameters come.
#[derive(Debug, Default)]
pub(super) struct UnknownParameters(LogPace);

impl UnknownParameters {
    /// Notes a query in which there are some. Their values are never logged.
    pub(super) fn note(&self, kind: Kind, query: &[u8]) {
        if self.0.is_due() {
            let parameters = names(kind, query);
            warn!(
                parameters,
                "a call event has parameters that are not documented; further ones are logged at most once a minute"
            );
        }
    }
}

/// The names, short enough for a log line and unable to forge one.
fn names(kind: Kind, query: &[u8]) -> String {
    let names = kind.unknown_parameters(query, MOST_NAMES);
    let short = |name: &str| name[..name.floor_char_boundary(LONGEST_NAME)].escape_debug().to_string();
    names.iter().map(|name| short(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_few_short_and_on_one_line() {
        let query: String = (0..9).map(|number| format!("{number}%0A%1B{}=1&", "x".repeat(99))).collect();
        let text = names(Kind::CallEvent, query.as_bytes());
        assert!(text.starts_with("0\\n\\u{1b}xx") && text.ends_with('x'), "{text}");
        assert_eq!(text.split(", ").count(), MOST_NAMES);
        assert!(text.len() < MOST_NAMES * (LONGEST_NAME + 10) && !text.contains(char::is_control), "{text}");
        assert_eq!(names(Kind::CallEvent, "가".repeat(30).as_bytes()), "가".repeat(LONGEST_NAME / 3));
    }
}
