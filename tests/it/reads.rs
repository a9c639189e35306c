//! Ordered reads, cursors, filters and paths.

use std::ops::Bound;

use ingrain::{
    Batch, Cursor, Direction, Edge, Engine, ErrorKind, KeyRange, Metric, Node, NodeId, Options,
    Snapshot, Space,
    graph::{EdgeDirection, PathOptions},
    search::Filter,
};
use proptest::{collection::vec, prelude::*};

use crate::harness::{dirs::temp_dir, in_small_pieces, nodes::id, seal::crc};

fn open(dir: &tempfile::TempDir) -> Engine {
    in_small_pieces(Options::new())
        .durability(ingrain::Durability::Os)
        .space("v", Space::new(2, Metric::L2))
        .index("i")
        .index("j")
        .open(dir.path().join("s"))
        .unwrap()
}

fn write(engine: &Engine, fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    fill(&mut batch);
    engine.write(batch).unwrap();
}

/// Reads in pages of `size`, with a cursor that goes through bytes.
fn pages<T>(
    size: usize,
    mut page: impl FnMut(Option<&Cursor>, usize) -> (Vec<T>, Option<Cursor>),
) -> Vec<T> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let (items, next) = page(cursor.as_ref(), size);
        if items.is_empty() {
            return all;
        }
        all.extend(items);
        cursor = Some(Cursor::from_bytes(&next.unwrap().to_bytes()).unwrap());
    }
}

/// More than an owned read takes at once, some deleted since.
#[test]
fn owned_reads_give_what_borrowed_reads_do() {
    let dir = temp_dir();
    let engine = open(&dir);
    write(&engine, |b| {
        for n in 0..300_u64 {
            b.put(Node::new(id(n), "a").key("i", n.to_be_bytes()));
        }
        for n in 0..300 {
            b.link(Edge::new(id(0), "x", id(n))).link(Edge::new(id(n), "x", id(1)));
        }
    });
    engine.checkpoint().unwrap();
    write(&engine, |b| {
        for n in (2..300).step_by(3) {
            b.delete(id(n));
        }
    });
    let s = engine.snapshot();
    let nodes = |read: ingrain::Scan<'_>| -> Vec<Node> {
        read.map(|node| node.unwrap().to_exact_node().unwrap()).collect()
    };
    let edges = |read: ingrain::Edges<'_>| -> Vec<Edge> {
        read.map(|edge| edge.unwrap().to_exact_edge().unwrap()).collect()
    };
    assert!(s.scan_owned("a").map(Result::unwrap).eq(nodes(s.scan("a"))));
    assert!(s.scan_all_owned().map(Result::unwrap).eq(nodes(s.scan_all())));
    assert_eq!(s.scan_owned("none").count(), 0);
    assert!(s.edges_out_owned(id(0)).map(Result::unwrap).eq(edges(s.edges_out(id(0)))));
    assert!(s.edges_in_owned(id(1)).map(Result::unwrap).eq(edges(s.edges_in(id(1)))));
    for direction in [Direction::Ascending, Direction::Descending] {
        let owned = s.range_owned("i", KeyRange::all(), direction).unwrap().map(Result::unwrap);
        let owned: Vec<_> = owned.map(|entry| (entry.key, entry.node)).collect();
        let read = s.range("i", KeyRange::all(), direction).unwrap().map(Result::unwrap);
        assert!(read.map(|entry| (entry.key.to_vec(), entry.node.id())).eq(owned));
    }
    assert!(s.range_owned("none", KeyRange::all(), Direction::Ascending).is_err());
    // The snapshot goes with the iterator, to another thread.
    let owned = s.scan_owned("a");
    let count = owned.snapshot().node_count();
    drop((s, engine));
    assert_eq!(std::thread::spawn(move || owned.count()).join().unwrap(), count);
}

