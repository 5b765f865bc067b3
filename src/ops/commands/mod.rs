//! What the program can do beside running: [check] what a run would do, [look] at a state directory and [show](state) what is in
//! it and its [calls], and send recorded requests again ([replay]).

pub mod calls;
pub mod check;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod look;
pub mod replay;
pub mod state;

use std::io::{self, Write};

use thiserror::Error;

/// Standard output takes nothing.
#[derive(Debug, Error)]
#[error("cannot write: {0}")]
pub struct NotPrinted(#[from] io::Error);

/// Writes what a command has to say to standard output. Who reads no further, as `head` does, has seen enough, which is no
/// failure.
///
/// # Errors
/// It cannot be written.
pub fn print(text: &[u8]) -> Result<(), NotPrinted> {
    let mut output = io::stdout().lock();
    Ok(unless_nobody_reads(output.write_all(text).and_then(|()| output.flush()))?)
}

fn unless_nobody_reads(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
