//! Filters: which nodes a search, a selection or a walk may find.

pub(crate) mod compile;
pub(crate) mod expr;
pub(crate) mod mask;
pub(crate) mod matcher;

use std::{error, fmt, sync::Arc};

use crate::{
    model::{
        condition::Condition,
        error::{Error, Result},
        id::NodeId,
        key::KeyRange,
        time::Timestamp,
    },
    read::node::NodeRef,
};

/// A closure that says whether a node passes.
pub(crate) type NodeTest<'f> = Arc<dyn Fn(&NodeRef<'_>) -> Result<bool> + Send + Sync + 'f>;

/// Which nodes a search, a selection or a walk may find: those that meet all
/// conditions, and for which all closures return true.
///
/// Conditions come first, as far as possible from indexes and without reading
/// records; closures are called only for nodes that meet them.
///
/// ```
/// use ingrain::{KeyRange, index::attr, search::Filter};
///
/// let filter = Filter::new()
///     .kind("note")
///     .index("timeline", KeyRange::all())
///     .and(attr("topic").eq("rust").or(attr("pinned").eq(true)))
///     .test(|node| node.confidence() > 0.5);
/// # let _ = filter;
/// let parsed = Filter::parse(r#"kind = "note" and topic = "rust""#)?;
/// # let _ = parsed;
/// # Ok::<(), ingrain::Error>(())
/// ```
#[derive(Default, Clone)]
pub struct Filter<'f> {
    pub(super) conditions: Vec<Condition>,
    pub(super) tests: Vec<NodeTest<'f>>,
}

impl fmt::Debug for Filter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conditions: Vec<String> = self.conditions.iter().map(Condition::to_string).collect();
        f.debug_struct("Filter")
            .field("conditions", &conditions)
            .field("tests", &self.tests.len())
            .finish()
    }
}

impl From<Condition> for Filter<'_> {
    fn from(condition: Condition) -> Self {
        Self::new().and(condition)
    }
}

impl<'f> From<&Filter<'f>> for Filter<'f> {
    /// A copy, which shares closures and sets of ids.
    fn from(filter: &Filter<'f>) -> Self {
        filter.clone()
    }
}

impl<'f> Filter<'f> {
    /// A filter that every node passes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The filter with this condition as text: see [`Condition`].
    ///
    /// # Errors
    /// `Invalid` with the place and what is expected there.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self::new().and(text.parse()?))
    }

    /// Only nodes that meet this condition too.
    #[must_use]
    pub fn and(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Only nodes of this kind.
    #[must_use]
    pub fn kind(self, kind: impl Into<String>) -> Self {
        self.and(Condition::kinds([kind]))
    }

    /// Only nodes of these kinds.
    #[must_use]
    pub fn kinds<S: Into<String>>(self, kinds: impl IntoIterator<Item = S>) -> Self {
        self.and(Condition::kinds(kinds))
    }

    /// Only these nodes, of which there may be any number.
    #[must_use]
    pub fn ids(self, ids: impl IntoIterator<Item = NodeId>) -> Self {
        self.and(Condition::ids(ids))
    }

    /// Only nodes with a key in this range of this index.
    #[must_use]
    pub fn index(self, index: impl Into<String>, range: impl Into<KeyRange>) -> Self {
        self.and(Condition::index(index, range))
    }

    /// Only nodes that have not expired at this time.
    #[must_use]
    pub fn alive_at(self, time: Timestamp) -> Self {
        self.and(Condition::alive_at(time))
    }

    /// Only nodes for which `test` returns true. It is called only for nodes that
    /// meet the conditions. If few nodes pass, it is called for many, up to all of
    /// the store or of a vector space.
    #[must_use]
    pub fn test(mut self, test: impl Fn(&NodeRef<'_>) -> bool + Send + Sync + 'f) -> Self {
        self.tests.push(Arc::new(move |node| Ok(test(node))));
        self
    }

    /// As [`test`](Self::test), with a closure that may fail. The search then fails
    /// with its error: one of ingrain as it is, any other as [`Error::Filter`].
    ///
    /// ```
    /// use ingrain::{prelude::*, ErrorKind};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let year = |text: &str| Node::new(NodeId::new(), "note").attribute("year", text);
    /// engine.write(Batch::new().put(year("2024")).put(year("1999")))?;
    /// let recent = Filter::new().try_test(|node| {
    ///     let attributes = node.attributes()?;
    ///     let year = attributes.get("year").and_then(Value::as_str).unwrap_or_default();
    ///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(year.parse::<i32>()? > 2000)
    /// });
    /// assert_eq!(engine.snapshot().select(&recent).count()?, 1);
    /// engine.write(Batch::new().put(year("last")))?;
    /// let error = engine.snapshot().select(&recent).count().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Filter);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn try_test<E: Into<Box<dyn error::Error + Send + Sync>>>(
        mut self,
        test: impl Fn(&NodeRef<'_>) -> Result<bool, E> + Send + Sync + 'f,
    ) -> Self {
        let failed = |error: E| match error.into().downcast::<Error>() {
            Ok(error) => *error,
            Err(source) => Error::Filter { source: source.into() },
        };
        self.tests.push(Arc::new(move |node| test(node).map_err(failed)));
        self
    }

    /// Checks that its conditions can be asked.
    pub(crate) fn check(&self) -> Result<()> {
        self.conditions.iter().try_for_each(Condition::check)
    }
}
