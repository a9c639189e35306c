//! Adds the nodes that were there before an index was created to it, step by step.

use std::time::Duration;

use crate::{
    format::wal::Payload,
    model::{
        batch::{Durability, Op},
        error::Result,
        time::Timestamp,
    },
    os::process::Owner,
    state::{State, catalog::Phase},
    write::{reconciler::Reconciler, ticket::Pending},
};

/// Nodes of a step, which is one commit: about a millisecond in the commit step.
pub(crate) const STEP_NODES: u32 = 256;

/// The name of an index that is being built.
pub(crate) fn unfinished(state: &State) -> Option<&str> {
    let mut building = state.indexes().all_derived();
    let found = building.find(|(_, _, derived)| matches!(derived.phase, Phase::Building(..)));
    found.map(|(_, index, _)| &*index.name)
}

/// Commits the next step of an index.
///
/// # Errors
/// As a write. `Backpressure` if the delta or the write log is full for `patience`.
pub(crate) fn step(
    reconciler: &Reconciler,
    name: &str,
    time: Timestamp,
    patience: Duration,
    owner: Owner,
) -> Result<()> {
    let mut ops = vec![Op::BuildIndex { name: name.to_owned(), nodes: STEP_NODES }];
    let payload = Payload::encode(time, &mut ops)?;
    // What a crash undoes of it is done again.
    let (pending, ticket) = Pending::new(time, ops, payload, Durability::Os, owner);
    reconciler.queue(pending, patience)?;
    reconciler.see_through(ticket).map(drop)
}
