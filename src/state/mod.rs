//! The state of a store: layers in memory over a base of mapped files.

pub(crate) mod apply;
pub(crate) mod base;
pub(crate) mod catalog;
pub(crate) mod dead;
pub(crate) mod layer;
pub(crate) mod record;
pub(crate) mod stats;

use std::{
    any::Any,
    collections::BTreeMap,
    ops::{Bound, RangeInclusive},
    sync::Arc,
};

use crate::{
    format::{
        manifest::{Building, Counts, DeclaredIndex, Manifest, NamedSpace},
        tables::{EdgeKey, IndexEntryRef, NodeRow},
    },
    model::{catalog::Catalog, id::NodeId, space::Space, time::Seq},
    state::{
        base::Base,
        catalog::{Derived, Dictionary, Indexes, NamedIndex, Phase, Spaces},
        dead::{Dead, DeadReports, DeadRun},
        layer::{Frozen, KindChange, Layer, change::Change},
        record::{EdgeRecord, NodeRecord},
    },
};

/// Bounds of entries of the indexes.
pub(crate) type KeyBounds<'k> = (Bound<IndexEntryRef<'k>>, Bound<IndexEntryRef<'k>>);

/// The state of a store as of one commit.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// The commit that the state is as of.
    seq: Seq,
    kinds: Dictionary,
    spaces: Arc<Spaces>,
    /// The number of vectors in each space, by the number of the space.
    vector_counts: Arc<BTreeMap<u32, u64>>,
    indexes: Arc<Indexes>,
    counts: Counts,
    /// Counts, since the store was opened, the commits after which a name stands for
    /// something else: kinds and indexes that were renamed, indexes that were dropped.
    renames: u64,
    /// Changes since the last checkpoint began.
    active: Layer,
    /// The layer that a checkpoint is writing, or failed to write.
    frozen: Option<Arc<Frozen>>,
    base: Arc<Base>,
    /// Where nothing is: what ordered reads skip.
    dead: Arc<Dead>,
    /// What readers report, shared by all states.
    dead_reports: Arc<DeadReports>,
    /// Held by all states of the same time, so that it is known how long the oldest
    /// of them is held.
    token: Option<Arc<dyn Any + Send + Sync>>,
    /// The most threads that one read takes.
    threads: usize,
}

impl State {
    /// How often names came to stand for something else, since the store was opened.
    pub(crate) fn renames(&self) -> u64 {
        self.renames
    }

    /// How many entries of indexes the layers have in a range beyond those of the base:
    /// less than none if they take some away.
    pub(crate) fn layered_keys(&self, range: KeyBounds<'_>) -> i64 {
        let changes = self.layers().flat_map(|layer| {
            layer.keys().range::<_, IndexEntryRef<'_>>(range).map(|(_, change)| change)
        });
        changes.fold(0, |sum, change| change.more(sum))
    }

    /// How many edges the layers have in a range of out_edges, or of in_edges, beyond
    /// those of the base: less than none if they take some away.
    pub(crate) fn layered_edges(&self, out: bool, range: RangeInclusive<EdgeKey>) -> i64 {
        let changes = self.layers().flat_map(|layer| {
            let edges = if out { &layer.out } else { &layer.in_edges };
            edges.range(range.clone()).map(|(_, change)| change)
        });
        changes.fold(0, |sum, change| change.more(sum))
    }

    /// How many nodes and edges of a kind the layers have beyond those of the base.
    pub(crate) fn layered_of_kind(&self, kind: u32) -> KindChange {
        let changes = self.layers().filter_map(|layer| layer.of_kinds.get(&kind));
        changes.fold(KindChange::default(), |sum, change| sum.and(*change))
    }

    /// Changes since the last checkpoint began.
    #[inline]
    pub(crate) fn active(&self) -> &Layer {
        &self.active
    }

    #[inline]
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// The layer that a checkpoint is writing, or failed to write.
    #[inline]
    pub(crate) fn frozen(&self) -> Option<&Arc<Frozen>> {
        self.frozen.as_ref()
    }

    /// The commit that the state is as of.
    #[inline]
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    /// The most threads that one read takes.
    #[inline]
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Where nothing is: what ordered reads skip.
    #[inline]
    pub(crate) fn dead(&self) -> &Dead {
        &self.dead
    }

    /// Notes that nothing is in a run of keys in this state. Returns whether that is
    /// news.
    pub(crate) fn note_dead(&mut self, run: DeadRun) -> bool {
        let news = !self.dead.has(&run);
        if news {
            Arc::make_mut(&mut self.dead).add(run);
        }
        news
    }