#[test]
fn get_many_gives_what_get_does_at_each_position() {
    let dir = temp_dir();
    let engine = open(&dir);
    // Of 300 nodes some are in the base, some changed or deleted since.
    write(&engine, |b| {
        for n in 0..300 {
            b.put(Node::new(id(n), "a").content(vec![n as u8; n as usize]));
        }
    });
    for checkpointed in [false, true] {
        if checkpointed {
            engine.checkpoint().unwrap();
        }
        write(&engine, |b| {
            for n in (0..300).step_by(7) {
                b.put(Node::new(id(n), "b").content("changed")).delete(id(n + 1));
            }
        });
        let s = engine.snapshot();
        // With some that never were, and some twice.
        let ids: Vec<NodeId> = (0..500).map(|n| id(n * 53 % 400)).collect();
        for len in [0, 1, 3, 4, 63, 64, 65, 67, 128, 500] {
            let found = s.get_many(&ids[..len]).unwrap();
            assert_eq!(found.len(), len);
            for (id, found) in ids.iter().zip(found) {
                let expected = s.get(*id).unwrap();
                let what = |node: ingrain::NodeRef<'_>| {
                    (node.id(), node.version(), node.content().to_vec())
                };
                assert_eq!(found.map(what), expected.map(what));
            }
        }
    }
}

#[test]
fn every_ordered_read_can_be_resumed_from_a_cursor() {
    let dir = temp_dir();
    let engine = open(&dir);
    write(&engine, |b| {
        for n in 0..60 {
            b.put(
                Node::new(id(n), ["a", "b", "c"][n as usize % 3])
                    .key("i", [n as u8 / 7])
                    .key("j", [0]),
            );
        }
        for n in 1..60 {
            b.link(Edge::new(id(0), ["x", "y"][n as usize % 2], id(n)));
            b.link(Edge::new(id(0), "x", id(n)).discriminator(n % 4));
            b.link(Edge::new(id(n), "z", id(0)));
        }
    });
    let s = engine.snapshot();
    for size in [1, 2, 7, 59, 60, 61] {
        let whole: Vec<NodeId> = s.scan_all().map(|n| n.unwrap().id()).collect();
        assert_eq!(whole.len(), 60);
        let paged = pages(size, |cursor, size| {
            let mut scan = s.scan_all();
            if let Some(cursor) = cursor {
                scan = scan.after(cursor).unwrap();
            }
            (scan.by_ref().take(size).map(|n| n.unwrap().id()).collect(), scan.cursor())
        });
        assert_eq!(paged, whole);
        let whole: Vec<NodeId> = s.scan("b").map(|n| n.unwrap().id()).collect();
        assert!(whole.len() == 20 && whole.is_sorted());
        let paged = pages(size, |cursor, size| {
            let mut scan = s.scan("b");
            if let Some(cursor) = cursor {
                scan = scan.after(cursor).unwrap();
            }
            (scan.by_ref().take(size).map(|n| n.unwrap().id()).collect(), scan.cursor())
        });
        assert_eq!(paged, whole);
        for kind in [None, Some("x"), Some("y"), Some("none")] {
            for out in [true, false] {
                let read = || {
                    let edges = if out { s.edges_out(id(0)) } else { s.edges_in(id(0)) };
                    match kind {
                        Some(kind) => edges.kind(kind),
                        None => edges,
                    }
                };
                let key = |e: ingrain::Result<ingrain::EdgeRef<'_>>| {
                    let e = e.unwrap();
                    (e.source(), e.kind().to_owned(), e.target(), e.discriminator())
                };
                let whole: Vec<_> = read().map(key).collect();
                let paged = pages(size, |cursor, size| {
                    let mut edges = read();
                    if let Some(cursor) = cursor {
                        edges = edges.after(cursor).unwrap();
                    }
                    (edges.by_ref().take(size).map(key).collect(), edges.cursor())
                });
                assert_eq!(paged, whole);
                assert_eq!(whole.is_empty(), kind == Some("none") || (!out && kind.is_some()));
            }
        }
        for direction in [Direction::Ascending, Direction::Descending] {
            for range in [KeyRange::all(), (vec![2]..vec![5]).into(), (vec![2]..=vec![2]).into()] {
                let key = |e: ingrain::Result<ingrain::IndexEntry<'_>>| {
                    let e = e.unwrap();
                    (e.key.to_vec(), e.node.id())
                };
                let whole: Vec<_> =
                    s.range("i", range.clone(), direction).unwrap().map(key).collect();
                assert!(whole.len() >= 7);
                let paged = pages(size, |cursor, size| {
                    let mut entries = s.range("i", range.clone(), direction).unwrap();
                    if let Some(cursor) = cursor {
                        entries = entries.after(cursor).unwrap();
                    }
                    (entries.by_ref().take(size).map(key).collect(), entries.cursor())
                });
                assert_eq!(paged, whole);
            }
        }
    }
    assert_eq!(Cursor::from_bytes(b"short").unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn every_change_of_the_bytes_of_a_cursor_is_refused() {
    let dir = temp_dir();
    let engine = open(&dir);
    write(&engine, |b| {
        b.put(Node::new(id(1), "n").key("i", [1, 2, 3])).link(Edge::new(id(1), "e", id(1)));
    });
    let s = engine.snapshot();
    let mut scan = s.scan("n");
    let mut entries = s.range("i", KeyRange::all(), Direction::Ascending).unwrap();
    let mut edges = s.edges_out(id(1));
    assert!(scan.next().is_some() && entries.next().is_some() && edges.next().is_some());
    for cursor in [scan.cursor(), entries.cursor(), edges.cursor()] {
        let bytes = cursor.unwrap().to_bytes();
        let refused = |bytes: &[u8]| {
            let error = Cursor::from_bytes(bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bytes:?}");
        };
        for at in 0..bytes.len() {
            refused(&bytes[..at]);
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                refused(&flipped);
            }
        }
        refused(&[&*bytes, &[0]].concat());
    }
}

