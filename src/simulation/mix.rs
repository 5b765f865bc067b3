//! What calls a service has: how many, where, and how they end.

use clap::Args;

use super::Incident;

/// The mix of calls. Its flags are those of the call-simulator.
#[derive(Debug, Clone, Args)]
pub struct Mix {
    /// Calls a second; 0 is as fast as possible.
    #[arg(long, value_name = "NUMBER", default_value_t = 50.0, value_parser = rate)]
    pub rate: f64,

    /// The seed from which the calls are made, to send those of an earlier run again [default: a new one each time].
    #[arg(long, value_name = "NUMBER", default_value_t = u64::from(rand::random::<u32>()), hide_default_value = true)]
    pub seed: u64,

    /// IDCs with their weights.
    #[arg(long, value_name = "IDC:WEIGHT,...", value_delimiter = ',', default_value = "KR:60,JP:30,TW:10",
          value_parser = weighted_idc)]
    pub idcs: Vec<(String, u32)>,

    /// Share of video calls.
    #[arg(long, value_name = "0..1", default_value_t = 0.4, value_parser = share)]
    pub video_share: f64,

    /// Share of calls that end abnormally on a normal day.
    #[arg(long, value_name = "0..1", default_value_t = 0.02, value_parser = share)]
    pub abnormal_share: f64,

    /// Share of call events that are sent a second time.
    #[arg(long, value_name = "0..1", default_value_t = 0.01, value_parser = share)]
    pub repeat_share: f64,

    /// Share of call events that are odd: in milliseconds, with unknown codes, of the older generation, and so on.
    #[arg(long, value_name = "0..1", default_value_t = 0.01, value_parser = share)]
    pub odd_share: f64,

    /// An incident, from and to in time since the start: calls of the IDC fail with the reason. May be repeated. The
    /// share of the calls that fail may follow [default: 1].
    #[arg(long, value_name = "IDC:REASON:FROM:TO[:SHARE]")]
    pub incident: Vec<Incident>,
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
