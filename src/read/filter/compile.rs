//! Makes a filter of names into one of numbers, and gives its conditions to the indexes
//! that serve them.

use std::{ops::Bound, sync::Arc};

use crate::{
    model::{
        condition::{Comparison, Condition, Operator, Test},
        error::Result,
        id::NodeId,
        index::{Index, IndexPart, class_of},
        key::KeyRange,
    },
    read::{
        filter::{
            Filter,
            expr::{Expr, Keys},
        },
        query::Range,
        range::count,
        snapshot::Snapshot,
    },
};

/// The most neighbours of a node that are listed at once.
const LISTED: u64 = 1_000;

/// The most ranges of an index in place of conditions.
const RANGES: usize = 256;

impl<'f> Filter<'f> {
    /// The filter for a snapshot. Its conditions are in the order in which they are
    /// asked, the cheapest first.
    ///
    /// # Errors
    /// `Invalid` if an index is unknown or a condition cannot be asked; `NotReady`
    /// while an index is being built.
    pub(crate) fn compile(&self, snapshot: &Snapshot) -> Result<Vec<Expr<'f>>> {
        self.check()?;
        let mut all = Vec::new();
        for condition in &self.conditions {
            let Condition { test, .. } = condition;
            match test {
                Test::All(tests) => all.extend(tests),
                test => all.push(test),
            }
        }
        let mut all = conjunction(snapshot, &all)?;
        all.sort_by_key(Expr::cost);
        all.extend(self.tests.iter().map(|test| Expr::Test(Arc::clone(test))));
        Ok(all)
    }
}

impl Expr<'_> {
    /// A condition by itself.
    pub(super) fn of(snapshot: &Snapshot, test: &Test, kinds: Option<&[&str]>) -> Result<Self> {
        let state = &snapshot.state;
        Ok(match test {
            Test::All(tests) => {
                let tests: Vec<&Test> = tests.iter().collect();
                Self::all(conjunction(snapshot, &tests)?)
            }
            Test::Any(tests) => {
                let tests = tests.iter().map(|test| Self::single(snapshot, test, kinds));
                Self::Any(tests.collect::<Result<_>>()?)
            }
            Test::Not(test) => Self::Not(Box::new(Self::single(snapshot, test, kinds)?)),
            Test::Kinds(names) => {
                let mut kinds: Vec<u32> =
                    names.iter().filter_map(|kind| state.kinds().number(kind)).collect();
                kinds.sort_unstable();
                Self::Kinds(kinds)
            }
            Test::Ids(ids) => Self::Ids(Arc::clone(ids)),
            Test::Field(part, operator) => Self::Field(Box::new((part.clone(), operator.clone()))),
            Test::Keys(index, range) => {
                let index = state.indexes().readable(index)?;
                Self::Keys(Keys { index, ranges: vec![range.clone()], fixed: 0 })
            }
            Test::AliveAt(time) => Self::AliveAt(*time),
            Test::Edge { node, to, kind } => Self::edge(snapshot, *node, *to, kind.as_deref())?,
            // `check` refuses it.
            Test::TooDeep => Self::Any(Vec::new()),
        })
    }

    /// A condition by itself, by an index if one serves it.
    fn single(snapshot: &Snapshot, test: &Test, kinds: Option<&[&str]>) -> Result<Self> {
        match test {
            Test::Field(..) => Ok(Self::all(conjunction_of_kinds(snapshot, &[test], kinds)?)),
            test => Self::of(snapshot, test, kinds),
        }
    }

    fn all(mut all: Vec<Self>) -> Self {
        if all.len() == 1
            && let Some(one) = all.pop()
        {
            return one;
        }
        all.sort_by_key(Self::cost);
        Self::All(all)
    }

    /// The neighbours of a node, if they are few.
    fn edge(snapshot: &Snapshot, node: NodeId, to: bool, kind: Option<&str>) -> Result<Self> {
        let edge = Self::Edge { node, to, kind: kind.map(str::to_owned) };
        match edge.at_most(snapshot)? {
            Some(edges) if edges <= LISTED => Ok(Self::Ids(edge.list(snapshot)?.into())),
            _ => Ok(edge),
        }
    }
}

/// An index that serves some conditions.
struct Served {
    /// Positions of the conditions.
    conditions: Vec<usize>,
    keys: Keys,
    entries: u64,
}

/// Conditions all of which have to hold.
pub(super) fn conjunction<'f>(snapshot: &Snapshot, tests: &[&Test]) -> Result<Vec<Expr<'f>>> {
    conjunction_of_kinds(snapshot, tests, None)
}

/// As [`conjunction`], of nodes that are known to be of one of these kinds.
pub(super) fn conjunction_of_kinds<'f>(
    snapshot: &Snapshot,
    tests: &[&Test],
    known: Option<&[&str]>,
) -> Result<Vec<Expr<'f>>> {
    let named = tests.iter().find_map(|test| match test {
        Test::Kinds(kinds) => Some(kinds.iter().map(String::as_str).collect::<Vec<_>>()),
        _ => None,
    });
    let kinds = named.as_deref().or(known);
    let mut left: Vec<usize> = (0..tests.len()).collect();
    let mut all = Vec::new();
    while left.iter().any(|at| matches!(tests.get(*at), Some(Test::Field(..)))) {
        let mut best: Option<Served> = None;
        for (number, definition) in snapshot.state.indexes().ready() {
            if let Some(served) = serve(snapshot, number, definition, tests, &left, kinds)? {
                let better = best.as_ref().is_none_or(|best| {
                    let of = |served: &Served| (served.conditions.len(), u64::MAX - served.entries);
                    of(&served) > of(best)
                });
                if better {
                    best = Some(served);
                }
            }
        }
        let Some(best) = best else { break };
        left.retain(|at| !best.conditions.contains(at));
        all.push(Expr::Keys(best.keys));
    }
    for at in left {
        if let Some(test) = tests.get(at) {
            all.push(Expr::of(snapshot, test, kinds)?);
        }
    }
    Ok(all)
}

