//! A race of ingrain and the embedded stores that a user would take instead.
//!
//! ```sh
//! cd benches/peers
//! cargo run --release -- race --out race.jsonl
//! cargo run --release -- race --records 200000 --value 2048 --out race.jsonl
//! cargo run --release -- race --records 10000000 --peers ingrain,rocksdb,fjall --out race.jsonl
//! cargo run --release -- report --markdown race.jsonl
//! ```
//!
//! `--no-default-features --features redb,lmdb` builds some of the peers; each
//! is a feature of its name. Building RocksDB takes a C++ compiler, libclang (on
//! Debian the package `libclang-dev`; if it is not found, its directory in
//! `LIBCLANG_PATH`, for example `/usr/lib/llvm-14/lib`) and, since it is several
//! hundred files of C++, much longer than all the others.
//!
//! Each peer runs in a process of its own in each round, so its anonymous memory
//! is its own, and the order of the peers rotates. Stores are made beside the
//! program, or in `--dir`, which should not be a tmpfs. What the phases are is
//! in `phases.rs`; what each peer was told, in its file. In a phase all have the
//! same durability; where a peer has none that is the same, its file says so.
//! Who has a cache has 256 MiB, as far as not said otherwise; nobody compresses,
//! since the values are random. The cold opening drops the page cache of the
//! whole machine, which takes root.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench"
)]

#[cfg(feature = "fjall")]
mod fjall;
mod ingrain;
mod line;
#[cfg(feature = "lmdb")]
mod lmdb;
mod machine;
mod phases;
mod records;
#[cfg(feature = "redb")]
mod redb;
mod report;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
#[cfg(feature = "surrealkv")]
mod surrealkv;
mod watch;

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    line::Line,
    phases::{Phase, Plan},
    report::MACHINE,
};

#[derive(Parser)]
#[command(about = "A race of ingrain and its peers")]
struct Cli {
    #[command(subcommand)]
    command: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Run all phases of all peers, in rounds
    Race(Race),
    /// Show a race as a table of medians
    Report {
        file: PathBuf,
        /// As Markdown
        #[arg(long)]
        markdown: bool,
    },
    /// One peer in one round, in this process
    #[command(hide = true)]
    One {
        peer: String,
        dir: PathBuf,
        #[arg(long)]
        round: u32,
        #[command(flatten)]
        load: Load,
    },
    /// Load, and wait to be killed
    #[command(hide = true)]
    RecoverLoad { peer: String, dir: PathBuf, records: u64, value: usize },
    /// Open a store that another process has left, and count
    #[command(hide = true)]
    RecoverOpen { peer: String, dir: PathBuf, records: u64, value: usize },
}

#[derive(Args)]
struct Race {
    #[command(flatten)]
    load: Load,
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// By default all that were built, and `machine` for the machine's limits
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Where the stores are made, by default beside this program
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Lines of JSON are added to this file
    #[arg(long)]
    out: PathBuf,
}

#[derive(Args, Clone)]
struct Load {
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    value: usize,
    /// Seconds that a phase of gets or commits takes
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// By default all; the load always is
    #[arg(long, value_delimiter = ',')]
    phases: Vec<Phase>,
    /// Seconds after which a phase is given up, and its peer with it
    #[arg(long, default_value_t = 3_600)]
    limit: u64,
}

/// Calls a function of a type of store, by the name of the peer.
macro_rules! with_peer {
    ($name:expr, $($function:ident)::+, $($argument:expr),*) => {
        match $name {
            "ingrain" => $($function)::+::<ingrain::Ingrain>($($argument),*),
            #[cfg(feature = "fjall")]
            "fjall" => $($function)::+::<fjall::Fjall>($($argument),*),
            #[cfg(feature = "lmdb")]
            "lmdb" => $($function)::+::<lmdb::Lmdb>($($argument),*),
            #[cfg(feature = "redb")]
            "redb" => $($function)::+::<redb::Redb>($($argument),*),
            #[cfg(feature = "rocksdb")]
            "rocksdb" => $($function)::+::<rocksdb::RocksDb>($($argument),*),
            #[cfg(feature = "sled")]
            "sled" => $($function)::+::<sled::Sled>($($argument),*),
            #[cfg(feature = "sqlite")]
            "sqlite" => $($function)::+::<sqlite::Sqlite>($($argument),*),
            #[cfg(feature = "surrealkv")]
            "surrealkv" => $($function)::+::<surrealkv::SurrealKv>($($argument),*),
            other => bail!("no peer {other} in this build, which has {}", PEERS.join(", ")),
        }
    };
}

const PEERS: &[&str] = &[
    MACHINE,
    "ingrain",
    #[cfg(feature = "fjall")]
    "fjall",
    #[cfg(feature = "lmdb")]
    "lmdb",
    #[cfg(feature = "redb")]
    "redb",
    #[cfg(feature = "rocksdb")]
    "rocksdb",
    #[cfg(feature = "sled")]
    "sled",
    #[cfg(feature = "sqlite")]
    "sqlite",
    #[cfg(feature = "surrealkv")]
    "surrealkv",
];

