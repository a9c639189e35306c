//! Nodes and patches of them.

use std::collections::BTreeMap;

use crate::model::{
    catalog::{Catalog, check_index, check_vector, unknown_space},
    error::Result,
    id::NodeId,
    limits::{self, check_content, check_count, check_key, check_name, check_scores},
    time::Timestamp,
    value::{Attributes, Value, check_attributes, check_value, collect},
};

/// A record: content with a kind, attributes, index keys and vectors.
///
/// The times, the access count and the expiry are kept by the engine, unless a
/// put sets them. Left at `None` and [`Expiry::Keep`], `created`, `accessed`,
/// `access_count` and `expires` stay what the stored node has at the commit,
/// and `updated` becomes the time of the commit. A new node gets the time of its
/// commit for all its times, the count 0, and no expiry.
///
/// ```
/// use ingrain::{KeyBuilder, Node, NodeId, Timestamp};
///
/// let seen = Timestamp::parse("2024-02-29T12:00:00Z")?;
/// let node = Node::new(NodeId::new(), "event")
///     .content("it barked")
///     .attribute("loudness", 0.7)
///     .attributes([("place", "garden"), ("lang", "en")])
///     .created(seen)
///     .key("timeline", KeyBuilder::new().time(seen))
///     .vector("text", [0.7, 0.6, 0.1]);
/// assert_eq!(node.content, b"it barked");
/// assert_eq!(node.attributes["place"].as_str(), Some("garden"));
/// assert_eq!((node.created, node.updated), (Some(seen), None));
/// # Ok::<(), ingrain::Error>(())
/// ```
///
/// With the feature `serde` the fields have their names. Only `id` and `kind`
/// must be there when a node is read; other names are refused. In
/// human-readable formats, content is text if it is UTF-8, else
/// `{"$bytes": "<base64>"}`, and the bytes of an [`IndexKey`] are hexadecimal
/// digits.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Node {
    /// The id.
    pub id: NodeId,
    /// The type of the node: 1 to [`limits::NAME_BYTES`] bytes.
    pub kind: String,
    /// The content, returned exactly as given: up to [`limits::CONTENT_BYTES`].
    #[cfg_attr(feature = "serde", serde(default, with = "crate::model::serde_with::content"))]
    pub content: Vec<u8>,
    /// Named values.
    #[cfg_attr(
        feature = "serde",
        serde(default, deserialize_with = "crate::model::serde_with::unique")
    )]
    pub attributes: Attributes,
    /// How well it is remembered: any finite number, 1 by default.
    #[cfg_attr(
        feature = "serde",
        serde(
            default = "crate::model::serde_with::one",
            serialize_with = "crate::model::serde_with::finite"
        )
    )]
    pub strength: f32,
    /// How certain it is, from 0 to 1, 1 by default.
    #[cfg_attr(
        feature = "serde",
        serde(
            default = "crate::model::serde_with::one",
            serialize_with = "crate::model::serde_with::finite"
        )
    )]
    pub confidence: f32,
    /// When it was first put.
    #[cfg_attr(feature = "serde", serde(default))]
    pub created: Option<Timestamp>,
    /// When it was last put or patched.
    #[cfg_attr(feature = "serde", serde(default))]
    pub updated: Option<Timestamp>,
    /// When it was last touched.
    #[cfg_attr(feature = "serde", serde(default))]
    pub accessed: Option<Timestamp>,
    /// How often it was touched.
    #[cfg_attr(feature = "serde", serde(default))]
    pub access_count: Option<u64>,
    /// When it may be pruned. Nothing happens by itself at that time: see
    /// [`Engine::prune`](crate::Engine::prune).
    #[cfg_attr(feature = "serde", serde(default))]
    pub expires: Expiry,
    /// The places at which indexes list it. Each index must have been created.
    #[cfg_attr(feature = "serde", serde(default))]
    pub keys: Vec<IndexKey>,
    /// Its vectors, by the name of their space. Each space must have been
    /// created.
    #[cfg_attr(feature = "serde", serde(default, with = "crate::model::serde_with::vectors"))]
    pub vectors: BTreeMap<String, Vec<f32>>,
}

