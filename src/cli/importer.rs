//! Writes the lines of an import in batches, and acknowledges them.

use std::{collections::HashSet, path::PathBuf};

use indicatif::ProgressBar;
use ingrain::{
    Batch, Edge, Engine, ErrorKind, Expiry, IndexKey, KeyBuilder, Node, NodeId, NodeRef, Op, Patch,
    Precondition, Snapshot, Space, Timestamp,
    exchange::lines::{EdgeLine, Kept, NodeLine},
};

use crate::{
    bundle::rows::SpaceRows,
    error::{CliError, Result},
    ids,
    lines::Lines,
    matching::Matching,
    npy::{self, Npy},
    output::Output,
    report::{Counts, Report, ignore_closed},
};

/// Bytes of input after which a batch is written, however few lines it has.
const BATCH_BYTES: usize = 8 << 20;
/// Most bad lines that are reported one by one.
pub(crate) const REPORTED: u64 = 10;

/// Where the vectors of nodes come from.
pub(crate) enum Rows {
    None,
    /// A row for each line, for this space.
    One(Npy, String, Space),
    /// The rows of several spaces, each with the id of its node.
    Many(Vec<SpaceRows>),
}

/// The vector of a node in a space, or that it has none.
type VectorOf = (String, Option<Vec<f32>>);

impl Rows {
    fn position(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::One(npy, ..) => npy.position(),
            Self::Many(spaces) => spaces.iter().map(SpaceRows::position).sum(),
        }
    }

    /// The row of the next line, whether the line can be used or not.
    fn next(&mut self) -> Result<Option<Vec<f32>>> {
        match self {
            Self::One(npy, ..) => npy.next(),
            Self::None | Self::Many(_) => Ok(None),
        }
    }

    /// The vectors of the node of a line, given its row.
    fn of(&mut self, id: NodeId, row: Option<Vec<f32>>) -> Result<Result<Vec<VectorOf>, String>> {
        Ok(match self {
            Self::None => Ok(Vec::new()),
            Self::One(_, name, space) => match row {
                Some(row) => {
                    npy::check_row(row, space.metric).map(|vector| vec![(name.clone(), vector)])
                }
                None => Ok(Vec::new()),
            },
            Self::Many(spaces) => {
                let take = |space: &mut SpaceRows| Ok((space.name.clone(), space.take(id)?));
                Ok(spaces.iter_mut().map(take).collect::<Result<_>>()?)
            }
        })
    }
}

/// The index that lists new nodes in the order of their lines.
pub(crate) struct Order {
    index: String,
    started: Timestamp,
}

impl Order {
    pub(crate) fn new(index: &str) -> Self {
        Self { index: index.to_owned(), started: Timestamp::now() }
    }

    fn key(&self, line: u64) -> IndexKey {
        let line = i64::try_from(line).unwrap_or(i64::MAX);
        IndexKey::new(&*self.index, KeyBuilder::new().time(self.started).int(line).build())
    }
}

/// A copy of a node with everything that the engine keeps.
fn exact(node: &NodeRef<'_>) -> Result<Node> {
    Ok(node.to_exact_node()?)
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
    Line(Box<NodeLine>),
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
pub(crate) fn parse_id(line: &[u8]) -> Result<String, String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    str::from_utf8(line).map(str::to_owned).map_err(|_| "the id is not UTF-8".to_owned())
}

/// How lines are read and written.
pub(crate) struct Settings {
    /// Lines in a batch.
    pub(crate) batch: u32,
    /// Fields whose text becomes the content.
    pub(crate) content: Vec<String>,
    /// Whether bad lines are left out; `None` if the command does not offer it.
    pub(crate) skip_bad: Option<bool>,
}

