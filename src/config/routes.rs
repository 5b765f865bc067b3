//! Routes: which callback arrives at a URL, and what becomes of it.
//!
//! A URL is registered with LINE Planet as a path, or as a path with a query of its own (`/callback?action=call`). LINE Planet
//! puts the event's parameters behind that: with `&`, or with a second `?` where it does not look. So a request is the
//! callback's if its path is [the same](super::path) and its query begins with the registered one, byte for byte, and goes on
//! with `&` or `?` or ends there. The event's own query is what comes behind.

use std::fmt;

use clap::ValueEnum;

use super::path::is_same;
use super::{Config, ForwardMode};
use crate::callback::Kind;

/// The parameter of the registered URL that holds the secret of `--call-event-secret-file`.
pub const SECRET: &str = "secret";

/// What a request to the callback without any parameter is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProbeStatus {
    /// 200.
    #[value(name = "200")]
    Ok,
    /// 400.
    #[value(name = "400")]
    BadRequest,
}

/// What arrives at a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The path.
    pub path: String,
    /// The query that was registered with it, or an empty text.
    pub query: String,
    /// Which callback.
    pub kind: Kind,
    /// How it is passed on, where there is a service behind.
    pub mode: ForwardMode,
    /// What a request without parameters is answered.
    pub probe: ProbeStatus,
}

impl Route {
    /// The event's own part of a query, if the query begins with the registered one.
    pub fn event_query<'q>(&self, query: &'q [u8]) -> Option<&'q [u8]> {
        if self.query.is_empty() {
            return Some(query);
        }
        match query.strip_prefix(self.query.as_bytes())? {
            [] => Some(&[]),
            [b'&' | b'?', behind @ ..] => Some(behind),
            _ => None,
        }
    }
}

impl fmt::Display for Route {
    /// As it was registered.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.path)?;
        match self.query.is_empty() {
            true => Ok(()),
            false => write!(formatter, "?{}", self.query),
        }
    }
}

/// The route of a request, and the event's own part of its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// The route.
    pub route: &'a Route,
    /// What stands behind the registered query.
    pub query: &'a [u8],
}

/// The routes of the callbacks that are read. Everything else is passed on or unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// The routes that are configured.
    pub fn of(config: &Config) -> Routes {
        let registered = &config.call_event_path;
        let (path, query) = registered.split_once('?').unwrap_or((registered, ""));
        // What joins the event's parameters to it is not part of it.
        let query = query.trim_end_matches('&');
        Routes(vec![Route {
            path: path.to_owned(),
            query: query.to_owned(),
            kind: Kind::CallEvent,
            mode: config.forward_mode,
            probe: config.probe_status,
        }])
    }

    /// One route.
    #[cfg(feature = "fuzzing")]
    pub(super) fn with(route: Route) -> Routes {
        Routes(vec![route])
    }

    /// The route of a path and query.
    pub fn find<'a>(&'a self, path: &[u8], query: &'a [u8]) -> Option<Found<'a>> {
        let found = |route: &'a Route| Some(Found { route, query: route.event_query(query)? });
        self.0.iter().filter(|route| is_same(route.path.as_bytes(), path)).find_map(found)
    }

    /// The route that a request without one of its own was meant for, if its query is that of a callback without doubt.
    pub fn meant(&self, query: &[u8]) -> Option<&Route> {
        self.0.iter().find(|route| route.kind.is_unmistakable(query))
    }
}

/// What may be registered with LINE Planet: a path, and a query if there is one.
pub(super) fn registered_path(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    let has_query = text.split_once('?').is_none_or(|(_, query)| !query.trim_end_matches('&').is_empty());
    match text.starts_with('/') && text.bytes().all(is_plain) && has_query {
        true => Ok(text.to_owned()),
        false => Err("expected a path that begins with /, such as /call_event, or one with the query that it was registered \
                      with, such as /callback?action=call"
            .to_owned()),
    }
}

/// A path without a query.
pub(super) fn plain_path(text: &str) -> Result<String, String> {
    match registered_path(text) {
        Ok(path) if !path.contains('?') => Ok(path),
        _ => Err("expected a path that begins with /, such as /ready".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn routes(registered: &str) -> Routes {
        let arguments = ["planet-call-exporter", "--call-event-path", registered];
        Routes::of(&Config::try_parse_from(arguments).expect("a configuration"))
    }

    #[test]
    fn the_events_query_begins_behind_the_registered_one() {
        for (registered, query, expected) in [
            ("/a", "sid=1", Some("sid=1")),
            ("/a", "", Some("")),
            ("/a", "?sid=1", Some("?sid=1")),
            ("/a?x=1", "x=1&sid=1", Some("sid=1")),
            ("/a?x=1", "x=1?sid=1", Some("sid=1")),
            ("/a?x=1&", "x=1&sid=1", Some("sid=1")),
            ("/a?x=1", "x=1", Some("")),
            ("/a?x=1", "x=1&", Some("")),
            ("/a?x=1&y=2", "x=1&y=2&sid=1", Some("sid=1")),
            ("/a?x", "x?sid=1", Some("sid=1")),
            ("/a?x=1", "", None),
            ("/a?x=1", "sid=1", None),
            ("/a?x=1", "x=12&sid=1", None),
            ("/a?x=1", "X=1&sid=1", None),
            ("/a?x=1&y=2", "y=2&x=1&sid=1", None),
        ] {
            let routes = routes(registered);
            let found = routes.find(b"/a", query.as_bytes()).map(|found| found.query);
            assert_eq!(found, expected.map(str::as_bytes), "{registered} {query}");
            assert_eq!(routes.find(b"/b", query.as_bytes()), None);
        }
    }

    #[test]
    fn a_route_says_how_it_was_registered() {
        for registered in ["/a", "/a?x=1", "//a/"] {
            assert_eq!(routes(registered).0[0].to_string(), registered);
        }
    }
}
