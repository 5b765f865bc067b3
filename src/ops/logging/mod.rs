//! The program's own log: on standard error, as text for people or one JSON object a line.
//!
//! Whoever logs hands a line over and goes on; a thread writes it (`lines`). So a standard error that nobody takes from, or
//! whose reader has gone, holds up no call, no part and no end of the process.

mod lines;

use std::io::{self, IsTerminal};
use std::time::Duration;

use thiserror::Error;
use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::util::TryInitError;

use crate::config::{Config, LogFormat};
use crate::http::peer::for_people;

use lines::Form;
pub use lines::Log;

/// Why logging cannot be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// Logging was started before.
    #[error(transparent)]
    Again(#[from] TryInitError),
    /// The thread that writes cannot be started.
    #[error("cannot start the thread of the log: {0}")]
    Thread(#[from] io::Error),
}

/// How long the end of the process waits for the last lines to be taken.
pub const LAST_LINES: Duration = Duration::from_secs(1);

/// Starts logging as configured, and at the level `level` if no flag says one. Panics are logged as well, each as one
/// line. The last lines have to be [flushed](Log::flush).
///
/// # Errors
/// Logging was started before, or its thread cannot be started.
pub fn start(config: &Config, level: &str) -> Result<Log, StartError> {
    use tracing_subscriber::util::SubscriberInitExt;

    // As it was read: values of fields are no patterns.
    let filter = EnvFilter::builder().with_regex(false).with_default_directive(LevelFilter::ERROR.into());
    let filter = filter.parse_lossy(config.log_level.as_deref().unwrap_or(level));
    let is_terminal = io::stderr().is_terminal();
    let format = config.log_format.unwrap_or(if is_terminal { LogFormat::Text } else { LogFormat::Json });
    let form = match (format, is_terminal) {
        (LogFormat::Json, _) => Form::Json,
        (LogFormat::Text, true) => Form::Coloured,
        (LogFormat::Text, false) => Form::Text,
    };
    let log = Log::start(io::stderr(), form)?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log.clone())
        .with_ansi(is_terminal)
        .with_target(false)
        .with_span_events(FmtSpan::NONE)
        // It would report them where it could not write.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => subscriber.finish().try_init()?,
        LogFormat::Json => subscriber.json().flatten_event(true).finish().try_init()?,
    }
    let of_panics = log.clone();
    std::panic::set_hook(Box::new(move |panic| {
        error!(panic = for_people(&panic.to_string()), "this is a bug");
        // The process ends with its main thread, and nobody else flushes then.
        if std::thread::current().name() == Some("main") {
            of_panics.flush(LAST_LINES);
        }
    }));
    Ok(log)
}