pub(crate) struct Import<'i> {
    pub(crate) engine: &'i Engine,
    /// The state after the last batch.
    pub(crate) snapshot: Snapshot,
    pub(crate) output: &'i mut Output,
    pub(crate) bar: ProgressBar,
    batch: u32,
    pub(crate) content: Vec<String>,
    skip_bad: bool,
    offers_skip: bool,
    pub(crate) order: Option<Order>,
    /// Whether all edges have their discriminators.
    pub(crate) exact: bool,
    /// Whether lines count: they do not when a file is read once more.
    pub(crate) counting: bool,
    /// The file that is being read, and whether it is the edges.
    file: PathBuf,
    is_edges: bool,
    /// The next batch.
    items: Vec<Item>,
    bytes: usize,
    /// The nodes or edges of the batch: a second line of the same one goes into the
    /// next batch, which sees the first.
    named: HashSet<NodeId>,
    matching: Matching,
    /// Indexes that are known to exist, and those that were created.
    pub(crate) indexes: HashSet<String>,
    pub(crate) created_indexes: Vec<String>,
    /// The spaces that were created, with their definitions in words.
    pub(crate) created_spaces: Vec<(String, String)>,
    acked: Counts,
    written: Counts,
    pub(crate) bad: u64,
}

impl<'i> Import<'i> {
    pub(crate) fn new(
        engine: &'i Engine,
        settings: Settings,
        bar: ProgressBar,
        output: &'i mut Output,
    ) -> Self {
        let snapshot = engine.snapshot();
        Self {
            indexes: snapshot.indexes().map(|index| index.name.to_owned()).collect(),
            engine,
            snapshot,
            output,
            bar,
            batch: settings.batch,
            content: settings.content,
            skip_bad: settings.skip_bad.unwrap_or(false),
            offers_skip: settings.skip_bad.is_some(),
            order: None,
            exact: false,
            counting: true,
            file: PathBuf::new(),
            is_edges: false,
            items: Vec::new(),
            bytes: 0,
            named: HashSet::new(),
            matching: Matching::default(),
            created_indexes: Vec::new(),
            created_spaces: Vec::new(),
            acked: Counts::default(),
            written: Counts::default(),
            bad: 0,
        }
    }

    /// The report of an import that is over, or its error with what was kept.
    pub(crate) fn finish(self, imported: Result<()>) -> Result<Report> {
        self.bar.finish_and_clear();
        if self.bad > REPORTED {
            let bad = self.bad;
            self.warn(&format!("{bad} bad lines skipped, the first {REPORTED} are above"));
        }
        let report = Report {
            acked: self.acked,
            written: self.written,
            bad: self.bad,
            spaces: self.created_spaces,
            indexes: self.created_indexes,
            equal: false,
            offers_skip: self.offers_skip,
        };
        match imported {
            Ok(()) => Ok(report),
            Err(error) => Err(report.after(error)),
        }
    }

    /// Fails if there were lines and all of them were bad.
    pub(crate) fn anything(&self) -> Result<()> {
        if self.bad > 0 && self.acked.nodes == 0 && self.acked.edges == 0 {
            return Err(CliError::message(format!("all {} lines are bad", self.bad)));
        }
        Ok(())
    }

    /// Creates an index if the store does not have it.
    pub(crate) fn need_index(&mut self, name: &str) -> Result<()> {
        if !self.indexes.contains(name) {
            self.engine.create_index(name)?;
            self.indexes.insert(name.to_owned());
            self.created_indexes.push(name.to_owned());
        }
        Ok(())
    }

