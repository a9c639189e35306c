//! The commands `put`, `patch`, `delete`, `link`, `unlink` and `prune`.

use serde_json::{Value as Json, json};

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use crate::fixture::{Dir, array, lines, npy, small};

fn digest(dir: &Dir) -> Json {
    dir.json("stats --store @a --digest").remove(0)["digest"].clone()
}

fn get(dir: &Dir, id: &str) -> Json {
    dir.json(&format!("get --store @a {id}")).remove(0)
}

#[test]
fn what_is_refused_changes_nothing_and_says_what_is_right() {
    let dir = small();
    dir.ok("put --store @a dog --kind animal --set word=w --expires 2030-01-01");
    dir.ok("index create --store @a by-legs legs");
    dir.ok("put --store @a dog --kind animal --set word=w --set legs:=1");
    dir.file("nan", npy(&[[f32::NAN; 2]]));
    dir.file("zero", npy(&[[0.0; 2]]));
    dir.file("none", npy(&[]));
    dir.file("three", array("<f4", "(3,)", &[0; 12]));
    let before = digest(&dir);
    // The exit code, the command, standard input and what the error says.
    let table: &[(i32, &str, &str, &str)] = &[
        (2, "put @ x --set legs", "", "neither NAME=TEXT nor NAME:=JSON"),
        (2, "put @ x --set legs:=four", "", "text is NAME=TEXT"),
        (2, "link @ dog chases ", "", "required"),
        (2, "put @ x --set n:=99999999999999999999", "", "text is NAME=TEXT"),
        (2, "put @ x --set n:=1,\"id\":2", "", "text is NAME=TEXT"),
        (2, "patch @ dog --increment n=99999999999999999999", "", "is not a number"),
        (2, "link @ dog chases cat --increment n=1", "", "unexpected argument"),
        (2, "put @ x --set n:=NaN", "", "text is NAME=TEXT"),
        (2, "put @ x --set n:=1e999", "", "number out of range"),
        (2, "put @ x --set n:={\"a\":1,\"a\":2}", "", "occurs twice"),
        (2, "put @ x --set =4", "", "the name of the attribute is empty"),
        (2, "put @ x --set id=y", "", "is the name of the node and stays"),
        (2, "put @ x --set $content=y", "", "names that begin with $ are reserved"),
        (2, "put @ x --set a=1 --set a:=2", "", "\"a\" is given twice"),
        (2, "put @ x --expires tomorrow", "", "nor a time, such as 2026-01-31T12:00:00Z"),
        (2, "put @ x --expires 2026-02-30", "", "neither a date"),
        (1, "put @ x --vector text=1,2", "", "an array of numbers has brackets, such as [0.1,0.9]"),
        (2, "put @ x --vector text=[1,null]", "", "not a JSON array of numbers"),
        (2, "put @ x --vector text=", "", "nor SPACE=FILE"),
        (1, "put @ x --vector text=[0,0]", "", "a zero vector has no cosine"),
        (1, "put @ x --vector text=@nodes", "", "neither a .npy file nor JSON arrays of numbers"),
        (1, "put @ x --vector text=@vectors", "", "a node has one in a space"),
        (1, "put @ x --vector text=@nan", "", "its vector is all NaN"),
        (1, "put @ x --vector text=@zero", "", "its vector is zero, which has no cosine"),
        (1, "put @ x --vector text=@three", "", "vectors of space \"text\" have 2"),
        (1, "put @ x --vector text=@none", "", "the file holds no vector"),
        (2, "put @ x --vector text=- --content-file -", "[0,1]", "only one standard input"),
        (1, "patch @ dog --vector other=[0,1]", "", "the store has none of that name, but text"),
        (1, "patch @ dog --vector text=[0,1,0]", "", "vectors of space \"text\" have 2"),
        (2, "put @ x --vector text=[1e39,0]", "", "number out of range"),
        (2, "put @ x --vector [1,2]", "", "SPACE=ARRAY"),
        (2, "put @ x --vector text=[1,2] --vector text=[1,2]", "", "\"text\" is given twice"),
        (2, "put @ x --key timeline=abc", "", "an even number of hexadecimal digits"),
        (2, "put @ x --content a --content-file b", "", "cannot be used with"),
        (2, "put @ x --if-version 1 --keep", "", "cannot be used with"),
        (2, "put @ - --kind note", "", "takes none of the options that describe a node"),
        (
            1,
            "put @ x --vector text=[1,2,3]",
            "",
            "it has 3 numbers, vectors of space \"text\" have 2",
        ),
        (1, "put @ x --vector other=[1,2]", "", "the store has none of that name, but text"),
        (1, "put @ x --key other=00", "", "the store has none of that name, but timeline, by-legs"),
        (1, "put @ x --key by-legs=00", "", "by-legs"),
        (1, "put @ x --strength nan", "", "strength NaN: it is not finite"),
        (1, "put @ x --strength 1e39", "", "strength inf: it is not finite"),
        (1, "put @ x --confidence 1.5", "", "it is not in 0..=1"),
        (2, "put @ x --confidence much", "", "invalid float literal"),
        (2, "put @ x --if-version -1", "", "'--if-version <N>'"),
        (2, "put @ x --expires 2026-01-01T00:00", "", "neither a date"),
        (2, "put @ -x", "", "to pass '-x' as a value, use '-- -x'"),
        (2, "put @ x --set -x=1", "", "unexpected argument '-x'"),
        (1, "put @ x --content-file @nothing", "", "nothing"),
        (1, "put @ dog --if-absent", "", "node \"dog\": the node exists already"),
        (1, "put @ dog --if-version 1", "", "node \"dog\": the node is at version"),
        (1, "put @ ghost --if-version 1", "", "node \"ghost\": there is no such node"),
        (1, "put @ -", "{\"id\":\"new\"}\n{\"id\":\"y\"\n", "-:2:"),
        (1, "put @ -", "{\"id\":\"new\"}\n{\"id\":\"\"}\n", "-:2: the field \"id\" is empty"),
        (1, "put @ -", "{\"id\":\"new\",\"a\":1,\"a\":1}\n", "occurs twice"),
        (
            1,
            "put @ -",
            "{\"id\":\"new\"}\n{\"id\":\"y\",\"$what\":1}\n",
            "names with $ are reserved",
        ),
        (2, "patch @ dog", "", "it changes nothing; give --set"),
        (2, "patch @ dog --set a=1 --unset a", "", "\"a\" is given twice"),
        (2, "patch @ dog --set a=1 --increment a=1", "", "\"a\" is given twice"),
        (2, "patch @ dog --unset id", "", "is the name of the node and stays"),
        (2, "patch @ dog --increment legs=many", "", "\"many\" is not a number"),
        (2, "patch @ dog --increment legs=true", "", "\"true\" is not a number"),
        (2, "patch @ dog --increment legs", "", "it is not NAME=BY"),
        (2, "patch @ dog --increment a=1 --increment a:=2", "", "\"a\" is given twice"),
        (1, "patch @ dog --increment n=1 --increment legs=9223372036854775807", "", "legs"),
        (1, "patch @ ghost --touch", "", "node \"ghost\": it is not in the store"),
        (1, "patch @ dog --touch --if-version 1", "", "node \"dog\": the node is at version"),
        // An earlier change of the same command is undone too.
        (1, "patch @ dog --set a=1 --increment word=1", "", "\"word\""),
        (1, "link @ dog new ghost --create animal --weight inf", "", "weight"),
        (1, "delete @ dog ghost", "", "\"ghost\": it is not in the store, and nothing was deleted"),
        (1, "delete @ -", "dog\nghost\n", "--if-exists"),
        (1, "delete @ dog --if-version 1", "", "node \"dog\": the node is at version"),
        (2, "delete @ dog cat --if-version 1", "", "--if-version is of one node"),
        (2, "delete @ - --if-version 1", "dog\n", "--if-version is of one node"),
        (2, "delete @ - dog", "", "is the only id then"),
        (1, "link @ dog chases ghost", "", "--create KIND creates it"),
        (1, "link @ dog chases cat --weight nan", "", "weight"),
        (2, "link @ dog chases cat --discriminator -1", "", "neither a number from 0 to"),
        (2, "link @ dog chases cat --discriminator 18446744073709551616", "", "nor new"),
        (2, "link @ dog chases cat --set a=1 --set a=2", "", "\"a\" is given twice"),
        (1, "unlink @ dog chases ghost", "", "node \"ghost\": it is not in the store"),
        (1, "unlink @ cat chases dog", "", "edge cat chases dog: it is not in the store"),
        (1, "unlink @ dog chases cat --discriminator 7", "", "or delete all with --all"),
        (2, "prune @ --before never", "", "neither a date"),
    ];
    for (code, line, input, cause) in table {
        let files = format!("={}/", dir.0.path().display());
        let line = line.replacen('@', "--store @a", 1).replace("=@", &files);
        for json in ["", " --json"] {
            let output = dir.run_with(&format!("{line}{json}"), input);
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(*code), "{line}: {stderr}");
            assert!(output.stdout.is_empty(), "{line}");
            let said = if json.is_empty() {
                assert!(stderr.starts_with("error: "), "{line}: {stderr}");
                stderr
            } else {
                let error = lines(&stderr).pop().unwrap();
                format!("{} {}", error["error"].as_str().unwrap(), error["kind"].as_str().unwrap())
            };
            assert!(said.contains(cause), "{line}: {said}");
        }
        assert_eq!(digest(&dir), before, "{line}");
    }
    assert!(dir.fails("put --store @absent x").contains("there is no such directory"));
    assert!(!dir.path("absent").exists());
}

