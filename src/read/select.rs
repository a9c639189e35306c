//! Nodes that pass a filter, in an order.

use std::{collections::BinaryHeap, fmt};

use crate::{
    model::{
        error::Result,
        id::NodeId,
        index::{Index, IndexPart},
        key::KeyRange,
        limits::{self, check_count},
    },
    num,
    read::{
        cursor::Direction,
        filter::{
            Filter,
            expr::{Expr, Keys, Subject, holds_all},
            mask::fewest,
        },
        node::NodeRef,
        range::IndexEntries,
        scan::Scan,
        snapshot::Snapshot,
    },
};

/// Reading a node that an index lists costs about as much as so many of a scan.
const LOOKUP: u64 = 3;

/// An index gives the order if a scan would read so many times the limit.
const MANY: u64 = 16;

impl Snapshot {
    /// The nodes that pass a filter: [`Select::nodes`] reads them,
    /// [`Select::count`] counts them.
    ///
    /// An index, a set of ids or the neighbours of a node give the candidates, if
    /// there are clearly fewer of these than nodes of the kinds; otherwise these are
    /// scanned. [`Select::explain`] says which it is. An index serves conditions on its
    /// first fields, if the others are also asked for or are in every node, as times
    /// and scores are: a node without one of them is not in the index. An index of
    /// some kinds serves filters by these kinds.
    ///
    /// ```
    /// use ingrain::{index::{Index, attr, created}, prelude::*};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let task = |topic: &str, priority: i64| {
    ///     Node::new(NodeId::new(), "task").attribute("topic", topic).attribute("priority", priority)
    /// };
    /// engine.write(Batch::new().put(task("rust", 1)).put(task("rust", 5)).put(task("c", 3)))?;
    ///
    /// let snapshot = engine.snapshot();
    /// let filter = Filter::new().kind("task").and(attr("topic").eq("rust"));
    /// let urgent = snapshot.select(&filter).order_by([attr("priority").desc()]).first()?;
    /// let urgent = urgent.expect("there are two");
    /// assert_eq!(urgent.attributes()?["priority"], Value::Int(5));
    /// assert_eq!(snapshot.select(&filter).count()?, 2);
    /// assert!(snapshot.select(&filter).explain()?.contains("scan"));
    ///
    /// engine.create_index_on("by_topic", Index::on([attr("topic")]))?;
    /// engine.build_index("by_topic")?;
    /// let snapshot = engine.snapshot();
    /// assert_eq!(snapshot.select(&filter).count()?, 2); // now by the index
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn select<'s, 'f>(&'s self, filter: impl Into<Filter<'f>>) -> Select<'s, 'f> {
        Select { snapshot: self, filter: filter.into(), order: Vec::new(), limit: None }
    }
}

/// Nodes that pass a filter: see [`Snapshot::select`].
#[derive(Debug, Clone)]
pub struct Select<'s, 'f> {
    snapshot: &'s Snapshot,
    filter: Filter<'f>,
    order: Vec<IndexPart>,
    limit: Option<usize>,
}

/// Where candidates come from.
enum Access {
    /// These nodes, ascending.
    Ids(Vec<NodeId>),
    /// The nodes of entries of an index, in their order.
    Keys(Keys),
    /// Nodes of these kinds.
    Kinds(Vec<u32>),
    All,
}

/// What a selection does.
struct Plan<'f> {
    access: Access,
    /// About how many nodes it reads; of kinds and of all, exactly.
    nodes: u64,
    /// What they have to meet.
    filter: Vec<Expr<'f>>,
    /// Whether they come in the order that is wanted.
    in_order: bool,
}

impl<'s, 'f> Select<'s, 'f> {
    /// Orders the nodes by these fields, and then by id. A field that is a list counts
    /// by the element that comes first in the order. Nodes that do not have all
    /// fields come last, by id.
    ///
    /// If no index has this order, the nodes that pass are sorted before the first is
    /// returned: 16 bytes and a key of each are in memory, with a
    /// [`limit`](Self::limit) of no more than so many.
    #[must_use]
    pub fn order_by(mut self, parts: impl IntoIterator<Item = IndexPart>) -> Self {
        self.order = parts.into_iter().collect();
        self
    }

