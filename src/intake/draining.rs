//! Draining: how a pod ends without calls that were acknowledged and never reach anybody.
//!
//! A pod is told to end long before the exporter in it is: a native sidecar gets SIGTERM when the other containers have ended, and connections that
//! are kept open bring calls until then. The service behind may have closed its listener meanwhile. What was acknowledged then and waits
//! for the service dies with the pod, if the state directory does.
//!
//! # States
//!
//! ```text
//! serving ──POST /-/drain, from this host──► draining ──SIGTERM──► stopping ──► ended
//!    └──────────────────SIGTERM──────────────────▲
//! ```
//!
//! - *Serving*: an event is stored, answered, and delivered from the journal.
//! - *Draining* begins when the container's preStop hook asks for it (`planet-call-exporter drain`), which is at the beginning of the pod's
//!   deletion, or with SIGTERM. It never ends but with the process. Each answer closes its connection, so that clients go to other pods.
//!   /readyz stays as it is: a pod that is deleted gets no new connections anyway.
//! - If the state outlives the pod, that is all. If not, and there is a service behind, an event is *asked first*:
//!
//! ```text
//! event ──► service ──final answer──► stored with it, in the totals ──► the service's answer
//!              ├──another answer──► that answer; not stored, in no total
//!              └──none──► 503 with Retry-After; not stored, in no total
//! ```
//!
//! What is not acknowledged may come again, to another pod, and counts there: so it does not count here. What was acknowledged before
//! waits for the service as ever, and what is left of it at the end is counted as dropped (`cause="shutdown"`).
//!
//! # A crash at each arrow
//!
//! | the process dies | afterwards |
//! |---|---|
//! | before the service has the event | nobody knows it, and the client has no answer |
//! | before the event is stored | the service has it, the client has no answer: it may come again with the same Idempotency-Key, and counts then |
//! | before the answer has gone back | it counts; if it comes again to another pod, it counts there as well, as any repeat that another exporter gets |
//!
//! # Bounds
//!
//! Nothing is kept that was not before: a request waits for the service up to `--forward-timeout`, as inline. An event may overtake an
//! earlier one of its caller that still waits. A repeat is passed on as well, since the first one may still wait; the service knows it
//! by its key.

use tokio_util::sync::CancellationToken;

use crate::config::StateLifetime;

/// Whether the exporter drains.
#[derive(Debug, Clone)]
pub struct Draining {
    begun: CancellationToken,
    state: StateLifetime,
}

impl Draining {
    /// It drains from when `begun` is cancelled; its state lasts this long.
    pub fn new(begun: CancellationToken, state: StateLifetime) -> Draining {
        Draining { begun, state }
    }

    /// Whether the service behind is asked before an event is stored.
    pub(super) fn asks_first(&self) -> bool {
        self.state != StateLifetime::Volume && self.begun.is_cancelled()
    }
}
