//! The promise: every link of the documentation leads somewhere, every file that it names exists, and the program takes every
//! command that it shows.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use support::exporter::command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below these folders, and those beside Cargo.toml; none behind a link.
fn files(folders: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rest: Vec<_> = folders.iter().map(|folder| root().join(folder)).collect();
    let beside = fs::read_dir(root()).expect("the project").map(|entry| entry.expect("an entry").path());
    found.extend(beside.filter(|file| file.is_file() && !file.is_symlink()));
    while let Some(folder) = rest.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match (path.is_symlink(), path.is_dir()) {
                (true, _) => {}
                (false, true) if path.ends_with("node_modules") => {}
                (false, true) => rest.push(path),
                (false, false) => found.push(path),
            }
        }
    }
    found
}

/// The pages of the documentation.
fn pages() -> Vec<PathBuf> {
    let mut pages = files(&["benches", "docs", "dashboards", "helm", "examples", "src", "tests"]);
    pages.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    assert!(pages.len() > 20, "{pages:?}");
    pages
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("a page of text")
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

/// The lines of a page outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// A line without what stands in backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Where the links and pictures of a page lead, but for those that leave the project.
fn links(text: &str) -> Vec<String> {
    let targets = |line: &str| -> Vec<String> {
        let ends = without_code(line);
        let behind = ends.split("](").skip(1);
        behind.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
    };
    let leaves = |target: &String| target.contains("://") || target.starts_with("mailto:");
    prose(text).flat_map(targets).filter(|target| !leaves(target)).collect()
}

/// The anchors that a forge makes of the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for heading in prose(text).filter(|line| line.starts_with('#')) {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|kept| kept.is_alphanumeric() || matches!(kept, ' ' | '-' | '_'));
        let slug: String = kept.map(|kept| if kept == ' ' { '-' } else { kept }).collect();
        let number = (1..).map(|number| format!("{slug}-{number}"));
        let free = std::iter::once(slug.clone()).chain(number).find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut looked_at = 0;
    for page in pages() {
        let text = read(&page);
        for link in links(&text) {
            looked_at += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().expect("a folder").join(file),
            };
            let is_there = match anchor {
                "" => target.exists(),
                anchor => fs::read_to_string(&target).is_ok_and(|text| anchors(&text).contains(anchor)),
            };
            if !is_there {
                broken.push(format!("{}: {link}", shown(&page)));
            }
        }
    }
    assert!(looked_at > 100, "{looked_at} links");
    assert!(broken.is_empty(), "{broken:#?}");
}

/// A page that nobody finds is not read.
#[test]
fn the_index_has_every_page() {
    let index: BTreeSet<_> = links(&read(&root().join("docs/README.md"))).into_iter().collect();
    for entry in fs::read_dir(root().join("docs")).expect("docs/") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        let is_page = name.ends_with(".md") && name != "README.md";
        assert!(!is_page || index.contains(&name), "docs/README.md links {name}");
    }
}

/// What the program, its charts and its tests say about pages, such as `docs/otlp.md` in a help text.
#[test]
fn every_page_that_is_named_exists() {
    let mut missing = BTreeSet::new();
    for file in files(&["src", "helm", "tests", "benches", "dashboards", "examples"]) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for rest in text.split("docs/").skip(1) {
            let name: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
            let name = name.trim_end_matches('.');
            if name.ends_with(".md") && !root().join("docs").join(name).exists() {
                missing.insert(format!("{}: docs/{name}", shown(&file)));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_file_that_contributors_are_sent_to_exists() {
    let text = read(&root().join("CONTRIBUTING.md"));
    let named: Vec<_> = prose(&text)
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|code| code.contains('/') && !code.contains([' ', '*', ':']) && !code.starts_with("target/"))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !root().join(name).exists()).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The arguments of the exporter's commands in the code of a page.
fn commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let arguments = |line: &str| -> Option<Vec<String>> {
        let is_assignment = |word: &&str| word.contains('=');
        let mut words = line.split_whitespace().skip_while(is_assignment);
        (words.next()? == "planet-call-exporter").then(|| words.map(|word| word.replace('\'', "")).collect())
    };
    let has_flags = |arguments: &Vec<String>| arguments.iter().any(|word| word.starts_with("--"));
    let code = joined.lines().filter(|line| !line.contains('`'));
    code.filter_map(|line| arguments(line.trim())).filter(has_flags).collect()
}

#[test]
fn the_program_takes_every_command_that_is_shown() {
    let mut looked_at = 0;
    for page in pages() {
        for arguments in commands(&read(&page)) {
            looked_at += 1;
            // With --help nothing is run, but every argument is read.
            let output = command().args(&arguments).arg("--help").output().expect("the exporter runs");
            assert_eq!(output.status.code(), Some(0), "{}: {arguments:?}: {output:?}", shown(&page));
        }
    }
    assert!(looked_at > 4, "{looked_at} commands");
}
