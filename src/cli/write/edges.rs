//! The commands `link` and `unlink`.

use std::process::ExitCode;

use ingrain::{Batch, Edge, Snapshot, exchange::json::object};
use serde_json::Value as Json;

use super::{check_id, commit, end, names, once, put::named, shown};
use crate::{
    args::{LinkArgs, NumberArg, UnlinkArgs},
    error::{CliError, Result},
    ids,
    matching::fresh,
    output::{self, Output},
    store,
};

pub(crate) fn link(args: &LinkArgs, output: &mut Output) -> Result<ExitCode> {
    once(names(&args.set))?;
    check_id(&args.source)?;
    check_id(&args.target)?;
    let (source, target) = (ids::node_id(&args.source), ids::node_id(&args.target));
    let mut edge = Edge::new(source, &*args.kind, target).weight(args.weight);
    edge.confidence = args.confidence.unwrap_or(edge.confidence);
    for setting in &args.set {
        edge.attributes.insert(setting.name.clone(), setting.value.clone());
    }
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let mut batch = Batch::new();
    let mut created: Vec<&str> = Vec::new();
    for name in [&args.source, &args.target] {
        let is_there = snapshot.contains(ids::node_id(name))?;
        match &args.create {
            // Unlike `Batch::link_ensuring`, this keeps the name. The kind is checked even if
            // the node is there.
            Some(kind) => batch.put_or_keep(named(name, kind)),
            None if is_there => continue,
            None => {
                return Err(CliError::message(format!(
                    "node {name:?}: it is not in the store; --create KIND creates it"
                )));
            }
        };
        if !is_there && !created.contains(&name.as_str()) {
            created.push(name);
        }
    }
    edge.discriminator = match args.discriminator {
        NumberArg::Given(number) => number,
        NumberArg::New => fresh(&snapshot, &edge)?,
    };
    let number = edge.discriminator;
    let is_new = snapshot.edge(source, &args.kind, target, number)?.is_none();
    drop(snapshot);
    batch.link(edge);
    let seq = commit(&engine, &mut batch)?;
    let snapshot = engine.snapshot();
    let (source, target) = (shown(&snapshot, &args.source)?, shown(&snapshot, &args.target)?);
    drop(snapshot);
    end(&engine, output)?;
    output.summary(
        || {
            object([
                ("source", source.as_str().into()),
                ("type", args.kind.as_str().into()),
                ("target", target.as_str().into()),
                ("discriminator", number.into()),
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
            let edge = in_words(&source, &args.kind, &target);
            let number = match number {
                0 => String::new(),
                number => format!(", discriminator {number}"),
            };
            output.text(format_args!("{what} {edge}{number}"))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

fn in_words(source: &str, kind: &str, target: &str) -> String {
    [source, kind, target].map(output::cell).join(" ")
}

pub(crate) fn unlink(args: &UnlinkArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let there = discriminators(&snapshot, args)?;
    let (source, target) = (shown(&snapshot, &args.source)?, shown(&snapshot, &args.target)?);
    drop(snapshot);
    let one = args.discriminator.unwrap_or(0);
    let edge = in_words(&source, &args.kind, &target);
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
    end(&engine, output)?;
    let left = there.len() - doomed.len();
    output.summary(
        || {
            object([
                ("source", source.as_str().into()),
                ("type", args.kind.as_str().into()),
                ("target", target.as_str().into()),
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
