//! The command `index`.

use std::process::ExitCode;

use ingrain::{
    Engine, Snapshot,
    exchange::json::object,
    index::{Index, IndexInfo, IndexPart, IndexState},
};
use serde_json::Value as Json;

use crate::{
    args::{CreateIndexArgs, IndexAction, IndexArgs},
    error::{CliError, Result},
    output::{self, Output},
    store,
};

pub(crate) fn run(args: &IndexArgs, output: &mut Output) -> Result<ExitCode> {
    match &args.action {
        IndexAction::List(store) => {
            let engine = store::open(&store.store, output)?;
            engine.done(output);
            list(&engine.snapshot(), output)?;
        }
        IndexAction::Create(args) => {
            let definition = definition(args)?;
            let engine = store::open(&args.store, output)?;
            create(&engine, args, definition)?;
            engine.done(output);
            let snapshot = engine.snapshot();
            engine.close()?;
            said(&snapshot, &args.name, "created", output)?;
        }
        IndexAction::Drop(args) => {
            let engine = store::open(&args.store, output)?;
            let snapshot = engine.snapshot();
            let names: Vec<&str> = snapshot.indexes().map(|index| index.name).collect();
            if !names.contains(&args.name.as_str()) {
                return Err(store::unknown("index", &args.name, &names));
            }
            engine.drop_index(&*args.name)?;
            engine.done(output);
            engine.close()?;
            said(&snapshot, &args.name, "dropped", output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn create(engine: &Engine, args: &CreateIndexArgs, definition: Option<Index>) -> Result<()> {
    match definition {
        Some(definition) => {
            engine.create_index_on(&*args.name, definition)?;
            engine.build_index(&args.name).map_err(|error| {
                CliError::message(format!(
                    "{error}; \"ingrain index drop {}\" removes what there is of it",
                    args.name
                ))
            })?;
        }
        None => {
            engine.create_index(&*args.name)?;
        }
    }
    Ok(())
}

/// The definition that arguments give; `None` without fields.
fn definition(args: &CreateIndexArgs) -> Result<Option<Index>> {
    if args.fields.is_empty() {
        return if args.kinds.is_empty() && !args.unique {
            Ok(None)
        } else {
            Err(CliError::message("an index without a field has neither --kind nor --unique"))
        };
    }
    let index = Index::on(args.fields.iter().cloned()).kinds(&args.kinds);
    Ok(Some(if args.unique { index.unique() } else { index }))
}

/// The fields of an index, as arguments name them.
fn fields(index: &Index) -> Vec<String> {
    let part = |part: &IndexPart| {
        let order = if part.is_descending() { ":desc" } else { "" };
        let default = part.default_value().map(|value| format!(" or {value}")).unwrap_or_default();
        format!("{}{order}{default}", part.field())
    };
    index.parts().iter().map(part).collect()
}

fn to_json(index: IndexInfo<'_>) -> Json {
    let state = match index.state {
        IndexState::Ready => "ready",
        IndexState::Building => "building",
        _ => "failed",
    };
    let why = match index.state {
        IndexState::Failed(why) => Some(why),
        _ => None,
    };
    let on = index.definition.map(fields);
    let kinds: Option<Vec<&str>> = index.definition.map(|index| index.of_kinds().collect());
    object([
        ("name", index.name.into()),
        ("on", on.into()),
        ("kinds", kinds.into()),
        ("unique", index.definition.is_some_and(Index::is_unique).into()),
        ("state", state.into()),
        ("why", why.into()),
    ])
}

fn list(snapshot: &Snapshot, output: &mut Output) -> Result<()> {
    if output.is_json() {
        return output.json(&object([("indexes", snapshot.indexes().map(to_json).collect())]));
    }
    let mut table = output::table(&["index", "on", "kinds", "unique", "state"]);
    for index in snapshot.indexes() {
        let (on, kinds) = match index.definition {
            Some(definition) => (
                fields(definition).join(", "),
                definition.of_kinds().collect::<Vec<_>>().join(", "),
            ),
            None => ("keys that are given".to_owned(), String::new()),
        };
        let unique = index.definition.is_some_and(Index::is_unique);
        table.add_row([
            output::cell(index.name),
            output::cell(&on),
            output::cell(if kinds.is_empty() { "all" } else { &kinds }),
            output::cell(if unique { "yes" } else { "no" }),
            output::cell(&index.state.to_string()),
        ]);
    }
    output.text(table)
}

/// Reports what was done to an index.
fn said(snapshot: &Snapshot, name: &str, what: &str, output: &mut Output) -> Result<()> {
    let index = snapshot.index(name).map_or(Json::Null, to_json);
    output.summary(
        || object([(what, index.clone())]),
        |output| output.text(format_args!("{what} {name}")),
    )
}
