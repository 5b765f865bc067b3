//! Incidents: an IDC whose calls fail with a reason for some time.

use std::str::FromStr;
use std::time::Duration;

use planet_call_exporter::callback::reason::{DISCONNECT_REASONS, DisconnectReason};

/// Calls of an IDC that fail with a reason, between two times since the start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Incident {
    idc: String,
    pub(crate) reason: &'static DisconnectReason,
    from: Duration,
    to: Duration,
    /// The share of the calls that fail.
    pub(crate) share: f64,
}

impl Incident {
    /// Whether a call of this IDC at this time since the start is in the incident.
    pub(crate) fn covers(&self, idc: &str, at: Duration) -> bool {
        self.idc == idc && (self.from..self.to).contains(&at)
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
        if from >= to || !(0.0..=1.0).contains(&share) || parts.next().is_some() {
            return Err(expected());
        }
        Ok(Incident { idc, reason, from, to, share })
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
        for wrong in ["JP", "JP:NOPE:1s:2s", "JP:BUSY:2s:1s", "JP:BUSY:1s:2s:3", "JP:BUSY:1s:2s:1:1"] {
            assert!(wrong.parse::<Incident>().is_err(), "{wrong}");
        }
    }
}
