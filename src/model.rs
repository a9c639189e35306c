//! What a store holds and what can be asked of it: nodes, edges, values, keys,
//! batches.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    id::NodeId,
    limits,
};

/// The sequence number of a commit. The first batch of a store is 1; numbers
/// are never reused and go on across restarts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(u64);

impl Seq {
    /// The state before the first batch.
    pub const ZERO: Self = Self(0);

    /// The sequence number with this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The value.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of the following commit. At a million commits a second the
    /// numbers last for half a million years.
    #[must_use]
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time: microseconds since 1970-01-01 UTC, negative before.
///
/// Times are data, not control: nothing in the engine depends on the wall
/// clock being right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This time and a duration later, or the end of time.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        Self(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => micros(after),
            Err(before) => -micros(before.duration()),
        })
    }
}

/// An attribute's value. Floats are finite.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// No value, but present.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<Value>),
    /// Named values.
    Map(Attributes),
}

/// Named values, in the order of their names.
pub type Attributes = BTreeMap<String, Value>;

macro_rules! value_from {
    ($($from:ty => $variant:ident via $convert:expr;)*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant($convert(value))
            }
        }
    )*};
}
value_from! {
    bool => Bool via bool::from;
    i64 => Int via i64::from;
    i32 => Int via i64::from;
    u32 => Int via i64::from;
    f64 => Float via f64::from;
    f32 => Float via f64::from;
    String => Text via String::from;
    &str => Text via String::from;
    Vec<u8> => Bytes via Vec::from;
    Vec<Value> => List via Vec::from;
    Attributes => Map via Attributes::from;
}

/// How the closeness of two vectors is measured. Smaller is closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Metric {
    /// `1 - cos(a, b)`, from 0 to 2. Zero vectors have no direction and are
    /// refused.
    Cosine,
    /// `-(a · b)`.
    Dot,
    /// `|a - b|`, the Euclidean distance.
    L2,
}

/// How the elements of a space's vectors are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Element {
    /// IEEE 754 binary32, little-endian.
    F32,
}

/// How a space is searched when less than an exact search is asked for. It can
/// be changed at any time; the vectors stay as they are, and what is derived
/// from them is built anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Method {
    /// The engine chooses: today what [`Pq4`](Self::Pq4) does.
    #[default]
    Auto,
    /// Every vector is compared.
    Exact,
    /// A scan of codes of four bits for each one to four dimensions (product
    /// quantisation), then of the vectors of the best.
    Pq4,
    /// The same with codes of eight bits for twice the dimensions: closer, and
    /// several times slower.
    Pq8,
    /// A graph (HNSW) beside the codes, built in the background for large
    /// files. Needs the crate's feature `hnsw`; without it the codes serve.
    Hnsw,
}

/// What is fixed about a vector space when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Space {
    /// Numbers in each vector: 1 to [`limits::DIMENSION`].
    pub dimension: usize,
    /// How distance is measured.
    pub metric: Metric,
    /// How numbers are stored.
    pub element: Element,
}

impl Space {
    /// A space of `f32` vectors.
    #[must_use]
    pub const fn new(dimension: usize, metric: Metric) -> Self {
        Self { dimension, metric, element: Element::F32 }
    }

    /// Checks the bounds of the definition.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        check_name("space", name)?;
        if self.dimension == 0 || self.dimension > limits::DIMENSION {
            return Err(Error::invalid(format!(
                "space {name:?}: dimension {} is not in 1..={}",
                self.dimension,
                limits::DIMENSION
            )));
        }
        Ok(())
    }

    /// Checks that `vector` may stand in this space, or be a query to it.
    pub(crate) fn check_vector(&self, name: &str, vector: &[f32]) -> Result<()> {
        if vector.len() != self.dimension {
            return Err(Error::invalid(format!(
                "vector for space {name:?}: it has {} numbers, the space has {}",
                vector.len(),
                self.dimension
            )));
        }
        if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
            return Err(Error::invalid(format!(
                "vector for space {name:?}: number {at} is not finite"
            )));
        }
        // The metrics sum in f64, where neither the square of a finite f32
        // overflows nor that of a subnormal one vanishes.
        if self.metric == Metric::Cosine && vector.iter().all(|x| *x == 0.0) {
            return Err(Error::invalid(format!(
                "vector for space {name:?}: a zero vector has no cosine"
            )));
        }
        Ok(())
    }
}

