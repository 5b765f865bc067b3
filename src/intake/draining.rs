//! Draining: how a pod ends without calls that were acknowledged and never reach anybody.
//!
//! A pod is told to end long before the exporter in it is: a native sidecar gets SIGTERM when the other containers have
//! ended, and connections that are kept open bring calls until then. The service behind may have closed its listener
//! meanwhile. What was acknowledged then and waits for the service dies with the pod, if the state directory does.
//!
//! # States
//!
//! ```text
//! serving ──POST /-/drain, from this host──► draining ──SIGTERM──► stopping ──► ended
//!    ├──SIGTERM, with --drain-time──────────────▲                      ▲
//!    └──SIGTERM, without it────────────────────────────────────────────┘
//! ```
//!
//! - *Serving*: an event is stored, answered, and delivered from the journal.
//! - *Draining* begins when the container's preStop hook asks for it (`planet-call-exporter drain`): at the beginning
//!   of the pod's deletion, and before a probe has the container killed. It never ends but with the process. Each
//!   answer closes its connection, so that clients go to other pods. /readyz stays as it is: a pod that is deleted gets
//!   no new connections anyway.
//! - *Stopping*: the same, for what was begun. The service has half a second more for its answers.
//! - If the state outlives the pod, that is all. If not, and there is a service behind, an event is *asked first*:
//!
//! ```text
//! event ──► service ──final answer──► stored with it, in the totals ──► the service's answer
//!              ├──another answer──► that answer; not stored, in no total
//!              └──none──► 503 with Retry-After; not stored, in no total
//! ```
//!
//! What is not acknowledged may come again, to another pod, and counts there: so it does not count here. A repeat of an
//! event that counts already is asked first as well, since the first may still wait. Without a final answer it is 200
//! as ever: sent elsewhere, it would count twice. What was acknowledged before waits for the service as ever, and what
//! is left of it at the end is counted as dropped (`cause="shutdown"`).
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
//! A request waits for the service up to `--forward-timeout`, as inline, and has its record in memory meanwhile. An
//! event may overtake an earlier one of its caller that still waits. The service knows a repeat by its key.

use std::time::Duration;

use crate::config::StateLifetime;
use crate::http::Ending;

/// How long the service has for its answer once the exporter stops: what pushes and delivers needs the time that is left.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Whether the exporter drains.
#[derive(Debug, Clone)]
pub struct Draining {
    ending: Ending,
    state: StateLifetime,
}

impl Draining {
    /// It drains and stops as `ending` says; its state lasts this long.
    pub fn new(ending: Ending, state: StateLifetime) -> Draining {
        Draining { ending, state }
    }

    /// Whether the service behind is asked before an event is stored.
    pub(super) fn asks_first(&self) -> bool {
        self.state != StateLifetime::Volume && self.ending.drain.is_cancelled()
    }

    /// Completes when nobody waits for the service any more.
    pub(super) async fn is_to_end(&self) {
        self.ending.stop.cancelled().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    }
}
