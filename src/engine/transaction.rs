//! Transactions: reads and a batch that is committed only if what was read is
//! still so.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    ptr,
};

use foldhash::quality::RandomState;

use crate::{
    engine::Engine,
    model::{
        batch::{Batch, Durability, Op},
        edge::Edge,
        error::{ConflictReason, Error, Result},
        id::NodeId,
        key::KeyRange,
        limits,
        node::{Node, Patch},
        time::{Seq, Timestamp},
        value::Value,
    },
    read::{
        cursor::Direction,
        edge::EdgeRef,
        footprint::{Footprint, Ordered},
        node::NodeRef,
        snapshot::Snapshot,
    },
};

/// Tries after which a transaction takes a turn among those that are tried again.
const FREE_TRIES: u32 = 2;

/// Tries after which it makes others wait for its turn before they begin.
const OPEN_TRIES: u32 = 4;

/// A transaction that was committed.
///
/// ```
/// use ingrain::{Committed, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let id = NodeId::new();
/// let Committed { value, seq, tries, .. } = engine.transact(|tx| {
///     let first = tx.get(id)?.is_none();
///     tx.put(Node::new(id, "note"));
///     Ok(first)
/// })?;
/// assert_eq!((value, seq, tries), (true, engine.snapshot().seq(), 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed<T> {
    /// What the closure returned.
    pub value: T,
    /// The sequence number of the commit; of a transaction that wrote nothing, that
    /// of the snapshot it read, and of one with requirements only, that of the state
    /// it was checked against.
    pub seq: Seq,
    /// How often the closure ran.
    pub tries: u32,
}

/// What the closure of [`Engine::transact`] reads from and writes to.
///
/// It reads one snapshot, and each read is noted. Its writes are collected in a
/// batch, so reads do not show them: reading what the transaction itself may have
/// changed is `Invalid`. Read first, then write. An iterator that was made before
/// a write goes on and shows what was there before it.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.create_index("due")?;
/// for n in 0..3_u8 {
///     engine.write(Batch::new().put(Node::new(NodeId::new(), "task").key("due", [n])))?;
/// }
/// // Takes the first task: no two workers get the same.
/// let take = || {
///     engine.transact(|tx| {
///         let mut tasks = tx.range("due", .., Direction::Ascending)?;
///         let Some((_, task)) = tasks.next().transpose()? else { return Ok(None) };
///         tx.patch(task, Patch::new().remove_keys("due").attribute("taken", true));
///         Ok(Some(task))
///     })
/// };
/// let first = take()?.value.expect("there are three");
/// assert_ne!(take()?.value, Some(first));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Transaction<'t> {
    snapshot: &'t Snapshot,
    reads: &'t RefCell<Footprint>,
    batch: Batch,
    written: Written,
}

/// What the operations of a transaction may have changed.
#[derive(Debug, Default)]
struct Written {
    nodes: HashSet<NodeId, RandomState>,
    deleted: HashSet<NodeId, RandomState>,
    /// Ends of edges.
    ends: HashSet<NodeId, RandomState>,
    /// Whether nodes may have come, gone, or changed their kind or their keys.
    lists: bool,
    /// Whether fields may have changed from which keys are derived.
    fields: bool,
}

impl Written {
    fn note(&mut self, op: &Op) {
        match op {
            Op::Put { node: Node { id, .. }, .. }
            | Op::PutOrKeep { node: Node { id, .. } }
            | Op::Patch { id, .. } => {
                self.nodes.insert(*id);
                self.lists = true;
            }
            Op::Touch { id, .. } | Op::Expire { id, .. } | Op::Increment { id, .. } => {
                self.nodes.insert(*id);
                self.fields = true;
            }
            Op::Delete { id } | Op::Prune { id, .. } => {
                self.nodes.insert(*id);
                self.deleted.insert(*id);
                self.lists = true;
            }
            Op::Link { edge: Edge { source, target, .. } }
            | Op::Unlink { source, target, .. }
            | Op::IncrementWeight { source, target, .. } => {
                self.ends.extend([*source, *target]);
            }
            Op::Rename { .. } => self.lists = true,
            Op::Require { .. }
            | Op::RequireEdge { .. }
            | Op::CreateSpace { .. }
            | Op::CreateIndex { .. }
            | Op::DropIndex { .. }
            | Op::BuildIndex { .. }
            | Op::DropSpace { .. }
            | Op::SetMethod { .. } => {}
        }
    }

