//! Signals. SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once. SIGHUP: files are to be read again
//! ([`reload`](super::reload)); it never ends the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
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

/// The SIGHUPs that this process gets.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// From now on until its end, SIGHUP does not end the process. One that comes before anybody asks for the next is kept.
    ///
    /// # Errors
    /// The handler cannot be installed.
    pub fn of_process() -> io::Result<Hangups> {
        Ok(Hangups(signal(SignalKind::hangup())?))
    }

    /// Completes at the next one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // There will be no more.
            std::future::pending().await
        }
    }
}
