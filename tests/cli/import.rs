//! The command `import`.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use ingrain::NodeId;
use serde_json::{Value as Json, json};

use crate::fixture::{Dir, EDGES, NAN, NODES, array, found, lines, npy, sample, small};

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
        ("{\"id\":\"c\",\"kind\":7}", "\"kind\" is not a string"),
        ("{\"id\":\"c\",\"kind\":null}", "\"kind\" is not a string"),
        ("{\"id\":\"c\",\"kind\":\"\"}", "\"kind\" is empty"),
        (&format!("{{\"id\":\"c\",\"kind\":\"{long}\"}}"), "300 bytes, the limit is 255"),
        ("{\"id\":\"c\"} {}", "trailing"),
        // Only the engine knows this bound.
        (&format!("{{\"id\":\"c\",\"{long}\":1}}"), "300"),
    ] {
        let name = format!("s{}", NodeId::from_content(bad.as_bytes()));
        dir.file("n", format!("{good}{bad}\n{{\"id\":\"d\"}}\n"));
        let output = dir.run(&format!("import --store @{name} --nodes @n --json"));
        let error = lines(str::from_utf8(&output.stderr).unwrap()).remove(0);
        assert_eq!(output.status.code(), Some(1));
        let text = error["error"].as_str().unwrap();
        assert!(text.starts_with(&format!("{}:4: ", dir.path("n").display())), "{text}");
        assert!(text.contains(cause), "{text}");
        assert_eq!((&error["kind"], &error["line"]), (&json!("line"), &json!(4)));
        assert!(error["kept"].as_str().unwrap().contains("2 lines of nodes"), "{error}");
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
    let output =
        dir.run("import --store @s --nodes @n --vectors @v --skip-bad --index order --json");
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap().matches("{\"warning\":").count(), 11);
    let done = lines(str::from_utf8(&output.stdout).unwrap()).pop().unwrap();
    // A zero vector has no cosine.
    assert_eq!((&done["bad_lines"], &done["nodes"]), (&json!(21), &json!(2)));
    dir.ok("export --store @s --vectors @out --index order");
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
        (array("<i8", "(5, 2)", &[0; 80]), "<i8"),
        (array("<f4", "(2, 5, 1)", &[0; 40]), "shape"),
        (array("<f4", "(10,)", &[0; 40]), "one dimension"),
        (array("<f4", "(5, 0)", &[]), "limit"),
        (b"PK\x03\x04 no npy".to_vec(), "not a .npy"),
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
    for cause in
        ["i:2: ", "i:4: the id is not UTF-8", "i:5: component 0", "i:6: its vector is zero"]
    {
        assert!(warnings.contains(cause), "{cause}: {warnings}");
    }
    let done = lines(str::from_utf8(&output.stdout).unwrap()).pop().unwrap();
    assert_eq!((&done["bad_lines"], &done["nodes"]), (&json!(4), &json!(1)));

    let before = dir.stats("a")["seq"].clone();
    dir.file("i", "cat\ndog\n");
    dir.file("w3", array("<f4", "(2, 3)", &[0; 24]));
    dir.file("w8", array("<i8", "(2, 2)", &[0; 32]));
    for (line, cause) in [
        ("--store @a --ids @i --vectors @w", "5 rows"),
        ("--store @a --ids @i --vectors @w3", "dimension 3"),
        ("--store @a --ids @i --vectors @w8", "<i8"),
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

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
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
            .args(["--index", "order"])
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
        dir.ok("export --store @s --nodes @n --edges @e --index order");
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
    dir.ok("export --store @s --nodes @n --edges @e --index order");
    assert_eq!(lines(str::from_utf8(&dir.read("n")).unwrap()), nodes);
    assert_eq!(sorted(&lines(str::from_utf8(&dir.read("e")).unwrap())), sorted(&edges));
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
    assert!(error.contains("5 rows") && error.contains("0 lines"), "{error}");
}

/// The numbers of a table, as an array in each form that is read.
#[test]
fn arrays_come_in_every_form() {
    let dir = Dir::new();
    // More rows than are turned from Fortran order at a time.
    let rows: Vec<[f32; 2]> = (0_u16..1_500).map(|n| [f32::from(n) + 0.5, -f32::from(n)]).collect();
    dir.file("n", (0..rows.len()).map(|n| format!("{{\"id\":\"{n}\"}}\n")).collect::<String>());
    dir.file("v", npy(&rows));
    dir.ok("import --store @s --nodes @n --vectors @v --space v --metric l2 --durability os");
    let by_row: Vec<f64> = rows.as_flattened().iter().map(|x| f64::from(*x)).collect();
    let columns = [0, 1].map(|column| rows.iter().map(move |row| f64::from(row[column])));
    let by_column: Vec<f64> = columns.into_iter().flatten().collect();
    for (order, numbers) in [("False", by_row), ("True", by_column)] {
        for descr in ["<f4", ">f4", "<f8", ">f8"] {
            let bytes: Vec<u8> = numbers
                .iter()
                .flat_map(|x| match descr {
                    "<f4" => (*x as f32).to_le_bytes().to_vec(),
                    ">f4" => (*x as f32).to_be_bytes().to_vec(),
                    "<f8" => x.to_le_bytes().to_vec(),
                    _ => x.to_be_bytes().to_vec(),
                })
                .collect();
            let mut array = array(descr, "(1500, 2)", &bytes);
            // The word is padded, so that the header keeps its length.
            let at = array.windows(5).position(|word| word == b"False").unwrap();
            array[at..at + 5].copy_from_slice(format!("{order:5}").as_bytes());
            dir.file("v", array);
            let done =
                dir.json("import --store @s --nodes @n --vectors @v --space v").pop().unwrap();
            assert_eq!(
                (&done["nodes"], &done["written_nodes"]),
                (&json!(1_500), &json!(0)),
                "{descr} {order}"
            );
        }
    }
    dir.file("v", array("<f8", "(1500, 2)", &1e300_f64.to_le_bytes().repeat(3_000)));
    let error = dir.fails("import --store @s --nodes @n --vectors @v --space v");
    assert!(error.contains("component 0 of its vector is not finite in 32 bits"), "{error}");
}