    /// Refuses a read if what it reads was `changed`.
    fn check(changed: bool, what: impl FnOnce() -> String) -> Result<()> {
        if changed {
            return Err(Error::invalid(format!(
                "read of {}: the transaction may have changed it by an earlier write; read first, \
                 then write",
                what()
            )));
        }
        Ok(())
    }
}

/// Goes on with an ordered read, and notes each step.
fn noted<'t, T>(
    reads: &'t RefCell<Footprint>,
    read: Ordered,
    mut items: impl Iterator<Item = Result<T>> + 't,
    note: impl Fn(&mut Footprint, usize, Option<&T>) -> Result<()> + 't,
) -> Result<impl Iterator<Item = Result<T>> + 't> {
    let number = reads.borrow_mut().begin(read)?;
    let mut ended = false;
    Ok(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let item = match items.next().transpose() {
            Ok(item) => note(&mut reads.borrow_mut(), number, item.as_ref()).map(|()| item),
            Err(error) => Err(error),
        };
        ended = !matches!(item, Ok(Some(_)));
        item.transpose()
    }))
}

impl<'t> Transaction<'t> {
    fn new(snapshot: &'t Snapshot, reads: &'t RefCell<Footprint>) -> Self {
        Self { snapshot, reads, batch: Batch::new(), written: Written::default() }
    }

