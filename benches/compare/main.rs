//! What counting call events costs in the exporter, and in other programs that a team could count them with. One after
//! another has the first core for itself; wrk and call-simulator have the second.
//!
//! `benches/compare/run`, which installs the others. What is not installed is left out, and what does not count is not
//! compared.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod measure;
mod peers;
mod running;
mod table;

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use clap::Parser;

use measure::{Cost, Kept};
use peers::Peer;
use support::wrk::Wrk;
use support::{Result, bare};

/// Compares the exporter with other programs that count calls.
#[derive(Debug, Parser)]
struct Arguments {
    /// Programs with this in their names, beside the bare server; all unless given. May be given several times.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// How often each is measured; the tables have medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Cargo gives it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is known of a program.
struct Measured {
    peer: Peer,
    kept: Option<Kept>,
    costs: Vec<Cost>,
}

fn main() -> Result<()> {
    if std::env::args().nth(1).is_some_and(|argument| argument == bare::ARGUMENT) {
        return bare::serve(peers::CALLS);
    }
    let Arguments { only, rounds, .. } = Arguments::parse();
    let scratch = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/compare");
    let mut compared = Vec::new();
    for peer in peers::all()? {
        let is_wanted = only.is_empty() || only.iter().any(|text| peer.name.contains(text));
        // The bare server is what the others are compared with.
        if !is_wanted && peer.calls.is_some() {
            continue;
        }
        match try_out(&peer, &scratch) {
            Ok(kept) => compared.push(Measured { peer, kept, costs: Vec::new() }),
            Err(error) => println!("{} is left out: {error}", peer.name),
        }
    }
    let wrk = Wrk::new()?;
    for round in 1..=usize::from(rounds) {
        for Measured { peer, costs, .. } in &mut compared {
            let cost = measure::cost(peer, &scratch, &wrk, round)?;
            println!("round {round}: {}: {cost}", peer.name);
            costs.push(cost);
        }
    }
    let tables = table::tables(&mut compared)?;
    println!("\n{tables}");
    let file = scratch.with_extension("md");
    std::fs::write(&file, tables)?;
    println!("They are in {} as well.", file.display());
    Ok(())
}

/// Finds out whether a program counts, and what it keeps.
fn try_out(peer: &Peer, scratch: &Path) -> Result<Option<Kept>> {
    if let Some(file) = peer.installed.iter().find(|file| !file.exists()) {
        return Err(format!("{} is not installed", file.display()).into());
    }
    measure::kept(peer, scratch)
}
