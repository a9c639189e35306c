//! The command `rename`.

use std::process::ExitCode;

use ingrain::{Batch, Durability, Named, Op, exchange::json::object};

use crate::{
    args::RenameArgs,
    error::{CliError, Result},
    output::{self, Output},
    store,
};

pub(crate) fn run(args: &RenameArgs, output: &mut Output) -> Result<ExitCode> {
    let what = Named::from(args.what);
    if args.replace && what != Named::Space {
        return Err(CliError::message(
            "--replace is of vector spaces: nothing else can be dropped",
        ));
    }
    let engine = store::open(&args.store, output)?;
    let mut batch = Batch::new();
    if args.replace {
        batch.push(Op::DropSpace { name: args.to.clone() });
    }
    batch.rename(what, &*args.from, &*args.to).durability(Durability::Sync);
    let dropped = engine.stats().spaces.into_iter().find(|space| space.name == args.to);
    let dropped = dropped.filter(|_| args.replace).map(|space| space.vectors);
    let seq = engine.write(batch)?;
    engine.done(output);
    engine.close()?;
    let noun = match what {
        Named::Kind => "kind",
        Named::Index => "index",
        _ => "space",
    };
    output.summary(
        || {
            object([
                ("what", noun.into()),
                ("from", args.from.as_str().into()),
                ("to", args.to.as_str().into()),
                ("dropped_vectors", dropped.into()),
                ("seq", seq.get().into()),
            ])
        },
        |output| {
            if let Some(vectors) = dropped {
                let vectors = output::grouped(vectors);
                output.text(format_args!("dropped {} with {vectors} vectors", args.to))?;
            }
            output.text(format_args!("{noun} {} is now {}", args.from, args.to))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}
