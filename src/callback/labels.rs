//! What metrics say of a call: the labels, each with its name and where its value comes from. Names and values are the
//! contract with dashboards and alerts.
//!
//! Values that come from outside (an unknown reason, a release code, a name that may be configured) are admitted by the ledger;
//! here they are only named.

use std::borrow::Cow;

use super::call_event::{CallEvent, Parameter, Reason};
use super::idc::{assigned_code, is_usual_name};
use super::reason::older::CALL_END_REASONS;
use super::reason::{DisconnectReason, ReleaseCause};
use crate::http::shown;

/// The value of a label for everything that has no value of its own.
pub const OTHER: &str = "other";

/// The reason under which all abnormal releases without a known reason stand in `planet_call_abnormal_releases_total`,
/// so that the first of them is the increase of a series that stood at 0.
pub const UNKNOWN_REASON: &str = "UNKNOWN";

/// What stands in front of an end reason of the older generation, so that none is taken for a disconnect reason.
pub const LEGACY: &str = "LEGACY_";

/// The result of an event that is stored and counted.
pub const ACCEPTED: &str = "accepted";

/// The longest text of a release code that becomes a label value, in bytes.
const LONGEST_RELEASE_TEXT: usize = 64;

/// Where the value of a label comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelSource {
    /// Audio, video or other.
    MediaType,
    /// The data centre that served the caller.
    Idc,
    /// A known reason's name, an unknown one's number; with [`LEGACY`] in front where it is an end reason of the older
    /// generation.
    DisconnectReason,
    /// A known reason's name, or [`UNKNOWN_REASON`].
    AbnormalReason,
    /// Whose fault the release was.
    FaultDomain,
    /// Who released the call.
    Releaser,
    /// Whether the call was answered.
    Answered,
    /// The Q.850 cause as it was sent.
    Terminate,
    /// The detailed release code as it was sent.
    RelCode,
    /// Its text as it was sent, without [what acts](shown::acts).
    RelCodeStr,
    /// The release code of the application, likewise.
    UserRelCode,
    /// The caller's service, if it is told apart from others.
    Service,
    /// What became of the event; of those that are counted always [`ACCEPTED`].
    Result,
}

/// The value of a label, with what bounds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelValue<'e> {
    /// One of the values that this program knows.
    Known(&'static str),
    /// A text or a number from outside, which is not empty.
    Foreign(Cow<'e, str>),
}

type ValueOf = for<'e> fn(&'e CallEvent<'_>) -> LabelValue<'e>;

impl LabelSource {
    /// How many there are.
    pub const COUNT: usize = LabelSource::TABLE.len();

    /// Every source in the order of the discriminants, with the label's name and its value.
    const TABLE: [(LabelSource, &'static str, ValueOf); 13] = [
        (LabelSource::MediaType, "media_type", |event| LabelValue::Known(event.media_type.as_str())),
        (LabelSource::Idc, "idc", idc),
        (LabelSource::DisconnectReason, "disconnect_reason", reason),
        (LabelSource::AbnormalReason, "disconnect_reason", abnormal_reason),
        (LabelSource::FaultDomain, "fault_domain", |event| LabelValue::Known(event.fault_domain.as_str())),
        (LabelSource::Releaser, "releaser", |event| LabelValue::Known(event.releaser.as_str())),
        (LabelSource::Answered, "answered", |event| LabelValue::Known(answered(event.answered))),
        (LabelSource::Terminate, "terminate", terminate),
        (LabelSource::RelCode, "rel_code", |event| number(event, Parameter::RelCode)),
        (LabelSource::RelCodeStr, "rel_code_str", |event| release_text(event, Parameter::RelCodeStr)),
        (LabelSource::UserRelCode, "user_rel_code", |event| release_text(event, Parameter::UserRelCode)),
        (LabelSource::Service, "service", |event| foreign(event.text(Parameter::FromServiceId))),
        (LabelSource::Result, "result", |_| LabelValue::Known(ACCEPTED)),
    ];

    /// Every source, in the order of the discriminants.
    pub fn all() -> impl Iterator<Item = LabelSource> {
        LabelSource::TABLE.into_iter().map(|(source, ..)| source)
    }

    /// The name of the label.
    pub const fn name(self) -> &'static str {
        LabelSource::TABLE[self as usize].1
    }

    /// Whether this program knows the value without being told. Any other came from outside.
    pub fn knows(self, value: &str) -> bool {
        value == OTHER
            || match self {
                LabelSource::Idc => assigned_code(value).is_some(),
                LabelSource::DisconnectReason => {
                    DisconnectReason::all().any(|reason| reason.name == value)
                        || CALL_END_REASONS.iter().any(|reason| reason.label == value)
                }
                LabelSource::Terminate => ReleaseCause::TABLE.iter().any(|cause| cause.text == value),
                source => !source.is_open(),
            }
    }

    /// Whether it can have values that came from outside, or that an older release admitted.
    pub fn is_open(self) -> bool {
        match self {
            LabelSource::Idc
            | LabelSource::DisconnectReason
            | LabelSource::Terminate
            | LabelSource::RelCode
            | LabelSource::RelCodeStr
            | LabelSource::UserRelCode
            | LabelSource::Service => true,
            LabelSource::MediaType
            | LabelSource::AbnormalReason
            | LabelSource::FaultDomain
            | LabelSource::Releaser
            | LabelSource::Answered
            | LabelSource::Result => false,
        }
    }

    /// The value of the label for an event.
    pub fn value<'e>(self, event: &'e CallEvent<'_>) -> LabelValue<'e> {
        LabelSource::TABLE[self as usize].2(event)
    }
}

/// The value of the label `answered`.
pub const fn answered(answered: bool) -> &'static str {
    if answered { "true" } else { "false" }
}

