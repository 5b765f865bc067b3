//! File descriptors: a process may open more than it is given at first, and a limit that is too small for its connections is said.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use crate::config::Config;

/// Descriptors for everything but connections: sockets that listen, files of the journal, sinks.
const BESIDE: u64 = 64;

/// Raises the soft limit to the hard one, and says so if that does not do for all connections that there may be. Linux keeps the soft
/// limit at 1024 for the sake of programs that use `select`, and expects others to raise it (systemd.exec(5), LimitNOFILE).
pub(super) fn raise_limit(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised =
        current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let limit = if raised { maximum } else { current };
    let needed = needed(config);
    if limit.is_some_and(|limit| limit < needed) {
        warn!(
            limit,
            needed,
            "fewer file descriptors may be open than all connections need; connections that wait are closed for others then; \
             raise the limit (ulimit -n), or lower --max-connections"
        );
    }
}

/// Descriptors that are open at most: connections of both ports, and with a service behind one to it for each request.
fn needed(config: &Config) -> u64 {
    let each = if config.forward_to.is_some() { 3 } else { 2 };
    BESIDE.saturating_add((config.max_connections as u64).saturating_mul(each))
}
