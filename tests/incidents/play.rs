//! Plays a service minute by minute: its calls go to the exporter, its page to Prometheus, and the rules are evaluated.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::calls::{Circumstances, Kind, Mix};
use super::exporter::{Additions, Names, Played};
use super::happening::{Effect, INCIDENTS, Incident};
use super::rules::{Fired, Rules};
use super::service::{ACCESS_TOKEN_ERROR, DAY, SERVER_INTERNAL_ERROR, Service, Size, Traffic};
use super::storage::{Handle, Labels, STALE, Storage};

/// The first minute, in Unix seconds: a Monday, at midnight.
const START: u64 = 1_767_571_200;

/// Minutes that are played before the rules are evaluated over them.
const CHUNK: usize = 6 * 60;

/// The minute at which this version takes the place of an earlier one.
const UPGRADE: usize = 7 * DAY + 11 * 60;

/// What is played.
#[derive(Debug, Clone)]
pub struct Plan {
    pub size: Size,
    pub seed: u64,
    /// Days before the first incident; the length of a month without any.
    pub days: usize,
    /// Places in the list of incidents.
    pub incidents: Vec<usize>,
    pub replicas: usize,
    pub is_stored: bool,
    /// Metrics come over OTLP: nothing says that an exporter is gone, and its series end when they are old.
    pub is_pushed: bool,
    /// Seconds between evaluations, and between scrapes; a part of a minute.
    pub interval: u64,
    /// Calls have the label `service`.
    pub has_services: bool,
    /// The program of an earlier version, with which it begins.
    pub earlier: Option<PathBuf>,
    /// Minutes from one incident to the next, and that one lasts; `None`: as it suits the size, by day.
    pub pace: Option<(usize, usize)>,
}

/// An incident that was played.
#[derive(Debug)]
pub struct Truth {
    pub incident: &'static Incident,
    /// Minutes.
    pub begin: usize,
    pub end: usize,
    /// The minute with the first call that suffered.
    pub first: Option<usize>,
    /// Calls of what is affected in each minute.
    pub affected: Vec<u32>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub truths: Vec<Truth>,
    pub fired: Vec<Fired>,
    pub days: usize,
    pub service: Service,
}

/// The minute of a time.
pub fn minute_of(time: u64) -> f64 {
    (time - START) as f64 / 60.0
}

/// What happens when.
#[derive(Debug, Default)]
struct Calendar {
    truths: Vec<Truth>,
    minutes: usize,
    deploys: HashSet<usize>,
    gaps: HashSet<usize>,
    bots: BTreeMap<usize, f64>,
    /// Many more call than usual.
    crowd: Range<usize>,
    is_normal_month: bool,
}

impl Calendar {
    fn new(plan: &Plan, chance: &mut SmallRng) -> Calendar {
        let mut calendar = Calendar { is_normal_month: plan.incidents.is_empty(), ..Calendar::default() };
        let mut day = plan.days;
        let mut incidents = plan.incidents.clone();
        incidents.shuffle(chance);
        for (number, incident) in incidents.into_iter().map(|place| &INCIDENTS[place]).enumerate() {
            if let Some((every, lasting)) = plan.pace {
                let begin = plan.days * DAY + (number + 1) * every;
                let (end, affected) = (begin + lasting, Vec::new());
                calendar.truths.push(Truth { incident, begin, end, first: None, affected });
                day = (end + every) / DAY;
                continue;
            }
            let begin = day * DAY
                + match (incident.is_at_night, plan.size) {
                    (true, _) => chance.random_range(0..5 * 60),
                    (false, Size::Small) => chance.random_range(8 * 60..11 * 60),
                    (false, _) => chance.random_range(8 * 60..20 * 60),
                };
            let lasting = match (plan.size, incident.calls > 100.0) {
                (Size::Small, true) => 30 * 60,
                (Size::Small, false) => 14 * 60,
                _ => 90,
            };
            day += if plan.size == Size::Small { 2 } else { 1 };
            let (end, affected) = (begin + lasting, Vec::new());
            calendar.truths.push(Truth { incident, begin, end, first: None, affected });
        }
        let days = if calendar.is_normal_month { plan.days } else { day + 1 };
        calendar.minutes = days * DAY;
        calendar.deploys =
            (1..days).step_by(3).map(|day| day * DAY + chance.random_range(600..1000)).collect();
        let gaps = (0..days / 7).map(|_| chance.random_range(0..calendar.minutes));
        calendar.gaps = gaps.flat_map(|from| from..from + 10).collect();
        if calendar.is_normal_month {
            let most = if plan.size == Size::Large { 60.0 } else { 1.0 };
            let from = 15 * DAY + chance.random_range(9 * 60..20 * 60);
            calendar.crowd = from..from + 60;
            for day in [9, 13, 24] {
                let rate = chance.random_range(0.05..most);
                calendar.bots.extend((0..180).map(|minute| (day * DAY + 720 + minute, rate)));
            }
        }
        calendar
    }

