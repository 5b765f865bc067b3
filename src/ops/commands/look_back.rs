//! `planet-call-exporter why` and `report`: a look [back](crate::history) at the calls of an exporter on this host, or
//! of a state directory. They read only, so they may be used while an exporter runs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use thiserror::Error;

use super::admin_port::{self, AskError};
use super::look::{self, LookError};
use crate::config::AdminPort;
use crate::config::call_filter::ReportFilter;
use crate::history::Past;
use crate::history::report::report as report_of;
use crate::history::why::why as why_of;
use crate::http::shown;
use crate::journal;
use crate::journal::storage::Directory;

/// How long an exporter may take for its answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose calls are looked at.
#[derive(Debug)]
pub enum Whose<'a> {
    /// Those of an exporter on this host.
    Exporter(&'a AdminPort),
    /// Those of a state directory.
    Directory(&'a Path),
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum LookBackError {
    /// The exporter gives none.
    #[error("{0}; with the path of a state directory, no exporter is asked")]
    Asked(#[from] AskError),
    /// The state directory cannot be read.
    #[error(transparent)]
    Look(#[from] LookError),
}

/// What the failing calls of the last minutes have in common, for people or as JSON.
///
/// # Errors
/// The exporter does not answer, or the state directory cannot be read.
pub async fn why(whose: &Whose<'_>, minutes: u64, is_json: bool) -> Result<String, LookBackError> {
    match whose {
        Whose::Exporter(port) => {
            let path = if is_json { "/why.json" } else { "/why" };
            let answer = admin_port::get(port, &format!("{path}?minutes={minutes}"), PATIENCE).await?;
            // Several may run on this host.
            Ok(if is_json { answer } else { format!("The exporter on {}:\n\n{answer}", port.listen) })
        }
        Whose::Directory(path) => {
            let why = why_of(&StoredCalls::at(path)?, SystemTime::now(), minutes)?;
            Ok(if is_json { shown::to_json(&why) + "\n" } else { why.to_string() })
        }
    }
}

/// What LINE Planet's support needs to know of the calls that failed from `since` until `until`, or now.
///
/// # Errors
/// The exporter does not answer, or the state directory cannot be read.
pub async fn report(
    whose: &Whose<'_>,
    since: SystemTime,
    until: Option<SystemTime>,
    filter: ReportFilter,
) -> Result<String, LookBackError> {
    let until = until.unwrap_or_else(SystemTime::now);
    match whose {
        Whose::Exporter(port) => {
            let [since, until] = [since, until].map(humantime::format_rfc3339_millis);
            let ReportFilter { reason, idc } = &filter;
            let parts = [("reason", reason), ("idc", idc)].into_iter();
            let parts = parts.filter_map(|(name, value)| {
                Some(format!("&{name}={}", utf8_percent_encode(value.as_deref()?, NON_ALPHANUMERIC)))
            });
            let path = format!("/report?since={since}&until={until}{}", parts.collect::<String>());
            Ok(admin_port::get(port, &path, PATIENCE).await?)
        }
        Whose::Directory(path) => Ok(report_of(&StoredCalls::at(path)?, since, until, &filter)?.to_string()),
    }
}

/// The calls in a state directory.
struct StoredCalls<'a> {
    path: &'a Path,
    directory: Directory,
    /// The sequence number behind the last record.
    end: u64,
}

impl StoredCalls<'_> {
    fn at(path: &Path) -> Result<StoredCalls<'_>, LookError> {
        let mut calls = StoredCalls { path, directory: look::existing(path)?, end: 0 };
        calls.end = look::undisturbed(|| calls.inspect(|_, _| {}))?;
        Ok(calls)
    }

    /// Hands every record to `visit`, and answers the sequence number behind the last one.
    fn inspect(&self, visit: impl FnMut(u64, &[u8])) -> Result<u64, LookError> {
        let known = look::known(&look::checkpoints(self.path)?);
        Ok(journal::inspect(&self.directory, known, visit)?.end)
    }
}

impl Past for StoredCalls<'_> {
    type Error = LookError;

    fn gather<T>(
        &self,
        _: SystemTime,
        most: u64,
        begin: impl Fn() -> T,
        mut take: impl FnMut(&mut T, u64, &[u8]),
    ) -> Result<T, LookError> {
        let first = self.end.saturating_sub(most);
        look::undisturbed(|| {
            let mut gathered = begin();
            self.inspect(|sequence, record| {
                if sequence >= first {
                    take(&mut gathered, sequence, record);
                }
            })?;
            Ok(gathered)
        })
    }
}
