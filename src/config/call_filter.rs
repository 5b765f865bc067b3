//! Which of the calls in a journal are to be shown.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use clap::Args;

use crate::callback::idc::is_usual_name;
use crate::callback::labels::{self, LEGACY, LabelSource};
use crate::callback::reason::DisconnectReason;
use crate::callback::{Anomalies, CallEvent, Key, Record, call_event};

/// What a call must have to be shown. Without any of it, every call is.
#[derive(Debug, Clone, Default, Args)]
pub struct CallFilter {
    /// Only the call with this session ID, however it is spelled.
    #[arg(long, value_name = "SID", requires = "calls", value_parser = session_id)]
    pub sid: Option<Key>,

    /// Only calls with this disconnect reason, by its name or its number.
    #[arg(long, value_name = "REASON", requires = "calls", value_parser = reason)]
    pub reason: Option<String>,

    /// Only calls of this IDC.
    #[arg(long, value_name = "IDC", requires = "calls", value_parser = idc)]
    pub idc: Option<String>,

    /// Only abnormal calls: not those that ended normally, and not those that a person ended (busy, declined, cancelled).
    #[arg(long, requires = "calls")]
    pub failing: bool,

    /// Only calls that were received since then: so long ago, or at a time (RFC 3339).
    #[arg(long, value_name = "DURATION|TIME", requires = "calls", value_parser = moment)]
    pub since: Option<SystemTime>,

    /// Only calls that were received before then.
    #[arg(long, value_name = "DURATION|TIME", requires = "calls", value_parser = moment)]
    pub until: Option<SystemTime>,
}

/// Which failing calls a report is about. Without any of it, it is about all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ReportFilter {
    /// Only failing calls with this disconnect reason, by its name or its number.
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub reason: Option<String>,

    /// Only calls of this IDC.
    #[arg(long, value_name = "IDC", value_parser = idc)]
    pub idc: Option<String>,
}

impl ReportFilter {
    /// Whether a call is one of those of which some failed.
    pub fn counts(&self, event: &CallEvent<'_>) -> bool {
        self.idc.as_deref().is_none_or(|idc| labels::idc_of_people(event) == idc)
    }

    /// Whether a call is one of those that failed.
    pub fn is_failed(&self, event: &CallEvent<'_>) -> bool {
        let has_reason =
            self.reason.as_deref().is_none_or(|reason| labels::disconnect_reason(event) == reason);
        event.fault_domain.is_abnormal() && has_reason
    }
}

impl CallFilter {
    /// Whether a call is to be shown.
    pub fn admits(&self, event: &CallEvent<'_>) -> bool {
        let CallFilter { sid, reason, idc, .. } = self;
        sid.is_none_or(|sid| event.sid == sid)
            && self.admits_time(event.received_at)
            && reason.as_deref().is_none_or(|reason| labels::disconnect_reason(event) == reason)
            && idc.as_deref().is_none_or(|idc| labels::idc_of_people(event) == idc)
            && (!self.failing || event.fault_domain.is_abnormal())
    }

    /// The call of a record if it is to be shown. What cannot be read is not.
    pub fn admitted<'a>(&self, record: &Record<'a>) -> Option<CallEvent<'a>> {
        // Before its query is read, which takes longer.
        let may_be = self.sid.is_none_or(|sid| record.key == sid) && self.admits_time(record.received_at);
        let event = may_be.then(|| record.call_event().ok()).flatten();
        event.filter(|event| self.admits(event))
    }

    fn admits_time(&self, received_at: SystemTime) -> bool {
        self.since.is_none_or(|since| received_at >= since)
            && self.until.is_none_or(|until| received_at < until)
    }

    /// Sets a part of it, by the name of its flag, to what a flag would take.
    ///
    /// # Errors
    /// There is no such part, or what was expected of it.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), NotAFilter> {
        let expected = NotAFilter::Value;
        match name {
            "sid" => self.sid = session_id(text).ok(),
            "reason" => self.reason = Some(reason(text).map_err(expected)?),
            "idc" => self.idc = Some(idc(text).map_err(expected)?),
            "failing" => self.failing = switch(text).map_err(expected)?,
            "since" => self.since = Some(moment(text).map_err(expected)?),
            "until" => self.until = Some(moment(text).map_err(expected)?),
            _ => return Err(NotAFilter::Name),
        }
        Ok(())
    }
}

/// Why a part of a filter cannot be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAFilter {
    /// There is no part of this name.
    Name,
    /// It takes another value; this is what is expected.
    Value(String),
}

fn session_id(text: &str) -> Result<Key, Infallible> {
    Ok(call_event::sid::read(text, &mut Anomalies::default()))
}

/// The value that the label of calls with this reason has.
fn reason(text: &str) -> Result<String, String> {
    if let Ok(code) = text.parse::<i64>() {
        return Ok(DisconnectReason::from_code(code)
            .map_or_else(|| code.to_string(), |reason| reason.name.to_owned()));
    }
    let is_older_number = text.strip_prefix(LEGACY).is_some_and(|code| code.parse::<i64>().is_ok());
    match is_older_number || LabelSource::DisconnectReason.knows(text) {
        true => Ok(text.to_owned()),
        false => Err("expected a disconnect reason such as SERVER_INTERNAL_ERROR, or its number".to_owned()),
    }
}

