//! The digest of a state: equal for equal content, whatever its history and
//! wherever it is stored.

use std::fmt;

use crate::{
    format::{heap::encode_attributes, index::encode as encode_index},
    model::{
        error::Result,
        space::{Element, Method, Metric},
    },
    num,
    read::{edge::EdgeRef, node::NodeRef, snapshot::Snapshot},
};

/// A digest of everything that a snapshot holds.
///
/// It is the sum, modulo 2^256, of the BLAKE3 hashes of all nodes, edges,
/// vector spaces and indexes. See [`Snapshot::digest`].
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// let before = engine.snapshot().digest()?;
/// engine.compact()?; // other files, the same content
/// assert_eq!(engine.snapshot().digest()?, before);
/// assert_eq!(before.to_string().len(), 64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u64; 4]);

impl fmt::Display for Digest {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|word| write!(f, "{word:016x}"))
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Digest {
    fn add(&mut self, item: blake3::Hash) {
        let (words, _) = item.as_bytes().as_chunks::<8>();
        let mut carry = false;
        for (sum, word) in self.0.iter_mut().zip(words) {
            (*sum, carry) = sum.carrying_add(u64::from_le_bytes(*word), carry);
        }
    }
}

/// Hashes the fields of an item, each with its length, so that different items
/// do not hash the same bytes.
struct Item(blake3::Hasher);

impl Item {
    fn new(what: u8) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[what]);
        Self(hasher)
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&num::wide(bytes.len()).to_le_bytes());
        self.0.update(bytes);
        self
    }
}

impl Snapshot {
    /// The digest of everything that the snapshot shows: nodes with all their
    /// fields, edges, vector spaces, indexes. Stores with the same content have
    /// the same digest, whether it is in memory or on disk, before or after a
    /// checkpoint, in the store, in a backup, or in another store that imported
    /// an export of it. It depends neither on the numbers or the order that a
    /// store assigns to names, nor on how the content came to be: on sequence
    /// numbers and the versions of nodes.
    ///
    /// Reads all data.
    ///
    /// # Errors
    /// `Corrupt` if something is damaged on disk.
    pub fn digest(&self) -> Result<Digest> {
        let mut digest = Digest([0; 4]);
        for node in self.scan_all() {
            let node = node?;
            digest.add(self.node_hash(&node)?);
            for edge in self.edges_out(node.id()) {
                digest.add(edge_hash(&edge?)?);
            }
        }
        for (_, named) in self.state.spaces().iter() {
            let (name, space) = (named.name.as_str(), named.space);
            let metric = match space.metric {
                Metric::Cosine => 1,
                Metric::Dot => 2,
                Metric::L2 => 3,
            };
            let element = match space.element {
                Element::F32 => 1,
            };
            let dimension = num::wide(space.dimension);
            let mut item = Item::new(b's');
            let method = match named.method {
                Method::Auto => 0,
                Method::Exact => 1,
                Method::Pq4 => 2,
                Method::Pq8 => 3,
                Method::Hnsw => 4,
            };
            item.bytes(name.as_bytes());
            item.bytes(&dimension.to_le_bytes()).bytes(&[metric, element, method]);
            digest.add(item.0.finalize());
        }
        for index in self.indexes() {
            let mut item = Item::new(b'i');
            item.bytes(index.name.as_bytes());
            if let Some(definition) = index.definition {
                item.bytes(&encode_index(definition));
            }
            digest.add(item.0.finalize());
        }
        Ok(digest)
    }

    fn node_hash(&self, node: &NodeRef<'_>) -> Result<blake3::Hash> {
        let mut item = Item::new(b'n');
        item.bytes(node.id().as_bytes())
            .bytes(node.kind().as_bytes())
            .bytes(node.content())
            .bytes(&encode_attributes(&*node.attributes()?))
            .bytes(&node.strength().to_le_bytes())
            .bytes(&node.confidence().to_le_bytes())
            .bytes(&node.access_count().to_le_bytes());
        for time in [node.created(), node.updated(), node.accessed()] {
            item.bytes(&time.as_micros().to_le_bytes());
        }
        match node.expires() {
            Some(expires) => item.bytes(&expires.as_micros().to_le_bytes()),
            None => item.bytes(&[]),
        };
        node.check_keys()?;
        let mut keys: Vec<_> = node.keys().collect();
        keys.sort_unstable();
        item.bytes(&num::wide(keys.len()).to_le_bytes());
        for (index, key) in keys {
            item.bytes(index.as_bytes()).bytes(key);
        }
        // `spaces` is sorted by name.
        for (name, _) in self.spaces() {
            if let Some(vector) = node.vector(name)? {
                item.bytes(name.as_bytes());
                for number in vector {
                    item.0.update(&number.to_le_bytes());
                }
            }
        }
        Ok(item.0.finalize())
    }
}

fn edge_hash(edge: &EdgeRef<'_>) -> Result<blake3::Hash> {
    let mut item = Item::new(b'e');
    item.bytes(edge.source().as_bytes())
        .bytes(edge.kind().as_bytes())
        .bytes(edge.target().as_bytes())
        .bytes(&edge.discriminator().to_le_bytes())
        .bytes(&edge.weight().to_le_bytes())
        .bytes(&edge.confidence().to_le_bytes())
        .bytes(&encode_attributes(&*edge.attributes()?))
        .bytes(&edge.created().as_micros().to_le_bytes())
        .bytes(&edge.updated().as_micros().to_le_bytes());
    Ok(item.0.finalize())
}
