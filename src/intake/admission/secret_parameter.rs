//! The secret in a request: the parameter `secret` of the query, wherever it stands among the others. It is taken out
//! of the request, so that whatever looks at that later cannot show, keep or pass on what is not there. Whatever else
//! has a secret in it, such as a parameter in which a proxy hands the URL on that it got, goes with it.

use std::borrow::Cow;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Uri};
use memchr::memmem;

use super::secrets::Secrets;
use crate::config::routes::SECRET;
use crate::http::raw_query::RawQuery;

/// Takes every valid secret out of a request, from its headers too, where proxies put the URL that they got. Returns
/// whether there was one in its query.
pub(super) fn take<B>(request: &mut Request<B>, secrets: &Secrets) -> bool {
    let without = |query: &[u8]| {
        let rest = without(query, |value| secrets.contains(value))?;
        let is_left = secrets.is_within(&rest);
        Some(if is_left { without_parts(&rest, |part| secrets.is_within(part)) } else { rest })
    };
    let of_uri = request.uri().query().and_then(|query| without(query.as_bytes()));
    let raw = request.extensions().get::<RawQuery>().and_then(|raw| without(raw.as_bytes()));
    if of_uri.is_none() && raw.is_none() {
        return false;
    }
    if let Some(query) = of_uri {
        let Some(uri) = with_query(request.uri(), &query) else { return false };
        *request.uri_mut() = uri;
    }
    if let Some(query) = raw.and_then(|query| RawQuery::new(&query)) {
        request.extensions_mut().insert(query);
    }
    remove_fields(request.headers_mut(), secrets);
    true
}

/// A query without the parameter `secret`, whatever its value.
pub(super) fn without_any(query: &[u8]) -> Cow<'_, [u8]> {
    without(query, |_| true).map_or(Cow::Borrowed(query), Cow::Owned)
}

/// A query without the parameters whose value is a secret; `None` if it has none. As the event's parameters may be
/// joined by a second `?`, a parameter ends there too, and at a raw `#`. It goes with what joins it to the one before
/// it, or else to the next.
fn without(query: &[u8], is_secret: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let joins = |byte: &u8| matches!(byte, b'&' | b'?');
    let ends = |byte: &u8| joins(byte) || *byte == b'#';
    let (mut rest, mut looked_at) = (Vec::new(), None);
    for begin in memmem::find_iter(query, SECRET.as_bytes()) {
        let Some(behind) = query[begin..].strip_prefix(SECRET.as_bytes()) else { continue };
        let Some(value) = behind.strip_prefix(b"=") else { continue };
        let value = &value[..value.iter().position(ends).unwrap_or(value.len())];
        let is_parameter = query[..begin].last().is_none_or(joins);
        if !is_parameter || !is_secret(value) {
            continue;
        }
        rest.extend_from_slice(&query[looked_at.unwrap_or(0)..begin]);
        let end = begin + SECRET.len() + 1 + value.len();
        looked_at = Some(match rest.pop() {
            Some(_) => end,
            None => end + usize::from(query.get(end).is_some_and(joins)),
        });
    }
    rest.extend_from_slice(&query[looked_at?..]);
    Some(rest)
}

/// A query without the parts that have a secret in them, each with what joins it to the one before, or else to the
/// next. What stands behind a raw `#` stays behind it.
fn without_parts(query: &[u8], has_secret: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (mut kept, mut joint, mut is_first) = (Vec::new(), None, true);
    for part in query.split_inclusive(|byte| matches!(byte, b'&' | b'?' | b'#')) {
        let (part, next) = match part.split_last() {
            Some((end @ (b'&' | b'?' | b'#'), part)) => (part, Some(*end)),
            _ => (part, None),
        };
        let is_kept = !has_secret(part);
        kept.extend(joint.filter(|joint| *joint == b'#' || is_kept && !is_first));
        if is_kept {
            kept.extend_from_slice(part);
            is_first = false;
        }
        joint = next;
    }
    // What is behind the last joint is nothing.
    kept.extend(joint.filter(|joint| *joint == b'#' || !is_first));
    kept
}

