//! What is known of a peer that something is delivered to: whether it answers, and how what it says is shown to people.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::backoff::Backoff;
use super::pace::{LeftOut, Pace};
use super::shown::acts;
use super::trouble::Condition;

/// A peer. That it went away is logged once, and once that it is back; of one that comes and goes, once a minute.
#[derive(Debug)]
pub struct Peer {
    name: &'static str,
    signal: &'static str,
    backoff: Backoff,
    failures: u32,
    away_since: Option<Instant>,
    logged: Pace,
    /// Whether it was logged that it is away.
    is_said: bool,
    condition: Arc<Condition>,
}

impl Peer {
    /// A peer that is supposed to answer, for this signal. While it does not, pauses are those of `backoff`.
    pub fn new(name: &'static str, signal: &'static str, backoff: Backoff) -> Peer {
        Peer {
            name,
            signal,
            backoff,
            failures: 0,
            away_since: None,
            logged: Pace::default(),
            is_said: false,
            condition: Arc::default(),
        }
    }

    /// Whether it is away, for whoever looks.
    pub fn condition(&self) -> Arc<Condition> {
        Arc::clone(&self.condition)
    }

    /// Notes a failure that shows that it does not answer, and returns how long to wait before the next attempt. `asked` is
    /// what it said itself. `shown` is what everybody may know of the failure, who may not know whom a call is of.
    pub fn note_away(
        &mut self,
        error: &dyn Display,
        shown: &dyn Display,
        asked: Option<Duration>,
    ) -> Duration {
        self.condition.note_trouble(shown);
        if self.away_since.is_none() {
            self.away_since = Some(Instant::now());
            let left_out = self.logged.note(&error.to_string(), 1);
            self.is_said = left_out.is_some();
            if let Some(LeftOut { times, .. }) = left_out {
                warn!(signal = self.signal, %error, left_out = times, "{} is away", self.name);
            }
        }
        self.failures = self.failures.saturating_add(1);
        self.backoff.after(self.failures, asked)
    }

    /// Notes an answer.
    pub fn note_back(&mut self) {
        self.failures = 0;
        self.condition.note_well();
        if let Some(since) = self.away_since.take() {
            let away_seconds = since.elapsed().as_secs();
            if !std::mem::take(&mut self.is_said) {
                return;
            }
            info!(signal = self.signal, away_seconds, "{} is back", self.name);
        }
    }
}

/// A text from outside, short enough for a log line and unable to forge one.
pub fn for_people(text: &str) -> String {
    const LONGEST: usize = 300;
    text.chars().map(|character| if acts(character) { ' ' } else { character }).take(LONGEST).collect()
}

/// The body of an answer that went wrong, for people: of a page of HTML its title, or its text without tags.
pub fn body_for_people(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(LONGEST_BODY)]);
    match is_html(&text) {
        true => for_people(&title(&text).unwrap_or_else(|| without_tags(&text))),
        false => for_people(text.trim()),
    }
}

/// How much of a body is looked at. A title stands at the beginning.
const LONGEST_BODY: usize = 16 * 1024;

fn is_html(text: &str) -> bool {
    let text = text.trim_start().to_ascii_lowercase();
    ["<!doctype html", "<html", "<head", "<body", "<title", "<h1", "<center", "<a "]
        .iter()
        .any(|beginning| text.starts_with(beginning))
}

/// The title of a page, unless it is empty.
fn title(page: &str) -> Option<String> {
    // Lower case in ASCII leaves every byte in its place.
    let lower = page.to_ascii_lowercase();
    let begin = lower.find("<title")?;
    let begin = begin + lower[begin..].find('>')? + 1;
    let end = begin + lower[begin..].find("</title")?;
    Some(without_tags(&page[begin..end])).filter(|title| !title.is_empty())
}

/// The text of a page, each run of tags and white space as one space.
fn without_tags(page: &str) -> String {
    let pieces = page.split('<').enumerate().map(|(number, piece)| match piece.split_once('>') {
        Some((_, text)) if number > 0 => text,
        _ if number > 0 => "",
        _ => piece,
    });
    let text = pieces.collect::<Vec<_>>().join(" ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A URL as it may be shown: without what stands before its last `@`, which is credentials, and without its query, which may
/// hold a token.
pub fn url_for_people(url: &str) -> String {
    // One in a query is none: a redirect to a login often says where to go on from there.
    let scheme = url.find("://").filter(|at| is_scheme(&url[..*at])).map_or(0, |at| at + "://".len());
    let (scheme, rest) = url.split_at(scheme);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    for_people(&format!("{scheme}{rest}"))
}

/// RFC 3986, 3.1.
fn is_scheme(text: &str) -> bool {
    let may_stand_in_one = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(may_stand_in_one)
}

/// An error with the chain of its causes, for people: the first alone says little.
pub fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    for_people(&causes.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_begin_anew_when_the_peer_is_back() {
        let longest = Duration::from_secs(64);
        let mut peer = Peer::new("the peer", "test", Backoff::new(Duration::from_secs(1), longest));
        for _ in 0..10 {
            peer.note_away(&"gone", &"gone", None);
        }
        assert!(peer.note_away(&"gone", &"gone", None) >= longest / 2);
        assert_eq!(peer.note_away(&"gone", &"gone", Some(Duration::from_secs(17))), Duration::from_secs(17));
        peer.note_back();
        assert!(peer.note_away(&"gone", &"gone", None) <= Duration::from_secs(1));
    }

    #[test]
    fn a_text_from_outside_is_one_short_line() {
        let text = for_people(&format!("a\nb\u{202e}\u{1b}{}", "x".repeat(1_000)));
        assert!(text.starts_with("a b  x") && text.len() == 300);
    }

    #[test]
    fn of_a_page_the_title_is_shown_or_the_words() {
        let long = format!("<html><body>{}", "word ".repeat(10_000));
        for (body, expected) in [
            ("<html>\r\n<head><title>502 Bad\n Gateway</title></head><body>x</body>", "502 Bad Gateway"),
            ("<!DOCTYPE html><TITLE lang=\"en\">Sign in</TITLE>", "Sign in"),
            ("<html><title></title><h1>Blocked</h1><p>by\n<b>policy</b></html>", "Blocked by policy"),
            ("  <h1>404</h1>", "404"),
            ("<html><p", ""),
            ("<a href=\"https://c\">Found</a>", "Found"),
            ("{\"a\": \"<b>\"}", "{\"a\": \"<b>\"}"),
            ("a < b and b > c\n", "a < b and b > c"),
            ("", ""),
        ] {
            assert_eq!(body_for_people(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(body_for_people(long.as_bytes()).len(), 300);
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("http://c:4318/v1/traces", "http://c:4318/v1/traces"),
            ("https://user:secret@c/v1/traces?token=secret", "https://c/v1/traces"),
            ("http://user:sec/ret@c", "http://c"),
            ("http://user:sec?ret@c#f", "http://c"),
            ("user:secret@c:4318", "c:4318"),
            ("/v1/traces?secret", "/v1/traces"),
            ("/login?token=secret&return=https://c/v1/traces", "/login"),
            ("user:secret@c:4318/v1/traces?from=http://a", "c:4318/v1/traces"),
        ] {
            assert_eq!(url_for_people(url), shown, "{url}");
        }
    }
}
