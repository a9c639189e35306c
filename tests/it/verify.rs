//! `Engine::verify`: it reports nothing about a sound store, and reports all
//! damage, whether a checksum fails or files contradict each other.

use std::{
    cmp::Reverse,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use ingrain::{
    Batch, Direction, Edge, Engine, Error, ErrorKind, KeyRange, Metric, Node, NodeId, Op, Options,
    Patch, Space, Timestamp,
    admin::VerifyReport,
    format::{
        FileKind,
        manifest::{DataFile, Manifest, VectorFile},
        segment::Layout,
        tables::IndexEntryRef,
    },
};
use proptest::{collection::vec, prelude::*};

use crate::harness::{
    any::any_op,
    dirs::temp_dir,
    files::{Image, Sections, data_kind, read_file, read_image, write_file, write_image},
    nodes::id_of_byte,
    oracle::{batch, options},
};

fn sound(engine: &Engine) -> VerifyReport {
    let report = engine.verify().unwrap();
    assert!(report.is_sound(), "{:#?}", report.damage);
    report
}

#[derive(Debug, Clone)]
enum Action {
    Write(Vec<Op>),
    Reopen,
    Checkpoint,
    Compact,
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => vec(any_op(), 1..12).prop_map(Action::Write),
        1 => Just(Action::Reopen),
        3 => Just(Action::Checkpoint),
        1 => Just(Action::Compact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_found_sound(actions in vec(any_action(), 1..24)) {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let mut engine = options().open(&path).unwrap();
        for action in actions {
            match action {
                Action::Write(ops) => match engine.write(batch(&ops, false)) {
                    Ok(_) | Err(Error::Conflict { .. } | Error::Invalid { .. }) => {}
                    Err(error) => panic!("{error}"),
                },
                Action::Reopen => {
                    drop(engine);
                    engine = options().open(&path).unwrap();
                }
                Action::Checkpoint | Action::Compact => {
                    let seq = match action {
                        Action::Compact => engine.compact().unwrap(),
                        _ => engine.checkpoint().unwrap(),
                    };
                    let (report, stats) = (sound(&engine), engine.stats());
                    prop_assert_eq!(report.seq, seq);
                    prop_assert_eq!(
                        [report.nodes, report.edges, report.keys, report.vectors],
                        [stats.nodes, stats.edges, stats.keys, stats.vectors].map(|n| n as u64)
                    );
                    prop_assert_eq!(report.files, stats.checkpoint.files as u64);
                    prop_assert_eq!(report.bytes, stats.checkpoint.file_bytes);
                    prop_assert_eq!(report.log_files, 1);
                    prop_assert_eq!(report.log_batches, 0);
                }
            }
            sound(&engine);
        }
    }
}

/// All that a base can have, in two lives: contents that stay elsewhere,
/// vectors that are dead, attributes of edges.
fn fill(engine: &Engine) {
    let mut batch = Batch::new();
    for n in 1..=6 {
        let kind = if n % 2 == 0 { "note" } else { "person" };
        let mut node = Node::new(id_of_byte(n), kind)
            .content([vec![n; 90], vec![0; 4_000]].concat())
            .attribute("n", i64::from(n))
            .key("timeline", [n])
            .key("timeline", [n, n])
            .vector("text", [f32::from(n), 1.0, -2.5]);
        node.expires = (n < 4).then(|| Timestamp::from_micros(i64::from(n))).into();
        batch.put(node);
    }
    for n in 1..6 {
        batch.link(Edge::new(id_of_byte(n), "before", id_of_byte(n + 1)).weight(0.5));
    }
    batch.link(Edge::new(id_of_byte(6), "about", id_of_byte(1)).attribute("since", 2_020_i64));
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    let mut batch = Batch::new();
    batch.patch(id_of_byte(2), Patch::new().attribute("n", 9_i64)).touch(id_of_byte(3));
    batch.patch(id_of_byte(4), Patch::new().vector("text", [9.0, 9.0, 9.0]));
    batch.delete(id_of_byte(5));
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
}

fn small() -> Options {
    Options::new().space("text", Space::new(3, Metric::Cosine)).index("timeline").inline(true)
}

#[test]
fn a_store_in_use_is_found_sound() {
    let dir = temp_dir();
    let engine = options().wal_bytes(64 << 10).open(dir.path().join("s")).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 0..2 {
            let (engine, done) = (&engine, &done);
            scope.spawn(move || {
                let mut round = 0_u8;
                while !done.load(Ordering::Relaxed) {
                    round = round.wrapping_add(1);
                    let mut batch = Batch::new();
                    let node = Node::new(id_of_byte(round), "note").content(vec![n; 200]);
                    batch.put(node.key("first", [n, round]).vector("flat", [1.0, 2.0]));
                    batch.link(
                        Edge::new(id_of_byte(round), "to", id_of_byte(round)).weight(f64::from(n)),
                    );
                    batch.delete(id_of_byte(round.wrapping_add(100)));
                    engine.write(batch).unwrap();
                    if round.is_multiple_of(16) {
                        engine.checkpoint().unwrap();
                    }
                }
            });
        }
        let mut rounds = 0;
        while rounds < 50 || engine.stats().checkpoint.completed < 20 {
            rounds += 1;
            let report = engine.verify().unwrap();
            if !report.is_sound() {
                done.store(true, Ordering::Relaxed);
                panic!("{:#?}", report.damage);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn verification_progress_reaches_its_total_and_closed_engines_refuse() {
    let dir = temp_dir();
    let engine = small().open(dir.path().join("s")).unwrap();
    let mut batch = Batch::new();
    batch.put(Node::new(id_of_byte(7), "note").content(vec![7; 4 << 20]));
    engine.write(batch).unwrap();
    fill(&engine);
    let mut told = Vec::new();
    let report = engine.verify_with(&mut |done, total| told.push((done, total))).unwrap();
    assert!(report.is_sound() && report.bytes > 4 << 20);
    assert!(told.is_sorted() && told.len() > 3, "{told:?}");
    let total = told[0].1;
    assert!(total > report.bytes && told.iter().all(|(done, of)| done <= of && *of == total));
    assert_eq!(told.last(), Some(&(total, total)));
    engine.close().unwrap();
    assert_eq!(engine.verify().unwrap_err().kind(), ErrorKind::Closed);
}

/// A store on disk whose files can be changed and are given right checksums
/// again.
struct Forgery {
    image: Image,
    manifest: Manifest,
}

impl Forgery {
    fn new() -> Self {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let engine = small().open(&path).unwrap();
        fill(&engine);
        sound(&engine);
        engine.close().unwrap();
        let image = read_image(&path);
        let manifest = Manifest::decode(&image[Path::new("MANIFEST")]).unwrap();
        Self { image, manifest }
    }

    /// The largest file of a kind, the oldest of these.
    fn name(&self, kind: FileKind) -> PathBuf {
        let of_kind = self.image.iter().filter(|(name, _)| data_kind(name) == Some(kind));
        of_kind.min_by_key(|(_, bytes)| Reverse(bytes.len())).unwrap().0.clone()
    }

    fn edit(&mut self, kind: FileKind, change: impl FnOnce(&mut Sections)) {
        let name = self.name(kind);
        let bytes = &self.image[&name];
        let layout = Layout::decode(kind, bytes, bytes.len() as u64).unwrap();
        let mut sections = read_file(&layout, bytes);
        change(&mut sections);
        let file = write_file(&layout, &sections);
        let number = layout.header.number as u32;
        let named = |of: &mut DataFile| {
            if of.number == number {
                *of = DataFile { number, ..file.1 };
            }
        };
        let m = &mut self.manifest;
        for table in [&mut m.nodes, &mut m.out, &mut m.in_edges, &mut m.keys] {
            table.iter_mut().for_each(|part| named(&mut part.file));
        }
        m.heaps.iter_mut().for_each(|heap| named(&mut heap.file));
        m.vectors.iter_mut().for_each(|vectors| named(&mut vectors.file));
        self.image.insert(name, file.0);
    }

    /// The store, which stays as long as the directory.
    fn open(mut self) -> (tempfile::TempDir, Engine) {
        self.image.insert("MANIFEST".into(), self.manifest.encode().unwrap());
        let dir = temp_dir();
        let path = dir.path().join("s");
        write_image(&path, &self.image);
        let engine = small().create(false).open(&path).unwrap();
        (dir, engine)
    }

    /// All that is found to be wrong, if it can be opened at all.
    fn verify(self) -> Vec<Error> {
        let (_dir, engine) = self.open();
        let report = engine.verify().unwrap();
        assert_eq!(report.more, 0);
        report.damage
    }
}

/// Sees that a forgery is found out, by these words about a file of this name.
#[track_caller]
fn forged(change: impl FnOnce(&mut Forgery), expected: &[(&str, &str)]) {
    let mut forgery = Forgery::new();
    change(&mut forgery);
    let damage = forgery.verify();
    let is = |error: &Error, (end, words): &(&str, &str)| {
        let Error::Corrupt { file, what, .. } = error else { panic!("{error}") };
        file.to_str().unwrap().ends_with(end) && what.contains(words)
    };
    for expected in expected {
        assert!(damage.iter().any(|error| is(error, expected)), "{expected:?}: {damage:#?}");
    }
    for error in &damage {
        assert!(expected.iter().any(|expected| is(error, expected)), "not expected: {error}");
    }
}

const NODE: usize = 32;
const EDGE: usize = 88;
/// Whose a vector is; its numbers are in another section.
const HEAD: usize = 32;

/// The rows of the first section.
fn rows(sections: &mut Sections) -> &mut Vec<u8> {
    &mut sections[0].2
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}

#[test]
fn files_rewritten_without_a_change_are_sound() {
    for kind in FileKind::DATA.into_iter().filter(|kind| *kind != FileKind::VectorIndex) {
        forged(|f| f.edit(kind, |_| {}), &[]);
    }
}

#[test]
fn nodes_that_are_wrong_under_right_checksums_are_found() {
    use FileKind::Nodes;
    let row = |n: usize| n * NODE;
    // Nodes 1, 2, 3, 4, 6, in rows 0 to 4.
    forged(
        |f| f.edit(Nodes, |s| put(rows(s), row(2) + 20, &[77])),
        &[(".nodes", "heap 77 is referred to but missing")],
    );
    forged(
        |f| f.edit(Nodes, |s| put(rows(s), row(2) + 26, &[77])),
        &[(".nodes", "beyond the end of heap")],
    );
    forged(
        |f| {
            f.edit(Nodes, |s| {
                let second = rows(s)[row(1)..row(2)].to_vec();
                rows(s).copy_within(row(2)..row(3), row(1));
                put(rows(s), row(2), &second);
            });
        },
        &[
            (".nodes", "is out of order"),
            (".nodes", "is listed as of kind"),
            // A search passes it by.
            (".out", "of an edge is missing"),
            (".in", "of an edge is missing"),
        ],
    );
    // The record of another node.
    forged(
        |f| {
            f.edit(Nodes, |s| {
                let place = rows(s)[row(0) + 20..row(1)].to_vec();
                put(rows(s), row(2) + 20, &place);
            });
        },
        &[
            (".nodes", "a key of node 03"),
            (".keys", "a key of node 03"),
            (".nodes", "does not list what its rows refer to"),
            ("MANIFEST", "live bytes"),
        ],
    );
    forged(
        |f| f.edit(Nodes, |s| put(rows(s), row(4) + 16, &[77])),
        &[
            (".nodes", "is of unknown kind 77"),
            (".nodes", "is listed as of kind"),
            (".vec", "has another kind"),
        ],
    );
    // Without the mark that the content is elsewhere: rows 1 and 2 have it.
    forged(
        |f| {
            f.edit(Nodes, |s| {
                assert_eq!(rows(s)[row(1) + 31], 0x80);
                put(rows(s), row(1) + 31, &[0]);
            });
        },
        &[(".heap", "disagree on where the content is")],
    );
    forged(
        |f| {
            f.edit(Nodes, |s| {
                rows(s).drain(row(1)..row(2));
                // As if it had never been in there.
                s[1].2[12..].copy_from_slice(&2_u32.to_le_bytes());
                s[2].2 = [0_u32, 1, 2, 3].map(u32::to_le_bytes).concat();
            });
        },
        &[
            ("MANIFEST", "5 nodes declared, 4 found"),
            ("MANIFEST", "5 vectors declared, 4 found"),
            ("MANIFEST", "live bytes"),
            ("MANIFEST", "live rows"),
            (".nodes", "does not list what its rows refer to"),
            (".keys", "which does not have it"),
            (".out", "node 02"),
            (".in", "node 02"),
        ],
    );
    // The record of a node begins with the length of its meta part.
    forged(
        |f| f.edit(FileKind::Heap, |s| put(rows(s), 8, &[0xc1])),
        &[(".heap", "record of node")],
    );
    forged(
        |f| f.manifest.nodes[0].first = vec![0; 16],
        &[(".nodes", "the manifest has another first node")],
    );
}

#[track_caller]
fn corrupt<T>(result: Result<T, Error>, end: &str, words: &str) {
    match result.map(drop) {
        Err(Error::Corrupt { file, what, .. }) => {
            assert!(file.to_str().unwrap().ends_with(end), "{}", file.display());
            assert!(what.contains(words), "{what}");
        }
        result => panic!("{result:?}"),
    }
}

#[test]
fn a_node_of_a_kind_without_a_name_is_refused_by_every_read() {
    let mut forgery = Forgery::new();
    // The last row, of node 6.
    forgery.edit(FileKind::Nodes, |s| put(rows(s), 4 * NODE + 16, &[77]));
    let (_dir, engine) = forgery.open();
    let (snapshot, id) = (engine.snapshot(), id_of_byte(6));
    let refused = (".nodes", "is of unknown kind 77");
    corrupt(snapshot.get(id), refused.0, refused.1);
    let many: Vec<NodeId> = (1..=6).map(id_of_byte).collect();
    corrupt(snapshot.get_many(&many), refused.0, refused.1);
    let scanned: Vec<_> = snapshot.scan_all().filter_map(Result::err).collect();
    assert_eq!(scanned.len(), 1, "{scanned:?}");
    corrupt::<()>(Err(scanned.into_iter().next().unwrap()), refused.0, refused.1);
    corrupt(snapshot.scan_all().rev().collect::<Result<Vec<_>, _>>(), refused.0, refused.1);
    corrupt(snapshot.digest(), refused.0, refused.1);
    let entries = snapshot.range("timeline", KeyRange::all(), Direction::Ascending).unwrap();
    corrupt(entries.collect::<Result<Vec<_>, _>>(), refused.0, refused.1);
    // A change would take the kind along.
    let mut batch = Batch::new();
    batch.patch(id, Patch::new().strength(0.5));
    corrupt(engine.write(batch), refused.0, refused.1);
    // Others are read.
    assert_eq!(snapshot.get(id_of_byte(2)).unwrap().unwrap().kind(), "note");
    assert!(
        engine.verify().unwrap().damage.iter().any(|error| {
            matches!(error, Error::Corrupt { what, .. } if what.contains(refused.1))
        })
    );
}

#[test]
fn an_edge_of_a_kind_without_a_name_is_refused_by_every_read() {
    let mut forgery = Forgery::new();
    // 3 before 4, in both tables.
    for (table, row) in [(FileKind::Out, 2), (FileKind::In, 3)] {
        forgery.edit(table, |s| put(rows(s), row * EDGE + 40, &[77]));
    }
    let (_dir, engine) = forgery.open();
    let (snapshot, words) = (engine.snapshot(), "an edge of unknown kind 77");
    let edges = || snapshot.edges_out(id_of_byte(3));
    corrupt(edges().collect::<Result<Vec<_>, _>>(), ".out", words);
    corrupt(edges().rev().collect::<Result<Vec<_>, _>>(), ".out", words);
    corrupt(snapshot.edges_in(id_of_byte(4)).collect::<Result<Vec<_>, _>>(), ".in", words);
    let mut edges = edges();
    assert!(edges.next().unwrap().is_err());
    let rest = snapshot.edges_out(id_of_byte(3)).after(&edges.cursor().unwrap()).unwrap();
    assert_eq!(rest.count(), 0, "it is passed by");
    corrupt(snapshot.digest(), ".out", words);
    assert_eq!(snapshot.edges_out(id_of_byte(1)).next().unwrap().unwrap().kind(), "before");
    assert!(
        engine
            .verify()
            .unwrap()
            .damage
            .iter()
            .any(|error| { matches!(error, Error::Corrupt { what, .. } if what.contains(words)) })
    );
}

#[test]
fn lists_of_kinds_and_heaps_that_are_wrong_under_right_checksums_are_found() {
    use FileKind::{Heap, Nodes};
    // Kinds: person from 0 (rows 0 and 2), note from 2 (rows 1, 3, 4).
    forged(
        |f| f.edit(Nodes, |s| put(&mut s[2].2, 4, &[1])),
        &[(".nodes", "row 1 is listed as of kind 0")],
    );
    forged(
        |f| f.edit(Nodes, |s| put(&mut s[2].2, 12, &[1])),
        &[(".nodes", "member 1 is out of order")],
    );
    forged(
        |f| f.edit(Nodes, |s| put(&mut s[2].2, 16, &[9])),
        &[(".nodes", "member 9 is out of order")],
    );
    forged(
        |f| f.edit(Nodes, |s| put(&mut s[1].2, 12, &[9])),
        &[(".nodes", "the members of a kind are out of place")],
    );
    forged(|f| f.edit(Heap, |s| s[0].0 += 100), &[(".heap", "section 1 is missing")]);
    forged(|f| f.edit(Nodes, |s| s[2].2.truncate(16)), &[(".nodes", "5 rows of 2 kinds")]);
    let list = (".nodes", "does not list what its rows refer to");
    forged(|f| f.edit(Nodes, |s| s[3].2[8] ^= 8), &[list]);
    forged(|f| f.edit(Nodes, |s| s[3].2[4] = 1), &[list]);
    forged(|f| f.edit(Nodes, |s| s[3].2.clear()), &[list]);
    forged(
        |f| f.edit(FileKind::Out, |s| s[1].2[8] ^= 8),
        &[(".out", "does not list what its rows refer to")],
    );
}

#[test]
fn edges_that_are_wrong_under_right_checksums_are_found() {
    use FileKind::{In, Out};
    let row = |n: usize| n * EDGE;
    // One edge in both tables.
    let both = [(Out, 2), (In, 3)];
    // Edges: 1 before 2, 2 before 3, 3 before 4, 6 about 1 with attributes.
    forged(
        |f| f.edit(In, |s| drop(rows(s).drain(row(2)..row(3)))),
        &[(".out", "it is not at its target")],
    );
    forged(
        |f| f.edit(Out, |s| drop(rows(s).drain(row(2)..row(3)))),
        &[(".in", "it is not at its source"), ("MANIFEST", "4 edges declared, 3 found")],
    );
    for at in [46, 48, 56, 64] {
        forged(
            |f| f.edit(In, |s| rows(s)[row(1) + at] ^= 0x80),
            &[(".out", "it differs at its other end")],
        );
    }
    // The length of attributes.
    forged(
        |f| f.edit(In, |s| rows(s)[row(0) + 80] ^= 1),
        &[(".out", "it differs at its other end")],
    );
    forged(|f| f.edit(In, |s| rows(s)[row(0) + 72] = 1), &[(".in", "that it must not have")]);
    forged(|f| f.edit(Out, |s| rows(s)[row(0) + 76] = 1), &[(".out", "that it must not have")]);
    forged(
        |f| f.edit(Out, |s| rows(s)[row(1) + 84] = 1),
        &[(".out", "reserved bytes of an edge are not zero")],
    );
    forged(
        |f| f.edit(Out, |s| rows(s)[row(3) + 72] = 77),
        &[(".out", "heap 77 is referred to but missing")],
    );
    // The slot of the attributes: the record of a node instead.
    forged(
        |f| {
            f.edit(Out, |s| {
                let slot: [u8; 4] = rows(s)[row(3) + 76..row(3) + 80].try_into().unwrap();
                let slot = u32::from_le_bytes(slot) - 2;
                put(rows(s), row(3) + 76, &slot.to_le_bytes());
            });
        },
        &[(".heap", "")],
    );
    forged(
        |f| both.iter().for_each(|(k, n)| f.edit(*k, |s| put(rows(s), row(*n) + 40, &[77]))),
        &[(".out", "an edge of unknown kind 77"), (".in", "an edge of unknown kind 77")],
    );
    forged(
        |f| {
            both.iter().for_each(|(k, n)| f.edit(*k, |s| put(rows(s), row(*n) + 54, &[0xf0, 0x7f])))
        },
        &[(".out", "an edge of weight inf"), (".in", "an edge of weight inf")],
    );
    // An edge to a node that is not there, at both ends: 6 about 9.
    forged(
        |f| {
            f.edit(Out, |s| put(rows(s), row(3) + 16, &[9; 16]));
            f.edit(In, |s| {
                rows(s).rotate_left(EDGE);
                put(rows(s), row(3), &[9; 16]);
            });
            f.manifest.in_edges[0].first[..16].copy_from_slice(&[2; 16]);
            f.manifest.in_edges[0].first[16..32].copy_from_slice(&[1; 16]);
            f.manifest.in_edges[0].first[40] = rows_kind(f, In);
        },
        &[(".in", "node 09")],
    );
    forged(
        |f| f.edit(In, |s| rows(s)[row(1)..row(3)].rotate_left(EDGE)),
        &[(".in", "an edge is out of order"), (".out", "it is not at its target")],
    );
    forged(|f| f.manifest.out[0].first[39] = 1, &[(".out", "the manifest has another first edge")]);
}

/// The kind of the first edge in a table.
fn rows_kind(f: &mut Forgery, kind: FileKind) -> u8 {
    let mut found = 0;
    f.edit(kind, |s| found = rows(s)[40]);
    found
}

/// Changes the entries of the key table as a whole.
fn edit_keys(f: &mut Forgery, change: impl FnOnce(&mut Vec<(u32, Vec<u8>, NodeId)>)) {
    f.edit(FileKind::Keys, |s| {
        let mut entries = Vec::new();
        for offset in s[1].2.chunks(4) {
            let offset = u32::from_le_bytes(offset.try_into().unwrap()) as usize;
            let place = IndexEntryRef::decode(&s[0].2[offset..]).unwrap();
            entries.push((place.index, place.key.to_vec(), place.node));
        }
        change(&mut entries);
        let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
        for (index, key, node) in &entries {
            offsets.extend((bytes.len() as u32).to_le_bytes());
            IndexEntryRef { index: *index, key, node: *node }.encode(&mut bytes);
        }
        s[0].2 = bytes;
        s[1].2 = offsets;
    });
}

#[test]
fn keys_that_are_wrong_under_right_checksums_are_found() {
    let foreign = (".keys", "which does not have it");
    let missing = (".nodes", "is not in the key table");
    // [1] [1 1] [2] [2 2] [3] [3 3] [4] [4 4] [6] [6 6], expiries of 1, 2, 3.
    forged(
        |f| {
            edit_keys(f, |entries| {
                assert_eq!(entries.len(), 13);
                entries.push((u32::MAX, vec![255; 8], id_of_byte(6)));
            });
        },
        &[foreign],
    );
    forged(
        |f| edit_keys(f, |entries| entries.insert(10, (0, vec![9], id_of_byte(6)))),
        &[foreign, ("MANIFEST", "10 keys declared, 11 found")],
    );
    forged(
        |f| edit_keys(f, |entries| drop(entries.remove(4))),
        &[missing, ("MANIFEST", "10 keys declared, 9 found")],
    );
    forged(|f| edit_keys(f, |entries| drop(entries.pop())), &[missing]);
    // As many as before.
    forged(|f| edit_keys(f, |entries| entries[4].2 = id_of_byte(6)), &[missing, foreign]);
    forged(|f| edit_keys(f, |entries| entries[4].2 = id_of_byte(9)), &[missing, foreign]);
    forged(
        |f| edit_keys(f, |entries| entries[9].0 = 7),
        &[missing, foreign, (".keys", "a key of unknown index 7")],
    );
    forged(
        |f| edit_keys(f, |entries| entries.swap(3, 4)),
        &[(".keys", "is out of order"), missing],
    );
    // Bytes that no offset leads to, and an offset that leads nowhere.
    forged(
        |f| f.edit(FileKind::Keys, |s| rows(s).extend([0; 3])),
        &[(".keys", "bytes of entries")],
    );
    forged(|f| f.edit(FileKind::Keys, |s| put(&mut s[1].2, 50, &[0xff])), &[(".keys", "")]);
}

#[test]
fn vectors_that_are_wrong_under_right_checksums_are_found() {
    use FileKind::Vectors;
    let row = |n: usize| n * HEAD;
    fn heads(sections: &mut Sections) -> &mut Vec<u8> {
        &mut sections[1].2
    }
    // The older file: 1 to 6, those of 4 and 5 dead. The newer: 4. First the
    // numbers, 12 bytes a row.
    let lost = |node| (".nodes", node);
    let live = ("MANIFEST", "live rows");
    let rows_of_file = ("MANIFEST", "rows, 4 live");
    forged(|f| f.edit(Vectors, |s| rows(s)[12] ^= 1), &[(".vec", "its length is")]);
    forged(|f| f.edit(Vectors, |s| heads(s)[row(1) + 24] ^= 1), &[(".vec", "its length is")]);
    forged(
        |f| f.edit(Vectors, |s| put(rows(s), 12 + 2, &[0x80, 0x7f])),
        &[(".vec", "is not finite"), (".vec", "its length is")],
    );
    forged(
        |f| {
            f.edit(Vectors, |s| {
                put(rows(s), 12, &[0; 12]);
                put(heads(s), row(1) + 24, &[0; 8]);
            });
        },
        &[(".vec", "a zero vector")],
    );
    forged(
        |f| f.edit(Vectors, |s| heads(s)[row(0) + 16] = 1),
        &[lost("the vector of node 01"), live],
    );
    forged(
        |f| f.edit(Vectors, |s| heads(s)[row(3) + 16] = 200),
        &[(".vec", "commit 200 is after the checkpoint")],
    );
    forged(
        |f| f.edit(Vectors, |s| heads(s)[row(0)..row(2)].rotate_left(HEAD)),
        &[
            (".vec", "is out of order"),
            (".vec", "its length is"),
            (".vec", "has another kind"),
            lost("the vector of node 0"),
            live,
        ],
    );
    forged(|f| f.edit(Vectors, |s| s[2].2[0] ^= 1), &[(".vec", "has another kind")]);
    // One vector in two files.
    forged(
        |f| {
            let name = f.name(Vectors);
            let bytes = f.image[&name].clone();
            let layout = Layout::decode(Vectors, &bytes, bytes.len() as u64).unwrap();
            let number = f.manifest.next_file;
            f.manifest.next_file += 1;
            let header = ingrain::format::Header { number: number.into(), ..layout.header };
            let sections = layout.sections.iter().map(|section| {
                let (from, len) = (section.offset as usize, section.len as usize);
                (section.tag, section.row_bytes, bytes[from..from + len].to_vec())
            });
            let (bytes, file) =
                write_file(&Layout::new(header, vec![]).unwrap(), &sections.collect());
            f.image.insert(format!("data/{number:010}.vec").into(), bytes);
            let copied = VectorFile { file, ..f.manifest.vectors[0].clone() };
            f.manifest.vectors.push(copied);
        },
        &[(".nodes", "is in 2 files")],
    );
    // A row that is live is taken for dead, and the other way round.
    forged(|f| f.manifest.vectors[0].dead[0] ^= 1, &[(".vec", "is marked dead"), rows_of_file]);
    forged(|f| f.manifest.vectors[0].dead[0] ^= 8, &[rows_of_file]);
}

#[test]
fn sums_of_the_manifest_that_are_wrong_are_found() {
    forged(|f| f.manifest.heaps[0].live += 8, &[("MANIFEST", "live bytes declared")]);
    forged(
        |f| f.manifest.vectors[0].live -= 1,
        &[("MANIFEST", "live rows declared"), ("MANIFEST", "3 live, 2 dead")],
    );
    forged(|f| f.manifest.counts.nodes += 1, &[("MANIFEST", "6 nodes declared, 5 found")]);
    forged(|f| f.manifest.counts.edges += 1, &[("MANIFEST", "5 edges declared, 4 found")]);
    forged(|f| f.manifest.counts.keys += 1, &[("MANIFEST", "11 keys declared, 10 found")]);
    forged(|f| f.manifest.counts.vectors += 1, &[("MANIFEST", "6 vectors declared, 5 found")]);
    forged(|f| f.manifest.kind_rows[0] -= 1, &[("MANIFEST", "rows declared")]);
    let another = "the file is not the one that the manifest names";
    forged(|f| f.manifest.keys[0].file.digest[0] ^= 1, &[(".keys", another)]);
}

#[cfg(feature = "sim")]
mod sim {
    use std::collections::BTreeSet;

    use ingrain::{Result, Snapshot, os::Fs, search::Filter, sim::SimDisk};

    use super::*;
    use crate::harness::disks::on_disk;

    const PATH: &str = "/s";

    fn on(disk: &SimDisk) -> Options {
        on_disk(disk, small())
    }

    fn files(disk: &SimDisk, below: &str) -> Vec<PathBuf> {
        let dir = Path::new(PATH).join(below);
        let mut files: Vec<_> =
            disk.list(&dir).unwrap().into_iter().map(|name| dir.join(name)).collect();
        files.sort();
        files
    }

    fn read(disk: &SimDisk, path: &Path) -> Vec<u8> {
        disk.map(path).unwrap().to_vec()
    }

    /// Everything that there is to read, in one text.
    fn read_all(snapshot: &Snapshot) -> Result<String> {
        let mut all = snapshot.digest()?.to_string();
        for n in 0..8 {
            for edge in snapshot.edges_in(id_of_byte(n)) {
                all += &format!("{:?}", edge?.to_exact_edge()?);
            }
        }
        for entry in snapshot.range("timeline", KeyRange::all(), Direction::Ascending)? {
            let entry = entry?;
            all += &format!("{:?} {}", entry.key, entry.node.id());
        }
        for id in snapshot.expired(Timestamp::from_micros(100)) {
            all += &id?.to_string();
        }
        for hit in snapshot.nearest("text", &[1.0, 0.5, 0.25], 9, &Filter::new())? {
            all += &format!("{} {}", hit.node.id(), hit.distance);
        }
        Ok(all)
    }

    fn only_in(report: &VerifyReport, path: &Path) -> bool {
        report.more == 0
            && !report.damage.is_empty()
            && report
                .damage
                .iter()
                .all(|error| matches!(error, Error::Corrupt { file, .. } if file == path))
    }

    /// I9: a flipped byte is never a wrong answer, and is always found.
    #[test]
    fn every_flipped_byte_of_a_base_is_found_and_never_a_wrong_answer() {
        let disk = SimDisk::new();
        let engine = on(&disk).open(PATH).unwrap();
        fill(&engine);
        let right = read_all(&engine.snapshot()).unwrap();
        engine.close().unwrap();
        let mut kinds = BTreeSet::new();
        let (mut refused, mut found, mut answered) = (0, 0, 0);
        for path in files(&disk, "data") {
            kinds.insert(path.extension().unwrap().to_owned());
            let bytes = read(&disk, &path);
            // All that is not filling, and some of that.
            for at in (0..bytes.len()).filter(|at| bytes[*at] != 0 || at % 61 == 0) {
                let mask = [0x01, 0x80, 0x10][at % 3];
                disk.flip(&path, at, mask).unwrap();
                let place = || format!("{} byte {at}", path.display());
                match on(&disk).open(PATH) {
                    Err(error) => {
                        // The version is told before anything else.
                        let kind = error.kind();
                        let version = (8..12).contains(&at) && kind == ErrorKind::Unsupported;
                        assert!(kind == ErrorKind::Corrupt || version, "{}: {error}", place());
                        refused += 1;
                    }
                    Ok(engine) => {
                        let read = || match read_all(&engine.snapshot()) {
                            Ok(answer) => {
                                assert!(answer == right, "{}: {answer}", place());
                                1
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", place());
                                0
                            }
                        };
                        answered += read();
                        let report = engine.verify().unwrap();
                        assert!(only_in(&report, &path), "{}: {:#?}", place(), report.damage);
                        read();
                        found += 1;
                    }
                }
                disk.flip(&path, at, mask).unwrap();
            }
        }
        println!("{refused} refused, {found} found, {answered} of them not met by a read");
        assert_eq!(kinds.len(), 6);
        assert!(refused > 500 && found > 3_000 && answered > 50);
        sound(&on(&disk).open(PATH).unwrap());
    }

    /// The engine is open: its log and its manifest are read again.
    #[test]
    fn damage_to_the_log_and_the_manifest_of_an_open_store_is_found() {
        let disk = SimDisk::new();
        let engine = on(&disk).wal_file_bytes(64 << 10).open(PATH).unwrap();
        fill(&engine);
        for n in 10..22 {
            let mut batch = Batch::new();
            batch.put(Node::new(id_of_byte(n), "note").content(vec![n; 20_000]));
            engine.write(batch).unwrap();
        }
        let log = files(&disk, "wal");
        let report = sound(&engine);
        assert_eq!(report.log_files, log.len() as u64);
        // Every commit was looked at, in the base or in the log.
        assert_eq!(report.seq.get() + report.log_batches, engine.snapshot().seq().get());
        assert!(report.log_batches >= 12);
        assert!(log.len() > 2);
        for path in log.iter().chain([&Path::new(PATH).join("MANIFEST")]) {
            let bytes = read(&disk, path);
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            for at in (0..end).filter(|at| *at < 64 || at % 211 == 0) {
                disk.flip(path, at, 0x10).unwrap();
                let report = engine.verify().unwrap();
                let version = (8..12).contains(&at);
                assert!(
                    version && !report.is_sound() || only_in(&report, path),
                    "{} byte {at}: {:#?}",
                    path.display(),
                    report.damage
                );
                disk.flip(path, at, 0x10).unwrap();
            }
        }
        // What follows the last frame is not written yet.
        let last = log.last().unwrap();
        let end = read(&disk, last).len() - 1;
        disk.flip(last, end, 1).unwrap();
        sound(&engine);
        disk.flip(last, end, 1).unwrap();
        // Files that are gone.
        let missing = |path: &Path| {
            let away = path.with_extension("away");
            disk.rename(path, &away).unwrap();
            let report = engine.verify().unwrap();
            disk.rename(&away, path).unwrap();
            report
        };
        for path in files(&disk, "data").iter().chain([&Path::new(PATH).join("MANIFEST")]) {
            let report = missing(path);
            assert!(only_in(&report, path), "{}: {:#?}", path.display(), report.damage);
        }
        for path in &log {
            let report = missing(path);
            // The last, of the files that are there, ends too early.
            assert!(!report.is_sound(), "{}", path.display());
        }
        sound(&engine);
    }
}
