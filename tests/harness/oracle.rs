//! A model of the store as plain maps, which the engine is compared with, and
//! the names that random operations use.

use std::collections::{BTreeMap, BTreeSet};

use ingrain::{
    Batch, ConflictReason, Direction, Durability, Edge, Error, ErrorKind, Expiry, IndexKey,
    KeyRange, Metric, Named, Node, NodeId, Op, Options, Precondition, Seq, Snapshot, Space,
    Timestamp, Value,
    graph::{EdgeDirection, PathOptions},
    search::{Effort, Filter, Search},
};

use super::{
    graph::{check_counts, check_edges},
    in_partitions_of, in_small_pieces,
};

pub const IDS: u8 = 6;
pub const KINDS: &[&str] = &["note", "person", "place"];
pub const INDEXES: &[&str] = &["first", "second"];
pub const SPACES: &[(&str, usize, Metric)] =
    &[("flat", 2, Metric::L2), ("turn", 3, Metric::Cosine)];

pub type EdgeName = (NodeId, String, NodeId, u64);

/// Why a batch is refused when its turn comes.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// The operation at this index.
    Conflict(usize, ConflictReason),
    /// What it would make is not allowed.
    Invalid,
}

impl Refused {
    pub fn is(&self, error: &Error) -> bool {
        match (self, error) {
            (Self::Conflict(at, expected), Error::Conflict { op, reason, .. }) => {
                (op, reason) == (at, expected)
            }
            (Self::Invalid, error) => error.kind() == ErrorKind::Invalid,
            _ => false,
        }
    }
}

/// The operations as the log has them: without preconditions and requirements.
pub fn as_logged(ops: &[Op]) -> Vec<Op> {
    let logged = ops.iter().filter(|op| is_logged(op)).map(|op| match op.clone() {
        Op::Put { node, .. } => Op::Put { node, precondition: Precondition::None },
        // A node that is not there has no expiry to be kept.
        Op::PutOrKeep { node } if node.expires == Expiry::Never => {
            Op::PutOrKeep { node: node.expires(Expiry::Keep) }
        }
        other => other,
    });
    logged.collect()
}

enum Why {
    Conflict(ConflictReason),
    Invalid,
}

impl From<ConflictReason> for Why {
    fn from(reason: ConflictReason) -> Self {
        Self::Conflict(reason)
    }
}

/// Whether an operation is in the log.
pub fn is_logged(op: &Op) -> bool {
    !matches!(op, Op::Require { .. } | Op::RequireEdge { .. })
}

/// Operations that rename: two kinds of a store get each other's name, or one of
/// them a name that is free; two indexes swap; a space has another name for a
/// while.
pub fn renames(oracle: &Oracle, snapshot: &Snapshot, n: usize) -> Vec<Op> {
    let rename =
        |what, from: &str, to: &str| Op::Rename { what, from: from.to_owned(), to: to.to_owned() };
    let swap = |what, a: &str, b: &str| {
        vec![rename(what, a, "between"), rename(what, b, a), rename(what, "between", b)]
    };
    // A kind that nothing has may leave before the batch's turn comes.
    let free = |kind: &str| !snapshot.kinds().any(|known| known == kind);
    let (a, b) = (KINDS[n % 3], KINDS[(n + 1 + n / 3 % 2) % 3]);
    match n % 5 {
        0 => swap(Named::Index, INDEXES[0], INDEXES[1]),
        1 => {
            let (name, ..) = SPACES[n / 5 % 2];
            vec![rename(Named::Space, name, "between"), rename(Named::Space, "between", name)]
        }
        _ => match (oracle.has_kind(a), oracle.has_kind(b)) {
            (true, true) => swap(Named::Kind, a, b),
            (true, false) if free(b) => vec![rename(Named::Kind, a, b)],
            (false, true) if free(a) => vec![rename(Named::Kind, b, a)],
            _ => vec![Op::Delete { id: NodeId::MIN }],
        },
    }
}

