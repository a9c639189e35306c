//! Conditions on nodes.

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};

use crate::model::{
    error::{Error, Result},
    id::NodeId,
    index::{Field, Fields, IndexPart, encode_value},
    key::KeyRange,
    limits::{self, check_count, check_name},
    time::Timestamp,
    value::Value,
};

/// A condition on a node: a comparison of one of its fields, a set of kinds or of
/// ids, a range of an index, an edge, or several of these with [`and`](Self::and),
/// [`or`](Self::or) and [`not`](Self::not).
///
/// [`Filter::and`](crate::search::Filter::and) makes a filter of it, for searches,
/// [`select`](crate::Snapshot::select) and walks.
///
/// # What a comparison means
///
/// - Values of the same type are compared: numbers by their values, whether they are
///   integers or floats, text and bytes by their bytes, false before true. A
///   comparison of values of different types does not hold: no text is less than 5.
/// - A field that a node does not have meets no comparison, except with
///   [`or`](IndexPart::or), which gives it a value. A null is a value.
/// - A comparison holds for a list if it holds for one of its elements. So two
///   comparisons joined by `and` may hold for two elements: `[1, 5]` meets `n < 2` and
///   `n > 3`. An empty list has no element and meets none, as if it were not there,
///   but it [exists](IndexPart::exists). A list within a list is no value to compare.
/// - `ne` is the opposite of `eq`, and `not` of what it is called on. So they hold for
///   nodes that do not have the field.
///
/// These are the rules by which an [`Index`](crate::index::Index) orders values, so a
/// condition means the same whether an index serves it or not.
///
/// # Text
///
/// A condition can be written and read as text, as the command line does:
///
/// ```
/// use ingrain::{index::{attr, created}, search::Condition, Timestamp};
///
/// let text = r#"kind = "task" and (priority >= 3 or tags = "urgent") and not done = true"#;
/// let condition: Condition = text.parse()?;
/// let same = Condition::kinds(["task"])
///     .and(attr("priority").ge(3).or(attr("tags").eq("urgent")))
///     .and(attr("done").eq(true).not());
/// assert_eq!(condition, same);
/// let since: Condition = "created >= 2026-01-01".parse()?;
/// assert_eq!(since, created().ge(Timestamp::parse("2026-01-01T00:00:00Z")?));
/// # Ok::<(), ingrain::Error>(())
/// ```
///
/// | text | meaning |
/// |---|---|
/// | `topic = "rust"`, also `!=`, `<`, `<=`, `>`, `>=` | [`eq`](IndexPart::eq), `ne`, `lt`, `le`, `gt`, `ge` |
/// | `topic in ("rust", "c")` | [`is_in`](IndexPart::is_in) |
/// | `title contains "dog"`, `title starts with "A"` | [`contains`](IndexPart::contains), [`starts_with`](IndexPart::starts_with) |
/// | `topic exists` | [`exists`](IndexPart::exists) |
/// | `kind = "task"`, `kind in ("task", "note")` | [`kinds`](Self::kinds) |
/// | `id = "…"`, `id in ("…", "…")` | [`ids`](Self::ids): a UUID is an id, of other text the hash is, as in an import |
/// | `links to "…"`, `linked from "…" by "cites"` | [`links_to`](Self::links_to), [`linked_from`](Self::linked_from) |
/// | `alive at 2026-01-01` | [`alive_at`](Self::alive_at) |
/// | `and`, `or`, `not`, `( )` | `not` before `and` before `or` |
///
/// Text is in double quotes, with the escapes of JSON, or in single quotes, without
/// any; bytes are hexadecimal digits after `0x`. Dates and times are as in
/// [`Timestamp::parse`]; a date alone is its first moment in UTC. A name without
/// quotes is an attribute, with dots where it is within another, or one of the
/// fields `kind`, `created`, `updated`, `accessed`, `access_count`, `expires`,
/// `strength` and `confidence`; a name in double quotes is always an attribute. Words
/// of the language are in lower or in upper case.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub(crate) test: Test,
    /// How deep it nests.
    depth: usize,
}

