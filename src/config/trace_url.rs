//! Where a tracing backend shows a trace.

use std::fmt;
use std::str::FromStr;

use hyper::http::uri::Authority;

use crate::callback::Key;
use crate::http::shown::acts;

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
        let scheme = text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
        // A browser encodes what it has to behind the authority, such as the quotes of a query in JSON.
        let (authority, _) = scheme
            .map_or(("", ""), |(_, rest)| rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())));
        let is_authority = Authority::from_str(authority).is_ok_and(|known| {
            !known.host().is_empty() && !authority.contains(['@', '{']) && has_good_port(&known)
        });
        let is_shown = !text.contains(|character: char| character.is_whitespace() || acts(character));
        match is_authority && is_shown && text.contains(TRACE_ID) {
            true => Ok(TraceUrl(text.to_owned())),
            false => Err(format!(
                "expected a URL with {TRACE_ID} behind its host and without user and spaces, such as https://tracing.example/trace/{TRACE_ID}"
            )),
        }
    }
}

/// Whether what stands behind the host is a port, or nothing.
fn has_good_port(authority: &Authority) -> bool {
    let behind = authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':'));
    behind.is_none() || authority.port_u16().is_some()
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
        let grafana = r#"https://grafana/explore?left={"queries":[{"query":"{trace_id}"}]}"#;
        assert!(
            url(grafana)
                .is_ok_and(|url| url.of(sid).contains(r#""query":"000102030405060708090a0b0c0d0e0f""#))
        );
        for wrong in [
            "https://t.example/trace",
            "javascript:alert('{trace_id}')",
            "/trace/{trace_id}",
            "{trace_id}",
            "https://{trace_id}/",
            "https:///{trace_id}",
            "https://t:99999/{trace_id}",
            "https://user:password@t/{trace_id}",
            "http://t/{trace_id} x",
            "http://t/{trace_id}\u{202e}",
        ] {
            assert!(url(wrong).is_err_and(|said| said.contains("such as https://")), "{wrong}");
        }
    }
}
