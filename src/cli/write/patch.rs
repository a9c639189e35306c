//! The command `patch`.

use std::process::ExitCode;

use ingrain::{Batch, Patch, Seq};

use super::{commit_on, content, names, once, put::node_json};
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
    let patch = patch(args)?;
    let changes_nothing =
        patch == Patch::new() && args.increment.is_empty() && args.expires.is_none() && !args.touch;
    if changes_nothing {
        return Err(CliError::usage(
            "patch: it changes nothing; give --set, --unset, --increment, --content, --kind, \
             --strength, --confidence, --expires or --touch",
        ));
    }
    let engine = store::open(&args.store, output)?;
    let id = ids::find(&engine.snapshot(), &args.id)?.id();
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
    commit_on(&engine, &args.id, &mut batch)?;
    let version = engine.snapshot().get(id)?.map_or(Seq::ZERO, |node| node.version());
    engine.done(output);
    output.summary(
        || node_json(&args.id, id, version),
        |output| {
            let version = output::grouped(version.get());
            output.text(format_args!("patched {}, version {version}", output::cell(&args.id)))
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
