//! The keeper of a state directory: writes checkpoints of the totals, and drops what the journal need not keep.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::journal::position;
use crate::journal::storage::{Directory, Storage};
use crate::journal::waiting::{self, look};

use super::bounded::BoundedJournal;
use super::directory::StateDirectory;
use super::json_lines::is_old;
use super::known::SharedKnown;
use super::readers::Readers;

/// How often the state is kept.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

/// How soon after another a checkpoint is written because a reader waits for it: at least this long, and so many times
/// what the other took, so that readers cannot keep the disk busy.
const LEAST_PAUSE: Duration = Duration::from_millis(20);
const REST: u32 = 9;

/// How often it is looked whether the journal takes too much, or the disk is full.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked for what waits for sinks that are not configured any more.
const ABANDONED_INTERVAL: Duration = Duration::from_secs(1_800);

/// Keeps a state directory.
pub struct Keeper {
    directory: StateDirectory,
    journal: Arc<BoundedJournal<Directory>>,
    known: SharedKnown,
    readers: Arc<Readers>,
    ages: Ages,
    /// When it is looked again for what waits for nobody.
    look_at: Option<Instant>,
}

/// How long the state keeps what names people.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// How old a segment of the journal gets before it is closed, though it is not full.
    pub segment: Duration,
    /// How long what was set aside for a sink is kept that is not configured any more.
    pub waiting: Duration,
}

impl Keeper {
    /// Keeps `directory`, in which `journal` is, with the window of `known` and what `readers` were shown.
    pub(super) fn new(
        directory: StateDirectory,
        journal: Arc<BoundedJournal<Directory>>,
        known: SharedKnown,
        readers: Arc<Readers>,
        ages: Ages,
    ) -> Keeper {
        Keeper { directory, journal, known, readers, ages, look_at: None }
    }

