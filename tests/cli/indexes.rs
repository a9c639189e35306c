//! The command `index`.

use serde_json::json;

use crate::fixture::small;

#[test]
fn indexes_are_created_over_what_is_there_listed_and_dropped() {
    let dir = small();
    let created =
        dir.json("index create --store @a by-word word $created:desc --kind node").remove(0);
    assert_eq!(created["created"]["on"], json!(["word", "created:desc"]));
    assert_eq!(
        (&created["created"]["state"], &created["created"]["unique"]),
        (&json!("ready"), &json!(false))
    );
    dir.ok("index create --store @a other");
    let listed = dir.json("index list --store @a").remove(0);
    let names: Vec<_> =
        listed["indexes"].as_array().unwrap().iter().map(|index| &index["name"]).collect();
    assert_eq!(names, ["timeline", "by-word", "other"]);
    assert_eq!(listed["indexes"][1]["kinds"], json!(["node"]));
    assert_eq!(listed["indexes"][0]["on"], json!(null));
    assert!(dir.ok("index list --store @a").contains("by-word"));
    // A name alone is the node's own field, in quotes an attribute.
    for (field, on) in
        [("created", "created"), ("$created", "created"), ("\"created\"", "\"created\"")]
    {
        let created = dir.json(&format!("index create --store @a of-field {field}:desc")).remove(0);
        assert_eq!(created["created"]["on"], json!([format!("{on}:desc")]), "{field}");
        dir.ok("index drop --store @a of-field");
    }
    // The same again is fine, another is not.
    dir.ok("index create --store @a by-word word $created:desc --kind node");
    assert!(dir.fails("index create --store @a by-word word").contains("another definition"));
    assert!(dir.fails("index create --store @a plain --unique").contains("without a field"));
    dir.ok("index drop --store @a by-word");
    assert!(dir.fails("index drop --store @a by-word").contains("timeline"));
    // All nodes have the same kind.
    let error = dir.fails("index create --store @a by-kind $kind --unique");
    assert!(error.contains("unique") && error.contains("index drop by-kind"), "{error}");
    dir.ok("index drop --store @a by-kind");
    assert!(dir.ok("verify --store @a").contains("sound"));
}

/// An index that could not be built is one in the export too, and its nodes are all
/// there.
#[test]
fn an_index_that_failed_goes_out_and_in_with_all_nodes() {
    let dir = small();
    let nodes = dir.stats("a")["nodes"].clone();
    dir.fails("index create --store @a by-kind $kind --unique");
    dir.ok("export --store @a @x");
    let output = dir.run("import --store @b @x --json");
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("by-kind") && said.contains("unique"), "{said}");
    assert_eq!(dir.stats("b")["nodes"], nodes);
    let listed = dir.json("index list --store @b").remove(0);
    let states: Vec<_> =
        listed["indexes"].as_array().unwrap().iter().map(|index| &index["state"]).collect();
    assert_eq!(states, ["ready", "failed"]);
    dir.ok("index drop --store @b by-kind");
}
