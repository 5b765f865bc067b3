//! A bounded file of JSON lines in the state directory, which people read and programs can send again.
//!
//! Each line has a `time`, and is removed when that is too long ago. The file is not synced: what it holds was never
//! acknowledged, or is in the journal as well.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::journal::storage::{Directory, Storage, read_all, replace};

/// How large the file grows before it becomes the previous one, in whose place it comes.
const LARGEST_FILE: u64 = 1024 * 1024;

/// What the name of the previous file has behind it.
pub const PREVIOUS: &str = "previous";

/// How often it is looked whether a line is old: eight times in the age, within these bounds.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);
const LONGEST_LOOK: Duration = Duration::from_secs(600);

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

/// Lines that are to be written to a file.
#[derive(Debug)]
pub struct Lines {
    name: &'static str,
    lines: mpsc::UnboundedReceiver<String>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// Where lines for the file of this name go in, and what comes out.
pub fn channel(name: &'static str) -> (LineSender, Lines) {
    let (sender, lines) = mpsc::unbounded_channel();
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let sender = LineSender { lines: sender, waiting_bytes: Arc::clone(&waiting_bytes) };
    (sender, Lines { name, lines, waiting_bytes })
}

impl Lines {
    /// Their file in `directory`, where each line stays until its time is `age` ago.
    pub fn into_file(self, directory: Directory, age: Duration) -> JsonLinesFile {
        JsonLinesFile { directory, lines: self, age, open: None, is_failing: false }
    }
}

/// The file, which is to be run.
#[derive(Debug)]
pub struct JsonLinesFile {
    directory: Directory,
    lines: Lines,
    age: Duration,
    open: Option<(File, u64)>,
    is_failing: bool,
}

impl JsonLinesFile {
    /// Writes the lines that come until `stop`, and those that came before. Removes those that are old.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut looks = tokio::time::interval((self.age / 8).clamp(SHORTEST_LOOK, LONGEST_LOOK));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = looks.tick() => block_in_place(|| self.remove_old(SystemTime::now())),
                Some(line) = self.lines.lines.recv() => block_in_place(|| self.append(&line)),
            }
        }
        block_in_place(|| self.write_waiting());
    }

    /// Writes the lines that came so far.
    pub fn write_waiting(&mut self) {
        while let Ok(line) = self.lines.lines.try_recv() {
            self.append(&line);
        }
    }

    fn append(&mut self, line: &str) {
        self.lines.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        let appended = self.try_append(line);
        self.note(appended, "what belongs there is missing in it");
    }

    fn try_append(&mut self, line: &str) -> io::Result<()> {
        let name = self.lines.name;
        // Somebody may have removed the file, or the directory.
        let is_in_place = |(file, _): &(File, u64)| self.directory.check_file(name, file).is_ok();
        // After an error it is opened anew, since part of the line may have been written.
        let (mut file, bytes) = match self.open.take().filter(is_in_place) {
            Some(open) => open,
            None => {
                self.directory.check()?;
                open(&self.directory, name)?
            }
        };
        file.write_all(line.as_bytes())?;
        let bytes = bytes + line.len() as u64;
        match bytes > LARGEST_FILE {
            true => self.directory.rename(name, &previous(name)),
            false => {
                self.open = Some((file, bytes));
                Ok(())
            }
        }
    }

    /// Removes the lines whose age at `now` is what it may be at most.
    fn remove_old(&mut self, now: SystemTime) {
        let name = self.lines.name;
        let removed = [previous(name).as_str(), name].into_iter().try_for_each(|name| {
            let young = match read_all(&self.directory, name) {
                Ok(bytes) => young_lines(&bytes, self.age, now),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            let Some(young) = young else { return Ok(()) };
            self.open = None;
            match young.is_empty() {
                true => self.directory.remove(name),
                false => replace(&self.directory, name, &young),
            }
        });
        self.note(removed, "what is old stays there");
    }

    /// Says once what fails and what follows, until something succeeds.
    fn note(&mut self, outcome: io::Result<()>, what_follows: &str) {
        if let Err(error) = &outcome
            && !self.is_failing
        {
            let path = self.directory.path().join(self.lines.name);
            warn!(%error, "{} cannot be written; {what_follows}", path.display());
        }
        self.is_failing = outcome.is_err();
    }
}

/// The name of the previous file.
fn previous(name: &str) -> String {
    format!("{name}.{PREVIOUS}")
}

/// Whether something that happened at `time` is old at `now`.
pub(super) fn is_old(time: SystemTime, age: Duration, now: SystemTime) -> bool {
    now.duration_since(time).is_ok_and(|passed| passed >= age)
}

/// The lines that are not old; `None` if none is old. One without a time is as old as the one before it.
pub(super) fn young_lines(bytes: &[u8], age: Duration, now: SystemTime) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Dated {
        time: String,
    }
    let time = |line: &[u8]| {
        let Dated { time } = serde_json::from_slice(line).ok()?;
        humantime::parse_rfc3339(&time).ok()
    };
    let (mut is_young, mut young) = (false, Vec::new());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        is_young = time(line).map_or(is_young, |time| !is_old(time, age, now));
        if is_young {
            young.extend_from_slice(line);
        }
    }
    (young.len() < bytes.len()).then_some(young)
}