    pub(crate) fn nodes(&mut self, mut lines: Lines, of_ids: bool, mut rows: Rows) -> Result<()> {
        self.file = lines.path().to_owned();
        loop {
            let position = lines.position() + rows.position();
            let Some(line) = self.or_flush(lines.next())? else { break };
            let (number, mut bytes) =
                (line.number, line.bytes.as_ref().map_or(0, |line| line.len()));
            let row = self.or_flush(rows.next())?;
            bytes += row.as_ref().map_or(0, |row| size_of_val(row.as_slice()));
            let subject = line.bytes.and_then(|line| {
                Ok(if of_ids {
                    Subject::Id(parse_id(line)?)
                } else {
                    let line = NodeLine::decode(line, &self.content).map_err(|e| e.what)?;
                    Subject::Line(Box::new(line))
                })
            });
            let parsed = match subject {
                Ok(subject) => {
                    self.or_flush(rows.of(subject.id(), row))?.map(|vectors| (subject, vectors))
                }
                Err(cause) => Err(cause),
            };
            let (subject, vectors) = match parsed {
                Ok(parsed) => parsed,
                Err(cause) => {
                    self.bad(number, cause, position)?;
                    continue;
                }
            };
            let id = subject.id();
            if !self.named.insert(id) {
                self.flush(position)?;
                self.named.insert(id);
            }
            let op = match subject {
                Subject::Line(node) => self.node(*node, vectors, number)?,
                Subject::Id(name) => match self.vector(id, vectors)? {
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
        self.flush(lines.position() + rows.position())?;
        match rows {
            Rows::Many(spaces) => spaces.into_iter().try_for_each(SpaceRows::end),
            Rows::None | Rows::One(..) => Ok(()),
        }
    }

    pub(crate) fn edges(&mut self, mut lines: Lines, before: u64) -> Result<()> {
        self.file = lines.path().to_owned();
        self.is_edges = true;
        loop {
            let position = before + lines.position();
            let Some(line) = self.or_flush(lines.next())? else { break };
            let (number, bytes) = (line.number, line.bytes.as_ref().map_or(0, |line| line.len()));
            let parsed = line.bytes.and_then(|line| EdgeLine::decode(line).map_err(|e| e.what));
            let mut edge = match parsed {
                Ok(edge) => edge,
                Err(cause) => {
                    self.bad(number, cause, position)?;
                    continue;
                }
            };
            if let Some(cause) = self.missing(&edge)? {
                self.bad(number, cause, position)?;
                continue;
            }
            if !self.exact {
                if self.matching.is_full() {
                    self.flush(position)?;
                    self.matching.forget();
                }
                self.matching.number(&mut edge, &self.snapshot)?;
            }
            let name = name_of(&edge);
            if !self.named.insert(name) {
                self.flush(position)?;
                self.named.insert(name);
            }
            let op = self.edge(edge)?;
            self.push(Item { line: number, op }, bytes, position)?;
        }
        self.flush(before + lines.position())
    }

    /// The operation that writes a node, if it differs from the stored one.
    fn node(&mut self, line: NodeLine, vectors: Vec<VectorOf>, number: u64) -> Result<Option<Op>> {
        for key in line.kept.keys.iter().flatten() {
            self.need_index(&key.index)?;
        }
        let existing = self.snapshot.get(line.id)?.map(|node| exact(&node)).transpose()?;
        let mut node = match &existing {
            Some(node) => node.clone(),
            None => {
                let node = Node::new(line.id, line.kind.as_str());
                node.keys(self.order.as_ref().map(|order| order.key(number)))
            }
        };
        let kept = line.kept.clone();
        line.apply(&mut node);
        for (space, vector) in vectors {
            match vector {
                Some(vector) => node.vectors.insert(space, vector),
                None => node.vectors.remove(&space),
            };
        }
        if existing.as_ref() == Some(&node) {
            return Ok(None);
        }
        // What the line does not have is the engine's.
        let Kept { created, updated, accessed, access_count, expires, .. } = kept;
        (node.created, node.updated, node.accessed) = (created, updated, accessed);
        node.access_count = access_count;
        node.expires = expires.map_or(Expiry::Keep, Expiry::from);
        Ok(Some(Op::Put { node, precondition: Precondition::None }))
    }

    /// The operation that writes a node's vector, if it differs from the stored
    /// one. The outer `None` means that the store does not have the node.
    fn vector(&self, id: NodeId, vectors: Vec<VectorOf>) -> Result<Option<Option<Op>>> {
        let Some(node) = self.snapshot.get(id)? else { return Ok(None) };
        let mut patch = Patch::new();
        for (space, vector) in vectors {
            if node.vector(&space)? != vector.as_deref() {
                patch.vectors.insert(space, vector);
            }
        }
        let changes = !patch.vectors.is_empty();
        Ok(Some(changes.then_some(Op::Patch { id, patch })))
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
        if lines >= self.batch || self.bytes >= BATCH_BYTES {
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
                // An edge that is remembered was not written.
                self.matching.forget();
                self.refuse(bad.line, error.to_string())?;
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
                } else if self.counting {
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
        if lines == 0 || !self.counting {
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
        if !self.skip_bad {
            self.flush(position)?;
        }
        self.refuse(line, cause)
    }

    fn refuse(&mut self, line: u64, cause: String) -> Result<()> {
        let error = CliError::Line { file: self.file.clone(), line, cause };
        if !self.skip_bad {
            return Err(error);
        }
        self.bad += 1;
        if self.bad <= REPORTED {
            self.warn(&format!("{error}; skipped"));
        }
        Ok(())
    }

    pub(crate) fn warn(&self, text: &str) {
        self.bar.suspend(|| self.output.warn(text));
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
