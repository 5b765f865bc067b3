//! `planet-call-exporter completions` and `man`: the flags for a shell, and as a manual page.

use std::io;

use clap_complete::Shell;
use clap_mangen::Man;

use crate::config::help::{self, Extent};

/// What makes `shell` complete the flags.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut command = help::command(Extent::Long);
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, env!("CARGO_PKG_NAME"), &mut text);
    text
}

/// The manual page in roff of the program, or of one of its commands.
///
/// # Errors
/// None in practice: it is written to memory.
pub fn man(of: Option<&str>) -> io::Result<Vec<u8>> {
    let mut command = help::command(Extent::Long).disable_help_subcommand(true);
    // So that the page of a command has its whole name, such as planet-call-exporter-check.
    command.build();
    let page = match of {
        Some(name) => command.find_subcommand(name).cloned(),
        None => Some(command),
    };
    let mut text = Vec::new();
    if let Some(page) = page {
        Man::new(page).render(&mut text)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::config::{Command, CommandLine, Config};

    #[test]
    fn the_program_and_each_command_have_a_page() {
        let page = |of| String::from_utf8(man(of).expect("a page")).expect("text");
        let whole = page(None);
        assert!(whole.contains(".TH planet-call-exporter 1"), "{whole}");
        for argument in Config::command().get_arguments() {
            let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
            assert!(variable.is_none_or(|variable| whole.contains(&variable)), "{argument}");
        }
        let commands = CommandLine::command();
        for name in commands.get_subcommands().map(clap::Command::get_name) {
            assert!(page(Some(name)).contains(&format!(".TH planet-call-exporter-{name} 1")), "{name}");
            let read = CommandLine::try_parse_from(["planet-call-exporter", "man", name]).expect("a command");
            assert!(matches!(read.command, Some(Command::Man { command: Some(of) }) if of == name));
        }
    }

    #[test]
    fn every_shell_completes_every_flag() {
        for shell in [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh] {
            let text = String::from_utf8(completions(shell)).expect("text");
            for argument in Config::command().get_arguments().filter_map(clap::Arg::get_long) {
                assert!(text.contains(argument), "{shell}: {argument}");
            }
        }
    }
}