#[test]
fn empty_and_foreign_text_is_refused() {
    let dir = small();
    let before = digest(&dir);
    let long = "x".repeat(256);
    let (long_set, bytes) = (format!("{long}=1"), OsStr::from_bytes(b"a=\xff"));
    // The command, further arguments, the exit code and what the error says.
    let table: &[(&str, &[&OsStr], i32, &str)] = &[
        ("put", &["".as_ref()], 2, "the id is empty"),
        ("put x --kind", &["".as_ref()], 1, "the name is empty"),
        ("put x --kind", &[long.as_ref()], 1, "the limit is 255"),
        ("put x --set", &[long_set.as_ref()], 1, "the limit is 255"),
        ("put x --set", &["".as_ref()], 2, "neither NAME=TEXT nor NAME:=JSON"),
        ("put x --key", &["".as_ref()], 2, "it is not INDEX=KEY"),
        ("put x --expires", &["".as_ref()], 2, "neither a date"),
        ("put x --set", &[bytes], 2, "invalid UTF-8"),
        ("put", &[bytes], 2, "invalid UTF-8"),
        ("delete", &[bytes], 2, "invalid UTF-8"),
        ("patch --touch", &["".as_ref()], 1, "node \"\": it is not in the store"),
        ("patch dog --unset", &["".as_ref()], 2, "the name of the attribute is empty"),
        ("patch dog --increment", &["=1".as_ref()], 2, "the name of the attribute is empty"),
        ("delete dog", &["".as_ref()], 1, "node \"\": it is not in the store"),
        ("link dog is --create node", &["".as_ref()], 2, "the id is empty"),
        ("link dog", &["".as_ref(), "cat".as_ref()], 1, "the name is empty"),
        // Also if no node has to be created.
        ("link dog is cat --create", &["".as_ref()], 1, "the name is empty"),
        ("prune --before", &["".as_ref()], 2, "neither a date"),
    ];
    for (line, more, code, cause) in table {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let line = format!("{command} --store @a {rest}");
        let output = dir.command(&line).args(*more).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(*code), "{line} {more:?}: {stderr}");
        assert!(stderr.contains(cause), "{line} {more:?}: {stderr}");
    }
    for (line, input, cause) in [
        ("put --store @a -", b"{\"id\":\"ok\"}\n{\"id\":\"\xff\"}\n".as_slice(), "-:2:"),
        ("delete --store @a -", b"dog\n\xff\n", "-:2: the id is not UTF-8"),
    ] {
        let output = dir.run_with(line, input);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
        assert!(stderr.contains(cause), "{line}: {stderr}");
    }
    assert_eq!(digest(&dir), before);
}

