//! A query string that no URI may have: with raw `"`, `<`, `>`, spaces, or bytes that are no UTF-8.
//!
//! Types of HTTP libraries cannot hold it, so it goes beside the URI, which then has no query, as an extension of the
//! request: from the [`connection`](super::listener) to the handler, and from whoever passes a request on to the
//! [`service`](super::service).

use std::borrow::Cow;
use std::fmt::Write;

use bytes::Bytes;
use hyper::{Request, Uri};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// What ends a query of a URI, or may not stand in it.
const NOT_IN_A_URI: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'#');

/// The query of a request whose URI cannot have it. It has no control characters, so it cannot end the line in which it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawQuery(Bytes);

impl RawQuery {
    /// These bytes as a query, or `None` if there are control characters among them.
    pub fn new(bytes: &[u8]) -> Option<RawQuery> {
        (!bytes.iter().any(u8::is_ascii_control)).then(|| RawQuery(Bytes::copy_from_slice(bytes)))
    }

    /// The query.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The query of a request, wherever it stands; empty if there is none.
pub fn query_of<B>(request: &Request<B>) -> &[u8] {
    match request.extensions().get::<RawQuery>() {
        Some(raw) => raw.as_bytes(),
        None => request.uri().query().unwrap_or_default().as_bytes(),
    }
}

/// The query as text that whoever reads forms decodes to the same bytes: as it is, but with bytes that are no UTF-8
/// percent-encoded.
pub fn as_text(query: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(query) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(query.len() + 16);
    for chunk in query.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a text does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    Cow::Owned(text)
}

/// A URI with this query behind `base`: as it is if a URI may have it, and else percent-encoded where it may not, so
/// that whoever reads forms decodes it to the same bytes. `None` if `base` is no URI.
pub fn uri_with_query(base: &str, query: &str) -> Option<Uri> {
    let uri = format!("{base}?{query}").parse().ok();
    uri.filter(|uri: &Uri| uri.query() == Some(query))
        .or_else(|| format!("{base}?{}", percent_encode(query.as_bytes(), NOT_IN_A_URI)).parse().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(query: &[u8]) -> Vec<u8> {
        percent_encoding::percent_decode(query).collect()
    }

    proptest! {
        #[test]
        fn any_form_of_a_query_decodes_to_the_same_bytes(query in prop::collection::vec(any::<u8>(), 0..60)) {
            let text = as_text(&query);
            prop_assert_eq!(decoded(text.as_bytes()), decoded(&query));
            let uri = uri_with_query("http://a/b", &text).expect("a URI");
            prop_assert_eq!(uri.path(), "/b");
            prop_assert_eq!(decoded(uri.query().unwrap_or_default().as_bytes()), decoded(&query));
        }
    }

    #[test]
    fn what_a_uri_may_have_stays_as_it_is() {
        for query in ["", "a=%zz&&b=+", "a={|}^`\u{e9}"] {
            assert_eq!(uri_with_query("http://a/", query).expect("a URI").query(), Some(query));
        }
        assert_eq!(uri_with_query("not a URI", "a"), None);
        let encoded = uri_with_query("http://a/", "a=\"<b> #c%22").expect("a URI");
        assert_eq!(encoded.query(), Some("a=%22%3Cb%3E%20%23c%22"));
    }

    #[test]
    fn control_characters_make_no_query() {
        assert!(RawQuery::new(b"a=\"<>\xff \x80").is_some());
        for control in [0, b'\t', b'\r', b'\n', 0x1f, 0x7f] {
            assert_eq!(RawQuery::new(&[b'a', control]), None);
        }
    }
}