    fn incident(&mut self, minute: usize) -> Option<&mut Truth> {
        self.truths.iter_mut().find(|truth| (truth.begin..truth.end).contains(&minute))
    }

    fn circumstances(&self, minute: usize, service: &Service) -> Circumstances {
        let incident = self.truths.iter().position(|truth| (truth.begin..truth.end).contains(&minute));
        let strength = incident.map_or(0, |place| {
            let truth = &self.truths[place];
            truth.incident.course.strength(minute - truth.begin)
        });
        let day = minute / DAY;
        // An IDC begins, and later calls are led away from it for a day.
        let is_drained = self.is_normal_month && (day < 5 || day == 19);
        Circumstances {
            incident,
            strength,
            drained: is_drained.then_some(service.idcs.len() - 1),
            has_new_codes: self.is_normal_month && day >= 16,
        }
    }

    /// How much of the usual traffic there is.
    fn share(&self, minute: usize, incident: Option<&Incident>) -> f64 {
        match incident.map(|incident| incident.effect) {
            Some(Effect::Traffic(share)) => share,
            // A holiday.
            _ if self.is_normal_month && minute / DAY == 11 => 0.3,
            // A concert.
            _ if self.is_normal_month && self.crowd.contains(&minute) => 4.0,
            _ => 1.0,
        }
    }

    /// Whether a further replica runs, for some days.
    fn has_further_replica(&self, minute: usize) -> bool {
        self.is_normal_month && (21 * DAY + 700..23 * DAY + 700).contains(&minute)
    }
}

/// What stands for the exporter's own clock, which is not that of the play.
#[derive(Debug, Clone, Copy)]
enum Substitute {
    None,
    Start,
    LastCall,
}

/// One exporter as Prometheus knows it.
#[derive(Debug)]
struct Replica {
    played: Played,
    up: Handle,
    /// The series by their number on pages.
    series: Vec<(Handle, Substitute)>,
    last_shown: Vec<usize>,
    is_target: bool,
    is_pushed: bool,
    started_at: u64,
    last_call: Option<u64>,
    instance: String,
}

impl Replica {
    fn start(plan: &Plan, number: usize, storage: &mut Storage, time: u64) -> Replica {
        let instance = format!("namespace.service-{number}.planet-call-exporter");
        Replica {
            played: Played::start(plan.is_stored, plan.has_services, plan.earlier.clone()),
            up: storage.series(&series("up", plan.size, &instance)),
            series: Vec::new(),
            last_shown: Vec::new(),
            is_target: false,
            is_pushed: plan.is_pushed,
            started_at: time,
            last_call: None,
            instance,
        }
    }

    fn restart(&mut self, time: u64) {
        self.played.restart();
        self.started_at = time;
    }

    fn upgrade(&mut self, time: u64) {
        self.played.upgrade();
        self.started_at = time;
    }

