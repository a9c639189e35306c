//! What a view of the nodes that are alive at a time hides.

use std::{collections::HashSet, sync::OnceLock};

use foldhash::quality::RandomState;

use crate::{
    model::{error::Result, id::NodeId, time::Timestamp},
    read::node::NodeRef,
    state::State,
};

/// The most ids of expired nodes that a view keeps.
pub(crate) const MOST: usize = 65_536;

/// The nodes that a view does not show: those that expire at its time or before
/// it.
#[derive(Debug)]
pub(crate) struct Hidden {
    at: Timestamp,
    /// Found by the first read that needs it.
    expired: OnceLock<Expired>,
}

/// What has expired at the time of a view.
#[derive(Debug)]
pub(crate) enum Expired {
    Nothing,
    Few(HashSet<NodeId, RandomState>),
    /// More than [`MOST`], or the index of expiries cannot be read: each node is
    /// looked up.
    Many,
}

impl Hidden {
    pub(crate) fn new(at: Timestamp) -> Self {
        Self { at, expired: OnceLock::new() }
    }

    /// The time of the view.
    pub(crate) fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether a node that was read is hidden.
    #[inline]
    pub(crate) fn hides(&self, node: &NodeRef<'_>) -> bool {
        self.hides_expiry(node.expires())
    }

    #[inline]
    pub(crate) fn hides_expiry(&self, expires: Option<Timestamp>) -> bool {
        expires.is_some_and(|expires| expires <= self.at)
    }

    /// Whether anything is hidden. `find` says what has expired.
    #[inline]
    pub(crate) fn has_any(&self, find: impl FnOnce() -> Expired) -> bool {
        !matches!(self.expired.get_or_init(find), Expired::Nothing)
    }

    /// Whether a node that was not read is hidden. One that is not there is not.
    #[inline]
    pub(crate) fn hides_id(&self, state: &State, id: NodeId) -> Result<bool> {
        match self.expired.get() {
            Some(Expired::Nothing) => Ok(false),
            Some(Expired::Few(ids)) => Ok(ids.contains(&id)),
            Some(Expired::Many) | None => self.look_up(state, id),
        }
    }

    fn look_up(&self, state: &State, id: NodeId) -> Result<bool> {
        let expires = match state.layered_node(&id) {
            Some(layered) => layered.and_then(|record| record.expires),
            None => state.base().node(id)?.and_then(|node| node.meta().expires),
        };
        Ok(self.hides_expiry(expires))
    }
}
