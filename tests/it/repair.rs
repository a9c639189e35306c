//! What a repair salvages from damaged stores, and what it reports as lost.
#![allow(clippy::disallowed_methods, reason = "damages the files of stores")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use ingrain::{
    Batch, Direction, Durability, Edge, Engine, ErrorKind, KeyRange, Metric, Node, NodeId, Op,
    Options, Patch, Seq, Snapshot, Space, Timestamp,
    admin::{LossItem, RepairReport},
};
use proptest::{collection::vec, prelude::*};
use tempfile::TempDir;

use crate::harness::{
    any::any_op,
    dirs::temp_dir,
    files::{overwrite, read_image},
    nodes::id,
    seal,
};

const NODES: u64 = 400;
const DIMENSION: usize = 64;

fn options() -> Options {
    Options::new()
        .space("text", Space::new(DIMENSION, Metric::L2))
        .space("small", Space::new(2, Metric::Cosine))
        .index("by")
        .index("other")
        .partition_bytes(8 << 10)
}

fn node(n: u64) -> Node {
    let mut node = Node::new(id(n), if n.is_multiple_of(3) { "note" } else { "event" })
        .content(vec![n as u8; (n as usize * 7) % 300])
        .attribute("n", n as i64)
        .key("by", n.to_be_bytes());
    if n.is_multiple_of(2) {
        node = node.vector("text", vec![n as f32; DIMENSION]).key("other", [1, 2]);
    }
    if n.is_multiple_of(5) {
        node = node.vector("small", [1.0, n as f32]);
    }
    node.strength = n as f32 / 2.0;
    node.confidence = 0.25;
    node.created = Some(Timestamp::from_micros(n as i64));
    node.access_count = Some(n);
    node.expires = n.is_multiple_of(7).then(|| Timestamp::from_micros(n as i64 + 1_000)).into();
    node
}

fn edge(n: u64) -> Edge {
    let kind = if n.is_multiple_of(2) { "near" } else { "after" };
    let edge = Edge::new(id(n), kind, id((n * 31 + 7) % NODES)).weight(n as f64).discriminator(n);
    if n.is_multiple_of(3) { edge } else { edge.attribute("how", format!("{n}")) }
}

/// A store that was checkpointed twice, so that it has several files of each
/// kind and contents that stand elsewhere.
fn filled(path: &Path) -> Engine {
    let engine = options().open(path).unwrap();
    for half in 0..2 {
        let mut batch = Batch::new();
        for n in (NODES / 2 * half)..(NODES / 2 * (half + 1)) {
            batch.put(node(n));
        }
        engine.write(batch).unwrap();
        engine.checkpoint().unwrap();
    }
    let mut batch = Batch::new();
    for n in 0..NODES {
        batch.link(edge(n));
        if n % 4 == 0 {
            batch.patch(id(n), Patch::new().strength(3.0));
            batch.touch(id(n));
        }
        if n % 50 == 0 {
            batch.patch(id(n), Patch::new().vector("text", vec![-1.0; DIMENSION]));
        }
    }
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    engine
}

type Name = (NodeId, String, NodeId, u64);

/// Everything that a store holds, but for versions.
#[derive(Debug, PartialEq, Clone, Default)]
struct Contents {
    nodes: BTreeMap<NodeId, Node>,
    edges: BTreeMap<Name, Edge>,
    spaces: Vec<(String, Space)>,
    indexes: Vec<String>,
}

fn contents(snapshot: &Snapshot) -> Contents {
    let mut all = Contents {
        spaces: snapshot.spaces().map(|(name, space)| (name.to_owned(), space)).collect(),
        indexes: snapshot.indexes().map(|index| index.name.to_owned()).collect(),
        ..Contents::default()
    };
    for node in snapshot.scan_all() {
        let node = node.unwrap().to_exact_node().unwrap();
        for edge in snapshot.edges_out(node.id) {
            let edge = edge.unwrap().to_exact_edge().unwrap();
            let name = (edge.source, edge.kind.clone(), edge.target, edge.discriminator);
            all.edges.insert(name, edge);
        }
        all.nodes.insert(node.id, node);
    }
    // The other ways to find things.
    let into: usize = all.nodes.keys().map(|id| snapshot.edges_in(*id).count()).sum();
    assert_eq!(into, all.edges.len());
    let keys = all.nodes.values().map(|node| node.keys.len()).sum::<usize>();
    assert_eq!(snapshot.key_count(), keys);
    let found = |name: &String| {
        snapshot.range(name, KeyRange::all(), Direction::Ascending).unwrap().count()
    };
    assert_eq!(all.indexes.iter().map(found).sum::<usize>(), keys);
    all
}

