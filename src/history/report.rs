//! What LINE Planet's support needs to know of calls that failed: a text with numbers, times and session IDs, and
//! nobody's name.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};
use std::time::SystemTime;

use super::frequent::Tally;
use super::share::Share;
use super::{Gathered, Past, Span, gather};
use crate::callback::call_event::{Parameter, Reason};
use crate::callback::labels::{self, LabelSource, LabelValue};
use crate::callback::{CallEvent, Key};
use crate::config::call_filter::ReportFilter;

/// The most records that are looked at.
pub const MOST_RECORDS: u64 = 1_000_000;

/// Values that are counted of each table, and rows that it has.
const MOST_VALUES: usize = 1_000;
const MOST_ROWS: usize = 20;

/// Session IDs from the beginning, and from the end.
const SIDS_AT_AN_END: usize = 10;

/// The report.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    span: Span,
    calls: Gathered<Calls>,
}

/// What is counted.
#[derive(Debug, Clone, PartialEq)]
struct Calls {
    filter: ReportFilter,
    number: u64,
    failed: Failed,
    /// Of each IDC and media type.
    by_idc: Tally<Of>,
    by_media_type: Tally<Of>,
    by_fault_domain: Tally<Failed>,
    by_reason: Tally<Failed>,
    by_code: Tally<Failed>,
    first: Vec<FailedCall>,
    last: VecDeque<FailedCall>,
}

/// How many calls, and how many of them failed.
#[derive(Debug, Clone, Default, PartialEq)]
struct Of {
    calls: u64,
    failed: u64,
}

/// Calls that failed, and when the first and the last of them were received.
#[derive(Debug, Clone, Default, PartialEq)]
struct Failed {
    number: u64,
    first: Option<SystemTime>,
    last: Option<SystemTime>,
}

impl Failed {
    fn note(&mut self, received_at: SystemTime) {
        self.number += 1;
        self.first = Some(self.first.map_or(received_at, |first| first.min(received_at)));
        self.last = self.last.max(Some(received_at));
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq)]
struct FailedCall {
    sid: Key,
    setup_time: Option<SystemTime>,
    end_time: Option<SystemTime>,
    received_at: SystemTime,
    idc: String,
    reason: String,
}

impl Calls {
    /// None yet, of those that a report is about.
    fn of(filter: ReportFilter) -> Calls {
        Calls {
            filter,
            number: 0,
            failed: Failed::default(),
            by_idc: Tally::new(MOST_VALUES),
            by_media_type: Tally::new(MOST_VALUES),
            by_fault_domain: Tally::new(MOST_VALUES),
            by_reason: Tally::new(MOST_VALUES),
            by_code: Tally::new(MOST_VALUES),
            first: Vec::new(),
            last: VecDeque::new(),
        }
    }

    fn note(&mut self, event: &CallEvent<'_>) {
        if !self.filter.counts(event) {
            return;
        }
        let is_failed = self.filter.is_failed(event);
        let idc = labels::idc_of_people(event);
        self.number += 1;
        for of in [self.by_idc.of(idc), self.by_media_type.of(event.media_type.as_str())] {
            of.calls += 1;
            of.failed += u64::from(is_failed);
        }
        if !is_failed {
            return;
        }
        let received_at = event.received_at;
        self.failed.note(received_at);
        self.by_fault_domain.of(event.fault_domain.as_str()).note(received_at);
        let reason = reason(event);
        self.by_reason.of(&reason).note(received_at);
        self.by_code.of(&code(event)).note(received_at);
        let call = FailedCall {
            sid: event.sid,
            setup_time: event.setup_time,
            end_time: event.end_time,
            received_at,
            idc: idc.to_owned(),
            reason,
        };
        if self.first.len() < SIDS_AT_AN_END {
            return self.first.push(call);
        }
        if self.last.len() == SIDS_AT_AN_END {
            self.last.pop_front();
        }
        self.last.push_back(call);
    }
}

/// The reason with its number, by which LINE Planet knows it.
fn reason(event: &CallEvent<'_>) -> String {
    let name = labels::disconnect_reason(event);
    match event.reason {
        Reason::Known(_) => {
            let sent = event.number(Parameter::DisconnectReason);
            sent.map_or_else(|| name.to_string(), |code| format!("{code} {name}"))
        }
        _ => name.into_owned(),
    }
}

/// What tells more of a release inside the platform.
fn code(event: &CallEvent<'_>) -> String {
    let value = |source: LabelSource| match source.value(event) {
        LabelValue::Known(value) => value.to_owned(),
        LabelValue::Foreign(value) => value.into_owned(),
    };
    let codes = [LabelSource::Terminate, LabelSource::RelCode, LabelSource::RelCodeStr];
    codes.map(|source| format!("{}={}", source.name(), value(source))).join(" ")
}