/// What a put says about the expiry of a node.
///
/// ```
/// use ingrain::{Expiry, Node, NodeId, Timestamp};
///
/// let at = Timestamp::parse("2024-02-29T12:00:00Z")?;
/// let node = Node::new(NodeId::new(), "note");
/// assert_eq!(node.expires, Expiry::Keep);
/// assert_eq!(node.clone().expires(at).expires, Expiry::At(at));
/// assert_eq!(node.expires(None).expires, Expiry::Never);
/// # Ok::<(), ingrain::Error>(())
/// ```
///
/// With the feature `serde`, in human-readable formats, it is the text `keep`,
/// null for `Never`, or a time; in others, an enum. A node that is read without
/// the field keeps what the store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Expiry {
    /// A stored node keeps its expiry, and a new one does not expire.
    #[default]
    Keep,
    /// The node does not expire.
    Never,
    /// The node may be pruned at this time.
    At(Timestamp),
}

impl Expiry {
    /// The time, if one is set.
    ///
    /// ```
    /// use ingrain::{Expiry, Timestamp};
    ///
    /// let time = Timestamp::from_micros(7);
    /// assert_eq!(Expiry::At(time).time(), Some(time));
    /// assert_eq!((Expiry::Never.time(), Expiry::Keep.time()), (None, None));
    /// ```
    #[must_use]
    pub fn time(self) -> Option<Timestamp> {
        match self {
            Self::At(time) => Some(time),
            Self::Keep | Self::Never => None,
        }
    }

    /// The expiry of a node that had `old` before it is put.
    pub(crate) fn over(self, old: Option<Timestamp>) -> Option<Timestamp> {
        match self {
            Self::Keep => old,
            Self::Never => None,
            Self::At(time) => Some(time),
        }
    }
}

impl From<Timestamp> for Expiry {
    fn from(time: Timestamp) -> Self {
        Self::At(time)
    }
}

/// `None` means that the node does not expire.
impl From<Option<Timestamp>> for Expiry {
    fn from(time: Option<Timestamp>) -> Self {
        time.map_or(Self::Never, Self::At)
    }
}

/// A place in an index.
///
/// ```
/// use ingrain::{IndexKey, KeyBuilder};
///
/// let key = |n| IndexKey::new("rank", KeyBuilder::new().int(n));
/// assert!(key(-1) < key(2));
/// assert_eq!(key(2).index, "rank");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct IndexKey {
    /// Name of the index.
    pub index: String,
    /// The key, ordered as bytes, up to [`limits::KEY_BYTES`]. A
    /// [`KeyBuilder`](crate::KeyBuilder) makes it of values.
    #[cfg_attr(feature = "serde", serde(with = "crate::model::serde_with::key"))]
    pub key: Vec<u8>,
}

impl IndexKey {
    /// This key in the index of that name.
    #[must_use]
    pub fn new(index: impl Into<String>, key: impl Into<Vec<u8>>) -> Self {
        Self { index: index.into(), key: key.into() }
    }
}

impl Node {
    /// A node with this id and kind, and nothing else.
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
            expires: Expiry::Keep,
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

    /// With this strength, any finite number.
    #[must_use]
    pub fn strength(mut self, strength: f32) -> Self {
        self.strength = strength;
        self
    }

    /// With this confidence, from 0 to 1.
    #[must_use]
    pub fn confidence(mut self, confidence: f32) -> Self {
        self.confidence = confidence;
        self
    }

    /// First put at this time.
    #[must_use]
    pub fn created(mut self, time: Timestamp) -> Self {
        self.created = Some(time);
        self
    }

    /// Last put or patched at this time.
    #[must_use]
    pub fn updated(mut self, time: Timestamp) -> Self {
        self.updated = Some(time);
        self
    }

    /// Last touched at this time.
    #[must_use]
    pub fn accessed(mut self, time: Timestamp) -> Self {
        self.accessed = Some(time);
        self
    }

    /// Touched so often.
    #[must_use]
    pub fn access_count(mut self, count: u64) -> Self {
        self.access_count = Some(count);
        self
    }

    /// May be pruned at this time; with `None`, never.
    #[must_use]
    pub fn expires(mut self, expires: impl Into<Expiry>) -> Self {
        self.expires = expires.into();
        self
    }