    /// Sets what this state and those that follow it hold.
    pub(crate) fn set_token(&mut self, token: Arc<dyn Any + Send + Sync>) {
        self.token = Some(token);
    }

    /// What readers of any state reported.
    #[inline]
    pub(crate) fn dead_reports(&self) -> &DeadReports {
        &self.dead_reports
    }

    #[inline]
    pub(crate) fn base(&self) -> &Arc<Base> {
        &self.base
    }

    #[inline]
    pub(crate) fn spaces(&self) -> &Arc<Spaces> {
        &self.spaces
    }

    #[inline]
    pub(crate) fn kinds(&self) -> &Dictionary {
        &self.kinds
    }

    #[inline]
    pub(crate) fn indexes(&self) -> &Arc<Indexes> {
        &self.indexes
    }
}

/// The kinds that a manifest names.
pub(crate) fn kinds_of(manifest: &Manifest) -> Dictionary {
    Dictionary::new(manifest.numbered_kinds(), manifest.next_kind())
}

/// The indexes that a manifest names.
pub(crate) fn indexes_of(manifest: &Manifest) -> Indexes {
    let derived = |number: u32, name: &str| {
        let at = manifest.declared.binary_search_by_key(&number, |declared| declared.number);
        let declared = manifest.declared.get(at.ok()?)?;
        // A manifest with another definition was refused when it was decoded.
        let definition = Arc::new(declared.index(name).ok()?);
        let phase = match (&declared.failed, declared.building) {
            (Some(why), _) => Phase::Failed(why.as_str().into()),
            (None, Some(next)) => Phase::Building(next.kind, next.node()),
            (None, None) => Phase::Ready,
        };
        Some(Derived { definition, phase })
    };
    let indexes = manifest.numbered_indexes().map(|(number, name)| {
        (number, NamedIndex { name: name.into(), derived: derived(number, name) })
    });
    Indexes::new(indexes, manifest.next_index())
}

/// The indexes whose keys are derived, as a manifest has them.
pub(crate) fn declared(indexes: &Indexes) -> Vec<DeclaredIndex> {
    let declared = indexes.all_derived().map(|(number, _, derived)| {
        let building = match derived.phase {
            Phase::Building(kind, node) => Some(Building::new(kind, node)),
            Phase::Ready | Phase::Failed(_) => None,
        };
        let failed = match &derived.phase {
            Phase::Failed(why) => Some(why.to_string()),
            Phase::Ready | Phase::Building(..) => None,
        };
        DeclaredIndex { failed, ..DeclaredIndex::new(number, &derived.definition, building) }
    });
    declared.collect()
}

