//! The commands `query`, `count` and `kinds`, and conditions of other commands.

use serde_json::{Value as Json, json};

use crate::fixture::{Dir, large, lines, small};

/// Runs the program with a condition.
fn with(dir: &Dir, line: &str, conditions: &[&str]) -> Vec<Json> {
    let mut command = dir.command(line);
    for condition in conditions {
        command.arg("--where").arg(condition);
    }
    let output = command.arg("--json").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line} {conditions:?}: {said}");
    lines(&String::from_utf8(output.stdout).unwrap())
}

fn ids(found: &[Json]) -> Vec<&str> {
    found.iter().map(|node| node["id"].as_str().unwrap()).collect()
}

#[test]
fn queries_list_what_meets_conditions_in_order() {
    let dir = small();
    let query = |conditions: &[&str], more: &str| -> Vec<String> {
        let found = with(&dir, &format!("query --store @a {more}"), conditions);
        ids(&found).into_iter().map(str::to_owned).collect()
    };
    let sorted = |conditions: &[&str]| {
        let mut found = query(conditions, "");
        found.sort();
        found
    };
    assert_eq!(sorted(&["kind = 'animal'"]), ["cat", "dog"]);
    assert_eq!(sorted(&["legs >= 4 and weight < 13"]), ["dog"]);
    assert_eq!(sorted(&["names = 'Tom' or deep exists"]), ["cat", "mat"]);
    assert_eq!(sorted(&["deep.a = 2"]), ["mat"]);
    assert_eq!(sorted(&["links to 'mat'"]), ["cat", "mat"]);
    assert_eq!(sorted(&["linked from \"dog\" by \"chases\""]), ["cat"]);
    assert_eq!(sorted(&["id in ('dog', 'bare', 'none')"]), ["bare", "dog"]);
    assert_eq!(sorted(&["kind = 'node'", "not id = 'bare'", "deep exists"]), ["mat"]);
    assert_eq!(sorted(&["created >= 2020-01-01 and alive at 2020-01-01"]).len(), 5);
    assert!(sorted(&["legs = '4'"]).is_empty(), "a number is no text");
    assert_eq!(query(&["kind = 'animal'"], "--order id:desc"), ["dog", "cat"]);
    // What does not have the field comes last.
    assert_eq!(query(&["kind = 'animal'"], "--order legs --limit 1"), ["dog"]);
    assert!(dir.ok("query --store @a --limit 2").contains("animal"));

    let plan = |conditions: &[&str]| {
        with(&dir, "query --store @a --explain", conditions)[0]["plan"].as_str().unwrap().to_owned()
    };
    assert!(plan(&["legs = 4"]).starts_with("scan of all nodes"));
    assert_eq!(with(&dir, "count --store @a animal", &["legs = 4"]), [json!({"nodes": 1})]);
    assert_eq!(with(&dir, "count --store @a animal", &[]), [json!({"nodes": 2})]);
    assert_eq!(with(&dir, "count --store @a", &[]), [json!({"nodes": 5})]);
    assert_eq!(
        with(&dir, "kinds --store @a", &[]),
        [
            json!({"kind": "animal", "nodes": 2, "edges": 0}),
            json!({"kind": "node", "nodes": 3, "edges": 0}),
            json!({"kind": "chases", "nodes": 0, "edges": 5}),
            json!({"kind": "on", "nodes": 0, "edges": 1}),
            json!({"kind": "is", "nodes": 0, "edges": 1}),
            json!({"kind": "near", "nodes": 0, "edges": 1}),
        ]
    );
}

#[test]
fn other_commands_take_conditions_too() {
    let dir = small();
    assert_eq!(ids(&with(&dir, "scan --store @a --kind animal", &["legs exists"])), ["dog"]);
    assert_eq!(ids(&with(&dir, "scan --store @a --limit 1", &["deep exists"])), ["mat"]);
    let hits = with(&dir, "nearest --store @a --like dog", &["kind = 'node'"]);
    assert_eq!(hits[0]["hits"].as_array().unwrap().len(), 2);
    // Two ways lead from the dog; what is between has to pass.
    let through = |condition| {
        let mut command = dir.command("path --store @a dog mat --json --where");
        command.arg(condition).output().unwrap().status.success()
    };
    assert!(through("kind = 'animal'") && !through("kind = 'node'"));
    // A listing has only edges between nodes that are in it.
    with(&dir, "export --store @a --nodes @n --edges @e --vectors @v", &["kind = 'animal'"]);
    dir.ok("import --store @b --nodes @n --edges @e --vectors @v");
    let stats = dir.stats("b");
    assert_eq!(
        (&stats["nodes"], &stats["edges"], &stats["vectors"]),
        (&json!(2), &json!(5), &json!(2))
    );
    let error = dir.wrong("export --store @a @all --where legs=4");
    assert!(error.contains("--nodes"), "{error}");
}

/// An index changes how nodes are found, and not which.
#[test]
fn an_index_changes_the_plan_and_not_the_answer() {
    let dir = large();
    let nodes: String = (0..2_000)
        .map(|n| format!("{{\"id\":\"node {n}\",\"topic\":{},\"n\":{n}}}\n", n % 50))
        .collect();
    dir.file("n", nodes);
    dir.ok("import --store @a --nodes @n --durability os");
    let line = "query --store @a --order n:desc --limit 5";
    let conditions = ["topic = 7 and n < 1900"];
    let before = with(&dir, line, &conditions);
    assert_eq!(ids(&before), ["node 1857", "node 1807", "node 1757", "node 1707", "node 1657"]);
    let plan = |dir: &Dir| with(dir, &format!("{line} --explain"), &conditions)[0]["plan"].clone();
    assert!(plan(&dir).as_str().unwrap().contains("scan"));
    dir.ok("index create --store @a topics topic n:desc");
    assert_eq!(with(&dir, line, &conditions), before);
    assert_eq!(plan(&dir), "index \"topics\", about 38 nodes; then sorted");
}

#[test]
fn conditions_that_cannot_be_read_are_wrong_usage() {
    let dir = small();
    for (condition, says) in [
        ("legs", "at character 5"),
        ("legs==4", "at character 6"),
        ("legs=four", "text in quotes"),
        ("$legs=4", "$created"),
        ("", "the name of a field"),
    ] {
        for line in ["query --store @a", "count --store @a", "scan --store @a"] {
            let output = dir.command(line).arg("--where").arg(condition).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(says), "{condition}: {said}");
        }
    }
    assert!(dir.wrong("query --store @a --order a..b").contains("the name of a field"));
}
