//! The commands that maintain a store: `checkpoint`, `compact`, `rebuild`,
//! `backup`, `verify`, `repair`.

use std::{
    collections::HashSet,
    panic,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use ingrain::{
    Engine, Error, ErrorKind, Options, Seq,
    admin::{BackupOptions, CheckpointStats, RepairReport, SpaceStats},
    exchange::json::object,
};
use serde_json::Value as Json;

use crate::{
    args::{BackupArgs, RebuildArgs, RepairArgs, StoreArgs},
    error::{CliError, Result},
    output::{self, Output},
    spaces, store,
};

/// Runs work that writes all base files, with a progress bar.
fn with_bar<T: Send>(engine: &Engine, output: &Output, work: impl FnOnce() -> T + Send) -> T {
    let bar = output.bytes_bar(engine.stats().checkpoint.live_bytes);
    watch(engine, &bar, work)
}

/// Runs work that writes base files, and updates a bar meanwhile.
fn watch<T: Send>(engine: &Engine, bar: &ProgressBar, work: impl FnOnce() -> T + Send) -> T {
    const BETWEEN: Duration = Duration::from_millis(100);
    let before = engine.stats().checkpoint;
    thread::scope(|scope| {
        let waiting = thread::current();
        let work = scope.spawn(move || {
            let done = work();
            waiting.unpark();
            done
        });
        while !work.is_finished() {
            let written = engine.stats().checkpoint.written_bytes;
            bar.set_position(written.saturating_sub(before.written_bytes));
            thread::park_timeout(BETWEEN);
        }
        bar.finish_and_clear();
        work.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}

pub(crate) fn checkpoint(args: &StoreArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let started = Instant::now();
    let before = engine.stats();
    let seq = with_bar(&engine, output, || engine.checkpoint())?;
    let took = started.elapsed();
    let after = engine.stats();
    engine.done(output);
    engine.close()?;
    output.summary(
        || base_json(seq, &after.checkpoint, took),
        |output| {
            output.text(format_args!(
                "commit {}: the base has {} bytes in {} files ({})",
                output::grouped(seq.get()),
                output::grouped(after.checkpoint.file_bytes),
                output::count(after.checkpoint.files),
                output::took(took)
            ))?;
            let cut = before.write.wal_bytes.saturating_sub(after.write.wal_bytes);
            output.text(format_args!("the log is {} bytes shorter", output::grouped(cut)))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn compact(args: &StoreArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let started = Instant::now();
    let before = engine.stats().checkpoint;
    let seq = with_bar(&engine, output, || engine.compact())?;
    let took = started.elapsed();
    let after = engine.stats().checkpoint;
    engine.done(output);
    engine.close()?;
    output.summary(
        || base_json(seq, &after, took),
        |output| {
            output.text(format_args!(
                "commit {}: the base has {} bytes in {} files, before {} in {} ({})",
                output::grouped(seq.get()),
                output::grouped(after.file_bytes),
                output::count(after.files),
                output::grouped(before.file_bytes),
                output::count(before.files),
                output::took(took)
            ))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn rebuild(args: &RebuildArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    if let Some(name) = &args.space {
        store::space(&engine.snapshot(), Some(name))?;
    }
    let wanted = |space: &SpaceStats| args.space.as_ref().is_none_or(|name| *name == space.name);
    let started = Instant::now();
    let before = engine.stats();
    let bar = output.spinner();
    watch(&engine, &bar, || engine.rebuild(args.space.as_deref()))?;
    let took = started.elapsed();
    let mut after = engine.stats();
    engine.done(output);
    engine.close()?;
    after.spaces.retain(wanted);
    let old: HashSet<u32> = derived(&before.spaces).map(|(file, _)| file).collect();
    let built = || derived(&after.spaces).filter(|(file, _)| !old.contains(file));
    let (files, bytes) = (built().count(), built().map(|(_, bytes)| bytes).sum());
    if output.is_json() {
        let found = after.spaces.iter().map(spaces::to_json).collect::<Result<_>>()?;
        output.json(&object([
            ("files", Json::from(files)),
            ("bytes", Json::from(bytes)),
            ("spaces", Json::Array(found)),
            ("micros", output::micros(took)),
        ]))?;
    } else {
        output.text(format_args!(
            "{} bytes in {} files of codes and graphs built ({})",
            output::grouped(bytes),
            output::count(files),
            output::took(took)
        ))?;
        spaces::show(output, &after.spaces)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The files that are derived from vector files, with their lengths.
fn derived(spaces: &[SpaceStats]) -> impl Iterator<Item = (u32, u64)> {
    let files = spaces.iter().flat_map(|space| &space.files);
    let derived = files.flat_map(|file| [&file.codes, &file.graph]).flatten();
    derived.map(|index| (index.file, index.bytes))
}

fn base_json(seq: Seq, base: &CheckpointStats, took: Duration) -> Json {
    object([
        ("seq", Json::from(seq.get())),
        ("files", base.files.into()),
        ("file_bytes", base.file_bytes.into()),
        ("live_bytes", base.live_bytes.into()),
        ("micros", output::micros(took)),
    ])
}

pub(crate) fn backup(args: &BackupArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let started = Instant::now();
    let options = BackupOptions::new().copy(args.copy);
    let report = with_bar(&engine, output, || engine.backup_with(&args.to, &options))?;
    let took = started.elapsed();
    engine.done(output);
    engine.close()?;
    output.summary(
        || {
            object([
                ("seq", Json::from(report.seq.get())),
                ("files", report.files.into()),
                ("bytes", report.bytes.into()),
                ("linked", report.linked.into()),
                ("copied", report.copied.into()),
                ("micros", output::micros(took)),
            ])
        },
        |output| {
            output.text(format_args!(
                "{}: commit {}, {} bytes in {} files, {} linked and {} copied ({})",
                args.to.display(),
                output::grouped(report.seq.get()),
                output::grouped(report.bytes),
                output::count(report.files),
                output::count(report.linked),
                output::count(report.copied),
                output::took(took)
            ))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn verify(args: &StoreArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let started = Instant::now();
    let bar = output.bytes_bar(0);
    let report = engine.verify_with(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    let took = started.elapsed();
    if output.is_json() {
        output.json(&object([
            ("sound", Json::from(report.is_sound())),
            ("seq", report.seq.get().into()),
            ("files", report.files.into()),
            ("bytes", report.bytes.into()),
            ("log_files", report.log_files.into()),
            ("log_batches", report.log_batches.into()),
            ("nodes", report.nodes.into()),
            ("edges", report.edges.into()),
            ("keys", report.keys.into()),
            ("vectors", report.vectors.into()),
            ("damage", report.damage.iter().map(damage_json).collect()),
            ("more", report.more.into()),
            ("micros", output::micros(took)),
        ]))?;
    } else {
        let mut table = output::facts();
        let bytes = output::grouped(report.bytes);
        let files = output::grouped(report.files);
        table.add_row(["base".to_owned(), format!("{bytes} bytes in {files} files")]);
        let (batches, files) =
            (output::grouped(report.log_batches), output::grouped(report.log_files));
        table.add_row(["log".to_owned(), format!("{batches} commits in {files} files")]);
        for (name, count) in [
            ("nodes in the base", report.nodes),
            ("edges in the base", report.edges),
            ("vectors in the base", report.vectors),
            ("index keys in the base", report.keys),
        ] {
            table.add_row([name.to_owned(), output::grouped(count)]);
        }
        output.table(&table)?;
        for damage in &report.damage {
            output.text(damage)?;
        }
        more(output, report.more)?;
        let found = report.more.saturating_add(u64::try_from(report.damage.len()).unwrap_or(0));
        output.text(match found {
            0 => format!("sound ({})", output::took(took)),
            found => format!(
                "damaged in {} places ({}): {}",
                output::grouped(found),
                output::took(took),
                if report.more == 0 && report.damage.iter().all(is_derived) {
                    "\"ingrain rebuild\" repairs this damage: it is only in codes and graphs"
                } else {
                    "restore a backup, or copy everything readable with \"ingrain repair\""
                }
            ),
        })?;
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says how many items a list leaves out.
fn more(output: &mut Output, more: u64) -> Result<()> {
    match more {
        0 => Ok(()),
        more => output.text(format_args!("and {} more", output::grouped(more))),
    }
}

/// Whether the damage is in codes or a graph.
fn is_derived(error: &Error) -> bool {
    matches!(error, Error::Corrupt { file, .. } if file.extension().is_some_and(|end| end == "vix"))
}

fn damage_json(error: &Error) -> Json {
    match error {
        Error::Corrupt { file, offset, what, .. } => object([
            ("file", Json::from(file.display().to_string())),
            ("offset", Json::from(*offset)),
            ("what", Json::from(what.as_str())),
        ]),
        error => object([("what", Json::from(error.with_causes().to_string()))]),
    }
}

pub(crate) fn repair(args: &RepairArgs, output: &mut Output) -> Result<ExitCode> {
    let started = Instant::now();
    let bar = output.count_bar(0);
    let repaired = Options::new().repair(&args.store, &args.to, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = repaired.map_err(|error| match error.kind() {
        // Without the advice to repair.
        ErrorKind::Corrupt => CliError::message(error.to_string()),
        _ => CliError::from(error),
    })?;
    if output.is_json() {
        output.json(&repair_json(&report, started.elapsed()))?;
    } else {
        repair_text(&report, args, started.elapsed(), output)?;
    }
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn repair_json(report: &RepairReport, took: Duration) -> Json {
    let lost = report.lost.iter().map(|lost| {
        object([
            ("what", Json::from(lost.item.to_string())),
            ("file", lost.file.display().to_string().into()),
            ("offset", lost.offset.into()),
            ("why", lost.why.as_str().into()),
        ])
    });
    object([
        ("complete", Json::from(report.is_complete())),
        ("seq", report.seq.get().into()),
        ("nodes", report.nodes.into()),
        ("edges", report.edges.into()),
        ("keys", report.keys.into()),
        ("vectors", report.vectors.into()),
        (
            "missing",
            object([
                ("nodes", Json::from(report.missing.nodes)),
                ("edges", report.missing.edges.into()),
                ("keys", report.missing.keys.into()),
                ("vectors", report.missing.vectors.into()),
            ]),
        ),
        ("batches", report.batches.into()),
        ("partial_batches", report.partial_batches.into()),
        ("unreadable", report.unreadable.iter().map(damage_json).collect()),
        ("lost", lost.collect()),
        ("more", report.more.into()),
        ("micros", output::micros(took)),
    ])
}

fn repair_text(
    report: &RepairReport,
    args: &RepairArgs,
    took: Duration,
    output: &mut Output,
) -> Result<()> {
    let mut table = output::table(&["", "salvaged", "missing"]);
    let missing = &report.missing;
    for (name, salvaged, missing) in [
        ("nodes", report.nodes, missing.nodes),
        ("edges", report.edges, missing.edges),
        ("vectors", report.vectors, missing.vectors),
        ("index keys", report.keys, missing.keys),
    ] {
        table.add_row([name.to_owned(), output::grouped(salvaged), output::grouped(missing)]);
    }
    output.table(&table)?;
    output.text(format_args!(
        "batches of the log: {} applied, {} partly",
        output::grouped(report.batches),
        output::grouped(report.partial_batches)
    ))?;
    for file in &report.unreadable {
        output.text(format_args!("could not be opened: {file}"))?;
    }
    for lost in &report.lost {
        output.text(format_args!("lost: {lost}"))?;
    }
    more(output, report.more)?;
    let ending = if report.is_complete() { "nothing was lost" } else { "something was lost" };
    output.text(format_args!("{}: {ending} ({})", args.to.display(), output::took(took)))
}
