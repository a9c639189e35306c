//! The command `demo`: imports the sample with processes that are killed, checks
//! what they acknowledged, and then queries the store.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use ingrain::{
    Direction, Edge, Engine, KeyRange, Node, NodeId, NodeRef, Snapshot, Value,
    exchange::{
        json::object,
        lines::{CONTENT_FIELDS, EdgeLine, NodeLine, Parallel},
    },
    graph::PathOptions,
    search::Filter,
};
use serde_json::Value as Json;

use crate::{
    args::DemoArgs,
    error::{CliError, Result},
    ids,
    lines::Lines,
    npy::Npy,
    output::{self, Output},
    query, store,
};

/// Where the sample is in the repository.
const SAMPLE: &str = "tests/data/wordnet-sample";
const SPACE: &str = "text";
/// The index that holds the nodes in the order of their import.
const TIMELINE: &str = "timeline";
/// Lines in a batch: few, so that there are many batches before a kill.
const BATCH: &str = "100";
/// Rows of a table.
const ROWS: usize = 10;

pub(crate) fn run(args: &DemoArgs, output: &mut Output) -> Result<ExitCode> {
    let data = Data::find(args.data.as_deref())?;
    let (_temporary, path) = match &args.store {
        Some(path) => (None, unused(path)?),
        None => {
            let dir =
                tempfile::Builder::new().prefix("ingrain-demo-").tempdir().map_err(|error| {
                    CliError::io("create a directory in", &std::env::temp_dir(), error)
                })?;
            let path = dir.path().join("store");
            (Some(dir), path)
        }
    };
    let started = Instant::now();
    let expected = data.read()?;
    let (nodes, edges) = (expected.nodes.len(), expected.edges.len());
    note(
        output,
        object([
            ("step", "read".into()),
            ("nodes", nodes.into()),
            ("edges", edges.into()),
            ("micros", output::micros(started.elapsed())),
        ]),
        format_args!(
            "sample in {}: {} nodes with vectors, {} edges ({})",
            data.dir.display(),
            output::count(nodes),
            output::count(edges),
            output::took(started.elapsed())
        ),
    )?;

    let demo = Demo { data: &data, expected: &expected, store: &path };
    demo.kill_and_check(output, "1", |acked| acked.nodes >= nodes / 3)?;
    demo.kill_and_check(output, "2", |acked| acked.edges >= edges / 2)?;
    demo.finish_and_check(output)?;

    let started = Instant::now();
    let engine = store::open(&path, output)?;
    let snapshot = engine.snapshot();
    note(
        output,
        object([("step", "open".into()), ("micros", output::micros(started.elapsed()))]),
        format_args!("opened the store in {}", output::took(started.elapsed())),
    )?;
    ask(&engine, &snapshot, output)?;
    engine.done(output);
    engine.close()?;
    if args.store.is_some() && !output.is_json() {
        output.text(format_args!("the store stays in {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a step: a JSON document or a line of text.
fn note(output: &mut Output, json: Json, text: std::fmt::Arguments<'_>) -> Result<()> {
    if output.is_json() {
        output.json(&json)?;
    } else {
        output.text(text)?;
    }
    // The next step takes a while.
    output.flush()
}

/// Checks that a store can be created in a directory.
fn unused(path: &Path) -> Result<PathBuf> {
    match std::fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Err(CliError::message(format!(
            "--store {}: it is not empty; name a directory that is absent or empty",
            path.display()
        ))),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::io("list", path, error))
        }
        _ => Ok(path.to_owned()),
    }
}

/// The files of the sample.
struct Data {
    dir: PathBuf,
    nodes: PathBuf,
    edges: PathBuf,
    vectors: PathBuf,
}

/// The contents of the files.
struct Expected {
    nodes: Vec<ExpectedNode>,
    edges: Vec<EdgeLine>,
}

struct ExpectedNode {
    line: u64,
    node: Node,
}

impl Data {
    fn find(given: Option<&Path>) -> Result<Self> {
        let places = match given {
            Some(dir) => vec![dir.to_owned()],
            None => {
                // The current directory, and the repository of this program, whose
                // package is in src/cli.
                let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
                [Some(Path::new("")), repository].iter().flatten().map(|p| p.join(SAMPLE)).collect()
            }
        };
        let Some(dir) = places.iter().find(|dir| dir.join("nodes.jsonl.gz").is_file()) else {
            let places: Vec<String> =
                places.iter().map(|place| place.display().to_string()).collect();
            return Err(CliError::message(format!(
                "there is no nodes.jsonl.gz in {}; run the demo in a clone of the repository, or \
                 name the directory of the sample with --data",
                places.join(" or ")
            )));
        };
        Ok(Self {
            nodes: dir.join("nodes.jsonl.gz"),
            edges: dir.join("edges.jsonl.gz"),
            vectors: dir.join("vectors.f16.npy"),
            dir: dir.clone(),
        })
    }

    fn read(&self) -> Result<Expected> {
        let bad = |file: &Path, line, cause| CliError::Line { file: file.to_owned(), line, cause };
        let mut expected = Expected { nodes: Vec::new(), edges: Vec::new() };
        let mut vectors = Npy::open(&self.vectors)?;
        let mut lines = Lines::open(&self.nodes)?;
        while let Some(line) = lines.next()? {
            let number = line.number;
            let parsed = line
                .bytes
                .and_then(|bytes| NodeLine::decode(bytes, &CONTENT_FIELDS).map_err(|e| e.what))
                .map_err(|cause| bad(&self.nodes, number, cause))?;
            let mut node = Node::new(parsed.id, "");
            parsed.apply(&mut node);
            if let Some(vector) = vectors.next()?.filter(|row| !row.iter().all(|x| x.is_nan())) {
                node.vectors.insert(SPACE.to_owned(), vector);
            }
            expected.nodes.push(ExpectedNode { line: number, node });
        }
        let mut parallel = Parallel::default();
        let mut lines = Lines::open(&self.edges)?;
        while let Some(line) = lines.next()? {
            let number = line.number;
            let mut edge = line
                .bytes
                .and_then(|bytes| EdgeLine::decode(bytes).map_err(|e| e.what))
                .map_err(|cause| bad(&self.edges, number, cause))?;
            parallel.number(&mut edge);
            expected.edges.push(edge);
        }
        Ok(expected)
    }
}

/// Lines that an import has acknowledged.
#[derive(Debug, Clone, Copy, Default)]
struct Acked {
    nodes: usize,
    edges: usize,
}

/// The result of checking a store.
struct Found {
    acked: Acked,
    nodes: usize,
    edges: usize,
    cut: bool,
    took: Duration,
}

struct Demo<'d> {
    data: &'d Data,
    expected: &'d Expected,
    store: &'d Path,
}

