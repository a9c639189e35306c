//! What a state of the store is: layers in memory over a base of mapped files.

pub(crate) mod apply;
pub(crate) mod base;
pub(crate) mod catalog;
pub(crate) mod layer;
pub(crate) mod record;
pub(crate) mod stats;

use std::sync::Arc;

use crate::{
    format::{
        manifest::{Counts, NamedSpace},
        tables::{EdgeKey, NodeRow},
    },
    model::{catalog::Catalog, id::NodeId, space::Space, time::Seq},
    state::{
        base::Base,
        catalog::{Dictionary, Spaces},
        layer::{Frozen, Layer},
        record::{EdgeRecord, NodeRecord},
    },
};

/// The state of a store.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// The last commit in it.
    seq: Seq,
    kinds: Dictionary,
    spaces: Arc<Spaces>,
    /// The number of vectors in each space, by number.
    vector_counts: Arc<Vec<u64>>,
    indexes: Dictionary,
    counts: Counts,
    /// What was committed since the last checkpoint began.
    active: Layer,
    /// What a checkpoint is writing, or failed to write.
    frozen: Option<Arc<Frozen>>,
    base: Arc<Base>,
}

impl State {
    /// What was committed since the last checkpoint began.
    #[inline]
    pub(crate) fn active(&self) -> &Layer {
        &self.active
    }

    #[inline]
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// What a checkpoint is writing, or failed to write.
    #[inline]
    pub(crate) fn frozen(&self) -> Option<&Arc<Frozen>> {
        self.frozen.as_ref()
    }

    /// The last commit in it.
    #[inline]
    pub(crate) fn seq(&self) -> Seq {
        self.seq
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
    pub(crate) fn indexes(&self) -> &Dictionary {
        &self.indexes
    }
}

/// What was found of a node that a batch is about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Prefetched<'s> {
    /// Nobody looked, or what was looked at is damaged.
    #[default]
    Not,
    /// What the layers say.
    Layers(Option<&'s NodeRecord>),
    /// They say nothing, and the base this.
    Base(Option<&'s NodeRow>),
}

impl State {
    /// The state that a checkpoint left. Readers sort the kinds of its layers
    /// from `kind_run` entries on.
    pub(crate) fn from_base(base: Arc<Base>, kind_run: usize) -> Self {
        let manifest = Arc::clone(&base.manifest);
        Self {
            seq: manifest.checkpoint,
            kinds: Dictionary::from_names(&manifest.kinds),
            indexes: Dictionary::from_names(&manifest.indexes),
            spaces: Arc::new(Spaces::from_named(&manifest.spaces)),
            vector_counts: Arc::new(manifest.spaces.iter().map(|space| space.vectors).collect()),
            counts: manifest.counts,
            active: Layer::new(kind_run),
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
            let next = self.active.next();
            self.frozen = Some(Arc::new(Frozen {
                layer: std::mem::replace(&mut self.active, next),
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
            layer: self.active.next(),
            seq: manifest.checkpoint,
            kinds: Dictionary::from_names(&manifest.kinds),
            indexes: Dictionary::from_names(&manifest.indexes),
            spaces: manifest.spaces.clone(),
            counts: manifest.counts,
        }
    }

    /// Puts another base in the place of this one, which holds the same.
    pub(crate) fn replace_base(&mut self, base: Arc<Base>) {
        self.base = base;
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
    pub(crate) fn prefetch_lookup(&self, ids: &[Option<NodeId>]) -> Vec<Prefetched<'_>> {
        for layer in self.layers() {
            ids.iter().flatten().for_each(|id| layer.nodes.fetch(id));
        }
        let look = |id: &Option<NodeId>| match id {
            Some(id) => self.layered_node(id).map_or(Prefetched::Base(None), Prefetched::Layers),
            None => Prefetched::Not,
        };
        let mut prefetched: Vec<Prefetched<'_>> = ids.iter().map(look).collect();
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

    /// What the layers say of an edge, by its key at its source.
    pub(crate) fn layered_edge(&self, key: &EdgeKey) -> Option<Option<&Arc<EdgeRecord>>> {
        self.layers().find_map(|layer| layer.out.get(key)).map(Option::as_ref)
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