/// The files of a directory, by their paths.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    read_image(dir).into_iter().map(|(name, bytes)| (dir.join(name), bytes)).collect()
}

/// A store, what it holds, and places for copies.
struct Original {
    dir: TempDir,
    contents: Contents,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Original {
    fn new(make: impl FnOnce(&Path) -> Engine) -> Self {
        let dir = temp_dir();
        let path = dir.path().join("a");
        let engine = make(&path);
        let contents = contents(&engine.snapshot());
        drop(engine);
        let files = files(&path);
        Self { dir, contents, files }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("a")
    }

    /// Names of data files, one of each kind or all.
    fn data(&self) -> Vec<PathBuf> {
        self.files.keys().filter(|path| path.parent().unwrap().ends_with("data")).cloned().collect()
    }

    /// Repairs the store as it is now, and puts back what it was.
    fn repair(&self) -> (RepairReport, Contents) {
        let (from, to) = (self.path(), self.dir.path().join("to"));
        let before = files(&from);
        let (mut last, mut whole) = (0, 0);
        let report = options()
            .repair(&from, &to, &mut |done, total| {
                assert!(last <= done && done <= total);
                (last, whole) = (done, total);
            })
            .unwrap();
        assert_eq!(last, whole, "progress ends where it said");
        assert!(files(&from) == before, "the source was touched");
        let engine = Options::new().create(false).open(&to).unwrap();
        let verified = engine.verify().unwrap();
        assert!(verified.is_sound(), "{:?}", verified.damage);
        let found = contents(&engine.snapshot());
        drop(engine);
        fs::remove_dir_all(&to).unwrap();
        for (path, bytes) in &self.files {
            if before.get(path) != Some(bytes) {
                overwrite(path, bytes);
            }
        }
        (report, found)
    }

    /// What was salvaged and what is told to be lost is what was there.
    fn check(&self, report: &RepairReport, found: &Contents, place: &str) {
        let had = &self.contents;
        assert_eq!((&found.spaces, &found.indexes), (&had.spaces, &had.indexes), "{place}");
        let mut lost_nodes = BTreeSet::new();
        let mut lost_edges = BTreeSet::new();
        let mut lost_vectors = BTreeSet::new();
        let mut lost_attributes = BTreeSet::new();
        let (mut some_nodes, mut some_edges) = (Vec::new(), Vec::new());
        for lost in &report.lost {
            assert!(lost.file.starts_with(self.path()), "{place}: {lost}");
            let name = |e: &ingrain::admin::EdgeName| {
                (e.source, e.kind.clone(), e.target, e.discriminator)
            };
            let fresh = match &lost.item {
                LossItem::Node(id) => lost_nodes.insert(*id),
                LossItem::Edge(edge) => lost_edges.insert(name(edge)),
                LossItem::Attributes(edge) => lost_attributes.insert(name(edge)),
                LossItem::Vector { node, space } => lost_vectors.insert((*node, space.clone())),
                LossItem::Nodes { count, from, to } => {
                    some_nodes.push((count.unwrap(), *from, *to));
                    true
                }
                LossItem::Edges { count, from, to } => {
                    some_edges.push((count.unwrap(), *from, *to));
                    true
                }
                other => panic!("{place}: {other}"),
            };
            assert!(fresh, "{place}: told twice: {lost}");
        }
        let mut unnamed = 0;
        for (id, node) in &had.nodes {
            let Some(other) = found.nodes.get(id) else {
                if !lost_nodes.contains(id) {
                    unnamed += 1;
                    let within = |(_, from, to): &(u64, NodeId, NodeId)| from <= id && id <= to;
                    assert!(some_nodes.iter().any(within), "{place}: node {id}");
                }
                continue;
            };
            assert!(!lost_nodes.contains(id), "{place}: node {id} is there");
            let mut expected = node.clone();
            expected.vectors.retain(|space, _| !lost_vectors.contains(&(*id, space.clone())));
            assert_eq!(*other, expected, "{place}");
        }
        assert_eq!(some_nodes.iter().map(|(n, _, _)| n).sum::<u64>(), unnamed, "{place}");
        let mut unnamed = 0;
        for (name, edge) in &had.edges {
            let Some(other) = found.edges.get(name) else {
                if !lost_edges.contains(name) {
                    unnamed += 1;
                    let within =
                        |(_, from, to): &(u64, NodeId, NodeId)| *from <= name.0 && name.0 <= *to;
                    assert!(some_edges.iter().any(within), "{place}: edge {name:?}");
                }
                continue;
            };
            assert!(!lost_edges.contains(name), "{place}: edge {name:?} is there");
            let mut expected = edge.clone();
            if lost_attributes.contains(name) {
                expected.attributes.clear();
            }
            assert_eq!(*other, expected, "{place}");
        }
        assert_eq!(some_edges.iter().map(|(n, _, _)| n).sum::<u64>(), unnamed, "{place}");
        // Nothing that was not there.
        assert!(found.nodes.keys().all(|id| had.nodes.contains_key(id)), "{place}");
        assert!(found.edges.keys().all(|name| had.edges.contains_key(name)), "{place}");
        let vectors = |all: &Contents| all.nodes.values().map(|n| n.vectors.len()).sum::<usize>();
        let keys = |all: &Contents| all.nodes.values().map(|n| n.keys.len()).sum::<usize>();
        let counts = |all: &Contents| [all.nodes.len(), all.edges.len(), keys(all), vectors(all)];
        let salvaged = [report.nodes, report.edges, report.keys, report.vectors];
        assert_eq!(counts(found).map(|n| n as u64), salvaged, "{place}");
        let missing = report.missing;
        let missing = [missing.nodes, missing.edges, missing.keys, missing.vectors];
        let sum: Vec<u64> = salvaged.iter().zip(missing).map(|(a, b)| a + b).collect();
        assert_eq!(sum, counts(had).map(|n| n as u64), "{place}");
        assert_eq!(report.is_complete(), found == had && lost_attributes.is_empty(), "{place}");
    }
}

#[test]
fn a_sound_store_is_repaired_to_the_same() {
    let original = Original::new(|path| {
        let engine = filled(path);
        // Some of it in the log.
        for n in 0..20 {
            let mut batch = Batch::new();
            batch
                .delete(id(n * 3))
                .patch(id(n * 3 + 1), Patch::new().content("new"))
                .touch(id(100));
            batch.put(node(NODES + n)).link(Edge::new(id(NODES + n), "new", id(100)));
            engine.write(batch).unwrap();
        }
        engine.create_space("late", Space::new(3, Metric::Dot)).unwrap();
        engine.create_index("late").unwrap();
        engine
    });
    let (report, found) = original.repair();
    assert!(report.is_complete(), "{:?}", report.lost);
    assert_eq!((report.batches, report.partial_batches), (22, 0));
    assert!(found == original.contents);
    assert_eq!((report.nodes, report.edges), (NODES, NODES));
    // An empty store is one too.
    let empty = Original::new(|path| Engine::open(path).unwrap());
    let (report, found) = empty.repair();
    assert!(report.is_complete());
    assert_eq!(found, Contents::default());
}

#[test]
fn one_flipped_byte_anywhere_costs_what_is_told_and_no_more() {
    let original = Original::new(filled);
    let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for path in original.data() {
        let bytes = &original.files[&path];
        let len = bytes.len();
        let kind = path.extension().unwrap().to_str().unwrap().to_owned();
        let places = [3, 4_095, 4_100, len / 2, len - 8_190, len - 4_090];
        for at in places {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            overwrite(&path, damaged);
            let place = format!("{} at {at} of {len}", path.display());
            let (report, found) = original.repair();
            original.check(&report, &found, &place);
            assert_eq!(report.unreadable.is_empty(), at >= 4_096, "{place}");
            let (tried, costly) = kinds.entry(kind.clone()).or_default();
            *tried += 1;
            *costly += usize::from(!report.is_complete());
        }
    }
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    for (kind, (tried, costly)) in kinds {
        // Tables of keys and edges by target are made anew from others.
        match kind.as_str() {
            "keys" | "in" => assert_eq!(costly, 0, "{kind}"),
            _ => assert!(costly * 2 > tried, "{kind}: {costly} of {tried}"),
        }
    }
}

#[test]
fn a_missing_or_shortened_file_costs_what_is_told_and_no_more() {
    let original = Original::new(filled);
    for path in original.data() {
        let bytes = &original.files[&path];
        let place = |how: &str| format!("{} {how}", path.display());
        fs::remove_file(&path).unwrap();
        let (report, found) = original.repair();
        original.check(&report, &found, &place("missing"));
        assert_eq!(report.unreadable.len(), 1);
        for len in [0, 4_096, bytes.len() - 1] {
            overwrite(&path, &bytes[..len]);
            let (report, found) = original.repair();
            original.check(&report, &found, &place(&format!("cut at {len}")));
            assert_eq!(report.unreadable.len(), 1);
        }
    }
}

/// Of another version of the format, whatever else is wrong with it: whoever can
/// read it loses nothing.
#[test]
fn a_file_of_another_version_is_refused() {
    let original = Original::new(filled);
    let to = original.dir.path().join("to");
    for path in original.data() {
        // Made anew by whoever can read the rest.
        if path.extension().is_some_and(|end| end == "vix") {
            continue;
        }
        for cut in [0, 4_096] {
            let mut other = original.files[&path].clone();
            let version = u32::from_le_bytes(other[8..12].try_into().unwrap()) + 1;
            other[8..12].copy_from_slice(&version.to_le_bytes());
            seal::first_block(&mut other);
            other.truncate(other.len() - cut);
            overwrite(&path, other);
            let error = options().repair(original.path(), &to, &mut |_, _| {}).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.with_causes().to_string().contains(path.to_str().unwrap()), "{error}");
            assert!(!to.exists());
        }
        overwrite(&path, &original.files[&path]);
    }
}

