//! The commands that write single nodes and edges: `put`, `patch`, `delete`, `link`,
//! `unlink` and `prune`.

use std::{
    collections::BTreeSet,
    io::{BufRead, Read},
    path::Path,
    process::ExitCode,
    time::SystemTime,
};

use ingrain::{
    Batch, Edge, IndexKey, Node, NodeId, Patch, Seq, Timestamp, Value,
    exchange::{
        json::object,
        lines::{ID, id_from_uuid, node_id},
    },
};
use serde_json::Value as Json;

use crate::{
    error::{CliError, Result},
    ids, input,
    output::{self, Output},
    store::{self, Store},
    write_args::{DeleteArgs, FieldArgs, LinkArgs, PatchArgs, PruneArgs, PutArgs, UnlinkArgs},
};

/// The most operations of a batch of `delete` and `prune`.
const TOGETHER: usize = 1_000;

/// A node with the attribute that keeps the string which names it, if its id does not.
fn named(name: &str, kind: &str) -> Node {
    let node = Node::new(node_id(name), kind);
    if id_from_uuid(name).is_some() { node } else { node.attribute(ID, name) }
}

/// Refuses a name that is given twice.
fn once<'n>(option: &str, names: impl IntoIterator<Item = &'n String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(CliError::usage(format!("{option}: {name} is given twice"))),
        None => Ok(()),
    }
}

/// Refuses an attribute that only the id of a node may say.
fn check_id(name: &str, attributes: &[(String, Value)]) -> Result<()> {
    let wrong = |(of, value): &&(String, Value)| of == ID && *value != Value::from(name);
    match attributes.iter().find(wrong) {
        Some(_) => Err(CliError::usage(format!(
            "--set {ID}: this attribute is the string that names the node, which is {name:?}"
        ))),
        None => Ok(()),
    }
}

fn content(fields: &FieldArgs) -> Result<Option<Vec<u8>>> {
    if let Some(text) = &fields.content {
        return Ok(Some(text.clone().into_bytes()));
    }
    let Some(path) = &fields.content_file else { return Ok(None) };
    let (file, _) = input::stream(path)?;
    let mut bytes = Vec::new();
    let most = u64::try_from(ingrain::limits::CONTENT_BYTES).unwrap_or(u64::MAX);
    // One byte more shows that there is too much.
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::io("read", path, error))?;
    Ok(Some(bytes))
}

/// Writes a batch, and says what it did.
fn commit(
    store: Store,
    batch: Batch,
    what: &'static str,
    name: &str,
    output: &mut Output,
) -> Result<ExitCode> {
    let seq = store.write(batch)?;
    store.done(output);
    store.close()?;
    output.summary(
        || object([(what, Json::from(name)), ("seq", seq.get().into())]),
        |output| output.text(format_args!("{what} {name}")),
    )?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn put(args: &PutArgs, output: &mut Output) -> Result<ExitCode> {
    let fields = &args.fields;
    once("--set", fields.attributes.iter().map(|(name, _)| name))?;
    once("--vector", fields.vectors.iter().map(|(name, _)| name))?;
    check_id(&args.id, &fields.attributes)?;
    let mut node = named(&args.id, &args.kind).attributes(fields.attributes.iter().cloned());
    node.content = content(fields)?.unwrap_or_default();
    node.strength = fields.strength.unwrap_or(node.strength);
    node.confidence = fields.confidence.unwrap_or(node.confidence);
    node.expires = fields.expires.unwrap_or(node.expires);
    node.vectors.extend(fields.vectors.iter().cloned());
    node.keys = args.keys.iter().map(|(index, key)| IndexKey::new(index, key.clone())).collect();
    let store = store::open(&args.store, output)?;
    let mut batch = Batch::new();
    if args.keep {
        batch.put_or_keep(node);
    } else if args.if_absent {
        batch.put_if_absent(node);
    } else if let Some(version) = args.if_version {
        batch.put_if_version(node, Seq::new(version));
    } else {
        batch.put(node);
    }
    commit(store, batch, "put", &args.id, output)
}

pub(crate) fn patch(args: &PatchArgs, output: &mut Output) -> Result<ExitCode> {
    let fields = &args.fields;
    let set = fields.attributes.iter().chain(&args.increment).map(|(name, _)| name);
    once("--set, --unset and --increment", set.chain(&args.unset))?;
    once("--vector", fields.vectors.iter().map(|(name, _)| name))?;
    check_id(&args.id, &fields.attributes)?;
    if args.unset.iter().any(|name| name == ID) {
        return Err(CliError::usage(format!("--unset {ID}: it is the string that names the node")));
    }
    let mut patch = Patch::new();
    patch.kind.clone_from(&args.kind);
    patch.content = content(fields)?;
    (patch.strength, patch.confidence) = (fields.strength, fields.confidence);
    let set = fields.attributes.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
    patch.attributes = set.chain(args.unset.iter().map(|name| (name.clone(), None))).collect();
    let vectors = fields.vectors.iter().map(|(name, vector)| (name.clone(), Some(vector.clone())));
    patch.vectors = vectors.collect();
    let store = store::open(&args.store, output)?;
    let id = ids::find(&store.snapshot(), &args.id)?.id();
    let mut batch = Batch::new();
    if let Some(version) = args.if_version {
        batch.require_version(id, Seq::new(version));
    }
    if patch != Patch::new() {
        batch.patch(id, patch);
    }
    for (name, by) in &args.increment {
        batch.increment(id, name, by.clone());
    }
    if let Some(expires) = fields.expires {
        batch.expire(id, expires.time());
    }
    if args.touch {
        batch.touch(id);
    }
    if batch.len() == usize::from(args.if_version.is_some()) {
        return Err(CliError::usage("nothing to change: --help shows what a patch can do"));
    }
    commit(store, batch, "patched", &args.id, output)
}

/// The names of nodes in arguments, and in the lines of standard input for `-`.
fn names(args: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for arg in args {
        if arg != "-" {
            names.push(arg.clone());
            continue;
        }
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|error| CliError::io("read", Path::new("-"), error))?;
            if !line.trim().is_empty() {
                names.push(line.trim().to_owned());
            }
        }
    }
    Ok(names)
}

