//! The command `nearest`.

use std::{io::Read, path::Path, process::ExitCode};

use ingrain::{
    KeyRange, Snapshot, Space,
    exchange::{json::object, npy::MAGIC},
    search::{CandidateSource, Hit, Search},
};
use serde_json::Value as Json;

use crate::{
    args::{FilterArg, NearestArgs},
    error::{CliError, Result},
    ids, input,
    npy::{self, Npy},
    output::{self, Output},
    query, store,
};

/// Queries that are run together.
const TOGETHER: usize = 256;

pub(crate) fn run(args: &NearestArgs, output: &mut Output) -> Result<ExitCode> {
    let conditions = Conditions::of(args)?;
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let (name, space) = store::space(&snapshot, args.space.as_deref())?;
    conditions.check(&snapshot)?;
    if let Some(like) = &args.like {
        let node = ids::find(&snapshot, like)?;
        if node.vector(&name)?.is_none() {
            return Err(CliError::message(format!(
                "node {like:?}: it has no vector in space {name:?}"
            )));
        }
        let hits =
            snapshot.search(&conditions.search(args, Search::like(&name, node.id(), args.k)))?;
        show(output, Json::from(like.as_str()), &hits, args.explain)?;
    }
    if let Some(path) = &args.vector {
        let mut queries = Queries::open(path)?;
        let mut row = 0_u64;
        loop {
            let some = queries.some(row, &name, space)?;
            if some.is_empty() {
                break;
            }
            let searches: Vec<Search<'_>> = some
                .iter()
                .map(|query| conditions.search(args, Search::new(&name, query, args.k)))
                .collect();
            for hits in snapshot.search_many(&searches)? {
                show(output, Json::from(row), &hits, args.explain)?;
                row += 1;
            }
        }
    }
    engine.done(output);
    Ok(ExitCode::SUCCESS)
}

/// Conditions that nodes must meet.
struct Conditions<'a> {
    kind: Option<&'a str>,
    index: Option<(&'a str, &'a KeyRange)>,
}

impl<'a> Conditions<'a> {
    fn of(args: &'a NearestArgs) -> Result<Self> {
        let mut of = Self { kind: args.kind.as_deref(), index: None };
        for filter in &args.filters {
            let twice = match filter {
                FilterArg::Kind(kind) => of.kind.replace(kind).map(|_| "kind"),
                FilterArg::Index(name, range) => of.index.replace((name, range)).map(|_| "index"),
            };
            if let Some(what) = twice {
                return Err(CliError::usage(format!(
                    "--filter: a search takes one {what}; omit the others"
                )));
            }
        }
        Ok(of)
    }

    fn check(&self, snapshot: &Snapshot) -> Result<()> {
        let indexes: Vec<&str> = snapshot.indexes().map(|index| index.name).collect();
        match self.index {
            Some((name, _)) if !indexes.contains(&name) => {
                Err(store::unknown("index", name, &indexes))
            }
            _ => Ok(()),
        }
    }

    fn search<'q>(&'q self, args: &NearestArgs, search: Search<'q>) -> Search<'q> {
        let mut filter = args.conditions.filter(self.kind);
        if let Some((index, range)) = self.index {
            filter = filter.index(index, range.clone());
        }
        let mut search = search.filter(filter).effort(args.effort.into()).explain(args.explain);
        if let Some(within) = args.within {
            search = search.within(within);
        }
        if let Some(diversity) = args.diversity {
            search = search.diversity(diversity);
        }
        search
    }
}

/// The source of queries, and its name for messages.
enum Queries {
    Npy(Npy, String),
    Json(std::vec::IntoIter<Vec<f32>>, String),
}