/// Several at once, so that what one table has lost the other has too.
#[test]
fn damage_in_several_files_costs_what_is_told_and_no_more() {
    let original = Original::new(filled);
    let data = original.data();
    let (mut both, mut edges_lost) = (0, 0);
    for (a, one) in data.iter().enumerate() {
        for (b, other) in data.iter().enumerate().skip(a + 1) {
            if (a + b) % 3 != 0 {
                continue;
            }
            for path in [one, other] {
                let mut damaged = original.files[path].clone();
                // A block of the first section.
                damaged[4_096 + 100] ^= 1;
                overwrite(path, damaged);
            }
            let place = format!("{} and {}", one.display(), other.display());
            let (report, found) = original.repair();
            original.check(&report, &found, &place);
            both += 1;
            edges_lost += report
                .lost
                .iter()
                .filter(|lost| matches!(lost.item, LossItem::Edges { .. }))
                .count();
        }
    }
    assert!(both > 30 && edges_lost > 0, "{both} pairs, {edges_lost} runs of edges");
}

/// A file of a copy of the store that went its own way: whole, and of the same
/// number.
#[test]
fn a_file_of_a_diverged_copy_is_not_repaired_from() {
    let original = Original::new(filled);
    let copy = original.dir.path().join("copy");
    let engine = options().open(original.path()).unwrap();
    engine.backup(&copy).unwrap();
    drop(engine);
    let change = |path: &Path, content: &str| {
        let engine = options().open(path).unwrap();
        let mut batch = Batch::new();
        for n in 0..NODES {
            batch.patch(id(n), Patch::new().content(content));
        }
        engine.write(batch).unwrap();
        engine.checkpoint().unwrap();
        let found = contents(&engine.snapshot());
        drop(engine);
        found
    };
    let ours = change(&original.path(), "ours");
    change(&copy, "them");
    let mut swapped = 0;
    for (path, bytes) in files(&copy.join("data")) {
        let place = original.path().join("data").join(path.file_name().unwrap());
        let Ok(mine) = fs::read(&place) else { continue };
        if mine.len() == bytes.len() && mine != bytes && path.extension().unwrap() == "heap" {
            overwrite(&place, &bytes);
            swapped += 1;
        }
    }
    assert!(swapped > 0, "no file of the same name and length");
    let to = original.dir.path().join("to");
    let report = options().repair(original.path(), &to, &mut |_, _| {}).unwrap();
    assert_eq!(report.unreadable.len(), swapped);
    let engine = options().open(&to).unwrap();
    let found = contents(&engine.snapshot());
    assert!(found.nodes.iter().all(|(id, node)| ours.nodes[id] == *node));
    assert_eq!(report.nodes + report.missing.nodes, NODES);
}

