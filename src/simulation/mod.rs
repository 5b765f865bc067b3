//! Calls like those of a busy service, made from a seed, each with the truth about it: for the demonstration and the
//! call-simulator.
//!
//! The truth is what the scenario meant, not what the parser makes of the query, so that the one can be held against the other.
//! The same seed makes the same calls, whatever the connections and the clock do.

mod incident;
mod mix;
mod odd;
mod releases;
mod truth;

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal, NormalError};

use crate::callback::call_event::MediaType;
pub use incident::{HitsNothing, Incident};
pub use mix::Mix;
use releases::Release;
pub use truth::{Addition, Truth};

/// A call, ready to be sent.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it is due, since the start.
    pub at: Duration,
    /// Its session ID.
    pub sid: String,
    /// The query of its event.
    pub query: String,
    /// Whether it is to be sent a second time once it is acknowledged.
    pub is_repeated: bool,
    /// Which of the incidents hit it.
    pub incident: Option<usize>,
    /// What is true of it.
    pub truth: Truth,
}

/// Makes calls.
#[derive(Debug)]
pub struct Scenario {
    random: StdRng,
    mix: Mix,
    index: u64,
    /// When the first call ends, in Unix seconds.
    base_time: u64,
    talk_seconds: LogNormal<f64>,
    answer_seconds: LogNormal<f64>,
}

impl Scenario {
    /// A scenario whose first call ends at `base_time`, in Unix seconds.
    ///
    /// # Errors
    /// A distribution cannot be made.
    pub fn new(mix: Mix, base_time: u64) -> Result<Scenario, NormalError> {
        Ok(Scenario {
            random: StdRng::seed_from_u64(mix.seed),
            mix,
            index: 0,
            base_time,
            // Half of the conversations are longer than two and a half minutes, half of the answers take longer than 7 s.
            talk_seconds: LogNormal::new(150f64.ln(), 1.1)?,
            answer_seconds: LogNormal::new(7f64.ln(), 0.5)?,
        })
    }

    /// The next call.
    pub fn next_call(&mut self) -> Call {
        let at = if self.mix.rate > 0.0 {
            Duration::from_secs_f64(self.index as f64 / self.mix.rate)
        } else {
            Duration::ZERO
        };
        self.index += 1;
        let idc = self.pick_idc();
        let incident = self.incident(&idc, at);
        let release = self.release(incident);
        let is_video = self.random.random_bool(self.mix.video_share);
        let (setup_seconds, duration_seconds) = self.times(&release);
        let billed_seconds = duration_seconds - duration_seconds.min(self.random.random_range(0..2));
        let media_type = if is_video { MediaType::Video } else { MediaType::Audio };
        let truth = Truth::new(media_type, idc, &release, [setup_seconds, duration_seconds, billed_seconds]);
        let sid = self.sid();
        let parameters = self.parameters(&sid, &truth, &release, at);
        let is_repeated = self.random.random_bool(self.mix.repeat_share);
        let mut call = Call { at, sid, query: String::new(), is_repeated, incident, truth };
        let parameters = match self.random.random_bool(self.mix.odd_share) {
            true => odd::make_odd(&mut self.random, parameters, &mut call.truth),
            false => parameters,
        };
        call.query = encode(&parameters);
        call
    }

    fn pick_idc(&mut self) -> String {
        let total: u32 = self.mix.idcs.iter().map(|(_, weight)| weight).sum();
        let mut draw = self.random.random_range(0..total.max(1));
        for (idc, weight) in &self.mix.idcs {
            if draw < *weight {
                return idc.clone();
            }
            draw -= weight;
        }
        String::new()
    }

    /// Which of the incidents hits a call of this IDC at this time.
    fn incident(&mut self, idc: &str, at: Duration) -> Option<usize> {
        let number = self.mix.incident.iter().position(|incident| incident.covers(idc, at))?;
        self.random.random_bool(self.mix.incident[number].share).then_some(number)
    }

    fn release(&mut self, incident: Option<usize>) -> Release {
        if let Some(number) = incident {
            return Release::of_incident(self.mix.incident[number].reason);
        }
        let kinds = if self.random.random_bool(self.mix.abnormal_share) {
            releases::ABNORMAL
        } else {
            releases::USUAL
        };
        Release::pick(&mut self.random, kinds)
    }

    /// Seconds from creation to answer, or to the end, and seconds of conversation.
    fn times(&mut self, release: &Release) -> (u64, u64) {
        if let Some(seconds) = &release.seconds_to_end {
            return (self.random.random_range(seconds.clone()), 0);
        }
        let answer = self.answer_seconds.sample(&mut self.random).clamp(1.0, 59.0);
        let talk = self.talk_seconds.sample(&mut self.random).clamp(1.0, 4.0 * 3600.0);
        (answer as u64, talk as u64)
    }

    /// A random UUID of version 4.
    fn sid(&mut self) -> String {
        let bits: u128 = self.random.random();
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let hex = format!("{bits:032x}");
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    fn parameters(&mut self, sid: &str, truth: &Truth, release: &Release, at: Duration) -> Parameters {
        let end = self.base_time + at.as_secs();
        let start = if truth.answered { end - truth.duration_seconds } else { end };
        let setup = start - truth.setup_seconds;
        let start = if truth.answered || self.random.random_bool(0.5) { start } else { 0 };
        let (from, to): (u32, u32) =
            (self.random.random_range(1000..10_000), self.random.random_range(1000..10_000));
        let app_svr_data = APP_DATA[self.random.random_range(0..APP_DATA.len())];
        [
            ("sid", sid.to_owned()),
            ("type", if truth.media_type == MediaType::Video { "V" } else { "A" }.to_owned()),
            ("from_user_id", from.to_string()),
            ("from_service_id", "caller-service-id".to_owned()),
            ("to_user_id", to.to_string()),
            ("to_service_id", "callee-service-id".to_owned()),
            ("setup_time", setup.to_string()),
            ("start_time", start.to_string()),
            ("end_time", end.to_string()),
            ("duration", truth.duration_seconds.to_string()),
            ("terminate", truth.terminate.clone()),
            ("srcip", format!("192.0.2.{}", from % 256)),
            ("dstip", format!("198.51.100.{}", to % 256)),
            ("stid", app_svr_data.to_owned()),
            ("rel_code", truth.rel_code.clone()),
            ("rel_code_str", truth.rel_code_str.clone()),
            ("billing_sec", truth.billed_seconds.to_string()),
            ("rc_idc", truth.idc.clone()),
            ("disconnect_reason", release.reason.code.to_string()),
            ("releaser_type", releases::releaser_code(truth.releaser).to_string()),
            ("app_svr_data", app_svr_data.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

/// Names and values of a query, in order.
type Parameters = Vec<(String, String)>;

const APP_DATA: &[&str] = &["appSvrData", "", "order=17&desk=3", "통화 데이터", "通話データ", "ข้อมูลการโทร"];

fn encode(parameters: &Parameters) -> String {
    let pair = |(name, value): &(String, String)| {
        format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC).to_string().replace("%20", "+"))
    };
    parameters.iter().map(pair).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests;
