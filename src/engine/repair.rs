//! What is whole of a damaged store, put into a new one.

use std::{
    fmt, io,
    path::{self, Path, PathBuf},
    sync::Arc,
};

use super::{
    Engine, Options,
    open::LOCK,
    target::{self, check_apart},
};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        Damage, FileKind,
        manifest::{Counts, DataFile, Manifest, TableFile},
        tables::{EdgeKey, EdgeRow, NodeRow},
        wal::{LoggedBatch, decode_batch},
    },
    id::NodeId,
    manifest,
    model::{
        Attributes, Batch, Durability, Edge, IndexKey, Node, Op, Precondition, Seq, Timestamp,
    },
    os::Fs,
    segment,
    snapshot::{Base, EdgePart, NodePart, Part, Snapshot, StoredNode, Unopened, VectorPart},
    wal::{self, CutTail},
};

/// Most losses that a report lists, and most runs of damaged rows that are kept
/// apart.
const MOST_LOST: usize = 10_000;
/// Operations of a batch that is written to the new store.
const BATCH_OPS: usize = 1_000;
/// Bytes after which a batch is written, however few operations it has.
const BATCH_BYTES: usize = 4 << 20;
/// Memory that the batches of the log may need while they are written again.
const WRITE_LOG_BYTES: usize = 1 << 30;
/// Rows between two words about progress.
const PROGRESS_ROWS: u64 = 1_024;

/// What [`Options::repair`] salvaged, and what it did not.
///
/// What was lost of the base is told as the last checkpoint had it: a node that
/// is in `lost` is in the new store all the same if the log puts it again.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RepairReport {
    /// The last commit of the damaged store that the new one has.
    pub seq: Seq,
    /// Nodes of the base that were salvaged.
    pub nodes: u64,
    /// Edges of the base that were salvaged.
    pub edges: u64,
    /// Index keys of the base that were salvaged.
    pub keys: u64,
    /// Vectors of the base that were salvaged.
    pub vectors: u64,
    /// How many of each the base had, by its manifest, that were not salvaged.
    pub missing: Counts,
    /// Batches of the log that were applied whole.
    pub batches: u64,
    /// Batches of the log of which some operations could not be applied.
    pub partial_batches: u64,
    /// The torn write at the end of the log, if there was one: no loss.
    pub cut: Option<CutTail>,
    /// Files of the base that could not be read at all. What they held may be
    /// known from others: see `lost`.
    pub unreadable: Vec<Error>,
    /// What was lost. The first 10,000.
    pub lost: Vec<Lost>,
    /// How much more was lost than `lost` lists.
    pub more: u64,
}

impl RepairReport {
    /// Whether nothing was lost.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty() && self.more == 0 && self.missing == Counts::default()
    }
}

/// Something that a repair could not salvage.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The file that had it or tells of it; of an operation, the log.
    pub file: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What it was.
    pub item: LostItem,
    /// Why it is lost.
    pub why: String,
}

/// What a repair could not salvage.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostItem {
    /// A node, with its keys and vectors. Its edges are told each by itself.
    Node(NodeId),
    /// Nodes whose ids are not known but for their bounds.
    Nodes {
        /// How many, if that is known.
        count: Option<u64>,
        /// The last id before them that is known, or the least that they may
        /// have.
        from: NodeId,
        /// The first id after them that is known, or the greatest that they may
        /// have.
        to: NodeId,
    },
    /// A vector of a node that was salvaged.
    Vector {
        /// The node.
        node: NodeId,
        /// The name of the space.
        space: String,
    },
    /// An edge.
    Edge(EdgeName),
    /// The attributes of an edge that was salvaged. Where it was found at its
    /// target only, it may have had none.
    Attributes(EdgeName),
    /// Edges of which no more is known than the bounds of their sources.
    Edges {
        /// How many, if that is known.
        count: Option<u64>,
        /// The last source before them that is known, or the least that they
        /// may have.
        from: NodeId,
        /// The first source after them that is known, or the greatest that they
        /// may have.
        to: NodeId,
    },
    /// An operation of the log, since something that it needs was lost.
    Operation {
        /// The commit.
        seq: Seq,
        /// Index of the operation within its batch.
        op: usize,
    },
    /// The commits of the log from this one on.
    Commits(Seq),
}

