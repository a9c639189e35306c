//! The command line program, run as a user runs it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "the files are the user's, not the engine's; a helper of a test may fail it"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use ingrain::{Batch, Edge, Metric, Node, NodeId, Options, Space, Timestamp, Value};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// The sample of the repository, two folders above the program's package.
fn sample() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    root.join("tests/data/wordnet-sample")
}

struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Runs the program with the arguments of a line; words that begin with
    /// `@` are files of this directory.
    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    fn command(&self, line: &str) -> Command {
        let args = line.split_whitespace().map(|word| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => word.into(),
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingrain"));
        command.args(args);
        command
    }

    /// As [`run`](Self::run), with standard input.
    fn run_with(&self, line: &str, input: &str) -> Output {
        let mut child = self
            .command(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The JSON lines that a successful run prints.
    fn json(&self, line: &str) -> Vec<Json> {
        lines(&self.ok(&format!("{line} --json")))
    }

    /// The error of a run that fails, which printed no document that says
    /// otherwise.
    fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
        assert!(stderr.starts_with("error: "), "{line}: {stderr}");
        stderr
    }

    fn stats(&self, store: &str) -> Json {
        self.json(&format!("stats --store @{store}")).remove(0)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }
}

fn lines(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn npy(rows: &[[f32; 2]]) -> Vec<u8> {
    let shape = format!("({}, 2)", rows.len());
    array(
        "<f4",
        &shape,
        &rows.as_flattened().iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>(),
    )
}

fn array(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), data].concat()
}

const NODES: &str = r#"{"id":"dog","kind":"animal","content":"barks","legs":4,"weight":12.5}
{"id":"cat","kind":"animal","text":"purrs","names":["Tom",null,{"x":{"$bytes":"AAH/"}}]}

{"id":"mat","gloss":"","deep":{"a":[1,2.0,1e300,-7,true]}}
{"id":"018f4e9c-0000-7000-8000-000000000001","description":"four"}
{"id":"bare","kind":""}
"#;

/// Parallel edges that differ in nothing, in an attribute, in the weight.
const EDGES: &str = r#"{"source":"dog","target":"cat","type":"chases"}
{"source":"dog","target":"cat","type":"chases"}
{"source":"dog","target":"cat","type":"chases","weight":0.25}
{"source":"dog","target":"cat","type":"chases","how":"slowly"}
{"source":"dog","target":"cat","type":"chases","how":"slowly"}
{"source":"cat","target":"mat","type":"on","weight":2}
{"source":"mat","target":"mat","type":"is"}
{"source":"bare","target":"018f4e9c-0000-7000-8000-000000000001","type":"near"}
"#;

const NAN: [f32; 2] = [f32::NAN; 2];

fn small() -> Dir {
    let dir = Dir::new();
    dir.file("nodes", NODES);
    dir.file("edges", EDGES);
    dir.file("vectors", npy(&[[1.0, 0.0], [0.8, 0.6], NAN, [0.0, 1.0], [-1.0, 0.0]]));
    dir.ok("import --store @a --nodes @nodes --edges @edges --vectors @vectors --batch 2");
    dir
}

