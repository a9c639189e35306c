//! Kinds, indexes and vector spaces that get other names, and spaces that are
//! replaced: whatever happens meanwhile.
#![cfg(feature = "sim")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use ingrain::{
    Batch, Cursor, Direction, Edge, Engine, ErrorKind, KeyRange, Method, Metric, Named, Node,
    NodeId, Op, Options, Patch, Snapshot, Space,
    index::{self, Index, attr},
    search::Filter,
    sim::{Failure, Loss, Points, SimDisk},
};

use crate::harness::{disks::on_disk, nodes::id, random::Random};

const DIR: &str = "/s";

fn options(disk: &SimDisk) -> Options {
    // With every few writes a checkpoint begins, and goes on with the next ones.
    let options = Options::new().wal_bytes(4 << 10).write_chunk_bytes(8 << 10).index_rows(1);
    on_disk(disk, options.tiny_partition_bytes(128))
}

fn open(disk: &SimDisk) -> Engine {
    options(disk).open(DIR).unwrap()
}

/// All that a snapshot shows, by names.
fn shown(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let kinds: BTreeSet<&str> = snapshot.kinds().collect();
    let mut seen = 0;
    for kind in kinds {
        for node in snapshot.scan(kind) {
            let node = node.unwrap();
            assert_eq!(node.kind(), kind);
            let exact = node.to_exact_node().unwrap();
            writeln!(text, "{exact:?}").unwrap();
            seen += 1;
            for edge in snapshot.edges_out(node.id()) {
                writeln!(text, "{:?}", edge.unwrap().to_exact_edge().unwrap()).unwrap();
            }
        }
    }
    assert_eq!(seen, snapshot.node_count());
    let indexes: BTreeSet<&str> = snapshot.indexes().map(|index| index.name).collect();
    for index in indexes {
        let entries = snapshot.range(index, KeyRange::all(), Direction::Ascending).unwrap();
        let entries: Vec<_> =
            entries.map(|entry| entry.unwrap()).map(|e| (e.key.to_vec(), e.node.id())).collect();
        writeln!(text, "{index} {entries:?}").unwrap();
    }
    for (name, space) in snapshot.spaces() {
        let query: Vec<f32> = (1..=space.dimension).map(|n| n as f32).collect();
        let hits = snapshot.nearest(name, &query, 100, &Filter::new()).unwrap();
        let hits: Vec<_> = hits.iter().map(|hit| (hit.distance, hit.node.id())).collect();
        writeln!(text, "{name} {space:?} {hits:?}").unwrap();
    }
    text
}

/// What the nodes of a store have, by names.
#[derive(Debug, Default, Clone)]
struct Model {
    /// Kind, index of its key, spaces of its vectors.
    nodes: BTreeMap<u64, (String, Option<String>, BTreeSet<String>)>,
    edges: BTreeSet<(u64, String, u64)>,
    indexes: BTreeSet<String>,
    /// Dimension.
    spaces: BTreeMap<String, usize>,
}

impl Model {
    fn rename(&mut self, what: Named, from: &str, to: &str) {
        match what {
            Named::Kind => {
                for (kind, ..) in self.nodes.values_mut().filter(|(kind, ..)| kind == from) {
                    to.clone_into(kind);
                }
                let edges = std::mem::take(&mut self.edges).into_iter();
                let edges = edges
                    .map(|(a, kind, b)| (a, if kind == from { to.to_owned() } else { kind }, b));
                self.edges = edges.collect();
            }
            Named::Index => {
                assert!(self.indexes.remove(from) && self.indexes.insert(to.to_owned()));
                for (_, index, _) in self.nodes.values_mut() {
                    if index.as_deref() == Some(from) {
                        *index = Some(to.to_owned());
                    }
                }
            }
            _ => {
                let dimension = self.spaces.remove(from).unwrap();
                assert!(self.spaces.insert(to.to_owned(), dimension).is_none());
                for (_, _, spaces) in self.nodes.values_mut() {
                    if spaces.remove(from) {
                        spaces.insert(to.to_owned());
                    }
                }
            }
        }
    }

    fn drop_space(&mut self, name: &str) {
        self.spaces.remove(name).unwrap();
        for (_, _, spaces) in self.nodes.values_mut() {
            spaces.remove(name);
        }
    }

