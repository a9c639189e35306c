//! What was committed since a checkpoint, in persistent maps: a clone shares
//! everything with its original, and costs a few counters.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use equivalent::Equivalent;
use im::OrdMap;

use super::{
    base::{Base, Heap},
    kinds::KindLog,
    table::NodeTable,
};
use crate::{
    error::{Error, Result},
    format::{
        heap::ContentPlace,
        manifest::{Counts, NamedSpace},
        tables::{EXPIRY, EdgeKey, KeyPlace, NodeRow},
        wal::ContentAt,
    },
    id::NodeId,
    model::{Attributes, Catalog, KeyBuilder, Method, Seq, Space, Timestamp, map_memory},
};

/// A node as it is stored: names interned, times filled in.
#[derive(Debug, Clone)]
pub(crate) struct NodeRecord {
    pub(crate) id: NodeId,
    pub(crate) kind: u32,
    pub(crate) version: Seq,
    pub(crate) content: Content,
    /// `None` if it has none, as most do.
    pub(crate) attributes: Option<Arc<Attributes>>,
    pub(crate) strength: f32,
    pub(crate) confidence: f32,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) accessed: Timestamp,
    pub(crate) access_count: u64,
    pub(crate) expires: Option<Timestamp>,
    /// Sorted, each once.
    pub(crate) keys: Box<[(u32, Arc<[u8]>)]>,
    /// Sorted by space, one each.
    pub(crate) vectors: Box<[VectorSlot]>,
}

/// The content of a node.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Empty,
    /// In the payload of the batch that wrote it, which stays as long as this:
    /// of a layer, as long as the layer, in which it counts.
    Batch {
        payload: Arc<[u8]>,
        at: ContentAt,
    },
    /// Taken out of an earlier layer.
    Own(Arc<[u8]>),
    /// Where an earlier state of the node has it. The heap stays mapped as long
    /// as this, whatever checkpoints do to its file.
    Stored {
        heap: Arc<Heap>,
        place: ContentPlace,
    },
}

impl Content {
    pub(crate) fn of_batch(payload: &Arc<[u8]>, at: ContentAt) -> Self {
        if at.len == 0 { Self::Empty } else { Self::Batch { payload: Arc::clone(payload), at } }
    }

    /// The bytes, checked if they are mapped.
    pub(crate) fn bytes(&self) -> Result<&[u8]> {
        match self {
            Self::Stored { heap, place } => heap.bytes(place.offset, place.len),
            _ => self.in_memory().ok_or_else(|| Error::invalid("content: it is beyond its batch")),
        }
    }

    /// The bytes, if they are not mapped.
    pub(crate) fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Self::Empty => Some(&[]),
            Self::Batch { payload, at } => {
                let from = usize::try_from(at.offset).ok()?;
                payload.get(from..from.checked_add(usize::try_from(at.len).ok()?)?)
            }
            Self::Own(bytes) => Some(bytes),
            Self::Stored { .. } => None,
        }
    }

    /// As something that does not keep the batch that wrote it.
    pub(crate) fn taken_out(&self) -> Self {
        match (self, self.in_memory()) {
            (Self::Batch { .. }, Some(bytes)) => Self::Own(bytes.into()),
            _ => self.clone(),
        }
    }
}

/// That a node has a vector in a space.
#[derive(Debug, Clone)]
pub(crate) struct VectorSlot {
    pub(crate) space: u32,
    /// The commit that wrote the vector: with node and space its name.
    pub(crate) seq: Seq,
    /// `None` if the base has it.
    pub(crate) memory: Option<Arc<Vector>>,
}

/// A vector with its Euclidean length.
#[derive(Debug)]
pub(crate) struct Vector {
    pub(crate) numbers: Box<[f32]>,
    pub(crate) norm: f64,
    pub(crate) seq: Seq,
    /// Of its node. A node that changes its kind gets its vectors anew.
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
    /// Its place at its source.
    pub(crate) fn key(&self) -> EdgeKey {
        EdgeKey {
            here: self.source,
            kind: self.kind,
            there: self.target,
            discriminator: self.discriminator,
        }
    }
}

/// A node's place in an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyEntry {
    pub(crate) index: u32,
    pub(crate) key: Arc<[u8]>,
    pub(crate) node: NodeId,
}

