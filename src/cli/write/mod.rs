//! The commands that write single nodes and edges.

pub(crate) mod delete;
pub(crate) mod edges;
pub(crate) mod patch;
pub(crate) mod put;
mod vectors;

use std::{collections::HashSet, io::Read};

use ingrain::{Batch, Durability, Engine, Error, Seq, Snapshot, limits};

use crate::{
    args::{ContentArgs, Setting},
    error::{CliError, Result},
    ids, input,
    output::Output,
    store::Store,
};

/// Nodes that are deleted in one batch.
const BATCH: usize = 1_000;

/// Commits a batch so that it survives a power failure.
fn commit(engine: &Engine, batch: &mut Batch) -> Result<Seq> {
    batch.durability(Durability::Sync);
    Ok(engine.write(std::mem::take(batch))?)
}

/// As [`commit`], of a batch about one node.
fn commit_on(engine: &Engine, node: &str, batch: &mut Batch) -> Result<Seq> {
    commit(engine, batch).map_err(|error| match error {
        CliError::Engine(Error::Conflict { reason, .. }) => {
            CliError::Conflict { node: node.to_owned(), reason: reason.to_string() }
        }
        error => error,
    })
}

/// Closes the store, with a checkpoint if its log is long, so that a script of many
/// commands does not replay an ever longer log.
fn end(store: &Store, output: &Output) -> Result<()> {
    store.done(output);
    store.close().map_err(|error| CliError::After {
        error: CliError::from(error).into(),
        kept: "what the command writes is written all the same".to_owned(),
    })
}

/// The string that names a node of the store, or the given one if it is not there.
fn shown(snapshot: &Snapshot, given: &str) -> Result<String> {
    let node = snapshot.get(ids::node_id(given))?;
    node.map_or_else(|| Ok(given.to_owned()), |node| ids::name(&node))
}

/// Refuses a name that names nothing.
fn check_id(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(CliError::usage("the id is empty; a node is named by a string or a UUID"));
    }
    Ok(())
}

/// The content that arguments give.
fn content(args: &ContentArgs) -> Result<Option<Vec<u8>>> {
    if let Some(text) = &args.content {
        return Ok(Some(text.clone().into_bytes()));
    }
    let Some(path) = &args.content_file else { return Ok(None) };
    let (reader, _) = input::stream(path)?;
    let most = u64::try_from(limits::CONTENT_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    reader
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::io("read", path, error))?;
    if bytes.len() > limits::CONTENT_BYTES {
        return Err(CliError::message(format!(
            "{}: it has more bytes than content may have, {}",
            input::shown(path),
            limits::CONTENT_BYTES
        )));
    }
    Ok(Some(bytes))
}

/// Refuses that an attribute is named twice.
fn once<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<()> {
    let mut seen = HashSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(CliError::usage(format!(
            "{name:?} is given twice; give each name once, in one option"
        ))),
        None => Ok(()),
    }
}

fn names(settings: &[Setting]) -> impl Iterator<Item = &str> {
    settings.iter().map(|setting| setting.name.as_str())
}
