//! What is read again at SIGHUP: files that whoever operates the exporter renews while it runs, such as certificates and secrets.
//!
//! A part that reads files offers a function that reads them again, keeps what it had where they cannot be used, and says whether
//! anything changed. [`app`](crate::app) registers that function here with a name for people, before [`Reload::run`]:
//!
//! ```
//! # use planet_call_exporter::ops::reload::{Reload, Reread};
//! let mut reload = Reload::default();
//! reload.register("the secret of /etc/planet/secret", || Ok(Reread::Unchanged));
//! ```
//!
//! So a part knows nothing of signals, and each request leaves one line in the log for each name: `read again` with `changed`, or
//! `cannot be read again` with the error.

use std::error::Error;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::signals::Hangups;
use crate::http::peer::causes;

/// What came of reading files again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reread {
    /// They say something else than before, and that is in use from now on.
    Changed,
    /// They say what they said before.
    Unchanged,
}

/// Why files cannot be read again.
type Failure = Box<dyn Error + Send + Sync>;

/// Reads files again. It may block, and is never called twice at once.
type Read = dyn Fn() -> Result<Reread, Failure> + Send + Sync;

/// Everything that is read again at SIGHUP, in the order in which it was registered.
#[derive(Default)]
pub struct Reload(Vec<(String, Arc<Read>)>);

impl Reload {
    /// Has `read` called at each SIGHUP; `name` says in the log what it reads. Where it answers an error or panics, what was read
    /// before has to be in use still.
    pub fn register(
        &mut self,
        name: impl Into<String>,
        read: impl Fn() -> Result<Reread, Failure> + Send + Sync + 'static,
    ) {
        self.0.push((name.into(), Arc::new(read)));
    }

    /// Reads everything again at each of `hangups` until `stop`. Those that come while it reads are one.
    pub async fn run(self, mut hangups: Hangups, stop: CancellationToken) {
        while stop.run_until_cancelled(hangups.next()).await.is_some() {
            self.read_again().await;
        }
    }

    /// Reads everything again once, and logs what came of each.
    async fn read_again(&self) {
        if self.0.is_empty() {
            info!("SIGHUP: there is nothing to read again; flags and variables need a restart");
        }
        for (what, read) in &self.0 {
            let read = Arc::clone(read);
            // A panic ends up here as an error, and the others are read all the same.
            let read = tokio::task::spawn_blocking(move || read()).await;
            match read.unwrap_or_else(|panicked| Err(panicked.into())) {
                Ok(reread) => info!(what, changed = reread == Reread::Changed, "SIGHUP: read again"),
                Err(error) => {
                    let error = causes(&*error);
                    error!(what, error, "SIGHUP: cannot be read again; what was read before stays in use");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_that_fails_or_panics_holds_up_no_other() {
        let calls = Arc::new(AtomicUsize::new(0));
        let mut reload = Reload::default();
        let counted = |outcome: fn() -> Result<Reread, Failure>| {
            let calls = Arc::clone(&calls);
            move || {
                calls.fetch_add(1, Ordering::Relaxed);
                outcome()
            }
        };
        reload.register("fails", counted(|| Err("no such file".into())));
        reload.register("panics", counted(|| panic!("a test")));
        reload.register("changes", counted(|| Ok(Reread::Changed)));
        for round in 1..=2 {
            reload.read_again().await;
            assert_eq!(calls.load(Ordering::Relaxed), 3 * round);
        }
    }
}
