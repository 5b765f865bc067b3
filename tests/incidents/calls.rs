//! The calls of a minute: how many of each kind, and the call event of each kind.

use std::collections::{BTreeMap, HashSet};

use rand::RngExt;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Poisson};

use super::happening::{Effect, Incident};
use super::service::{DURATIONS, Ending, MEDIA, NEW_CODE, SETUP_TIMES, Service};

/// What makes calls count the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    pub medium: u8,
    pub idc: u8,
    pub disconnect_reason: u16,
    pub releaser: u8,
    pub terminate: u8,
    /// Seconds.
    pub setup_time: u32,
    /// Seconds; 0 if it was not answered.
    pub duration: u32,
    /// Seconds.
    pub billed: u32,
}

/// What is unusual at some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Circumstances {
    /// The place in the list of incidents.
    pub incident: Option<usize>,
    /// How strong it is, in tenths.
    pub strength: u8,
    /// The IDC from which calls have been led away.
    pub drained: Option<usize>,
    /// Calls end with codes that are new: harmless ones and a few that are none.
    pub has_new_codes: bool,
}

/// A code that is new and harmless: of the range of people's behaviour.
const NEW_HARMLESS_CODE: Ending =
    Ending { disconnect_reason: 1213, releaser: 2, terminate: 77, is_answered: false, is_abnormal: false };

/// The kinds of calls under some circumstances, and how likely each is.
#[derive(Debug)]
pub struct Mix {
    kinds: Vec<(Kind, f64)>,
    choice: WeightedIndex<f64>,
    total: f64,
    /// How calls end after which somebody calls again, and how likely.
    fails: HashSet<u16>,
    retries: f64,
}

impl Mix {
    /// The mix of a service. `of_incident` is what is going on, as the circumstances name it.
    pub fn new(service: &Service, circumstances: Circumstances, of_incident: Option<&Incident>) -> Mix {
        let mut kinds: BTreeMap<Kind, f64> = BTreeMap::new();
        for (idc, (_, idc_share)) in service.idcs.iter().enumerate() {
            for (medium, medium_share) in service.media.iter().enumerate() {
                let share = match circumstances.drained {
                    Some(drained) if drained == idc => 0.0,
                    _ => idc_share * medium_share,
                };
                let incident = of_incident.filter(|incident| incident.hits(idc, medium));
                for (ending, ending_share) in endings(service, circumstances, incident) {
                    add(&mut kinds, service, (idc, medium), ending, share * ending_share, incident);
                }
            }
        }
        let kinds: Vec<_> = kinds.into_iter().filter(|(_, share)| *share > 0.0).collect();
        let shares: Vec<f64> = kinds.iter().map(|(_, share)| *share).collect();
        let choice = WeightedIndex::new(&shares).expect("shares");
        let fails = service.endings.iter().filter(|(ending, _)| ending.is_abnormal && !ending.is_answered);
        let fails = fails.map(|(ending, _)| ending.disconnect_reason).collect();
        Mix { choice, total: shares.iter().sum(), kinds, fails, retries: service.retries }
    }

    /// The calls of a minute in which so many are to be expected, and none has been led away.
    pub fn draw(&self, expected: f64, chance: &mut SmallRng) -> Vec<(Kind, u32)> {
        let expected = expected * self.total;
        let mut counts = BTreeMap::new();
        match expected < self.kinds.len() as f64 {
            true => {
                for _ in 0..poisson(expected, chance) {
                    *counts.entry(self.kinds[self.choice.sample(chance)].0).or_insert(0) += 1;
                }
            }
            false => {
                for (kind, share) in &self.kinds {
                    let count = poisson(expected * share / self.total, chance);
                    if count > 0 {
                        counts.insert(*kind, count);
                    }
                }
            }
        }
        for (kind, count) in &mut counts {
            if self.fails.contains(&kind.disconnect_reason) {
                let calls = *count;
                *count += (0..calls).map(|_| again(self.retries, chance)).sum::<u32>();
            }
        }
        counts.into_iter().collect()
    }
}

