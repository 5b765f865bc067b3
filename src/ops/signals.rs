//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use super::logging::{LAST_LINES, Log};

/// Completes at the first SIGTERM or SIGINT. From then on a second one ends the process with code 1 and
/// the last lines of `log`.
///
/// # Errors
/// The handlers cannot be installed.
pub fn stop(log: Log) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            warn!("ended at once by a second signal");
            log.flush(LAST_LINES);
            std::process::exit(1);
        });
    })
}
