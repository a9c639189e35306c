//! The file formats: golden files, round trips, malicious bytes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ingrain::{
    Batch, Edge, Engine, Method, Metric, Named, Node, NodeId, Op, Options, Patch, Seq, Snapshot,
    Space, Timestamp, Value,
    format::{
        FileKind, HEADER_BYTES, Header, OLDEST_VERSION, VERSION,
        contents::{Contents, Edges, Keys, Nodes, Vectors},
        manifest::{Counts, DataFile, HeapFile, Manifest, NamedSpace, TableFile, VectorFile},
        segment::File,
        wal::{FRAME_HEADER_BYTES, Frames, decode_batch, encode_batch},
    },
    index::{Index, attr, attr_path, created},
};
use proptest::{collection::vec, prelude::*};

use crate::harness::{
    any::any_op,
    clocks::TestClock,
    dirs::temp_dir,
    faults::FaultFs,
    files::{data_kind, golden_dir, golden_dir_of, read_image, write_image},
    graph::check_counts,
    nodes::id_of_byte,
    oracle::as_logged,
};

/// The store of the golden files: every operation, and every type of value.
fn write_golden(path: &Path) {
    let faults = FaultFs::new();
    faults.seed(0x1d);
    let clock = TestClock::default();
    clock.set(1_700_000_000_000_000);
    let engine = Options::new()
        .fs(faults.handle())
        .clock(Arc::new(clock))
        .wal_file_bytes(64 << 10)
        .index_rows(1)
        .inline(true) // It is the log that is compared: who writes when must be certain.
        .space("text", Space::new(3, Metric::Cosine))
        .index("timeline")
        .open(path)
        .unwrap();
    let mut batch = Batch::new();
    batch.put(
        Node::new(id_of_byte(1), "note")
            .content("content")
            .attribute("null", Value::Null)
            .attribute("bool", true)
            .attribute("int", -5_i64)
            .attribute("float", 0.5)
            .attribute("text", "text")
            .attribute("bytes", vec![0_u8, 255])
            .attribute("list", vec![Value::Int(300), Value::Bool(false)])
            .attribute("map", Value::Map([("k".to_owned(), Value::Int(1))].into()))
            .key("timeline", [1, 2, 3])
            .vector("text", [1.0, -2.0, 0.25]),
    );
    batch.put(Node::new(id_of_byte(2), "person").expires(Timestamp::from_micros(9)));
    batch.put_if_absent(Node::new(id_of_byte(3), "person"));
    batch.link(
        Edge::new(id_of_byte(1), "about", id_of_byte(2)).weight(0.5).attribute("since", 2_020_i64),
    );
    batch.link(Edge::new(id_of_byte(1), "about", id_of_byte(2)).discriminator(7));
    engine.write(batch).unwrap();
    // A file of each kind, and a log that goes on from them.
    engine.checkpoint().unwrap();
    let mut batch = Batch::new();
    let patch = Patch::new()
        .kind("memo")
        .content("changed")
        .attribute("int", 6_i64)
        .remove_attribute("null")
        .strength(0.75)
        .confidence(0.25)
        .keys("timeline", vec![vec![4], vec![5]])
        .remove_vector("text");
    batch.patch(id_of_byte(1), patch).touch(id_of_byte(1));
    // One that keeps the expiry, and one that clears it.
    batch.put(Node::new(id_of_byte(2), "person"));
    batch.put(Node::new(id_of_byte(2), "person").expires(None)).expire(id_of_byte(2), None);
    batch
        .unlink(id_of_byte(1), "about", id_of_byte(2))
        .delete(id_of_byte(3))
        .prune(id_of_byte(2), Timestamp::from_micros(-1));
    let (name, space) = ("other".to_owned(), Space::new(2, Metric::L2));
    batch.push(Op::CreateSpace { name: name.clone(), space });
    batch.push(Op::SetMethod { name: "text".to_owned(), method: Method::Pq8 });
    batch.push(Op::DropSpace { name });
    let by_int =
        Index::on([attr("int").or(Value::Null), attr_path(["map", "k"]).desc(), created()]);
    let index = Some(by_int.kinds(["memo", "person"]).unique());
    batch.push(Op::CreateIndex { name: "by_int".to_owned(), index });
    batch.push(Op::CreateIndex { name: "gone".to_owned(), index: None });
    batch.push(Op::DropIndex { name: "gone".to_owned() });
    let kept = Node::new(id_of_byte(2), "memo").content("kept as it is");
    batch.put_or_keep(kept).ensure(id_of_byte(4), "person").delete(id_of_byte(4));
    batch.increment(id_of_byte(1), "int", 2).increment(id_of_byte(1), "float", 0.25);
    batch.push(Op::IncrementWeight {
        source: id_of_byte(1),
        kind: "about".to_owned(),
        target: id_of_byte(2),
        discriminator: 7,
        by: 0.5,
    });
    // There and back, so that the names are those of older golden files.
    for (what, name) in [(Named::Kind, "memo"), (Named::Index, "timeline"), (Named::Space, "text")]
    {
        batch.rename(what, name, "other").rename(what, "other", name);
    }
    engine.write(batch).unwrap();
    engine.build_index("by_int").unwrap();
    engine.close().unwrap();
}

