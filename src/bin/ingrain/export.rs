//! The command `export`.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use flate2::{Compression, write::GzEncoder};
use ingrain::{Direction, EdgeRef, KeyRange, NodeRef, Snapshot};
use serde_json::Value as Json;

use crate::{
    args::ExportArgs,
    error::{CliError, Result},
    ids, npy,
    output::{self, Output},
    record,
    store::{self, TIMELINE},
};

pub(crate) fn run(args: &ExportArgs, output: &mut Output) -> Result<ExitCode> {
    let started = Instant::now();
    let targets = [&args.nodes, &args.edges, &args.vectors];
    for (at, path) in targets.iter().enumerate() {
        if path.is_some() && targets.iter().skip(at + 1).any(|other| other == path) {
            return Err(CliError::message(
                "--nodes, --edges and --vectors name the same file; give each a file of its own",
            ));
        }
    }
    let engine = store::open(&args.store)?;
    let snapshot = engine.snapshot();
    if snapshot.node_count() == 0 {
        return Err(CliError::message(format!(
            "store {}: it has no nodes to export",
            args.store.display()
        )));
    }
    let space = match &args.vectors {
        Some(_) => Some(store::space(&snapshot, args.space.as_deref())?),
        None => None,
    };
    let create = |path: &Option<PathBuf>| path.as_deref().map(OutFile::create).transpose();
    let mut nodes = create(&args.nodes)?;
    let mut edges = create(&args.edges)?;
    let mut vectors = create(&args.vectors)?;
    if let (Some(file), Some((_, space))) = (&mut vectors, &space) {
        file.write(&npy::header(snapshot.node_count(), space.dimension))?;
    }

    let (mut node_count, mut edge_count, mut vector_count) = (0_u64, 0_u64, 0_u64);
    in_order(&snapshot, |node| {
        node_count += 1;
        if let Some(file) = &mut nodes {
            file.line(&record::node_line(node, args.full)?)?;
        }
        if let (Some(file), Some((name, space))) = (&mut vectors, &space) {
            let absent;
            let vector = match node.vector(name) {
                Some(vector) => {
                    vector_count += 1;
                    vector
                }
                None => {
                    absent = vec![f32::NAN; space.dimension];
                    &absent
                }
            };
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            file.write(&bytes)?;
        }
        if let Some(file) = &mut edges {
            let source = ids::name(node)?;
            for edge in edges_of(&snapshot, node)? {
                edge_count += 1;
                let target = ids::name_of(&snapshot, edge.target())?;
                file.line(&record::edge_line(&edge, &source, &target, args.full)?)?;
            }
        }
        Ok(())
    })?;
    let files = [nodes, edges, vectors].into_iter().flatten();
    let finished = files.map(OutFile::finish).collect::<Result<Vec<_>>>()?;
    finished.into_iter().try_for_each(Finished::publish)?;
    engine.close()?;

    let seconds = started.elapsed().as_secs_f64();
    if output.is_json() {
        let mut counts = vec![("done", Json::from(true)), ("seconds", Json::from(seconds))];
        counts.extend(args.nodes.as_ref().map(|_| ("nodes", Json::from(node_count))));
        counts.extend(args.edges.as_ref().map(|_| ("edges", Json::from(edge_count))));
        counts.extend(args.vectors.as_ref().map(|_| ("vectors", Json::from(vector_count))));
        output.json(&counts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())?;
    } else {
        let mut table = output::facts();
        for (what, count, path) in [
            ("nodes", node_count, &args.nodes),
            ("edges", edge_count, &args.edges),
            ("vectors", vector_count, &args.vectors),
        ] {
            if let Some(path) = path {
                table.add_row([
                    what.to_owned(),
                    output::grouped(count),
                    path.display().to_string(),
                ]);
            }
        }
        output.table(&table)?;
        output.text(format_args!("exported in {seconds:.2} s"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Visits each node once: in the order of the timeline, then those that are
/// not on it by kind and id.
fn in_order(snapshot: &Snapshot, mut visit: impl FnMut(&NodeRef<'_>) -> Result<()>) -> Result<()> {
    let first = |node: &NodeRef<'_>| {
        node.keys().filter(|(index, _)| *index == TIMELINE).map(|(_, key)| key.to_vec()).min()
    };
    if snapshot.indexes().any(|index| index == TIMELINE) {
        for entry in snapshot.range(TIMELINE, KeyRange::all(), Direction::Ascending)? {
            let entry = entry?;
            if first(&entry.node).as_deref() == Some(entry.key) {
                visit(&entry.node)?;
            }
        }
    }
    // By name: the order in which a store met its kinds is not exported.
    let mut kinds: Vec<&str> = snapshot.kinds().collect();
    kinds.sort_unstable();
    for kind in kinds {
        for node in snapshot.scan(kind) {
            let node = node?;
            if first(&node).is_none() {
                visit(&node)?;
            }
        }
    }
    Ok(())
}

/// The edges that leave a node, in an order that depends on nothing but them,
/// and in which importing them finds the same discriminators.
fn edges_of<'s>(snapshot: &'s Snapshot, node: &NodeRef<'_>) -> Result<Vec<EdgeRef<'s>>> {
    let mut edges = Vec::new();
    for edge in snapshot.edges_out(node.id()) {
        let edge = edge?;
        edges.push((record::canonical(&*edge.attributes()?), edge));
    }
    edges.sort_by(|(a_attributes, a), (b_attributes, b)| {
        let key = |edge: &EdgeRef<'s>| (edge.kind(), edge.target());
        key(a)
            .cmp(&key(b))
            .then_with(|| a_attributes.cmp(b_attributes))
            .then_with(|| a.discriminator().cmp(&b.discriminator()))
    });
    for group in edges.chunk_by_mut(|(a_attributes, a), (b_attributes, b)| {
        a.kind() == b.kind() && a.target() == b.target() && a_attributes == b_attributes
    }) {
        let Some((attributes, _)) = group.first() else { continue };
        if group.len() == 1 {
            continue;
        }
        let numbers: Vec<u64> = (0..)
            .take(group.len())
            .map(|before| record::discriminator(attributes, before))
            .collect();
        group.sort_by_key(|(_, edge)| {
            let place = numbers.iter().position(|number| *number == edge.discriminator());
            place.unwrap_or(usize::MAX)
        });
    }
    Ok(edges.into_iter().map(|(_, edge)| edge).collect())
}

/// A file that appears under its name only when it is complete.
struct OutFile {
    temporary: Temporary,
    writer: Writer,
}

enum Writer {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
}

/// A complete file that has to be given its name.
struct Finished(Temporary);

/// A file beside the one that is to be; gone if it is not renamed.
struct Temporary {
    path: PathBuf,
    target: PathBuf,
    keep: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep {
            // What made the export fail is the error to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl OutFile {
    fn create(target: &Path) -> Result<Self> {
        let mut name = target.as_os_str().to_owned();
        name.push(".tmp");
        let path = PathBuf::from(name);
        let file = File::create(&path).map_err(|error| CliError::io("create", &path, error))?;
        let file = BufWriter::with_capacity(256 << 10, file);
        let writer = if target.extension().is_some_and(|extension| extension == "gz") {
            Writer::Gzip(GzEncoder::new(file, Compression::default()))
        } else {
            Writer::Plain(file)
        };
        let temporary = Temporary { path, target: target.to_owned(), keep: false };
        Ok(Self { temporary, writer })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.writer {
            Writer::Plain(writer) => writer.write_all(bytes),
            Writer::Gzip(writer) => writer.write_all(bytes),
        }
        .map_err(|error| CliError::io("write", &self.temporary.path, error))
    }

    fn line(&mut self, value: &Json) -> Result<()> {
        let mut line = value.to_string();
        line.push('\n');
        self.write(line.as_bytes())
    }

    fn finish(self) -> Result<Finished> {
        let Self { temporary, writer } = self;
        let failed = |error| CliError::io("write", &temporary.path, error);
        let mut writer = match writer {
            Writer::Plain(writer) => writer,
            Writer::Gzip(writer) => writer.finish().map_err(failed)?,
        };
        writer.flush().and_then(|()| writer.get_ref().sync_all()).map_err(failed)?;
        Ok(Finished(temporary))
    }
}

impl Finished {
    fn publish(self) -> Result<()> {
        let Self(mut temporary) = self;
        fs::rename(&temporary.path, &temporary.target)
            .map_err(|error| CliError::io("rename to", &temporary.target, error))?;
        temporary.keep = true;
        Ok(())
    }
}