/// The value of the label `disconnect_reason`: a known reason's name, an unknown one's number.
pub fn disconnect_reason(event: &CallEvent<'_>) -> Cow<'static, str> {
    match event.reason {
        Reason::Known(reason) => Cow::Borrowed(reason.name),
        Reason::Unknown(code) => Cow::Owned(code.to_string()),
        Reason::Older(reason) => Cow::Borrowed(reason.label),
        Reason::UnknownOlder(code) => Cow::Owned(format!("{LEGACY}{code}")),
        Reason::NotSent => Cow::Borrowed(OTHER),
    }
}

/// The IDC of a call as people are shown it: as it was sent if that looks like the name of one, whatever the label is.
pub fn idc_of_people<'e>(event: &'e CallEvent<'_>) -> &'e str {
    event.text(Parameter::RcIdc).filter(|idc| is_usual_name(idc)).unwrap_or(OTHER)
}

fn reason<'e>(event: &'e CallEvent<'_>) -> LabelValue<'e> {
    match disconnect_reason(event) {
        Cow::Borrowed(name) => LabelValue::Known(name),
        number => LabelValue::Foreign(number),
    }
}

fn abnormal_reason<'e>(event: &'e CallEvent<'_>) -> LabelValue<'e> {
    LabelValue::Known(match event.reason {
        Reason::Known(reason) => reason.name,
        Reason::Older(reason) => reason.label,
        Reason::Unknown(_) | Reason::UnknownOlder(_) | Reason::NotSent => UNKNOWN_REASON,
    })
}

fn idc<'e>(event: &'e CallEvent<'_>) -> LabelValue<'e> {
    let sent = event.text(Parameter::RcIdc);
    sent.and_then(assigned_code).map_or_else(|| foreign(sent), LabelValue::Known)
}

fn terminate<'e>(event: &'e CallEvent<'_>) -> LabelValue<'e> {
    let sent = event.number(Parameter::Terminate);
    match sent.and_then(ReleaseCause::from_code) {
        Some(cause) => LabelValue::Known(cause.text),
        None => number(event, Parameter::Terminate),
    }
}

fn number<'e>(event: &'e CallEvent<'_>, parameter: Parameter) -> LabelValue<'e> {
    match event.number(parameter) {
        Some(number) => LabelValue::Foreign(Cow::Owned(number.to_string())),
        None => LabelValue::Known(OTHER),
    }
}

/// A text about the release, without what acts on who looks at it, as long as it is short.
fn release_text<'e>(event: &'e CallEvent<'_>, parameter: Parameter) -> LabelValue<'e> {
    let text = shown::without_acting(event.text(parameter).unwrap_or_default());
    match (1..=LONGEST_RELEASE_TEXT).contains(&text.len()) {
        true => LabelValue::Foreign(text),
        false => LabelValue::Known(OTHER),
    }
}

/// A name that may be one of those that are configured. One with something in it that acts is none of them.
fn foreign(text: Option<&str>) -> LabelValue<'_> {
    text.map_or(LabelValue::Known(OTHER), |text| LabelValue::Foreign(shown::with_replacements(text)))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    /// Any text, and more of those characters than chance would bring that a terminal obeys.
    fn text() -> impl Strategy<Value = String> {
        "(\\PC|[\u{0}-\u{9f}\u{200e}-\u{2069}\u{61c}]){0,70}"
    }

    proptest! {
        #[test]
        fn no_value_acts_on_who_looks_at_it_or_is_longer_than_what_was_sent(
            texts in prop::array::uniform9(text()),
        ) {
            let names = ["type", "rc_idc", "terminate", "rel_code", "rel_code_str", "disconnect_reason", "user_rel_code",
                "from_service_id", "releaser_type"];
            let mut query = "sid=1&duration=3".to_owned();
            for (name, text) in names.iter().zip(&texts) {
                query += &format!("&{name}={}", utf8_percent_encode(text, NON_ALPHANUMERIC));
            }
            let event = CallEvent::read(query.as_bytes(), SystemTime::UNIX_EPOCH).expect("a call");
            for source in LabelSource::all() {
                let value = source.value(&event);
                let value = match &value {
                    LabelValue::Known(value) => value,
                    LabelValue::Foreign(value) => &value[..],
                };
                prop_assert!(!value.is_empty() && !value.contains(shown::acts), "{} {value:?}", source.name());
                prop_assert!(value.chars().count() <= 70, "{} {value:?}", source.name());
            }
        }
    }

    fn labels(query: &str) -> Vec<String> {
        let event = CallEvent::read(query.as_bytes(), SystemTime::UNIX_EPOCH).expect("a call");
        let label = |source: LabelSource| {
            let value = match source.value(&event) {
                LabelValue::Known(value) => value.to_owned(),
                LabelValue::Foreign(value) => format!("{value} from outside"),
            };
            format!("{}={value}", source.name())
        };
        LabelSource::all().map(label).collect()
    }

    #[test]
    fn the_table_is_in_the_order_of_the_discriminants() {
        for (at, source) in LabelSource::all().enumerate() {
            assert_eq!(source as usize, at);
        }
    }

    #[test]
    fn every_label_has_its_value() {
        let full = "sid=1&type=V&rc_idc=KR&duration=5&terminate=16&rel_code=1&rel_code_str=x+%1b%E2%80%AEy&disconnect_reason=1301\
                    &releaser_type=4&user_rel_code=APP%0A-7%1b&from_service_id=shop";
        let expected = [
            "media_type=video",
            "idc=KR",
            "disconnect_reason=NETWORK_UNSTABLE",
            "disconnect_reason=NETWORK_UNSTABLE",
            "fault_domain=network",
            "releaser=cloud_server",
            "answered=true",
            "terminate=16",
            "rel_code=1 from outside",
            "rel_code_str=x y from outside",
            "user_rel_code=APP-7 from outside",
            "service=shop from outside",
            "result=accepted",
        ];
        assert_eq!(labels(full), expected);
    }

    #[test]
    fn what_is_missing_or_odd_is_other() {
        let long = "x".repeat(LONGEST_RELEASE_TEXT + 1);
        let odd = format!(
            "sid=1&rc_idc=a+b&duration=0&rel_code=x&rel_code_str={long}&disconnect_reason=1399&user_rel_code=%0A"
        );
        let expected = [
            "media_type=other",
            "idc=a b from outside",
            "disconnect_reason=1399 from outside",
            "disconnect_reason=UNKNOWN",
            "fault_domain=unknown",
            "releaser=other",
            "answered=false",
            "terminate=other",
            "rel_code=other",
            "rel_code_str=other",
            "user_rel_code=other",
            "service=other",
            "result=accepted",
        ];
        assert_eq!(labels(&odd), expected);
        assert_eq!(
            labels("sid=1&duration=0")[2..4],
            ["disconnect_reason=other", "disconnect_reason=UNKNOWN"]
        );
    }

    #[test]
    fn reasons_of_both_generations_have_labels_of_their_own() {
        let reason = |query: &str| labels(query)[2..5].to_vec();
        assert_eq!(
            reason("sid=1&duration=0&call_end_reason=1001"),
            [
                "disconnect_reason=LEGACY_CALLEE_BUSY",
                "disconnect_reason=LEGACY_CALLEE_BUSY",
                "fault_domain=user"
            ]
        );
        assert_eq!(
            reason("sid=1&duration=0&call_end_reason=1099"),
            [
                "disconnect_reason=LEGACY_1099 from outside",
                "disconnect_reason=UNKNOWN",
                "fault_domain=unknown"
            ]
        );
        // A deprecated code has the label of its newer kin.
        assert_eq!(
            reason("sid=1&duration=0&disconnect_reason=1103&releaser_type=4"),
            ["disconnect_reason=INTERNAL_ERROR", "disconnect_reason=INTERNAL_ERROR", "fault_domain=platform"]
        );
    }

    #[test]
    fn what_comes_from_outside_is_told_from_what_is_known() {
        for query in
            ["sid=1&duration=0&call_end_reason=1001", "sid=1&duration=3&rc_idc=KR&disconnect_reason=1403"]
        {
            let event = CallEvent::read(query.as_bytes(), SystemTime::UNIX_EPOCH).expect("a call");
            for source in LabelSource::all() {
                match source.value(&event) {
                    LabelValue::Known(value) => assert!(source.knows(value), "{} {value}", source.name()),
                    LabelValue::Foreign(value) => assert!(!source.knows(&value), "{} {value}", source.name()),
                }
            }
        }
        assert!(!LabelSource::Idc.knows("ZZ") && !LabelSource::DisconnectReason.knows("1399"));
    }
}
