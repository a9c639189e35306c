//! Batches: operations that are committed together or not at all.

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        catalog::{Catalog, Changed},
        edge::Edge,
        error::{Error, Result},
        id::NodeId,
        index::Index,
        limits::{self, check_count, check_name},
        node::{Node, Patch},
        space::{Method, Space},
        time::{Seq, Timestamp},
        value::{ENTRY_BYTES, Value, add, map_memory},
    },
    num,
};

/// What must hold for an [`Op::Put`] or, with [`Op::Require`], for a whole batch to
/// go ahead.
///
/// ```
/// use ingrain::{Op, Precondition, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let node = Node::new(NodeId::new(), "note");
/// // What `Batch::put_if_absent` adds.
/// let op = Op::Put { node, precondition: Precondition::Absent };
/// engine.write(Batch::from(op.clone()))?;
/// assert!(engine.write(Batch::from(op)).is_err()); // now there is one
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// The node is not there.
    Absent,
    /// The node is there and has this version.
    Version(Seq),
    /// The node is there.
    Exists,
}

/// What an [`Op::Rename`] renames.
///
/// ```
/// use ingrain::{Named, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.create_index("time")?;
/// engine.write(Batch::new().rename(Named::Index, "time", "timeline"))?;
/// assert!(engine.snapshot().index("timeline").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Named {
    /// A kind, of nodes and edges alike.
    Kind,
    /// An index.
    Index,
    /// A vector space.
    Space,
}

impl Named {
    /// The word for it in messages.
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Index => "index",
            Self::Space => "vector space",
        }
    }
}

/// One change. The methods of [`Batch`] make the common ones; [`Batch::push`]
/// adds any.
///
/// With the feature `serde` it is a map with one entry: the name of the
/// operation, such as `put` or `create_space`, and its fields.
///
/// ```
/// use ingrain::{Op, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let notes = (0..3).map(|_| Op::put(Node::new(NodeId::new(), "note")));
/// let mut batch: Batch = notes.collect();
/// batch.push(Op::CreateIndex { name: "timeline".to_owned(), index: None });
/// engine.write(batch)?;
/// assert_eq!(engine.snapshot().node_count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum Op {
    /// Writes a node whole, keeping its edges.
    Put {
        /// The node.
        node: Node,
        /// When to go ahead.
        #[cfg_attr(feature = "serde", serde(default))]
        precondition: Precondition,
    },
    /// Writes a node if it is not there; one that is there stays as it is.
    PutOrKeep {
        /// The node.
        node: Node,
    },
    /// Changes nothing. If the node is not as it says when its turn comes, the batch
    /// is refused. The log does not have this operation.
    Require {
        /// The node.
        id: NodeId,
        /// What must hold of it.
        precondition: Precondition,
    },
    /// Changes nothing. If there is no such edge when its turn comes, the batch is
    /// refused. The log does not have this operation.
    RequireEdge {
        /// The node it leaves.
        source: NodeId,
        /// Its kind.
        kind: String,
        /// The node it reaches.
        target: NodeId,
        /// Its discriminator.
        #[cfg_attr(feature = "serde", serde(default))]
        discriminator: u64,
    },
    /// Adds to an attribute of a node.
    Increment {
        /// The node, which must be there.
        id: NodeId,
        /// The attribute, which must be a number. One that the node does not have
        /// counts from 0.
        attribute: String,
        /// What to add: an integer or a float. The sum of two integers is an integer,
        /// any other a float.
        by: Value,
    },
    /// Adds to the weight of an edge.
    IncrementWeight {
        /// The node it leaves.
        source: NodeId,
        /// Its kind.
        kind: String,
        /// The node it reaches.
        target: NodeId,
        /// Its discriminator.
        #[cfg_attr(feature = "serde", serde(default))]
        discriminator: u64,
        /// What to add.
        by: f64,
    },
    /// Changes part of a node.
    Patch {
        /// The node, which must be there.
        id: NodeId,
        /// The changes.
        patch: Patch,
    },
    /// Counts an access. The version stays, so that readers who touch do not
    /// disturb writers who use [`Batch::put_if_version`].
    Touch {
        /// The node, which must be there.
        id: NodeId,
        /// How many accesses to count.
        count: u64,
    },
    /// Sets or clears the expiry of a node. The version stays.
    Expire {
        /// The node, which must be there.
        id: NodeId,
        /// The new expiry.
        #[cfg_attr(
            feature = "serde",
            serde(deserialize_with = "crate::model::serde_with::explicit")
        )]
        expires: Option<Timestamp>,
    },
    /// Deletes a node with its edges, vectors and keys.
    Delete {
        /// The node; absent is fine.
        id: NodeId,
    },
    /// Deletes a node if it has expired.
    Prune {
        /// The node; absent, or not expired, is fine.
        id: NodeId,
        /// The expiry must be at this time or earlier.
        before: Timestamp,
    },
    /// Writes an edge whole, both ways.
    Link {
        /// The edge, whose ends must be there.
        edge: Edge,
    },
    /// Deletes an edge, both ways.
    Unlink {
        /// The node it leaves.
        source: NodeId,
        /// Its kind.
        kind: String,
        /// The node it reaches.
        target: NodeId,
        /// Its discriminator.
        #[cfg_attr(feature = "serde", serde(default))]
        discriminator: u64,
    },
    /// Creates a vector space; the same space again is fine.
    CreateSpace {
        /// Its name.
        name: String,
        /// Its definition.
        space: Space,
    },
    /// Creates an index; the same index again is fine.
    CreateIndex {
        /// Its name.
        name: String,
        /// What its keys are derived from. `None` if they are given by hand, with
        /// the nodes.
        #[cfg_attr(feature = "serde", serde(default))]
        index: Option<Index>,
    },
    /// Drops an index with all its keys. It must be there.
    DropIndex {
        /// Its name.
        name: String,
    },
    /// Derives the keys of some of the nodes that were there before an index was
    /// created. The engine commits these by itself.
    BuildIndex {
        /// The name of the index. If it is not there or is built, nothing changes.
        name: String,
        /// How many nodes are looked at: up to [`limits::INDEX_STEP`].
        nodes: u32,
    },
    /// Drops a vector space with all its vectors. It must be there.
    DropSpace {
        /// Its name.
        name: String,
    },
    /// Changes how a vector space is searched. It must be there.
    SetMethod {
        /// Its name.
        name: String,
        /// The method from now on.
        method: Method,
    },
    /// Gives a kind, an index or a vector space another name. All that has it
    /// keeps it: nothing is rewritten.
    Rename {
        /// What it is the name of.
        what: Named,
        /// The name that it has. It must be there.
        from: String,
        /// The name that it gets, which nothing of its sort may have.
        to: String,
    },
}

