//! The reading of the command line and its environment: an empty variable is an unset one, and it is known of each
//! setting what gave it.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use super::help::{self, Extent};
use super::{CommandLine, Config};
use crate::http::peer::url_for_people;

/// The settings, each with what gave it, in the order of their flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given(Vec<Setting>);

/// A setting as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The name of its flag, without dashes.
    pub flag: String,
    /// Its value as it was written, or as it is by default; `None` if it has none.
    pub value: Option<String>,
    /// What gave it, such as `--idcs` or `PLANET_IDCS`; `None` if nothing did.
    pub by: Option<String>,
}

impl Given {
    /// What was given on a command line and in its environment.
    fn of(matches: &ArgMatches) -> Given {
        let setting = |argument: &clap::Arg| {
            let (flag, id) = (argument.get_long()?, argument.get_id().as_str());
            let variable = argument.get_env()?;
            let values = matches.get_raw(id).map(|values| values.map(OsStr::to_string_lossy));
            let by = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => Some(format!("--{flag}")),
                Some(ValueSource::EnvVariable) => Some(variable.to_string_lossy().into_owned()),
                _ => None,
            };
            let value = values.map(|values| values.collect::<Vec<_>>().join(","));
            Some(Setting { flag: flag.to_owned(), value, by })
        };
        Given(Config::command().get_arguments().filter_map(setting).collect())
    }

    /// What gave the setting of a flag, such as `--idcs` or `PLANET_IDCS`; `None` if nothing did.
    pub fn by(&self, flag: &str) -> Option<&str> {
        self.0.iter().find(|setting| setting.flag == flag)?.by.as_deref()
    }

    /// Every setting.
    pub fn settings(&self) -> &[Setting] {
        &self.0
    }
}

impl CommandLine {
    /// Reads the arguments and the environment of this process.
    ///
    /// # Errors
    /// They cannot be followed, or only a text was asked for, such as that of `--help`. A URL in it is without its secrets.
    pub fn read() -> Result<CommandLine, clap::Error> {
        CommandLine::read_from(std::env::args_os()).map_err(|error| match error.kind() {
            // So that it names every variable, also one that is empty.
            ErrorKind::DisplayHelp => {
                let is_short = std::env::args_os().any(|argument| argument == "-h");
                let extent = if is_short { Extent::Short } else { Extent::Long };
                let shown = help::command(extent).try_get_matches().err();
                shown.filter(|shown| shown.kind() == ErrorKind::DisplayHelp).unwrap_or(error)
            }
            _ => error,
        })
    }

    /// Reads these arguments, of which the first is the program's name, and the environment.
    ///
    /// # Errors
    /// Something is wrong with them, or help is asked for. Where it is a variable, the error names it.
    pub fn read_from<A: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<CommandLine, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let command = without_empty_variables(CommandLine::command());
        // What the exporter would run with is of no concern to another command.
        let is_other = arguments.get(1).is_some_and(|name| command.find_subcommand(name).is_some());
        let command = if is_other { without_variables(command) } else { command };
        let matches = command.try_get_matches_from(&arguments);
        let read = matches.and_then(|matches| {
            let mut read = CommandLine::from_arg_matches(&matches)?;
            read.config.given = Given::of(&matches);
            if let (Some(super::Command::Check { config, .. }), Some((_, matches))) =
                (&mut read.command, matches.subcommand())
            {
                config.given = Given::of(matches);
            }
            Ok(read)
        });
        read.map_err(|error| with_page(with_variable(without_secrets(error), &arguments)))
    }
}

impl Config {
    /// Reads these flags alone, and no variables.
    ///
    /// # Errors
    /// Something is wrong with them.
    pub fn of_flags(flags: impl IntoIterator<Item = OsString>) -> Result<Config, clap::Error> {
        let command = without_variables(Config::command().no_binary_name(true));
        Config::from_arg_matches(&command.try_get_matches_from(flags)?)
    }
}

/// The command, whose own flags have no variables.
fn without_variables(command: Command) -> Command {
    command.mut_args(|flag| flag.env(None::<&'static str>))
}

/// The same error, in which a URL is without its secrets.
fn without_secrets(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(given)) = error.get(kind)
            && given.contains("://")
        {
            let shown = url_for_people(given);
            error.insert(kind, ContextValue::String(shown));
        }
    }
    error
}

/// The error with the name of the variable that its value comes from, if it does not come from the command line.
fn with_variable(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg).cloned() else {
        return error;
    };
    let flag = argument.split(' ').next().unwrap_or_default();
    let is_given = |given: &OsString| {
        let given = given.to_string_lossy();
        given.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let configuration = Config::command();
    let known = configuration.get_arguments().find(|known| known.get_long() == flag.strip_prefix("--"));
    if let Some(variable) = known.and_then(|known| known.get_env()?.to_str())
        && !arguments.iter().any(is_given)
    {
        let both = format!("{argument}' from the variable '{variable}");
        error.insert(ContextKind::InvalidArg, ContextValue::String(both));
    }
    error
}

/// Flags that another one needs, and that one.
const NEEDED: [(&str, &str); 4] = [
    ("--identity-key-file", "--identity hash"),
    ("--trusted-proxies", "--proxy-protocol required"),
    ("--tls-cert-file", "TLS on the port of call events"),
    ("--tls-key-file", "--tls-cert-file"),
];

/// The error with what needs a flag that is missing, and the page to read.
fn with_page(mut error: clap::Error) -> clap::Error {
    let mut tips = match error.remove(ContextKind::Suggested) {
        Some(ContextValue::StyledStrs(tips)) => tips,
        _ => Vec::new(),
    };
    if let (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    {
        let is_missing = |flag: &str| missing.iter().any(|missing| missing.split(' ').next() == Some(flag));
        for (flag, by) in NEEDED.into_iter().filter(|(flag, _)| is_missing(flag)) {
            let variable = flag.trim_start_matches('-').to_uppercase().replace('-', "_");
            tips.push(format!("{by} needs {flag} or PLANET_{variable}").into());
        }
    }
    tips.push("docs/configuration.md has every flag and variable, and what each expects".into());
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    error
}

/// A command for which an empty variable is an unset one, as are its sub-commands.
fn without_empty_variables(command: Command) -> Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|argument| match argument.get_env().is_some_and(is_empty) {
            true => argument.env(None::<&'static str>),
            false => argument,
        })
        .mut_subcommands(without_empty_variables)
}
