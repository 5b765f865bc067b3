//! Parameters that the documentation does not have: the event is accepted, and the log says which they are.

use tracing::warn;

use crate::callback::Kind;
use crate::http::pace::Pace;

/// Names that a line has at most.
const MOST_NAMES: usize = 5;

/// Bytes of a name at most.
const LONGEST_NAME: usize = 64;

/// Says which unknown parameters come.
#[derive(Debug, Default)]
pub(super) struct UnknownParameters(Pace);

impl UnknownParameters {
    /// Notes a query in which there are some. Their values are never logged.
    pub(super) fn note(&self, kind: Kind, query: &[u8]) {
        if let Some(left_out) = self.0.due() {
            let parameters = names(kind, query);
            warn!(
                parameters,
                left_out,
                "a call event has parameters that are not documented; further ones are logged at most once a minute"
            );
        }
    }
}

/// The names, as far as they look like names of parameters. What does not may be a piece of a value that was sent with
/// a raw `&`, and name people.
fn names(kind: Kind, query: &[u8]) -> String {
    let names = kind.unknown_parameters(query, MOST_NAMES);
    let shown = |name: &str| match is_name(name) {
        true => name.to_owned(),
        false => "(no name of a parameter)".to_owned(),
    };
    names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ")
}

fn is_name(text: &str) -> bool {
    let begins_so = text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    begins_so
        && text.len() <= LONGEST_NAME
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_name_is_shown() {
        let query = b"sdk_version=7&Lee+Younghee+010-1234&x%0Ay=1&a=1&b=2&c=3";
        let none = "(no name of a parameter)";
        assert_eq!(names(Kind::CallEvent, query), format!("sdk_version, {none}, {none}, a, b"));
        let long = "x".repeat(LONGEST_NAME + 1);
        assert_eq!(names(Kind::CallEvent, long.as_bytes()), none);
    }
}
