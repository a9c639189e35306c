//! Nodes and patches of them.

use std::collections::BTreeMap;

use crate::model::{
    catalog::{Catalog, check_index, check_vector, unknown_space},
    error::Result,
    id::NodeId,
    limits::{self, check_content, check_count, check_key, check_name, check_scores},
    time::Timestamp,
    value::{Attributes, Value, check_attributes, check_value},
};

/// A record: content with a kind, attributes, index keys and vectors.
///
/// Of the times and the count, those left at `None` are the engine's to fill in
/// when the batch is applied: `created`, `accessed` and `access_count` with what
/// the node had before, `updated`, and the others of a new node, with the time
/// of the batch and with 0. An expiry of `None` means that there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The name.
    pub id: NodeId,
    /// What sort of thing it is: 1 to [`limits::NAME_BYTES`] bytes.
    pub kind: String,
    /// The content, returned exactly as given: up to [`limits::CONTENT_BYTES`].
    pub content: Vec<u8>,
    /// Named values.
    pub attributes: Attributes,
    /// How well it is remembered; any finite number, 1 by default.
    pub strength: f32,
    /// How sure it is, from 0 to 1, 1 by default.
    pub confidence: f32,
    /// When it came to be.
    pub created: Option<Timestamp>,
    /// When it was last put or patched.
    pub updated: Option<Timestamp>,
    /// When it was last touched.
    pub accessed: Option<Timestamp>,
    /// How often it was touched.
    pub access_count: Option<u64>,
    /// When it may be pruned. Nothing happens by itself at that time: see
    /// [`Engine::prune`](crate::Engine::prune).
    pub expires: Option<Timestamp>,
    /// Where it stands in which index. An index must have been created.
    pub keys: Vec<IndexKey>,
    /// Its vectors, by the name of their space. A space must have been created.
    pub vectors: BTreeMap<String, Vec<f32>>,
}

/// A place in an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexKey {
    /// Name of the index.
    pub index: String,
    /// The key, ordered as bytes: see [`KeyBuilder`].
    pub key: Vec<u8>,
}

impl Node {
    /// A node with this name and kind, and nothing else.
    #[must_use]
    pub fn new(id: NodeId, kind: impl Into<String>) -> Self {
        Self {
            id,
            kind: kind.into(),
            content: Vec::new(),
            attributes: Attributes::new(),
            strength: 1.0,
            confidence: 1.0,
            created: None,
            updated: None,
            accessed: None,
            access_count: None,
            expires: None,
            keys: Vec::new(),
            vectors: BTreeMap::new(),
        }
    }

    /// With this content.
    #[must_use]
    pub fn content(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.content = content.into();
        self
    }

    /// With this attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// With this key in the index of that name.
    #[must_use]
    pub fn key(mut self, index: impl Into<String>, key: impl Into<Vec<u8>>) -> Self {
        self.keys.push(IndexKey { index: index.into(), key: key.into() });
        self
    }

    /// With this vector in the space of that name.
    #[must_use]
    pub fn vector(mut self, space: impl Into<String>, vector: impl Into<Vec<f32>>) -> Self {
        self.vectors.insert(space.into(), vector.into());
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_name("kind", &self.kind)?;
        check_content(&self.content)?;
        check_attributes(&self.attributes)?;
        check_scores(self.strength, self.confidence)?;
        check_count("index keys of a node", self.keys.len(), limits::NODE_KEYS)?;
        self.keys.iter().try_for_each(|key| check_key(&key.key))?;
        check_count("vectors of a node", self.vectors.len(), limits::NODE_VECTORS)
    }

    pub(crate) fn check_known(&self, catalog: &impl Catalog) -> Result<()> {
        self.keys.iter().try_for_each(|key| check_index(&key.index, catalog))?;
        self.vectors.iter().try_for_each(|(space, vector)| check_vector(space, vector, catalog))
    }
}

/// Changes to part of a node. What is not named stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Patch {
    /// The new kind.
    pub kind: Option<String>,
    /// The new content.
    pub content: Option<Vec<u8>>,
    /// Attributes to set, or with `None` to remove.
    pub attributes: BTreeMap<String, Option<Value>>,
    /// The new strength.
    pub strength: Option<f32>,
    /// The new confidence.
    pub confidence: Option<f32>,
    /// By index name, the keys that the node has there from now on.
    pub keys: BTreeMap<String, Vec<Vec<u8>>>,
    /// By space name, the vector to set, or with `None` to remove.
    pub vectors: BTreeMap<String, Option<Vec<f32>>>,
}

impl Patch {
    /// A patch that changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Replaces the content.
    #[must_use]
    pub fn content(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.content = Some(content.into());
        self
    }

    /// Sets an attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), Some(value.into()));
        self
    }

    /// Removes an attribute.
    #[must_use]
    pub fn remove_attribute(mut self, name: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), None);
        self
    }

    /// Sets the strength.
    #[must_use]
    pub fn strength(mut self, strength: f32) -> Self {
        self.strength = Some(strength);
        self
    }

    /// Sets the confidence.
    #[must_use]
    pub fn confidence(mut self, confidence: f32) -> Self {
        self.confidence = Some(confidence);
        self
    }

    /// Replaces all keys that the node has in an index.
    #[must_use]
    pub fn keys(mut self, index: impl Into<String>, keys: Vec<Vec<u8>>) -> Self {
        self.keys.insert(index.into(), keys);
        self
    }

    /// Sets the vector in a space.
    #[must_use]
    pub fn vector(mut self, space: impl Into<String>, vector: impl Into<Vec<f32>>) -> Self {
        self.vectors.insert(space.into(), Some(vector.into()));
        self
    }

    /// Removes the vector in a space.
    #[must_use]
    pub fn remove_vector(mut self, space: impl Into<String>) -> Self {
        self.vectors.insert(space.into(), None);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if let Some(kind) = &self.kind {
            check_name("kind", kind)?;
        }
        if let Some(content) = &self.content {
            check_content(content)?;
        }
        check_count("attributes of a patch", self.attributes.len(), limits::ATTRIBUTES)?;
        for (name, value) in &self.attributes {
            check_name("attribute", name)?;
            if let Some(value) = value {
                check_value(name, value, 1)?;
            }
        }
        check_scores(self.strength.unwrap_or(1.0), self.confidence.unwrap_or(1.0))?;
        check_count(
            "index keys of a patch",
            self.keys.values().map(Vec::len).fold(0, usize::saturating_add),
            limits::NODE_KEYS,
        )?;
        self.keys.values().flatten().try_for_each(|key| check_key(key))?;
        check_count("vectors of a patch", self.vectors.len(), limits::NODE_VECTORS)
    }

    pub(crate) fn check_known(&self, catalog: &impl Catalog) -> Result<()> {
        self.keys.keys().try_for_each(|index| check_index(index, catalog))?;
        for (space, vector) in &self.vectors {
            match vector {
                Some(vector) => check_vector(space, vector, catalog)?,
                None if catalog.space(space).is_some() => {}
                None => return Err(unknown_space(space)),
            }
        }
        Ok(())
    }
}
