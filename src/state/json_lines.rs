//! A bounded file of JSON lines in the state directory, which people read and programs can send again.
//!
//! It is not synced: what it holds was never acknowledged, or is in the journal as well.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How large the file grows before it becomes the previous one, in whose place it comes.
const LARGEST_FILE: u64 = 1024 * 1024;

/// What the name of the previous file has behind it.
pub const PREVIOUS: &str = "previous";

/// Lines that may wait to be written.
const MOST_WAITING: usize = 64;

/// Where lines go in.
#[derive(Debug, Clone)]
pub struct LineSender(mpsc::Sender<String>);

impl LineSender {
    /// Has a line written. It does not wait for the disk: a line that comes faster than the disk takes them is not written.
    pub fn send(&self, line: String) {
        let _ = self.0.try_send(line);
    }
}

/// The file, which is to be run.
#[derive(Debug)]
pub struct JsonLinesFile {
    path: PathBuf,
    lines: mpsc::Receiver<String>,
    open: Option<(File, u64)>,
    is_failing: bool,
}

impl JsonLinesFile {
    /// The file of this name in `directory`, and where lines for it go in.
    pub fn new(directory: &Path, name: &str) -> (LineSender, JsonLinesFile) {
        let (sender, lines) = mpsc::channel(MOST_WAITING);
        let file = JsonLinesFile { path: directory.join(name), lines, open: None, is_failing: false };
        (LineSender(sender), file)
    }

    /// Writes the lines that come until `stop`, and those that came before.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Some(line)) = stop.run_until_cancelled(self.lines.recv()).await {
            block_in_place(|| self.append(&line));
        }
        while let Ok(line) = self.lines.try_recv() {
            block_in_place(|| self.append(&line));
        }
        // Until the process ends: who ends before is taken for one that failed.
        stop.cancelled().await;
    }

    fn append(&mut self, line: &str) {
        let appended = self.try_append(line);
        if let Err(error) = &appended
            && !self.is_failing
        {
            let path = self.path.display();
            warn!(%error, "{path} cannot be written; what belongs there is kept in memory only");
        }
        self.is_failing = appended.is_err();
    }

    fn try_append(&mut self, line: &str) -> io::Result<()> {
        let (mut file, bytes) = match self.open.take() {
            Some(open) => open,
            None => {
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
                let bytes = file.metadata()?.len();
                (file, bytes)
            }
        };
        file.write_all(line.as_bytes())?;
        let bytes = bytes + line.len() as u64;
        match bytes > LARGEST_FILE {
            true => fs::rename(&self.path, self.path.with_added_extension(PREVIOUS)),
            false => {
                self.open = Some((file, bytes));
                Ok(())
            }
        }
    }
}
