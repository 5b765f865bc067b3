//! Whether a destination of OTLP is configured rightly, as its answers say: a latch for show, a metric, and a line in the log
//! when it changes.

use std::time::Duration;

use metrics::{Gauge, gauge};
use tracing::{error, info};

use crate::config::otlp::Signal;
use crate::http::pace::{LeftOut, Pace};
use crate::metrics::catalog;
use crate::state::readiness::Latch;

/// The names of the latches.
pub const OTLP_METRICS: &str = latch_of(Signal::Metrics);
/// See [`OTLP_METRICS`].
pub const OTLP_TRACES: &str = latch_of(Signal::Traces);
/// See [`OTLP_METRICS`].
pub const OTLP_LOGS: &str = latch_of(Signal::Logs);

/// The name of the latch of a signal.
pub const fn latch_of(signal: Signal) -> &'static str {
    match signal {
        Signal::Metrics => "otlp_metrics",
        Signal::Traces => "otlp_traces",
        Signal::Logs => "otlp_logs",
    }
}

/// After this time the same is said again.
const AGAIN: Duration = Duration::from_secs(3_600);

/// Whether the destination of a signal is configured rightly.
#[derive(Debug)]
pub struct DestinationWatch {
    signal: &'static str,
    latch: Latch,
    misconfigured: Gauge,
    is_wrong: bool,
    said: Pace,
}

impl DestinationWatch {
    /// A destination for this signal, and what is wrong with it as far as is known yet.
    pub fn new(signal: &'static str, latch: Latch, trouble: Option<String>) -> DestinationWatch {
        let misconfigured = gauge!(catalog::EXPORTER_MISCONFIGURED.name, "signal" => signal);
        let said = Pace::new(AGAIN);
        let mut destination = DestinationWatch { signal, latch, misconfigured, is_wrong: false, said };
        match trouble {
            Some(reason) => destination.note_wrong(&reason),
            None => destination.set(None),
        }
        destination
    }

    /// Shows that a signal was switched on but has no usable destination. The log names the variable that is wrong.
    pub fn show_none(signal: &'static str, latch: &Latch) {
        gauge!(catalog::EXPORTER_MISCONFIGURED.name, "signal" => signal).set(1.0);
        latch.close(&"no destination can be made of what is configured");
    }

    /// Notes an answer that says that it is configured wrongly. It is said once, and again if it is for another reason
    /// or after a long time.
    pub fn note_wrong(&mut self, reason: &str) {
        if let Some(LeftOut { times, .. }) = self.said.note(reason, 0) {
            error!(
                signal = self.signal,
                %reason,
                left_out = times,
                "the OTLP destination seems to be configured wrongly; nothing is given up for it, and it is tried once a minute"
            );
        }
        self.set(Some(reason));
    }

    /// Notes an answer that says that it is not.
    pub fn note_right(&mut self) {
        if self.is_wrong {
            info!(signal = self.signal, "the OTLP destination is configured rightly");
            self.said.forget();
        }
        self.set(None);
    }

    fn set(&mut self, wrong: Option<&str>) {
        self.is_wrong = wrong.is_some();
        self.misconfigured.set(f64::from(u8::from(self.is_wrong)));
        match wrong {
            Some(reason) => self.latch.close(&reason),
            None => self.latch.open(),
        }
    }
}
