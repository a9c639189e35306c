//! The commands `query`, `count` and `kinds`, and conditions of other commands.

use std::{collections::BTreeMap, process::ExitCode};

use ingrain::exchange::json::object;
use serde_json::Value as Json;

use crate::{
    args::{CountArgs, KindsArgs, QueryArgs},
    error::Result,
    output::{self, Output},
    query, store,
};

pub(crate) fn query(args: &QueryArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let filter = args.conditions.filter(args.kind.as_deref());
    let mut select = snapshot.select(&filter);
    if !args.order.is_empty() {
        select = select.order_by(args.order.iter().cloned());
    }
    if args.limit > 0 {
        // One more than is shown tells whether there are more.
        select = select.limit(args.limit.saturating_add(1));
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
    let mut table = query::nodes_table();
    let (mut shown, mut more) = (0, false);
    for node in select.nodes()? {
        let node = node?;
        if shown == query::most(args.limit) {
            more = true;
            break;
        }
        shown += 1;
        query::list_node(&node, output, &mut table)?;
    }
    engine.done(output);
    if !output.is_json() {
        query::show_nodes(&table, output)?;
    }
    if more {
        output.note(format_args!(
            "there are more than {} nodes; --limit 0 lists all",
            output::count(shown)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn count(args: &CountArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let filter = args.conditions.filter(args.kind.as_deref());
    let nodes = engine.snapshot().select(filter).count()?;
    engine.done(output);
    if output.is_json() {
        output.json(&object([("nodes", nodes.into())]))?;
    } else {
        // Without separators, for a script.
        output.text(nodes)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn kinds(args: &KindsArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    if args.all {
        kinds.extend(snapshot.kinds().map(|kind| (kind, (0, 0))));
    }
    let counts = snapshot.kind_counts()?;
    kinds.extend(counts.iter().map(|count| (count.kind, (count.nodes, count.edges))));
    engine.done(output);
    if output.is_json() {
        for (kind, (nodes, edges)) in kinds {
            let fields =
                [("kind", Json::from(kind)), ("nodes", nodes.into()), ("edges", edges.into())];
            output.json(&object(fields))?;
        }
    } else if kinds.is_empty() {
        output.text("no kinds")?;
    } else {
        let mut table = output::table(&["kind", "nodes", "edges"]);
        for (kind, (nodes, edges)) in kinds {
            let numbers = [nodes, edges].map(output::grouped);
            table.add_row([output::cell(kind)].into_iter().chain(numbers));
        }
        output.table(&table)?;
    }
    Ok(ExitCode::SUCCESS)
}
