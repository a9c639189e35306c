//! The command line program, run as a user runs it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "the files are the user's, not the engine's; a helper of a test may fail it"
)]

mod demo;
mod export;
mod fixture;
mod import;
mod indexes;
mod inspect;
mod maintain;
mod manners;
mod matching;
mod nearest;
mod queries;
mod query;
mod rename;
mod spaces;
mod whole;
mod writes;

use std::{
    fs,
    process::{Command, Stdio},
};

use ingrain::{Batch, Edge, Metric, Node, NodeId, Options, Space};
use serde_json::Value as Json;

use fixture::Dir;

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
        "rename",
        "index",
        "index create",
        "index create --store @a x $nothing",
        "index create --store @a x a..b",
        "index drop --store @a",
        "query --store @a --where legs",
        "query --store @a --where legs=",
        "query --store @a --order $nothing",
        "scan --store @a --where (",
        "count --store @a --where =",
        "count --store @a animal node",
        "nearest --store @a --like dog --where )",
        "export --store @a @x --where legs=4",
        "put --store @a",
        "put --store @a dog --set legs",
        "put --store @a dog --if-absent --keep",
        "delete --store @a",
        "delete --store @a dog -",
        "link --store @a dog chases",
        "unlink --store @a dog chases cat --all --discriminator 1",
        "prune --store @a --before yesterday",
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

#[test]
fn what_is_stored_moves_no_cursor() {
    let dir = Dir::new();
    let hostile = "\u{1b}[2J\u{1b}]0;title\u{7}\r\u{9b}1A";
    let store = Options::new().space("v", Space::new(2, Metric::Cosine));
    let engine = store.open(dir.path("a")).unwrap();
    let mut batch = Batch::new();
    for n in 0..2_u8 {
        let id = NodeId::from_content(&[n]);
        let node = Node::new(id, format!("kind {hostile}")).attribute(hostile, hostile);
        batch.put(node.content(hostile).vector("v", [1.0, 0.5]));
    }
    let id = NodeId::from_content(&[0]);
    batch.link(Edge::new(id, hostile, NodeId::from_content(&[1])).attribute(hostile, hostile));
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