fn log_files(original: &Original) -> Vec<PathBuf> {
    original.files.keys().filter(|path| path.parent().unwrap().ends_with("wal")).cloned().collect()
}

/// A log with every kind of operation on top of the base, and what the store
/// held after each commit.
fn logged(states: &mut Vec<Contents>) -> Original {
    Original::new(|path| {
        let engine = filled(path);
        states.push(contents(&engine.snapshot()));
        for n in 0..10 {
            let mut batch = Batch::new();
            batch
                .put(Node::new(id(n), "note").content("again"))
                .patch(id(n + 20), Patch::new().attribute("x", 1_i64))
                .touch(id(n + 40))
                .expire(id(n + 60), Some(Timestamp::from_micros(5)))
                .delete(id(n + 80))
                .link(Edge::new(id(n + 100), "late", id(n + 101)))
                .push(Op::Unlink {
                    source: id(n + 120),
                    kind: edge(n + 120).kind,
                    target: edge(n + 120).target,
                    discriminator: n + 120,
                });
            batch.durability(Durability::Sync);
            engine.write(batch).unwrap();
            states.push(contents(&engine.snapshot()));
        }
        engine
    })
}

#[test]
fn the_log_is_applied_up_to_the_damage() {
    let mut states = Vec::new();
    let original = logged(&mut states);
    let log = log_files(&original);
    let path = log.last().unwrap();
    let bytes = &original.files[path];
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let base = original.repair().0.seq.get() - 10;
    let mut seen = BTreeSet::new();
    for part in 1..12 {
        // In the log's middle.
        let at = 64 + (end - 64) * part / 13;
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        overwrite(path, damaged);
        let (report, found) = original.repair();
        let commits = usize::try_from(report.seq.get() - base).unwrap();
        assert!(found == states[commits], "byte {at}, {commits} commits");
        assert_eq!(report.batches, commits as u64);
        assert_eq!(report.lost.len(), 1, "{:?}", report.lost);
        let lost = &report.lost[0];
        assert_eq!(lost.item, LossItem::Commits(Seq::new(report.seq.get() + 1)));
        assert_eq!(lost.file, *path);
        assert!(!report.is_complete());
        seen.insert(commits);
    }
    assert!(seen.len() > 5, "{seen:?}");
    // No log at all.
    for path in &log {
        fs::remove_file(path).unwrap();
    }
    let (report, found) = original.repair();
    assert_eq!(report.lost[0].item, LossItem::Commits(Seq::new(base + 1)));
    assert!(found == states[0]);
    let wal = original.path().join("wal");
    for path in &log {
        fs::remove_file(path).unwrap();
    }
    fs::remove_dir(&wal).unwrap();
    let to = original.dir.path().join("to");
    let report = options().repair(original.path(), &to, &mut |_, _| {}).unwrap();
    assert_eq!(report.lost[0].item, LossItem::Commits(Seq::new(base + 1)));
}