/// `INGRAIN_GOLDEN=write cargo test golden` makes the files again, after a
/// change of the format that bumps its version.
#[test]
fn golden_files_are_written_as_ever() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    write_golden(&path);
    let mut image = read_image(&path);
    image.remove(Path::new("LOCK"));
    if std::env::var_os("INGRAIN_GOLDEN").is_some_and(|value| value == "write") {
        write_image(&golden_dir(), &image);
    }
    let golden = read_image(&golden_dir());
    assert_eq!(golden.keys().collect::<Vec<_>>(), image.keys().collect::<Vec<_>>());
    for (name, bytes) in &golden {
        assert!(*bytes == image[name], "{} is not what it was", name.display());
    }
}

#[test]
fn golden_files_are_read_as_ever() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    write_image(&path, &read_image(&golden_dir()));
    let engine = Options::new().create(false).open(&path).unwrap();
    let s = engine.snapshot();
    assert_eq!((s.seq(), s.node_count(), s.edge_count()), (Seq::new(4), 2, 1));
    assert_eq!(s.query("by_int").eq(8).eq(1).count().unwrap(), 1);
    let node = s.get(id_of_byte(1)).unwrap().unwrap();
    assert_eq!((node.kind(), node.content()), ("memo", b"changed".as_slice()));
    assert_eq!((node.strength(), node.confidence(), node.access_count()), (0.75, 0.25, 1));
    assert_eq!(node.created().as_micros(), 1_700_000_000_000_000);
    assert_eq!(
        node.keys().map(|(i, k)| (i, k.to_vec())).collect::<Vec<_>>(),
        [("timeline", vec![4]), ("timeline", vec![5])]
    );
    assert_eq!((node.attributes().unwrap().len(), node.vector("text").unwrap()), (7, None));
    let edge = s.edges_in(id_of_byte(2)).next().unwrap().unwrap();
    assert_eq!((edge.discriminator(), edge.weight(), edge.kind()), (7, 1.5, "about"));
    let numbers = node.attributes().unwrap();
    assert_eq!((&numbers["int"], &numbers["float"]), (&Value::Int(8), &Value::Float(0.75)));
}

/// Each older version is read as it was, goes on in the current one, and each of
/// its files can be mixed with newer ones.
#[test]
fn a_store_of_a_version_before_is_read_and_goes_on_in_this_one() {
    for version in OLDEST_VERSION..VERSION {
        goes_on(version);
    }
}

/// The counts by kind are those of the nodes and edges, also where the manifest does
/// not have them.
fn counted(snapshot: &Snapshot) {
    let nodes: Vec<&str> = snapshot.scan_all().map(|node| node.unwrap().kind()).collect();
    let edges: Vec<&str> = snapshot.edges().map(|edge| edge.unwrap().kind()).collect();
    assert_eq!((nodes.len(), edges.len()), (snapshot.node_count(), snapshot.edge_count()));
    check_counts(snapshot, nodes.into_iter(), edges.into_iter());
}