/// The store as plain maps.
#[derive(Debug, Default, Clone)]
pub struct Oracle {
    pub seq: u64,
    nodes: BTreeMap<NodeId, (Node, u64)>,
    edges: BTreeMap<EdgeName, Edge>,
    spaces: BTreeMap<String, Space>,
}

impl Oracle {
    /// The state after `seq` commits that created the spaces but no node.
    pub fn after(seq: u64) -> Self {
        let spaces = SPACES
            .iter()
            .map(|(name, dimension, metric)| ((*name).to_owned(), Space::new(*dimension, *metric)));
        Self { seq, spaces: spaces.collect(), ..Self::default() }
    }

    /// The definition of a space.
    #[cfg(feature = "sim")]
    pub fn space(&self, name: &str) -> Option<Space> {
        self.spaces.get(name).copied()
    }

    /// The ids of all nodes.
    #[cfg(feature = "sim")]
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// A node, and its version.
    pub fn node(&self, id: NodeId) -> Option<&(Node, u64)> {
        self.nodes.get(&id)
    }

    /// The edges, by name.
    pub fn edges(&self) -> &BTreeMap<EdgeName, Edge> {
        &self.edges
    }

    /// The entries of an index.
    pub fn entries(&self, index: &str) -> BTreeSet<(Vec<u8>, NodeId)> {
        let keys = self.nodes.values().flat_map(|(node, _)| node.keys.iter().map(|k| (k, node.id)));
        keys.filter(|(key, _)| key.index == index).map(|(key, id)| (key.key.clone(), id)).collect()
    }

    /// The nodes of a kind.
    pub fn of_kind(&self, kind: &str) -> Vec<NodeId> {
        self.nodes.values().filter(|(n, _)| n.kind == kind).map(|(n, _)| n.id).collect()
    }

    /// Whether there was something to commit, or why the batch is refused.
    pub fn write(&mut self, time: Timestamp, ops: &[Op]) -> Result<bool, Refused> {
        let mut next = self.clone();
        next.seq += 1;
        for (at, op) in ops.iter().enumerate() {
            next.op(time, op).map_err(|why| match why {
                Why::Conflict(reason) => Refused::Conflict(at, reason),
                Why::Invalid => Refused::Invalid,
            })?;
        }
        let commits = ops.iter().any(is_logged);
        if commits {
            *self = next;
        }
        Ok(commits)
    }

    fn check_node(&self, id: NodeId, precondition: &Precondition) -> Result<(), ConflictReason> {
        let found = self.nodes.get(&id).map(|(_, version)| *version);
        match (precondition, found) {
            (Precondition::Absent, Some(_)) => Err(ConflictReason::Exists),
            (Precondition::Version(_) | Precondition::Exists, None) => Err(ConflictReason::Missing),
            (Precondition::Version(v), Some(found)) if v.get() != found => {
                Err(ConflictReason::Version { expected: *v, found: Seq::new(found) })
            }
            _ => Ok(()),
        }
    }