    fn check(&self, snapshot: &Snapshot) {
        assert_eq!(snapshot.node_count(), self.nodes.len());
        assert_eq!(snapshot.edge_count(), self.edges.len());
        for (n, (kind, index, spaces)) in &self.nodes {
            let node = snapshot.get(id(*n)).unwrap().unwrap().to_exact_node().unwrap();
            assert_eq!(node.kind, *kind);
            assert_eq!(node.keys.first().map(|key| &key.index), index.as_ref());
            assert!(node.vectors.keys().eq(spaces), "{:?}, {spaces:?}", node.vectors);
            let of_kind = self.edges.iter().filter(|(from, of, _)| from == n && of == kind);
            assert_eq!(snapshot.edges_out(id(*n)).kind(kind).count(), of_kind.count());
        }
        for index in &self.indexes {
            let entries = snapshot.range(index, .., Direction::Ascending).unwrap().count();
            let nodes = self.nodes.values().filter(|(_, of, _)| of.as_ref() == Some(index));
            assert_eq!(entries, nodes.count());
        }
        let spaces = snapshot.spaces().map(|(name, space)| (name.to_owned(), space.dimension));
        assert_eq!(spaces.collect::<BTreeMap<_, _>>(), self.spaces);
        for (name, dimension) in &self.spaces {
            let query = vec![1.0; *dimension];
            let hits = snapshot.nearest(name, &query, 100, &Filter::new()).unwrap();
            let nodes = self.nodes.values().filter(|(.., spaces)| spaces.contains(name));
            assert_eq!(hits.len(), nodes.count());
        }
    }
}

fn name(of: &str, n: u64) -> String {
    format!("{of}{n}")
}

const NAMES: u64 = 4;