    /// A scrape that is answered.
    fn scraped(&mut self, names: &mut Names, size: Size, storage: &mut Storage, time: u64) {
        let mut samples = self.played.scrape(names);
        for name in &names.names[self.series.len()..] {
            let substitute = match name.split('{').next() {
                Some("process_start_time_seconds" | "planet_exporter_start_time_seconds") => {
                    Substitute::Start
                }
                Some("planet_call_last_event_time_seconds") => Substitute::LastCall,
                _ => Substitute::None,
            };
            self.series.push((storage.series(&series(name, size, &self.instance)), substitute));
        }
        if self.is_pushed {
            // What is pushed are the metrics of the catalog.
            samples.retain(|(number, _)| names.names[*number].starts_with("planet_"));
        }
        let shown: Vec<_> = samples.iter().map(|(number, _)| *number).collect();
        self.end_all_but(&shown, storage, time);
        for (number, value) in samples {
            let (series, substitute) = self.series[number];
            let value = match substitute {
                Substitute::Start => self.started_at as f64,
                Substitute::LastCall => self.last_call.unwrap_or(time) as f64,
                Substitute::None => value,
            };
            storage.put(series, time, value);
        }
        self.last_shown = shown;
        if !self.is_pushed {
            storage.put(self.up, time, 1.0);
        }
        self.is_target = true;
    }

    /// A scrape that fails, or none, because it is no target any more.
    fn not_scraped(&mut self, storage: &mut Storage, time: u64, is_target: bool) {
        if self.is_pushed {
            return;
        }
        self.end_all_but(&[], storage, time);
        self.last_shown.clear();
        if is_target || self.is_target {
            storage.put(self.up, time, if is_target { 0.0 } else { STALE });
        }
        self.is_target = is_target;
    }

    fn end_all_but(&self, shown: &[usize], storage: &mut Storage, time: u64) {
        if self.is_pushed || self.last_shown == shown {
            return;
        }
        let shown: HashSet<_> = shown.iter().collect();
        for number in self.last_shown.iter().filter(|number| !shown.contains(number)) {
            storage.put(self.series[*number].0, time, STALE);
        }
    }
}

/// The labels that Prometheus gives a series of a page.
fn series(name: &str, size: Size, instance: &str) -> Labels {
    let (name, rest) = name.split_once('{').unwrap_or((name, ""));
    let mut labels = Labels::from([("__name__".to_owned(), name.to_owned())]);
    for pair in rest.trim_end_matches('}').split(',') {
        if let Some((name, value)) = pair.split_once('=') {
            labels.insert(name.to_owned(), value.trim_matches('"').to_owned());
        }
    }
    labels.insert("job".to_owned(), size.as_str().to_owned());
    labels.insert("instance".to_owned(), instance.to_owned());
    labels
}

/// Plays it, with the rules of these files, in this Prometheus.
pub fn play(plan: &Plan, program: &Path, files: &[PathBuf]) -> Outcome {
    let mut play = Play::new(plan, program, files);
    for minute in 0..play.calendar.minutes {
        play.minute(minute);
    }
    let days = play.calendar.minutes / DAY;
    Outcome { truths: play.calendar.truths, fired: play.rules.fired, days, service: play.service }
}

/// A play that is going on.
struct Play<'a> {
    plan: &'a Plan,
    service: Service,
    calendar: Calendar,
    traffic: Traffic,
    replicas: Vec<Replica>,
    names: Names,
    additions: Additions,
    storage: Storage,
    rules: Rules,
    /// What Prometheus knows of another job, which is always well.
    another: Handle,
    mix: Option<(Circumstances, Mix)>,
    /// The time of the next evaluation.
    evaluation: u64,
}

/// What goes on in a minute.
#[derive(Debug, Clone, Copy)]
struct Moment {
    minute: usize,
    time: u64,
    /// Which one of the minute's scrapes is to come.
    scrape: u64,
    incident: Option<&'static Incident>,
    /// Minutes since the incident began.
    since: usize,
    /// The replica that is deployed anew.
    deployed: Option<usize>,
    /// This version takes the place of an earlier one.
    is_upgrade: bool,
    /// Prometheus does not run.
    is_gap: bool,
    /// The calls that are to be expected at each replica.
    expected: f64,
}

