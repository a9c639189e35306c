//! Decides a batch: turns its operations and the state before them into
//! effects, which cannot fail, or refuses it.
//!
//! A pure function, so that a batch is decided in the same way when it is
//! written and when it is replayed.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use foldhash::quality::RandomState;

use crate::{
    format::{
        heap::NodeMeta,
        pack::check_attributes_size,
        tables::EdgeKey,
        wal::{ContentAt, Contents},
    },
    model::{
        batch::{Named, Op, Precondition},
        catalog::{unknown_index, unknown_kind, unknown_space},
        error::{ConflictReason, Error, Result},
        id::NodeId,
        limits::{self, check_count},
        node::{IndexKey, Node, Patch},
        space::Space,
        time::{Seq, Timestamp},
        value::check_attributes,
    },
    num,
    state::{
        Prefetched, State,
        apply::{Below, Effect},
        base::{Base, stored::StoredNode},
        record::{Content, EdgeRecord, NodeRecord, Vector, VectorSlot, some_attributes},
    },
    vector,
};

/// Nodes are prefetched for batches of at least this many operations.
const FETCH_FROM: usize = 8;

/// Operations that are prefetched together. With more, what is fetched would
/// leave the processor's caches or its TLB before it is used.
const WINDOW: usize = 64;

/// The effects of `ops` on `state` if they become commit `seq` at `time`.
///
/// # Errors
/// `Conflict` for the first operation whose precondition does not hold;
/// `Limit` and `Invalid` for what depends on the state; `Corrupt` if data that
/// the decision needs is damaged on disk.
pub(crate) fn decide(
    state: &State,
    seq: Seq,
    time: Timestamp,
    ops: Vec<Op>,
    contents: &Contents,
) -> Result<Vec<Effect>> {
    decide_as(state, seq, time, ops, contents, false)
}

/// As [`decide`], for a batch of the log. A checkpoint that came after the batch
/// may have found that a kind has no nodes and no edges, so the batch need not
/// find the kind that it renames: then there is nothing to rename.
pub(crate) fn decide_again(
    state: &State,
    seq: Seq,
    time: Timestamp,
    ops: Vec<Op>,
    contents: &Contents,
) -> Result<Vec<Effect>> {
    decide_as(state, seq, time, ops, contents, true)
}

fn decide_as(
    state: &State,
    seq: Seq,
    time: Timestamp,
    ops: Vec<Op>,
    contents: &Contents,
    again: bool,
) -> Result<Vec<Effect>> {
    let track = ops.len() > 1;
    let mut batch = Decision {
        state,
        seq,
        time,
        contents,
        effects: Vec::with_capacity(ops.len()),
        track,
        nodes: HashMap::with_capacity_and_hasher(
            if track { ops.len() } else { 0 },
            RandomState::default(),
        ),
        again,
        kinds: HashMap::default(),
        new_kinds: 0,
        spaces: HashMap::default(),
        new_spaces: 0,
        dropped_spaces: BTreeSet::new(),
        used_kinds: BTreeSet::new(),
        indexes: HashMap::default(),
        new_indexes: 0,
    };
    let nodes: Vec<[Option<NodeId>; 2]> =
        if ops.len() >= FETCH_FROM { ops.iter().map(Op::nodes).collect() } else { Vec::new() };
    let mut windows = nodes.chunks(WINDOW);
    let mut prefetched = Vec::new().into_iter();
    for (index, op) in ops.into_iter().enumerate() {
        if index % WINDOW == 0 {
            let window = windows.next().map(|window| state.prefetch_lookup(window.as_flattened()));
            prefetched = window.unwrap_or_default().into_iter();
        }
        let mut next = || prefetched.next().unwrap_or_default();
        let prefetched = [next(), next()];
        batch.op(op, prefetched, contents.of(index)).map_err(|error| match error {
            Error::Conflict { op: _, node, reason } => Error::Conflict { op: index, node, reason },
            other => other,
        })?;
    }
    Ok(batch.effects)
}