/// One step of a workload. Returns whether it was a commit.
fn step(engine: &Engine, model: &mut Model, random: &mut Random) -> bool {
    let snapshot = engine.snapshot();
    let one_of = |names: Vec<String>, random: &mut Random| -> Option<String> {
        let at = random.below(names.len().max(1) as u64) as usize;
        names.get(at).cloned()
    };
    let free = |of: &str, taken: &dyn Fn(&str) -> bool| {
        (0..NAMES).map(|n| name(of, n)).find(|name| !taken(name))
    };
    let known = |kind: &str| snapshot.kinds().any(|known| known == kind);
    let mut batch = Batch::new();
    let mut next = model.clone();
    let n = random.below(6);
    match random.below(14) {
        0..=3 => {
            let kind = name("k", random.below(NAMES));
            let mut node = Node::new(id(n), &*kind);
            let index = one_of(model.indexes.iter().cloned().collect(), random);
            if let Some(index) = &index {
                node = node.key(index, [n as u8]);
            }
            let space = one_of(model.spaces.keys().cloned().collect(), random);
            if let Some(space) = &space {
                node = node.vector(space, vec![n as f32 + 1.0; model.spaces[space]]);
            }
            next.nodes.insert(n, (kind, index, space.into_iter().collect()));
            batch.put(node);
        }
        4 => {
            next.nodes.remove(&n);
            next.edges.retain(|(from, _, to)| *from != n && *to != n);
            batch.delete(id(n));
        }
        5 => {
            let (to, kind) = (random.below(6), name("k", random.below(NAMES)));
            if !model.nodes.contains_key(&n) || !model.nodes.contains_key(&to) {
                return false;
            }
            batch.link(Edge::new(id(n), &*kind, id(to)));
            next.edges.insert((n, kind, to));
        }
        // A kind gets another name, and the old one is used again at once.
        6 | 7 => {
            let from = one_of(snapshot.kinds().map(str::to_owned).collect(), random);
            let (Some(from), Some(to)) = (from, free("k", &known)) else { return false };
            batch.rename(Named::Kind, &*from, &*to);
            next.rename(Named::Kind, &from, &to);
            if random.below(2) == 0 {
                batch.put(Node::new(id(n), &*from));
                next.nodes.insert(n, (from.clone(), None, BTreeSet::new()));
            }
            let there = model.nodes.values().any(|(kind, ..)| *kind == from)
                || model.edges.iter().any(|(_, kind, _)| *kind == from);
            match engine.write(batch) {
                Ok(_) => *model = next,
                // A checkpoint has found meanwhile that nothing has it.
                Err(error) => {
                    assert!(!there && error.kind() == ErrorKind::Invalid, "{from} {to}: {error}");
                    return false;
                }
            }
            return true;
        }
        8 => {
            let from = one_of(model.indexes.iter().cloned().collect(), random);
            let to = free("i", &|name| model.indexes.contains(name));
            match (from, to) {
                (Some(from), Some(to)) if model.indexes.len() > 1 => {
                    batch.rename(Named::Index, &*from, &*to);
                    next.rename(Named::Index, &from, &to);
                    // Known by its new name only.
                    batch.put(Node::new(id(n), "k0").key(&*to, [n as u8]));
                    next.nodes.insert(n, ("k0".to_owned(), Some(to), BTreeSet::new()));
                }
                (_, Some(new)) => {
                    batch.push(Op::CreateIndex { name: new.clone(), index: None });
                    next.indexes.insert(new);
                }
                _ => return false,
            }
        }
        9 => {
            let Some(new) = free("s", &|name| model.spaces.contains_key(name)) else {
                return false;
            };
            let dimension = 2 + random.below(2) as usize;
            batch.push(Op::CreateSpace {
                name: new.clone(),
                space: Space::new(dimension, Metric::L2),
            });
            batch.push(Op::SetMethod { name: new.clone(), method: Method::Pq8 });
            next.spaces.insert(new, dimension);
        }
        10 | 11 => {
            let names: Vec<String> = model.spaces.keys().cloned().collect();
            let [first, .., last] = &names[..] else { return false };
            let (old, with) = if n.is_multiple_of(2) { (first, last) } else { (last, first) };
            next.drop_space(old);
            next.rename(Named::Space, with, old);
            if n < 3 {
                engine.replace_space(old, with).unwrap();
                *model = next;
                return true;
            }
            batch.push(Op::DropSpace { name: old.clone() });
            batch.rename(Named::Space, with, old);
            if let Some((_, _, spaces)) = next.nodes.get_mut(&n) {
                batch.patch(id(n), Patch::new().vector(old, vec![7.0; next.spaces[old]]));
                spaces.insert(old.clone());
            }
        }
        12 => {
            let names: Vec<String> = model.spaces.keys().cloned().collect();
            let [a, b, ..] = &names[..] else { return false };
            for (from, to) in [(&**a, "between"), (b, a), ("between", b)] {
                batch.rename(Named::Space, from, to);
                next.rename(Named::Space, from, to);
            }
        }
        _ => {
            let names: Vec<String> = snapshot.kinds().map(str::to_owned).collect();
            let used = |kind: &String| model.nodes.values().any(|(of, ..)| of == kind);
            let names: Vec<String> = names.into_iter().filter(used).collect();
            let [a, b, ..] = &names[..] else { return false };
            for (from, to) in [(&**a, "between"), (b, a), ("between", b)] {
                batch.rename(Named::Kind, from, to);
                next.rename(Named::Kind, from, to);
            }
        }
    }
    engine.write(batch).unwrap();
    *model = next;
    true
}

/// Runs a workload, and opens the store after each crash of it. Returns how many
/// there were.
fn crashes(seed: u64, steps: usize) -> usize {
    let disk = SimDisk::new();
    let mut engine = open(&disk);
    let (mut model, mut random) = (Model::default(), Random(seed));
    // By sequence number.
    let mut states = vec![shown(&engine.snapshot())];
    let mut held = Vec::new();
    for at in 0..steps {
        if step(&engine, &mut model, &mut random) {
            states.push(shown(&engine.snapshot()));
            assert_eq!(engine.snapshot().seq().get() as usize, states.len() - 1);
            disk.mark(states.len() as u64 - 1);
        }
        match random.below(24) {
            0 | 1 => drop(engine.checkpoint().unwrap()),
            2 => drop(engine.compact().unwrap()),
            3 => {
                drop(engine);
                engine = open(&disk);
            }
            4 => {
                engine.close().unwrap();
                drop(engine);
                engine = open(&disk);
            }
            _ => {}
        }
        model.check(&engine.snapshot());
        assert_eq!(shown(&engine.snapshot()), states[states.len() - 1], "step {at}");
        if at % 5 == 0 {
            held.push((engine.snapshot(), states.len() - 1));
        }
    }
    for (snapshot, seq) in held {
        assert_eq!(shown(&snapshot), states[seq], "a snapshot keeps its names");
    }
    assert!(engine.verify().unwrap().is_sound());
    let mut tried = 0;
    for crash in disk.crashes(Points::Boundaries, 1) {
        tried += 1;
        let engine = match options(&crash.disk).open(DIR) {
            Ok(engine) => engine,
            Err(error) => panic!("seed {seed}, point {}, {:?}: {error}", crash.point, crash.loss),
        };
        let seq = engine.snapshot().seq().get();
        assert!(seq >= crash.marks.last().copied().unwrap_or(0));
        let place = || format!("seed {seed}, point {}, {:?}", crash.point, crash.loss);
        assert_eq!(shown(&engine.snapshot()), states[seq as usize], "{}", place());
        if tried % 7 == 0 {
            engine.checkpoint().unwrap();
            assert_eq!(shown(&engine.snapshot()), states[seq as usize], "{}", place());
        }
    }
    tried
}

