//! Batches that the engine commits by itself.

use std::time::Duration;

use crate::{
    format::wal::Payload,
    model::{
        batch::{Durability, Op},
        error::Result,
        time::Timestamp,
    },
    os::process::Owner,
    write::{reconciler::Reconciler, ticket::Pending},
};

/// Commits a batch by the path of all writes, and waits for that. The step is done
/// by the thread that commits, so that no waker of another batch runs here. It does
/// not wait for a sync: what a crash undoes of it is done again.
///
/// # Errors
/// As a write. `Backpressure` if the delta or the write log is full for `patience`.
pub(super) fn commit(
    reconciler: &Reconciler,
    owner: Owner,
    time: Timestamp,
    mut ops: Vec<Op>,
    patience: Duration,
) -> Result<()> {
    let payload = Payload::encode(time, &mut ops)?;
    let (pending, ticket) = Pending::new(time, ops, payload, Durability::Os, owner);
    reconciler.queue(pending, patience)?;
    reconciler.hand_over();
    ticket.wait().map(drop)
}
