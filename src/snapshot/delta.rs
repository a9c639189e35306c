//! What was committed since the last checkpoint, in persistent maps: a clone
//! shares everything with its original, and costs a few counters.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use equivalent::Equivalent;
use foldhash::quality::RandomState;
use im::{GenericHashMap, OrdMap, OrdSet, shared_ptr::DefaultSharedPtr};

use crate::{
    id::NodeId,
    model::{Attributes, Catalog, Seq, Space, Timestamp},
};

/// Hashed by the 128 bits of the id with a seed of its own, since ids can come
/// from strangers.
type IdMap<V> = GenericHashMap<NodeId, V, RandomState, DefaultSharedPtr>;

/// A node as it is stored: names interned, times filled in.
#[derive(Debug, Clone)]
pub(crate) struct NodeRecord {
    pub(crate) id: NodeId,
    pub(crate) kind: u32,
    pub(crate) version: Seq,
    pub(crate) content: Arc<[u8]>,
    pub(crate) attributes: Arc<Attributes>,
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
    pub(crate) vectors: Box<[(u32, Arc<Vector>)]>,
}

/// A vector with its Euclidean length.
#[derive(Debug)]
pub(crate) struct Vector {
    pub(crate) numbers: Box<[f32]>,
    pub(crate) norm: f64,
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

/// An edge's place at one of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EdgeKey {
    /// The end at which it is found: the source of `out`, the target of `into`.
    pub(crate) here: NodeId,
    pub(crate) kind: u32,
    pub(crate) there: NodeId,
    pub(crate) discriminator: u64,
}

impl EdgeKey {
    pub(crate) const fn first(here: NodeId, kind: u32) -> Self {
        Self { here, kind, there: NodeId::MIN, discriminator: 0 }
    }

    pub(crate) const fn last(here: NodeId, kind: u32) -> Self {
        Self { here, kind, there: NodeId::MAX, discriminator: u64::MAX }
    }

    /// The same edge at its other end.
    const fn turned(self) -> Self {
        Self { here: self.there, there: self.here, ..self }
    }
}

/// A node's place in an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyEntry {
    pub(crate) index: u32,
    pub(crate) key: Arc<[u8]>,
    pub(crate) node: NodeId,
}

/// A place in an index to search from: a [`KeyEntry`] that owns nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyPlace<'k> {
    pub(crate) index: u32,
    pub(crate) key: &'k [u8],
    pub(crate) node: NodeId,
}

impl KeyEntry {
    fn place(&self) -> KeyPlace<'_> {
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

/// Names and the numbers that stand for them, given in the order of their
/// first appearance in the log, so that every replay gives the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dictionary {
    names: im::Vector<Arc<str>>,
    numbers: OrdMap<Arc<str>, u32>,
}

impl Dictionary {
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

/// The state of a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delta {
    /// The last commit in it.
    pub(crate) seq: Seq,
    pub(crate) kinds: Dictionary,
    pub(crate) spaces: Arc<BTreeMap<Box<str>, (u32, Space)>>,
    pub(crate) indexes: Dictionary,
    pub(crate) nodes: IdMap<Arc<NodeRecord>>,
    pub(crate) by_kind: OrdSet<(u32, NodeId)>,
    pub(crate) out: OrdMap<EdgeKey, Arc<EdgeRecord>>,
    pub(crate) into: OrdMap<EdgeKey, Arc<EdgeRecord>>,
    pub(crate) keys: OrdSet<KeyEntry>,
    pub(crate) vectors: OrdMap<(u32, NodeId), Arc<Vector>>,
    pub(crate) expiring: OrdSet<(Timestamp, NodeId)>,
}

/// A change that was decided and cannot fail.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A kind gets the next number.
    Kind(Arc<str>),
    Space(Box<str>, u32, Space),
    /// An index gets the next number.
    Index(Arc<str>),
    /// Replaces the node's record, if any.
    Node(Arc<NodeRecord>),
    DeleteNode(NodeId),
    /// Replaces the edge, if any. With `keep_created`, the time of creation of
    /// the one that it replaces stays.
    Edge {
        record: EdgeRecord,
        keep_created: bool,
    },
    DeleteEdge(EdgeKey),
}

