//! Whole stores out and in again: directories, archives, and what is left of
//! one that was damaged or cut off.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    process::Stdio,
};

use ingrain::{
    Batch, Durability, Edge, Engine, Method, Metric, Node, NodeId, Op, Options, Space, Timestamp,
    Value,
    admin::Digest,
    index::{Index, attr, created},
    limits,
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::json;

use crate::fixture::{Dir, NODES, npy, small};

/// A store: spaces with their methods, indexes, nodes, edges, and whether
/// it is in the base files or in the log.
#[derive(Debug, Clone)]
struct Store {
    spaces: BTreeMap<String, (Space, Method)>,
    indexes: BTreeSet<String>,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    in_base: bool,
}

fn name() -> impl Strategy<Value = String> {
    let special = [
        "id", "kind", "content", "text", "source", "type", "weight", "$x", "$bytes", "$map",
        "$node",
    ];
    prop_oneof![
        1 => prop::sample::select(special.to_vec()).prop_map(str::to_owned),
        2 => "[a-c]{1,2}",
        1 => any::<String>().prop_filter("a name", |name| (1..=255).contains(&name.len())),
    ]
}

fn float() -> impl Strategy<Value = f64> {
    let finite = any::<f64>().prop_filter("finite", |number| number.is_finite());
    prop_oneof![
        finite,
        prop::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            1e19,
            9_223_372_036_854_775_808.0,
            1.8446744073709552e19,
            1e300,
            5e-324
        ]),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        prop::sample::select(vec![i64::MIN, i64::MAX, (1 << 53) + 1]).prop_map(Value::Int),
        float().prop_map(Value::Float),
        any::<String>().prop_map(Value::Text),
        vec(any::<u8>(), 0..6).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::List),
            prop::collection::btree_map(name(), inner, 0..3).prop_map(Value::Map),
        ]
    })
}

fn attributes() -> impl Strategy<Value = BTreeMap<String, Value>> {
    prop::collection::btree_map(name(), value(), 0..4)
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![any::<i64>(), -9..9_i64].prop_map(Timestamp::from_micros)
}

/// Finite numbers of any size, but not so close to zero that a cosine has no
/// direction.
fn component() -> impl Strategy<Value = f32> {
    let far =
        any::<f32>().prop_filter("finite", |x| x.is_finite() && x.abs() > 1e-9 && x.abs() < 1e15);
    prop_oneof![far, -4.0..-1.0_f32, Just(1.0 / 3.0)]
}

type SpaceNames = Vec<(String, usize)>;

fn node(id: NodeId, spaces: SpaceNames, indexes: Vec<String>) -> impl Strategy<Value = Node> {
    let vectors: Vec<_> = spaces
        .into_iter()
        .map(|(name, dimension)| (Just(name), option::of(vec(component(), dimension))))
        .collect();
    let key = (0..indexes.len().max(1), vec(any::<u8>(), 0..4));
    let content =
        prop_oneof![vec(any::<u8>(), 0..20), any::<String>().prop_map(String::into_bytes),];
    let scores = (
        any::<f32>().prop_filter("finite", |x| x.is_finite()),
        prop_oneof![0.0..=1.0_f32, Just(1.0)],
    );
    let times = (option::of(time()), option::of(time()), option::of(time()), option::of(time()));
    let count = prop_oneof![0..3_u64, any::<u64>(), Just(u64::MAX)];
    ((name(), content, attributes()), scores, times, count, vec(key, 0..4), vectors).prop_map(
        move |((kind, content, attributes), scores, times, count, keys, vectors)| {
            let mut node = Node::new(id, kind).content(content).access_count(count);
            node.attributes = attributes;
            (node.strength, node.confidence) = scores;
            (node.created, node.updated, node.accessed) = (times.0, times.1, times.2);
            node.expires = times.3.into();
            for (index, key) in keys {
                if let Some(index) = indexes.get(index) {
                    node = node.key(index.as_str(), key);
                }
            }
            for (name, vector) in vectors {
                if let Some(vector) = vector {
                    node = node.vector(name, vector);
                }
            }
            node
        },
    )
}

fn edge(ids: Vec<NodeId>) -> impl Strategy<Value = Edge> {
    let id = prop::sample::select(ids);
    let number = prop_oneof![0..3_u64, any::<u64>(), Just(u64::MAX), Just(1 << 63)];
    let times = (option::of(time()), option::of(time()));
    ((id.clone(), "[a-b]|.{1,3}", id), number, float(), 0.0..=1.0_f32, attributes(), times)
        .prop_map(|((source, kind, target), number, weight, confidence, attributes, times)| {
            let mut edge = Edge::new(source, kind, target)
                .discriminator(number)
                .weight(weight)
                .confidence(confidence);
            edge.attributes = attributes;
            (edge.created, edge.updated) = times;
            edge
        })
}

