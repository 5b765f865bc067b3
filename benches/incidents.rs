//! Plays months of calls with incidents against the alerts, and prints what fired, when, and what fired for nothing.
//!
//! `tests/incidents/run --seed 7` plays all sizes of service, incidents and a normal month each. What it says of one
//! seed is no promise for another.

#![expect(clippy::print_stdout, reason = "it prints a table")]

#[path = "../tests/incidents/mod.rs"]
mod incidents;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;

use clap::Parser;

use incidents::happening::INCIDENTS;
use incidents::play::{Plan, play};
use incidents::service::Size;
use incidents::verdict;

/// Plays months of calls with incidents against the alerts.
#[derive(Debug, Parser)]
struct Arguments {
    /// What is random comes from it: the service, its calls, and when what happens. May be given several times.
    #[arg(long, default_value = "1")]
    seed: Vec<u64>,
    /// Sizes of service: small, medium, large; all unless given. May be given several times.
    #[arg(long, value_parser = size)]
    size: Vec<Size>,
    /// Incidents with this in their names; all unless given. May be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// No incidents.
    #[arg(long)]
    no_incidents: bool,
    /// Length of the normal month; 0: none.
    #[arg(long, default_value_t = 30)]
    days: usize,
    /// Exporters.
    #[arg(long, default_value_t = 1)]
    replicas: usize,
    /// The exporters have state directories.
    #[arg(long)]
    stored: bool,
    /// Metrics come over OTLP.
    #[arg(long)]
    pushed: bool,
    /// Calls have the label `service`.
    #[arg(long)]
    services: bool,
    /// The program of an earlier version, with which the first week is played.
    #[arg(long)]
    earlier: Option<PathBuf>,
    /// Seconds between evaluations, and between scrapes: 60, 30, 15.
    #[arg(long, default_value_t = 60, value_parser = interval)]
    interval: u64,
    /// The Prometheus that holds the data.
    #[arg(long, default_value = "prometheus")]
    prometheus: PathBuf,
    /// The directory of the rule files.
    #[arg(long, default_value = "dashboards/rules")]
    rules: PathBuf,
    /// Cargo gives it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn size(name: &str) -> Result<Size, String> {
    let sizes = Size::ALL.into_iter();
    sizes
        .into_iter()
        .find(|size| size.as_str() == name)
        .ok_or_else(|| "expected small, medium or large".to_owned())
}

fn interval(seconds: &str) -> Result<u64, String> {
    match seconds.parse() {
        Ok(seconds @ (15 | 30 | 60)) => Ok(seconds),
        _ => Err("expected 60, 30 or 15".to_owned()),
    }
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let rules = std::path::absolute(&arguments.rules)?;
    let files = ["recording.rules.yml", "alerts.rules.yml"].map(|file| rules.join(file));
    let is_wanted =
        |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|text| name.contains(text));
    let incidents: Vec<_> = (0..INCIDENTS.len()).filter(|place| is_wanted(INCIDENTS[*place].name)).collect();
    let sizes = if arguments.size.is_empty() { Size::ALL.to_vec() } else { arguments.size.clone() };
    for seed in &arguments.seed {
        println!("\nseed {seed}\n\n{}", verdict::HEADING.trim_end());
        for size in &sizes {
            let (seed, size, replicas, is_stored) = (*seed, *size, arguments.replicas, arguments.stored);
            let month = Plan {
                size,
                seed,
                days: arguments.days,
                incidents: Vec::new(),
                replicas,
                is_stored,
                is_pushed: arguments.pushed,
                interval: arguments.interval,
                has_services: arguments.services,
                earlier: arguments.earlier.clone(),
                pace: None,
            };
            if !arguments.no_incidents {
                // A week and a day, since alerts compare with last week.
                let plan = Plan { days: 8, incidents: incidents.clone(), ..month.clone() };
                print!("{}", verdict::table(&plan, &play(&plan, &arguments.prometheus, &files)));
            }
            if arguments.days > 0 {
                print!("{}", verdict::table(&month, &play(&month, &arguments.prometheus, &files)));
            }
        }
    }
    Ok(())
}
