//! The program's own log: on standard error, as text for people or one JSON object a line.

use std::io::{self, IsTerminal};

use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::util::TryInitError;

use crate::config::{Config, LogFormat};
use crate::http::peer::for_people;

/// Starts logging as configured. Panics are logged as well, each as one line.
///
/// # Errors
/// Logging was started before.
pub fn start(config: &Config) -> Result<(), TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let filter = EnvFilter::new(&config.log_level);
    let is_terminal = io::stderr().is_terminal();
    let format = config.log_format.unwrap_or(if is_terminal { LogFormat::Text } else { LogFormat::Json });
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(is_terminal)
        .with_target(false)
        .with_span_events(FmtSpan::NONE);
    match format {
        LogFormat::Text => log.finish().try_init()?,
        LogFormat::Json => log.json().flatten_event(true).finish().try_init()?,
    }
    std::panic::set_hook(Box::new(|panic| error!(panic = for_people(&panic.to_string()), "this is a bug")));
    Ok(())
}
