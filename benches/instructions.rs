//! How many instructions of a processor a call event takes, and in which functions.
//!
//! `cargo bench --bench instructions`, with valgrind installed. callgrind counts what the process does; what the kernel
//! does for it is not in it. Other than time, that is the same on a busy machine, to less than one in a hundred: each
//! row is the difference between a run with some thousand calls and one with twice as many, divided by their number, so
//! that start and end are not in it either. BENCHMARKS.md has the history of these figures.
//!
//! `cargo bench --bench instructions -- memory` measures one row only, and says in which functions its instructions are.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Result, Server, bare, sample};

/// Calls of the shorter run.
const CALLS: usize = 2_000;
/// Connections that each have one call on its way.
const CONNECTIONS: usize = 16;
/// Functions that are named.
const FUNCTIONS: usize = 40;

/// A row: its name, what is measured, and the rest of the query behind the session ID.
const ROWS: [(&str, Subject, &str); 4] = [
    ("bare", Subject::Bare, sample::PLAIN),
    ("memory", Subject::Memory, sample::PLAIN),
    ("encoded", Subject::Memory, sample::ENCODED),
    ("state-dir", Subject::StateDirectory, sample::PLAIN),
];

#[derive(Clone, Copy)]
enum Subject {
    /// hyper with nothing behind it.
    Bare,
    /// The exporter in memory.
    Memory,
    /// The exporter with a state directory.
    StateDirectory,
}

/// Instructions in all, and by function.
struct Count {
    all: f64,
    functions: HashMap<String, f64>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some(bare::ARGUMENT) if arguments.len() == 2 => bare::serve(bare::ANY_PORT),
        Some(name) => {
            let row = ROWS.iter().find(|(row, ..)| *row == name).ok_or("expected the name of a row")?;
            let count = instructions_a_call(row)?;
            println!("{name}: {:.0} instructions a call", count.all);
            print_functions(count);
            Ok(())
        }
        None => {
            println!("{:<10} {:>24} {:>14}", "", "instructions a call", "times of bare");
            let mut yardstick = None;
            for row in &ROWS {
                let all = instructions_a_call(row)?.all;
                let bare = *yardstick.get_or_insert(all);
                println!("{:<10} {all:>24.0} {:>14.2}", row.0, all / bare);
            }
            Ok(())
        }
    }
}

fn print_functions(count: Count) {
    let mut functions: Vec<_> = count.functions.into_iter().collect();
    functions.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    for (name, instructions) in functions.iter().take(FUNCTIONS) {
        println!("{instructions:>9.0} {:>5.1} %  {name}", 100.0 * instructions / count.all);
    }
}

fn instructions_a_call((_, subject, query): &(&str, Subject, &str)) -> Result<Count> {
    let few = count(*subject, query, CALLS)?;
    let mut many = count(*subject, query, 2 * CALLS)?;
    for (name, instructions) in few.functions {
        *many.functions.entry(name).or_default() -= instructions;
    }
    let a_call = |instructions: f64| instructions / CALLS as f64;
    many.functions.values_mut().for_each(|instructions| *instructions = a_call(*instructions));
    Ok(Count { all: a_call(many.all - few.all), functions: many.functions })
}

/// Counts the instructions of a process that gets so many calls.
fn count(subject: Subject, query: &str, calls: usize) -> Result<Count> {
    let scratch = std::env::temp_dir().join(format!("instructions-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let output = scratch.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet", "--log-file=/dev/null"]);
    command.arg(format!("--callgrind-out-file={}", output.display()));
    match subject {
        // A second argument, so that it is not taken for the name of a row.
        Subject::Bare => command.arg(std::env::current_exe()?).args([bare::ARGUMENT, "server"]),
        Subject::Memory => exporter(&mut command),
        Subject::StateDirectory => exporter(&mut command).arg("--state-dir").arg(scratch.join("state")),
    };
    let server = Server::start(&mut command)?;
    send(&server.url, query, calls)?;
    server.stop()?;
    let count = read(&output);
    std::fs::remove_dir_all(&scratch)?;
    count
}

fn exporter(command: &mut Command) -> &mut Command {
    command.arg(PathBuf::from(env!("CARGO_BIN_EXE_planet-call-exporter")));
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"])
}

/// Sends calls over several connections, each when the one before it is answered.
fn send(url: &str, query: &str, calls: usize) -> Result<()> {
    let address = url.trim_start_matches("http://").split('/').next().ok_or("no address")?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = TcpStream::connect(address)?;
        connection.set_nodelay(true)?;
        connections.push(connection);
    }
    for first in (0..calls).step_by(CONNECTIONS) {
        for (number, connection) in (first..).zip(&mut connections) {
            let query = sample::query(number, query);
            // At once: a request in several packets would be read several times.
            connection.write_all(
                format!("GET /call_event?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes(),
            )?;
        }
        for connection in &mut connections {
            let mut answer = [0; 1024];
            let length = connection.read(&mut answer)?;
            if !answer[..length].starts_with(b"HTTP/1.1 200 ") || !answer[..length].ends_with(b"\r\n\r\n") {
                return Err(format!("answered {}", String::from_utf8_lossy(&answer[..length])).into());
            }
        }
    }
    Ok(())
}

/// Reads what callgrind wrote.
fn read(output: &Path) -> Result<Count> {
    let annotated =
        Command::new("callgrind_annotate").args(["--threshold=100", "--auto=no"]).arg(output).output()?;
    let text = String::from_utf8(annotated.stdout)?;
    let mut all = None;
    let mut functions = HashMap::new();
    // "1,234 (5.67%)  file:function [object]", below "1,234 (100.0%)  PROGRAM TOTALS".
    for line in text.lines() {
        let Some((instructions, rest)) = line.trim_start().split_once(' ') else { continue };
        let Ok(instructions) = instructions.replace(',', "").parse::<f64>() else { continue };
        let Some((_, name)) = rest.split_once("%)") else { continue };
        match name.trim() {
            "PROGRAM TOTALS" => all = Some(instructions),
            name => {
                // The same function may be in several files, where it has been inlined.
                let function = name.split_once(':').map_or(name, |(_, function)| function);
                let function = function.split(" [").next().unwrap_or(function);
                *functions.entry(function.to_owned()).or_default() += instructions;
            }
        }
    }
    let missing = || format!("callgrind_annotate printed no totals:\n{text}");
    Ok(Count { all: all.ok_or_else(missing)?, functions })
}