fn idc(text: &str) -> Result<String, String> {
    match is_usual_name(text) {
        true => Ok(text.to_owned()),
        false => Err("expected an IDC such as KR, or other".to_owned()),
    }
}

/// Whether something is on.
///
/// # Errors
/// What was expected.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err("expected 0 or 1".to_owned()),
    }
}

/// A time, or how long ago it was.
///
/// # Errors
/// What was expected.
pub fn moment(text: &str) -> Result<SystemTime, String> {
    let ago = humantime::parse_duration(text).ok().and_then(|ago| SystemTime::now().checked_sub(ago));
    let moment = ago.or_else(|| time(text));
    moment.ok_or_else(|| "expected a duration or a time, such as 2h or 2026-01-31T09:00:00Z".to_owned())
}

/// A time of RFC 3339, of which humantime reads only those in UTC.
fn time(text: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Some(time);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+09:00".len())?)?;
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let (sign, offset) = offset.split_at_checked(1)?;
    let (hours, minutes) = offset.split_once(':')?;
    let minutes = 60 * hours.parse::<u64>().ok()? + minutes.parse::<u64>().ok()?;
    let offset = Duration::from_secs(60 * minutes);
    match sign {
        "+" => time.checked_sub(offset),
        "-" => time.checked_add(offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callback::Kind;

    #[test]
    fn times_are_those_of_rfc_3339() {
        let utc = time("2026-01-31T09:00:00Z");
        assert!(utc.is_some());
        for same in ["2026-01-31T18:00:00+09:00", "2026-01-31T04:30:00.000-04:30", "2026-01-31T09:00:00.0Z"] {
            assert_eq!(time(same), utc, "{same}");
        }
        for wrong in [
            "",
            "2026-01-31",
            "18:00+09:00",
            "2026-01-31T18:00:00 09:00",
            "2026-01-31T18:00:00+0900",
            "ä+09:00",
        ] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn reasons_are_named_as_their_label_is() {
        for (text, label) in [
            ("BUSY", "BUSY"),
            ("1305", "SERVER_INTERNAL_ERROR"),
            ("1999", "1999"),
            ("LEGACY_77", "LEGACY_77"),
        ] {
            assert_eq!(reason(text).as_deref(), Ok(label));
        }
        assert!(reason("BUSSY").is_err() && reason("LEGACY_X").is_err());
    }

    #[test]
    fn a_call_is_shown_if_it_has_all_that_is_asked_for() {
        let received_at = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let query = b"sid=a&duration=1&rc_idc=K1&disconnect_reason=1305";
        let event = CallEvent::read(query, received_at).expect("a call");
        let all = CallFilter {
            sid: session_id("a").ok(),
            reason: reason("1305").ok(),
            idc: idc("K1").ok(),
            failing: true,
            since: Some(received_at),
            until: Some(received_at + Duration::from_millis(1)),
        };
        let record = Record { kind: Kind::CallEvent, received_at, key: event.sid, envelope: b"", query };
        let admits = |filter: &CallFilter| {
            let admits = filter.admits(&event);
            assert_eq!(filter.admitted(&record).is_some(), admits, "{filter:?}");
            admits
        };
        assert!(admits(&CallFilter::default()) && admits(&all));
        let later = Some(received_at + Duration::from_millis(1));
        let well = CallEvent::read(b"sid=a&duration=1&disconnect_reason=1001", received_at).expect("a call");
        let failing = CallFilter { failing: true, ..CallFilter::default() };
        assert!(failing.admits(&event) && !failing.admits(&well));
        for other in [
            CallFilter { sid: session_id("b").ok(), ..all.clone() },
            CallFilter { reason: reason("1001").ok(), ..all.clone() },
            CallFilter { idc: idc("K2").ok(), ..all.clone() },
            CallFilter { since: later, ..all.clone() },
            CallFilter { until: Some(received_at), ..all.clone() },
        ] {
            assert!(!admits(&other), "{other:?}");
        }
    }

    #[test]
    fn a_filter_is_set_by_the_names_of_its_flags() {
        let mut filter = CallFilter::default();
        for (name, text) in
            [("sid", "a"), ("reason", "1305"), ("idc", "K1"), ("since", "2h"), ("until", "1h")]
        {
            assert_eq!(filter.set(name, text), Ok(()), "{name}");
        }
        assert_eq!(filter.reason.as_deref(), Some("SERVER_INTERNAL_ERROR"));
        assert!(filter.sid.is_some() && filter.idc.is_some() && filter.since < filter.until);
        assert_eq!(filter.set("from_user_id", "a"), Err(NotAFilter::Name));
        for name in ["reason", "idc", "failing", "since", "until"] {
            let refused = filter.set(name, "no such thing");
            assert!(matches!(refused, Err(NotAFilter::Value(said)) if said.contains("expected")), "{name}");
        }
    }
}
