//! The command `export`, and what it writes coming in again.

use std::{collections::BTreeMap, fs};

use ingrain::{Batch, Edge, Metric, Node, NodeId, Options, Space, Timestamp, Value};
use serde_json::json;

use crate::fixture::{Dir, NODES, lines, small};

#[test]
fn an_export_is_imported_to_the_same_store() {
    let dir = small();
    for full in ["", "--full"] {
        let export = |store: &str, to: &str| {
            dir.ok(&format!(
                "export --store @{store} --nodes @{to}.n --edges @{to}.e.gz --vectors @{to}.v --index timeline {full}"
            ));
            ["n", "e.gz", "v"].map(|file| dir.read(&format!("{to}.{file}")))
        };
        let first = export("a", "one");
        let copy = format!("copy{full}");
        dir.ok(&format!(
            "import --store @{copy} --nodes @one.n --edges @one.e.gz --vectors @one.v --index timeline"
        ));
        assert_eq!(export(&copy, "two"), first, "{full}");
        let stats = dir.stats(&copy);
        assert_eq!((&stats["nodes"], &stats["edges"]), (&json!(5), &json!(8)));
        assert_eq!(stats["vectors"], 4);
        // What was exported is what was imported.
        if full.is_empty() {
            let exported = lines(str::from_utf8(&first[0]).unwrap());
            let mut given = lines(&NODES.replace("\n\n", "\n"));
            // Whole or not is kept, how it is written is not.
            given[2]["deep"]["a"][1] = json!(2.0);
            assert_eq!(exported, given);
        }
    }
    assert!(!dir.path("one.n.tmp").exists());
}

/// Everything that the library can write and a line of its own cannot say.
#[test]
fn a_store_that_the_library_wrote_goes_out_and_in() {
    let dir = Dir::new();
    let plain = NodeId::from_bytes([7; 16]);
    let engine = Options::new().index("by").index("timeline").open(dir.path("a")).unwrap();
    let mut batch = Batch::new();
    let odd = |id: u8| Node::new(NodeId::from_bytes([id; 16]), "odd");
    let text = |value: &str| Value::from(value);
    let map = |name: &str| Value::Map([(name.to_owned(), text("AAAA"))].into());
    batch.put(Node::new(plain, "note").content("plain"));
    batch.put(odd(1).content([0xff, 0]).attribute("content", "taken").attribute("$content", "x"));
    batch.put(odd(2).attribute("text", "not the content"));
    batch.put(odd(3).attribute("id", "of another").attribute("kind", "of another"));
    batch.put(odd(4).content("c").attribute("content", 1_i64).attribute("$content", "content"));
    batch.put(odd(5).attribute("$bytes", text("only")).attribute("m", map("$bytes")));
    batch.put(odd(6).attribute("$bytes", text("x")));
    batch.put(odd(8).attribute("m", map("$map")).attribute("b", vec![1_u8, 2]));
    batch.put(odd(9).content("z").attribute("$content", "gloss").attribute("text", "first"));
    batch.put(odd(10).content("z").attribute("$content", "id"));
    let mut kept = odd(11).key("by", b"k1".to_vec()).key("by", b"k0".to_vec());
    (kept.strength, kept.confidence) = (0.1, 0.7);
    (kept.created, kept.updated) =
        (Some(Timestamp::from_micros(-5)), Some(Timestamp::from_micros(9)));
    (kept.access_count, kept.expires) = (Some(3), Timestamp::from_micros(77).into());
    batch.put(kept);
    let mut edge = Edge::new(plain, "to", plain).discriminator(u64::MAX).attribute("source", 1_i64);
    edge.confidence = 0.3;
    edge.created = Some(Timestamp::from_micros(1));
    batch.link(edge);
    batch.link(
        Edge::new(plain, "to", plain).discriminator(5).weight(0.1).attribute("$x", map("$map")),
    );
    batch.link(Edge::new(plain, "as", NodeId::from_bytes([1; 16])));
    engine.write(batch).unwrap();
    engine.close().unwrap();

    dir.ok("export --store @a --nodes @n --edges @e --full");
    dir.ok("import --store @b --nodes @n --edges @e");
    let read = |store: &str| {
        let engine = Options::new().create(false).open(dir.path(store)).unwrap();
        let snapshot = engine.snapshot();
        let nodes: BTreeMap<NodeId, Node> = snapshot
            .scan_all()
            .map(|node| node.unwrap().to_exact_node().unwrap())
            .map(|node| (node.id, node))
            .collect();
        let mut edges: Vec<Edge> = nodes
            .keys()
            .flat_map(|id| snapshot.edges_out(*id))
            .map(|edge| edge.unwrap().to_exact_edge().unwrap())
            .collect();
        edges.sort_by(|a, b| (&a.kind, a.discriminator).cmp(&(&b.kind, b.discriminator)));
        (nodes, edges)
    };
    assert_eq!(read("a"), read("b"));
    // Without --full, all but what the engine keeps.
    dir.ok("export --store @a --nodes @n --edges @e");
    dir.ok("import --store @c --nodes @n --edges @e");
    let user = |store: &str| -> Vec<_> {
        let (nodes, _) = read(store);
        nodes
            .into_values()
            .map(|node| (node.id, node.kind, node.content, node.attributes))
            .collect()
    };
    assert_eq!(user("a"), user("c"));
}