#[test]
fn a_filter_checks_its_index_whatever_its_kind_and_has_several_tests() {
    let dir = temp_dir();
    let engine = open(&dir);
    write(&engine, |b| {
        for n in 0..4 {
            b.put(Node::new(id(n), "n").strength(n as f32).vector("v", [n as f32, 0.0]));
        }
    });
    let s = engine.snapshot();
    let nearest = |filter: Filter<'_>| s.nearest("v", &[0.0, 0.0], 9, &filter);
    assert!(nearest(Filter::new().kind("unknown")).unwrap().is_empty());
    let reversed = KeyRange::from(vec![2]..vec![1]);
    for filter in [
        Filter::new().kind("unknown").index("unknown", KeyRange::all()),
        Filter::new().kind("unknown").index("i", reversed.clone()),
        Filter::new().index("i", reversed),
    ] {
        assert_eq!(nearest(filter).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let both = Filter::new().test(|n| n.strength() > 0.5).test(|n| n.strength() < 2.5);
    assert_eq!(nearest(both).unwrap().len(), 2);
}

#[test]
fn a_cursor_of_another_read_is_refused_by_name() {
    let dir = temp_dir();
    let engine = open(&dir);
    write(&engine, |b| {
        for n in 0..6 {
            b.put(Node::new(id(n), ["a", "b", "c"][n as usize % 3]).key("i", [1]).key("j", [1]));
        }
        for (kind, n) in [("x", 1), ("x", 2), ("y", 3), ("z", 4)] {
            b.link(Edge::new(id(0), kind, id(n))).link(Edge::new(id(n), kind, id(0)));
            b.link(Edge::new(id(5), kind, id(n)));
        }
    });
    let s = engine.snapshot();
    use Direction::{Ascending, Descending};
    let range = |index, direction| s.range(index, KeyRange::all(), direction).unwrap();
    // How each read is named, a cursor of it, and whether it takes a cursor.
    type Takes<'a> = Box<dyn Fn(&Cursor) -> ingrain::Result<()> + 'a>;
    let mut reads: Vec<(&str, Cursor, Takes<'_>)> = Vec::new();
    macro_rules! read {
        ($name:literal, $read:expr) => {{
            let mut first = $read;
            first.next().unwrap().unwrap();
            let cursor = first.cursor().unwrap();
            reads.push(($name, cursor, Box::new(|cursor| $read.after(cursor).map(drop))));
        }};
    }
    read!("the scan of all nodes", s.scan_all());
    read!("the scan of the kind \"a\"", s.scan("a"));
    read!("the scan of the kind \"b\"", s.scan("b"));
    read!("the edges that leave node", s.edges_out(id(0)));
    read!("the edges that leave node", s.edges_out(id(5)));
    read!("the edges that reach node", s.edges_in(id(0)));
    read!("the index \"i\"", range("i", Ascending));
    read!("the index \"j\"", range("j", Ascending));
    read!("the index \"i\", descending", range("i", Descending));
    for (at, (name, _, takes)) in reads.iter().enumerate() {
        for (from, (of, cursor, _)) in reads.iter().enumerate() {
            let cursor = Cursor::from_bytes(&cursor.to_bytes()).unwrap();
            let taken = takes(&cursor);
            if at == from {
                taken.unwrap();
                continue;
            }
            let error = taken.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(&format!("it comes from {of}")), "{error}");
            assert!(error.to_string().contains(&format!("cannot continue {name}")), "{error}");
        }
    }
    // One of all edges of a node continues those of a kind.
    let mut edges = s.edges_out(id(0));
    edges.by_ref().take(2).for_each(drop);
    let cursor = edges.cursor().unwrap();
    for (kind, left) in [("x", 0), ("y", 1), ("none", 0)] {
        assert_eq!(s.edges_out(id(0)).kind(kind).after(&cursor).unwrap().count(), left, "{kind}");
        assert_eq!(s.edges_out(id(0)).after(&cursor).unwrap().kind(kind).count(), left, "{kind}");
    }
}

#[test]
fn a_cursor_goes_on_after_the_store_has_changed() {
    let dir = temp_dir();
    let engine = open(&dir);
    write(&engine, |b| {
        for n in 0..10 {
            b.put(Node::new(id(n), "a").key("i", [n as u8 * 2]));
        }
    });
    let first = engine.snapshot();
    let mut range = first.range("i", KeyRange::all(), Direction::Ascending).unwrap();
    range.by_ref().take(5).for_each(drop);
    let cursor = range.cursor().unwrap();
    // The place itself goes, one before it and one after it come.
    write(&engine, |b| {
        b.delete(id(4))
            .put(Node::new(id(50), "a").key("i", [1]))
            .put(Node::new(id(51), "a").key("i", [9]));
    });
    let second = engine.snapshot();
    let rest: Vec<u8> = second
        .range("i", KeyRange::all(), Direction::Ascending)
        .unwrap()
        .after(&cursor)
        .unwrap()
        .map(|e| e.unwrap().key[0])
        .collect();
    assert_eq!(rest, [9, 10, 12, 14, 16, 18]);
    let old: Vec<u8> = range.map(|e| e.unwrap().key[0]).collect();
    assert_eq!(old, [10, 12, 14, 16, 18], "the snapshot from before did not change");
}

fn any_bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    let key = || vec(0..3_u8, 0..3);
    prop_oneof![
        Just(Bound::Unbounded),
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ranges_and_cursors_agree_with_sorted_keys(
        keys in vec(vec(0..3_u8, 0..3), 0..12),
        start in any_bound(),
        end in any_bound(),
        cursor in (vec(0..3_u8, 0..3), 0..12_u64),
        descending in any::<bool>(),
    ) {
        let dir = temp_dir();
        let engine = open(&dir);
        write(&engine, |b| {
            b.put(Node::new(id(99), "n").key("j", [1]));
            for (n, key) in keys.iter().enumerate() {
                b.put(Node::new(id(n as u64), "n").key("i", key.clone()));
            }
        });
        let s = engine.snapshot();
        let range = KeyRange::from((start, end));
        let direction = if descending { Direction::Descending } else { Direction::Ascending };
        let mut expected: Vec<(Vec<u8>, NodeId)> =
            keys.iter().enumerate().map(|(n, key)| (key.clone(), id(n as u64))).collect();
        expected.sort();
        expected.retain(|(key, _)| range.contains(key));
        if descending {
            expected.reverse();
        }
        let collect = |range: ingrain::IndexEntries<'_>| -> Vec<(Vec<u8>, NodeId)> {
            range.map(|e| e.unwrap()).map(|e| (e.key.to_vec(), e.node.id())).collect()
        };
        let read = match s.range("i", range.clone(), direction) {
            Ok(read) => read,
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::Invalid);
                prop_assert!(expected.is_empty());
                return Ok(());
            }
        };
        prop_assert_eq!(collect(read), expected.clone());
        // Any place of the index, of an entry or not: its bytes end in id, key and
        // checksum.
        let place = (cursor.0, id(cursor.1));
        write(&engine, |b| { b.put(Node::new(id(98), "n").key("i", [7])); });
        let later = engine.snapshot();
        let mut entries = later.range("i", vec![7].., direction).unwrap();
        entries.next();
        let any = entries.cursor().unwrap().to_bytes();
        let mut bytes = [&any[..any.len() - 21], place.1.as_bytes(), &place.0].concat();
        bytes.extend(crc(&[&bytes]));
        let cursor = Cursor::from_bytes(&bytes).unwrap();
        let after = s.range("i", range, direction).unwrap().after(&cursor).unwrap();
        expected.retain(|entry| if descending { *entry < place } else { *entry > place });
        prop_assert_eq!(collect(after), expected);
    }

    #[test]
    fn filtered_search_is_exact(
        points in vec((-5..5_i8, -5..5_i8, 0..3_u8, 0..4_u8), 0..30),
        k in 0..8_usize,
        kind in prop::option::of(0..3_u8),
        from in prop::option::of(0..4_u8),
        odd in any::<bool>(),
    ) {
        let dir = temp_dir();
        let engine = open(&dir);
        if !points.is_empty() {
            write(&engine, |b| {
                for (n, (x, y, kind, key)) in points.iter().enumerate() {
                    b.put(Node::new(id(n as u64), format!("k{kind}")).content([n as u8]).key("i", [*key]).vector("v", [f32::from(*x), f32::from(*y)]));
                }
            });
        }
        let mut expected: Vec<(f64, NodeId)> = points
            .iter()
            .enumerate()
            .filter(|(n, (_, _, of, key))| kind.is_none_or(|k| k == *of) && from.is_none_or(|f| f <= *key) && (!odd || n % 2 == 1))
            .map(|(n, (x, y, _, _))| ((f64::from(*x).powi(2) + f64::from(*y).powi(2)).sqrt(), id(n as u64)))
            .collect();
        expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        expected.truncate(k);
        let name = kind.map(|k| format!("k{k}"));
        let mut filter = Filter::new();
        if let Some(name) = &name {
            filter = filter.kind(name);
        }
        if let Some(from) = from {
            filter = filter.index("i", vec![from]..);
        }
        if odd {
            filter = filter.test(|node| node.content()[0] % 2 == 1);
        }
        let s = engine.snapshot();
        let hits = s.nearest("v", &[0.0, 0.0], k, &filter).unwrap();
        let found: Vec<_> = hits.iter().map(|hit| (hit.distance, hit.node.id())).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn paths_are_shortest(
        links in vec((0..8_u64, 0..8_u64, 0..2_u8), 0..20),
        from in 0..8_u64,
        to in 0..9_u64,
        toward in prop::sample::select(&[EdgeDirection::Out, EdgeDirection::In, EdgeDirection::Both][..]),
        one_kind in any::<bool>(),
        max_depth in 0..5_usize,
    ) {
        let dir = temp_dir();
        let engine = open(&dir);
        write(&engine, |b| {
            (0..8).for_each(|n| { b.put(Node::new(id(n), "n")); });
            for (source, target, kind) in &links {
                b.link(Edge::new(id(*source), format!("k{kind}"), id(*target)));
            }
        });
        let kinds: &[&str] = if one_kind { &["k0"] } else { &[] };
        // All distances by relaxation.
        let mut distance = [usize::MAX; 9];
        distance[from as usize] = 0;
        for _ in 0..8 {
            for (source, target, kind) in &links {
                if one_kind && *kind != 0 {
                    continue;
                }
                let (source, target) = (*source as usize, *target as usize);
                if toward != EdgeDirection::In {
                    distance[target] = distance[target].min(distance[source].saturating_add(1));
                }
                if toward != EdgeDirection::Out {
                    distance[source] = distance[source].min(distance[target].saturating_add(1));
                }
            }
        }
        let s = engine.snapshot();
        let options = PathOptions { toward, kinds, max_depth, ..PathOptions::default() };
        let path = s.shortest_path(id(from), id(to), &options).unwrap();
        let expected = distance[to as usize];
        match path {
            None => prop_assert!(expected > max_depth, "{expected}"),
            Some(path) => {
                prop_assert_eq!(path.steps.len(), expected);
                let mut at = path.start;
                for step in &path.steps {
                    let (a, b) = (step.edge.source(), step.edge.target());
                    let fits = (a == at && b == step.node && toward != EdgeDirection::In)
                        || (b == at && a == step.node && toward != EdgeDirection::Out);
                    prop_assert!(fits, "the steps hang together");
                    prop_assert!(!one_kind || step.edge.kind() == "k0");
                    at = step.node;
                }
                prop_assert_eq!(at, id(to));
            }
        }
    }
}

