//! What is odd about a call event without being wrong. Such an event is accepted; the oddity is counted by kind.

/// A kind of oddity in a call event; the value of the label `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Anomaly {
    /// A parameter that is never null was absent or empty.
    MissingParameter,
    /// A parameter came more than once; the first one counts.
    RepeatedParameter,
    /// A parameter that the documentation does not have; it is ignored.
    UnknownParameter,
    /// A text was not UTF-8; its undecodable bytes were replaced by U+FFFD.
    NotUtf8,
    /// A number was not decimal digits, or did not fit.
    UnusableNumber,
    /// A sid without dashes or in upper case, as older servers send it.
    SidFormat,
    /// A sid that is no UUID at all; the call is known by a hash of it.
    SidNotUuid,
    /// Times in milliseconds instead of seconds.
    Milliseconds,
    /// A time that is not between the years 2000 and 2100.
    ImpossibleTime,
    /// A duration, billed time or setup time below zero, or longer than `--longest-call`; it is capped.
    ImpossibleDuration,
    /// The call was answered before it was made, or ended before it was answered or made.
    ClockBackwards,
    /// `duration` is not the difference of `end_time` and `start_time`.
    DurationContradictsTimes,
    /// A call with a duration has a cause other than 16.
    TerminateContradictsDuration,
    /// A media type other than A and V.
    UnknownMediaType,
    /// A disconnect reason that is not in the published table.
    UnknownDisconnectReason,
    /// A releaser type that is not in the published table.
    UnknownReleaserType,
    /// A cause that is not among the six that LINE Planet uses.
    UnknownTerminate,
    /// An IDC that is neither an assigned code of ISO 3166-1 nor one of `--idcs`.
    UnusualIdc,
    /// An end reason of the older generation that is not in its table.
    UnknownCallEndReason,
    /// Billed time without a duration: the call was answered, and lasted less than a second.
    BilledWithoutDuration,
    /// More than the duration was billed, rounded up to a second.
    BilledExceedsDuration,
}

impl Anomaly {
    /// Every kind, in the order of their discriminants.
    pub const ALL: [Anomaly; 21] = [
        Anomaly::MissingParameter,
        Anomaly::RepeatedParameter,
        Anomaly::UnknownParameter,
        Anomaly::NotUtf8,
        Anomaly::UnusableNumber,
        Anomaly::SidFormat,
        Anomaly::SidNotUuid,
        Anomaly::Milliseconds,
        Anomaly::ImpossibleTime,
        Anomaly::ImpossibleDuration,
        Anomaly::ClockBackwards,
        Anomaly::DurationContradictsTimes,
        Anomaly::TerminateContradictsDuration,
        Anomaly::UnknownMediaType,
        Anomaly::UnknownDisconnectReason,
        Anomaly::UnknownReleaserType,
        Anomaly::UnknownTerminate,
        Anomaly::UnusualIdc,
        Anomaly::UnknownCallEndReason,
        Anomaly::BilledWithoutDuration,
        Anomaly::BilledExceedsDuration,
    ];

    /// The value of the label `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Anomaly::MissingParameter => "missing_parameter",
            Anomaly::RepeatedParameter => "repeated_parameter",
            Anomaly::UnknownParameter => "unknown_parameter",
            Anomaly::NotUtf8 => "not_utf8",
            Anomaly::UnusableNumber => "unusable_number",
            Anomaly::SidFormat => "sid_format",
            Anomaly::SidNotUuid => "sid_not_uuid",
            Anomaly::Milliseconds => "milliseconds",
            Anomaly::ImpossibleTime => "impossible_time",
            Anomaly::ImpossibleDuration => "impossible_duration",
            Anomaly::ClockBackwards => "clock_backwards",
            Anomaly::DurationContradictsTimes => "duration_contradicts_times",
            Anomaly::TerminateContradictsDuration => "terminate_contradicts_duration",
            Anomaly::UnknownMediaType => "unknown_media_type",
            Anomaly::UnknownDisconnectReason => "unknown_disconnect_reason",
            Anomaly::UnknownReleaserType => "unknown_releaser_type",
            Anomaly::UnknownTerminate => "unknown_terminate",
            Anomaly::UnusualIdc => "unusual_idc",
            Anomaly::UnknownCallEndReason => "unknown_call_end_reason",
            Anomaly::BilledWithoutDuration => "billed_without_duration",
            Anomaly::BilledExceedsDuration => "billed_exceeds_duration",
        }
    }
}

/// The set of kinds that one event shows; each kind counts once an event, however often it occurs in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Anomalies(u32);

impl Anomalies {
    /// Adds a kind.
    pub fn insert(&mut self, anomaly: Anomaly) {
        self.0 |= 1 << anomaly as u8;
    }

    /// Whether the kind is in the set.
    pub fn contains(self, anomaly: Anomaly) -> bool {
        self.0 & (1 << anomaly as u8) != 0
    }

    /// Whether nothing is odd.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds in the set, in the order of [`Anomaly::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Anomaly> {
        Anomaly::ALL.into_iter().filter(move |anomaly| self.contains(*anomaly))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        for (at, anomaly) in Anomaly::ALL.into_iter().enumerate() {
            assert_eq!(anomaly as usize, at, "ALL is in the order of the discriminants");
            let mut anomalies = Anomalies::default();
            anomalies.insert(anomaly);
            anomalies.insert(anomaly);
            assert_eq!(anomalies.iter().collect::<Vec<_>>(), [anomaly]);
        }
    }
}
