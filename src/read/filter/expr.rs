//! A filter in the terms of one state: numbers of kinds and indexes in place of
//! names, and ranges of indexes in place of conditions that they serve.

use std::{borrow::Cow, cell::OnceCell, sync::Arc};

use crate::{
    format::tables::{NodeRow, SortedRow},
    model::{
        condition::{Operator, Test, field_holds},
        error::Result,
        id::NodeId,
        index::{Fields, Index, IndexPart},
        key::KeyRange,
        time::Timestamp,
        value::Attributes,
    },
    read::{filter::NodeTest, node::NodeRef, snapshot::Snapshot},
    store::segment::search::search,
};

/// What a node has to meet.
#[derive(Clone)]
pub(crate) enum Expr<'f> {
    All(Vec<Expr<'f>>),
    Any(Vec<Expr<'f>>),
    Not(Box<Expr<'f>>),
    /// One of these kinds, ascending.
    Kinds(Vec<u32>),
    /// One of these nodes, ascending.
    Ids(Arc<[NodeId]>),
    Field(Box<(IndexPart, Operator)>),
    Keys(Keys),
    AliveAt(Timestamp),
    /// An edge to a node, or from it.
    Edge {
        node: NodeId,
        to: bool,
        kind: Option<String>,
    },
    Test(NodeTest<'f>),
}

/// A key in one of these ranges of an index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Keys {
    pub(crate) index: u32,
    /// They do not overlap, and are in the order of the keys.
    pub(crate) ranges: Vec<KeyRange>,
    /// How many of the first fields of the index have one value in each range.
    pub(crate) fixed: usize,
}

/// A node that is asked whether it meets conditions.
pub(crate) struct Subject<'s> {
    node: NodeRef<'s>,
    attributes: OnceCell<Cow<'s, Attributes>>,
}

impl<'s> Subject<'s> {
    pub(crate) fn new(node: NodeRef<'s>) -> Self {
        Self { node, attributes: OnceCell::new() }
    }

    /// The attributes are decoded once.
    fn attributes(&self) -> Result<&Attributes> {
        if self.attributes.get().is_none() {
            let attributes = self.node.attributes()?;
            return Ok(self.attributes.get_or_init(|| attributes));
        }
        // It was set above.
        Ok(self.attributes.get_or_init(Cow::default))
    }

    fn meets(&self, part: &IndexPart, operator: &Operator) -> Result<bool> {
        let none = Attributes::new();
        let attributes = if part.field().is_attribute() { self.attributes()? } else { &none };
        Ok(field_holds(part, operator, &self.fields(attributes)))
    }

    /// The first of the keys that the node has in an index with this definition.
    pub(crate) fn key(&self, of: &Index) -> Result<Option<Vec<u8>>> {
        let none = Attributes::new();
        let has_attribute = of.parts().iter().any(|part| part.field().is_attribute());
        let attributes = if has_attribute { self.attributes()? } else { &none };
        Ok(of.first_key(&self.fields(attributes)))
    }

    fn fields<'a>(&'a self, attributes: &'a Attributes) -> Fields<'a> {
        let node = &self.node;
        Fields {
            kind: node.kind(),
            attributes,
            strength: node.strength(),
            confidence: node.confidence(),
            created: node.created(),
            updated: node.updated(),
            accessed: node.accessed(),
            access_count: node.access_count(),
            expires: node.expires(),
        }
    }
}

impl Expr<'_> {
    /// The order in which conditions of a node are asked.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Self::Kinds(_) | Self::AliveAt(_) => 0,
            Self::Ids(_) | Self::Keys(_) => 1,
            Self::Field(of) if !of.0.field().is_attribute() => 0,
            Self::Field(..) => 2,
            Self::All(all) | Self::Any(all) => all.iter().map(Self::cost).max().unwrap_or(0),
            Self::Not(of) => of.cost(),
            Self::Edge { .. } => 3,
            Self::Test(_) => 4,
        }
    }

    /// What it asks, for people.
    pub(crate) fn explain(&self, snapshot: &Snapshot) -> String {
        let joined = |all: &[Self], word: &str| {
            let all: Vec<String> = all.iter().map(|expr| expr.explain(snapshot)).collect();
            format!("({})", all.join(word))
        };
        match self {
            Self::All(all) => joined(all, " and "),
            Self::Any(any) => joined(any, " or "),
            Self::Not(of) => format!("not {}", of.explain(snapshot)),
            Self::Kinds(kinds) => {
                let names = kinds.iter().map(|kind| snapshot.state.kinds().known_name(*kind));
                format!("one of the kinds {:?}", names.collect::<Vec<_>>())
            }
            Self::Ids(ids) => format!("one of {} ids", ids.len()),
            Self::Field(asked) => Test::Field(asked.0.clone(), asked.1.clone()).to_string(),
            Self::Keys(keys) => {
                let name = snapshot.state.indexes().name(keys.index).unwrap_or_default();
                format!("a key in {} ranges of index {name:?}", keys.ranges.len())
            }
            Self::AliveAt(time) => format!("alive at {time}"),
            Self::Edge { node, to: true, .. } => format!("an edge to {node}"),
            Self::Edge { node, to: false, .. } => format!("an edge from {node}"),
            Self::Test(_) => "a closure".to_owned(),
        }
    }

    /// Whether a node meets it.
    pub(crate) fn holds(&self, snapshot: &Snapshot, of: &Subject<'_>) -> Result<bool> {
        let node = &of.node;
        Ok(match self {
            Self::All(all) => return holds_all(all.iter(), snapshot, of),
            Self::Any(any) => {
                for expr in any {
                    if expr.holds(snapshot, of)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::Not(not) => !not.holds(snapshot, of)?,
            Self::Kinds(kinds) => kinds.binary_search(&node.kind_number()).is_ok(),
            Self::Ids(ids) => has_id(ids, node.id())?,
            Self::Field(asked) => of.meets(&asked.0, &asked.1)?,
            Self::Keys(keys) => keys.has(node),
            Self::AliveAt(time) => node.expires().is_none_or(|expires| expires > *time),
            Self::Edge { node: with, to, kind } => {
                let (source, target) = if *to { (node.id(), *with) } else { (*with, node.id()) };
                match kind {
                    Some(kind) => {
                        snapshot.edges_between(source, kind, target).next().transpose()?.is_some()
                    }
                    // From the node that is asked, which has fewer edges as a rule.
                    None => {
                        let mut edges = snapshot.edges_for(node.id(), !to, None);
                        edges.try_fold(false, |found, edge| {
                            edge.map(|edge| found || edge.end(*to) == *with)
                        })?
                    }
                }
            }
            Self::Test(test) => return test(node),
        })
    }
}

/// Whether an id is among these, which are ascending. Ids are hashes or times as a
/// rule, so a few guesses find it.
pub(crate) fn has_id(ids: &[NodeId], id: NodeId) -> Result<bool> {
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(false) };
    let rank = <NodeRow as SortedRow>::rank;
    let ranks = (rank(first), rank(last));
    let at = search((0, ids.len()), ranks, rank(&id), |at| {
        let found = ids.get(at).unwrap_or(last);
        Ok((rank(found), *found < id))
    })?;
    Ok(ids.get(at) == Some(&id))
}

/// Whether a node meets all of these.
pub(crate) fn holds_all<'e, 'f: 'e>(
    all: impl Iterator<Item = &'e Expr<'f>>,
    snapshot: &Snapshot,
    of: &Subject<'_>,
) -> Result<bool> {
    for expr in all {
        if !expr.holds(snapshot, of)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Keys {
    /// The keys of a node that are in one of the ranges.
    pub(crate) fn of<'s>(&self, node: &NodeRef<'s>) -> impl Iterator<Item = &'s [u8]> {
        let keys = node.numbered_keys().filter(|(index, _)| *index == self.index);
        let within = |key: &[u8]| self.ranges.iter().any(|range| range.contains(key));
        keys.map(|(_, key)| key).filter(move |key| within(key))
    }

    /// Whether a node has a key in one of the ranges.
    pub(crate) fn has(&self, node: &NodeRef<'_>) -> bool {
        self.of(node).next().is_some()
    }
}