impl KeyEntry {
    pub(crate) fn place(&self) -> KeyPlace<'_> {
        KeyPlace { index: self.index, key: &self.key, node: self.node }
    }
}

impl Equivalent<KeyEntry> for KeyPlace<'_> {
    fn equivalent(&self, entry: &KeyEntry) -> bool {
        *self == entry.place()
    }
}

impl equivalent::Comparable<KeyEntry> for KeyPlace<'_> {
    fn compare(&self, entry: &KeyEntry) -> Ordering {
        self.cmp(&entry.place())
    }
}

/// Attributes as a record has them.
pub(super) fn some_attributes(attributes: Attributes) -> Option<Arc<Attributes>> {
    (!attributes.is_empty()).then(|| Arc::new(attributes))
}

/// Where a node is found other than by its name.
#[derive(Debug, Clone, Copy)]
struct Listing<'a> {
    id: NodeId,
    kind: u32,
    expires: Option<Timestamp>,
    keys: &'a [(u32, Arc<[u8]>)],
    vectors: &'a [VectorSlot],
}

/// Where a node of the base is.
#[derive(Debug)]
pub(crate) struct StoredListing {
    pub(crate) kind: u32,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) keys: Box<[(u32, Arc<[u8]>)]>,
    pub(crate) vectors: Box<[VectorSlot]>,
}

impl StoredListing {
    fn of(&self, id: NodeId) -> Listing<'_> {
        let Self { kind, expires, keys, vectors } = self;
        Listing { id, kind: *kind, expires: *expires, keys, vectors }
    }
}

impl<'a> Listing<'a> {
    /// Its places in the indexes, that of its expiry among them.
    fn entries(self) -> impl Iterator<Item = KeyEntry> + use<'a> {
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

    fn has_entry(&self, entry: &KeyEntry) -> bool {
        if entry.index == EXPIRY {
            return self.expires.is_some_and(|expires| *expiry_key(expires) == *entry.key);
        }
        self.keys
            .binary_search_by(|(index, key)| (index, &**key).cmp(&(&entry.index, &*entry.key)))
            .is_ok()
    }

    /// Its vector in a space.
    fn vector(&self, space: u32) -> Option<&'a VectorSlot> {
        let at = self.vectors.binary_search_by_key(&space, |slot| slot.space).ok()?;
        self.vectors.get(at)
    }
}

impl NodeRecord {
    fn listing(&self) -> Listing<'_> {
        let Self { id, kind, expires, keys, vectors, .. } = self;
        Listing { id: *id, kind: *kind, expires: *expires, keys, vectors }
    }

    pub(crate) fn attributes(&self) -> &Attributes {
        static NONE: Attributes = Attributes::new();
        self.attributes.as_deref().unwrap_or(&NONE)
    }

    /// Its vector in a space.
    pub(crate) fn vector(&self, space: u32) -> Option<&VectorSlot> {
        self.listing().vector(space)
    }

    /// A record of nothing.
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

    /// About how many bytes of memory the record takes in a layer.
    fn memory(&self) -> usize {
        let content = match &self.content {
            Content::Own(bytes) => bytes.len().saturating_add(16),
            // Counts with its batch.
            Content::Batch { .. } | Content::Empty | Content::Stored { .. } => 0,
        };
        let keys = self.keys.iter().map(|(_, key)| key.len().saturating_add(ENTRY_BYTES));
        let vectors = self
            .vectors
            .iter()
            .filter_map(|slot| slot.memory.as_ref())
            .map(|vector| size_of_val(&*vector.numbers).saturating_add(ENTRY_BYTES));
        keys.chain(vectors)
            .chain([content, map_memory(self.attributes()), RECORD_BYTES])
            .fold(0, usize::saturating_add)
    }
}

/// The key under which a node stands that expires then.
pub(crate) fn expiry_key(expires: Timestamp) -> Vec<u8> {
    KeyBuilder::new().time(expires).build()
}

/// About what an entry of a persistent map takes beside what it points to.
const ENTRY_BYTES: usize = 96;
/// What a record takes in the table of nodes, and of the table's indexes, which
/// is 20 to 85 bytes.
const RECORD_BYTES: usize = size_of::<NodeRecord>() + 88;
/// About what a place in the order of kinds takes, sorted or not.
const KIND_BYTES: usize = 72;

