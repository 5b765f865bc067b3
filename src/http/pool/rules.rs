//! When a connection may be used again, and when a request may be sent again.

use std::time::Duration;

use hyper::HeaderMap;

/// How long a connection may have been idle for a request that must not arrive twice. Servers keep idle connections for
/// a second at least, and it takes no 350 milliseconds to reach one; a stream of requests comes at shorter intervals.
const MOMENT: Duration = Duration::from_millis(300);

/// How long a connection may be idle if the service says nothing: Node and uvicorn close after 5 seconds.
const UNSAID: Duration = Duration::from_secs(4);

/// How long a connection may be idle at most. What stands between may forget it, and say nothing.
const LONGEST: Duration = Duration::from_secs(60);

/// How much earlier than the service says: a request has to arrive before, and both clocks begin at different ends of the way.
const MARGIN: Duration = Duration::from_secs(1);

const KEEP_ALIVE: &str = "keep-alive";

/// How long a connection may be idle after an answer with these fields.
pub(in crate::http) fn idle_time(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(KEEP_ALIVE).iter().filter_map(|value| value.to_str().ok());
    let parameters = values.flat_map(|value| value.split([',', ';'])).filter_map(|part| part.split_once('='));
    let timeout = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"));
    // Where there are several, the shortest.
    let seconds =
        timeout.filter_map(|(_, seconds)| seconds.trim().trim_matches('"').parse::<u32>().ok()).min();
    match seconds.map(|seconds| Duration::from_secs(seconds.into())) {
        Some(said) => (said - MARGIN.min(said / 2)).min(LONGEST),
        None => UNSAID,
    }
}

/// How long a connection may have been idle for this request, whatever the service says.
pub(super) fn longest_idle(is_idempotent: bool, has_body: bool) -> Duration {
    if is_idempotent && !has_body { LONGEST } else { MOMENT }
}

/// What is left of a request's body where a connection has broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyState {
    /// It has none.
    None,
    /// All of it.
    Whole,
    /// Not all of it.
    Taken,
}

/// A request whose connection, which had been used before, has broken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Broken {
    /// Whether the request may arrive twice (RFC 9110, 9.2.2).
    pub(super) is_idempotent: bool,
    pub(super) body: BodyState,
    /// Whether anything of the request may have been sent.
    pub(super) has_sent: bool,
    /// Whether a byte of an answer has come.
    pub(super) has_received: bool,
}

impl Broken {
    /// Whether the request may be sent once more.
    pub(super) fn may_repeat(self) -> bool {
        !self.has_received && self.body != BodyState::Taken && (self.is_idempotent || !self.has_sent)
    }
}

#[cfg(test)]
mod tests {
    use hyper::Method;
    use hyper::header::{HeaderName, HeaderValue};
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    fn after(values: &[&'static str]) -> Duration {
        let name = HeaderName::from_static(KEEP_ALIVE);
        idle_time(&values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn what_the_service_says_is_heeded_with_a_margin() {
        for (values, milliseconds) in [
            (&[][..], 4_000),
            (&["max=100"], 4_000),
            (&["timeout"], 4_000),
            (&["timeout=soon"], 4_000),
            (&["timeout=-1"], 4_000),
            (&["timeout=0"], 0),
            (&["timeout=1"], 500),
            (&["timeout=2"], 1_000),
            (&["timeout=5"], 4_000),
            (&["timeout=5, max=1000"], 4_000),
            (&["max=1000,Timeout = 15"], 14_000),
            (&["timeout=\"15\""], 14_000),
            (&["timeout=75", "timeout=30"], 29_000),
            (&["timeout=4294967295"], 60_000),
        ] {
            assert_eq!(after(values), Duration::from_millis(milliseconds), "{values:?}");
        }
    }

    #[test]
    fn what_must_not_arrive_twice_takes_only_what_was_used_a_moment_ago() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE]
        {
            assert_eq!(longest_idle(method.is_idempotent(), false), LONGEST, "{method}");
            assert_eq!(longest_idle(method.is_idempotent(), true), MOMENT, "{method}");
        }
        let unknown = Method::from_bytes(b"SEARCH").expect("a method");
        for method in [Method::POST, Method::PATCH, unknown] {
            assert_eq!(longest_idle(method.is_idempotent(), false), MOMENT, "{method}");
        }
    }

    #[test]
    fn the_table_of_what_is_sent_again() {
        use BodyState::{None, Taken, Whole};
        // Before a byte of the answer.
        for (is_idempotent, has_sent, body, may_repeat) in [
            (true, false, None, true),
            (true, false, Whole, true),
            (true, false, Taken, false),
            (true, true, None, true),
            (true, true, Whole, true),
            (true, true, Taken, false),
            (false, false, None, true),
            (false, false, Whole, true),
            (false, false, Taken, false),
            (false, true, None, false),
            (false, true, Whole, false),
            (false, true, Taken, false),
        ] {
            let broken = Broken { is_idempotent, body, has_sent, has_received: false };
            assert_eq!(broken.may_repeat(), may_repeat, "{broken:?}");
            assert!(!Broken { has_received: true, ..broken }.may_repeat(), "after a byte: {broken:?}");
        }
    }

    proptest! {
        #[test]
        fn a_connection_is_never_used_for_as_long_as_the_service_says(seconds in 1..u32::MAX, more in any::<u8>()) {
            let value = HeaderValue::from_str(&format!("max={more}, timeout={seconds}")).expect("a value");
            let headers = HeaderMap::from_iter([(HeaderName::from_static(KEEP_ALIVE), value)]);
            prop_assert!(idle_time(&headers) < Duration::from_secs(seconds.into()));
            prop_assert!(idle_time(&headers) <= LONGEST);
        }

        #[test]
        fn no_field_value_is_too_odd(value in "[ -~]{0,40}") {
            let value = HeaderValue::from_str(&value).expect("a value");
            prop_assert!(idle_time(&HeaderMap::from_iter([(HeaderName::from_static(KEEP_ALIVE), value)])) <= LONGEST);
        }
    }
}
