//! What metrics say of a call: its label sets. Names and values are the contract with dashboards and alerts.
//!
//! Values that come from outside (an IDC, an unknown reason, a release code) are admitted by the ledger up to a
//! limit; here they are only named.

use std::borrow::Cow;

use super::call_event::{CallEvent, Reason};

/// The value of a label for everything that has no value of its own.
pub const OTHER: &str = "other";

/// The reason under which all abnormal releases without a known reason stand in `planet_call_abnormal_releases_total`,
/// so that the first of them is the increase of a series that stood at 0.
pub const UNKNOWN_REASON: &str = "UNKNOWN";

/// The value of the label `answered`.
pub const fn answered(answered: bool) -> &'static str {
    if answered { "true" } else { "false" }
}

/// The value of the label `disconnect_reason`: a known reason's name, an unknown one's number.
pub fn disconnect_reason(event: &CallEvent<'_>) -> Cow<'static, str> {
    match event.reason {
        Reason::Known(reason) => Cow::Borrowed(reason.name),
        Reason::Unknown(code) => Cow::Owned(code.to_string()),
        Reason::NotSent => Cow::Borrowed(OTHER),
    }
}

/// The value of the label `disconnect_reason` of an abnormal release.
pub const fn abnormal_reason(event: &CallEvent<'_>) -> &'static str {
    match event.reason {
        Reason::Known(reason) => reason.name,
        Reason::Unknown(_) | Reason::NotSent => UNKNOWN_REASON,
    }
}