/// A URI with another query.
fn with_query(uri: &Uri, query: &[u8]) -> Option<Uri> {
    let path = uri.path();
    let path_and_query = match query {
        [] => path.to_owned(),
        query => format!("{path}?{}", str::from_utf8(query).ok()?),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

/// Removes the fields in whose value is a secret.
fn remove_fields(headers: &mut HeaderMap, secrets: &Secrets) {
    let has_secret = |value: &HeaderValue| secrets.is_within(value.as_bytes());
    let fields = headers.iter().filter(|(_, value)| has_secret(value));
    let names: Vec<HeaderName> = fields.map(|(name, _)| name.clone()).collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "0123456789abcdef";
    const OTHER: &str = "fedcba9876543210~";

    fn taken(query: &str) -> Option<String> {
        let without = without(query.as_bytes(), |value| [ONE.as_bytes(), OTHER.as_bytes()].contains(&value));
        without.map(|rest| String::from_utf8(rest).expect("text"))
    }

    #[test]
    fn a_secret_goes_with_what_joins_it() {
        for (query, expected) in [
            ("secret=ONE", Some("")),
            ("secret=ONE&", Some("")),
            ("secret=ONE&sid=1", Some("sid=1")),
            ("secret=ONE?sid=1", Some("sid=1")),
            ("action=call&secret=ONE&sid=1", Some("action=call&sid=1")),
            ("action=call&secret=ONE?sid=1", Some("action=call?sid=1")),
            ("action=call?secret=ONE&sid=1", Some("action=call&sid=1")),
            ("secret=ONE&action=call?sid=1", Some("action=call?sid=1")),
            ("sid=1&secret=ONE", Some("sid=1")),
            ("sid=1&secret=ONE#x=1", Some("sid=1#x=1")),
            ("secret=ONE#x=1&secret=ONE", Some("#x=1")),
            ("secret=wrong&secret=ONE&sid=1", Some("secret=wrong&sid=1")),
            ("secret=ONE&secret=OTHER&sid=1", Some("sid=1")),
            ("a=1&secret=ONE&secret=ONE&sid=1&secret=OTHER", Some("a=1&sid=1")),
            ("", None),
            ("sid=1", None),
            ("secret=", None),
            ("secret=wrong", None),
            ("secret=ONEx", None),
            ("secret=xONE", None),
            ("Secret=ONE", None),
            ("mysecret=ONE&sid=1", None),
            ("a=secret=ONE", None),
            ("secretsecret=ONE", None),
            ("secrets=ONE", None),
            ("ONE", None),
        ] {
            let with = |text: &str| text.replace("ONE", ONE).replace("OTHER", OTHER);
            // OTHER has ONE in no place.
            assert_eq!(taken(&with(&query.replace("OTHER", OTHER))), expected.map(with), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_secret_is_left_and_nothing_else_is_gone(
            parts in prop::collection::vec(("[&?]", prop::option::of("[a-z]{1,6}(=[a-z=]{0,6})?")), 1..8),
        ) {
            let named = |secret: &str| format!("secret={secret}");
            let mut whole = String::new();
            for (joint, part) in &parts {
                whole += joint;
                whole += part.as_deref().unwrap_or(&named(ONE));
            }
            let whole = &whole[1..];
            let expected: Vec<&str> = parts.iter().filter_map(|(_, part)| part.as_deref()).collect();
            let rest = taken(whole).unwrap_or_else(|| whole.to_owned());
            prop_assert!(!rest.contains(ONE), "{} {}", whole, rest);
            let left: Vec<&str> = rest.split(['&', '?']).filter(|part| !part.is_empty()).collect();
            prop_assert_eq!(left, expected, "{}", whole);
        }
    }

    #[test]
    fn a_request_is_left_without_it() {
        let secrets = Secrets::of(&[ONE, OTHER]);
        let raw = |query: String| RawQuery::new(query.as_bytes()).expect("a query");
        let mut request = Request::builder()
            .uri(format!("http://host/call_event?secret={ONE}&sid=1"))
            .header("x-original-uri", format!("/call_event?secret={ONE}&sid=1"))
            .header("referer", OTHER)
            .header("x-other", "secret=0123")
            .extension(raw(format!("secret={ONE}&sid=1#\"")))
            .body(())
            .expect("a request");
        assert!(take(&mut request, &secrets));
        assert_eq!(request.uri(), "http://host/call_event?sid=1");
        assert_eq!(request.extensions().get(), Some(&raw("sid=1#\"".to_owned())));
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-other"]);
        let text = format!("{request:?} {secrets:?}");
        assert!(!text.contains(ONE) && !text.contains(OTHER), "{text}");
        assert!(!take(&mut request, &secrets), "it is gone");

        // A proxy may hand on the URL that it got, and anybody may write it once more.
        for (query, expected) in [
            (format!("secret={ONE}&sid=1&url=%2Fcall_event%3Fsecret%3D{ONE}"), "sid=1"),
            (format!("url={ONE}&secret={ONE}&sid=1"), "sid=1"),
            (format!("sid=1&secret={ONE}#{ONE}&x={OTHER}&y=1"), "sid=1#&y=1"),
            (format!("{ONE}#secret={ONE}&secret={ONE}"), "#"),
            (format!("sid=1&secret={ONE}&mysecret={ONE}&&"), "sid=1&&"),
        ] {
            let mut request = Request::builder().extension(raw(query.clone())).body(()).expect("a request");
            assert!(take(&mut request, &secrets), "{query}");
            assert_eq!(request.extensions().get(), Some(&raw(expected.to_owned())), "{query}");
        }

        let mut alone =
            Request::builder().uri(format!("/call_event?secret={OTHER}")).body(()).expect("a request");
        assert!(take(&mut alone, &secrets));
        assert_eq!(alone.uri(), "/call_event");
    }
}
