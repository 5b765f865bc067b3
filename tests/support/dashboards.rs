//! The dashboards and the rules, as files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

pub fn dashboards() -> Vec<Value> {
    let files = fs::read_dir(path("dashboards")).expect("the dashboards").flatten().map(|file| file.path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.map(|file| serde_json::from_slice(&fs::read(file).expect("a file")).expect("JSON")).collect()
}

/// Every panel but rows, with the name of its dashboard.
pub fn panels() -> Vec<(String, Value)> {
    let of_dashboard = |dashboard: Value| {
        let title = dashboard["title"].as_str().expect("a title").to_owned();
        let panels = dashboard["panels"].as_array().expect("panels").clone();
        panels.into_iter().map(move |panel| (title.clone(), panel))
    };
    let panels = dashboards().into_iter().flat_map(of_dashboard);
    panels.filter(|(_, panel)| panel["type"] != "row").collect()
}

pub fn expressions(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().expect("targets").iter();
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

pub fn rule_files() -> [PathBuf; 2] {
    ["recording", "alerts"].map(|name| path(&format!("dashboards/rules/{name}.rules.yml")))
}

/// The expressions of the rules that are recorded or alert, by name. Rules are plain enough to be read line by line.
pub fn rules() -> Vec<(String, String)> {
    let mut rules: Vec<(String, String)> = Vec::new();
    let mut indent = None;
    for line in rule_files().iter().flat_map(|file| {
        fs::read_to_string(file).expect("a file").lines().map(str::to_owned).collect::<Vec<_>>()
    }) {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if let Some((_, name)) = text.strip_prefix("- ").and_then(|rule| rule.split_once(": "))
            && (text.starts_with("- record: ") || text.starts_with("- alert: "))
        {
            rules.push((name.to_owned(), String::new()));
            indent = None;
        } else if let Some(expression) = text.strip_prefix("expr: ") {
            indent = Some(depth);
            let expression = expression.trim_start_matches("|-");
            rules.last_mut().expect("a rule before its expression").1.push_str(expression);
        } else if indent.is_some_and(|indent| depth > indent) {
            let rule = rules.last_mut().expect("a rule before its expression");
            rule.1 += &format!("{text}\n");
        } else {
            indent = None;
        }
    }
    rules
}

/// The names of metrics in an expression.
pub fn metric_names(expression: &str) -> BTreeSet<String> {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':');
    let words = expression.split(|character| !is_of_name(character));
    let is_metric = |word: &&str| word.starts_with("planet_") || word.starts_with("process_");
    words.filter(is_metric).map(str::to_owned).collect()
}
