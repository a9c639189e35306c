//! Nodes of a kind, in order.

use std::iter::{FusedIterator, Peekable};

use crate::{
    format::tables::NodeRow,
    model::{
        error::{Error, Result},
        id::NodeId,
    },
    read::{
        cursor::{Cursor, CursorOf},
        hidden::Hidden,
        merge::{STALL, Step},
        node::NodeRef,
        snapshot::Snapshot,
        walk::{Ordered, Walk, at, run_from, unskipped},
        within::{Bounds, Within, rest},
    },
    state::{
        State,
        base::partitions::KindRows,
        dead::DeadRun,
        layer::kinds::{KindEntries, KindEntry},
    },
};

impl Snapshot {
    /// The nodes of a kind, sorted by id; none if the kind is unknown.
    ///
    /// The iterator merges memory and files, and reads each node when it is
    /// asked for. The first call of `next` sorts the nodes of all kinds that
    /// were added in memory since the last scan: O(n log n) for n such nodes.
    #[must_use]
    pub fn scan(&self, kind: &str) -> Scan<'_> {
        // No kind has this number.
        let (number, kind) = match self.state.kinds().number(kind) {
            Some(number) => (number, ScanKind::Known(number)),
            None => (u32::MAX, ScanKind::Unknown(kind.to_owned())),
        };
        self.scan_between(kind, (number, NodeId::MIN), (number, NodeId::MAX))
    }

    /// All nodes, by kind in the order of [`kinds`](Self::kinds), then by id.
    /// The cost is that of a [`scan`](Self::scan).
    #[must_use]
    pub fn scan_all(&self) -> Scan<'_> {
        self.scan_between(ScanKind::All, (0, NodeId::MIN), (u32::MAX, NodeId::MAX))
    }

    fn scan_between(&self, kind: ScanKind, start: KindEntry, end: KindEntry) -> Scan<'_> {
        Scan { hidden: self.view.as_deref(), ..Scan::new(&self.state, kind, start, end) }
    }
}

/// The nodes of layers and base, merged in the order of kind and id.
pub(crate) struct KindMerge<'s> {
    state: &'s State,
    bounds: Bounds<(u32, NodeId)>,
    /// Candidates from the layers, whose node tables decide which kind a node
    /// has.
    layers: [Option<Peekable<KindEntries>>; 2],
    /// The rows of the current kind.
    base: Option<Within<KindRows<'s>, (u32, NodeId)>>,
    base_head: Option<&'s NodeRow>,
    /// The kinds after the current one, as positions in the list of kinds.
    kinds: std::ops::Range<usize>,
    descending: bool,
    /// Returned next, and nothing after it.
    error: Option<Error>,
    ended: bool,
    /// Candidates in succession that are no nodes, modulo [`STALL`].
    dead: u32,
}

impl<'s> KindMerge<'s> {
    /// The nodes within `bounds`, which begin with `first` and end with `last`
    /// or before it.
    fn new(
        state: &'s State,
        bounds: Bounds<(u32, NodeId)>,
        first: (u32, NodeId),
        last: (u32, NodeId),
        descending: bool,
    ) -> Self {
        let (from, to) = bounds;
        let mut layers = state.layers().map(|layer| {
            let entries = layer.by_kind().range(from, to);
            if descending { entries.descending() } else { entries }.peekable()
        });
        let layers = [layers.next(), layers.next()];
        let mut merge = Self {
            state,
            bounds,
            layers,
            base: None,
            base_head: None,
            kinds: state.kinds().positions(first.0, last.0),
            descending,
            error: None,
            ended: false,
            dead: 0,
        };
        if descending {
            // The range may end before the last id of the last kind.
            if let Some(kind) = merge.next_kind() {
                let to = if kind == last.0 { last.1 } else { NodeId::MAX };
                let rows = state.base().of_kind_descending(kind, to);
                merge.base = Some(Within::new(rows, bounds, true));
            }
        } else if let Some(kind) = merge.next_kind() {
            let from = if kind == first.0 { first.1 } else { NodeId::MIN };
            merge.base = Some(Within::new(state.base().of_kind(kind, from), bounds, false));
        }
        merge.advance_base();
        merge
    }