#[test]
fn what_cannot_be_exported_leaves_no_file() {
    let dir = Dir::new();
    fs::create_dir(dir.path("empty")).unwrap();
    Options::new()
        .space("v", Space::new(2, Metric::Dot))
        .open(dir.path("none"))
        .unwrap()
        .close()
        .unwrap();
    for store in ["absent", "empty", "none"] {
        dir.fails(&format!("export --store @{store} --nodes @out --edges @out.e --vectors @out.v"));
    }
    dir.file("n", NODES);
    dir.ok("import --store @a --nodes @n");
    dir.fails("export --store @a --nodes @out --vectors @out.v");
    dir.wrong("export --store @a --nodes @out --edges @out");
    dir.wrong("export --store @a --nodes - --edges -");
    dir.fails("export --store @a --nodes @out --edges @no/such/place");
    let names: Vec<_> =
        fs::read_dir(dir.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("out")), "{names:?}");
    assert_eq!(fs::read_dir(dir.path("empty")).unwrap().count(), 0);
    assert!(!dir.path("absent").exists());
}

#[test]
fn an_export_goes_where_it_is_told_and_harms_nothing_else() {
    let dir = small();
    let read = |name: &str| fs::read_to_string(dir.path(name)).unwrap();
    // A name that ends as a temporary one might, and a stranger's file beside.
    dir.file("n.tmp", "precious");
    dir.ok("export --store @a --nodes @n --edges @e");
    assert_eq!(read("n.tmp"), "precious");
    dir.ok("export --store @a --nodes @x.tmp --edges @x");
    assert!(read("x.tmp").contains("\"id\"") && read("x").contains("\"source\""));
    // One file by two names.
    std::os::unix::fs::symlink(dir.path("n"), dir.path("link")).unwrap();
    for other in ["@n", "@./n", "@link"] {
        let error = dir.wrong(&format!("export --store @a --nodes @n --edges {other}"));
        assert!(error.contains("same file"), "{error}");
    }
    // The store's own files.
    for place in ["@a/MANIFEST", "@a/new", "@a/wal/new"] {
        let error = dir.fails(&format!("export --store @a --nodes {place}"));
        assert!(error.contains("in the store"), "{error}");
    }
    assert_eq!(dir.stats("a")["nodes"], 5);
    // What is there and no regular file stays what it is.
    dir.ok("export --store @a --nodes /dev/null");
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}
