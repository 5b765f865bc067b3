//! The laws: whatever dies and whoever looks in between, a reader sees no series fall, and one that goes on reading
//! sees each of them begin at 0.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// How many series there can be, and how many databases scrape.
const SERIES: usize = 6;
const DATABASES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// A call is counted by a series.
    Call(usize),
    /// A database scrapes; the answer arrives or gets lost on the way.
    Scrape {
        database: usize,
        arrives: bool,
    },
    /// Its connection ends.
    Disconnect(usize),
    Checkpoint,
    /// The exporter is killed and starts again. Births that are in no checkpoint come again a little later.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..SERIES).prop_map(Step::Call),
        6 => (0..DATABASES, prop::bool::weighted(0.8))
            .prop_map(|(database, arrives)| Step::Scrape { database, arrives }),
        1 => (0..DATABASES).prop_map(Step::Disconnect),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::Crash),
    ]
}

/// The first sample of a series in a database, and the last.
type Samples = (u64, u64);

#[derive(Default)]
struct Database {
    series: BTreeMap<usize, Samples>,
    connection: Option<Arc<()>>,
}

struct World {
    readers: Arc<Readers>,
    zero_for: Duration,
    /// Birth and value of the series that there are.
    series: BTreeMap<usize, (Birth, u64)>,
    births: Birth,
    /// What the checkpoint has: the births then, and the marks.
    checkpoint: (Birth, Marks),
    databases: [Database; DATABASES],
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

impl World {
    fn new(zero_for: Duration) -> World {
        let marks = Marks::default();
        let readers = Arc::new(Readers::on_disk(&marks, zero_for));
        let (series, databases) = (BTreeMap::new(), std::array::from_fn(|_| Database::default()));
        World { readers, zero_for, series, births: Birth::NONE, checkpoint: (Birth::NONE, marks), databases }
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Call(series) => {
                let births = &mut self.births;
                let (_, value) = self.series.entry(series).or_insert_with(|| {
                    *births = births.next_at(NOW);
                    (*births, 0)
                });
                *value += 1;
            }
            Step::Scrape { database, arrives } => self.scrape(database, arrives).await,
            Step::Disconnect(database) => self.databases[database].connection = None,
            Step::Checkpoint => self.checkpoint(),
            Step::Crash => {
                let (kept, marks) = &self.checkpoint;
                self.readers = Arc::new(Readers::on_disk(marks, self.zero_for));
                self.births = self.births.next_at(NOW);
                for (birth, _) in self.series.values_mut().filter(|(birth, _)| birth > kept) {
                    *birth = self.births;
                }
                self.databases.iter_mut().for_each(|database| database.connection = None);
            }
        }
    }

    fn checkpoint(&mut self) {
        let marks = self.readers.marks(self.births);
        self.readers.note_kept(&marks);
        self.checkpoint = (self.births, marks);
    }

    /// Asks, while somebody writes the checkpoints that are wanted.
    async fn ask(&mut self, who: &Who, births: Births) -> Asked {
        let readers = Arc::clone(&self.readers);
        let mut ask = std::pin::pin!(readers.ask(who, births, NOW, PATIENCE));
        loop {
            tokio::select! {
                biased;
                asked = &mut ask => return asked,
                () = readers.unkept() => self.checkpoint(),
            }
        }
    }

    /// All are on one host and of one version.
    async fn scrape(&mut self, database: usize, arrives: bool) {
        let births = Births { totals: self.births, own: Birth::NONE };
        let connection = self.databases[database].connection.get_or_insert_default();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let who = Who::scrapes(address, "Prometheus/3", None, Some(Arc::downgrade(connection)));
        let asked = self.ask(&who, births).await;
        if !arrives {
            return;
        }
        for (number, (birth, value)) in &self.series {
            let sample = if *birth > asked.shown.totals { 0 } else { *value };
            let (_, last) = self.databases[database].series.entry(*number).or_insert((sample, sample));
            assert!(*last <= sample, "database {database} has series {number} fall from {last} to {sample}");
            *last = sample;
        }
        self.readers.answered(asked, births);
    }

    /// Whether each series of a database began at 0.
    fn has_all(&self, database: usize) -> bool {
        self.databases[database].series.values().all(|(first, _)| *first == 0)
    }
}

fn play(
    steps: &[Step],
    zero_for: Duration,
    and_then: impl FnOnce(&World) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    let mut world = World::new(zero_for);
    runtime.block_on(async {
        for step in steps {
            world.take(step).await;
        }
    });
    and_then(&world)
}