#[test]
fn every_crash_of_renames_is_survived() {
    let tried: usize = (1..=2).map(|seed| crashes(seed, 50)).sum();
    println!("{tried} crashes");
    assert!(tried > 250, "{tried} crashes");
}

#[test]
fn a_rename_is_refused_without_the_old_name_or_with_a_taken_one() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let space = Space::new(2, Metric::L2);
    for name in ["a", "b"] {
        engine.create_index(name).unwrap();
        engine.create_space(name, space).unwrap();
        engine.write(Batch::new().put(Node::new(NodeId::new(), name))).unwrap();
    }
    let seq = engine.snapshot().seq();
    let refused = |answer: ingrain::Result<ingrain::Seq>, what: &str| {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(what), "{error}");
    };
    refused(engine.rename_kind("none", "c"), "kind \"none\": the store has none of that name");
    refused(engine.rename_index("none", "c"), "index \"none\": the store has none of that name");
    refused(engine.rename_space("none", "c"), "vector space \"none\"");
    refused(engine.rename_kind("a", "b"), "\"a\": it cannot be renamed to \"b\", which the store");
    refused(engine.rename_index("a", "b"), "which the store has already");
    refused(engine.rename_space("a", "b"), "which the store has already");
    refused(engine.rename_space("a", "a"), "which the store has already");
    refused(engine.rename_kind("a", ""), "kind");
    refused(engine.replace_space("a", "none"), "vector space \"none\"");
    refused(engine.replace_space("none", "a"), "vector space \"none\"");
    refused(engine.replace_space("a", "a"), "vector space \"a\"");
    let mut batch = Batch::new();
    batch.rename(Named::Index, "a", "c").put(Node::new(id(1), "n").key("a", "1"));
    refused(engine.write(batch), "index \"a\"");
    assert_eq!(engine.snapshot().seq(), seq);
    assert!(engine.snapshot().indexes().map(|index| index.name).eq(["a", "b"]));
    // What a batch makes it can rename, and what it renames it can use.
    let mut batch = Batch::new();
    batch.push(Op::CreateSpace { name: "new".to_owned(), space: Space::new(3, Metric::L2) });
    batch.push(Op::CreateIndex { name: "new".to_owned(), index: None });
    batch.put(Node::new(id(2), "new")).rename(Named::Kind, "new", "newer");
    batch.rename(Named::Space, "new", "newer").rename(Named::Index, "new", "newer");
    let node = Node::new(id(3), "newer").vector("newer", [1.0; 3]).key("newer", "1");
    batch.put(node).put(Node::new(id(4), "new"));
    engine.write(batch).unwrap();
    let check = |engine: &Engine| {
        let snapshot = engine.snapshot();
        assert!(snapshot.kinds().eq(["a", "b", "newer", "new"]));
        assert_eq!((snapshot.scan("newer").count(), snapshot.scan("new").count()), (2, 1));
        assert!(snapshot.indexes().map(|index| index.name).eq(["a", "b", "newer"]));
    };
    check(&engine);
    drop(engine);
    check(&open(&disk));
}