fn goes_on(old: u32) {
    let dir = temp_dir();
    let path = dir.path().join("s");
    write_image(&path, &read_image(&golden_dir_of(old)));
    let versions = || -> BTreeMap<PathBuf, u32> {
        let image = read_image(&path).into_iter().filter(|(name, _)| !name.ends_with("LOCK"));
        image
            .map(|(name, bytes)| {
                let kind = FileKind::of(&bytes).unwrap();
                (name, Header::decode(kind, &bytes).unwrap().version)
            })
            .collect()
    };
    let before = versions();
    assert!(before.values().all(|version| *version == old), "{before:?}");
    let digest = {
        let engine = Options::new().create(false).open(&path).unwrap();
        let snapshot = engine.snapshot();
        assert_eq!(
            (snapshot.seq(), snapshot.node_count(), snapshot.edge_count()),
            (Seq::new(3), 2, 1)
        );
        assert_eq!(snapshot.get(id_of_byte(1)).unwrap().unwrap().content(), b"changed");
        counted(&snapshot);
        assert!(engine.verify().unwrap().is_sound());
        snapshot.digest().unwrap()
    };
    let engine = Engine::open(&path).unwrap();
    assert_eq!(engine.snapshot().digest().unwrap(), digest);
    let soon = Timestamp::from_micros(9);
    engine.write(Batch::new().put(Node::new(id_of_byte(9), "person").expires(soon))).unwrap();
    engine.write(Batch::new().put(Node::new(id_of_byte(9), "person").content("kept"))).unwrap();
    drop(engine); // Without a checkpoint of its own: the log is replayed.
    let engine = Engine::open(&path).unwrap();
    counted(&engine.snapshot());
    let kept = engine.snapshot().get(id_of_byte(9)).unwrap().unwrap().expires();
    assert_eq!(kept, Some(soon));
    engine.compact().unwrap();
    assert!(engine.verify().unwrap().is_sound());
    counted(&engine.snapshot());
    engine.close().unwrap();
    let after = versions();
    assert!(after.values().all(|version| *version == VERSION), "{after:?}");
}

/// Version 2 had one form of a put, in which no expiry means never.
#[test]
fn a_put_of_version_2_without_an_expiry_clears_it() {
    let mut payload = vec![0x92, 0x07, 0x9e, 0x01, 0xc4, 0x10];
    payload.extend([5; 16]);
    payload.extend([0xa1, b'k', 0xc4, 0x00, 0x80]); // Kind, content, attributes.
    payload.extend([0xca, 0x3f, 0x80, 0, 0, 0xca, 0x3f, 0x80, 0, 0]); // Scores of 1.
    payload.extend([0xc0; 5]); // Times, access count, expiry.
    payload.extend([0x90, 0x90]);
    let batch = decode_batch(&payload).unwrap();
    let never = Node::new(NodeId::from_bytes([5; 16]), "k").expires(None);
    assert_eq!(batch.ops, [Op::put(never)]);
    assert_eq!(encode_batch(batch.time, &batch.ops).unwrap(), payload);
}

/// Every flip and every truncation, by the parser; the engine, which reads
/// through it block by block, is tried on some by the tests of the base.
fn continue_with_data_file(kind: FileKind, bytes: &[u8]) {
    let check = |bytes: &[u8]| {
        let file = File::decode(kind, bytes)?;
        file.damage().next().map_or_else(|| Ok(file.digest()), Err)
    };
    let whole = check(bytes).unwrap();
    let mut damaged = bytes.to_vec();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80] {
            damaged[at] ^= flip;
            // The unused part of a checksum page is under its own checksum.
            assert!(check(&damaged).ok() != Some(whole), "{kind:?} byte {at}");
            damaged[at] ^= flip;
        }
        assert!(check(&bytes[..at]).is_err(), "{kind:?} cut at {at}");
    }
}

