//! What a timeline says at a moment.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::change::{self, Change, Span};
use super::{AbnormalCall, Cell, Spans, Timeline};
use crate::callback::call_event::MediaType;
use crate::callback::reason::FaultDomain;
use crate::ledger::second;
use crate::metrics::labels::Label;

/// Minutes of the shortest time that is summed up, beside the one that is not over.
pub const LATELY: usize = 5;

/// How calls went.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Each minute of the last hour, the oldest first, and the one that is not over.
    pub minutes: Vec<Slot>,
    /// Each ten minutes of the last day likewise.
    pub tens: Vec<Slot>,
    /// All calls.
    pub all: Group,
    /// The calls of each media type.
    pub media_types: Vec<(MediaType, Group)>,
    /// The calls of each IDC, those with the most abnormal ones lately first.
    pub idcs: Vec<(Label, Group)>,
    /// The calls of each disconnect reason and fault domain, likewise.
    pub reasons: Vec<(Label, FaultDomain, ReasonCounts)>,
    /// The latest abnormal calls, the latest first.
    pub latest: Vec<AbnormalCall>,
}

/// The calls of a span of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slot {
    /// When it begins.
    pub begin: SystemTime,
    /// All.
    pub calls: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Those that were released abnormally.
    pub abnormal: u64,
}

/// Numbers of calls.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// All.
    pub calls: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Those that were released abnormally.
    pub abnormal: u64,
    /// The abnormal ones by whose fault they were.
    pub fault_domains: BTreeMap<FaultDomain, u64>,
}

impl Counts {
    /// The share of abnormal ones, if there are calls.
    pub fn abnormal_share(&self) -> Option<f64> {
        share(self.abnormal, self.calls)
    }

    /// The share of answered ones, if there are calls.
    pub fn answered_share(&self) -> Option<f64> {
        share(self.answered, self.calls)
    }

    fn add(&mut self, cell: &Cell, calls: u64) {
        self.calls += calls;
        self.answered += if cell.answered { calls } else { 0 };
        if cell.fault_domain.is_abnormal() && calls > 0 {
            self.abnormal += calls;
            *self.fault_domains.entry(cell.fault_domain).or_default() += calls;
        }
    }
}

/// Calls that have something in common.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// Those of the last five minutes.
    pub lately: Counts,
    /// Those of the last hour.
    pub hour: Counts,
    /// Those of the last day.
    pub day: Counts,
    /// When the share of abnormal ones grew within the hour, to the minute; else when it grew within the day, to ten minutes.
    pub change: Option<Change>,
    /// When it had grown before, if both are so.
    pub older: Option<Change>,
    /// The reason and the fault domain of most abnormal ones that were not there before the change; without a change,
    /// of most in the hour, or in the day.
    pub cause: Option<(Label, FaultDomain)>,
}

/// Calls with one disconnect reason.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReasonCounts {
    /// Those of the last five minutes.
    pub lately: u64,
    /// Those of the last hour.
    pub hour: u64,
    /// Those of the last day.
    pub day: u64,
    /// The span in which the first of the day came: to the minute in the last hour, to ten minutes before it.
    pub first_seen: Option<SystemTime>,
    /// The span in which the last one came.
    pub last_seen: Option<SystemTime>,
    /// Since when its share of all calls is what it is, if it is abnormal and has grown.
    pub change: Option<Change>,
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The spans that are summed up, each with its slot if there is one.
struct Looked {
    minutes: Vec<(SystemTime, Option<usize>)>,
    tens: Vec<(SystemTime, Option<usize>)>,
}

/// The calls of a cell or of several ones in each span.
#[derive(Clone)]
struct Series {
    minutes: Vec<u64>,
    tens: Vec<u64>,
}

impl Looked {
    fn series(&self, spans: &Spans) -> Series {
        let calls = |slots: &[u32], slot: &Option<usize>| slot.map_or(0, |slot| u64::from(slots[slot]));
        Series {
            minutes: self.minutes.iter().map(|(_, slot)| calls(&spans.minutes, slot)).collect(),
            tens: self.tens.iter().map(|(_, slot)| calls(&spans.tens, slot)).collect(),
        }
    }

    fn empty(&self) -> Series {
        Series { minutes: vec![0; self.minutes.len()], tens: vec![0; self.tens.len()] }
    }