    fn op(&mut self, now: Timestamp, op: &Op) -> Result<(), Why> {
        let seq = self.seq;
        match op {
            Op::Put { node, precondition } => {
                self.check_node(node.id, precondition)?;
                let old = self.nodes.get(&node.id).cloned();
                let mut new = node.clone();
                let old = old.map(|(old, _)| old);
                new.created = new.created.or(old.as_ref().and_then(|o| o.created)).or(Some(now));
                new.updated = new.updated.or(Some(now));
                new.accessed = new.accessed.or(old.as_ref().and_then(|o| o.accessed)).or(Some(now));
                new.access_count =
                    new.access_count.or(old.as_ref().and_then(|o| o.access_count)).or(Some(0));
                if new.expires == Expiry::Keep {
                    new.expires = old.map_or(Expiry::Never, |o| o.expires);
                }
                tidy_keys(&mut new.keys);
                self.nodes.insert(new.id, (new, seq));
            }
            Op::Patch { id, patch } => {
                let (node, version) = self.nodes.get_mut(id).ok_or(ConflictReason::Missing)?;
                if let Some(kind) = &patch.kind {
                    node.kind.clone_from(kind);
                }
                if let Some(content) = &patch.content {
                    node.content.clone_from(content);
                }
                for (name, value) in &patch.attributes {
                    match value {
                        Some(value) => drop(node.attributes.insert(name.clone(), value.clone())),
                        None => drop(node.attributes.remove(name)),
                    }
                }
                node.strength = patch.strength.unwrap_or(node.strength);
                node.confidence = patch.confidence.unwrap_or(node.confidence);
                for (index, keys) in &patch.keys {
                    node.keys.retain(|key| key.index != *index);
                    for key in keys {
                        node.keys.push(IndexKey::new(index, key.clone()));
                    }
                }
                tidy_keys(&mut node.keys);
                for (space, vector) in &patch.vectors {
                    match vector {
                        Some(vector) => drop(node.vectors.insert(space.clone(), vector.clone())),
                        None => drop(node.vectors.remove(space)),
                    }
                }
                node.updated = Some(now);
                *version = seq;
            }
            Op::PutOrKeep { node } if self.nodes.contains_key(&node.id) => {}
            Op::PutOrKeep { node } => {
                let put = Op::Put { node: node.clone(), precondition: Precondition::None };
                self.op(now, &put)?;
            }
            Op::Require { id, precondition } => self.check_node(*id, precondition)?,
            Op::RequireEdge { source, kind, target, discriminator } => {
                let name = (*source, kind.clone(), *target, *discriminator);
                self.edges.get(&name).ok_or(ConflictReason::NoEdge)?;
            }
            Op::Increment { id, attribute, by } => {
                let (node, version) = self.nodes.get_mut(id).ok_or(ConflictReason::Missing)?;
                let old = node.attributes.get(attribute);
                let sum = old.map_or(Some(by.clone()), |old| sum(old, by)).ok_or(Why::Invalid)?;
                node.attributes.insert(attribute.clone(), sum);
                node.updated = Some(now);
                *version = seq;
            }
            Op::IncrementWeight { source, kind, target, discriminator, by } => {
                let name = (*source, kind.clone(), *target, *discriminator);
                let edge = self.edges.get_mut(&name).ok_or(ConflictReason::NoEdge)?;
                edge.weight += by;
                edge.updated = Some(now);
                if !edge.weight.is_finite() {
                    return Err(Why::Invalid);
                }
            }
            Op::Touch { id, count } => {
                let (node, _) = self.nodes.get_mut(id).ok_or(ConflictReason::Missing)?;
                node.access_count = Some(node.access_count.unwrap() + count);
                node.accessed = node.accessed.max(Some(now));
            }
            Op::Expire { id, expires } => {
                let (node, _) = self.nodes.get_mut(id).ok_or(ConflictReason::Missing)?;
                node.expires = (*expires).into();
            }
            Op::Delete { id } => self.delete(*id),
            Op::Prune { id, before } => {
                let expired = self
                    .nodes
                    .get(id)
                    .is_some_and(|(node, _)| node.expires.time().is_some_and(|at| at <= *before));
                if expired {
                    self.delete(*id);
                }
            }
            Op::Link { edge } => {
                if !self.nodes.contains_key(&edge.source) || !self.nodes.contains_key(&edge.target)
                {
                    return Err(ConflictReason::Missing.into());
                }
                let name = name(edge);
                let mut edge = edge.clone();
                let old = self.edges.get(&name).and_then(|old| old.created);
                edge.created = edge.created.or(old).or(Some(now));
                edge.updated = edge.updated.or(Some(now));
                self.edges.insert(name, edge);
            }
            Op::Unlink { source, kind, target, discriminator } => {
                self.edges.remove(&(*source, kind.clone(), *target, *discriminator));
            }
            Op::CreateSpace { name, space } => drop(self.spaces.insert(name.clone(), *space)),
            Op::DropSpace { name } => {
                self.spaces.remove(name);
                self.nodes.values_mut().for_each(|(node, _)| drop(node.vectors.remove(name)));
            }
            Op::SetMethod { .. } => {}
            Op::Rename { what: Named::Kind, from, to } => {
                for (node, _) in self.nodes.values_mut().filter(|(node, _)| node.kind == *from) {
                    node.kind.clone_from(to);
                }
                let edges = std::mem::take(&mut self.edges).into_values().map(|mut edge| {
                    if edge.kind == *from {
                        edge.kind.clone_from(to);
                    }
                    (name(&edge), edge)
                });
                self.edges = edges.collect();
            }
            Op::Rename { what: Named::Index, from, to } => {
                for (node, _) in self.nodes.values_mut() {
                    for key in node.keys.iter_mut().filter(|key| key.index == *from) {
                        key.index.clone_from(to);
                    }
                    tidy_keys(&mut node.keys);
                }
            }
            Op::Rename { what: Named::Space, from, to } => {
                let space = self.spaces.remove(from).unwrap();
                self.spaces.insert(to.clone(), space);
                for (node, _) in self.nodes.values_mut() {
                    if let Some(vector) = node.vectors.remove(from) {
                        node.vectors.insert(to.clone(), vector);
                    }
                }
            }
            _ => unreachable!("the strategies make no such operation"),
        }
        Ok(())
    }