impl Moment {
    fn effect(&self) -> Option<Effect> {
        self.incident.map(|incident| incident.effect)
    }

    /// Whether a crash loop lets it run, which it does in one minute of four.
    fn is_between_crashes(&self) -> bool {
        self.effect() != Some(Effect::CrashLoop) || self.since % 4 == 3
    }

    /// Whether exporters take calls and answer scrapes.
    fn is_up(&self) -> bool {
        self.is_between_crashes() && !matches!(self.effect(), Some(Effect::Down | Effect::Vanished))
    }
}

impl<'a> Play<'a> {
    fn new(plan: &'a Plan, program: &Path, files: &[PathBuf]) -> Play<'a> {
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let rules = Rules::read(program, &files, plan.interval);
        let mut storage = Storage::start(program);
        let chance = &mut SmallRng::seed_from_u64(plan.seed ^ (plan.incidents.len() as u64) << 32);
        let calendar = Calendar::new(plan, chance);
        let another = [("__name__", "up"), ("job", "another"), ("instance", "node")];
        let another = another.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Play {
            plan,
            service: Service::new(plan.size, plan.seed),
            calendar,
            traffic: Traffic::new(chance.random()),
            replicas: (0..plan.replicas)
                .map(|number| Replica::start(plan, number, &mut storage, START))
                .collect(),
            names: Names::new(rules.metrics()),
            additions: Additions::new(),
            rules,
            another: storage.series(&another.into()),
            storage,
            mix: None,
            evaluation: START + chance.random_range(1..plan.interval),
        }
    }

    fn minute(&mut self, minute: usize) {
        let time = START + minute as u64 * 60;
        self.scale(minute, time);
        let circumstances = self.calendar.circumstances(minute, &self.service);
        let truth = circumstances.incident.map(|place| &self.calendar.truths[place]);
        let (incident, since) =
            (truth.map(|truth| truth.incident), truth.map_or(0, |truth| minute - truth.begin));
        if self.mix.as_ref().is_none_or(|(of, _)| *of != circumstances) {
            let acting = incident.filter(|_| circumstances.strength > 0);
            self.mix = Some((circumstances, Mix::new(&self.service, circumstances, acting)));
        }
        let scrapes = 60 / self.plan.interval;
        let share = self.calendar.share(minute, incident) / self.replicas.len() as f64 / scrapes as f64;
        let expected = self.traffic.expected(&self.service, minute) * share;
        let (mut affected, mut suffered) = (0, 0);
        for scrape in 0..scrapes {
            let moment = Moment {
                minute,
                time: time + scrape * self.plan.interval,
                scrape,
                incident,
                since,
                deployed: self.calendar.deploys.contains(&minute).then_some(minute % self.replicas.len()),
                is_upgrade: self.plan.earlier.is_some() && minute == UPGRADE,
                is_gap: self.calendar.gaps.contains(&minute),
                expected,
            };
            for number in 0..self.replicas.len() {
                let calls = self.take_calls(moment, number);
                let (more_affected, more_suffered) = hit(moment, &calls);
                affected += more_affected;
                suffered += more_suffered;
                self.show(moment, number);
            }
            if !moment.is_gap {
                self.storage.put(self.another, moment.time, 1.0);
            }
        }
        if let Some(truth) = self.calendar.incident(minute) {
            let is_hit = suffered > 0 || truth.incident.calls == 0.0;
            truth.first = truth.first.or(is_hit.then_some(minute));
            truth.affected.push(affected);
        }
        if minute % CHUNK == CHUNK - 1 {
            self.storage.write();
            let interval = self.plan.interval;
            let last = time + 60 - interval;
            let to = last - (last - self.evaluation) % interval;
            self.rules.evaluate(&mut self.storage, self.evaluation, to);
            self.evaluation = to + interval;
        }
    }

    /// Starts and ends the further replica.
    fn scale(&mut self, minute: usize, time: u64) {
        match (self.calendar.has_further_replica(minute), self.replicas.len() > self.plan.replicas) {
            (true, false) => {
                let further = Replica::start(self.plan, self.plan.replicas, &mut self.storage, time);
                self.replicas.push(further);
            }
            (false, true) => {
                let gone = self.replicas.pop();
                gone.into_iter().for_each(|mut gone| gone.not_scraped(&mut self.storage, time, false));
            }
            _ => {}
        }
    }

    /// The calls that a replica has in a minute.
    fn take_calls(&mut self, moment: Moment, number: usize) -> Vec<(Kind, u32)> {
        let replica = &mut self.replicas[number];
        let is_crashing = moment.effect() == Some(Effect::CrashLoop) && moment.is_between_crashes();
        if moment.scrape == 0 && (moment.deployed == Some(number) || is_crashing) {
            replica.restart(moment.time);
        }
        if moment.scrape == 0 && moment.is_upgrade {
            replica.upgrade(moment.time);
            if number == 0 {
                self.additions.clear();
            }
        }
        if !moment.is_up() {
            return Vec::new();
        }
        let mix = self.mix.as_ref().map(|(_, mix)| mix);
        let mut calls = mix.map(|mix| mix.draw(moment.expected, self.traffic.chance())).unwrap_or_default();
        let is_first = number == 0 && moment.scrape == 0;
        if moment.effect() == Some(Effect::Rare) && is_first && matches!(moment.since, 1 | 21 | 41) {
            calls.push((Kind::of_bot(SERVER_INTERNAL_ERROR), 1));
        }
        if !calls.is_empty() {
            replica.last_call = Some(moment.time - 5);
        }
        // In an incident the last 32 calls have to be those of the moment.
        let really = if moment.incident.is_some() { 32 } else { 3 };
        let each = (&self.service, moment.time);
        let known = (&mut self.names, &mut self.additions);
        replica.played.count(&calls, really, each, known, self.traffic.chance());
        if moment.effect() == Some(Effect::Repeated) {
            replica.played.repeat(&calls, &mut self.names);
        }
        if is_first && let Some(rate) = self.calendar.bots.get(&moment.minute) {
            let count = *rate as usize + usize::from(self.traffic.chance().random_bool(rate.fract()));
            replica.played.count_of(Kind::of_bot(ACCESS_TOKEN_ERROR), count, 1, each);
        }
        calls
    }

    /// What Prometheus sees of a replica.
    fn show(&mut self, moment: Moment, number: usize) {
        let (replica, storage) = (&mut self.replicas[number], &mut self.storage);
        match moment.effect() {
            _ if moment.is_gap => {}
            Some(Effect::Vanished) => replica.not_scraped(storage, moment.time, false),
            _ if !moment.is_up() || moment.is_upgrade || moment.deployed == Some(number) => {
                replica.not_scraped(storage, moment.time, true);
            }
            _ => replica.scraped(&mut self.names, self.plan.size, storage, moment.time),
        }
    }
}

/// How many of the calls are of what an incident affects, and how many of these suffer.
fn hit(moment: Moment, calls: &[(Kind, u32)]) -> (u32, u32) {
    let Some(incident) = moment.incident else { return (0, 0) };
    let is_hit = |kind: &Kind| incident.hits(kind.idc.into(), kind.medium.into());
    let suffers = |kind: &Kind| {
        incident.ends().is_none_or(|(_, ending)| kind.disconnect_reason == ending.disconnect_reason)
    };
    let of = |filter: &dyn Fn(&Kind) -> bool| {
        calls.iter().filter(|(kind, _)| is_hit(kind) && filter(kind)).map(|(_, number)| number).sum()
    };
    (of(&|_| true), of(&suffers))
}