    fn next_kind(&mut self) -> Option<u32> {
        let at = if self.descending { self.kinds.next_back() } else { self.kinds.next() };
        self.state.kinds().number_at(at?)
    }

    fn advance_base(&mut self) {
        self.base_head = None;
        loop {
            match self.base.as_mut().and_then(Iterator::next) {
                Some(Ok(row)) => self.base_head = Some(row),
                Some(Err(error)) => self.error = Some(error),
                None => {
                    let base = self.state.base();
                    let Some(kind) = self.next_kind() else { return };
                    let rows = if self.descending {
                        base.of_kind_descending(kind, NodeId::MAX)
                    } else {
                        base.of_kind(kind, NodeId::MIN)
                    };
                    self.base = Some(Within::new(rows, self.bounds, self.descending));
                    continue;
                }
            }
            return;
        }
    }
}

impl<'s> Iterator for KindMerge<'s> {
    /// A node by its kind and id, or the error of reading it.
    type Item = Result<Step<(u32, NodeId), Result<NodeRef<'s>>>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            if let Some(error) = self.error.take() {
                self.ended = true;
                return Some(Err(error));
            }
            let stored = self.base_head.map(|row| (row.kind.get(), row.id()));
            let layered = self.layers.iter_mut().flatten();
            let heads = layered.filter_map(|places| places.peek().copied()).chain(stored);
            let next = if self.descending { heads.max() } else { heads.min() };
            let Some((kind, id)) = next else {
                self.ended = true;
                break;
            };
            for places in self.layers.iter_mut().flatten() {
                places.next_if_eq(&(kind, id));
            }
            let row = self.base_head.filter(|_| stored == next);
            if row.is_some() {
                self.advance_base();
            }
            let node = match (self.state.layered_node(&id), row) {
                (Some(Some(record)), _) if record.kind == kind => {
                    NodeRef::from_record(self.state, record)
                }
                (None, Some(row)) => {
                    self.state.base().stored(row).map(|node| NodeRef::stored(self.state, node))
                }
                // Deleted, of another kind, or added after this snapshot.
                _ => {
                    self.dead += 1;
                    if self.dead < STALL {
                        continue;
                    }
                    self.dead = 0;
                    return Some(Ok(Step::Dead((kind, id))));
                }
            };
            self.dead = 0;
            return Some(Ok(Step::Item((kind, id), node)));
        }
        None
    }
}

/// What a scan reads. Only an unknown kind is kept as a name, so that other
/// scans allocate nothing.
enum ScanKind {
    All,
    Known(u32),
    Unknown(String),
}

/// The iterator of [`Snapshot::scan`] and [`Snapshot::scan_all`]. It can be
/// read from both ends.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let mut batch = Batch::new();
/// batch.put(Node::new(NodeId::new(), "note")).put(Node::new(NodeId::new(), "task"));
/// engine.write(batch)?;
///
/// let snapshot = engine.snapshot();
/// for node in snapshot.scan("note") {
///     assert_eq!(node?.kind(), "note");
/// }
/// assert_eq!(snapshot.scan_all().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scan<'s> {
    table: KindTable<'s>,
    /// What a view does not show.
    hidden: Option<&'s Hidden>,
    kind: ScanKind,
    /// Set by the first call of `next`.
    front: Option<Walk<KindTable<'s>>>,
    back: Option<Walk<KindTable<'s>>>,
    at: Option<(u32, NodeId)>,
    back_at: Option<(u32, NodeId)>,
}

/// The nodes of a range of kinds and ids.
pub(crate) struct KindTable<'s> {
    state: &'s State,
    start: (u32, NodeId),
    end: (u32, NodeId),
    /// The position of the cursor that [`Scan::after`] was given.
    left_at: Option<(u32, NodeId)>,
}

impl<'s> KindTable<'s> {
    /// The nodes from `start` up to `end`.
    pub(crate) fn between(state: &'s State, start: KindEntry, end: KindEntry) -> Self {
        Self { state, start, end, left_at: None }
    }
}

impl<'s> Ordered for KindTable<'s> {
    type Place = KindEntry;
    type Item = Result<NodeRef<'s>>;
    type Merge = KindMerge<'s>;

    fn state(&self) -> &State {
        self.state
    }

