//! Filters, compared with a plain evaluation of the same conditions over maps:
//! whatever indexes there are, wherever the nodes are.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use ingrain::{
    ErrorKind, Method,
    graph::PathOptions,
    index::{Field, Index, IndexPart, access_count, attr, attr_path, created, strength},
    prelude::*,
    search::{Condition, Effort, Search},
};

use crate::harness::{
    dirs::temp_dir,
    nodes::id,
    random::{Random, whole_vector},
};

const KINDS: [&str; 3] = ["note", "task", "event"];
const NODES: u64 = 900;
/// Nodes to which many have edges.
const HUBS: u64 = 3;

/// What the oracle knows: nodes as they were put, edges by source, kind and target.
#[derive(Default)]
struct Oracle {
    nodes: BTreeMap<NodeId, Node>,
    edges: BTreeSet<(NodeId, &'static str, NodeId)>,
}

/// A condition, and how the oracle evaluates it.
struct Asked {
    condition: Condition,
    holds: Box<dyn Fn(&Oracle, &Node) -> bool>,
    /// Whether its text can be read.
    readable: bool,
}

fn value(random: &mut Random) -> Value {
    match random.below(10) {
        0 => Value::Null,
        1 => Value::from(random.below(2) == 0),
        2..5 => Value::from(random.below(4) as i64 - 1),
        5 => Value::Float(random.below(6) as f64 / 2.0 - 1.0),
        6 => Value::from(vec![random.below(3) as u8]),
        _ => Value::from(["a", "ab", "b", "", "ba"][random.below(5) as usize]),
    }
}

fn any_node(random: &mut Random, n: u64) -> Node {
    let mut node = Node::new(id(n), KINDS[random.below(3) as usize])
        .strength(random.below(4) as f32 / 4.0)
        .created(Timestamp::from_micros(random.below(50) as i64));
    if random.below(8) > 0 {
        node = node.attribute("topic", value(random));
    }
    if random.below(4) > 0 {
        node = node.attribute("n", random.below(100) as i64);
    }
    if random.below(4) > 0 {
        let tags = (0..random.below(4)).map(|_| value(random));
        node = node.attribute("tags", Value::list(tags));
    }
    if random.below(2) == 0 {
        node = node.attribute("in", Value::map([("n", value(random))]));
    }
    if random.below(3) == 0 {
        node = node.expires(Timestamp::from_micros(random.below(100) as i64));
    }
    if random.below(8) > 0 {
        node = node.vector("v", whole_vector(random, 4));
    }
    node
}

/// How values of one type are ordered.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        // The numbers here are small.
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            let float = |value: &Value| match value {
                Value::Int(int) => *int as f64,
                Value::Float(float) => *float,
                _ => unreachable!(),
            };
            float(a).partial_cmp(&float(b))
        }
        _ => None,
    }
}

/// The values of a field, as they are.
fn whole(node: &Node, field: &Field) -> Vec<Value> {
    let attribute = |name: &str| node.attributes.get(name).cloned();
    match field {
        Field::Attribute(path) => match path.as_slice() {
            [name] => attribute(name).into_iter().collect(),
            [name, within] => {
                let map = attribute(name);
                map.and_then(|map| map.get(within).cloned()).into_iter().collect()
            }
            _ => unreachable!(),
        },
        Field::Created => vec![node.created.unwrap().into()],
        Field::Strength => vec![Value::Float(node.strength.into())],
        Field::AccessCount => vec![Value::Int(0)],
        _ => unreachable!(),
    }
}

fn each(node: &Node, field: &Field) -> Vec<Value> {
    let whole = whole(node, field).into_iter();
    whole.flat_map(|value| if let Value::List(list) = value { list } else { vec![value] }).collect()
}

fn any_field(random: &mut Random) -> IndexPart {
    match random.below(9) {
        0..3 => attr("topic"),
        3 | 4 => attr("n"),
        5 => attr("tags"),
        6 => attr_path(["in", "n"]),
        7 => created(),
        _ => strength(),
    }
}

