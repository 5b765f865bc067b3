//! What the program can do beside running: [check] what a run would do, [look] at a state directory and [show](state)
//! what is in it and its [calls], look [back](look_back) at what failed, send recorded requests again ([replay]), ask
//! an exporter on this host ([admin_port]), and say what can be given to it ([manual]).

pub mod admin_port;
pub mod calls;
pub mod canary;
pub mod check;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod look;
pub mod look_back;
pub mod manual;
pub mod replay;
pub mod state;

use std::io::{self, Write};

use thiserror::Error;

use crate::http::shown;

/// Standard output takes nothing.
#[derive(Debug, Error)]
#[error("cannot write: {0}")]
pub struct NotPrinted(#[from] io::Error);

/// Writes what a command has to say to standard output, with what acts on a terminal escaped but for the ends of lines.
/// Who reads no further, as `head` does, has seen enough, which is no failure.
///
/// # Errors
/// It cannot be written.
pub fn print(text: &[u8]) -> Result<(), NotPrinted> {
    let text = String::from_utf8_lossy(text);
    let text = shown::escaped(&text, |character| character == '\n');
    let mut output = io::stdout().lock();
    Ok(unless_nobody_reads(output.write_all(text.as_bytes()).and_then(|()| output.flush()))?)
}

fn unless_nobody_reads(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