    /// When the share of `hits` grew to what it is: within the hour, or within the day; and when it had grown before that.
    fn changes(&self, calls: &Series, hits: &Series) -> (Option<Change>, Option<Change>) {
        let find = |spans: &[(SystemTime, Option<usize>)], calls: &[u64], hits: &[u64]| {
            let counts = calls.iter().zip(hits);
            let span = |((begin, _), (calls, hits)): (&(SystemTime, _), (&u64, &u64))| Span {
                begin: *begin,
                calls: *calls,
                hits: *hits,
            };
            Change::find(&spans.iter().zip(counts).map(span).collect::<Vec<_>>())
        };
        let Some((hour, _)) = self.minutes.first() else { return (None, None) };
        let in_the_hour = find(&self.minutes, &calls.minutes, &hits.minutes);
        let lately = change::latest(calls.minutes.iter().copied().zip(hits.minutes.iter().copied()));
        let goes_on = |change: &Change| lately.0 < change::LATEST_CALLS || change.goes_on(lately);
        let in_the_day = find(&self.tens, &calls.tens, &hits.tens).filter(goes_on);
        let before = in_the_day.filter(|change| change.since + Duration::from_secs(600) <= *hour);
        match in_the_hour {
            Some(change) => (Some(change), before),
            None => (in_the_day, None),
        }
    }

    /// Of these reasons the one that most calls had that were not there before the change, if there is one.
    fn cause(
        &self,
        calls: &Series,
        reasons: &BTreeMap<(&Label, FaultDomain), Series>,
        change: Option<Change>,
    ) -> Option<(Label, FaultDomain)> {
        // Calls of the hour tell more than any number of the day.
        let weight = |series: &Series| match change {
            None => (series.hour() as f64, series.day() as f64),
            Some(change) => {
                let (before, since) = self.around(series, change.since);
                let (calls_before, calls_since) = self.around(calls, change.since);
                let usual = before as f64 / calls_before.max(1) as f64 * calls_since as f64;
                (since as f64 - usual, 0.0)
            }
        };
        let abnormal = reasons.iter().filter(|((_, domain), _)| domain.is_abnormal());
        let weighed =
            abnormal.map(|(key, series)| (weight(series), key)).filter(|(weight, _)| *weight > (0.0, 0.0));
        let (_, (reason, domain)) = weighed
            .max_by(|(one, _), (other, _)| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)))?;
        Some(((*reason).clone(), *domain))
    }

    /// The calls before and since then.
    fn around(&self, series: &Series, since: SystemTime) -> (u64, u64) {
        let is_within = self.minutes.first().is_some_and(|(begin, _)| *begin <= since);
        let (spans, calls) =
            if is_within { (&self.minutes, &series.minutes) } else { (&self.tens, &series.tens) };
        let sides = spans.iter().zip(calls).map(|((begin, _), calls)| (*begin >= since, *calls));
        sides.fold(
            (0, 0),
            |(before, after), (is_after, calls)| {
                if is_after { (before, after + calls) } else { (before + calls, after) }
            },
        )
    }

    fn slots(
        spans: &[(SystemTime, Option<usize>)],
        all: &[u64],
        answered: &[u64],
        abnormal: &[u64],
    ) -> Vec<Slot> {
        let counts = all.iter().zip(answered).zip(abnormal);
        let slots = spans.iter().zip(counts).map(|((begin, _), ((calls, answered), abnormal))| Slot {
            begin: *begin,
            calls: *calls,
            answered: *answered,
            abnormal: *abnormal,
        });
        slots.collect()
    }
}

impl Series {
    fn add(&mut self, other: &Series) {
        let pairs = self.minutes.iter_mut().zip(&other.minutes).chain(self.tens.iter_mut().zip(&other.tens));
        pairs.for_each(|(sum, calls)| *sum += calls);
    }

    fn lately(&self) -> u64 {
        self.minutes.iter().rev().take(LATELY + 1).sum()
    }

    fn hour(&self) -> u64 {
        self.minutes.iter().sum()
    }

    fn day(&self) -> u64 {
        self.tens.iter().sum()
    }
}

/// What is summed up of a group on the way.
struct Sums<'t> {
    group: Group,
    calls: Series,
    abnormal: Series,
    reasons: BTreeMap<(&'t Label, FaultDomain), Series>,
}