fn leaf(random: &mut Random) -> Asked {
    let part = any_field(random);
    let field = part.field().clone();
    let with = match field {
        Field::Created => Timestamp::from_micros(random.below(50) as i64).into(),
        Field::Strength => Value::Float(random.below(4) as f64 / 4.0),
        Field::Attribute(ref path) if path == &["n"] => Value::Int(random.below(100) as i64),
        _ => value(random),
    };
    let compare = |condition: Condition, accepts: fn(Ordering) -> bool| {
        let (field, with) = (field.clone(), with.clone());
        Asked {
            condition,
            holds: Box::new(move |_, node| {
                each(node, &field).iter().any(|of| order(of, &with).is_some_and(accepts))
            }),
            readable: true,
        }
    };
    let fields = field.clone();
    let attribute = matches!(field, Field::Attribute(_));
    match random.below(16) {
        // Numbers have no parts and no default.
        11..14 if !attribute => compare(part.le(with.clone()), Ordering::is_le),
        0..4 => compare(part.eq(with.clone()), Ordering::is_eq),
        4 => {
            let equal = compare(part.clone().eq(with.clone()), Ordering::is_eq);
            Asked {
                condition: part.ne(with.clone()),
                holds: Box::new(move |oracle, node| !(equal.holds)(oracle, node)),
                readable: true,
            }
        }
        5 => compare(part.lt(with.clone()), Ordering::is_lt),
        6 => compare(part.le(with.clone()), Ordering::is_le),
        7 => compare(part.gt(with.clone()), Ordering::is_gt),
        8 => compare(part.ge(with.clone()), Ordering::is_ge),
        9 => {
            let any = |random: &mut Random| match attribute {
                true => value(random),
                false => Value::Float(random.below(50) as f64 / 4.0),
            };
            let values: Vec<Value> = (0..random.below(4)).map(|_| any(random)).collect();
            Asked {
                condition: part.is_in(values.clone()),
                holds: Box::new(move |_, node| {
                    let is_one = |of: &Value| {
                        values.iter().any(|value| order(of, value) == Some(Ordering::Equal))
                    };
                    each(node, &fields).iter().any(is_one)
                }),
                readable: true,
            }
        }
        10 => Asked {
            condition: part.exists(),
            holds: Box::new(move |_, node| !whole(node, &fields).is_empty()),
            readable: true,
        },
        11 => Asked {
            condition: part.contains(with.clone()),
            holds: Box::new(move |_, node| {
                whole(node, &fields).iter().any(|of| match (of, &with) {
                    (Value::List(list), with) => {
                        list.iter().any(|of| order(of, with) == Some(Ordering::Equal))
                    }
                    (Value::Text(text), Value::Text(part)) => text.contains(part),
                    (Value::Bytes(bytes), Value::Bytes(part)) => {
                        (0..=bytes.len()).any(|at| bytes[at..].starts_with(part))
                    }
                    _ => false,
                })
            }),
            readable: true,
        },
        12 => Asked {
            condition: part.starts_with("a"),
            holds: Box::new(move |_, node| {
                each(node, &fields).iter().any(|of| of.as_str().is_some_and(|t| t.starts_with('a')))
            }),
            readable: true,
        },
        13 => {
            let default = with.clone();
            let equal = value(random);
            Asked {
                condition: part.or(default.clone()).eq(equal.clone()),
                holds: Box::new(move |_, node| {
                    let mut values = each(node, &fields);
                    if values.is_empty() {
                        values.push(default.clone());
                    }
                    values.iter().any(|of| order(of, &equal) == Some(Ordering::Equal))
                }),
                readable: false,
            }
        }
        14 => {
            let at = Timestamp::from_micros(random.below(110) as i64);
            Asked {
                condition: Condition::alive_at(at),
                holds: Box::new(move |_, node| node.expires.time().is_none_or(|of| of > at)),
                readable: true,
            }
        }
        _ => other(random),
    }
}

