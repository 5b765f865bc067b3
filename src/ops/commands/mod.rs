//! What the program can do beside running: look at a state directory, and send recorded requests again.

pub mod replay;
pub mod state;
