//! Nodes of a kind, in order.

use std::{
    iter::{FusedIterator, Peekable},
    ops::Bound,
};

use crate::{
    format::tables::NodeRow,
    model::{
        error::{Error, Result},
        id::NodeId,
    },
    num,
    read::{
        cursor::{Cursor, CursorOf},
        node::NodeRef,
        snapshot::Snapshot,
        within::{Bounds, Within, rest},
    },
    state::{State, base::partitions::KindRows, layer::kinds::KindEntries},
};

impl Snapshot {
    /// The nodes of a kind, by id. A kind that nothing has gives none.
    ///
    /// The first node sorts what was written of the newest state in memory since
    /// it was last scanned, if there was anything: about n log n of that many
    /// nodes, of all kinds. What follows merges files and memory, without
    /// reading what it gives before it is asked for.
    #[must_use]
    pub fn scan(&self, kind: &str) -> Scan<'_> {
        // No kind has the last number.
        let (number, kind) = match self.state.kinds().number(kind) {
            Some(number) => (number, ScanKind::Known(number)),
            None => (u32::MAX, ScanKind::Unknown(kind.to_owned())),
        };
        Scan::new(&self.state, kind, (number, NodeId::MIN), (number, NodeId::MAX))
    }

    /// All nodes, by kind in the order of [`kinds`](Self::kinds), then by id. It
    /// costs what [`scan`](Self::scan) does.
    #[must_use]
    pub fn scan_all(&self) -> Scan<'_> {
        Scan::new(&self.state, ScanKind::All, (0, NodeId::MIN), (u32::MAX, NodeId::MAX))
    }
}

/// Nodes in the order of kind and id: of layers and base, merged.
struct KindMerge<'s> {
    state: &'s State,
    bounds: Bounds<(u32, NodeId)>,
    /// KindEntries in the layers, which say of each node themselves what it is.
    layers: [Option<Peekable<KindEntries>>; 2],
    /// The rows of one kind.
    base: Option<Within<KindRows<'s>, (u32, NodeId)>>,
    base_head: Option<&'s NodeRow>,
    /// The kinds that are left after that.
    kinds: std::ops::Range<u32>,
    descending: bool,
    /// Given next, and nothing after it.
    error: Option<Error>,
    ended: bool,
}

impl<'s> KindMerge<'s> {
    /// What lies within bounds that begin with `first`, and end with `last` or
    /// before it.
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
        let known = num::short(state.kinds().len());
        let end = last.0.saturating_add(1).min(known);
        let mut merge = Self {
            state,
            bounds,
            layers,
            base: None,
            base_head: None,
            kinds: first.0..end,
            descending,
            error: None,
            ended: false,
        };
        if descending {
            // The last kind may end before its last id.
            if let Some(kind) = merge.kinds.next_back() {
                let to = if kind == last.0 { last.1 } else { NodeId::MAX };
                let rows = state.base().of_kind_descending(kind, to);
                merge.base = Some(Within::new(rows, bounds, true));
            }
        } else if let Some(kind) = merge.kinds.next() {
            merge.base = Some(Within::new(state.base().of_kind(kind, first.1), bounds, false));
        }
        merge.advance_base();
        merge
    }

    fn advance_base(&mut self) {
        self.base_head = None;
        loop {
            match self.base.as_mut().and_then(Iterator::next) {
                Some(Ok(row)) => self.base_head = Some(row),
                Some(Err(error)) => self.error = Some(error),
                None => {
                    let base = self.state.base();
                    let rows = if self.descending {
                        let Some(kind) = self.kinds.next_back() else { return };
                        base.of_kind_descending(kind, NodeId::MAX)
                    } else {
                        let Some(kind) = self.kinds.next() else { return };
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
    /// A place, and the node if it could be read.
    type Item = Result<((u32, NodeId), Result<NodeRef<'s>>)>;

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
                // It is gone, or of another kind; or it is to come.
                _ => continue,
            };
            return Some(Ok(((kind, id), node)));
        }
        None
    }
}

/// What a scan reads. Only the name of a kind that the store does not know is
/// kept, so that a scan allocates nothing.
enum ScanKind {
    All,
    Known(u32),
    Unknown(String),
}

/// The nodes of [`Snapshot::scan`] and [`Snapshot::scan_all`], from both ends.
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
    state: &'s State,
    kind: ScanKind,
    start: (u32, NodeId),
    end: (u32, NodeId),
    /// What [`after`](Self::after) was given.
    left_at: Option<(u32, NodeId)>,
    /// Once the first is asked for.
    front: Option<KindMerge<'s>>,
    back: Option<KindMerge<'s>>,
    at: Option<(u32, NodeId)>,
    back_at: Option<(u32, NodeId)>,
}

impl<'s> Scan<'s> {
    fn new(state: &'s State, kind: ScanKind, start: (u32, NodeId), end: (u32, NodeId)) -> Self {
        let (front, back, at, back_at) = (None, None, None, None);
        Self { state, kind, start, end, left_at: None, front, back, at, back_at }
    }

    fn read(&self) -> CursorOf {
        match &self.kind {
            ScanKind::All => CursorOf::ScanAll,
            ScanKind::Known(kind) => {
                CursorOf::Scan(self.state.kinds().known_name(*kind).to_owned())
            }
            ScanKind::Unknown(name) => CursorOf::Scan(name.clone()),
        }
    }

    fn begin(&self, descending: bool) -> KindMerge<'s> {
        let bounds = rest(self.start, self.end, self.left_at);
        let first = match bounds.0 {
            Bound::Included(first) | Bound::Excluded(first) => first,
            Bound::Unbounded => self.start,
        };
        KindMerge::new(self.state, bounds, first, self.end, descending)
    }

    /// Continues after a cursor of the same scan. A cursor before the first node
    /// leaves all, one past the last, or of a kind that the store does not know,
    /// none. The iterator starts again.
    ///
    /// # Errors
    /// `Invalid` if the cursor comes from another read.
    pub fn after(self, cursor: &Cursor) -> Result<Self> {
        cursor.check(&self.read())?;
        let kind =
            str::from_utf8(&cursor.key).ok().and_then(|name| self.state.kinds().number(name));
        let left_at = Some(kind.map_or(self.end, |kind| (kind, cursor.node)));
        Ok(Self { left_at, front: None, back: None, at: None, back_at: None, ..self })
    }

    /// Where the scan is: after the node that it gave last from the front. `None`
    /// before the first.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let (kind, node) = self.at?;
        let key = self.state.kinds().name(kind)?.as_bytes().to_vec();
        Some(Cursor { of: self.read(), node, key })
    }
}

impl<'s> Iterator for Scan<'s> {
    type Item = Result<NodeRef<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.front.is_none() {
            self.front = Some(self.begin(false));
        }
        match self.front.as_mut()?.next()? {
            // What the back has given is given.
            Ok((at, _)) if self.back_at.is_some_and(|back| at >= back) => None,
            Ok((at, node)) => {
                // No cursor stands at a kind without a name.
                if self.state.kinds().knows(at.0) {
                    self.at = Some(at);
                }
                Some(node)
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl DoubleEndedIterator for Scan<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.back.is_none() {
            self.back = Some(self.begin(true));
        }
        match self.back.as_mut()?.next()? {
            Ok((at, _)) if self.at.is_some_and(|front| at <= front) => None,
            Ok((at, node)) => {
                self.back_at = Some(at);
                Some(node)
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl FusedIterator for Scan<'_> {}

impl std::fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("at", &self.at).finish_non_exhaustive()
    }
}
