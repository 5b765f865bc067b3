//! `planet-call-exporter state DIR`: shows what is in a state directory, and the totals as of now.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::look::{FoundCheckpoint, Look, LookError, Totals};
use crate::http::peer::for_people;
use crate::journal::position::Position;
use crate::journal::waiting::look::FoundWaiting;
use crate::journal::{Found, Torn};
use crate::ledger::Ledger;
use crate::ledger::checkpoint::Checkpoint;
use crate::state::json_lines;
use crate::state::quarantine::{self, Quarantined};

/// Writes what is in the state directory at `path` to `output`, and returns whether all of it is sound.
///
/// # Errors
/// The directory cannot be read, or `output` not be written.
pub fn show(path: &Path, output: &mut impl Write) -> Result<bool, LookError> {
    let look = Look::at(path)?;
    let Look { journal, events, .. } = &look;
    write_segments(journal, output)?;
    writeln!(
        output,
        "records: {} sound, {} damaged; the next is {}",
        events.number, journal.damaged, journal.end
    )?;
    if journal.torn.bytes > 0 {
        writeln!(output, "{}", torn_end(journal.torn))?;
    }
    if look.missing > 0 {
        writeln!(output, "missing: {} records between the checkpoint and the journal", look.missing)?;
    }
    writeln!(output, "first event: {}", time(events.first))?;
    writeln!(output, "last event: {}", time(events.last))?;
    let waiting_is_sound = look.waiting.values().all(FoundWaiting::is_sound);
    let mut is_sound =
        journal.damaged == 0 && events.unreadable == 0 && look.missing == 0 && waiting_is_sound;
    let mut beyond = |next: u64| {
        is_sound &= next <= journal.end;
        if next <= journal.end { "" } else { ", which the journal does not have" }
    };
    for (reader, position) in &look.positions {
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
    for found in &look.checkpoints {
        let note = beyond(found.checkpoint.as_ref().map_or(u64::MAX, |checkpoint| checkpoint.position));
        write_checkpoint(found, note, output)?;
    }
    if let Some(Totals { ledger, behind, .. }) = &look.totals {
        writeln!(output, "totals now: {}; records not yet in the checkpoint: {behind}", calls(ledger))?;
    }
    look.waiting.iter().try_for_each(|(sink, found)| write_waiting(sink, found, output))?;
    write_quarantined(path, output)?;
    Ok(is_sound)
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
fn write_quarantined(path: &Path, output: &mut impl Write) -> Result<(), LookError> {
    let file = path.join(quarantine::FILE);
    for file in [file.with_added_extension(json_lines::PREVIOUS), file] {
        let text = match fs::read(&file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(LookError::Disk { path: file, source }),
        };
        for line in text.lines() {
            match serde_json::from_str(line) {
                Ok(Quarantined { time, by, sequence, reason, .. }) => {
                    let [time, by, reason] = [time, by, reason].map(|text| for_people(&text));
                    writeln!(output, "quarantined: record {sequence} by {by} at {time}: {reason}")?;
                }
                // The file is not synced, so a crash may tear its last line. The error would show what is in it.
                Err(_) => writeln!(output, "quarantined: a line that cannot be read")?,
            }
        }
    }
    Ok(())
}

fn write_checkpoint(found: &FoundCheckpoint, note: &str, output: &mut impl Write) -> io::Result<()> {
    let FoundCheckpoint { name, written_at, checkpoint } = found;
    let Checkpoint { position, ledger, .. } = match checkpoint {
        Ok(checkpoint) => checkpoint,
        Err(error) => return writeln!(output, "{name}: {error}"),
    };
    let written = written_at.map(|at| format!(", written {} ago", age(at))).unwrap_or_default();
    let since = humantime::format_rfc3339_millis(ledger.started_at());
    writeln!(output, "{name}: up to record {position}{note}, since {since}{written}")?;
    writeln!(output, "  {}", calls(ledger))
}

/// How many calls a ledger has.
fn calls(ledger: &Ledger) -> String {
    let (calls, answered, abnormal) = (ledger.calls(), ledger.answered(), ledger.abnormal());
    format!("{calls} calls, {answered} answered, {abnormal} released abnormally")
}

/// How long ago that was, in whole seconds.
fn age(at: SystemTime) -> humantime::FormattedDuration {
    let age = SystemTime::now().duration_since(at).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(age.as_secs()))
}

fn time(time: Option<SystemTime>) -> String {
    time.map_or_else(|| "none".to_owned(), |time| humantime::format_rfc3339_millis(time).to_string())
}
