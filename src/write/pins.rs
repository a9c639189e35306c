//! What snapshots that are held keep in memory and on disk.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::Duration,
};

use crate::{
    model::time::Seq,
    state::{State, base::Base, layer::node_table::NodeTable},
    store::segment::file::Segment,
};

/// States that are published within this time are told apart by nobody.
pub(super) const EPOCH: Duration = Duration::from_secs(1);

/// What held snapshots keep beyond the current state: memory, and files that a
/// checkpoint has replaced. Nothing of it is freed before they are dropped.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// let held = engine.snapshot();
/// engine.checkpoint()?;
/// assert_eq!(engine.stats().snapshots.layers, 1); // the base has its nodes by now
/// drop(held);
/// assert_eq!(engine.stats().snapshots.layers, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct SnapshotStats {
    /// The commit of the oldest snapshot that is held, to within the commits of
    /// one second. `None` if there is none older than that.
    pub oldest: Option<Seq>,
    /// How long ago its state was published, in milliseconds; 0 without one.
    pub oldest_age_ms: u64,
    /// Layers that are in memory for snapshots only.
    pub layers: usize,
    /// Estimated bytes of these layers.
    pub layer_bytes: usize,
    /// Files that a checkpoint has replaced, and that are there for snapshots
    /// only.
    pub files: usize,
    /// Bytes of these files.
    pub file_bytes: u64,
}

/// States that were published within a second share one of these, so that it is
/// known whether any of them is still held. Readers do nothing for it.
#[derive(Debug)]
struct Epoch {
    seq: Seq,
    since: Duration,
}

/// What held snapshots keep, found by what is still there.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    current: Option<Arc<Epoch>>,
    past: Vec<Weak<Epoch>>,
    layers: Vec<(Weak<NodeTable>, usize)>,
    files: Vec<(Weak<Segment>, u64)>,
}

impl Pins {
    /// Begins an epoch with this state.
    pub(super) fn begin(&mut self, now: Duration, state: &mut State) {
        let next = Arc::new(Epoch { seq: state.seq(), since: now });
        if let Some(past) = self.current.replace(Arc::clone(&next)) {
            self.past.push(Arc::downgrade(&past));
        }
        self.past.retain(|past| past.strong_count() > 0);
        state.set_token(next);
    }

    /// Notes what `state` no longer has once it gets the base `next`, and its
    /// frozen layer if `merged`.
    pub(super) fn replaced(&mut self, state: &State, next: &Base, merged: bool) {
        if let Some(frozen) = state.frozen().filter(|_| merged) {
            let layer = frozen.layer();
            self.layers.push((Arc::downgrade(layer.shared_nodes()), layer.bytes()));
        }
        let kept: HashSet<u32> = next.segments().map(|segment| segment.file().number).collect();
        let gone = state.base().segments().filter(|s| !kept.contains(&s.file().number));
        self.files.extend(gone.map(|segment| (Arc::downgrade(segment), segment.file().len)));
        self.layers.retain(|(layer, _)| layer.strong_count() > 0);
        self.files.retain(|(file, _)| file.strong_count() > 0);
    }

    pub(super) fn stats(&self, now: Duration) -> SnapshotStats {
        let oldest = self.past.iter().find_map(Weak::upgrade);
        let layers = self.layers.iter().filter(|(layer, _)| layer.strong_count() > 0);
        let files = self.files.iter().filter(|(file, _)| file.strong_count() > 0);
        let age = oldest.as_ref().map_or(Duration::ZERO, |past| now.saturating_sub(past.since));
        SnapshotStats {
            oldest: oldest.map(|past| past.seq),
            oldest_age_ms: age.as_millis().try_into().unwrap_or(u64::MAX),
            layers: layers.clone().count(),
            layer_bytes: layers.map(|(_, bytes)| bytes).sum(),
            files: files.clone().count(),
            file_bytes: files.map(|(_, bytes)| bytes).sum(),
        }
    }
}
