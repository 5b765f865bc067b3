//! What happens to a service: incidents, with what must alert and when, and what happens in normal months and must not.

use super::service::{
    ACCESS_TOKEN_ERROR, Ending, INTERNAL_ERROR, NETWORK_UNSTABLE, NEW_CODE, NO_ANSWER, PUSH_ERROR,
    SERVER_INTERNAL_ERROR,
};

/// Who has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Ticket,
    Page,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Ticket => "ticket",
            Severity::Page => "page",
        }
    }
}

/// What an incident does to calls or to the exporter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// This share of the calls ends so.
    Ends(f64, Ending),
    /// Answered calls last 10 s.
    Short,
    /// Three times as long until calls are answered.
    Slow,
    /// So many times as much is billed.
    Billed(f64),
    /// Each call event comes three times.
    Repeated,
    /// As much of the usual traffic is left.
    Traffic(f64),
    /// The exporter does not answer.
    Down,
    /// It is no target any more.
    Vanished,
    /// It starts again every few minutes, and of three scrapes one is good.
    CrashLoop,
    /// Three calls end with a code that is rare, at intervals of twenty minutes.
    Rare,
}

/// How strong an incident is while it lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Course {
    Steady,
    /// For some minutes of some more, again and again.
    Pulses(usize, usize),
    /// More with each minute, and in full after so many.
    Grows(usize),
}

impl Course {
    /// In tenths, so many minutes after the beginning.
    pub fn strength(self, minute: usize) -> u8 {
        match self {
            Course::Steady => 10,
            Course::Pulses(on, of) => 10 * u8::from(minute % of < on),
            Course::Grows(minutes) => (1 + 10 * minute / minutes).min(10) as u8,
        }
    }
}

/// An incident.
#[derive(Debug)]
pub struct Incident {
    pub name: &'static str,
    pub effect: Effect,
    pub course: Course,
    /// Whether it begins at night.
    pub is_at_night: bool,
    /// The place in the list of IDCs, or of media, of the calls that it hits; all, if there is none.
    pub idc: Option<usize>,
    pub medium: Option<usize>,
    /// What must alert: at least this severity, and one of these alerts.
    pub severity: Severity,
    pub alerts: &'static [&'static str],
    /// The limits in minutes and in calls of what is affected, whichever is later.
    pub minutes: f64,
    pub calls: f64,
}

const ABNORMAL: &[&str] =
    &["PlanetCallsAbnormalFast", "PlanetCallsAbnormalSlow", "PlanetCallsDrop", "PlanetReasonGrows"];
const FAST: &[&str] = &["PlanetCallsAbnormalFast", "PlanetCallsDrop"];
const GONE: &[&str] = &["PlanetExporterDown", "PlanetNoCalls", "PlanetExporterRestarts"];

const fn page(
    name: &'static str,
    effect: Effect,
    alerts: &'static [&'static str],
    minutes: f64,
    calls: f64,
) -> Incident {
    Incident {
        name,
        effect,
        course: Course::Steady,
        is_at_night: false,
        idc: None,
        medium: None,
        severity: Severity::Page,
        alerts,
        minutes,
        calls,
    }
}

const fn ticket(name: &'static str, effect: Effect, alerts: &'static [&'static str]) -> Incident {
    Incident { severity: Severity::Ticket, ..page(name, effect, alerts, 15.0, 200.0) }
}

/// Every incident that is played.
pub static INCIDENTS: [Incident; 25] = [
    Incident {
        idc: Some(1),
        ..page("an IDC out", Effect::Ends(1.0, SERVER_INTERNAL_ERROR), &["PlanetIdcAbnormalFast"], 2.0, 10.0)
    },
    page("platform out", Effect::Ends(1.0, SERVER_INTERNAL_ERROR), &["PlanetCallsAbnormalFast"], 2.0, 10.0),
    page("our server fails pushes", Effect::Ends(1.0, PUSH_ERROR), &["PlanetPushError"], 2.0, 10.0),
    page("credentials expired", Effect::Ends(1.0, ACCESS_TOKEN_ERROR), &["PlanetCredentials"], 2.0, 10.0),
    Incident {
        medium: Some(1),
        ..page("video only out", Effect::Ends(1.0, INTERNAL_ERROR), &["PlanetMediaAbnormalFast"], 2.0, 10.0)
    },
    page("10 % fail", Effect::Ends(0.1, INTERNAL_ERROR), &["PlanetCallsAbnormalFast"], 10.0, 200.0),
    page("10 % drop", Effect::Ends(0.1, NETWORK_UNSTABLE), FAST, 10.0, 200.0),
    ticket("5 % fail", Effect::Ends(0.05, INTERNAL_ERROR), ABNORMAL),
    ticket("calls end after 10 s", Effect::Short, &["PlanetCallsShort"]),
    ticket("answers three times as slow", Effect::Slow, &["PlanetTimeToAnswer"]),
    ticket("pushes lost", Effect::Ends(1.0, NO_ANSWER), &["PlanetCallsUnanswered"]),
    ticket("each event three times", Effect::Repeated, &["PlanetCallsRepeated"]),
    ticket("half is billed", Effect::Billed(0.5), &["PlanetBillingDiverges"]),
    ticket("a tenth of the calls", Effect::Traffic(0.1), &["PlanetFewCalls", "PlanetNoCalls"]),
    Incident {
        minutes: 44.0,
        calls: 0.0,
        ..ticket("a rare code three times", Effect::Rare, &["PlanetReasonGrows"])
    },
    page("no calls", Effect::Traffic(0.0), &["PlanetNoCalls"], 5.0, 0.0),
    page("exporter gone", Effect::Down, GONE, 5.0, 0.0),
    page("target vanished", Effect::Vanished, GONE, 5.0, 0.0),
    page("crash loop", Effect::CrashLoop, GONE, 5.0, 0.0),
    Incident {
        idc: Some(1),
        ..page(
            "half of an IDC fails",
            Effect::Ends(0.5, SERVER_INTERNAL_ERROR),
            &["PlanetIdcAbnormalFast"],
            10.0,
            200.0,
        )
    },
    Incident {
        course: Course::Pulses(2, 10),
        ..page("out for 2 minutes of 10", Effect::Ends(1.0, SERVER_INTERNAL_ERROR), FAST, 10.0, 200.0)
    },
    Incident {
        course: Course::Grows(60),
        ..page("drops grow to 20 % in an hour", Effect::Ends(0.2, NETWORK_UNSTABLE), FAST, 45.0, 200.0)
    },
    page("30 % end with a new code", Effect::Ends(0.3, NEW_CODE), FAST, 10.0, 200.0),
    Incident {
        is_at_night: true,
        ..page("platform out at night", Effect::Ends(1.0, SERVER_INTERNAL_ERROR), FAST, 2.0, 10.0)
    },
    ticket("twice is billed", Effect::Billed(2.0), &["PlanetBillingDiverges"]),
];

impl Incident {
    /// Whether it makes calls end in another way.
    pub fn ends(&self) -> Option<(f64, Ending)> {
        match self.effect {
            Effect::Ends(share, ending) => Some((share, ending)),
            _ => None,
        }
    }

    /// Whether it hits calls of this place in the list of IDCs and of media.
    pub fn hits(&self, idc: usize, medium: usize) -> bool {
        self.idc.is_none_or(|hit| hit == idc) && self.medium.is_none_or(|hit| hit == medium)
    }
}