/// What tells edges apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct EdgeName {
    /// The node it leaves.
    pub source: NodeId,
    /// Its kind.
    pub kind: String,
    /// The node it reaches.
    pub target: NodeId,
    /// Tells parallel edges of one kind apart.
    pub discriminator: u64,
}

impl fmt::Display for EdgeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, kind, target, discriminator } = self;
        write!(f, "edge {source} {kind:?} {target}")?;
        if *discriminator == 0 { Ok(()) } else { write!(f, " ({discriminator})") }
    }
}

impl fmt::Display for LostItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |f: &mut fmt::Formatter<'_>, count: &Option<u64>, what: &str| match count {
            Some(count) => write!(f, "{count} {what}"),
            None => write!(f, "an unknown number of {what}"),
        };
        match self {
            Self::Node(id) => write!(f, "node {id}"),
            Self::Nodes { count, from, to } => {
                many(f, count, "nodes")?;
                write!(f, " between {from} and {to}")
            }
            Self::Vector { node, space } => write!(f, "vector of node {node} in space {space:?}"),
            Self::Edge(name) => name.fmt(f),
            Self::Attributes(name) => write!(f, "attributes of {name}"),
            Self::Edges { count, from, to } => {
                many(f, count, "edges")?;
                write!(f, " with sources between {from} and {to}")
            }
            Self::Operation { seq, op } => write!(f, "operation {op} of commit {seq}"),
            Self::Commits(from) => write!(f, "every commit from {from} on"),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, item, why } = self;
        write!(f, "{item}: {}, byte {offset}: {why}", file.display())
    }
}