/// A record: content with a kind, attributes, index keys and vectors.
///
/// Of the times and the count, those left at `None` are the engine's to fill in
/// when the batch is applied: `created`, `accessed` and `access_count` with what
/// the node had before, `updated`, and the others of a new node, with the time
/// of the batch and with 0. An expiry of `None` means that there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The name.
    pub id: NodeId,
    /// What sort of thing it is: 1 to [`limits::NAME_BYTES`] bytes.
    pub kind: String,
    /// The content, returned exactly as given: up to [`limits::CONTENT_BYTES`].
    pub content: Vec<u8>,
    /// Named values.
    pub attributes: Attributes,
    /// How well it is remembered; any finite number, 1 by default.
    pub strength: f32,
    /// How sure it is, from 0 to 1, 1 by default.
    pub confidence: f32,
    /// When it came to be.
    pub created: Option<Timestamp>,
    /// When it was last put or patched.
    pub updated: Option<Timestamp>,
    /// When it was last touched.
    pub accessed: Option<Timestamp>,
    /// How often it was touched.
    pub access_count: Option<u64>,
    /// When it may be pruned. Nothing happens by itself at that time: see
    /// [`Engine::prune`](crate::Engine::prune).
    pub expires: Option<Timestamp>,
    /// Where it stands in which index. An index must have been created.
    pub keys: Vec<IndexKey>,
    /// Its vectors, by the name of their space. A space must have been created.
    pub vectors: BTreeMap<String, Vec<f32>>,
}

/// A place in an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexKey {
    /// Name of the index.
    pub index: String,
    /// The key, ordered as bytes: see [`KeyBuilder`].
    pub key: Vec<u8>,
}

impl Node {
    /// A node with this name and kind, and nothing else.
    #[must_use]
    pub fn new(id: NodeId, kind: impl Into<String>) -> Self {
        Self {
            id,
            kind: kind.into(),
            content: Vec::new(),
            attributes: Attributes::new(),
            strength: 1.0,
            confidence: 1.0,
            created: None,
            updated: None,
            accessed: None,
            access_count: None,
            expires: None,
            keys: Vec::new(),
            vectors: BTreeMap::new(),
        }
    }

    /// With this content.
    #[must_use]
    pub fn content(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.content = content.into();
        self
    }

    /// With this attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// With this key in the index of that name.
    #[must_use]
    pub fn key(mut self, index: impl Into<String>, key: impl Into<Vec<u8>>) -> Self {
        self.keys.push(IndexKey { index: index.into(), key: key.into() });
        self
    }

    /// With this vector in the space of that name.
    #[must_use]
    pub fn vector(mut self, space: impl Into<String>, vector: impl Into<Vec<f32>>) -> Self {
        self.vectors.insert(space.into(), vector.into());
        self
    }

    fn check(&self) -> Result<()> {
        check_name("kind", &self.kind)?;
        check_content(&self.content)?;
        check_attributes(&self.attributes)?;
        check_scores(self.strength, self.confidence)?;
        check_count("index keys of a node", self.keys.len(), limits::NODE_KEYS)?;
        self.keys.iter().try_for_each(|key| check_key(&key.key))?;
        check_count("vectors of a node", self.vectors.len(), limits::NODE_VECTORS)
    }

    fn check_known(&self, catalog: &impl Catalog) -> Result<()> {
        self.keys.iter().try_for_each(|key| check_index(&key.index, catalog))?;
        self.vectors.iter().try_for_each(|(space, vector)| check_vector(space, vector, catalog))
    }
}

/// A typed, weighted, directed association between two nodes.
///
/// Source, kind, target and discriminator together name an edge; linking it
/// again replaces the rest of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The node it leaves.
    pub source: NodeId,
    /// What sort of association it is: 1 to [`limits::NAME_BYTES`] bytes.
    pub kind: String,
    /// The node it reaches; may be the source itself.
    pub target: NodeId,
    /// Tells parallel edges of one kind apart. 0 where there is only one.
    pub discriminator: u64,
    /// Any finite number, 1 by default.
    pub weight: f64,
    /// How sure it is, from 0 to 1, 1 by default.
    pub confidence: f32,
    /// Named values.
    pub attributes: Attributes,
    /// When it came to be; kept when the edge is linked again, unless given.
    pub created: Option<Timestamp>,
    /// When it was last linked.
    pub updated: Option<Timestamp>,
}

