//! The command `import`.

use std::{
    collections::HashSet,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use indicatif::ProgressBar;
use ingrain::{
    Batch, Edge, Engine, ErrorKind, IndexKey, KeyBuilder, Metric, Node, NodeId, Op, Options, Patch,
    Precondition, Snapshot, Space, Timestamp,
    exchange::{
        json::object,
        lines::{EdgeLine, NodeLine, Parallel},
    },
};
use serde_json::Value as Json;

use crate::{
    args::ImportArgs,
    error::{CliError, Result},
    ids,
    lines::Lines,
    npy::{self, Npy},
    output::{self, Output},
    store::TIMELINE,
};

/// Bytes of input after which a batch is written, however few lines it has.
const BATCH_BYTES: usize = 8 << 20;
/// Most bad lines that are reported one by one.
const REPORTED: u64 = 10;

pub(crate) fn run(args: &ImportArgs, output: &mut Output) -> Result<ExitCode> {
    let started = Instant::now();
    // Everything that can be checked first is checked before a store is created or
    // changed.
    let nodes = args.nodes.as_deref().map(Lines::open).transpose()?;
    let edges = args.edges.as_deref().map(Lines::open).transpose()?;
    let vectors = args.vectors.as_deref().map(Npy::open).transpose()?;
    let ids = args.ids.as_deref().map(Lines::open).transpose()?;
    let with_rows = args.nodes.as_ref().or(args.ids.as_ref());
    if let (Some(path), Some(vectors), Some(file)) = (with_rows, &vectors, &args.vectors) {
        check_rows(path, vectors, file)?;
    }
    if let Some(parent) = args.store.parent().filter(|parent| !parent.as_os_str().is_empty())
        && !parent.is_dir()
    {
        return Err(CliError::message(format!(
            "store {}: there is no directory {} to create it in; create that first",
            args.store.display(),
            parent.display()
        )));
    }
    if args.store.exists() && !args.store.is_dir() {
        return Err(CliError::message(format!(
            "store {}: it is a file; a store is a directory",
            args.store.display()
        )));
    }
    if ids.is_some() && !args.store.is_dir() {
        return Err(CliError::message(format!(
            "store {}: there is no such directory; --ids is for nodes that a store already has",
            args.store.display()
        )));
    }
    let options = Options::new().create(ids.is_none()).durability(args.durability.into());
    let engine = options.open(&args.store)?;
    let space = match &vectors {
        Some(vectors) => Some(open_space(&engine, args, vectors.dimension())?),
        None => None,
    };
    // Only a missing index is created, since creating one is a commit.
    let mut indexes: HashSet<String> = engine.snapshot().indexes().map(str::to_owned).collect();
    if ids.is_none() && indexes.insert(TIMELINE.to_owned()) {
        engine.create_index(TIMELINE)?;
    }

    let files = [&nodes, &ids].into_iter().flatten().map(Lines::bytes);
    let before: u64 = files.chain(vectors.iter().map(Npy::bytes)).sum();
    let bytes = before + edges.as_ref().map_or(0, Lines::bytes);
    let mut import = Import {
        snapshot: engine.snapshot(),
        engine: &engine,
        args,
        output,
        bar: output::bytes_bar(bytes),
        started: Timestamp::now(),
        file: PathBuf::new(),
        is_edges: false,
        items: Vec::new(),
        bytes: 0,
        named: HashSet::new(),
        indexes,
        acked: Counts::default(),
        written: Counts::default(),
        bad: 0,
    };
    let of_ids = ids.is_some();
    if let Some(lines) = nodes.or(ids) {
        import.nodes(lines, of_ids, vectors, space.as_ref())?;
    }
    if let Some(edges) = edges {
        import.edges(edges, before)?;
    }
    import.bar.finish_and_clear();
    let (acked, written, bad) = (import.acked, import.written, import.bad);
    if bad > REPORTED {
        let text = format!("{bad} bad lines skipped, the first {REPORTED} are above");
        import.warn(&text);
    }
    engine.close()?;
    let seconds = started.elapsed().as_secs_f64();
    let summary = if output.is_json() {
        output.json(&object([
            ("done", Json::from(true)),
            ("nodes", Json::from(acked.nodes)),
            ("edges", Json::from(acked.edges)),
            ("written_nodes", Json::from(written.nodes)),
            ("written_edges", Json::from(written.edges)),
            ("bad_lines", Json::from(bad)),
            ("seconds", Json::from(seconds)),
        ]))
    } else {
        let mut table = output::table(&["", "lines", "written", "unchanged"]);
        for (name, acked, written) in
            [("nodes", acked.nodes, written.nodes), ("edges", acked.edges, written.edges)]
        {
            table.add_row([
                name.to_owned(),
                output::grouped(acked),
                output::grouped(written),
                output::grouped(acked.saturating_sub(written)),
            ]);
        }
        output.table(&table).and_then(|()| {
            output.text(format_args!(
                "imported into {} in {seconds:.2} s, {} bad lines",
                args.store.display(),
                output::grouped(bad)
            ))
        })
    };
    ignore_closed(summary)?;
    Ok(ExitCode::SUCCESS)
}

/// Ignores that standard output is closed: the import continues.
fn ignore_closed(result: Result<()>) -> Result<()> {
    match result {
        Err(CliError::OutputClosed) => Ok(()),
        other => other,
    }
}

/// Compares the rows of the vectors with the lines of the nodes.
fn check_rows(path: &Path, vectors: &Npy, file: &Path) -> Result<()> {
    if !vectors.is_matrix() {
        return Err(CliError::message(format!(
            "{}: its array has one dimension; it must have (rows, dimension)",
            file.display()
        )));
    }
    if !path.is_file() {
        return Err(CliError::message(format!(
            "{}: it is not a regular file; with --vectors the lines are counted first, so write \
             them to a file",
            path.display()
        )));
    }
    let mut lines = Lines::open(path)?;
    let mut count = 0_u64;
    while lines.next()?.is_some() {
        count += 1;
    }
    if count != vectors.rows() {
        return Err(CliError::message(format!(
            "{} has {} rows and {} has {count} lines; there must be a row for each line that is \
             not blank",
            file.display(),
            vectors.rows(),
            path.display()
        )));
    }
    Ok(())
}

/// The space for the vectors, created if the store does not have it.
fn open_space(engine: &Engine, args: &ImportArgs, dimension: usize) -> Result<(String, Space)> {
    let name = args.space.clone();
    let metric: Option<Metric> = args.metric.map(Into::into);
    let existing = engine.snapshot().spaces().find(|(of, _)| *of == name).map(|(_, space)| space);
    let space = match existing {
        Some(space) => space,
        None => Space::new(dimension, metric.unwrap_or(Metric::Cosine)),
    };
    if space.dimension != dimension || metric.is_some_and(|metric| metric != space.metric) {
        return Err(CliError::message(format!(
            "vector space {name:?}: the store has it with dimension {} and metric {:?}, which does \
             not fit vectors of dimension {dimension}{}; choose another with --space",
            space.dimension,
            space.metric,
            metric.map(|metric| format!(" and metric {metric:?}")).unwrap_or_default(),
        )));
    }
    if existing.is_none() {
        engine.create_space(name.clone(), space)?;
    }
    Ok((name, space))
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    nodes: u64,
    edges: u64,
}

/// A line that was read and is to be acknowledged.
struct Item {
    line: u64,
    /// The operation to write, unless the store has the same already.
    op: Option<Op>,
}

/// The node of a line.
enum Subject {
    /// The whole node.
    Line(NodeLine),
    /// The string that names the node.
    Id(String),
}

impl Subject {
    fn id(&self) -> NodeId {
        match self {
            Self::Line(node) => node.id,
            Self::Id(name) => ids::node_id(name),
        }
    }
}

/// Reads a line of the ids.
fn parse_id(line: &[u8]) -> Result<String, String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    str::from_utf8(line).map(str::to_owned).map_err(|_| "the id is not UTF-8".to_owned())
}

