//! The command `nearest`.

use std::process::ExitCode;

use ingrain::{
    KeyRange, Snapshot,
    exchange::json::object,
    search::{CandidateSource, Hit, Search},
};
use serde_json::Value as Json;

use crate::{
    args::{FilterArg, NearestArgs},
    error::{CliError, Result},
    ids,
    output::{self, Output},
    query, store,
    vectors::Vectors,
};

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
        let mut queries = Vectors::open(path, "query")?;
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
