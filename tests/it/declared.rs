//! Indexes whose keys the engine derives: compared with a model, whatever happens to
//! the nodes and to the store.

use std::{cmp::Ordering, collections::BTreeMap};

use ingrain::{
    ConflictReason, Error, ErrorKind, Op,
    index::{Index, IndexState, access_count, attr, attr_path, created, strength},
    prelude::*,
};

use crate::harness::{dirs::temp_dir, nodes::id_of_byte, random::Random};

/// What the model knows of a node.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    kind: &'static str,
    topic: Option<Value>,
    tags: Vec<i64>,
    unique: Option<i64>,
    strength: f32,
    touched: u64,
}

const KINDS: [&str; 3] = ["note", "task", "event"];

fn node(id: NodeId, known: &Known) -> Node {
    let mut node = Node::new(id, known.kind).strength(known.strength);
    if let Some(topic) = &known.topic {
        node = node.attribute("topic", topic.clone());
    }
    if let Some(unique) = known.unique {
        node = node.attribute("unique", unique);
    }
    let tags = Value::list(known.tags.iter().map(|tag| Value::map([("n", *tag)])));
    node.attribute("tags", tags)
}

fn any(random: &mut Random) -> Known {
    let topic = match random.below(8) {
        0 => None,
        1 => Some(Value::Null),
        2 => Some(Value::from(random.below(2) == 0)),
        3 => Some(Value::from(random.below(3) as i64 - 1)),
        4 => Some(Value::Float(random.below(5) as f64 / 2.0 - 1.0)),
        _ => Some(Value::from(["a", "ab", "b", ""][random.below(4) as usize])),
    };
    Known {
        kind: KINDS[random.below(3) as usize],
        topic,
        tags: (0..random.below(3)).map(|_| random.below(4) as i64).collect(),
        unique: (random.below(3) == 0).then(|| random.below(12) as i64),
        strength: random.below(4) as f32 / 4.0,
        touched: 0,
    }
}

/// The order of values of different types.
fn order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Float(_) => 2,
        _ => 3,
    };
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        _ if rank(a) == 2 && rank(b) == 2 => a.as_f64().partial_cmp(&b.as_f64()).unwrap(),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn by_topic() -> Index {
    Index::on([attr("topic"), strength().desc()]).kinds(["note", "task"])
}

fn by_tag() -> Index {
    Index::on([attr_path(["tags", "n"]).desc()])
}

fn by_use() -> Index {
    Index::on([access_count().desc(), attr("topic").or("none")])
}

fn by_unique() -> Index {
    Index::on([attr("unique")]).unique()
}