#[test]
fn a_put_writes_all_that_its_options_say() {
    let dir = small();
    dir.file("text", "It barks\nat night.");
    let said = dir.json(
        "put --store @a rex --kind animal --content-file @text --set legs=4 --set count:=4 \
         --set tags:=[\"a\",null] --set bytes:={\"$bytes\":\"AAH/\"} --set x=a=b --strength 0.5 \
         --confidence 0.25 --expires 2030-01-31T12:00:00Z --vector text=[0.6,-0.8] \
         --key timeline=00ff --key timeline=01",
    );
    let node = get(&dir, "rex");
    assert_eq!(
        said,
        [json!({"id": "rex", "uuid": node["uuid"], "written": true, "version": node["version"],
                "seq": node["version"]})]
    );
    for (field, value) in [
        ("id", json!("rex")),
        ("kind", json!("animal")),
        ("content", json!("It barks\nat night.")),
        (
            "attributes",
            json!({"id": "rex", "legs": "4", "count": 4, "tags": ["a", null],
                   "bytes": {"$bytes": "AAH/"}, "x": "a=b"}),
        ),
        ("strength", json!(0.5)),
        ("confidence", json!(0.25)),
        ("expires", json!(1_896_091_200_000_000_u64)),
        ("keys", json!([{"index": "timeline", "key": "00ff"}, {"index": "timeline", "key": "01"}])),
        ("vectors", json!({"text": 2})),
    ] {
        assert_eq!(node[field], value, "{field}");
    }
    let hits = dir.json("nearest --store @a --like rex -k 1 --where id=\"rex\"");
    assert_eq!(hits[0]["hits"], json!([]));

    // A second put replaces it, but for its expiry.
    assert!(dir.ok("put --store @a rex --keep --content no").contains("kept as it was: rex"));
    let kept = dir.json("put --store @a rex --keep --content no").remove(0);
    assert_eq!((&kept["written"], &kept["version"]), (&json!(false), &node["version"]));
    assert_eq!(get(&dir, "rex"), node);
    let version = &node["version"];
    dir.ok(&format!("put --store @a rex --content --short --if-version {version}"));
    let second = get(&dir, "rex");
    assert_eq!((&second["kind"], &second["content"]), (&json!("node"), &json!("--short")));
    assert_eq!((&second["attributes"], &second["keys"]), (&json!({"id": "rex"}), &json!([])));
    assert_eq!((&second["expires"], &second["created"]), (&node["expires"], &node["created"]));
    dir.ok("put --store @a rex --expires never");
    assert_eq!(get(&dir, "rex")["expires"], Json::Null);
    assert_eq!(dir.ok("put --store @a rex --quiet"), "");
    // A UUID is the id itself, and no attribute.
    let uuid = "018f4e9c-0000-7000-8000-00000000000a";
    let line =
        format!("put --store @a {} --content-file - --if-absent --json", uuid.to_uppercase());
    let output = dir.run_with(&line, b"\xe9");
    let said = lines(str::from_utf8(&output.stdout).unwrap()).remove(0);
    assert_eq!((&said["id"], &said["uuid"]), (&json!(uuid), &json!(uuid)));
    let node = get(&dir, uuid);
    assert_eq!((&node["content"], &node["attributes"]), (&Json::Null, &json!({})));
    assert_eq!(node["content_base64"], "6Q==");
    // Names that begin with a hyphen, or have an equals sign in their text.
    dir.ok("put --store @a --set=-x=- --set=y:=\"=\" -- -n");
    let output = dir.run("get --store @a --json -- -n");
    let node = lines(str::from_utf8(&output.stdout).unwrap()).remove(0);
    assert_eq!(node["attributes"], json!({"id": "-n", "-x": "-", "y": "="}));
    assert!(dir.ok("verify --store @a").contains("sound"));
}

