//! The commands that read: `get`, `edges`, `scan`, `path`, `stats`.

use std::process::ExitCode;

use ingrain::{
    Cursor, Direction, EdgeRef, KeyRange, NodeRef, Snapshot,
    exchange::{
        json::{self, map_to_json, object, to_json},
        lines::{edge_fields, from_hex, to_hex},
    },
    graph::{EdgeDirection, GraphPath, PathOptions},
};
use serde_json::{Map, Value as Json};

use crate::{
    args::{EdgesArgs, GetArgs, PathArgs, ScanArgs, StatsArgs},
    error::{CliError, Result},
    ids,
    output::{self, Output},
    spaces, store,
};

/// Characters of content or attributes in a table.
pub(crate) const BRIEF: usize = 60;

pub(crate) fn get(args: &GetArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    for (at, id) in args.ids.iter().enumerate() {
        let node = ids::find(&snapshot, id)?;
        if output.is_json() {
            output.json(&node_json(&snapshot, &node)?)?;
            continue;
        }
        if at > 0 {
            output.text("")?;
        }
        output.table(&node_table(&snapshot, &node)?)?;
    }
    engine.done(output);
    Ok(ExitCode::SUCCESS)
}

/// The content as JSON: as text, or else null and as base64.
pub(crate) fn content_json(node: &NodeRef<'_>) -> [(&'static str, Json); 2] {
    let (text, base64) = match str::from_utf8(node.content()) {
        Ok(text) => (Json::from(text), Json::Null),
        Err(_) => (Json::Null, Json::from(json::base64(node.content()))),
    };
    [("content", text), ("content_base64", base64)]
}

fn node_json(snapshot: &Snapshot, node: &NodeRef<'_>) -> Result<Json> {
    let [content, base64] = content_json(node);
    let key = |(index, key)| object([("index", Json::from(index)), ("key", to_hex(key).into())]);
    let mut keys: Vec<(&str, &[u8])> = node.keys().collect();
    keys.sort_unstable();
    let mut vectors = Map::new();
    for (name, _) in snapshot.spaces() {
        if let Some(vector) = node.vector(name)? {
            vectors.insert(name.to_owned(), Json::from(vector.len()));
        }
    }
    Ok(object([
        ("id", Json::from(ids::name(node)?)),
        ("uuid", Json::from(node.id().to_string())),
        ("kind", Json::from(node.kind())),
        content,
        base64,
        ("attributes", Json::Object(map_to_json(&*node.attributes()?))),
        ("strength", Json::from(unsigned_zero(node.strength()))),
        ("confidence", Json::from(unsigned_zero(node.confidence()))),
        ("created", Json::from(node.created().as_micros())),
        ("updated", Json::from(node.updated().as_micros())),
        ("accessed", Json::from(node.accessed().as_micros())),
        ("access_count", Json::from(node.access_count())),
        ("expires", Json::from(node.expires().map(ingrain::Timestamp::as_micros))),
        ("version", Json::from(node.version().get())),
        ("keys", keys.into_iter().map(key).collect()),
        ("vectors", Json::Object(vectors)),
    ]))
}

/// A node as a table of its fields.
pub(crate) fn node_table(snapshot: &Snapshot, node: &NodeRef<'_>) -> Result<comfy_table::Table> {
    let mut table = output::facts();
    let mut add = |name: &str, value: String| {
        table.add_row([output::cell(name), output::cell(&value)]);
    };
    add("id", ids::name(node)?);
    add("uuid", node.id().to_string());
    add("kind", node.kind().to_owned());
    add("content", content_text(node));
    for (name, value) in node.attributes()?.iter().filter(|(name, _)| *name != ids::ID) {
        add(&format!("  {name}"), to_json(value).to_string());
    }
    add("strength", unsigned_zero(node.strength()).to_string());
    add("confidence", unsigned_zero(node.confidence()).to_string());
    add("created", node.created().to_string());
    add("updated", node.updated().to_string());
    add("accessed", format!("{}, {} times", node.accessed(), output::grouped(node.access_count())));
    add("expires", node.expires().map_or_else(|| "never".to_owned(), |time| time.to_string()));
    add("version", output::grouped(node.version().get()));
    for (index, key) in node.keys() {
        add(&format!("key in {index}"), to_hex(key));
    }
    for (space, _) in snapshot.spaces() {
        if let Some(vector) = node.vector(space)? {
            add(&format!("vector in {space}"), format!("{} numbers", vector.len()));
        }
    }
    table.add_row([
        "edges".to_owned(),
        format!(
            "{} out, {} in",
            output::count(snapshot.edges_out(node.id()).count()),
            output::count(snapshot.edges_in(node.id()).count())
        ),
    ]);
    Ok(table)
}

