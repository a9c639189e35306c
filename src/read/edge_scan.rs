//! Edges of the whole store, in order.

use std::iter::FusedIterator;

use crate::{
    format::tables::EdgeKey,
    model::{error::Result, id::NodeId},
    read::{
        cursor::{Cursor, CursorOf},
        edge::EdgeRef,
        edges::EdgeTable,
        heaviest::heaviest,
        hidden::Hidden,
        snapshot::Snapshot,
        walk::Walk,
    },
    state::dead::next_id,
};

/// Edges of other kinds in succession after which a scan looks up where the next
/// edge of its kind can be. A lookup costs as much as reading the keys of some tens
/// of edges.
const PASSED: u32 = 32;

impl Snapshot {
    /// All edges, by source, then by kind in the order of [`kinds`](Self::kinds),
    /// then by target and discriminator. A view of [`alive_at`](Self::alive_at) shows
    /// those whose two ends are alive.
    ///
    /// The iterator merges memory and files, and reads each edge when it is asked for.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// # let (alice, rex) = (NodeId::new(), NodeId::new());
    /// # engine.write(Batch::new().put(Node::new(alice, "person")).put(Node::new(rex, "dog")))?;
    /// let mut batch = Batch::new();
    /// batch.link(Edge::new(alice, "owns", rex)).link(Edge::new(rex, "likes", alice));
    /// engine.write(batch)?;
    /// let snapshot = engine.snapshot();
    /// let weight = snapshot.edges().map(|edge| Ok(edge?.weight())).sum::<ingrain::Result<f64>>()?;
    /// assert_eq!(weight, 2.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn edges(&self) -> EdgeScan<'_> {
        self.edge_scan(Of::All)
    }

    /// The edges of a kind, by source, target and discriminator; none if the kind is
    /// unknown. A view of [`alive_at`](Self::alive_at) shows those whose two ends are
    /// alive.
    ///
    /// Edges are stored by their source, so this reads the keys of edges of other kinds
    /// too. After 32 of them in succession, it looks up where the next edge of the kind
    /// can be: behind those of this source, or among those of the next one.
    #[must_use]
    pub fn edges_of_kind(&self, kind: &str) -> EdgeScan<'_> {
        self.edge_scan(match self.state.kinds().number(kind) {
            Some(number) => Of::Known(number),
            None => Of::Unknown(kind.to_owned()),
        })
    }

    fn edge_scan(&self, of: Of) -> EdgeScan<'_> {
        let (start, end) = (EdgeKey::first(NodeId::MIN, 0), EdgeKey::last(NodeId::MAX, u32::MAX));
        let table = EdgeTable::between(&self.state, start, end, true);
        let (hidden, source) = (self.hidden(), None);
        EdgeScan { snapshot: self, table, of, hidden, source, walk: None, at: None, ended: false }
    }
}

/// The kind of the edges that a scan returns.
enum Of {
    All,
    Known(u32),
    Unknown(String),
}

/// The iterator of [`Snapshot::edges`] and [`Snapshot::edges_of_kind`].
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// # let (alice, rex) = (NodeId::new(), NodeId::new());
/// # engine.write(Batch::new().put(Node::new(alice, "person")).put(Node::new(rex, "dog")))?;
/// let walk = |number| Edge::new(alice, "walked", rex).discriminator(number);
/// engine.write(Batch::new().link(walk(1)).link(walk(2)).link(Edge::new(alice, "owns", rex)))?;
///
/// let snapshot = engine.snapshot();
/// let mut walks = snapshot.edges_of_kind("walked");
/// assert_eq!(walks.next().unwrap()?.discriminator(), 1);
/// let cursor = walks.cursor().expect("something was read");
/// assert_eq!(snapshot.edges_of_kind("walked").after(&cursor)?.count(), 1);
/// assert_eq!(snapshot.edges().count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EdgeScan<'s> {
    snapshot: &'s Snapshot,
    table: EdgeTable<'s>,
    of: Of,
    /// What a view does not show, if that is anything.
    hidden: Option<&'s Hidden>,
    /// The source that was looked up last, and whether it is hidden.
    source: Option<(NodeId, bool)>,
    /// Set by the first call of `next`.
    walk: Option<Walk<EdgeTable<'s>>>,
    at: Option<EdgeKey>,
    ended: bool,
}

