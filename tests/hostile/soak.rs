//! A long time at half load with a collector that comes and goes, and somebody who scrapes: nothing may grow, and the
//! totals are exact.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::honest::{Expected, Honest, Seen};
use super::vitals::{Vitals, promised_kib};
use super::wire::Wire;
use crate::support::backend::{Backend, Mood};
use crate::support::exporter::{Exporter, command};
use crate::support::{Scratch, eventually};

/// The head of the table.
pub const HEADING: &str = "| after | calls | memory | descriptors | threads |\n|---|---|---|---|---|";

/// Clients that send at once.
const CLIENTS: usize = 8;

/// How long the collector stays as it is.
const MOOD: Duration = Duration::from_secs(7);

/// From one scrape to the next.
const SCRAPES: Duration = Duration::from_secs(1);

/// Rows of the table.
const ROWS: u32 = 20;

/// What may come and go without a growth: descriptors and threads, and memory.
const SLACK: usize = 8;
const SLACK_KIB: usize = 16 * 1024;

/// Soaks for so long and hands each row of the table over as it comes. What is wrong comes back.
pub fn soak(length: Duration, mut row: impl FnMut(String)) -> Vec<String> {
    let (scratch, backend) = (Scratch::new("soak"), Backend::start());
    let mut command = command();
    command.arg("--state-dir").arg(scratch.0.join("state"));
    // A window that is soon full, so that what grows then is none.
    command.args(["--seen-max", "5000"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", backend.address()));
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "1000");
    let mut exporter = Exporter::launch(&mut command);
    let honest = Honest::new(exporter.call_events, Wire::Plain, None, Expected::Ok);

    // As fast as it answers, to learn what half of that is.
    let (is_over, started) = (AtomicBool::new(false), Instant::now());
    let mut seen = vec![all_out(&honest, &is_over)];
    let each = started.elapsed() / honest.sent().max(1) as u32;
    let pace = each * 2 * CLIENTS as u32;

    let mut vitals: Vec<Vitals> = Vec::new();
    is_over.store(false, Ordering::Relaxed);
    thread::scope(|scope| {
        let load = scope.spawn(|| honest.send(CLIENTS, pace, &is_over));
        let started = Instant::now();
        let (mut next_row, mut next_mood, mut mood) = (length / ROWS, MOOD, Mood::Up);
        while started.elapsed() < length && exporter.process.ended().is_none() {
            thread::sleep(SCRAPES);
            let page = exporter.metrics();
            // Nobody looks at the spans, and they would fill the memory of this program.
            backend.received().spans.clear();
            let elapsed = started.elapsed();
            if elapsed >= next_mood {
                mood = if mood == Mood::Up { Mood::Away } else { Mood::Up };
                backend.set_mood(mood);
                next_mood += MOOD;
            }
            if elapsed >= next_row {
                next_row += length / ROWS;
                if let Some(now) = Vitals::of(exporter.process.id()) {
                    vitals.push(now);
                    let (calls, mib) = (page.sum("planet_calls_total"), now.resident_kib.div_ceil(1024));
                    let (descriptors, threads) = (now.descriptors, now.threads);
                    let elapsed = elapsed.as_secs();
                    row(format!("| {elapsed} s | {calls} | {mib} MiB | {descriptors} | {threads} |"));
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        seen.push(load.join().expect("no panic"));
    });
    let mut wrong = growth(&vitals);
    wrong.extend(losses(&mut exporter, &honest, &seen));
    let peak = vitals.iter().map(|vitals| vitals.peak_kib).max().unwrap_or_default();
    if peak > promised_kib(true, false) {
        wrong.push(format!("{peak} KiB at its peak, which is more than is promised"));
    }
    wrong
}

fn all_out(honest: &Honest, is_over: &AtomicBool) -> Seen {
    thread::scope(|scope| {
        let load = scope.spawn(|| honest.send(CLIENTS, Duration::ZERO, is_over));
        thread::sleep(Duration::from_secs(3));
        is_over.store(true, Ordering::Relaxed);
        load.join().expect("no panic")
    })
}

/// What is larger in the last quarter than in the second. In the first one, caches fill.
fn growth(vitals: &[Vitals]) -> Vec<String> {
    let quarter = vitals.len() / 4;
    let (Some(second), Some(last)) = (vitals.get(quarter..2 * quarter), vitals.get(3 * quarter..)) else {
        return Vec::new();
    };
    let grown = [
        (
            "descriptors",
            most(second, |vitals| vitals.descriptors),
            most(last, |vitals| vitals.descriptors),
            SLACK,
        ),
        ("threads", most(second, |vitals| vitals.threads), most(last, |vitals| vitals.threads), SLACK),
        (
            "KiB of memory",
            most(second, |vitals| vitals.resident_kib),
            most(last, |vitals| vitals.resident_kib),
            SLACK_KIB,
        ),
    ];
    let grown = grown.into_iter().filter(|(_, before, after, slack)| after > &(before + slack));
    grown
        .map(|(what, before, after, _)| format!("{before} {what} in the second quarter, {after} in the last"))
        .collect()
}

/// The largest of these.
fn most(vitals: &[Vitals], number: fn(&Vitals) -> usize) -> usize {
    vitals.iter().map(number).max().unwrap_or_default()
}

fn losses(exporter: &mut Exporter, honest: &Honest, seen: &[Seen]) -> Vec<String> {
    if let Some(status) = exporter.process.ended() {
        return vec![format!("the exporter ended with {status}")];
    }
    let (sent, lost) = (honest.sent(), seen.iter().flat_map(|seen| &seen.lost).collect::<Vec<_>>());
    if let Some(first) = lost.first() {
        return vec![format!("{} of {sent} calls were not answered 200, such as {first}", lost.len())];
    }
    let counted = eventually("the totals", || Some(exporter.metrics().sum("planet_calls_total")));
    if counted != sent as f64 {
        return vec![format!("{counted} calls are counted, and {sent} were sent")];
    }
    Vec::new()
}