fn vector_memory(vector: &Vec<f32>) -> usize {
    ENTRY_BYTES.saturating_add(vector.capacity().saturating_mul(size_of::<f32>()))
}

impl Op {
    /// Writes a node, as [`Batch::put`] does.
    #[must_use]
    pub fn put(node: Node) -> Self {
        Self::Put { node, precondition: Precondition::None }
    }

    /// Changes part of a node, as [`Batch::patch`] does.
    #[must_use]
    pub fn patch(id: NodeId, patch: Patch) -> Self {
        Self::Patch { id, patch }
    }

    /// Deletes a node, as [`Batch::delete`] does.
    #[must_use]
    pub fn delete(id: NodeId) -> Self {
        Self::Delete { id }
    }

    /// Writes an edge, as [`Batch::link`] does.
    #[must_use]
    pub fn link(edge: Edge) -> Self {
        Self::Link { edge }
    }

    /// The nodes that it looks at.
    pub(crate) fn nodes(&self) -> [Option<NodeId>; 2] {
        match self {
            Self::Put { node, .. } | Self::PutOrKeep { node } => [Some(node.id), None],
            Self::Patch { id, .. }
            | Self::Require { id, .. }
            | Self::Increment { id, .. }
            | Self::Touch { id, .. }
            | Self::Expire { id, .. }
            | Self::Delete { id }
            | Self::Prune { id, .. } => [Some(*id), None],
            Self::Link { edge } => [Some(edge.source), Some(edge.target)],
            Self::Unlink { .. }
            | Self::RequireEdge { .. }
            | Self::IncrementWeight { .. }
            | Self::CreateSpace { .. }
            | Self::CreateIndex { .. }
            | Self::DropIndex { .. }
            | Self::BuildIndex { .. }
            | Self::DropSpace { .. }
            | Self::SetMethod { .. }
            | Self::Rename { .. } => [None, None],
        }
    }

