//! call-simulator: sends call events like those of a busy service, and says exactly what it sent.
//!
//! For demonstrations and tests. [`scenario`] makes the calls from a seed, [`incident`] spoils some of them, [`sender`]
//! sends them at their time over keep-alive connections, and [`report`] adds up what was acknowledged, per label set, so
//! that it can be compared with what an exporter shows.

mod arguments;
mod incident;
mod report;
mod scenario;
mod sender;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(std::io::stderr(), "call-simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends everything, prints the report, and answers whether all of it was acknowledged.
fn run(arguments: Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(sender::send_all(&arguments))?;
    if let Some(path) = &arguments.sids {
        std::fs::write(path, report.acknowledged_sids())?;
    }
    let mut output = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut output, &report)?;
    writeln!(output)?;
    Ok(report.is_complete())
}
