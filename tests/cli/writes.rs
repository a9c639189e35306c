//! The commands that write single nodes and edges.

use serde_json::{Value as Json, json};

use crate::fixture::{Dir, lines, small};

/// Runs the program with arguments that may have spaces.
fn run(dir: &Dir, line: &str, args: &[&str]) -> Result<String, String> {
    let output = dir.command(line).args(args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(said) }
}

fn get(dir: &Dir, id: &str) -> Json {
    lines(&run(dir, "get --store @a --json", &[id]).unwrap()).remove(0)
}

#[test]
fn what_put_writes_get_shows() {
    let dir = small();
    let args = [
        "--kind=thing",
        "--content=it is, as said",
        "--set=name=Rex=2",
        "--set=n:=9007199254740993",
        "--set=list:=[1,2.5,null,{\"a\":true}]",
        "--set=empty=",
        "--strength=0.5",
        "--confidence=0.25",
        "--expires=2030-01-01",
        "--vector=text=[0.5,-1]",
        "--key=timeline=00ff",
    ];
    let said = run(&dir, "put --store @a new --json", &args).unwrap();
    assert_eq!(lines(&said)[0]["put"], "new");
    let node = get(&dir, "new");
    assert_eq!(
        node["attributes"],
        json!({"id": "new", "name": "Rex=2", "n": 9_007_199_254_740_993_i64,
               "list": [1, 2.5, null, {"a": true}], "empty": ""})
    );
    assert_eq!((&node["kind"], &node["content"]), (&json!("thing"), &json!("it is, as said")));
    assert_eq!((&node["strength"], &node["confidence"]), (&json!(0.5), &json!(0.25)));
    assert_eq!(node["expires"], 1_893_456_000_000_000_i64);
    assert_eq!(node["keys"], json!([{"index": "timeline", "key": "00ff"}]));
    assert_eq!(node["vectors"], json!({"text": 2}));

    // Conditions on what is there.
    let version = node["version"].to_string();
    assert!(run(&dir, "put --store @a new --if-absent", &[]).unwrap_err().contains("exists"));
    run(&dir, "put --store @a new --keep", &[]).unwrap();
    assert_eq!(get(&dir, "new"), node);
    assert!(run(&dir, "put --store @a new --if-version 1", &[]).is_err());
    run(&dir, &format!("put --store @a new --if-version {version}"), &["--content-file", "-"])
        .unwrap();
    let node = get(&dir, "new");
    assert_eq!((&node["content"], &node["kind"]), (&json!(""), &json!("node")));
    assert_eq!(node["expires"], 1_893_456_000_000_000_i64, "it was not given");

    // A patch leaves what it does not name.
    run(&dir, "patch --store @a new --touch", &[]).unwrap();
    let args =
        ["--set=a:=1", "--increment=a2=2", "--increment=f=0.5", "--unset=id2", "--kind=other"];
    run(&dir, "patch --store @a new --expires never", &args).unwrap();
    run(&dir, "patch --store @a new --increment a=41", &["--content=now"]).unwrap();
    let node = get(&dir, "new");
    assert_eq!(node["attributes"], json!({"id": "new", "a": 42, "a2": 2, "f": 0.5}));
    assert_eq!((&node["kind"], &node["content"]), (&json!("other"), &json!("now")));
    assert_eq!((&node["expires"], &node["access_count"]), (&Json::Null, &json!(1)));
    assert!(dir.ok("verify --store @a").contains("sound"));
}