impl Delta {
    /// Applies the effects of one batch, which becomes commit `seq`.
    pub(crate) fn apply(&mut self, seq: Seq, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            match effect {
                Effect::Kind(name) => self.kinds.add(name),
                Effect::Space(name, number, space) => {
                    Arc::make_mut(&mut self.spaces).insert(name, (number, space));
                }
                Effect::Index(name) => self.indexes.add(name),
                Effect::Node(record) => self.put_node(record),
                Effect::DeleteNode(id) => self.delete_node(id),
                Effect::Edge { record, keep_created } => self.put_edge(record, keep_created),
                Effect::DeleteEdge(key) => self.delete_edge(key),
            }
        }
        self.seq = seq;
    }

    fn put_node(&mut self, record: Arc<NodeRecord>) {
        let id = record.id;
        let old = self.nodes.insert(id, Arc::clone(&record));
        if let Some(old) = &old {
            if old.kind != record.kind {
                self.by_kind.remove(&(old.kind, id));
            }
            for (index, key) in &old.keys {
                if record.keys.binary_search(&(*index, Arc::clone(key))).is_err() {
                    self.keys.remove(&KeyPlace { index: *index, key, node: id });
                }
            }
            for (space, _) in &old.vectors {
                if record.vectors.binary_search_by_key(space, |(space, _)| *space).is_err() {
                    self.vectors.remove(&(*space, id));
                }
            }
            if let Some(expires) = old.expires.filter(|_| old.expires != record.expires) {
                self.expiring.remove(&(expires, id));
            }
        }
        let old = old.as_deref();
        if old.is_none_or(|old| old.kind != record.kind) {
            self.by_kind.insert((record.kind, id));
        }
        for entry in &record.keys {
            if old.is_none_or(|old| old.keys.binary_search(entry).is_err()) {
                let (index, key) = entry;
                self.keys.insert(KeyEntry { index: *index, key: Arc::clone(key), node: id });
            }
        }
        for (space, vector) in &record.vectors {
            self.vectors.insert((*space, id), Arc::clone(vector));
        }
        if let Some(expires) = record.expires {
            self.expiring.insert((expires, id));
        }
    }

    fn delete_node(&mut self, id: NodeId) {
        let Some(record) = self.nodes.remove(&id) else { return };
        self.by_kind.remove(&(record.kind, id));
        for (index, key) in &record.keys {
            self.keys.remove(&KeyPlace { index: *index, key, node: id });
        }
        for (space, _) in &record.vectors {
            self.vectors.remove(&(*space, id));
        }
        if let Some(expires) = record.expires {
            self.expiring.remove(&(expires, id));
        }
        let all = EdgeKey::first(id, 0)..=EdgeKey::last(id, u32::MAX);
        let out: Vec<EdgeKey> = self.out.range(all.clone()).map(|(key, _)| *key).collect();
        for key in out {
            self.delete_edge(key);
        }
        let into: Vec<EdgeKey> = self.into.range(all).map(|(key, _)| *key).collect();
        for key in into {
            self.delete_edge(key.turned());
        }
    }

    fn put_edge(&mut self, mut record: EdgeRecord, keep_created: bool) {
        let key = EdgeKey {
            here: record.source,
            kind: record.kind,
            there: record.target,
            discriminator: record.discriminator,
        };
        if keep_created && let Some(old) = self.out.get(&key) {
            record.created = old.created;
        }
        let record = Arc::new(record);
        self.out.insert(key, Arc::clone(&record));
        self.into.insert(key.turned(), record);
    }

    /// Deletes the edge with this key at its source.
    fn delete_edge(&mut self, key: EdgeKey) {
        self.out.remove(&key);
        self.into.remove(&key.turned());
    }
}

impl Catalog for Delta {
    fn space(&self, name: &str) -> Option<Space> {
        self.spaces.get(name).map(|(_, space)| *space)
    }

    fn has_index(&self, name: &str) -> bool {
        self.indexes.number(name).is_some()
    }
}
