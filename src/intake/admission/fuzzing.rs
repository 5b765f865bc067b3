//! Laws of the secret in a request, wherever it stands.

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Uri};

use super::secret_parameter::{take, without_any};
use super::secrets::Secrets;
use crate::http::raw_query::{RawQuery, query_of};

/// The secrets that are known.
const SECRETS: [&str; 2] = ["0123456789abcdef", "fedcba9876543210~"];

fn has_secret(bytes: &[u8]) -> bool {
    SECRETS.iter().any(|secret| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()))
}

/// What stands between the joints of a query, each with the one before it.
fn parts(query: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut parts, mut joint, mut rest) = (Vec::new(), b'&', query);
    while let Some(end) = rest.iter().position(|byte| b"&?#".contains(byte)) {
        parts.push((joint, &rest[..end]));
        (joint, rest) = (rest[end], &rest[end + 1..]);
    }
    parts.push((joint, rest));
    parts
}

/// A query in the first line, and the value of a header in each of the others. Whoever shows a secret has a request
/// without one from then on, in which everything else is what it was. Nobody else's request is touched.
pub fn secret_parameter(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let query = lines.next().unwrap_or_default();
    let target = [b"/call_event?", query].concat();
    let uri = Uri::try_from(&*target).ok().filter(|uri| uri.query().map(str::as_bytes) == Some(query));
    let mut request = Request::new(());
    match (uri, RawQuery::new(query)) {
        (Some(uri), _) => *request.uri_mut() = uri,
        (None, Some(raw)) => drop(request.extensions_mut().insert(raw)),
        (None, None) => return,
    }
    let mut fields = Vec::new();
    for (number, value) in lines.take(20).enumerate() {
        let name = HeaderName::try_from(format!("x-{number}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            request.headers_mut().insert(&name, value.clone());
            fields.push((name, value));
        }
    }
    let is_shown = |(joint, part): &(u8, &[u8])| {
        let value = part.strip_prefix(b"secret=").filter(|_| *joint != b'#');
        value.is_some_and(|value| SECRETS.iter().any(|secret| secret.as_bytes() == value))
    };
    let is_taken = take(&mut request, &Secrets::of(&SECRETS));
    assert_eq!(is_taken, parts(query).iter().any(is_shown));
    let rest = query_of(&request);
    if !is_taken {
        assert_eq!((rest, request.headers().len()), (query, fields.len()));
        return;
    }
    assert!(!has_secret(rest), "{rest:?} is left of {query:?}");
    assert!(!has_secret(request.uri().to_string().as_bytes()));
    let (removed, kept): (Vec<_>, Vec<_>) =
        parts(query).into_iter().map(|(_, part)| part).partition(|part| has_secret(part));
    let of_rest: Vec<_> = parts(rest).into_iter().map(|(_, part)| part).collect();
    let is_something = |part: &&&[u8]| !part.is_empty();
    assert!(
        of_rest.iter().filter(is_something).eq(kept.iter().filter(is_something)),
        "{rest:?} is left of {query:?}"
    );
    // With each goes what joins it to the others.
    let length: usize = removed.iter().map(|part| part.len() + 1).sum();
    assert!(rest.len() + length >= query.len(), "{rest:?} is left of {query:?}");
    let fragments = |query: &[u8]| query.iter().filter(|byte| **byte == b'#').count();
    assert_eq!(fragments(rest), fragments(query));
    for (name, value) in fields {
        let is_left = request.headers().get(name).is_some_and(|left| left == value);
        assert_eq!(is_left, !has_secret(value.as_bytes()));
    }
    // What is looked at of it has no other parameter of that name either.
    assert!(
        parts(&without_any(rest)).iter().all(|(joint, part)| *joint == b'#' || !part.starts_with(b"secret="))
    );
}
