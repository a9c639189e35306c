//! The command `put`.

use std::{
    io::{Seek, SeekFrom},
    path::Path,
    process::ExitCode,
    time::Instant,
};

use ingrain::{
    Batch, Expiry, Node, Seq, Snapshot, Timestamp,
    exchange::{
        json::object,
        lines::{CONTENT_FIELDS, NodeLine, id_from_uuid},
    },
};

use super::{check_id, commit_on, content, end, names, once, vectors::Given};
use crate::{
    args::PutArgs,
    error::{CliError, Result},
    ids,
    importer::{Import, Rows, Settings},
    input,
    lines::Lines,
    output::{self, Output},
    report::{self, ignore_closed},
    store,
};

/// Lines that are written in one batch.
const LINES: u32 = 1_000;

pub(crate) fn run(args: &PutArgs, output: &mut Output) -> Result<ExitCode> {
    if args.id == "-" {
        return lines(args, output);
    }
    let mut node = node(args)?;
    let vectors = Given::open(&args.vectors, &args.content)?;
    node.content = content(&args.content)?.unwrap_or_default();
    let engine = store::open(&args.store, output)?;
    let snapshot = engine.snapshot();
    for (space, vector) in vectors.read(&snapshot)? {
        node.vectors.insert(space.to_owned(), vector);
    }
    known(&node, &snapshot)?;
    drop(snapshot);
    let id = node.id;
    let mut batch = Batch::new();
    if args.keep {
        batch.put_or_keep(node);
    } else if args.if_absent {
        batch.put_if_absent(node);
    } else if let Some(version) = args.if_version {
        batch.put_if_version(node, Seq::new(version));
    } else {
        batch.put(node);
    }
    let seq = commit_on(&engine, &args.id, &mut batch)?;
    let (name, version) = named_and_at(&engine.snapshot(), &args.id)?;
    // A node that was kept has an earlier version, whatever the number of the commit.
    let written = version == seq;
    end(&engine, output)?;
    output.summary(
        || {
            object([
                ("id", name.as_str().into()),
                ("uuid", id.to_string().into()),
                ("written", written.into()),
                ("version", version.get().into()),
                ("seq", seq.get().into()),
            ])
        },
        |output| {
            let id = output::cell(&name);
            let version = output::grouped(version.get());
            let what = if written { "put" } else { "kept as it was:" };
            output.text(format_args!("{what} {id}, version {version}"))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// A node with nothing but its name.
pub(super) fn named(name: &str, kind: &str) -> Node {
    let node = Node::new(ids::node_id(name), kind);
    if id_from_uuid(name).is_some() { node } else { node.attribute(ids::ID, name) }
}

/// The node that the arguments describe.
fn node(args: &PutArgs) -> Result<Node> {
    check_id(&args.id)?;
    once(names(&args.set))?;
    let mut node = named(&args.id, args.kind.as_deref().unwrap_or("node"));
    for setting in &args.set {
        node.attributes.insert(setting.name.clone(), setting.value.clone());
    }
    node.strength = args.strength.unwrap_or(node.strength);
    node.confidence = args.confidence.unwrap_or(node.confidence);
    if let Some(when) = args.expires {
        node.expires = Expiry::from(Option::<Timestamp>::from(when));
    }
    node.keys = args.keys.clone();
    Ok(node)
}

/// The string that names a node of the store, as `get` shows it, and the version that
/// the node has.
pub(super) fn named_and_at(snapshot: &Snapshot, given: &str) -> Result<(String, Seq)> {
    let node = ids::find(snapshot, given)?;
    Ok((ids::name(&node)?, node.version()))
}

/// Checks that the store has the indexes of a node.
fn known(node: &Node, snapshot: &Snapshot) -> Result<()> {
    let indexes: Vec<&str> = snapshot.indexes().map(|index| index.name).collect();
    match node.keys.iter().find(|key| !indexes.contains(&key.index.as_str())) {
        Some(key) => Err(store::unknown("index", &key.index, &indexes)),
        None => Ok(()),
    }
}

/// Writes the nodes of lines, all of which are read before the first is written.
fn lines(args: &PutArgs, output: &mut Output) -> Result<ExitCode> {
    let is_alone = args.kind.is_none()
        && args.content.content.is_none()
        && args.content.content_file.is_none()
        && args.set.is_empty()
        && args.strength.is_none()
        && args.confidence.is_none()
        && args.expires.is_none()
        && args.vectors.is_empty()
        && args.keys.is_empty()
        && args.if_version.is_none()
        && !args.if_absent
        && !args.keep;
    if !is_alone {
        return Err(CliError::usage(
            "put - reads whole nodes from standard input; it takes none of the options that \
             describe a node",
        ));
    }
    let started = Instant::now();
    let path = Path::new("-");
    let failed = |error| CliError::io("read", path, error);
    let mut text = input::regular(path)?;
    let settings = Settings {
        batch: LINES,
        content: CONTENT_FIELDS.map(str::to_owned).to_vec(),
        skip_bad: None,
    };
    let mut check = Lines::over(path, Box::new(text.try_clone().map_err(failed)?), 0)?;
    while let Some(line) = check.next()? {
        let read = line.bytes.and_then(|bytes| {
            NodeLine::decode(bytes, &settings.content).map_err(|damage| damage.what)
        });
        read.map_err(|cause| CliError::Line { file: path.to_owned(), line: line.number, cause })?;
    }
    text.seek(SeekFrom::Start(0)).map_err(failed)?;
    let bytes = text.metadata().map_err(failed)?.len();
    let lines = Lines::over(path, Box::new(text), bytes)?;
    let store = store::open(&args.store, output)?;
    let bar = output.bytes_bar(bytes);
    let mut import = Import::new(&store, settings, bar, output);
    let put = import.nodes(lines, false, Rows::None);
    let report = import.finish(put)?;
    report::end(&store, &report, output)?;
    ignore_closed(report.summary(&args.store, started.elapsed().as_secs_f64(), output))?;
    Ok(ExitCode::SUCCESS)
}
