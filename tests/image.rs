//! The image, as far as it can be told without building it: the Dockerfile is well made, what it builds from is all there,
//! the final stage has what the program needs. `tests/image/run` builds it and runs it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::Command;

use support::{Scratch, charts::path};

/// The libraries of Debian's libc6 and libgcc-s1, which distroless/cc has (its documentation: base, libgcc1).
const LIBRARIES: [&str; 6] =
    ["linux-vdso.so", "libc.so", "libm.so", "libgcc_s.so", "ld-linux-x86-64.so", "ld-linux-aarch64.so"];

/// The Dockerfile's instructions, each on one line and without comments.
fn instructions() -> Vec<String> {
    let text = fs::read_to_string(path("Dockerfile")).expect("a Dockerfile");
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.lines().map(words).filter(|line| !line.is_empty()).collect()
}

/// What comes after this word, of each instruction that begins with it.
fn after<'a>(instructions: &'a [String], word: &str) -> Vec<&'a str> {
    instructions.iter().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).collect()
}

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
    let instructions = instructions();
    let copied: Vec<_> = after(&instructions, "COPY")
        .into_iter()
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            words[..words.len() - 1].to_vec()
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
    // What the Dockerfile does to the manifest.
    let sed = after(&instructions, "RUN").into_iter().flat_map(|line| line.split(" && "));
    for command in sed.filter(|command| command.starts_with("sed ")) {
        let status = Command::new("sh").args(["-c", command]).current_dir(&context.0).status().expect("sh");
        assert!(status.success(), "{command}");
    }
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        let fixed = ["--locked", "--offline", "--no-default-features"];
        command.args(arguments).args(fixed).current_dir(&context.0);
        let output = command.output().expect("cargo");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (said(&output.stdout), said(&output.stderr))
    };
    let (tree, said) = cargo(&["tree", "--edges", "normal", "--depth", "1"]);
    assert!(
        tree.contains(" hyper v") && !tree.contains(" indicatif v"),
        "without the simulator: {tree}{said}"
    );
    // Of these two only a build asks whether every target of the manifest is there, and it does that before it builds anything.
    let (_, said) = cargo(&["build", "--release", "--bin", "no-such-program"]);
    assert!(said.contains("no bin target named `no-such-program`"), "it could not be built: {said}");
}

/// Cargo goes by times of modification, and those of sources may be old. So nothing that was made of other sources may
/// be there: neither in a cache that outlives a build, nor in the layer of the dependencies.
#[test]
fn no_program_of_other_sources_can_be_shipped() {
    let instructions = instructions();
    let position = |what: &str| {
        let found = instructions.iter().position(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("no instruction with {what} in {instructions:#?}"))
    };
    assert!(!instructions.iter().any(|line| line.contains("type=cache")), "{instructions:#?}");
    let (dependencies, sources) = (position("cargo clean"), position("COPY src "));
    assert!(dependencies < sources && sources < position("/image/usr/local/bin/planet-call-exporter"));
    let made_and_gone = &instructions[dependencies];
    let (made, gone) = (made_and_gone.find("cargo build"), made_and_gone.find("cargo clean"));
    assert!(made.is_some() && made < gone, "{made_and_gone}");
    assert!(made_and_gone.contains("--package planet-call-exporter"), "{made_and_gone}");
}

/// Both base images can be given, by digest for example, and each stage begins with one of them.
#[test]
fn base_images_are_arguments() {
    let instructions = instructions();
    let stages = instructions.iter().position(|line| line.starts_with("FROM ")).expect("a stage");
    let arguments = after(&instructions[..stages], "ARG");
    for name in ["RUST_IMAGE", "BASE_IMAGE"] {
        assert!(arguments.iter().any(|line| line.starts_with(&format!("{name}="))), "{name}: {arguments:?}");
    }
    assert_eq!(after(&instructions, "FROM"), ["${RUST_IMAGE} AS build", "${BASE_IMAGE}"]);
}

/// What is in COPY --from is copied without its own owner and mode, and so is what --chmod says of a folder, by many
/// builders. What is in it keeps them.
#[test]
fn the_state_directory_belongs_to_the_user_alone() {
    let instructions = instructions();
    let state = "install -d -o 65532 -g 65532 -m 0700 /image/var/lib/planet-call-exporter";
    assert!(instructions.iter().any(|line| line.contains(state)), "expected {state}: {instructions:#?}");
    assert_eq!(
        after(&instructions, "COPY")
            .into_iter()
            .filter(|line| line.starts_with("--from"))
            .collect::<Vec<_>>(),
        ["--from=build /image/ /"]
    );
    assert_eq!(after(&instructions, "USER"), ["65532:65532"]);
}

/// Its health is asked for by the program itself, since there is no other client in the image.
#[test]
fn the_health_check_is_a_command_of_the_program() {
    let instructions = instructions();
    let checks = after(&instructions, "HEALTHCHECK");
    let [check] = checks.as_slice() else { panic!("expected one health check, and there are {checks:?}") };
    let (_, command) = check.split_once("CMD ").expect("a command");
    let words: Vec<String> = serde_json::from_str(command).expect("a command without a shell");
    let entry: Vec<String> = serde_json::from_str(after(&instructions, "ENTRYPOINT")[0]).expect("a program");
    let (program, arguments) = words.split_first().expect("a program");
    assert_eq!([program.as_str()], entry.as_slice());
    let output =
        Command::new(env!("CARGO_BIN_EXE_planet-call-exporter")).args(arguments).arg("--help").output();
    let output = output.expect("the program");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(arguments, ["probe", "/livez"]);
}
