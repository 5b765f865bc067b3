//! planet-call-exporter: parses the command line, runs, and answers with an exit code.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use planet_call_exporter::config::Config;
use planet_call_exporter::export::otlp_settings::OtlpSettings;
use planet_call_exporter::{app, logging, signals};

/// The exit code for a wrong flag or variable, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let config = Config::parse();
    let otlp = match OtlpSettings::read(|name| std::env::var(name).ok()) {
        Ok(otlp) => otlp,
        Err(error) => return fail(&error, ExitCode::from(USAGE)),
    };
    match run(config, otlp) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error, ExitCode::FAILURE),
    }
}

fn run(config: Config, otlp: OtlpSettings) -> Result<(), Box<dyn Error>> {
    logging::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let stop = signals::stop()?;
        app::run(config, otlp, stop).await?;
        Ok(())
    });
    // A write to a standard output that nobody takes from would otherwise hold up the end.
    runtime.shutdown_background();
    ended
}

fn fail(error: &dyn Error, code: ExitCode) -> ExitCode {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(std::io::stderr(), "planet-call-exporter: {error}");
    code
}
