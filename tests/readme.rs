//! The promise: README is short, and who follows its Quick start sees what it shows.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::Scratch;
use support::exporter::{Exporter, command};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn readme() -> String {
    fs::read_to_string(path("README.md")).expect("README.md")
}

/// The fenced blocks of the Quick start: a language, and what stands in the block.
fn quick_start() -> Vec<(String, String)> {
    let readme = readme();
    let (_, section) = readme.split_once("\n## Quick start\n").expect("the Quick start");
    let section = section.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```").skip(1).step_by(2);
    blocks
        .map(|block| {
            let (language, content) = block.split_once('\n').expect("a block with lines");
            (language.to_owned(), content.to_owned())
        })
        .collect()
}

/// The arguments that a command of cargo gives the exporter.
fn arguments(cargo: &str) -> Vec<String> {
    let rest = cargo.trim().strip_prefix("cargo run --release").expect("a run of the exporter");
    rest.split_whitespace().filter(|word| *word != "--").map(str::to_owned).collect()
}

#[test]
fn it_is_read_in_a_few_minutes() {
    let (lines, words) = (readme().lines().count(), readme().split_whitespace().count());
    assert!(lines <= 150 && words <= 1_000, "{lines} lines, {words} words");
}

#[test]
fn the_quick_start_shows_what_a_stranger_sees() {
    let blocks = quick_start();
    let sh: Vec<_> = blocks.iter().filter(|(language, _)| language == "sh").map(|(_, text)| text).collect();
    let shown = &blocks.iter().find(|(language, _)| language == "text").expect("what the metrics show").1;

    let mut run = command();
    let exporter = Exporter::launch(run.args(arguments(sh[0])));
    let script = sh[1]
        .replace("127.0.0.1:20200", &exporter.call_events.to_string())
        .replace("127.0.0.1:9464", &exporter.admin.to_string());
    let run = |line: &str| {
        let output = Command::new("bash").args(["-c", line]).output().expect("bash runs");
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    // The call sent again changes nothing.
    for _ in 0..2 {
        let said: Vec<_> = script.lines().map(run).collect();
        assert!(said[0].starts_with("HTTP/1.1 200 "), "{}", said[0]);
        assert_eq!(&said[1], shown);
    }
}

#[test]
fn a_directory_keeps_the_totals_as_it_says() {
    let blocks = quick_start();
    let (_, line) =
        blocks.iter().find(|(_, text)| text.contains("--state-dir")).expect("a run with a directory");
    let scratch = Scratch::new("readme");
    let directory = scratch.0.join("state");
    let arguments: Vec<_> = arguments(line)
        .into_iter()
        .map(|word| if word.starts_with("./") { directory.display().to_string() } else { word })
        .collect();
    let start = || Exporter::launch(command().args(&arguments));
    let sample = support::call::DOCUMENTED_SAMPLE;
    let first = start();
    assert_eq!(first.send(sample).status, 200);
    first.kill();
    assert_eq!(start().accepted(), 1.0);
}

/// The tests that README names are those of continuous integration.
#[test]
fn everybody_runs_the_same_tests() {
    let readme = readme();
    let commands = readme.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    assert!(commands.into_iter().any(|command| command == "tests/run\n"), "README has the command");
    let mode = fs::metadata(path("tests/run")).expect("tests/run").permissions().mode();
    assert_ne!(mode & 0o111, 0, "it can be executed");
    let continuous = fs::read_to_string(path(".ci/run")).expect(".ci/run");
    let last = continuous.lines().last().unwrap_or_default();
    assert!(last.ends_with("/../tests/run\" --peers"), "{last}");
}

/// What a translation has of a page that is the same in every language: blocks of code, code within a line, and links,
/// sorted where languages order a sentence otherwise.
fn beside_the_language(page: &str) -> [Vec<String>; 4] {
    let fenced: Vec<_> = page.split("```").skip(1).step_by(2).map(str::to_owned).collect();
    let without = page.split("```").step_by(2).collect::<String>();
    let indented = without.lines().filter(|line| line.starts_with("    ")).map(str::to_owned).collect();
    let sorted = |mut parts: Vec<String>| {
        parts.sort();
        parts
    };
    let code = without.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let links = without.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links = links.filter(|link| !link.starts_with("README.")).map(str::to_owned).collect();
    [fenced, indented, sorted(code), sorted(links)]
}

#[test]
fn translations_have_the_same_commands_links_and_sections() {
    let sections = |page: &str| {
        let levels = page.lines().filter(|line| line.starts_with('#') || line.starts_with('|'));
        levels.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    for name in ["README.ja.md", "README.ko.md"] {
        let page = fs::read_to_string(path(name)).expect("a translation");
        assert_eq!(beside_the_language(&page), beside_the_language(&readme()), "{name}");
        assert_eq!(sections(&page), sections(&readme()), "{name}");
        assert!(readme().contains(&format!("]({name})")) && page.contains("](README.md)"), "{name}");
    }
}
