//! The exporter that is played with: the real one, which is sent call events and scraped.
//!
//! A large service has half a billion calls in a month. What a call adds to the page is the same for each of its kind,
//! and the exporter itself says what that is: the page is read before and after the first call of a kind. So of each
//! minute the exporter is sent some calls, and what the others add is added to its page. Gauges are the exporter's own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::calls::{Kind, any_caller};
use super::service::Service;
use crate::support::Scratch;
use crate::support::exporter::{CALL_EVENT_PATH, Exporter, command};
use crate::support::http::Connection;

/// Requests on their way at once.
const PIPELINED: usize = 64;

/// A sample: the series as the page writes it, and its value.
pub type Samples = Vec<(usize, f64)>;

/// The series of pages, which are numbered.
#[derive(Debug, Default)]
pub struct Names {
    numbers: HashMap<String, usize>,
    pub names: Vec<String>,
    /// The names of metrics that somebody reads.
    wanted: HashSet<String>,
}

impl Names {
    pub fn new(wanted: HashSet<String>) -> Names {
        Names { wanted, ..Names::default() }
    }

    fn number(&mut self, series: &str) -> Option<usize> {
        if let Some(number) = self.numbers.get(series) {
            return Some(*number);
        }
        let name = series.split('{').next().unwrap_or_default();
        if !self.wanted.contains(name) && !self.wanted.contains(name.trim_end_matches("_bucket")) {
            return None;
        }
        let number = self.names.len();
        self.names.push(series.to_owned());
        self.numbers.insert(series.to_owned(), number);
        Some(number)
    }
}

/// What a call of each kind adds.
pub type Additions = HashMap<Kind, Samples>;

/// A running exporter.
#[derive(Debug)]
pub struct Played {
    exporter: Exporter,
    call_events: Connection,
    admin: Connection,
    directory: Option<Scratch>,
    /// Another program than that of this version.
    earlier: Option<PathBuf>,
    has_services: bool,
    /// Kinds of which it has had a call since its totals began.
    sent: HashSet<Kind>,
    /// What is to be added to its page.
    added: BTreeMap<usize, f64>,
    page: Samples,
    /// The call event that it was sent last.
    last: Option<String>,
    /// Scrapes that may still differ from the last page: a new series is at 0 in the first of them.
    unsettled: u32,
}

impl Played {
    /// Starts it, with a state directory or without, of this version or an earlier one.
    pub fn start(is_stored: bool, has_services: bool, earlier: Option<PathBuf>) -> Played {
        let directory = is_stored.then(|| Scratch::new("incidents"));
        let (exporter, call_events, admin) = launch(directory.as_ref(), has_services, earlier.as_deref());
        Played {
            exporter,
            call_events,
            admin,
            directory,
            earlier,
            has_services,
            sent: HashSet::new(),
            added: BTreeMap::new(),
            page: Vec::new(),
            last: None,
            unsettled: 2,
        }
    }

    /// Kills it and starts it again.
    pub fn restart(&mut self) {
        self.exporter.process.signal("KILL");
        self.exporter.process.wait();
        (self.exporter, self.call_events, self.admin) =
            launch(self.directory.as_ref(), self.has_services, self.earlier.as_deref());
        if self.directory.is_none() {
            self.sent.clear();
            self.added.clear();
        }
        self.unsettled = 2;
    }

    /// Starts this version in the place of the earlier one.
    pub fn upgrade(&mut self) {
        self.earlier = None;
        self.restart();
        // A call may add something else now.
        self.sent.clear();
    }

    /// Has it count calls that end at `end`. At most `really` of each IDC and medium are sent, in the order of chance.
    pub fn count(
        &mut self,
        calls: &[(Kind, u32)],
        really: usize,
        each: (&Service, u64),
        (names, additions): (&mut Names, &mut Additions),
        chance: &mut SmallRng,
    ) {
        let mut cells: BTreeMap<(u8, u8), Vec<Kind>> = BTreeMap::new();
        for (kind, count) in calls {
            let mut count = *count;
            if self.sent.insert(*kind) {
                self.learn(*kind, each, (names, additions), chance);
                count -= 1;
            }
            // No more of a kind than could be sent of all of them.
            let shown = count.min(4 * really as u32);
            cells.entry((kind.idc, kind.medium)).or_default().extend((0..shown).map(|_| *kind));
            self.add(*kind, count - shown, additions);
        }
        let mut queries = Vec::new();
        for mut kinds in cells.into_values() {
            kinds.shuffle(chance);
            let left = kinds.split_off(kinds.len().min(really));
            left.into_iter().for_each(|kind| self.add(kind, 1, additions));
            queries.extend(kinds.into_iter().map(|kind| query(kind, each, any_caller(chance))));
        }
        self.send(&queries);
    }