/// What the parsers make of a file is all that it holds: it can be written
/// again from it.
#[test]
fn data_files_are_what_their_contents_encode_to() {
    let mut kinds = 0;
    for (name, bytes) in read_image(&golden_dir()) {
        let Some(kind) = data_kind(&name) else { continue };
        assert_eq!(FileKind::of(&bytes), Some(kind));
        let file = File::decode(kind, &bytes).unwrap();
        assert_eq!(file.damage().next(), None);
        let contents = Contents::decode(&file).unwrap();
        contents.check().unwrap();
        let again = contents.encode(file.layout().header).unwrap();
        assert!(again == bytes, "{} is not what it was", name.display());
        for other in FileKind::DATA.into_iter().filter(|other| *other != kind) {
            let header = Header { kind: other, ..file.layout().header };
            assert!(contents.encode(header).is_err(), "{kind:?} as {other:?}");
        }
        kinds += 1;
    }
    assert!(kinds >= FileKind::DATA.len());
}

#[test]
fn contents_that_no_engine_writes_are_noticed() {
    let image = read_image(&golden_dir());
    let of_kind = |kind| image.iter().find(|(name, _)| data_kind(name) == Some(kind)).unwrap().1;
    let header = |kind| Header::new(kind, [1; 16], 1, 2);
    // A file that is whole, with these contents.
    let found = |kind, contents: Contents<'_>| {
        let bytes = contents.encode(header(kind)).unwrap();
        let file = File::decode(kind, &bytes).unwrap();
        assert_eq!(file.damage().next(), None);
        Contents::decode(&file).and_then(|contents| contents.check()).unwrap_err().what
    };
    for kind in [FileKind::Nodes, FileKind::Out, FileKind::In, FileKind::Keys, FileKind::Vectors] {
        let file = File::decode(kind, of_kind(kind)).unwrap();
        let what = match Contents::decode(&file).unwrap() {
            Contents::Nodes(nodes) => {
                let rows: Vec<_> = nodes.rows.iter().rev().copied().collect();
                assert!(rows.len() > 1);
                let members = &nodes.members[1..];
                let short = Contents::Nodes(Nodes { members, ..nodes });
                assert!(found(kind, short).contains("not as many"));
                found(kind, Contents::Nodes(Nodes { rows: &rows, ..nodes }))
            }
            Contents::Edges(edges) => {
                let rows = [edges.rows[0], edges.rows[0]];
                found(kind, Contents::Edges(Edges { rows: &rows, ..edges }))
            }
            Contents::Keys(keys) => {
                let offsets = vec![keys.offsets[0]; 2];
                assert!(
                    found(kind, Contents::Keys(Keys { offsets: &offsets, ..keys }))
                        .contains("does not begin here")
                );
                let entries = &keys.entries[..keys.entries.len() - 1];
                let cut = found(kind, Contents::Keys(Keys { entries, ..keys }));
                assert!(cut.contains("is cut"), "{cut}");
                continue;
            }
            Contents::Vectors(vectors) => {
                let kinds = &[vectors.kinds[0]; 2];
                found(kind, Contents::Vectors(Vectors { kinds, ..vectors }))
            }
            _ => unreachable!(),
        };
        assert!(what.contains("out of order") || what.contains("2 kinds for 1"), "{what}");
    }
}

#[test]
fn every_flip_and_every_truncation_of_a_golden_file_is_noticed() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let golden = read_image(&golden_dir());
    let mut tried = 0;
    for (name, bytes) in &golden {
        if let Some(kind) = data_kind(name) {
            continue_with_data_file(kind, bytes);
            continue;
        }
        // What lies behind the frames of a log is zeros, which may be cut.
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for at in 0..end {
            for flip in [0x01, 0x80] {
                let mut image = golden.clone();
                image.get_mut(name).unwrap()[at] ^= flip;
                write_image(&path, &image);
                Engine::open(&path).expect_err(&format!("{} byte {at}", name.display()));
                tried += 1;
            }
            let mut image = golden.clone();
            image.get_mut(name).unwrap().truncate(at);
            write_image(&path, &image);
            Engine::open(&path).expect_err(&format!("{} cut at {at}", name.display()));
        }
    }
    assert!(tried > 1_000);
    write_image(&path, &golden);
    Engine::open(&path).unwrap();
}

