//! The forms of the model types with feature `serde`.

use std::fmt::Debug;

use ingrain::{
    Batch, Durability, Edge, Element, IndexKey, Method, Metric, Named, Node, NodeId, Op, Patch,
    Precondition, Seq, Space, Timestamp, Value, limits,
};
use proptest::{collection::vec, prelude::*};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::harness::any::any_op;

/// Names that mean something, and names that do not.
fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![Just("$bytes".to_owned()), Just("$map".to_owned()), any::<String>()]
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), any::<i64>().prop_map(|n| n as f64), Just(-0.0)]
        .prop_filter("it is finite", |x| x.is_finite())
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any_float().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        vec(any::<u8>(), 0..6).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::List),
            vec((any_name(), inner), 0..3).prop_map(Value::map),
        ]
    })
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let space = (any::<String>(), 1..9_usize, any::<bool>()).prop_map(|(name, dimension, l2)| {
        let metric = if l2 { Metric::L2 } else { Metric::Cosine };
        Op::CreateSpace { name, space: Space::new(dimension, metric) }
    });
    let named = any::<String>().prop_flat_map(|name| {
        prop::sample::select(vec![
            Op::CreateIndex { name: name.clone(), index: None },
            Op::DropSpace { name: name.clone() },
            Op::Rename { what: Named::Space, from: name.clone(), to: "to".to_owned() },
            Op::SetMethod { name, method: Method::Pq8 },
        ])
    });
    let values = (any_value(), any_value(), any::<bool>()).prop_map(|(a, b, put)| {
        let id = NodeId::from_content(b"x");
        if put {
            let node = Node::new(id, "k").attribute("$bytes", b).updated(Timestamp::MIN);
            return Op::Put { node, precondition: Precondition::None };
        }
        let patch = Patch::new().attribute("set", a).remove_attribute("gone");
        Op::Patch { id, patch: patch.attribute("null", Value::Null).attribute("$map", b) }
    });
    let ops = prop_oneof![8 => any_op(), 1 => space, 1 => named, 2 => values];
    (vec(ops, 0..8), any::<Option<bool>>()).prop_map(|(ops, synced)| {
        let mut batch = Batch::new();
        ops.into_iter().for_each(|op| {
            batch.push(op);
        });
        if let Some(synced) = synced {
            batch.durability(if synced { Durability::Sync } else { Durability::Os });
        }
        batch
    })
}

/// Through JSON, and through MessagePack with and without names of fields.
/// `Debug` tells 0.0 from -0.0, which are equal.
fn check<T: Serialize + DeserializeOwned + Debug>(given: &T) {
    let same = |read: T| assert_eq!(format!("{read:?}"), format!("{given:?}"));
    same(serde_json::from_str(&serde_json::to_string(given).unwrap()).unwrap());
    same(serde_json::from_value(serde_json::to_value(given).unwrap()).unwrap());
    same(rmp_serde::from_slice(&rmp_serde::to_vec(given).unwrap()).unwrap());
    same(rmp_serde::from_slice(&rmp_serde::to_vec_named(given).unwrap()).unwrap());
}

proptest! {
    #[test]
    fn every_value_is_read_as_it_was_written(value in any_value()) {
        check(&value);
        // What the program exports is the same.
        #[cfg(feature = "exchange")]
        assert_eq!(serde_json::to_value(&value).unwrap(), ingrain::exchange::json::to_json(&value));
    }

    #[test]
    fn every_batch_is_read_as_it_was_written(batch in any_batch()) {
        check(&batch);
    }

    #[test]
    fn ids_and_numbers_are_read_as_they_were_written(
        id in any::<[u8; 16]>(),
        micros in any::<i64>(),
        number in any::<u64>(),
        weight in any_float(),
        key in vec(any::<u8>(), 0..9),
    ) {
        let (id, time) = (NodeId::from_bytes(id), Timestamp::from_micros(micros));
        check(&(id, time, Seq::new(number), Precondition::Version(Seq::new(number))));
        check(&Edge::new(id, "k", id).discriminator(number).weight(weight).updated(time));
        check(&(IndexKey::new("i", key), Method::Auto, Element::F32, Metric::Dot));
    }

    /// Any JSON is a value that is written as the same JSON, or refused.
    #[test]
    fn json_of_any_shape_is_read_or_refused(value in any_value()) {
        // Without the marks' meaning, as someone else would write it.
        fn plain(value: &Value) -> serde_json::Value {
            match value {
                Value::List(values) => values.iter().map(plain).collect(),
                Value::Map(map) => map.iter().map(|(n, v)| (n.clone(), plain(v))).collect(),
                leaf => serde_json::to_value(leaf).unwrap(),
            }
        }
        let json = plain(&value);
        if let Ok(read) = serde_json::from_value::<Value>(json) {
            check(&read);
        }
    }
}

