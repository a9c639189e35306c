//! Applies the effects of a batch to the active layer.

use std::{cmp::Ordering, ops::Bound, sync::Arc};

use crate::{
    format::tables::{EXPIRY, EdgeKey, IndexEntryRef},
    model::{
        batch::Named,
        id::NodeId,
        space::{Method, Space},
        time::{Seq, Timestamp},
        value::map_memory,
    },
    state::{
        State,
        catalog::{NamedIndex, Phase},
        layer::{KindChange, change},
        record::{
            ENTRY_BYTES, EdgeRecord, KeyEntry, NodeRecord, RECORD_BYTES, SecondaryKeys,
            StoredSecondaryKeys, Vector, VectorSlot,
        },
    },
};

/// Estimated bytes of an entry in the list of nodes by kind, sorted or not.
const KIND_BYTES: usize = 72;

/// A change that a decided batch makes to a state. Applying it cannot fail.
///
/// What it needs of the base was looked up for the decision, since reading the
/// base can fail.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Assigns the next number to a kind.
    Kind(Arc<str>),
    /// Notes that the layer uses a kind: it stays known until a checkpoint finds
    /// neither the base nor the layer with it.
    UseKind(u32),
    Space(Box<str>, Space),
    /// Drops the space with this number, and all its vectors.
    DropSpace(u32),
    Method(u32, Method),
    /// Creates an index with the next number.
    Index(NamedIndex),
    /// Drops an index, of which the base has so many entries.
    DropIndex {
        number: u32,
        stored: u64,
    },
    /// Notes how far an index is built.
    IndexPhase(u32, Phase),
    /// Gives the kind, the index or the space with this number another name.
    Rename(Named, u32, Arc<str>),
    /// The same kind in the definitions of indexes, which has another name.
    IndexedKind(Arc<str>, Arc<str>),
    /// Puts a node, and replaces its record if it exists.
    Node {
        record: NodeRecord,
        below: Below,
    },
    /// Deletes an existing node.
    DeleteNode {
        id: NodeId,
        below: Below,
        /// Keys of its edges in the base, in the out_edges and the in_edges
        /// table.
        out: Vec<EdgeKey>,
        in_edges: Vec<EdgeKey>,
    },
    /// Puts an edge, and replaces one with the same key. With `keep_created`,
    /// the creation time of a replaced edge is kept.
    Edge {
        record: EdgeRecord,
        keep_created: bool,
        /// The creation time of the edge in the base, if the base has it.
        stored: Option<Timestamp>,
    },
    DeleteEdge {
        /// In the out_edges table.
        key: EdgeKey,
        /// Whether the base has the edge.
        stored: bool,
    },
}

/// Where the version of a node is that an effect replaces.
#[derive(Debug)]
pub(crate) enum Below {
    /// A layer has an entry for it, possibly by an earlier effect of the batch.
    Layers,
    /// No layer has an entry. In the base the node has these secondary keys;
    /// `None` if it is not there.
    Base(Option<StoredSecondaryKeys>),
}

