//! The command `patch`.

use std::process::ExitCode;

use ingrain::{Batch, Patch, Seq, exchange::json::object};

use super::{commit_on, content, end, names, once, put::named_and_at, vectors::Given};
use crate::{
    args::PatchArgs,
    error::{CliError, Result},
    ids,
    output::{self, Output},
    store,
};

pub(crate) fn run(args: &PatchArgs, output: &mut Output) -> Result<ExitCode> {
    let unset = args.unset.iter().map(String::as_str);
    once(names(&args.set).chain(unset).chain(names(&args.increment)))?;
    let vectors = Given::open(&args.vectors, &args.content)?;
    let mut patch = patch(args)?;
    let changes_nothing = patch == Patch::new()
        && args.vectors.is_empty()
        && args.increment.is_empty()
        && args.expires.is_none()
        && !args.touch;
    if changes_nothing {
        return Err(CliError::usage(
            "patch: it changes nothing; give --set, --unset, --increment, --content, \
             --content-file, --kind, --strength, --confidence, --vector, --expires or --touch",
        ));
    }
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    let id = ids::find(&snapshot, &args.id)?.id();
    for (space, vector) in vectors.read(&snapshot)? {
        patch = patch.vector(space, vector);
    }
    drop(snapshot);
    let mut batch = Batch::new();
    if let Some(version) = args.if_version {
        batch.require_version(id, Seq::new(version));
    }
    if patch != Patch::new() {
        batch.patch(id, patch);
    }
    for increment in &args.increment {
        batch.increment(id, &*increment.name, increment.value.clone());
    }
    if let Some(when) = args.expires {
        batch.expire(id, when.into());
    }
    if args.touch {
        batch.touch(id);
    }
    let seq = commit_on(&engine, &args.id, &mut batch)?;
    let (name, version) = named_and_at(&engine.snapshot(), &args.id)?;
    end(&engine, output)?;
    output.summary(
        || {
            object([
                ("id", name.as_str().into()),
                ("uuid", id.to_string().into()),
                ("version", version.get().into()),
                ("seq", seq.get().into()),
            ])
        },
        |output| {
            let version = output::grouped(version.get());
            output.text(format_args!("patched {}, version {version}", output::cell(&name)))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

fn patch(args: &PatchArgs) -> Result<Patch> {
    let mut patch = Patch::new();
    patch.kind = args.kind.clone();
    patch.content = content(&args.content)?;
    patch.strength = args.strength;
    patch.confidence = args.confidence;
    for setting in &args.set {
        patch = patch.attribute(&*setting.name, setting.value.clone());
    }
    for name in &args.unset {
        patch = patch.remove_attribute(name);
    }
    Ok(patch)
}