impl Demo<'_> {
    /// Imports in a separate process, which is killed when `enough` is
    /// acknowledged. Returns what was acknowledged, and whether it was killed.
    fn import(&self, enough: impl Fn(Acked) -> bool) -> Result<(Acked, bool)> {
        let program = std::env::current_exe()
            .map_err(|error| CliError::message(format!("find this program: {error}")))?;
        let failed = |error| CliError::io("run", &program, error);
        let mut child = Command::new(&program)
            .args(["import", "--json", "--batch", BATCH, "--space", SPACE])
            .args(["--index", TIMELINE, "--store"])
            .arg(self.store)
            .arg("--nodes")
            .arg(&self.data.nodes)
            .arg("--edges")
            .arg(&self.data.edges)
            .arg("--vectors")
            .arg(&self.data.vectors)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut acked = Acked::default();
        let mut killed = false;
        if let Some(stdout) = child.stdout.take() {
            // Output from before its end counts too, so read to the end.
            for line in BufReader::new(stdout).lines() {
                let line = line.map_err(failed)?;
                let Some(seen) = parse_ack(&line) else { continue };
                acked = seen;
                if !killed && enough(acked) {
                    child.kill().map_err(failed)?;
                    killed = true;
                }
            }
        }
        let status = child.wait().map_err(failed)?;
        if !killed && !status.success() {
            let mut text = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                // If this fails, the status is reported alone.
                let _ = stderr.read_to_string(&mut text);
            }
            return Err(CliError::message(format!(
                "the import ended with {status}: {}",
                text.trim()
            )));
        }
        Ok((acked, killed))
    }

    fn kill_and_check(
        &self,
        output: &mut Output,
        time: &str,
        enough: impl Fn(Acked) -> bool,
    ) -> Result<()> {
        let started = Instant::now();
        let (acked, killed) = self.import(enough)?;
        let imported = started.elapsed();
        if !killed {
            return Err(CliError::message(
                "the import ended before it could be killed; the sample is too small for the demo",
            ));
        }
        let found = self.check(acked, output)?;
        self.show(output, &format!("kill {time}"), &found, imported)
    }

    fn finish_and_check(&self, output: &mut Output) -> Result<()> {
        let started = Instant::now();
        let (acked, _) = self.import(|_| false)?;
        let imported = started.elapsed();
        let found = self.check(acked, output)?;
        let (nodes, edges) = (self.expected.nodes.len(), self.expected.edges.len());
        if (acked.nodes, acked.edges) != (nodes, edges)
            || (found.nodes, found.edges) != (nodes, edges)
        {
            return Err(CliError::message(format!(
                "the store has {} nodes and {} edges, and {} and {} lines were acknowledged; the \
                 sample has {nodes} and {edges}",
                found.nodes, found.edges, acked.nodes, acked.edges
            )));
        }
        self.show(output, "finish", &found, imported)
    }

    fn show(
        &self,
        output: &mut Output,
        step: &str,
        found: &Found,
        imported: Duration,
    ) -> Result<()> {
        let acked = found.acked;
        let more = |found: usize, acked: usize| found.saturating_sub(acked);
        // The store also has batches that were committed but not acknowledged, and
        // what an earlier process wrote and this one did not reach.
        let (more_nodes, more_edges) =
            (more(found.nodes, acked.nodes), more(found.edges, acked.edges));
        let json = object([
            ("step", Json::from(step)),
            ("acked_nodes", acked.nodes.into()),
            ("acked_edges", acked.edges.into()),
            ("missing", 0.into()),
            ("found_nodes", found.nodes.into()),
            ("found_edges", found.edges.into()),
            ("torn_tail_cut", found.cut.into()),
            ("import_micros", output::micros(imported)),
            ("check_micros", output::micros(found.took)),
        ]);
        let (nodes, edges) = (output::count(acked.nodes), output::count(acked.edges));
        let head = if step == "finish" {
            format!("finished with {nodes} nodes and {edges} edges")
        } else if acked.edges == 0 {
            format!("killed after {nodes} acknowledged nodes")
        } else {
            format!("killed after {nodes} acknowledged nodes and {edges} acknowledged edges")
        };
        note(
            output,
            json,
            format_args!(
                "{head} ({}): all are complete, edges at both ends{}{} (checked in {})",
                output::took(imported),
                match (output::count(more_nodes), output::count(more_edges)) {
                    _ if more_nodes + more_edges == 0 => String::new(),
                    (_, edges) if more_nodes == 0 => {
                        format!("; {edges} more edges were committed but not yet acknowledged")
                    }
                    (nodes, _) => {
                        format!("; {nodes} more nodes were committed but not yet acknowledged")
                    }
                },
                if found.cut { "; a torn tail of the log was truncated" } else { "" },
                output::took(found.took)
            ),
        )
    }

    /// Opens the store and compares everything acknowledged with the input.
    fn check(&self, acked: Acked, output: &Output) -> Result<Found> {
        let started = Instant::now();
        let engine = store::open(self.store, output)?;
        let snapshot = engine.snapshot();
        let mut wrong: Vec<String> = Vec::new();
        for ExpectedNode { line, node } in self.expected.nodes.iter().take(acked.nodes) {
            if let Some(what) = differs(&snapshot, node)? {
                wrong.push(format!("{}:{line}: the node {what}", self.data.nodes.display()));
            }
        }
        for line in self.expected.edges.iter().take(acked.edges) {
            let edge = &line.edge;
            let Edge { source, kind, target, discriminator, .. } = edge;
            let at_target = snapshot.edges_in(*target).kind(kind).find(|found| {
                found.as_ref().is_ok_and(|found| {
                    found.source() == *source && found.discriminator() == *discriminator
                })
            });
            for (side, found) in [
                ("source", snapshot.edge(*source, kind, *target, *discriminator)?),
                ("target", at_target.transpose()?),
            ] {
                let whole = match found {
                    Some(found) => {
                        found.weight() == edge.weight && *found.attributes()? == edge.attributes
                    }
                    None => false,
                };
                if !whole {
                    wrong.push(format!(
                        "the edge {} -{}-> {} is missing or differs at its {side}",
                        line.source, edge.kind, line.target
                    ));
                }
            }
        }
        let found = Found {
            acked,
            nodes: snapshot.node_count(),
            edges: snapshot.edge_count(),
            cut: engine.recovery().torn_tail.is_some(),
            took: started.elapsed(),
        };
        engine.close()?;
        match wrong.first() {
            None => Ok(found),
            Some(first) => Err(CliError::message(format!(
                "of {} acknowledged nodes and {} acknowledged edges, {} are missing or damaged; \
                 the first: {first}",
                acked.nodes,
                acked.edges,
                wrong.len()
            ))),
        }
    }
}

