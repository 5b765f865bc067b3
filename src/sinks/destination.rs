//! Whether a destination of OTLP is configured rightly, as its answers say: a latch for show, a metric, and a line in the log
//! when it changes.

use std::time::{Duration, Instant};

use metrics::{Gauge, gauge};
use tracing::{error, info};

use crate::http::pace::{LeftOut, Repeats};
use crate::metrics::catalog;
use crate::state::readiness::Latch;

/// The names of the latches.
pub const OTLP_METRICS: &str = "otlp_metrics";
/// See [`OTLP_METRICS`].
pub const OTLP_TRACES: &str = "otlp_traces";

/// After this time the same is said again.
const AGAIN: Duration = Duration::from_secs(3_600);

/// Whether the destination of a signal is configured rightly.
#[derive(Debug)]
pub struct DestinationWatch {
    signal: &'static str,
    latch: Latch,
    misconfigured: Gauge,
    is_wrong: bool,
    said: Repeats,
}

impl DestinationWatch {
    /// A destination of which nothing bad is known yet, for this signal.
    pub fn new(signal: &'static str, latch: Latch) -> DestinationWatch {
        let misconfigured = gauge!(catalog::EXPORTER_MISCONFIGURED.name, "signal" => signal);
        misconfigured.set(0.0);
        latch.open();
        DestinationWatch { signal, latch, misconfigured, is_wrong: false, said: Repeats::new(AGAIN) }
    }

    /// Notes an answer that says that it is configured wrongly. It is said once, and again if it is for another reason or after a
    /// long time.
    pub fn note_wrong(&mut self, reason: &str) {
        if let Some(LeftOut { times, .. }) = self.said.note(reason, 0, Instant::now()) {
            error!(
                signal = self.signal,
                %reason,
                left_out = times,
                "the OTLP destination seems to be configured wrongly; nothing is given up for it, and it is tried once a minute"
            );
        }
        self.set(true);
    }

    /// Notes an answer that says that it is not.
    pub fn note_right(&mut self) {
        if self.is_wrong {
            info!(signal = self.signal, "the OTLP destination is configured rightly");
            self.said = Repeats::new(AGAIN);
        }
        self.set(false);
    }

    fn set(&mut self, is_wrong: bool) {
        self.is_wrong = is_wrong;
        self.misconfigured.set(f64::from(u8::from(is_wrong)));
        if is_wrong { self.latch.close() } else { self.latch.open() }
    }
}
