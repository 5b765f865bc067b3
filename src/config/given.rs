//! The reading of the command line and its environment: an empty variable is an unset one, and it is known which settings were given,
//! and by what.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};

use super::{CommandLine, Config};
use crate::http::peer::url_for_people;

/// The settings that were given, by the names of their flags, each with what gave it: the flag itself or the variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given(BTreeMap<String, String>);

impl Given {
    /// What was given on a command line and in its environment.
    fn of(matches: &ArgMatches) -> Given {
        let mut given = BTreeMap::new();
        for argument in Config::command().get_arguments() {
            let (Some(flag), Some(variable)) = (argument.get_long(), argument.get_env()) else { continue };
            let by = match matches.value_source(argument.get_id().as_str()) {
                Some(ValueSource::CommandLine) => format!("--{flag}"),
                Some(ValueSource::EnvVariable) => variable.to_string_lossy().into_owned(),
                _ => continue,
            };
            given.insert(flag.to_owned(), by);
        }
        Given(given)
    }

    /// What gave the setting of a flag, such as `--idcs` or `PLANET_IDCS`; `None` if nothing did.
    pub fn by(&self, flag: &str) -> Option<&str> {
        self.0.get(flag).map(String::as_str)
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
            ErrorKind::DisplayHelp => CommandLine::try_parse().err().unwrap_or(error),
            _ => error,
        })
    }

    /// Reads these arguments, of which the first is the program's name, and the environment.
    ///
    /// # Errors
    /// Something is wrong with them, or help is asked for.
    pub fn read_from<A: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<CommandLine, clap::Error> {
        let command = without_empty_variables(CommandLine::command());
        let matches = command.try_get_matches_from(arguments).map_err(without_secrets)?;
        let mut read = CommandLine::from_arg_matches(&matches).map_err(without_secrets)?;
        read.config.given = Given::of(&matches);
        Ok(read)
    }
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