fn parse_ack(line: &str) -> Option<Acked> {
    let ack: Json = serde_json::from_str(line).ok()?;
    let count = |name| usize::try_from(ack.get(name)?.as_u64()?).ok();
    Some(Acked { nodes: count("acked_nodes")?, edges: count("acked_edges")? })
}

/// How a node differs from its line, if it does.
fn differs(snapshot: &Snapshot, expected: &Node) -> Result<Option<&'static str>> {
    let Some(node) = snapshot.get(expected.id)? else { return Ok(Some("is missing")) };
    let vector = expected.vectors.get(SPACE).map(Vec::as_slice);
    Ok(if node.content() != expected.content {
        Some("has other content")
    } else if node.kind() != expected.kind || *node.attributes()? != expected.attributes {
        Some("has other attributes")
    } else if node.vector(SPACE)? != vector {
        Some("has another vector")
    } else if !node.keys().any(|(index, _)| index == TIMELINE) {
        Some("is not on the timeline")
    } else {
        None
    })
}

/// Runs a query of each type, and prints how long it took.
fn ask(engine: &Engine, snapshot: &Snapshot, output: &mut Output) -> Result<()> {
    let (dog, cat) = (with_word(snapshot, "dog")?, with_word(snapshot, "cat")?);

    let (node, took) = timed(|| ids::find(snapshot, &dog));
    let node = node?;
    title(output, "get", took, format_args!("the node {dog}, a synset with the word \"dog\""))?;
    if output.is_json() {
        let text = String::from_utf8_lossy(node.content());
        result(output, "get", took, Json::from(dog.as_str()), Json::from(text))?;
    } else {
        output.table(&query::node_table(snapshot, &node)?)?;
    }

    let (edges, took) = timed(|| {
        let (out, into) = (snapshot.edges_out(node.id()), snapshot.edges_in(node.id()));
        out.chain(into).collect::<ingrain::Result<Vec<_>>>()
    });
    let edges = edges?;
    title(output, "edges", took, format_args!("{} edges of it", edges.len()))?;
    let mut table = output::table(&["", "type", "id", "words"]);
    let mut found = Vec::new();
    for edge in edges.iter().take(ROWS) {
        let (side, there) =
            if edge.source() == node.id() { ("out", edge.target()) } else { ("in", edge.source()) };
        let name = ids::name_of(snapshot, there)?;
        found.push(object([
            ("side", side.into()),
            ("type", edge.kind().into()),
            ("id", Json::from(name.as_str())),
        ]));
        table.add_row([side.to_owned(), edge.kind().to_owned(), name, words_of(snapshot, there)?]);
    }
    answer(output, "edges", took, &dog, found, &table)?;

    if let Some(vector) = node.vector(SPACE)? {
        let filter = Filter::new().test(|other| other.id() != node.id());
        let (hits, took) = timed(|| snapshot.nearest(SPACE, vector, 5, &filter));
        let hits = hits?;
        title(output, "nearest", took, format_args!("five nearest to it by vector"))?;
        let mut table = output::table(&["distance", "id", "words"]);
        let mut found = Vec::new();
        for hit in &hits {
            let name = ids::name(&hit.node)?;
            found.push(object([
                ("id", Json::from(name.as_str())),
                ("distance", hit.distance.into()),
            ]));
            let words = words_of(snapshot, hit.node.id())?;
            table.add_row([format!("{:.6}", hit.distance), name, words]);
        }
        answer(output, "nearest", took, &dog, found, &table)?;
    }

    let options = PathOptions { max_edges: usize::MAX, ..PathOptions::default() };
    let to = ids::node_id(&cat);
    let (path, took) = timed(|| snapshot.shortest_path(node.id(), to, &options));
    match path? {
        Some(path) => {
            title(
                output,
                "path",
                took,
                format_args!(
                    "{} edges from {dog} to {cat}, a synset with \"cat\"",
                    path.steps.len()
                ),
            )?;
            let mut table = output::table(&["by", "id", "words"]);
            table.add_row([String::new(), dog.clone(), words_of(snapshot, path.start)?]);
            let mut found = vec![Json::from(dog.as_str())];
            for step in &path.steps {
                let name = ids::name_of(snapshot, step.node)?;
                found.push(Json::from(name.as_str()));
                let words = words_of(snapshot, step.node)?;
                table.add_row([step.edge.kind().to_owned(), name, words]);
            }
            answer(output, "path", took, &dog, found, &table)?;
        }
        None => title(output, "path", took, format_args!("none from {dog} to {cat}"))?,
    }

    let (last, took) = timed(|| {
        let range = snapshot.range(TIMELINE, KeyRange::all(), Direction::Descending)?;
        range.take(5).map(|entry| Ok(entry?.node)).collect::<ingrain::Result<Vec<NodeRef<'_>>>>()
    });
    title(output, "timeline", took, format_args!("the last five imported, newest first"))?;
    let mut table = output::table(&["id", "words", "content"]);
    let mut found = Vec::new();
    for node in last? {
        let [name, _, content] = query::headline(&node, 60)?;
        found.push(Json::from(name.as_str()));
        table.add_row([name, words_of(snapshot, node.id())?, content]);
    }
    answer(output, "timeline", took, TIMELINE, found, &table)?;

    let (stats, took) = timed(|| engine.stats());
    title(output, "stats", took, format_args!("of the store"))?;
    if output.is_json() {
        let numbers = serde_json::to_value(&stats)
            .map_err(|error| CliError::message(format!("stats as JSON: {error}")))?;
        result(output, "stats", took, Json::Null, numbers)
    } else {
        output.table(&query::stats_table(snapshot, &stats))
    }
}