impl<'s> EdgeScan<'s> {
    fn read(&self) -> CursorOf {
        match &self.of {
            Of::All => CursorOf::AllEdges,
            Of::Known(kind) => {
                CursorOf::EdgesOfKind(self.snapshot.state.kinds().known_name(*kind).to_owned())
            }
            Of::Unknown(kind) => CursorOf::EdgesOfKind(kind.clone()),
        }
    }

    /// Restarts the iterator after a cursor of the same read. A cursor before the
    /// first edge leaves all edges; one past the last edge leaves none.
    ///
    /// # Errors
    /// `Invalid` if the cursor comes from another read.
    pub fn after(self, cursor: &Cursor) -> Result<Self> {
        cursor.check(&self.read())?;
        let place = || {
            let (to, rest) = cursor.key.split_first_chunk()?;
            let (discriminator, _) = rest.split_first_chunk()?;
            // The number of a kind that left the store and came back has changed.
            let kind = match self.of {
                Of::Known(kind) => kind,
                Of::All | Of::Unknown(_) => cursor.kind()?,
            };
            Some(EdgeKey {
                from: cursor.node,
                kind,
                to: NodeId::from_bytes(*to),
                discriminator: u64::from_be_bytes(*discriminator),
            })
        };
        let place = place().unwrap_or(EdgeKey::last(NodeId::MAX, u32::MAX));
        let table = self.table.after(place);
        Ok(Self { table, source: None, walk: None, at: None, ended: false, ..self })
    }

    /// The position after the last edge that was read. `None` before the first.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let EdgeKey { from, kind, to, discriminator } = self.at?;
        let mut bytes = to.as_bytes().to_vec();
        bytes.extend(discriminator.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        Some(Cursor { of: self.read(), node: from, key: bytes })
    }

    /// The `k` heaviest of the edges that were not read yet, as
    /// [`Edges::heaviest`](crate::Edges::heaviest).
    ///
    /// # Errors
    /// As [`Edges::heaviest`](crate::Edges::heaviest).
    pub fn heaviest(self, k: usize) -> Result<Vec<EdgeRef<'s>>> {
        heaviest(self, k)
    }

    /// Whether an edge is hidden, since one of its ends is.
    fn hides(&mut self, key: EdgeKey) -> Result<bool> {
        let Some(hidden) = self.hidden else { return Ok(false) };
        let state = &self.snapshot.state;
        let source = match self.source {
            Some((source, hides)) if source == key.from => hides,
            _ => hidden.hides_id(state, key.from)?,
        };
        self.source = Some((key.from, source));
        Ok(source || hidden.hides_id(state, key.to)?)
    }

    /// The next edge, if there is one.
    fn step(&mut self) -> Result<Option<EdgeRef<'s>>> {
        let mut passed = 0_u32;
        loop {
            let walk = self.walk.get_or_insert_with(|| Walk::new(&self.table, false));
            let Some((key, found)) = walk.next(&self.table).transpose()? else { return Ok(None) };
            if let Of::Known(kind) = self.of
                && kind != key.kind
            {
                passed = passed.saturating_add(1);
                if passed >= PASSED {
                    passed = 0;
                    let source = if key.kind < kind { Some(key.from) } else { next_id(key.from) };
                    let Some(source) = source else { return Ok(None) };
                    let from = EdgeKey::first(source, kind);
                    self.walk = Some(Walk::ascending_from(&self.table, from));
                }
            } else if !self.hides(key)? {
                self.at = Some(key);
                return self.table.edge(found).map(Some);
            }
        }
    }
}

impl<'s> Iterator for EdgeScan<'s> {
    type Item = Result<EdgeRef<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended || matches!(self.of, Of::Unknown(_)) {
            return None;
        }
        let next = self.step().transpose();
        self.ended = next.is_none();
        next
    }
}

impl FusedIterator for EdgeScan<'_> {}

impl std::fmt::Debug for EdgeScan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeScan").field("at", &self.at).finish_non_exhaustive()
    }
}