/// What a condition says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Kinds(BTreeSet<String>),
    /// Ascending, each once.
    Ids(Arc<[NodeId]>),
    Field(IndexPart, Operator),
    /// Keys of an index in a range.
    Keys(String, KeyRange),
    AliveAt(Timestamp),
    /// An edge to `node`, or from it, of a kind or of any.
    Edge {
        node: NodeId,
        to: bool,
        kind: Option<String>,
    },
    /// It nested deeper than [`limits::CONDITION_DEPTH`].
    TooDeep,
}

/// What of a field a condition asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operator {
    Compare(Comparison, Value),
    In(Members),
    Contains(Value),
    StartsWith(String),
    Exists,
}

/// A comparison of a field with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Comparison {
    pub(crate) fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Lt => order.is_lt(),
            Self::Le => order.is_le(),
            Self::Gt => order.is_gt(),
            Self::Ge => order.is_ge(),
        }
    }
}

/// A set of values.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    values: Arc<[Value]>,
    /// Their encodings, ascending.
    keys: Arc<[Vec<u8>]>,
}

impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Members {
    fn new(values: Vec<Value>) -> Self {
        let mut keys: Vec<Vec<u8>> = values.iter().filter_map(key_of).collect();
        keys.sort_unstable();
        keys.dedup();
        Self { values: values.into(), keys: keys.into() }
    }

    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }

    /// The values, each once.
    pub(crate) fn distinct(&self) -> impl Iterator<Item = &Value> {
        let mut seen = BTreeSet::new();
        self.values.iter().filter(move |value| key_of(value).is_some_and(|key| seen.insert(key)))
    }

    fn has(&self, value: &Value) -> bool {
        key_of(value).is_some_and(|key| self.keys.binary_search(&key).is_ok())
    }
}

/// The encoding of a value that has an order.
fn key_of(value: &Value) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    encode_value(value, &mut key).then_some(key)
}

/// How two values are ordered, if they are of the same type.
pub(crate) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Float(b)) => exact(*a, *b),
        (Value::Float(a), Value::Int(b)) => exact(*b, *a).map(Ordering::reverse),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// How an integer and a float are ordered by their values.
fn exact(int: i64, float: f64) -> Option<Ordering> {
    let order = (int as f64).partial_cmp(&float)?;
    // The nearest float of an integer is a whole number, and so an i128.
    Some(if order.is_eq() { i128::from(int).cmp(&(float as i128)) } else { order })
}

impl Operator {
    /// Whether it may be asked of values.
    fn check(&self, field: &Field) -> Result<()> {
        // Of what is always a number, another type is a mistake, which would find nothing.
        let number = !field.is_attribute() && *field != Field::Kind;
        if number && matches!(self, Self::Contains(_) | Self::StartsWith(_)) {
            return Err(Error::invalid(format!(
                "condition on {field}: it is a number or a time, of which nothing is a part"
            )));
        }
        let comparable = |value: &Value| match value {
            Value::Float(float) if !float.is_finite() => {
                Err(Error::invalid(format!("condition on {field}: {value} is not finite")))
            }
            Value::List(_) | Value::Map(_) => Err(Error::invalid(format!(
                "condition on {field}: {value} is a list or a map, which has no order"
            ))),
            Value::Int(_) | Value::Float(_) => Ok(()),
            _ if number => Err(Error::invalid(format!(
                "condition on {field}: it is a number or a time, and {value} is neither; in \
                 conditions as text, a time has no quotes"
            ))),
            _ => Ok(()),
        };
        match self {
            Self::Compare(_, value) | Self::Contains(value) => comparable(value),
            Self::In(members) => {
                check_count(
                    "values of a condition",
                    members.values.len(),
                    limits::CONDITION_VALUES,
                )?;
                members.values.iter().try_for_each(comparable)
            }
            Self::StartsWith(_) | Self::Exists => Ok(()),
        }
    }

