//! Imports an export: everything of a store.

use std::path::Path;

use ingrain::{Batch, Durability, Error, Method, Op, Options, exchange::lines::CONTENT_FIELDS};

use crate::{
    args::ImportArgs,
    bundle::{CHUNK, DefinedSpace, EDGES, Manifest, NODES, read::Source, rows::SpaceRows},
    error::{CliError, Result},
    import::settings,
    importer::{Import, Rows},
    input,
    lines::Lines,
    output::Output,
    report::{Report, end},
    store::Store,
};

pub(crate) fn run(args: &ImportArgs, path: &Path, output: &mut Output) -> Result<Report> {
    let source = Source::open(path, &args.store)?;
    let manifest = &source.manifest;
    let options = Options::new().durability(args.durability.into());
    let store = Store::of(options.open(&args.store)?, output);
    let snapshot = store.snapshot();
    let was_empty = snapshot.node_count() == 0
        && snapshot.spaces().next().is_none()
        && snapshot.indexes().next().is_none();
    drop(snapshot);
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    let bar = output.bytes_bar(bytes);
    let mut import = Import::new(&store, settings(args), bar, output);
    let imported = all(&mut import, &source);
    let mut report = import.finish(imported)?;
    let (snapshot, counts) = (store.snapshot(), manifest.counts);
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    // The digest reads everything, so it is not compared in vain.
    if was_empty
        || (count(snapshot.node_count()), count(snapshot.edge_count()))
            == (counts.nodes, counts.edges)
    {
        let digest = snapshot.digest()?.to_string();
        report.equal = digest == manifest.digest;
        if was_empty && !report.equal {
            return Err(CliError::message(format!(
                "{}: the store that was made of it has the digest {digest}, and the exported one \
                 had {}; please report this",
                input::shown(path),
                manifest.digest
            )));
        }
    }
    drop(snapshot);
    end(&store, &report, output)?;
    Ok(report)
}

fn all(import: &mut Import<'_>, source: &Source) -> Result<()> {
    let manifest = &source.manifest;
    define(import, manifest)?;
    import.exact = true;
    import.content = CONTENT_FIELDS.map(str::to_owned).into();
    // The vectors of the first spaces come with the nodes. For those of others,
    // the nodes are read again.
    let mut spaces = manifest.spaces.chunks(CHUNK);
    let first = spaces.next().unwrap_or_default();
    for (at, spaces) in std::iter::once(first).chain(spaces).enumerate() {
        import.counting = at == 0;
        let rows = spaces.iter().map(|space| SpaceRows::open(source, space));
        let rows = Rows::Many(rows.collect::<Result<_>>()?);
        import.nodes(Lines::open(&source.path(NODES))?, false, rows)?;
    }
    import.counting = true;
    let before = import.bar.position();
    import.edges(Lines::open(&source.path(EDGES))?, before)?;
    declare(import, manifest)
}

/// Creates the indexes whose keys are derived. They come last: one that has no place
/// for a node is left failed, as in the exported store, and the node is there.
fn declare(import: &mut Import<'_>, manifest: &Manifest) -> Result<()> {
    for (name, index) in &manifest.declared_indexes {
        if import.indexes.insert(name.clone()) {
            import.engine.create_index_on(name.as_str(), index.clone())?;
            import.created_indexes.push(name.clone());
            match import.engine.build_index(name) {
                Err(error @ Error::NotReady { .. }) => import.output.warn(error),
                built => built?,
            }
        }
    }
    Ok(())
}

/// Creates the spaces, and the indexes whose keys are given, that the store does not
/// have, in one commit.
fn define(import: &mut Import<'_>, manifest: &Manifest) -> Result<()> {
    let snapshot = import.engine.snapshot();
    let mut batch = Batch::new();
    for DefinedSpace { name, space, method, .. } in &manifest.spaces {
        let existing = snapshot.spaces().find(|(other, _)| other == name);
        match existing {
            Some((_, there)) if there == *space => continue,
            Some((_, there)) => {
                return Err(CliError::message(format!(
                    "vector space {name:?}: the store has it with dimension {} and metric {:?}, and \
                     the export with {} and {:?}; import it into a new store",
                    there.dimension, there.metric, space.dimension, space.metric
                )));
            }
            None => {}
        }
        batch.push(Op::CreateSpace { name: name.clone(), space: *space });
        if *method != Method::Auto {
            batch.push(Op::SetMethod { name: name.clone(), method: *method });
        }
        let metric = format!("{:?}", space.metric).to_lowercase();
        let definition = format!("dimension {}, metric {metric}", space.dimension);
        import.created_spaces.push((name.clone(), definition));
    }
    let given =
        manifest.indexes.iter().filter(|name| !manifest.declared_indexes.contains_key(*name));
    for name in given {
        if import.indexes.insert(name.clone()) {
            batch.push(Op::CreateIndex { name: name.clone(), index: None });
            import.created_indexes.push(name.clone());
        }
    }
    if !batch.is_empty() {
        batch.durability(Durability::Sync);
        import.engine.write(batch)?;
        import.snapshot = import.engine.snapshot();
    }
    Ok(())
}
