//! How calls end: the releases of a normal day, with their weights.

use std::ops::Range;

use crate::callback::reason::{DISCONNECT_REASONS, DisconnectReason, Releaser};
use rand::RngExt;
use rand::rngs::StdRng;

/// A kind of release: reason, releaser, Q.850 cause, seconds from creation to the end if the call is never answered,
/// weight.
type Kind = (i64, Releaser, u8, Option<Range<u64>>, u32);

/// What ends calls on a good day.
pub(super) const USUAL: &[Kind] = &[
    (1001, Releaser::Caller, 16, None, 340),
    (1001, Releaser::Callee, 16, None, 300),
    (1003, Releaser::Callee, 16, None, 10),
    (1201, Releaser::Caller, 77, Some(3..30), 130),
    (1203, Releaser::Caller, 18, Some(60..61), 120),
    (1002, Releaser::Callee, 21, Some(2..20), 70),
    (1202, Releaser::Callee, 17, Some(0..2), 25),
    (1204, Releaser::CloudServer, 17, Some(0..2), 3),
    (1205, Releaser::CloudServer, 17, Some(0..2), 2),
];

/// What ends calls abnormally, a little of which there always is.
pub(super) const ABNORMAL: &[Kind] = &[
    (1301, Releaser::Caller, 16, None, 30),
    (1301, Releaser::Callee, 16, None, 25),
    (1308, Releaser::Caller, 16, None, 10),
    (1309, Releaser::Callee, 16, None, 12),
    (1109, Releaser::Caller, 127, Some(1..5), 4),
    (1109, Releaser::CloudServer, 127, Some(0..2), 2),
    (1112, Releaser::Callee, 16, None, 3),
    (1302, Releaser::CloudServer, 127, Some(0..3), 6),
    (1303, Releaser::CloudServer, 127, Some(0..1), 3),
    (1305, Releaser::CloudServer, 127, Some(0..2), 2),
    (1509, Releaser::Caller, 127, Some(0..10), 5),
];

/// How a call ends.
#[derive(Debug, Clone)]
pub(super) struct Release {
    pub(super) reason: &'static DisconnectReason,
    pub(super) releaser: Releaser,
    /// The Q.850 cause.
    pub(super) terminate: u8,
    /// Seconds from creation to the end of a call that is never answered.
    pub(super) seconds_to_end: Option<Range<u64>>,
}

impl Release {
    /// One of these kinds, by weight.
    pub(super) fn pick(random: &mut StdRng, kinds: &[Kind]) -> Release {
        let total: u32 = kinds.iter().map(|kind| kind.4).sum();
        let mut draw = random.random_range(0..total);
        let mut picked = &kinds[0];
        for kind in kinds {
            picked = kind;
            if draw < kind.4 {
                break;
            }
            draw -= kind.4;
        }
        let (code, releaser, terminate, seconds_to_end, _) = picked.clone();
        let reason = DisconnectReason::from_code(code).unwrap_or(&DISCONNECT_REASONS[0]);
        Release { reason, releaser, terminate, seconds_to_end }
    }

    /// A call that fails before it is answered, with this reason, by the first who can send it.
    pub(super) fn of_incident(reason: &'static DisconnectReason) -> Release {
        let releaser = reason.sources.first().copied().unwrap_or(Releaser::CloudServer);
        Release { reason, releaser, terminate: 127, seconds_to_end: Some(0..3) }
    }

    /// A detailed release code: 1 for the normal end, as in the documented sample, otherwise one for each reason.
    pub(super) fn rel_code(&self) -> i64 {
        if self.reason.code == 1001 { 1 } else { self.reason.code - 1000 }
    }
}

/// The code of a releaser.
pub(super) fn releaser_code(releaser: Releaser) -> i64 {
    Releaser::TABLE.iter().find(|(_, known)| *known == releaser).map_or(0, |(code, _)| *code)
}