/// The keys of such an index have the kind by name.
#[test]
fn a_kind_is_not_renamed_below_an_index_on_kinds() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    engine.write(Batch::new().put(Node::new(id(1), "old")).put(Node::new(id(2), "m"))).unwrap();
    engine.create_index_on("kinds", Index::on([attr("n").or(0), index::kind()]).unique()).unwrap();
    engine.build_index("kinds").unwrap();
    let above = |engine: &Engine| {
        let snapshot = engine.snapshot();
        let found = snapshot.select(attr("n").or(0).eq(0).and(index::kind().ge("zz")));
        found.nodes().unwrap().map(|node| node.unwrap().id()).collect::<Vec<_>>()
    };
    let seq = engine.snapshot().seq();
    let error = engine.rename_kind("old", "zz").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("index \"kinds\""), "{error}");
    let mut batch = Batch::new();
    let definition = Some(Index::on([index::kind()]));
    batch.push(Op::CreateIndex { name: "more".to_owned(), index: definition });
    batch.rename(Named::Kind, "old", "zz");
    assert_eq!(engine.write(batch).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!((engine.snapshot().seq(), above(&engine)), (seq, Vec::new()));
    // Without the index it is renamed, and the index is made anew.
    engine.drop_index("kinds").unwrap();
    engine.rename_kind("old", "zz").unwrap();
    engine.create_index_on("kinds", Index::on([attr("n").or(0), index::kind()]).unique()).unwrap();
    engine.build_index("kinds").unwrap();
    assert_eq!(above(&engine), [id(1)]);
    engine.checkpoint().unwrap();
    assert!(engine.verify().unwrap().is_sound());
    assert!(engine.write(Batch::new().put(Node::new(id(3), "zz"))).is_err());
    engine.write(Batch::new().put(Node::new(id(4), "old"))).unwrap();
}

/// A checkpoint that failed when its manifest may be on the disk, and a kind that
/// this manifest does not name, since nothing has it: the log renames it.
#[test]
fn a_rename_of_a_kind_that_a_lost_checkpoint_dropped_is_replayed() {
    let mut renamed = 0;
    for n in 1.. {
        let disk = SimDisk::new();
        let engine = open(&disk);
        engine
            .write(Batch::new().put(Node::new(id(1), "gone")).put(Node::new(id(2), "n")))
            .unwrap();
        engine.checkpoint().unwrap();
        engine.write(Batch::new().delete(id(1))).unwrap();
        let before: u64 = disk.calls().values().sum();
        disk.fail(n, None, Failure::Io, false);
        let made = engine.checkpoint();
        let calls = disk.calls().values().sum::<u64>() - before;
        disk.heal();
        let mut batch = Batch::new();
        batch.rename(Named::Kind, "gone", "back").put(Node::new(id(3), "back"));
        batch.rename(Named::Kind, "back", "again").put(Node::new(id(4), "gone"));
        match engine.write(batch) {
            Ok(_) => renamed += 1,
            // The checkpoint has succeeded.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{error}, {made:?}"),
        }
        let expected = shown(&engine.snapshot());
        for loss in [Loss::Nothing, Loss::All] {
            let left = disk.crash(loss, n);
            let engine = open(&left);
            assert_eq!(shown(&engine.snapshot()), expected, "call {n}");
            engine.checkpoint().unwrap();
            assert_eq!(shown(&engine.snapshot()), expected, "call {n}");
        }
        engine.checkpoint().unwrap();
        assert_eq!(shown(&engine.snapshot()), expected, "call {n}");
        if n > calls {
            break;
        }
    }
    assert!(renamed > 10, "{renamed}");
}

