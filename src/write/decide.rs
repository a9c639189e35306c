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
        tables::{EdgeKey, EdgeRow},
        wal::{ContentAt, Contents},
    },
    model::{
        batch::{Named, Op, Precondition},
        catalog::{derived_index, unknown_index, unknown_kind, unknown_space},
        error::{ConflictReason, Error, Result},
        id::NodeId,
        index::{Field, Index},
        key::KeyRange,
        limits::{self, check_count},
        node::{IndexKey, Node, Patch},
        space::Space,
        time::{Seq, Timestamp},
        value::{Value, check_attributes},
    },
    num,
    read::{
        range::{count_stored, first_holder},
        scan::Scan,
    },
    state::{
        Prefetched, State,
        apply::{Below, Effect},
        base::{Base, stored::StoredNode},
        catalog::{Derived, Indexes, NamedIndex, Phase},
        record::{Content, EdgeRecord, NodeRecord, Vector, VectorSlot, some_attributes},
    },
    vector,
    write::derive::{self, Changed},
};

/// Nodes are prefetched for batches of at least this many operations.
const FETCH_FROM: usize = 8;

/// Operations that are prefetched together. With more, what is fetched would
/// leave the processor's caches or its TLB before it is used.
const WINDOW: usize = 64;

/// Where a batch comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Writer,
    /// A checkpoint that came after the batch may have found that a kind has no nodes
    /// and no edges, so the batch need not find the kind that it renames: then there is
    /// nothing to rename.
    Log,
}

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
    origin: Origin,
) -> Result<Vec<Effect>> {
    let builds = ops.iter().any(|op| matches!(op, Op::BuildIndex { .. }));
    if builds && ops.len() > 1 {
        return Err(Error::invalid("batch: an index is built in a batch of its own"));
    }
    let track = ops.len() > 1 || builds;
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
        origin,
        kinds: HashMap::default(),
        kind_names: HashMap::default(),
        new_kinds: 0,
        spaces: HashMap::default(),
        new_spaces: 0,
        dropped_spaces: BTreeSet::new(),
        used_kinds: BTreeSet::new(),
        indexes: Arc::clone(state.indexes()),
        unique: HashMap::default(),
        track_edges: track && ops.iter().any(Op::looks_at_edge),
        edges: HashMap::default(),
        deleted: HashMap::default(),
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
    origin: Origin,
    /// Names that earlier operations of the batch gave; `None` for one that they
    /// took away, of what they renamed or dropped.
    kinds: HashMap<Arc<str>, Option<u32>, RandomState>,
    /// The same by number.
    kind_names: HashMap<u32, Arc<str>, RandomState>,
    spaces: HashMap<Box<str>, Option<(u32, Space)>, RandomState>,
    /// How many kinds and spaces the batch has created.
    new_kinds: usize,
    new_spaces: usize,
    /// The numbers of the spaces that it has dropped.
    dropped_spaces: BTreeSet<u32>,
    /// Kinds of the state that the batch has noted as used.
    used_kinds: BTreeSet<u32>,
    /// The indexes as earlier operations of the batch left them.
    indexes: Arc<Indexes>,
    /// Keys of unique indexes that earlier operations gave to nodes, which may have
    /// lost them since.
    unique: HashMap<(u32, Arc<[u8]>), NodeId, RandomState>,
    /// Whether an operation looks at an edge, so that the fields below are kept.
    track_edges: bool,
    /// By their keys in the out_edges table, the edges that earlier operations of the
    /// batch linked or unlinked: the index of the last effect.
    edges: HashMap<EdgeKey, usize, RandomState>,
    /// The nodes that earlier operations deleted with their edges, likewise.
    deleted: HashMap<NodeId, usize, RandomState>,
}

