//! What the program says about itself: `completions`, `man`.

use std::process::ExitCode;

use clap::{Command, CommandFactory};

use crate::{
    args::{Cli, CompletionsArgs, ManArgs},
    error::{CliError, Result},
    output::Output,
};

pub(crate) fn completions(args: &CompletionsArgs, output: &mut Output) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ingrain", &mut script);
    output.bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man(args: &ManArgs, output: &mut Output) -> Result<ExitCode> {
    let mut program = Cli::command();
    // Adds the options of the program to its commands.
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => find(&program, name)?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| CliError::message(format!("render the manual page: {error}")))?;
    output.bytes(&page)?;
    Ok(ExitCode::SUCCESS)
}

/// A command of the program.
fn find(program: &Command, name: &str) -> Result<Command> {
    let mut commands = program.get_subcommands();
    let found = commands.find(|command| command.get_name() == name).ok_or_else(|| {
        let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
        CliError::usage(format!("{name:?} is not a command: {}", names.join(", ")))
    })?;
    Ok(found.clone())
}