/// The conditions that an index serves exactly: a node meets them if, and only if, it
/// has a key in the ranges.
fn serve(
    snapshot: &Snapshot,
    number: u32,
    definition: &Arc<Index>,
    tests: &[&Test],
    left: &[usize],
    kinds: Option<&[&str]>,
) -> Result<Option<Served>> {
    let has_all = |kinds: &[&str]| kinds.iter().all(|kind| definition.has_kind(kind));
    if definition.of_kinds().next().is_some() && !kinds.is_some_and(has_all) {
        return Ok(None);
    }
    let name = snapshot.state.indexes().name(number).unwrap_or_default();
    let mut ranges = vec![Range::new(number, Arc::clone(definition), name)];
    let mut conditions = Vec::new();
    // Fields that have one value in each range.
    let mut fixed = 0_usize;
    let mut parts = definition.parts().iter();
    for part in parts.by_ref() {
        let on = |comparisons: fn(&Operator) -> bool| {
            left.iter().copied().find_map(|at| match tests.get(at) {
                Some(Test::Field(of, operator))
                    if of.field() == part.field()
                        && of.default_value() == part.default_value()
                        && comparisons(operator) =>
                {
                    Some((at, operator))
                }
                _ => None,
            })
        };
        let equal = on(|operator| matches!(operator, Operator::Compare(Comparison::Eq, _)));
        if let Some((at, Operator::Compare(_, value))) = equal {
            ranges = each(ranges, |range| range.eq(value))?;
            conditions.push(at);
            fixed = fixed.saturating_add(1);
            continue;
        }
        let members = on(|operator| matches!(operator, Operator::In(_)));
        if let Some((at, Operator::In(members))) = members
            && ranges.len().saturating_mul(members.values().len()) <= RANGES
        {
            let mut with = Vec::new();
            for value in members.distinct() {
                with.extend(each(ranges.clone(), |range| range.eq(value))?);
            }
            ranges = with;
            conditions.push(at);
            fixed = fixed.saturating_add(1);
            continue;
        }
        // Of a list, each bound may hold for another element, so one bound only.
        let bounds = on(|of| matches!(of, Operator::Compare(..) | Operator::StartsWith(_)));
        if let Some((at, operator)) = bounds {
            ranges = each(ranges, |range| bounded(range, operator))?;
            conditions.push(at);
            if part.field().is_always_there() {
                let other = left.iter().copied().find(|of| {
                    *of != at
                        && matches!(tests.get(*of), Some(Test::Field(field, other))
                            if is_same(field, part) && is_opposite(operator, other))
                });
                if let Some((at, Some(Test::Field(_, other)))) =
                    other.map(|at| (at, tests.get(at).copied()))
                {
                    ranges = each(ranges, |range| bounded(range, other))?;
                    conditions.push(at);
                }
            }
        } else if !part.field().is_always_there() {
            return Ok(None);
        }
        break;
    }
    if conditions.is_empty() || !parts.all(|part| part.field().is_always_there()) {
        return Ok(None);
    }
    let mut ranges: Vec<_> = ranges.iter().map(Range::keys).collect();
    ranges.sort_by(|a, b| start_of(a).cmp(start_of(b)));
    let mut entries = 0_u64;
    for range in &ranges {
        entries = entries.saturating_add(count(&snapshot.state, number, range)?);
    }
    Ok(Some(Served { conditions, keys: Keys { index: number, ranges, fixed }, entries }))
}

/// Where a range of a definition starts. It has a start, which is included.
fn start_of(range: &KeyRange) -> &[u8] {
    match range.start() {
        Bound::Included(key) | Bound::Excluded(key) => key,
        Bound::Unbounded => &[],
    }
}

fn each(ranges: Vec<Range>, change: impl Fn(Range) -> Result<Range>) -> Result<Vec<Range>> {
    ranges.into_iter().map(change).collect()
}

fn is_same(a: &IndexPart, b: &IndexPart) -> bool {
    a.field() == b.field() && a.default_value() == b.default_value()
}

/// Whether one is a lower bound and the other an upper one, of the same type.
fn is_opposite(a: &Operator, b: &Operator) -> bool {
    let lower = |of: &Operator| match of {
        Operator::Compare(Comparison::Gt | Comparison::Ge, value) => Some((true, class_of(value))),
        Operator::Compare(Comparison::Lt | Comparison::Le, value) => Some((false, class_of(value))),
        _ => None,
    };
    match (lower(a), lower(b)) {
        (Some((a, of_a)), Some((b, of_b))) => a != b && of_a == of_b,
        _ => false,
    }
}

fn bounded(range: Range, operator: &Operator) -> Result<Range> {
    match operator {
        Operator::Compare(Comparison::Gt, value) => range.bound(value, true, false),
        Operator::Compare(Comparison::Ge, value) => range.bound(value, true, true),
        Operator::Compare(Comparison::Lt, value) => range.bound(value, false, false),
        Operator::Compare(Comparison::Le, value) => range.bound(value, false, true),
        Operator::StartsWith(text) => range.starting_with(text),
        _ => Ok(range),
    }
}