/// Names and the numbers that stand for them, given in the order of their
/// first appearance in the log, so that every replay gives the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dictionary {
    names: im::Vector<Arc<str>>,
    numbers: OrdMap<Arc<str>, u32>,
}

impl Dictionary {
    /// With these names, in the order of their numbers.
    fn of(names: &[String]) -> Self {
        let mut dictionary = Self::default();
        for name in names {
            dictionary.add(name.as_str().into());
        }
        dictionary
    }

    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The name behind a number. Numbers come from this dictionary.
    pub(crate) fn name(&self, number: u32) -> &str {
        usize::try_from(number).ok().and_then(|n| self.names.get(n)).map_or("", |name| name)
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Gives `name` the next number. The bound on kinds is far below 2^32.
    fn add(&mut self, name: Arc<str>) {
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push_back(Arc::clone(&name));
        self.numbers.insert(name, number);
    }
}

/// The vector spaces that a store has and had, by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spaces {
    by_number: Vec<NamedSpace>,
    /// Those that it has.
    names: BTreeMap<Box<str>, u32>,
}

impl Spaces {
    fn of(spaces: &[NamedSpace]) -> Self {
        let there = (0_u32..).zip(spaces).filter(|(_, space)| !space.dropped);
        let names = there.map(|(number, space)| (space.name.as_str().into(), number)).collect();
        Self { by_number: spaces.to_vec(), names }
    }

    /// The space of that name, and its number.
    pub(crate) fn get(&self, name: &str) -> Option<(u32, &NamedSpace)> {
        let number = *self.names.get(name)?;
        Some((number, self.by_number(number)?))
    }

    /// The space with that number, if it was not dropped.
    pub(crate) fn by_number(&self, number: u32) -> Option<&NamedSpace> {
        let space = self.by_number.get(usize::try_from(number).ok()?)?;
        (!space.dropped).then_some(space)
    }

    /// Those that there are, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &NamedSpace)> {
        self.names.values().filter_map(|number| Some((*number, self.by_number(*number)?)))
    }

    /// How many numbers were given.
    pub(crate) fn len(&self) -> usize {
        self.by_number.len()
    }

    fn add(&mut self, name: Box<str>, space: Space) {
        let number = u32::try_from(self.by_number.len()).unwrap_or(u32::MAX);
        self.by_number.push(NamedSpace::new(name.to_string(), space));
        self.names.insert(name, number);
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut NamedSpace> {
        self.by_number.get_mut(usize::try_from(number).ok()?)
    }

    fn drop(&mut self, number: u32) {
        if let Some(space) = self.get_mut(number) {
            space.dropped = true;
            let name = std::mem::take(&mut space.name);
            self.names.remove(name.as_str());
        }
    }
}

/// Changes on top of a base, or of another layer: what is not in it is as it is
/// below. `None` and `false` stand for what is there no more.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// Shared by all states of the layer, which look at it each at its own
    /// sequence number.
    pub(crate) nodes: Arc<NodeTable>,
    /// The kinds that nodes came to: shared likewise.
    pub(crate) by_kind: Arc<KindLog>,
    pub(crate) out: OrdMap<EdgeKey, Option<Arc<EdgeRecord>>>,
    pub(crate) into: OrdMap<EdgeKey, Option<Arc<EdgeRecord>>>,
    pub(crate) keys: OrdMap<KeyEntry, bool>,
    pub(crate) vectors: OrdMap<(u32, NodeId), Option<Arc<Vector>>>,
    /// About how many bytes of memory all this takes.
    pub(crate) bytes: usize,
}

impl Layer {
    fn new() -> Self {
        Self {
            nodes: Arc::default(),
            by_kind: Arc::default(),
            out: OrdMap::new(),
            into: OrdMap::new(),
            keys: OrdMap::new(),
            vectors: OrdMap::new(),
            bytes: 0,
        }
    }

    /// Whether nothing was changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
            && self.out.is_empty()
            && self.into.is_empty()
            && self.keys.is_empty()
            && self.vectors.is_empty()
    }

    fn grow(&mut self, more: usize, less: usize) {
        self.bytes = self.bytes.saturating_add(more).saturating_sub(less);
    }
}