#[test]
fn vectors_come_from_arguments_and_files() {
    let dir = small();
    dir.file("row", npy(&[[0.6, -0.8]]));
    dir.file("one=d", array("<f8", "(2,)", &[0.6_f64, -0.8].map(f64::to_le_bytes).concat()));
    dir.file("json", "[0.6, -0.8]\n");
    dir.ok("put --store @a there --vector text=[0.6,-0.8]");
    for from in ["row", "one=d", "json"] {
        let path = dir.path(from);
        dir.ok(&format!("put --store @a {from} --vector text={}", path.display()));
    }
    assert!(
        dir.run_with("put --store @a stdin --vector text=-", npy(&[[0.6, -0.8]])).status.success()
    );
    dir.ok("put --store @a patched --set a=1");
    dir.ok("patch --store @a patched --vector text=[0.6,-0.8]");
    assert_eq!(get(&dir, "patched")["attributes"], json!({"id": "patched", "a": "1"}));
    let hits = dir.json("nearest --store @a --like there -k 6 --effort exact").remove(0);
    let mut near: Vec<&str> = Vec::new();
    for hit in hits["hits"].as_array().unwrap() {
        if hit["distance"].as_f64().unwrap() < 1e-6 {
            near.push(hit["id"].as_str().unwrap());
        }
    }
    near.sort_unstable();
    assert_eq!(near, ["json", "one=d", "patched", "row", "stdin"]);
    // A put without a vector takes it away, and a patch keeps it.
    dir.ok("patch --store @a row --touch --set a=1");
    assert_eq!(get(&dir, "row")["vectors"], json!({"text": 2}));
    dir.ok("put --store @a row");
    assert_eq!(get(&dir, "row")["vectors"], json!({}));
}

