//! The command `rename`.

use std::fs;

use serde_json::json;

use crate::fixture::small;

#[test]
fn kinds_indexes_and_spaces_are_renamed_and_replaced() {
    let dir = small();
    let before = dir.stats("a")["seq"].as_u64().unwrap();
    dir.ok("spaces --store @a --create new=3:l2");
    let renamed = dir.json("rename --store @a space new newer").remove(0);
    assert_eq!(
        renamed,
        json!({"what": "space", "from": "new", "to": "newer", "dropped_vectors": null,
               "seq": before + 2})
    );
    for (wrong, cause) in [
        ("space none other", "vector space \"none\": the store has none of that name"),
        ("space newer text", "which the store has already"),
        ("space none text --replace", "vector space \"none\""),
        ("space text none --replace", "vector space \"none\""),
        ("kind none other", "kind \"none\""),
        ("index none other", "index \"none\""),
        ("kind none other --replace", "--replace is of vector spaces"),
    ] {
        let error = dir.fails(&format!("rename --store @a {wrong}"));
        assert!(error.contains(cause), "{wrong}: {error}");
    }
    assert_eq!(dir.stats("a")["seq"], before + 2, "nothing was written");
    let text = dir.ok("rename --store @a space newer text --replace");
    assert!(text.contains("dropped text with 4 vectors"), "{text}");
    assert!(text.contains("space newer is now text"), "{text}");
    assert_eq!(dir.stats("a")["spaces"][0]["dimension"], 3);
    let kind = dir.json("scan --store @a --limit 1")[0]["kind"].as_str().unwrap().to_owned();
    dir.ok(&format!("rename --store @a kind {kind} other"));
    assert_eq!(dir.json("scan --store @a --kind other --limit 1").len(), 1);
    let logs = fs::read_dir(dir.path("a/wal")).unwrap();
    let last = logs.map(|log| log.unwrap().file_name()).max().unwrap();
    let log = dir.json(&format!("inspect @a/wal/{}", last.to_str().unwrap()));
    let shown = json!({"op": "rename", "what": "kind", "from": kind, "to": "other"});
    assert_eq!(log[1]["ops"], json!([shown]));
}