struct Import<'i> {
    engine: &'i Engine,
    /// The state after the last batch.
    snapshot: Snapshot,
    args: &'i ImportArgs,
    output: &'i mut Output,
    bar: ProgressBar,
    started: Timestamp,
    /// The file that is being read, and whether it is the edges.
    file: PathBuf,
    is_edges: bool,
    /// The next batch.
    items: Vec<Item>,
    bytes: usize,
    /// The nodes or edges of the batch: a second line of the same one goes into the
    /// next batch, which sees the first.
    named: HashSet<NodeId>,
    /// Indexes that are known to exist.
    indexes: HashSet<String>,
    acked: Counts,
    written: Counts,
    bad: u64,
}

impl Import<'_> {
    fn nodes(
        &mut self,
        mut lines: Lines,
        of_ids: bool,
        mut vectors: Option<Npy>,
        space: Option<&(String, Space)>,
    ) -> Result<()> {
        self.file = lines.path().to_owned();
        let place = |lines: &Lines, vectors: &Option<Npy>| {
            lines.position() + vectors.as_ref().map_or(0, Npy::position)
        };
        loop {
            let position = place(&lines, &vectors);
            let Some(line) = self.or_flush(lines.next())? else { break };
            let (number, mut bytes) =
                (line.number, line.bytes.as_ref().map_or(0, |line| line.len()));
            let row = match &mut vectors {
                Some(vectors) => self.or_flush(vectors.next())?,
                None => None,
            };
            bytes += row.as_ref().map_or(0, |row| size_of_val(row.as_slice()));
            let parsed = line.bytes.and_then(|line| {
                let subject = if of_ids {
                    Subject::Id(parse_id(line)?)
                } else {
                    Subject::Line(NodeLine::decode(line, &self.args.content).map_err(|e| e.what)?)
                };
                let vector = match (row, space) {
                    (Some(row), Some((_, space))) => Some(npy::check_row(row, space.metric)?),
                    _ => None,
                };
                Ok((subject, vector))
            });
            match parsed {
                Ok((subject, vector)) => {
                    let id = subject.id();
                    if !self.named.insert(id) {
                        self.flush(position)?;
                        self.named.insert(id);
                    }
                    let vector = space.map(|(name, _)| name.as_str()).zip(vector);
                    let op = match subject {
                        Subject::Line(node) => self.node(node, vector, number)?,
                        Subject::Id(name) => match self.vector(id, vector)? {
                            Some(op) => op,
                            None => {
                                let cause = format!("the node {name:?} is not in the store");
                                self.bad(number, cause, position)?;
                                continue;
                            }
                        },
                    };
                    self.push(Item { line: number, op }, bytes, position)?;
                }
                Err(cause) => self.bad(number, cause, position)?,
            }
        }
        self.flush(place(&lines, &vectors))
    }

    fn edges(&mut self, mut lines: Lines, before: u64) -> Result<()> {
        self.file = lines.path().to_owned();
        self.is_edges = true;
        let mut parallel = Parallel::default();
        loop {
            let position = before + lines.position();
            let Some(line) = self.or_flush(lines.next())? else { break };
            let (number, bytes) = (line.number, line.bytes.as_ref().map_or(0, |line| line.len()));
            let parsed = line.bytes.and_then(|line| EdgeLine::decode(line).map_err(|e| e.what));
            match parsed {
                Ok(mut edge) => {
                    parallel.number(&mut edge);
                    let missing = self.missing(&edge)?;
                    if let Some(cause) = missing {
                        self.bad(number, cause, position)?;
                        continue;
                    }
                    let name = name_of(&edge);
                    if !self.named.insert(name) {
                        self.flush(position)?;
                        self.named.insert(name);
                    }
                    let op = self.edge(edge)?;
                    self.push(Item { line: number, op }, bytes, position)?;
                }
                Err(cause) => self.bad(number, cause, position)?,
            }
        }
        self.flush(before + lines.position())
    }

    /// The operation that writes a node, if it differs from the stored one.
    fn node(
        &mut self,
        line: NodeLine,
        vector: Option<(&str, Option<Vec<f32>>)>,
        number: u64,
    ) -> Result<Option<Op>> {
        for key in line.kept.keys.iter().flatten() {
            if !self.indexes.contains(&key.index) {
                self.engine.create_index(key.index.as_str())?;
                self.indexes.insert(key.index.clone());
            }
        }
        let existing = self.snapshot.get(line.id)?.map(|node| node.to_exact_node()).transpose()?;
        let mut node = match &existing {
            Some(node) => node.clone(),
            None => {
                let mut node = Node::new(line.id, line.kind.as_str());
                let line_number = i64::try_from(number).unwrap_or(i64::MAX);
                let key = KeyBuilder::new().time(self.started).int(line_number).build();
                node.keys.push(IndexKey::new(TIMELINE, key));
                node
            }
        };
        let updated = line.kept.updated;
        line.apply(&mut node);
        match vector {
            Some((space, Some(vector))) => {
                node.vectors.insert(space.to_owned(), vector);
            }
            Some((space, None)) => {
                node.vectors.remove(space);
            }
            None => {}
        }
        if existing.as_ref() == Some(&node) {
            return Ok(None);
        }
        // The engine sets it, unless the line has it.
        node.updated = updated;
        Ok(Some(Op::Put { node, precondition: Precondition::None }))
    }

    /// The operation that writes a node's vector, if it differs from the stored
    /// one. The outer `None` means that the store does not have the node.
    fn vector(
        &self,
        id: NodeId,
        vector: Option<(&str, Option<Vec<f32>>)>,
    ) -> Result<Option<Option<Op>>> {
        let Some(node) = self.snapshot.get(id)? else { return Ok(None) };
        let Some((space, vector)) = vector else { return Ok(Some(None)) };
        if node.vector(space)? == vector.as_deref() {
            return Ok(Some(None));
        }
        let patch = match vector {
            Some(vector) => Patch::new().vector(space, vector),
            None => Patch::new().remove_vector(space),
        };
        Ok(Some(Some(Op::Patch { id, patch })))
    }

    /// The error if the store does not have both ends of an edge.
    fn missing(&self, line: &EdgeLine) -> Result<Option<String>> {
        for (field, name, id) in
            [("source", &line.source, line.edge.source), ("target", &line.target, line.edge.target)]
        {
            if !self.snapshot.contains(id)? {
                return Ok(Some(format!("the {field} {name:?} is not in the store")));
            }
        }
        Ok(None)
    }

    /// The operation that writes an edge, if it differs from the stored one.
    fn edge(&self, line: EdgeLine) -> Result<Option<Op>> {
        let Edge { source, kind, target, discriminator, .. } = &line.edge;
        let Some(existing) = self.snapshot.edge(*source, kind, *target, *discriminator)? else {
            return Ok(Some(Op::Link { edge: line.edge }));
        };
        let existing = existing.to_exact_edge()?;
        let edge = line.over(&existing);
        let mut same = edge.clone();
        same.updated = edge.updated.or(existing.updated);
        Ok((same != existing).then_some(Op::Link { edge }))
    }

    fn push(&mut self, item: Item, bytes: usize, position: u64) -> Result<()> {
        self.items.push(item);
        self.bytes = self.bytes.saturating_add(bytes);
        let lines = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        if lines >= self.args.batch || self.bytes >= BATCH_BYTES {
            self.flush(position)?;
        }
        Ok(())
    }

    /// Writes the lines read so far before a failure is returned.
    fn or_flush<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.flush(self.bar.position())?;
        }
        result
    }

    /// Writes the batch and acknowledges its lines.
    fn flush(&mut self, position: u64) -> Result<()> {
        let items = std::mem::take(&mut self.items);
        self.bytes = 0;
        self.named.clear();
        let mut rest = items.as_slice();
        while !rest.is_empty() {
            let refused = self.write(rest)?;
            self.snapshot = self.engine.snapshot();
            let done = refused.as_ref().map_or(rest.len(), |(at, _)| *at);
            self.acknowledge(done)?;
            let (_, after) = rest.split_at(done);
            let Some((bad, after)) = after.split_first() else { break };
            if let Some((_, error)) = refused {
                self.report(bad.line, error.to_string())?;
            }
            rest = after;
        }
        self.bar.set_position(position);
        let lines = self.acked.nodes + self.acked.edges;
        let seconds = self.bar.elapsed().as_secs_f64();
        if seconds > 0.0 {
            self.bar.set_message(format!("{:.0} lines/s", lines as f64 / seconds));
        }
        Ok(())
    }

    /// Writes lines. Returns the position of the first one that the engine refuses,
    /// with its error; the lines before it are written, those after it are not.
    fn write(&mut self, items: &[Item]) -> Result<Option<(usize, ingrain::Error)>> {
        let mut batch = Batch::new();
        for op in items.iter().filter_map(|item| item.op.as_ref()) {
            batch.push(op.clone());
        }
        if batch.is_empty() {
            return Ok(None);
        }
        let written = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        match self.engine.write(batch) {
            Ok(_) => {
                if self.is_edges {
                    self.written.edges += written;
                } else {
                    self.written.nodes += written;
                }
                Ok(None)
            }
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::Invalid | ErrorKind::Limit | ErrorKind::Conflict
                ) =>
            {
                Err(error.into())
            }
            Err(error) if written == 1 => {
                let at = items.iter().position(|item| item.op.is_some()).unwrap_or(0);
                Ok(Some((at, error)))
            }
            // The error does not say which operation, or the batch is too
            // large as a whole.
            Err(_) => {
                let (left, right) = items.split_at(items.len() / 2);
                if let Some(refused) = self.write(left)? {
                    return Ok(Some(refused));
                }
                Ok(self.write(right)?.map(|(at, error)| (left.len() + at, error)))
            }
        }
    }

    fn acknowledge(&mut self, lines: usize) -> Result<()> {
        if lines == 0 {
            return Ok(());
        }
        let lines = u64::try_from(lines).unwrap_or(u64::MAX);
        if self.is_edges {
            self.acked.edges += lines;
        } else {
            self.acked.nodes += lines;
        }
        if !self.output.is_json() {
            return Ok(());
        }
        // Exactly as documented, for readers that do not parse JSON.
        let Counts { nodes, edges } = self.acked;
        let ack = format_args!("{{\"acked_nodes\":{nodes},\"acked_edges\":{edges}}}");
        ignore_closed(self.output.text(ack).and_then(|()| self.output.flush()))
    }

    /// Reports a line that cannot be used. If that ends the import, the lines before
    /// it are written first.
    fn bad(&mut self, line: u64, cause: String, position: u64) -> Result<()> {
        if !self.args.skip_bad {
            self.flush(position)?;
        }
        self.report(line, cause)
    }

    fn report(&mut self, line: u64, cause: String) -> Result<()> {
        let error = CliError::Line { file: self.file.clone(), line, cause };
        if !self.args.skip_bad {
            return Err(error);
        }
        self.bad += 1;
        if self.bad <= REPORTED {
            self.warn(&format!("{error}; skipped"));
        }
        Ok(())
    }

    fn warn(&self, text: &str) {
        // If this fails, the summary still has the number of bad lines.
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr().lock(), "warning: {}", output::shown(text));
        });
    }
}

/// An id that stands for an edge in `Import::named`.
fn name_of(line: &EdgeLine) -> NodeId {
    let edge = &line.edge;
    NodeId::from_content(
        &[
            edge.source.as_bytes().as_slice(),
            edge.target.as_bytes(),
            &edge.discriminator.to_le_bytes(),
            edge.kind.as_bytes(),
        ]
        .concat(),
    )
}
