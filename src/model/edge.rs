//! Edges.

use crate::model::{
    error::{Error, Result},
    id::NodeId,
    limits::{check_name, check_scores},
    time::Timestamp,
    value::{Attributes, Value, check_attributes},
};

/// A typed, weighted, directed association between two nodes.
///
/// Source, kind, target and discriminator together name an edge; linking it
/// again replaces the rest of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The node it leaves.
    pub source: NodeId,
    /// What sort of association it is: 1 to [`limits::NAME_BYTES`] bytes.
    pub kind: String,
    /// The node it reaches; may be the source itself.
    pub target: NodeId,
    /// Tells parallel edges of one kind apart. 0 where there is only one.
    pub discriminator: u64,
    /// Any finite number, 1 by default.
    pub weight: f64,
    /// How sure it is, from 0 to 1, 1 by default.
    pub confidence: f32,
    /// Named values.
    pub attributes: Attributes,
    /// When it came to be; kept when the edge is linked again, unless given.
    pub created: Option<Timestamp>,
    /// When it was last linked.
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

    /// With this weight.
    #[must_use]
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// With this attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// With this discriminator.
    #[must_use]
    pub fn discriminator(mut self, discriminator: u64) -> Self {
        self.discriminator = discriminator;
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