fn star(s: &Snapshot, max_edges: usize) -> Result<bool, ErrorKind> {
    let options = PathOptions { max_edges, ..PathOptions::default() };
    s.shortest_path(id(0), id(101), &options).map(|p| p.is_some()).map_err(|e| e.kind())
}

#[test]
fn a_path_search_stops_at_its_budget() {
    let dir = temp_dir();
    let engine = open(&dir);
    write(&engine, |b| {
        (0..=101).for_each(|n| {
            b.put(Node::new(id(n), "n"));
        });
        (1..=100).for_each(|n| {
            b.link(Edge::new(id(0), "e", id(n)));
        });
    });
    let s = engine.snapshot();
    assert_eq!(star(&s, 99), Err(ErrorKind::Limit));
    assert_eq!(star(&s, 100), Ok(false));
    // Edges of other kinds are not looked at.
    let options = PathOptions { kinds: &["none"], max_edges: 1, ..PathOptions::default() };
    assert!(s.shortest_path(id(0), id(101), &options).unwrap().is_none());
}

#[test]
fn reads_of_unknown_names_and_bad_vectors_are_errors() {
    let dir = temp_dir();
    let engine = open(&dir);
    write(&engine, |b| {
        b.put(Node::new(id(1), "n"));
    });
    let s = engine.snapshot();
    let kind = |e: ingrain::Error| e.kind();
    assert_eq!(
        s.range("nope", .., Direction::Ascending).map_err(kind).unwrap_err(),
        ErrorKind::Invalid
    );
    assert_eq!(
        s.nearest("nope", &[1.0], 1, &Filter::new()).map_err(kind).unwrap_err(),
        ErrorKind::Invalid
    );
    for query in [&[1.0][..], &[1.0, f32::NAN], &[1.0, 2.0, 3.0]] {
        assert_eq!(
            s.nearest("v", query, 1, &Filter::new()).map_err(kind).unwrap_err(),
            ErrorKind::Invalid
        );
    }
    let k = ingrain::limits::NEAREST_K + 1;
    assert_eq!(
        s.nearest("v", &[1.0, 2.0], k, &Filter::new()).map_err(kind).unwrap_err(),
        ErrorKind::Limit
    );
    assert_eq!(
        s.nearest("v", &[1.0, 2.0], 1, &Filter::new().index("nope", ..)).map_err(kind).unwrap_err(),
        ErrorKind::Invalid
    );
    // An empty range is empty, one that runs backwards is a mistake.
    assert_eq!(s.range("i", vec![1]..vec![1], Direction::Ascending).unwrap().count(), 0);
    let excluded = (Bound::Excluded(vec![1]), Bound::Excluded(vec![1]));
    assert_eq!(s.range("i", excluded, Direction::Descending).unwrap().count(), 0);
    let backwards = (Bound::Included(vec![2]), Bound::Included(vec![1]));
    assert!(s.range("i", backwards, Direction::Ascending).is_err());
    // What is merely not there is no error.
    assert!(s.get(id(2)).unwrap().is_none());
    assert_eq!(s.scan("nope").count() + s.edges_out(id(2)).count(), 0);
    assert!(s.nearest("v", &[1.0, 2.0], 5, &Filter::new()).unwrap().is_empty());
    assert!(s.nearest("v", &[1.0, 2.0], 5, &Filter::new().kind("nope")).unwrap().is_empty());
    assert!(s.shortest_path(id(1), id(2), &PathOptions::default()).unwrap().is_none());
}
