//! Every law holds for the seeds, for seeds that are damaged, and for bytes at random.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;

use super::LAWS;

/// Damaged seeds and random bytes that each law is asked about. More are for `fuzz/`.
const CASES: u32 = 150;

/// Bytes of a seed that are damaged at most.
const LONGEST: usize = 8 * 1024;

fn top(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files in a folder, and in folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> =
        paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// The seeds of a law: its own, and the files of the state directories that are kept, as `fuzz/run` takes them.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let kept = fs::read_to_string(top("fuzz/kept-seeds")).expect("fuzz/kept-seeds");
    let endings: Vec<&str> = kept
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(law, _)| *law == name)
        .map(|(_, end)| end)
        .collect();
    let mut seeds = files(&top("fuzz/seeds").join(name));
    let of_kept = files(&top("tests/data/kept")).into_iter();
    seeds.extend(of_kept.filter(|path| {
        let path = path.to_string_lossy();
        endings.iter().any(|end| path.ends_with(end))
    }));
    seeds.iter().map(|path| fs::read(path).expect("a seed")).collect()
}

/// What is done to a seed.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index, usize),
    Repeat(Index, usize),
    Insert(Index, Vec<u8>),
    /// What stands in another seed comes in.
    Splice(Index, Index, usize),
    End(Index),
}

impl Damage {
    fn any() -> impl Strategy<Value = Damage> {
        let odd = prop::sample::select(vec![
            &b"\0"[..],
            b"\n",
            b"\r\n\r\n",
            b"%",
            b"\xff",
            b"-1",
            b"99999999999999999999",
            b"=",
            b"&",
            b"\"",
            b" ",
            b"?",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
        ]);
        prop_oneof![
            3 => (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
            1 => (any::<Index>(), 1..40usize).prop_map(|(at, length)| Damage::Cut(at, length)),
            1 => (any::<Index>(), 1..40usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
            1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
            2 => (any::<Index>(), odd).prop_map(|(at, bytes)| Damage::Insert(at, bytes.to_vec())),
            1 => (any::<Index>(), any::<Index>(), 1..80usize)
                .prop_map(|(at, from, length)| Damage::Splice(at, from, length)),
            1 => any::<Index>().prop_map(Damage::End),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>, other: &[u8]) {
        let place = |at: &Index| at.index(bytes.len() + 1);
        let piece = |of: &[u8], from: usize, length: usize| of[from..(from + length).min(of.len())].to_vec();
        match self {
            Damage::Flip(at, bit) => {
                let at = place(at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Damage::Cut(at, length) => {
                let at = place(at);
                drop(bytes.drain(at..(at + length).min(bytes.len())));
            }
            Damage::Repeat(at, length) => {
                let at = place(at);
                let piece = piece(bytes, at, *length);
                drop(bytes.splice(at..at, piece));
            }
            Damage::Insert(at, inserted) => {
                let at = place(at);
                drop(bytes.splice(at..at, inserted.iter().copied()));
            }
            Damage::Splice(at, from, length) => {
                let at = place(at);
                let piece = piece(other, from.index(other.len() + 1), *length);
                drop(bytes.splice(at..at, piece));
            }
            Damage::End(at) => bytes.truncate(place(at)),
        }
    }
}

/// Bytes at random, or a damaged seed.
fn bytes(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damaged = (any::<Index>(), any::<Index>(), prop::collection::vec(Damage::any(), 1..6)).prop_map(
        move |(seed, other, damages)| {
            let mut bytes = seeds[seed.index(seeds.len())].clone();
            bytes.truncate(LONGEST);
            for damage in damages {
                damage.apply(&mut bytes, &seeds[other.index(seeds.len())]);
            }
            bytes
        },
    );
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..300), 4 => damaged]
}

/// The law of this name.
fn holds(name: &str) {
    let (_, law) = LAWS.iter().find(|(known, _)| *known == name).expect("a law");
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has a seed");
    seeds.iter().for_each(|seed| law(seed));
    proptest!(ProptestConfig::with_cases(CASES), |(bytes in bytes(seeds))| law(&bytes));
}

/// A test for each law.
macro_rules! laws {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            holds(stringify!($name));
        })*

        /// The laws that have a test.
        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

laws! {
    authorization callback_path callback_query checkpoint client_address connection credentials_file damaged_journal field_value
    flag_value journal_record journal_segment json_lines otlp_answer proxy_header raw_head request_host secret_parameter sink_position
    tls_files waiting_segment web_config
}

#[test]
fn every_law_has_a_test_a_target_and_seeds() {
    let laws: Vec<_> = LAWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(laws, TESTED);
    let manifest = fs::read_to_string(top("fuzz/Cargo.toml")).expect("fuzz/Cargo.toml");
    let targets: Vec<_> = manifest
        .split("[[bin]]\n")
        .skip(1)
        .filter_map(|target| target.strip_prefix("name = \"")?.split_once('"'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(targets, laws);
    for name in laws {
        let target = fs::read_to_string(top(&format!("fuzz/targets/{name}.rs"))).expect("a target");
        assert!(target.contains(&format!("fuzzing::{name}")), "{name}");
    }
}