impl Edge {
    /// An edge of weight and confidence 1 without attributes.
    #[must_use]
    pub fn new(source: NodeId, kind: impl Into<String>, target: NodeId) -> Self {
        Self {
            source,
            kind: kind.into(),
            target,
            discriminator: 0,
            weight: 1.0,
            confidence: 1.0,
            attributes: Attributes::new(),
            created: None,
            updated: None,
        }
    }

    /// With this weight.
    #[must_use]
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// With this attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// With this discriminator.
    #[must_use]
    pub fn discriminator(mut self, discriminator: u64) -> Self {
        self.discriminator = discriminator;
        self
    }

    fn check(&self) -> Result<()> {
        check_name("kind", &self.kind)?;
        check_attributes(&self.attributes)?;
        if !self.weight.is_finite() {
            return Err(Error::invalid(format!("weight {}: it is not finite", self.weight)));
        }
        check_scores(0.0, self.confidence)
    }
}

/// Changes to part of a node. What is not named stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Patch {
    /// The new kind.
    pub kind: Option<String>,
    /// The new content.
    pub content: Option<Vec<u8>>,
    /// Attributes to set, or with `None` to remove.
    pub attributes: BTreeMap<String, Option<Value>>,
    /// The new strength.
    pub strength: Option<f32>,
    /// The new confidence.
    pub confidence: Option<f32>,
    /// By index name, the keys that the node has there from now on.
    pub keys: BTreeMap<String, Vec<Vec<u8>>>,
    /// By space name, the vector to set, or with `None` to remove.
    pub vectors: BTreeMap<String, Option<Vec<f32>>>,
}

impl Patch {
    /// A patch that changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Replaces the content.
    #[must_use]
    pub fn content(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.content = Some(content.into());
        self
    }

    /// Sets an attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), Some(value.into()));
        self
    }

    /// Removes an attribute.
    #[must_use]
    pub fn remove_attribute(mut self, name: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), None);
        self
    }

    /// Sets the strength.
    #[must_use]
    pub fn strength(mut self, strength: f32) -> Self {
        self.strength = Some(strength);
        self
    }

    /// Sets the confidence.
    #[must_use]
    pub fn confidence(mut self, confidence: f32) -> Self {
        self.confidence = Some(confidence);
        self
    }

    /// Replaces all keys that the node has in an index.
    #[must_use]
    pub fn keys(mut self, index: impl Into<String>, keys: Vec<Vec<u8>>) -> Self {
        self.keys.insert(index.into(), keys);
        self
    }

    /// Sets the vector in a space.
    #[must_use]
    pub fn vector(mut self, space: impl Into<String>, vector: impl Into<Vec<f32>>) -> Self {
        self.vectors.insert(space.into(), Some(vector.into()));
        self
    }

    /// Removes the vector in a space.
    #[must_use]
    pub fn remove_vector(mut self, space: impl Into<String>) -> Self {
        self.vectors.insert(space.into(), None);
        self
    }

    fn check(&self) -> Result<()> {
        if let Some(kind) = &self.kind {
            check_name("kind", kind)?;
        }
        if let Some(content) = &self.content {
            check_content(content)?;
        }
        check_count("attributes of a patch", self.attributes.len(), limits::ATTRIBUTES)?;
        for (name, value) in &self.attributes {
            check_name("attribute", name)?;
            if let Some(value) = value {
                check_value(name, value, 1)?;
            }
        }
        check_scores(self.strength.unwrap_or(1.0), self.confidence.unwrap_or(1.0))?;
        check_count(
            "index keys of a patch",
            self.keys.values().map(Vec::len).fold(0, usize::saturating_add),
            limits::NODE_KEYS,
        )?;
        self.keys.values().flatten().try_for_each(|key| check_key(key))?;
        check_count("vectors of a patch", self.vectors.len(), limits::NODE_VECTORS)
    }

    fn check_known(&self, catalog: &impl Catalog) -> Result<()> {
        self.keys.keys().try_for_each(|index| check_index(index, catalog))?;
        for (space, vector) in &self.vectors {
            match vector {
                Some(vector) => check_vector(space, vector, catalog)?,
                None if catalog.space(space).is_some() => {}
                None => return Err(unknown_space(space)),
            }
        }
        Ok(())
    }
}

