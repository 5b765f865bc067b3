//! Laws of paths, whatever is registered and whatever is asked for, and of the values of flags.

use bytesize::ByteSize;
use ipnet::IpNet;

use super::ForwardMode;
use super::callback_url::CallbackUrl;
use super::canary_url::CanaryUrl;
use super::path::is_same;
use super::rate::Rate;
use super::routes::{ProbeStatus, Route, Routes, registered_path};
use super::values;
use crate::callback::Kind;
use crate::http::ListenAddress;

/// What is registered in the first line, and the path that is asked for in the second. Paths are the same either way
/// round, and of a request the event's own query is what stands behind the registered one.
pub fn callback_path(bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let (registered, asked) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    assert_eq!(is_same(registered, asked), is_same(asked, registered));
    assert!(is_same(asked, asked));
    let spelled = [b"/./", asked, b"//"].concat();
    assert!(is_same(asked, &spelled) && is_same(registered, &spelled) == is_same(registered, asked));
    let Ok(registered) = str::from_utf8(registered) else { return };
    // Refused with what is expected, which is no law.
    if let Ok(url) = registered.parse::<CallbackUrl>() {
        assert!(!url.to_string().contains('?') && !url.host().contains('@'));
        assert!(
            url.with(b"sid=1").is_some_and(|uri| uri.query().is_some_and(|query| query.ends_with("sid=1")))
        );
    }
    let Ok(registered) = registered_path(registered) else { return };
    let (path, query) = registered.split_once('?').unwrap_or((&registered, ""));
    let route = Route {
        path: path.to_owned(),
        query: query.trim_end_matches('&').to_owned(),
        kind: Kind::CallEvent,
        mode: ForwardMode::Stored,
        probe: ProbeStatus::Ok,
    };
    let is_registered = is_same(path.as_bytes(), asked);
    let whole = if route.query.is_empty() { "sid=1".to_owned() } else { format!("{}&sid=1", route.query) };
    let routes = Routes::with(route);
    let found = routes.find(asked, whole.as_bytes()).map(|found| found.query);
    assert_eq!(found, is_registered.then_some(&b"sid=1"[..]));
}

/// The value of a flag. Whatever it is, every flag either takes it within the bounds that it has, or says what it expected.
pub fn flag_value(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for network in text.split(',').filter_map(|text| taken(values::network(text))) {
        assert_eq!(values::network(&network.to_string()), Ok(network));
        assert!(network.contains(&network.addr()) && network.prefix_len() <= network.max_prefix_len());
        if let IpNet::V6(network) = network {
            assert!(network.prefix_len() < 96 || network.addr().to_ipv4_mapped().is_none(), "{network}");
        }
    }
    if let Some(Rate { per_second, burst }) = taken(text.parse()) {
        assert!([per_second, burst].iter().all(|number| (1..=1_000_000).contains(number)));
        assert_eq!(format!("{per_second}:{burst}").parse(), Ok(Rate { per_second, burst }));
    }
    if let Some(number) = taken(values::number(text)) {
        assert_eq!(values::positive(text).ok(), Some(number).filter(|number| *number > 0));
    }
    assert!(taken(values::duration(text)).is_none_or(|duration| !duration.is_zero()));
    assert!(taken(values::canary_interval(text)).is_none_or(|interval| interval.as_secs() >= 1));
    assert!(taken(values::longest_call(text)).is_none_or(|longest| longest.as_secs() >= 1));
    assert!(taken(values::state_bytes(text)).is_none_or(|size| size >= ByteSize::mib(1)));
    assert!(taken(values::uri_bytes(text)).is_none_or(|bytes| (1..=65_534).contains(&bytes)));
    assert!(taken(values::idc(text)).is_none_or(|idc| idc == text && text.len() <= 16));
    assert!(taken(values::service(text)).is_none_or(|service| service == text && text.len() <= 64));
    taken(values::duration_or_none(text));
    taken(values::bytes(text));
    taken(values::log_level(text));
    if let Some(address) = taken(text.parse::<ListenAddress>()) {
        assert_eq!(address.to_string().parse().ok(), Some(address));
    }
    if let Some(url) = taken(text.parse::<CanaryUrl>()) {
        assert!(!url.to_string().contains(char::is_control));
    }
}

fn taken<T>(value: Result<T, String>) -> Option<T> {
    value.map_err(|error| assert!(error.contains("expected"), "{error}")).ok()
}