/// Compares all indexes that can be read with what the nodes of the model give.
fn check(snapshot: &Snapshot, model: &BTreeMap<NodeId, Known>) {
    assert_eq!(snapshot.node_count(), model.len());
    let found = |name: &str| -> Option<Vec<NodeId>> {
        let ready = snapshot.index(name).is_some_and(|index| index.state == IndexState::Ready);
        if !ready {
            return None;
        }
        let entries = snapshot.query(name).entries().unwrap();
        let ids: Vec<NodeId> = entries.map(|entry| entry.unwrap().node.id()).collect();
        let mut back: Vec<NodeId> = snapshot
            .query(name)
            .rev()
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().node.id())
            .collect();
        back.reverse();
        assert_eq!(ids, back, "{name}");
        assert_eq!(snapshot.query(name).count().unwrap(), ids.len() as u64, "{name}");
        Some(ids)
    };
    if let Some(ids) = found("by_topic") {
        let mut expected: Vec<(&Value, f32, NodeId)> = model
            .iter()
            .filter(|(_, known)| known.kind != "event")
            .filter_map(|(id, known)| Some((known.topic.as_ref()?, known.strength, *id)))
            .collect();
        expected.sort_by(|a, b| {
            order(a.0, b.0).then(b.1.partial_cmp(&a.1).unwrap()).then(a.2.cmp(&b.2))
        });
        assert_eq!(ids, expected.iter().map(|(.., id)| *id).collect::<Vec<_>>());
        for value in [Value::from("a"), Value::from(0), Value::Null, Value::from(true)] {
            let equal = snapshot.query("by_topic").eq(value.clone()).count().unwrap();
            let same = expected.iter().filter(|(of, ..)| order(of, &value).is_eq());
            assert_eq!(equal, same.count() as u64, "{value}");
        }
        let from = snapshot.query("by_topic").from(0).count().unwrap();
        let of_numbers = expected.iter().filter(|(of, ..)| of.as_f64().is_some_and(|x| x >= 0.0));
        assert_eq!(from, of_numbers.count() as u64);
        let begins = snapshot.query("by_topic").starting_with("a").count().unwrap();
        let of_text =
            expected.iter().filter(|(of, ..)| of.as_str().is_some_and(|x| x.starts_with('a')));
        assert_eq!(begins, of_text.count() as u64);
    }
    if let Some(ids) = found("by_tag") {
        let mut expected: Vec<(i64, NodeId)> = Vec::new();
        for (id, known) in model {
            expected.extend(known.tags.iter().map(|tag| (-tag, *id)));
        }
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(ids, expected.iter().map(|(_, id)| *id).collect::<Vec<_>>());
        let below = snapshot.query("by_tag").below(2).count().unwrap();
        assert_eq!(below, expected.iter().filter(|(tag, _)| -tag < 2).count() as u64);
    }
    if let Some(ids) = found("by_use") {
        let none = Value::from("none");
        let mut expected: Vec<(u64, &Value, NodeId)> = model
            .iter()
            .map(|(id, known)| (known.touched, known.topic.as_ref().unwrap_or(&none), *id))
            .collect();
        expected.sort_by(|a, b| b.0.cmp(&a.0).then(order(a.1, b.1)).then(a.2.cmp(&b.2)));
        assert_eq!(ids, expected.iter().map(|(.., id)| *id).collect::<Vec<_>>());
    }
    if let Some(ids) = found("by_unique") {
        let mut expected: Vec<(i64, NodeId)> =
            model.iter().filter_map(|(id, known)| Some((known.unique?, *id))).collect();
        expected.sort_unstable();
        assert!(expected.is_sorted_by(|a, b| a.0 < b.0), "two nodes have the same key");
        assert_eq!(ids, expected.iter().map(|(_, id)| *id).collect::<Vec<_>>());
    }
}

/// One operation on the model, and the same for a batch. Returns whether it should be
/// refused.
fn change(
    random: &mut Random,
    model: &mut BTreeMap<NodeId, Known>,
    batch: &mut Batch,
    unique: bool,
) -> bool {
    let id = id_of_byte(random.below(40) as u8);
    match (random.below(8), model.get_mut(&id)) {
        (0..=2, _) | (_, None) => {
            let mut known = any(random);
            known.touched = model.get(&id).map_or(0, |old| old.touched);
            batch.put(node(id, &known));
            model.insert(id, known);
        }
        (3, Some(known)) => {
            batch.touch(id);
            known.touched += 1;
        }
        (4, Some(known)) => {
            let new = any(random);
            let mut patch = Patch::new().kind(new.kind).strength(new.strength);
            patch = match &new.topic {
                Some(topic) => patch.attribute("topic", topic.clone()),
                None => patch.remove_attribute("topic"),
            };
            batch.patch(id, patch);
            *known = Known {
                tags: known.tags.clone(),
                unique: known.unique,
                touched: known.touched,
                ..new
            };
        }
        (5, Some(known)) => {
            let value = random.below(12) as i64;
            batch.patch(id, Patch::new().attribute("unique", value));
            known.unique = Some(value);
        }
        (6, Some(_)) => {
            batch.expire(id, Some(Timestamp::from_micros(random.below(9) as i64)));
        }
        (_, Some(_)) => {
            batch.delete(id);
            model.remove(&id);
        }
    }
    let mut values: Vec<i64> = model.values().filter_map(|known| known.unique).collect();
    values.sort_unstable();
    unique && !values.is_sorted_by(|a, b| a < b)
}

