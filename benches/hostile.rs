//! Attacks the exporter in every way that is known, one after another, and prints what honest clients beside each attack saw.
//!
//! `tests/hostile/run`. Losses, a death and memory beyond what is promised are failures; how long calls take is printed.

#![expect(clippy::print_stdout, reason = "it prints a table")]

#[path = "../tests/hostile/mod.rs"]
mod hostile;
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use hostile::{attacks, soak, trial};

/// Attacks the exporter, beside honest clients that measure.
#[derive(Debug, Parser)]
struct Arguments {
    /// Attacks with this in their names; all unless given. May be given several times.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// How long honest clients measure without the attack, and beside it.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// No attack, but so long at half load, with a collector that comes and goes and with scrapes.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    soak: Option<Duration>,
    /// The names of the attacks, and nothing else.
    #[arg(long)]
    list: bool,
    /// Cargo gives it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_good = match arguments.soak {
        Some(length) => {
            println!("{}", soak::HEADING);
            let wrong = soak::soak(length, |row| println!("{row}"));
            wrong.iter().for_each(|line| println!("WRONG: {line}"));
            wrong.is_empty()
        }
        None => attack(&arguments),
    };
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes the attacks that were asked for, and answers whether all is good.
fn attack(arguments: &Arguments) -> bool {
    let is_wanted =
        |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|text| name.contains(text));
    let attacks: Vec<_> = attacks::all().into_iter().filter(|attack| is_wanted(&attack.name)).collect();
    if arguments.list {
        attacks.iter().for_each(|attack| println!("{}", attack.name));
        return true;
    }
    println!("{}", trial::HEADING);
    let mut bad = Vec::new();
    for attack in &attacks {
        let verdict = trial::attempt(attack, Duration::from_secs(arguments.seconds));
        print!("{}", verdict.row(&attack.name));
        if !verdict.is_good() {
            bad.push(&attack.name);
        }
    }
    println!("\n{} attacks; {} went wrong", attacks.len(), bad.len());
    bad.iter().for_each(|name| println!("- {name}"));
    bad.is_empty() && !attacks.is_empty()
}
