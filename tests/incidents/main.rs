//! The promise: alerts wake people for what they must get up for, soon, once, and for nothing else.
//!
//! Days of a service's calls are played, with incidents whose beginnings are known: the calls go to the real exporter, its page to a
//! real Prometheus by remote write, and the rule files are evaluated at the times that are played. What fired is compared with what
//! happened. A short form is a test; `tests/incidents/run` plays whole months.
//!
//! | file | what it has |
//! |---|---|
//! | service.rs | a service: how many calls, where and when, how they usually end; the seed chooses it |
//! | happening.rs | the incidents, and what must alert when |
//! | calls.rs | the calls of a minute, and their call events |
//! | exporter.rs | the real exporter, and its page |
//! | storage.rs | the real Prometheus |
//! | rules.rs | the rules, evaluated |
//! | play.rs | one minute after another |
//! | verdict.rs | which alert came in time, and which for nothing |

#![allow(clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "it is no library")]

#[path = "../support/mod.rs"]
mod support;

mod against_promtool;
mod calls;
mod exporter;
mod happening;
mod play;
mod rules;
mod service;
mod storage;
mod verdict;

use std::path::{Path, PathBuf};

use happening::INCIDENTS;
use play::{Plan, play};
use service::Size;

/// The rule files, in the order in which they are evaluated.
fn rule_files() -> Vec<PathBuf> {
    let folder = match std::env::var("PLANET_INCIDENTS_RULES") {
        Ok(folder) => std::path::absolute(folder).expect("a directory"),
        Err(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/rules"),
    };
    ["recording.rules.yml", "alerts.rules.yml"].map(|file| folder.join(file)).to_vec()
}

fn prometheus() -> PathBuf {
    std::env::var_os("PLANET_INCIDENTS_PROMETHEUS").map_or_else(|| PathBuf::from("prometheus"), PathBuf::from)
}

/// What `tests/incidents/run` was called with: `--seed N`, `--size NAME`, `--days N`, `--only TEXT`, each as often as wanted.
fn arguments(name: &str) -> Vec<String> {
    let all = std::env::var("PLANET_INCIDENTS").unwrap_or_default();
    let words: Vec<_> = all.split('\u{1f}').collect();
    let pairs = words.chunks_exact(2).filter(|pair| pair[0] == name);
    pairs.map(|pair| pair[1].to_owned()).collect()
}

/// Plays incidents of these names, and demands that each is found in time, by one page at most, and that nothing else alerts.
fn assert_found(size: Size, days: usize, pace: Option<(usize, usize)>, names: &[&str]) {
    let incidents: Vec<_> =
        (0..INCIDENTS.len()).filter(|place| names.contains(&INCIDENTS[*place].name)).collect();
    assert_eq!(incidents.len(), names.len(), "{names:?}");
    // Its own seed each time would fail somebody else's change. tests/incidents/run plays others.
    let plan = Plan { size, seed: 20_200, days, incidents, replicas: 1, is_stored: false, pace };
    let outcome = play(&plan, Path::new("prometheus"), &rule_files());
    let table = verdict::table(&plan, &outcome);
    println!("{}{table}", verdict::HEADING);
    for truth in &outcome.truths {
        let (found, after) = verdict::found(&plan, &outcome, truth);
        assert_eq!(found, verdict::Found::InTime, "{}: {after:?}\n{table}", truth.incident.name);
        let further = verdict::further_pages(&outcome, truth);
        assert!(further.is_empty(), "{}: {further:?}\n{table}", truth.incident.name);
    }
    let pages: Vec<_> = verdict::false_alarms(&outcome).into_iter().filter(|fired| fired.is_page()).collect();
    assert!(pages.is_empty(), "{pages:?}\n{table}");
}

#[test]
fn a_busy_service_is_paged_within_minutes() {
    let names = [
        "an IDC out",
        "platform out",
        "our server fails pushes",
        "credentials expired",
        "video only out",
        "10 % fail",
    ];
    assert_found(Size::Medium, 0, Some((150, 45)), &names);
}

#[test]
fn a_small_service_is_paged_by_its_calls() {
    let names = ["an IDC out", "our server fails pushes", "no calls", "exporter gone"];
    assert_found(Size::Small, 6, None, &names);
}

#[test]
fn the_long_form() {
    let seeds = arguments("--seed");
    let sizes = arguments("--size");
    let days: usize = arguments("--days").first().map_or(30, |days| days.parse().expect("days"));
    let replicas = arguments("--replicas").first().map_or(1, |replicas| replicas.parse().expect("replicas"));
    let only = arguments("--only");
    for seed in seeds {
        let seed: u64 = seed.parse().expect("a seed");
        println!("\nseed {seed}\n\n{}", verdict::HEADING);
        for size in Size::ALL {
            if !sizes.is_empty() && !sizes.iter().any(|name| name == size.as_str()) {
                continue;
            }
            let is_wanted = |place: &usize| {
                only.is_empty() || only.iter().any(|text| INCIDENTS[*place].name.contains(text))
            };
            let incidents: Vec<_> = (0..INCIDENTS.len()).filter(is_wanted).collect();
            let plan =
                Plan { size, seed, days: 8, incidents, replicas, is_stored: seed % 2 == 0, pace: None };
            if !only.iter().any(|text| text == "month") {
                let outcome = play(&plan, &prometheus(), &rule_files());
                print!("{}", verdict::table(&plan, &outcome));
            }
            if days > 0 {
                let plan = Plan { days, incidents: Vec::new(), ..plan };
                let outcome = play(&plan, &prometheus(), &rule_files());
                print!("{}", verdict::table(&plan, &outcome));
            }
        }
    }
}