    /// The commit that its reads are as of.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.snapshot.seq()
    }

    /// The node with this id. The transaction commits only if the node still has the
    /// same version and the same expiry, or is still not there. Touches do not count:
    /// they leave the version.
    ///
    /// # Errors
    /// `Invalid` if the transaction has written the node; `Limit` from the read on
    /// that is one too many ([`limits::TRANSACTION_READS`]); `Corrupt` if the node is
    /// damaged on disk.
    pub fn get(&self, id: NodeId) -> Result<Option<NodeRef<'t>>> {
        Written::check(self.written.nodes.contains(&id), || format!("node {id}"))?;
        let node = self.snapshot.get(id)?;
        self.reads.borrow_mut().node(id, node.as_ref())?;
        Ok(node)
    }

    /// The edge with these ends, kind and discriminator. The transaction commits only
    /// if the edge is still the same, or is still not there.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn edge(
        &self,
        source: NodeId,
        kind: &str,
        target: NodeId,
        discriminator: u64,
    ) -> Result<Option<EdgeRef<'t>>> {
        let Written { ends, deleted, .. } = &self.written;
        let changed = ends.contains(&source) && ends.contains(&target)
            || deleted.contains(&source)
            || deleted.contains(&target);
        Written::check(changed, || format!("edge {source} {kind:?} {target}"))?;
        let edge = self.snapshot.edge(source, kind, target, discriminator)?;
        let name = (source, kind.to_owned(), target, discriminator);
        self.reads.borrow_mut().edge(name, edge.as_ref())?;
        Ok(edge)
    }

    /// The edges that leave a node, of one kind or all, as
    /// [`Snapshot::edges_out`]. The transaction commits only if the same read still
    /// returns the same edges, as far as the iterator was read.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn edges_out(
        &self,
        id: NodeId,
        kind: Option<&str>,
    ) -> Result<impl Iterator<Item = Result<EdgeRef<'t>>> + use<'t>> {
        self.edges_of(id, false, kind)
    }

    /// The edges that reach a node, as [`edges_out`](Self::edges_out).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn edges_in(
        &self,
        id: NodeId,
        kind: Option<&str>,
    ) -> Result<impl Iterator<Item = Result<EdgeRef<'t>>> + use<'t>> {
        self.edges_of(id, true, kind)
    }

    fn edges_of(
        &self,
        id: NodeId,
        inbound: bool,
        kind: Option<&str>,
    ) -> Result<impl Iterator<Item = Result<EdgeRef<'t>>> + use<'t>> {
        let Written { ends, deleted, .. } = &self.written;
        let changed = ends.contains(&id) || !deleted.is_empty();
        Written::check(changed, || format!("the edges of node {id}"))?;
        let edges = self.snapshot.edges_for(id, inbound, kind);
        let read = Ordered::Edges { id, inbound, kind: kind.map(str::to_owned) };
        noted(self.reads, read, edges, |reads, read, edge| reads.next_edge(read, edge))
    }

    /// The keys of an index in a range, each with the id of its node, as
    /// [`Snapshot::range`]. The transaction commits only if the same read still returns
    /// the same keys and ids, as far as the iterator was read; whether the nodes have
    /// changed otherwise matters only for those that [`get`](Self::get) reads.
    ///
    /// # Errors
    /// `Invalid` as [`Snapshot::range`] and, here for any node, as
    /// [`get`](Self::get).
    pub fn range<R: Into<KeyRange>>(
        &self,
        index: &str,
        range: R,
        direction: Direction,
    ) -> Result<impl Iterator<Item = Result<(&'t [u8], NodeId)>> + use<'t, R>> {
        self.entries(index, range.into(), direction)
    }

    fn entries(
        &self,
        index: &str,
        range: KeyRange,
        direction: Direction,
    ) -> Result<impl Iterator<Item = Result<(&'t [u8], NodeId)>> + use<'t>> {
        let changed = self.written.lists || self.written.fields;
        Written::check(changed, || format!("index {index:?}"))?;
        let mut entries = self.snapshot.range(index, range.clone(), direction)?;
        let places = std::iter::from_fn(move || entries.next_place());
        let places = places.map(|place| place.map(|place| (place.key, place.node)));
        let read = Ordered::Keys { index: index.to_owned(), range, direction };
        noted(self.reads, read, places, |reads, read, entry| reads.next_entry(read, entry.copied()))
    }

    /// The ids of the nodes of a kind, ascending, as [`Snapshot::scan`]. The transaction
    /// commits only if the same read still returns the same ids, as far as the iterator
    /// was read; whether the nodes have changed otherwise matters only for those that
    /// [`get`](Self::get) reads.
    ///
    /// # Errors
    /// As [`get`](Self::get), here for any node.
    pub fn scan(&self, kind: &str) -> Result<impl Iterator<Item = Result<NodeId>> + use<'t>> {
        Written::check(self.written.lists, || format!("the nodes of kind {kind:?}"))?;
        let nodes = self.snapshot.scan(kind).map(|node| node.map(|node| node.id()));
        let read = Ordered::Kind(kind.to_owned());
        noted(self.reads, read, nodes, |reads, read, id| reads.next_node(read, id.copied()))
    }

    /// The number of nodes of the store. The transaction commits only if it is still
    /// the same.
    ///
    /// # Errors
    /// `Invalid` if the transaction has written nodes.
    pub fn node_count(&self) -> Result<usize> {
        Written::check(self.written.lists, || "the number of nodes".to_owned())?;
        self.reads.borrow_mut().node_count();
        Ok(self.snapshot.node_count())
    }

    /// The number of edges of the store. The transaction commits only if it is still
    /// the same.
    ///
    /// # Errors
    /// `Invalid` if the transaction has written edges, or deleted nodes.
    pub fn edge_count(&self) -> Result<usize> {
        let changed = !self.written.ends.is_empty() || !self.written.deleted.is_empty();
        Written::check(changed, || "the number of edges".to_owned())?;
        self.reads.borrow_mut().edge_count();
        Ok(self.snapshot.edge_count())
    }
}

