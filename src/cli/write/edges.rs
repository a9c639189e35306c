//! The commands `link` and `unlink`.

use std::process::ExitCode;

use ingrain::{Batch, Edge, Snapshot, exchange::json::object};
use serde_json::Value as Json;

use super::{check_id, commit, names, once, put::named};
use crate::{
    args::{LinkArgs, UnlinkArgs},
    error::{CliError, Result},
    ids,
    output::{self, Output},
    store,
};

pub(crate) fn link(args: &LinkArgs, output: &mut Output) -> Result<ExitCode> {
    once(names(&args.set))?;
    check_id(&args.source)?;
    check_id(&args.target)?;
    let (source, target) = (ids::node_id(&args.source), ids::node_id(&args.target));
    let mut edge = Edge::new(source, &*args.kind, target)
        .weight(args.weight)
        .discriminator(args.discriminator);
    edge.confidence = args.confidence.unwrap_or(edge.confidence);
    for setting in &args.set {
        edge.attributes.insert(setting.name.clone(), setting.value.clone());
    }
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let mut batch = Batch::new();
    let mut created: Vec<&str> = Vec::new();
    for name in [&args.source, &args.target] {
        if snapshot.contains(ids::node_id(name))? || created.contains(&name.as_str()) {
            continue;
        }
        let Some(kind) = &args.create else {
            return Err(CliError::message(format!(
                "node {name:?}: it is not in the store; --create KIND creates it"
            )));
        };
        // Unlike `Batch::link_ensuring`, this keeps the name.
        batch.put_or_keep(named(name, kind));
        created.push(name);
    }
    let is_new = snapshot.edge(source, &args.kind, target, args.discriminator)?.is_none();
    drop(snapshot);
    batch.link(edge);
    let seq = commit(&engine, &mut batch)?;
    engine.done(output);
    output.summary(
        || {
            object([
                ("source", args.source.as_str().into()),
                ("type", args.kind.as_str().into()),
                ("target", args.target.as_str().into()),
                ("discriminator", args.discriminator.into()),
                ("new", is_new.into()),
                ("created_nodes", created.clone().into()),
                ("seq", seq.get().into()),
            ])
        },
        |output| {
            for name in &created {
                output.text(format_args!("created {}", output::cell(name)))?;
            }
            let what = if is_new { "linked" } else { "linked again" };
            let edge = shown(&args.source, &args.kind, &args.target);
            output.text(format_args!("{what} {edge}"))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

fn shown(source: &str, kind: &str, target: &str) -> String {
    [source, kind, target].map(output::cell).join(" ")
}

pub(crate) fn unlink(args: &UnlinkArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let there = discriminators(&snapshot, args)?;
    drop(snapshot);
    let one = args.discriminator.unwrap_or(0);
    let edge = shown(&args.source, &args.kind, &args.target);
    let doomed = if args.all { there.clone() } else { vec![one] };
    if there.is_empty() {
        return Err(CliError::message(format!("edge {edge}: it is not in the store")));
    }
    if !args.all && !there.contains(&one) {
        let few: Vec<String> = there.iter().take(10).map(u64::to_string).collect();
        let more = if there.len() > few.len() { ", .." } else { "" };
        return Err(CliError::message(format!(
            "edge {edge}: there is none with the discriminator {one}, but with {}{more}; choose \
             one with --discriminator, or delete all with --all",
            few.join(", ")
        )));
    }
    let mut batch = Batch::new();
    for discriminator in &doomed {
        let (source, target) = (ids::node_id(&args.source), ids::node_id(&args.target));
        batch.unlink_one(source, &*args.kind, target, *discriminator);
    }
    let seq = commit(&engine, &mut batch)?;
    engine.done(output);
    let left = there.len() - doomed.len();
    output.summary(
        || {
            object([
                ("source", args.source.as_str().into()),
                ("type", args.kind.as_str().into()),
                ("target", args.target.as_str().into()),
                ("deleted", Json::from(doomed.len())),
                ("left", left.into()),
                ("seq", seq.get().into()),
            ])
        },
        |output| {
            let left = match left {
                0 => String::new(),
                left => format!("; parallel to it and left: {}", output::count(left)),
            };
            let deleted = output::count(doomed.len());
            output.text(format_args!("deleted {deleted} of {edge}{left}"))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The discriminators of the edges of a type between two nodes, which must be there.
fn discriminators(snapshot: &Snapshot, args: &UnlinkArgs) -> Result<Vec<u64>> {
    let (source, target) = (ids::find(snapshot, &args.source)?, ids::find(snapshot, &args.target)?);
    let edges = snapshot.edges_between(source.id(), &args.kind, target.id());
    Ok(edges.map(|edge| edge.map(|edge| edge.discriminator())).collect::<ingrain::Result<_>>()?)
}