    /// Whether it holds for a value that is no list, or for one element of a list.
    fn holds_for(&self, value: &Value) -> bool {
        match self {
            Self::Compare(comparison, with) => {
                compare(value, with).is_some_and(|order| comparison.accepts(order))
            }
            Self::In(members) => members.has(value),
            Self::StartsWith(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
            Self::Contains(_) | Self::Exists => false,
        }
    }

    /// Whether it holds for a value as it is, if that is not the same as for one of
    /// its elements.
    fn holds_for_whole(&self, value: &Value) -> bool {
        let equals = |a: &Value, b: &Value| compare(a, b).is_some_and(Ordering::is_eq);
        match (self, value) {
            (Self::Exists, _) => true,
            (Self::Contains(part), Value::List(list)) => list.iter().any(|of| equals(of, part)),
            (Self::Contains(Value::Text(part)), Value::Text(text)) => text.contains(part),
            (Self::Contains(Value::Bytes(part)), Value::Bytes(bytes)) => {
                part.is_empty() || bytes.windows(part.len()).any(|of| of == part)
            }
            _ => false,
        }
    }
}

/// Whether a condition on a field holds for a node.
pub(crate) fn field_holds(part: &IndexPart, operator: &Operator, node: &Fields<'_>) -> bool {
    let (mut found, mut holds) = (false, false);
    match operator {
        Operator::Contains(_) | Operator::Exists => node.each_whole(&part.field, &mut |value| {
            found = true;
            holds |= operator.holds_for_whole(value);
        }),
        _ => node.each(&part.field, &mut |value| {
            found = true;
            holds |= operator.holds_for(value);
        }),
    }
    match &part.default {
        Some(default) if !found => operator.holds_for(default) || operator.holds_for_whole(default),
        _ => holds,
    }
}

impl Test {
    /// Checks names, values and numbers of terms.
    fn check(&self, terms: &mut usize) -> Result<()> {
        *terms = terms.saturating_add(1);
        check_count("terms of a condition", *terms, limits::CONDITION_TERMS)?;
        match self {
            Self::All(tests) | Self::Any(tests) => tests.iter().try_for_each(|of| of.check(terms)),
            Self::Not(test) => test.check(terms),
            Self::Kinds(kinds) => {
                check_count("kinds of a condition", kinds.len(), limits::CONDITION_VALUES)
            }
            Self::Field(part, operator) => {
                part.check_field("condition")?;
                operator.check(&part.field)
            }
            Self::Keys(index, range) => {
                check_name("index", index)?;
                range.check()
            }
            Self::Ids(_) | Self::AliveAt(_) | Self::Edge { .. } => Ok(()),
            Self::TooDeep => Err(Error::limit(
                "levels of a condition",
                limits::CONDITION_DEPTH.saturating_add(1),
                limits::CONDITION_DEPTH,
            )),
        }
    }
}

impl From<Test> for Condition {
    fn from(test: Test) -> Self {
        Self { test, depth: 1 }
    }
}

impl Condition {
    /// A condition around others, whose levels are `depth`.
    fn around(depth: usize, test: impl FnOnce() -> Test) -> Self {
        let depth = depth.saturating_add(1);
        if depth > limits::CONDITION_DEPTH {
            Test::TooDeep.into()
        } else {
            Self { test: test(), depth }
        }
    }

    /// One of these kinds.
    #[must_use]
    pub fn kinds<S: Into<String>>(kinds: impl IntoIterator<Item = S>) -> Self {
        Test::Kinds(kinds.into_iter().map(Into::into).collect()).into()
    }

    /// One of these nodes, of which there may be any number. The ids are sorted here;
    /// a clone of the condition shares them.
    #[must_use]
    pub fn ids(ids: impl IntoIterator<Item = NodeId>) -> Self {
        let mut ids: Vec<NodeId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Test::Ids(ids.into()).into()
    }

    /// A key in this range of this index.
    #[must_use]
    pub fn index(index: impl Into<String>, range: impl Into<KeyRange>) -> Self {
        Test::Keys(index.into(), range.into()).into()
    }

    /// Not expired at this time: it has no expiry, or one after it.
    #[must_use]
    pub fn alive_at(time: Timestamp) -> Self {
        Test::AliveAt(time).into()
    }

    /// An edge from it to this node; of this kind, or of any without one.
    #[must_use]
    pub fn links_to(node: NodeId, kind: Option<&str>) -> Self {
        Test::Edge { node, to: true, kind: kind.map(str::to_owned) }.into()
    }

