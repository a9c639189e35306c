//! Ordered reads that own their snapshot: for servers and bindings, which keep an
//! iterator longer than a borrow lasts, or move it to another thread.

use std::{fmt, vec};

use crate::{
    model::{edge::Edge, error::Result, id::NodeId, key::KeyRange, node::Node},
    read::{
        cursor::{Cursor, Direction},
        edge::EdgeRef,
        node::NodeRef,
        range::IndexEntry,
        snapshot::Snapshot,
    },
};

/// Items that are read at a time.
const CHUNK: usize = 64;

/// Reads up to [`CHUNK`] items after a cursor.
type Chunk<T> =
    dyn Fn(&Snapshot, Option<&Cursor>) -> Result<(Vec<Result<T>>, Option<Cursor>)> + Send + Sync;

/// An ordered read that owns its snapshot and gives owned items.
///
/// It reads 64 items at a time, and copies them. The snapshot stays pinned
/// until the iterator is dropped. After an error the iterator ends.
///
/// ```
/// use ingrain::{Batch, Engine, Node, NodeId, Op};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("s"))?;
/// let notes = (0..100).map(|n| Op::put(Node::new(NodeId::from_content(&[n]), "note")));
/// engine.write(notes.collect::<Batch>())?;
///
/// let notes = engine.snapshot().scan_owned("note");
/// let counted = std::thread::spawn(move || notes.count()); // 'static
/// assert_eq!(counted.join().unwrap(), 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OwnedRead<T> {
    snapshot: Snapshot,
    chunk: Box<Chunk<T>>,
    cursor: Option<Cursor>,
    ready: vec::IntoIter<Result<T>>,
    ended: bool,
}

impl<T> fmt::Debug for OwnedRead<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedRead").field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

/// An entry of an index, owned.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.create_index("timeline")?;
/// let id = NodeId::new();
/// engine.write(Batch::new().put(Node::new(id, "event").key("timeline", b"1")))?;
///
/// let snapshot = engine.snapshot();
/// let mut entries = snapshot.range_owned("timeline", .., Direction::Ascending)?;
/// let entry = entries.next().expect("one entry")?;
/// assert_eq!((entry.key.as_slice(), entry.node), (&b"1"[..], id));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedIndexEntry {
    /// The key.
    pub key: Vec<u8>,
    /// The node that has it.
    pub node: NodeId,
}

/// Continues a borrowed read after a cursor, and reads a chunk of it.
macro_rules! chunk {
    ($read:expr, $cursor:expr, $owned:expr) => {{
        let mut read = $read;
        if let Some(cursor) = $cursor {
            read = read.after(cursor)?;
        }
        let items: Vec<_> = read.by_ref().take(CHUNK).map(|item| item.and_then($owned)).collect();
        let cursor = read.cursor();
        Ok((items, cursor))
    }};
}

impl Snapshot {
    /// As [`scan`](Self::scan), with an iterator that owns the snapshot. Its
    /// items are exact copies: see
    /// [`NodeRef::to_exact_node`](crate::NodeRef::to_exact_node).
    #[must_use]
    pub fn scan_owned(&self, kind: impl Into<String>) -> OwnedRead<Node> {
        let kind = kind.into();
        OwnedRead::new(self, move |snapshot, cursor| {
            chunk!(snapshot.scan(&kind), cursor, |node: NodeRef<'_>| node.to_exact_node())
        })
    }

    /// As [`scan_all`](Self::scan_all), with an iterator that owns the snapshot.
    /// Its items are exact copies.
    #[must_use]
    pub fn scan_all_owned(&self) -> OwnedRead<Node> {
        OwnedRead::new(self, |snapshot, cursor| {
            chunk!(snapshot.scan_all(), cursor, |node: NodeRef<'_>| node.to_exact_node())
        })
    }

    /// As [`edges_out`](Self::edges_out), with an iterator that owns the
    /// snapshot. Its items are exact copies: see
    /// [`EdgeRef::to_exact_edge`](crate::EdgeRef::to_exact_edge).
    #[must_use]
    pub fn edges_out_owned(&self, id: NodeId) -> OwnedRead<Edge> {
        OwnedRead::new(self, move |snapshot, cursor| {
            chunk!(snapshot.edges_out(id), cursor, |edge: EdgeRef<'_>| edge.to_exact_edge())
        })
    }

    /// As [`edges_in`](Self::edges_in), with an iterator that owns the snapshot.
    /// Its items are exact copies.
    #[must_use]
    pub fn edges_in_owned(&self, id: NodeId) -> OwnedRead<Edge> {
        OwnedRead::new(self, move |snapshot, cursor| {
            chunk!(snapshot.edges_in(id), cursor, |edge: EdgeRef<'_>| edge.to_exact_edge())
        })
    }

    /// As [`edges`](Self::edges), with an iterator that owns the snapshot. Its items
    /// are exact copies.
    #[must_use]
    pub fn edges_owned(&self) -> OwnedRead<Edge> {
        OwnedRead::new(self, |snapshot, cursor| {
            chunk!(snapshot.edges(), cursor, |edge: EdgeRef<'_>| edge.to_exact_edge())
        })
    }

    /// As [`edges_of_kind`](Self::edges_of_kind), with an iterator that owns the
    /// snapshot. Its items are exact copies.
    #[must_use]
    pub fn edges_of_kind_owned(&self, kind: impl Into<String>) -> OwnedRead<Edge> {
        let kind = kind.into();
        OwnedRead::new(self, move |snapshot, cursor| {
            chunk!(snapshot.edges_of_kind(&kind), cursor, |edge: EdgeRef<'_>| edge.to_exact_edge())
        })
    }

    /// As [`range`](Self::range), with an iterator that owns the snapshot.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn range_owned(
        &self,
        index: impl Into<String>,
        range: impl Into<KeyRange>,
        direction: Direction,
    ) -> Result<OwnedRead<OwnedIndexEntry>> {
        let (index, range) = (index.into(), range.into());
        // Reports invalid arguments now.
        self.range(&index, range.clone(), direction)?;
        Ok(OwnedRead::new(self, move |snapshot, cursor| {
            let read = snapshot.range(&index, range.clone(), direction)?;
            chunk!(read, cursor, |entry: IndexEntry<'_>| {
                Ok(OwnedIndexEntry { key: entry.key.to_vec(), node: entry.node.id() })
            })
        }))
    }
}

impl<T> OwnedRead<T> {
    fn new(
        snapshot: &Snapshot,
        chunk: impl Fn(&Snapshot, Option<&Cursor>) -> Result<(Vec<Result<T>>, Option<Cursor>)>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            snapshot: snapshot.clone(),
            chunk: Box::new(chunk),
            cursor: None,
            ready: Vec::new().into_iter(),
            ended: false,
        }
    }

    /// The snapshot that is read.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl<T> Iterator for OwnedRead<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.ready.next() {
                if item.is_err() {
                    self.ended = true;
                    self.ready = Vec::new().into_iter();
                }
                return Some(item);
            }
            if self.ended {
                return None;
            }
            match (self.chunk)(&self.snapshot, self.cursor.as_ref()) {
                Ok((items, cursor)) => {
                    self.ended = items.len() < CHUNK;
                    self.cursor = cursor;
                    self.ready = items.into_iter();
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<T> std::iter::FusedIterator for OwnedRead<T> {}