/// Writes. They are those of [`Batch`], and happen when the transaction commits.
impl Transaction<'_> {
    /// Adds what `fill` adds to the batch, and notes what it may change.
    fn add(&mut self, fill: impl FnOnce(&mut Batch) -> &mut Batch) -> &mut Self {
        let from = self.batch.len();
        fill(&mut self.batch);
        self.batch.ops().iter().skip(from).for_each(|op| self.written.note(op));
        self
    }

    /// Adds an operation.
    pub fn push(&mut self, op: Op) -> &mut Self {
        self.add(|batch| batch.push(op))
    }

    /// Forgets all writes so far: a closure that returns `Ok` after this writes
    /// nothing, unless it writes again.
    pub fn discard(&mut self) {
        self.batch = Batch::new();
        self.written = Written::default();
    }

    /// The operations so far, in order.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        self.batch.ops()
    }

    /// As [`Batch::durability`].
    pub fn durability(&mut self, durability: Durability) -> &mut Self {
        self.batch.durability(durability);
        self
    }

    /// As [`Batch::put`].
    pub fn put(&mut self, node: Node) -> &mut Self {
        self.add(|batch| batch.put(node))
    }

    /// As [`Batch::put_or_keep`].
    pub fn put_or_keep(&mut self, node: Node) -> &mut Self {
        self.add(|batch| batch.put_or_keep(node))
    }

    /// As [`Batch::ensure`].
    pub fn ensure(&mut self, id: NodeId, kind: impl Into<String>) -> &mut Self {
        self.add(|batch| batch.ensure(id, kind))
    }

    /// As [`Batch::patch`].
    pub fn patch(&mut self, id: NodeId, patch: Patch) -> &mut Self {
        self.add(|batch| batch.patch(id, patch))
    }

    /// As [`Batch::touch`].
    pub fn touch(&mut self, id: NodeId) -> &mut Self {
        self.add(|batch| batch.touch(id))
    }

    /// As [`Batch::expire`].
    pub fn expire(&mut self, id: NodeId, expires: Option<Timestamp>) -> &mut Self {
        self.add(|batch| batch.expire(id, expires))
    }

    /// As [`Batch::delete`].
    pub fn delete(&mut self, id: NodeId) -> &mut Self {
        self.add(|batch| batch.delete(id))
    }

    /// As [`Batch::link`].
    pub fn link(&mut self, edge: Edge) -> &mut Self {
        self.add(|batch| batch.link(edge))
    }

    /// As [`Batch::link_ensuring`].
    pub fn link_ensuring(&mut self, edge: Edge, kind: impl Into<String>) -> &mut Self {
        self.add(|batch| batch.link_ensuring(edge, kind))
    }

    /// As [`Batch::unlink`].
    pub fn unlink(&mut self, source: NodeId, kind: impl Into<String>, target: NodeId) -> &mut Self {
        self.add(|batch| batch.unlink(source, kind, target))
    }

    /// As [`Batch::unlink_one`].
    pub fn unlink_one(
        &mut self,
        source: NodeId,
        kind: impl Into<String>,
        target: NodeId,
        discriminator: u64,
    ) -> &mut Self {
        self.add(|batch| batch.unlink_one(source, kind, target, discriminator))
    }

    /// As [`Batch::increment`].
    pub fn increment(
        &mut self,
        id: NodeId,
        attribute: impl Into<String>,
        by: impl Into<Value>,
    ) -> &mut Self {
        self.add(|batch| batch.increment(id, attribute, by))
    }

    /// As [`Batch::increment_weight`].
    pub fn increment_weight(
        &mut self,
        source: NodeId,
        kind: impl Into<String>,
        target: NodeId,
        by: f64,
    ) -> &mut Self {
        self.add(|batch| batch.increment_weight(source, kind, target, by))
    }
}

/// Adds the operations, for example those of a [`Batch`].
impl Extend<Op> for Transaction<'_> {
    fn extend<I: IntoIterator<Item = Op>>(&mut self, ops: I) {
        for op in ops {
            self.push(op);
        }
    }
}

thread_local! {
    /// The engine whose transaction this thread is in, by its address; 0 if it is in
    /// none.
    static WITHIN: Cell<usize> = const { Cell::new(0) };
}

/// While a transaction of this thread runs. Drop restores what was before.
struct Within(usize);

impl Within {
    fn enter(engine: &Engine) -> Result<Self> {
        let engine = ptr::from_ref(engine).addr();
        let before = WITHIN.try_with(|within| within.replace(engine)).unwrap_or_default();
        let within = Self(before);
        if before == engine {
            return Err(Error::invalid(
                "transaction: this thread is within another one of the same engine",
            ));
        }
        Ok(within)
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        let _ = WITHIN.try_with(|within| within.set(self.0));
    }
}

