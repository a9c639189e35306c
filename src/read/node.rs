//! A node of a snapshot.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use crate::{
    model::{
        error::Result,
        id::NodeId,
        node::{IndexKey, Node},
        time::{Seq, Timestamp},
        value::Attributes,
    },
    state::{State, base::stored::StoredNode, record::NodeRecord},
};

/// A node of a [`Snapshot`](crate::Snapshot), borrowed from it.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let id = NodeId::new();
/// let seq = engine.write(Batch::new().put(Node::new(id, "note").content("dogs bark")))?;
///
/// let snapshot = engine.snapshot();
/// let note = snapshot.get(id)?.expect("it was written");
/// assert_eq!((note.kind(), note.content(), note.version()), ("note", &b"dogs bark"[..], seq));
/// let changed = note.to_node()?.strength(0.5); // a copy to change and put
/// engine.write(Batch::new().put_if_version(changed, note.version()))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct NodeRef<'s> {
    state: &'s State,
    repr: NodeRepr<'s>,
}

#[derive(Clone, Copy)]
enum NodeRepr<'s> {
    Memory { record: &'s NodeRecord, content: &'s [u8] },
    Stored(StoredNode<'s>),
}

macro_rules! scalars {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(&self) -> $type {
            match &self.repr {
                NodeRepr::Memory { record, .. } => record.$name,
                NodeRepr::Stored(node) => node.meta().$name,
            }
        }
    )*};
}

impl<'s> NodeRef<'s> {
    #[inline]
    pub(crate) fn find(state: &'s State, id: NodeId) -> Result<Option<Self>> {
        match state.layered_node(&id) {
            Some(layered) => layered.map(|record| Self::from_record(state, record)).transpose(),
            None => Ok(state.base().node(id)?.map(|node| Self::stored(state, node))),
        }
    }

    #[inline]
    pub(crate) fn from_record(state: &'s State, record: &'s NodeRecord) -> Result<Self> {
        let content = record.content.bytes()?;
        Ok(Self { state, repr: NodeRepr::Memory { record, content } })
    }

    #[inline]
    pub(crate) fn stored(state: &'s State, node: StoredNode<'s>) -> Self {
        Self { state, repr: NodeRepr::Stored(node) }
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        match &self.repr {
            NodeRepr::Memory { record, .. } => record.id,
            NodeRepr::Stored(node) => node.row().id(),
        }
    }

    pub(super) fn kind_number(&self) -> u32 {
        match &self.repr {
            NodeRepr::Memory { record, .. } => record.kind,
            NodeRepr::Stored(node) => node.row().kind.get(),
        }
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &'s str {
        // `Base::stored` refuses unknown kinds.
        self.state.kinds().known_name(self.kind_number())
    }