proptest! {
    #[test]
    fn no_series_falls_whatever_dies_and_whoever_reads(steps in prop::collection::vec(step(), 0..80)) {
        // Nothing is so young that who is not known would be shown it at 0; what is born at the epoch is always old.
        play(&steps, Duration::ZERO, |_| Ok(()))?;
    }

    #[test]
    fn who_goes_on_reading_on_its_connection_sees_every_series_begin_at_zero(
        steps in prop::collection::vec(step(), 0..80)
    ) {
        let steps: Vec<Step> = steps.into_iter().filter(|step| {
            matches!(step, Step::Call(_) | Step::Checkpoint | Step::Scrape { .. })
        }).collect();
        let scrapes = (0..DATABASES).map(|database| Step::Scrape { database, arrives: true });
        // Each is there from the start.
        let steps: Vec<Step> = scrapes.chain(steps).collect();
        play(&steps, Duration::ZERO, |world| {
            prop_assert!((0..DATABASES).all(|database| world.has_all(database)));
            Ok(())
        })?;
    }

    #[test]
    fn a_single_reader_sees_every_series_begin_at_zero_whatever_dies(steps in prop::collection::vec(step(), 0..80)) {
        let only = |step: &Step| !matches!(step, Step::Scrape { database: 1.., .. });
        let steps: Vec<Step> = steps.into_iter().filter(only).collect();
        // It is known before the first call.
        let known = [Step::Scrape { database: 0, arrives: true }, Step::Checkpoint];
        let steps: Vec<Step> = known.into_iter().chain(steps).collect();
        play(&steps, Duration::ZERO, |world| {
            prop_assert!(world.has_all(0));
            Ok(())
        })?;
    }
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn births(second: u64) -> Births {
    Births { totals: Birth::at(at(second)), own: Birth::at(at(second)) }
}

fn prometheus(host: u8, connection: &Arc<()>) -> Who {
    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, host));
    Who::scrapes(address, "Prometheus/3", None, Some(Arc::downgrade(connection)))
}

async fn shown(readers: &Readers, who: &Who, births: Births, now: u64) -> Births {
    readers.ask(who, births, at(now), PATIENCE).await.shown
}