/// Reports the calls that `filter` admits and that were received from `since` until `until`.
///
/// # Errors
/// The calls cannot be read.
pub fn report<P: Past>(
    past: &P,
    since: SystemTime,
    until: SystemTime,
    filter: &ReportFilter,
) -> Result<Report, P::Error> {
    let span = Span { since, until, most: MOST_RECORDS };
    let calls = gather(past, span, || Calls::of(filter.clone()), Calls::note)?;
    Ok(Report { span, calls })
}

impl Display for Report {
    /// Lines of text, in UTC.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Report { span, calls: Gathered { of: calls, since, unreadable } } = self;
        let Calls { filter: ReportFilter { reason, idc }, number, failed, .. } = calls;
        writeln!(formatter, "Calls that failed, from the call event callbacks that LINE Planet sent us")?;
        writeln!(
            formatter,
            "All times are UTC and those at which a callback was received, unless it says otherwise.\n"
        )?;
        writeln!(formatter, "from: {}", time(Some(*since)))?;
        writeln!(formatter, "until: {}", time(Some(span.until)))?;
        if *since != span.since {
            writeln!(
                formatter,
                "(asked for from {} on; earlier calls are not kept any more, or too many)",
                time(Some(span.since))
            )?;
        }
        for (name, value) in [("IDC", idc), ("disconnect_reason", reason)] {
            if let Some(value) = value {
                writeln!(formatter, "only {name}: {value}")?;
            }
        }
        writeln!(
            formatter,
            "failed: {} of {number} calls ({})",
            failed.number,
            Share::new(failed.number, *number).percent()
        )?;
        writeln!(formatter, "first failure: {}\nlast failure: {}", time(failed.first), time(failed.last))?;
        if *unreadable > 0 {
            writeln!(formatter, "not readable: {unreadable} callbacks")?;
        }
        if failed.number == 0 {
            return Ok(());
        }
        write_of("by IDC", &calls.by_idc, formatter)?;
        write_of("by media type", &calls.by_media_type, formatter)?;
        write_failed("by whose fault it was", &calls.by_fault_domain, failed.number, formatter)?;
        write_failed("by disconnect_reason", &calls.by_reason, failed.number, formatter)?;
        write_failed("by release code", &calls.by_code, failed.number, formatter)?;
        let shown = calls.first.len() + calls.last.len();
        writeln!(
            formatter,
            "\nSession IDs ({shown} of {}): created, ended, received, IDC, reason",
            failed.number
        )?;
        for FailedCall { sid, setup_time, end_time, received_at, idc, reason } in
            calls.first.iter().chain(&calls.last)
        {
            let times = [*setup_time, *end_time, Some(*received_at)].map(time);
            writeln!(formatter, "  {sid}  {}  {idc}  {reason}", times.join("  "))?;
        }
        Ok(())
    }
}

