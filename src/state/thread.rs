//! Threads of the state, which run until the process ends, and of which it is noticed if one does not.

use std::io;
use std::thread::Builder;

use tokio::sync::oneshot;

/// A thread that was started.
#[derive(Debug)]
pub struct Thread {
    /// Its name.
    pub name: &'static str,
    ended: oneshot::Receiver<()>,
}

/// Bytes of a thread's stack: nothing that runs on one recurses.
pub const STACK: usize = 1024 * 1024;

impl Thread {
    /// Starts a thread.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn start(name: &'static str, run: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
        let (running, ended) = oneshot::channel();
        Builder::new().name(name.to_owned()).stack_size(STACK).spawn(move || {
            // Dropped when the thread ends, be it by a panic.
            let _running = running;
            run();
        })?;
        Ok(Thread { name, ended })
    }

    /// Completes when the thread has ended.
    pub async fn ended(self) {
        // Nothing is ever sent, so it completes when the sender is dropped.
        let _ = self.ended.await;
    }
}
