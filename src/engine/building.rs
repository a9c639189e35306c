//! Adds the nodes that were there before an index was created to it, step by step.

use std::time::Duration;

use crate::{
    engine::own,
    model::{batch::Op, error::Result, time::Timestamp},
    os::process::Owner,
    write::reconciler::Reconciler,
};

/// Nodes of a step, which is one commit: about a millisecond in the commit step.
const STEP_NODES: u32 = 256;

/// Commits the next step of an index.
///
/// # Errors
/// As a write. `Backpressure` if the delta or the write log is full for `patience`.
pub(super) fn step(
    reconciler: &Reconciler,
    name: &str,
    time: Timestamp,
    patience: Duration,
    owner: Owner,
) -> Result<()> {
    let ops = vec![Op::BuildIndex { name: name.to_owned(), nodes: STEP_NODES }];
    own::commit(reconciler, owner, time, ops, patience)
}
