//! The commands that read: `get`, `edges`, `scan`, `path` and `stats`.

use ingrain::NodeId;
use serde_json::{Value as Json, json};

use crate::fixture::{lines, small};

#[test]
fn reads_answer_in_json() {
    let dir = small();
    let nodes = dir.json("get --store @a cat 018f4e9c-0000-7000-8000-000000000001");
    assert_eq!((&nodes[0]["id"], &nodes[0]["kind"]), (&json!("cat"), &json!("animal")));
    assert_eq!(
        (&nodes[0]["content"], &nodes[0]["attributes"]["$content"]),
        (&json!("purrs"), &json!("text"))
    );
    assert_eq!(nodes[0]["uuid"], json!(NodeId::from_content(b"cat").to_string()));
    assert_eq!(nodes[1]["id"], "018f4e9c-0000-7000-8000-000000000001");
    assert_eq!(nodes.len(), 2);

    assert_eq!(dir.json("edges --store @a cat").len(), 6);
    assert_eq!(dir.json("edges --store @a cat --in --type chases --limit 3").len(), 3);
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
        dir.json("path --store @a mat dog --undirected --type on --type chases")[0]["length"],
        2
    );
    assert_eq!(dir.json("path --store @a mat mat")[0]["nodes"], json!(["mat"]));
    for none in ["mat dog", "dog mat --max-depth 1", "dog mat --type chases"] {
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
        "get --store @a ghost dog",
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
            let line = format!("scan --store @a --limit 1 {options} {after} --json");
            let output = dir.run(&line);
            let page = lines(str::from_utf8(&output.stdout).unwrap());
            assert_eq!(page.len(), 1);
            pages.extend(page);
            // The cursor is apart from the nodes.
            let aside = lines(str::from_utf8(&output.stderr).unwrap());
            let Some(cursor) = aside.first() else { break };
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
