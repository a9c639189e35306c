//! The commands `query`, `count` and `kinds`, and `--where` of other commands.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::{Value as Json, json};

use crate::fixture::{Dir, found, lines, npy, root, small};

const TOPICS: [&str; 4] = ["rust", "c", "go", "ada"];
/// 2026-01-01, in microseconds since 1970, and a day.
const NEW_YEAR: u64 = 1_767_225_600_000_000;
const DAY: u64 = 86_400_000_000;

/// A node of the store of these tests, and what the tests know of it.
struct Task {
    id: String,
    kind: &'static str,
    topic: &'static str,
    priority: u64,
    created: u64,
}

fn tasks() -> Vec<Task> {
    let task = |n: u64| Task {
        id: format!("t{n}"),
        kind: if n.is_multiple_of(3) { "task" } else { "note" },
        topic: TOPICS[usize::try_from(n * 7 % 4).unwrap()],
        priority: n * 5 % 11,
        // Each has a time of its own, not in the order of the lines.
        created: NEW_YEAR - 100 * DAY + n * 37 % 200 * DAY,
    };
    (0..200).map(task).collect()
}

fn store(tasks: &[Task]) -> Dir {
    let dir = Dir::new();
    let line = |task: &Task| {
        json!({"id": task.id, "kind": task.kind, "topic": task.topic, "priority": task.priority,
               "$node": {"created": task.created}})
        .to_string()
    };
    dir.file("n", tasks.iter().map(line).collect::<Vec<_>>().join("\n"));
    dir.ok("import --store @a --nodes @n --durability os");
    dir
}

fn ids(nodes: &[Json]) -> Vec<String> {
    nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_query_finds_the_same_with_an_index_and_without() {
    let all = tasks();
    let dir = store(&all);
    let mut wanted: Vec<&Task> = all
        .iter()
        .filter(|task| task.topic == "rust" && task.priority >= 3 && task.created >= NEW_YEAR)
        .collect();
    wanted.sort_by_key(|task| std::cmp::Reverse(task.created));
    let names = |tasks: &[&Task]| tasks.iter().map(|task| task.id.clone()).collect::<Vec<_>>();
    assert!(wanted.len() > 10, "{}", wanted.len());
    let conditions =
        ["--where", "topic = \"rust\" and created >= 2026-01-01", "--where", "priority >= 3"];
    let query = |more: &str| dir.json_more(&format!("query --store @a {more}"), &conditions);
    let mut plans = BTreeSet::new();
    for index in [None, Some("topic created:desc")] {
        if let Some(fields) = index {
            dir.ok(&format!("index create --store @a by-topic {fields}"));
        }
        assert_eq!(ids(&query("--order created:desc --limit 0")), names(&wanted));
        assert_eq!(ids(&query("--order created:desc --limit 5")), names(&wanted[..5]));
        // Of an equal kind, the largest priority, and then the smallest time.
        let mut sorted = wanted.clone();
        sorted.sort_by_key(|task| (task.kind, std::cmp::Reverse(task.priority), task.created));
        let order = "--order kind --order priority:desc --order $created --limit 0";
        assert_eq!(ids(&query(order)), names(&sorted));
        let of_kind = wanted.iter().filter(|task| task.kind == "task").count();
        assert_eq!(query("--kind task --limit 0").len(), of_kind);
        let count = dir.json_more("count --store @a", &conditions).remove(0);
        assert_eq!(count, json!({"nodes": wanted.len()}));
        let count = dir.json_more("count --store @a task", &conditions).remove(0);
        assert_eq!(count, json!({"nodes": of_kind}));
        let plan = query("--order created:desc --explain").remove(0);
        plans.insert(plan["plan"].as_str().unwrap().to_owned());
    }
    assert_eq!(plans.len(), 2, "{plans:?}");
    assert!(plans.iter().any(|plan| plan.contains("by-topic")), "{plans:?}");
    assert!(plans.iter().any(|plan| plan.contains("scan")), "{plans:?}");
    // What was left out is said, on standard error.
    for (limit, said) in [(5, true), (wanted.len(), false)] {
        let output = dir.run_more(&format!("query --store @a --limit {limit}"), &conditions);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.contains("--limit 0 lists all"), said, "{stderr}");
    }
    assert_eq!(dir.ok("query --store @a --where topic=1"), "no nodes\n");
}

#[test]
fn nodes_and_edges_are_counted_by_kind() {
    let dir = small();
    assert_eq!(dir.ok("count --store @a"), "5\n");
    assert_eq!(dir.ok("count --store @a animal"), "2\n");
    assert_eq!(dir.ok("count --store @a nothing"), "0\n");
    let kinds = |more: &str| {
        let kinds = dir.json(&format!("kinds --store @a {more}"));
        let of = |kind: &Json| {
            let name = kind["kind"].as_str().unwrap().to_owned();
            (name, kind["nodes"].as_u64().unwrap(), kind["edges"].as_u64().unwrap())
        };
        kinds.iter().map(of).collect::<Vec<_>>()
    };
    let kind = |name: &str, nodes, edges| (name.to_owned(), nodes, edges);
    let (animal, chases, is) = (kind("animal", 2, 0), kind("chases", 0, 5), kind("is", 0, 1));
    let (near, node, on) = (kind("near", 0, 1), kind("node", 3, 0), kind("on", 0, 1));
    assert_eq!(kinds(""), [animal.clone(), chases, is.clone(), near.clone(), node.clone(), on]);
    assert!(dir.ok("kinds --store @a").contains("chases"));
    // A kind that is gone is in none but the list of all.
    dir.ok("delete --store @a cat");
    let left = [kind("animal", 1, 0), is, near, node];
    assert_eq!(kinds(""), left);
    assert!(kinds("--all").contains(&kind("chases", 0, 0)));
}