    /// Keeps the state until `stop`, and once more then. To be run when all readers of the journal are there.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        let (mut kept_at, mut pause, mut is_wanted) = (Instant::now(), LEAST_PAUSE, false);
        loop {
            let due = kept_at + pause;
            tokio::select! {
                _ = looks.tick() => {}
                () = self.readers.unkept(), if !is_wanted => is_wanted = true,
                () = tokio::time::sleep_until(due.into()), if is_wanted => {}
                () = stop.cancelled() => break,
            }
            let is_due = is_wanted && due <= Instant::now();
            if is_due || kept_at.elapsed() >= CHECKPOINT_INTERVAL || self.journal.is_pressed() {
                // Writing waits for the disk, which the other tasks must not.
                let started = Instant::now();
                block_in_place(|| self.keep(SystemTime::now(), started));
                (kept_at, is_wanted) = (Instant::now(), false);
                pause = (REST * started.elapsed()).clamp(LEAST_PAUSE, CHECKPOINT_INTERVAL);
            }
        }
        block_in_place(|| {
            self.keep(SystemTime::now(), Instant::now());
            self.journal.journal().give_next_back();
        });
    }

    /// Drops what the journal need not keep any more, and writes checkpoints.
    fn keep(&mut self, now: SystemTime, instant: Instant) {
        if self.directory.directory().check().is_err() {
            // The committer says so. What is there stays as it is until the directory is back.
            return;
        }
        let window_start = self.known.lock().window.first_at(now);
        self.journal.keep(window_start, self.ages.segment, instant);
        if self.look_at.is_none_or(|at| at <= instant) {
            self.look_at = Some(instant + ABANDONED_INTERVAL);
            if let Err(error) = self.remove_abandoned(now) {
                warn!(%error, "what waits for a sink that is not configured any more cannot be removed");
            }
        }
    }

    /// Removes what was set aside for sinks that are not configured any more, when the last of it is old: nobody else
    /// gives it up.
    fn remove_abandoned(&self, now: SystemTime) -> io::Result<()> {
        let (directory, readers) = (self.directory.directory(), self.journal.journal().readers());
        let names = directory.list()?;
        let sinks = look::sinks(names.iter().map(String::as_str));
        for sink in sinks.into_iter().filter(|sink| !readers.iter().any(|reader| reader.name == *sink)) {
            let prefix = waiting::prefix(sink);
            let segments: Vec<&String> = names.iter().filter(|name| name.starts_with(&prefix)).collect();
            let mut latest = SystemTime::UNIX_EPOCH;
            for segment in &segments {
                latest = latest.max(directory.modified(segment)?);
            }
            if is_old(latest, self.ages.waiting, now) {
                warn!(
                    sink,
                    "what waited for a sink that is not configured any more is too old and is removed"
                );
                // Before they go, or they would be missing.
                position::forget_waiting(directory, sink)?;
                segments.into_iter().try_for_each(|segment| directory.remove(segment))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tempfile::tempdir;

    use super::*;
    use crate::callback::{Fingerprint, Kind, Record};
    use crate::journal::Journal;
    use crate::journal::disk::DiskJournal;
    use crate::journal::position::Position;
    use crate::ledger::checkpoint::{Checkpoint, Marks};
    use crate::ledger::{Ledger, Limits};
    use crate::state::fold::{Fold, Recalled};
    use crate::state::quarantine::Quarantine;
    use crate::state::window::Window;

    const HOUR: Duration = Duration::from_secs(3_600);
    const WINDOW: Duration = Duration::from_secs(24 * 3_600);
    const SEGMENT_AGE: Duration = Duration::from_secs(1_800);

    fn keeper(path: &Path) -> Keeper {
        let directory = StateDirectory::open(path, Duration::ZERO, |_| {}).expect("a state directory");
        let storage = directory.directory().clone();
        let journal = Arc::new(DiskJournal::open(storage, 1 << 30, 0, |_, _| {}).expect("a journal"));
        let mut checkpoints = directory.checkpoints();
        checkpoints.read(&Limits::default()).expect("no checkpoint");
        let buckets = || "1,60".parse().expect("buckets");
        let ledger = Ledger::new(SystemTime::UNIX_EPOCH, Limits::default(), buckets(), buckets());
        let fold =
            Arc::new(Fold::new(Checkpoint::of(ledger), Recalled::new(&[], &[]), Quarantine::in_memory()));
        let known = SharedKnown::new(Window::new(1_000, WINDOW), 0);
        let readers = Arc::new(Readers::on_disk(&Marks::default(), Duration::ZERO));
        let journal = Arc::new(BoundedJournal::new(journal, fold, Arc::clone(&readers), checkpoints));
        Keeper::new(directory, journal, known, readers, Ages { segment: SEGMENT_AGE, waiting: 7 * WINDOW })
    }

    fn take_call(keeper: &Keeper, number: u32, now: SystemTime) {
        let query = format!("sid={number}&duration=1&from_user_id=somebody");
        let query = query.as_bytes();
        let key = Kind::CallEvent.identify(query).expect("a call").key;
        let record = Record { kind: Kind::CallEvent, received_at: now, key, envelope: b"", query }.encode();
        let first = keeper.journal.append(std::slice::from_ref(&record)).expect("appended");
        keeper.known.lock().window.insert(key, Fingerprint::UNKNOWN, first, now);
        keeper.journal.fold().push(first, vec![record]);
    }

    /// Whether a file in the directory has this text.
    fn has(path: &Path, text: &str) -> bool {
        let mut files = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
        files.any(|file| {
            let bytes = fs::read(file).expect("a file");
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        })
    }

    /// Keeps it every minute for so long, as a quiet exporter does.
    fn pass(keeper: &mut Keeper, from: (SystemTime, Instant), begin: Duration, end: Duration) {
        let minutes = begin.as_secs() / 60..=end.as_secs() / 60;
        for passed in minutes.map(|minute| Duration::from_secs(60 * minute)) {
            keeper.keep(from.0 + passed, from.1 + passed);
        }
    }

    #[test]
    fn at_a_quiet_exporter_a_call_is_off_the_disk_an_hour_after_the_window_has_left_it() {
        let scratch = tempdir().expect("a directory");
        let path = scratch.path();
        let mut keeper = keeper(path);
        let from = (SystemTime::now(), Instant::now());
        take_call(&keeper, 1, from.0);
        pass(&mut keeper, from, Duration::ZERO, WINDOW);
        assert!(has(path, "somebody"), "a repeat is recognized after a restart");
        pass(&mut keeper, from, WINDOW, WINDOW + HOUR);
        assert!(!has(path, "somebody"));
        assert_eq!((keeper.journal.fold().ledger().calls(), keeper.journal.journal().first()), (1, 1));
    }

    #[test]
    fn what_a_sink_has_not_finished_stays() {
        let scratch = tempdir().expect("a directory");
        let path = scratch.path();
        let mut keeper = keeper(path);
        let mut reader =
            Journal::Disk(Arc::clone(keeper.journal.journal())).reader("spans").expect("a reader");
        let from = (SystemTime::now(), Instant::now());
        take_call(&keeper, 1, from.0);
        pass(&mut keeper, from, Duration::ZERO, 3 * WINDOW);
        assert!(has(path, "somebody"));
        assert_eq!(keeper.journal.journal().readers()[0].backlog, 1);
        let crate::journal::Reader::Disk { reader, .. } = &mut reader else { panic!("a journal on disk") };
        assert_eq!(reader.take(10).expect("taken").len(), 1);
        reader.done_except(&[], 0).expect("done");
        pass(&mut keeper, from, 3 * WINDOW, 3 * WINDOW + HOUR);
        assert!(!has(path, "somebody"));
    }

    #[test]
    fn what_waits_for_a_sink_that_is_not_configured_any_more_goes_when_it_is_old() {
        let scratch = tempdir().expect("a directory");
        let path = scratch.path();
        let mut keeper = keeper(path);
        let _reader = Journal::Disk(Arc::clone(keeper.journal.journal())).reader("spans").expect("a reader");
        let from = (SystemTime::now(), Instant::now());
        let position = Position { next: 7, unfinished: vec![5], waiting_end: 3 };
        fs::write(path.join(position::file_name("service")), position.encode()).expect("written");
        for sink in ["service", "spans", "call_log"] {
            let file = format!("{}00000000000000000000.segment", waiting::prefix(sink));
            fs::write(path.join(file), format!("{sink} has somebody")).expect("written");
        }
        pass(&mut keeper, from, Duration::ZERO, 6 * WINDOW);
        assert!(has(path, "service has somebody"));
        pass(&mut keeper, from, 6 * WINDOW, 7 * WINDOW + HOUR);
        assert!(!has(path, "service has somebody") && has(path, "spans has somebody"));
        assert!(!has(path, "call_log has somebody"), "it has no position");
        let bytes = fs::read(path.join(position::file_name("service"))).expect("a position");
        assert_eq!(Position::decode(&bytes), Ok(Position { waiting_end: 0, ..position }));
    }
}
