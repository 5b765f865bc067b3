//! The promise: alerts wake people for what they must get up for, soon, once, and for nothing else.
//!
//! Some incidents are played here, always the same; `tests/incidents/run` plays months of others.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "incidents/mod.rs"]
mod incidents;
mod support;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use incidents::happening::INCIDENTS;
use incidents::play::{Plan, play};
use incidents::rules::Rules;
use incidents::service::Size;
use incidents::storage::{Labels, STALE, Storage};
use incidents::verdict;
use support::Scratch;

/// The rule files, in the order in which they are evaluated.
fn rule_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/rules");
    ["recording.rules.yml", "alerts.rules.yml"].map(|file| folder.join(file)).to_vec()
}

/// Plays incidents of these names, and demands that each is found in time, by one page at most, and that nothing else alerts.
fn assert_found(size: Size, days: usize, pace: Option<(usize, usize)>, names: &[&str]) {
    let incidents: Vec<_> =
        (0..INCIDENTS.len()).filter(|place| names.contains(&INCIDENTS[*place].name)).collect();
    assert_eq!(incidents.len(), names.len(), "{names:?}");
    // A seed of its own each time would fail somebody else's change.
    let plan = Plan {
        size,
        seed: 20_200,
        days,
        incidents,
        replicas: 1,
        is_stored: false,
        is_pushed: false,
        interval: 60,
        has_services: false,
        earlier: None,
        pace,
    };
    let outcome = play(&plan, Path::new("prometheus"), &rule_files());
    let table = verdict::table(&plan, &outcome);
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

/// The rules are evaluated as promtool evaluates them, on series of this length.
const MINUTES: usize = 90;

/// A midnight, as promtool's time begins with one.
const START: u64 = 1_767_571_200;

/// A recording rule that ends now and then, one that reads it in a window, and an alert of each sort.
const RULES: &str = r#"
groups:
  - name: planet-calls
    rules:
      - {record: "job:high:value", expr: "sum by (job) (x) > 10", labels: {window: 5m}}
      - {record: "job:high:count", expr: 'count_over_time(job:high:value{window="5m"}[10m])'}
      - {alert: AtOnce, expr: "job:high:value", labels: {severity: ticket}}
      - {alert: AfterMinutes, expr: "job:high:value", for: 3m}
      - {alert: Kept, expr: "job:high:count > 6", for: 1m, keep_firing_for: 4m}
"#;

/// What a series of one of two jobs has in each minute: a value, the mark that it has ended, or nothing.
fn series(chance: &mut SmallRng) -> Vec<Option<f64>> {
    let mut values: Vec<Option<f64>> = Vec::new();
    while values.len() < MINUTES {
        let value = match chance.random_range(0..5) {
            0 => None,
            1 => Some(STALE),
            2 => Some(4.0),
            _ => Some(12.0),
        };
        values.extend((0..chance.random_range(1..9)).map(|_| value));
    }
    values.truncate(MINUTES);
    values
}

fn notation(values: &[Option<f64>]) -> String {
    let word = |value: &Option<f64>| match value {
        None => "_".to_owned(),
        Some(value) if value.to_bits() == STALE.to_bits() => "stale".to_owned(),
        Some(value) => value.to_string(),
    };
    values.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn labels(of: &Labels) -> String {
    let pairs: Vec<_> = of
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

#[test]
fn rules_are_evaluated_as_promtool_evaluates_them() {
    let scratch = Scratch::new("against-promtool");
    let rule_file = scratch.0.join("rules.yml");
    std::fs::write(&rule_file, RULES).expect("a file");
    let mut fired = 0;
    for seed in 0..3 {
        let chance = &mut SmallRng::seed_from_u64(seed);
        let mut storage = Storage::start(Path::new("prometheus"));
        let mut text = format!(
            "rule_files: ['{}']\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n",
            rule_file.display()
        );
        for job in ["one", "other"] {
            let values = series(chance);
            let _ =
                writeln!(text, "      - {{series: 'x{{job=\"{job}\"}}', values: '{}'}}", notation(&values));
            let pairs = [("__name__", "x"), ("job", job)];
            let series =
                storage.series(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
            for (minute, value) in
                values.iter().enumerate().filter_map(|(minute, value)| Some((minute, (*value)?)))
            {
                storage.put(series, START + minute as u64 * 60, value);
            }
        }
        storage.write();
        let mut rules = Rules::read(Path::new("prometheus"), &[&rule_file], 60);
        let middle = START + 40 * 60;
        rules.evaluate(&mut storage, START, middle);
        rules.evaluate(&mut storage, middle + 60, START + (MINUTES as u64 - 1) * 60);
        text += "    promql_expr_test:\n";
        for minute in 0..MINUTES as u64 {
            let time = START + minute * 60;
            let now = rules.fired.iter().filter(|fired| (fired.from..=fired.to).contains(&time));
            let samples: Vec<_> =
                now.map(|fired| format!("{{labels: '{}', value: 1}}", labels(&fired.labels))).collect();
            fired += samples.len();
            let _ = writeln!(
                text,
                "      - {{expr: 'max without (alertstate) (ALERTS{{alertstate=\"firing\"}})', eval_time: {minute}m, exp_samples: [{}]}}",
                samples.join(", ")
            );
            let recorded = storage.ask("max without () (job:high:count)", time, time, 60);
            let samples: Vec<_> = recorded
                .iter()
                .map(|(of, values)| format!("{{labels: '{}', value: {}}}", labels(of), values[0].1))
                .collect();
            let _ = writeln!(
                text,
                "      - {{expr: 'max without () (job:high:count)', eval_time: {minute}m, exp_samples: [{}]}}",
                samples.join(", ")
            );
        }
        let test = scratch.0.join("test.yml");
        std::fs::write(&test, text).expect("a file");
        let output = Command::new("promtool").args(["test", "rules"]).arg(&test).output().expect("promtool");
        assert!(output.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(fired > 50, "{fired} minutes with an alert");
}
