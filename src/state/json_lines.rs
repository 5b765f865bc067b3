//! A bounded file of JSON lines in the state directory, which people read and programs can send again.
//!
//! It is not synced: what it holds was never acknowledged, or is in the journal as well.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How large the file grows before it becomes the previous one, in whose place it comes.
const LARGEST_FILE: u64 = 1024 * 1024;

/// What the name of the previous file has behind it.
pub const PREVIOUS: &str = "previous";

/// Bytes of lines that may wait to be written: as many as the file takes. Beyond that the latest are dropped.
const MOST_WAITING_BYTES: usize = LARGEST_FILE as usize;

/// Where lines go in.
#[derive(Debug, Clone)]
pub struct LineSender {
    lines: mpsc::UnboundedSender<String>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl LineSender {
    /// Has a line written. It does not wait for the disk: a line that comes faster than the disk takes them is not written.
    pub fn send(&self, line: String) {
        let bytes = line.len();
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > MOST_WAITING_BYTES {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return;
        }
        // The file is there as long as the process is.
        let _ = self.lines.send(line);
    }
}

/// The file, which is to be run.
#[derive(Debug)]
pub struct JsonLinesFile {
    path: PathBuf,
    lines: mpsc::UnboundedReceiver<String>,
    waiting_bytes: Arc<AtomicUsize>,
    open: Option<(File, u64)>,
    is_failing: bool,
}

impl JsonLinesFile {
    /// The file of this name in `directory`, and where lines for it go in.
    pub fn new(directory: &Path, name: &str) -> (LineSender, JsonLinesFile) {
        let (sender, lines) = mpsc::unbounded_channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let sender = LineSender { lines: sender, waiting_bytes: Arc::clone(&waiting_bytes) };
        let path = directory.join(name);
        (sender, JsonLinesFile { path, lines, waiting_bytes, open: None, is_failing: false })
    }

    /// Writes the lines that come until `stop`, and those that came before.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Some(line)) = stop.run_until_cancelled(self.lines.recv()).await {
            block_in_place(|| self.append(&line));
        }
        block_in_place(|| self.write_waiting());
        // Until the process ends: who ends before is taken for one that failed.
        stop.cancelled().await;
    }

    /// Writes the lines that came so far.
    pub fn write_waiting(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            self.append(&line);
        }
    }

    fn append(&mut self, line: &str) {
        self.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        let appended = self.try_append(line);
        if let Err(error) = &appended
            && !self.is_failing
        {
            let path = self.path.display();
            warn!(%error, "{path} cannot be written; what belongs there is missing in it");
        }
        self.is_failing = appended.is_err();
    }

    fn try_append(&mut self, line: &str) -> io::Result<()> {
        // After an error it is opened anew, since part of the line may have been written.
        let (mut file, bytes) = match self.open.take() {
            Some(open) => open,
            None => open(&self.path)?,
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

/// Opens a file at its end, and answers how long it is. A line that is torn, since the disk was full or the machine died, is
/// cut off: it would take the next one with it, and whoever reads the file expects whole ones.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    let mut end = bytes;
    let mut chunk = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let read = &mut chunk[..(end - start) as usize];
        file.read_exact_at(read, start)?;
        if let Some(at) = read.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < bytes {
        file.set_len(end)?;
    }
    Ok((file, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("planet-json-lines-{name}-{}", std::process::id()));
        fs::create_dir(&directory).expect("a directory");
        directory
    }

    #[test]
    fn a_torn_line_is_cut_off_and_takes_no_other_with_it() {
        let directory = directory("torn");
        let path = directory.join("lines.jsonl");
        for (found, expected) in [
            ("{\"a\":1}\n{\"b\"", "{\"a\":1}\n{\"c\":3}\n".to_owned()),
            ("{\"a\":1}\n", "{\"a\":1}\n{\"c\":3}\n".to_owned()),
            ("{\"a\"", "{\"c\":3}\n".to_owned()),
            ("", "{\"c\":3}\n".to_owned()),
            (&format!("{{}}\n{}", "x".repeat(10_000)), "{}\n{\"c\":3}\n".to_owned()),
        ] {
            fs::write(&path, found).expect("written");
            let (sender, mut file) = JsonLinesFile::new(&directory, "lines.jsonl");
            sender.send("{\"c\":3}\n".to_owned());
            file.write_waiting();
            assert_eq!(fs::read_to_string(&path).expect("read"), expected, "{found:.20}");
        }
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn many_lines_may_wait_and_their_bytes_are_bounded() {
        let directory = directory("many");
        let (sender, mut file) = JsonLinesFile::new(&directory, "lines.jsonl");
        let line = "x".repeat(999) + "\n";
        for _ in 0..2_000 {
            sender.send(line.clone());
        }
        file.write_waiting();
        let mut lines = fs::read_to_string(directory.join("lines.jsonl")).expect("read");
        assert_eq!(lines.len(), MOST_WAITING_BYTES / line.len() * line.len());
        sender.send("{}\n".to_owned());
        file.write_waiting();
        lines.push_str("{}\n");
        assert_eq!(fs::read_to_string(directory.join("lines.jsonl")).expect("read"), lines);
        fs::remove_dir_all(&directory).expect("removed");
    }
}
