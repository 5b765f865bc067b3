//! Odd call events, as seen in the wild: still calls, whose truth is known.

use crate::callback::call_event::MediaType;
use crate::callback::reason::{FaultDomain, ReleaseCause, Releaser};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{Parameters, Truth};

/// The kinds of oddity.
const KINDS: [fn(&mut StdRng, &mut Parameters, &mut Truth); 9] = [
    in_milliseconds,
    without_dashes,
    in_upper_case,
    with_an_unknown_reason,
    with_an_unknown_parameter,
    with_a_repeated_parameter,
    of_the_older_generation,
    of_another_media_type,
    in_another_order,
];

/// Makes a call event odd in one way, and its truth with it.
pub(super) fn make_odd(random: &mut StdRng, mut parameters: Parameters, truth: &mut Truth) -> Parameters {
    let kind = KINDS[random.random_range(0..KINDS.len())];
    kind(random, &mut parameters, truth);
    parameters
}

fn change(parameters: &mut Parameters, name: &str, change: impl Fn(&str) -> String) {
    for (_, value) in parameters.iter_mut().filter(|(known, _)| known == name) {
        *value = change(value);
    }
}

fn in_milliseconds(_: &mut StdRng, parameters: &mut Parameters, _: &mut Truth) {
    for time in ["setup_time", "start_time", "end_time"] {
        change(
            parameters,
            time,
            |seconds| if seconds == "0" { "0".to_owned() } else { format!("{seconds}000") },
        );
    }
}

fn without_dashes(_: &mut StdRng, parameters: &mut Parameters, _: &mut Truth) {
    change(parameters, "sid", |sid| sid.replace('-', ""));
}

fn in_upper_case(_: &mut StdRng, parameters: &mut Parameters, _: &mut Truth) {
    change(parameters, "sid", str::to_uppercase);
}

fn with_an_unknown_reason(_: &mut StdRng, parameters: &mut Parameters, truth: &mut Truth) {
    change(parameters, "disconnect_reason", |_| "1399".to_owned());
    truth.disconnect_reason = "1399".to_owned();
    truth.abnormal_reason = "UNKNOWN";
    truth.fault_domain = FaultDomain::Unknown;
}

fn with_an_unknown_parameter(_: &mut StdRng, parameters: &mut Parameters, _: &mut Truth) {
    parameters.push(("sdk_version".to_owned(), "7.1".to_owned()));
}

fn with_a_repeated_parameter(_: &mut StdRng, parameters: &mut Parameters, _: &mut Truth) {
    parameters.push(("duration".to_owned(), "99999".to_owned()));
}

fn of_the_older_generation(_: &mut StdRng, parameters: &mut Parameters, truth: &mut Truth) {
    parameters.retain(|(name, _)| name != "disconnect_reason" && name != "releaser_type");
    truth.disconnect_reason = "other".to_owned();
    truth.abnormal_reason = "UNKNOWN";
    truth.releaser = Releaser::Other;
    let cause = truth.terminate.parse().ok().and_then(ReleaseCause::from_code);
    truth.fault_domain = match (truth.rel_code_str.as_str(), cause) {
        ("NORMAL", _) => FaultDomain::None,
        ("CANCEL", _) => FaultDomain::User,
        (_, Some(cause)) if cause.code == 16 && !truth.answered => FaultDomain::Unknown,
        (_, cause) => cause.map_or(FaultDomain::Unknown, |cause| cause.fault_domain),
    };
}

fn of_another_media_type(_: &mut StdRng, parameters: &mut Parameters, truth: &mut Truth) {
    change(parameters, "type", |_| "X".to_owned());
    truth.media_type = MediaType::Other;
}

fn in_another_order(random: &mut StdRng, parameters: &mut Parameters, _: &mut Truth) {
    parameters.shuffle(random);
}
