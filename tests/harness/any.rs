//! Random operations as strategies of proptest. They use few ids, kinds,
//! indexes and spaces, so that operations concern the same ones.

use ingrain::{Edge, Expiry, Node, NodeId, Op, Patch, Precondition, Seq, Timestamp, Value};
use proptest::{collection::vec, option, prelude::*};

use super::oracle::{IDS, INDEXES, KINDS, id};

fn any_id() -> impl Strategy<Value = NodeId> {
    (0..IDS).prop_map(id)
}

fn any_kind() -> impl Strategy<Value = String> {
    prop::sample::select(KINDS).prop_map(str::to_owned)
}

fn any_expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![Just(Expiry::Keep), Just(Expiry::Never), any_time().prop_map(Expiry::At),]
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (0..100_i64).prop_map(Timestamp::from_micros)
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-1e9..1e9).prop_map(Value::Float),
        ".{0,6}".prop_map(Value::Text),
        vec(any::<u8>(), 0..6).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::List),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..3).prop_map(Value::Map),
        ]
    })
}

/// Vectors of small integers, never all zero: their sums are exact in any
/// order.
fn any_vector(dimension: usize) -> impl Strategy<Value = Vec<f32>> {
    vec(-4..=4_i8, dimension).prop_map(|numbers| {
        let mut vector: Vec<f32> = numbers.iter().map(|n| f32::from(*n)).collect();
        if vector.iter().all(|n| *n == 0.0) {
            vector[0] = 1.0;
        }
        vector
    })
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(1), Just(0xff)], 0..3)
}

/// Contents. Long ones become external when something else of the node changes.
fn any_content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 65..90)]
}

fn any_node() -> impl Strategy<Value = Node> {
    (
        (any_id(), any_kind(), any_content()),
        prop::collection::btree_map("[a-c]{1,2}", any_value(), 0..3),
        (-2.0..2.0_f32, 0.0..1.0_f32, option::of(any_time()), any_expiry()),
        (option::of(any_time()), option::of(prop_oneof![4 => 0..9_u64, 1 => any::<u64>()])),
        vec((prop::sample::select(INDEXES), any_key()), 0..4),
        (option::of(any_vector(2)), option::of(any_vector(3))),
    )
        .prop_map(|((id, kind, content), attributes, scores, access, keys, vectors)| {
            let mut node = Node::new(id, kind).content(content);
            node.attributes = attributes;
            (node.strength, node.confidence, node.created, node.expires) = scores;
            (node.accessed, node.access_count) = access;
            for (index, key) in keys {
                node = node.key(index, key);
            }
            for (vector, space) in [(vectors.0, "flat"), (vectors.1, "turn")] {
                if let Some(vector) = vector {
                    node = node.vector(space, vector);
                }
            }
            node
        })
}

fn any_patch() -> impl Strategy<Value = Patch> {
    (
        option::of(any_kind()),
        option::of(any_content()),
        prop::collection::btree_map("[a-c]{1,2}", option::of(any_value()), 0..3),
        (option::of(-2.0..2.0_f32), option::of(0.0..1.0_f32)),
        prop::collection::btree_map(prop::sample::select(INDEXES), vec(any_key(), 0..3), 0..2),
        option::of(option::of(any_vector(2))),
    )
        .prop_map(|(kind, content, attributes, scores, keys, vector)| {
            let mut patch = Patch::new();
            (patch.kind, patch.content, patch.attributes) = (kind, content, attributes);
            (patch.strength, patch.confidence) = scores;
            patch.keys = keys.into_iter().map(|(index, keys)| (index.to_owned(), keys)).collect();
            patch.vectors.extend(vector.map(|vector| ("flat".to_owned(), vector)));
            patch
        })
}

fn any_edge() -> impl Strategy<Value = Edge> {
    let number = prop_oneof![6 => 0..2_u64, 1 => any::<u64>()];
    let weight = prop_oneof![4 => -1e6..1e6, 1 => Just(1e19)];
    (any_id(), any_kind(), any_id(), number, weight, option::of(any_time()), any_value()).prop_map(
        |(source, kind, target, discriminator, weight, created, value)| {
            let mut edge =
                Edge::new(source, kind, target).discriminator(discriminator).weight(weight);
            edge.created = created;
            edge.attribute("v", value)
        },
    )
}

/// An edge that others concern too.
fn near_edge() -> impl Strategy<Value = Edge> {
    let ids = 0..2_u8;
    (ids.clone(), ids, -1e3..1e3)
        .prop_map(|(from, to, weight)| Edge::new(id(from), KINDS[0], id(to)).weight(weight))
}

/// A number to add, now and then one that is too large.
fn any_summand() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => (-9..9_i64).prop_map(Value::Int),
        2 => (-9.0..9.0).prop_map(Value::Float),
        1 => prop::sample::select(vec![i64::MAX, i64::MIN]).prop_map(Value::Int),
        1 => Just(Value::Float(f64::MAX)),
    ]
}

fn any_precondition() -> impl Strategy<Value = Precondition> {
    prop_oneof![
        1 => Just(Precondition::None),
        2 => Just(Precondition::Absent),
        6 => Just(Precondition::Exists),
        1 => (1..12_u64).prop_map(|version| Precondition::Version(Seq::new(version))),
    ]
}

/// Any operation.
pub fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => any_node().prop_map(|node| Op::Put { node, precondition: Precondition::None }),
        1 => any_node().prop_map(|node| Op::Put { node, precondition: Precondition::Absent }),
        // Versions are small, so that some are right.
        1 => (any_node(), 3..12_u64).prop_map(|(node, version)| Op::Put {
            node,
            precondition: Precondition::Version(Seq::new(version)),
        }),
        3 => any_node().prop_map(|node| Op::PutOrKeep { node }),
        1 => (any_id(), any_precondition())
            .prop_map(|(id, precondition)| Op::Require { id, precondition }),
        1 => near_edge().prop_map(|e| Op::RequireEdge {
            source: e.source,
            kind: e.kind,
            target: e.target,
            discriminator: 0,
        }),
        // Few nodes have the attribute otherwise.
        2 => (any_id(), prop::sample::select(vec!["n", "n", "n", "a"]), any_summand())
            .prop_map(|(id, name, by)| Op::Increment { id, attribute: name.to_owned(), by }),
        3 => near_edge().prop_map(|edge| Op::Link { edge }),
        1 => (near_edge(), prop_oneof![8 => -1e3..1e3, 1 => Just(f64::MAX)]).prop_map(|(e, by)| {
            Op::IncrementWeight {
                source: e.source,
                kind: e.kind,
                target: e.target,
                discriminator: 0,
                by,
            }
        }),
        2 => (any_id(), any_patch()).prop_map(|(id, patch)| Op::Patch { id, patch }),
        1 => (any_id(), 0..3_u64).prop_map(|(id, count)| Op::Touch { id, count }),
        1 => (any_id(), option::of(any_time())).prop_map(|(id, expires)| Op::Expire { id, expires }),
        2 => any_id().prop_map(|id| Op::Delete { id }),
        1 => (any_id(), any_time()).prop_map(|(id, before)| Op::Prune { id, before }),
        6 => any_edge().prop_map(|edge| Op::Link { edge }),
        2 => any_edge().prop_map(|e| Op::Unlink {
            source: e.source,
            kind: e.kind,
            target: e.target,
            discriminator: e.discriminator,
        }),
    ]
}