/// What must hold for a [`Op::Put`] to go ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precondition {
    /// Nothing.
    None,
    /// The node is not there.
    Absent,
    /// The node is there and has this version.
    Version(Seq),
}

/// One change. Use the methods of [`Batch`] to make them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// Writes a node whole, keeping its edges.
    Put {
        /// The node.
        node: Node,
        /// When to go ahead.
        precondition: Precondition,
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
}

/// Bytes of an entry of a map or list beside what it points to.
const ENTRY_BYTES: usize = size_of::<String>() + size_of::<Value>();

impl Value {
    fn memory(&self) -> usize {
        match self {
            Self::Text(text) => text.capacity(),
            Self::Bytes(bytes) => bytes.capacity(),
            Self::List(values) => {
                values.iter().map(|v| ENTRY_BYTES.saturating_add(v.memory())).fold(0, add)
            }
            Self::Map(map) => map_memory(map),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
        }
    }
}

fn add(sum: usize, more: usize) -> usize {
    sum.saturating_add(more)
}

pub(crate) fn map_memory(map: &Attributes) -> usize {
    let entry = |(name, value): (&String, &Value)| {
        ENTRY_BYTES.saturating_add(name.capacity()).saturating_add(value.memory())
    };
    map.iter().map(entry).fold(0, add)
}

fn vector_memory(vector: &Vec<f32>) -> usize {
    ENTRY_BYTES.saturating_add(vector.capacity().saturating_mul(size_of::<f32>()))
}

impl Op {
    /// The nodes that it looks at.
    pub(crate) fn nodes(&self) -> [Option<NodeId>; 2] {
        match self {
            Self::Put { node, .. } => [Some(node.id), None],
            Self::Patch { id, .. }
            | Self::Touch { id, .. }
            | Self::Expire { id, .. }
            | Self::Delete { id }
            | Self::Prune { id, .. } => [Some(*id), None],
            Self::Link { edge } => [Some(edge.source), Some(edge.target)],
            Self::Unlink { .. }
            | Self::CreateSpace { .. }
            | Self::CreateIndex { .. }
            | Self::DropSpace { .. }
            | Self::SetMethod { .. } => [None, None],
        }
    }

    /// Checks what can be known without a store.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Put { node, .. } => node.check(),
            Self::Patch { patch, .. } => patch.check(),
            Self::Link { edge } => edge.check(),
            Self::Unlink { kind, .. } => check_name("kind", kind),
            Self::CreateSpace { name, space } => space.check(name),
            Self::CreateIndex { name } => check_name("index", name),
            Self::DropSpace { name } | Self::SetMethod { name, .. } => check_name("space", name),
            Self::Touch { .. } | Self::Expire { .. } | Self::Delete { .. } | Self::Prune { .. } => {
                Ok(())
            }
        }
    }

    /// Checks that there is what it names. Whether there is a space that it
    /// drops, its turn tells: an operation before it may create one.
    fn check_known(&self, catalog: &impl Catalog) -> Result<()> {
        match self {
            Self::Put { node, .. } => node.check_known(catalog),
            Self::Patch { patch, .. } => patch.check_known(catalog),
            _ => Ok(()),
        }
    }

    /// About how many bytes of memory the operation takes.
    pub(crate) fn memory(&self) -> usize {
        let beside = match self {
            Self::Put { node, .. } => [
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
            Self::Unlink { kind, .. } => kind.capacity(),
            Self::CreateSpace { name, .. }
            | Self::CreateIndex { name }
            | Self::DropSpace { name }
            | Self::SetMethod { name, .. } => name.capacity(),
            Self::Touch { .. } | Self::Expire { .. } | Self::Delete { .. } | Self::Prune { .. } => {
                0
            }
        };
        size_of::<Self>().saturating_add(beside)
    }
}

