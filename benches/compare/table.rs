//! The tables of a run, in Markdown.

use std::fmt::Write;

use super::Measured;
use super::measure::{Cost, installed_size};
use super::support::{Result, median};

/// What each costs, and what it keeps.
pub(crate) fn tables(compared: &mut [Measured]) -> Result<String> {
    let mut yardstick = None;
    let mut text = "| | calls a second | of bare | processor time of a call | times of bare | millicores at 200 calls a second | p50 | p99 | \
                    memory | installed |\n|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for Measured { peer, costs, .. } in &mut *compared {
        let mut middle = |value: fn(&Cost) -> f64| value(median(costs, value));
        let (calls, time) = (middle(|cost| cost.calls_a_second), middle(|cost| cost.time));
        let (bare_calls, bare_time) = *yardstick.get_or_insert((calls, time));
        let (millicores, memory) = (middle(|cost| cost.millicores), middle(|cost| cost.memory));
        let (p50, p99) = (middle(|cost| cost.p50), middle(|cost| cost.p99));
        let size = peer.installed.iter().map(|path| installed_size(path)).sum::<Result<u64>>()?;
        let installed = if size == 0 { String::new() } else { format!("{:.1} MB", size as f64 / 1e6) };
        writeln!(
            text,
            "| {} | {calls:.0} | {:.2} | {time:.0} us | {:.1} | {millicores:.0} | {p50:.2} ms | {p99:.1} ms | {memory:.0} MiB | \
             {installed} |",
            peer.name,
            calls / bare_calls,
            time / bare_time
        )?;
    }
    text += "\n| | durations | a call that is sent twice | after `kill -9` and a start | not counted under load |\n|---|---|---|---|---|\n";
    for Measured { peer, kept, costs } in compared {
        let Some(kept) = kept else { continue };
        let durations = if kept.has_durations { "yes" } else { "no" };
        let repeats = if kept.counts_repeats { "counts twice" } else { "counts once" };
        let (left, acknowledged) = kept.after_a_kill;
        let lost = costs.iter().map(|cost| cost.lost).sum::<f64>();
        writeln!(text, "| {} | {durations} | {repeats} | {left} of {acknowledged} | {lost} |", peer.name)?;
    }
    Ok(text)
}