    fn delete(&mut self, id: NodeId) {
        self.nodes.remove(&id);
        self.edges.retain(|(source, _, target, _), _| *source != id && *target != id);
    }

    /// Whether a node or an edge is of this kind.
    pub fn has_kind(&self, kind: &str) -> bool {
        self.nodes.values().any(|(node, _)| node.kind == kind)
            || self.edges.values().any(|edge| edge.kind == kind)
    }

    /// What is left without the nodes that expire at this time or before it.
    fn alive_at(&self, now: Timestamp) -> Self {
        let mut alive = self.clone();
        alive.nodes.retain(|_, (node, _)| node.expires.time().is_none_or(|at| at > now));
        let nodes = &alive.nodes;
        alive.edges.retain(|(source, _, target, _), _| {
            nodes.contains_key(source) && nodes.contains_key(target)
        });
        alive
    }

    /// Compares every read of the view of a snapshot at this time with the maps.
    pub fn check_alive_at(&self, snapshot: &Snapshot, now: Timestamp) {
        let view = snapshot.alive_at(now);
        assert_eq!(view.node_count(), self.nodes.len(), "counts are of all nodes");
        self.check_counts(&view);
        let alive = self.alive_at(now);
        alive.check_reads(&view);
        for (from, to) in (0..IDS).flat_map(|a| (0..IDS).map(move |b| (id(a), id(b)))) {
            for toward in [EdgeDirection::Out, EdgeDirection::Both] {
                let options = PathOptions { toward, ..PathOptions::default() };
                let path = view.shortest_path(from, to, &options).unwrap();
                assert_eq!(path.map(|path| path.steps.len()), alive.distance(from, to, toward));
            }
        }
        let expired = |snapshot: &Snapshot| -> Vec<NodeId> {
            snapshot.expired(Timestamp::from_micros(50)).map(Result::unwrap).collect()
        };
        assert_eq!(expired(&view), expired(snapshot), "the expired are listed in a view too");
        let times =
            alive.nodes.values().filter_map(|(node, _)| Some((node.expires.time()?, node.id)));
        assert_eq!(view.next_expiry().unwrap(), times.min());
        // Filters find k of those that are left.
        for (name, space) in &self.spaces {
            let query: Vec<f32> = (1..=space.dimension).map(|x| x as f32).collect();
            for kind in KINDS {
                let filter = Filter::new().kind(*kind).test(|node| node.strength() > 0.0);
                let hits = view.nearest(name, &query, 2, &filter).unwrap();
                let fit = alive.nodes.values().filter(|(node, _)| {
                    node.kind == *kind && node.strength > 0.0 && node.vectors.contains_key(name)
                });
                assert_eq!(hits.len(), fit.count().min(2));
            }
        }
    }