/// What a checkpoint writes: a layer, and what was true when it was taken.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) layer: Layer,
    pub(crate) seq: Seq,
    pub(crate) kinds: Dictionary,
    pub(crate) indexes: Dictionary,
    pub(crate) spaces: Vec<NamedSpace>,
    pub(crate) counts: Counts,
}

impl Frozen {
    /// What it says of a node.
    pub(crate) fn node(&self, id: &NodeId) -> Option<Option<&NodeRecord>> {
        self.layer.nodes.get(id, self.seq)
    }
}

/// The state of a store.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// The last commit in it.
    pub(crate) seq: Seq,
    pub(crate) kinds: Dictionary,
    pub(crate) spaces: Arc<Spaces>,
    /// The number of vectors in each space, by number.
    pub(crate) vector_counts: Arc<Vec<u64>>,
    pub(crate) indexes: Dictionary,
    pub(crate) counts: Counts,
    /// What was committed since the last checkpoint began.
    pub(crate) active: Layer,
    /// What a checkpoint is writing, or failed to write.
    pub(crate) frozen: Option<Arc<Frozen>>,
    pub(crate) base: Arc<Base>,
}

/// A change that was decided and cannot fail.
///
/// What there is in the base is looked up when it is decided, since looking can
/// fail.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A kind gets the next number.
    Kind(Arc<str>),
    Space(Box<str>, Space),
    /// The space with that number goes, and all its vectors.
    DropSpace(u32),
    Method(u32, Method),
    /// An index gets the next number.
    Index(Arc<str>),
    /// Replaces the node's record, if any.
    Node {
        record: NodeRecord,
        below: Below,
    },
    /// Deletes a node that is there.
    DeleteNode {
        id: NodeId,
        below: Below,
        /// The edges that leave it and reach it in the base, as keys at it.
        out: Vec<EdgeKey>,
        into: Vec<EdgeKey>,
    },
    /// Replaces the edge, if any. With `keep_created`, the time of creation of
    /// the one that it replaces stays.
    Edge {
        record: EdgeRecord,
        keep_created: bool,
        /// When the edge was created that the base has.
        stored: Option<Timestamp>,
    },
    DeleteEdge {
        /// At its source.
        key: EdgeKey,
        /// Whether the base has it.
        stored: bool,
    },
}

/// Where that is of a node which an effect replaces.
#[derive(Debug)]
pub(crate) enum Below {
    /// The layers say what it is, or an effect before this one.
    Layers,
    /// Neither does: in the base it is this.
    Base(Option<StoredListing>),
}

