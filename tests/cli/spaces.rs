//! The commands `spaces` and `rebuild`.

use std::fs;

use serde_json::{Value as Json, json};

use crate::fixture::{data_file, large, small};

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
    fs::remove_file(&path).unwrap(); // nobody may write it
    fs::write(path, bytes).unwrap();
    let output = dir.run("verify --store @a");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(".vix: damaged"), "{text}");
    assert!(text.contains("\"ingrain rebuild\" repairs"), "{text}");
    dir.ok("rebuild --store @a");
    assert!(dir.ok("verify --store @a").contains("sound"));
    let error = dir.fails("rebuild --store @a --space none");
    assert!(
        error.contains("\"none\": the store has none of that name, but empty, text"),
        "{error}"
    );
    assert!(dir.fails("rebuild --store @none").contains("no such directory"));
}
