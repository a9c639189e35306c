//! Which edges the lines of a file are.

use std::collections::BTreeSet;

use ingrain::{Batch, Edge, Node, NodeId, Options};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::fixture::{Dir, lines};

const ENDS: &str = "{\"id\":\"a\"}\n{\"id\":\"b\"}\n";

fn import(dir: &Dir, store: &str, edges: &str) -> Json {
    dir.file("n", ENDS);
    dir.file("e", edges);
    dir.json(&format!("import --store @{store} --nodes @n --edges @e --durability os"))
        .pop()
        .unwrap()
}

/// All edges with their discriminators, but without times.
fn edges(dir: &Dir, store: &str) -> BTreeSet<String> {
    dir.ok(&format!("export --store @{store} --edges @out --full"));
    let mut edges = lines(str::from_utf8(&dir.read("out")).unwrap());
    for edge in &mut edges {
        edge.as_object_mut().unwrap().remove("$edge");
    }
    edges.iter().map(Json::to_string).collect()
}

fn weights(dir: &Dir, store: &str) -> Vec<f64> {
    let edges = dir.json(&format!("edges --store @{store} a --out"));
    let mut weights: Vec<f64> = edges.iter().map(|edge| edge["weight"].as_f64().unwrap()).collect();
    weights.sort_by(f64::total_cmp);
    weights
}

#[test]
fn a_line_is_the_edge_that_it_equals() {
    let dir = Dir::new();
    let line = |weight: u8| {
        format!("{{\"source\":\"a\",\"target\":\"b\",\"type\":\"r\",\"weight\":{weight}}}\n")
    };
    let both = line(1) + &line(2);
    import(&dir, "one", &both);
    // Only the second line again: nothing changes.
    assert_eq!(import(&dir, "one", &line(2))["written_edges"], 0);
    assert_eq!(weights(&dir, "one"), [1.0, 2.0]);
    // In two files, and in two files the other way round.
    import(&dir, "two", &line(1));
    import(&dir, "two", &line(2));
    assert_eq!(edges(&dir, "two"), edges(&dir, "one"));
    import(&dir, "back", &line(2));
    import(&dir, "back", &line(1));
    assert_eq!(weights(&dir, "back"), [1.0, 2.0]);
    // Equal lines of a file are as many edges, however often it is imported.
    for _ in 0..2 {
        import(&dir, "one", &both.repeat(3));
        assert_eq!(weights(&dir, "one"), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    }
    // A discriminator names an edge, which is changed.
    let named = format!(
        "{}\n",
        json!({"source": "a", "target": "b", "type": "r", "weight": 7.5, "$discriminator": 0})
    );
    assert_eq!(import(&dir, "two", &named)["written_edges"], 1);
    assert_eq!(weights(&dir, "two"), [2.0, 7.5]);
    // The line that it was before is a new edge, also in the same file.
    import(&dir, "two", &(named + &line(1)));
    assert_eq!(weights(&dir, "two"), [1.0, 2.0, 7.5]);
}

#[test]
fn edges_of_the_library_are_not_doubled() {
    let dir = Dir::new();
    let (a, b) = (NodeId::from_content(b"a"), NodeId::from_content(b"b"));
    let engine = Options::new().open(dir.path("s")).unwrap();
    let mut batch = Batch::new();
    batch.put(Node::new(a, "node").attribute("id", "a"));
    batch.put(Node::new(b, "node").attribute("id", "b"));
    // With attributes and discriminator 0, and with any discriminator.
    batch.link(Edge::new(a, "r", b).attribute("how", "well"));
    batch.link(Edge::new(a, "r", b).discriminator(7).attribute("how", "badly"));
    batch.link(Edge::new(a, "r", b).discriminator(8));
    batch.link(Edge::new(a, "r", b).discriminator(9));
    engine.write(batch).unwrap();
    engine.close().unwrap();
    dir.ok("export --store @s --nodes @n --edges @e");
    let done = dir.json("import --store @s --nodes @n --edges @e").pop().unwrap();
    assert_eq!((&done["written_nodes"], &done["written_edges"]), (&json!(0), &json!(0)));
    assert_eq!(dir.stats("s")["edges"], 4);
}

/// What the program itself wrote comes in again, however large the numbers are.
#[test]
fn large_discriminators_stand_beside_large_floats() {
    let dir = Dir::new();
    let many: String = (0..8)
        .map(|n| {
            format!(
                "{{\"source\":\"a\",\"target\":\"a\",\"type\":\"r\",\"weight\":1e19,\"i\":{n}}}\n"
            )
        })
        .collect();
    import(&dir, "s", &many);
    dir.ok("export --store @s --nodes @n2 --edges @e2 --full");
    assert!(
        lines(str::from_utf8(&dir.read("e2")).unwrap())
            .iter()
            .any(|edge| edge["$discriminator"].as_u64().unwrap() > 1 << 63)
    );
    dir.file(
        "n3",
        format!("{}\n", json!({"id": "c", "x": 1e19, "$node": {"access_count": u64::MAX}})),
    );
    dir.ok("import --store @t --nodes @n2 --edges @e2");
    dir.ok("import --store @t --nodes @n3");
    assert_eq!(edges(&dir, "t"), edges(&dir, "s"));
    assert_eq!(dir.json("get --store @t c")[0]["access_count"], u64::MAX);
    dir.file("n3", "{\"id\":\"c\",\"$node\":{\"access_count\":-1}}");
    assert!(dir.fails("import --store @t --nodes @n3").contains("\"access_count\" is not a count"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    /// A file of lines that differ makes the same edges in one import and in
    /// several, and once more changes nothing.
    #[test]
    fn splitting_a_file_makes_no_difference(
        set in prop::collection::btree_set((0..2_usize, 0..2_usize, 0..2_usize, 0..3_u8, 0..3_u8), 1..20),
        order in any::<u64>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let names = ["a", "b"];
        let mut all: Vec<String> = set
            .into_iter()
            .map(|(source, target, kind, weight, how)| {
                let mut line = json!({"source": names[source], "target": names[target], "type": names[kind]});
                if weight > 0 {
                    line["weight"] = json!(f64::from(weight) + 0.5);
                }
                if how > 0 {
                    line["how"] = json!(how);
                }
                format!("{line}\n")
            })
            .collect();
        let len = all.len() as u64;
        all.rotate_left(usize::try_from(order % len).unwrap());
        let dir = Dir::new();
        import(&dir, "one", &all.concat());
        prop_assert_eq!(dir.stats("one")["edges"].as_u64(), Some(len));
        let (first, second) = all.split_at(cut.index(all.len()));
        for part in [first, second] {
            import(&dir, "two", &part.concat());
        }
        prop_assert_eq!(edges(&dir, "one"), edges(&dir, "two"));
        for part in [second, &all] {
            prop_assert_eq!(&import(&dir, "two", &part.concat())["written_edges"], &json!(0));
        }
    }
}
