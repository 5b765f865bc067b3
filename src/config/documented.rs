//! The tables of docs/configuration.md, made of the flags as clap has them.

use std::error::Error;
use std::fmt::Write;

use clap::builder::PossibleValue;
use clap::{Arg, CommandFactory};

use super::Config;
use crate::metrics::documented::assert_documented;

/// What stands before the tables.
const MARK: &str = "<!-- The tables are made of src/config/mod.rs: PLANET_TEST_UPDATE=1 cargo test --lib configuration -->\n";

#[test]
fn the_configuration_page_has_every_flag() {
    assert_documented("docs/configuration.md", MARK, &tables());
}

/// A table for each heading, in the order of the flags.
fn tables() -> String {
    let command = super::help::command(super::help::Extent::Long);
    let mut groups: Vec<(&str, Vec<&Arg>)> = Vec::new();
    for flag in command.get_arguments().filter(|argument| argument.get_env().is_some()) {
        let heading = flag.get_help_heading().expect("every flag is in a group");
        match groups.iter_mut().find(|(name, _)| *name == heading) {
            Some((_, flags)) => flags.push(flag),
            None => groups.push((heading, vec![flag])),
        }
    }
    let mut text = String::new();
    for (heading, flags) in groups {
        let _ = write!(
            text,
            "\n## {heading}\n\n| flag, variable | default | value | what |\n|---|---|---|---|\n"
        );
        for flag in flags {
            let name = flag.get_long().unwrap_or_default();
            let variable = flag.get_env().unwrap_or_default().to_string_lossy();
            let (what, default) = described(flag);
            let accepted = accepted(flag);
            let _ = writeln!(text, "| `--{name}`<br>`{variable}` | {default} | {accepted} | {what} |");
        }
    }
    text
}

/// What a flag is for, and its default. Where that is no value, the help has it in words at its end.
fn described(flag: &Arg) -> (String, String) {
    let help = flag.get_long_help().or(flag.get_help()).map(ToString::to_string).unwrap_or_default();
    let help = in_one_line(&help);
    let values: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let in_words =
        help.split_once(" [default: ").and_then(|(what, rest)| Some((what, rest.split_once(']')?)));
    let (what, default) = match in_words {
        Some((what, (default, rest))) => (format!("{what}{rest}"), default.to_owned()),
        None if values.is_empty() => (help, "none".to_owned()),
        None => (help, format!("`{}`", values.join(","))),
    };
    (format!("{}.", what.trim_end_matches('.')), default)
}

/// What values a flag takes: those that there are, or what it says of a wrong one.
fn accepted(flag: &Arg) -> String {
    let values = flag.get_possible_values();
    if values.is_empty() {
        let any = || format!("any {}", flag.get_value_names().unwrap_or_default().join(" ").to_lowercase());
        return WRONG.iter().find_map(|wrong| expectation(flag, wrong)).unwrap_or_else(any);
    }
    let value = |value: &PossibleValue| {
        let (name, help) = (value.get_name(), value.get_help().map(ToString::to_string).unwrap_or_default());
        match help.is_empty() || help == name {
            true => format!("`{name}`"),
            false => format!("`{name}`: {}", in_one_line(&help)),
        }
    };
    values.iter().map(value).collect::<Vec<_>>().join("<br>")
}

/// Values that a flag refuses if it is choosy: nothing of something, and what is neither a number nor a name.
const WRONG: [&str; 2] = ["0", "\u{1}"];

/// What a flag says that it expects instead of this value.
fn expectation(flag: &Arg, wrong: &str) -> Option<String> {
    let argument = format!("--{}={wrong}", flag.get_long()?);
    let refused = Config::command().try_get_matches_from(["planet-call-exporter", &argument]).err()?;
    let said = refused.source()?.to_string();
    said.split_once("expected ").map(|(_, expected)| in_one_line(expected))
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
