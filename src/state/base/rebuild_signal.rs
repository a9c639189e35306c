//! A signal that derived data has to be rebuilt.

use std::sync::Arc;

/// A function that is called when derived data is found to be damaged.
#[derive(Clone, Default)]
pub(crate) struct RebuildSignal(pub(crate) Option<Arc<dyn Fn() + Send + Sync>>);

impl RebuildSignal {
    pub(crate) fn new(signal: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(signal)))
    }
}

impl std::fmt::Debug for RebuildSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RebuildSignal").finish()
    }
}
