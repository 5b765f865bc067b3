//! Days of a service's calls are played, with incidents whose beginnings are known: the calls go to the real exporter,
//! its page to a real Prometheus by remote write, and the rule files are evaluated at the times that are played. What
//! fired is compared with what happened. A short form is the test `incidents`, the long one a benchmark:
//! `tests/incidents/run`.
//!
//! | file | what it has |
//! |---|---|
//! | service.rs | a service: how many calls, where and when, how they usually end; the seed chooses it |
//! | happening.rs | the incidents, and what must alert when |
//! | calls.rs | the calls of a minute, and their call events |
//! | exporter.rs | the real exporter, and its page |
//! | storage.rs | the real Prometheus |
//! | rules.rs | the rules, evaluated |
//! | play.rs | one minute after another |
//! | verdict.rs | which alert came in time, and which for nothing |

#![allow(dead_code, unreachable_pub, reason = "the test and the benchmark each take the part that they need")]
#![allow(clippy::expect_used, reason = "who plays has to do it anew when something is missing")]

pub mod calls;
pub mod exporter;
pub mod happening;
pub mod play;
pub mod rules;
pub mod service;
pub mod storage;
pub mod verdict;
