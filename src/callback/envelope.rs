//! The envelope of a recorded call event: the path and the header fields with which it is passed on. Its bytes are the
//! path, a line break, and the fields as HTTP/1.1 writes them; the query string is the record's own. Where the URL was
//! registered with a query of its own, the path is what came before the event's parameters, to the `&` or `?` that
//! joins them.

use std::borrow::Cow;

use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};

/// The longest envelope. With the longest query it still fits into a record of the journal.
pub const LONGEST: usize = 32 * 1024;

/// The envelope of a request with this path and these fields, or `None` if it would be longer than [`LONGEST`]. A body, of
/// which a call event has none, is not kept.
pub fn encode(path: &str, headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut envelope = Vec::with_capacity(512);
    envelope.extend_from_slice(path.as_bytes());
    envelope.push(b'\n');
    for (name, value) in headers.iter().filter(|(name, _)| **name != CONTENT_LENGTH) {
        envelope.extend_from_slice(name.as_str().as_bytes());
        envelope.extend_from_slice(b": ");
        envelope.extend_from_slice(value.as_bytes());
        envelope.push(b'\n');
    }
    (envelope.len() <= LONGEST).then_some(envelope)
}

/// The path and the whole query of a request: the event's query joined to a path as the envelope has it, or to a URL that was
/// registered, which may have a query of its own.
pub fn target<'a>(path: &'a str, query: &'a [u8]) -> (&'a str, Cow<'a, [u8]>) {
    let Some((path, registered)) = path.split_once('?') else { return (path, Cow::Borrowed(query)) };
    let joint = if registered.is_empty() || registered.ends_with(['&', '?']) { "" } else { "&" };
    (path, Cow::Owned([registered.as_bytes(), joint.as_bytes(), query].concat()))
}

/// The path and the fields of an envelope. What is in an empty one, or in a damaged one, is left out.
pub fn decode(envelope: &[u8]) -> (Option<&str>, HeaderMap) {
    let mut lines = envelope.split(|byte| *byte == b'\n');
    let path = lines.next().and_then(|path| std::str::from_utf8(path).ok()).filter(|path| !path.is_empty());
    let field = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(line.get(colon + 2..)?).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(field) {
        headers.append(name, value);
    }
    (path, headers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            path in "/[!-~]{0,40}",
            fields in prop::collection::vec(("[a-z][a-z0-9-]{0,20}", "[ -~]{0,60}"), 0..20),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                let value = value.trim();
                headers.append(
                    HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                    HeaderValue::from_str(value).expect("a value"),
                );
            }
            headers.remove(CONTENT_LENGTH);
            let envelope = encode(&path, &headers).expect("an envelope");
            prop_assert_eq!(decode(&envelope), (Some(path.as_str()), headers));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (path, headers) = decode(&bytes);
            prop_assert!(path.unwrap_or_default().len() + headers.len() <= bytes.len());
        }
    }

    #[test]
    fn the_events_query_is_joined_to_what_came_before_it() {
        for (path, expected) in [
            ("/a", "sid=1"),
            ("/a?", "sid=1"),
            ("/a?x=1&", "x=1&sid=1"),
            ("/a?x=1?", "x=1?sid=1"),
            ("/a?x=1", "x=1&sid=1"),
        ] {
            let (before, query) = target(path, b"sid=1");
            assert_eq!((before, query.as_ref()), ("/a", expected.as_bytes()));
        }
    }

    #[test]
    fn an_envelope_has_a_limit() {
        let mut headers = HeaderMap::new();
        headers.insert("x-large", HeaderValue::from_bytes(&[b'x'; LONGEST]).expect("a value"));
        assert_eq!(encode("/", &headers), None);
        assert_eq!(decode(b""), (None, HeaderMap::new()));
    }
}
