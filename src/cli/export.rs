//! The command `export`.

use std::{path::Path, process::ExitCode, time::Instant};

use ingrain::{Engine, Snapshot, exchange::json::object};
use serde_json::Value as Json;

use crate::{
    args::ExportArgs,
    bundle::{
        CHUNK, DefinedSpace, EDGES, Manifest, NODES,
        write::{Part, Target},
    },
    error::{CliError, Result},
    ids,
    output::{self, Output},
    plain::{self, by_kind, edge_line, node_line},
    store,
};

pub(crate) fn run(args: &ExportArgs, output: &mut Output) -> Result<ExitCode> {
    if args.target.is_some() && !args.conditions.is_empty() {
        return Err(CliError::usage(
            "--where is of a plain listing: --nodes, --edges and --vectors; TARGET gets everything",
        ));
    }
    let started = Instant::now();
    let seconds = || started.elapsed().as_secs_f64();
    // Reading commands make no checkpoint: the engine is dropped, not closed.
    let store = store::open(&args.store, output)?;
    match &args.target {
        Some(target) => whole(args, target, &store, seconds, output)?,
        None => plain::run(args, &store, seconds, output)?,
    }
    store.done(output);
    Ok(ExitCode::SUCCESS)
}

/// Exports everything.
fn whole(
    args: &ExportArgs,
    path: &Path,
    engine: &Engine,
    seconds: impl Fn() -> f64,
    output: &mut Output,
) -> Result<()> {
    let snapshot = engine.snapshot();
    let spaces = engine.stats().spaces;
    let spaces = spaces.iter().enumerate().map(|(at, space)| DefinedSpace::of(at, space));
    let mut manifest = Manifest::new(&snapshot, spaces.collect())?;
    let mut target = Target::create(path, &args.store)?;
    if target.is_stdout() {
        output.gives_stdout_away();
    }
    let bar = output.count_bar(manifest.steps());
    graph(&snapshot, &mut target, &mut || bar.inc(1))?;
    for spaces in manifest.spaces.chunks(CHUNK) {
        vectors(&snapshot, spaces, &mut target, &mut || bar.inc(1))?;
    }
    bar.finish_and_clear();
    let bytes = target.publish(&mut manifest)?;

    let counts = &manifest.counts;
    output.summary(
        || {
            object([
                ("done", Json::from(true)),
                ("nodes", counts.nodes.into()),
                ("edges", counts.edges.into()),
                ("keys", counts.keys.into()),
                ("vectors", counts.vectors.into()),
                ("spaces", manifest.spaces.len().into()),
                ("indexes", manifest.indexes.len().into()),
                ("bytes", bytes.into()),
                ("digest", manifest.digest.as_str().into()),
                ("seconds", seconds().into()),
            ])
        },
        |output| {
            let mut table = output::facts();
            for (what, count) in [
                ("nodes", counts.nodes),
                ("edges", counts.edges),
                ("index keys", counts.keys),
                ("vectors", counts.vectors),
                ("bytes", bytes),
            ] {
                table.add_row([what.to_owned(), output::grouped(count)]);
            }
            output.table(&table)?;
            output.text(format_args!("exported to {} in {:.2} s", path.display(), seconds()))
        },
    )
}

/// Writes the nodes and the edges.
fn graph(snapshot: &Snapshot, target: &mut Target, done: &mut dyn FnMut()) -> Result<()> {
    let (mut nodes, mut edges) = (target.begin(NODES)?, target.begin(EDGES)?);
    by_kind(snapshot, |node| {
        done();
        nodes.line(node_line(node, true)?.encode())?;
        let source = ids::name(node)?;
        let mut found = snapshot.edges_out(node.id()).collect::<ingrain::Result<Vec<_>>>()?;
        // The order of kinds is the store's own.
        found.sort_by(|a, b| a.kind().cmp(b.kind()));
        for edge in found {
            done();
            let to = ids::name_of(snapshot, edge.target())?;
            edges.line(edge_line(&edge, &source, to, true)?.encode())?;
        }
        Ok(())
    })?;
    target.end(nodes)?;
    target.end(edges)
}

/// Writes the vectors of a few spaces.
fn vectors(
    snapshot: &Snapshot,
    spaces: &[DefinedSpace],
    target: &mut Target,
    done: &mut dyn FnMut(),
) -> Result<()> {
    let mut parts: Vec<(&DefinedSpace, Part, Part, u64)> = Vec::new();
    for space in spaces {
        let (mut rows, ids) = (target.begin(&space.rows)?, target.begin(&space.ids)?);
        rows.put(&space.header()?)?;
        parts.push((space, rows, ids, 0));
    }
    by_kind(snapshot, |node| {
        for (space, rows, ids, count) in &mut parts {
            let Some(vector) = node.vector(&space.name)? else { continue };
            done();
            *count += 1;
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            rows.put(&bytes)?;
            ids.put(format!("{}\n", node.id()).as_bytes())?;
        }
        Ok(())
    })?;
    for (space, rows, ids, count) in parts {
        if count != space.vectors {
            return Err(CliError::message(format!(
                "space {:?}: the store says that it has {} vectors, but its nodes have {count}; \
                 \"ingrain verify\" finds the damage",
                space.name, space.vectors
            )));
        }
        target.end(rows)?;
        target.end(ids)?;
    }
    Ok(())
}
