//! The rules are evaluated here as promtool evaluates them.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::rules::Rules;
use super::storage::{Labels, STALE, Storage};
use crate::support::Scratch;

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