/// An edge as an operation of a batch finds it.
enum Found<'d> {
    Record(&'d EdgeRecord),
    Stored(&'d EdgeRow),
}

impl<'s> Decision<'s> {
    fn op(&mut self, op: Op, prefetched: [Prefetched<'s>; 2], content: ContentAt) -> Result<()> {
        let [first, second] = prefetched;
        match op {
            Op::Put { node, precondition } => self.put(node, first, content, precondition),
            Op::PutOrKeep { node } => {
                if self.is_present(node.id, first)? {
                    return Ok(());
                }
                self.put(node, first, content, Precondition::None)
            }
            Op::Require { id, precondition } => self.require(id, precondition, first),
            Op::RequireEdge { source, kind, target, discriminator } => {
                self.edge(source, &kind, target, discriminator).map(drop)
            }
            Op::Increment { id, attribute, by } => self.increment(id, attribute, &by, first),
            Op::IncrementWeight { source, kind, target, discriminator, by } => {
                self.increment_weight((source, &kind, target, discriminator), by)
            }
            Op::Patch { id, patch } => self.patch(id, patch, first, content),
            Op::Touch { id, count } => {
                let (mut record, below) = self.present_record(id, first)?;
                record.access_count = record.access_count.saturating_add(count);
                record.accessed = record.accessed.max(self.time);
                self.set(record, below, Changed::Access)
            }
            Op::Expire { id, expires } => {
                let (mut record, below) = self.present_record(id, first)?;
                record.expires = expires;
                self.set(record, below, Changed::Expiry)
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
                let key = EdgeKey {
                    from: edge.source,
                    kind,
                    to: edge.target,
                    discriminator: edge.discriminator,
                };
                let stored = self.stored_edge(key)?;
                self.note_edge(key);
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
                    self.note_edge(key);
                    self.effects.push(Effect::DeleteEdge { key, stored });
                }
                Ok(())
            }
            Op::CreateSpace { name, space } => self.create_space(name, space),
            Op::CreateIndex { name, index } => self.create_index(name, index),
            Op::DropIndex { name } => self.drop_index(&name),
            Op::BuildIndex { name, nodes } => self.build_index(&name, nodes),
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
            Named::Index => self.indexes.number(&to).is_some(),
            Named::Space => self.space(&to).is_ok(),
        };
        // Its keys have the kind by name, and would be those of the old one.
        let on_kind = |index: &Derived| index.definition.is_on(&Field::Kind);
        if what == Named::Kind
            && self.origin == Origin::Writer
            && let Some((_, index, _)) = self.indexes.all_derived().find(|(.., of)| on_kind(of))
        {
            return Err(Error::invalid(format!(
                "kind {from:?}: it cannot be renamed while index {:?} is on the kinds of nodes; \
                 drop the index, rename the kind and create the index again",
                index.name
            )));
        }
        let name: Arc<str> = to.into();
        let indexed = |index: &Derived| index.definition.kinds.contains(&from);
        if what == Named::Kind && self.indexes.all_derived().any(|(_, _, index)| indexed(index)) {
            let from: Arc<str> = from.as_str().into();
            Arc::make_mut(&mut self.indexes).rename_kind(&from, &name);
            self.effects.push(Effect::IndexedKind(from, Arc::clone(&name)));
        }
        let number = match what {
            Named::Kind => match self.known_kind(&from) {
                Some(number) => number,
                None if self.origin == Origin::Log => return Ok(()),
                None => return Err(unknown_kind(&from)),
            },
            Named::Index => self.indexes.number(&from).ok_or_else(|| unknown_index(&from))?,
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
                self.kind_names.insert(number, Arc::clone(&name));
            }
            Named::Index => {
                Arc::make_mut(&mut self.indexes).rename(number, Arc::clone(&name));
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
        check(id, precondition, old.map(|old| old.version))?;
        let keys = node
            .keys
            .into_iter()
            .map(|IndexKey { index, key }| Ok((self.given_index(&index)?, Arc::from(key))))
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
        self.set(record, below, Changed::Anything)
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
                let index = self.given_index(&name)?;
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
        self.set(record, below, Changed::Anything)
    }

    fn require(
        &self,
        id: NodeId,
        precondition: Precondition,
        prefetched: Prefetched<'s>,
    ) -> Result<()> {
        let version = match self.in_memory(id, prefetched) {
            Some(record) => record.map(|record| record.version),
            None => self.in_base(id, prefetched)?.map(|node| node.meta().version),
        };
        check(id, precondition, version)
    }

    fn increment(
        &mut self,
        id: NodeId,
        attribute: String,
        by: &Value,
        prefetched: Prefetched<'s>,
    ) -> Result<()> {
        let (mut record, below) = self.present_record(id, prefetched)?;
        let mut attributes = record.attributes().clone();
        let sum = attributes.get(&attribute).map_or_else(|| Ok(by.clone()), |old| old.plus(by));
        let sum = sum.map_err(|why| {
            Error::invalid(format!("increment of attribute {attribute:?} of node {id}: {why}"))
        })?;
        attributes.insert(attribute, sum);
        check_attributes(&attributes)?;
        check_attributes_size(&attributes)?;
        record.attributes = some_attributes(attributes);
        record.version = self.seq;
        record.updated = self.time;
        self.set(record, below, Changed::Anything)
    }

    fn increment_weight(&mut self, name: (NodeId, &str, NodeId, u64), by: f64) -> Result<()> {
        let (source, kind_name, target, discriminator) = name;
        let (kind, found) = self.edge(source, kind_name, target, discriminator)?;
        let record = match found {
            Found::Record(record) => record.clone(),
            Found::Stored(row) => EdgeRecord {
                source,
                kind,
                target,
                discriminator,
                weight: row.weight.get(),
                confidence: row.confidence.get(),
                attributes: self.state.base().attributes(row)?,
                created: Timestamp::from_micros(row.created.get()),
                updated: self.time,
            },
        };
        let weight = record.weight + by;
        if !weight.is_finite() {
            return Err(Error::invalid(format!(
                "increment of the weight of edge {source} {kind_name:?} {target}: {} + {by} is not \
                 finite",
                record.weight
            )));
        }
        let record = EdgeRecord { weight, updated: self.time, ..record };
        self.use_kind(kind);
        let key = record.key();
        let stored = self.stored_edge(key)?;
        self.note_edge(key);
        self.effects.push(Effect::Edge { record, keep_created: true, stored });
        Ok(())
    }

    /// The number of the kind of an edge, and the edge as earlier operations of the
    /// batch left it.
    fn edge(
        &self,
        source: NodeId,
        kind: &str,
        target: NodeId,
        discriminator: u64,
    ) -> Result<(u32, Found<'_>)> {
        let none = || conflict(source, ConflictReason::NoEdge);
        let kind = self.known_kind(kind).ok_or_else(none)?;
        let key = EdgeKey { from: source, kind, to: target, discriminator };
        let gone = self.deleted.get(&source).max(self.deleted.get(&target));
        let found = match (self.edges.get(&key), gone) {
            (Some(at), gone) if gone.is_none_or(|gone| gone < at) => match self.effects.get(*at) {
                Some(Effect::Edge { record, .. }) => Some(Found::Record(record)),
                _ => None,
            },
            (_, Some(_)) => None,
            (_, None) => match self.state.layered_edge(&key) {
                Some(layered) => layered.map(|record| Found::Record(record)),
                None => Base::edge(self.state.base().out(), &key)?.map(Found::Stored),
            },
        };
        Ok((kind, found.ok_or_else(none)?))
    }

    /// Notes that the next effect is of this edge.
    fn note_edge(&mut self, key: EdgeKey) {
        if self.track_edges {
            self.edges.insert(key, self.effects.len());
        }
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

    fn create_index(&mut self, name: String, definition: Option<Index>) -> Result<()> {
        if let Some(number) = self.indexes.number(&name) {
            let existing = self.indexes.derived(number).map(|derived| &*derived.definition);
            return if existing == definition.as_ref() {
                Ok(())
            } else {
                Err(Error::invalid(format!("index {name:?}: it exists with another definition")))
            };
        }
        check_count("indexes of a store", self.indexes.len() + 1, limits::INDEXES)?;
        next_number(self.indexes.next(), 0, "indexes that a store ever had")?;
        let put = |effect: &Effect| matches!(effect, Effect::Node { .. });
        let empty = self.state.counts().nodes == 0 && !self.effects.iter().any(put);
        let phase = if empty { Phase::Ready } else { Phase::Building(0, NodeId::MIN) };
        let derived =
            definition.map(|definition| Derived { definition: Arc::new(definition), phase });
        let index = NamedIndex { name: name.into(), derived };
        Arc::make_mut(&mut self.indexes).add(index.clone());
        self.effects.push(Effect::Index(index));
        Ok(())
    }

    fn drop_index(&mut self, name: &str) -> Result<()> {
        let number = self.indexes.number(name).ok_or_else(|| unknown_index(name))?;
        let stored = count_stored(self.state, number, &KeyRange::all())?;
        Arc::make_mut(&mut self.indexes).drop(number);
        self.effects.push(Effect::DropIndex { number, stored });
        Ok(())
    }

    /// Derives the keys of the next nodes of an index that is being built. What
    /// cannot be derived ends that: the nodes were there before the index.
    fn build_index(&mut self, name: &str, nodes: u32) -> Result<()> {
        let Some(number) = self.indexes.number(name) else { return Ok(()) };
        let Some(Derived { definition, phase: Phase::Building(kind, from) }) =
            self.indexes.derived(number).cloned()
        else {
            return Ok(());
        };
        let phase = match self.build(number, &definition, (kind, from), nodes) {
            Ok(Some((kind, from))) => Phase::Building(kind, from),
            Ok(None) => Phase::Ready,
            Err(error @ (Error::Invalid { .. } | Error::Limit { .. } | Error::Conflict { .. })) => {
                // Deciding it again meets the same nodes, and fails in the same way.
                self.effects.clear();
                Phase::Failed(error.to_string().into())
            }
            Err(error) => return Err(error),
        };
        self.effects.push(Effect::IndexPhase(number, phase));
        Ok(())
    }

    /// Derives the keys of so many nodes from a place on. Returns the next place,
    /// unless all are done.
    fn build(
        &mut self,
        index: u32,
        definition: &Index,
        from: (u32, NodeId),
        nodes: u32,
    ) -> Result<Option<(u32, NodeId)>> {
        let state = self.state;
        // All kinds are one range, and each that the definition names is one.
        let kinds = definition.of_kinds().filter_map(|kind| state.kinds().number(kind));
        let kinds: BTreeSet<u32> = kinds.filter(|kind| *kind >= from.0).collect();
        let ranges: Vec<_> = match definition.of_kinds().next() {
            None => vec![(from, (u32::MAX, NodeId::MAX))],
            Some(_) => {
                let first = |kind| from.max((kind, NodeId::MIN));
                kinds.into_iter().map(|kind| (first(kind), (kind, NodeId::MAX))).collect()
            }
        };
        let mut left = nodes;
        for (start, end) in ranges {
            for node in Scan::between(state, start, end) {
                let (record, below) = self.present_record(node?.id(), Prefetched::Not)?;
                let Some(less) = left.checked_sub(1) else {
                    return Ok(Some((record.kind, record.id)));
                };
                left = less;
                let before = record.keys.clone();
                let record = self.derived(record, Changed::Index(index))?;
                if record.keys != before {
                    self.push(record, below);
                }
            }
        }
        Ok(None)
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

    fn is_present(&self, id: NodeId, prefetched: Prefetched<'s>) -> Result<bool> {
        Ok(match (self.in_memory(id, prefetched), prefetched) {
            (Some(record), _) => record.is_some(),
            (None, Prefetched::Base(row)) => row.is_some(),
            (None, _) => self.state.base().node_row(id)?.is_some(),
        })
    }

    fn check_present(&self, id: NodeId, prefetched: Prefetched<'s>) -> Result<()> {
        let there = self.is_present(id, prefetched)?;
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
            self.leave_dropped(&mut record);
            return Ok((record, Below::Layers));
        }
        let node = self.in_base(id, prefetched)?.ok_or_else(missing)?;
        let mut record = self.state.base().record_of(node)?;
        self.use_kind(record.kind);
        self.leave_dropped(&mut record);
        Ok((record, Below::Base(Some(node.secondary_keys()))))
    }

    /// The creation time of an edge in the base, by its key in the out_edges
    /// table.
    fn stored_edge(&self, key: EdgeKey) -> Result<Option<Timestamp>> {
        let row = Base::edge(self.state.base().out(), &key)?;
        Ok(row.map(|row| Timestamp::from_micros(row.created.get())))
    }

    /// Leaves out the keys of indexes that were dropped.
    fn leave_dropped(&self, record: &mut NodeRecord) {
        if record.keys.iter().any(|(index, _)| !self.indexes.knows(*index)) {
            let keys = std::mem::take(&mut record.keys).into_vec().into_iter();
            record.keys = keys.filter(|(index, _)| self.indexes.knows(*index)).collect();
        }
    }

    /// Writes a record of which this was changed, with its keys derived again.
    fn set(&mut self, mut record: NodeRecord, below: Below, changed: Changed) -> Result<()> {
        if !self.indexes.none_derived() {
            record = self.derived(record, changed)?;
        }
        self.push(record, below);
        Ok(())
    }

    fn push(&mut self, record: NodeRecord, below: Below) {
        if self.track {
            self.nodes.insert(record.id, Some(self.effects.len()));
        }
        self.effects.push(Effect::Node { record, below });
    }

    /// The record with its derived keys as they are after a change.
    fn derived(&mut self, mut record: NodeRecord, changed: Changed) -> Result<NodeRecord> {
        let named = self.kind_names.get(&record.kind).map(|name| &**name);
        let kind = named.or_else(|| self.state.kinds().name(record.kind));
        let kind = kind.ok_or_else(|| Error::internal("a record without its kind"))?;
        if let Some(keys) = derive::keys(&self.indexes, kind, &record, changed)? {
            // In a batch, later operations have to see also what stays.
            let added =
                keys.iter().filter(|key| self.track || record.keys.binary_search(key).is_err());
            let unique = added.filter(|(index, _)| {
                self.indexes.derived(*index).is_some_and(|derived| derived.definition.unique)
            });
            let unique: Vec<_> = unique.cloned().collect();
            for key in unique {
                self.check_unique(record.id, key)?;
            }
            record.keys = keys;
        }
        Ok(record)
    }

    /// Refuses a key of a unique index that another node has.
    fn check_unique(&mut self, id: NodeId, (number, key): (u32, Arc<[u8]>)) -> Result<()> {
        let changed = |node: &NodeId| self.nodes.contains_key(node);
        let stored = first_holder(self.state, number, &key, |node| node != id && !changed(&node))?;
        let place = (number, key);
        let earlier = self.unique.get(&place).copied().filter(|node| *node != id);
        let earlier = earlier.filter(|node| {
            self.in_memory(*node, Prefetched::Not)
                .flatten()
                .is_some_and(|record| record.keys.binary_search(&place).is_ok())
        });
        if let Some(holder) = stored.or(earlier) {
            let index = self.indexes.by_number(number).map(|index| Arc::clone(&index.name));
            let index = index.unwrap_or_else(|| "".into());
            return Err(conflict(id, ConflictReason::Unique { index, holder }));
        }
        if self.track {
            self.unique.insert(place, id);
        }
        Ok(())
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
        if self.track_edges {
            self.deleted.insert(id, self.effects.len());
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
        self.kind_names.insert(number, Arc::clone(&name));
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

    /// The number of an index whose keys are given by hand.
    fn given_index(&self, name: &str) -> Result<u32> {
        let number = self.indexes.number(name).ok_or_else(|| unknown_index(name))?;
        if self.indexes.derived(number).is_some() {
            return Err(derived_index(name));
        }
        Ok(number)
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

/// Checks a precondition of a node that has this version, or is not there.
fn check(id: NodeId, precondition: Precondition, version: Option<Seq>) -> Result<()> {
    let reason = match (precondition, version) {
        (Precondition::Absent, Some(_)) => ConflictReason::Exists,
        (Precondition::Version(_) | Precondition::Exists, None) => ConflictReason::Missing,
        (Precondition::Version(expected), Some(found)) if found != expected => {
            ConflictReason::Version { expected, found }
        }
        _ => return Ok(()),
    };
    Err(conflict(id, reason))
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
