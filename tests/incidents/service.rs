//! A service that is played: how many calls it has, where, when, and how they usually end. The seed chooses all of it, so that
//! rules are not made for one service.

use std::f64::consts::TAU;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal, Normal};

/// Minutes of a day.
pub const DAY: usize = 24 * 60;

/// How large a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 200 calls a day.
    Small,
    /// 1 to 20 calls a second.
    Medium,
    /// 200 calls a second.
    Large,
}

impl Size {
    pub const ALL: [Size; 3] = [Size::Small, Size::Medium, Size::Large];

    pub fn as_str(self) -> &'static str {
        match self {
            Size::Small => "small",
            Size::Medium => "medium",
            Size::Large => "large",
        }
    }

    /// Calls a minute, on average.
    fn calls_per_minute(self, chance: &mut SmallRng) -> f64 {
        match self {
            Size::Small => 200.0 / DAY as f64,
            Size::Medium => 60.0 * 20_f64.powf(chance.random_range(0.0..0.8)),
            Size::Large => 60.0 * 200.0,
        }
    }
}

/// A way in which calls end: the reason, who released them, and whether they had been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    pub disconnect_reason: u16,
    pub releaser: u8,
    pub terminate: u8,
    pub is_answered: bool,
    pub is_abnormal: bool,
}

const fn ending(disconnect_reason: u16, releaser: u8, terminate: u8, is_abnormal: bool) -> Ending {
    Ending { disconnect_reason, releaser, terminate, is_answered: terminate == 16, is_abnormal }
}

pub const NORMAL: Ending = ending(1001, 2, 16, false);
pub const NO_ANSWER: Ending = ending(1203, 2, 18, false);
pub const NETWORK_UNSTABLE: Ending = ending(1301, 4, 16, true);
pub const INTERNAL_ERROR: Ending = ending(1109, 2, 127, true);
pub const PUSH_ERROR: Ending = ending(1302, 4, 127, true);
pub const SERVER_INTERNAL_ERROR: Ending = ending(1305, 4, 127, true);
pub const ACCESS_TOKEN_ERROR: Ending = ending(1501, 4, 127, true);
/// A code that only a newer SDK sends.
pub const NEW_CODE: Ending = ending(1399, 2, 127, true);

/// How people's calls end, with the least and the greatest share of calls that end so.
const USUAL: [(Ending, f64, f64); 4] = [
    (NO_ANSWER, 0.12, 0.35),
    (ending(1002, 1, 21, false), 0.03, 0.1),
    (ending(1201, 2, 77, false), 0.05, 0.2),
    (ending(1202, 1, 17, false), 0.01, 0.05),
];

/// The same of calls that end abnormally on any day.
const USUAL_ABNORMAL: [(Ending, f64, f64); 6] = [
    (NETWORK_UNSTABLE, 0.001, 0.006),
    (ending(1308, 1, 16, true), 0.0, 0.002),
    (ending(1309, 1, 16, true), 0.0, 0.003),
    (INTERNAL_ERROR, 0.0005, 0.003),
    (ending(1504, 4, 127, true), 0.0, 0.001),
    (ending(1110, 2, 127, true), 0.0, 0.001),
];

/// IDCs in the order of their share.
const IDCS: [&str; 6] = ["KR", "JP", "TW", "TH", "SG", "US"];

/// How long calls ring or last is one of as many values as these, of like likelihood.
pub const SETUP_TIMES: usize = 6;
pub const DURATIONS: usize = 8;

/// The medium of calls.
pub const MEDIA: [&str; 2] = ["A", "V"];

