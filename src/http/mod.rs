//! HTTP on both sides: the ground on which intake, sinks and the admin port stand.
//!
//! As a server:
//! - [`listener`] accepts connections. `places` limits how many there are, `deadlines` how long a peer may take.
//! - `sockets` binds addresses; `bind_error` explains why one cannot be bound.
//! - `connection` serves one connection, including a request that hyper cannot read. `proxy_protocol` and
//!   `trusted_proxies` say who the client is.
//! - [`server_tls`] adds TLS; [`response`] builds answers.
//!
//! As a client:
//! - [`tls`] connects to any peer, [`unverified_tls`] to this host; `observed` watches the bytes.
//! - [`service`] sends to the service behind over reused connections (`pool`), or one connection for a raw query
//!   (`raw_exchange`), unless the service is this process (`own`). [`headers`] and [`body`] prepare a request.
//! - [`backoff`], [`peer`], [`trouble`] and [`obstacle`] track whether a peer answers, and explain why not.
//!
//! On both sides: [`raw_query`], a query that no URI may have; [`credentials`] and [`small_file`], files that operators
//! renew; [`pace`], which limits repeated log lines; [`shown`], which makes foreign text safe to show.

pub mod backoff;
mod bind_error;
pub mod body;
mod client_network;
mod connection;
pub mod credentials;
mod deadlines;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod headers;
pub mod listener;
pub(crate) mod observed;
pub mod obstacle;
mod own;
pub mod pace;
pub mod peer;
mod places;
mod pool;
mod proxy_protocol;
mod raw_exchange;
pub mod raw_query;
pub mod response;
pub mod server_tls;
pub mod service;
pub mod shown;
pub mod small_file;
mod sockets;
pub mod tls;
pub mod trouble;
mod trusted_proxies;
pub mod unverified_tls;

pub use bind_error::{BindError, Purpose};
pub use client_network::ClientNetwork;
pub use connection::{Ending, OpenConnection};
pub use listener::{Handler, Limits, Server};
pub use sockets::ListenAddress;
pub use trusted_proxies::TrustedProxies;
