//! Records of nodes and edges in the layers.

use std::{cmp::Ordering, sync::Arc};

use equivalent::Equivalent;

use crate::{
    format::{
        heap::BlobRef,
        tables::{EXPIRY, EdgeKey, IndexEntryRef},
        wal::ContentAt,
    },
    model::{
        error::{Error, Result},
        id::NodeId,
        key::KeyBuilder,
        time::{Seq, Timestamp},
        value::{Attributes, map_memory},
    },
    num,
    state::base::heap::Heap,
};

/// A node as it is stored: names replaced by their numbers, times filled in.
#[derive(Debug, Clone)]
pub(crate) struct NodeRecord {
    pub(crate) id: NodeId,
    pub(crate) kind: u32,
    pub(crate) version: Seq,
    pub(crate) content: Content,
    /// `None` if there are none, as for most nodes.
    pub(crate) attributes: Option<Arc<Attributes>>,
    pub(crate) strength: f32,
    pub(crate) confidence: f32,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) accessed: Timestamp,
    pub(crate) access_count: u64,
    pub(crate) expires: Option<Timestamp>,
    /// Index and key; sorted, without duplicates.
    pub(crate) keys: Box<[(u32, Arc<[u8]>)]>,
    /// Sorted by space, at most one for each.
    pub(crate) vectors: Box<[VectorSlot]>,
}

/// The content of a node.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Empty,
    /// A range of the payload of the batch that wrote it. It keeps the whole
    /// payload in memory, which the layer of the record counts.
    Batch {
        payload: Arc<[u8]>,
        at: ContentAt,
    },
    /// A copy of content from an earlier layer.
    Own(Arc<[u8]>),
    /// In a heap of the base, where an earlier version of the node has it. The
    /// heap stays mapped as long as this exists, even if its file is removed.
    Stored {
        heap: Arc<Heap>,
        place: BlobRef,
    },
}

impl Content {
    pub(crate) fn from_batch(payload: &Arc<[u8]>, at: ContentAt) -> Self {
        if at.len() == 0 { Self::Empty } else { Self::Batch { payload: Arc::clone(payload), at } }
    }

    /// The bytes; mapped ones are verified against their checksums.
    pub(crate) fn bytes(&self) -> Result<&[u8]> {
        match self {
            Self::Stored { heap, place } => heap.bytes(place.offset, place.len),
            _ => self.in_memory().ok_or_else(|| Error::internal("content beyond its batch")),
        }
    }

    /// The bytes, if they are not mapped.
    pub(crate) fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Self::Empty => Some(&[]),
            Self::Batch { payload, at } => {
                let from = num::index(at.offset());
                payload.get(from..from.checked_add(num::index(at.len()))?)
            }
            Self::Own(bytes) => Some(bytes),
            Self::Stored { .. } => None,
        }
    }

    /// The content without a reference to the batch that wrote it.
    pub(crate) fn detached(&self) -> Self {
        match (self, self.in_memory()) {
            (Self::Batch { .. }, Some(bytes)) => Self::Own(bytes.into()),
            _ => self.clone(),
        }
    }
}

/// The vector of a node in a space.
#[derive(Debug, Clone)]
pub(crate) struct VectorSlot {
    pub(crate) space: u32,
    /// The commit that wrote the vector. With the node and the space, it
    /// identifies the vector.
    pub(crate) seq: Seq,
    /// `None` if the vector is in the base.
    pub(crate) memory: Option<Arc<Vector>>,
}

/// A vector with its Euclidean length.
#[derive(Debug)]
pub(crate) struct Vector {
    pub(crate) components: Box<[f32]>,
    pub(crate) norm: f64,
    pub(crate) seq: Seq,
    /// The kind of its node. When a node changes its kind, its vectors are
    /// written again.
    pub(crate) kind: u32,
}

/// An edge as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct EdgeRecord {
    pub(crate) source: NodeId,
    pub(crate) kind: u32,
    pub(crate) target: NodeId,
    pub(crate) discriminator: u64,
    pub(crate) weight: f64,
    pub(crate) confidence: f32,
    pub(crate) attributes: Attributes,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

impl EdgeRecord {
    /// Its key in the out_edges table.
    pub(crate) fn key(&self) -> EdgeKey {
        EdgeKey {
            from: self.source,
            kind: self.kind,
            to: self.target,
            discriminator: self.discriminator,
        }
    }
}

/// An entry of a node in an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyEntry {
    pub(crate) index: u32,
    pub(crate) key: Arc<[u8]>,
    pub(crate) node: NodeId,
}

impl KeyEntry {
    pub(crate) fn place(&self) -> IndexEntryRef<'_> {
        IndexEntryRef { index: self.index, key: &self.key, node: self.node }
    }
}

impl From<IndexEntryRef<'_>> for KeyEntry {
    fn from(place: IndexEntryRef<'_>) -> Self {
        Self { index: place.index, key: place.key.into(), node: place.node }
    }
}

