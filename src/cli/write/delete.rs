//! The commands `delete` and `prune`.

use std::{collections::HashSet, path::Path, process::ExitCode};

use ingrain::{Batch, Engine, NodeId, Seq, Timestamp, exchange::json::object};
use serde_json::Value as Json;

use super::{BATCH, commit, commit_on, end};
use crate::{
    args::{DeleteArgs, PruneArgs},
    error::{CliError, Result},
    ids,
    importer::parse_id,
    lines::Lines,
    output::{self, Output},
    store,
};

pub(crate) fn run(args: &DeleteArgs, output: &mut Output) -> Result<ExitCode> {
    if args.if_version.is_some() && (args.ids.len() != 1 || args.ids.iter().any(|id| id == "-")) {
        return Err(CliError::usage("--if-version is of one node; give one ID"));
    }
    let names = match args.ids.as_slice() {
        [dash] if dash == "-" => from_stdin()?,
        ids if ids.iter().any(|id| id == "-") => {
            return Err(CliError::usage("-, for the ids of standard input, is the only id then"));
        }
        ids => ids.to_vec(),
    };
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let (mut seen, mut absent) = (HashSet::new(), 0_usize);
    let mut found: Vec<NodeId> = Vec::new();
    for name in &names {
        let id = ids::node_id(name);
        if !seen.insert(id) {
            continue;
        }
        if snapshot.contains(id)? {
            found.push(id);
        } else if args.if_exists {
            absent += 1;
        } else {
            return Err(CliError::message(format!(
                "node {name:?}: it is not in the store, and nothing was deleted; --if-exists \
                 passes over such nodes"
            )));
        }
    }
    drop(snapshot);
    let mut deleted = 0;
    for ids in found.chunks(BATCH) {
        let mut batch = Batch::new();
        for id in ids {
            if let Some(version) = args.if_version {
                batch.require_version(*id, Seq::new(version));
            }
            batch.delete(*id);
        }
        let committed = match names.as_slice() {
            [name] => commit_on(&engine, name, &mut batch),
            _ => commit(&engine, &mut batch),
        };
        committed.map_err(|error| so_far(error, deleted, "deleted"))?;
        deleted += ids.len();
    }
    end(&engine, output)?;
    output.summary(
        || object([("deleted", deleted.into()), ("absent", absent.into())]),
        |output| {
            let absent = match absent {
                0 => String::new(),
                absent => format!("; not there: {}", output::count(absent)),
            };
            output.text(format_args!("deleted {}{absent}", nodes(deleted)))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The ids that standard input names, one on a line.
fn from_stdin() -> Result<Vec<String>> {
    let path = Path::new("-");
    let mut lines = Lines::open(path)?;
    let mut names = Vec::new();
    while let Some(line) = lines.next()? {
        let number = line.number;
        let name = line.bytes.and_then(parse_id).map_err(|cause| CliError::Line {
            file: path.to_owned(),
            line: number,
            cause,
        })?;
        names.push(name);
    }
    Ok(names)
}

/// The error, with what was done before it, if anything was.
fn so_far(error: CliError, count: usize, what: &str) -> CliError {
    if count == 0 {
        return error;
    }
    CliError::After { error: error.into(), kept: format!("{what} before that: {}", nodes(count)) }
}

fn nodes(count: usize) -> String {
    match count {
        1 => "1 node".to_owned(),
        count => format!("{} nodes", output::count(count)),
    }
}

pub(crate) fn prune(args: &PruneArgs, output: &mut Output) -> Result<ExitCode> {
    let before = args.before.unwrap_or_else(Timestamp::now);
    let engine = store::open(&args.store, output)?;
    let (mut expired, mut pruned) = (0, 0);
    if args.dry_run {
        for id in engine.snapshot().expired(before) {
            id?;
            expired += 1;
        }
        engine.done(output);
    } else {
        loop {
            let step = step(&engine, before).map_err(|error| so_far(error, pruned, "pruned"))?;
            if step == 0 {
                break;
            }
            pruned += step;
        }
        expired = pruned;
        end(&engine, output)?;
    }
    output.summary(
        || {
            object([
                ("pruned", pruned.into()),
                ("expired", expired.into()),
                ("before", Json::from(before.as_micros())),
            ])
        },
        |output| {
            let nodes = nodes(expired);
            if args.dry_run {
                output.text(format_args!("{nodes} would be deleted: expired by {before}"))
            } else {
                output.text(format_args!("deleted {nodes}: expired by {before}"))
            }
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Deletes a batch of what has expired, and returns how many nodes are gone.
fn step(engine: &Engine, before: Timestamp) -> Result<usize> {
    let snapshot = engine.snapshot();
    let mut batch = Batch::new();
    for id in snapshot.expired(before).take(BATCH) {
        batch.prune(id?, before);
    }
    if batch.is_empty() {
        return Ok(0);
    }
    commit(engine, &mut batch)?;
    let left = engine.snapshot().node_count();
    match snapshot.node_count().saturating_sub(left) {
        // It would go on for ever.
        0 => Err(CliError::message(
            "the store lists nodes as expired that are not; \"ingrain verify\" reports the damage",
        )),
        gone => Ok(gone),
    }
}
