//! A signal that something derived is to be built again.

use std::sync::Arc;

/// Tells that something that is derived was found to be damaged.
#[derive(Clone, Default)]
pub(crate) struct RebuildSignal(pub(crate) Option<Arc<dyn Fn() + Send + Sync>>);

impl RebuildSignal {
    pub(crate) fn new(tell: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }
}

impl std::fmt::Debug for RebuildSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Notice").finish()
    }
}
