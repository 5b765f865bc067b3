//! The public URL of the call event callback, to which the canary goes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::{PathAndQuery, Scheme};

use super::routes::SECRET;
use crate::callback::envelope;
use crate::http::peer::url_for_people;

/// An `http` or `https` URL at which LINE Planet brings call events, with the query that it was registered with, if any. It is
/// shown without that, which may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryUrl(Uri);

impl CanaryUrl {
    /// The URL as it was registered.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// The path and query of a request to it whose own query is this one, with this secret unless the URL has one.
    /// `None` if they make none, which a short query never does.
    pub fn target(&self, secret: Option<&str>, query: &str) -> Option<Uri> {
        let registered = self.0.path_and_query().map_or("/", PathAndQuery::as_str);
        let is_secret = |parameter: &str| parameter.split_once('=').is_some_and(|(name, _)| name == SECRET);
        let has_secret = self.0.query().is_some_and(|query| query.split(['&', '?']).any(is_secret));
        let query = match secret.filter(|_| !has_secret) {
            Some(secret) => Cow::Owned(format!("{SECRET}={secret}&{query}")),
            None => Cow::Borrowed(query),
        };
        let (path, query) = envelope::target(registered, query.as_bytes());
        format!("{path}?{}", String::from_utf8_lossy(&query)).parse().ok()
    }
}

impl FromStr for CanaryUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<CanaryUrl, String> {
        let uri: Uri = text.parse().unwrap_or_default();
        let is_http = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
        // A URI loses its fragment without a word.
        let is_plain = |authority: &str| !authority.contains('@') && !text.contains('#');
        match uri.authority().is_some_and(|authority| is_plain(authority.as_str())) && is_http {
            true => Ok(CanaryUrl(uri)),
            false => Err("expected the URL that is registered with LINE Planet, such as https://calls.example.com/call_event, \
                          without user and fragment"
                .to_owned()),
        }
    }
}

impl fmt::Display for CanaryUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&url_for_people(&self.0.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_joined_to_what_was_registered_and_only_the_path_is_shown() {
        for (url, target, shown) in [
            ("https://a/b", "/b?n=1", "https://a/b"),
            ("http://a:1", "/?n=1", "http://a:1/"),
            ("https://[::1]:1/b?x=secret", "/b?x=secret&n=1", "https://[::1]:1/b"),
            ("https://a/b?x=secret&", "/b?x=secret&n=1", "https://a/b"),
        ] {
            let url: CanaryUrl = url.parse().expect("a URL");
            assert_eq!(url.target(None, "n=1").expect("a target"), target);
            assert_eq!(url.to_string(), shown);
        }
    }

    #[test]
    fn the_secret_is_added_where_there_is_none() {
        for (url, target) in [
            ("https://a/b", "/b?secret=s&n=1"),
            ("https://a/b?x=1", "/b?x=1&secret=s&n=1"),
            ("https://a/b?secret=t", "/b?secret=t&n=1"),
            ("https://a/b?secrets=t", "/b?secrets=t&secret=s&n=1"),
        ] {
            let url: CanaryUrl = url.parse().expect("a URL");
            assert_eq!(url.target(Some("s"), "n=1").expect("a target"), target);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_expected() {
        for wrong in
            ["", "a", "a:1/b", "/b", "ftp://a/b", "https://user:password@a/b", "https://a/b#c", "https://"]
        {
            let error = wrong.parse::<CanaryUrl>().expect_err(wrong);
            assert!(error.contains("such as https://calls.example.com/call_event"), "{error}");
        }
    }
}