#[test]
fn help_and_usage() {
    let dir = Dir::new();
    assert!(dir.ok("--help").contains("import"));
    for wrong in [
        "",
        "import --store @a",
        "import --store @a --edges @e --vectors @v",
        "export --store @a",
        "scan --store @a --reverse",
        "nearest --store @a",
        "nearest --store @a --like dog --vector @v",
        "nearest --store @a --like dog --effort most",
        "nearest --store @a --like dog --within nan",
        "nearest --store @a --like dog --diversity 1.5",
        "nearest --store @a --like dog --filter animal",
        "nearest --store @a --like dog --filter timeline=1..",
        "nearest --store @a --like dog --filter timeline=..=",
        "import --store @a --ids @i",
        "import --store @a --ids @i --nodes @n --vectors @v",
        "spaces",
        "spaces --store @a --create new",
        "spaces --store @a --create new=0",
        "spaces --store @a --create new=4097:dot",
        "spaces --store @a --create new=2:near",
        "spaces --store @a --create =2",
        "spaces --store @a --set-method text",
        "spaces --store @a --set-method text=best",
        "rebuild",
        "rebuild @a",
        "import --store @a --nodes @n --batch 0",
        "import --store @a --nodes @n --content id",
        "checkpoint",
        "compact --store @a @b",
        "backup --store @a",
        "backup @b",
        "verify @a",
        "repair --store @a",
        "repair --store @a @b @c",
        "stats --digest",
    ] {
        assert_eq!(dir.run(wrong).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn an_export_is_imported_to_the_same_store() {
    let dir = small();
    for full in ["", "--full"] {
        let export = |store: &str, to: &str| {
            dir.ok(&format!(
                "export --store @{store} --nodes @{to}.n --edges @{to}.e.gz --vectors @{to}.v {full}"
            ));
            ["n", "e.gz", "v"].map(|file| dir.read(&format!("{to}.{file}")))
        };
        let first = export("a", "one");
        let copy = format!("copy{full}");
        dir.ok(&format!(
            "import --store @{copy} --nodes @one.n --edges @one.e.gz --vectors @one.v"
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
    (kept.access_count, kept.expires) = (Some(3), Some(Timestamp::from_micros(77)));
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
            .map(|node| node.unwrap().to_node().unwrap())
            .map(|node| (node.id, node))
            .collect();
        let mut edges: Vec<Edge> = nodes
            .keys()
            .flat_map(|id| snapshot.edges_out(*id))
            .map(|edge| edge.unwrap().to_edge().unwrap())
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
fn a_second_import_writes_nothing() {
    let dir = small();
    let before = dir.stats("a");
    let done = dir
        .json("import --store @a --nodes @nodes --edges @edges --vectors @vectors --batch 3")
        .pop()
        .unwrap();
    assert_eq!((&done["nodes"], &done["edges"]), (&json!(5), &json!(8)));
    assert_eq!((&done["written_nodes"], &done["written_edges"]), (&json!(0), &json!(0)));
    assert_eq!(dir.stats("a")["seq"], before["seq"]);
    assert_eq!(dir.stats("a")["edges"], 8);

    // One changed node is one written node, and keeps its place and vector.
    let scan = "scan --store @a --index timeline";
    let order = |lines: Vec<Json>| lines.iter().map(|node| node["id"].clone()).collect::<Vec<_>>();
    let was = order(dir.json(scan));
    dir.file("nodes", NODES.replace("barks", "growls"));
    let done = dir.json("import --store @a --nodes @nodes").pop().unwrap();
    assert_eq!(done["written_nodes"], 1);
    assert_eq!(order(dir.json(scan)), was);
    let dog = dir.json("get --store @a dog").remove(0);
    assert_eq!((&dog["content"], &dog["vectors"]["text"]), (&json!("growls"), &json!(2)));
    // A vector that is gone from the file is gone from the node.
    dir.file("vectors", npy(&[NAN, [0.8, 0.6], NAN, [0.0, 1.0], [-1.0, 0.0]]));
    let done = dir.json("import --store @a --nodes @nodes --vectors @vectors").pop().unwrap();
    assert_eq!(done["written_nodes"], 1);
    assert_eq!(dir.stats("a")["vectors"], 3);
}

#[test]
fn acknowledgements_count_lines() {
    let dir = Dir::new();
    dir.file("n", NODES);
    dir.file("e", EDGES);
    for durability in ["sync", "os"] {
        let acks = dir.json(&format!(
            "import --store @{durability} --nodes @n --edges @e --batch 2 --durability {durability}"
        ));
        let pairs: Vec<_> = acks
            .iter()
            .filter(|ack| ack.get("done").is_none())
            .map(|ack| (ack["acked_nodes"].as_u64().unwrap(), ack["acked_edges"].as_u64().unwrap()))
            .collect();
        assert_eq!(pairs, [(2, 0), (4, 0), (5, 0), (5, 2), (5, 4), (5, 6), (5, 8)]);
        assert_eq!(dir.stats(durability)["edges"], 8);
    }
}

#[test]
fn a_bad_line_stops_the_import_after_the_lines_before_it() {
    let dir = Dir::new();
    let good = "{\"id\":\"a\"}\n\n{\"id\":\"b\"}\n";
    let long = "x".repeat(300);
    for (bad, cause) in [
        ("{\"id\":\"c\"", "EOF"),
        ("[1]", "object"),
        ("{}", "\"id\" is missing"),
        ("{\"id\":\"\"}", "\"id\" is empty"),
        ("{\"id\":7}", "\"id\" is not a string"),
        ("{\"id\":\"c\",\"n\":9223372036854775808}", "9223372036854775808"),
        ("{\"id\":\"c\",\"n\":[-99999999999999999999]}", "-99999999999999999999"),
        ("{\"id\":\"c\",\"$x\":1}", "$x"),
        ("{\"id\":\"c\",\"x\":1,\"x\":2}", "twice"),
        ("{\"id\":\"c\",\"x\":{\"$bytes\":\"?\"}}", "base64"),
        ("{\"id\":\"c\"} {}", "trailing"),
        // Only the engine knows this bound.
        (&format!("{{\"id\":\"c\",\"{long}\":1}}"), "300"),
    ] {
        let name = format!("s{}", NodeId::of_content(bad.as_bytes()));
        dir.file("n", format!("{good}{bad}\n{{\"id\":\"d\"}}\n"));
        let output = dir.run(&format!("import --store @{name} --nodes @n --json"));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr.starts_with(&format!("error: {}:4: ", dir.path("n").display())), "{stderr}");
        assert!(stderr.contains(cause), "{stderr}");
        let last = lines(str::from_utf8(&output.stdout).unwrap()).pop().unwrap();
        assert_eq!(last, json!({"acked_nodes": 2, "acked_edges": 0}), "{bad}");
        assert_eq!(dir.stats(&name)["nodes"], 2, "{bad}");

        let output = dir.run(&format!("import --store @{name} --nodes @n --json --skip-bad"));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.contains(&format!("{}:4: ", dir.path("n").display())), "{stderr}");
        let done = lines(str::from_utf8(&output.stdout).unwrap()).pop().unwrap();
        assert_eq!((&done["bad_lines"], &done["nodes"]), (&json!(1), &json!(3)));
        assert_eq!(dir.stats(&name)["nodes"], 3, "{bad}");
    }
    // Numbers that look large in text, or say that they are floats, are fine.
    dir.file("n", "{\"id\":\"9999999999999999999999\",\"x\":1e30,\"y\":-9223372036854775808}");
    dir.ok("import --store @large --nodes @n");
}

#[test]
fn bad_lines_are_skipped_with_their_vectors() {
    let dir = Dir::new();
    let many = "{}\n".repeat(20);
    dir.file("n", format!("{{\"id\":\"a\"}}\n{many}{{\"id\":\"b\"}}\n{{\"id\":\"c\"}}\n"));
    let mut rows = vec![[1.0, 0.0]; 21];
    rows.extend([[0.0, 2.0], [0.0, 0.0]]);
    dir.file("v", npy(&rows));
    let output = dir.run("import --store @s --nodes @n --vectors @v --skip-bad --json");
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap().matches("warning: ").count(), 11);
    let done = lines(str::from_utf8(&output.stdout).unwrap()).pop().unwrap();
    // A zero vector has no cosine.
    assert_eq!((&done["bad_lines"], &done["nodes"]), (&json!(21), &json!(2)));
    dir.ok("export --store @s --vectors @out");
    assert!(dir.read("out").ends_with(&[1.0_f32, 0.0, 0.0, 2.0].map(f32::to_le_bytes).concat()));
    dir.fails("import --store @t --nodes @n --vectors @v");
}

#[test]
fn an_edge_without_its_end_names_it() {
    let dir = small();
    dir.file("e", "{\"source\":\"dog\",\"target\":\"cat\",\"type\":\"sees\"}\n\n{\"source\":\"dog\",\"target\":\"ghost\",\"type\":\"sees\"}\n");
    let error = dir.fails("import --store @a --edges @e");
    assert!(error.contains(":3: ") && error.contains("target \"ghost\""), "{error}");
    assert_eq!(dir.stats("a")["edges"], 9);
    let done = dir.json("import --store @a --edges @e --skip-bad").pop().unwrap();
    assert_eq!(
        (&done["edges"], &done["bad_lines"], &done["written_edges"]),
        (&json!(1), &json!(1), &json!(0))
    );
}

#[test]
fn vectors_that_do_not_fit_change_nothing() {
    let dir = Dir::new();
    dir.file("n", NODES);
    let four = [[1.0, 0.0]; 4];
    dir.file("v", npy(&four));
    let error = dir.fails("import --store @s --nodes @n --vectors @v");
    assert!(error.contains("4 rows") && error.contains("5 lines"), "{error}");
    for (bytes, cause) in [
        (npy(&four)[..100].to_vec(), "cut off"),
        (array("<f8", "(5, 2)", &[0; 80]), "<f8"),
        (array("<f4", "(2, 5, 1)", &[0; 40]), "shape"),
        (array("<f4", "(10,)", &[0; 40]), "one dimension"),
        (array("<f4", "(5, 0)", &[]), "limit"),
        (b"PK\x03\x04 no npy".to_vec(), "no .npy"),
    ] {
        dir.file("v", bytes);
        let error = dir.fails("import --store @s --nodes @n --vectors @v");
        assert!(error.contains(cause), "{error}");
    }
    assert!(!dir.path("s").exists());

    let dir = small();
    let before = dir.stats("a");
    dir.file("v", array("<f4", "(5, 3)", &[0; 60]));
    let error = dir.fails("import --store @a --nodes @nodes --vectors @v");
    assert!(error.contains("dimension 2") && error.contains("--space"), "{error}");
    let error = dir.fails("import --store @a --nodes @nodes --vectors @vectors --metric l2");
    assert!(error.contains("Cosine"), "{error}");
    assert_eq!(dir.stats("a")["seq"], before["seq"]);
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
    dir.fails("export --store @a --nodes @out --edges @out");
    dir.fails("export --store @a --nodes @out --edges @no/such/place");
    let names: Vec<_> =
        fs::read_dir(dir.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("out")), "{names:?}");
    assert_eq!(fs::read_dir(dir.path("empty")).unwrap().count(), 0);
    assert!(!dir.path("absent").exists());
}

#[test]
fn reads_answer_in_json() {
    let dir = small();
    let nodes = dir.json("get --store @a cat 018f4e9c-0000-7000-8000-000000000001");
    assert_eq!((&nodes[0]["id"], &nodes[0]["kind"]), (&json!("cat"), &json!("animal")));
    assert_eq!(
        (&nodes[0]["content"], &nodes[0]["attributes"]["$content"]),
        (&json!("purrs"), &json!("text"))
    );
    assert_eq!(nodes[0]["uuid"], json!(NodeId::of_content(b"cat").to_string()));
    assert_eq!(nodes[1]["id"], "018f4e9c-0000-7000-8000-000000000001");
    assert_eq!(nodes.len(), 2);

    assert_eq!(dir.json("edges --store @a cat").len(), 6);
    assert_eq!(dir.json("edges --store @a cat --in --kind chases --limit 3").len(), 3);
    assert_eq!(
        dir.json("edges --store @a cat --out"),
        [json!({"source": "cat", "target": "mat", "type": "on", "weight": 2.0})]
    );
    let slow =
        dir.json("edges --store @a dog").iter().filter(|edge| edge["how"] == "slowly").count();
    assert_eq!(slow, 2);

    let path = dir.json("path --store @a dog mat").remove(0);
    assert_eq!((&path["length"], &path["nodes"]), (&json!(2), &json!(["dog", "cat", "mat"])));
    assert_eq!(path["edges"][1]["type"], "on");
    assert_eq!(
        dir.json("path --store @a mat dog --undirected --kind on --kind chases")[0]["length"],
        2
    );
    assert_eq!(dir.json("path --store @a mat mat")[0]["nodes"], json!(["mat"]));
    for none in ["mat dog", "dog mat --max-depth 1", "dog mat --kind chases"] {
        let output = dir.run(&format!("path --store @a {none} --json"));
        assert_eq!(output.status.code(), Some(1));
        let path = lines(str::from_utf8(&output.stdout).unwrap()).remove(0);
        assert_eq!(path.get("length"), Some(&Json::Null), "{none}");
    }

    let stats = dir.stats("a");
    assert_eq!(
        (&stats["nodes"], &stats["edges"], &stats["vectors"]),
        (&json!(5), &json!(8), &json!(4))
    );
    assert_eq!(
        stats["spaces"],
        json!([{
            "name": "text", "dimension": 2, "metric": "cosine", "element": "f32", "method": "auto",
            "vectors": 4, "in_memory": 4, "files": [],
        }])
    );
    assert_eq!(stats["indexes"], json!(["timeline"]));
    assert!(stats["seq"].is_u64() && stats["kinds"].is_u64());

    for unknown in [
        "get --store @a dog ghost",
        "edges --store @a ghost",
        "path --store @a dog ghost",
        "nearest --store @a --like ghost",
    ] {
        for json in ["", " --json"] {
            let output = dir.run(&format!("{unknown}{json}"));
            assert_eq!(output.status.code(), Some(1), "{unknown}");
            assert!(output.stdout.is_empty());
            assert!(String::from_utf8(output.stderr).unwrap().contains("ghost"));
        }
    }
    // The tables name the same nodes.
    for table in [
        "get --store @a dog",
        "edges --store @a dog",
        "scan --store @a",
        "nearest --store @a --like cat",
        "path --store @a dog mat",
    ] {
        assert!(dir.ok(table).contains("dog"), "{table}");
    }
    let text = dir.ok("stats --store @a");
    assert!(text.contains("metric cosine, method auto, 4 vectors, 4 in memory"), "{text}");
}

#[test]
fn a_scan_goes_on_where_it_stopped() {
    let dir = small();
    for options in [
        "",
        "--index timeline",
        "--index timeline --reverse",
        "--kind animal",
        "--index timeline --kind animal",
    ] {
        let all: Vec<Json> = dir.json(&format!("scan --store @a --limit 0 {options}"));
        assert_eq!(all.len(), if options.contains("kind") { 2 } else { 5 });
        let mut pages = Vec::new();
        let mut after = String::new();
        loop {
            let mut page = dir.json(&format!("scan --store @a --limit 1 {options} {after}"));
            let cursor = page.pop_if(|last| last.get("cursor").is_some());
            assert_eq!(page.len(), 1);
            pages.extend(page);
            let Some(cursor) = cursor else { break };
            after = format!("--after {}", cursor["cursor"].as_str().unwrap());
        }
        assert_eq!(pages, all, "{options}");
    }
    let ids = |options: &str| -> Vec<Json> {
        dir.json(&format!("scan --store @a {options}"))
            .iter()
            .map(|node| node["id"].clone())
            .collect()
    };
    let order = ["dog", "cat", "mat", "018f4e9c-0000-7000-8000-000000000001", "bare"];
    assert_eq!(ids("--index timeline"), order);
    assert_eq!(ids("--index timeline --reverse"), order.into_iter().rev().collect::<Vec<_>>());
    dir.fails("scan --store @a --after xyz");
    dir.fails("scan --store @a --index none");
}

#[test]
fn nearest_answers_each_query_on_a_line() {
    let dir = small();
    let like = dir.json("nearest --store @a --like dog -k 2");
    assert_eq!(like.len(), 1);
    assert_eq!(like[0]["query"], "dog");
    let hits = like[0]["hits"].as_array().unwrap();
    assert_eq!(
        hits.iter().map(|hit| hit["id"].as_str().unwrap()).collect::<Vec<_>>(),
        ["cat", "018f4e9c-0000-7000-8000-000000000001"]
    );
    let distance = hits[0]["distance"].as_f64().unwrap();
    assert!((distance - 0.2).abs() < 1e-6, "{distance}");
    assert_eq!(
        dir.json("nearest --store @a --like dog --kind animal")[0]["hits"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let error = dir.fails("nearest --store @a --like mat");
    assert!(error.contains("no vector"), "{error}");

    let half: Vec<u8> =
        [1.0, 0.0, -1.0, 0.0].map(|x| half::f16::from_f32(x).to_le_bytes()).concat();
    dir.file("q", array("<f2", "(2, 2)", &half));
    let found = dir.json("nearest --store @a --queries @q -k 1");
    assert_eq!(
        found
            .iter()
            .map(|line| (line["query"].as_u64().unwrap(), line["hits"][0]["id"].as_str().unwrap()))
            .collect::<Vec<_>>(),
        [(0, "dog"), (1, "bare")]
    );
    dir.file("q", array("<f4", "(2,)", &[0.0_f32, 3.0].map(f32::to_le_bytes).concat()));
    assert_eq!(
        dir.json("nearest --store @a --queries @q -k 1")[0]["hits"][0]["id"],
        "018f4e9c-0000-7000-8000-000000000001"
    );
    dir.file("q", array("<f4", "(1, 3)", &[0; 12]));
    assert!(dir.fails("nearest --store @a --queries @q").contains("3 numbers"));
    dir.file("q", array("<f4", "(1, 2)", &[0; 8]));
    assert!(dir.fails("nearest --store @a --queries @q").contains("row 0"));
    dir.fails("nearest --store @a --like dog -k 0");

    // With two spaces, one has to be named.
    dir.ok("import --store @a --nodes @nodes --vectors @vectors --space other --metric l2");
    let error = dir.fails("nearest --store @a --like dog");
    assert!(error.contains("other") && error.contains("text"), "{error}");
    let distance =
        dir.json("nearest --store @a --like dog --space other -k 1")[0]["hits"][0]["distance"]
            .as_f64()
            .unwrap();
    assert!((distance - 0.4_f64.sqrt()).abs() < 1e-6, "{distance}");
}

/// The ids of the hits of the first query.
fn found(answer: &[Json]) -> Vec<&str> {
    answer[0]["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

#[test]
fn queries_are_read_from_json_too() {
    let dir = small();
    let four = "018f4e9c-0000-7000-8000-000000000001";
    dir.file("q", "[1, 0]\n[-1.0, 0e0] [0,1]");
    let all = dir.json("nearest --store @a --vector @q --k 1");
    let first = |row: usize| (all[row]["query"].as_u64().unwrap(), found(&all[row..])[0]);
    assert_eq!([first(0), first(1), first(2)], [(0, "dog"), (1, "bare"), (2, four)]);
    assert_eq!(all.len(), 3);
    let output = dir.run_with("nearest --store @a --vector - -k 1 --json", "[0, 1]");
    assert_eq!(found(&lines(str::from_utf8(&output.stdout).unwrap())), [four]);
    assert!(output.status.success());
    // More queries than are searched for together keep their places.
    let many: Vec<[f32; 2]> = (0_u8..=255)
        .chain(0..=255)
        .map(|n| if n % 2 == 0 { [1.0, 0.0] } else { [0.8, 0.6] })
        .collect();
    dir.file("q", npy(&many));
    for (row, answer) in dir.json("nearest --store @a --vector @q -k 1").iter().enumerate() {
        let nearest = if row % 2 == 0 { "dog" } else { "cat" };
        assert_eq!((&answer["query"], &answer["hits"][0]["id"]), (&json!(row), &json!(nearest)));
    }
    for (input, cause) in [
        ("", "no query"),
        ("[1, 2", "EOF"),
        ("[1, \"x\"]", "line 1 column 7"),
        ("{}", "JSON arrays of numbers"),
        ("[1, 0] [1]", "row 1: it has 1 numbers"),
        ("[0, 0]", "row 0: its vector is zero"),
        ("[1e300, 0]", "number out of range"),
    ] {
        dir.file("q", input);
        let error = dir.fails("nearest --store @a --vector @q");
        assert!(error.contains(cause) && error.contains("/q: "), "{error}");
        let output = dir.run_with("nearest --store @a --vector -", input);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(error.contains(cause) && error.contains("standard input: "), "{error}");
    }
    dir.file("q", npy(&[NAN]));
    assert!(dir.fails("nearest --store @a --vector @q").contains("row 0: its vector is all NaN"));
    for absent in ["none", "."] {
        dir.fails(&format!("nearest --store @a --vector @{absent}"));
    }
}

#[test]
fn a_search_is_filtered_bounded_and_spread() {
    let dir = small();
    let four = "018f4e9c-0000-7000-8000-000000000001";
    let nearest = |options: &str| dir.json(&format!("nearest --store @a --like dog {options}"));
    assert_eq!(found(&nearest("")), ["cat", four, "bare"]);
    for effort in ["fast", "normal", "thorough", "exact"] {
        let all = nearest(&format!("--effort {effort}"));
        assert_eq!(found(&all), ["cat", four, "bare"], "{effort}");
    }
    assert_eq!(found(&nearest("--within 1.5")), ["cat", four]);
    assert!(found(&nearest("--within -1")).is_empty());
    assert_eq!(found(&nearest("--filter kind=animal")), ["cat"]);
    assert!(found(&nearest("--filter kind=plant")).is_empty());
    let key = |id: &str| {
        let node = dir.json(&format!("get --store @a {id}")).remove(0);
        node["keys"][0]["key"].as_str().unwrap().to_owned()
    };
    let (cat, mid) = (key("cat"), key(four));
    for (range, ids) in [
        ("..".to_owned(), vec!["cat", four, "bare"]),
        (format!("..{mid}"), vec!["cat"]),
        (format!("..={mid}"), vec!["cat", four]),
        (format!("{mid}.."), vec![four, "bare"]),
        (format!("{cat}..{mid}"), vec!["cat"]),
        (format!("{cat}..={mid}"), vec!["cat", four]),
    ] {
        assert_eq!(found(&nearest(&format!("--filter timeline={range}"))), ids, "{range}");
    }
    let both = format!("--filter timeline={mid}.. --filter kind=node");
    assert_eq!(found(&nearest(&both)), [four, "bare"]);
    // The second is as far from the first as can be.
    assert_eq!(found(&nearest("--diversity 0")), ["cat", four, "bare"]);
    assert_eq!(found(&nearest("--diversity 1 -k 2")), ["cat", "bare"]);

    let hit = nearest("--explain")[0]["hits"][0].clone();
    assert_eq!(
        (&hit["by"], &hit["file"], &hit["rank"]),
        (&json!("comparison"), &Json::Null, &Json::Null)
    );
    assert!(nearest("")[0]["hits"][0].get("by").is_none());
    assert!(dir.ok("nearest --store @a --like dog --explain").contains("memory"));
    dir.ok("checkpoint --store @a");
    assert!(nearest("--explain")[0]["hits"][0]["file"].is_u64());
    assert!(dir.ok("nearest --store @a --like dog --kind plant").contains("no nodes"));

    for (wrong, cause) in [
        ("--filter by=..", "\"by\": the store has none of that name, but timeline"),
        (&format!("--filter timeline={mid}..{cat}"), "ends before"),
        ("--kind a --filter kind=b", "takes one kind"),
        ("--filter timeline=.. --filter timeline=..", "takes one index"),
        ("--space other", "\"other\": the store has none of that name, but text"),
    ] {
        let error = dir.fails(&format!("nearest --store @a --like dog {wrong}"));
        assert!(error.contains(cause), "{error}");
    }
    assert!(dir.fails("nearest --store @none --like dog").contains("no such directory"));
}

#[test]
fn spaces_are_listed_created_changed_and_dropped() {
    let dir = small();
    let listed = |line: &str| dir.json(&format!("spaces --store @a {line}")).remove(0);
    let text = json!({
        "name": "text", "dimension": 2, "metric": "cosine", "element": "f32", "method": "auto",
        "vectors": 4, "in_memory": 4, "files": [],
    });
    assert_eq!(listed(""), json!({"changes": [], "spaces": [text]}));
    assert_eq!(dir.stats("a")["spaces"], json!([text]));
    let before = dir.stats("a")["seq"].as_u64().unwrap();
    let made = listed("--create new=3:l2 --create odd=name=4 --set-method new=pq8");
    assert_eq!(
        made["changes"],
        json!([
            {"change": "create", "name": "new", "created": true},
            {"change": "create", "name": "odd=name", "created": true},
            {"change": "set-method", "name": "new", "method": "pq8"},
        ])
    );
    let new = &made["spaces"][0];
    assert_eq!(
        [&new["name"], &new["dimension"], &new["metric"], &new["method"]],
        [&json!("new"), &json!(3), &json!("l2"), &json!("pq8")]
    );
    assert_eq!(made["spaces"][1]["metric"], "cosine");
    assert_eq!(dir.stats("a")["seq"], before + 1);
    // What is there already is no commit.
    assert_eq!(listed("--create new=3:l2")["changes"][0]["created"], false);
    assert_eq!(dir.stats("a")["seq"], before + 1);

    for (wrong, cause) in [
        ("--drop none", "\"none\": the store has none of that name, but new, odd=name, text"),
        ("--set-method none=exact", "but new, odd=name, text"),
        ("--drop new --drop new", "but odd=name, text"),
        ("--drop new --set-method new=exact", "but odd=name, text"),
        ("--create text=2:dot", "dimension 2, metric cosine"),
        ("--create a=1 --create a=2", "dimension 1, metric cosine"),
        // Nothing of what is right is done.
        ("--create more=1 --drop none", "\"none\""),
    ] {
        let error = dir.fails(&format!("spaces --store @a {wrong}"));
        assert!(error.contains(cause), "{error}");
    }
    assert_eq!(dir.stats("a")["seq"], before + 1);

    let shown = dir.ok("spaces --store @a --drop text --create text=5:dot --set-method text=exact");
    for part in [
        "dropped text with 4 vectors",
        "created text: dimension 5, metric dot",
        "text is searched by exact",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(dir.stats("a")["vectors"], 0);
    let output = dir.run("spaces --store @a --set-method text=hnsw --json");
    assert!(output.status.success());
    let warned = String::from_utf8(output.stderr).unwrap().contains("without the feature hnsw");
    assert_eq!(warned, !cfg!(feature = "hnsw"));
    dir.ok("spaces --store @a --drop text --drop new --drop odd=name");
    assert_eq!(listed("")["spaces"], json!([]));
    assert!(dir.ok("spaces --store @a").contains("no vector spaces"));
    assert!(dir.fails("spaces --store @a --drop text").contains("\"text\": the store has none"));
    assert!(dir.fails("spaces --store @none").contains("no such directory"));
    assert!(!dir.path("none").exists());
}

/// A store with vectors enough for codes.
fn large() -> Dir {
    let dir = Dir::new();
    let rows: Vec<[f32; 2]> =
        (0_u16..2_000).map(|n| f32::from(n).to_radians()).map(|a| [a.cos(), a.sin()]).collect();
    dir.file("ids", (0..2_000).map(|n| format!("node {n}\n")).collect::<String>());
    dir.file("n", (0..2_000).map(|n| format!("{{\"id\":\"node {n}\"}}\n")).collect::<String>());
    dir.file("v", npy(&rows));
    dir.ok("import --store @a --nodes @n --vectors @v --durability os");
    dir.ok("checkpoint --store @a");
    dir
}

#[test]
fn codes_are_built_anew_and_shown() {
    let dir = large();
    let first = dir.json("rebuild --store @a").remove(0);
    assert_eq!(first["files"], 1);
    assert!(first["bytes"].as_u64().unwrap() > 0 && first["micros"].is_number());
    let file = &first["spaces"][0]["files"][0];
    assert_eq!(
        (&file["rows"], &file["dead"], &file["graph"]),
        (&json!(2_000), &json!(0), &Json::Null)
    );
    let codes = &file["codes"];
    assert_eq!((&codes["bits"], &codes["damage"]), (&json!(4), &Json::Null));
    assert!(codes["recall"].is_number() && codes["sample"].is_u64());
    assert_eq!(codes["depths"].as_array().unwrap().len(), 3);
    let mut later = dir.stats("a")["spaces"][0]["files"][0]["codes"].clone();
    // Of what is mapped, more or less was looked at; all of it is the most.
    assert!(later["memory"].as_u64() <= codes["memory"].as_u64(), "{later} {codes}");
    later["memory"] = codes["memory"].clone();
    assert_eq!(later, *codes);
    dir.ok("spaces --store @a --create empty=3 --set-method text=pq8");
    let second = dir.json("rebuild --store @a --space text").remove(0);
    assert_eq!(second["spaces"].as_array().unwrap().len(), 1);
    let codes = &second["spaces"][0]["files"][0]["codes"];
    assert_eq!((&codes["bits"], &second["files"]), (&json!(8), &json!(1)));
    let none = dir.json("rebuild --store @a --space empty").remove(0);
    assert_eq!((&none["files"], &none["spaces"][0]["files"]), (&json!(0), &json!([])));
    assert!(dir.ok("rebuild --store @a").contains("in 1 files of codes and graphs built"));
    for text in ["spaces", "rebuild"] {
        let text = dir.ok(&format!("{text} --store @a"));
        assert!(text.contains("8 bits, recall ") && text.contains("candidates "), "{text}");
    }
    assert!(dir.ok("stats --store @a").contains("codes with a recall of"));

    // Codes, which are checked when a search reads them.
    let path = data_file(&dir, "a", "vix");
    let mut bytes = fs::read(&path).unwrap();
    bytes[12_300] ^= 1;
    fs::write(path, bytes).unwrap();
    let output = dir.run("verify --store @a");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(".vix: damaged") && text.contains("\"ingrain rebuild\" mends"), "{text}");
    dir.ok("rebuild --store @a");
    assert!(dir.ok("verify --store @a").contains("sound"));
    let error = dir.fails("rebuild --store @a --space none");
    assert!(
        error.contains("\"none\": the store has none of that name, but empty, text"),
        "{error}"
    );
    assert!(dir.fails("rebuild --store @none").contains("no such directory"));
}

#[test]
fn vectors_come_to_nodes_that_are_there() {
    let dir = small();
    let edges = dir.stats("a")["edges"].clone();
    let half: Vec<u8> = [1.0, 0.0, 0.0, 1.0, 0.0, 2.0, 1.0, 0.0]
        .map(|x| half::f16::from_f32(x).to_le_bytes())
        .concat();
    let single: Vec<u8> =
        [1.0_f32, 0.0, 0.0, 1.0, 0.0, 2.0, 1.0, 0.0].map(f32::to_le_bytes).concat();
    let four = "018f4e9c-0000-7000-8000-000000000001";
    dir.file("i", format!("mat\n\n{four}\r\ndog\nbare"));
    for (space, array) in
        [("half", array("<f2", "(4, 2)", &half)), ("single", array("<f4", "(4, 2)", &single))]
    {
        dir.file("w", array);
        let lines =
            dir.json(&format!("import --store @a --ids @i --vectors @w --space {space} --batch 3"));
        let (done, acks) = lines.split_last().unwrap();
        assert_eq!(acks, [3, 4].map(|n| json!({"acked_nodes": n, "acked_edges": 0})));
        assert_eq!((&done["nodes"], &done["written_nodes"]), (&json!(4), &json!(4)));
        let like = dir.json(&format!("nearest --store @a --like mat --space {space} -k 1"));
        assert_eq!(found(&like), ["bare"], "{space}");
    }
    // Nothing else of the nodes has changed.
    let dog = dir.json("get --store @a dog").remove(0);
    assert_eq!(dog["content"], "barks");
    assert_eq!(dog["vectors"], json!({"half": 2, "single": 2, "text": 2}));
    assert_eq!(dir.stats("a")["edges"], edges);
    let again = dir.json("import --store @a --ids @i --vectors @w --space single").pop().unwrap();
    assert_eq!((&again["nodes"], &again["written_nodes"]), (&json!(4), &json!(0)));
    // A row of NaN takes a vector away; an id may come twice.
    dir.file("i", "dog\ncat\ndog\n");
    dir.file("w", npy(&[[3.0, 4.0], NAN, NAN]));
    let done = dir.json("import --store @a --ids @i --vectors @w").pop().unwrap();
    assert_eq!(done["written_nodes"], 3);
    assert_eq!(dir.stats("a")["spaces"][2]["vectors"], 2);

    dir.file("i", b"cat\nghost\n\n\xff\nbare\nmat\n");
    dir.file("w", npy(&[[3.0, 4.0], [1.0, 0.0], [1.0, 0.0], [f32::INFINITY, 0.0], [0.0, 0.0]]));
    let error = dir.fails("import --store @a --ids @i --vectors @w");
    assert!(error.contains("i:2: the node \"ghost\" is not in the store"), "{error}");
    assert_eq!(dir.stats("a")["spaces"][2]["vectors"], 3);
    let output = dir.run("import --store @a --ids @i --vectors @w --skip-bad --json");
    let warnings = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{warnings}");
    for cause in ["i:2: ", "i:4: the id is not UTF-8", "i:5: number 0", "i:6: its vector is zero"] {
        assert!(warnings.contains(cause), "{cause}: {warnings}");
    }
    let done = lines(str::from_utf8(&output.stdout).unwrap()).pop().unwrap();
    assert_eq!((&done["bad_lines"], &done["nodes"]), (&json!(4), &json!(1)));

    let before = dir.stats("a")["seq"].clone();
    dir.file("i", "cat\ndog\n");
    dir.file("w3", array("<f4", "(2, 3)", &[0; 24]));
    dir.file("w8", array("<f8", "(2, 2)", &[0; 32]));
    for (line, cause) in [
        ("--store @a --ids @i --vectors @w", "5 rows"),
        ("--store @a --ids @i --vectors @w3", "dimension 3"),
        ("--store @a --ids @i --vectors @w8", "<f8"),
        ("--store @a --ids @none --vectors @w3", "none"),
        ("--store @a --ids @i --vectors @none", "none"),
        ("--store @none --ids @i --vectors @w3 --space new", "no such directory"),
        ("--store @i --ids @i --vectors @w3 --space new", "it is a file"),
    ] {
        let error = dir.fails(&format!("import {line}"));
        assert!(error.contains(cause), "{error}");
    }
    assert_eq!(dir.stats("a")["seq"], before);
    assert!(!dir.path("none").exists());
}

#[test]
fn gzip_is_known_by_its_first_bytes() {
    let dir = small();
    let (first, second) = NODES.split_at(NODES.find("{\"id\":\"cat\"").unwrap());
    // Two members, the name says nothing.
    dir.file("n", [gzip(first.as_bytes()), gzip(second.as_bytes())].concat());
    dir.file("e", gzip(EDGES.as_bytes()));
    dir.ok("import --store @b --nodes @n --edges @e --vectors @vectors");
    for store in ["a", "b"] {
        dir.ok(&format!(
            "export --store @{store} --nodes @{store}.n --edges @{store}.e --vectors @{store}.v"
        ));
    }
    for file in ["n", "e", "v"] {
        assert_eq!(dir.read(&format!("a.{file}")), dir.read(&format!("b.{file}")));
    }
    let whole = gzip(NODES.as_bytes());
    dir.file("n", &whole[..whole.len() - 9]);
    dir.fails("import --store @c --nodes @n");
}

#[test]
fn content_comes_from_the_fields_that_are_named() {
    let dir = Dir::new();
    dir.file("n", "{\"id\":\"a\",\"text\":\"t\",\"gloss\":\"g\",\"body\":\"b\"}\n{\"id\":\"b\",\"body\":7,\"text\":\"t\"}\n");
    dir.ok("import --store @s --nodes @n --content body gloss");
    let nodes = dir.json("get --store @s a b");
    assert_eq!((&nodes[0]["content"], &nodes[1]["content"]), (&json!("b"), &json!("")));
    // What the choice was is not lost by an export.
    dir.ok("export --store @s --nodes @out");
    dir.ok("import --store @t --nodes @out");
    let contents = |store: &str| {
        dir.json(&format!("get --store @{store} a b"))
            .iter()
            .map(|node| (node["content"].clone(), node["attributes"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(contents("s"), contents("t"));
}

#[test]
fn a_reader_that_stops_is_no_failure() {
    let dir = Dir::new();
    let nodes: String = (0..5_000).map(|n| format!("{{\"id\":\"node {n}\"}}\n")).collect();
    dir.file("n", nodes);
    dir.ok("import --store @s --nodes @n --durability os");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ingrain"))
        .args(["scan", "--limit", "0", "--json", "--store"])
        .arg(dir.path("s"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// Kills the import of the sample among the nodes, then among the edges.
#[test]
fn a_killed_import_keeps_what_it_acknowledged() {
    let sample = sample();
    let dir = Dir::new();
    let import = |stdout| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingrain"));
        command
            .args(["import", "--json", "--batch", "500", "--store"])
            .arg(dir.path("s"))
            .arg("--nodes")
            .arg(sample.join("nodes.jsonl.gz"))
            .arg("--edges")
            .arg(sample.join("edges.jsonl.gz"))
            .stdout(stdout);
        command
    };
    let input = |file: &str| {
        let file = fs::File::open(sample.join(file)).unwrap();
        let reader = BufReader::new(flate2::read::MultiGzDecoder::new(file));
        reader.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    };
    let (nodes, edges): (Vec<Json>, Vec<Json>) = (input("nodes.jsonl.gz"), input("edges.jsonl.gz"));
    let sorted = |edges: &[Json]| {
        let mut edges: Vec<String> = edges.iter().map(Json::to_string).collect();
        edges.sort_unstable();
        edges
    };
    for kill_at in [5_000, 20_000] {
        let mut child = import(Stdio::piped()).spawn().unwrap();
        let (mut acked_nodes, mut acked_edges) = (0, 0);
        let mut killed = false;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let Ok(ack) = serde_json::from_str::<Json>(&line.unwrap()) else { continue };
            let Some(acked) = ack.get("acked_nodes") else { continue };
            acked_nodes = usize::try_from(acked.as_u64().unwrap()).unwrap();
            acked_edges = usize::try_from(ack["acked_edges"].as_u64().unwrap()).unwrap();
            if !killed && acked_nodes + acked_edges >= kill_at {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        dir.ok("export --store @s --nodes @n --edges @e");
        let kept = lines(str::from_utf8(&dir.read("n")).unwrap());
        assert_eq!(kept[..acked_nodes], nodes[..acked_nodes], "killed at {kill_at}");
        // Nothing that was not in the input, and all that was acknowledged.
        assert!(kept.len() <= nodes.len());
        let kept = sorted(&lines(str::from_utf8(&dir.read("e")).unwrap()));
        for edge in sorted(&edges[..acked_edges]) {
            assert!(kept.binary_search(&edge).is_ok(), "killed at {kill_at}: {edge}");
        }
        assert!(kept.len() >= acked_edges);
    }
    assert!(import(Stdio::null()).status().unwrap().success());
    let stats = dir.stats("s");
    assert_eq!((&stats["nodes"], &stats["edges"]), (&json!(9_617), &json!(26_922)));
    dir.ok("export --store @s --nodes @n --edges @e");
    assert_eq!(lines(str::from_utf8(&dir.read("n")).unwrap()), nodes);
    assert_eq!(sorted(&lines(str::from_utf8(&dir.read("e")).unwrap())), sorted(&edges));
}

#[test]
fn the_demo_runs_on_the_sample() {
    let dir = Dir::new();
    let sample = sample();
    let facts = dir.json(&format!("demo --data {} --store @s", sample.display()));
    let step = |name: &str| facts.iter().find(|fact| fact["step"] == name).unwrap();
    assert!(step("kill 1")["acked_nodes"].as_u64().unwrap() < 9_617);
    let edges = step("kill 2")["acked_edges"].as_u64().unwrap();
    assert!((13_461..26_922).contains(&edges), "{edges}");
    assert_eq!(step("finish")["found_edges"], 26_922);
    assert_eq!(step("nearest")["result"].as_array().unwrap().len(), 5);
    assert_eq!(step("get")["of"], "02084071-n");
    // The store that was asked for stays, and is not used twice.
    assert_eq!(dir.stats("s")["nodes"], 9_617);
    assert!(
        dir.fails(&format!("demo --data {} --store @s", sample.display())).contains("not empty")
    );
    assert!(dir.fails("demo --data @nowhere").contains("--data"));
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
        let error = dir.fails(&format!("export --store @a --nodes @n --edges {other}"));
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

#[test]
fn odd_files_are_told_apart() {
    let dir = small();
    let text = dir.ok("import --json --store @b --nodes @nodes --edges @edges");
    assert!(text.starts_with("{\"acked_nodes\":5,\"acked_edges\":0}\n"), "{text}");
    dir.file("bom", [b"\xef\xbb\xbf".as_slice(), &dir.read("nodes")].concat());
    dir.ok("import --store @c --nodes @bom");
    assert_eq!(dir.stats("c")["nodes"], 5);
    let error = dir.fails("import --store @nodes --nodes @nodes");
    assert!(error.contains("it is a file"), "{error}");
    let error = dir.fails("stats --store @nodes");
    assert!(error.contains("it is a file"), "{error}");
    let error = dir.fails("import --store @d --nodes /dev/null --vectors @vectors");
    assert!(error.contains("no regular file"), "{error}");
}

/// The digest of a store's content.
fn digest(dir: &Dir, store: &str) -> String {
    let stats = dir.json(&format!("stats --store @{store} --digest")).remove(0);
    stats["digest"].as_str().unwrap().to_owned()
}

/// The only data file of that kind.
fn data_file(dir: &Dir, store: &str, kind: &str) -> PathBuf {
    let files = fs::read_dir(dir.path(store).join("data")).unwrap();
    let mut files = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == kind));
    let found = files.next().unwrap();
    assert!(files.next().is_none(), "one file of nodes");
    found
}

/// Flips a bit of the first block of content.
fn damage(dir: &Dir, store: &str, kind: &str) {
    let path = data_file(dir, store, kind);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_100] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_checkpoint_a_compaction_and_a_backup_keep_the_content() {
    let dir = small();
    let before = digest(&dir, "a");
    assert_eq!(before.len(), 64);
    assert_eq!(dir.stats("a")["checkpoint"]["files"], 0);
    assert!(dir.stats("a").get("digest").is_none());
    let made = dir.json("checkpoint --store @a").remove(0);
    assert_eq!(made["seq"], dir.stats("a")["seq"]);
    assert!(made["files"].as_u64().unwrap() >= 6, "{made}");
    let stats = dir.stats("a");
    assert_eq!(stats["checkpoint"]["files"], made["files"]);
    assert_eq!(stats["checkpoint"]["seq"], stats["seq"]);
    assert_eq!(digest(&dir, "a"), before);
    let text = dir.ok("stats --store @a --digest");
    for part in ["base", "live", "checkpoint", "since then", "digest", &before] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(dir.json("compact --store @a").remove(0)["seq"], made["seq"]);
    assert_eq!(digest(&dir, "a"), before);
    let backup = dir.json("backup --store @a @b").remove(0);
    assert_eq!((&backup["seq"], &backup["files"]), (&made["seq"], &made["files"]));
    assert_eq!(digest(&dir, "b"), before);
    // In words.
    assert!(dir.ok("checkpoint --store @a").contains("the base has"));
    assert!(dir.ok("compact --store @a").contains("before"));
    assert!(dir.ok("backup --store @a @c").contains("linked"));
    assert_eq!(digest(&dir, "c"), before);
    // Where something is, nothing is done.
    for taken in ["b", "nodes", "a", "a/within"] {
        assert!(dir.fails(&format!("backup --store @a @{taken}")).contains("invalid"), "{taken}");
    }
    assert_eq!(digest(&dir, "b"), before);
    for line in ["checkpoint", "compact", "verify", "stats"] {
        assert!(
            dir.fails(&format!("{line} --store @none")).contains("no such directory"),
            "{line}"
        );
    }
    assert!(dir.fails("backup --store @none @d").contains("no such directory"));
    assert!(!dir.path("d").exists() && !dir.path("none").exists());
}

#[test]
fn a_store_is_verified_and_damage_told() {
    let dir = small();
    dir.ok("checkpoint --store @a");
    let report = dir.json("verify --store @a").remove(0);
    assert_eq!(report["sound"], true);
    assert_eq!((&report["nodes"], &report["edges"]), (&json!(5), &json!(8)));
    assert_eq!((&report["vectors"], &report["damage"]), (&json!(4), &json!([])));
    assert!(dir.ok("verify --store @a").contains("sound"));
    damage(&dir, "a", "heap");
    let output = dir.run("verify --store @a --json");
    assert_eq!(output.status.code(), Some(1));
    let report = lines(&String::from_utf8(output.stdout).unwrap()).remove(0);
    assert_eq!(report["sound"], false);
    assert!(report["damage"][0]["file"].as_str().unwrap().ends_with(".heap"), "{report}");
    assert_eq!(report["damage"][0]["offset"], 4_096);
    let output = dir.run("verify --store @a");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("fails its checksum") && text.contains("ingrain repair"), "{text}");
}

#[test]
fn a_damaged_store_is_repaired_into_a_new_one() {
    let dir = small();
    dir.ok("checkpoint --store @a");
    let report = dir.json("repair --store @a @same").remove(0);
    assert_eq!((&report["complete"], &report["lost"]), (&json!(true), &json!([])));
    assert_eq!((&report["nodes"], &report["edges"]), (&json!(5), &json!(8)));
    assert_eq!(dir.json("scan --store @same").len(), dir.json("scan --store @a").len());
    assert!(dir.fails("repair --store @a @same").contains("absent or empty"));
    assert!(dir.fails("repair --store @none @new").contains("there is no store"));
    assert!(dir.fails("repair --store @a @a/new").contains("within"));
    damage(&dir, "a", "out");
    let output = dir.run("repair --store @a @mended --json");
    assert_eq!(output.status.code(), Some(1));
    let report = lines(&String::from_utf8(output.stdout).unwrap()).remove(0);
    // Found at their targets.
    assert_eq!((&report["complete"], &report["edges"]), (&json!(false), &json!(8)));
    assert_eq!(report["lost"].as_array().unwrap().len(), 8);
    assert!(report["lost"][0]["what"].as_str().unwrap().starts_with("attributes of edge"));
    assert_eq!(dir.stats("mended")["edges"], 8);
    let output = dir.run("repair --store @a @again");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("lost: attributes of edge"), "{text}");
    assert!(text.contains("something was lost"), "{text}");
    fs::remove_file(dir.path("a/MANIFEST")).unwrap();
    let error = dir.fails("repair --store @a @never");
    assert!(error.contains("restore a backup") && !error.contains("ingrain repair"), "{error}");
    assert!(!dir.path("never").exists());
}

#[test]
fn files_are_inspected_without_their_store() {
    let dir = large();
    dir.ok("checkpoint --store @a");
    dir.file("more", r#"{"id":"late","text":"after the checkpoint"}"#);
    dir.ok("import --store @a --nodes @more");
    let manifest = dir.json("inspect @a/MANIFEST --limit 0");
    assert_eq!(manifest[0]["kind"], "manifest");
    assert_eq!(manifest[0]["spaces"][0]["name"], "text");
    let nodes = manifest[0]["nodes"].as_u64().unwrap();
    let mut rows = 0;
    let mut kinds = std::collections::HashSet::new();
    for file in &manifest[1..] {
        let name = file["file"].as_str().unwrap();
        let found = dir.json(&format!("inspect @a/data/{name} --limit 0"));
        assert_eq!(found[0]["digest"], file["digest"], "{name}");
        assert_eq!(found[0]["bytes"], file["bytes"], "{name}");
        assert_eq!(found[0]["damage"], serde_json::json!([]), "{name}");
        let kind = found[0]["kind"].as_str().unwrap().to_owned();
        if kind == "nodes" {
            rows += found.len() as u64 - 1;
            assert!(found[1]["id"].is_string());
        }
        if kind == "vec" {
            assert!(found[1]["numbers"].as_array().unwrap().iter().all(Json::is_number));
        }
        kinds.insert(kind);
        let text = dir.ok(&format!("inspect @a/data/{name}"));
        assert!(text.contains("digest"), "{text}");
    }
    assert_eq!(rows, nodes);
    assert!(["nodes", "keys", "heap", "vec", "vix"].iter().all(|kind| kinds.contains(*kind)));

    let log = fs::read_dir(dir.path("a/wal")).unwrap().map(|entry| entry.unwrap().path());
    let log = log.max().unwrap();
    let log = log.file_name().unwrap().to_str().unwrap();
    let commits = dir.json(&format!("inspect @a/wal/{log}"));
    assert_eq!(commits[0]["kind"], "wal");
    let put = commits[1..].iter().find(|commit| commit["ops"][0]["op"] == "put").unwrap();
    assert_eq!(put["ops"][0]["node"]["id"], "late");
    assert_eq!(put["ops"][0]["node"]["text"], "after the checkpoint");
    assert!(dir.ok(&format!("inspect @a/wal/{log}")).contains("1 put"));
}

#[test]
fn damaged_files_are_inspected_as_far_as_they_are_whole() {
    let dir = large();
    dir.ok("checkpoint --store @a");
    damage(&dir, "a", "nodes");
    let path = data_file(&dir, "a", "nodes");
    let output = dir.run(&format!("inspect {} --json --limit 0", path.display()));
    assert_eq!(output.status.code(), Some(1));
    let found = lines(str::from_utf8(&output.stdout).unwrap());
    let damage = found[0]["damage"].as_array().unwrap();
    assert!(damage[0].as_str().unwrap().contains("fails its checksum"), "{damage:?}");
    let lost = found[1..].iter().filter(|row| row["damaged"] == true).count();
    assert!(lost > 0 && lost < found.len() - 1, "{lost} of {}", found.len() - 1);

    let bytes = fs::read(&path).unwrap();
    dir.file("cut", &bytes[..5000]);
    assert!(dir.fails("inspect @cut").contains("bytes declared, 5000 found"));
    dir.file("other", "no file of ours");
    assert!(dir.fails("inspect @other").contains("it is no file of ingrain"));
    dir.file("empty", "");
    assert!(dir.fails("inspect @empty").contains("it is no file of ingrain"));
    assert!(dir.fails("inspect @a").contains("it is a directory"));
    assert!(dir.fails("inspect @missing").contains("missing"));
    let mut later = bytes;
    later[8] = 3;
    let crc = crc32fast::hash(&later[..60]);
    later[60..64].copy_from_slice(&crc.to_le_bytes());
    dir.file("later", &later);
    assert!(dir.fails("inspect @later").contains("format version 3; this crate reads 2"));
}

#[test]
fn what_is_stored_moves_no_cursor() {
    let dir = Dir::new();
    let hostile = "\u{1b}[2J\u{1b}]0;title\u{7}\r\u{9b}1A";
    let store = Options::new().space("v", Space::new(2, Metric::Cosine));
    let engine = store.open(dir.path("a")).unwrap();
    let mut batch = Batch::new();
    for n in 0..2_u8 {
        let id = NodeId::of_content(&[n]);
        let node = Node::new(id, format!("kind {hostile}")).attribute(hostile, hostile);
        batch.put(node.content(hostile).vector("v", [1.0, 0.5]));
    }
    let id = NodeId::of_content(&[0]);
    batch.link(Edge::new(id, hostile, NodeId::of_content(&[1])).attribute(hostile, hostile));
    engine.write(batch).unwrap();
    engine.close().unwrap();
    let bare = |text: &str| text.contains(|c: char| c.is_control() && c != '\n');
    let (mut shown, mut spelled, mut same) = (0, 0, 0);
    // The files of the base are there after the checkpoint.
    let inspect = |part: &'static str| {
        let dir = dir.path("a").join(part);
        std::iter::once_with(|| fs::read_dir(dir).unwrap()).flatten().map(move |file| {
            format!("inspect @a/{part}/{}", file.unwrap().file_name().to_str().unwrap())
        })
    };
    let words = ["get --store @a ", "edges --store @a "].map(|line| format!("{line}{id}"));
    let plain = ["stats", "scan", "verify", "checkpoint"].map(|word| format!("{word} --store @a"));
    for line in words.into_iter().chain(inspect("wal")).chain(plain).chain(inspect("data")) {
        let output = dir.run(&line);
        for text in [output.stdout, output.stderr] {
            let text = String::from_utf8(text).unwrap();
            assert!(!bare(&text), "{line}: {text:?}");
            shown += usize::from(text.contains("\\u{1b}"));
        }
        let output = dir.run(&format!("{line} --json"));
        for text in [output.stdout, output.stderr] {
            let text = String::from_utf8(text).unwrap();
            assert!(!bare(&text), "{line} --json: {text:?}");
            spelled += usize::from(text.contains("\\u001b") && text.contains("\\u009b"));
            let is_same = |value: &Json| value["attributes"][hostile] == hostile;
            same +=
                usize::from(text.lines().any(|line| {
                    serde_json::from_str::<Json>(line).is_ok_and(|value| is_same(&value))
                }));
        }
    }
    assert!(shown >= 3 && spelled >= 3 && same >= 2, "{shown} {spelled} {same}");
    let text = dir.fails("get --store @a no\u{1b}[2Jbody");
    assert!(text.contains("no\\u{1b}[2Jbody"), "{text:?}");
    assert!(!bare(&text), "{text:?}");
}
