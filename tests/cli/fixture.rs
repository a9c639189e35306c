//! A directory to run the program in, and what is put there.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value as Json;
use tempfile::TempDir;

/// The sample of the repository, two folders above the program's package.
pub(crate) fn sample() -> PathBuf {
    root().join("tests/data/wordnet-sample")
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

pub(crate) struct Dir(pub(crate) TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Runs the program with the arguments of a line; words that begin with
    /// `@` are files of this directory.
    pub(crate) fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let args = line.split_whitespace().map(|word| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => word.into(),
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingrain"));
        command.args(args).env_remove("INGRAIN_STORE");
        command
    }

    /// As [`run`](Self::run), with further arguments that may have spaces.
    pub(crate) fn run_more(&self, line: &str, more: &[&str]) -> Output {
        self.command(line).args(more).output().unwrap()
    }

    /// As [`json`](Self::json), with further arguments that may have spaces.
    pub(crate) fn json_more(&self, line: &str, more: &[&str]) -> Vec<Json> {
        let output = self.run_more(&format!("{line} --json"), more);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line} {more:?}: {stderr}");
        lines(str::from_utf8(&output.stdout).unwrap())
    }

    /// As [`run`](Self::run), with standard input.
    pub(crate) fn run_with(&self, line: &str, input: impl AsRef<[u8]>) -> Output {
        let mut child = self
            .command(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that refuses its arguments ends without reading.
        let written = child.stdin.take().unwrap().write_all(input.as_ref());
        let unread = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        assert!(written.as_ref().err().is_none_or(unread), "{line}: {written:?}");
        child.wait_with_output().unwrap()
    }

    pub(crate) fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The JSON lines that a successful run prints.
    pub(crate) fn json(&self, line: &str) -> Vec<Json> {
        lines(&self.ok(&format!("{line} --json")))
    }

    /// The error of a run that fails, which printed no document that says
    /// otherwise.
    pub(crate) fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
        assert!(stderr.starts_with("error: "), "{line}: {stderr}");
        stderr
    }

    /// What a run with wrong arguments says: the only use of exit code 2.
    pub(crate) fn wrong(&self, line: &str) -> String {
        let output = self.run(line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {stderr}");
        assert!(stderr.starts_with("error: "), "{line}: {stderr}");
        stderr
    }

    pub(crate) fn stats(&self, store: &str) -> Json {
        self.json(&format!("stats --store @{store}")).remove(0)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }
}

pub(crate) fn lines(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn npy(rows: &[[f32; 2]]) -> Vec<u8> {
    let shape = format!("({}, 2)", rows.len());
    array(
        "<f4",
        &shape,
        &rows.as_flattened().iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>(),
    )
}

pub(crate) fn array(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), data].concat()
}

pub(crate) const NODES: &str = r#"{"id":"dog","kind":"animal","content":"barks","legs":4,"weight":12.5}
{"id":"cat","kind":"animal","text":"purrs","names":["Tom",null,{"x":{"$bytes":"AAH/"}}]}

{"id":"mat","gloss":"","deep":{"a":[1,2.0,1e300,-7,true]}}
{"id":"018f4e9c-0000-7000-8000-000000000001","description":"four"}
{"id":"bare","kind":"node"}
"#;

/// Parallel edges that differ in nothing, in an attribute, in the weight.
pub(crate) const EDGES: &str = r#"{"source":"dog","target":"cat","type":"chases"}
{"source":"dog","target":"cat","type":"chases"}
{"source":"dog","target":"cat","type":"chases","weight":0.25}
{"source":"dog","target":"cat","type":"chases","how":"slowly"}
{"source":"dog","target":"cat","type":"chases","how":"slowly"}
{"source":"cat","target":"mat","type":"on","weight":2}
{"source":"mat","target":"mat","type":"is"}
{"source":"bare","target":"018f4e9c-0000-7000-8000-000000000001","type":"near"}
"#;

pub(crate) const NAN: [f32; 2] = [f32::NAN; 2];

pub(crate) fn small() -> Dir {
    let dir = Dir::new();
    dir.file("nodes", NODES);
    dir.file("edges", EDGES);
    dir.file("vectors", npy(&[[1.0, 0.0], [0.8, 0.6], NAN, [0.0, 1.0], [-1.0, 0.0]]));
    dir.ok("import --store @a --nodes @nodes --edges @edges --vectors @vectors --batch 2 --index timeline");
    dir
}

/// A store with vectors enough for codes.
pub(crate) fn large() -> Dir {
    let dir = Dir::new();
    let rows: Vec<[f32; 2]> =
        (0_u16..2_000).map(|n| f32::from(n).to_radians()).map(|a| [a.cos(), a.sin()]).collect();
    dir.file("ids", (0..2_000).map(|n| format!("node {n}\n")).collect::<String>());
    dir.file("n", (0..2_000).map(|n| format!("{{\"id\":\"node {n}\"}}\n")).collect::<String>());
    dir.file("v", npy(&rows));
    dir.ok("import --store @a --nodes @n --vectors @v --index timeline --durability os");
    dir.ok("checkpoint --store @a");
    dir
}

/// The ids of the hits of the first query.
pub(crate) fn found(answer: &[Json]) -> Vec<&str> {
    answer[0]["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

/// The only data file of that kind.
pub(crate) fn data_file(dir: &Dir, store: &str, kind: &str) -> PathBuf {
    let files = fs::read_dir(dir.path(store).join("data")).unwrap();
    let mut files = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == kind));
    let found = files.next().unwrap();
    assert!(files.next().is_none(), "one file of nodes");
    found
}

/// Flips a bit of the first block of content.
pub(crate) fn damage(dir: &Dir, store: &str, kind: &str) {
    let path = data_file(dir, store, kind);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_100] ^= 1;
    fs::remove_file(&path).unwrap(); // nobody may write it
    fs::write(path, bytes).unwrap();
}