impl Engine {
    /// Runs a closure that reads and writes, and commits what it wrote if what it read
    /// is still so when its turn comes. Otherwise the closure runs again, on a newer
    /// snapshot. So transactions are serialisable: the result is as if each had run
    /// alone, in the order of their sequence numbers.
    ///
    /// The closure may run several times, so it should do nothing but read, compute and
    /// write through its [`Transaction`]. If it returns an error, nothing is written
    /// and the error is returned. If it writes nothing, nothing is logged or checked:
    /// it has read one snapshot.
    ///
    /// Transactions that were tried twice in vain take turns, in the order of arrival.
    /// If one fails twice more in its turn, transactions that begin wait until it has
    /// committed. So of n transactions that contend for one node, each commits within
    /// n + 4 tries, unless writes outside of transactions come between. Nobody waits
    /// for longer than [`Options::patience`](crate::Options::patience), and other
    /// writes do not wait at all. Transactions do not nest: one within the closure
    /// of another, in the same thread, is refused. [`Batch::increment`] and the like need
    /// no transaction and conflict with nobody.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let (from, to) = (NodeId::from_content(b"from"), NodeId::from_content(b"to"));
    /// for id in [from, to] {
    ///     engine.write(Batch::new().put(Node::new(id, "account").attribute("balance", 10)))?;
    /// }
    /// let moved = engine.transact(|tx| {
    ///     let account = tx.get(from)?.expect("it was put");
    ///     let balance = account.attributes()?["balance"].as_i64().unwrap_or(0);
    ///     if balance < 7 {
    ///         return Ok(false); // nothing is written
    ///     }
    ///     tx.increment(from, "balance", -7).increment(to, "balance", 7);
    ///     Ok(true)
    /// })?;
    /// assert!(moved.value && moved.tries == 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the closure. `Conflict` with [`ConflictReason::Read`] if others changed
    /// what it had read in each of [`limits::TRANSACTION_TRIES`] tries, and with another
    /// reason if an operation needs what is not there. `Limit` if it read more than
    /// [`limits::TRANSACTION_READS`] items. `Invalid` within another transaction. Else as
    /// [`write`](Self::write).
    ///
    /// [`limits::TRANSACTION_READS`]: crate::limits::TRANSACTION_READS
    /// [`limits::TRANSACTION_TRIES`]: crate::limits::TRANSACTION_TRIES
    pub fn transact<T>(
        &self,
        mut work: impl FnMut(&mut Transaction<'_>) -> Result<T>,
    ) -> Result<Committed<T>> {
        self.check_open()?;
        let _within = Within::enter(self)?;
        let (mut turn, mut changed) = (None, NodeId::MIN);
        for tries in 1..=limits::TRANSACTION_TRIES {
            if turn.is_none() && (tries > FREE_TRIES || self.turns.are_closed()) {
                turn = self.turns.take(&*self.clock, self.patience);
            }
            if let Some(turn) = turn.as_ref().filter(|_| tries > OPEN_TRIES) {
                turn.close();
            }
            let snapshot = self.snapshot();
            let reads = RefCell::new(Footprint::new(snapshot.clone()));
            let mut transaction = Transaction::new(&snapshot, &reads);
            let value = work(&mut transaction)?;
            let Transaction { mut batch, .. } = transaction;
            let reads = Box::new(reads.into_inner());
            // The closure may have gone on after an error.
            reads.check_bounds()?;
            if batch.is_empty() {
                return Ok(Committed { value, seq: snapshot.seq(), tries });
            }
            let ticket = self.queue(&mut batch, self.clock.now(), Some(reads));
            match ticket.and_then(|ticket| self.reconciler.see_through(ticket)) {
                Ok(seq) => return Ok(Committed { value, seq, tries }),
                Err(Error::Conflict { node, reason: ConflictReason::Read { .. }, .. }) => {
                    changed = node;
                }
                Err(error) => return Err(error),
            }
        }
        let reason = ConflictReason::Read { tries: limits::TRANSACTION_TRIES };
        Err(Error::Conflict { op: 0, node: changed, reason })
    }
}
