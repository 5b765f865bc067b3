//! `planet-call-exporter state DIR --calls`: shows the calls that the journal of a state directory holds. It reads only, so it
//! may be used while an exporter runs.

use std::io::Write;
use std::path::Path;

use super::look::{self, LookError};
use super::unless_nobody_reads;
use crate::callback::Record;
use crate::config::call_filter::CallFilter;
use crate::journal;
use crate::journal::storage::Directory;
use crate::sinks::call_log;
use crate::sinks::identity::Identity;

/// Writes the calls that the journal of the state directory at `path` holds and `filter` admits to `output`, as the
/// call log has them, without users and addresses: all, or the latest. Who reads no further has seen enough.
///
/// # Errors
/// The journal cannot be read, or `output` not be written.
pub fn show(
    path: &Path,
    filter: &CallFilter,
    latest: Option<usize>,
    output: &mut impl Write,
) -> Result<(), LookError> {
    let directory = look::existing(path)?;
    let mut written = Ok(());
    // How many come before those.
    let mut left_out = match latest {
        Some(latest) => number(path, &directory, filter)?.saturating_sub(latest),
        None => 0,
    };
    // The sequence number behind the last record that was seen.
    let mut next = 0;
    look::undisturbed(|| {
        let known = look::known(&look::checkpoints(path)?);
        let found = journal::inspect(&directory, known, |sequence, record| {
            if sequence < next || written.is_err() {
                return;
            }
            next = sequence + 1;
            if let Ok(record) = Record::decode(record)
                && let Some(event) = filter.admitted(&record)
            {
                match left_out {
                    0 => written = output.write_all(call_log::line(&event, &Identity::Drop, None).as_bytes()),
                    _ => left_out -= 1,
                }
            }
        });
        Ok(found?)
    })?;
    let written = written.and_then(|()| output.flush());
    Ok(unless_nobody_reads(written)?)
}

/// How many calls the journal in `directory` holds that `filter` admits.
fn number(path: &Path, directory: &Directory, filter: &CallFilter) -> Result<usize, LookError> {
    look::undisturbed(|| {
        let known = look::known(&look::checkpoints(path)?);
        let mut number = 0;
        journal::inspect(directory, known, |_, record| {
            let is_admitted = Record::decode(record).is_ok_and(|record| filter.admitted(&record).is_some());
            number += usize::from(is_admitted);
        })?;
        Ok(number)
    })
}