    /// The content, exactly as it was given.
    #[must_use]
    pub fn content(&self) -> &'s [u8] {
        match &self.repr {
            NodeRepr::Memory { content, .. } => content,
            NodeRepr::Stored(node) => node.content(),
        }
    }

    /// The attributes, borrowed from memory or decoded from disk.
    ///
    /// # Errors
    /// `Corrupt` if they are damaged on disk.
    pub fn attributes(&self) -> Result<Cow<'s, Attributes>> {
        match &self.repr {
            NodeRepr::Memory { record, .. } => Ok(Cow::Borrowed(record.attributes())),
            NodeRepr::Stored(node) => node.attributes().map(Cow::Owned),
        }
    }

    scalars! {
        /// The commit that last put or patched the node, for
        /// [`Batch::put_if_version`](crate::Batch::put_if_version).
        version: Seq;
        /// How well it is remembered.
        strength: f32;
        /// The confidence, from 0 to 1.
        confidence: f32;
        /// When it was created.
        created: Timestamp;
        /// When it was last put, patched or incremented.
        updated: Timestamp;
        /// When it was last touched; if never, when it was created.
        accessed: Timestamp;
        /// How often it was touched.
        access_count: u64;
        /// When it may be pruned.
        expires: Option<Timestamp>;
    }

    pub(crate) fn numbered_keys(&self) -> impl Iterator<Item = (u32, &'s [u8])> + use<'s> {
        let (memory, stored) = match &self.repr {
            NodeRepr::Memory { record, .. } => (Some(record.keys.iter()), None),
            NodeRepr::Stored(node) => (None, Some(node.keys())),
        };
        let memory = memory.into_iter().flatten().map(|(index, key)| (*index, &**key));
        memory.chain(stored.into_iter().flatten())
    }

    /// Its index keys: the name of the index, and the key, in no particular
    /// order. Keys that the engine derives are not among them. Keys of an unknown
    /// index, which only damage on disk can cause, are left out;
    /// [`to_node`](Self::to_node) refuses them.
    pub fn keys(&self) -> impl Iterator<Item = (&'s str, &'s [u8])> + use<'s> {
        let state = self.state;
        self.numbered_keys()
            .filter_map(move |(index, key)| Some((state.indexes().given_name(index)?, key)))
    }

    /// Checks that the indexes of its keys exist.
    pub(crate) fn check_keys(&self) -> Result<()> {
        let indexes = self.state.indexes();
        let known = |index| indexes.knows(index) || indexes.is_dropped(index);
        match self.numbered_keys().find(|(index, _)| !known(*index)) {
            Some((index, _)) => {
                let what = format!("node {} has a key of unknown index {index}", self.id());
                Err(self.state.base().damaged(what))
            }
            None => Ok(()),
        }
    }

    /// The commit that wrote its vector in a space.
    fn vector_seq(&self, space: u32) -> Option<Seq> {
        match &self.repr {
            NodeRepr::Memory { record, .. } => record.vector(space).map(|slot| slot.seq),
            NodeRepr::Stored(node) => {
                node.vectors().find(|(of, _)| *of == space).map(|(_, seq)| seq)
            }
        }
    }

    /// Its vector in a space.
    ///
    /// # Errors
    /// `Corrupt` if it is damaged on disk.
    pub fn vector(&self, space: &str) -> Result<Option<&'s [f32]>> {
        match self.state.spaces().get(space) {
            Some((number, _)) => self.numbered_vector(number),
            None => Ok(None),
        }
    }

    pub(crate) fn numbered_vector(&self, space: u32) -> Result<Option<&'s [f32]>> {
        let Some(seq) = self.vector_seq(space) else { return Ok(None) };
        if let NodeRepr::Memory { record, .. } = &self.repr
            && let Some(vector) = record.vector(space).and_then(|slot| slot.memory.as_ref())
        {
            return Ok(Some(&vector.components));
        }
        let found = self.state.base().vector(space, self.id(), seq)?;
        let lost =
            || self.state.base().damaged(format!("the vector of node {} is missing", self.id()));
        found.map(Some).ok_or_else(lost)
    }

    /// A copy of the node to be changed and put. Its times, access count and
    /// expiry are left to the engine: a put keeps those that the stored node has
    /// by then, and sets `updated`. So a put undoes no
    /// [`touch`](crate::Batch::touch) or [`expire`](crate::Batch::expire) that
    /// was committed meanwhile.
    ///
    /// # Errors
    /// As [`attributes`](Self::attributes).
    pub fn to_node(&self) -> Result<Node> {
        Ok(self.to_exact_node()?.without_engine_fields())
    }

    /// A copy of all that the node has: also its times, access count and expiry.
    /// A put of it writes these too, so it is what an export and a copy into
    /// another store need. To change a node of this store, take
    /// [`to_node`](Self::to_node).
    ///
    /// ```
    /// use ingrain::{Expiry, Timestamp, prelude::*};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let id = NodeId::new();
    /// let soon = Timestamp::parse("2030-01-01T00:00:00Z")?;
    /// engine.write(Batch::new().put(Node::new(id, "note").expires(soon)))?;
    ///
    /// let snapshot = engine.snapshot();
    /// let note = snapshot.get(id)?.expect("it was written");
    /// let exact = note.to_exact_node()?;
    /// assert_eq!((exact.created, exact.expires), (Some(note.created()), Expiry::At(soon)));
    /// let changed = note.to_node()?;
    /// assert_eq!((changed.created, changed.expires), (None, Expiry::Keep));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`attributes`](Self::attributes).
    pub fn to_exact_node(&self) -> Result<Node> {
        self.check_keys()?;
        let mut keys: Vec<IndexKey> =
            self.keys().map(|(index, key)| IndexKey::new(index, key)).collect();
        keys.sort_unstable();
        let mut vectors = BTreeMap::new();
        for (number, named) in self.state.spaces().iter() {
            if let Some(vector) = self.numbered_vector(number)? {
                vectors.insert(named.name.clone(), vector.to_vec());
            }
        }
        Ok(Node {
            id: self.id(),
            kind: self.kind().to_owned(),
            content: self.content().to_vec(),
            attributes: self.attributes()?.into_owned(),
            strength: self.strength(),
            confidence: self.confidence(),
            created: Some(self.created()),
            updated: Some(self.updated()),
            accessed: Some(self.accessed()),
            access_count: Some(self.access_count()),
            expires: self.expires().into(),
            keys,
            vectors,
        })
    }
}

impl fmt::Debug for NodeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRef")
            .field("id", &self.id())
            .field("kind", &self.kind())
            .field("version", &self.version())
            .field("content_bytes", &self.content().len())
            .finish_non_exhaustive()
    }
}
