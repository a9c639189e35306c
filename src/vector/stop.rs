//! How long-running work is cancelled.

/// Returns whether long-running work has to be cancelled. It is asked
/// repeatedly.
pub(crate) type Stop<'a> = &'a (dyn Fn() -> bool + Sync);
