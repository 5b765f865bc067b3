//! Parameters that the documentation does not have: which came.

use std::borrow::Cow;

use serde::Deserialize;

use super::{CallEvent, Parameter};

#[derive(Deserialize)]
struct Name<'q>(#[serde(borrow)] Cow<'q, str>, serde::de::IgnoredAny);

impl CallEvent<'_> {
    /// The names of a query that are no documented parameters, each once, in the order in which they came; at most this many.
    /// They are texts from outside, of any length.
    pub fn unknown_parameters(query: &[u8], most: usize) -> Vec<Cow<'_, str>> {
        let names: Vec<Name<'_>> = serde_urlencoded::from_bytes(query).unwrap_or_default();
        let mut unknown = Vec::new();
        for Name(name, _) in names {
            if unknown.len() < most && Parameter::from_name(&name).is_none() && !unknown.contains(&name) {
                unknown.push(name);
            }
        }
        unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_few_and_each_is_named_once() {
        let query = b"a=1&sid=2&b%0A+c=&a=3&d&type=V&e=5";
        assert_eq!(CallEvent::unknown_parameters(query, 9), ["a", "b\n c", "d", "e"]);
        assert_eq!(CallEvent::unknown_parameters(query, 2), ["a", "b\n c"]);
        assert!(CallEvent::unknown_parameters(b"sid=1&type=V", 9).is_empty());
        assert!(CallEvent::unknown_parameters(b"", 9).is_empty());
    }
}