fn any_store() -> impl Strategy<Value = Store> {
    let metric = prop::sample::select(vec![Metric::Cosine, Metric::Dot, Metric::L2]);
    let method = prop::sample::select(vec![
        Method::Auto,
        Method::Exact,
        Method::Pq4,
        Method::Pq8,
        Method::Hnsw,
    ]);
    let space = (1..5_usize, metric, method)
        .prop_map(|(dimension, metric, method)| (Space::new(dimension, metric), method));
    let spaces = prop::collection::btree_map(name(), space, 0..5);
    let indexes = prop::collection::btree_set(name(), 0..3);
    // Ids of names, with the attribute that keeps the name, and others.
    let ids = prop::collection::btree_set(
        prop_oneof![
            any::<[u8; 16]>().prop_map(NodeId::from_bytes),
            Just(NodeId::from_content(b"dog")),
        ],
        0..6,
    );
    (spaces, indexes, ids, any::<bool>()).prop_flat_map(|(spaces, indexes, ids, in_base)| {
        let ids: Vec<NodeId> = ids.into_iter().collect();
        let names: SpaceNames =
            spaces.iter().map(|(name, (space, _))| (name.clone(), space.dimension)).collect();
        let known: Vec<String> = indexes.iter().cloned().collect();
        let nodes: Vec<_> =
            ids.iter().map(|id| node(*id, names.clone(), known.clone()).boxed()).collect();
        let edges =
            if ids.is_empty() { Just(Vec::new()).boxed() } else { vec(edge(ids), 0..8).boxed() };
        (nodes, edges).prop_map(move |(nodes, edges)| Store {
            spaces: spaces.clone(),
            indexes: indexes.clone(),
            nodes,
            edges,
            in_base,
        })
    })
}

impl Store {
    fn write(&self, dir: &Dir, name: &str) -> Digest {
        let engine =
            Options::new().inline(true).durability(Durability::Os).open(dir.path(name)).unwrap();
        let mut batch = Batch::new();
        for (name, (space, method)) in &self.spaces {
            batch.push(Op::CreateSpace { name: name.clone(), space: *space });
            batch.push(Op::SetMethod { name: name.clone(), method: *method });
        }
        for name in &self.indexes {
            batch.push(Op::CreateIndex { name: name.clone(), index: None });
        }
        let derived = Index::on([created().desc(), attr("a").or(Value::Null)]);
        batch.push(Op::CreateIndex { name: "of fields".to_owned(), index: Some(derived) });
        write(&engine, &mut batch);
        for mut node in self.nodes.clone() {
            if node.id == NodeId::from_content(b"dog") {
                node = node.attribute("id", "dog");
            }
            // Each in a commit of its own: versions are none of the content.
            engine.write(Batch::new().put(node)).unwrap();
        }
        for edge in self.edges.clone() {
            batch.link(edge);
        }
        write(&engine, &mut batch);
        if self.in_base {
            engine.checkpoint().unwrap();
        }
        let digest = engine.snapshot().digest().unwrap();
        engine.close().unwrap();
        digest
    }
}

/// Writes a batch, unless there is nothing in it.
fn write(engine: &Engine, batch: &mut Batch) {
    if !batch.is_empty() {
        engine.write(batch).unwrap();
    }
}

fn digest(dir: &Dir, store: &str) -> Digest {
    let engine = Options::new()
        .create(false)
        .inline(true)
        .durability(Durability::Os)
        .open(dir.path(store))
        .unwrap();
    engine.snapshot().digest().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// An export of a store, in each form, is imported to an equal store, whose
    /// export is the same, byte for byte.
    #[test]
    fn any_store_goes_out_and_in(
        store in any_store(),
        form in prop::sample::select(vec!["x", "x.tar", "x.tar.gz", "x.tgz"]),
    ) {
        let dir = Dir::new();
        let before = store.write(&dir, "a");
        dir.ok(&format!("export --store @a @{form}"));
        let done = dir.json(&format!("import --store @b @{form} --durability os")).pop().unwrap();
        prop_assert_eq!(digest(&dir, "b"), before);
        prop_assert_eq!(&done["equal"], &json!(true));
        dir.ok("export --store @a @one");
        dir.ok("export --store @b @two");
        for file in fs::read_dir(dir.path("one")).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            prop_assert_eq!(
                dir.read(&format!("one/{name}")) == dir.read(&format!("two/{name}")),
                true,
                "{}", name
            );
        }
        // A second import finds everything there.
        let again = dir.json(&format!("import --store @b @{form}")).pop().unwrap();
        prop_assert_eq!(&again["written_nodes"], &json!(0));
        prop_assert_eq!(&again["written_edges"], &json!(0));
        prop_assert_eq!(&again["equal"], &json!(true));
    }
}

