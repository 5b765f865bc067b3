//! What is read again at SIGHUP, or as soon as it changes: files that whoever operates the exporter renews while it
//! runs, such as certificates and secrets.
//!
//! A part that reads files offers a function that reads them again, keeps what it had where they cannot be used, and
//! says whether anything changed. [`app`](crate::app) registers that function here with a name for people, before
//! [`Reload::run`]:
//!
//! ```
//! # use planet_call_exporter::ops::reload::{Reload, Reread};
//! let mut reload = Reload::default();
//! reload.register("the secret of /etc/planet/secret", || Ok(Reread::Unchanged));
//! ```
//!
//! So a part knows nothing of signals, and each request leaves one line in the log for each name: `read again` with
//! `changed`, or `cannot be read again` with the error. What is [watched](Reload::watch) is read every few seconds as
//! well, since Kubernetes puts another file in place and tells nobody; that leaves a line when something changes, or
//! when it cannot be used for another reason than before.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::signals::Hangups;
use crate::http::pace::Pace;
use crate::http::peer::causes;

/// What came of reading files again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reread {
    /// They say something else than before, and that is in use from now on.
    Changed,
    /// They say what they said before.
    Unchanged,
}

impl Reread {
    /// What came of it, by whether they say something else.
    pub fn by(has_changed: bool) -> Reread {
        if has_changed { Reread::Changed } else { Reread::Unchanged }
    }
}

/// Why files cannot be read again.
type Failure = Box<dyn Error + Send + Sync>;

/// Reads files again. It may block, and is never called twice at once.
type Read = dyn Fn() -> Result<Reread, Failure> + Send + Sync;

/// How often it is looked at what is watched.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// After this time the same failure of what is watched is said again.
const AGAIN: Duration = Duration::from_secs(3_600);

/// Everything that is read again, in the order in which it was registered.
#[derive(Default)]
pub struct Reload(Vec<Entry>);

struct Entry {
    what: String,
    read: Arc<Read>,
    /// The failures that were said, if it is watched.
    watched: Option<Pace>,
}

impl Reload {
    /// Has `read` called at each SIGHUP; `name` says in the log what it reads. Where it answers an error or panics,
    /// what was read before has to be in use still.
    pub fn register(
        &mut self,
        name: impl Into<String>,
        read: impl Fn() -> Result<Reread, Failure> + Send + Sync + 'static,
    ) {
        self.0.push(Entry { what: name.into(), read: Arc::new(read), watched: None });
    }

    /// The same, and every few seconds as well.
    pub fn watch(
        &mut self,
        name: impl Into<String>,
        read: impl Fn() -> Result<Reread, Failure> + Send + Sync + 'static,
    ) {
        let watched = Some(Pace::new(AGAIN));
        self.0.push(Entry { what: name.into(), read: Arc::new(read), watched });
    }

    /// Reads everything again at each of `hangups`, and what is watched now and then, until `stop`. Hangups that come
    /// while it reads are one.
    pub async fn run(self, mut hangups: Hangups, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = hangups.next() => self.read_again().await,
                _ = looks.tick() => self.look().await,
            }
        }
    }

    /// Reads once what is watched, and logs what is new about it.
    async fn look(&self) {
        for entry in &self.0 {
            let Some(said) = &entry.watched else { continue };
            let what = &entry.what;
            match call(&entry.read).await {
                Ok(Reread::Unchanged) => {}
                Ok(Reread::Changed) => {
                    said.forget();
                    info!(what, "changed and was read again");
                }
                Err(error) => {
                    let error = causes(&*error);
                    if said.note(&error, 1).is_some() {
                        error!(what, error, "changed and cannot be used; what was read before stays in use");
                    }
                }
            }
        }
    }

    /// Reads everything again once, and logs what came of each.
    async fn read_again(&self) {
        if self.0.is_empty() {
            info!("SIGHUP: there is nothing to read again; flags and variables need a restart");
        }
        for Entry { what, read, .. } in &self.0 {
            match call(read).await {
                Ok(reread) => info!(what, changed = reread == Reread::Changed, "SIGHUP: read again"),
                Err(error) => {
                    let error = causes(&*error);
                    error!(what, error, "SIGHUP: cannot be read again; what was read before stays in use");
                }
            }
        }
    }
}

/// Calls it where it may block. A panic is an error, so that the others are read all the same.
async fn call(read: &Arc<Read>) -> Result<Reread, Failure> {
    let read = Arc::clone(read);
    let read = tokio::task::spawn_blocking(move || read()).await;
    read.unwrap_or_else(|panicked| Err(panicked.into()))
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
    #[tokio::test]
    async fn only_what_is_watched_is_looked_at_without_a_hangup() {
        let calls = Arc::new(AtomicUsize::new(0));
        let mut reload = Reload::default();
        let of_watched = Arc::clone(&calls);
        reload.register("waits for a hangup", || panic!("there is none"));
        reload.watch("is watched", move || match of_watched.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(Reread::Changed),
            1 => panic!("a test"),
            _ => Err("no such file".into()),
        });
        for round in 1..=4 {
            reload.look().await;
            assert_eq!(calls.load(Ordering::Relaxed), round);
        }
        // The same failure is said already.
        let said = reload.0[1].watched.as_ref().expect("it is watched");
        assert_eq!(said.note("no such file", 1), None);
        assert!(said.note("another reason", 1).is_some());
    }
}
