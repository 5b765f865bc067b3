//! `planet-call-exporter state DIR`: shows what is in a state directory. It reads only, so it may be used while an exporter
//! runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use crate::callback::Record;
use crate::http::peer::for_people;
use crate::journal::position::{self, BadPosition, Position};
use crate::journal::storage::{Directory, Storage, read_all};
use crate::journal::waiting::look::{self, FoundWaiting};
use crate::journal::{self, Found, JournalError, Torn};
use crate::ledger::Limits;
use crate::ledger::checkpoint::{Checkpoint, UnusableCheckpoint};
use crate::sinks::call_log;
use crate::sinks::identity::Identity;
use crate::state::checkpoints::{CHECKPOINT, PREVIOUS_CHECKPOINT};
use crate::state::directory::{LOCK, is_ours};
use crate::state::json_lines;
use crate::state::quarantine::{self, Quarantined};

/// Why a state directory cannot be shown.
#[derive(Debug, Error)]
pub enum ShowError {
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

/// Writes the calls that the journal of the state directory at `path` holds to `output`, as the call log has them, without
/// users and addresses.
///
/// # Errors
/// The journal cannot be read, or `output` not be written.
pub fn show_calls(path: &Path, output: &mut impl Write) -> Result<(), ShowError> {
    let directory = existing(path)?;
    let known = known(&checkpoints(path)?);
    let mut written = Ok(());
    journal::inspect(&directory, known, |_, record| {
        if written.is_ok()
            && let Some(line) = call_log::line(record, &Identity::Drop)
        {
            written = output.write_all(line.as_bytes());
        }
    })?;
    Ok(written?)
}

/// The state directory at `path`.
fn existing(path: &Path) -> Result<Directory, ShowError> {
    let disk = |source| ShowError::Disk { path: path.to_owned(), source };
    let directory = Directory::existing(path).map_err(disk)?;
    match is_ours(&directory).map_err(disk)? {
        true => Ok(directory),
        false => Err(ShowError::Foreign(path.to_owned())),
    }
}

type ReadCheckpoint = (&'static str, Result<Checkpoint, UnusableCheckpoint>);

/// The checkpoints that there are, with the names of their files.
fn checkpoints(path: &Path) -> Result<Vec<ReadCheckpoint>, ShowError> {
    let mut checkpoints = Vec::new();
    for name in [CHECKPOINT, PREVIOUS_CHECKPOINT] {
        match fs::read(path.join(name)) {
            Ok(bytes) => checkpoints.push((name, Checkpoint::decode(&bytes, &Limits::default()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ShowError::Disk { path: path.join(name), source }),
        }
    }
    Ok(checkpoints)
}

/// Every record before this sequence number is known to have been acknowledged.
fn known(checkpoints: &[ReadCheckpoint]) -> u64 {
    let positions = checkpoints.iter().filter_map(|(_, checkpoint)| checkpoint.as_ref().ok());
    positions.map(|checkpoint| checkpoint.position).max().unwrap_or(0)
}

/// Writes what is in the state directory at `path` to `output`, and answers whether all of it is sound.
///
/// # Errors
/// The directory cannot be read, or `output` not be written.
pub fn show(path: &Path, output: &mut impl Write) -> Result<bool, ShowError> {
    let disk = |source| ShowError::Disk { path: path.to_owned(), source };
    let directory = existing(path)?;
    let mut names = directory.list().map_err(disk)?;
    names.sort_unstable();

    // Before the journal, which an exporter that runs meanwhile only lengthens.
    let mut positions = Vec::new();
    for name in &names {
        if let Some(reader) = position::reader(name) {
            positions.push((reader, Position::decode(&read_all(&directory, name).map_err(disk)?)));
        }
    }
    let checkpoints = checkpoints(path)?;

    let mut events = Events::default();
    let journal = journal::inspect(&directory, known(&checkpoints), |_, record| events.note(record))?;
    let missing = missing(&journal, &checkpoints, path)?;
    let waiting = waiting(&directory, &names, &positions)?;
    write_segments(&journal, output)?;
    writeln!(
        output,
        "records: {} sound, {} damaged; the next is {}",
        events.number, journal.damaged, journal.end
    )?;
    if journal.torn.bytes > 0 {
        writeln!(output, "{}", torn_end(journal.torn))?;
    }
    if missing > 0 {
        writeln!(output, "missing: {missing} records between the checkpoint and the journal")?;
    }
    writeln!(output, "first event: {}", time(events.first))?;
    writeln!(output, "last event: {}", time(events.last))?;
    let waiting_is_sound = waiting.values().all(FoundWaiting::is_sound);
    let mut is_sound = journal.damaged == 0 && events.unreadable == 0 && missing == 0 && waiting_is_sound;
    let mut beyond = |next: u64| {
        is_sound &= next <= journal.end;
        if next <= journal.end { "" } else { ", which the journal does not have" }
    };
    for (reader, position) in positions {
        let note = beyond(position.as_ref().map_or(u64::MAX, |position| position.next));
        match position {
            Err(reason) => writeln!(output, "reader {reader}: {reason}")?,
            Ok(Position { next, unfinished, .. }) => {
                write!(output, "reader {reader}: record {next}{note}")?;
                let unfinished: Vec<_> = unfinished.iter().map(u64::to_string).collect();
                match unfinished.as_slice() {
                    [] => writeln!(output)?,
                    unfinished => writeln!(output, ", and before it {}", unfinished.join(" "))?,
                }
            }
        }
    }
    for (name, checkpoint) in checkpoints {
        let note = beyond(checkpoint.as_ref().map_or(u64::MAX, |checkpoint| checkpoint.position));
        write_checkpoint(name, &checkpoint, note, output)?;
    }
    waiting.iter().try_for_each(|(sink, found)| write_waiting(sink, found, output))?;
    write_quarantined(path, output)?;
    Ok(is_sound)
}

/// How many records neither the totals of a checkpoint nor the journal has.
fn missing(journal: &Found, checkpoints: &[ReadCheckpoint], path: &Path) -> Result<u64, ShowError> {
    let Some(first) = journal.segments.first().map(|segment| segment.first) else { return Ok(0) };
    Ok(match first.saturating_sub(known(checkpoints)) {
        0 => 0,
        // An exporter that runs has written a checkpoint meanwhile, and dropped what is in it.
        _ => first.saturating_sub(known(&self::checkpoints(path)?)),
    })
}

/// What waits for each sink that has a waiting journal among the files with these names, or had one as its position knows.
fn waiting<'a>(
    directory: &Directory,
    names: &'a [String],
    positions: &[(&'a str, Result<Position, BadPosition>)],
) -> Result<BTreeMap<&'a str, FoundWaiting>, JournalError> {
    let ends =
        positions.iter().filter_map(|(sink, position)| Some((*sink, position.as_ref().ok()?.waiting_end)));
    let mut ends: BTreeMap<&str, u64> = ends.filter(|(_, end)| *end > 0).collect();
    for sink in look::sinks(names.iter().map(String::as_str)) {
        ends.entry(sink).or_default();
    }
    ends.into_iter().map(|(sink, end)| Ok((sink, look::inspect(directory.clone(), sink, end)?))).collect()
}

fn write_segments(journal: &Found, output: &mut impl Write) -> io::Result<()> {
    writeln!(output, "segments:")?;
    for segment in &journal.segments {
        let damage = match segment.damaged {
            0 => String::new(),
            records => format!("  {records} damaged"),
        };
        let writer = match segment.writer {
            Some(release) => format!("written by {release}"),
            None => "its head is damaged".to_owned(),
        };
        writeln!(
            output,
            "  from record {:>12}  {:>12} bytes{damage}  {writer}",
            segment.first, segment.bytes
        )?;
    }
    Ok(())
}

/// What is said of a torn end, which is no damage: as far as is known, it was never acknowledged.
fn torn_end(Torn { bytes, sound }: Torn) -> String {
    match sound {
        0 => format!("torn end: {bytes} bytes"),
        sound => format!("torn end: {bytes} bytes, with {sound} sound records of the batch that is torn"),
    }
}

fn write_waiting(sink: &str, found: &FoundWaiting, output: &mut impl Write) -> io::Result<()> {
    if found.is_missing() {
        return writeln!(output, "waiting for {sink}: nothing is left, though there was something");
    }
    let FoundWaiting { journal, waiting, unknown } = found;
    let bytes: u64 = journal.segments.iter().map(|segment| segment.bytes).sum();
    let damage = match journal.damaged {
        0 => String::new(),
        entries => format!(", {entries} damaged"),
    };
    let unknown = match unknown {
        0 => String::new(),
        entries => format!(", {entries} of a newer release that this one passes over"),
    };
    let torn = match journal.torn {
        Torn { bytes: 0, .. } => String::new(),
        torn => format!(", {}", torn_end(torn)),
    };
    writeln!(output, "waiting for {sink}: {waiting} events, {bytes} bytes{damage}{torn}{unknown}")
}

/// The quarantined records without their bytes, the oldest first.
fn write_quarantined(path: &Path, output: &mut impl Write) -> Result<(), ShowError> {
    let file = path.join(quarantine::FILE);
    for file in [file.with_added_extension(json_lines::PREVIOUS), file] {
        let text = match fs::read(&file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(ShowError::Disk { path: file, source }),
        };
        for line in text.lines() {
            match serde_json::from_str(line) {
                Ok(Quarantined { time, by, sequence, reason, .. }) => {
                    let [time, by, reason] = [time, by, reason].map(|text| for_people(&text));
                    writeln!(output, "quarantined: record {sequence} by {by} at {time}: {reason}")?;
                }
                // The file is not synced, so a crash may tear its last line.
                Err(error) => writeln!(output, "quarantined: a line that cannot be read: {error}")?,
            }
        }
    }
    Ok(())
}

fn write_checkpoint(
    name: &str,
    checkpoint: &Result<Checkpoint, UnusableCheckpoint>,
    note: &str,
    output: &mut impl Write,
) -> io::Result<()> {
    let (position, ledger) = match checkpoint {
        Ok(Checkpoint { position, ledger, .. }) => (position, ledger),
        Err(error) => return writeln!(output, "{name}: {error}"),
    };
    let (calls, answered, abnormal) = (ledger.calls(), ledger.answered(), ledger.abnormal());
    let since = humantime::format_rfc3339_millis(ledger.started_at());
    writeln!(output, "{name}: up to record {position}{note}, since {since}")?;
    writeln!(output, "  {calls} calls, {answered} answered, {abnormal} released abnormally")
}

/// What there is to say of the recorded events.
#[derive(Default)]
struct Events {
    number: u64,
    unreadable: u64,
    first: Option<SystemTime>,
    last: Option<SystemTime>,
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

fn time(time: Option<SystemTime>) -> String {
    time.map_or_else(|| "none".to_owned(), |time| humantime::format_rfc3339_millis(time).to_string())
}
