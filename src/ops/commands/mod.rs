//! What the program can do beside running: say what it would do, look at a state directory, and send recorded requests again.

pub mod check;
pub mod replay;
pub mod state;