    /// Whether the log has it: all but requirements, which change nothing.
    pub(crate) fn is_logged(&self) -> bool {
        !matches!(self, Self::Require { .. } | Self::RequireEdge { .. })
    }

    /// Whether it has to know of an edge that an earlier operation of its batch
    /// changed.
    pub(crate) fn looks_at_edge(&self) -> bool {
        matches!(self, Self::RequireEdge { .. } | Self::IncrementWeight { .. })
    }

    /// Checks what can be known without a store.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Put { node, .. } | Self::PutOrKeep { node } => node.check(),
            Self::Patch { patch, .. } => patch.check(),
            Self::Link { edge } => edge.check(),
            Self::Rename { what, from, to } => {
                let what = match what {
                    Named::Space => "space",
                    what => what.noun(),
                };
                check_name(what, from)?;
                check_name(what, to)
            }
            Self::Unlink { kind, .. } | Self::RequireEdge { kind, .. } => check_name("kind", kind),
            Self::Increment { attribute, by, .. } => {
                check_name("attribute", attribute)?;
                by.check_summand()
            }
            Self::IncrementWeight { kind, by, .. } => {
                check_name("kind", kind)?;
                Value::Float(*by).check_summand()
            }
            Self::CreateSpace { name, space } => space.check(name),
            Self::CreateIndex { name, index } => match index {
                Some(index) => index.check(name),
                None => check_name("index", name),
            },
            Self::DropIndex { name } => check_name("index", name),
            Self::BuildIndex { name, nodes } => {
                check_count("nodes of a step", num::index(*nodes), limits::INDEX_STEP)?;
                check_name("index", name)
            }
            Self::DropSpace { name } | Self::SetMethod { name, .. } => check_name("space", name),
            Self::Require { .. }
            | Self::Touch { .. }
            | Self::Expire { .. }
            | Self::Delete { .. }
            | Self::Prune { .. } => Ok(()),
        }
    }

    /// Checks that the spaces and indexes that it names exist. Whether a space to
    /// be dropped exists is decided when its turn comes: an operation before it
    /// may create it.
    fn check_known(&self, catalog: &impl Catalog) -> Result<()> {
        match self {
            Self::Put { node, .. } | Self::PutOrKeep { node } => node.check_known(catalog),
            Self::Patch { patch, .. } => patch.check_known(catalog),
            _ => Ok(()),
        }
    }

    /// About how many bytes of memory the operation takes.
    pub(crate) fn memory(&self) -> usize {
        let beside = match self {
            Self::Put { node, .. } | Self::PutOrKeep { node } => [
                node.kind.capacity(),
                node.content.capacity(),
                map_memory(&node.attributes),
                node.keys
                    .iter()
                    .map(|key| {
                        ENTRY_BYTES.saturating_add(key.index.len()).saturating_add(key.key.len())
                    })
                    .fold(0, add),
                node.vectors.values().map(vector_memory).fold(0, add),
            ]
            .into_iter()
            .fold(0, add),
            Self::Patch { patch, .. } => [
                patch.content.as_ref().map_or(0, Vec::capacity),
                patch
                    .attributes
                    .iter()
                    .map(|(name, value)| {
                        let value = value.as_ref().map_or(0, Value::memory);
                        ENTRY_BYTES.saturating_add(name.capacity()).saturating_add(value)
                    })
                    .fold(0, add),
                patch
                    .keys
                    .values()
                    .flatten()
                    .map(|key| ENTRY_BYTES.saturating_add(key.capacity()))
                    .fold(0, add),
                patch.vectors.values().flatten().map(vector_memory).fold(0, add),
            ]
            .into_iter()
            .fold(0, add),
            Self::Link { edge } => {
                edge.kind.capacity().saturating_add(map_memory(&edge.attributes))
            }
            Self::Unlink { kind, .. }
            | Self::RequireEdge { kind, .. }
            | Self::IncrementWeight { kind, .. } => kind.capacity(),
            Self::Increment { attribute, .. } => attribute.capacity(),
            Self::CreateIndex { name, index } => {
                name.capacity().saturating_add(index.as_ref().map_or(0, Index::memory))
            }
            Self::CreateSpace { name, .. }
            | Self::DropIndex { name }
            | Self::BuildIndex { name, .. }
            | Self::DropSpace { name }
            | Self::SetMethod { name, .. } => name.capacity(),
            Self::Rename { from, to, .. } => from.capacity().saturating_add(to.capacity()),
            Self::Require { .. }
            | Self::Touch { .. }
            | Self::Expire { .. }
            | Self::Delete { .. }
            | Self::Prune { .. } => 0,
        };
        size_of::<Self>().saturating_add(beside)
    }
}

