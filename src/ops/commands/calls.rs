//! `planet-call-exporter state DIR --calls`: shows the calls that the journal of a state directory holds. It reads only, so it
//! may be used while an exporter runs.

use std::io::Write;
use std::path::Path;

use super::look::{self, LookError};
use super::unless_nobody_reads;
use crate::callback::Record;
use crate::config::call_filter::CallFilter;
use crate::journal;
use crate::sinks::call_log;
use crate::sinks::identity::Identity;

/// Writes the calls that the journal of the state directory at `path` holds and `filter` admits to `output`, as the call log has
/// them, without users and addresses. Who reads no further has seen enough.
///
/// # Errors
/// The journal cannot be read, or `output` not be written.
pub fn show(path: &Path, filter: &CallFilter, output: &mut impl Write) -> Result<(), LookError> {
    let directory = look::existing(path)?;
    let mut written = Ok(());
    // The sequence number behind the last record that was seen.
    let mut next = 0;
    look::undisturbed(|| {
        let known = look::known(&look::checkpoints(path)?);
        let found = journal::inspect(&directory, known, |sequence, record| {
            if sequence < next || written.is_err() {
                return;
            }
            next = sequence + 1;
            if let Ok(event) = Record::decode(record).and_then(|record| record.call_event())
                && filter.admits(&event)
            {
                written = output.write_all(call_log::line(&event, &Identity::Drop).as_bytes());
            }
        });
        Ok(found?)
    })?;
    let written = written.and_then(|()| output.flush());
    Ok(unless_nobody_reads(written)?)
}
