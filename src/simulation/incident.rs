//! Incidents: an IDC whose calls fail with a reason for some time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::callback::reason::{DISCONNECT_REASONS, DisconnectReason};

/// Calls of an IDC that fail with a reason, between two times since the start.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// As it was given.
    text: String,
    idc: String,
    /// With which they fail.
    pub reason: &'static DisconnectReason,
    from: Duration,
    to: Duration,
    /// The share of the calls that fail.
    pub share: f64,
}

/// Why an incident hits no call.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum HitsNothing {
    /// Its IDC has no calls.
    #[error("the incident {incident} hits no call: calls are of {}; expected one of these, or more in --idcs", idcs.join(", "))]
    Idc {
        /// As it was given.
        incident: String,
        /// Those that have calls.
        idcs: Vec<String>,
    },
    /// It begins too late.
    #[error(
        "the incident {incident} hits no call: the last call is due {last:?} after the start; expected one that begins earlier, \
         more calls or a lower --rate"
    )]
    TooLate {
        /// As it was given.
        incident: String,
        /// When the last call is due.
        last: Duration,
    },
    /// No call was of its IDC at its time, as chance will have it.
    #[error("the incident {0} hit no call; expected a longer one, or more calls")]
    ByChance(String),
}

impl Incident {
    /// Checks that it can hit one of the calls of these IDCs, the last of which is due at `last`.
    ///
    /// # Errors
    /// It hits none.
    pub fn check(&self, idcs: &[(String, u32)], last: Duration) -> Result<(), HitsNothing> {
        let incident = self.text.clone();
        if !idcs.iter().any(|(idc, _)| *idc == self.idc) {
            let idcs = idcs.iter().map(|(idc, _)| idc.clone()).collect();
            return Err(HitsNothing::Idc { incident, idcs });
        }
        match self.from > last {
            true => Err(HitsNothing::TooLate { incident, last }),
            false => Ok(()),
        }
    }

    /// Whether a call of this IDC at this time since the start is in the incident.
    pub fn covers(&self, idc: &str, at: Duration) -> bool {
        self.idc == idc && (self.from..self.to).contains(&at)
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Incident {
    type Err = String;

    fn from_str(text: &str) -> Result<Incident, String> {
        let expected =
            || "expected IDC:REASON:FROM:TO[:SHARE], such as JP:SERVER_INTERNAL_ERROR:10s:40s:0.8".to_owned();
        let mut parts = text.split(':');
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or_else(expected);
        let (idc, name) = (part()?.to_owned(), part()?);
        let reason = DISCONNECT_REASONS.iter().find(|reason| reason.name == name);
        let reason = reason.ok_or_else(|| format!("{name} is no disconnect reason; {}", expected()))?;
        let mut time = || humantime::parse_duration(part()?).map_err(|_| expected());
        let (from, to) = (time()?, time()?);
        let share = parts.next().map_or(Ok(1.0), str::parse).map_err(|_| expected())?;
        let is_share = share > 0.0 && share <= 1.0;
        if from >= to || !is_share || parts.next().is_some() {
            return Err(expected());
        }
        Ok(Incident { text: text.to_owned(), idc, reason, from, to, share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_has_a_place_and_a_time() {
        let incident: Incident = "JP:SERVER_INTERNAL_ERROR:10s:40s:0.8".parse().expect("an incident");
        assert_eq!((incident.reason.code, incident.share), (1305, 0.8));
        assert!(incident.covers("JP", Duration::from_secs(10)));
        assert!(!incident.covers("JP", Duration::from_secs(40)));
        assert!(!incident.covers("KR", Duration::from_secs(20)));
        for wrong in [
            "JP",
            "JP:NOPE:1s:2s",
            "JP:BUSY:2s:1s",
            "JP:BUSY:1s:2s:3",
            "JP:BUSY:1s:2s:0",
            "JP:BUSY:1s:2s:NaN",
            "JP:BUSY:1s:2s:1:1",
        ] {
            assert!(wrong.parse::<Incident>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_incident_has_to_hit_a_call() {
        let incident: Incident = "JP:BUSY:10s:40s".parse().expect("an incident");
        let idcs = [("KR".to_owned(), 1), ("JP".to_owned(), 1)];
        assert_eq!(incident.check(&idcs, Duration::from_secs(10)), Ok(()));
        let late = incident.check(&idcs, Duration::from_secs(9)).expect_err("too late").to_string();
        assert!(late.contains("JP:BUSY:10s:40s") && late.contains("9s"), "{late}");
        let elsewhere =
            incident.check(&idcs[..1], Duration::from_secs(10)).expect_err("elsewhere").to_string();
        assert!(elsewhere.contains("JP:BUSY:10s:40s") && elsewhere.contains("KR"), "{elsewhere}");
    }
}
