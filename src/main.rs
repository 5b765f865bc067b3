//! planet-call-exporter: parses the command line, runs, and answers with an exit code.

use std::error::Error;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use planet_call_exporter::app;
use planet_call_exporter::config::call_filter::{CallFilter, ReportFilter};
use planet_call_exporter::config::callback_url::CallbackUrl;
use planet_call_exporter::config::canary_url::CanaryUrl;
use planet_call_exporter::config::environment::{self, Environment};
use planet_call_exporter::config::otlp::{Flags, OtlpSettings};
use planet_call_exporter::config::remark::Remark;
use planet_call_exporter::config::{AdminPort, Command, CommandLine, Config, DemoOptions};
use planet_call_exporter::demo::Demonstration;
use planet_call_exporter::http::shown;
use planet_call_exporter::ops::commands::check::Plan;
use planet_call_exporter::ops::commands::look_back::{self, Whose};
use planet_call_exporter::ops::{commands, logging, signals};

fn main() -> ExitCode {
    let CommandLine { config, command } = CommandLine::read().unwrap_or_else(|error| error.exit());
    let outcome = match command {
        Some(Command::State { directory, calls: true, filter, limit, .. }) => {
            show_calls(&directory, &filter, limit)
        }
        Some(Command::State { directory, verify, .. }) => show_state(&directory, verify),
        Some(Command::Why { directory, minutes, json, admin_port }) => {
            why(&whose(directory.as_deref(), &admin_port), minutes, json)
        }
        Some(Command::Report { directory, since, until, filter, admin_port }) => {
            report(&whose(directory.as_deref(), &admin_port), since, until, filter)
        }
        Some(Command::Replay { file, to }) => replay(&file, &to),
        Some(Command::Check { config, connect }) => {
            return check(*config, connect).unwrap_or_else(|error| fail(&*error));
        }
        Some(Command::Drain { admin_port, wait }) => drain(&admin_port, wait),
        Some(Command::Wait { admin_port, timeout }) => wait(&admin_port, timeout),
        Some(Command::Probe { admin_port, path }) => probe(&admin_port, &path),
        Some(Command::Canary { url, secret_file }) => canary(url, secret_file.as_deref()),
        Some(Command::Demo { options }) => return demo(&options).unwrap_or_else(|error| fail(&*error)),
        Some(Command::Completions { shell }) => print(&commands::manual::completions(shell)),
        Some(Command::Man { command }) => man(command.as_deref()),
        None => return run(config).unwrap_or_else(|error| fail(&*error)),
    };
    outcome.map_or_else(|error| fail(&*error), |()| ExitCode::SUCCESS)
}

fn show_state(directory: &Path, verify: bool) -> Result<(), Box<dyn Error>> {
    // Written when all of it is known, so that whether it is sound does not depend on who reads.
    let mut shown = Vec::new();
    let is_sound = commands::state::show(directory, &mut shown)?;
    print(&shown)?;
    if is_sound || !verify { Ok(()) } else { Err("the state directory is damaged".into()) }
}

fn show_calls(directory: &Path, filter: &CallFilter, latest: Option<usize>) -> Result<(), Box<dyn Error>> {
    let mut output = BufWriter::new(std::io::stdout().lock());
    Ok(commands::calls::show(directory, filter, latest, &mut output)?)
}

fn whose<'a>(directory: Option<&'a Path>, port: &'a AdminPort) -> Whose<'a> {
    directory.map_or(Whose::Exporter(port), Whose::Directory)
}

fn why(whose: &Whose<'_>, minutes: u64, json: bool) -> Result<(), Box<dyn Error>> {
    print(finish(look_back::why(whose, minutes, json))??.as_bytes())
}

fn report(
    whose: &Whose<'_>,
    since: SystemTime,
    until: Option<SystemTime>,
    filter: ReportFilter,
) -> Result<(), Box<dyn Error>> {
    print(finish(look_back::report(whose, since, until, filter))??.as_bytes())
}

fn replay(file: &Path, to: &CallbackUrl) -> Result<(), Box<dyn Error>> {
    let replayed = finish(commands::replay::replay(file, to))??;
    print(format!("{replayed}\n").as_bytes())?;
    match replayed.refused {
        0 => Ok(()),
        _ => Err("not every request was taken".into()),
    }
}