/// Each command makes the checkpoint that a long log needs, as an import does.
#[test]
fn the_log_of_many_commands_stays_short() {
    let dir = small();
    dir.file("text", vec![b'x'; 700 << 10]);
    let log = || dir.stats("a")["write"]["wal_bytes"].as_u64().unwrap();
    let mut most = 0;
    for n in 0..6 {
        dir.ok(&format!("put --store @a n{n} --content-file @text"));
        dir.ok(&format!("patch --store @a n{n} --content-file @text"));
        most = most.max(log());
    }
    assert!(most < 3 << 20, "{most}");
}

#[test]
fn lines_are_put_as_an_import_puts_them() {
    let dir = small();
    dir.ok("put --store @a dog --vector text=[0,1] --kind animal");
    let many: String = (0..2_500).map(|n| format!("{{\"id\":\"m{n}\",\"n\":{n}}}\n")).collect();
    let text = format!("{many}{{\"id\":\"dog\",\"kind\":\"animal\",\"text\":\"woof\"}}\n");
    let output = dir.run_with("put --store @a - --json", &text);
    assert!(output.status.success(), "{output:?}");
    let said = lines(str::from_utf8(&output.stdout).unwrap());
    let done = said.last().unwrap();
    assert_eq!((&done["nodes"], &done["written_nodes"]), (&json!(2_501), &json!(2_501)));
    assert_eq!(said.len(), 4, "an acknowledgement for each batch, and the end");
    let dog = get(&dir, "dog");
    assert_eq!((&dog["content"], &dog["vectors"]), (&json!("woof"), &json!({"text": 2})));
    assert_eq!(get(&dir, "m2499")["attributes"]["n"], 2_499);
    // A line that only the store can refuse stops it; those before it are there.
    let big = "{\"id\":\"ok\"}\n{\"id\":\"no\",\"$attributes\":{\"\":1}}\n{\"id\":\"z\"}\n";
    let output = dir.run_with("put --store @a -", big);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("-:2:") && stderr.contains("kept: 1 line of nodes"), "{stderr}");
    assert!(!stderr.contains("--skip-bad"), "{stderr}");
    get(&dir, "ok");
    dir.fails("get --store @a z");
}