/// A number without the sign of a zero.
fn unsigned_zero(number: f32) -> f32 {
    if number == 0.0 { 0.0 } else { number }
}

fn content_text(node: &NodeRef<'_>) -> String {
    match str::from_utf8(node.content()) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("{} bytes that are not text", output::count(node.content().len())),
    }
}

/// A node as a row of a table: its id, its kind and the beginning of its content.
pub(crate) fn headline(node: &NodeRef<'_>, characters: usize) -> Result<[String; 3]> {
    let (id, kind) = (output::cell(&ids::name(node)?), output::cell(node.kind()));
    Ok([id, kind, output::brief(&content_text(node), characters)])
}

pub(crate) fn edges(args: &EdgesArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let node = ids::find(&snapshot, &args.id)?;
    let both = args.into == args.out;
    let mut table = output::table(&["", "source", "type", "target", "weight", "attributes"]);
    let sides = [
        ("out", both || args.out, snapshot.edges_out(node.id())),
        ("in", both || args.into, snapshot.edges_in(node.id())),
    ];
    for (side, _, edges) in sides.into_iter().filter(|(_, wanted, _)| *wanted) {
        let edges = match &args.kind {
            Some(kind) => edges.kind(kind),
            None => edges,
        };
        for edge in edges.take(most(args.limit)) {
            let edge = edge?;
            if output.is_json() {
                output.json(&edge_json(&snapshot, &edge)?)?;
            } else {
                table.add_row(edge_row(&snapshot, &edge, side)?);
            }
        }
    }
    if !output.is_json() {
        if table.is_empty() {
            output.text("no edges")?;
        } else {
            output.table(&table)?;
        }
    }
    engine.done(output);
    Ok(ExitCode::SUCCESS)
}

