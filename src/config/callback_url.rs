//! The URL of a call event callback, for whoever sends call events to it.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::{Authority, Scheme};

use crate::callback::envelope;
use crate::http::raw_query::{as_text, uri_with_query};

/// An `http` URL at which call events are taken, with the query that it was registered with, if any.
///
/// It is shown without that: somebody may have taken the URL of a whole call event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackUrl {
    authority: Authority,
    /// The path and the registered query.
    path_and_query: String,
}

impl CallbackUrl {
    /// The host and the port.
    pub fn address(&self) -> String {
        format!("{}:{}", self.authority.host(), self.authority.port_u16().unwrap_or(80))
    }

    /// What stands in the field Host.
    pub fn host(&self) -> &str {
        self.authority.as_str()
    }

    /// The URI of the call event with this query. What no URI may have in it is percent-encoded. `None` if it is too long for a
    /// URI.
    pub fn with(&self, query: &[u8]) -> Option<Uri> {
        let (path, query) = envelope::target(&self.path_and_query, query);
        uri_with_query(&format!("http://{}{path}", self.authority), &as_text(&query))
    }
}

impl FromStr for CallbackUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<CallbackUrl, String> {
        let parts = text.parse().map(Uri::into_parts).unwrap_or_default();
        match (parts.scheme, parts.authority, parts.path_and_query) {
            (Some(scheme), Some(authority), Some(path_and_query))
                if scheme == Scheme::HTTP && is_host(&authority) =>
            {
                Ok(CallbackUrl { authority, path_and_query: path_and_query.to_string() })
            }
            _ => Err("expected a URL such as http://127.0.0.1:20200/call_event".to_owned()),
        }
    }
}

/// Whether an authority is a host, and a port if any: no user, and no password up to a slash in it that would look like a port.
fn is_host(authority: &Authority) -> bool {
    let has_no_port = authority.as_str() == authority.host();
    !authority.as_str().contains('@') && (has_no_port || authority.port_u16().is_some())
}

impl fmt::Display for CallbackUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        write!(formatter, "http://{}{path}", self.authority)
    }
}

/// What to do where a URL is answered 403 to the first call event.
pub const TURNED_AWAY: &str = "call events are not taken from here, or not without a secret; expected the whole URL, such as \
                               http://127.0.0.1:20200/call_event?secret=SECRET with that of --call-event-secret-file, from an \
                               address in --allow-from";

/// What to do where a URL is answered 404 to the first call event.
pub const WRONG_PATH: &str = "no call events are taken at this path; expected that of the exporter's --call-event-path, which is \
                              /call_event by default";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_query_is_joined_to_what_was_registered() {
        for (url, expected) in [
            ("http://a:1/b", "http://a:1/b?sid=1"),
            ("http://a:1", "http://a:1/?sid=1"),
            ("http://[::1]/b?x=1", "http://[::1]/b?x=1&sid=1"),
            ("http://a/b?x=1&", "http://a/b?x=1&sid=1"),
        ] {
            let url: CallbackUrl = url.parse().expect("a URL");
            assert_eq!(url.with(b"sid=1").expect("a URI"), expected);
        }
    }

    #[test]
    fn it_is_shown_without_a_query_and_has_an_address() {
        let url: CallbackUrl = "http://[::1]/b?sid=1".parse().expect("a URL");
        assert_eq!((url.to_string().as_str(), url.address().as_str()), ("http://[::1]/b", "[::1]:80"));
        assert_eq!(url.with(&[b'x'; 70_000]), None);
    }

    #[test]
    fn anything_else_is_refused_with_what_is_expected() {
        for wrong in [
            "",
            "a",
            "a:1/b",
            "/b",
            "https://a/b",
            "ftp://a/b",
            "http://user:password@a/b",
            "http://",
            "http://user:pass/word@a/b",
        ] {
            let error = wrong.parse::<CallbackUrl>().expect_err(wrong);
            assert!(error.contains("such as http://127.0.0.1:20200/call_event"), "{error}");
        }
    }
}
