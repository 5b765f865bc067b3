//! How the values of flags are read: each parser says what it expects.

use std::net::IpAddr;
use std::time::Duration;

use bytesize::ByteSize;
use hyper::http::Uri;
use ipnet::{IpNet, Ipv4Net};
use tracing::level_filters::LevelFilter;

use crate::callback::call_event::LONGEST;
use crate::callback::idc::is_usual_name;

/// A number.
pub(super) fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected a number in decimal digits".to_owned())
}

/// A number above zero.
pub(super) fn positive(text: &str) -> Result<usize, String> {
    match number(text)? {
        0 => Err("expected a number above zero".to_owned()),
        number => Ok(number),
    }
}

/// A number of threads.
pub(super) fn threads(text: &str) -> Result<usize, String> {
    match number(text) {
        Ok(number @ 1..=64) => Ok(number),
        _ => Err("expected a number from 1 to 64".to_owned()),
    }
}

/// A size.
pub(super) fn bytes(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "expected a size such as 64MiB".to_owned())
}

/// The least that a journal with its segments can do with.
const LEAST_STATE: ByteSize = ByteSize::mib(1);

/// A size that is enough for a state directory.
pub(super) fn state_bytes(text: &str) -> Result<ByteSize, String> {
    match text.parse() {
        Ok(size) if size >= LEAST_STATE => Ok(size),
        _ => Err("expected a size of at least 1MiB, such as 512MiB or 2GiB".to_owned()),
    }
}

/// The name of an IDC.
pub(super) fn idc(text: &str) -> Result<String, String> {
    match is_usual_name(text) {
        true => Ok(text.to_owned()),
        false => {
            Err("expected IDCs such as KR,JP: each up to 16 letters, digits, dashes and underscores"
                .to_owned())
        }
    }
}

/// A network, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map(canonical)
        .map_err(|_| "expected networks or addresses, such as 10.0.0.0/8,::1".to_owned())
}

/// A network of mapped addresses as that of IPv4 which it is, since a peer is known by its plain address.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V4(_) => None,
        IpNet::V6(network) => network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(96)),
    };
    mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

/// The ID of a service.
pub(super) fn service(text: &str) -> Result<String, String> {
    match (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => {
            Err("expected service IDs such as planet,planet-test: each up to 64 printable ASCII characters"
                .to_owned())
        }
    }
}

/// A duration that a call can have.
pub(super) fn longest_call(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(duration) if (Duration::from_secs(1)..=LONGEST).contains(&duration) => Ok(duration),
        _ => Err("expected a duration from 1s to 7d, such as 24h".to_owned()),
    }
}

/// A duration above zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a duration above zero, such as 500ms, 10s, 5m or 24h".to_owned()),
    }
}

/// A duration, or none at all.
pub(super) fn duration_or_none(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "expected a duration such as 500ms, 10s, 5m or 24h, or 0s".to_owned())
}

/// A time from one canary to the next.
pub(super) fn canary_interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(interval) if interval >= Duration::from_secs(1) => Ok(interval),
        _ => Err("expected a duration of at least 1s, such as 30s or 5m".to_owned()),
    }
}

/// The longest URI that hyper reads.
const LONGEST_URI: u64 = 65_534;

/// A size that a URI can have.
pub(super) fn uri_bytes(text: &str) -> Result<usize, String> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(bytes @ 1..=LONGEST_URI)) => Ok(bytes as usize),
        _ => Err(format!("expected a size of up to {LONGEST_URI} bytes, such as 32KiB")),
    }
}

/// A level, or filter directives.
pub(super) fn log_level(text: &str) -> Result<String, String> {
    const EXPECTED: &str =
        "expected error, warn, info, debug, trace, off or filter directives such as info,hyper=debug";
    // A word alone could be a target too, but is a mistyped level.
    let is_level =
        |word: &str| word.contains(['=', '[']) || !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    // The library divides a directive behind a blank at the wrong places, and panics within a character of several bytes.
    if !text.is_ascii() {
        return Err(EXPECTED.to_owned());
    }
    // As patterns, a few dozen characters of a field's value could take all memory and time.
    match tracing_subscriber::EnvFilter::builder().with_regex(false).parse(text) {
        Ok(_) if text.split(',').all(is_level) => Ok(text.to_owned()),
        Ok(_) => Err(EXPECTED.to_owned()),
        Err(error) => Err(format!("{error}; {EXPECTED}")),
    }
}

/// The URL of an OTLP receiver.
pub(super) fn otlp_receiver(text: &str) -> Result<Uri, String> {
    let url = text.parse().ok().filter(|url: &Uri| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    url.ok_or_else(|| "expected a URL such as http://localhost:4318".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_mapped_addresses_is_one_of_ipv4() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.7", "10.0.0.7/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:0:0/95", "::ffff:0:0/95"),
        ] {
            assert_eq!(network(text), Ok(expected.parse().expect("a network")), "{text}");
        }
    }
}