/// How often something comes again that does so with this likelihood.
fn again(likelihood: f64, chance: &mut SmallRng) -> u32 {
    (0..).take_while(|_| chance.random_bool(likelihood)).count() as u32
}

fn poisson(mean: f64, chance: &mut SmallRng) -> u32 {
    match mean > 0.0 {
        true => Poisson::new(mean).expect("a mean").sample(chance) as u32,
        false => 0,
    }
}

/// How calls end that an incident hits, or that none does.
fn endings(
    service: &Service,
    circumstances: Circumstances,
    incident: Option<&Incident>,
) -> Vec<(Ending, f64)> {
    let mut endings = service.endings.clone();
    let mut put = |ending: Ending, share: f64| {
        endings.iter_mut().for_each(|(_, usual)| *usual *= 1.0 - share);
        endings.push((ending, share));
    };
    if circumstances.has_new_codes {
        put(NEW_HARMLESS_CODE, 0.04);
        put(NEW_CODE, 0.001);
    }
    if let Some((share, ending)) = incident.and_then(Incident::ends) {
        put(ending, share * f64::from(circumstances.strength) / 10.0);
    }
    endings
}

fn add(
    kinds: &mut BTreeMap<Kind, f64>,
    service: &Service,
    (idc, medium): (usize, usize),
    ending: Ending,
    share: f64,
    incident: Option<&Incident>,
) {
    let effect = incident.map(|incident| incident.effect);
    let setup_factor = if effect == Some(Effect::Slow) { 3 } else { 1 };
    let billed = match effect {
        Some(Effect::Billed(times)) => times * service.billed,
        _ => service.billed,
    };
    for setup_time in service.setup_times {
        let durations = if ending.is_answered { &service.durations[..] } else { &[0] };
        for duration in durations {
            let duration = if effect == Some(Effect::Short) { (*duration).min(10) } else { *duration };
            let kind = Kind {
                medium: medium as u8,
                idc: idc as u8,
                disconnect_reason: ending.disconnect_reason,
                releaser: ending.releaser,
                terminate: ending.terminate,
                setup_time: setup_time * setup_factor,
                duration,
                billed: (f64::from(duration) * billed).ceil() as u32,
            };
            let parts = SETUP_TIMES * if ending.is_answered { DURATIONS } else { 1 };
            *kinds.entry(kind).or_default() += share / parts as f64;
        }
    }
}

impl Kind {
    /// A call of one that a single caller makes again and again, and that always fails.
    pub fn of_bot(ending: Ending) -> Kind {
        let Ending { disconnect_reason, releaser, terminate, .. } = ending;
        Kind {
            medium: 0,
            idc: 0,
            disconnect_reason,
            releaser,
            terminate,
            setup_time: 1,
            duration: 0,
            billed: 0,
        }
    }

    /// The call event of a call of this kind that ended at `end`, in Unix seconds.
    pub fn query(self, service: &Service, number: u64, caller: u64, end: u64) -> String {
        let Kind { disconnect_reason, releaser, terminate, setup_time, duration, billed, .. } = self;
        let (medium, idc) = (MEDIA[usize::from(self.medium)], service.idcs[usize::from(self.idc)].0);
        let answered = end - u64::from(duration);
        let setup = answered - u64::from(setup_time);
        format!(
            "sid={number:08x}-bdac-436e-9631-0bce2498ce0c&type={medium}&from_user_id=user-{caller}&from_service_id={service_id}\
             &to_user_id=2809&to_service_id=service&setup_time={setup}&start_time={start}&end_time={end}\
             &duration={duration}&terminate={terminate}&srcip=192.0.2.1&dstip=192.0.2.2&rel_code=1&rel_code_str=NORMAL\
             &billing_sec={billed}&rc_idc={idc}&disconnect_reason={disconnect_reason}&releaser_type={releaser}",
            service_id = ["service", "another"][usize::from(self.medium)],
            start = if duration > 0 { answered } else { 0 },
        )
    }
}

/// A number that stands for a caller.
pub fn any_caller(chance: &mut SmallRng) -> u64 {
    chance.random_range(0..50_000)
}
