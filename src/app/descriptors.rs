//! File descriptors: a process may open more than it is given at first, and where the limit is too small for all
//! connections, each port takes so few that the other one, the files and the sinks have what they need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use crate::config::Config;
use crate::http::Limits;

/// Descriptors for everything but connections of clients: sockets that listen, files of the journal, collectors.
/// Without any traffic there are about 20.
const BESIDE: usize = 64;

/// How many connections to the service behind the delivery has at most, for each that `--forward-concurrency` allows:
/// those that are slow do not count.
const WITH_SLOW: usize = 4;

/// Which part of what connections of clients can have is for the admin port, where that is not enough for all.
const FOR_ADMIN: usize = 4;

/// How many connections each port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connections {
    pub(super) call_events: usize,
    pub(super) admin: usize,
}

/// Raises the soft limit to the hard one, and returns how many connections there may be. If those are fewer than are
/// configured, that is said. Linux keeps the soft limit at 1024 for the sake of programs that use `select`, and expects
/// others to raise it (systemd.exec(5), LimitNOFILE).
pub(super) fn raise_limit(config: &Config) -> Connections {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised =
        current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let limit = if raised { maximum } else { current };
    // Without a limit there is one all the same, of the kernel's own.
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let need = Need::of(config);
    let connections = need.within(limit);
    if connections != need.all() {
        warn!(
            limit,
            needed = need.whole(need.all()),
            max_connections = need.max_connections,
            call_events = connections.call_events,
            admin = connections.admin,
            "fewer file descriptors may be open than all connections need, so each port takes fewer than --max-connections; raise the \
             limit (ulimit -n)"
        );
    }
    connections
}

/// What is needed.
#[derive(Debug, Clone, Copy)]
struct Need {
    max_connections: usize,
    /// Descriptors of each call event's connection.
    each: usize,
    /// Descriptors of everything but connections of clients.
    beside: usize,
}

impl Need {
    fn of(config: &Config) -> Need {
        // A request that is passed on has a connection to the service as well.
        let (each, behind) = match config.forward_to {
            Some(_) => (2, config.forward_concurrency.saturating_mul(WITH_SLOW)),
            None => (1, 0),
        };
        Need { max_connections: config.max_connections, each, beside: BESIDE.saturating_add(behind) }
    }

    /// As many as are configured.
    fn all(self) -> Connections {
        Connections { call_events: self.max_connections, admin: self.max_connections }
    }

    /// Descriptors that are open at most with so many connections.
    fn whole(self, connections: Connections) -> usize {
        let call_events = self.of_call_events(connections.call_events);
        call_events.saturating_add(Limits::descriptors(connections.admin)).saturating_add(self.beside)
    }

    fn of_call_events(self, connections: usize) -> usize {
        Limits::descriptors(connections).saturating_add(connections.saturating_mul(self.each - 1))
    }

    /// The connections that there may be under this limit. Both ports have at least one, however small it is.
    fn within(self, limit: usize) -> Connections {
        if self.whole(self.all()) <= limit {
            return self.all();
        }
        let room = limit - self.beside.min(limit / 2);
        let admin = self.most(room / FOR_ADMIN, Limits::descriptors);
        let rest = room.saturating_sub(Limits::descriptors(admin));
        Connections { call_events: self.most(rest, |connections| self.of_call_events(connections)), admin }
    }

    /// The largest number of connections that take no more than these descriptors.
    fn most(self, room: usize, taken: impl Fn(usize) -> usize) -> usize {
        let (mut fits, mut is_too_many) = (1, self.max_connections.min(room).saturating_add(1));
        while is_too_many.saturating_sub(fits) > 1 {
            let between = fits + (is_too_many - fits) / 2;
            match taken(between) <= room {
                true => fits = between,
                false => is_too_many = between,
            }
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_many_as_are_configured_if_the_limit_allows_it() {
        let need = Need { max_connections: 1_024, each: 1, beside: BESIDE };
        let whole = need.whole(need.all());
        assert_eq!(need.within(whole), need.all());
        assert_ne!(need.within(whole - 1), need.all());
        assert_eq!(need.within(usize::MAX), need.all());
        let few = need.within(64);
        assert!(few.admin >= 3 && few.call_events >= 16, "{few:?}");
    }

    proptest! {
        #[test]
        fn what_there_may_be_fits(
            limit in 48..100_000usize,
            max_connections in 1..100_000usize,
            each in 1..3usize,
            beside in 20..2_000usize,
        ) {
            let need = Need { max_connections, each, beside };
            let connections = need.within(limit);
            let Connections { call_events, admin } = connections;
            prop_assert!((1..=max_connections).contains(&call_events) && (1..=max_connections).contains(&admin));
            let left = Need { beside: beside.min(limit / 2), ..need };
            prop_assert!(left.whole(connections) <= limit, "{:?}", connections);
        }
    }
}