/// As a crash leaves it: nothing says that the last commit was durable.
#[test]
fn a_torn_end_of_the_log_is_no_damage() {
    let dir = temp_dir();
    let (live, left) = (dir.path().join("live"), dir.path().join("left"));
    let engine = filled(&live);
    let mut states = Vec::new();
    for n in 0..3 {
        let mut batch = Batch::new();
        batch.put(Node::new(id(NODES + n), "note"));
        engine.write(batch).unwrap();
        states.push(contents(&engine.snapshot()));
    }
    for (path, mut bytes) in files(&live) {
        let to = left.join(path.strip_prefix(&live).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if path.extension().is_some_and(|end| end == "wal") {
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            bytes.truncate(end - 3);
        }
        overwrite(to, bytes);
    }
    let to = dir.path().join("to");
    let report = options().repair(&left, &to, &mut |_, _| {}).unwrap();
    assert!(report.is_complete(), "{:?}", report.lost);
    assert!(report.torn_tail.is_some());
    assert_eq!(report.batches, 2);
    let engine = options().open(&to).unwrap();
    assert!(contents(&engine.snapshot()) == states[1]);
}

#[test]
fn log_operations_on_lost_nodes_are_reported_and_the_rest_applied() {
    let mut states = Vec::new();
    let original = logged(&mut states);
    let whole = states.last().unwrap();
    let mut partial = 0;
    for path in original.data().iter().filter(|path| path.extension().unwrap() == "nodes") {
        fs::remove_file(path).unwrap();
        let (report, found) = original.repair();
        partial += report.partial_batches;
        assert_eq!(report.batches + report.partial_batches, 10);
        let operations = || {
            report.lost.iter().filter_map(|lost| match &lost.item {
                LossItem::Operation { seq, op } => Some((*seq, *op)),
                _ => None,
            })
        };
        assert_eq!(operations().count() as u64 > 0, report.partial_batches > 0);
        for (_, op) in operations() {
            // Patch, touch, expire and link need their node.
            assert!([1, 2, 3, 5].contains(&op), "{op}");
        }
        for (id, node) in &found.nodes {
            let expected = &whole.nodes[id];
            if node.content == b"again" {
                // Those put again have what the log says; what they had before
                // is lost.
                assert_eq!((&node.content, &node.kind), (&expected.content, &expected.kind));
            } else {
                assert_eq!(node, expected);
            }
        }
        for n in 0..10 {
            assert!(found.nodes.contains_key(&id(n)), "put again");
            assert!(!found.nodes.contains_key(&id(n + 80)), "deleted");
        }
        for (name, edge) in &found.edges {
            assert_eq!(*edge, whole.edges[name]);
        }
    }
    assert!(partial > 0);
}

#[test]
fn bad_sources_and_targets_of_a_repair_are_refused() {
    let original = Original::new(filled);
    let (from, dir) = (original.path(), original.dir.path());
    let repair = |from: &Path, to: &Path| options().repair(from, to, &mut |_, _| {});
    let kind = |from: &Path, to: &Path| repair(from, to).unwrap_err().kind();
    let to = dir.join("to");
    // Targets.
    fs::create_dir(dir.join("taken")).unwrap();
    fs::write(dir.join("taken/letter"), "dear").unwrap();
    std::os::unix::fs::symlink("a", dir.join("link")).unwrap();
    for taken in ["taken", "a", "a/b", ".", "link", "link/b"] {
        assert_eq!(kind(&from, &dir.join(taken)), ErrorKind::Invalid, "{taken}");
    }
    assert_eq!(fs::read_dir(dir.join("taken")).unwrap().count(), 1);
    // Sources.
    fs::create_dir(dir.join("empty")).unwrap();
    for none in ["empty", "taken", "no", "a/MANIFEST"] {
        assert_eq!(kind(&dir.join(none), &to), ErrorKind::NoStore, "{none}");
    }
    assert_eq!(fs::read_dir(dir.join("empty")).unwrap().count(), 0);
    let engine = options().open(&from).unwrap();
    assert_eq!(kind(&from, &to), ErrorKind::Locked);
    drop(engine);
    let manifest = from.join("MANIFEST");
    let bytes = fs::read(&manifest).unwrap();
    let mut damaged = bytes.clone();
    damaged[100] ^= 1;
    overwrite(&manifest, damaged);
    let error = repair(&from, &to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.with_causes().to_string().contains("restore a backup"), "{error}");
    fs::remove_file(&manifest).unwrap();
    let error = repair(&from, &to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.with_causes().to_string().contains("restore a backup"), "{error}");
    overwrite(&manifest, bytes);
    assert!(!to.exists(), "nothing was made");
    assert!(repair(&from, &to).unwrap().is_complete());
    assert_eq!(kind(&from, &to), ErrorKind::Invalid, "it is a store now");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_written_is_repaired_to_the_same(
        batches in vec((vec(any_op(), 1..6), any::<bool>()), 1..30),
    ) {
        let original = Original::new(|path| {
            let engine = crate::harness::oracle::options().open(path).unwrap();
            for (ops, checkpoint) in &batches {
                match engine.write(crate::harness::oracle::batch(ops, false)) {
                    Ok(_) => {}
                    Err(error) => {
                        let kinds = [ErrorKind::Conflict, ErrorKind::Invalid];
                        assert!(kinds.contains(&error.kind()), "{error}");
                    }
                }
                if *checkpoint {
                    engine.checkpoint().unwrap();
                }
            }
            engine
        });
        let (report, found) = original.repair();
        assert!(report.is_complete(), "{:?}", report.lost);
        assert_eq!(found, original.contents);
    }
}

#[cfg(feature = "sim")]
mod sim {

    use ingrain::sim::{Failure, Points, SimDisk};

    use super::*;
    use crate::harness::disks::on_disk;

    fn store(disk: &SimDisk) -> Options {
        on_disk(disk, Options::new().space("flat", Space::new(2, Metric::L2)).index("by"))
    }

    fn small(disk: &SimDisk) -> Contents {
        let engine = store(disk).open("/a").unwrap();
        for n in 0..6 {
            let mut batch = Batch::new();
            batch
                .put(Node::new(id(n), "note").content("c").key("by", [1]).vector("flat", [1., 2.]));
            batch.link(Edge::new(id(n), "is", id(n)));
            engine.write(batch).unwrap();
            if n == 3 {
                engine.checkpoint().unwrap();
            }
        }
        contents(&engine.snapshot())
    }

    /// A store in the target that opens is whole.
    fn check(disk: &SimDisk, whole: &Contents, place: &str) -> bool {
        let source = store(disk).create(false).open("/a").unwrap();
        assert!(contents(&source.snapshot()) == *whole, "{place}");
        match store(disk).create(false).open("/to") {
            Ok(engine) => {
                assert!(contents(&engine.snapshot()) == *whole, "{place}");
                true
            }
            Err(error) => {
                let kinds = [ErrorKind::NoStore, ErrorKind::Corrupt];
                assert!(kinds.contains(&error.kind()), "{place}: {error}");
                false
            }
        }
    }

    #[test]
    fn a_repair_that_is_cut_short_leaves_no_store_that_opens() {
        let disk = SimDisk::new();
        let whole = small(&disk);
        let begun = disk.operations();
        store(&disk).repair("/a", "/to", &mut |_, _| {}).unwrap();
        let done = disk.operations();
        let mut without = 0;
        for crash in disk.crashes(Points::Boundaries, 1).filter(|crash| crash.point >= begun) {
            let place = format!("point {}, {:?}, coin {}", crash.point, crash.loss, crash.seed);
            let there = check(&crash.disk, &whole, &place);
            assert!(there || crash.point < done, "{place}");
            without += usize::from(!there);
        }
        assert!(without > 50, "{without}");
    }

    #[test]
    fn a_repair_that_fails_at_any_call_leaves_no_store_that_opens() {
        let mut failed = 0;
        for n in 1.. {
            let disk = SimDisk::new();
            let whole = small(&disk);
            let before: u64 = disk.calls().values().sum();
            disk.fail(n, None, Failure::Io, false);
            let made = store(&disk).repair("/a", "/to", &mut |_, _| {});
            let calls = disk.calls().values().sum::<u64>() - before;
            disk.heal();
            let there = check(&disk, &whole, &format!("call {n}"));
            match made {
                Ok(report) => {
                    assert!(there && report.is_complete(), "call {n}");
                    if n > calls {
                        break;
                    }
                }
                Err(error) => {
                    assert!(error.io_error().is_some(), "call {n}: {error}");
                    assert!(!there, "call {n}");
                    failed += 1;
                }
            }
        }
        assert!(failed > 50, "{failed}");
    }
}