    /// An edge to it from this node; of this kind, or of any without one.
    #[must_use]
    pub fn linked_from(node: NodeId, kind: Option<&str>) -> Self {
        Test::Edge { node, to: false, kind: kind.map(str::to_owned) }.into()
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let is_all = |of: &Self| matches!(of.test, Test::All(_));
        let levels = |of: &Self| if is_all(of) { of.depth.saturating_sub(1) } else { of.depth };
        Self::around(levels(&self).max(levels(&other)), || {
            let mut tests = Vec::new();
            for of in [self.test, other.test] {
                match of {
                    Test::All(all) => tests.extend(all),
                    test => tests.push(test),
                }
            }
            Test::All(tests)
        })
    }

    /// One of the two, or both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let is_any = |of: &Self| matches!(of.test, Test::Any(_));
        let levels = |of: &Self| if is_any(of) { of.depth.saturating_sub(1) } else { of.depth };
        Self::around(levels(&self).max(levels(&other)), || {
            let mut tests = Vec::new();
            for of in [self.test, other.test] {
                match of {
                    Test::Any(any) => tests.extend(any),
                    test => tests.push(test),
                }
            }
            Test::Any(tests)
        })
    }

    /// The opposite.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "it stands beside `and` and `or`")]
    pub fn not(self) -> Self {
        match self.test {
            Test::Not(test) => Self { test: *test, depth: self.depth.saturating_sub(1) },
            test => Self::around(self.depth, || Test::Not(Box::new(test))),
        }
    }

    /// Checks that it can be asked.
    pub(crate) fn check(&self) -> Result<()> {
        self.test.check(&mut 0)
    }
}

/// Conditions on a field.
///
/// ```
/// use ingrain::{index::{attr, attr_path, created, strength}, search::Condition, Timestamp};
///
/// let rust = attr("topic").eq("rust");
/// let recent = created().ge(Timestamp::parse("2026-01-01T00:00:00Z")?);
/// let weak = strength().lt(0.5).or(attr_path(["review", "passed"]).eq(false));
/// let condition = rust.and(recent).and(weak.not());
/// assert_eq!(condition.to_string().parse::<Condition>()?, condition);
/// # Ok::<(), ingrain::Error>(())
/// ```
impl IndexPart {
    fn compared(self, comparison: Comparison, value: Value) -> Condition {
        self.asked(Operator::Compare(comparison, value))
    }

    fn asked(self, operator: Operator) -> Condition {
        // The order of an index is nothing to a condition.
        Test::Field(Self { descending: false, ..self }, operator).into()
    }

    /// The field has this value, or is a list that has it.
    #[must_use]
    pub fn eq(self, value: impl Into<Value>) -> Condition {
        match (&self.field, value.into()) {
            (Field::Kind, Value::Text(kind)) => Condition::kinds([kind]),
            (_, value) => self.compared(Comparison::Eq, value),
        }
    }

    /// The opposite of [`eq`](Self::eq).
    #[must_use]
    pub fn ne(self, value: impl Into<Value>) -> Condition {
        self.eq(value).not()
    }

    /// A value before this one.
    #[must_use]
    pub fn lt(self, value: impl Into<Value>) -> Condition {
        self.compared(Comparison::Lt, value.into())
    }

    /// This value or one before it.
    #[must_use]
    pub fn le(self, value: impl Into<Value>) -> Condition {
        self.compared(Comparison::Le, value.into())
    }

    /// A value after this one.
    #[must_use]
    pub fn gt(self, value: impl Into<Value>) -> Condition {
        self.compared(Comparison::Gt, value.into())
    }

    /// This value or one after it.
    #[must_use]
    pub fn ge(self, value: impl Into<Value>) -> Condition {
        self.compared(Comparison::Ge, value.into())
    }

    /// One of these values.
    #[must_use]
    pub fn is_in<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Condition {
        let values = values.into_iter().map(Into::into).collect();
        self.asked(Operator::In(Members::new(values)))
    }

    /// Text that has this text in it, bytes that have these bytes, or a list with
    /// this element.
    #[must_use]
    pub fn contains(self, value: impl Into<Value>) -> Condition {
        self.asked(Operator::Contains(value.into()))
    }

    /// Text that begins with this text.
    #[must_use]
    pub fn starts_with(self, text: impl Into<String>) -> Condition {
        self.asked(Operator::StartsWith(text.into()))
    }

    /// The node has the field, whatever its value.
    #[must_use]
    pub fn exists(self) -> Condition {
        self.asked(Operator::Exists)
    }
}
