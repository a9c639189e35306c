//! The commands `checkpoint`, `compact`, `backup`, `verify` and `repair`.

use std::fs;

use serde_json::json;

use crate::fixture::{Dir, damage, lines, small};

/// The digest of a store's content.
fn digest(dir: &Dir, store: &str) -> String {
    let stats = dir.json(&format!("stats --store @{store} --digest")).remove(0);
    stats["digest"].as_str().unwrap().to_owned()
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
    let copy = dir.json("backup --store @a @e --copy").remove(0);
    assert_eq!((&copy["copied"], &copy["linked"]), (&made["files"], &0.into()));
    assert_eq!(digest(&dir, "e"), before);
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
