//! The command `export`.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use flate2::{Compression, write::GzEncoder};
use ingrain::{
    Direction, EdgeRef, IndexKey, KeyRange, NodeRef, Snapshot,
    exchange::{
        lines::{self, EdgeLine, Kept, NodeLine},
        npy::Array,
    },
};
use serde_json::{Map, Value as Json};
use tempfile::NamedTempFile;

use crate::{
    args::ExportArgs,
    error::{CliError, Result},
    ids,
    output::{self, Output},
    store::{self, TIMELINE},
};

pub(crate) fn run(args: &ExportArgs, output: &mut Output) -> Result<ExitCode> {
    let started = Instant::now();
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
    let mut targets = Vec::new();
    let mut create = |path: &Option<PathBuf>| {
        let Some(path) = path else { return Ok(None) };
        let target = resolve(path, &args.store)?;
        if targets.contains(&target) {
            return Err(CliError::message(
                "--nodes, --edges and --vectors name the same file; give each a file of its own",
            ));
        }
        targets.push(target.clone());
        OutFile::create(target).map(Some)
    };
    let mut nodes = create(&args.nodes)?;
    let mut edges = create(&args.edges)?;
    let mut vectors = create(&args.vectors)?;
    if let (Some(file), Some((_, space))) = (&mut vectors, &space) {
        file.write(&Array::header(snapshot.node_count(), space.dimension))?;
    }

    let (mut node_count, mut edge_count, mut vector_count) = (0_u64, 0_u64, 0_u64);
    in_order(&snapshot, |node| {
        node_count += 1;
        if let Some(file) = &mut nodes {
            file.line(node_line(node, args.full)?.encode())?;
        }
        if let (Some(file), Some((name, space))) = (&mut vectors, &space) {
            let absent;
            let vector = match node.vector(name)? {
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
                file.line(edge_line(&edge, &source, target, args.full)?.encode())?;
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

/// Visits each node once: first those of the timeline, in its order, then all
/// others by kind and id.
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
    // Sorted by name, since the export must not depend on the numbers of kinds.
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

/// The edges that leave a node, in an order that depends only on them, and that
/// gives them the same discriminators when they are imported.
fn edges_of<'s>(snapshot: &'s Snapshot, node: &NodeRef<'_>) -> Result<Vec<EdgeRef<'s>>> {
    let mut edges = Vec::new();
    for edge in snapshot.edges_out(node.id()) {
        let edge = edge?;
        edges.push((lines::canonical(&*edge.attributes()?), edge));
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
            .map(|before| lines::discriminator(attributes, before))
            .collect();
        group.sort_by_key(|(_, edge)| {
            let place = numbers.iter().position(|number| *number == edge.discriminator());
            place.unwrap_or(usize::MAX)
        });
    }
    Ok(edges.into_iter().map(|(_, edge)| edge).collect())
}

/// The line of a node; with the fields that the engine keeps, if `full`.
fn node_line(node: &NodeRef<'_>, full: bool) -> Result<NodeLine> {
    let mut keys: Vec<IndexKey> =
        node.keys().filter(|_| full).map(|(index, key)| IndexKey::new(index, key)).collect();
    keys.sort_unstable();
    let kept = Kept {
        strength: Some(node.strength()),
        confidence: Some(node.confidence()),
        created: Some(node.created()),
        updated: Some(node.updated()),
        accessed: Some(node.accessed()),
        access_count: Some(node.access_count()),
        expires: Some(node.expires()),
        keys: Some(keys),
    };
    Ok(NodeLine {
        id: node.id(),
        kind: node.kind().to_owned(),
        content: node.content().to_vec(),
        attributes: node.attributes()?.into_owned(),
        kept: if full { kept } else { Kept::default() },
    })
}

/// The line of an edge; with the fields that the engine keeps, if `full`.
fn edge_line(edge: &EdgeRef<'_>, source: &str, target: String, full: bool) -> Result<EdgeLine> {
    let mut edge = edge.to_exact_edge()?;
    let confidence = Some(edge.confidence).filter(|_| full);
    if !full {
        (edge.created, edge.updated) = (None, None);
    }
    Ok(EdgeLine { source: source.to_owned(), target, edge, named: full, confidence })
}

/// The file of a path, with links resolved. Refuses the directory of the store.
fn resolve(path: &Path, store: &Path) -> Result<PathBuf> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| CliError::io("find", &path, error)
    };
    let target = match path.canonicalize() {
        Ok(target) => target,
        Err(_) => {
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let name = path.file_name().ok_or_else(|| {
                CliError::message(format!("{}: it is not a name for a file", path.display()))
            })?;
            parent.canonicalize().map_err(failed(parent))?.join(name)
        }
    };
    if target.starts_with(store.canonicalize().map_err(failed(store))?) {
        return Err(CliError::message(format!(
            "{}: it is in the store; export to a place outside",
            path.display()
        )));
    }
    Ok(target)
}

/// A file that gets its name only when it is complete. An existing file that is
/// not a regular one, such as a pipe, is written directly.
struct OutFile {
    target: PathBuf,
    writer: Writer,
}

enum Writer {
    Plain(BufWriter<Place>),
    Gzip(GzEncoder<BufWriter<Place>>),
}

enum Place {
    /// In the directory of the target; removed unless it is renamed.
    Temporary(NamedTempFile),
    Direct(File),
}

impl Place {
    fn file(&mut self) -> &mut File {
        match self {
            Self::Temporary(file) => file.as_file_mut(),
            Self::Direct(file) => file,
        }
    }
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

/// A complete file without its final name.
struct Finished {
    target: PathBuf,
    place: Place,
}

impl OutFile {
    fn create(target: PathBuf) -> Result<Self> {
        let failed = |error| CliError::io("create", &target, error);
        let place = match fs::metadata(&target) {
            Ok(existing) if existing.is_dir() => {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            Ok(existing) if !existing.is_file() => {
                Place::Direct(OpenOptions::new().write(true).open(&target).map_err(failed)?)
            }
            _ => {
                let parent = target.parent().unwrap_or(Path::new("/"));
                // The permissions of any new file, reduced by the umask.
                let file = tempfile::Builder::new()
                    .prefix(".ingrain-export-")
                    .permissions(Permissions::from_mode(0o666))
                    .tempfile_in(parent)
                    .map_err(failed)?;
                Place::Temporary(file)
            }
        };
        let file = BufWriter::with_capacity(256 << 10, place);
        let writer = if target.extension().is_some_and(|extension| extension == "gz") {
            Writer::Gzip(GzEncoder::new(file, Compression::default()))
        } else {
            Writer::Plain(file)
        };
        Ok(Self { target, writer })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.writer {
            Writer::Plain(writer) => writer.write_all(bytes),
            Writer::Gzip(writer) => writer.write_all(bytes),
        }
        .map_err(|error| CliError::io("write", &self.target, error))
    }

    fn line(&mut self, fields: Map<String, Json>) -> Result<()> {
        let mut line = Json::Object(fields).to_string();
        line.push('\n');
        self.write(line.as_bytes())
    }

    fn finish(self) -> Result<Finished> {
        let Self { target, writer } = self;
        let failed = |error| CliError::io("write", &target, error);
        let writer = match writer {
            Writer::Plain(writer) => writer,
            Writer::Gzip(writer) => writer.finish().map_err(failed)?,
        };
        let mut place = writer.into_inner().map_err(|error| failed(error.into_error()))?;
        if let Place::Temporary(file) = &mut place {
            file.as_file().sync_all().map_err(failed)?;
        }
        Ok(Finished { target, place })
    }
}

impl Finished {
    fn publish(self) -> Result<()> {
        if let Place::Temporary(file) = self.place {
            file.persist(&self.target)
                .map_err(|error| CliError::io("rename to", &self.target, error.error))?;
        }
        Ok(())
    }
}