    /// At most so many nodes.
    #[must_use]
    pub fn limit(mut self, nodes: usize) -> Self {
        self.limit = Some(nodes);
        self
    }

    /// The nodes. Without [`order_by`](Self::order_by) they come as they are found,
    /// which is the same each time for the same snapshot.
    ///
    /// # Errors
    /// `Invalid` if an index of the filter is unknown, or a condition or field cannot
    /// be asked; `NotReady` while such an index is being built; `Limit` if the filter
    /// or the order is larger than [`limits`] allow. Items, and with an order this
    /// call, fail with `Corrupt` if a node is damaged on disk, and with `Filter` if a
    /// closure of the filter fails.
    pub fn nodes(&self) -> Result<Selected<'s, 'f>> {
        let plan = self.plan()?;
        let in_order = plan.in_order;
        let found = Selected::new(self.snapshot, plan);
        if in_order {
            return Ok(Selected { left: self.limit, ..found });
        }
        let ids = self.sorted(found)?.into_iter();
        let filter = Vec::new();
        Ok(Selected { snapshot: self.snapshot, filter, source: Source::Ids(ids), left: None })
    }

    /// The first node.
    ///
    /// # Errors
    /// As [`nodes`](Self::nodes) and its items.
    pub fn first(&self) -> Result<Option<NodeRef<'s>>> {
        self.clone().limit(1).nodes()?.next().transpose()
    }

    /// The number of nodes, up to the limit. If the filter asks for nothing but kinds,
    /// no node is read.
    ///
    /// # Errors
    /// As [`nodes`](Self::nodes) and its items.
    pub fn count(&self) -> Result<u64> {
        let plan = Self { order: Vec::new(), ..self.clone() }.plan()?;
        if let (Access::Kinds(_) | Access::All, [], None) =
            (&plan.access, plan.filter.as_slice(), self.snapshot.hidden())
        {
            let limit = self.limit.map_or(u64::MAX, num::wide);
            return Ok(plan.nodes.min(limit));
        }
        let found = Selected { left: self.limit, ..Selected::new(self.snapshot, plan) };
        let mut nodes = 0_u64;
        for node in found {
            node?;
            nodes = nodes.saturating_add(1);
        }
        Ok(nodes)
    }

    /// How the nodes are found, for people: where candidates come from and about how
    /// many there are, what each is asked, and whether they are sorted.
    ///
    /// # Errors
    /// As [`nodes`](Self::nodes).
    pub fn explain(&self) -> Result<String> {
        let plan = self.plan()?;
        let name = |index| self.snapshot.state.indexes().name(index).unwrap_or("expiry");
        let from = match &plan.access {
            Access::Ids(_) => "ids that the filter names".to_owned(),
            Access::Keys(keys) => format!("index {:?}", name(keys.index)),
            Access::Kinds(_) => "scan of the kinds".to_owned(),
            Access::All => "scan of all nodes".to_owned(),
        };
        let mut text = format!("{from}, about {} nodes", plan.nodes);
        if !plan.filter.is_empty() {
            let asked = plan.filter.iter().map(|expr| expr.explain(self.snapshot));
            text.push_str(&format!("; each is asked: {}", asked.collect::<Vec<_>>().join("; ")));
        }
        if !plan.in_order {
            text.push_str("; then sorted");
        }
        Ok(text)
    }

    fn plan(&self) -> Result<Plan<'f>> {
        check_count("fields of an order", self.order.len(), limits::INDEX_PARTS)?;
        self.order.iter().try_for_each(|part| part.check_field("order"))?;
        let snapshot = self.snapshot;
        let mut filter = self.filter.compile(snapshot)?;
        let kinds = filter.iter().find_map(|expr| match expr {
            Expr::Kinds(kinds) => Some(kinds.clone()),
            _ => None,
        });
        let of_kinds = match &kinds {
            Some(kinds) => {
                let counts = kinds.iter().map(|kind| snapshot.numbered_count(*kind));
                counts.sum::<Result<u64>>()?
            }
            None => num::wide(snapshot.node_count()),
        };
        let fewest = fewest(&filter, snapshot)?;
        let chosen = fewest.filter(|(nodes, _)| nodes.saturating_mul(LOOKUP) <= of_kinds.max(1));
        let (access, nodes) = match chosen {
            Some((nodes, Expr::Keys(keys))) => (Access::Keys(keys.clone()), nodes),
            Some((nodes, expr)) => (Access::Ids(expr.list(snapshot)?), nodes),
            None => match kinds.clone() {
                Some(kinds) => (Access::Kinds(kinds), of_kinds),
                None => (Access::All, of_kinds),
            },
        };
        let in_order = self.order.is_empty();
        let mut plan = Plan { access, nodes, filter: Vec::new(), in_order };
        if !in_order {
            self.order_of_index(&mut plan, kinds.as_deref());
        }
        // What the candidates meet anyway is not asked again.
        filter.retain(|expr| match (&plan.access, expr) {
            (Access::Kinds(of), Expr::Kinds(kinds)) => of != kinds,
            (Access::Ids(of), Expr::Ids(ids)) => **of != **ids,
            (Access::Keys(of), Expr::Keys(keys)) => of != keys,
            _ => true,
        });
        Ok(Plan { filter, ..plan })
    }

    /// Takes the candidates from an index that has the order that is wanted, if that is
    /// less work than to sort them.
    fn order_of_index(&self, plan: &mut Plan<'f>, kinds: Option<&[u32]>) {
        let indexes = self.snapshot.state.indexes();
        if let Access::Keys(keys) = &plan.access {
            // In one range, fields with one value do not matter.
            if let (Some(of), [_]) = (indexes.derived(keys.index), keys.ranges.as_slice()) {
                plan.in_order = self.is_order_of(&of.definition, keys.fixed);
            }
            return;
        }
        let Some(limit) = self.limit else { return };
        if matches!(plan.access, Access::Ids(_))
            || plan.nodes < num::wide(limit).saturating_mul(MANY)
        {
            return;
        }
        let names = kinds
            .map(|kinds| kinds.iter().map(|kind| self.snapshot.state.kinds().known_name(*kind)));
        for (number, definition) in indexes.ready() {
            let has_all = match names.clone() {
                _ if definition.of_kinds().next().is_none() => true,
                Some(mut names) => names.all(|kind| definition.has_kind(kind)),
                None => false,
            };
            let parts = definition.parts();
            if has_all
                && parts.iter().all(|part| part.field().is_always_there())
                && self.is_order_of(definition, 0)
            {
                let keys = Keys { index: number, ranges: vec![KeyRange::all()], fixed: 0 };
                plan.access = Access::Keys(keys);
                plan.in_order = true;
                return;
            }
        }
    }

    /// Whether the entries of an index, of which so many fields are fixed, are in the
    /// order that is wanted. In a range of an attribute that is a list, a node comes at
    /// its first element within the range, which need not be the first of all.
    /// Backwards, ids of equal keys would descend.
    fn is_order_of(&self, definition: &Index, fixed: usize) -> bool {
        let same = |(part, wanted): (&IndexPart, &IndexPart)| {
            part == wanted && part.field().is_always_there()
        };
        // By further fields, the order would differ from that of ids.
        let parts = definition.parts().get(fixed..).unwrap_or_default();
        parts.len() == self.order.len() && parts.iter().zip(&self.order).all(same)
    }

    /// The ids of the nodes in the order that is wanted, up to the limit.
    fn sorted(&self, found: Selected<'s, 'f>) -> Result<Vec<NodeId>> {
        let order = Index::on(self.order.iter().cloned());
        let limit = self.limit.unwrap_or(usize::MAX);
        let mut first: BinaryHeap<(Place, NodeId)> = BinaryHeap::new();
        for node in found {
            let node = node?;
            let subject = Subject::new(node);
            let place = subject.key(&order)?.map_or(Place::Last, Place::Key);
            first.push((place, node.id()));
            if first.len() > limit {
                first.pop();
            }
        }
        Ok(first.into_sorted_vec().into_iter().map(|(_, id)| id).collect())
    }
}

