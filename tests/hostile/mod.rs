//! Attacks on the real exporter, and honest clients beside them that measure: `tests/hostile/run`.
//!
//! | file | what it has |
//! |---|---|
//! | attacks.rs | the attacks |
//! | requests.rs | what they send |
//! | crowd.rs | hostile clients |
//! | behind.rs | a service behind the exporter that turns bad |
//! | wire.rs | what honest clients speak: plain HTTP or TLS |
//! | honest.rs | clients that send calls, as LINE Planet does, and measure |
//! | vitals.rs | what the exporter takes of the machine, and whether it lives |
//! | trial.rs | one attack, from the start of an exporter to a row of the table |
//! | soak.rs | a long time without an attack |

#![allow(unreachable_pub, reason = "it is a part of one program")]
#![allow(clippy::expect_used, reason = "who attacks has to do it anew when something is missing")]

pub mod attacks;
pub mod behind;
pub mod crowd;
pub mod honest;
pub mod requests;
pub mod soak;
pub mod trial;
pub mod vitals;
pub mod wire;
