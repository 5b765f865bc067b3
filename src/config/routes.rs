//! Routes: which callback arrives on a path, and what becomes of it.

use super::{Config, ForwardMode};
use crate::callback::Kind;

/// What becomes of a callback that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is stored and answered here; sinks take it from the journal.
    Stored,
    /// It is stored, and then passed on at once, and the service's own answer goes back.
    Inline,
}

/// What arrives on a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The path.
    pub path: String,
    /// Which callback.
    pub kind: Kind,
    /// What becomes of it.
    pub mode: Mode,
}

/// The routes of the callbacks that are read. Everything else is passed on or unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// The routes that are configured.
    pub fn of(config: &Config) -> Routes {
        let is_inline = config.forward_to.is_some() && config.forward_mode == ForwardMode::Inline;
        let mode = if is_inline { Mode::Inline } else { Mode::Stored };
        Routes(vec![Route { path: config.call_event_path.clone(), kind: Kind::CallEvent, mode }])
    }

    /// The route of a path.
    pub fn find(&self, path: &str) -> Option<&Route> {
        self.0.iter().find(|route| route.path == path)
    }
}