/// A condition on something else than a field.
fn other(random: &mut Random) -> Asked {
    match random.below(5) {
        0 => {
            let kinds: Vec<&str> =
                KINDS.into_iter().chain(["unknown"]).filter(|_| random.below(2) == 0).collect();
            let condition = Condition::kinds(kinds.iter().copied());
            let holds = Box::new(move |_: &Oracle, node: &Node| kinds.contains(&&*node.kind));
            Asked { condition, holds, readable: true }
        }
        1 | 2 => {
            let share = [2, 20, 500][random.below(3) as usize];
            let ids: BTreeSet<NodeId> =
                (0..NODES + 20).filter(|_| random.below(share) == 0).map(id).collect();
            let condition = Condition::ids(ids.iter().copied());
            Asked {
                condition,
                holds: Box::new(move |_, node| ids.contains(&node.id)),
                readable: true,
            }
        }
        n => {
            let hub = id(random.below(HUBS + 2));
            let kind = [None, Some("cites"), Some("unknown")][random.below(3) as usize];
            let to = n == 3;
            let condition =
                if to { Condition::links_to(hub, kind) } else { Condition::linked_from(hub, kind) };
            Asked {
                condition,
                holds: Box::new(move |oracle, node| {
                    oracle.edges.iter().any(|(source, of, target)| {
                        let ends = if to { (node.id, hub) } else { (hub, node.id) };
                        (*source, *target) == ends && kind.is_none_or(|kind| kind == *of)
                    })
                }),
                readable: true,
            }
        }
    }
}

fn any_condition(random: &mut Random, depth: u32) -> Asked {
    if depth == 0 || random.below(3) == 0 {
        return leaf(random);
    }
    let a = any_condition(random, depth - 1);
    if random.below(4) == 0 {
        let condition = a.condition.not();
        let holds = Box::new(move |oracle: &Oracle, node: &Node| !(a.holds)(oracle, node));
        return Asked { condition, holds, readable: a.readable };
    }
    let b = any_condition(random, depth - 1);
    let readable = a.readable && b.readable;
    if random.below(3) > 0 {
        Asked {
            condition: a.condition.and(b.condition),
            holds: Box::new(move |oracle, node| (a.holds)(oracle, node) && (b.holds)(oracle, node)),
            readable,
        }
    } else {
        Asked {
            condition: a.condition.or(b.condition),
            holds: Box::new(move |oracle, node| (a.holds)(oracle, node) || (b.holds)(oracle, node)),
            readable,
        }
    }
}

/// Writes some nodes and edges, and deletes some.
fn change(engine: &Engine, oracle: &mut Oracle, random: &mut Random, times: u64) {
    let mut batch = Batch::new();
    for _ in 0..times {
        let n = random.below(NODES);
        match random.below(12) {
            0 => {
                if oracle.nodes.remove(&id(n)).is_some() {
                    batch.delete(id(n));
                    oracle.edges.retain(|(a, _, b)| *a != id(n) && *b != id(n));
                }
            }
            1..4 => {
                let hub = id(random.below(HUBS));
                let kind = ["cites", "likes"][random.below(2) as usize];
                let ends = if random.below(4) == 0 { (hub, id(n)) } else { (id(n), hub) };
                if oracle.nodes.contains_key(&ends.0) && oracle.nodes.contains_key(&ends.1) {
                    batch.link(Edge::new(ends.0, kind, ends.1));
                    oracle.edges.insert((ends.0, kind, ends.1));
                }
            }
            4 => {
                // The vector stays where it is.
                if let Some(known) = oracle.nodes.get_mut(&id(n)) {
                    let topic = value(random);
                    batch.patch(id(n), Patch::new().attribute("topic", topic.clone()));
                    known.attributes.insert("topic".to_owned(), topic);
                }
            }
            5 => {
                if let Some(known) = oracle.nodes.get_mut(&id(n)) {
                    let expires = Timestamp::from_micros(random.below(100) as i64);
                    batch.expire(id(n), Some(expires));
                    *known = known.clone().expires(expires);
                }
            }
            _ => {
                let node = any_node(random, n);
                // A put leaves an expiry that it does not give.
                let kept = oracle.nodes.get(&id(n)).map(|known| known.expires);
                let mut known = node.clone();
                if node.expires.time().is_none()
                    && let Some(kept) = kept
                {
                    known.expires = kept;
                }
                oracle.nodes.insert(node.id, known);
                batch.put(node);
            }
        }
    }
    engine.write(batch).unwrap();
}