impl Options {
    /// Puts everything that is whole of a damaged store into a new one, and
    /// tells what was lost. The damaged store is only read; nobody may have it
    /// open meanwhile.
    ///
    /// From the base, as the last checkpoint left it, comes every node whose
    /// record and content are whole, with its times, counts, scores, attributes
    /// and keys; its vectors, each if it is whole; every edge whose ends were
    /// salvaged. An edge that cannot be read at its source is taken from its
    /// target, without its attributes. Tables that can be made anew from others
    /// (of keys, of kinds) are no loss. Then every batch of the log up to the
    /// first damage is applied, with its own time; of one that needs something
    /// that was lost, the operations that do not. A write that a crash tore at
    /// the end of the log is no damage.
    ///
    /// Sequence numbers, and with them the versions of nodes, begin anew.
    ///
    /// `to` must be absent or empty. Until the call returns there is no store
    /// in it that opens; if it fails, it removes what it made.
    ///
    /// These options say how the new store is written, and which file system
    /// both are on; their spaces, indexes and recovery mode do not count. The
    /// store has the spaces and indexes that it had. Memory is bounded by
    /// [`delta_bytes`](Self::delta_bytes), one file of the log and one of its
    /// batches.
    ///
    /// `progress` is told, now and then and at the end, how many nodes and
    /// edges of the base were gone through, and how many it has.
    ///
    /// Files are mapped: where the medium gives an error for a page, the
    /// process is ended by a signal. Copy the store to a medium that is whole
    /// first, with zeros for what cannot be read.
    ///
    /// ```
    /// # use ingrain::{Engine, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let (damaged, mended) = (dir.path().join("damaged"), dir.path().join("mended"));
    /// # Engine::open(&damaged)?.close()?;
    /// let report = Options::new().repair(&damaged, &mended, &mut |_, _| {})?;
    /// for lost in &report.lost {
    ///     eprintln!("{lost}");
    /// }
    /// let engine = Engine::open(&mended)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` if the manifest is damaged or missing, without which nothing
    /// tells what the store consists of; `Invalid` if `from` is no store, or
    /// `to` holds anything or lies within `from`; `Locked` if a store is open;
    /// `Unsupported` for another version of the format; `Io`.
    pub fn repair(
        self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<RepairReport> {
        self.check()?;
        let absolute =
            |path: &Path| path::absolute(path).map_err(|error| Error::io("open", path, error));
        let (from, to) = (absolute(from.as_ref())?, absolute(to.as_ref())?);
        check_apart(&to, &from)?;
        check_apart(&from, &to)?;
        let fs = Arc::clone(&self.fs);
        // Before a lock file is made where there is no store.
        load(&*fs, &from)?;
        let path = from.join(LOCK);
        let _lock = fs
            .lock(&path)
            .map_err(|error| Error::io("lock", &path, error))?
            .ok_or(Error::Locked { path })?;
        let manifest = load(&*fs, &from)?;
        target::check(&*fs, &to)?;
        let data_dir = from.join(segment::DIR);
        let (base, unopened) = Base::open_what_can_be(&fs, &data_dir, &manifest)?;
        let options = Self {
            create: true,
            durability: Durability::Os,
            write_log_bytes: self.write_log_bytes.max(WRITE_LOG_BYTES),
            recovery: wal::RecoveryMode::Strict,
            inline: true,
            unfinished: true,
            spaces: Default::default(),
            indexes: Default::default(),
            ..self
        };
        let engine = Engine::open_with(&to, options)?;
        let mut repair = Repair {
            engine: &engine,
            snapshot: engine.snapshot(),
            base: &base,
            data_dir: &data_dir,
            manifest: &manifest,
            unopened: &unopened,
            report: RepairReport::default(),
            pending: Vec::new(),
            pending_bytes: 0,
            progress,
            done: 0,
        };
        let salvaged = repair.all(&from, &fs);
        let report = repair.report;
        let salvaged = salvaged.and_then(|()| engine.checkpointer.settle());
        let salvaged = salvaged.and_then(|()| engine.close());
        if let Err(error) = salvaged {
            drop(engine);
            if let Ok(Some(_lock)) = fs.lock(&to.join(LOCK)) {
                target::discard(&*fs, &to);
            }
            return Err(match error {
                // The engine was nobody's to close and open again.
                Error::Poisoned { cause } => Error::clone(&cause),
                error => error,
            });
        }
        Ok(report)
    }
}

/// The manifest of the damaged store.
fn load(fs: &dyn Fs, from: &Path) -> Result<Manifest> {
    let no_store = || Error::invalid(format!("path {}: there is no store", from.display()));
    let names = fs.list(from).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => no_store(),
        _ => Error::io("list", from, error),
    })?;
    let ours = [manifest::FILE, wal::DIR, segment::DIR];
    if !names.iter().any(|name| ours.iter().any(|ours| name == ours)) {
        return Err(no_store());
    }
    const NEEDED: &str = "without it nothing tells which files are the store's and what is in \
                          them, and no repair is possible: restore a backup";
    match manifest::load(fs, from) {
        Ok(Some(manifest)) => Ok(manifest),
        Ok(None) => {
            let what = format!("the file is missing; {NEEDED}");
            Err(Error::corrupt(from.join(manifest::FILE), 0, what))
        }
        Err(Error::Corrupt { file, offset, what }) => {
            Err(Error::corrupt(file, offset, format!("{what}; {NEEDED}")))
        }
        Err(error) => Err(error),
    }
}

fn len64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn count(count: &mut u64) {
    *count = count.saturating_add(1);
}

/// Rows of the out table that could not be read.
struct Gap {
    /// The keys before and after that could be, if any.
    after: Option<EdgeKey>,
    before: Option<EdgeKey>,
    /// How many, if that is known.
    rows: Option<u64>,
    /// Edges found at their targets that belong here.
    found: u64,
    error: Error,
}

/// Where a vector file is being read: its rows are in the order of their nodes.
struct Cursor<'r> {
    part: &'r VectorPart,
    row: usize,
    /// The last row that could not be read.
    error: Option<Error>,
}

impl<'r> Cursor<'r> {
    /// Goes on to the row of a node, which is not before the one that was asked
    /// for last. Gives its vector if this commit wrote it.
    fn find(&mut self, id: NodeId, seq: Seq) -> Option<&'r [f32]> {
        while self.row < self.part.rows.len() {
            match self.part.rows.row(self.row) {
                Ok((head, _)) if head.id() < id => {}
                Ok((head, numbers)) => {
                    return (head.id() == id && head.seq() == seq).then_some(numbers);
                }
                Err(error) => self.error = Some(error),
            }
            self.row = self.row.saturating_add(1);
        }
        None
    }
}

