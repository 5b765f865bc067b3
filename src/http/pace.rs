//! The pace of log lines that peers bring about.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Lets a log line through at most once a minute, so that a stream of bad requests does not become a stream of logs.
#[derive(Debug, Default)]
pub struct LogPace {
    /// The minute of the last line, since the Unix epoch.
    last: AtomicU64,
}

impl LogPace {
    /// Whether a line is due now; if so, the next one is due in another minute.
    pub fn is_due(&self) -> bool {
        let minute =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 60;
        self.last.swap(minute, Ordering::Relaxed) != minute
    }
}