    fn begin(&self, descending: bool, from: Option<KindEntry>) -> KindMerge<'s> {
        let bounds = rest(self.start, self.end, self.left_at);
        let runs = &self.state.dead().kinds;
        let bounds = unskipped(runs, bounds, descending, from, |entry| *entry);
        let first = at(bounds.0).unwrap_or(self.start);
        let last = at(bounds.1).unwrap_or(self.end);
        KindMerge::new(self.state, bounds, first, last, descending)
    }

    fn skip(&self, place: KindEntry, descending: bool) -> Option<KindEntry> {
        let (first, next) = self.state.dead().kinds.containing(&place)?;
        Some(if descending { *first } else { *next })
    }

    fn run(&self, dead: KindEntry, live: Option<KindEntry>, descending: bool) -> Option<DeadRun> {
        let bounds = rest(self.start, self.end, self.left_at);
        let (from, to) = run_from(bounds, dead, live, descending)?;
        Some(DeadRun::Kinds(from, to))
    }
}

impl<'s> Scan<'s> {
    /// The nodes from `start` up to `end`, by kind and id.
    pub(crate) fn between(state: &'s State, start: KindEntry, end: KindEntry) -> Self {
        Self::new(state, ScanKind::All, start, end)
    }

    fn new(state: &'s State, kind: ScanKind, start: (u32, NodeId), end: (u32, NodeId)) -> Self {
        let table = KindTable { state, start, end, left_at: None };
        Self { table, kind, hidden: None, front: None, back: None, at: None, back_at: None }
    }

    fn hides(&self, node: &Result<NodeRef<'s>>) -> bool {
        self.hidden.is_some_and(|hidden| node.as_ref().is_ok_and(|node| hidden.hides(node)))
    }

    fn read(&self) -> CursorOf {
        match &self.kind {
            ScanKind::All => CursorOf::ScanAll,
            ScanKind::Known(kind) => {
                CursorOf::Scan(self.table.state.kinds().known_name(*kind).to_owned())
            }
            ScanKind::Unknown(name) => CursorOf::Scan(name.clone()),
        }
    }

    /// Restarts the iterator after a cursor of the same scan. A cursor before
    /// the first node leaves all nodes; one past the last node leaves none.
    ///
    /// # Errors
    /// `Invalid` if the cursor comes from another read.
    pub fn after(self, cursor: &Cursor) -> Result<Self> {
        cursor.check(&self.read())?;
        let end = self.table.end;
        let left_at = match &self.kind {
            ScanKind::All => Some(cursor.kind().map_or(end, |kind| (kind, cursor.node))),
            ScanKind::Known(kind) => Some((*kind, cursor.node)),
            ScanKind::Unknown(_) => Some(end),
        };
        let table = KindTable { left_at, ..self.table };
        Ok(Self { table, front: None, back: None, at: None, back_at: None, ..self })
    }

    /// The position after the last node that was read from the front. `None`
    /// before the first.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let (kind, node) = self.at?;
        let key = match &self.kind {
            ScanKind::All => kind.to_be_bytes().to_vec(),
            ScanKind::Known(_) | ScanKind::Unknown(_) => Vec::new(),
        };
        Some(Cursor { of: self.read(), node, key })
    }
}

impl<'s> Iterator for Scan<'s> {
    type Item = Result<NodeRef<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let front = self.front.get_or_insert_with(|| Walk::new(&self.table, false));
            match front.next(&self.table)? {
                // The back has returned the rest.
                Ok((at, _)) if self.back_at.is_some_and(|back| at >= back) => return None,
                Ok((_, node)) if self.hides(&node) => {}
                Ok((at, node)) => {
                    self.at = Some(at);
                    return Some(node);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl DoubleEndedIterator for Scan<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            let back = self.back.get_or_insert_with(|| Walk::new(&self.table, true));
            match back.next(&self.table)? {
                Ok((at, _)) if self.at.is_some_and(|front| at <= front) => return None,
                Ok((_, node)) if self.hides(&node) => {}
                Ok((at, node)) => {
                    self.back_at = Some(at);
                    return Some(node);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl FusedIterator for Scan<'_> {}

impl std::fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("at", &self.at).finish_non_exhaustive()
    }
}
