//! What happens to a service: incidents, with what must alert and when, and what happens in normal months and must not.

use super::service::{
    ACCESS_TOKEN_ERROR, Ending, INTERNAL_ERROR, NETWORK_UNSTABLE, NO_ANSWER, PUSH_ERROR,
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
    /// Half as much is billed.
    BilledHalf,
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

/// An incident.
#[derive(Debug)]
pub struct Incident {
    pub name: &'static str,
    pub effect: Effect,
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
const GONE: &[&str] = &["PlanetExporterDown", "PlanetNoCalls", "PlanetExporterRestarts"];

const fn page(
    name: &'static str,
    effect: Effect,
    alerts: &'static [&'static str],
    minutes: f64,
    calls: f64,
) -> Incident {
    Incident { name, effect, idc: None, medium: None, severity: Severity::Page, alerts, minutes, calls }
}

const fn ticket(name: &'static str, effect: Effect, alerts: &'static [&'static str]) -> Incident {
    Incident {
        name,
        effect,
        idc: None,
        medium: None,
        severity: Severity::Ticket,
        alerts,
        minutes: 15.0,
        calls: 200.0,
    }
}

/// Every incident that is played.
pub static INCIDENTS: [Incident; 19] = [
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
    page(
        "10 % drop",
        Effect::Ends(0.1, NETWORK_UNSTABLE),
        &["PlanetCallsAbnormalFast", "PlanetCallsDrop"],
        10.0,
        200.0,
    ),
    ticket("5 % fail", Effect::Ends(0.05, INTERNAL_ERROR), ABNORMAL),
    ticket("calls end after 10 s", Effect::Short, &["PlanetCallsShort"]),
    ticket("answers three times as slow", Effect::Slow, &["PlanetTimeToAnswer"]),
    ticket("pushes lost", Effect::Ends(1.0, NO_ANSWER), &["PlanetCallsUnanswered"]),
    ticket("each event three times", Effect::Repeated, &["PlanetCallsRepeated"]),
    ticket("half is billed", Effect::BilledHalf, &["PlanetBillingDiverges"]),
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