fn indexes(random: &mut Random) -> Vec<(&'static str, Index)> {
    let all = [
        ("topic", Index::on([attr("topic")])),
        ("topic_n", Index::on([attr("topic"), attr("n").desc()])),
        ("topic_created", Index::on([attr("topic"), created().desc()])),
        ("n_desc", Index::on([attr("n").desc()])),
        ("tags", Index::on([attr("tags"), strength()])),
        ("within", Index::on([attr_path(["in", "n"])])),
        ("of_tasks", Index::on([attr("topic"), strength()]).kinds(["task", "note"])),
        ("default", Index::on([attr("topic").or("a")])),
        ("time", Index::on([created()])),
        ("scores", Index::on([strength().desc(), access_count()])),
    ];
    all.into_iter().filter(|_| random.below(2) == 0).collect()
}

/// Compares what a condition selects and what searches find with the oracle.
fn compare(snapshot: &Snapshot, oracle: &Oracle, asked: &Asked, random: &mut Random) {
    let expected: BTreeSet<NodeId> = oracle
        .nodes
        .values()
        .filter(|node| (asked.holds)(oracle, node))
        .map(|node| node.id)
        .collect();
    let text = asked.condition.to_string();
    if asked.readable {
        assert_eq!(text.parse::<Condition>().unwrap(), asked.condition, "{text}");
    }
    let filter = Filter::from(asked.condition.clone());
    let select = snapshot.select(&filter);
    let found: Vec<NodeId> = select.nodes().unwrap().map(|node| node.unwrap().id()).collect();
    let plan = select.explain().unwrap();
    let distinct: BTreeSet<NodeId> = found.iter().copied().collect();
    assert_eq!((distinct.len(), &distinct), (found.len(), &expected), "{text}\n{plan}");
    assert_eq!(select.count().unwrap(), expected.len() as u64);

    // Ordered, with and without a limit.
    let part = [attr("topic"), attr("n").desc(), created(), strength().desc(), attr("tags")]
        [random.below(5) as usize]
        .clone();
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Float(_) => 2,
        Value::Text(_) => 3,
        _ => 4,
    };
    let before = |a: &Value, b: &Value| {
        let order = rank(a).cmp(&rank(b)).then_with(|| order(a, b).unwrap_or(Ordering::Equal));
        if part.is_descending() { order.reverse() } else { order }
    };
    let first = |id: &NodeId| each(&oracle.nodes[id], part.field()).into_iter().min_by(before);
    let mut sorted: Vec<NodeId> = expected.iter().copied().collect();
    sorted.sort_by(|a, b| {
        match (first(a), first(b)) {
            (Some(a), Some(b)) => before(&a, &b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
        .then(a.cmp(b))
    });
    let limit = [0, 1, 7, usize::MAX][random.below(4) as usize];
    let ordered = snapshot.select(&filter).order_by([part.clone()]).limit(limit);
    let found: Vec<NodeId> = ordered.nodes().unwrap().map(|node| node.unwrap().id()).collect();
    sorted.truncate(limit);
    assert_eq!(found, sorted, "{text}\n{}", ordered.explain().unwrap());

    // Searches: all that pass, by distance; and with candidates from codes.
    let query = whole_vector(random, 4);
    let all = Search::new("v", &query, 2_000).effort(Effort::Exact);
    let all: Vec<NodeId> = snapshot.search(&all).unwrap().iter().map(|hit| hit.node.id()).collect();
    let passing: Vec<NodeId> = all.into_iter().filter(|id| expected.contains(id)).collect();
    let k = [1, 10, 2_000][random.below(3) as usize];
    let exact = Search::new("v", &query, k).effort(Effort::Exact).filter(&filter);
    let hits: Vec<NodeId> =
        snapshot.search(&exact).unwrap().iter().map(|hit| hit.node.id()).collect();
    assert_eq!(hits, passing[..k.min(passing.len())], "{text}\n{plan}");
    let hits = snapshot.nearest("v", &query, k, &filter).unwrap();
    assert_eq!(hits.len(), passing.len().min(k), "{text}");
    assert!(hits.iter().all(|hit| expected.contains(&hit.node.id())), "{text}");
}

/// A random condition means the same by indexes, masks and records: in memory, in
/// files, and where a layer changes what files have.
#[test]
fn filters_agree_with_a_plain_evaluation() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let dir = temp_dir();
        let options = Options::new().durability(Durability::Os).inline(seed % 2 == 0);
        let engine = options.open(dir.path().join("s")).unwrap();
        engine.create_space("v", Space::new(4, Metric::L2)).unwrap();
        engine.set_method("v", Method::Pq4).unwrap();
        let mut oracle = Oracle::default();
        for (name, definition) in indexes(&mut random) {
            engine.create_index_on(name, definition).unwrap();
        }
        for round in 0..4 {
            change(&engine, &mut oracle, &mut random, if round == 0 { 2_500 } else { 150 });
            if round % 2 == 0 {
                engine.checkpoint().unwrap();
            }
            let snapshot = engine.snapshot();
            for _ in 0..60 {
                let asked = any_condition(&mut random, 3);
                compare(&snapshot, &oracle, &asked, &mut random);
            }
            let now = Timestamp::from_micros(random.below(100) as i64);
            let mut alive = Oracle { edges: oracle.edges.clone(), ..Oracle::default() };
            let living = oracle
                .nodes
                .iter()
                .filter(|(_, node)| node.expires.time().is_none_or(|expires| expires > now));
            alive.nodes = living.map(|(id, node)| (*id, node.clone())).collect();
            alive
                .edges
                .retain(|(a, _, b)| alive.nodes.contains_key(a) && alive.nodes.contains_key(b));
            for _ in 0..15 {
                let asked = any_condition(&mut random, 2);
                compare(&snapshot.alive_at(now), &alive, &asked, &mut random);
            }
        }
        engine.close().unwrap();
    }
}

