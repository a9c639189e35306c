//! The commands that select nodes by conditions: `query`, `count` and `kinds`.

use std::process::ExitCode;

use ingrain::{NodeRef, exchange::json::object};
use serde_json::Value as Json;

use crate::{
    args::StoreArgs,
    error::Result,
    output::{self, Output},
    query::{BRIEF, headline, most, scanned_json},
    select_args::{CountArgs, QueryArgs},
    store,
};

pub(crate) fn query(args: &QueryArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let mut select = snapshot.select(args.filter.filter()).order_by(args.order.iter().cloned());
    if args.limit > 0 {
        select = select.limit(args.limit);
    }
    if args.explain {
        let plan = select.explain()?;
        if output.is_json() {
            output.json(&object([("plan", plan.into())]))?;
        } else {
            output.text(plan)?;
        }
        engine.done(output);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["id", "kind", "content"]);
    let mut listed = 0_usize;
    for node in select.nodes()? {
        let node: NodeRef<'_> = node?;
        listed += 1;
        if output.is_json() {
            output.json(&scanned_json(&node)?)?;
        } else {
            table.add_row(headline(&node, BRIEF)?);
        }
    }
    engine.done(output);
    if !output.is_json() {
        if table.is_empty() {
            output.text("no nodes")?;
        } else {
            output.table(&table)?;
        }
    }
    if listed == most(args.limit) {
        output.note(format_args!(
            "these are the first {}; --limit shows more",
            output::count(listed)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn count(args: &CountArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let mut filter = args.filter.filter();
    if let Some(kind) = &args.kind {
        filter = filter.kind(kind);
    }
    let nodes = engine.snapshot().select(filter).count()?;
    engine.done(output);
    if output.is_json() {
        output.json(&object([("nodes", nodes.into())]))?;
    } else {
        output.text(nodes)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn kinds(args: &StoreArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let mut table = output::table(&["kind", "nodes", "edges"]);
    let counts = snapshot.kind_counts()?;
    for count in counts {
        if output.is_json() {
            output.json(&object([
                ("kind", Json::from(count.kind)),
                ("nodes", count.nodes.into()),
                ("edges", count.edges.into()),
            ]))?;
        } else {
            let (nodes, edges) = (output::grouped(count.nodes), output::grouped(count.edges));
            table.add_row([output::cell(count.kind), nodes, edges]);
        }
    }
    engine.done(output);
    if !output.is_json() {
        if table.is_empty() {
            output.text("no kinds")?;
        } else {
            output.table(&table)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