/// How long an acknowledged write lasts.
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
/// Operations apply in order, each seeing those before it. If the precondition
/// of one fails when the batch's turn comes, nothing of the batch happens.
///
/// ```
/// use ingrain::{Batch, Edge, Node, NodeId};
///
/// let (dog, animal) = (NodeId::of_content(b"dog"), NodeId::of_content(b"animal"));
/// let mut batch = Batch::new();
/// batch
///     .put(Node::new(dog, "noun").content("barks"))
///     .put_if_absent(Node::new(animal, "noun"))
///     .link(Edge::new(dog, "hypernym", animal));
/// assert_eq!(batch.len(), 3);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    pub(crate) ops: Vec<Op>,
    pub(crate) durability: Option<Durability>,
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

    /// Writes a node, new or in place of the one that is there, whose edges
    /// stay.
    pub fn put(&mut self, node: Node) -> &mut Self {
        self.push(Op::Put { node, precondition: Precondition::None })
    }

    /// Writes a node only if the one that is there has this version.
    pub fn put_if_version(&mut self, node: Node, version: Seq) -> &mut Self {
        self.push(Op::Put { node, precondition: Precondition::Version(version) })
    }

    /// Writes a node only if there is none.
    pub fn put_if_absent(&mut self, node: Node) -> &mut Self {
        self.push(Op::Put { node, precondition: Precondition::Absent })
    }

    /// Changes part of a node. It must be there.
    pub fn patch(&mut self, id: NodeId, patch: Patch) -> &mut Self {
        self.push(Op::Patch { id, patch })
    }

    /// Counts one access to a node and notes the time, unless a later one is
    /// noted, as after a clock was set back. It must be there.
    pub fn touch(&mut self, id: NodeId) -> &mut Self {
        self.push(Op::Touch { id, count: 1 })
    }

    /// Sets when a node may be pruned, or with `None` that it may not. It must
    /// be there.
    pub fn expire(&mut self, id: NodeId, expires: Option<Timestamp>) -> &mut Self {
        self.push(Op::Expire { id, expires })
    }

    /// Deletes a node, if there, with its edges both ways, its vectors and its
    /// keys.
    pub fn delete(&mut self, id: NodeId) -> &mut Self {
        self.push(Op::Delete { id })
    }

    /// Deletes a node as [`delete`](Self::delete) does if it expires at
    /// `before` or earlier.
    pub fn prune(&mut self, id: NodeId, before: Timestamp) -> &mut Self {
        self.push(Op::Prune { id, before })
    }

    /// Writes an edge. Both its ends must be there.
    pub fn link(&mut self, edge: Edge) -> &mut Self {
        self.push(Op::Link { edge })
    }

    /// Deletes the edge with discriminator 0, if there.
    pub fn unlink(&mut self, source: NodeId, kind: impl Into<String>, target: NodeId) -> &mut Self {
        self.push(Op::Unlink { source, kind: kind.into(), target, discriminator: 0 })
    }

    /// Checks everything that can be known before the batch's turn.
    pub(crate) fn check(&self, catalog: &impl Catalog) -> Result<()> {
        if self.ops.is_empty() {
            return Err(Error::invalid("batch: it has no operations"));
        }
        check_count("operations of a batch", self.ops.len(), limits::BATCH_OPS)?;
        self.ops.iter().try_for_each(|op| {
            op.check()?;
            op.check_known(catalog)
        })
    }
}

/// The spaces and indexes that a store has.
pub(crate) trait Catalog {
    /// The definition of a space.
    fn space(&self, name: &str) -> Option<Space>;
    /// Whether there is such an index.
    fn has_index(&self, name: &str) -> bool;
}

pub(crate) fn check_count(what: &'static str, value: usize, limit: usize) -> Result<()> {
    if value > limit { Err(Error::limit(what, value, limit)) } else { Ok(()) }
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("{what}: the name is empty")));
    }
    check_count("bytes of a name", name.len(), limits::NAME_BYTES)
}

pub(crate) fn check_content(content: &[u8]) -> Result<()> {
    check_count("bytes of content", content.len(), limits::CONTENT_BYTES)
}

/// Attributes within their bounds, but for their encoded size.
pub(crate) fn check_attributes(attributes: &Attributes) -> Result<()> {
    check_map(attributes, 1)
}

fn check_map(map: &Attributes, depth: usize) -> Result<()> {
    check_count("attributes of a node or edge", map.len(), limits::ATTRIBUTES)?;
    for (name, value) in map {
        check_name("attribute", name)?;
        check_value(name, value, depth)?;
    }
    Ok(())
}