/// How long an acknowledged write lasts.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// // Faster, and lost if the power fails before the system writes it out.
/// let mut batch = Batch::new();
/// batch.put(Node::new(NodeId::new(), "note")).durability(Durability::Os);
/// engine.write(batch)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Durability {
    /// Handed to the operating system: it survives the end of the process,
    /// even by SIGKILL, but not a power cut.
    Os,
    /// On the medium (fdatasync): it survives a power cut.
    Sync,
}

/// Changes that happen together or not at all.
///
/// Operations apply in order, each seeing those before it: also those that create
/// and drop spaces and indexes. If the precondition of one fails when the batch's
/// turn comes, nothing of the batch is applied. [`Engine::transact`] is for changes
/// that depend on what is read.
///
/// [`Engine::transact`]: crate::Engine::transact
///
/// ```
/// use ingrain::{Batch, Edge, Node, NodeId};
///
/// let (dog, animal) = (NodeId::from_content(b"dog"), NodeId::from_content(b"animal"));
/// let mut batch = Batch::new();
/// batch
///     .put(Node::new(dog, "noun").content("barks"))
///     .put_if_absent(Node::new(animal, "noun"))
///     .link(Edge::new(dog, "hypernym", animal));
/// assert_eq!(batch.len(), 3);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Batch {
    ops: Vec<Op>,
    #[cfg_attr(feature = "serde", serde(default))]
    durability: Option<Durability>,
}

impl From<Op> for Batch {
    fn from(op: Op) -> Self {
        Self { ops: vec![op], durability: None }
    }
}

impl FromIterator<Op> for Batch {
    fn from_iter<I: IntoIterator<Item = Op>>(ops: I) -> Self {
        Self { ops: ops.into_iter().collect(), durability: None }
    }
}

impl Extend<Op> for Batch {
    fn extend<I: IntoIterator<Item = Op>>(&mut self, ops: I) {
        self.ops.extend(ops);
    }
}

impl IntoIterator for Batch {
    type Item = Op;
    type IntoIter = std::vec::IntoIter<Op>;

    fn into_iter(self) -> Self::IntoIter {
        self.ops.into_iter()
    }
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there are no operations. An empty batch cannot be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The operations, in order.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Adds an operation.
    pub fn push(&mut self, op: Op) -> &mut Self {
        self.ops.push(op);
        self
    }

    /// Asks for this durability instead of the engine's.
    pub fn durability(&mut self, durability: Durability) -> &mut Self {
        self.durability = Some(durability);
        self
    }

    /// Writes a node. If it exists, it is replaced, and its edges stay.
    pub fn put(&mut self, node: Node) -> &mut Self {
        self.push(Op::Put { node, precondition: Precondition::None })
    }

    /// Writes a node only if it exists and has this version.
    pub fn put_if_version(&mut self, node: Node, version: Seq) -> &mut Self {
        self.push(Op::Put { node, precondition: Precondition::Version(version) })
    }

    /// Writes a node only if it does not exist.
    pub fn put_if_absent(&mut self, node: Node) -> &mut Self {
        self.push(Op::Put { node, precondition: Precondition::Absent })
    }

    /// Writes a node if it does not exist. One that exists stays as it is, whatever
    /// it is; that is no conflict.
    pub fn put_or_keep(&mut self, node: Node) -> &mut Self {
        self.push(Op::PutOrKeep { node })
    }

