//! What every flag is in the end, and where that comes from.

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};

use super::Config;

/// A flag as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name, with dashes.
    pub flag: String,
    /// Its value as it was written; none if it has none.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// The variable of this name.
    Variable(String),
    /// Nobody gave one.
    Default,
}

/// Every flag of a run, as `matches` have it.
pub fn settings(matches: &ArgMatches) -> Vec<Setting> {
    let setting = |argument: &clap::Arg| {
        let (flag, id) = (argument.get_long()?, argument.get_id().as_str());
        let variable = argument.get_env()?.to_string_lossy().into_owned();
        let values = matches.get_raw(id).map(|values| values.map(|value| value.to_string_lossy()));
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Source::Flag,
            Some(ValueSource::EnvVariable) => Source::Variable(variable),
            _ => Source::Default,
        };
        let value = values.map(|values| values.collect::<Vec<_>>().join(","));
        Some(Setting { flag: format!("--{flag}"), value, source })
    };
    Config::command().get_arguments().filter_map(setting).collect()
}