struct Repair<'r> {
    /// The new store.
    engine: &'r Engine,
    /// What it has.
    snapshot: Snapshot,
    /// What is left of the old one.
    base: &'r Base,
    data_dir: &'r Path,
    manifest: &'r Manifest,
    unopened: &'r [Unopened],
    report: RepairReport,
    /// Operations that are not written yet, and about their bytes.
    pending: Vec<Op>,
    pending_bytes: usize,
    progress: &'r mut dyn FnMut(u64, u64),
    done: u64,
}

impl<'r> Repair<'r> {
    fn all(&mut self, from: &Path, fs: &Arc<dyn Fs>) -> Result<()> {
        self.report.unreadable = self.unopened.iter().map(|(_, _, error)| error.clone()).collect();
        self.report.seq = self.manifest.checkpoint;
        self.definitions()?;
        self.nodes()?;
        self.flush()?;
        let mut gaps = self.edges()?;
        self.flush()?;
        self.edges_at_targets(&mut gaps)?;
        self.flush()?;
        self.gaps(gaps);
        let had = self.manifest.counts;
        self.report.missing = Counts {
            nodes: had.nodes.saturating_sub(self.report.nodes),
            edges: had.edges.saturating_sub(self.report.edges),
            keys: had.keys.saturating_sub(self.report.keys),
            vectors: had.vectors.saturating_sub(self.report.vectors),
        };
        self.log(from, fs)?;
        self.engine.checkpoint()?;
        let total = self.total();
        (self.progress)(total, total);
        Ok(())
    }

    fn total(&self) -> u64 {
        self.manifest.counts.nodes.saturating_add(self.manifest.counts.edges)
    }

    fn advance(&mut self) {
        self.done = self.done.saturating_add(1);
        if self.done.is_multiple_of(PROGRESS_ROWS) {
            let total = self.total();
            (self.progress)(self.done.min(total), total);
        }
    }

    fn lost(&mut self, file: &Path, offset: u64, item: LostItem, why: impl Into<String>) {
        if self.report.lost.len() < MOST_LOST {
            let file = file.to_owned();
            self.report.lost.push(Lost { file, offset, item, why: why.into() });
        } else {
            count(&mut self.report.more);
        }
    }

    /// Something is lost because of this damage.
    fn lost_by(&mut self, item: LostItem, error: &Error) {
        match error {
            Error::Corrupt { file, offset, what } => {
                // Of a file that is not open, only the name is known.
                let file = match file.strip_prefix(segment::DIR) {
                    Ok(name) if file.is_relative() => self.data_dir.join(name),
                    _ => file.clone(),
                };
                self.lost(&file, *offset, item, what.clone());
            }
            error => self.lost(self.data_dir, 0, item, error.to_string()),
        }
    }