/// More spaces than files that may be open at a time would allow.
#[test]
fn many_spaces_go_out_and_in() {
    let dir = Dir::new();
    let engine =
        Options::new().inline(true).durability(Durability::Os).open(dir.path("a")).unwrap();
    let mut batch = Batch::new();
    for n in 0..150_u8 {
        let space = Space::new(1, Metric::L2);
        batch.push(Op::CreateSpace { name: format!("space {n}"), space });
    }
    engine.write(&mut batch).unwrap();
    for n in 0..150_u8 {
        let spaces = [0_u16, 70, 130].map(|more| (u16::from(n) + more) % 150);
        let mut node = Node::new(NodeId::from_content(&[n]), "note").access_count(7);
        for space in spaces {
            node = node.vector(format!("space {space}"), [f32::from(n)]);
        }
        batch.put(node);
    }
    engine.write(&mut batch).unwrap();
    engine.close().unwrap();
    dir.ok("export --store @a @x.tar");
    dir.ok("import --store @b @x.tar");
    assert_eq!(digest(&dir, "a"), digest(&dir, "b"));
}

/// The largest that a store takes is not too large for a line.
#[test]
fn the_largest_of_everything_goes_out_and_in() {
    let dir = Dir::new();
    let long = "\u{1}".repeat(limits::NAME_BYTES);
    let engine = Options::new()
        .inline(true)
        .durability(Durability::Os)
        .space(&*long, Space::new(limits::DIMENSION, Metric::Dot))
        .index(&*long)
        .open(dir.path("a"))
        .unwrap();
    // Maps that have to be marked, one in another.
    let mut deep = Value::Bytes(vec![0; 9]);
    for _ in 1..limits::VALUE_DEPTH {
        deep = Value::map([("$bytes", deep)]);
    }
    let (id, text) = (NodeId::from_content(b"x"), "\u{1}".repeat(limits::CONTENT_BYTES));
    let mut node = Node::new(id, &*long).content(text).attribute("deep", deep);
    for n in 0..limits::NODE_KEYS as u16 {
        node = node.key(&*long, [n.to_be_bytes().as_slice(), &[7; limits::KEY_BYTES - 2]].concat());
    }
    let names = (0..limits::ATTRIBUTES - 1).map(|n| (format!("{n:0>255}"), "\u{1}".repeat(500)));
    let node = node.attributes(names).vector(&*long, vec![f32::MAX; limits::DIMENSION]);
    engine.write(Batch::new().put(node)).unwrap();
    let edge = Edge::new(id, &*long, id).discriminator(u64::MAX).attribute(&*long, &*long);
    engine.write(Batch::new().link(edge)).unwrap();
    let before = engine.snapshot().digest().unwrap();
    drop(engine);
    dir.ok("export --store @a @x");
    dir.ok("import --store @b @x --durability os");
    assert_eq!(digest(&dir, "b"), before);
}

