//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use planet_call_exporter::config::callback_url::CallbackUrl;

use crate::incident::Incident;

/// Sends call events of LINE Planet at a rate, with a believable mix, and says exactly what was sent and acknowledged. The same
/// seed makes the same calls.
#[derive(Debug, Clone, Parser)]
#[command(name = "call-simulator", version)]
pub(crate) struct Arguments {
    /// Where call events go.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:20200/call_event")]
    pub(crate) target: CallbackUrl,

    /// Calls a second; 0 is as fast as possible.
    #[arg(long, value_name = "NUMBER", default_value_t = 50.0, value_parser = rate)]
    pub(crate) rate: f64,

    /// How many calls to send [default: as many as fit into --for].
    #[arg(long, value_name = "NUMBER", conflicts_with = "duration")]
    pub(crate) calls: Option<u64>,

    /// For how long to send [default: 1m].
    #[arg(id = "duration", long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,

    /// Keep-alive connections.
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,

    /// The seed from which the calls are made, to send those of an earlier run again [default: a new one each time].
    #[arg(long, value_name = "NUMBER", default_value_t = u64::from(rand::random::<u32>()), hide_default_value = true)]
    pub(crate) seed: u64,

    /// IDCs with their weights.
    #[arg(long, value_name = "IDC:WEIGHT,...", value_delimiter = ',', default_value = "KR:60,JP:30,TW:10",
          value_parser = weighted_idc)]
    pub(crate) idcs: Vec<(String, u32)>,

    /// Share of video calls.
    #[arg(long, value_name = "0..1", default_value_t = 0.4, value_parser = share)]
    pub(crate) video_share: f64,

    /// Share of calls that end abnormally on a normal day.
    #[arg(long, value_name = "0..1", default_value_t = 0.02, value_parser = share)]
    pub(crate) abnormal_share: f64,

    /// Share of call events that are sent a second time.
    #[arg(long, value_name = "0..1", default_value_t = 0.01, value_parser = share)]
    pub(crate) repeat_share: f64,

    /// Share of call events that are odd: in milliseconds, with unknown codes, of the older generation, and so on.
    #[arg(long, value_name = "0..1", default_value_t = 0.01, value_parser = share)]
    pub(crate) odd_share: f64,

    /// An incident, from and to in time since the start: calls of the IDC fail with the reason. May be repeated. The
    /// share of the calls that fail may follow [default: 1].
    #[arg(long, value_name = "IDC:REASON:FROM:TO[:SHARE]")]
    pub(crate) incident: Vec<Incident>,

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
        if self.calls.is_some() || self.rate == 0.0 {
            return self.calls;
        }
        Some((self.run_time().as_secs_f64() * self.rate).ceil() as u64)
    }

    /// When the last call is due, since the start, if that is known.
    pub(crate) fn last_call_at(&self) -> Option<Duration> {
        match self.rate {
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

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share @ 0.0..=1.0) => Ok(share),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate @ 0.0..=1_000_000.0) => Ok(rate),
        _ => Err("expected a number of calls a second from 0 to 1000000".to_owned()),
    }
}

fn weighted_idc(text: &str) -> Result<(String, u32), String> {
    let parts = text.split_once(':').and_then(|(idc, weight)| Some((idc.to_owned(), weight.parse().ok()?)));
    parts.filter(|(_, weight)| *weight > 0).ok_or("expected an IDC and its weight, such as KR:60".to_owned())
}