/// The forms are part of the interface: programs write them by hand.
#[test]
fn the_forms_in_json_are_these() {
    let id = NodeId::from_bytes(*b"0123456789abcdef");
    let name = "30313233-3435-3637-3839-616263646566";
    let time = Timestamp::parse("2024-02-29T12:00:00.5Z").unwrap();
    let node = Node::new(id, "note")
        .content("it barked")
        .attributes([("n", Value::from(1)), ("x", 1.0.into()), ("b", b"\x00\xff".into())])
        .created(time)
        .key("i", [0_u8, 0xfe])
        .vector("v", [0.5, 0.1]);
    let node_json = json!({
        "id": name, "kind": "note", "content": "it barked",
        "attributes": {"n": 1, "x": 1.0, "b": {"$bytes": "AP8="}},
        "strength": 1.0, "confidence": 1.0,
        "created": "2024-02-29T12:00:00.5Z", "updated": null, "accessed": null,
        "access_count": null, "expires": "keep",
        "keys": [{"index": "i", "key": "00fe"}],
        "vectors": {"v": [0.5, 0.1_f32]},
    });
    let patch = Patch::new()
        .content([0xff])
        .attribute("set", Value::Null)
        .remove_attribute("gone")
        .remove_keys("i")
        .remove_vector("v");
    let patch_json = json!({
        "kind": null, "content": {"$bytes": "/w=="},
        "attributes": {"set": null}, "remove_attributes": ["gone"],
        "strength": null, "confidence": null,
        "keys": {"i": []}, "vectors": {}, "remove_vectors": ["v"],
    });
    let edge_json = json!({
        "source": name, "kind": "to", "target": name, "discriminator": u64::MAX, "weight": 0.5,
        "confidence": 1.0, "attributes": {}, "created": null, "updated": null,
    });
    let mut batch = Batch::new();
    batch
        .put_if_version(node, Seq::new(7))
        .patch(id, patch)
        .touch(id)
        .expire(id, None)
        .prune(id, time)
        .delete(id)
        .link(Edge::new(id, "to", id).discriminator(u64::MAX).weight(0.5))
        .unlink(id, "to", id)
        .push(Op::CreateSpace { name: "v".to_owned(), space: Space::new(2, Metric::L2) })
        .push(Op::SetMethod { name: "v".to_owned(), method: Method::Exact })
        .rename(Named::Kind, "k", "l")
        .durability(Durability::Os);
    let written = json!({
        "ops": [
            {"put": {"node": node_json, "precondition": {"version": 7}}},
            {"patch": {"id": name, "patch": patch_json}},
            {"touch": {"id": name, "count": 1}},
            {"expire": {"id": name, "expires": null}},
            {"prune": {"id": name, "before": "2024-02-29T12:00:00.5Z"}},
            {"delete": {"id": name}},
            {"link": {"edge": edge_json}},
            {"unlink": {"source": name, "kind": "to", "target": name, "discriminator": 0}},
            {"create_space": {
                "name": "v", "space": {"dimension": 2, "metric": "l2", "element": "f32"},
            }},
            {"set_method": {"name": "v", "method": "exact"}},
            {"rename": {"what": "kind", "from": "k", "to": "l"}},
        ],
        "durability": "os",
    });
    assert_eq!(serde_json::to_value(&batch).unwrap(), written);
    assert_eq!(serde_json::from_value::<Batch>(written).unwrap(), batch);
}