/// Each bound of a list may hold for another element: no one range of an index says
/// that.
#[test]
fn two_bounds_of_a_list_may_hold_for_two_elements() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    engine.create_index_on("tags", Index::on([attr("tags")])).unwrap();
    let node = |n, tags: &[i64]| Node::new(id(n), "note").attribute("tags", Value::from(tags));
    engine.write(Batch::new().put(node(1, &[1, 9])).put(node(2, &[4])).put(node(3, &[9]))).unwrap();
    let snapshot = engine.snapshot();
    let between = attr("tags").ge(3).and(attr("tags").le(5));
    let found = snapshot.select(between).nodes().unwrap().map(|node| node.unwrap().id());
    assert_eq!(found.collect::<BTreeSet<_>>(), BTreeSet::from([id(1), id(2)]));
}

/// A list counts by its first element in the order, whatever of it is in a range of an
/// index.
#[test]
fn a_list_has_the_same_place_with_and_without_an_index() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    let node = |n, values: &[i64]| Node::new(id(n), "note").attribute("n", Value::from(values));
    engine.write(Batch::new().put(node(1, &[1, 5])).put(node(2, &[4]))).unwrap();
    engine.write((3..40).map(|n| ingrain::Op::put(node(n, &[0]))).collect::<Batch>()).unwrap();
    let found = || {
        let snapshot = engine.snapshot();
        let select = snapshot.select(attr("n").ge(3)).order_by([attr("n")]);
        let nodes: Vec<_> = select.nodes().unwrap().map(|node| node.unwrap().id()).collect();
        (nodes, select.explain().unwrap())
    };
    let (nodes, plan) = found();
    assert_eq!(nodes, [id(1), id(2)], "{plan}");
    engine.create_index_on("n", Index::on([attr("n")])).unwrap();
    engine.build_index("n").unwrap();
    let (nodes, plan) = found();
    assert!(plan.starts_with("index"), "{plan}");
    assert_eq!(nodes, [id(1), id(2)], "{plan}");
    // Text too long for a key is compared all the same.
    let long = attr("n").eq("x".repeat(5_000)).or(attr("n").starts_with("y".repeat(5_000)));
    assert_eq!(engine.snapshot().select(long).count().unwrap(), 0);
}

