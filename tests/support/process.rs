//! A child process whose output is collected, and which does not outlive its test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::eventually;

/// The lines that a process wrote so far.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn collect(from: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let collected = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                collected.0.lock().expect("no panic while locked").push(line);
            }
        });
        lines
    }

    /// Every line so far.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic while locked").clone()
    }

    /// The first line with this text in it, if there is one by now.
    pub fn find(&self, text: &str) -> Option<String> {
        self.all().into_iter().find(|line| line.contains(text))
    }

    /// Waits for a line with this text in it.
    pub fn wait_for(&self, text: &str) -> String {
        eventually(&format!("a line with {text:?}"), || self.find(text))
    }
}

/// A running process. It is killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pub stdout: Lines,
    pub stderr: Lines,
}

impl Process {
    /// Starts a program; panics with `name` and the reason if it cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Process {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{name} cannot be started; tests/run installs what is missing: {error}"),
        };
        let stdout = Lines::collect(child.stdout.take().expect("a pipe"));
        let stderr = Lines::collect(child.stderr.take().expect("a pipe"));
        Process { name: name.to_owned(), child, stdout, stderr }
    }

    /// Starts a program whose standard error goes elsewhere, and whose standard output nobody looks at.
    pub fn start_with_stderr(name: &str, command: &mut Command, stderr: Stdio) -> Process {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Process { name: name.to_owned(), child, stdout: Lines::default(), stderr: Lines::default() }
    }

    /// Sends a signal, such as TERM. The shell's own `kill` is everywhere.
    pub fn signal(&self, signal: &str) {
        let kill = format!("kill -s {signal} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(status.success(), "{kill}");
    }

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it open no more than this many descriptors from now on, which it did not know of at its start.
    pub fn limit_descriptors(&self, most: u64) {
        let process = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        prlimit(process, Resource::Nofile, limit).expect("a lower limit");
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        eventually(&what, || self.ended())
    }

    /// Waits for an answer from a process that must live meanwhile; panics with its output if it ends.
    pub fn eventually<T>(&mut self, what: &str, mut ask: impl FnMut(&Process) -> Option<T>) -> T {
        eventually(what, || {
            let answer = ask(self);
            if answer.is_none()
                && let Some(status) = self.ended()
            {
                panic!("{} ended with {status} before {what}:\n{}", self.name, self.stderr.all().join("\n"));
            }
            answer
        })
    }
}

#[allow(clippy::print_stdout, reason = "the test runner shows it beside the failure")]
impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for (stream, lines) in [("output", &self.stdout), ("error", &self.stderr)] {
                println!("--- standard {stream} of {}:\n{}", self.name, lines.all().join("\n"));
            }
        }
    }
}
