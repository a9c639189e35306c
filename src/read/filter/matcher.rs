//! A filter that is asked node by node.

use std::fmt;

use crate::{
    model::error::Result,
    read::{
        filter::{
            Filter,
            expr::{Expr, Subject, holds_all},
        },
        node::NodeRef,
        snapshot::Snapshot,
    },
};

impl Snapshot {
    /// A filter for nodes of this snapshot that were found otherwise: by a scan, an
    /// index or a walk.
    ///
    /// ```
    /// use ingrain::{index::attr, prelude::*};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let note = |topic: &str| Node::new(NodeId::new(), "note").attribute("topic", topic);
    /// engine.write(Batch::new().put(note("rust")).put(note("c")))?;
    /// let snapshot = engine.snapshot();
    /// let matcher = snapshot.matcher(attr("topic").eq("rust"))?;
    /// let mut found = 0;
    /// for node in snapshot.scan("note") {
    ///     found += usize::from(matcher.passes(&node?)?);
    /// }
    /// assert_eq!(found, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if an index of the filter is unknown or a condition cannot be asked;
    /// `NotReady` while such an index is being built; `Limit` if the filter is larger
    /// than [`limits`](crate::limits) allow.
    pub fn matcher<'s, 'f>(&'s self, filter: impl Into<Filter<'f>>) -> Result<Matcher<'s, 'f>> {
        Ok(Matcher { snapshot: self, filter: filter.into().compile(self)? })
    }
}

/// A filter that is asked node by node: see [`Snapshot::matcher`].
pub struct Matcher<'s, 'f> {
    snapshot: &'s Snapshot,
    filter: Vec<Expr<'f>>,
}

impl fmt::Debug for Matcher<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher").field("conditions", &self.filter.len()).finish_non_exhaustive()
    }
}

impl Matcher<'_, '_> {
    /// Whether a node of the snapshot passes.
    ///
    /// # Errors
    /// `Corrupt` if what is asked is damaged on disk; `Filter` if a closure fails.
    pub fn passes(&self, node: &NodeRef<'_>) -> Result<bool> {
        holds_all(self.filter.iter(), self.snapshot, &Subject::new(*node))
    }
}