fn main() -> Result<()> {
    match Cli::parse().command {
        Mode::Race(race) => run(&race),
        Mode::Report { file, markdown } => {
            print!("{}", report::report(&file, markdown)?);
            Ok(())
        }
        Mode::One { peer, dir, round, load } => {
            let phases = match load.phases.as_slice() {
                [] => Phase::value_variants().to_vec(),
                chosen => chosen.to_vec(),
            };
            let Load { records, value, seconds, limit, .. } = load;
            let limit = Duration::from_secs(limit);
            let plan = Plan { round, peer, records, value, seconds, limit, phases, dir };
            if plan.peer == MACHINE {
                return machine::run(&plan);
            }
            with_peer!(plan.peer.as_str(), phases::run, &plan)
        }
        Mode::RecoverLoad { peer, dir, records, value } => {
            with_peer!(peer.as_str(), phases::recover_load, &dir, records, value)
        }
        Mode::RecoverOpen { peer, dir, records, value } => {
            with_peer!(peer.as_str(), phases::recover_open, &dir, records, value)
        }
    }
}

fn run(race: &Race) -> Result<()> {
    let Load { records, value, seconds, .. } = race.load;
    ensure!(records >= 100, "--records {records}: at least 100");
    ensure!(value >= 24 && value % 8 == 0, "--value {value}: a multiple of 8, at least 24");
    ensure!(seconds > 0.0 && seconds < 1e6, "--seconds {seconds}: more than 0");
    let mut peers: Vec<&str> = race.peers.iter().map(String::as_str).collect();
    if peers.is_empty() {
        peers = PEERS.to_vec();
    }
    if let Some(unknown) = peers.iter().find(|peer| !PEERS.contains(*peer)) {
        bail!("no peer {unknown} in this build, which has {}", PEERS.join(", "));
    }
    let program = std::env::current_exe()?;
    let dir = race.dir.clone().or_else(|| program.parent().map(Path::to_owned));
    let dir = dir.context("the program is in no directory")?;
    let mut out = File::options().create(true).append(true).open(&race.out)?;
    for round in 0..race.rounds {
        let from = round as usize % peers.len();
        for peer in peers[from..].iter().chain(&peers[..from]) {
            let scratch = tempfile::tempdir_in(&dir);
            let scratch =
                scratch.with_context(|| format!("no store in --dir {}", dir.display()))?;
            eprintln!("round {} of {}: {peer}", round + 1, race.rounds);
            one(race, &program, round, peer, scratch.path(), &mut out)?;
        }
    }
    Ok(())
}

/// Runs a peer in a process of its own and adds its lines to the file.
fn one(
    race: &Race,
    program: &Path,
    round: u32,
    peer: &str,
    dir: &Path,
    out: &mut File,
) -> Result<()> {
    let load = &race.load;
    let mut command = Command::new(program);
    command.args(["one", peer]).arg(dir).args(["--round", &round.to_string()]);
    command.args(["--records", &load.records.to_string(), "--value", &load.value.to_string()]);
    command.args(["--seconds", &load.seconds.to_string(), "--limit", &load.limit.to_string()]);
    if !load.phases.is_empty() {
        let names: Vec<String> = load.phases.iter().map(|phase| phase.name()).collect();
        command.args(["--phases", &names.join(",")]);
    }
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().context("the process has no output")?).lines();
    for text in lines {
        let text = text?;
        writeln!(out, "{text}")?;
        let line: Line = serde_json::from_str(&text).with_context(|| format!("the line {text}"))?;
        show(&line);
    }
    let status = child.wait()?;
    if !status.success() {
        let line = Line {
            round,
            peer: peer.to_owned(),
            phase: "process".to_owned(),
            records: load.records,
            value: load.value,
            error: Some(format!("the process ended with {status}")),
            ..Line::default()
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
        show(&line);
    }
    Ok(())
}

/// Progress, for whoever looks on.
fn show(line: &Line) {
    let mut figures = String::new();
    if let Some(error) = &line.error {
        figures = format!("  FAILED: {error}");
    } else if let Some(rate) = line.ops_per_second {
        figures = format!("{rate:>12.0}/s");
        if let Some((p50, p99)) = line.p50_us.zip(line.p99_us) {
            figures += &format!("  p50 {p50:.2} µs, p99 {p99:.2} µs");
        }
    } else if let Some(seconds) = line.seconds {
        figures = format!("{:>12.2} ms", seconds * 1e3);
    }
    if let Some((written, found)) = line.written.zip(line.found) {
        figures += &format!("  {found} of {written} records found");
    }
    eprintln!("  {:<20} {:>2} {figures}", line.phase, line.threads);
}
