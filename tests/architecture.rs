//! The promise of the table of rooms in src/lib.rs: a room uses only rooms that stand above it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in the order of the table.
fn rooms() -> Vec<String> {
    let documentation =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    let rows = documentation.lines().filter_map(|line| line.strip_prefix("//! | [`"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect()
}

/// The source files of a room.
fn files(room: &str) -> Vec<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join(format!("{room}.rs"))];
    let mut folders = vec![source.join(room)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files.retain(|file| file.exists() && file.extension().is_some_and(|extension| extension == "rs"));
    let is_test = |file: &PathBuf| {
        let within = file.strip_prefix(&source).unwrap_or(file);
        within.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
    };
    files.retain(|file| !is_test(file));
    files
}

/// The rooms that a file uses outside of its tests, by the words behind `crate::`.
fn used(file: &Path) -> Vec<String> {
    let source = fs::read_to_string(file).expect("a source file");
    let code = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let lines = code.lines().filter(is_code).collect::<Vec<_>>().join("\n");
    let uses = lines.split("crate::").skip(1);
    let word = |text: &str| {
        text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
    };
    uses.map(word).collect()
}

#[test]
fn a_room_uses_only_rooms_that_stand_above_it() {
    let rooms = rooms();
    assert!(rooms.len() > 8, "the table has all rooms: {rooms:?}");
    let place: BTreeMap<&str, usize> = rooms.iter().map(String::as_str).zip(0..).collect();
    let mut looked_at = 0;
    for room in &rooms {
        for file in files(room) {
            for other in used(&file) {
                looked_at += 1;
                let other_place =
                    place.get(other.as_str()).unwrap_or_else(|| panic!("{other} is in the table"));
                assert!(*other_place <= place[room.as_str()], "{} uses {other}", file.display());
            }
        }
    }
    assert!(looked_at > 100, "{looked_at} uses");
}

#[test]
fn every_module_of_the_crate_is_a_room() {
    let rooms = rooms();
    let source =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    let modules: Vec<_> =
        source.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(
        modules.iter().all(|module| rooms.iter().any(|room| room == module)),
        "{modules:?} and {rooms:?}"
    );
    assert_eq!(modules.len(), rooms.len());
}

/// rustfmt leaves comments as they are. A row of a table or a line of a drawing cannot be wrapped.
#[test]
fn comments_are_narrow_enough_to_be_read() {
    const WIDEST: usize = 130;
    for file in rooms().iter().flat_map(|room| files(room)) {
        let source = fs::read_to_string(&file).expect("a source file");
        for (number, line) in (1..).zip(source.lines()) {
            let comment = line.trim_start().strip_prefix("//");
            let text = comment.map(|comment| comment.trim_start_matches(['/', '!']).trim_start());
            let is_drawn = text.is_some_and(|text| text.starts_with('|') || text.contains('─'));
            let is_narrow = text.is_none() || is_drawn || line.chars().count() <= WIDEST;
            assert!(is_narrow, "{}:{number} is wider than {WIDEST}", file.display());
        }
    }
}