/// What is wrong with a filter is said, before anything is read.
#[test]
fn what_cannot_be_asked_is_refused() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(2, Metric::L2)).unwrap();
    let nested =
        (0..100).fold(attr("a").eq(1), |of, _| of.and(attr("b").eq(1)).or(attr("c").eq(1)));
    let wide = (0..2_000).fold(attr("a").eq(1), |of, n| of.or(attr("b").eq(n)));
    let snapshot = engine.snapshot();
    for (condition, kind, says) in [
        (attr("a").eq(f64::NAN), ErrorKind::Invalid, "NaN"),
        (attr("a").lt(f64::INFINITY), ErrorKind::Invalid, "not finite"),
        (created().ge("2026-01-01"), ErrorKind::Invalid, "no quotes"),
        (strength().is_in([true]), ErrorKind::Invalid, "a number or a time"),
        (created().starts_with("2026"), ErrorKind::Invalid, "a number or a time"),
        (attr("a").lt(vec![1, 2]), ErrorKind::Invalid, "a list"),
        (attr("").eq(1), ErrorKind::Invalid, "name is empty"),
        (attr("a").is_in(0..20_000), ErrorKind::Limit, "values of a condition"),
        (Condition::index("none", ..), ErrorKind::Invalid, "none"),
        (nested, ErrorKind::Limit, "levels"),
        (wide, ErrorKind::Limit, "terms"),
    ] {
        let filter = Filter::from(condition);
        let errors = [
            snapshot.select(&filter).count().unwrap_err(),
            snapshot.nearest("v", &[0.0, 1.0], 1, &filter).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(says), "{error} does not say {says}");
        }
    }
    // A deep condition is made and dropped without recursion as deep as it.
    let deep = (0..200_000).fold(attr("a").eq(1), |of, _| of.not().and(attr("b").eq(1)));
    assert_eq!(snapshot.select(deep).count().unwrap_err().kind(), ErrorKind::Limit);
}

/// Text that is no condition is refused with the place.
#[test]
fn text_that_is_no_condition_is_refused() {
    for (text, at, says) in [
        ("", 1, "the name of a field"),
        ("a", 2, "found the end"),
        ("a = ", 5, "a value"),
        ("a = b", 5, "text in quotes"),
        ("a == 1", 4, "a value"),
        ("a = 1 b = 2", 7, "and, or, or the end"),
        ("(a = 1", 7, "\")\""),
        ("a in 1", 6, "\"(\""),
        ("a in (1 2)", 9, "\",\""),
        ("a = 'x", 5, "closing"),
        ("a = \"\\q\"", 5, "escape"),
        ("a = 12x", 5, "no number"),
        ("a = 99999999999999999999", 5, "no number"),
        ("a = 1e999", 5, "no number"),
        ("a = 0x123", 5, "no number"),
        ("created >= 2026-13-01", 12, "no time"),
        ("kind = 3", 8, "text in quotes"),
        ("'a' = 1", 1, "the name of a field"),
        ("not", 4, "the name of a field"),
        ("links \"x\"", 7, "\"to\""),
        ("a ~ 1", 3, "unexpected"),
        ("ä = ☃", 5, "unexpected"),
    ] {
        let error = text.parse::<Condition>().unwrap_err().to_string();
        assert!(error.contains(&format!("at character {at}:")), "{text}: {error}");
        assert!(error.contains(says), "{text}: {error}");
    }
    let deep = format!("{}a = 1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(deep.parse::<Condition>().unwrap_err().kind(), ErrorKind::Limit);
    let not = format!("{}a = 1", "not ".repeat(10_000));
    assert_eq!(not.parse::<Condition>().unwrap_err().kind(), ErrorKind::Limit);
    // A field alone may be any word.
    assert_eq!("id".parse::<Field>().unwrap(), *attr("id").field());
    assert_eq!("created".parse::<Field>().unwrap(), Field::Created);
    assert!("a b".parse::<Field>().is_err() && "".parse::<Field>().is_err());
    // Names in quotes are attributes, whatever they are called.
    let upper: Condition = "a = 1 AND NOT (b IN (2) OR c = NULL)".parse().unwrap();
    assert_eq!(upper, "a = 1 and not (b in (2) or c = null)".parse().unwrap());
    for (text, part) in [
        ("\"AND\" = 1", attr("AND")),
        ("And = 1", attr("And")),
        ("\"created\" = 1", attr("created")),
        ("\"and\" = 1", attr("and")),
        ("\"a b\".\"c.d\" = 1", attr_path(["a b", "c.d"])),
        ("$created = 1", created()),
        ("created = 1", created()),
    ] {
        let condition: Condition = text.parse().unwrap();
        assert_eq!(condition, part.eq(1), "{text}");
        assert_eq!(condition.to_string().parse::<Condition>().unwrap(), condition);
    }
}

/// A path leads only through nodes that pass.
#[test]
fn paths_lead_through_nodes_that_pass() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    let mut batch = Batch::new();
    // Two ways from 0 to 9: by 1, which is a secret, and by 2 and 3.
    for n in [0, 1, 2, 3, 9] {
        let kind = if matches!(n, 1 | 0 | 9) { "secret" } else { "note" };
        batch.put(Node::new(id(n), kind));
    }
    for (a, b) in [(0, 1), (1, 9), (0, 2), (2, 3), (3, 9)] {
        batch.link(Edge::new(id(a), "next", id(b)));
    }
    engine.write(batch).unwrap();
    let snapshot = engine.snapshot();
    let steps = |through: Option<&Filter<'_>>| {
        let options = PathOptions { through, ..PathOptions::default() };
        let path = snapshot.shortest_path(id(0), id(9), &options).unwrap();
        path.map(|path| path.steps.len())
    };
    assert_eq!(steps(None), Some(2));
    // The ends need not pass.
    assert_eq!(steps(Some(&Filter::new().kind("note"))), Some(3));
    assert_eq!(steps(Some(&Filter::new().kind("other"))), None);
    let fails = Filter::new().try_test(|_| Err::<bool, _>("no"));
    let options = PathOptions { through: Some(&fails), ..PathOptions::default() };
    let error = snapshot.shortest_path(id(0), id(9), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Filter);
}

