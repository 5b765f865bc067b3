//! Where a tracing backend shows a trace.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

use crate::callback::Key;

/// What stands for the ID of the trace.
const TRACE_ID: &str = "{trace_id}";

/// The URL at which a tracing backend shows the trace with an ID that is still to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceUrl(String);

impl TraceUrl {
    /// The URL of the trace of the call with this session ID, which has the same ID without dashes.
    pub fn of(&self, sid: Key) -> String {
        self.0.replace(TRACE_ID, &format!("{:032x}", u128::from_be_bytes(sid.bytes())))
    }
}

impl FromStr for TraceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<TraceUrl, String> {
        let url = TraceUrl(text.to_owned());
        let uri = Uri::from_str(&url.of(Key::from_bytes([0; 16])));
        let is_url = uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        match is_url && text.contains(TRACE_ID) {
            true => Ok(url),
            false => Err(format!(
                "expected a URL with {TRACE_ID} in it, such as https://tracing.example/trace/{TRACE_ID}"
            )),
        }
    }
}

impl fmt::Display for TraceUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_the_trace_is_filled_in() {
        let sid = Key::from_bytes(std::array::from_fn(|at| at as u8));
        let url = |text: &str| text.parse::<TraceUrl>();
        for (text, filled_in) in [
            (
                "https://t.example/trace/{trace_id}",
                "https://t.example/trace/000102030405060708090a0b0c0d0e0f",
            ),
            (
                "http://t/#/{trace_id}?x=%7B{trace_id}",
                "http://t/#/000102030405060708090a0b0c0d0e0f?x=%7B000102030405060708090a0b0c0d0e0f",
            ),
        ] {
            assert_eq!(url(text).map(|url| url.of(sid)).as_deref(), Ok(filled_in));
        }
        for wrong in [
            "https://t.example/trace",
            "javascript:alert('{trace_id}')",
            "/trace/{trace_id}",
            "{trace_id}",
            "http://t/{trace_id} x",
        ] {
            assert!(url(wrong).is_err_and(|said| said.contains("such as https://")), "{wrong}");
        }
    }
}