/// Where a node is in an order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Key(Vec<u8>),
    /// It does not have all fields.
    Last,
}

enum Source<'s> {
    Ids(std::vec::IntoIter<NodeId>),
    /// The ranges from `next` on come after the one that is read.
    Keys {
        keys: Keys,
        entries: Box<IndexEntries<'s>>,
        next: usize,
    },
    Kinds {
        scan: Box<Scan<'s>>,
        kinds: Vec<u32>,
        next: usize,
    },
}

/// The nodes of a [`Select`].
pub struct Selected<'s, 'f> {
    snapshot: &'s Snapshot,
    filter: Vec<Expr<'f>>,
    source: Source<'s>,
    left: Option<usize>,
}

impl fmt::Debug for Selected<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selected").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<'s, 'f> Selected<'s, 'f> {
    fn new(snapshot: &'s Snapshot, plan: Plan<'f>) -> Self {
        let source = match plan.access {
            Access::Ids(ids) => Source::Ids(ids.into_iter()),
            Access::Keys(keys) => match keys.ranges.first() {
                Some(range) => {
                    let entries = snapshot.entries(keys.index, range.clone(), Direction::Ascending);
                    Source::Keys { entries: Box::new(entries), keys, next: 1 }
                }
                None => Source::Ids(Vec::new().into_iter()),
            },
            Access::Kinds(kinds) => match kinds.first() {
                Some(kind) => {
                    let name = snapshot.state.kinds().known_name(*kind);
                    Source::Kinds { scan: Box::new(snapshot.scan(name)), kinds, next: 1 }
                }
                None => Source::Ids(Vec::new().into_iter()),
            },
            Access::All => {
                let scan = Box::new(snapshot.scan_all());
                Source::Kinds { scan, kinds: Vec::new(), next: 0 }
            }
        };
        Self { snapshot, filter: plan.filter, source, left: None }
    }

    /// The next candidate.
    fn candidate(&mut self) -> Option<Result<NodeRef<'s>>> {
        let snapshot = self.snapshot;
        match &mut self.source {
            Source::Ids(ids) => ids.find_map(|id| snapshot.get(id).transpose()),
            Source::Keys { keys, entries, next } => loop {
                match entries.next() {
                    Some(Ok(entry)) => {
                        // A node with several keys comes at the first of them.
                        if keys.of(&entry.node).all(|key| key >= entry.key) {
                            return Some(Ok(entry.node));
                        }
                    }
                    Some(Err(error)) => return Some(Err(error)),
                    None => {
                        let range = keys.ranges.get(*next)?.clone();
                        *next = next.saturating_add(1);
                        **entries = snapshot.entries(keys.index, range, Direction::Ascending);
                    }
                }
            },
            Source::Kinds { scan, kinds, next } => loop {
                if let Some(node) = scan.next() {
                    return Some(node);
                }
                let kind = kinds.get(*next)?;
                *next = next.saturating_add(1);
                **scan = snapshot.scan(snapshot.state.kinds().known_name(*kind));
            },
        }
    }
}

impl<'s> Iterator for Selected<'s, '_> {
    type Item = Result<NodeRef<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == Some(0) {
            return None;
        }
        loop {
            let found = self.candidate()?.and_then(|node| {
                Ok(holds_all(self.filter.iter(), self.snapshot, &Subject::new(node))?
                    .then_some(node))
            });
            let item = match found {
                Ok(None) => continue,
                Ok(Some(node)) => Ok(node),
                Err(error) => Err(error),
            };
            self.left = self.left.map(|left| left.saturating_sub(1));
            return Some(item);
        }
    }
}
