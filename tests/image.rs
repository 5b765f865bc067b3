//! The image, as far as it can be told without building it: the Dockerfile is well made, what it builds from is all there,
//! and the final stage has what the program needs.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::Command;

use support::{Scratch, charts::path};

/// The libraries of Debian's libc6 and libgcc-s1, which distroless/cc has (its documentation: base, libgcc1).
const LIBRARIES: [&str; 6] =
    ["linux-vdso.so", "libc.so", "libm.so", "libgcc_s.so", "ld-linux-x86-64.so", "ld-linux-aarch64.so"];

#[test]
fn the_dockerfile_has_no_findings() {
    let hadolint = path(".tools/charts/python/bin/hadolint");
    let output = Command::new(&hadolint).arg(path("Dockerfile")).output();
    let output = output.unwrap_or_else(|error| panic!("tests/run installs {}: {error}", hadolint.display()));
    let findings = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{findings}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_program_needs_no_library_that_the_image_does_not_have() {
    let output = Command::new("ldd").arg(env!("CARGO_BIN_EXE_planet-call-exporter")).output().expect("ldd");
    let needed = String::from_utf8(output.stdout).expect("text");
    assert!(needed.contains("libc.so"), "{needed}");
    for line in needed.lines() {
        let library =
            line.split_whitespace().next().and_then(|path| path.rsplit('/').next()).expect("a name");
        assert!(LIBRARIES.iter().any(|known| library.starts_with(known)), "{line}");
    }
}

/// What .dockerignore lets through is what the Dockerfile copies, and cargo is content with that.
#[test]
fn the_build_has_all_that_it_needs_and_nothing_else() {
    let dockerfile = fs::read_to_string(path("Dockerfile")).expect("a Dockerfile");
    let copied: Vec<_> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY ").filter(|line| !line.starts_with("--from")))
        .flat_map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            words[..words.len() - 1].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()
        })
        .collect();
    let ignored = fs::read_to_string(path(".dockerignore")).expect("a .dockerignore");
    let mut rules = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"), "nothing is let through but what follows");
    assert_eq!(rules.map(|rule| rule.trim_start_matches('!')).collect::<Vec<_>>(), copied);

    let context = Scratch::new("image");
    for name in &copied {
        let to = context.0.join(name);
        fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
        let status = Command::new("cp").arg("-r").arg(path(name)).arg(&to).status().expect("cp");
        assert!(status.success(), "{name}");
    }
    let tree =
        ["tree", "--locked", "--offline", "--no-default-features", "--edges", "normal", "--depth", "1"];
    let output = Command::new(env!("CARGO")).args(tree).current_dir(&context.0).output().expect("cargo");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(tree.contains(" hyper v") && !tree.contains(" rand v"), "without the simulator: {tree}");
}