/// How one service is.
#[derive(Debug, Clone)]
pub struct Service {
    calls_per_minute: f64,
    /// The IDCs and their shares.
    pub idcs: Vec<(&'static str, f64)>,
    /// The shares of audio and video.
    pub media: [f64; 2],
    /// How calls end, and the shares of it.
    pub endings: Vec<(Ending, f64)>,
    /// Seconds.
    pub setup_times: [u32; SETUP_TIMES],
    pub durations: [u32; DURATIONS],
    /// The share of its duration for which a call is billed.
    pub billed: f64,
    quiet_hour: f64,
    night: f64,
    weekend: f64,
    unrest: f64,
    /// How likely somebody whose call fails calls again, and fails again.
    pub retries: f64,
}

impl Service {
    /// The service of a seed.
    pub fn new(size: Size, seed: u64) -> Service {
        let chance = &mut SmallRng::seed_from_u64(seed.wrapping_mul(3) + size as u64);
        let calls_per_minute = size.calls_per_minute(chance);
        let count = if size == Size::Small { chance.random_range(2..=3) } else { chance.random_range(3..=6) };
        let weights: Vec<f64> =
            (0..count).map(|place| chance.random_range(0.3..0.6_f64).powi(place)).collect();
        let all: f64 = weights.iter().sum();
        let idcs = IDCS.into_iter().zip(weights.iter().map(|weight| weight / all)).collect();
        let video = chance.random_range(0.15..0.5);
        let mut endings: Vec<_> = USUAL
            .iter()
            .chain(&USUAL_ABNORMAL)
            .map(|(ending, least, greatest)| (*ending, chance.random_range(*least..*greatest)))
            .collect();
        let left = 1.0 - endings.iter().map(|(_, share)| share).sum::<f64>();
        endings.push((NORMAL, left));
        let setup_time =
            LogNormal::new(chance.random_range(2.5_f64..7.0).ln(), chance.random_range(0.4..0.8));
        let duration = LogNormal::new(chance.random_range(50_f64..240.0).ln(), chance.random_range(0.9..1.5));
        Service {
            calls_per_minute,
            idcs,
            media: [1.0 - video, video],
            endings,
            setup_times: quantiles(setup_time.expect("a finite spread"), chance),
            durations: quantiles(duration.expect("a finite spread"), chance),
            billed: chance.random_range(0.85..1.0),
            quiet_hour: chance.random_range(2.0..6.0),
            night: chance.random_range(0.75..0.97),
            weekend: chance.random_range(0.6..1.2),
            unrest: chance.random_range(0.004..0.012),
            retries: chance.random_range(0.0..0.25),
        }
    }

    /// How much of the average comes at this minute, from the day, the night, the weekend and a mood that wanders.
    fn activity(&self, minute: usize, mood: f64) -> f64 {
        let hour = minute as f64 / 60.0 % 24.0;
        let day = 1.0 - self.night * ((hour - self.quiet_hour) / 24.0 * TAU).cos();
        let week = if minute / DAY % 7 < 5 { 1.0 } else { self.weekend };
        day * week * mood.exp()
    }

    /// The longest pause, in minutes, that there is now and then at the quietest hour.
    pub fn longest_usual_pause(&self) -> f64 {
        // Of a thousand pauses at the quietest hour one is longer.
        7.0 / (self.calls_per_minute * (1.0 - self.night) * self.weekend.min(1.0))
    }
}

/// Values of like likelihood.
fn quantiles<const COUNT: usize>(distribution: LogNormal<f64>, chance: &mut SmallRng) -> [u32; COUNT] {
    let mut drawn: Vec<f64> = distribution.sample_iter(&mut *chance).take(999).collect();
    drawn.sort_by(f64::total_cmp);
    std::array::from_fn(|place| drawn[(2 * place + 1) * 999 / (2 * COUNT)].round().clamp(1.0, 3000.0) as u32)
}

/// The course of a service's traffic.
#[derive(Debug)]
pub struct Traffic {
    chance: SmallRng,
    mood: f64,
}

impl Traffic {
    pub fn new(seed: u64) -> Traffic {
        Traffic { chance: SmallRng::seed_from_u64(seed), mood: 0.0 }
    }

    /// The calls that are to be expected in this minute.
    pub fn expected(&mut self, service: &Service, minute: usize) -> f64 {
        let step = Normal::new(0.0, service.unrest).expect("a finite spread").sample(&mut self.chance);
        self.mood = 0.995 * self.mood + step;
        service.calls_per_minute * service.activity(minute, self.mood)
    }

    /// Chance itself.
    pub fn chance(&mut self) -> &mut SmallRng {
        &mut self.chance
    }
}