/// What a put node keeps of the version that it replaces.
#[derive(Clone, Copy)]
struct Before {
    version: Seq,
    created: Timestamp,
    accessed: Timestamp,
    access_count: u64,
    expires: Option<Timestamp>,
}

impl Before {
    fn of(record: &NodeRecord) -> Self {
        let NodeRecord { version, created, accessed, access_count, expires, .. } = *record;
        Self { version, created, accessed, access_count, expires }
    }

    fn from_stored(node: &StoredNode<'_>) -> Self {
        let NodeMeta { version, created, accessed, access_count, expires, .. } = *node.meta();
        Self { version, created, accessed, access_count, expires }
    }
}

struct Decision<'s> {
    state: &'s State,
    seq: Seq,
    time: Timestamp,
    contents: &'s Contents,
    effects: Vec<Effect>,
    /// Whether later operations have to see earlier ones.
    track: bool,
    /// Nodes that earlier operations of the batch changed: the index of the
    /// effect with the record, or `None` if the node was deleted.
    nodes: HashMap<NodeId, Option<usize>, RandomState>,
    /// Whether the batch is of the log.
    again: bool,
    /// Names that earlier operations of the batch gave; `None` for one that they
    /// took away, of what they renamed or dropped.
    kinds: HashMap<Arc<str>, Option<u32>, RandomState>,
    spaces: HashMap<Box<str>, Option<(u32, Space)>, RandomState>,
    indexes: HashMap<Arc<str>, Option<u32>, RandomState>,
    /// How many kinds, spaces and indexes the batch has created.
    new_kinds: usize,
    new_spaces: usize,
    new_indexes: usize,
    /// The numbers of the spaces that it has dropped.
    dropped_spaces: BTreeSet<u32>,
    /// Kinds of the state that the batch has noted as used.
    used_kinds: BTreeSet<u32>,
}