impl<'t> Sums<'t> {
    fn new(looked: &Looked) -> Sums<'t> {
        let (calls, abnormal) = (looked.empty(), looked.empty());
        Sums { group: Group::default(), calls, abnormal, reasons: BTreeMap::new() }
    }

    fn add(&mut self, cell: &'t Cell, series: &Series, looked: &Looked) {
        self.group.lately.add(cell, series.lately());
        self.group.hour.add(cell, series.hour());
        self.group.day.add(cell, series.day());
        self.calls.add(series);
        if cell.fault_domain.is_abnormal() {
            self.abnormal.add(series);
        }
        self.reasons.entry((&cell.reason, cell.fault_domain)).or_insert_with(|| looked.empty()).add(series);
    }

    fn finish(mut self, looked: &Looked) -> Group {
        (self.group.change, self.group.older) = looked.changes(&self.calls, &self.abnormal);
        self.group.cause = looked.cause(&self.calls, &self.reasons, self.group.change);
        self.group
    }
}

impl Timeline {
    /// What it says at `now`.
    pub fn summary(&self, now: SystemTime) -> Summary {
        let now = second(now);
        let looked =
            Looked { minutes: self.minutes.until(now).collect(), tens: self.tens.until(now).collect() };
        let mut all = Sums::new(&looked);
        let mut answered = looked.empty();
        let mut media_types: BTreeMap<MediaType, Sums<'_>> = BTreeMap::new();
        let mut idcs: BTreeMap<&Label, Sums<'_>> = BTreeMap::new();
        for (cell, spans) in &self.cells {
            let series = looked.series(spans);
            if series.day() == 0 && series.hour() == 0 {
                continue;
            }
            if cell.answered {
                answered.add(&series);
            }
            let media_type = media_types.entry(cell.media_type).or_insert_with(|| Sums::new(&looked));
            let idc = idcs.entry(&cell.idc).or_insert_with(|| Sums::new(&looked));
            for sums in [&mut all, media_type, idc] {
                sums.add(cell, &series, &looked);
            }
        }
        let of_reason = |(key, series): (&(&Label, FaultDomain), &Series)| {
            let (reason, fault_domain) = *key;
            let counts = looked.reason_counts(series, fault_domain.is_abnormal().then_some(&all.calls));
            (reason.clone(), fault_domain, counts)
        };
        let mut reasons: Vec<_> = all.reasons.iter().map(of_reason).collect();
        reasons.sort_by_key(|(_, fault_domain, counts)| {
            std::cmp::Reverse((fault_domain.is_abnormal(), counts.lately, counts.hour, counts.day))
        });
        let mut idcs: Vec<_> =
            idcs.into_iter().map(|(idc, sums)| (idc.clone(), sums.finish(&looked))).collect();
        idcs.sort_by_key(|(_, group)| {
            std::cmp::Reverse((group.lately.abnormal, group.hour.abnormal, group.day.calls))
        });
        Summary {
            minutes: Looked::slots(
                &looked.minutes,
                &all.calls.minutes,
                &answered.minutes,
                &all.abnormal.minutes,
            ),
            tens: Looked::slots(&looked.tens, &all.calls.tens, &answered.tens, &all.abnormal.tens),
            all: all.finish(&looked),
            media_types: media_types
                .into_iter()
                .map(|(media_type, sums)| (media_type, sums.finish(&looked)))
                .collect(),
            idcs,
            reasons,
            latest: self
                .latest
                .iter()
                .rev()
                .filter(|call| second(call.received_at) <= now)
                .cloned()
                .collect(),
        }
    }
}

impl Looked {
    /// What is told of a reason: since when its share of `all` calls is what it is, if that is asked.
    fn reason_counts(&self, series: &Series, all: Option<&Series>) -> ReasonCounts {
        // The minutes are finer; the spans of ten minutes go back further.
        let seen = |spans: &[(SystemTime, Option<usize>)], calls: &[u64]| {
            let mut seen =
                spans.iter().zip(calls).filter(|(_, calls)| **calls > 0).map(|((begin, _), _)| *begin);
            let first = seen.next();
            (first, seen.next_back().or(first))
        };
        let (first_minute, last_minute) = seen(&self.minutes, &series.minutes);
        let (first_ten, last_ten) = seen(&self.tens, &series.tens);
        let is_before =
            |ten: &SystemTime| first_minute.is_none_or(|minute| *ten + Duration::from_secs(600) <= minute);
        ReasonCounts {
            lately: series.lately(),
            hour: series.hour(),
            day: series.day(),
            first_seen: first_ten.filter(is_before).or(first_minute),
            last_seen: last_minute.or(last_ten),
            change: all.and_then(|all| self.changes(all, series).0),
        }
    }
}
