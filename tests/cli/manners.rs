//! What holds for all commands: where they print, how they end, what they say of
//! the store that they opened.

use std::{fs, path::Path, process::Stdio};

use ingrain::{Batch, Edge, Metric, Node, NodeId, Options, Space, Timestamp};
use serde_json::{Value as Json, json};

use crate::fixture::{Dir, data_file, large, lines, small};

/// The commands, from the help text of the program.
fn commands(dir: &Dir) -> Vec<String> {
    let help = dir.ok("--help");
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| !line.starts_with("   "));
    let names: Vec<String> =
        names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(names.len() >= 19, "{names:?}");
    names.into_iter().filter(|name| name != "help").collect()
}

#[test]
fn every_command_has_examples_a_page_and_completions() {
    let dir = Dir::new();
    assert!(dir.ok("man").contains(".TH ingrain 1"));
    for command in commands(&dir) {
        let help = dir.ok(&format!("{command} --help"));
        assert!(
            help.contains("Examples:") && help.contains(&format!("ingrain {command}")),
            "{help}"
        );
        let page = dir.ok(&format!("man {command}"));
        assert!(page.contains(&format!("ingrain-{command}")), "{page}");
        for shell in ["bash", "fish", "zsh"] {
            assert!(
                dir.ok(&format!("completions {shell}")).contains(&command),
                "{shell} {command}"
            );
        }
    }
    dir.wrong("completions cmd");
    assert!(dir.wrong("man none").contains("scan"));
}

#[test]
fn the_environment_names_the_store() {
    let dir = small();
    let run = |line: &str| {
        let output = dir.command(line).env("INGRAIN_STORE", dir.path("a")).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        output.stdout
    };
    assert_eq!(run("get dog"), dir.ok("get --store @a dog").as_bytes());
    run("export @x.tar");
    // The option wins.
    run("import --store @b @x.tar");
    assert_eq!(dir.stats("b")["nodes"], 5);
    dir.wrong("get dog");
}

#[test]
fn quiet_leaves_results_and_errors() {
    let dir = small();
    let quiet = |line: &str| {
        let output = dir.run(&format!("{line} --quiet"));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let nothing = (String::new(), String::new());
    assert_eq!(quiet("import --store @b --nodes @nodes --edges @edges"), nothing);
    for line in ["export --store @a @x", "checkpoint --store @b", "backup --store @b @c"] {
        assert_eq!(quiet(line), nothing, "{line}");
    }
    assert_eq!(quiet("get --store @a dog").0, dir.ok("get --store @a dog"));
    let (stdout, stderr) = quiet("get --store @a ghost");
    assert!(stdout.is_empty() && stderr.starts_with("error: "), "{stderr}");
}

#[test]
fn errors_are_json_where_results_are() {
    let dir = small();
    for (line, code, kind) in [
        ("get --store @a ghost", 1, "failed"),
        ("stats --store @none", 1, "failed"),
        ("inspect @none", 1, "io"),
        ("import --store @none/s --nodes @nodes", 1, "failed"),
        ("scan", 2, "usage"),
        ("index", 2, "usage"),
        ("nearest --store @a --like dog -k 0", 2, "usage"),
        ("import --store @b --nodes - --edges -", 2, "usage"),
    ] {
        let output = dir.run(&format!("{line} --json"));
        assert_eq!(output.status.code(), Some(code), "{line}");
        let error = lines(str::from_utf8(&output.stderr).unwrap());
        let [error] = error.as_slice() else { panic!("{line}: {error:?}") };
        assert_eq!(error["kind"], kind, "{error}");
        assert!(!error["error"].as_str().unwrap().is_empty() && output.stdout.is_empty());
    }
    let engine = Options::new().open(dir.path("held")).unwrap();
    let output = dir.run("stats --store @held --json");
    let error = lines(str::from_utf8(&output.stderr).unwrap()).remove(0);
    assert_eq!(error["kind"], "locked", "{error}");
    drop(engine);
}

/// Copies the directory of a store.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, to).unwrap();
        }
    }
}

const READING: [&str; 8] = [
    "get --store @s dog",
    "edges --store @s dog",
    "scan --store @s",
    "nearest --store @s --like dog",
    "path --store @s dog mat",
    "stats --store @s",
    "spaces --store @s",
    "verify --store @s",
];