/// What was found of a node that a batch is about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Looked<'s> {
    /// Nobody looked, or what was looked at is damaged.
    #[default]
    Not,
    /// What the layers say.
    Layers(Option<&'s NodeRecord>),
    /// They say nothing, and the base this.
    Base(Option<&'s NodeRow>),
}

impl State {
    /// The state that a checkpoint left.
    pub(crate) fn of_base(base: Arc<Base>) -> Self {
        let manifest = Arc::clone(&base.manifest);
        Self {
            seq: manifest.checkpoint,
            kinds: Dictionary::of(&manifest.kinds),
            indexes: Dictionary::of(&manifest.indexes),
            spaces: Arc::new(Spaces::of(&manifest.spaces)),
            vector_counts: Arc::new(manifest.spaces.iter().map(|space| space.vectors).collect()),
            counts: manifest.counts,
            active: Layer::new(),
            frozen: None,
            base,
        }
    }

    /// Takes the active layer for a checkpoint, unless one was taken and not
    /// written yet. `None` if there is nothing to write.
    pub(crate) fn freeze(&mut self) -> Option<&Arc<Frozen>> {
        if self.frozen.is_none() {
            if self.active.is_empty() && self.seq == self.base.manifest.checkpoint {
                return None;
            }
            self.frozen = Some(Arc::new(Frozen {
                layer: std::mem::replace(&mut self.active, Layer::new()),
                seq: self.seq,
                kinds: self.kinds.clone(),
                indexes: self.indexes.clone(),
                spaces: self.spaces_by_number(),
                counts: self.counts,
            }));
        }
        self.frozen.as_ref()
    }

    /// What a checkpoint of no changes writes: what the base has. The state may
    /// have gone on meanwhile.
    pub(crate) fn nothing_frozen(&self) -> Frozen {
        let manifest = &self.base.manifest;
        Frozen {
            layer: Layer::new(),
            seq: manifest.checkpoint,
            kinds: Dictionary::of(&manifest.kinds),
            indexes: Dictionary::of(&manifest.indexes),
            spaces: manifest.spaces.clone(),
            counts: manifest.counts,
        }
    }

    /// Puts the base in the place of what was frozen, which it holds.
    pub(crate) fn install(&mut self, base: Arc<Base>) {
        self.frozen = None;
        self.base = base;
    }

    /// About how many bytes of memory the layers take.
    pub(crate) fn layer_bytes(&self) -> usize {
        self.layers().map(|layer| layer.bytes).fold(0, usize::saturating_add)
    }

    /// The spaces by number.
    fn spaces_by_number(&self) -> Vec<NamedSpace> {
        let spaces = self.spaces.by_number.iter().zip(&*self.vector_counts);
        spaces.map(|(space, vectors)| NamedSpace { vectors: *vectors, ..space.clone() }).collect()
    }

    /// The layers, newest first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.active).chain(self.frozen.as_ref().map(|frozen| &frozen.layer))
    }

    /// What the layers say of a node: `None` nothing, `Some(None)` that it is
    /// not there.
    #[inline]
    pub(crate) fn layered_node(&self, id: &NodeId) -> Option<Option<&NodeRecord>> {
        let active = self.active.nodes.get(id, self.seq);
        active.or_else(|| self.frozen.as_ref().and_then(|frozen| frozen.node(id)))
    }

    /// Whether what the layers say of a node is what is frozen.
    pub(crate) fn is_frozen(&self, id: &NodeId) -> bool {
        self.active.nodes.get(id, self.seq).is_none()
    }

    /// Looks at nodes together, so that what one waits for, others do at the same
    /// time.
    pub(crate) fn look(&self, ids: &[Option<NodeId>]) -> Vec<Looked<'_>> {
        for layer in self.layers() {
            ids.iter().flatten().for_each(|id| layer.nodes.fetch(id));
        }
        let look = |id: &Option<NodeId>| match id {
            Some(id) => self.layered_node(id).map_or(Looked::Base(None), Looked::Layers),
            None => Looked::Not,
        };
        let mut looked: Vec<Looked<'_>> = ids.iter().map(look).collect();
        if !self.base.nodes.is_empty() {
            let left = ids.iter().zip(&mut looked);
            let left = left.filter(|(_, looked)| matches!(looked, Looked::Base(_)));
            let (ids, mut places): (Vec<NodeId>, Vec<_>) =
                left.filter_map(|(id, looked)| Some(((*id)?, looked))).unzip();
            self.base.look(&ids, &mut |at, found| {
                if let Some(place) = places.get_mut(at) {
                    **place = found.map_or(Looked::Not, Looked::Base);
                }
            });
        }
        looked
    }

    /// Whether anything may stand below the active layer.
    fn has_below(&self) -> bool {
        self.frozen.is_some() || !self.base.is_empty()
    }

    /// Applies the effects of one batch, which becomes commit `seq` and whose
    /// contents take `memory`.
    pub(crate) fn apply(
        &mut self,
        seq: Seq,
        effects: impl IntoIterator<Item = Effect>,
        memory: usize,
    ) {
        self.seq = seq;
        self.active.grow(memory, 0);
        // To look at while the state changes.
        let (nodes, frozen) = (Arc::clone(&self.active.nodes), self.frozen.clone());
        let before = |id: &NodeId| {
            nodes.get(id, seq).or_else(|| frozen.as_ref().and_then(|frozen| frozen.node(id)))
        };
        for effect in effects {
            match effect {
                Effect::Kind(name) => self.kinds.add(name),
                Effect::Space(name, space) => {
                    Arc::make_mut(&mut self.spaces).add(name, space);
                    Arc::make_mut(&mut self.vector_counts).push(0);
                }
                Effect::DropSpace(number) => self.drop_space(number),
                Effect::Method(number, method) => {
                    if let Some(space) = Arc::make_mut(&mut self.spaces).get_mut(number) {
                        space.method = method;
                    }
                }
                Effect::Index(name) => self.indexes.add(name),
                Effect::Node { record, below } => match below {
                    Below::Layers => {
                        let old = before(&record.id).flatten().map(NodeRecord::listing);
                        self.put_node(record, old, false);
                    }
                    Below::Base(stored) => {
                        let old = stored.as_ref().map(|stored| stored.of(record.id));
                        self.put_node(record, old, true);
                    }
                },
                Effect::DeleteNode { id, below, out, into } => match below {
                    Below::Layers => {
                        if let Some(old) = before(&id).flatten() {
                            self.delete_node(old.listing(), false, &out, &into);
                        }
                    }
                    Below::Base(stored) => {
                        if let Some(old) = stored {
                            self.delete_node(old.of(id), true, &out, &into);
                        }
                    }
                },
                Effect::Edge { record, keep_created, stored } => {
                    self.put_edge(record, keep_created, stored);
                }
                Effect::DeleteEdge { key, stored } => self.delete_edge(key, stored),
            }
        }
    }

    /// Its vectors in the layer go with it; those in the base, with the next
    /// checkpoint.
    fn drop_space(&mut self, number: u32) {
        Arc::make_mut(&mut self.spaces).drop(number);
        if let Some(count) = usize::try_from(number)
            .ok()
            .and_then(|number| Arc::make_mut(&mut self.vector_counts).get_mut(number))
        {
            self.counts.vectors = self.counts.vectors.saturating_sub(*count);
            *count = 0;
        }
    }

    /// Counts vectors of a space.
    fn count_vectors(&mut self, space: u32, change: i64) {
        let counts = Arc::make_mut(&mut self.vector_counts);
        // Slots of spaces that were dropped are not counted any more.
        if self.spaces.by_number(space).is_some()
            && let Some(count) = usize::try_from(space).ok().and_then(|at| counts.get_mut(at))
        {
            *count = count.saturating_add_signed(change);
            self.counts.vectors = self.counts.vectors.saturating_add_signed(change);
        }
    }

    #[inline]
    fn put_node(&mut self, record: NodeRecord, old: Option<Listing<'_>>, new: bool) {
        let id = record.id;
        let listing = record.listing();
        if old.is_none_or(|old| old.kind != record.kind) {
            self.note_kind(record.kind, id);
        }
        if let Some(old) = old {
            for entry in old.entries().filter(|entry| !listing.has_entry(entry)) {
                self.set_key(entry, false);
            }
            for slot in old.vectors {
                if listing.vector(slot.space).is_none() {
                    self.set_vector(slot.space, id, None);
                    self.count_vectors(slot.space, -1);
                }
            }
        } else {
            self.counts.nodes = self.counts.nodes.saturating_add(1);
        }
        for entry in listing.entries() {
            if old.is_none_or(|old| !old.has_entry(&entry)) {
                self.set_key(entry, true);
            }
        }
        for slot in listing.vectors {
            let before = old.and_then(|old| old.vector(slot.space));
            // One batch may write it twice, under one sequence number.
            let same = |before: &VectorSlot| {
                before.seq == slot.seq
                    && match (&before.memory, &slot.memory) {
                        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
                        (_, now) => now.is_none(),
                    }
            };
            if !before.is_some_and(same) {
                self.set_vector(slot.space, id, slot.memory.clone());
            }
            if before.is_none() {
                self.count_vectors(slot.space, 1);
            }
        }
        self.set_node(id, Some(record), new);
    }

    fn delete_node(&mut self, old: Listing<'_>, new: bool, out: &[EdgeKey], into: &[EdgeKey]) {
        let id = old.id;
        for entry in old.entries() {
            self.set_key(entry, false);
        }
        for slot in old.vectors {
            self.set_vector(slot.space, id, None);
            self.count_vectors(slot.space, -1);
        }
        self.counts.nodes = self.counts.nodes.saturating_sub(1);
        self.set_node(id, None, new);
        for key in out {
            self.delete_edge(*key, true);
        }
        for key in into {
            self.delete_edge(key.turned(), true);
        }
        // What the base has is gone by now.
        let all = EdgeKey::first(id, 0)..=EdgeKey::last(id, u32::MAX);
        let mut left: Vec<EdgeKey> = Vec::new();
        // A layer has each edge at both its ends, or at neither.
        for layer in self.layers().filter(|layer| !layer.out.is_empty()) {
            left.extend(layer.out.range(all.clone()).map(|(key, _)| *key));
            left.extend(layer.into.range(all.clone()).map(|(key, _)| key.turned()));
        }
        for key in left {
            self.delete_edge(key, false);
        }
    }

    /// What the layers say of an edge, by its key at its source.
    pub(crate) fn layered_edge(&self, key: &EdgeKey) -> Option<Option<&Arc<EdgeRecord>>> {
        self.layers().find_map(|layer| layer.out.get(key)).map(Option::as_ref)
    }

    fn put_edge(&mut self, mut record: EdgeRecord, keep_created: bool, stored: Option<Timestamp>) {
        let key = record.key();
        let created = match self.layered_edge(&key) {
            Some(layered) => layered.map(|old| old.created),
            None => stored,
        };
        if keep_created && let Some(created) = created {
            record.created = created;
        }
        if created.is_none() {
            self.counts.edges = self.counts.edges.saturating_add(1);
        }
        self.set_edge(key, Some(Arc::new(record)));
    }

    /// Deletes the edge with this key at its source.
    fn delete_edge(&mut self, key: EdgeKey, stored: bool) {
        let there = match self.layered_edge(&key) {
            Some(layered) => layered.is_some(),
            None => stored,
        };
        if there {
            self.counts.edges = self.counts.edges.saturating_sub(1);
            self.set_edge(key, None);
        }
    }

    /// `new`: no layer says anything of the node.
    #[inline]
    fn set_node(&mut self, id: NodeId, record: Option<NodeRecord>, new: bool) {
        // What it replaces stays until the layer goes.
        let memory = record.as_ref().map_or(RECORD_BYTES, NodeRecord::memory);
        if new {
            self.active.nodes.add(id, self.seq, record);
        } else {
            self.active.nodes.set(id, self.seq, record);
        }
        self.active.grow(memory, 0);
    }

    /// Notes that a node comes to a kind.
    fn note_kind(&mut self, kind: u32, id: NodeId) {
        self.active.by_kind.push(kind, id);
        self.active.grow(KIND_BYTES, 0);
    }

    fn set_key(&mut self, entry: KeyEntry, has: bool) {
        if entry.index != EXPIRY {
            let keys = &mut self.counts.keys;
            *keys = if has { keys.saturating_add(1) } else { keys.saturating_sub(1) };
        }
        let bytes = ENTRY_BYTES.saturating_add(entry.key.len());
        if has || self.has_below() {
            if self.active.keys.insert(entry, has).is_none() {
                self.active.grow(bytes, 0);
            }
        } else if self.active.keys.remove(&entry).is_some() {
            self.active.grow(0, bytes);
        }
    }

    fn set_vector(&mut self, space: u32, id: NodeId, vector: Option<Arc<Vector>>) {
        // The vector itself counts with its node.
        if vector.is_some() || self.has_below() {
            if self.active.vectors.insert((space, id), vector).is_none() {
                self.active.grow(ENTRY_BYTES, 0);
            }
        } else if self.active.vectors.remove(&(space, id)).is_some() {
            self.active.grow(0, ENTRY_BYTES);
        }
    }

    /// Sets an edge, both ways, by its key at its source.
    fn set_edge(&mut self, key: EdgeKey, record: Option<Arc<EdgeRecord>>) {
        let memory = |record: &Option<Arc<EdgeRecord>>| {
            let record = record.as_ref().map_or(0, |record| {
                size_of::<EdgeRecord>().saturating_add(map_memory(&record.attributes))
            });
            record.saturating_add(2 * ENTRY_BYTES)
        };
        let (more, old) = if record.is_some() || self.has_below() {
            self.active.into.insert(key.turned(), record.clone());
            (memory(&record), self.active.out.insert(key, record))
        } else {
            self.active.into.remove(&key.turned());
            (0, self.active.out.remove(&key))
        };
        self.active.grow(more, old.as_ref().map_or(0, memory));
    }
}

impl Catalog for State {
    fn space(&self, name: &str) -> Option<Space> {
        self.spaces.get(name).map(|(_, named)| named.space)
    }

    fn has_index(&self, name: &str) -> bool {
        self.indexes.number(name).is_some()
    }
}
