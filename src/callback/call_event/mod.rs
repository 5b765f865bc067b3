//! A call event: the query string of the callback, read once, with everything that is derived from it.
//!
//! Odd is not wrong: whatever may be a call is read as one, and what is odd about it is noted as an [`Anomaly`].
//! Only what cannot be a call is refused. Reading is a pure function of the query and the time of receipt, so that an
//! event read again from the journal is the same event.

mod parameters;
pub mod sid;
mod times;
mod unknown;
mod unmistakable;

use std::time::{Duration, SystemTime};

use thiserror::Error;

use self::parameters::Values;
pub use self::parameters::{Parameter, ValueKind};
use self::times::{Milliseconds, Times};
use crate::callback::anomaly::{Anomalies, Anomaly};
use crate::callback::reason::older::CallEndReason;
use crate::callback::reason::{
    DisconnectReason, FaultDomain, ReleaseCause, Releaser, fault_domain_of_unknown,
};
use crate::callback::{Fingerprint, Identified, Key};

/// The longest duration, billed time and setup time that is believed at all, and the longest that can be plausible
/// ([`CallEvent::cap`]). Beyond it the times of the call stand in for the duration.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Why a request cannot be a call event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotACall {
    /// There is no query string.
    #[error("the request has no query string; a call event carries its data there")]
    NoQuery,
    /// The query string has no `name=value` in it.
    #[error("the query string is not form-encoded; expected name=value pairs joined by &")]
    NotForm,
    /// No sid, so that the call has no identity.
    #[error("parameter sid is missing or empty; expected the call's session ID, a UUID of 36 characters")]
    NoSid,
    /// None of the numbers that describe a call can be read.
    #[error(
        "none of setup_time, start_time, end_time, duration, terminate and disconnect_reason is a usable number; \
         expected decimal digits in at least one of them"
    )]
    NoUsableNumber,
}

impl NotACall {
    /// The parameter that is to blame, if one is.
    pub const fn parameter(self) -> Option<&'static str> {
        match self {
            NotACall::NoQuery | NotACall::NotForm => None,
            NotACall::NoSid => Some(Parameter::Sid.name()),
            NotACall::NoUsableNumber => Some(Parameter::SetupTime.name()),
        }
    }
}

/// The media type of a call; the value of the label `media_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaType {
    /// `A`.
    Audio,
    /// `V`.
    Video,
    /// Anything else, or nothing.
    Other,
}

impl MediaType {
    /// The value of the label `media_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            MediaType::Audio => "audio",
            MediaType::Video => "video",
            MediaType::Other => "other",
        }
    }
}

/// The disconnect reason of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// One of the published table.
    Known(&'static DisconnectReason),
    /// A code that the table does not have.
    Unknown(i64),
    /// The end reason of the older generation of the callback.
    Older(&'static CallEndReason),
    /// An end reason of the older generation that its documents do not have.
    UnknownOlder(i64),
    /// None was sent.
    NotSent,
}

/// A call event. Texts are borrowed from the query where it was plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallEvent<'q> {
    values: Values<'q>,
    /// When the exporter received it.
    pub received_at: SystemTime,
    /// The call's identity.
    pub sid: Key,
    /// Audio or video.
    pub media_type: MediaType,
    /// When the call was created, if the event says so credibly.
    pub setup_time: Option<SystemTime>,
    /// When the call was answered, if it was and the event says so credibly.
    pub start_time: Option<SystemTime>,
    /// When the call ended, if the event says so credibly.
    pub end_time: Option<SystemTime>,
    /// Whether the call was answered: its duration or its billed time is above zero. Durations are in whole seconds, rounded
    /// down, and billed time is rounded up, so that an answered call of less than a second has billed time only.
    pub answered: bool,
    /// Conversation time, zero if it was not answered, at most [`LONGEST`]; in whole milliseconds.
    pub duration: Duration,
    /// From creation to answer, or to the end if the call was never answered; `None` where the times do not tell.
    pub setup_duration: Option<Duration>,
    /// Billed seconds, at most [`LONGEST`].
    pub billed_seconds: u64,
    /// Why the call was disconnected.
    pub reason: Reason,
    /// Who disconnected it.
    pub releaser: Releaser,
    /// Whose fault the release was.
    pub fault_domain: FaultDomain,
    /// What is odd about the event.
    pub anomalies: Anomalies,
}