impl State {
    /// Applies the effects of one batch, which becomes commit `seq` and whose
    /// contents take `memory` bytes.
    pub(crate) fn apply(
        &mut self,
        seq: Seq,
        effects: impl IntoIterator<Item = Effect>,
        memory: usize,
    ) {
        self.seq = seq;
        self.active.grow(memory, 0);
        // References that stay usable while the state changes.
        let (nodes, frozen) = (Arc::clone(&self.active.nodes), self.frozen.clone());
        let before = |id: &NodeId| {
            nodes.get(id, seq).or_else(|| frozen.as_ref().and_then(|frozen| frozen.node(id)))
        };
        for effect in effects {
            match effect {
                Effect::Kind(name) => self.kinds.add(name),
                Effect::UseKind(number) => self.kinds.note_use(number),
                Effect::Space(name, space) => {
                    let number = Arc::make_mut(&mut self.spaces).add(name, space);
                    Arc::make_mut(&mut self.vector_counts).insert(number, 0);
                }
                Effect::DropSpace(number) => self.drop_space(number),
                Effect::Method(number, method) => {
                    if let Some(space) = Arc::make_mut(&mut self.spaces).get_mut(number) {
                        space.method = method;
                    }
                }
                Effect::Index(index) => Arc::make_mut(&mut self.indexes).add(index),
                Effect::DropIndex { number, stored } => self.drop_index(number, stored),
                Effect::Rename(Named::Kind, number, name) => {
                    self.renames = self.renames.saturating_add(1);
                    self.kinds.rename(number, name);
                }
                Effect::Rename(Named::Index, number, name) => {
                    self.renames = self.renames.saturating_add(1);
                    Arc::make_mut(&mut self.indexes).rename(number, name);
                }
                Effect::IndexedKind(from, to) => {
                    Arc::make_mut(&mut self.indexes).rename_kind(&from, &to);
                }
                Effect::Rename(Named::Space, number, name) => {
                    Arc::make_mut(&mut self.spaces).rename(number, (&*name).into());
                }
                Effect::IndexPhase(number, phase) => {
                    Arc::make_mut(&mut self.indexes).set_phase(number, phase);
                }
                Effect::Node { record, below } => match below {
                    Below::Layers => {
                        let old = before(&record.id).flatten().map(NodeRecord::secondary_keys);
                        self.put_node(record, old, false);
                    }
                    Below::Base(stored) => {
                        let old = stored.as_ref().map(|stored| stored.of(record.id));
                        self.put_node(record, old, true);
                    }
                },
                Effect::DeleteNode { id, below, out, in_edges } => match below {
                    Below::Layers => {
                        if let Some(old) = before(&id).flatten() {
                            self.delete_node(old.secondary_keys(), false, &out, &in_edges);
                        }
                    }
                    Below::Base(stored) => {
                        if let Some(old) = stored {
                            self.delete_node(old.of(id), true, &out, &in_edges);
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

    /// Drops a space. Its vectors in a layer are freed with the layer, those in
    /// the base by the next checkpoint.
    fn drop_space(&mut self, number: u32) {
        Arc::make_mut(&mut self.spaces).drop(number);
        if let Some(count) = Arc::make_mut(&mut self.vector_counts).remove(&number) {
            self.counts.vectors = self.counts.vectors.saturating_sub(count);
        }
    }

    /// Drops an index. Its entries in a layer are freed with the layer, those in the
    /// base by the next checkpoint.
    fn drop_index(&mut self, number: u32, stored: u64) {
        let place = |index| IndexEntryRef { index, key: &[], node: NodeId::MIN };
        let next = number.saturating_add(1);
        let layered =
            self.layered_keys((Bound::Included(place(number)), Bound::Excluded(place(next))));
        let keys = &mut self.counts.keys;
        *keys = keys.saturating_sub(stored.saturating_add_signed(layered));
        self.renames = self.renames.saturating_add(1);
        Arc::make_mut(&mut self.indexes).drop(number);
    }

    /// Changes the vector counts of a space. All counts start from those that a
    /// manifest declares, which may be any numbers, so they saturate.
    fn count_vectors(&mut self, space: u32, change: i64) {
        let counts = Arc::make_mut(&mut self.vector_counts);
        // Vectors of dropped spaces are not counted any more.
        if self.spaces.by_number(space).is_some()
            && let Some(count) = counts.get_mut(&space)
        {
            *count = count.saturating_add_signed(change);
            self.counts.vectors = self.counts.vectors.saturating_add_signed(change);
        }
    }

    #[inline]
    fn put_node(&mut self, record: NodeRecord, old: Option<SecondaryKeys<'_>>, new: bool) {
        let id = record.id;
        let secondary_keys = record.secondary_keys();
        if old.is_none_or(|old| old.kind != record.kind) {
            self.note_kind(record.kind, id);
            self.count_kind(record.kind, KindChange::NODE);
            if let Some(old) = old {
                self.count_kind(old.kind, KindChange::NO_NODE);
            }
        }
        if let Some(old) = old {
            for entry in old.entries().filter(|entry| !secondary_keys.has_entry(entry)) {
                self.set_key(entry, false);
            }
            for slot in old.vectors {
                if secondary_keys.vector(slot.space).is_none() {
                    self.set_vector(slot.space, id, None, true);
                    self.count_vectors(slot.space, -1);
                }
            }
        } else {
            self.counts.nodes = self.counts.nodes.saturating_add(1);
        }
        for entry in secondary_keys.entries() {
            if old.is_none_or(|old| !old.has_entry(&entry)) {
                self.set_key(entry, true);
            }
        }
        for slot in secondary_keys.vectors {
            let before = old.and_then(|old| old.vector(slot.space));
            // One batch may write the vector twice, with one sequence number.
            let same = |before: &VectorSlot| {
                before.seq == slot.seq
                    && match (&before.memory, &slot.memory) {
                        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
                        (_, now) => now.is_none(),
                    }
            };
            if !before.is_some_and(same) {
                self.set_vector(slot.space, id, slot.memory.clone(), before.is_some());
            }
            if before.is_none() {
                self.count_vectors(slot.space, 1);
            }
        }
        self.set_node(id, Some(record), new);
    }

    fn delete_node(
        &mut self,
        old: SecondaryKeys<'_>,
        new: bool,
        out: &[EdgeKey],
        in_edges: &[EdgeKey],
    ) {
        let id = old.id;
        for entry in old.entries() {
            self.set_key(entry, false);
        }
        for slot in old.vectors {
            self.set_vector(slot.space, id, None, true);
            self.count_vectors(slot.space, -1);
        }
        self.counts.nodes = self.counts.nodes.saturating_sub(1);
        self.count_kind(old.kind, KindChange::NO_NODE);
        self.set_node(id, None, new);
        for key in out {
            self.delete_edge(*key, true);
        }
        for key in in_edges {
            self.delete_edge(key.reversed(), true);
        }
        // The edges of the base are deleted by now.
        let all = EdgeKey::first(id, 0)..=EdgeKey::last(id, u32::MAX);
        let mut left: Vec<EdgeKey> = Vec::new();
        // A layer has each edge in both its maps, or in neither.
        for layer in self.layers().filter(|layer| !layer.out.is_empty()) {
            left.extend(layer.out.range(all.clone()).map(|(key, _)| *key));
            left.extend(layer.in_edges.range(all.clone()).map(|(key, _)| key.reversed()));
        }
        for key in left {
            self.delete_edge(key, false);
        }
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
            self.count_kind(key.kind, KindChange::EDGE);
        }
        self.set_edge(key, Some(Arc::new(record)), created.is_some());
    }

    /// Deletes the edge with this key in the out_edges table.
    fn delete_edge(&mut self, key: EdgeKey, stored: bool) {
        let there = match self.layered_edge(&key) {
            Some(layered) => layered.is_some(),
            None => stored,
        };
        if there {
            self.counts.edges = self.counts.edges.saturating_sub(1);
            self.count_kind(key.kind, KindChange::NO_EDGE);
            self.set_edge(key, None, true);
        }
    }

    /// `new`: no layer has an entry for the node.
    #[inline]
    fn set_node(&mut self, id: NodeId, record: Option<NodeRecord>, new: bool) {
        // A version that it replaces stays until the layer is dropped.
        let memory = record.as_ref().map_or(RECORD_BYTES, NodeRecord::memory);
        if new {
            self.active.nodes.add(id, self.seq, record);
        } else {
            self.active.nodes.set(id, self.seq, record);
        }
        self.active.grow(memory, 0);
    }

    /// Adds a node to the list of a kind.
    fn note_kind(&mut self, kind: u32, id: NodeId) {
        if self.dead.has_kind(&(kind, id)) {
            Arc::make_mut(&mut self.dead).revive_kind(&(kind, id));
        }
        self.active.by_kind.push(kind, id);
        self.active.grow(KIND_BYTES, 0);
    }

    /// Counts the nodes and edges of a kind that the active layer adds.
    #[inline]
    fn count_kind(&mut self, kind: u32, change: KindChange) {
        match self.active.of_kinds.get_mut(&kind) {
            Some(sum) => *sum = sum.and(change),
            None => {
                self.active.of_kinds.insert(kind, change);
                self.active.grow(ENTRY_BYTES, 0);
            }
        }
    }

    fn set_key(&mut self, entry: KeyEntry, has: bool) {
        if entry.index != EXPIRY {
            // Records keep the keys of indexes that were dropped.
            if !self.indexes.knows(entry.index) {
                return;
            }
            let keys = &mut self.counts.keys;
            *keys = if has { keys.saturating_add(1) } else { keys.saturating_sub(1) };
        }
        if has && self.dead.has_key(&entry) {
            Arc::make_mut(&mut self.dead).revive_key(&entry);
        }
        let bytes = ENTRY_BYTES + entry.key.len();
        let entries = self.active.keys.len();
        change::set(&mut self.active.keys, entry, has.then_some(()), !has);
        self.count_entries(entries, self.active.keys.len(), bytes);
    }

    /// `there`: whether the node has a vector in the space before.
    fn set_vector(&mut self, space: u32, id: NodeId, vector: Option<Arc<Vector>>, there: bool) {
        let entries = self.active.vectors.len();
        change::set(&mut self.active.vectors, (space, id), vector, there);
        // The vector itself is counted with its node.
        self.count_entries(entries, self.active.vectors.len(), ENTRY_BYTES);
    }

    /// Counts the memory of an entry that a map has got or lost.
    fn count_entries(&mut self, before: usize, after: usize, bytes: usize) {
        match after.cmp(&before) {
            Ordering::Greater => self.active.grow(bytes, 0),
            Ordering::Less => self.active.grow(0, bytes),
            Ordering::Equal => {}
        }
    }

    /// Sets an edge in both maps, by its key in the out_edges table. `there`:
    /// whether it is there before.
    fn set_edge(&mut self, key: EdgeKey, record: Option<Arc<EdgeRecord>>, there: bool) {
        let memory = |record: Option<&Arc<EdgeRecord>>| {
            let record =
                record.map_or(0, |record| size_of::<EdgeRecord>() + map_memory(&record.attributes));
            record + 2 * ENTRY_BYTES
        };
        if record.is_some() && self.dead.has_edge(&key) {
            Arc::make_mut(&mut self.dead).revive_edge(&key);
        }
        let more = memory(record.as_ref());
        change::set(&mut self.active.in_edges, key.reversed(), record.clone(), there);
        let entries = self.active.out.len();
        let old = change::set(&mut self.active.out, key, record, there);
        let freed = old.map_or(0, |old| memory(old.value()));
        // Without a tombstone, the entry has left the map, or was never in it.
        let now = self.active.out.len();
        let stays = now > entries || (now == entries && freed > 0);
        self.active.grow(if stays { more } else { 0 }, freed);
    }
}