    /// Makes sure that a node exists: [`put_or_keep`](Self::put_or_keep) of one with
    /// this kind and nothing else.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let rex = NodeId::from_content(b"Rex");
    /// // However often this is written, Rex is there once, and what is known of it stays.
    /// engine.write(Batch::new().ensure(rex, "dog").increment(rex, "walks", 1))?;
    /// engine.write(Batch::new().ensure(rex, "dog").increment(rex, "walks", 2))?;
    /// let snapshot = engine.snapshot();
    /// assert_eq!(snapshot.get(rex)?.unwrap().attributes()?["walks"], Value::Int(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ensure(&mut self, id: NodeId, kind: impl Into<String>) -> &mut Self {
        self.put_or_keep(Node::new(id, kind))
    }

    /// Refuses the batch with `Conflict` unless, when this operation's turn comes,
    /// the node exists and has this version. It may be any node; a batch may consist
    /// of requirements only. Such a batch is checked in its turn, logs nothing, uses no
    /// sequence number, and returns that of the state it was checked against.
    ///
    /// A node that an earlier operation of the batch put or patched has the version
    /// of the batch itself, which nobody can name.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let (plan, step) = (NodeId::new(), NodeId::new());
    /// let seen = engine.write(Batch::new().put(Node::new(plan, "plan")))?;
    /// // The step is written only if the plan is still the one that was seen.
    /// engine.write(Batch::new().require_version(plan, seen).put(Node::new(step, "step")))?;
    /// engine.write(Batch::new().patch(plan, Patch::new().content("another")))?;
    /// let late = engine.write(Batch::new().require_version(plan, seen)).unwrap_err();
    /// assert_eq!(late.kind(), ErrorKind::Conflict);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn require_version(&mut self, id: NodeId, version: Seq) -> &mut Self {
        self.push(Op::Require { id, precondition: Precondition::Version(version) })
    }

    /// As [`require_version`](Self::require_version), unless the node does not exist.
    pub fn require_absent(&mut self, id: NodeId) -> &mut Self {
        self.push(Op::Require { id, precondition: Precondition::Absent })
    }

    /// As [`require_version`](Self::require_version), unless the node exists.
    pub fn require_exists(&mut self, id: NodeId) -> &mut Self {
        self.push(Op::Require { id, precondition: Precondition::Exists })
    }

    /// As [`require_version`](Self::require_version), unless there is an edge with
    /// discriminator 0. For another discriminator, push an [`Op::RequireEdge`].
    pub fn require_edge(
        &mut self,
        source: NodeId,
        kind: impl Into<String>,
        target: NodeId,
    ) -> &mut Self {
        self.push(Op::RequireEdge { source, kind: kind.into(), target, discriminator: 0 })
    }

    /// Adds to a number among the attributes of a node, which must exist; an
    /// attribute that it does not have counts from 0. Decided when its turn comes, so
    /// it conflicts with no other writer. As with a patch, the node gets the version
    /// and the time of the batch.
    ///
    /// `by` is an integer or a float. The sum of two integers is an integer, any other
    /// sum a float. The batch is refused with `Invalid` if the attribute is no number,
    /// if integers overflow, or if a float is not finite.
    pub fn increment(
        &mut self,
        id: NodeId,
        attribute: impl Into<String>,
        by: impl Into<Value>,
    ) -> &mut Self {
        self.push(Op::Increment { id, attribute: attribute.into(), by: by.into() })
    }

    /// Adds to the weight of the edge with discriminator 0, which must exist, as
    /// [`increment`](Self::increment) does to an attribute. For another
    /// discriminator, push an [`Op::IncrementWeight`].
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let (a, b) = (NodeId::from_content(b"a"), NodeId::from_content(b"b"));
    /// engine.write(Batch::new().link_ensuring(Edge::new(a, "precedes", b).weight(0.5), "word"))?;
    /// engine.write(Batch::new().increment_weight(a, "precedes", b, 0.25))?;
    /// let snapshot = engine.snapshot();
    /// assert_eq!(snapshot.edge(a, "precedes", b, 0)?.unwrap().weight(), 0.75);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn increment_weight(
        &mut self,
        source: NodeId,
        kind: impl Into<String>,
        target: NodeId,
        by: f64,
    ) -> &mut Self {
        let kind = kind.into();
        self.push(Op::IncrementWeight { source, kind, target, discriminator: 0, by })
    }

    /// Changes part of a node, which must exist.
    pub fn patch(&mut self, id: NodeId, patch: Patch) -> &mut Self {
        self.push(Op::Patch { id, patch })
    }

    /// Counts one access to a node, which must exist, and sets its access time,
    /// unless the stored one is later.
    pub fn touch(&mut self, id: NodeId) -> &mut Self {
        self.push(Op::Touch { id, count: 1 })
    }

    /// Sets or, with `None`, removes the expiry of a node, which must exist.
    pub fn expire(&mut self, id: NodeId, expires: Option<Timestamp>) -> &mut Self {
        self.push(Op::Expire { id, expires })
    }

    /// Deletes a node, if it exists, with its edges in both directions, its
    /// vectors and its keys.
    pub fn delete(&mut self, id: NodeId) -> &mut Self {
        self.push(Op::Delete { id })
    }

    /// Deletes a node as [`delete`](Self::delete) does, if its expiry is at or
    /// before `before`.
    pub fn prune(&mut self, id: NodeId, before: Timestamp) -> &mut Self {
        self.push(Op::Prune { id, before })
    }

    /// Writes an edge. The nodes at both ends must exist.
    pub fn link(&mut self, edge: Edge) -> &mut Self {
        self.push(Op::Link { edge })
    }

    /// Writes an edge, and the nodes at its ends if they do not exist: with this kind
    /// and nothing else. It adds three operations.
    pub fn link_ensuring(&mut self, edge: Edge, kind: impl Into<String>) -> &mut Self {
        let (kind, ends) = (kind.into(), (edge.source, edge.target));
        self.ensure(ends.0, kind.clone()).ensure(ends.1, kind).link(edge)
    }

    /// Deletes the edge with discriminator 0, if it exists. Parallel edges with other
    /// discriminators stay: [`unlink_one`](Self::unlink_one) deletes those.
    pub fn unlink(&mut self, source: NodeId, kind: impl Into<String>, target: NodeId) -> &mut Self {
        self.unlink_one(source, kind, target, 0)
    }

    /// Deletes the edge with this discriminator, if it exists. Other edges of this
    /// kind between the two nodes stay.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let (alice, rex) = (NodeId::from_content(b"Alice"), NodeId::from_content(b"Rex"));
    /// let walk = |number| Edge::new(alice, "walked", rex).discriminator(number);
    /// engine.write(Batch::new().link_ensuring(walk(1), "being").link(walk(2)))?;
    /// engine.write(Batch::new().unlink_one(alice, "walked", rex, 1))?;
    /// let snapshot = engine.snapshot();
    /// let left = snapshot.edges_between(alice, "walked", rex).next().unwrap()?;
    /// assert_eq!((left.discriminator(), snapshot.edge_count()), (2, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unlink_one(
        &mut self,
        source: NodeId,
        kind: impl Into<String>,
        target: NodeId,
        discriminator: u64,
    ) -> &mut Self {
        self.push(Op::Unlink { source, kind: kind.into(), target, discriminator })
    }

    /// Gives a kind, an index or a vector space another name. Operations after
    /// this one in the batch know it by the new name only. What the names are is
    /// decided when the batch's turn comes, so a batch with a rename is refused
    /// for an unknown name only then.
    pub fn rename(
        &mut self,
        what: Named,
        from: impl Into<String>,
        to: impl Into<String>,
    ) -> &mut Self {
        self.push(Op::Rename { what, from: from.into(), to: to.into() })
    }

    /// The durability that was asked for.
    pub(crate) fn asked_durability(&self) -> Option<Durability> {
        self.durability
    }

    /// Takes all operations out.
    pub(crate) fn take_ops(&mut self) -> Vec<Op> {
        std::mem::take(&mut self.ops)
    }

    /// Replaces the operations.
    pub(crate) fn replace_ops(&mut self, ops: Vec<Op>) {
        self.ops = ops;
    }

    /// Checks everything that can be known before the batch's turn.
    pub(crate) fn check(&self, catalog: &impl Catalog) -> Result<()> {
        if self.ops.is_empty() {
            return Err(Error::invalid("batch: it has no operations"));
        }
        check_count("operations of a batch", self.ops.len(), limits::BATCH_OPS)?;
        let mut catalog = Changed::new(catalog);
        let mut renamed = false;
        for op in &self.ops {
            op.check()?;
            // What names mean after a rename is decided when the batch's turn comes.
            renamed = renamed || matches!(op, Op::Rename { .. });
            if !renamed {
                op.check_known(&catalog)?;
            }
            match op {
                Op::CreateSpace { name, space } => catalog.create_space(name, *space),
                Op::DropSpace { name } => catalog.drop_space(name),
                Op::CreateIndex { name, index } => catalog.create_index(name, index.is_some()),
                Op::DropIndex { name } => catalog.drop_index(name),
                _ => {}
            }
        }
        Ok(())
    }
}
