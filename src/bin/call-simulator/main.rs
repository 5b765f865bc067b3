//! call-simulator: sends call events like those of a busy service, and says exactly what it sent.
//!
//! For demonstrations and tests. The library's [`simulation`](planet_call_exporter::simulation) makes the calls from a
//! seed, [`sender`] sends them at their time over keep-alive connections, and [`report`] adds up what was acknowledged,
//! per label set, so that it can be compared with what an exporter shows.

mod arguments;
mod report;
mod sender;

use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use planet_call_exporter::ops::commands;
use planet_call_exporter::simulation::HitsNothing;

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(std::io::stderr(), "call-simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends everything, prints the report, and returns whether all of it was acknowledged.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let mix = &arguments.mix;
    if let Some(last) = arguments.last_call_at() {
        mix.incident.iter().try_for_each(|incident| incident.check(&mix.idcs, last))?;
    }
    // Before anything is sent, so that a wrong name costs no run.
    let sids = arguments.sids.as_deref().map(SidsFile::create).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(sender::send_all(arguments))?;
    if let Some(sids) = sids {
        sids.write(&report.acknowledged_sids())?;
    }
    let text = match arguments.json {
        true => format!("{}\n", serde_json::to_string_pretty(&report)?),
        false => report.summary(),
    };
    commands::print(text.as_bytes())?;
    match report.incident_without_calls() {
        Some(incident) => Err(HitsNothing::ByChance(incident.to_string()).into()),
        None => Ok(report.is_complete()),
    }
}

/// The file that gets session IDs.
struct SidsFile<'a> {
    path: &'a Path,
    file: File,
}

/// The file that gets session IDs cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the file of --sids, {path}: {source}", path = path.display())]
struct NoSidsFile {
    path: PathBuf,
    source: io::Error,
}

impl SidsFile<'_> {
    fn create(path: &Path) -> Result<SidsFile<'_>, NoSidsFile> {
        let file = File::create(path).map_err(|source| NoSidsFile { path: path.to_owned(), source })?;
        Ok(SidsFile { path, file })
    }

    fn write(mut self, sids: &str) -> Result<(), NoSidsFile> {
        let written = self.file.write_all(sids.as_bytes());
        written.map_err(|source| NoSidsFile { path: self.path.to_owned(), source })
    }
}