fn check_value(name: &str, value: &Value, depth: usize) -> Result<()> {
    check_count("nesting of an attribute", depth, limits::VALUE_DEPTH)?;
    // Recursion is bounded by the line above.
    match value {
        Value::Float(x) if !x.is_finite() => {
            Err(Error::invalid(format!("attribute {name:?}: {x} is not finite")))
        }
        Value::List(values) => {
            values.iter().try_for_each(|v| check_value(name, v, depth.saturating_add(1)))
        }
        Value::Map(map) => check_map(map, depth.saturating_add(1)),
        Value::Text(_)
        | Value::Bytes(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_) => Ok(()),
    }
}

fn check_scores(strength: f32, confidence: f32) -> Result<()> {
    if !strength.is_finite() {
        return Err(Error::invalid(format!("strength {strength}: it is not finite")));
    }
    if !(0.0..=1.0).contains(&confidence) {
        return Err(Error::invalid(format!("confidence {confidence}: it is not in 0..=1")));
    }
    Ok(())
}

fn check_key(key: &[u8]) -> Result<()> {
    check_count("bytes of an index key", key.len(), limits::KEY_BYTES)
}

fn check_index(index: &str, catalog: &impl Catalog) -> Result<()> {
    if catalog.has_index(index) { Ok(()) } else { Err(unknown_index(index)) }
}

fn check_vector(space: &str, vector: &[f32], catalog: &impl Catalog) -> Result<()> {
    match catalog.space(space) {
        Some(definition) => definition.check_vector(space, vector),
        None => Err(unknown_space(space)),
    }
}

pub(crate) fn unknown_space(name: &str) -> Error {
    Error::invalid(format!("vector space {name:?}: the store has none of that name"))
}

pub(crate) fn unknown_index(name: &str) -> Error {
    Error::invalid(format!("index {name:?}: the store has none of that name"))
}

/// Encodes composite index keys so that the order of the bytes is the order of
/// the values, component by component.
///
/// | component | encoding |
/// |---|---|
/// | integer | big-endian, sign bit flipped |
/// | float | IEEE 754 bits big-endian; all flipped if negative, else the sign bit; -0 as 0 |
/// | text, bytes | 0x00 as 0x00 0xFF, then 0x00 0x01 at the end |
/// | descending | the component's bytes, each flipped |
///
/// A key is as long as its components: 8 bytes a number, text its length and
/// two. Keys of one index should have the same sequence of component types.
///
/// ```
/// use ingrain::KeyBuilder;
///
/// // By success rate, best first, then by name.
/// let key = |rate, name| KeyBuilder::new().descending().float(rate).text(name).build();
/// assert!(key(0.9, "b") < key(0.5, "a"));
/// assert!(key(0.5, "a") < key(0.5, "b"));
/// assert!(key(0.5, "a") < key(0.5, "aa"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct KeyBuilder {
    bytes: Vec<u8>,
    descending: bool,
}

impl KeyBuilder {
    /// An empty key.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns round the order of the next component only.
    #[must_use]
    pub fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    /// Adds a whole number.
    #[must_use]
    pub fn int(self, value: i64) -> Self {
        self.component(&(value ^ i64::MIN).to_be_bytes())
    }

    /// Adds a time.
    #[must_use]
    pub fn time(self, time: Timestamp) -> Self {
        self.int(time.as_micros())
    }

    /// Adds a number. NaN, which has no place in an order, goes last (first
    /// when descending).
    #[must_use]
    pub fn float(self, value: f64) -> Self {
        let value = if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
        let bits = value.to_bits();
        let ordered = if bits >> 63 == 1 { !bits } else { bits ^ (1 << 63) };
        self.component(&ordered.to_be_bytes())
    }

    /// Adds text, ordered by its UTF-8 bytes.
    #[must_use]
    pub fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(self, value: &[u8]) -> Self {
        let mut escaped = Vec::with_capacity(value.len().saturating_add(2));
        for byte in value {
            escaped.push(*byte);
            if *byte == 0 {
                escaped.push(0xff);
            }
        }
        escaped.extend([0, 1]);
        self.component(&escaped)
    }

    /// The key.
    #[must_use]
    pub fn build(self) -> Vec<u8> {
        self.bytes
    }

    fn component(mut self, bytes: &[u8]) -> Self {
        let mask = if self.descending { 0xff } else { 0 };
        self.descending = false;
        self.bytes.extend(bytes.iter().map(|byte| byte ^ mask));
        self
    }
}