impl<'s> Decision<'s> {
    fn op(&mut self, op: Op, prefetched: [Prefetched<'s>; 2], content: ContentAt) -> Result<()> {
        let [first, second] = prefetched;
        match op {
            Op::Put { node, precondition } => self.put(node, first, content, precondition),
            Op::Patch { id, patch } => self.patch(id, patch, first, content),
            Op::Touch { id, count } => {
                let (mut record, below) = self.present_record(id, first)?;
                record.access_count = record.access_count.saturating_add(count);
                record.accessed = record.accessed.max(self.time);
                self.set(record, below);
                Ok(())
            }
            Op::Expire { id, expires } => {
                let (mut record, below) = self.present_record(id, first)?;
                record.expires = expires;
                self.set(record, below);
                Ok(())
            }
            Op::Delete { id } => self.delete(id, first),
            Op::Prune { id, before } => {
                let expires = match self.in_memory(id, first) {
                    Some(record) => record.and_then(|record| record.expires),
                    None => self.in_base(id, first)?.and_then(|node| node.meta().expires),
                };
                if expires.is_some_and(|at| at <= before) {
                    self.delete(id, first)?;
                }
                Ok(())
            }
            Op::Link { edge } => {
                self.check_present(edge.source, first)?;
                self.check_present(edge.target, second)?;
                let kind = self.kind(&edge.kind)?;
                let stored = self.stored_edge(EdgeKey {
                    from: edge.source,
                    kind,
                    to: edge.target,
                    discriminator: edge.discriminator,
                })?;
                self.effects.push(Effect::Edge {
                    keep_created: edge.created.is_none(),
                    stored,
                    record: EdgeRecord {
                        source: edge.source,
                        kind,
                        target: edge.target,
                        discriminator: edge.discriminator,
                        weight: edge.weight,
                        confidence: edge.confidence,
                        attributes: edge.attributes,
                        created: edge.created.unwrap_or(self.time),
                        updated: edge.updated.unwrap_or(self.time),
                    },
                });
                Ok(())
            }
            Op::Unlink { source, kind, target, discriminator } => {
                // An unknown kind has no edges.
                if let Some(kind) = self.known_kind(&kind) {
                    let key = EdgeKey { from: source, kind, to: target, discriminator };
                    let stored = self.stored_edge(key)?.is_some();
                    self.effects.push(Effect::DeleteEdge { key, stored });
                }
                Ok(())
            }
            Op::CreateSpace { name, space } => self.create_space(name, space),
            Op::CreateIndex { name } => self.create_index(name),
            Op::DropSpace { name } => {
                let (number, _) = self.space(&name)?;
                self.spaces.insert(name.into_boxed_str(), None);
                self.dropped_spaces.insert(number);
                self.effects.push(Effect::DropSpace(number));
                Ok(())
            }
            Op::SetMethod { name, method } => {
                let (number, _) = self.space(&name)?;
                self.effects.push(Effect::Method(number, method));
                Ok(())
            }
            Op::Rename { what, from, to } => self.rename(what, from, to),
        }
    }

    fn rename(&mut self, what: Named, from: String, to: String) -> Result<()> {
        let there = match what {
            Named::Kind => self.known_kind(&to).is_some(),
            Named::Index => self.index(&to).is_ok(),
            Named::Space => self.space(&to).is_ok(),
        };
        let name: Arc<str> = to.into();
        let number = match what {
            Named::Kind => match self.known_kind(&from) {
                Some(number) => number,
                None if self.again => return Ok(()),
                None => return Err(unknown_kind(&from)),
            },
            Named::Index => self.index(&from)?,
            Named::Space => self.space(&from)?.0,
        };
        if there {
            let noun = what.noun();
            return Err(Error::invalid(format!(
                "{noun} {from:?}: it cannot be renamed to {name:?}, which the store has already"
            )));
        }
        match what {
            Named::Kind => {
                self.kinds.insert(from.into(), None);
                self.kinds.insert(Arc::clone(&name), Some(number));
            }
            Named::Index => {
                self.indexes.insert(from.into(), None);
                self.indexes.insert(Arc::clone(&name), Some(number));
            }
            Named::Space => {
                let space = self.space(&from)?;
                self.spaces.insert(from.into_boxed_str(), None);
                self.spaces.insert((&*name).into(), Some(space));
            }
        }
        self.effects.push(Effect::Rename(what, number, name));
        Ok(())
    }

    fn put(
        &mut self,
        node: Node,
        prefetched: Prefetched<'s>,
        content: ContentAt,
        precondition: Precondition,
    ) -> Result<()> {
        let id = node.id;
        let (old, below) = match self.in_memory(id, prefetched) {
            Some(record) => (record.map(Before::of), Below::Layers),
            None => {
                let stored = self.in_base(id, prefetched)?;
                let before = stored.as_ref().map(Before::from_stored);
                (before, Below::Base(stored.map(|node| node.secondary_keys())))
            }
        };
        let conflict = |reason| Err(conflict(id, reason));
        match (precondition, &old) {
            (Precondition::Absent, Some(_)) => return conflict(ConflictReason::Exists),
            (Precondition::Version(_), None) => return conflict(ConflictReason::Missing),
            (Precondition::Version(expected), Some(old)) if old.version != expected => {
                return conflict(ConflictReason::Version { expected, found: old.version });
            }
            _ => {}
        }
        let keys = node
            .keys
            .into_iter()
            .map(|IndexKey { index, key }| Ok((self.index(&index)?, Arc::from(key))))
            .collect::<Result<Vec<_>>>()?;
        let kind = self.kind(&node.kind)?;
        let vectors = node
            .vectors
            .into_iter()
            .map(|(space, components)| self.vector(&space, kind, components))
            .collect::<Result<Vec<_>>>()?;
        let record = NodeRecord {
            id,
            kind,
            version: self.seq,
            content: Content::from_batch(self.contents.kept(), content),
            attributes: some_attributes(node.attributes),
            strength: node.strength,
            confidence: node.confidence,
            created: node.created.or(old.map(|old| old.created)).unwrap_or(self.time),
            updated: node.updated.unwrap_or(self.time),
            accessed: node.accessed.or(old.map(|old| old.accessed)).unwrap_or(self.time),
            access_count: node.access_count.or(old.map(|old| old.access_count)).unwrap_or(0),
            expires: node.expires.over(old.and_then(|old| old.expires)),
            keys: sorted_keys(keys),
            vectors: sorted_vectors(vectors),
        };
        self.set(record, below);
        Ok(())
    }

    fn patch(
        &mut self,
        id: NodeId,
        patch: Patch,
        prefetched: Prefetched<'s>,
        content: ContentAt,
    ) -> Result<()> {
        let (mut record, below) = self.present_record(id, prefetched)?;
        let kind_before = record.kind;
        if let Some(kind) = &patch.kind {
            record.kind = self.kind(kind)?;
        }
        if patch.content.is_some() {
            record.content = Content::from_batch(self.contents.kept(), content);
        }
        if !patch.attributes.is_empty() {
            let mut attributes = record.attributes().clone();
            for (name, value) in patch.attributes {
                match value {
                    Some(value) => attributes.insert(name, value),
                    None => attributes.remove(&name),
                };
            }
            check_attributes(&attributes)?;
            check_attributes_size(&attributes)?;
            record.attributes = some_attributes(attributes);
        }
        record.strength = patch.strength.unwrap_or(record.strength);
        record.confidence = patch.confidence.unwrap_or(record.confidence);
        if !patch.keys.is_empty() {
            let mut keys = record.keys.into_vec();
            for (name, replacement) in patch.keys {
                let index = self.index(&name)?;
                keys.retain(|(of, _)| *of != index);
                keys.extend(replacement.into_iter().map(|key| (index, Arc::from(key))));
            }
            check_count("index keys of a node", keys.len(), limits::NODE_KEYS)?;
            record.keys = sorted_keys(keys);
        }
        if !patch.vectors.is_empty() {
            let mut vectors = record.vectors.into_vec();
            for (name, replacement) in patch.vectors {
                let (space, _) = self.space(&name)?;
                vectors.retain(|slot| slot.space != space && self.has_space(slot.space));
                if let Some(components) = replacement {
                    vectors.push(self.vector(&name, record.kind, components)?);
                }
            }
            check_count("vectors of a node", vectors.len(), limits::NODE_VECTORS)?;
            record.vectors = sorted_vectors(vectors);
        }
        if record.kind != kind_before {
            // Vectors are stored with the kind of their node.
            let (id, kind) = (record.id, record.kind);
            let vectors = std::mem::take(&mut record.vectors).into_vec().into_iter();
            let moved = vectors.map(|slot| self.of_kind(id, slot, kind));
            record.vectors = moved.filter_map(Result::transpose).collect::<Result<_>>()?;
        }
        record.version = self.seq;
        record.updated = self.time;
        self.set(record, below);
        Ok(())
    }

    fn create_space(&mut self, name: String, space: Space) -> Result<()> {
        match self.space(&name) {
            Ok((_, existing)) if existing == space => Ok(()),
            Ok((_, existing)) => Err(Error::invalid(format!(
                "space {name:?}: it exists as {existing:?}, which is not {space:?}"
            ))),
            Err(_) => {
                let (known, new) = (self.state.spaces().len(), self.new_spaces);
                let spaces = (known + new + 1).saturating_sub(self.dropped_spaces.len());
                check_count("vector spaces of a store", spaces, limits::SPACES)?;
                let what = "vector spaces that a store ever had";
                let number = next_number(self.state.spaces().next(), new, what)?;
                self.new_spaces += 1;
                let name = name.into_boxed_str();
                self.spaces.insert(name.clone(), Some((number, space)));
                self.effects.push(Effect::Space(name, space));
                Ok(())
            }
        }
    }

    fn create_index(&mut self, name: String) -> Result<()> {
        if self.index(&name).is_ok() {
            return Ok(());
        }
        let number = self.state.indexes().len() + self.new_indexes;
        check_count("indexes of a store", number + 1, limits::INDEXES)?;
        let name: Arc<str> = name.into();
        self.new_indexes += 1;
        self.indexes.insert(Arc::clone(&name), Some(num::short(number)));
        self.effects.push(Effect::Index(name));
        Ok(())
    }

    /// Looks up a node in the batch and the layers: `None` if they have no
    /// entry for it, `Some(None)` if it was deleted.
    fn in_memory(&self, id: NodeId, prefetched: Prefetched<'s>) -> Option<Option<&NodeRecord>> {
        match (self.nodes.get(&id), prefetched) {
            (Some(changed), _) => Some(changed.and_then(|at| match self.effects.get(at) {
                Some(Effect::Node { record, .. }) => Some(record),
                _ => None,
            })),
            (None, Prefetched::Layers(record)) => Some(record),
            (None, Prefetched::Base(_)) => None,
            (None, Prefetched::Not) => self.state.layered_node(&id),
        }
    }

    /// Looks up a node in the base.
    fn in_base(&self, id: NodeId, prefetched: Prefetched<'s>) -> Result<Option<StoredNode<'s>>> {
        let base = self.state.base();
        match prefetched {
            Prefetched::Base(row) => row.map(|row| base.stored(row)).transpose(),
            Prefetched::Layers(_) | Prefetched::Not => base.node(id),
        }
    }

    fn check_present(&self, id: NodeId, prefetched: Prefetched<'s>) -> Result<()> {
        let there = match (self.in_memory(id, prefetched), prefetched) {
            (Some(record), _) => record.is_some(),
            (None, Prefetched::Base(row)) => row.is_some(),
            (None, _) => self.state.base().node_row(id)?.is_some(),
        };
        if there { Ok(()) } else { Err(conflict(id, ConflictReason::Missing)) }
    }

    /// A copy of an existing node to be changed, and where its old version is.
    fn present_record(
        &mut self,
        id: NodeId,
        prefetched: Prefetched<'s>,
    ) -> Result<(NodeRecord, Below)> {
        let missing = || conflict(id, ConflictReason::Missing);
        if let Some(record) = self.in_memory(id, prefetched) {
            let mut record = record.ok_or_else(missing)?.clone();
            // Copies the content, so that the payloads of the frozen layer are
            // freed with it.
            if !self.nodes.contains_key(&id) && self.state.is_frozen(&id) {
                record.content = record.content.detached();
            }
            self.use_kind(record.kind);
            return Ok((record, Below::Layers));
        }
        let node = self.in_base(id, prefetched)?.ok_or_else(missing)?;
        let record = self.state.base().record_of(node)?;
        self.use_kind(record.kind);
        Ok((record, Below::Base(Some(node.secondary_keys()))))
    }

    /// The creation time of an edge in the base, by its key in the out_edges
    /// table.
    fn stored_edge(&self, key: EdgeKey) -> Result<Option<Timestamp>> {
        let row = Base::edge(self.state.base().out(), &key)?;
        Ok(row.map(|row| Timestamp::from_micros(row.created.get())))
    }

    fn set(&mut self, record: NodeRecord, below: Below) {
        if self.track {
            self.nodes.insert(record.id, Some(self.effects.len()));
        }
        self.effects.push(Effect::Node { record, below });
    }

    fn delete(&mut self, id: NodeId, prefetched: Prefetched<'s>) -> Result<()> {
        let below = match self.in_memory(id, prefetched) {
            Some(None) => return Ok(()),
            Some(Some(_)) => Below::Layers,
            None => match self.in_base(id, prefetched)? {
                None => return Ok(()),
                Some(node) => Below::Base(Some(node.secondary_keys())),
            },
        };
        let base = self.state.base();
        let out = Base::edges_of(base.out(), id)?.collect::<Result<Vec<_>>>()?;
        let in_edges = Base::edges_of(base.in_edges(), id)?.collect::<Result<Vec<_>>>()?;
        if self.track {
            self.nodes.insert(id, None);
        }
        self.effects.push(Effect::DeleteNode { id, below, out, in_edges });
        Ok(())
    }

    fn known_kind(&self, name: &str) -> Option<u32> {
        match self.kinds.get(name) {
            Some(changed) => *changed,
            None => self.state.kinds().number(name),
        }
    }

    /// The number of a kind, which is assigned if the kind is new.
    fn kind(&mut self, name: &str) -> Result<u32> {
        match self.kinds.get(name) {
            Some(Some(number)) => return Ok(*number),
            // Renamed by the batch.
            Some(None) => {}
            None => {
                if let Some((number, used)) = self.state.kinds().number_and_use(name) {
                    if !used {
                        self.use_kind(number);
                    }
                    return Ok(number);
                }
            }
        }
        let (known, new) = (self.state.kinds().len(), self.new_kinds);
        check_count("kinds of a store", known + new + 1, limits::KINDS)?;
        let number = next_number(self.state.kinds().next(), new, "kinds that a store ever had")?;
        let name: Arc<str> = name.into();
        self.new_kinds += 1;
        self.kinds.insert(Arc::clone(&name), Some(number));
        self.effects.push(Effect::Kind(name));
        Ok(number)
    }

    /// Notes that the layer has a kind.
    fn use_kind(&mut self, number: u32) {
        let kinds = self.state.kinds();
        if !kinds.is_used(number) && kinds.knows(number) && self.used_kinds.insert(number) {
            self.effects.push(Effect::UseKind(number));
        }
    }

    fn space(&self, name: &str) -> Result<(u32, Space)> {
        let known = match self.spaces.get(name) {
            Some(changed) => *changed,
            None => self.state.spaces().get(name).map(|(number, named)| (number, named.space)),
        };
        known.ok_or_else(|| unknown_space(name))
    }

    fn index(&self, name: &str) -> Result<u32> {
        let known = match self.indexes.get(name) {
            Some(changed) => *changed,
            None => self.state.indexes().number(name),
        };
        known.ok_or_else(|| unknown_index(name))
    }

    fn vector(&self, name: &str, kind: u32, components: Vec<f32>) -> Result<VectorSlot> {
        let (number, space) = self.space(name)?;
        space.check_vector(name, &components)?;
        let norm = vector::norm(&components);
        Ok(self.slot(number, Vector { components: components.into(), norm, seq: self.seq, kind }))
    }

    /// Whether a space with this number exists.
    fn has_space(&self, number: u32) -> bool {
        !self.dropped_spaces.contains(&number)
            && (self.state.spaces().by_number(number).is_some()
                || self.spaces.values().flatten().any(|(new, _)| *new == number))
    }

    fn slot(&self, space: u32, vector: Vector) -> VectorSlot {
        VectorSlot { space, seq: self.seq, memory: Some(Arc::new(vector)) }
    }

    /// The vector of a node whose kind has changed; `None` if its space was
    /// dropped.
    fn of_kind(&self, id: NodeId, slot: VectorSlot, kind: u32) -> Result<Option<VectorSlot>> {
        if !self.has_space(slot.space) {
            return Ok(None);
        }
        let components = match &slot.memory {
            Some(vector) => Some(&*vector.components),
            None => self.state.base().vector(slot.space, id, slot.seq)?,
        };
        let Some(components) = components else {
            let what = format!("the vector of node {id} is missing");
            return Err(self.state.base().damaged(what));
        };
        let (components, norm) = (components.into(), vector::norm(components));
        Ok(Some(self.slot(slot.space, Vector { components, norm, seq: self.seq, kind })))
    }
}

/// `decide` sets the index of the operation.
fn conflict(id: NodeId, reason: ConflictReason) -> Error {
    Error::Conflict { op: 0, node: id, reason }
}

/// The number after `next` and `more`. The largest stands for no name.
fn next_number(next: u32, more: usize, what: &'static str) -> Result<u32> {
    let number = num::index(next).saturating_add(more);
    check_count(what, number.saturating_add(1), num::index(u32::MAX))?;
    Ok(num::short(number))
}

fn sorted_keys(mut keys: Vec<(u32, Arc<[u8]>)>) -> Box<[(u32, Arc<[u8]>)]> {
    keys.sort_unstable();
    keys.dedup();
    keys.into()
}

fn sorted_vectors(mut vectors: Vec<VectorSlot>) -> Box<[VectorSlot]> {
    vectors.sort_unstable_by_key(|slot| slot.space);
    vectors.into()
}
