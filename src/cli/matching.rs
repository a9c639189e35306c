//! Which edge of a store a line of an edge file is.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use ingrain::{
    Edge, NodeId, Snapshot,
    exchange::lines::{EdgeLine, canonical, discriminator},
};

use crate::error::Result;

/// Most edges that are remembered, beyond those of one pair of nodes.
const REMEMBERED: usize = 1 << 16;

/// Finds the edges that lines are. A line that equals an edge of the store is
/// that edge, so that a file can be imported again, and in parts; the nth of
/// several equal lines is the nth of the edges that equal it. Every other line
/// is a new edge, with a discriminator that depends only on the line and on the
/// edges that are there.
#[derive(Default)]
pub(crate) struct Matching {
    /// How often each line was met in the file.
    seen: HashMap<NodeId, usize>,
    /// The edges of a kind between two nodes, as far as they are remembered.
    between: HashMap<NodeId, Between>,
    remembered: usize,
}

#[derive(Default)]
struct Between {
    /// The discriminators of the edges with these attributes and this weight.
    equal: HashMap<NodeId, Vec<u64>>,
    /// Each edge by its discriminator, with its attributes and weight.
    taken: HashMap<u64, NodeId>,
    /// For attributes, how many of their discriminators are known to be taken.
    tried: HashMap<NodeId, u64>,
}

impl Between {
    fn of(snapshot: &Snapshot, edge: &Edge) -> Result<Self> {
        let mut between = Self::default();
        for found in snapshot.edges_between(edge.source, &edge.kind, edge.target) {
            let found = found?;
            let content = content(&canonical(&*found.attributes()?), found.weight());
            between.add(found.discriminator(), content);
        }
        Ok(between)
    }

    /// Adds an edge, or changes the one with this discriminator.
    fn add(&mut self, discriminator: u64, content: NodeId) {
        let before = self.taken.insert(discriminator, content);
        if let Some(equal) = before.and_then(|before| self.equal.get_mut(&before)) {
            equal.retain(|other| *other != discriminator);
        }
        self.equal.entry(content).or_default().push(discriminator);
    }
}

/// Stands for the attributes and the weight of an edge.
fn content(canonical: &str, weight: f64) -> NodeId {
    // Zero has two signs, which are equal.
    let weight = if weight == 0.0 { 0.0 } else { weight };
    NodeId::from_content(&[&weight.to_le_bytes(), canonical.as_bytes()].concat())
}

/// The discriminator of a new edge with these attributes. Of the numbers that they
/// have, those before the one `tried` are known to be taken.
fn free(canonical: &str, tried: &mut u64, taken: impl Fn(u64) -> bool) -> u64 {
    loop {
        let number = discriminator(canonical, *tried);
        if !taken(number) {
            return number;
        }
        *tried += 1;
    }
}

/// The discriminator that makes an edge a new one, as a line of it would have.
pub(crate) fn fresh(snapshot: &Snapshot, edge: &Edge) -> Result<u64> {
    let there = snapshot.edges_between(edge.source, &edge.kind, edge.target);
    let there = there.map(|edge| edge.map(|edge| edge.discriminator()));
    let taken: HashSet<u64> = there.collect::<ingrain::Result<_>>()?;
    Ok(free(&canonical(&edge.attributes), &mut 0, |number| taken.contains(&number)))
}

impl Matching {
    /// Sets the discriminator of the next line, unless the line has one.
    pub(crate) fn number(&mut self, line: &mut EdgeLine, snapshot: &Snapshot) -> Result<()> {
        let edge = &mut line.edge;
        let pair =
            [edge.source.as_bytes().as_slice(), edge.target.as_bytes(), edge.kind.as_bytes()];
        let pair = NodeId::from_content(&pair.concat());
        let between = match self.between.entry(pair) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let between = Between::of(snapshot, edge)?;
                self.remembered += between.taken.len();
                unknown.insert(between)
            }
        };
        let canonical = canonical(&edge.attributes);
        let content = content(&canonical, edge.weight);
        let same = [pair.as_bytes().as_slice(), content.as_bytes()].concat();
        let before = self.seen.entry(NodeId::from_content(&same)).or_default();
        let there = between.equal.get(&content).and_then(|equal| equal.get(*before)).copied();
        *before += 1;
        if line.named {
            between.add(edge.discriminator, content);
        } else if let Some(there) = there {
            edge.discriminator = there;
        } else {
            let attributes = NodeId::from_content(canonical.as_bytes());
            let tried = between.tried.entry(attributes).or_default();
            let taken = |number| between.taken.contains_key(&number);
            edge.discriminator = free(&canonical, tried, taken);
            between.add(edge.discriminator, content);
            self.remembered += 1;
        }
        Ok(())
    }

    /// Whether what is remembered should be forgotten, once everything that was
    /// numbered is written.
    pub(crate) fn is_full(&self) -> bool {
        self.remembered > REMEMBERED
    }

    /// Forgets the edges, but not the lines. Nothing that was numbered may be
    /// unwritten.
    pub(crate) fn forget(&mut self) {
        self.between.clear();
        self.remembered = 0;
    }
}