#[test]
fn a_patch_changes_what_it_names() {
    let dir = small();
    dir.ok("put --store @a job --content do --set a=1 --set b=2 --set n:=1 --expires 2030-01-01 --strength 0.5");
    let put = get(&dir, "job");
    dir.ok("patch --store @a job --set a:=[true] --unset b --unset none --increment n:=2 --increment f=0.5");
    let patched = get(&dir, "job");
    assert_eq!(patched["attributes"], json!({"id": "job", "a": [true], "n": 3, "f": 0.5}));
    for field in ["content", "expires", "strength", "kind", "created", "access_count"] {
        assert_eq!(patched[field], put[field], "{field}");
    }
    assert_ne!(patched["version"], put["version"]);
    // Neither a touch nor an expiry is a new version.
    dir.ok("patch --store @a job --touch");
    assert_eq!(get(&dir, "job")["expires"], put["expires"], "a touch leaves it");
    let said = dir.json("patch --store @a job --touch --expires never").remove(0);
    assert!(said["seq"].as_u64() > said["version"].as_u64(), "{said}");
    let touched = get(&dir, "job");
    assert_eq!((&touched["access_count"], &touched["expires"]), (&json!(2), &Json::Null));
    assert_eq!((&touched["version"], &said["version"]), (&patched["version"], &patched["version"]));
    let version = &patched["version"];
    dir.ok(&format!(
        "patch --store @a job --if-version {version} --kind done --content ok --strength 1 \
         --confidence 0.5 --expires 1970-01-02"
    ));
    let last = get(&dir, "job");
    assert_eq!((&last["kind"], &last["content"]), (&json!("done"), &json!("ok")));
    assert_eq!((&last["strength"], &last["confidence"]), (&json!(1.0), &json!(0.5)));
    assert_eq!((&last["expires"], &last["access_count"]), (&json!(86_400_000_000_u64), &json!(2)));
    let error = dir.fails(&format!("patch --store @a job --set a=1 --if-version {version}"));
    assert!(error.contains("version"), "{error}");
}