#[tokio::test(start_paused = true)]
async fn who_is_not_known_is_shown_at_zero_what_is_young() {
    let connection = Arc::new(());
    let readers = Readers::in_memory(Duration::from_secs(300));
    assert_eq!(shown(&readers, &prometheus(1, &connection), births(990), 1_019).await, births(720));
    // A late birth has a time before that; and the clock may have been ahead.
    let readers = Readers::in_memory(Duration::from_secs(300));
    assert_eq!(shown(&readers, &prometheus(1, &connection), births(600), 1_000).await, births(600));
    let readers = Readers::in_memory(Duration::from_secs(300));
    assert_eq!(shown(&readers, &prometheus(1, &connection), births(5_000), 1_000).await, births(5_000));
    // Once it has taken an answer it is known, and the clock does not matter any more.
    let asked = readers.ask(&prometheus(1, &connection), births(5_000), at(1_000), PATIENCE).await;
    readers.answered(asked, births(5_990));
    assert_eq!(shown(&readers, &prometheus(1, &connection), births(9_000), 80_000).await, births(5_990));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_not_surely_another_one_is_shown_what_was_shown_at_its_value() {
    let readers = Readers::in_memory(Duration::from_secs(300));
    let connections: [Arc<()>; 4] = std::array::from_fn(|_| Arc::new(()));
    let first = prometheus(1, &connections[0]);
    let asked = readers.ask(&first, births(900), at(1_020), PATIENCE).await;
    readers.answered(asked, births(900));
    // It was shown nothing at its value that is younger.
    let second = prometheus(1, &connections[1]);
    assert_eq!(shown(&readers, &second, births(900), 1_020).await, births(720));
    assert_eq!(shown(&readers, &first, births(900), 1_020).await, births(900));
    // From now on it may be the first one, on another connection or at another address, or of another version.
    assert_eq!(shown(&readers, &prometheus(1, &connections[2]), births(950), 1_020).await, births(900));
    assert_eq!(shown(&readers, &prometheus(2, &connections[3]), births(950), 1_020).await, births(900));
    let newer = Who::scrapes(IpAddr::V4(Ipv4Addr::LOCALHOST), "Prometheus/4", None, None);
    assert_eq!(shown(&readers, &newer, births(950), 1_020).await, births(900));
    // What is pushed to is something else.
    let pushed_to = Who::is_pushed_to(&"http://collector:4318/v1/metrics");
    assert_eq!(shown(&readers, &pushed_to, births(950), 1_020).await, births(720));
    // So is another client of a proxy, which has the connections.
    let proxied = |client| Who::scrapes(IpAddr::V4(Ipv4Addr::LOCALHOST), "Agent/1", Some(client), None);
    let asked = readers.ask(&proxied("a"), births(950), at(1_020), PATIENCE).await;
    readers.answered(asked, births(950));
    assert_eq!(shown(&readers, &proxied("b"), births(950), 1_020).await, births(720));
    assert_eq!(shown(&readers, &proxied("a"), births(990), 1_020).await, births(950));
}

#[tokio::test(start_paused = true)]
async fn a_value_is_not_shown_before_it_is_kept_and_an_answer_waits_a_moment_for_that() {
    let readers = Arc::new(Readers::on_disk(&Marks::default(), Duration::ZERO));
    let connection = Arc::new(());
    let who = prometheus(1, &connection);
    let asked = readers.ask(&who, births(0), at(0), PATIENCE).await;
    readers.answered(asked, births(5));
    assert!(readers.has_unkept());
    readers.unkept().await;
    let started = tokio::time::Instant::now();
    assert_eq!(shown(&readers, &who, births(5), 9).await.totals, Birth::NONE);
    assert_eq!(started.elapsed().as_secs(), PATIENCE.as_secs());
    let (waiting, waits_as) = (Arc::clone(&readers), who.clone());
    let waits = tokio::spawn(async move { shown(&waiting, &waits_as, births(5), 9).await });
    tokio::task::yield_now().await;
    // A checkpoint that has less than was shown keeps no more than it has.
    readers.note_kept(&readers.marks(Birth::at(at(4))));
    readers.note_kept(&readers.marks(Birth::at(at(7))));
    assert_eq!(waits.await.expect("an answer"), births(5));
    assert!(!readers.has_unkept());
}

#[tokio::test(start_paused = true)]
async fn readers_are_bounded_and_what_a_forgotten_one_was_shown_stays_known() {
    let readers = Readers::in_memory(Duration::from_secs(300));
    let connection = Arc::new(());
    let known = |readers: &Readers, name: &str| {
        readers.marks(Birth::ANY).readers.iter().any(|mark| mark.reader.starts_with(name))
    };
    let scraper = |number: usize| {
        Who::scrapes(IpAddr::V4(Ipv4Addr::LOCALHOST), &format!("{number}/1"), Some("x"), None)
    };
    let honest = prometheus(1, &connection);
    for now in [1_020, 1_020] {
        let asked = readers.ask(&honest, births(900), at(now), PATIENCE).await;
        readers.answered(asked, births(900));
    }
    shown(&readers, &honest, births(900), 1_020).await;
    for number in 0..2 * MOST_READERS {
        shown(&readers, &scraper(number), births(900), 1_020).await;
        assert!(known(&readers, "192.0.2.1"), "who is connected stays");
    }
    assert_eq!(readers.marks(Birth::ANY).readers.len(), MOST_READERS);
    drop(connection);
    for number in 0..MOST_READERS {
        shown(&readers, &scraper(number), births(900), 1_020).await;
    }
    assert!(!known(&readers, "192.0.2.1"));
    assert_eq!(readers.marks(Birth::ANY).old, births(900).totals);
    // After a day without a question a reader is forgotten, but not what it was shown.
    let asked = readers.ask(&scraper(3), births(990), at(1_020), PATIENCE).await;
    readers.answered(asked, births(990));
    shown(&readers, &scraper(3), births(990), 1_020).await;
    shown(&readers, &scraper(7_777), births(990), 1_020 + 86_400).await;
    assert_eq!(readers.marks(Birth::ANY).readers.len(), 1);
    assert_eq!(readers.marks(Birth::ANY).old, births(990).totals);
    let long = "é".repeat(200);
    let who = Who::scrapes(IpAddr::V4(Ipv4Addr::LOCALHOST), &long, Some(&long), None);
    assert!(who.name.len() <= 2 * LONGEST_NAME + 50, "{}", who.name.len());
}

#[test]
fn series_that_are_pushed_as_somebody_else_have_no_start() {
    let readers = Readers::on_disk(&Marks::default(), Duration::ZERO);
    readers.push_as("http://c pod-1".to_owned(), Birth::at(at(5)));
    assert_eq!(readers.without_start(), Birth::at(at(5)));
    let again = Readers::on_disk(&readers.marks(Birth::ANY), Duration::ZERO);
    again.push_as("http://c pod-1".to_owned(), Birth::at(at(9)));
    assert_eq!(again.without_start(), Birth::at(at(5)));
    again.push_as("http://c pod-2".to_owned(), Birth::at(at(9)));
    assert_eq!(again.without_start(), Birth::at(at(9)));
}