/// Indexes are created, built, dropped and created again among changes, checkpoints
/// and reopenings.
#[test]
fn derived_indexes_are_those_of_the_nodes() {
    for seed in 1..=12 {
        let random = &mut Random(seed);
        let dir = temp_dir();
        let path = dir.path().join("s");
        let options =
            || Options::new().inline(true).partition_bytes(4096).durability(Durability::Os);
        let mut engine = options().open(&path).unwrap();
        let mut model = BTreeMap::new();
        for step in 0..160 {
            let unique = engine.snapshot().index("by_unique").is_some_and(|index| {
                index.state != IndexState::Building && !matches!(index.state, IndexState::Failed(_))
            });
            match random.below(20) {
                0 => {
                    engine.checkpoint().unwrap();
                }
                1 if step % 3 == 0 => {
                    engine.compact().unwrap();
                }
                2 => {
                    drop(engine);
                    engine = options().open(&path).unwrap();
                }
                3 => {
                    let (name, index) = [
                        ("by_topic", by_topic()),
                        ("by_tag", by_tag()),
                        ("by_use", by_use()),
                        ("by_unique", by_unique()),
                    ][random.below(4) as usize]
                        .clone();
                    if engine.snapshot().index(name).is_none() {
                        engine.create_index_on(name, index).unwrap();
                    } else if random.below(3) == 0 {
                        engine.drop_index(name).unwrap();
                    } else {
                        let values: Vec<_> =
                            model.values().filter_map(|known: &Known| known.unique).collect();
                        let mut set = values.clone();
                        set.sort_unstable();
                        set.dedup();
                        match engine.build_index(name) {
                            Ok(()) => {}
                            Err(Error::NotReady { why, .. }) => {
                                assert!(name == "by_unique" && why.contains("unique"), "{why}");
                                engine.drop_index(name).unwrap();
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                _ => {
                    let (mut next, mut batch) = (model.clone(), Batch::new());
                    let mut refused = false;
                    for _ in 0..=random.below(3) {
                        refused |= change(random, &mut next, &mut batch, unique);
                    }
                    match engine.write(batch) {
                        Ok(_) => {
                            assert!(!refused, "seed {seed}, step {step}: a second holder");
                            model = next;
                        }
                        // While it is built, it knows some of the holders.
                        Err(Error::Conflict {
                            reason: ConflictReason::Unique { index, holder },
                            node,
                            ..
                        }) => {
                            assert!(refused || !unique, "seed {seed}, step {step}");
                            assert_eq!(&*index, "by_unique");
                            assert!(holder != node);
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            check(&engine.snapshot(), &model);
        }
        for name in ["by_topic", "by_tag", "by_use"] {
            if engine.snapshot().index(name).is_some() {
                engine.build_index(name).unwrap();
            }
        }
        engine.compact().unwrap();
        check(&engine.snapshot(), &model);
        let report = engine.verify().unwrap();
        assert!(report.is_sound(), "{:?}", report.damage);
        // What was dropped left nothing.
        for name in ["by_topic", "by_tag", "by_use", "by_unique"] {
            if engine.snapshot().index(name).is_some() {
                engine.drop_index(name).unwrap();
            }
        }
        assert_eq!(engine.snapshot().key_count(), 0);
        engine.checkpoint().unwrap();
        assert_eq!(engine.snapshot().key_count(), 0);
        assert!(engine.verify().unwrap().is_sound());
    }
}

/// A key for an index that derives its own is refused before anything is queued.
#[test]
fn keys_of_derived_indexes_cannot_be_given() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    engine.create_index_on("by_topic", by_topic()).unwrap();
    let error =
        engine.write(Batch::new().put(Node::new(NodeId::new(), "note").key("by_topic", "a")));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    let again = engine.create_index_on("by_topic", by_topic().unique());
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(engine.create_index("by_topic").unwrap_err().kind(), ErrorKind::Invalid);
    engine.create_index_on("by_topic", by_topic()).unwrap();
    // What a copy of a node has does not hinder putting it again.
    let id = NodeId::new();
    engine.write(Batch::new().put(Node::new(id, "note").attribute("topic", "a"))).unwrap();
    let copy = engine.snapshot().get(id).unwrap().unwrap().to_node().unwrap();
    assert!(copy.keys.is_empty());
    engine.write(Batch::new().put(copy)).unwrap();
    assert_eq!(engine.snapshot().query("by_topic").eq("a").count().unwrap(), 1);
}

/// The engine's own thread builds an index, and writers go on meanwhile.
#[test]
fn an_index_over_a_full_store_is_built_in_the_background() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Options::new().durability(Durability::Os).open(&path).unwrap();
    let put = |n: u64| {
        Op::put(Node::new(NodeId::from_content(&n.to_le_bytes()), "note").attribute("n", n as i64))
    };
    engine.write((0..5_000).map(put).collect::<Batch>()).unwrap();
    engine.checkpoint().unwrap();
    engine.create_index_on("by_n", Index::on([attr("n")])).unwrap();
    let mut n = 5_000;
    while engine.snapshot().index("by_n").unwrap().state == IndexState::Building {
        let error = engine.snapshot().query("by_n").count().unwrap_err();
        // It may be ready since.
        assert!(error.kind() == ErrorKind::NotReady);
        engine.write(Batch::from(put(n))).unwrap();
        n += 1;
    }
    assert_eq!(engine.snapshot().query("by_n").count().unwrap(), n);
    let snapshot = engine.snapshot();
    let first = snapshot.query("by_n").above(17).first().unwrap().unwrap();
    assert_eq!(first.node.attributes().unwrap()["n"], Value::from(18));
    assert!(engine.verify().unwrap().is_sound());
}

/// A node that has no place in an index leaves it failed, and the store as it was.
#[test]
fn an_index_that_cannot_be_built_says_why() {
    let dir = temp_dir();
    let engine = Options::new().inline(true).open(dir.path().join("s")).unwrap();
    let long = "x".repeat(2_000);
    engine
        .write(Batch::new().put(Node::new(id_of_byte(1), "note").attribute("topic", long.as_str())))
        .unwrap();
    let before = engine.snapshot().seq();
    engine.create_index_on("by_topic", by_topic()).unwrap();
    let error = engine.build_index("by_topic").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotReady);
    assert!(error.to_string().contains(&id_of_byte(1).to_string()), "{error}");
    assert!(engine.snapshot().seq() > before);
    // With the index there, such a node is refused.
    engine.drop_index("by_topic").unwrap();
    engine.write(Batch::new().delete(id_of_byte(1))).unwrap();
    engine.create_index_on("by_topic", by_topic()).unwrap();
    let put = Batch::new().put(Node::new(id_of_byte(2), "note").attribute("topic", long)).clone();
    assert_eq!(engine.write(put).unwrap_err().kind(), ErrorKind::Invalid);
    let created = Index::on([created()]);
    engine.create_index_on("by_age", created).unwrap();
    engine.write(Batch::new().put(Node::new(id_of_byte(3), "note"))).unwrap();
    assert_eq!(engine.snapshot().query("by_age").count().unwrap(), 1);
}

/// Sixteen writers want the same values: each is given once, and a refusal names who
/// has it.
#[test]
fn a_unique_key_is_given_once_among_many_writers() {
    let dir = temp_dir();
    let engine = Options::new().durability(Durability::Os).open(dir.path().join("s")).unwrap();
    engine.create_index_on("by_unique", by_unique()).unwrap();
    let given = std::sync::Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for writer in 0..16_u64 {
            let (engine, given) = (&engine, &given);
            scope.spawn(move || {
                let random = &mut Random(writer);
                for _ in 0..60 {
                    let value = random.below(50) as i64;
                    let id = NodeId::new();
                    match engine
                        .write(Batch::new().put(Node::new(id, "note").attribute("unique", value)))
                    {
                        Ok(_) => {
                            let before = given.lock().unwrap().insert(value, id);
                            assert_eq!(before, None, "{value} was given twice");
                        }
                        Err(Error::Conflict {
                            node,
                            reason: ConflictReason::Unique { holder, .. },
                            ..
                        }) => {
                            assert_eq!(node, id);
                            let snapshot = engine.snapshot();
                            let has = snapshot.get(holder).unwrap().unwrap();
                            assert_eq!(has.attributes().unwrap()["unique"], Value::from(value));
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let given = given.into_inner().unwrap();
    let snapshot = engine.snapshot();
    let found: Vec<NodeId> = snapshot
        .query("by_unique")
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().node.id())
        .collect();
    assert_eq!(found, given.into_values().collect::<Vec<_>>());
    assert!(engine.verify().unwrap().is_sound());
}

/// The keys of an index are those of the nodes, and its entries can be counted.
#[cfg(feature = "sim")]
fn is_right(engine: &Engine, name: &str) -> Result<(), String> {
    let snapshot = engine.snapshot();
    let mut expected: Vec<(i64, NodeId)> = Vec::new();
    for node in snapshot.scan_all() {
        let node = node.map_err(|error| error.to_string())?;
        let attributes = node.attributes().map_err(|error| error.to_string())?;
        expected.extend(attributes.get("n").and_then(Value::as_i64).map(|n| (n, node.id())));
    }
    expected.sort_unstable();
    let entries = snapshot.query(name).entries().map_err(|error| error.to_string())?;
    let found: Vec<NodeId> = entries.map(|entry| entry.unwrap().node.id()).collect();
    let right = expected.iter().map(|(_, id)| *id).eq(found.iter().copied())
        && snapshot.query(name).count().unwrap() == found.len() as u64;
    if right { Ok(()) } else { Err(format!("{} of {} nodes found", found.len(), expected.len())) }
}

/// At every point at which a crash may happen while an index is built, renamed,
/// dropped and created again among writes and checkpoints, the store opens, the index
/// can be built to its end, and has the keys of the nodes.
#[cfg(feature = "sim")]
#[test]
fn an_index_survives_a_crash_at_every_point() {
    use ingrain::sim::{Points, SimDisk, explore};

    use crate::harness::disks::on_disk;

    let options = |disk: &SimDisk| {
        on_disk(disk, Options::new().wal_bytes(4 << 10).write_chunk_bytes(8 << 10))
    };
    let put = |n: u64| {
        Op::put(
            Node::new(NodeId::from_content(&n.to_le_bytes()), KINDS[n as usize % 3])
                .attribute("n", (n * 7 % 64) as i64),
        )
    };
    let by_n = || Index::on([attr("n")]);
    let workload = |disk: &SimDisk| {
        let engine = options(disk).open("/s").unwrap();
        let sync = |ops: Vec<Op>| {
            let mut batch = Batch::from_iter(ops);
            let seq = engine.write(batch.durability(Durability::Sync)).unwrap();
            disk.mark(seq.get());
        };
        // More nodes than a step of building takes.
        sync((0..700).map(put).collect());
        engine.checkpoint().unwrap();
        disk.mark(engine.create_index_on("by_n", by_n()).unwrap().get());
        for n in 700..706 {
            sync(vec![put(n), Op::delete(NodeId::from_content(&(n - 650).to_le_bytes()))]);
        }
        engine.build_index("by_n").unwrap();
        disk.mark(engine.rename_index("by_n", "by_number").unwrap().get());
        engine.checkpoint().unwrap();
        disk.mark(engine.drop_index("by_number").unwrap().get());
        sync(vec![put(1)]);
        engine.checkpoint().unwrap();
        disk.mark(engine.create_index_on("by_n", by_n()).unwrap().get());
        sync(vec![put(706)]);
    };
    let explored = explore(Points::Boundaries, 1, workload, |crash| {
        let engine = options(&crash.disk).open("/s").map_err(|error| error.to_string())?;
        let seq = engine.snapshot().seq().get();
        if crash.marks.last().is_some_and(|mark| seq < *mark) {
            return Err(format!("{seq} is before {:?}", crash.marks));
        }
        let names: Vec<String> =
            engine.snapshot().indexes().map(|index| index.name.to_owned()).collect();
        for name in names {
            engine.build_index(&name).map_err(|error| error.to_string())?;
            is_right(&engine, &name)?;
            engine
                .write(Batch::from_iter([put(3), put(800)]))
                .map_err(|error| error.to_string())?;
            engine.checkpoint().map_err(|error| error.to_string())?;
            is_right(&engine, &name)?;
        }
        let damage = engine.verify().unwrap().damage;
        if damage.is_empty() { Ok(()) } else { Err(format!("{damage:?}")) }
    });
    let explored = explored.unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.crashes > 100, "{explored:?}");
}

/// A kind that gets another name keeps its keys, in the index and in what comes.
#[test]
fn a_renamed_kind_stays_in_the_indexes_of_it() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    let note = |n: u8, kind: &str| Node::new(id_of_byte(n), kind).attribute("topic", "a");
    engine.write(Batch::new().put(note(1, "note")).put(note(2, "event"))).unwrap();
    engine.create_index_on("by_topic", by_topic()).unwrap();
    engine.build_index("by_topic").unwrap();
    engine.rename_kind("note", "memo").unwrap();
    engine.write(Batch::new().put(note(3, "memo")).put(note(4, "note"))).unwrap();
    let check = |engine: &Engine| {
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.query("by_topic").eq("a").count().unwrap(), 2);
        let index = snapshot.index("by_topic").unwrap();
        assert!(index.definition.unwrap().of_kinds().eq(["memo", "task"]));
        assert!(engine.verify().unwrap().is_sound());
    };
    check(&engine);
    drop(engine);
    let engine = Engine::open(&path).unwrap();
    check(&engine);
    engine.compact().unwrap();
    check(&engine);
}

/// A node that has no place in one index is no hindrance to another that is built at
/// the same time, nor to a repair, which makes of the store what it was.
#[test]
fn an_index_that_cannot_be_built_hinders_nothing_else() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Options::new().inline(true).open(&path).unwrap();
    let many: Vec<i64> = (0..2_000).collect();
    let odd = Node::new(id_of_byte(1), "note").attribute("n", 1).attribute("many", many);
    engine.write(Batch::new().put(odd)).unwrap();
    for n in 2..9_u8 {
        let node = Node::new(id_of_byte(n), "note").attribute("n", i64::from(n) % 5);
        engine.write(Batch::new().put(node)).unwrap();
    }
    let mut batch = Batch::new();
    for (name, index) in [
        ("by_many", Index::on([attr("many")])),
        ("by_n", Index::on([attr("n")])),
        ("by_one", Index::on([attr("n")]).unique()),
    ] {
        batch.push(Op::CreateIndex { name: name.to_owned(), index: Some(index) });
    }
    engine.write(batch).unwrap();
    engine.build_index("by_n").unwrap();
    for (name, why) in [("by_many", "index keys of a node"), ("by_one", "unique")] {
        let error = engine.build_index(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotReady);
        assert!(error.to_string().contains(why), "{error}");
    }
    let check = |engine: &Engine| {
        let snapshot = engine.snapshot();
        assert_eq!((snapshot.node_count(), snapshot.query("by_n").count().unwrap()), (8, 8));
        for name in ["by_many", "by_one"] {
            let state = snapshot.index(name).unwrap().state;
            assert!(matches!(state, IndexState::Failed(_)), "{name}: {state}");
        }
        assert!(engine.verify().unwrap().is_sound());
    };
    check(&engine);
    engine.checkpoint().unwrap();
    drop(engine);
    check(&Options::new().inline(true).open(&path).unwrap());
    let mended = dir.path().join("mended");
    let report = Options::new().repair(&path, &mended, &mut |_, _| {}).unwrap();
    assert_eq!((report.lost, report.missing.keys, report.nodes), (Vec::new(), 0, 8));
    check(&Engine::open(&mended).unwrap());
}

/// A step of building is bounded, and stands alone.
#[test]
fn a_step_of_building_is_bounded() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    let step = |nodes| Op::BuildIndex { name: "by_topic".to_owned(), nodes };
    engine.write(Batch::from(step(4_096))).unwrap();
    assert_eq!(engine.write(Batch::from(step(4_097))).unwrap_err().kind(), ErrorKind::Limit);
    let two = Batch::from_iter([step(1), step(1)]);
    assert_eq!(engine.write(two).unwrap_err().kind(), ErrorKind::Invalid);
}
