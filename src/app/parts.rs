//! Everything that runs: told to end in order, and noticed if it ends by itself.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::http::Ending;
use crate::state::thread::Thread;

/// What tells the parts to end.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) intake: Ending,
    pub(super) sinks: CancellationToken,
    /// The totals are pushed once more.
    pub(super) pushes: CancellationToken,
    /// Sinks and pushes end at once.
    pub(super) last: CancellationToken,
    pub(super) admin: CancellationToken,
}

/// Tasks that are told to end together, by name.
#[derive(Default)]
struct Tasks {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tasks.spawn(part);
        self.names.insert(handle.id(), name);
    }

    /// Completes when one of them has ended, which is not to happen, and returns its name.
    async fn ended(&mut self) -> &'static str {
        let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        self.names.get(&id).copied().unwrap_or("a part")
    }

    /// Completes when all have ended.
    async fn end(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Everything that runs, in the order in which it is told to end.
#[derive(Default)]
pub(super) struct Parts {
    intake: Tasks,
    sinks: Tasks,
    pushes: Tasks,
    /// Threads, which end with the process.
    threads: Tasks,
    admin: Tasks,
    files: Tasks,
}

impl Parts {
    /// Where call events come in.
    pub(super) fn spawn_intake(
        &mut self,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        self.intake.spawn(name, part);
    }

    /// What goes on until what was accepted is finished.
    pub(super) fn spawn_sink(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.sinks.spawn(name, part);
    }

    /// What pushes totals. It ends after the sinks, so that the last push includes what they leave behind.
    pub(super) fn spawn_push(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.pushes.spawn(name, part);
    }

    /// What writes to files what all the others have for it.
    pub(super) fn spawn_file(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.files.spawn(name, part);
    }

    /// A thread that runs until the process ends.
    pub(super) fn watch(&mut self, thread: Thread) {
        self.threads.spawn(thread.name, thread.ended());
    }

    /// The thread of the admin port.
    pub(super) fn watch_admin(&mut self, thread: Thread) {
        self.admin.spawn(thread.name, thread.ended());
    }

    /// Completes when a part has ended, which is not to happen, and returns its name.
    pub(super) async fn ended(&mut self) -> &'static str {
        let name = tokio::select! {
            name = self.intake.ended() => name,
            name = self.sinks.ended() => name,
            name = self.pushes.ended() => name,
            name = self.threads.ended() => name,
            name = self.admin.ended() => name,
            name = self.files.ended() => name,
        };
        error!(part = name, "a part has ended unexpectedly");
        name
    }

    /// Ends the parts in order, and returns whether they finished what they had. Intake gets half of the time, and then
    /// sinks begin to end even if requests are not finished. Shortly before the time is over sinks are to end at once,
    /// so that they can say what they leave behind.
    pub(super) async fn end(&mut self, ends: &Ends, time: Duration) -> bool {
        let end = Instant::now() + time;
        ends.intake.drain.cancel();
        ends.intake.stop.cancel();
        let finished = tokio::time::timeout(time / 2, self.intake.end()).await;
        ends.sinks.cancel();
        let last = end - (time / 10).min(LAST_WORDS);
        // A hung peer of a sink does not hold up the last push.
        let left = last.saturating_duration_since(Instant::now());
        let _ = tokio::time::timeout(HEAD_START.min(left / 2), self.sinks.end()).await;
        ends.pushes.cancel();
        let delivered = async {
            self.sinks.end().await;
            self.pushes.end().await;
        };
        let has_finished = tokio::time::timeout_at(last, delivered).await.is_ok();
        if !has_finished {
            ends.last.cancel();
        }
        let rest = async {
            self.sinks.end().await;
            self.pushes.end().await;
            if finished.is_err() {
                self.intake.end().await;
            }
            ends.admin.cancel();
            self.files.end().await;
            self.admin.end().await;
        };
        tokio::time::timeout_at(end, rest).await.is_ok() && has_finished
    }
}

/// The time that sinks have before the totals are pushed for the last time. What they leave behind by then is in that push.
const HEAD_START: Duration = Duration::from_millis(500);

/// The time that sinks have at the very end to note how far they have come.
const LAST_WORDS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_or_panics_is_named_wherever_it_is() {
        for at in 0..7 {
            let mut parts = Parts::default();
            parts.spawn_intake("waits", std::future::pending());
            match at {
                0 => parts.spawn_intake("ended", async {}),
                1 => parts.spawn_sink("ended", async {}),
                2 => parts.spawn_file("ended", async {}),
                3 => parts.spawn_sink("ended", async { panic!("a test") }),
                4 => parts.spawn_push("ended", async {}),
                5 => parts.watch(Thread::start("ended", || {}).expect("a thread")),
                _ => parts.watch_admin(Thread::start("ended", || panic!("a test")).expect("a thread")),
            }
            assert_eq!(parts.ended().await, "ended", "place {at}");
        }
    }
}