/// What is wrong is said, and nothing is changed.
#[test]
fn what_is_wrong_changes_nothing() {
    let dir = small();
    let digest = || dir.json("stats --store @a --digest").remove(0)["digest"].clone();
    let before = digest();
    for (line, args, code, says) in [
        ("put --store @a x", &["--set", "a"][..], 2, "NAME:=JSON"),
        ("put --store @a x", &["--set", "=1"], 2, "the name is empty"),
        ("put --store @a x", &["--set", "a:=b"], 2, "no JSON value"),
        ("put --store @a x", &["--set", "a:=1,\"b\":2"], 2, "not one JSON value"),
        ("put --store @a x", &["--set", "a:=99999999999999999999"], 2, "no JSON value"),
        ("put --store @a x", &["--set", "a=1", "--set", "a=2"], 2, "given twice"),
        ("put --store @a x", &["--set", "id=y"], 2, "names the node"),
        ("put --store @a x", &["--confidence", "1.5"], 1, "0..=1"),
        ("put --store @a x", &["--strength", "nan"], 1, "not finite"),
        ("put --store @a x", &["--vector", "text=[1]"], 1, "text"),
        ("put --store @a x", &["--vector", "other=[1,2]"], 1, "other"),
        ("put --store @a x", &["--vector", "text"], 2, "SPACE="),
        ("put --store @a x", &["--key", "other=00"], 1, "other"),
        ("put --store @a x", &["--key", "timeline=0"], 2, "hexadecimal"),
        ("put --store @a x", &["--expires", "soon"], 2, "RFC 3339"),
        ("put --store @a x", &["--kind", ""], 1, "empty"),
        ("put --store @a x --if-absent --keep", &[], 2, "cannot be used with"),
        ("put --store @none x", &[], 1, "no such directory"),
        ("patch --store @a none", &["--set", "a=1"], 1, "not in the store"),
        ("patch --store @a dog", &[], 2, "nothing to change"),
        ("patch --store @a dog", &["--increment", "content=x"], 2, "no JSON value"),
        ("patch --store @a dog", &["--increment", "legs=true"], 2, "not a number"),
        ("patch --store @a cat", &["--set", "a=1", "--increment", "names=1"], 1, "names"),
        ("patch --store @a dog", &["--set", "a=1", "--unset", "a"], 2, "given twice"),
        ("patch --store @a dog", &["--set", "a=1", "--if-version", "999"], 1, "version"),
        ("delete --store @a dog none", &[], 1, "none"),
        ("delete --store @a", &[], 2, "ID"),
        ("link --store @a dog knows none", &[], 1, "none"),
        ("link --store @a dog knows cat", &["--weight", "inf"], 1, "weight"),
        ("unlink --store @a dog knows cat", &[], 1, "not in the store"),
        ("unlink --store @a dog chases cat --discriminator 77", &[], 1, "not in the store"),
        ("prune --store @a", &["--before", "then"], 2, "RFC 3339"),
    ] {
        let output = dir.command(line).args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line} {args:?}: {said}");
        assert!(said.contains(says), "{line} {args:?}: {said}");
    }
    assert_eq!(digest(), before);
}

#[test]
fn edges_and_nodes_come_and_go() {
    let dir = small();
    let edges = |id: &str| dir.json(&format!("edges --store @a {id}"));
    run(&dir, "link --store @a a likes b --create note", &["--set=since:=2020", "--weight=-2"])
        .unwrap();
    assert_eq!(get(&dir, "a")["attributes"], json!({"id": "a"}));
    assert_eq!((&edges("a")[0]["weight"], &edges("a")[0]["since"]), (&json!(-2.0), &json!(2020)));
    dir.ok("link --store @a a likes b --discriminator 7");
    dir.ok("link --store @a a likes b --discriminator 9 --create other");
    assert_eq!(edges("a").len(), 3);
    dir.ok("unlink --store @a a likes b --discriminator 7");
    assert_eq!(edges("a").len(), 2);
    let said = dir.run("unlink --store @a a likes b --json");
    assert_eq!(lines(&String::from_utf8(said.stdout).unwrap())[0]["unlinked"], 2);
    assert!(edges("a").is_empty());
    assert_eq!(get(&dir, "b")["kind"], "note", "it was there");

    let output = dir.run_with("delete --store @a - bare --if-exists --json", "a\n\n none \ndog\n");
    assert!(output.status.success());
    assert_eq!(lines(&String::from_utf8(output.stdout).unwrap())[0]["deleted"], 3);
    assert_eq!(dir.stats("a")["nodes"], 4);

    for n in 0..1_500 {
        if n % 500 == 0 {
            let name = format!("put --store @a old{n} --expires 2020-01-01");
            dir.ok(&name);
        }
    }
    dir.ok("put --store @a later --expires 2999-01-01");
    assert_eq!(dir.json("prune --store @a --dry-run")[0]["expired"], 3);
    assert_eq!(dir.json("prune --store @a --before 2019-12-31")[0]["pruned"], 0);
    assert_eq!(dir.json("prune --store @a")[0]["pruned"], 3);
    assert_eq!(dir.stats("a")["nodes"], 5);
    assert!(dir.ok("verify --store @a").contains("sound"));
}