pub(crate) fn delete(args: &DeleteArgs, output: &mut Output) -> Result<ExitCode> {
    let names = names(&args.ids)?;
    let store = store::open(&args.store, output)?;
    let snapshot = store.snapshot();
    let mut there: Vec<NodeId> = Vec::new();
    for name in &names {
        // Nothing is deleted if one is missing.
        if args.if_exists {
            there.extend(snapshot.get(node_id(name))?.map(|node| node.id()));
        } else {
            there.push(ids::find(&snapshot, name)?.id());
        }
    }
    drop(snapshot);
    there.sort_unstable();
    there.dedup();
    for ids in there.chunks(TOGETHER) {
        let mut batch = Batch::new();
        for id in ids {
            batch.delete(*id);
        }
        store.write(batch)?;
    }
    done(store, "deleted", there.len(), output)
}

/// Says how many nodes or edges are gone.
fn done(store: Store, what: &'static str, count: usize, output: &mut Output) -> Result<ExitCode> {
    store.done(output);
    store.close()?;
    output.summary(
        || object([(what, count.into())]),
        |output| output.text(format_args!("{what} {}", output::count(count))),
    )?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn link(args: &LinkArgs, output: &mut Output) -> Result<ExitCode> {
    once("--set", args.attributes.iter().map(|(name, _)| name))?;
    let store = store::open(&args.store, output)?;
    let mut batch = Batch::new();
    match &args.create {
        Some(kind) => {
            for name in [&args.source, &args.target] {
                batch.put_or_keep(named(name, kind));
            }
        }
        None => {
            let snapshot = store.snapshot();
            ids::find(&snapshot, &args.source)?;
            ids::find(&snapshot, &args.target)?;
        }
    }
    let edge = Edge::new(node_id(&args.source), &args.kind, node_id(&args.target))
        .weight(args.weight)
        .confidence(args.confidence)
        .attributes(args.attributes.iter().cloned())
        .discriminator(args.discriminator);
    batch.link(edge);
    let name = format!("{} {} {}", args.source, args.kind, args.target);
    commit(store, batch, "linked", &name, output)
}

pub(crate) fn unlink(args: &UnlinkArgs, output: &mut Output) -> Result<ExitCode> {
    let store = store::open(&args.store, output)?;
    let (source, target) = (node_id(&args.source), node_id(&args.target));
    let mut batch = Batch::new();
    let snapshot = store.snapshot();
    for edge in snapshot.edges_between(source, &args.kind, target) {
        let number = edge?.discriminator();
        if args.discriminator.is_none_or(|wanted| wanted == number) {
            batch.unlink_one(source, &args.kind, target, number);
        }
    }
    drop(snapshot);
    let edges = batch.len();
    if edges == 0 {
        return Err(CliError::message(format!(
            "edge {:?} {:?} {:?}: it is not in the store; \"ingrain edges\" lists the edges of a \
             node",
            args.source, args.kind, args.target
        )));
    }
    store.write(batch)?;
    done(store, "unlinked", edges, output)
}

pub(crate) fn prune(args: &PruneArgs, output: &mut Output) -> Result<ExitCode> {
    let now = || Timestamp::from_system_time(SystemTime::now());
    let before = args.before.or_else(now).ok_or_else(|| {
        CliError::message("the clock of the machine is out of range; give the time with --before")
    })?;
    let store = store::open(&args.store, output)?;
    if args.dry_run {
        let mut nodes = 0_usize;
        for id in store.snapshot().expired(before) {
            id?;
            nodes += 1;
        }
        return done(store, "expired", nodes, output);
    }
    let mut nodes = 0_usize;
    loop {
        let snapshot = store.snapshot();
        let ids = snapshot.expired(before).take(TOGETHER).collect::<ingrain::Result<Vec<_>>>()?;
        drop(snapshot);
        if ids.is_empty() {
            return done(store, "pruned", nodes, output);
        }
        nodes += ids.len();
        let mut batch = Batch::new();
        for id in ids {
            batch.prune(id, before);
        }
        store.write(batch)?;
    }
}