    /// How many edges the shortest path has.
    fn distance(&self, from: NodeId, to: NodeId, toward: EdgeDirection) -> Option<usize> {
        let mut reached = BTreeSet::from([from]);
        if !self.nodes.contains_key(&from) || !self.nodes.contains_key(&to) {
            return None;
        }
        for steps in 0..=16 {
            if reached.contains(&to) {
                return Some(steps);
            }
            let mut next = reached.clone();
            for (source, _, target, _) in self.edges.keys() {
                if reached.contains(source) {
                    next.insert(*target);
                }
                if toward == EdgeDirection::Both && reached.contains(target) {
                    next.insert(*source);
                }
            }
            reached = next;
        }
        None
    }

    /// Compares every read of a snapshot with the maps.
    pub fn check(&self, snapshot: &Snapshot) {
        assert_eq!(snapshot.node_count(), self.nodes.len());
        assert_eq!(snapshot.edge_count(), self.edges.len());
        let keys: usize = self.nodes.values().map(|(node, _)| node.keys.len()).sum();
        assert_eq!(snapshot.key_count(), keys);
        self.check_counts(snapshot);
        self.check_reads(snapshot);
        let expired: Vec<NodeId> =
            snapshot.expired(Timestamp::from_micros(50)).map(Result::unwrap).collect();
        let mut expected: Vec<(Timestamp, NodeId)> = self
            .nodes
            .values()
            .filter_map(|(n, _)| Some((n.expires.time().filter(|at| at.as_micros() <= 50)?, n.id)))
            .collect();
        expected.sort_unstable();
        assert_eq!(expired, expected.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
        let times = self.nodes.values().filter_map(|(n, _)| Some((n.expires.time()?, n.id)));
        assert_eq!(snapshot.next_expiry().unwrap(), times.min());
    }

    /// Compares the counts by kind, and all reads of edges, with the maps.
    pub fn check_graph(&self, snapshot: &Snapshot, ids: &[NodeId]) {
        self.check_counts(snapshot);
        check_edges(snapshot, &self.edges, ids);
    }

    /// The same for the view of a snapshot at this time.
    pub fn check_graph_alive_at(&self, snapshot: &Snapshot, ids: &[NodeId], now: Timestamp) {
        let view = snapshot.alive_at(now);
        self.check_counts(&view);
        check_edges(&view, &self.alive_at(now).edges, ids);
    }

    fn check_counts(&self, snapshot: &Snapshot) {
        let nodes = self.nodes.values().map(|(node, _)| &*node.kind);
        check_counts(snapshot, nodes, self.edges.values().map(|edge| &*edge.kind));
    }

    fn check_reads(&self, snapshot: &Snapshot) {
        assert_eq!(snapshot.seq(), Seq::new(self.seq));
        for id in (0..IDS).map(id) {
            let found = snapshot.get(id).unwrap();
            let expected = self.nodes.get(&id);
            assert_eq!(
                found.map(|node| node.to_exact_node().unwrap()),
                expected.map(|(n, _)| n.clone())
            );
            assert_eq!(found.map(|node| node.version().get()), expected.map(|(_, v)| *v));
            assert_eq!(snapshot.contains(id).unwrap(), expected.is_some());
            for (reached, edges) in [(false, snapshot.edges_out(id)), (true, snapshot.edges_in(id))]
            {
                let found: BTreeMap<EdgeName, Edge> = edges
                    .map(|edge| edge.unwrap().to_exact_edge().unwrap())
                    .map(|e| (name(&e), e))
                    .collect();
                let expected: BTreeMap<EdgeName, Edge> = self
                    .edges
                    .iter()
                    .filter(|((source, _, target, _), _)| {
                        id == if reached { *target } else { *source }
                    })
                    .map(|(name, edge)| (name.clone(), edge.clone()))
                    .collect();
                assert_eq!(found, expected, "edges {}", if reached { "in" } else { "out" });
            }
        }
        let all: Vec<NodeId> = (0..IDS).map(id).collect();
        for (id, node) in all.iter().zip(snapshot.get_many(&all).unwrap()) {
            let found = snapshot.get(*id).unwrap();
            assert_eq!(format!("{node:?}"), format!("{found:?}"));
        }
        for (name, edge) in &self.edges {
            let found = snapshot.edge(name.0, &name.1, name.2, name.3).unwrap().unwrap();
            assert_eq!(found.to_exact_edge().unwrap(), *edge);
            assert!(snapshot.edge(name.0, &name.1, name.2, 9).unwrap().is_none());
            let parallel = self.edges.keys().filter(|(source, kind, target, _)| {
                (*source, kind, *target) == (name.0, &name.1, name.2)
            });
            let between = snapshot.edges_between(name.0, &name.1, name.2);
            let found: Vec<u64> = between.map(|edge| edge.unwrap().discriminator()).collect();
            assert_eq!(found, parallel.map(|(.., number)| *number).collect::<Vec<_>>());
        }
        check_edges(snapshot, &self.edges, &all);
        from_both_ends(|| snapshot.scan_all());
        let owned = snapshot.scan_all_owned().map(Result::unwrap);
        assert!(owned.eq(snapshot.scan_all().map(|node| node.unwrap().to_exact_node().unwrap())));
        for id in (0..IDS).map(id) {
            let owned = snapshot.edges_out_owned(id).map(Result::unwrap);
            assert!(
                owned.eq(snapshot.edges_out(id).map(|edge| edge.unwrap().to_exact_edge().unwrap()))
            );
            let owned = snapshot.edges_in_owned(id).map(Result::unwrap);
            assert!(
                owned.eq(snapshot.edges_in(id).map(|edge| edge.unwrap().to_exact_edge().unwrap()))
            );
            from_both_ends(|| snapshot.edges_out(id));
            from_both_ends(|| snapshot.edges_in(id));
        }
        for kind in KINDS {
            from_both_ends(|| snapshot.scan(kind));
            let owned = snapshot.scan_owned(*kind).map(Result::unwrap);
            assert!(
                owned.eq(snapshot.scan(kind).map(|node| node.unwrap().to_exact_node().unwrap()))
            );
            let found: Vec<NodeId> = snapshot.scan(kind).map(|n| n.unwrap().id()).collect();
            let expected: Vec<NodeId> =
                self.nodes.values().filter(|(n, _)| n.kind == *kind).map(|(n, _)| n.id).collect();
            assert_eq!(found, expected, "scan {kind}");
            for id in (0..IDS).map(id) {
                let of_kind = snapshot.edges_out(id).kind(kind).count();
                let expected =
                    self.edges.keys().filter(|(s, k, _, _)| *s == id && k == kind).count();
                assert_eq!(of_kind, expected, "edges of kind {kind}");
            }
        }
        for index in INDEXES {
            let mut expected: BTreeSet<(Vec<u8>, NodeId)> = BTreeSet::new();
            for (node, _) in self.nodes.values() {
                for key in node.keys.iter().filter(|key| key.index == *index) {
                    expected.insert((key.key.clone(), node.id));
                }
            }
            for direction in [Direction::Ascending, Direction::Descending] {
                from_both_ends(|| snapshot.range(index, KeyRange::all(), direction).unwrap());
            }
            let read = |direction| -> Vec<(Vec<u8>, NodeId)> {
                snapshot
                    .range(index, KeyRange::all(), direction)
                    .unwrap()
                    .map(|entry| entry.unwrap())
                    .map(|entry| (entry.key.to_vec(), entry.node.id()))
                    .collect()
            };
            assert!(read(Direction::Ascending).iter().eq(expected.iter()), "{index} ascending");
            assert!(
                read(Direction::Descending).iter().eq(expected.iter().rev()),
                "{index} descending"
            );
        }
        assert!(snapshot.spaces().eq(self.spaces.iter().map(|(name, s)| (name.as_str(), *s))));
        for (name, space) in &self.spaces {
            let query: Vec<f32> = (1..=space.dimension).map(|x| x as f32).collect();
            let mut expected: Vec<(f64, NodeId)> = self
                .nodes
                .values()
                .filter_map(|(node, _)| {
                    Some((distance(space.metric, &query, node.vectors.get(name)?), node.id))
                })
                .collect();
            expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for effort in [Effort::Normal, Effort::Exact] {
                let search = Search::new(name, &query, 100).effort(effort);
                let hits = snapshot.search(&search).unwrap();
                let found: Vec<(f64, NodeId)> =
                    hits.iter().map(|hit| (hit.distance, hit.node.id())).collect();
                assert_eq!(found, expected, "{name} {effort:?}");
            }
        }
    }
}

/// A read returns the same entries from its back, and from both ends in turn.
fn from_both_ends<I, T>(read: impl Fn() -> I)
where
    I: DoubleEndedIterator<Item = ingrain::Result<T>>,
    T: std::fmt::Debug,
{
    let shown = |item: ingrain::Result<T>| format!("{:?}", item.unwrap());
    let forward: Vec<String> = read().map(shown).collect();
    let mut backward: Vec<String> = read().rev().map(shown).collect();
    backward.reverse();
    assert_eq!(backward, forward);
    // One entry from the back after each one, two or three from the front.
    for front in 1..4 {
        let (mut items, mut head, mut tail) = (read(), Vec::new(), Vec::new());
        loop {
            let before = head.len() + tail.len();
            head.extend(items.by_ref().take(front).map(shown));
            tail.extend(items.next_back().map(shown));
            if head.len() + tail.len() == before {
                break;
            }
        }
        assert!(items.next().is_none() && items.next_back().is_none());
        head.extend(tail.into_iter().rev());
        assert_eq!(head, forward);
    }
}

fn sum(a: &Value, b: &Value) -> Option<Value> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int),
        _ => {
            let sum = a.as_f64()? + b.as_f64()?;
            sum.is_finite().then_some(Value::Float(sum))
        }
    }
}