#[test]
fn every_command_tells_of_a_tail_that_was_cut() {
    let dir = small();
    // As a crash leaves it: half a commit at the end.
    let engine = Options::new().open(dir.path("a")).unwrap();
    for n in 0..3_u8 {
        engine.write(Batch::new().put(Node::new(NodeId::from_content(&[n]), "note"))).unwrap();
    }
    copy(&dir.path("a"), &dir.path("torn"));
    drop(engine);
    let logs = fs::read_dir(dir.path("torn/wal")).unwrap().map(|file| file.unwrap().path());
    let log = logs.max().unwrap();
    let bytes = fs::read(&log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let mut torn = bytes.clone();
    torn[end] ^= 1;
    fs::write(&log, torn).unwrap();
    let writing = [
        "checkpoint --store @s",
        "export --store @s @s.tar",
        "export --store @s --nodes @s.n",
        "import --store @s --nodes @nodes",
    ];
    for line in READING.into_iter().chain(writing) {
        copy(&dir.path("torn"), &dir.path("s"));
        let output = dir.run(line);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.success() && text.contains("note: the log ended within a write"),
            "{line}: {text}"
        );
        let text = String::from_utf8(dir.run(line).stderr).unwrap();
        assert!(!text.contains("the log ended"), "{line} again: {text}");
        fs::remove_dir_all(dir.path("s")).unwrap();
    }
}

#[test]
fn codes_that_are_damaged_or_rebuilt_are_told_of() {
    let dir = large();
    let path = data_file(&dir, "a", "vix");
    let mut bytes = fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4_096) {
        *byte ^= 1;
    }
    fs::write(path, bytes).unwrap();
    dir.file("q", "[1, 0]");
    let output = dir.run("nearest --store @a --vector @q");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("codes of space \"text\""), "{text}");
    assert!(text.contains("damaged, and not used") || text.contains("rebuilt"), "{text}");
}

/// A checkpoint would need room, which a full disk does not have.
#[test]
fn reading_makes_no_checkpoint() {
    let dir = small();
    let text = "x".repeat(700_000);
    dir.file(
        "n",
        format!(
            "{{\"id\":\"1\",\"content\":\"{text}\"}}\n{{\"id\":\"2\",\"content\":\"{text}\"}}\n"
        ),
    );
    let engine = Options::new().open(dir.path("a")).unwrap();
    let mut batch = Batch::new();
    for n in 0..2_u8 {
        batch.put(Node::new(NodeId::from_content(&[n]), "note").content(&*text));
    }
    engine.write(batch).unwrap();
    drop(engine);
    fs::rename(dir.path("a"), dir.path("s")).unwrap();
    let exports = ["export --store @s @x.tar.gz", "export --store @s --nodes @x.n --edges @x.e"];
    for line in READING.into_iter().chain(exports) {
        dir.ok(line);
        assert_eq!(fs::read_dir(dir.path("s/data")).unwrap().count(), 0, "{line}");
    }
    // Closing after a change makes one: the log is long enough.
    dir.ok("import --store @s --nodes @nodes");
    assert!(fs::read_dir(dir.path("s/data")).unwrap().count() > 0);
}

