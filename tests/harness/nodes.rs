//! Node ids and batches made from numbers.

use ingrain::{Batch, Durability, Node, NodeId, Seq};

/// The node id for a number.
pub fn id(n: u64) -> NodeId {
    NodeId::from_content(&n.to_le_bytes())
}

/// The node id for a number of a writer; each writer has its own ids.
pub fn id_of_writer(writer: u64, n: u64) -> NodeId {
    NodeId::from_content(&[writer.to_le_bytes(), n.to_le_bytes()].concat())
}

/// A node id whose 16 bytes are all `n`, so ids have the order of the numbers.
pub fn id_of_byte(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

/// A batch that puts one node with this content.
pub fn put(n: u64, content: impl Into<Vec<u8>>) -> Batch {
    put_all([Node::new(id(n), "node").content(content)])
}

/// A batch that puts these nodes.
pub fn put_all(nodes: impl IntoIterator<Item = Node>) -> Batch {
    let mut batch = Batch::new();
    for node in nodes {
        batch.put(node);
    }
    batch
}

/// A batch that is filled with this, and not synced.
pub fn one(fill: impl FnOnce(&mut Batch) -> &mut Batch) -> Batch {
    let mut batch = Batch::new();
    fill(batch.durability(Durability::Os));
    batch
}

/// The next commit.
pub fn after(seq: Seq) -> Seq {
    Seq::new(seq.get() + 1)
}

/// The node with the id of a number.
pub fn node(n: u64) -> Node {
    Node::new(id(n), "n")
}
