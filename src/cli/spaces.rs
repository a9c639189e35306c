//! The command `spaces`, and how other commands show vector spaces.

use std::process::ExitCode;

use ingrain::{
    Batch, Durability, Method, Op, Space,
    admin::{IndexStats, SpaceStats, Stats},
    exchange::json::object,
};
use serde_json::Value as Json;

use crate::{
    args::SpacesArgs,
    error::{CliError, Result},
    output::{self, Output},
    store,
};

pub(crate) fn run(args: &SpacesArgs, output: &mut Output) -> Result<ExitCode> {
    let engine = store::open(&args.store, output)?;
    let before = engine.stats();
    let changes = plan(args, &before)?;
    let mut batch = Batch::new();
    for change in &changes {
        if let Some(op) = change.op() {
            batch.push(op);
        }
    }
    if !batch.is_empty() {
        batch.durability(Durability::Sync);
        engine.write(batch)?;
    }
    let spaces = engine.stats().spaces;
    engine.done(output);
    // Without changes, the engine is only dropped, which makes no checkpoint.
    if !changes.is_empty() {
        engine.close()?;
    }
    if output.is_json() {
        let spaces = spaces.iter().map(to_json).collect::<Result<_>>()?;
        let changes = changes.iter().map(Change::json).collect();
        output
            .json(&object([("changes", Json::Array(changes)), ("spaces", Json::Array(spaces))]))?;
    } else {
        for change in &changes {
            output.text(change.text())?;
        }
        show(output, &spaces)?;
    }
    if !cfg!(feature = "hnsw")
        && changes.iter().any(|change| matches!(change, Change::Method(_, Method::Hnsw)))
    {
        output.warn(
            "this program was built without the feature hnsw: it builds no graphs, and searches \
             with codes",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A requested change.
enum Change {
    /// The name, and the number of vectors.
    Drop(String, u64),
    Create(String, Space),
    /// The space exists already.
    Keep(String, Space),
    Method(String, Method),
}

/// The changes, in the order in which they are made.
fn plan(args: &SpacesArgs, before: &Stats) -> Result<Vec<Change>> {
    let mut there: Vec<(&str, Option<Space>)> =
        before.spaces.iter().map(|space| (space.name.as_str(), Some(space.space))).collect();
    let unknown = |name: &str, there: &[(&str, Option<Space>)]| {
        let names: Vec<&str> = there.iter().map(|(name, _)| *name).collect();
        store::unknown("vector space", name, &names)
    };
    let mut changes = Vec::new();
    for name in &args.drops {
        let at = there.iter().position(|(other, _)| other == name);
        there.remove(at.ok_or_else(|| unknown(name, &there))?);
        let vectors = before.spaces.iter().find(|space| space.name == *name);
        changes.push(Change::Drop(name.clone(), vectors.map_or(0, |space| space.vectors)));
    }
    for (name, space) in &args.creates {
        match there.iter().find(|(other, _)| other == name) {
            Some((_, Some(same))) if same == space => {
                changes.push(Change::Keep(name.clone(), *space));
            }
            Some((_, other)) => {
                let other = other.map(definition).unwrap_or_default();
                return Err(CliError::message(format!(
                    "vector space {name:?}: the store has it with {other}; choose another name, or \
                     --drop it with its vectors"
                )));
            }
            None => {
                there.push((name, Some(*space)));
                changes.push(Change::Create(name.clone(), *space));
            }
        }
    }
    for (name, method) in &args.methods {
        if !there.iter().any(|(other, _)| other == name) {
            return Err(unknown(name, &there));
        }
        changes.push(Change::Method(name.clone(), *method));
    }
    Ok(changes)
}

impl Change {
    fn op(&self) -> Option<Op> {
        match self {
            Self::Drop(name, _) => Some(Op::DropSpace { name: name.clone() }),
            Self::Create(name, space) => {
                Some(Op::CreateSpace { name: name.clone(), space: *space })
            }
            Self::Keep(..) => None,
            Self::Method(name, method) => {
                Some(Op::SetMethod { name: name.clone(), method: *method })
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Drop(name, vectors) => {
                format!("dropped {name} with {} vectors", output::grouped(*vectors))
            }
            Self::Create(name, space) => format!("created {name}: {}", definition(*space)),
            Self::Keep(name, space) => format!("{name} exists: {}", definition(*space)),
            Self::Method(name, method) => format!(
                "{name} is searched by {}; \"ingrain rebuild\" builds the indexes for that at once",
                lower(method)
            ),
        }
    }

    fn json(&self) -> Json {
        let change = |what: &str, name: &str, field: &str, value| {
            object([("change", Json::from(what)), ("name", Json::from(name)), (field, value)])
        };
        match self {
            Self::Drop(name, vectors) => change("drop", name, "vectors", Json::from(*vectors)),
            Self::Create(name, _) => change("create", name, "created", Json::from(true)),
            Self::Keep(name, _) => change("create", name, "created", Json::from(false)),
            Self::Method(name, method) => {
                change("set-method", name, "method", Json::from(lower(method)))
            }
        }
    }
}

/// The name of a metric or method, in lower case.
fn lower(named: &impl std::fmt::Debug) -> String {
    format!("{named:?}").to_lowercase()
}

fn definition(space: Space) -> String {
    format!("dimension {}, metric {}", space.dimension, lower(&space.metric))
}

/// A space as JSON, with the fields of its definition beside its statistics.
pub(crate) fn to_json(space: &SpaceStats) -> Result<Json> {
    let document = serde_json::to_value(space)
        .map_err(|error| CliError::message(format!("a space as JSON: {error}")))?;
    let Json::Object(mut fields) = document else { return Ok(document) };
    if let Some(Json::Object(definition)) = fields.remove("space") {
        fields.extend(definition);
    }
    Ok(Json::Object(fields))
}

/// A space as one line of text.
pub(crate) fn summary(space: &SpaceStats) -> String {
    let dead: usize = space.files.iter().map(|file| file.dead).sum();
    let damaged = indexes(space).filter(|(_, index)| index.damage.is_some()).count();
    let mut text = format!(
        "{}, method {}, {} vectors, {} in memory, {} files with {} dead rows",
        definition(space.space),
        lower(&space.method),
        output::grouped(space.vectors),
        output::count(space.in_memory),
        output::count(space.files.len()),
        output::count(dead)
    );
    for (what, wanted) in [("codes", true), ("graph", false)] {
        let least = indexes(space)
            .filter(|(codes, index)| *codes == wanted && index.damage.is_none())
            .filter_map(|(_, index)| index.recall)
            .reduce(f32::min);
        if let Some(recall) = least {
            text.push_str(&format!(", {what} with a recall of {recall:.3} or more"));
        }
    }
    if damaged > 0 {
        text.push_str(&format!(", {damaged} damaged files of codes or graphs"));
    }
    text
}

/// The indexes of a space, each with whether it is codes.
fn indexes(space: &SpaceStats) -> impl Iterator<Item = (bool, &IndexStats)> {
    space.files.iter().flat_map(|file| {
        let codes = file.codes.iter().map(|index| (true, index));
        codes.chain(file.graph.iter().map(|index| (false, index)))
    })
}

/// Prints spaces, then their files, then damage.
pub(crate) fn show(output: &mut Output, spaces: &[SpaceStats]) -> Result<()> {
    if spaces.is_empty() {
        return output.text("no vector spaces");
    }
    let mut table = output::table(&[
        "space",
        "dimension",
        "metric",
        "method",
        "vectors",
        "in memory",
        "files",
        "dead rows",
    ]);
    let mut files = output::table(&["file", "of", "bytes", "rows", "dead", "codes", "graph"]);
    let mut damage = Vec::new();
    for space in spaces {
        table.add_row([
            output::cell(&space.name),
            space.space.dimension.to_string(),
            lower(&space.space.metric),
            lower(&space.method),
            output::grouped(space.vectors),
            output::count(space.in_memory),
            output::count(space.files.len()),
            output::count(space.files.iter().map(|file| file.dead).sum()),
        ]);
        for file in &space.files {
            files.add_row([
                file.file.to_string(),
                output::cell(&space.name),
                output::grouped(file.bytes),
                output::count(file.rows),
                output::count(file.dead),
                file.codes.as_ref().map_or_else(|| "none".to_owned(), index_text),
                file.graph.as_ref().map_or_else(|| "none".to_owned(), index_text),
            ]);
        }
        for (codes, index) in indexes(space) {
            if let Some(what) = &index.damage {
                let kind = if codes { "codes" } else { "graph" };
                damage.push(format!(
                    "damaged: {kind} of space {}, rebuilt automatically or by \"ingrain rebuild\": \
                     {what}",
                    space.name
                ));
            }
        }
    }
    output.table(&table)?;
    if !files.is_empty() {
        output.text("")?;
        output.table(&files)?;
    }
    damage.into_iter().try_for_each(|line| output.text(line))
}

/// Codes or a graph in a cell of a table.
fn index_text(index: &IndexStats) -> String {
    if index.damage.is_some() {
        return "damaged".to_owned();
    }
    let bits = if index.bits > 0 { format!("{} bits, ", index.bits) } else { String::new() };
    let depths = index.depths.map(|depth| depth.map_or_else(|| "-".to_owned(), |n| n.to_string()));
    let recall = |recall: Option<f32>| recall.map_or_else(|| "-".to_owned(), |r| format!("{r:.3}"));
    let (usual, foreign) = (recall(index.recall), recall(index.foreign_recall));
    format!("{bits}recall {usual} (foreign queries {foreign}), candidates {}", depths.join("/"))
}