/// The result of a prefetch lookup of one node.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Prefetched<'s> {
    /// Not looked up, or damaged on disk.
    #[default]
    Not,
    /// A layer has an entry: the node, or `None` if it was deleted.
    Layers(Option<&'s NodeRecord>),
    /// No layer has an entry; this is the result from the base.
    Base(Option<&'s NodeRow>),
}

impl State {
    /// The state as of the checkpoint of `base`, with empty layers. `kind_run`
    /// is passed to [`Layer::new`]; `threads` is the most that one read takes.
    pub(crate) fn from_base(base: Arc<Base>, kind_run: usize, threads: usize) -> Self {
        let manifest = Arc::clone(&base.manifest);
        Self {
            seq: manifest.checkpoint,
            kinds: kinds_of(&manifest),
            indexes: Arc::new(indexes_of(&manifest)),
            spaces: Arc::new(Spaces::new(manifest.numbered_spaces(), manifest.next_space())),
            vector_counts: Arc::new(
                manifest.numbered_spaces().map(|(number, space)| (number, space.vectors)).collect(),
            ),
            counts: manifest.counts,
            renames: 0,
            active: Layer::new(kind_run),
            frozen: None,
            threads,
            base,
            dead: Arc::default(),
            dead_reports: Arc::default(),
            token: None,
        }
    }

    /// Freezes the active layer for a checkpoint, unless there is a frozen
    /// layer already. Returns the frozen layer; `None` if there is nothing to
    /// write.
    pub(crate) fn freeze(&mut self) -> Option<&Arc<Frozen>> {
        if self.frozen.is_none() {
            if self.active.is_empty() && self.seq == self.base.manifest.checkpoint {
                return None;
            }
            let next = self.active.next();
            let kinds = self.kinds.clone();
            self.kinds.begin_layer();
            self.frozen = Some(Arc::new(Frozen {
                layer: std::mem::replace(&mut self.active, next),
                seq: self.seq,
                kinds,
                indexes: Arc::clone(&self.indexes),
                spaces: self.numbered_spaces(),
                next_space: self.spaces.next(),
                counts: self.counts,
            }));
        }
        self.frozen.as_ref()
    }

    /// An empty frozen layer, for a checkpoint without changes. Names and
    /// counts are those of the base, since the state may have newer ones.
    pub(crate) fn empty_frozen(&self) -> Frozen {
        let manifest = &self.base.manifest;
        Frozen {
            layer: self.active.next(),
            seq: manifest.checkpoint,
            kinds: kinds_of(manifest),
            indexes: Arc::new(indexes_of(manifest)),
            spaces: manifest
                .numbered_spaces()
                .map(|(number, space)| (number, space.clone()))
                .collect(),
            next_space: manifest.next_space(),
            counts: manifest.counts,
        }
    }

    /// Replaces the base by another with the same contents.
    pub(crate) fn replace_base(&mut self, base: Arc<Base>) {
        self.base = base;
    }

    /// Drops the frozen layer, and replaces the base by one that includes it. If
    /// kinds are gone, `kinds` are those that are left, without the ones that the
    /// active layer uses.
    pub(crate) fn install(&mut self, base: Arc<Base>, kinds: Option<Dictionary>) {
        self.frozen = None;
        self.base = base;
        if let Some(kinds) = kinds {
            self.kinds.leave(kinds);
        }
    }

    /// Estimated bytes of memory of the layers.
    pub(crate) fn layer_bytes(&self) -> usize {
        self.layers().map(|layer| layer.bytes).sum()
    }

    /// The spaces with their numbers and vector counts.
    fn numbered_spaces(&self) -> Vec<(u32, NamedSpace)> {
        let spaces = self.spaces.numbered().map(|(number, space)| {
            let vectors = self.vector_counts.get(&number).copied().unwrap_or(0);
            (number, NamedSpace { vectors, ..space.clone() })
        });
        spaces.collect()
    }

    /// The layers, newest first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.active).chain(self.frozen.as_ref().map(|frozen| &frozen.layer))
    }

    /// Looks up a node in the layers: `None` if they have no entry for it,
    /// `Some(None)` if it was deleted.
    #[inline]
    pub(crate) fn layered_node(&self, id: &NodeId) -> Option<Option<&NodeRecord>> {
        let active = self.active.nodes.get(id, self.seq);
        active.or_else(|| self.frozen.as_ref().and_then(|frozen| frozen.node(id)))
    }

    /// Whether a node of the layers has no entry in the active one.
    pub(crate) fn is_frozen(&self, id: &NodeId) -> bool {
        self.active.nodes.get(id, self.seq).is_none()
    }

    /// Looks up nodes together, so that their cache misses overlap.
    pub(crate) fn prefetch_lookup(&self, ids: &[Option<NodeId>]) -> Vec<Prefetched<'_>> {
        for layer in self.layers() {
            ids.iter().flatten().for_each(|id| layer.nodes.fetch(id));
        }
        let lookup = |id: &Option<NodeId>| match id {
            Some(id) => self.layered_node(id).map_or(Prefetched::Base(None), Prefetched::Layers),
            None => Prefetched::Not,
        };
        let mut prefetched: Vec<Prefetched<'_>> = ids.iter().map(lookup).collect();
        if !self.base.nodes.is_empty() {
            let left = ids.iter().zip(&mut prefetched);
            let left = left.filter(|(_, prefetched)| matches!(prefetched, Prefetched::Base(_)));
            let (ids, mut places): (Vec<NodeId>, Vec<_>) =
                left.filter_map(|(id, prefetched)| Some(((*id)?, prefetched))).unzip();
            self.base.prefetch_lookup(&ids, &mut |at, found| {
                if let Some(place) = places.get_mut(at) {
                    **place = found.map_or(Prefetched::Not, Prefetched::Base);
                }
            });
        }
        prefetched
    }

    /// Looks up an edge in the layers by its key in the out_edges table. The
    /// result is as that of [`layered_node`](Self::layered_node).
    pub(crate) fn layered_edge(&self, key: &EdgeKey) -> Option<Option<&Arc<EdgeRecord>>> {
        self.layers().find_map(|layer| layer.out.get(key)).map(Change::value)
    }
}

impl Catalog for State {
    fn space(&self, name: &str) -> Option<Space> {
        self.spaces.get(name).map(|(_, named)| named.space)
    }

    fn has_index(&self, name: &str) -> bool {
        self.indexes.number(name).is_some()
    }

    fn derives(&self, name: &str) -> bool {
        self.indexes.number(name).is_some_and(|number| self.indexes.derived(number).is_some())
    }
}
