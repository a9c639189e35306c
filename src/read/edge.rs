//! An edge of a snapshot.

use std::{borrow::Cow, fmt};

use crate::{
    format::tables::EdgeKey,
    model::{edge::Edge, error::Result, id::NodeId, time::Timestamp, value::Attributes},
    state::{
        State,
        base::{Base, stored::EdgeRepr},
    },
};

/// An edge of a [`Snapshot`](crate::Snapshot), borrowed from it.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// # let (alice, rex) = (NodeId::new(), NodeId::new());
/// # engine.write(Batch::new().put(Node::new(alice, "person")).put(Node::new(rex, "dog")))?;
/// let edge = Edge::new(alice, "owns", rex).attribute("since", 2019);
/// engine.write(Batch::new().link(edge))?;
///
/// let snapshot = engine.snapshot();
/// let edge = snapshot.edge(alice, "owns", rex, 0)?.expect("it was linked");
/// assert_eq!((edge.kind(), edge.target()), ("owns", rex));
/// assert_eq!(edge.attributes()?["since"], Value::from(2019));
/// let changed = edge.to_edge()?.weight(0.5); // a copy to link again
/// engine.write(Batch::new().link(changed))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct EdgeRef<'s> {
    pub(super) state: &'s State,
    pub(super) repr: EdgeRepr<'s>,
}

impl<'s> EdgeRef<'s> {
    /// Its key in the out_edges table.
    fn key(&self) -> EdgeKey {
        match self.repr {
            EdgeRepr::Memory(record) => record.key(),
            EdgeRepr::Stored { row, inbound: false } => row.key(),
            EdgeRepr::Stored { row, inbound: true } => row.key().reversed(),
        }
    }

    /// The source node.
    #[must_use]
    pub fn source(&self) -> NodeId {
        self.key().from
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &'s str {
        // `Edges` refuses unknown kinds, and `Snapshot::edge` looks up a known
        // one.
        self.state.kinds().known_name(self.key().kind)
    }

    /// The target node.
    #[must_use]
    pub fn target(&self) -> NodeId {
        self.key().to
    }

    /// One of the ends: the target, or else the source.
    pub(super) fn end(&self, target: bool) -> NodeId {
        if target { self.target() } else { self.source() }
    }

    /// The number that distinguishes parallel edges of its kind.
    #[must_use]
    pub fn discriminator(&self) -> u64 {
        self.key().discriminator
    }

    /// The weight.
    #[must_use]
    pub fn weight(&self) -> f64 {
        match self.repr {
            EdgeRepr::Memory(record) => record.weight,
            EdgeRepr::Stored { row, .. } => row.weight.get(),
        }
    }

    /// The confidence, from 0 to 1.
    #[must_use]
    pub fn confidence(&self) -> f32 {
        match self.repr {
            EdgeRepr::Memory(record) => record.confidence,
            EdgeRepr::Stored { row, .. } => row.confidence.get(),
        }
    }

    /// The attributes, borrowed from memory or decoded from disk. For an edge
    /// of [`Snapshot::edges_in`](crate::Snapshot::edges_in) on disk, this looks
    /// up the edge at its source, unless it has no attributes.
    ///
    /// # Errors
    /// `Corrupt` if they are damaged on disk.
    pub fn attributes(&self) -> Result<Cow<'s, Attributes>> {
        let base = self.state.base();
        match self.repr {
            EdgeRepr::Memory(record) => Ok(Cow::Borrowed(&record.attributes)),
            EdgeRepr::Stored { row, inbound } => {
                let row = if inbound && row.attributes().len > 0 {
                    let lost = || {
                        let what = format!("{:?}: it is not at its source", self);
                        base.damaged(what)
                    };
                    Base::edge(base.out(), &self.key())?.ok_or_else(lost)?
                } else {
                    row
                };
                base.attributes(row).map(Cow::Owned)
            }
        }
    }

    /// When it was created.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        match self.repr {
            EdgeRepr::Memory(record) => record.created,
            EdgeRepr::Stored { row, .. } => Timestamp::from_micros(row.created.get()),
        }
    }

    /// When it was last linked, or its weight incremented.
    #[must_use]
    pub fn updated(&self) -> Timestamp {
        match self.repr {
            EdgeRepr::Memory(record) => record.updated,
            EdgeRepr::Stored { row, .. } => Timestamp::from_micros(row.updated.get()),
        }
    }

    /// A copy of the edge to be changed and linked. Its times are left to the
    /// engine: a link keeps `created`, and sets `updated`.
    ///
    /// # Errors
    /// As [`attributes`](Self::attributes).
    pub fn to_edge(&self) -> Result<Edge> {
        Ok(Edge { created: None, updated: None, ..self.to_exact_edge()? })
    }

    /// A copy of all that the edge has: also its times, which a link of it
    /// writes. For an export, and a copy into another store.
    ///
    /// # Errors
    /// As [`attributes`](Self::attributes).
    pub fn to_exact_edge(&self) -> Result<Edge> {
        Ok(Edge {
            source: self.source(),
            kind: self.kind().to_owned(),
            target: self.target(),
            discriminator: self.discriminator(),
            weight: self.weight(),
            confidence: self.confidence(),
            attributes: self.attributes()?.into_owned(),
            created: Some(self.created()),
            updated: Some(self.updated()),
        })
    }
}

impl fmt::Debug for EdgeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeRef")
            .field("source", &self.source())
            .field("kind", &self.kind())
            .field("target", &self.target())
            .field("discriminator", &self.discriminator())
            .finish_non_exhaustive()
    }
}
