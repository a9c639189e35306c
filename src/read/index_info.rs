//! What a snapshot says of its indexes.

use crate::{
    model::index::Index,
    state::catalog::{NamedIndex, Phase},
};

/// An index of a store.
///
/// ```
/// use ingrain::{index::{Index, IndexState, attr}, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.create_index("timeline")?;
/// engine.create_index_on("by_topic", Index::on([attr("topic")]))?;
/// let snapshot = engine.snapshot();
/// let names: Vec<&str> = snapshot.indexes().map(|index| index.name).collect();
/// assert_eq!(names, ["timeline", "by_topic"]);
/// let by_topic = snapshot.index("by_topic").expect("it was created");
/// assert_eq!(by_topic.definition, Some(&Index::on([attr("topic")])));
/// assert_eq!(by_topic.state, IndexState::Ready); // there was no node to begin with
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct IndexInfo<'s> {
    /// The name.
    pub name: &'s str,
    /// What its keys are derived from; `None` if they are given by hand.
    pub definition: Option<&'s Index>,
    /// Whether it can be read.
    pub state: IndexState<'s>,
}

/// Whether an index can be read.
///
/// ```
/// use ingrain::index::IndexState;
///
/// assert_eq!(IndexState::Failed("no key").to_string(), "failed: no key");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexState<'s> {
    /// It has the keys of all nodes.
    Ready,
    /// It is being built: nodes that were there before it are added step by step.
    Building,
    /// A node could not be added, for this reason. Drop the index, mend the node, and
    /// create the index again.
    Failed(&'s str),
}

impl std::fmt::Display for IndexState<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Building => f.write_str("being built"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

impl<'s> IndexInfo<'s> {
    pub(crate) fn of(index: &'s NamedIndex) -> Self {
        let derived = index.derived.as_ref();
        let state = match derived.map(|derived| &derived.phase) {
            None | Some(Phase::Ready) => IndexState::Ready,
            Some(Phase::Building(..)) => IndexState::Building,
            Some(Phase::Failed(why)) => IndexState::Failed(why),
        };
        let definition = derived.map(|derived| &*derived.definition);
        Self { name: &index.name, definition, state }
    }
}