/// Opens a file at its end, and returns how long it is. A line that is torn, since the disk was full or the machine died, is
/// cut off: it would take the next one with it, and whoever reads the file expects whole ones.
fn open(directory: &Directory, name: &str) -> io::Result<(File, u64)> {
    let file = directory.open_or_create(name)?;
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
    use std::fs;
    use std::path::PathBuf;

    use tempfile::{TempDir, tempdir};

    use super::*;

    const NAME: &str = "lines.jsonl";
    const DAY: Duration = Duration::from_secs(24 * 3_600);

    /// A directory for a test, which is removed with it.
    struct Scratch(TempDir);

    impl Scratch {
        fn new() -> Scratch {
            Scratch(tempdir().expect("a directory"))
        }

        fn file(&self) -> (LineSender, JsonLinesFile) {
            let (sender, lines) = channel(NAME);
            (sender, lines.into_file(Directory::existing(self.0.path()).expect("a directory"), DAY))
        }

        fn path(&self) -> PathBuf {
            self.0.path().join(NAME)
        }

        fn lines(&self) -> String {
            fs::read_to_string(self.path()).expect("read")
        }
    }

    #[test]
    fn a_torn_line_is_cut_off_and_takes_no_other_with_it() {
        let scratch = Scratch::new();
        for (found, expected) in [
            ("{\"a\":1}\n{\"b\"", "{\"a\":1}\n{\"c\":3}\n".to_owned()),
            ("{\"a\":1}\n", "{\"a\":1}\n{\"c\":3}\n".to_owned()),
            ("{\"a\"", "{\"c\":3}\n".to_owned()),
            ("", "{\"c\":3}\n".to_owned()),
            (&format!("{{}}\n{}", "x".repeat(10_000)), "{}\n{\"c\":3}\n".to_owned()),
        ] {
            fs::write(scratch.path(), found).expect("written");
            let (sender, mut file) = scratch.file();
            sender.send("{\"c\":3}\n".to_owned());
            file.write_waiting();
            assert_eq!(scratch.lines(), expected, "{found:.20}");
        }
    }

    #[test]
    fn many_lines_may_wait_and_their_bytes_are_bounded() {
        let scratch = Scratch::new();
        let (sender, mut file) = scratch.file();
        let line = "x".repeat(999) + "\n";
        for _ in 0..2_000 {
            sender.send(line.clone());
        }
        file.write_waiting();
        let mut lines = scratch.lines();
        assert_eq!(lines.len(), MOST_WAITING_BYTES / line.len() * line.len());
        sender.send("{}\n".to_owned());
        file.write_waiting();
        lines.push_str("{}\n");
        assert_eq!(scratch.lines(), lines);
    }

    fn line(days: u32, text: &str) -> String {
        let time = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + days * DAY);
        format!("{{\"time\":\"{time}\",\"query\":\"{text}\"}}\n")
    }

    #[test]
    fn lines_go_when_they_are_old_and_the_file_with_the_last() {
        let scratch = Scratch::new();
        let previous = scratch.0.path().join("lines.jsonl.previous");
        fs::write(&previous, line(1, "a")).expect("written");
        let (sender, mut file) = scratch.file();
        for (days, text) in [(3, "b"), (2, "c"), (4, "d")] {
            sender.send(line(days, text));
        }
        file.write_waiting();
        let at = |days| SystemTime::UNIX_EPOCH + days * DAY;
        file.remove_old(at(2) - Duration::from_millis(1));
        assert!(previous.exists());
        file.remove_old(at(3));
        assert!(!previous.exists());
        assert_eq!(scratch.lines(), line(3, "b") + &line(4, "d"));
        // What comes next goes into the new file.
        sender.send(line(4, "e"));
        file.write_waiting();
        file.remove_old(at(4));
        assert_eq!(scratch.lines(), line(4, "d") + &line(4, "e"));
        file.remove_old(at(5));
        assert!(!scratch.path().exists());
        sender.send(line(6, "f"));
        file.write_waiting();
        assert_eq!(scratch.lines(), line(6, "f"));
    }

    #[test]
    fn what_has_no_time_goes_with_the_line_before_it() {
        let now = SystemTime::UNIX_EPOCH + 5 * DAY;
        let torn = "{\"time\":\"19\n";
        let bytes = [torn, &line(4, "a"), torn, &line(5, "b"), torn].concat();
        let young = young_lines(bytes.as_bytes(), DAY, now).expect("old lines");
        assert_eq!(String::from_utf8(young).expect("text"), line(5, "b") + torn);
        assert_eq!(young_lines(line(5, "b").as_bytes(), DAY, now), None);
        assert_eq!(young_lines(b"", DAY, now), None);
    }

    #[test]
    fn a_file_that_somebody_removed_is_begun_anew_and_no_other_directory_gets_it() {
        let scratch = Scratch::new();
        let (sender, mut file) = scratch.file();
        let write = |file: &mut JsonLinesFile, days| {
            sender.send(line(days, "a"));
            file.write_waiting();
        };
        write(&mut file, 1);
        fs::remove_file(scratch.path()).expect("removed");
        write(&mut file, 2);
        assert_eq!(scratch.lines(), line(2, "a"));
        let away = scratch.0.path().with_extension("away");
        fs::rename(&scratch.0, &away).expect("moved");
        fs::create_dir(&scratch.0).expect("another");
        write(&mut file, 3);
        assert!(!scratch.path().exists());
        fs::remove_dir(&scratch.0).expect("removed");
        fs::rename(&away, &scratch.0).expect("moved back");
        write(&mut file, 4);
        assert_eq!(scratch.lines(), line(2, "a") + &line(4, "a"));
    }
}