    /// Has it count calls of one caller.
    pub fn count_of(&mut self, kind: Kind, count: usize, caller: u64, each: (&Service, u64)) {
        self.sent.insert(kind);
        let queries: Vec<_> = (0..count).map(|_| query(kind, each, caller)).collect();
        self.send(&queries);
    }

    /// Has the calls of this minute come twice more.
    pub fn repeat(&mut self, calls: &[(Kind, u32)], names: &mut Names) {
        // What a repeat adds is only this, and no call adds anything else to it.
        let series = "planet_exporter_events_total{result=\"duplicate\"}";
        let repeats: u32 = calls.iter().map(|(_, count)| 2 * count).sum();
        let (Some(number), Some(query)) = (names.number(series), self.last.clone()) else { return };
        let really = repeats.min(4);
        self.send(&vec![query; really as usize]);
        *self.added.entry(number).or_default() += f64::from(repeats - really);
    }

    fn send(&mut self, queries: &[String]) {
        for some in queries.chunks(PIPELINED) {
            let request =
                |query: &String| format!("GET {CALL_EVENT_PATH}?{query} HTTP/1.1\r\nhost: test\r\n\r\n");
            self.call_events.send(some.iter().map(request).collect::<String>());
            for query in some {
                let answer = self.call_events.receive();
                assert_eq!(answer.status, 200, "{query}: {}", answer.text());
            }
            self.last = some.last().cloned();
            self.unsettled = 2;
        }
    }

    fn learn(
        &mut self,
        kind: Kind,
        each: (&Service, u64),
        (names, additions): (&mut Names, &mut Additions),
        chance: &mut SmallRng,
    ) {
        let is_known = additions.contains_key(&kind);
        let before = if is_known { Vec::new() } else { self.look(names) };
        self.send(&[query(kind, each, any_caller(chance))]);
        if !is_known {
            let before: HashMap<_, _> = before.into_iter().collect();
            let mut grown: Samples = self.look(names);
            grown.retain(|(number, _)| is_additive(&names.names[*number]));
            grown.iter_mut().for_each(|(number, value)| *value -= before.get(number).unwrap_or(&0.0));
            grown.retain(|(_, value)| *value > 0.0);
            additions.insert(kind, grown);
        }
    }

    fn add(&mut self, kind: Kind, count: u32, additions: &Additions) {
        if count > 0 {
            for (number, value) in &additions[&kind] {
                *self.added.entry(*number).or_default() += value * f64::from(count);
            }
            self.unsettled = self.unsettled.max(1);
        }
    }

    /// The page as somebody sees it who is no Prometheus.
    fn look(&mut self, names: &mut Names) -> Samples {
        self.admin.send("GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n");
        read(&self.admin.receive().text(), names)
    }

    /// What Prometheus is shown.
    pub fn scrape(&mut self, names: &mut Names) -> Samples {
        if self.unsettled > 0 {
            self.unsettled -= 1;
            self.admin.send(
                "GET /metrics HTTP/1.1\r\nhost: test\r\nuser-agent: Prometheus/3.0\r\n\
                 x-prometheus-scrape-timeout-seconds: 10\r\n\r\n",
            );
            self.page = read(&self.admin.receive().text(), names);
            for (number, value) in &mut self.page {
                // What is shown at 0 first is so with all calls.
                if *value > 0.0 {
                    *value += self.added.get(number).unwrap_or(&0.0);
                }
            }
        }
        self.page.clone()
    }
}

fn query(kind: Kind, (service, end): (&Service, u64), caller: u64) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    kind.query(service, NUMBER.fetch_add(1, Ordering::Relaxed), caller, end)
}

fn launch(
    directory: Option<&Scratch>,
    has_services: bool,
    earlier: Option<&Path>,
) -> (Exporter, Connection, Connection) {
    let mut command = match earlier {
        Some(program) => Command::new(program),
        None => command(),
    };
    command.args(["--log-format", "json"]);
    if has_services && earlier.is_none() {
        command.args(["--services", "service,another"]);
    }
    if let Some(Scratch(path)) = directory {
        command.arg("--state-dir").arg(path);
    }
    let exporter = Exporter::launch(&mut command);
    let (call_events, admin) = (Connection::open(exporter.call_events), Connection::open(exporter.admin));
    (exporter, call_events, admin)
}

/// Whether calls of the same kind each add the same to it.
fn is_additive(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end))
}

fn read(page: &str, names: &mut Names) -> Samples {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        Some((names.number(series)?, value.parse().ok()?))
    });
    samples.collect()
}