#[test]
fn a_scan_takes_conditions_page_by_page_and_in_the_order_of_an_index() {
    let all = tasks();
    let dir = store(&all);
    dir.ok("index create --store @a by-time created");
    let condition = ["--where", "topic in (\"c\", \"go\")", "--where", "not priority < 2"];
    let wanted = |kind: Option<&str>| {
        let mut wanted: Vec<&Task> = all
            .iter()
            .filter(|task| matches!(task.topic, "c" | "go") && task.priority >= 2)
            .filter(|task| kind.is_none_or(|kind| kind == task.kind))
            .collect();
        wanted.sort_by_key(|task| task.created);
        wanted.iter().map(|task| task.id.clone()).collect::<Vec<_>>()
    };
    let pages = |options: &str| {
        let (mut read, mut after) = (Vec::new(), String::new());
        loop {
            let line = format!("scan --store @a --limit 7 --json {options} {after}");
            let output = dir.run_more(&line, &condition);
            assert!(output.status.success(), "{output:?}");
            read.extend(ids(&lines(str::from_utf8(&output.stdout).unwrap())));
            let aside = lines(str::from_utf8(&output.stderr).unwrap());
            let Some(aside) = aside.first() else { return read };
            after = format!("--after {}", aside["cursor"].as_str().unwrap());
        }
    };
    assert_eq!(pages("--index by-time"), wanted(None));
    let mut backwards = wanted(None);
    backwards.reverse();
    assert_eq!(pages("--index by-time --reverse"), backwards);
    assert_eq!(pages("--index by-time --kind task"), wanted(Some("task")));
    for kind in [None, Some("note")] {
        let option = kind.map(|kind| format!("--kind {kind}")).unwrap_or_default();
        let read = pages(&option);
        let sorted: BTreeSet<String> = read.iter().cloned().collect();
        assert_eq!(read.len(), sorted.len(), "each once");
        assert_eq!(sorted, wanted(kind).into_iter().collect());
    }
}

#[test]
fn searches_and_listings_take_conditions() {
    let dir = small();
    let nearest = |line: &str, more: &[&str]| {
        let hits = dir.json_more(&format!("nearest --store @a --like dog {line}"), more);
        found(&hits).iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()
    };
    let four = "018f4e9c-0000-7000-8000-000000000001";
    assert_eq!(nearest("", &[]), ["cat", four, "bare"]);
    assert_eq!(nearest("", &["--where", "not kind = \"animal\""]), [four, "bare"]);
    assert_eq!(
        nearest("", &["--where", "not kind = \"animal\"", "--where", "id = \"bare\""]),
        ["bare"]
    );
    assert_eq!(nearest("--kind animal", &["--where", "linked from \"dog\""]), ["cat"]);
    assert_eq!(nearest("--filter kind=node", &["--where", "links to \"dog\""]), [""; 0]);

    // The edges between what is listed, and rows for these nodes alone.
    let animals = ["--where", "kind = \"animal\""];
    let done =
        dir.json_more("export --store @a --nodes @out --edges @out.e --vectors @out.v", &animals);
    let done = done.last().unwrap();
    assert_eq!(
        (&done["nodes"], &done["edges"], &done["vectors"]),
        (&json!(2), &json!(5), &json!(2))
    );
    dir.ok("import --store @b --nodes @out --edges @out.e --vectors @out.v");
    let stats = dir.stats("b");
    assert_eq!(
        (&stats["nodes"], &stats["edges"], &stats["vectors"]),
        (&json!(2), &json!(5), &json!(2))
    );
    // In the order of an index, too.
    dir.json_more("export --store @a --nodes @in-order --vectors @v --index timeline", &animals);
    let order = lines(str::from_utf8(&dir.read("in-order")).unwrap());
    assert_eq!(ids(&order), ["dog", "cat"]);
    assert_eq!(dir.read("v"), npy_of_export(&[[1.0, 0.0], [0.8, 0.6]], &dir));
    let error = dir.wrong("export --store @a @whole --where legs=4");
    assert!(error.contains("--where is of a plain listing"), "{error}");
    assert!(!dir.path("whole").exists());
}

/// The array that an export writes for rows, found by its own way through a store.
fn npy_of_export(rows: &[[f32; 2]], dir: &Dir) -> Vec<u8> {
    let line = |n| format!("{{\"id\":\"row {n}\"}}\n");
    dir.file("rows", (0..rows.len()).map(line).collect::<String>());
    dir.file("rows.v", npy(rows));
    dir.ok("import --store @rows-store --nodes @rows --vectors @rows.v --index order");
    dir.ok("export --store @rows-store --vectors @rows.out --index order");
    dir.read("rows.out")
}

/// The scripts of the cookbook do what they say.
#[test]
fn the_recipes_for_the_shell_run() {
    let text = fs::read_to_string(root().join("docs/cookbook.md")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_ingrain")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let scripts: Vec<&str> =
        text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(scripts.len(), 2);
    for script in scripts {
        let dir = Dir::new();
        let output = Command::new("sh")
            .args(["-eu", "-c", script])
            .current_dir(dir.0.path())
            .env("PATH", format!("{}:{path}", program.display()))
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{stderr}");
    }
}

/// What is between the two ends of a path has to meet the conditions.
#[test]
fn a_path_leads_through_what_meets_conditions() {
    let dir = small();
    for (condition, found) in [("kind = 'animal'", true), ("kind = 'node'", false)] {
        let mut command = dir.command("path --store @a dog mat --json --where");
        assert_eq!(command.arg(condition).output().unwrap().status.success(), found, "{condition}");
    }
}
