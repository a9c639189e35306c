//! Edges.

use crate::model::{
    error::{Error, Result},
    id::NodeId,
    limits::{check_name, check_scores},
    time::Timestamp,
    value::{Attributes, Value, check_attributes, collect},
};

/// A typed, weighted, directed association between two nodes.
///
/// Source, kind, target and discriminator together identify an edge. Linking it
/// again replaces everything else.
///
/// ```
/// use ingrain::{Edge, NodeId};
///
/// let (rex, alice) = (NodeId::from_content(b"Rex"), NodeId::from_content(b"Alice"));
/// let edge = Edge::new(rex, "belongs to", alice).weight(0.8).attribute("since", 2019);
/// assert_eq!((edge.source, edge.target), (rex, alice));
/// assert_eq!((edge.weight, edge.confidence), (0.8, 1.0));
/// ```
///
/// With the feature `serde` the fields have their names. Only `source`, `kind`
/// and `target` must be there when an edge is read; other names are refused.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Edge {
    /// The node that it leaves.
    pub source: NodeId,
    /// The type of the association: 1 to [`limits::NAME_BYTES`](crate::limits::NAME_BYTES) bytes.
    pub kind: String,
    /// The node that it reaches. It may be the source itself.
    pub target: NodeId,
    /// Distinguishes parallel edges of one kind. 0 by default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub discriminator: u64,
    /// Any finite number, 1 by default.
    #[cfg_attr(
        feature = "serde",
        serde(
            default = "crate::model::serde_with::one",
            serialize_with = "crate::model::serde_with::finite"
        )
    )]
    pub weight: f64,
    /// How certain it is, from 0 to 1, 1 by default.
    #[cfg_attr(
        feature = "serde",
        serde(
            default = "crate::model::serde_with::one",
            serialize_with = "crate::model::serde_with::finite"
        )
    )]
    pub confidence: f32,
    /// Named values.
    #[cfg_attr(
        feature = "serde",
        serde(default, deserialize_with = "crate::model::serde_with::unique")
    )]
    pub attributes: Attributes,
    /// When it was first linked. With `None`, the time that a stored edge has
    /// is kept, and a new edge gets the time of its batch.
    #[cfg_attr(feature = "serde", serde(default))]
    pub created: Option<Timestamp>,
    /// When it was last linked. With `None`, the time of the batch.
    #[cfg_attr(feature = "serde", serde(default))]
    pub updated: Option<Timestamp>,
}

impl Edge {
    /// An edge of weight and confidence 1 without attributes.
    #[must_use]
    pub fn new(source: NodeId, kind: impl Into<String>, target: NodeId) -> Self {
        Self {
            source,
            kind: kind.into(),
            target,
            discriminator: 0,
            weight: 1.0,
            confidence: 1.0,
            attributes: Attributes::new(),
            created: None,
            updated: None,
        }
    }

    /// With this weight, any finite number.
    #[must_use]
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// With this confidence, from 0 to 1.
    #[must_use]
    pub fn confidence(mut self, confidence: f32) -> Self {
        self.confidence = confidence;
        self
    }

    /// With this attribute, in place of one of the same name.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// With these attributes besides those that it has, in place of those of
    /// the same names.
    #[must_use]
    pub fn attributes<K: Into<String>, V: Into<Value>>(
        mut self,
        attributes: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.attributes.extend(collect(attributes));
        self
    }

    /// With this discriminator.
    #[must_use]
    pub fn discriminator(mut self, discriminator: u64) -> Self {
        self.discriminator = discriminator;
        self
    }

    /// First linked at this time.
    #[must_use]
    pub fn created(mut self, time: Timestamp) -> Self {
        self.created = Some(time);
        self
    }

    /// Last linked at this time.
    #[must_use]
    pub fn updated(mut self, time: Timestamp) -> Self {
        self.updated = Some(time);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_name("kind", &self.kind)?;
        check_attributes(&self.attributes)?;
        if !self.weight.is_finite() {
            return Err(Error::invalid(format!("weight {}: it is not finite", self.weight)));
        }
        check_scores(0.0, self.confidence)
    }
}
