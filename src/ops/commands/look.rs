//! A look at a state directory, which changes nothing. An exporter that runs meanwhile goes on writing: what it adds
//! may be seen or not, and what it removes before it was seen makes the look begin anew.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use crate::callback::Record;
use crate::callback::shield::shielded;
use crate::journal::position::{self, BadPosition, Position};
use crate::journal::storage::{Directory, Storage, read_all};
use crate::journal::waiting::look::{self, FoundWaiting};
use crate::journal::{self, Found, JournalError};
use crate::ledger::checkpoint::{Checkpoint, UnusableCheckpoint};
use crate::ledger::{Ledger, Limits};
use crate::state::checkpoints::{CHECKPOINT, PREVIOUS_CHECKPOINT};
use crate::state::directory::{LOCK, is_ours};

/// How often a look begins at most. An exporter removes something once a second at most, which no look takes that long to see.
const MOST_LOOKS: usize = 10;

/// Why a state directory cannot be looked at, or not be shown.
#[derive(Debug, Error)]
pub enum LookError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Disk {
        /// Which file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It is no state directory.
    #[error("{0} is no state directory of this program: it has no {LOCK}, no checkpoint and no journal")]
    Foreign(PathBuf),
    /// Standard output is gone.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl LookError {
    /// Whether a file was not there any more.
    fn is_gone(&self) -> bool {
        let (LookError::Disk { source, .. } | LookError::Journal(JournalError::Disk(source))) = self else {
            return false;
        };
        source.kind() == io::ErrorKind::NotFound
    }
}

/// What `look` sees; it begins anew where an exporter that runs meanwhile removes a file before it was read.
pub(super) fn undisturbed<T>(mut look: impl FnMut() -> Result<T, LookError>) -> Result<T, LookError> {
    for _ in 1..MOST_LOOKS {
        match look() {
            Err(error) if error.is_gone() => {}
            seen => return seen,
        }
    }
    look()
}

/// The state directory at `path`.
pub(super) fn existing(path: &Path) -> Result<Directory, LookError> {
    let disk = |source| LookError::Disk { path: path.to_owned(), source };
    let directory = Directory::existing(path).map_err(disk)?;
    match is_ours(&directory).map_err(disk)? {
        true => Ok(directory),
        false => Err(LookError::Foreign(path.to_owned())),
    }
}

/// A checkpoint that there is.
pub(super) struct FoundCheckpoint {
    /// The name of its file.
    pub(super) name: &'static str,
    /// When that was written, if the file system knows.
    pub(super) written_at: Option<SystemTime>,
    /// What is in it.
    pub(super) checkpoint: Result<Checkpoint, UnusableCheckpoint>,
}

