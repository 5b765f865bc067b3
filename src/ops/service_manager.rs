//! What the service manager of a host without Kubernetes is told, as systemd does with `Type=notify` and `WatchdogSec=`
//! (sd_notify(3)).
//!
//! Without the variables that such a manager sets, nothing is said to anybody.

use sd_notify::NotifyState;
use tracing::debug;

/// Something that it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Call events can be taken.
    Ready,
    /// The exporter gets on. Who asks for a watchdog restarts one that does not say so.
    Alive,
    /// It has begun to end.
    Stopping,
}

/// Tells it, if there is one that wants to know.
pub fn tell(said: Said) {
    let state = match said {
        Said::Ready => NotifyState::Ready,
        Said::Stopping => NotifyState::Stopping,
        Said::Alive if sd_notify::watchdog_enabled().is_some() => NotifyState::Watchdog,
        Said::Alive => return,
    };
    // It will see for itself what it was not told.
    if let Err(error) = sd_notify::notify(&[state]) {
        debug!(?said, %error, "the service manager cannot be told");
    }
}