fn timed<T>(operation: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = operation();
    (result, started.elapsed())
}

/// Prints the heading of a result, in text.
fn title(
    output: &mut Output,
    what: &str,
    took: Duration,
    text: std::fmt::Arguments<'_>,
) -> Result<()> {
    if output.is_json() {
        return Ok(());
    }
    output.text(format_args!("\n{what}: {text} ({})", output::took(took)))
}

fn answer(
    output: &mut Output,
    step: &str,
    took: Duration,
    of: &str,
    found: Vec<Json>,
    table: &comfy_table::Table,
) -> Result<()> {
    if output.is_json() {
        result(output, step, took, Json::from(of), Json::Array(found))
    } else {
        output.table(table)
    }
}

fn result(output: &mut Output, step: &str, took: Duration, of: Json, found: Json) -> Result<()> {
    output.json(&object([
        ("step", Json::from(step)),
        ("of", of),
        ("result", found),
        ("micros", output::micros(took)),
    ]))
}

fn words(node: &NodeRef<'_>) -> Result<Vec<String>> {
    Ok(match node.attributes()?.get("words") {
        Some(Value::List(words)) => words
            .iter()
            .filter_map(|word| match word {
                Value::Text(word) => Some(word.clone()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    })
}

fn words_of(snapshot: &Snapshot, id: NodeId) -> Result<String> {
    let words = match snapshot.get(id)? {
        Some(node) => words(&node)?.join(", "),
        None => String::new(),
    };
    Ok(output::brief(&words, 40))
}

/// The id of the first node of the timeline that has this word.
fn with_word(snapshot: &Snapshot, word: &str) -> Result<String> {
    for entry in snapshot.range(TIMELINE, KeyRange::all(), Direction::Ascending)? {
        let node = entry?.node;
        if words(&node)?.iter().any(|other| other == word) {
            return ids::name(&node);
        }
    }
    Err(CliError::message(format!("no node of the sample has the word {word:?}")))
}
