//! The command `inspect`.

use std::fs;

use serde_json::Value as Json;

use crate::fixture::{damage, data_file, large, lines};

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
            assert!(found[1]["components"].as_array().unwrap().iter().all(Json::is_number));
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
    assert!(dir.fails("inspect @other").contains("it is not a file of ingrain"));
    dir.file("empty", "");
    assert!(dir.fails("inspect @empty").contains("it is not a file of ingrain"));
    assert!(dir.fails("inspect @a").contains("it is a directory"));
    assert!(dir.fails("inspect @missing").contains("missing"));
    let mut later = bytes;
    later[8] = 99;
    let crc = crc32fast::hash(&later[..60]);
    later[60..64].copy_from_slice(&crc.to_le_bytes());
    dir.file("later", &later);
    assert!(dir.fails("inspect @later").contains("format version 99; this crate reads 2 to 4"));
}
