//! The totals of each day, to compare with an invoice: JSON lines, for `/usage`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::http::shown::to_json;
use crate::ledger::{Ledger, Usage};

/// A line: a day of UTC with the labels of its calls, and what they come to.
#[derive(Serialize)]
struct Line<'a> {
    day: String,
    #[serde(flatten)]
    labels: BTreeMap<&'static str, &'a str>,
    calls: u64,
    answered: u64,
    duration_seconds: f64,
    billed_seconds: u64,
}

/// The days of a ledger as JSON lines, the oldest first.
pub fn lines(ledger: &Ledger) -> String {
    let lines = ledger.days().map(|(day, labels, usage)| {
        let Usage { calls, answered, duration_milliseconds, billed_seconds } = usage;
        let day = humantime::format_rfc3339_seconds(day).to_string();
        let line = Line {
            day: day.split('T').next().unwrap_or_default().to_owned(),
            labels: labels.iter().collect(),
            calls,
            answered,
            duration_seconds: duration_milliseconds as f64 / 1_000.0,
            billed_seconds,
        };
        to_json(&line) + "\n"
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::callback::CallEvent;
    use crate::ledger::Limits;

    #[test]
    fn each_day_has_a_line_for_each_media_type_and_service() {
        let buckets = || "1,60".parse().expect("buckets");
        let limits = Limits { services: vec!["shop".to_owned()], ..Limits::default() };
        let mut ledger = Ledger::new(SystemTime::UNIX_EPOCH, limits, buckets(), buckets());
        let at = |day: u32| SystemTime::UNIX_EPOCH + day * Duration::from_secs(86_400);
        for (day, query) in [
            (20_000, "sid=1&type=A&from_service_id=shop&duration=61&billing_sec=61"),
            (20_000, "sid=2&type=A&from_service_id=shop&duration=0"),
            (20_001, "sid=3&type=V&from_service_id=else&duration=5&billing_sec=4"),
        ] {
            ledger.apply(CallEvent::read(query.as_bytes(), at(day)).expect("a call"));
        }
        assert_eq!(
            lines(&ledger),
            "{\"day\":\"2024-10-04\",\"media_type\":\"audio\",\"service\":\"shop\",\"calls\":2,\"answered\":1,\"duration_seconds\":61.0,\"billed_seconds\":61}\n\
             {\"day\":\"2024-10-05\",\"media_type\":\"video\",\"service\":\"other\",\"calls\":1,\"answered\":1,\"duration_seconds\":5.0,\"billed_seconds\":4}\n"
        );
    }
}
