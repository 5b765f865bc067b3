//! HTTP on both sides, the ground on which intake, sinks and the admin port stand.
//!
//! As a server: the [`listener`] with its limits (`deadlines` bounds what a peer can stretch), and the [`response`]s that it
//! gives. As a client: [`tls`] towards any peer, the [`service`] behind with [`headers`] and [`body`] on the way to it. For both
//! kinds of delivery: [`backoff`], and what is known of a [`peer`].

pub mod backoff;
pub mod body;
mod deadlines;
pub mod headers;
pub mod listener;
pub mod peer;
pub mod response;
pub mod service;
pub mod tls;

pub use listener::{BindError, Handler, Limits, Server};
