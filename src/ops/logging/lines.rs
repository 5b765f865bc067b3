//! Lines of the log on their way to standard error.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

use crate::http::shown;

/// Bytes of lines that may wait. Further lines are dropped and counted, and a line says how many they were.
const MOST_WAITING_BYTES: usize = 1024 * 1024;

/// Where lines go in. Clones are the same log.
#[derive(Debug, Clone)]
pub struct Log(Arc<Lines>, Form);

/// How the log is written, which says how what acts on who looks at it is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Text for people.
    Text,
    /// The same with colours for a terminal. What comes from outside has no escape character by then: whoever colours
    /// the line has escaped it.
    Coloured,
    /// JSON.
    Json,
}

impl Form {
    /// A line in which nothing is left that acts, but for its end and colours.
    fn escaped(self, line: &str) -> Cow<'_, str> {
        match self {
            Form::Text => shown::escaped(line, |_| false),
            Form::Coloured => shown::escaped(line, |character| character == '\u{1b}'),
            Form::Json => shown::json_escaped(line),
        }
    }
}

#[derive(Debug, Default)]
struct Lines {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    is_writing: bool,
    dropped: u64,
}

impl Log {
    /// Starts the thread that writes to `output`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(output: impl Write + Send + 'static, form: Form) -> io::Result<Log> {
        let lines = Arc::new(Lines::default());
        let log = Log(Arc::clone(&lines), form);
        // It holds up nobody if it stands still, and it cannot end.
        std::thread::Builder::new().name("log".to_owned()).spawn(move || lines.write_to(output))?;
        Ok(log)
    }

    /// Waits until every line so far is written, but no longer than this.
    pub fn flush(&self, most: Duration) {
        let is_behind = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        // Whether it was in time makes no difference to who ends.
        let _ = self.0.changed.wait_timeout_while(self.0.lock(), most, is_behind);
    }
}

impl Write for &Log {
    /// Takes a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut escaped = self.1.escaped(text.trim_end_matches('\n')).into_owned();
        escaped.push('\n');
        let mut waiting = self.0.lock();
        if waiting.bytes + escaped.len() > MOST_WAITING_BYTES {
            waiting.dropped += 1;
        } else {
            waiting.bytes += escaped.len();
            waiting.lines.push_back(escaped.into_bytes());
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = &'a Log;

    fn make_writer(&'a self) -> &'a Log {
        self
    }
}

impl Lines {
    fn write_to(&self, mut output: impl Write) {
        loop {
            let (line, dropped) = self.next();
            // There is nowhere to say that standard error is gone.
            let _ = output.write_all(&line).and_then(|()| output.flush());
            if dropped > 0 {
                warn!(lines = dropped, "lines of this log were dropped, since nobody took them in time");
            }
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for the next line, and answers also how many were dropped, once there is room to say so.
    fn next(&self) -> (Vec<u8>, u64) {
        let is_idle = |waiting: &mut Waiting| waiting.lines.is_empty();
        let mut waiting =
            self.changed.wait_while(self.lock(), is_idle).unwrap_or_else(PoisonError::into_inner);
        let line = waiting.lines.pop_front().unwrap_or_default();
        waiting.bytes -= line.len();
        waiting.is_writing = true;
        let dropped = if waiting.lines.is_empty() { std::mem::take(&mut waiting.dropped) } else { 0 };
        (line, dropped)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics between two changes that belong together.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use super::*;

    /// An output that takes a line when it is told to, and hands it on.
    struct Output {
        take: Receiver<()>,
        taken: Sender<Vec<u8>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.take.recv().map_err(gone)?;
            self.taken.send(bytes.to_owned()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_waits_for_nobody_and_what_waits_is_bounded() {
        let ((take, to_take), (taken, takes)) = (channel(), channel());
        let log = Log::start(Output { take: to_take, taken }, Form::Text).expect("a thread");
        let line: Vec<u8> = [&[b'x'; 999][..], b"\n"].concat();
        for _ in 0..2 * MOST_WAITING_BYTES / line.len() {
            (&log).write_all(&line).expect("taken");
        }
        let begin = Instant::now();
        log.flush(Duration::from_millis(50));
        assert!(begin.elapsed() >= Duration::from_millis(50), "nobody takes anything");
        let waiting = log.0.lock().lines.len();
        let dropped = log.0.lock().dropped;
        assert!(waiting * line.len() <= MOST_WAITING_BYTES && dropped > 0);
        for _ in 0..=waiting {
            take.send(()).expect("it takes");
            assert_eq!(takes.recv().expect("a line"), line);
        }
        log.flush(Duration::from_secs(60));
        assert_eq!(log.0.lock().bytes, 0);
        assert_eq!(log.0.lock().dropped, 0);
    }

    #[test]
    fn a_line_is_one_line_and_acts_on_nobody() {
        for (form, expected) in [
            (Form::Text, "a\\u{1b}[1mb\\nc\\u{202e}\\u{7f}"),
            (Form::Coloured, "a\u{1b}[1mb\\nc\\u{202e}\\u{7f}"),
            (Form::Json, "a\\u001b[1mb\nc\\u202e\\u007f"),
        ] {
            assert_eq!(form.escaped("a\u{1b}[1mb\nc\u{202e}\u{7f}"), expected, "{form:?}");
        }
    }

    #[test]
    fn an_output_that_is_gone_takes_nobody_with_it() {
        let ((take, to_take), (taken, _)) = (channel(), channel());
        drop(take);
        let log = Log::start(Output { take: to_take, taken }, Form::Text).expect("a thread");
        for _ in 0..10 {
            (&log).write_all(b"line\n").expect("taken");
        }
        log.flush(Duration::from_secs(60));
        assert!(log.0.lock().lines.is_empty());
    }
}