#[test]
fn a_manifest_survives_the_round_trip_and_nothing_else() {
    let file = |number| DataFile { number, len: 12_288, digest: [number as u8; 16] };
    let table = |number| TableFile { file: file(number), first: vec![number as u8; 44] };
    let manifest = Manifest {
        store: [3; 16],
        generation: 9,
        checkpoint: Seq::new(5),
        durable: Seq::new(77),
        salvaging: true,
        next_file: 9,
        kinds: vec!["note".to_owned(), "é".to_owned()],
        kind_numbers: Vec::new(),
        next_kind: Some(3),
        kind_rows: vec![1, 2],
        index_numbers: Vec::new(),
        next_index: None,
        declared: Vec::new(),
        indexes: vec!["timeline".to_owned()],
        space_numbers: vec![4],
        next_space: None,
        spaces: vec![NamedSpace {
            method: Method::Hnsw,
            vectors: 4,
            dropped: true,
            ..NamedSpace::new("text".to_owned(), Space::new(3, Metric::Dot))
        }],
        counts: Counts { nodes: 1, edges: 2, keys: 3, vectors: 4 },
        heaps: vec![HeapFile { file: file(1), live: 99 }],
        nodes: vec![table(2), table(3)],
        out: vec![table(4)],
        in_edges: vec![table(5)],
        keys: vec![table(8)],
        vectors: vec![VectorFile {
            file: file(6),
            space: 0,
            live: 7,
            dead: vec![1, 2],
            codes: Some(file(0)),
            graph: Some(file(7)),
        }],
    };
    let bytes = manifest.encode().unwrap();
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
    // Numbers of names have one form.
    let wrong: [fn(&mut Manifest); 8] = [
        |m| m.kind_numbers = vec![0, 1],
        |m| m.kind_numbers = vec![7, 3],
        |m| m.kind_numbers = vec![3, 3],
        |m| m.kind_numbers = vec![3],
        |m| m.next_kind = Some(2),
        |m| m.kind_rows = vec![1],
        |m| m.space_numbers = vec![0],
        |m| m.next_space = Some(5),
    ];
    for change in wrong {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        let error = Manifest::decode(&manifest.encode().unwrap()).unwrap_err();
        assert!(error.what.contains("numbers of kinds"), "{}", error.what);
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(Manifest::decode(&longer).unwrap_err().what.contains("declared"));
    // A whole file of another kind is none.
    let wal = Header::new(FileKind::Wal, [3; 16], 9, 0).encode();
    assert!(Manifest::decode(&wal).unwrap_err().what.contains("magic"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn payloads_survive_the_round_trip(ops in vec(any_op(), 0..6), time in any::<i64>()) {
        let bytes = encode_batch(Timestamp::from_micros(time), &ops).unwrap();
        let batch = decode_batch(&bytes).unwrap();
        prop_assert_eq!(batch.time.as_micros(), time);
        prop_assert_eq!(encode_batch(batch.time, &batch.ops).unwrap(), bytes.clone());
        prop_assert_eq!(batch.ops, as_logged(&ops));
        for cut in 0..bytes.len() {
            prop_assert!(decode_batch(&bytes[..cut]).is_err());
        }
    }

    #[cfg(feature = "exchange")]
    #[test]
    fn lines_survive_the_round_trip(ops in vec(any_op(), 1..20)) {
        use ingrain::exchange::lines::{CONTENT_FIELDS, EdgeLine, NodeLine};

        for op in ops {
            match op {
                Op::Put { node, .. } => {
                    let line = NodeLine::from(node);
                    let text = serde_json::to_vec(&line.encode()).unwrap();
                    let again = NodeLine::decode(&text, &CONTENT_FIELDS).unwrap();
                    prop_assert_eq!(line, again);
                }
                Op::Link { edge } => {
                    let (source, target) = (edge.source.to_string(), edge.target.to_string());
                    let confidence = Some(edge.confidence);
                    let line = EdgeLine { source, target, edge, named: true, confidence };
                    let text = serde_json::to_vec(&line.encode()).unwrap();
                    prop_assert_eq!(&EdgeLine::decode(&text).unwrap(), &line);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn hostile_payloads_are_errors_at_most(
        ops in vec(any_op(), 1..3),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        noise in vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = encode_batch(Timestamp::default(), &ops).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode_batch(&bytes);
        let _ = decode_batch(&noise);
        let _ = Manifest::decode(&noise);
        let _ = Header::decode(FileKind::Wal, &noise);
    }

    #[test]
    fn frames_open_only_where_they_were_sealed(
        payloads in vec(vec(any::<u8>(), 1..40), 1..5),
        salt in any::<u64>(),
        other in any::<u64>(),
    ) {
        let header = Header::new(FileKind::Wal, [1; 16], 1, salt);
        let frames = Frames::new(&header);
        let mut bytes = Vec::new();
        for (n, payload) in payloads.iter().enumerate() {
            frames.seal(Seq::new(n as u64 + 1), Seq::new(n as u64), payload, &mut bytes);
        }
        let mut at = 0;
        for (n, payload) in payloads.iter().enumerate() {
            let frame = frames.open(&bytes, at).unwrap();
            prop_assert_eq!(frame.payload, payload.as_slice());
            prop_assert_eq!((frame.seq.get(), frame.durable.get()), (n as u64 + 1, n as u64));
            prop_assert_eq!(frame.size, Frames::size(payload.len()));
            if other != salt {
                let stranger = Frames::new(&Header { salt: other, ..header });
                prop_assert!(stranger.open(&bytes, at).is_none());
            }
            let stranger = Frames::new(&Header { store: [2; 16], ..header });
            prop_assert!(stranger.open(&bytes, at).is_none());
            at += frame.size;
        }
        prop_assert!(frames.open(&bytes, at).is_none());
        prop_assert!(frames.open(&bytes, at - FRAME_HEADER_BYTES).is_none());
    }
}

#[test]
fn declared_lengths_are_held_to_what_is_there() {
    // An array of four billion operations, and content of four billion bytes,
    // in a payload of a few: refused before anything is allocated for them.
    for bytes in
        [&[0xdd, 0xff, 0xff, 0xff, 0xff, 0][..], &[0x92, 0, 0x92, 5, 0xc6, 0xff, 0xff, 0xff, 0xff]]
    {
        let damage = decode_batch(bytes).unwrap_err();
        assert!(damage.what.contains("declared"), "{damage}");
    }
    // Values that nest without end.
    let mut deep = vec![0x92, 0, 0x9e, 1];
    deep.extend([0xc4, 16]);
    deep.extend([0; 16]);
    deep.extend([0xa1, b'n', 0xc4, 0, 0x81, 0xa1, b'a']);
    deep.extend(vec![0x91; 1_000_000]);
    let damage = decode_batch(&deep).unwrap_err();
    assert!(damage.what.contains("deeper"), "{damage}");
}

#[test]
fn the_header_is_as_documented() {
    let header = Header::new(FileKind::Wal, [7; 16], 0x0102, 0x0304);
    let bytes = header.encode();
    assert_eq!(bytes.len(), HEADER_BYTES);
    assert_eq!(&bytes[..8], b"INGRAINW");
    assert_eq!(bytes[8..12], [4, 0, 0, 0]);
    assert_eq!(bytes[16..32], [7; 16]);
    assert_eq!(bytes[32..40], [2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[40..48], [4, 3, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[60..], crc32fast::hash(&bytes[..60]).to_le_bytes());
}

#[test]
fn golden_files_are_small() {
    let size: u64 = fs::metadata(golden_dir().join("wal/00000000000000000003.wal")).unwrap().len();
    assert!(size < 64 << 10);
}
