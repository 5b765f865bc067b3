//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use planet_call_exporter::config::callback_url::CallbackUrl;
use planet_call_exporter::simulation::Mix;

/// Sends call events of LINE Planet at a rate, with a believable mix, and says exactly what was sent and acknowledged. The same
/// seed makes the same calls.
#[derive(Debug, Clone, Parser)]
#[command(name = "call-simulator", version)]
pub(crate) struct Arguments {
    /// Where call events go.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:20200/call_event")]
    pub(crate) target: CallbackUrl,

    /// Which calls.
    #[command(flatten)]
    pub(crate) mix: Mix,

    /// How many calls to send [default: as many as fit into --for].
    #[arg(long, value_name = "NUMBER", conflicts_with = "duration")]
    pub(crate) calls: Option<u64>,

    /// For how long to send [default: 1m].
    #[arg(id = "duration", long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,

    /// Keep-alive connections.
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,

    /// For how long an event that was not acknowledged is sent again.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) retry_for: Option<Duration>,

    /// How long to wait for an answer.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// A file that gets the session ID of every acknowledged call, one a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) sids: Option<PathBuf>,

    /// Print the report as JSON, with every label set of the acknowledged calls, instead of a summary.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Arguments {
    /// How many calls there are to send, if that is bounded by number.
    pub(crate) fn number_of_calls(&self) -> Option<u64> {
        if self.calls.is_some() || self.mix.rate == 0.0 {
            return self.calls;
        }
        Some((self.run_time().as_secs_f64() * self.mix.rate).ceil() as u64)
    }

    /// When the last call is due, since the start, if that is known.
    pub(crate) fn last_call_at(&self) -> Option<Duration> {
        match self.mix.rate {
            0.0 => Some(Duration::ZERO),
            rate => Some(Duration::from_secs_f64(self.number_of_calls()?.saturating_sub(1) as f64 / rate)),
        }
    }

    /// For how long to send where no number of calls is given.
    pub(crate) fn run_time(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(60))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a duration such as 500ms, 10s or 5m".to_owned())
}