impl<'q> CallEvent<'q> {
    /// Reads the query string of a call event.
    ///
    /// # Errors
    /// Returns why the request cannot be a call: no query, no form, no sid, or no number to go by.
    pub fn read(query: &'q [u8], received_at: SystemTime) -> Result<CallEvent<'q>, NotACall> {
        let (mut values, mut anomalies) = (Values::default(), Anomalies::default());
        let sid = read_values(query, &mut values, &mut anomalies)?;

        let times = Times::read(&values, &mut anomalies);
        let duration = times.duration(&values, &mut anomalies);
        let billed_seconds = read_billed_seconds(&values, duration, &mut anomalies);
        let answered = !duration.is_zero() || billed_seconds > 0;
        let setup_duration = times.setup_duration(answered, &mut anomalies);
        if !duration.is_zero()
            && values.number(Parameter::Terminate).is_some_and(|code| code != ReleaseCause::NORMAL_RELEASED)
        {
            anomalies.insert(Anomaly::TerminateContradictsDuration);
        }
        let releaser = read_releaser(&values, &mut anomalies);
        let (reason, fault_domain) = read_reason(&values, releaser, answered, &mut anomalies);
        Ok(CallEvent {
            received_at,
            sid,
            media_type: read_media_type(&values, &mut anomalies),
            setup_time: times.setup.map(Milliseconds::to_system_time),
            start_time: times.start.filter(|_| answered).map(Milliseconds::to_system_time),
            end_time: times.end.map(Milliseconds::to_system_time),
            answered,
            duration,
            setup_duration,
            billed_seconds,
            reason,
            releaser,
            fault_domain,
            anomalies,
            values,
        })
    }

    /// The key of the call event with this query, which is its session ID, and the fingerprint of cause, reason and duration.
    ///
    /// # Errors
    /// Those of [`CallEvent::read`]: what has a key can be read.
    pub fn identify(query: &[u8]) -> Result<Identified, NotACall> {
        let (mut values, mut oddities) = (Values::default(), Anomalies::default());
        let key = read_values(query, &mut values, &mut oddities)?;
        let counted = [
            Parameter::Terminate,
            Parameter::DisconnectReason,
            Parameter::CallEndReason,
            Parameter::Duration,
        ];
        let fingerprint = Fingerprint::of(counted.map(|parameter| values.number(parameter)));
        Ok(Identified { key, fingerprint, oddities })
    }

    /// A parameter's text as it was sent, decoded; `None` if it was missing or empty.
    pub fn text(&self, parameter: Parameter) -> Option<&str> {
        self.values.text(parameter)
    }

    /// A parameter as the number that was sent; `None` if it was missing or no decimal number.
    pub fn number(&self, parameter: Parameter) -> Option<i64> {
        self.values.number(parameter)
    }

    /// Caps durations and billed time at `longest`, so that one absurd event cannot spoil a sum.
    pub fn cap(&mut self, longest: Duration) {
        let is_longer = self.duration > longest
            || self.setup_duration.is_some_and(|setup| setup > longest)
            || self.billed_seconds > longest.as_secs();
        if is_longer {
            self.duration = self.duration.min(longest);
            self.setup_duration = self.setup_duration.map(|setup| setup.min(longest));
            self.billed_seconds = self.billed_seconds.min(longest.as_secs());
            self.anomalies.insert(Anomaly::ImpossibleDuration);
        }
    }
}

/// Reads the values of a query, and returns the session ID among them; refuses what cannot be a call.
fn read_values<'q>(
    query: &'q [u8],
    values: &mut Values<'q>,
    anomalies: &mut Anomalies,
) -> Result<Key, NotACall> {
    if query.is_empty() {
        return Err(NotACall::NoQuery);
    }
    if values.decode(query, anomalies).is_err() || !query.contains(&b'=') {
        return Err(NotACall::NotForm);
    }
    let sid = sid::read(values.text(Parameter::Sid).ok_or(NotACall::NoSid)?, anomalies);
    if !describes_a_call(values) {
        return Err(NotACall::NoUsableNumber);
    }
    Ok(sid)
}

