//! Laws of paths, whatever is registered and whatever is asked for.

use super::callback_url::CallbackUrl;
use super::path::is_same;
use super::routes::{Mode, ProbeStatus, Route, Routes, registered_path};
use crate::callback::Kind;

/// What is registered in the first line, and the path that is asked for in the second. Paths are the same either way round, and of a
/// request the event's own query is what stands behind the registered one.
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
        mode: Mode::Stored,
        probe: ProbeStatus::Ok,
    };
    let is_registered = is_same(path.as_bytes(), asked);
    let whole = if route.query.is_empty() { "sid=1".to_owned() } else { format!("{}&sid=1", route.query) };
    let routes = Routes::with(route);
    let found = routes.find(asked, whole.as_bytes()).map(|found| found.query);
    assert_eq!(found, is_registered.then_some(&b"sid=1"[..]));
}