fn drain(port: &AdminPort, wait: Duration) -> Result<(), Box<dyn Error>> {
    Ok(finish(commands::admin_port::drain(port, wait))??)
}

fn wait(port: &AdminPort, patience: Duration) -> Result<(), Box<dyn Error>> {
    Ok(finish(commands::admin_port::wait(port, patience))??)
}

fn probe(port: &AdminPort, path: &str) -> Result<(), Box<dyn Error>> {
    print(finish(commands::admin_port::probe(port, path))??.as_bytes())
}

fn canary(url: CanaryUrl, secret_file: Option<&Path>) -> Result<(), Box<dyn Error>> {
    print(finish(commands::canary::send(url, secret_file))??.as_bytes())
}

fn man(of: Option<&str>) -> Result<(), Box<dyn Error>> {
    print(&commands::manual::man(of)?)
}

/// What a command comes to, on a runtime of its own.
fn finish<T>(command: impl Future<Output = T>) -> std::io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command))
}

fn print(text: &[u8]) -> Result<(), Box<dyn Error>> {
    Ok(commands::print(text)?)
}

fn check(config: Config, connect: bool) -> Result<ExitCode, Box<dyn Error>> {
    let (otlp, remarks) = variables(&config);
    let plan = Plan { config, otlp, remarks };
    let mut shown = Vec::new();
    let is_well = finish(commands::check::check(&plan, connect, &mut shown))??;
    print(&shown)?;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the variables of OpenTelemetry say, and what is to be said of all variables.
fn variables(config: &Config) -> (OtlpSettings, Vec<Remark>) {
    let environment = Environment::of_process();
    let otlp = OtlpSettings::read(&environment, Flags::of(config));
    let remarks =
        environment::unknown(&environment).into_iter().chain(otlp.remarks.iter().cloned()).collect();
    (otlp, remarks)
}

fn run(config: Config) -> Result<ExitCode, Box<dyn Error>> {
    let (otlp, remarks) = variables(&config);
    run_with(config, otlp, &remarks, None)
}

fn demo(options: &DemoOptions) -> Result<ExitCode, Box<dyn Error>> {
    let demonstration = Demonstration::new(options.seed, SystemTime::now())?;
    let (config, otlp) = demonstration.settings(options)?;
    run_with(config, otlp, &[], Some(demonstration))
}

/// Runs the exporter until it is told to end, for a demonstration if there is one.
fn run_with(
    config: Config,
    otlp: OtlpSettings,
    remarks: &[Remark],
    demonstration: Option<Demonstration>,
) -> Result<ExitCode, Box<dyn Error>> {
    let log = logging::start(&config, otlp.log_level)?;
    remarks.iter().for_each(Remark::log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.worker_threads())
        .enable_all()
        .build()?;
    let given = config.given.clone();
    let ended = runtime.block_on(async {
        let (stop, hangups) = (signals::stop(log.clone())?, signals::Hangups::of_process()?);
        match demonstration {
            Some(demonstration) => {
                // Whoever closes its terminal is done with it.
                let mut closed = signals::Hangups::of_process()?;
                let stop = async {
                    tokio::select! {
                        () = stop => {}
                        () = closed.next() => {}
                    }
                };
                Ok(demonstration.run(config, otlp, stop, hangups).await?)
            }
            None => {
                let ended = app::run(config, otlp, stop, hangups, |_| {}).await;
                ended.map_err(|error| Box::<dyn Error>::from(error.explain(&given)))
            }
        }
    });
    // A write to a standard output that nobody takes from would otherwise hold up the end.
    runtime.shutdown_background();
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With the other lines, since one that nobody takes must not hold up the end either.
            let _ = (&log).write_all(said(&*error).as_bytes());
            ExitCode::FAILURE
        }
    };
    log.flush(logging::LAST_LINES);
    Ok(code)
}

fn said(error: &dyn Error) -> String {
    let error = error.to_string();
    format!("planet-call-exporter: {}\n", shown::escaped(&error, |character| character == '\n'))
}

fn fail(error: &dyn Error) -> ExitCode {
    // Nobody is left to tell if standard error is gone.
    let _ = std::io::stderr().write_all(said(error).as_bytes());
    ExitCode::FAILURE
}