#[test]
fn an_export_runs_through_pipes() {
    let dir = small();
    let mut export = dir.command("export --store @a -");
    let mut export = export.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut import = dir.command("import --store @b - --json");
    let output = import.stdin(export.stdout.take().unwrap()).output().unwrap();
    let export = export.wait_with_output().unwrap();
    assert!(export.status.success() && output.status.success(), "{export:?} {output:?}");
    // The summary did not go into the archive.
    assert!(String::from_utf8(export.stderr).unwrap().contains("exported"));
    assert_eq!(digest(&dir, "a"), digest(&dir, "b"));
    // What others packed, with another directory around it or none.
    dir.ok("export --store @a @x");
    for (name, inside) in [("one", "x/"), ("two", ""), ("three", "./"), ("four", "a/b/x/")] {
        let mut archive = tar::Builder::new(Vec::new());
        for file in fs::read_dir(dir.path("x")).unwrap() {
            let path = file.unwrap().path();
            let place = format!("{inside}{}", path.file_name().unwrap().to_str().unwrap());
            archive.append_path_with_name(path, place).unwrap();
        }
        if name == "four" {
            // What some programs add beside it.
            archive.append_path_with_name(dir.path("x/manifest.json"), "a/._b").unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        let mut child = dir.command(&format!("import --store @{name} -"));
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(child.wait().unwrap().success(), "{name}");
        assert_eq!(digest(&dir, "a"), digest(&dir, name));
    }
}

/// No store is made of an export that is not whole.
#[test]
fn what_is_not_whole_is_refused() {
    let dir = small();
    dir.ok("export --store @a @x");
    let names: Vec<String> = fs::read_dir(dir.path("x"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 5, "{names:?}");
    for name in &names {
        let (path, bytes) = (format!("x/{name}"), dir.read(&format!("x/{name}")));
        // Without its last line end, a manifest is the same.
        for at in [0, bytes.len() / 2, bytes.len() - 2] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            dir.file(&path, &damaged);
            let error = dir.fails("import --store @b @x");
            assert!(error.contains("damaged") || error.contains("manifest"), "{name}: {error}");
            dir.file(&path, &bytes[..at]);
            dir.fails("import --store @b @x");
        }
        fs::remove_file(dir.path(&path)).unwrap();
        let error = dir.fails("import --store @b @x");
        assert!(error.contains(&**name), "{name}: {error}");
        dir.file(&path, bytes);
    }
    for name in ["x.tar", "x.tgz"] {
        dir.ok(&format!("export --store @a @{name}"));
        let bytes = dir.read(name);
        // The last kilobyte of a plain archive is zeros, which nobody needs.
        let len = if name == "x.tar" { bytes.len() - 1_024 } else { bytes.len() };
        for n in 0..12 {
            let cut = len * n / 12;
            dir.file(name, &bytes[..cut]);
            dir.fails(&format!("import --store @b @{name}"));
        }
        for at in [5, len / 3, len / 2, len - 600.min(len / 9)] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            dir.file(name, damaged);
            let output = dir.run(&format!("import --store @b @{name}"));
            // The rest of a header of tar has no meaning here.
            if output.status.success() {
                assert_eq!(digest(&dir, "a"), digest(&dir, "b"), "{name} at {at}");
                fs::remove_dir_all(dir.path("b")).unwrap();
            }
        }
    }
    assert!(!dir.path("b").exists());
    // What else a user may name.
    dir.file("n", NODES);
    for (wrong, cause) in [
        ("@n", "not an archive"),
        ("@a", "it is a store"),
        ("@nowhere", "open"),
        ("@a/wal", "manifest"),
    ] {
        let error = dir.fails(&format!("import --store @b {wrong}"));
        assert!(error.contains(cause), "{wrong}: {error}");
    }
    let left = fs::read_dir(dir.0.path()).unwrap().map(|file| file.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A process that is killed while it exports leaves nothing under the name of
/// the export, or all of it.
#[test]
fn a_killed_export_leaves_no_half() {
    let dir = Dir::new();
    let nodes: String = (0..3_000).map(|n| format!("{{\"id\":\"{n}\"}}\n")).collect();
    dir.file("n", nodes);
    dir.ok("import --store @a --nodes @n --durability os");
    for (n, target) in ["x", "x.tar.gz", "x.tar"].into_iter().enumerate() {
        let mut child = dir.command(&format!("export --store @a @{target}")).spawn().unwrap();
        let unfinished = || {
            let mut files =
                fs::read_dir(dir.0.path()).unwrap().map(|file| file.unwrap().file_name());
            files.any(|name| name.to_string_lossy().starts_with(".ingrain-export-"))
        };
        while !unfinished() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if dir.path(target).exists() {
            dir.ok(&format!("import --store @b{n} @{target}"));
            assert_eq!(digest(&dir, "a"), digest(&dir, &format!("b{n}")));
        }
    }
}

#[test]
fn an_export_meets_what_is_there() {
    let dir = small();
    dir.ok("export --store @a @x");
    let error = dir.fails("export --store @a @x");
    assert!(error.contains("not empty"), "{error}");
    fs::create_dir(dir.path("empty")).unwrap();
    dir.ok("export --store @a @empty");
    let error = dir.fails("export --store @a @nodes");
    assert!(error.contains("not one of an archive"), "{error}");
    for place in ["@a/x", "@a/x.tar", "@a"] {
        let error = dir.fails(&format!("export --store @a {place}"));
        assert!(error.contains("in the store"), "{place}: {error}");
    }
    let error = dir.fails("export --store @a @no/where.tar");
    assert!(error.contains("export to a file in"), "{error}");

    // Into a store with content: what both have becomes as exported, the rest stays.
    dir.file("n", "{\"id\":\"dog\",\"content\":\"other\"}\n{\"id\":\"new\"}\n");
    dir.ok("import --store @b --nodes @n");
    let done = dir.json("import --store @b @x").pop().unwrap();
    assert_eq!((&done["nodes"], &done["equal"]), (&json!(5), &json!(false)));
    assert_eq!(done["created_spaces"], json!(["text"]));
    assert_eq!(dir.json("get --store @b dog new")[0]["content"], "barks");
    dir.file("v", npy(&[[1.0, 0.0]; 2]));
    dir.ok("import --store @c --nodes @n --vectors @v --metric dot");
    let error = dir.fails("import --store @c @x");
    assert!(error.contains("Dot") && error.contains("Cosine"), "{error}");
}
