//! How long computations are run and cancelled.

/// Returns whether long-running work has to be cancelled. It is asked
/// repeatedly.
pub(crate) type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// How a long computation is run.
#[derive(Clone, Copy)]
pub(crate) struct Compute<'a> {
    /// The most threads that it takes, the caller's among them.
    pub(crate) threads: usize,
    /// When to cancel it.
    pub(crate) stop: Stop<'a>,
}

#[cfg(test)]
impl Compute<'_> {
    /// On one thread, to the end.
    pub(crate) const ALONE: Compute<'static> = Compute { threads: 1, stop: &|| false };
}