    /// With the times, the access count and the expiry left to the engine, which
    /// keeps what a stored node has.
    ///
    /// ```
    /// use ingrain::{Expiry, Node, NodeId, Timestamp};
    ///
    /// let now = Timestamp::from_micros(7);
    /// let node = Node::new(NodeId::new(), "note").created(now).expires(now);
    /// let node = node.without_engine_fields();
    /// assert_eq!((node.created, node.expires), (None, Expiry::Keep));
    /// ```
    #[must_use]
    pub fn without_engine_fields(self) -> Self {
        Self {
            created: None,
            updated: None,
            accessed: None,
            access_count: None,
            expires: Expiry::Keep,
            ..self
        }
    }

    /// With this key in the index of that name, besides those that it has.
    #[must_use]
    pub fn key(mut self, index: impl Into<String>, key: impl Into<Vec<u8>>) -> Self {
        self.keys.push(IndexKey::new(index, key));
        self
    }

    /// With these index keys besides those that it has.
    #[must_use]
    pub fn keys(mut self, keys: impl IntoIterator<Item = IndexKey>) -> Self {
        self.keys.extend(keys);
        self
    }

    /// With this vector in the space of that name, in place of one that it has
    /// there.
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

/// Changes to part of a node. Everything that a patch does not mention stays
/// as it is.
///
/// ```
/// use ingrain::{KeyBuilder, Patch};
///
/// let patch = Patch::new()
///     .content("it barked twice")
///     .attribute("times", 2)
///     .remove_attribute("loudness")
///     .keys("timeline", [KeyBuilder::new().int(7)])
///     .remove_vector("text");
/// assert_eq!(patch.attributes["loudness"], None);
/// assert_eq!(patch.kind, None);
/// ```
///
/// With the feature `serde` the fields have their names, and all can be left
/// out. What the patch removes is in the lists `remove_attributes` and
/// `remove_vectors`, since null is a value that an attribute can be set to.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Patch {
    /// The new kind.
    pub kind: Option<String>,
    /// The new content.
    pub content: Option<Vec<u8>>,
    /// By name, the value to set, or `None` to remove the attribute.
    pub attributes: BTreeMap<String, Option<Value>>,
    /// The new strength.
    pub strength: Option<f32>,
    /// The new confidence.
    pub confidence: Option<f32>,
    /// By index name, all keys that the node has there from now on.
    pub keys: BTreeMap<String, Vec<Vec<u8>>>,
    /// By space name, the vector to set, or `None` to remove it.
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

    /// Sets attributes.
    #[must_use]
    pub fn attributes<K: Into<String>, V: Into<Value>>(
        mut self,
        attributes: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let attributes = attributes.into_iter();
        self.attributes.extend(attributes.map(|(name, value)| (name.into(), Some(value.into()))));
        self
    }

    /// Removes an attribute, if the node has it.
    #[must_use]
    pub fn remove_attribute(mut self, name: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), None);
        self
    }

    /// Sets the strength, any finite number.
    #[must_use]
    pub fn strength(mut self, strength: f32) -> Self {
        self.strength = Some(strength);
        self
    }

    /// Sets the confidence, from 0 to 1.
    #[must_use]
    pub fn confidence(mut self, confidence: f32) -> Self {
        self.confidence = Some(confidence);
        self
    }

    /// Replaces all keys that the node has in an index.
    #[must_use]
    pub fn keys<K: Into<Vec<u8>>>(
        mut self,
        index: impl Into<String>,
        keys: impl IntoIterator<Item = K>,
    ) -> Self {
        self.keys.insert(index.into(), keys.into_iter().map(Into::into).collect());
        self
    }

    /// Removes all keys that the node has in an index.
    #[must_use]
    pub fn remove_keys(mut self, index: impl Into<String>) -> Self {
        self.keys.insert(index.into(), Vec::new());
        self
    }

    /// Sets the vector in a space.
    #[must_use]
    pub fn vector(mut self, space: impl Into<String>, vector: impl Into<Vec<f32>>) -> Self {
        self.vectors.insert(space.into(), Some(vector.into()));
        self
    }

    /// Removes the vector in a space, if the node has one.
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