#[test]
fn cursors_backups_repairs_and_digests_follow_the_names() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    engine.create_index("time").unwrap();
    let nodes = (0..6).map(|n| Op::put(Node::new(id(n), "memo").key("time", [n as u8])));
    engine.write(nodes.collect::<Batch>()).unwrap();
    let cursors = |engine: &Engine, kind: &str, index: &str| -> [Cursor; 3] {
        let snapshot = engine.snapshot();
        let (mut all, mut of_kind) = (snapshot.scan_all(), snapshot.scan(kind));
        let mut entries = snapshot.range(index, .., Direction::Ascending).unwrap();
        assert!(all.nth(1).is_some() && of_kind.nth(1).is_some() && entries.nth(1).is_some());
        [all.cursor().unwrap(), of_kind.cursor().unwrap(), entries.cursor().unwrap()]
    };
    let [all, of_kind, of_index] = cursors(&engine, "memo", "time");
    let digest = engine.snapshot().digest().unwrap();
    engine.rename_kind("memo", "note").unwrap();
    engine.rename_index("time", "timeline").unwrap();
    let snapshot = engine.snapshot();
    assert_ne!(snapshot.digest().unwrap(), digest, "names are part of the content");
    assert_eq!(snapshot.scan_all().after(&all).unwrap().count(), 4);
    assert_eq!(snapshot.scan("note").after(&of_kind).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(snapshot.scan("memo").after(&of_kind).unwrap().count(), 0);
    let entries = snapshot.range("timeline", .., Direction::Ascending).unwrap();
    assert_eq!(entries.after(&of_index).unwrap_err().kind(), ErrorKind::Invalid);
    // A store that was made with the new names has the same content.
    let digest = snapshot.digest().unwrap();
    let other = options(&disk).open("/other").unwrap();
    other.create_index("timeline").unwrap();
    let copies = snapshot.scan_all().map(|node| Op::put(node.unwrap().to_exact_node().unwrap()));
    other.write(copies.collect::<Batch>()).unwrap();
    assert_eq!(other.snapshot().digest().unwrap(), digest);
    // The log renames; in part of it, a kind that no node has any more.
    engine.write(Batch::new().put(Node::new(id(9), "short"))).unwrap();
    engine.write(Batch::new().delete(id(9))).unwrap();
    engine.rename_kind("short", "long").unwrap();
    drop(engine);
    let report = options(&disk).repair(DIR, "/repaired", &mut |_, _| {}).unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(options(&disk).open("/repaired").unwrap().snapshot().digest().unwrap(), digest);
    let engine = open(&disk);
    engine.backup("/backup").unwrap();
    let copy = options(&disk).open("/backup").unwrap();
    assert_eq!(copy.snapshot().digest().unwrap(), digest);
    assert!(copy.verify().unwrap().is_sound() && engine.verify().unwrap().is_sound());
    assert_eq!(copy.snapshot().scan("note").count(), 6);
}

/// A space of another dimension takes the place of one that serves meanwhile.
#[test]
fn a_space_is_replaced_while_it_serves() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    engine.create_space("text", Space::new(2, Metric::Cosine)).unwrap();
    let old = |n: u64| [n as f32 + 1.0, 40.0 - n as f32];
    let nodes = (0..40).map(|n| Op::put(Node::new(id(n), "note").vector("text", old(n))));
    engine.write(nodes.collect::<Batch>()).unwrap();
    engine.checkpoint().unwrap();
    let first = |snapshot: &Snapshot, query: &[f32]| {
        snapshot.nearest("text", query, 1, &Filter::new()).map(|hits| hits[0].node.id())
    };
    let new = |n: u64| [40.0 - n as f32, n as f32 + 1.0, (n * n % 11) as f32];
    engine.create_space("text-new", Space::new(3, Metric::L2)).unwrap();
    for part in 0..4 {
        let patches = (0..10).map(|n| part * 10 + n);
        let patches = patches.map(|n| Op::patch(id(n), Patch::new().vector("text-new", new(n))));
        engine.write(patches.collect::<Batch>()).unwrap();
        assert_eq!(first(&engine.snapshot(), &old(7)).unwrap(), id(7));
        if part == 1 {
            engine.checkpoint().unwrap();
        }
    }
    let before = engine.snapshot();
    engine.replace_space("text", "text-new").unwrap();
    let check = |engine: &Engine| {
        let snapshot = engine.snapshot();
        assert!(snapshot.spaces().eq([("text", Space::new(3, Metric::L2))]));
        for n in 0..40 {
            assert_eq!(first(&snapshot, &new(n)).unwrap(), id(n));
            let node = snapshot.get(id(n)).unwrap().unwrap();
            assert_eq!(node.vector("text").unwrap(), Some(&new(n)[..]));
            assert_eq!(node.vector("text-new").unwrap(), None);
        }
        assert_eq!(first(&snapshot, &old(7)).unwrap_err().kind(), ErrorKind::Invalid);
    };
    check(&engine);
    assert_eq!(engine.stats().vectors, 40);
    engine.compact().unwrap();
    check(&engine);
    assert_eq!(first(&before, &old(7)).unwrap(), id(7), "a snapshot keeps the old vectors");
    assert!(engine.verify().unwrap().is_sound());
    drop((before, engine));
    let engine = open(&disk);
    check(&engine);
    // A new index of codes comes under the new name.
    engine.rebuild(Some("text")).unwrap();
    check(&engine);
    // Its old name is free, also for the same again.
    engine.create_space("text-new", Space::new(2, Metric::Dot)).unwrap();
    assert_eq!(engine.snapshot().spaces().count(), 2);
}
