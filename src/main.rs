//! planet-call-exporter: parses the command line, runs, and answers with an exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use planet_call_exporter::config::Config;
use planet_call_exporter::{app, logging, signals};

fn main() -> ExitCode {
    let config = Config::parse();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(std::io::stderr(), "planet-call-exporter: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    logging::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = signals::stop()?;
        app::run(config, stop).await?;
        Ok(())
    })
}