/// A limit, where 0 means none.
pub(crate) fn most(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

fn edge_json(snapshot: &Snapshot, edge: &EdgeRef<'_>) -> Result<Json> {
    let source = ids::name_of(snapshot, edge.source())?;
    let target = ids::name_of(snapshot, edge.target())?;
    let mut edge = edge.to_exact_edge()?;
    edge.weight = output::unsigned_zero(edge.weight);
    Ok(Json::Object(edge_fields(&edge, &source, &target, true)))
}

/// An edge in a row of a table.
fn edge_row(snapshot: &Snapshot, edge: &EdgeRef<'_>, side: &str) -> Result<[String; 6]> {
    let attributes = edge.attributes()?;
    let attributes = if attributes.is_empty() {
        String::new()
    } else {
        output::brief(&Json::Object(map_to_json(&attributes)).to_string(), BRIEF)
    };
    Ok([
        side.to_owned(),
        output::cell(&ids::name_of(snapshot, edge.source())?),
        output::cell(edge.kind()),
        output::cell(&ids::name_of(snapshot, edge.target())?),
        output::unsigned_zero(edge.weight()).to_string(),
        attributes,
    ])
}

pub(crate) fn scan(args: &ScanArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let after = args.after.as_deref().map(cursor).transpose()?;
    let mut table = nodes_table();
    let more = match &args.index {
        Some(index) => {
            let direction = if args.reverse { Direction::Descending } else { Direction::Ascending };
            let mut range = snapshot.range(index, KeyRange::all(), direction)?;
            if let Some(after) = &after {
                range = range.after(after)?;
            }
            let next = || match range.next() {
                Some(entry) => {
                    let cursor = range.cursor();
                    Some(entry.map(|entry| (entry.node, cursor)))
                }
                None => None,
            };
            list(args, &snapshot, std::iter::from_fn(next), output, &mut table)?
        }
        None => {
            let mut scan = match &args.kind {
                Some(kind) => snapshot.scan(kind),
                None => snapshot.scan_all(),
            };
            if let Some(after) = &after {
                scan = scan.after(after)?;
            }
            let next = || match scan.next() {
                Some(node) => {
                    let cursor = scan.cursor();
                    Some(node.map(|node| (node, cursor)))
                }
                None => None,
            };
            list(args, &snapshot, std::iter::from_fn(next), output, &mut table)?
        }
    };
    engine.done(output);
    let more = more.map(|cursor| to_hex(&cursor.to_bytes()));
    if output.is_json() {
        if let Some(cursor) = more {
            output.aside(&object([("cursor", cursor.into())]));
        }
        return Ok(ExitCode::SUCCESS);
    }
    show_nodes(&table, output)?;
    if let Some(cursor) = more {
        output.note(format_args!("more with --after {cursor}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists nodes up to the limit. Returns a cursor if there are more.
fn list<'s>(
    args: &ScanArgs,
    snapshot: &'s Snapshot,
    nodes: impl Iterator<Item = ingrain::Result<(NodeRef<'s>, Option<Cursor>)>>,
    output: &mut Output,
    table: &mut comfy_table::Table,
) -> Result<Option<Cursor>> {
    let matcher = snapshot.matcher(args.conditions.filter(args.kind.as_deref()))?;
    let mut left = most(args.limit);
    let mut last = None;
    for node in nodes {
        let (node, cursor) = node?;
        if !matcher.passes(&node)? {
            continue;
        }
        if left == 0 {
            return Ok(last);
        }
        left -= 1;
        last = cursor;
        list_node(&node, output, table)?;
    }
    Ok(None)
}

/// A table for [`list_node`].
pub(crate) fn nodes_table() -> comfy_table::Table {
    output::table(&["id", "kind", "content"])
}

/// Prints a node of a list as JSON, or adds it to the table.
pub(crate) fn list_node(
    node: &NodeRef<'_>,
    output: &mut Output,
    table: &mut comfy_table::Table,
) -> Result<()> {
    if !output.is_json() {
        table.add_row(headline(node, BRIEF)?);
        return Ok(());
    }
    let [content, base64] = content_json(node);
    output.json(&object([
        ("id", Json::from(ids::name(node)?)),
        ("kind", Json::from(node.kind())),
        content,
        base64,
        ("attributes", Json::Object(map_to_json(&*node.attributes()?))),
    ]))
}

/// Prints the table of a list.
pub(crate) fn show_nodes(table: &comfy_table::Table, output: &mut Output) -> Result<()> {
    if table.is_empty() { output.text("no nodes") } else { output.table(table) }
}

fn cursor(text: &str) -> Result<Cursor> {
    from_hex(text).and_then(|bytes| Cursor::from_bytes(&bytes).ok()).ok_or_else(|| {
        CliError::message(format!("--after {text}: it is not a cursor that a scan has printed"))
    })
}

pub(crate) fn path(args: &PathArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let (from, to) = (ids::find(&snapshot, &args.from)?, ids::find(&snapshot, &args.to)?);
    let kinds: Vec<&str> = args.kinds.iter().map(String::as_str).collect();
    let through = args.through.filter(None);
    let options = PathOptions {
        toward: if args.undirected { EdgeDirection::Both } else { EdgeDirection::Out },
        kinds: &kinds,
        max_depth: args.max_depth,
        // The user can interrupt the command.
        max_edges: usize::MAX,
        through: (!args.through.is_empty()).then_some(&through),
    };
    let Some(path) = snapshot.shortest_path(from.id(), to.id(), &options)? else {
        if output.is_json() {
            output.json(&object([
                ("from", Json::from(args.from.as_str())),
                ("to", Json::from(args.to.as_str())),
                ("length", Json::Null),
                ("nodes", Json::Array(Vec::new())),
                ("edges", Json::Array(Vec::new())),
            ]))?;
        }
        return Err(CliError::message(format!(
            "no path of at most {} edges leads from {:?} to {:?}{}",
            args.max_depth,
            args.from,
            args.to,
            if args.undirected { "" } else { "; --undirected follows edges in both directions" }
        )));
    };
    if output.is_json() {
        output.json(&path_json(&snapshot, &path, &args.from, &args.to)?)?;
    } else {
        output.table(&path_table(&snapshot, &path)?)?;
    }
    engine.done(output);
    Ok(ExitCode::SUCCESS)
}

/// A path with its nodes and edges.
pub(crate) fn path_json(
    snapshot: &Snapshot,
    path: &GraphPath<'_>,
    from: &str,
    to: &str,
) -> Result<Json> {
    let mut nodes = vec![ids::name_of(snapshot, path.start)?];
    let mut edges = Vec::new();
    for step in &path.steps {
        nodes.push(ids::name_of(snapshot, step.node)?);
        edges.push(edge_json(snapshot, &step.edge)?);
    }
    Ok(object([
        ("from", Json::from(from)),
        ("to", Json::from(to)),
        ("length", Json::from(path.steps.len())),
        ("nodes", Json::from(nodes)),
        ("edges", Json::Array(edges)),
    ]))
}

/// A path as a table with a row for each node.
pub(crate) fn path_table(snapshot: &Snapshot, path: &GraphPath<'_>) -> Result<comfy_table::Table> {
    let mut table = output::table(&["", "by", "id", "kind", "content"]);
    let mut add = |number: usize, by: String, id| -> Result<()> {
        if let Some(node) = snapshot.get(id)? {
            let [id, kind, content] = headline(&node, BRIEF)?;
            table.add_row([number.to_string(), by, id, kind, content]);
        }
        Ok(())
    };
    add(0, String::new(), path.start)?;
    for (at, step) in path.steps.iter().enumerate() {
        // An edge that is followed against its direction gets a backward arrow.
        let forward = step.edge.target() == step.node;
        let by = if forward { "→ " } else { "← " };
        add(at + 1, format!("{by}{}", output::cell(step.edge.kind())), step.node)?;
    }
    Ok(table)
}

pub(crate) fn stats(args: &StatsArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let stats = engine.stats();
    let digest = args.digest.then(|| snapshot.digest()).transpose()?;
    if output.is_json() {
        let mut document = serde_json::to_value(&stats)
            .map_err(|error| CliError::message(format!("stats as JSON: {error}")))?;
        if let Json::Object(fields) = &mut document {
            let spaces = stats.spaces.iter().map(spaces::to_json).collect::<Result<_>>()?;
            fields.insert("spaces".to_owned(), Json::Array(spaces));
            fields.insert(
                "indexes".to_owned(),
                snapshot.indexes().map(|index| Json::from(index.name)).collect(),
            );
            if let Some(digest) = digest {
                fields.insert("digest".to_owned(), Json::from(digest.to_string()));
            }
        }
        output.json(&document)?;
    } else {
        let mut table = stats_table(&snapshot, &stats);
        if let Some(digest) = digest {
            table.add_row(["digest".to_owned(), digest.to_string()]);
        }
        output.table(&table)?;
    }
    engine.done(output);
    Ok(ExitCode::SUCCESS)
}

/// The statistics of a store.
pub(crate) fn stats_table(
    snapshot: &Snapshot,
    stats: &ingrain::admin::Stats,
) -> comfy_table::Table {
    let mut table = output::facts();
    let number = |name: &str, value: usize| [name.to_owned(), output::count(value)];
    table.add_row(number("nodes", stats.nodes));
    table.add_row(number("edges", stats.edges));
    table.add_row(number("vectors", stats.vectors));
    table.add_row(number("index keys", stats.keys));
    table.add_row(number("kinds", stats.kinds));
    table.add_row(["last commit".to_owned(), output::grouped(stats.seq.get())]);
    table.add_row([
        "log".to_owned(),
        format!(
            "{} bytes in {} files",
            output::grouped(stats.write.wal_bytes),
            output::grouped(stats.write.wal_files)
        ),
    ]);
    let base = &stats.checkpoint;
    table.add_row([
        "base".to_owned(),
        format!(
            "{} bytes in {} files, {} of them live",
            output::grouped(base.file_bytes),
            output::count(base.files),
            output::grouped(base.live_bytes)
        ),
    ]);
    table.add_row(["checkpoint".to_owned(), format!("commit {}", output::grouped(base.seq.get()))]);
    table.add_row([
        "since then".to_owned(),
        format!("{} bytes in memory", output::count(base.delta_bytes)),
    ]);
    if base.completed > 0 || base.failed > 0 {
        let counts = format!("{} made, {} failed", base.completed, base.failed);
        table.add_row(["checkpoints".to_owned(), counts]);
    }
    for space in &stats.spaces {
        table.add_row([output::cell(&format!("space {}", space.name)), spaces::summary(space)]);
    }
    let indexes: Vec<String> = snapshot.indexes().map(|index| output::cell(index.name)).collect();
    table.add_row(["indexes".to_owned(), indexes.join(", ")]);
    table
}