impl Equivalent<KeyEntry> for IndexEntryRef<'_> {
    fn equivalent(&self, entry: &KeyEntry) -> bool {
        *self == entry.place()
    }
}

impl equivalent::Comparable<KeyEntry> for IndexEntryRef<'_> {
    fn compare(&self, entry: &KeyEntry) -> Ordering {
        self.cmp(&entry.place())
    }
}

/// Attributes as a record has them: `None` if empty.
pub(crate) fn some_attributes(attributes: Attributes) -> Option<Arc<Attributes>> {
    (!attributes.is_empty()).then(|| Arc::new(attributes))
}

/// All entries under which a node is listed besides its id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SecondaryKeys<'a> {
    pub(crate) id: NodeId,
    pub(crate) kind: u32,
    expires: Option<Timestamp>,
    keys: &'a [(u32, Arc<[u8]>)],
    pub(crate) vectors: &'a [VectorSlot],
}

/// The [`SecondaryKeys`] of a node of the base, owned.
#[derive(Debug)]
pub(crate) struct StoredSecondaryKeys {
    pub(crate) kind: u32,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) keys: Box<[(u32, Arc<[u8]>)]>,
    pub(crate) vectors: Box<[VectorSlot]>,
}

impl StoredSecondaryKeys {
    pub(crate) fn of(&self, id: NodeId) -> SecondaryKeys<'_> {
        let Self { kind, expires, keys, vectors } = self;
        SecondaryKeys { id, kind: *kind, expires: *expires, keys, vectors }
    }
}

impl<'a> SecondaryKeys<'a> {
    /// Its entries in the indexes, including that of its expiry.
    pub(crate) fn entries(self) -> impl Iterator<Item = KeyEntry> + use<'a> {
        let node = self.id;
        let keys = self.keys.iter().map(move |(index, key)| KeyEntry {
            index: *index,
            key: Arc::clone(key),
            node,
        });
        keys.chain(self.expires.map(|expires| KeyEntry {
            index: EXPIRY,
            key: expiry_key(expires).into(),
            node,
        }))
    }

    pub(crate) fn has_entry(&self, entry: &KeyEntry) -> bool {
        if entry.index == EXPIRY {
            return self.expires.is_some_and(|expires| *expiry_key(expires) == *entry.key);
        }
        self.keys
            .binary_search_by(|(index, key)| (index, &**key).cmp(&(&entry.index, &*entry.key)))
            .is_ok()
    }

    /// Its vector in a space.
    pub(crate) fn vector(&self, space: u32) -> Option<&'a VectorSlot> {
        let at = self.vectors.binary_search_by_key(&space, |slot| slot.space).ok()?;
        self.vectors.get(at)
    }
}

impl NodeRecord {
    pub(crate) fn secondary_keys(&self) -> SecondaryKeys<'_> {
        let Self { id, kind, expires, keys, vectors, .. } = self;
        SecondaryKeys { id: *id, kind: *kind, expires: *expires, keys, vectors }
    }

    pub(crate) fn attributes(&self) -> &Attributes {
        static NONE: Attributes = Attributes::new();
        self.attributes.as_deref().unwrap_or(&NONE)
    }

    /// Its vector in a space.
    pub(crate) fn vector(&self, space: u32) -> Option<&VectorSlot> {
        self.secondary_keys().vector(space)
    }

    /// A record with default values.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self {
            id: NodeId::MIN,
            kind: 0,
            version: Seq::ZERO,
            content: Content::Empty,
            attributes: None,
            strength: 1.0,
            confidence: 1.0,
            created: Timestamp::default(),
            updated: Timestamp::default(),
            accessed: Timestamp::default(),
            access_count: 0,
            expires: None,
            keys: Box::default(),
            vectors: Box::default(),
        }
    }

    /// Estimated bytes of memory of the record in a layer.
    pub(crate) fn memory(&self) -> usize {
        let content = match &self.content {
            Content::Own(bytes) => bytes.len() + 16,
            // A `Batch` content is counted with its batch.
            Content::Batch { .. } | Content::Empty | Content::Stored { .. } => 0,
        };
        let keys = self.keys.iter().map(|(_, key)| key.len() + ENTRY_BYTES);
        let vectors = self
            .vectors
            .iter()
            .filter_map(|slot| slot.memory.as_ref())
            .map(|vector| size_of_val(&*vector.components) + ENTRY_BYTES);
        keys.chain(vectors).chain([content, map_memory(self.attributes()), RECORD_BYTES]).sum()
    }
}

/// The index key of a node that expires at this time.
pub(crate) fn expiry_key(expires: Timestamp) -> Vec<u8> {
    KeyBuilder::new().time(expires).build()
}

/// Estimated bytes of an entry of a persistent map, without what it points to.
pub(crate) const ENTRY_BYTES: usize = 96;

/// Estimated bytes of a record in the node table, including 20 to 85 bytes for
/// the indexes of the table.
pub(crate) const RECORD_BYTES: usize = size_of::<NodeRecord>() + 88;
