//! Passing on: the service behind gets its call events, and everything else that arrives.
//!
//! Call events are answered as soon as they are stored, and [`delivery`] brings them from the journal to the service at its
//! own position, so that none is lost while the service is away; `--forward-mode inline` passes them on at once instead.
//! Everything else goes through [`proxy`], untouched. [`service`] is the way to the service, [`headers`] what a header on it
//! needs, `body` a body on it with its time limits, [`envelope`] what the journal keeps of a request beside its query.

mod body;
pub mod delivery;
pub mod envelope;
pub mod headers;
pub mod proxy;
pub mod service;