fn time(time: Option<SystemTime>) -> String {
    time.map_or_else(|| "unknown".to_owned(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

fn write_of(title: &str, tally: &Tally<Of>, formatter: &mut Formatter<'_>) -> fmt::Result {
    writeln!(formatter, "\nFailed {title}:")?;
    let (rows, others) = tally.clone().sorted(|of| Reverse((of.failed, of.calls)));
    for (value, Of { calls, failed }) in rows.iter().take(MOST_ROWS) {
        writeln!(
            formatter,
            "  {value}: {failed} of {calls} calls ({})",
            Share::new(*failed, *calls).percent()
        )?;
    }
    let left_out = rows.iter().skip(MOST_ROWS).map(|(_, of)| of).chain([&others]);
    match left_out.fold((0, 0), |(calls, failed), of| (calls + of.calls, failed + of.failed)) {
        (0, _) => Ok(()),
        (calls, failed) => writeln!(formatter, "  all others: {failed} of {calls} calls"),
    }
}

fn write_failed(title: &str, tally: &Tally<Failed>, of: u64, formatter: &mut Formatter<'_>) -> fmt::Result {
    writeln!(formatter, "\nFailed {title}:")?;
    let (rows, others) = tally.clone().sorted(|failed| Reverse(failed.number));
    for (value, Failed { number, first, last }) in rows.iter().take(MOST_ROWS) {
        let (percent, [first, last]) = (Share::new(*number, of).percent(), [*first, *last].map(time));
        writeln!(formatter, "  {value}: {number} ({percent}), from {first} to {last}")?;
    }
    match rows.iter().skip(MOST_ROWS).map(|(_, failed)| failed.number).sum::<u64>() + others.number {
        0 => Ok(()),
        number => writeln!(formatter, "  all others: {number}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::past_of_tests::{Records, at};

    #[test]
    fn the_report_says_what_failed_when_and_how_many_of_how_many() {
        let mut records = Records::default();
        for number in 0..60 {
            let (idc, reason) = if number % 3 == 0 { ("JP", 1305) } else { ("KR", 1001) };
            let query = format!(
                "sid=6364e8b3-bdac-436e-9631-{number:012x}&type=A&from_user_id=hana&to_user_id=jun&srcip=192.0.2.7&dstip=192.0.2.8\
                 &setup_time=1600000000&end_time=16000000{number:02}&duration=0&terminate=127&rel_code=500{}&rel_code_str=DB\
                 &rc_idc={idc}&disconnect_reason={reason}&app_svr_data=secret",
                number % 2
            );
            records.add(number, &query);
        }
        let text =
            report(&records, at(0), at(50), &ReportFilter::default()).expect("records at hand").to_string();
        for expected in [
            "from: 2020-09-13T12:26:40Z\nuntil: 2020-09-13T12:27:30Z\n",
            "failed: 17 of 50 calls (34 %)\nfirst failure: 2020-09-13T12:26:40Z\nlast failure: 2020-09-13T12:27:28Z\n",
            "  JP: 17 of 17 calls (100 %)\n  KR: 0 of 33 calls (0 %)\n",
            "  audio: 17 of 50 calls (34 %)\n",
            "  platform: 17 (100 %), from 2020-09-13T12:26:40Z to 2020-09-13T12:27:28Z\n",
            "  1305 SERVER_INTERNAL_ERROR: 17 (100 %), from",
            "  terminate=127 rel_code=5000 rel_code_str=DB: 9 (53 %), from",
            "Session IDs (17 of 17): created, ended, received, IDC, reason\n  6364e8b3-bdac-436e-9631-000000000000  2020-09-13T12:26:40Z  2020-",
            "  6364e8b3-bdac-436e-9631-000000000030  2020-09-13T12:26:40Z  2020-09-13T12:27:28Z  2020-09-13T12:27:28Z  JP  1305 SERVER",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
        for personal in ["hana", "jun", "192.0.2", "secret"] {
            assert!(!text.contains(personal), "{text}");
        }
        let calm =
            report(&records, at(1), at(3), &ReportFilter::default()).expect("records at hand").to_string();
        assert!(calm.contains("failed: 0 of 2 calls (0 %)\nfirst failure: unknown"), "{calm}");
        let about = |reason: Option<&str>, idc: Option<&str>| {
            let filter = ReportFilter { reason: reason.map(str::to_owned), idc: idc.map(str::to_owned) };
            report(&records, at(0), at(50), &filter).expect("records at hand").to_string()
        };
        let of_idc = about(Some("SERVER_INTERNAL_ERROR"), Some("JP"));
        assert!(of_idc.contains("only IDC: JP\nonly disconnect_reason: SERVER_INTERNAL_ERROR\n"), "{of_idc}");
        assert!(of_idc.contains("failed: 17 of 17 calls (100 %)"), "{of_idc}");
        assert!(about(None, Some("KR")).contains("failed: 0 of 33 calls (0 %)"));
        assert!(about(Some("PUSH_ERROR"), None).contains("failed: 0 of 50 calls (0 %)"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn it_is_short_whatever_was_sent(
            calls in prop::collection::vec(("[a-zA-Z]{1,20}", "[a-zA-Z]{0,70}", 1_000i64..20_000), 0..400)
        ) {
            let mut records = Records::default();
            for (idc, text, reason) in &calls {
                records.add(1, &format!("sid={idc}&duration=0&disconnect_reason={reason}&rc_idc={idc}&rel_code_str={text}&rel_code={reason}"));
            }
            let report = report(&records, at(0), at(9), &ReportFilter::default()).expect("records at hand");
            let text = report.to_string();
            prop_assert!(text.lines().count() < 6 * (MOST_ROWS + 3) + 2 * SIDS_AT_AN_END + 12);
            prop_assert!(text.len() < 32 * 1024);
            let rows: u64 = report.calls.of.by_reason.sorted(|_| 0).0.iter().map(|(_, failed)| failed.number).sum();
            prop_assert!(rows <= report.calls.of.failed.number && report.calls.of.number == calls.len() as u64);
        }
    }
}
