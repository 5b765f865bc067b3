//! Documents whose end is made of the code.

use std::path::Path;

/// Asserts that behind `mark` the document at `path` has `tables`, or with PLANET_TEST_UPDATE in the environment writes
/// them there.
pub(crate) fn assert_documented(path: &str, mark: &str, tables: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let written = std::fs::read_to_string(&file).expect(path);
    let (prose, _) = written.split_once(mark).expect("the mark before the tables");
    let expected = format!("{prose}{mark}{tables}");
    if std::env::var_os("PLANET_TEST_UPDATE").is_some() {
        std::fs::write(&file, &expected).expect("a file");
    } else {
        assert!(written == expected, "PLANET_TEST_UPDATE=1 writes {path} anew, and git diff shows it");
    }
}
