//! The command line program of ingrain: imports, reads, exports and maintains stores.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program reads and writes the user's files and measures time itself; only the \
              engine goes through os::Fs and os::Clock"
)]

mod args;
mod demo;
mod error;
mod export;
mod ids;
mod import;
mod inspect;
mod lines;
mod maintain;
mod nearest;
mod npy;
mod output;
mod query;
mod spaces;
mod store;

use std::{io::Write, process::ExitCode};

use clap::Parser;

use args::{Cli, Command};
use error::{CliError, Result};
use output::Output;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        // The reader of standard output has read enough.
        Err(CliError::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            // If this fails, only the exit code is left.
            let _ =
                writeln!(std::io::stderr().lock(), "error: {}", output::shown(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let mut output = Output::new(cli.json);
    let code = match cli.command {
        Command::Import(args) => import::run(&args, &mut output),
        Command::Get(args) => query::get(&args, &mut output),
        Command::Edges(args) => query::edges(&args, &mut output),
        Command::Scan(args) => query::scan(&args, &mut output),
        Command::Nearest(args) => nearest::run(&args, &mut output),
        Command::Path(args) => query::path(&args, &mut output),
        Command::Stats(args) => query::stats(&args, &mut output),
        Command::Spaces(args) => spaces::run(&args, &mut output),
        Command::Export(args) => export::run(&args, &mut output),
        Command::Checkpoint(args) => maintain::checkpoint(&args, &mut output),
        Command::Compact(args) => maintain::compact(&args, &mut output),
        Command::Rebuild(args) => maintain::rebuild(&args, &mut output),
        Command::Backup(args) => maintain::backup(&args, &mut output),
        Command::Verify(args) => maintain::verify(&args, &mut output),
        Command::Repair(args) => maintain::repair(&args, &mut output),
        Command::Inspect(args) => inspect::run(&args, &mut output),
        Command::Demo(args) => demo::run(&args, &mut output),
    };
    // Output from before a failure is printed too.
    let flushed = output.flush();
    let code = code?;
    flushed?;
    Ok(code)
}