/// The error of a closure is that of the search.
#[test]
fn a_closure_of_a_search_may_fail() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(2, Metric::L2)).unwrap();
    let node = |n| Node::new(id(n), "note").vector("v", [n as f32, 1.0]);
    engine.write((0..600).map(|n| ingrain::Op::put(node(n))).collect::<Batch>()).unwrap();
    for stored in [false, true] {
        if stored {
            engine.checkpoint().unwrap();
        }
        let snapshot = engine.snapshot();
        let failing = Filter::new()
            .try_test(|node| if node.id() == id(3) { Err("not this one") } else { Ok(true) });
        let error = snapshot.nearest("v", &[3.0, 1.0], 5, &failing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Filter);
        assert_eq!(error.with_causes().to_string(), "the filter failed: not this one");
        // What a closure gets from the engine stays what it is.
        let own = Filter::new().try_test(|_| Err::<bool, _>("x".parse::<NodeId>().unwrap_err()));
        let error = snapshot.nearest("v", &[3.0, 1.0], 5, &own).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

/// Ids that begin alike, as those of one moment do, are told apart.
#[test]
fn ids_that_begin_alike_are_told_apart() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(4, Metric::L2)).unwrap();
    engine.set_method("v", Method::Pq4).unwrap();
    let id = |n: u64| {
        let bytes = [(n / 700).to_be_bytes(), n.to_be_bytes()].concat();
        NodeId::from_bytes(bytes.try_into().unwrap())
    };
    let mut random = Random(3);
    let node = |n| Node::new(id(n), "note").vector("v", whole_vector(&mut random, 4));
    engine.write((0..2_000).map(node).map(ingrain::Op::put).collect::<Batch>()).unwrap();
    engine.checkpoint().unwrap();
    let snapshot = engine.snapshot();
    for (wanted, share) in [(500, 3), (1_500, 2), (400, 5)] {
        let ids: BTreeSet<NodeId> =
            (0..4_000).filter(|n| n % share == 0).take(wanted).map(id).collect();
        let there = (0..2_000).filter(|n| ids.contains(&id(*n))).count();
        for (condition, count, is_in) in [
            (Condition::ids(ids.iter().copied()), there, true),
            (Condition::ids(ids.iter().copied()).not(), 2_000 - there, false),
        ] {
            let filter = Filter::from(condition);
            for effort in [Effort::Exact, Effort::Normal] {
                let search = Search::new("v", &[1.0, 2.0, 3.0, 4.0], 2_000).effort(effort);
                let hits = snapshot.search(&search.filter(&filter)).unwrap();
                assert_eq!(hits.len(), count);
                assert!(hits.iter().all(|hit| ids.contains(&hit.node.id()) == is_in));
            }
            let search = Search::new("v", &[1.0, 2.0, 3.0, 4.0], 10).filter(&filter);
            let hits = snapshot.search(&search).unwrap();
            assert_eq!(hits.len(), 10);
            assert!(hits.iter().all(|hit| ids.contains(&hit.node.id()) == is_in));
        }
    }
}
