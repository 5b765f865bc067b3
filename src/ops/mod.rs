//! Operations.

pub mod admin;
pub mod commands;
pub mod logging;
pub mod signals;
pub mod view;
