//! What is a 1-to-1 call event without doubt: the question for a query that came to another place than the registered one.

use super::parameters::Values;
use super::{CallEvent, Parameter, read_values};
use crate::callback::anomaly::Anomalies;

impl CallEvent<'_> {
    /// Whether a query is that of a 1-to-1 call event, wherever it came.
    ///
    /// Less is enough at the registered path. Here it has to say which call it was (`sid`), when (`setup_time` or `end_time`)
    /// and how it ended: `terminate`, which LINE Planet has for 1-to-1 calls only, or `disconnect_reason` together with one of
    /// the two people. That tells it from a group call event, which has a sid, times and a reason as well, and from what
    /// else a service takes with a session ID.
    pub fn is_unmistakable(query: &[u8]) -> bool {
        let mut values = Values::default();
        if read_values(query, &mut values, &mut Anomalies::default()).is_err() {
            return false;
        }
        let has_number = |parameter| values.number(parameter).is_some();
        let has_text = |parameter| values.text(parameter).is_some();
        let says_who = has_text(Parameter::FromUserId) || has_text(Parameter::ToUserId);
        let says_how =
            has_number(Parameter::Terminate) || says_who && has_number(Parameter::DisconnectReason);
        says_how && (has_number(Parameter::SetupTime) || has_number(Parameter::EndTime))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_event_is_told_from_what_resembles_it() {
        for (query, expected) in [
            ("sid=1&terminate=16&setup_time=1582527400", true),
            ("sid=1&terminate=77&end_time=1582527434&duration=0", true),
            ("sid=1&from_user_id=a&disconnect_reason=1001&end_time=1582527434", true),
            ("sid=1&to_user_id=a&disconnect_reason=1001&setup_time=1582527400", true),
            ("sid=1&disconnect_reason=1001&setup_time=1582527400&end_time=1582527434", false),
            ("sid=1&from_user_id=a&to_user_id=b&setup_time=1582527400", false),
            ("sid=1&terminate=16", false),
            ("sid=1&terminate=normal&setup_time=1582527400", false),
            ("terminate=16&setup_time=1582527400", false),
            ("sid=1&duration=5", false),
            ("sid=1", false),
            ("", false),
        ] {
            assert_eq!(CallEvent::is_unmistakable(query.as_bytes()), expected, "{query}");
        }
    }
}