#[test]
fn nodes_are_deleted_by_name_and_by_standard_input() {
    let dir = small();
    let said = dir.json("delete --store @a cat cat ghost --if-exists");
    assert_eq!(said, [json!({"deleted": 1, "absent": 1})]);
    dir.fails("get --store @a cat");
    assert_eq!(dir.stats("a")["edges"], 2, "those of the node are gone");
    let output =
        dir.run_with("delete --store @a -", "dog\r\n\n018F4E9C-0000-7000-8000-000000000001\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "deleted 2 nodes\n");
    assert_eq!(dir.stats("a")["nodes"], 2);
    // More than a batch, from the answer of a query.
    let nodes: String =
        (0..2_100).map(|n| format!("{{\"id\":\"m{n}\",\"kind\":\"m\"}}\n")).collect();
    dir.run_with("put --store @a -", &nodes);
    let found = dir.json("query --store @a --kind m --limit 0");
    let names: String =
        found.iter().map(|node| format!("{}\n", node["id"].as_str().unwrap())).collect();
    let output = dir.run_with("delete --store @a - --json", &names);
    assert_eq!(
        lines(str::from_utf8(&output.stdout).unwrap()),
        [json!({"deleted": 2_100, "absent": 0})]
    );
    assert_eq!(dir.stats("a")["nodes"], 2);
    assert_eq!(dir.ok("delete --store @a ghost --if-exists"), "deleted 0 nodes; not there: 1\n");
    // Only the version that was seen is deleted.
    dir.ok("put --store @a job");
    let seen = get(&dir, "job")["version"].clone();
    dir.ok("patch --store @a job --set a=1");
    dir.fails(&format!("delete --store @a job --if-version {seen}"));
    let seen = get(&dir, "job")["version"].clone();
    assert_eq!(dir.ok(&format!("delete --store @a job --if-version {seen}")), "deleted 1 node\n");
    dir.fails("get --store @a job");
}

#[test]
fn edges_are_linked_and_unlinked() {
    let dir = small();
    let said = dir
        .json("link --store @a dog hunts mouse --weight 0.5 --confidence 0.25 --set how=slowly --create animal")
        .remove(0);
    assert_eq!((&said["created_nodes"], &said["new"]), (&json!(["mouse"]), &json!(true)));
    assert_eq!(
        (&get(&dir, "mouse")["id"], &get(&dir, "mouse")["kind"]),
        (&json!("mouse"), &json!("animal"))
    );
    let edge = dir.json("edges --store @a dog --out --type hunts");
    assert_eq!(
        edge,
        [
            json!({"source": "dog", "type": "hunts", "target": "mouse", "weight": 0.5, "how": "slowly"})
        ]
    );
    // The same edge again, then a parallel one.
    let said = dir.json("link --store @a dog hunts mouse --create other").remove(0);
    assert_eq!((&said["created_nodes"], &said["new"]), (&json!([]), &json!(false)));
    dir.ok("link --store @a dog hunts mouse --discriminator 18446744073709551615");
    dir.ok("link --store @a new is new --create thing");
    assert_eq!(dir.json("edges --store @a dog --out --type hunts").len(), 2);
    let said = dir.ok("unlink --store @a dog hunts mouse");
    assert_eq!(said, "deleted 1 of dog hunts mouse; parallel to it and left: 1\n");
    let error = dir.fails("unlink --store @a dog hunts mouse");
    assert!(error.contains("but with 18446744073709551615"), "{error}");
    dir.ok("unlink --store @a dog hunts mouse --discriminator 18446744073709551615");
    // A new edge replaces none of those there are.
    let mut numbers = Vec::new();
    for line in ["", " --set how=slowly", " --set how=slowly"] {
        let line = format!("link --store @a dog chases cat --discriminator new{line}");
        let said = dir.json(&line).remove(0);
        assert_eq!(said["new"], true);
        numbers.push(said["discriminator"].as_u64().unwrap());
    }
    assert_eq!(dir.json("edges --store @a dog --type chases").len(), 8);
    let last = numbers.pop().unwrap();
    let said = dir.ok(&format!("link --store @a dog chases cat --discriminator {last}"));
    assert_eq!(said, format!("linked again dog chases cat, discriminator {last}\n"));
    let said = dir.json("link --store @a mat chases cat --discriminator new").remove(0);
    assert_eq!(said["discriminator"], 0, "the first of them");
    let said = dir.json("unlink --store @a dog chases cat --all").remove(0);
    assert_eq!((&said["deleted"], &said["left"]), (&json!(8), &json!(0)));
    assert_eq!(dir.json("edges --store @a dog").len(), 0);
    assert!(dir.ok("verify --store @a").contains("sound"));
}

#[test]
fn what_has_expired_is_pruned() {
    let dir = small();
    let old: String = (0..1_500)
        .map(|n| format!("{{\"id\":\"old{n}\",\"$node\":{{\"expires\":{}}}}}\n", n + 1))
        .collect();
    dir.run_with("put --store @a -", &old);
    dir.ok("put --store @a later --expires 2999-01-01");
    let before = digest(&dir);
    let said = dir.json("prune --store @a --dry-run --before 1970-01-01T00:00:00.001Z").remove(0);
    assert_eq!((&said["pruned"], &said["expired"]), (&json!(0), &json!(1_000)));
    assert_eq!(digest(&dir), before);
    let said = dir.json("prune --store @a --before 1970-01-01T00:00:00.000400Z").remove(0);
    assert_eq!((&said["pruned"], &said["before"]), (&json!(400), &json!(400)));
    dir.fails("get --store @a old399");
    get(&dir, "old400");
    assert!(dir.ok("prune --store @a").starts_with("deleted 1,100 nodes: expired by 20"));
    assert_eq!(dir.stats("a")["nodes"], 6);
    assert!(dir.ok("prune --store @a").starts_with("deleted 0 nodes"));
    dir.ok("prune --store @a --before 3000-01-01");
    dir.fails("get --store @a later");
}