#[test]
fn what_can_be_left_out_has_its_default() {
    let id = NodeId::from_content(b"x");
    let read = |json: serde_json::Value| serde_json::from_value::<Batch>(json).unwrap();
    let mut batch = Batch::new();
    batch
        .put(Node::new(id, "k"))
        .patch(id, Patch::new())
        .link(Edge::new(id, "k", id))
        .unlink(id, "k", id)
        .push(Op::CreateSpace { name: "v".to_owned(), space: Space::new(2, Metric::Dot) });
    let json = json!({"ops": [
        {"put": {"node": {"id": id, "kind": "k"}}},
        {"patch": {"id": id, "patch": {}}},
        {"link": {"edge": {"source": id, "kind": "k", "target": id}}},
        {"unlink": {"source": id, "kind": "k", "target": id}},
        {"create_space": {"name": "v", "space": {"dimension": 2, "metric": "dot"}}},
    ]});
    assert_eq!(read(json), batch);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    fn refused<T: DeserializeOwned + Debug>(json: &str, why: &str) {
        let error = serde_json::from_str::<T>(json).unwrap_err().to_string();
        assert!(error.contains(why), "{json}: {error}");
    }
    let id = r#""id":"30313233343536373839616263646566","kind":"k""#;
    refused::<Node>(&format!("{{{id},\"wieght\":1}}"), "unknown field `wieght`");
    refused::<Node>(r#"{"kind":"k"}"#, "missing field `id`");
    refused::<Node>(&format!(r#"{{{id},"attributes":{{"a":1,"a":2}}}}"#), "twice");
    refused::<Node>(&format!(r#"{{{id},"attributes":{{"m":{{"a":1,"a":2}}}}}}"#), "twice");
    refused::<Node>(&format!(r#"{{{id},"keys":[{{"index":"i","key":"0"}}]}}"#), "hexadecimal");
    refused::<Node>(&format!(r#"{{{id},"keys":[{{"index":"i","key":"+1"}}]}}"#), "hexadecimal");
    refused::<Node>(&format!(r#"{{{id},"content":{{"$bytes":"AA==","x":1}}}}"#), "unknown field");
    refused::<Node>(&format!(r#"{{{id},"content":{{"$bytes":"?"}}}}"#), "base64");
    refused::<Node>(&format!(r#"{{{id},"content":5}}"#), "expected text");
    refused::<Patch>(r#"{"attributes":{"a":1},"remove_attributes":["a"]}"#, "twice");
    refused::<Patch>(r#"{"remove_vectors":["a","a"]}"#, "twice");
    refused::<Op>(r#"{"expire":{"id":"30313233343536373839616263646566"}}"#, "missing field");
    refused::<Space>(r#"{"dimension":2,"metric":"dot","x":1}"#, "unknown field");
    refused::<NodeId>(r#""dog""#, "node id");
    refused::<Timestamp>(r#""yesterday""#, "RFC 3339");
    refused::<Timestamp>("5", "RFC 3339");
    refused::<Value>("9223372036854775808", "range of i64");
    refused::<Value>(r#"{"$bytes":5}"#, "base64");
    refused::<Value>(r#"{"$map":5}"#, "object");
    for number in [f64::NAN, f64::INFINITY] {
        assert!(serde_json::to_string(&Value::Float(number)).is_err());
        let id = NodeId::MIN;
        assert!(serde_json::to_string(&Node::new(id, "k").strength(number as f32)).is_err());
        assert!(serde_json::to_string(&Node::new(id, "k").vector("v", [number as f32])).is_err());
        assert!(serde_json::to_string(&Edge::new(id, "k", id).weight(number)).is_err());
        assert!(serde_json::to_string(&Patch::new().confidence(number as f32)).is_err());
        assert!(serde_json::to_string(&Patch::new().vector("v", [number as f32])).is_err());
    }
}

/// Whatever a store takes can be read, and reading never recurses without end.
#[test]
fn values_are_read_as_deep_as_a_store_takes_them() {
    let nested = |depth: usize, inner: Value| {
        (1..depth).fold(inner, |value, _| Value::map([("$map", value)]))
    };
    check(&nested(limits::VALUE_DEPTH, Value::Bytes(vec![1])));
    let deep = nested(limits::VALUE_DEPTH * 4, Value::Null);
    assert!(rmp_serde::from_slice::<Value>(&rmp_serde::to_vec(&deep).unwrap()).is_err());
    let brackets = "[".repeat(100) + &"]".repeat(100);
    assert!(serde_json::from_str::<Value>(&brackets).unwrap_err().to_string().contains("too deep"));
}
