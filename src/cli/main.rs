//! The command line program of ingrain: imports, reads, exports and maintains stores.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program reads and writes the user's files and measures time itself; only the \
              engine goes through os::Fs and os::Clock"
)]

mod about;
mod args;
mod bundle;
mod demo;
mod error;
mod export;
mod files;
mod help;
mod ids;
mod import;
mod importer;
mod indexes;
mod input;
mod inspect;
mod lines;
mod maintain;
mod matching;
mod nearest;
mod npy;
mod output;
mod plain;
mod query;
mod rename;
mod report;
mod restore;
mod select;
mod spaces;
mod store;
mod vectors;
mod write;

use std::{io::Write, process::ExitCode};

use clap::{Parser, error::ErrorKind};

use args::{Cli, Command};
use error::{CliError, Result};
use output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let json = cli.json;
    match run(cli) {
        Ok(code) => code,
        // The reader of standard output has read enough.
        Err(CliError::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error, json);
            ExitCode::from(error.code())
        }
    }
}

/// Says that the arguments are wrong, or shows the help that they ask for.
fn usage(error: &clap::Error) -> ExitCode {
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !asked_for && std::env::args_os().any(|arg| arg == "--json") {
        let text = match error.kind() {
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                "a command is missing; --help lists them".to_owned()
            }
            _ => error.render().to_string(),
        };
        let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        report(&CliError::usage(text), true);
    } else {
        // If this fails, only the exit code is left.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Prints an error to standard error.
fn report(error: &CliError, json: bool) {
    let mut stderr = std::io::stderr().lock();
    // If this fails, only the exit code is left.
    let _ = if json {
        writeln!(stderr, "{}", output::escaped(&error.json()))
    } else {
        writeln!(stderr, "error: {}", output::shown(&error.to_string()))
    };
}

fn run(cli: Cli) -> Result<ExitCode> {
    let mut output = Output::new(cli.json, cli.quiet);
    let code = match cli.command {
        Command::Import(args) => import::run(&args, &mut output),
        Command::Get(args) => query::get(&args, &mut output),
        Command::Edges(args) => query::edges(&args, &mut output),
        Command::Scan(args) => query::scan(&args, &mut output),
        Command::Query(args) => select::query(&args, &mut output),
        Command::Count(args) => select::count(&args, &mut output),
        Command::Kinds(args) => select::kinds(&args, &mut output),
        Command::Nearest(args) => nearest::run(&args, &mut output),
        Command::Path(args) => query::path(&args, &mut output),
        Command::Put(args) => write::put::run(&args, &mut output),
        Command::Patch(args) => write::patch::run(&args, &mut output),
        Command::Delete(args) => write::delete::run(&args, &mut output),
        Command::Link(args) => write::edges::link(&args, &mut output),
        Command::Unlink(args) => write::edges::unlink(&args, &mut output),
        Command::Prune(args) => write::delete::prune(&args, &mut output),
        Command::Stats(args) => query::stats(&args, &mut output),
        Command::Spaces(args) => spaces::run(&args, &mut output),
        Command::Rename(args) => rename::run(&args, &mut output),
        Command::Index(args) => indexes::run(&args, &mut output),
        Command::Export(args) => export::run(&args, &mut output),
        Command::Checkpoint(args) => maintain::checkpoint(&args, &mut output),
        Command::Compact(args) => maintain::compact(&args, &mut output),
        Command::Rebuild(args) => maintain::rebuild(&args, &mut output),
        Command::Backup(args) => maintain::backup(&args, &mut output),
        Command::Verify(args) => maintain::verify(&args, &mut output),
        Command::Repair(args) => maintain::repair(&args, &mut output),
        Command::Inspect(args) => inspect::run(&args, &mut output),
        Command::Demo(args) => demo::run(&args, &mut output),
        Command::Completions(args) => about::completions(&args, &mut output),
        Command::Man(args) => about::man(&args, &mut output),
    };
    // Output from before a failure is printed too.
    let flushed = output.flush();
    let code = code?;
    flushed?;
    Ok(code)
}