/// Whether anything measurable can be read of an event.
fn describes_a_call(values: &Values<'_>) -> bool {
    let numbers = [
        Parameter::SetupTime,
        Parameter::StartTime,
        Parameter::EndTime,
        Parameter::Duration,
        Parameter::Terminate,
        Parameter::DisconnectReason,
        Parameter::CallEndReason,
    ];
    numbers.into_iter().any(|parameter| values.number(parameter).is_some())
}

fn read_media_type(values: &Values<'_>, anomalies: &mut Anomalies) -> MediaType {
    match values.text(Parameter::Type) {
        Some("A") => MediaType::Audio,
        Some("V") => MediaType::Video,
        Some(_) => {
            anomalies.insert(Anomaly::UnknownMediaType);
            MediaType::Other
        }
        None => MediaType::Other,
    }
}

fn read_releaser(values: &Values<'_>, anomalies: &mut Anomalies) -> Releaser {
    match values.number(Parameter::ReleaserType) {
        Some(code) => Releaser::from_code(code).unwrap_or_else(|| {
            anomalies.insert(Anomaly::UnknownReleaserType);
            Releaser::Other
        }),
        None => values.text(Parameter::Releaser).map_or(Releaser::Other, Releaser::from_older_text),
    }
}

/// The reason, and the fault domain that follows from it or, where none was sent, from what else tells how the call ended.
fn read_reason(
    values: &Values<'_>,
    releaser: Releaser,
    answered: bool,
    anomalies: &mut Anomalies,
) -> (Reason, FaultDomain) {
    let cause = values.number(Parameter::Terminate).map(ReleaseCause::from_code);
    if cause == Some(None) {
        anomalies.insert(Anomaly::UnknownTerminate);
    }
    if let Some(code) = values.number(Parameter::DisconnectReason) {
        return match DisconnectReason::from_code(code) {
            Some(reason) => (Reason::Known(reason), reason.fault_domain(releaser)),
            None => {
                anomalies.insert(Anomaly::UnknownDisconnectReason);
                (Reason::Unknown(code), fault_domain_of_unknown(code))
            }
        };
    }
    if let Some(code) = values.number(Parameter::CallEndReason) {
        return match CallEndReason::from_code(code) {
            Some(reason) => (Reason::Older(reason), reason.fault_domain),
            None => {
                anomalies.insert(Anomaly::UnknownCallEndReason);
                (Reason::UnknownOlder(code), FaultDomain::Unknown)
            }
        };
    }
    let fault_domain = match values.text(Parameter::RelCodeStr) {
        // The words that LINE Planet's documents give.
        Some("NORMAL") => FaultDomain::None,
        Some("CANCEL") => FaultDomain::User,
        _ => match cause.flatten() {
            // The cause is set independently of the detailed reason: of a call that was not answered, this one tells nothing.
            Some(cause) if cause.code == ReleaseCause::NORMAL_RELEASED && !answered => FaultDomain::Unknown,
            cause => cause.map_or(FaultDomain::Unknown, |cause| cause.fault_domain),
        },
    };
    (Reason::NotSent, fault_domain)
}

/// The billed seconds, of which a started one counts as one.
fn read_billed_seconds(values: &Values<'_>, duration: Duration, anomalies: &mut Anomalies) -> u64 {
    let Some(seconds) = values.number(Parameter::BillingSec) else { return 0 };
    let believed = seconds.clamp(0, LONGEST.as_secs() as i64);
    if believed != seconds {
        anomalies.insert(Anomaly::ImpossibleDuration);
    }
    let billed = Duration::from_secs(believed.unsigned_abs());
    if duration.is_zero() && !billed.is_zero() {
        anomalies.insert(Anomaly::BilledWithoutDuration);
    }
    if billed > duration + Duration::from_secs(1) {
        anomalies.insert(Anomaly::BilledExceedsDuration);
    }
    billed.as_secs()
}

#[cfg(test)]
mod tests;