/// The checkpoints that there are, the latest first.
pub(super) fn checkpoints(path: &Path) -> Result<Vec<FoundCheckpoint>, LookError> {
    let mut checkpoints = Vec::new();
    for name in [CHECKPOINT, PREVIOUS_CHECKPOINT] {
        let read = || {
            let mut file = File::open(path.join(name))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok::<_, io::Error>((file.metadata()?.modified().ok(), bytes))
        };
        match read() {
            Ok((written_at, bytes)) => {
                let checkpoint = Checkpoint::decode(&bytes, &Limits::default());
                checkpoints.push(FoundCheckpoint { name, written_at, checkpoint });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(LookError::Disk { path: path.join(name), source }),
        }
    }
    Ok(checkpoints)
}

/// Every record before this sequence number is known to have been acknowledged.
pub(super) fn known(checkpoints: &[FoundCheckpoint]) -> u64 {
    let positions = checkpoints.iter().filter_map(|found| found.checkpoint.as_ref().ok());
    positions.map(|checkpoint| checkpoint.position).max().unwrap_or(0)
}

/// What is in a state directory.
pub(super) struct Look {
    /// The position of each reader.
    pub(super) positions: BTreeMap<String, Result<Position, BadPosition>>,
    pub(super) checkpoints: Vec<FoundCheckpoint>,
    pub(super) journal: Found,
    pub(super) events: Events,
    /// The totals that an exporter has now, or would start with, if there is a checkpoint that can be used.
    pub(super) totals: Option<Totals>,
    /// Records that neither a checkpoint nor the journal has.
    pub(super) missing: u64,
    /// What waits for each sink that has a waiting journal, or had one as its position knows.
    pub(super) waiting: BTreeMap<String, FoundWaiting>,
}

impl Look {
    /// Looks at the state directory at `path`.
    pub(super) fn at(path: &Path) -> Result<Look, LookError> {
        let directory = existing(path)?;
        let mut looks = 1;
        loop {
            let look = undisturbed(|| Look::once(path, &directory))?;
            // An exporter that runs has written a checkpoint meanwhile, and dropped what is in it.
            let is_overtaken = look.missing > 0 && known(&checkpoints(path)?) > known(&look.checkpoints);
            if !is_overtaken || looks == MOST_LOOKS {
                return Ok(look);
            }
            looks += 1;
        }
    }

    fn once(path: &Path, directory: &Directory) -> Result<Look, LookError> {
        let disk = |source| LookError::Disk { path: path.to_owned(), source };
        let mut names = directory.list().map_err(disk)?;
        names.sort_unstable();
        // Positions and checkpoints before the journal, which an exporter that runs meanwhile only lengthens.
        let mut positions = BTreeMap::new();
        for name in &names {
            if let Some(reader) = position::reader(name) {
                let position = Position::decode(&read_all(directory, name).map_err(disk)?);
                positions.insert(reader.to_owned(), position);
            }
        }
        let checkpoints = checkpoints(path)?;
        let mut events = Events::default();
        let mut totals = checkpoints.iter().find_map(Totals::of);
        let known = known(&checkpoints);
        let journal = journal::inspect(directory, known, |sequence, record| {
            events.note(record);
            if let Some(totals) = &mut totals {
                totals.note(sequence, record);
            }
        })?;
        let missing = journal.segments.first().map_or(0, |segment| segment.first.saturating_sub(known));
        let waiting = waiting(directory, &names, &positions)?;
        Ok(Look { positions, checkpoints, journal, events, totals, missing, waiting })
    }
}

fn waiting(
    directory: &Directory,
    names: &[String],
    positions: &BTreeMap<String, Result<Position, BadPosition>>,
) -> Result<BTreeMap<String, FoundWaiting>, JournalError> {
    let ends = positions.iter().filter_map(|(sink, position)| Some((sink.as_str(), position.as_ref().ok()?)));
    let ends = ends.map(|(sink, position)| (sink, position.waiting_end));
    let mut ends: BTreeMap<&str, u64> = ends.filter(|(_, end)| *end > 0).collect();
    for sink in look::sinks(names.iter().map(String::as_str)) {
        ends.entry(sink).or_default();
    }
    let look = |(sink, end): (&str, u64)| Ok((sink.to_owned(), look::inspect(directory.clone(), sink, end)?));
    ends.into_iter().map(look).collect()
}

/// What there is to say of the recorded events.
#[derive(Default)]
pub(super) struct Events {
    pub(super) number: u64,
    pub(super) unreadable: u64,
    pub(super) first: Option<SystemTime>,
    pub(super) last: Option<SystemTime>,
}

impl Events {
    fn note(&mut self, record: &[u8]) {
        self.number += 1;
        match Record::decode(record) {
            Ok(record) => {
                self.first.get_or_insert(record.received_at);
                self.last = Some(record.received_at);
            }
            Err(_) => self.unreadable += 1,
        }
    }
}

/// The totals of the latest checkpoint that can be used, and of what the journal has behind it.
pub(super) struct Totals {
    pub(super) ledger: Ledger,
    /// The sequence number of the first record behind the checkpoint.
    position: u64,
    /// How many records are behind it.
    pub(super) behind: u64,
}

impl Totals {
    fn of(found: &FoundCheckpoint) -> Option<Totals> {
        let Checkpoint { position, ledger, .. } = found.checkpoint.as_ref().ok()?;
        Some(Totals { ledger: ledger.clone(), position: *position, behind: 0 })
    }

    fn note(&mut self, sequence: u64, record: &[u8]) {
        if sequence < self.position {
            return;
        }
        self.behind += 1;
        // What cannot be read adds nothing to an exporter's totals either.
        let _ = shielded(|| self.ledger.take(&Record::decode(record)?));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_begins_anew_where_a_file_has_gone_and_not_for_ever() {
        let error = |kind: io::ErrorKind| LookError::Journal(JournalError::Disk(kind.into()));
        let outcome = |kind: io::ErrorKind, failures: usize| {
            let mut looks = 0;
            let seen = undisturbed(|| {
                looks += 1;
                if looks > failures { Ok(()) } else { Err(error(kind)) }
            });
            (seen.is_ok(), looks)
        };
        assert_eq!(outcome(io::ErrorKind::NotFound, 3), (true, 4));
        assert_eq!(outcome(io::ErrorKind::NotFound, usize::MAX), (false, MOST_LOOKS));
        assert_eq!(outcome(io::ErrorKind::PermissionDenied, 3), (false, 1));
    }
}
