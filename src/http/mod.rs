//! HTTP on both sides, the ground on which intake, sinks and the admin port stand.
//!
//! As a server: the [`listener`] with its limits (`deadlines` bounds what a peer can stretch, `places` how many there are), its
//! connections (`connection`, which also answers what hyper cannot read; `proxy_protocol` says whose they are), and the
//! [`response`]s that it gives. As a client: [`tls`] towards any peer, the [`service`] behind with [`headers`] and [`body`] on the
//! way to it, over connections that are used again (`pool`). On both sides: a [`raw_query`] that no URI may have. For both kinds
//! of delivery: [`backoff`], what is known of a [`peer`], and what [`obstacle`] is on the way to it. [`pace`] is that of log lines
//! that peers bring about.

pub mod backoff;
pub mod body;
mod connection;
mod deadlines;
pub mod headers;
pub mod listener;
pub(crate) mod observed;
pub mod obstacle;
pub mod pace;
pub mod peer;
mod places;
mod pool;
mod proxy_protocol;
mod raw_exchange;
pub mod raw_query;
pub mod response;
pub mod service;
pub mod tls;

pub use connection::Ending;
pub use listener::{BindError, Handler, Limits, Server};
pub use proxy_protocol::TrustedProxies;