    /// Why a file is not open.
    fn unopened(&self, file: DataFile) -> Option<&'r Error> {
        let unopened = self.unopened.iter().find(|(_, other, _)| other.number == file.number);
        unopened.map(|(_, _, error)| error)
    }

    /// How many rows a file had that is not open, if it is the only one of its
    /// table.
    fn rows_of(
        &self,
        kind: FileKind,
        all: u64,
        others: impl Iterator<Item = usize>,
    ) -> Option<u64> {
        let missing = self.unopened.iter().filter(|(of, _, _)| *of == kind).count();
        let others = others.map(len64).fold(0, u64::saturating_add);
        (missing == 1).then(|| all.saturating_sub(others))
    }

    /// Spaces and indexes, by number.
    fn definitions(&mut self) -> Result<()> {
        let spaces = self.manifest.spaces.iter().filter(|named| !named.dropped);
        let spaces = spaces.flat_map(|named| {
            let (name, space) = (named.name.clone(), named.space);
            let method = Op::SetMethod { name: name.clone(), method: named.method };
            [Op::CreateSpace { name, space }, method]
        });
        let indexes = self.manifest.indexes.iter();
        let ops: Vec<Op> =
            spaces.chain(indexes.map(|name| Op::CreateIndex { name: name.clone() })).collect();
        if !ops.is_empty() {
            self.engine.write(Batch { ops, durability: Some(Durability::Os) })?;
        }
        Ok(())
    }

    /// Queues an operation that cannot fail, or finds that it can.
    fn queue(&mut self, op: Op) -> Result<Result<(), Error>> {
        let mut batch = Batch { ops: vec![op], durability: None };
        if let Err(error) = batch.check(&*self.engine.reconciler.state()) {
            return match error.kind() {
                ErrorKind::Invalid | ErrorKind::Limit => Ok(Err(error)),
                _ => Err(error),
            };
        }
        if let Some(op) = batch.ops.pop() {
            self.pending_bytes = self.pending_bytes.saturating_add(op.memory());
            self.pending.push(op);
        }
        if self.pending.len() >= BATCH_OPS || self.pending_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(Ok(()))
    }

    /// Writes what is queued.
    fn flush(&mut self) -> Result<()> {
        self.pending_bytes = 0;
        if !self.pending.is_empty() {
            let ops = std::mem::take(&mut self.pending);
            self.make_room()?;
            self.engine.write(Batch { ops, durability: Some(Durability::Os) })?;
        }
        self.snapshot = self.engine.snapshot();
        Ok(())
    }

    /// Makes the checkpoint that is due: here its failure can be told.
    fn make_room(&self) -> Result<()> {
        if self.engine.reconciler.checkpoint_due() {
            self.engine.checkpoint()?;
        }
        Ok(())
    }

    fn kind(&self, number: u32) -> Option<&'r str> {
        let number = usize::try_from(number).ok()?;
        self.manifest.kinds.get(number).map(String::as_str)
    }

    fn nodes(&mut self) -> Result<()> {
        let base = self.base;
        let parts = base.vectors.iter();
        let mut cursors: Vec<Cursor<'r>> =
            parts.map(|part| Cursor { part, row: 0, error: None }).collect();
        let mut opened = base.nodes.iter().peekable();
        let mut last = None;
        let files = &self.manifest.nodes;
        for (at, file) in files.iter().enumerate() {
            let first = |file: &TableFile| file.first.as_slice().try_into().map(NodeId::from_bytes);
            let end = files.get(at.saturating_add(1)).and_then(|next| first(next).ok());
            let end = end.unwrap_or(NodeId::MAX);
            let is_it = |part: &&Arc<NodePart>| part.segment().file().number == file.file.number;
            match opened.next_if(is_it) {
                Some(part) => last = self.node_part(part, &mut cursors, last, end)?.or(last),
                None => {
                    let rows = base.nodes.iter().map(|part| part.rows.len());
                    let count = self.rows_of(FileKind::Nodes, self.manifest.counts.nodes, rows);
                    let from = first(file).unwrap_or(NodeId::MIN);
                    if let Some(error) = self.unopened(file.file) {
                        self.lost_by(LostItem::Nodes { count, from, to: end }, error);
                    }
                }
            }
        }
        Ok(())
    }

    /// The nodes of a part, those before `end`. Returns the last id that could
    /// be read.
    fn node_part(
        &mut self,
        part: &'r NodePart,
        cursors: &mut [Cursor<'r>],
        before: Option<NodeId>,
        end: NodeId,
    ) -> Result<Option<NodeId>> {
        let mut last = None;
        // Rows that could not be read, and the first error.
        let mut bad: Option<(u64, Error)> = None;
        let bounds = |last: Option<NodeId>| last.or(before).unwrap_or(NodeId::MIN);
        for at in 0..part.rows.len() {
            self.advance();
            let row = match part.rows.row(at) {
                Ok(row) => row,
                Err(error) => {
                    let (rows, _) = bad.get_or_insert((0, error));
                    count(rows);
                    continue;
                }
            };
            let id = row.id();
            if let Some((rows, error)) = bad.take() {
                let item = LostItem::Nodes { count: Some(rows), from: bounds(last), to: id };
                self.lost_by(item, &error);
            }
            last = Some(id);
            self.node(part, at, row, cursors)?;
        }
        if let Some((rows, error)) = bad {
            let item = LostItem::Nodes { count: Some(rows), from: bounds(last), to: end };
            self.lost_by(item, &error);
        }
        Ok(last)
    }

    fn node(
        &mut self,
        part: &'r NodePart,
        at: usize,
        row: &'r NodeRow,
        cursors: &mut [Cursor<'r>],
    ) -> Result<()> {
        let id = row.id();
        let read = self.base.stored(row).and_then(|stored| Ok((stored, stored.attributes()?)));
        let (stored, attributes) = match read {
            Ok(read) => read,
            Err(error) => {
                self.lost_by(LostItem::Node(id), &error);
                return Ok(());
            }
        };
        let (file, offset) = (part.segment().path(), len64(part.rows.offset(at)));
        let Some(kind) = self.kind(row.kind.get()) else {
            let why = format!("its kind {} has no name", row.kind.get());
            self.lost(file, offset, LostItem::Node(id), why);
            return Ok(());
        };
        let mut node = whole_node(&stored, kind, attributes);
        for (index, key) in stored.keys() {
            let name = usize::try_from(index).ok().and_then(|n| self.manifest.indexes.get(n));
            // A key of an index that there is not is of no use to anybody; its
            // count is among the missing.
            if let Some(name) = name {
                node.keys.push(IndexKey { index: name.clone(), key: key.to_vec() });
            }
        }
        for (space, seq) in stored.vectors() {
            let Some(named) = usize::try_from(space).ok().and_then(|n| self.manifest.spaces.get(n))
            else {
                continue;
            };
            if named.dropped {
                continue;
            }
            let mut of_space = cursors.iter_mut().filter(|cursor| cursor.part.rows.space == space);
            let found = of_space.find_map(|cursor| cursor.find(id, seq));
            match found {
                Some(numbers) if named.space.check_vector(&named.name, numbers).is_ok() => {
                    node.vectors.insert(named.name.clone(), numbers.to_vec());
                }
                Some(_) => {
                    let item = LostItem::Vector { node: id, space: named.name.clone() };
                    self.lost(file, offset, item, "the space does not take such a vector");
                }
                None => self.vector(id, space, &named.name, cursors, (file, offset)),
            }
        }
        let (keys, vectors) = (len64(node.keys.len()), len64(node.vectors.len()));
        let op = Op::Put { node, precondition: Precondition::None };
        match self.queue(op)? {
            Ok(()) => {
                count(&mut self.report.nodes);
                self.report.keys = self.report.keys.saturating_add(keys);
                self.report.vectors = self.report.vectors.saturating_add(vectors);
            }
            Err(error) => self.lost(file, offset, LostItem::Node(id), error.to_string()),
        }
        Ok(())
    }

    /// A vector that was not found.
    fn vector(
        &mut self,
        node: NodeId,
        space: u32,
        name: &str,
        cursors: &[Cursor<'r>],
        (file, offset): (&Path, u64),
    ) {
        let item = LostItem::Vector { node, space: name.to_owned() };
        let of_space = || cursors.iter().filter(|cursor| cursor.part.rows.space == space);
        let in_file = of_space().find_map(|cursor| cursor.error.clone());
        let of_files = || {
            let files = self.manifest.vectors.iter().filter(|file| file.space == space);
            files.filter_map(|file| self.unopened(file.file)).next().cloned()
        };
        match in_file.or_else(of_files) {
            Some(error) => self.lost_by(item, &error),
            None => self.lost(file, offset, item, "no file has the vector"),
        }
    }

    /// Edges from the table by source. Gives where it could not be read.
    fn edges(&mut self) -> Result<Vec<Gap>> {
        let base = self.base;
        let mut gaps: Vec<Gap> = Vec::new();
        let mut opened = base.out.iter().peekable();
        let mut last: Option<EdgeKey> = None;
        for file in &self.manifest.out {
            let is_it = |part: &&Arc<EdgePart>| part.segment().file().number == file.file.number;
            let Some(part) = opened.next_if(is_it) else {
                let rows = base.out.iter().map(|part| part.rows.len());
                let rows = self.rows_of(FileKind::Out, self.manifest.counts.edges, rows);
                if let Some(error) = self.unopened(file.file) {
                    add_gap(&mut gaps, last, rows, error.clone());
                }
                continue;
            };
            // Rows of this part that follow each other and could not be read.
            let mut bad: Option<(u64, Error)> = None;
            for at in 0..part.rows.len() {
                self.advance();
                let row = match part.rows.row(at) {
                    Ok(row) => row,
                    Err(error) => {
                        let (rows, _) = bad.get_or_insert((0, error));
                        count(rows);
                        continue;
                    }
                };
                if let Some((rows, error)) = bad.take() {
                    add_gap(&mut gaps, last, Some(rows), error);
                }
                let key = row.key();
                if let Some(gap) = gaps.last_mut().filter(|gap| gap.before.is_none()) {
                    gap.before = Some(key);
                }
                last = Some(key);
                let (file, offset) = (part.segment().path(), len64(part.rows.offset(at)));
                let attributes = base.attributes(row);
                self.edge(row, key, attributes, file, offset)?;
            }
            if let Some((rows, error)) = bad {
                add_gap(&mut gaps, last, Some(rows), error);
            }
        }
        Ok(gaps)
    }

    /// Edges from the table by target that belong into the gaps.
    fn edges_at_targets(&mut self, gaps: &mut [Gap]) -> Result<()> {
        if gaps.is_empty() {
            return Ok(());
        }
        let base = self.base;
        for part in &base.into {
            for at in 0..part.rows.len() {
                // What is damaged here as well is lost, as the gaps will tell.
                let Ok(row) = part.rows.row(at) else { continue };
                let key = row.key().turned();
                let gap = gaps.partition_point(|gap| gap.before.is_some_and(|end| end <= key));
                let Some(gap) = gaps.get_mut(gap) else { continue };
                if gap.after.is_some_and(|start| key <= start) || self.has(&key)? {
                    continue;
                }
                count(&mut gap.found);
                let error = gap.error.clone();
                let (file, offset) = (part.segment().path(), len64(part.rows.offset(at)));
                self.edge(row, key, Err(error), file, offset)?;
            }
        }
        Ok(())
    }

    /// Whether the new store has the edge.
    fn has(&self, key: &EdgeKey) -> Result<bool> {
        let Some(kind) = self.kind(key.kind) else { return Ok(false) };
        Ok(self.snapshot.edge(key.here, kind, key.there, key.discriminator)?.is_some())
    }

    /// An edge, by its key at its source.
    fn edge(
        &mut self,
        row: &EdgeRow,
        key: EdgeKey,
        attributes: Result<Attributes>,
        file: &'r Path,
        offset: u64,
    ) -> Result<()> {
        let kind = self.kind(key.kind);
        let name = EdgeName {
            source: key.here,
            kind: kind.map_or_else(|| key.kind.to_string(), str::to_owned),
            target: key.there,
            discriminator: key.discriminator,
        };
        if kind.is_none() {
            self.lost(file, offset, LostItem::Edge(name), "its kind has no name");
            return Ok(());
        }
        for end in [key.here, key.there] {
            if !self.snapshot.contains(end)? {
                let why = format!("node {end} was lost");
                self.lost(file, offset, LostItem::Edge(name), why);
                return Ok(());
            }
        }
        let mut edge = Edge::new(key.here, name.kind.clone(), key.there);
        edge.discriminator = key.discriminator;
        edge.weight = row.weight.get();
        edge.confidence = row.confidence.get();
        edge.created = Some(Timestamp::from_micros(row.created.get()));
        edge.updated = Some(Timestamp::from_micros(row.updated.get()));
        let mut damage = None;
        match attributes {
            Ok(attributes) => edge.attributes = attributes,
            Err(error) => damage = Some(error),
        }
        match self.queue(Op::Link { edge })? {
            Ok(()) => {
                count(&mut self.report.edges);
                if let Some(error) = damage {
                    self.lost_by(LostItem::Attributes(name), &error);
                }
            }
            Err(error) => self.lost(file, offset, LostItem::Edge(name), error.to_string()),
        }
        Ok(())
    }

    /// What was not found at its target either.
    fn gaps(&mut self, gaps: Vec<Gap>) {
        for gap in gaps {
            let left = gap.rows.map(|rows| rows.saturating_sub(gap.found));
            if left == Some(0) {
                continue;
            }
            let item = LostItem::Edges {
                count: left,
                from: gap.after.map_or(NodeId::MIN, |key| key.here),
                to: gap.before.map_or(NodeId::MAX, |key| key.here),
            };
            self.lost_by(item, &gap.error);
        }
    }

    /// The batches that the base does not have.
    fn log(&mut self, from: &Path, fs: &Arc<dyn Fs>) -> Result<()> {
        let dir = from.join(wal::DIR);
        let place = wal::Place { fs: &**fs, dir: &dir, store: self.manifest.store };
        let mut failed = None;
        let manifest = self.manifest;
        let read = wal::salvage(place, manifest, &mut |seq, logged| {
            let batch = decode_batch(logged.payload())?;
            self.batch(seq, batch, &dir).map_err(|error| {
                let damage = Damage::new(0, "the new store cannot be written");
                failed = Some(error);
                damage.into()
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let read = match read {
            Err(Error::Io { path, source, .. })
                if path == dir && source.kind() == io::ErrorKind::NotFound =>
            {
                let next = manifest.checkpoint.next();
                self.lost(&dir, 0, LostItem::Commits(next), "the directory is missing");
                return Ok(());
            }
            read => read?,
        };
        self.report.seq = read.seq;
        self.report.cut = read.cut;
        if let Some(error) = &read.damage {
            self.lost_by(LostItem::Commits(read.seq.next()), error);
        }
        Ok(())
    }

    /// A batch of the log: whole, or what can be applied of it.
    fn batch(&mut self, seq: Seq, batch: LoggedBatch, dir: &Path) -> Result<()> {
        let LoggedBatch { time, ops } = batch;
        if self.apply(time, ops.clone())?.is_none() {
            count(&mut self.report.batches);
            return Ok(());
        }
        for (at, op) in ops.into_iter().enumerate() {
            if let Some(error) = self.apply(time, vec![op])? {
                let item = LostItem::Operation { seq, op: at };
                self.lost(dir, 0, item, error.to_string());
            }
        }
        count(&mut self.report.partial_batches);
        Ok(())
    }

    /// Writes operations with the time that they had. Gives why they are
    /// refused, if they are.
    fn apply(&mut self, time: Timestamp, ops: Vec<Op>) -> Result<Option<Error>> {
        self.make_room()?;
        let batch = Batch { ops, durability: Some(Durability::Os) };
        match self.engine.write_at(batch, time) {
            Ok(_) => Ok(None),
            Err(error) => match error.kind() {
                ErrorKind::Conflict | ErrorKind::Invalid | ErrorKind::Limit => Ok(Some(error)),
                _ => Err(error),
            },
        }
    }
}

fn add_gap(gaps: &mut Vec<Gap>, after: Option<EdgeKey>, rows: Option<u64>, error: Error) {
    let full = gaps.len() >= MOST_LOST;
    match gaps.last_mut() {
        // Without a row that could be read between them, or with too many to
        // tell apart, they are one.
        Some(gap) if full || gap.before.is_none() => {
            gap.before = None;
            gap.rows = gap.rows.zip(rows).map(|(a, b)| a.saturating_add(b));
        }
        _ => gaps.push(Gap { after, before: None, rows, found: 0, error }),
    }
}

/// A node with everything but its keys and vectors.
fn whole_node(stored: &StoredNode<'_>, kind: &str, attributes: Attributes) -> Node {
    let meta = &stored.meta;
    let mut node = Node::new(stored.row.id(), kind);
    node.content = stored.content.to_vec();
    node.attributes = attributes;
    node.strength = meta.strength;
    node.confidence = meta.confidence;
    node.created = Some(meta.created);
    node.updated = Some(meta.updated);
    node.accessed = Some(meta.accessed);
    node.access_count = Some(meta.access_count);
    node.expires = meta.expires;
    node
}
