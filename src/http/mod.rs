//! HTTP on both sides, the ground on which intake, sinks and the admin port stand.
//!
//! As a server: the [`listener`] with its limits (`deadlines` bounds what a peer can stretch, `places` how many there are), its
//! sockets (`sockets`, and `bind_error` where there are none) and connections (`connection`, which also answers what hyper cannot read; `proxy_protocol` and `trusted_proxies` say whose they are), and the
//! [`response`]s that it gives. With TLS where it has a certificate: [`server_tls`]. As a client: [`tls`] towards any peer ([`unverified_tls`] towards this host), the [`service`] behind with [`headers`] and [`body`] on the
//! way to it, over connections that are used again (`pool`), unless it is this process itself (`own`). On both sides: a [`raw_query`] that no URI may have. For both kinds
//! of delivery: [`backoff`], what is known of a [`peer`] and what [`trouble`] there is, and what [`obstacle`] is on the way to it. [`pace`] is that of log lines
//! that peers bring about, and [`shown`] says what of foreign text is shown.

pub mod backoff;
mod bind_error;
pub mod body;
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
pub use connection::{Ending, OpenConnection};
pub use listener::{Handler, Limits, Server};
pub use sockets::ListenAddress;
pub use trusted_proxies::TrustedProxies;
