//! How long work is given up.

/// Whether to give up what takes long.
pub(crate) type Stop<'a> = &'a (dyn Fn() -> bool + Sync);