#[test]
fn a_dash_is_standard_input_or_output() {
    let dir = small();
    let feed = |line: &str, file: &str| {
        let input = fs::File::open(dir.path(file)).unwrap();
        let output = dir.command(line).stdin(input).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    feed("import --store @b --nodes -", "nodes");
    feed("import --store @b --edges -", "edges");
    feed("import --store @b --nodes - --vectors @vectors --space one", "nodes");
    feed("import --store @b --nodes @nodes --vectors - --space two", "vectors");
    dir.file("i", "dog\nmat\n");
    dir.file("v", crate::fixture::npy(&[[1.0, 0.0], [0.0, 1.0]]));
    feed("import --store @b --ids - --vectors @v --space three", "i");
    let stats = dir.stats("b");
    let vectors: Vec<_> =
        stats["spaces"].as_array().unwrap().iter().map(|space| &space["vectors"]).collect();
    assert_eq!(vectors, [4, 2, 4]);
    assert_eq!(stats["edges"], 8);
    let answer = feed("nearest --store @b --vector - --space one --json", "v");
    assert_eq!(lines(str::from_utf8(&answer).unwrap()).len(), 2);
    dir.file("q", "[[1, 0], [[0, 1]]]");
    let nested = feed("nearest --store @b --vector - --space one --json", "q");
    assert_eq!(nested, answer);
    let inspected = feed("inspect - --json", "b/MANIFEST");
    assert_eq!(inspected, dir.ok("inspect @b/MANIFEST --json").as_bytes());

    for (option, file) in [("--nodes", "out.n"), ("--edges", "out.e"), ("--vectors", "out.v")] {
        dir.ok(&format!("export --store @a {option} @{file}"));
        let output = dir.run(&format!("export --store @a {option} -"));
        assert_eq!(output.stdout, dir.read(file), "{option}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("exported"));
    }
    let two = dir.wrong("import --store @b --nodes - --vectors -");
    assert!(two.contains("only one standard input"), "{two}");
    // Who reads the export may stop early.
    let mut child = dir.command("export --store @a -");
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn tables_keep_what_is_stored_on_its_line() {
    let dir = Dir::new();
    let engine = Options::new()
        .index("a\nb")
        .space("v", Space::new(2, Metric::Dot))
        .open(dir.path("s"))
        .unwrap();
    let mut batch = Batch::new();
    let name = "two\nlines\tand \u{202e}more\u{2028}";
    for id in [name, "other"] {
        let node = Node::new(NodeId::from_content(id.as_bytes()), "k\nind").attribute("id", id);
        let vector = if id == name { [1.0, 0.0] } else { [0.0, 1.0] };
        let node = node.attribute("at\ntribute", id).key("a\nb", [1_u8]).vector("v", vector);
        batch.put(
            node.content(format!("content {id}")).expires(Timestamp::from_micros(0)).strength(-0.0),
        );
    }
    let id = NodeId::from_content(name.as_bytes());
    let other = NodeId::from_content(b"other");
    batch.link(Edge::new(id, "ty\npe", other).weight(-0.0).attribute("x\ny", name));
    engine.write(batch).unwrap();
    engine.close().unwrap();
    let (id, rows) =
        (id.to_string(), [("get", 15), ("edges", 3), ("scan", 4), ("path", 4), ("nearest", 4)]);
    for (command, count) in rows {
        let line = match command {
            "get" | "edges" => format!("{command} --store @s {id}"),
            "path" => format!("path --store @s {id} {other}"),
            "nearest" => format!("nearest --store @s --like {id}"),
            command => format!("{command} --store @s"),
        };
        let text = dir.ok(&line);
        assert_eq!(text.lines().count(), count, "{line}: {text}");
        let bad = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{2028}');
        assert!(!text.contains(bad), "{line}: {text:?}");
        let zero = |word: &str| word == "-0" || word.starts_with("-0.");
        assert!(!text.split_whitespace().any(zero), "{line}: {text}");
        if command != "nearest" {
            assert!(text.contains("two\\nlines\\tand \\u{202e}more\\u{2028}"), "{line}: {text}");
        }
        if command == "get" {
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for field in ["strength 0 ", "confidence 1 ", "expires 1970-01-01", "version 2 "] {
                assert!(words.contains(field), "{field:?}: {text}");
            }
        }
    }
    // Zero has no sign in JSON either.
    assert_eq!(dir.json(&format!("edges --store @s {id}"))[0]["weight"].to_string(), "0.0");
    assert_eq!(dir.json(&format!("get --store @s {id}"))[0]["strength"].to_string(), "0.0");
    let hits = dir.json(&format!("nearest --store @s --like {id}"));
    assert_eq!(hits[0]["hits"][0]["distance"].to_string(), "0.0");
    let hit = &hits[0]["hits"][0];
    assert_eq!((&hit["kind"], &hit["content"]), (&json!("k\nind"), &json!("content other")));
}

#[test]
fn nodes_are_shown_up_to_the_first_that_is_not_there() {
    let dir = small();
    for (json, first) in [("", "barks"), (" --json", "\"content\":\"barks\"")] {
        let output = dir.run(&format!("get --store @a dog nope cat{json}"));
        assert_eq!(output.status.code(), Some(1));
        let (stdout, stderr) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(stdout.contains(first) && !stdout.contains("purrs"), "{stdout}");
        assert!(stderr.contains("nope"), "{stderr}");
    }
    let id = "018f4e9c-0000-7000-8000-000000000001";
    for spelled in [id.to_uppercase(), format!("018F{}", &id[4..]), id.to_owned()] {
        assert_eq!(dir.json(&format!("get --store @a {spelled}"))[0]["id"], id);
    }
}

#[test]
fn an_import_tells_what_it_made_and_what_it_kept() {
    let dir = small();
    // No index that nobody asked for.
    let done = dir.json("import --store @b --nodes @nodes --vectors @vectors").pop().unwrap();
    assert_eq!((&done["created_indexes"], &done["created_spaces"]), (&json!([]), &json!(["text"])));
    assert_eq!(dir.stats("b")["indexes"], json!([]));
    let text = dir.ok("import --store @c --nodes @nodes --vectors @vectors --index order");
    assert!(text.contains("created index \"order\"\n"), "{text}");
    assert!(
        text.contains("created space \"text\": dimension 2, metric cosine, the default"),
        "{text}"
    );
    let again = dir.ok("import --store @c --nodes @nodes --vectors @vectors --index order");
    assert!(!again.contains("created"), "{again}");
    dir.file(
        "k",
        format!("{}\n", json!({"id": "x", "$node": {"keys": [{"index": "by", "key": "00"}]}})),
    );
    assert_eq!(
        dir.json("import --store @c --nodes @k").pop().unwrap()["created_indexes"],
        json!(["by"])
    );
    // Every line has the fields of an acknowledgement.
    let all = dir.json("import --store @d --nodes @nodes --edges @edges --batch 2");
    let (last, acks) = all.split_last().unwrap();
    assert!(acks.iter().all(|ack| ack.as_object().unwrap().len() == 2));
    assert_eq!(
        (&last["acked_nodes"], &last["acked_edges"], &last["done"]),
        (&json!(5), &json!(8), &json!(true))
    );

    dir.file("bad", "{\"id\":\"new\"}\n{\"id\":7}\n{\"id\":\"later\"}\n");
    let error = dir.fails("import --store @c --nodes @bad");
    assert!(
        error.contains("kept: 1 line of nodes and 0 lines of edges are in the store"),
        "{error}"
    );
    assert!(
        error.contains("run the same command again") && error.contains("--skip-bad"),
        "{error}"
    );
    dir.file("worse", "{\"id\":7}\n[]\n");
    assert!(dir.fails("import --store @c --nodes @worse").contains("nothing was imported"));
    let error = dir.run("import --store @c --nodes @worse --skip-bad");
    assert_eq!(error.status.code(), Some(1));
    let error = String::from_utf8(error.stderr).unwrap();
    assert!(error.contains("error: all 2 lines are bad"), "{error}");
    // A listing says what it cannot say.
    dir.ok("import --store @l2 --nodes @nodes --vectors @vectors --metric l2");
    let output = dir.run("export --store @l2 --nodes @out --vectors @out.v");
    assert!(String::from_utf8(output.stderr).unwrap().contains("--metric l2"));
    // A full one can.
    dir.ok("export --store @l2 --nodes @out --vectors @out.v --full");
    dir.ok("import --store @same --nodes @out --vectors @out.v");
    assert_eq!(dir.stats("same")["spaces"][0]["metric"], "l2");
}

/// A line of JSON has the same fields in every answer of a command.
#[test]
fn a_command_has_one_shape_of_line() {
    let dir = small();
    dir.file("x", "{\"id\":\"bytes\",\"$content_base64\":\"/w==\"}\n");
    dir.ok("import --store @a --nodes @x");
    let shapes = |line: &str| -> Vec<Vec<String>> {
        let output = dir.run(&format!("{line} --json"));
        let all = lines(str::from_utf8(&output.stdout).unwrap());
        all.iter().map(|line| line.as_object().unwrap().keys().cloned().collect()).collect()
    };
    for line in ["get --store @a dog bytes mat", "scan --store @a --limit 3"] {
        let found = shapes(line);
        assert!(
            found.len() == 3 && found.iter().all(|shape| *shape == found[0]),
            "{line}: {found:?}"
        );
    }
    assert_eq!(shapes("path --store @a dog mat"), shapes("path --store @a mat dog"));
    let bytes = dir.json("get --store @a bytes").remove(0);
    assert_eq!((&bytes["content"], &bytes["content_base64"]), (&Json::Null, &json!("/w==")));
}