fn tidy_keys(keys: &mut Vec<IndexKey>) {
    keys.sort();
    keys.dedup();
}

fn name(edge: &Edge) -> EdgeName {
    (edge.source, edge.kind.clone(), edge.target, edge.discriminator)
}

/// The distance according to the definition of the metric; exact for small
/// integers.
pub fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        // Starts with +0.0, since a sum that starts with -0.0 may be -0.0.
        a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + f64::from(*a) * f64::from(*b))
    };
    match metric {
        Metric::Cosine => (1.0 - dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())).clamp(0.0, 2.0),
        Metric::Dot => -dot(a, b),
        _ => {
            let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            dot(&difference, &difference).sqrt()
        }
    }
}

/// The node id for a number.
pub fn id(n: u8) -> NodeId {
    NodeId::from_content(&[n])
}

/// Options with the spaces and indexes that the operations use. Creating them
/// is the first commit.
pub fn options() -> Options {
    // Partitions of a few rows, so that they split and merge.
    let options = in_partitions_of(200, Options::new().wal_file_bytes(64 << 10));
    let mut options = in_small_pieces(options);
    for (name, dimension, metric) in SPACES {
        options = options.space(*name, Space::new(*dimension, *metric));
    }
    for index in INDEXES {
        options = options.index(*index);
    }
    options
}

/// Makes a batch of operations.
pub fn batch(ops: &[Op], sync: bool) -> Batch {
    let mut batch = Batch::new();
    for op in ops {
        batch.push(op.clone());
    }
    batch.durability(if sync { Durability::Sync } else { Durability::Os });
    batch
}