impl Queries {
    fn open(path: &Path) -> Result<Self> {
        let shown = input::shown(path).into_owned();
        let failed = |error| CliError::io("read", path, error);
        let mut file = input::regular(path)?;
        let mut bytes = Vec::new();
        file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut bytes).map_err(failed)?;
        if bytes == MAGIC {
            return Ok(Self::Npy(Npy::over(path, file, 256 << 10)?, shown));
        }
        file.read_to_end(&mut bytes).map_err(failed)?;
        let mut queries = Vec::new();
        for value in serde_json::Deserializer::from_slice(&bytes).into_iter() {
            value
                .map_err(|error| error.to_string())
                .and_then(|value| add_queries(&value, 0, &mut queries))
                .map_err(|error| {
                    CliError::message(format!(
                        "{shown}: it is neither a .npy file nor JSON arrays of numbers: {error}"
                    ))
                })?;
        }
        if queries.is_empty() {
            return Err(CliError::message(format!("{shown}: it holds no query")));
        }
        Ok(Self::Json(queries.into_iter(), shown))
    }

    /// The next queries, from row `from` on; an empty list at the end.
    fn some(&mut self, from: u64, name: &str, space: Space) -> Result<Vec<Vec<f32>>> {
        let mut some = Vec::new();
        for row in (from..).take(TOGETHER) {
            let next = match self {
                Self::Npy(npy, _) => npy.next()?,
                Self::Json(queries, _) => queries.next(),
            };
            let Some(query) = next else { break };
            let query = if query.len() == space.dimension {
                npy::check_row(query, space.metric)
                    .and_then(|query| query.ok_or_else(|| "its vector is all NaN".to_owned()))
            } else {
                let numbers = query.len();
                Err(format!(
                    "it has {numbers} numbers, vectors of space {name:?} have {}",
                    space.dimension
                ))
            };
            some.push(query.map_err(|cause| {
                let (Self::Npy(_, shown) | Self::Json(_, shown)) = self;
                CliError::message(format!("{shown}: row {row}: {cause}"))
            })?);
        }
        Ok(some)
    }
}

/// Adds the queries of an array: the array itself if it has numbers, or those of
/// the arrays in it.
fn add_queries(value: &Json, depth: usize, queries: &mut Vec<Vec<f32>>) -> Result<(), String> {
    /// Deeper nesting is a mistake.
    const DEPTH: usize = 4;
    let Json::Array(values) = value else { return Err(format!("{value} is not an array")) };
    if values.iter().any(Json::is_array) && depth < DEPTH {
        return values.iter().try_for_each(|value| add_queries(value, depth + 1, queries));
    }
    queries.push(values.iter().map(binary32).collect::<Result<_, _>>()?);
    Ok(())
}

#[expect(clippy::as_conversions, reason = "only a cast rounds to the closest binary32")]
fn binary32(value: &Json) -> Result<f32, String> {
    let number = value.as_f64().map(|number| number as f32);
    number.ok_or_else(|| format!("{value} is not a number"))
}

/// Prints the hits of a query.
fn show(output: &mut Output, query: Json, hits: &[Hit<'_>], explain: bool) -> Result<()> {
    if output.is_json() {
        let mut found = Vec::with_capacity(hits.len());
        for hit in hits {
            let id = ids::name(&hit.node)?;
            let [content, base64] = query::content_json(&hit.node);
            let mut fields = object([
                ("id", Json::from(id)),
                ("kind", hit.node.kind().into()),
                content,
                base64,
                ("distance", output::unsigned_zero(hit.distance).into()),
            ]);
            if let (Some(how), Json::Object(fields)) = (hit.origin, &mut fields) {
                let how = [
                    ("by", Json::from(by(how.by))),
                    ("file", how.file.into()),
                    ("rank", how.rank.into()),
                ];
                fields.extend(how.map(|(name, value)| (name.to_owned(), value)));
            }
            found.push(fields);
        }
        return output.json(&object([("query", query), ("hits", Json::Array(found))]));
    }
    match &query {
        Json::String(id) => output.text(format_args!("nearest to {}", output::cell(id)))?,
        row => output.text(format_args!("nearest to row {row}"))?,
    }
    if hits.is_empty() {
        return output.text("no nodes");
    }
    let mut heads = vec!["distance", "id", "kind", "content"];
    if explain {
        heads.extend(["by", "file", "rank"]);
    }
    let mut table = output::table(&heads);
    for hit in hits {
        let mut row = vec![output::fixed(hit.distance, 6)];
        row.extend(query::headline(&hit.node, query::BRIEF)?);
        if let Some(how) = hit.origin {
            let number = |number: Option<u32>| number.map(|n| n.to_string()).unwrap_or_default();
            let file = how.file.map_or_else(|| "memory".to_owned(), |file| file.to_string());
            row.extend([by(how.by).to_owned(), file, number(how.rank)]);
        }
        table.add_row(row);
    }
    output.table(&table)
}

fn by(by: CandidateSource) -> &'static str {
    match by {
        CandidateSource::Codes => "codes",
        CandidateSource::Graph => "graph",
        _ => "comparison",
    }
}
