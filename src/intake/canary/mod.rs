//! The canary: a request of the exporter's own to its public URL, through DNS, ingress and TLS, as a call event takes
//! it. Without it silence means either that nobody calls or that the way is broken; with it one knows which.
//!
//! ```text
//! sender ─► DNS ─► TLS ─► ingress ─► GET CALLBACK?planet_exporter_canary=NONCE ─► any replica's intake ─┐
//!    ▲                                                                                                  │
//!    └──────────────── 200, or 503 while nothing can be stored; Planet-Exporter-Canary: NONCE ◄─────────┘
//! ```
//!
//! # The proof
//!
//! The nonce is a random number that no other canary has. Whatever answers 200 by itself, such as an ingress, a cache
//! or a service, does not put it into that header; every exporter does, with nothing configured and nothing kept. So it
//! does not matter which replica gets it. The answer says what a number is, and never repeats a text: this is no
//! reflector.
//!
//! # Who recognizes it
//!
//! Intake, at the route of the call event callback, if the event's own part of a GET's query is that parameter with 32
//! hexadecimal digits in lower case, and nothing else. What only looks like it is a request like any other, and is
//! refused as no call. Every exporter does so, whether or not it sends canaries.
//!
//! It is counted as a request and as the result `canary` of planet.exporter.events. It is not stored, has no entry in
//! the window, is in no total and no anomaly, is not kept among the refused, and is never passed on to the service
//! behind, in either mode, whatever the disk does. At another path it is a request like any other, and the service
//! behind answers it: a slip in the URL.
//!
//! It is answered as a call event would be: 503 if that would get one since nothing can be stored
//! ([`Acceptance::refuses`](super::acceptance::Acceptance::refuses)). With a service behind such an event is passed on
//! and held, so the canary gets 200; whether the service would answer is not asked. While the exporter drains it is
//! answered like everybody else.
//!
//! Anybody can send one. It costs what a probe without parameters costs: no disk, no lock, no memory that stays.
//!
//! # The round trips
//!
//! The [`sender`] is idle for an interval, the first time too, since a replica that has just started is not known to
//! the ingress yet. Then it sends one, and is idle again when that has ended: one is on its way at most. Each has 10
//! seconds from the lookup of the name to the head of the answer, and a connection of its own with a full handshake: a
//! TLS session that goes on would not show the certificate. HTTP proxies of the environment are not asked, redirects
//! are not followed, bodies are not read.
//!
//! | what came of it | result |
//! |---|---|
//! | 200 with the nonce | `success` |
//! | the name has no address | `unresolved` |
//! | no connection, or it ends without an answer of HTTP | `unreachable` |
//! | TLS is not agreed on, or the certificate is not good | `tls` |
//! | the 10 seconds are over | `timeout` |
//! | 503 with the nonce: an exporter that cannot store | `refused` |
//! | any other answer that is no success | `status` |
//! | a success without the nonce | `no_echo` |
//!
//! The first failure is logged with what is likely to help, another one again, the same after an hour, and the end of them. The
//! latch `canary` is for show. The sender sends nothing more once the exporter drains, so that its own end is no failure.

mod failure;
pub mod sender;

use std::fmt;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use crate::http::response::{self, Body};
use crate::state::known::NotStored;

/// The header of the answer that has the nonce.
const ECHO: HeaderName = HeaderName::from_static("planet-exporter-canary");

/// What stands before the nonce in the query.
const PARAMETER: &str = "planet_exporter_canary=";

/// Hexadecimal digits of a nonce.
const DIGITS: usize = 32;

/// What tells a canary from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nonce(u128);

impl Nonce {
    /// One that no canary had.
    fn random() -> Nonce {
        Nonce(fastrand::u128(..))
    }

    /// The nonce of a canary whose query, behind the registered one, is this; `None` if it is no canary's.
    pub(super) fn of_query(query: &[u8]) -> Option<Nonce> {
        let digits = str::from_utf8(query.strip_prefix(PARAMETER.as_bytes())?).ok()?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_nonce = digits.len() == DIGITS && digits.bytes().all(is_digit);
        u128::from_str_radix(digits, 16).ok().filter(|_| is_nonce).map(Nonce)
    }

    /// The query of its canary.
    fn query(self) -> String {
        format!("{PARAMETER}{self}")
    }

    /// What its canary is answered: 200, or that a call event would not be stored.
    pub(super) fn answer(self, refused: Option<NotStored>) -> Response<Body> {
        let mut answer = match refused {
            None => response::empty(StatusCode::OK),
            Some(reason) => response::unavailable(&reason.to_string(), "1"),
        };
        // Digits make a value.
        if let Ok(echo) = HeaderValue::from_str(&self.to_string()) {
            answer.headers_mut().insert(ECHO, echo);
        }
        answer
    }

    /// Whether an answer with these fields is that of an exporter to its canary.
    fn is_echoed(self, headers: &HeaderMap) -> bool {
        headers.get(ECHO).is_some_and(|echo| *echo == *self.to_string())
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:0DIGITS$x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sent_is_recognized_and_its_answer_proves_it(number in any::<u128>(), other in any::<u128>()) {
            let nonce = Nonce(number);
            prop_assert_eq!(Nonce::of_query(nonce.query().as_bytes()), Some(nonce));
            for (refused, status) in [(None, 200), (Some(NotStored::Storage), 503)] {
                let answer = nonce.answer(refused);
                prop_assert_eq!(answer.status().as_u16(), status);
                prop_assert!(nonce.is_echoed(answer.headers()));
                prop_assert_eq!(Nonce(other).is_echoed(answer.headers()), other == number);
            }
        }

        #[test]
        fn nothing_but_digits_is_ever_echoed(query in prop::collection::vec(any::<u8>(), 0..60)) {
            let query = [PARAMETER.as_bytes(), &query].concat();
            if let Some(nonce) = Nonce::of_query(&query) {
                prop_assert_eq!(nonce.query().into_bytes(), query);
            }
        }
    }

    #[test]
    fn only_the_parameter_alone_with_its_digits_is_a_canary() {
        let digits = "0123456789abcdef0123456789abcdef";
        assert!(Nonce::of_query(format!("{PARAMETER}{digits}").as_bytes()).is_some());
        for query in [
            String::new(),
            digits.to_owned(),
            PARAMETER.to_owned(),
            format!("{PARAMETER}{}", &digits[1..]),
            format!("{PARAMETER}0{digits}"),
            format!("{PARAMETER}+{}", &digits[1..]),
            format!("{PARAMETER}{}", digits.to_uppercase()),
            format!("{PARAMETER}{digits}&"),
            format!("{PARAMETER}{digits}&sid=1"),
            format!("sid=1&{PARAMETER}{digits}"),
            format!("{PARAMETER}{}g", &digits[1..]),
        ] {
            assert_eq!(Nonce::of_query(query.as_bytes()), None, "{query}");
        }
    }
}
