//! The shape of the source tree, held by machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The modules in the order of docs/architecture.md: a file imports only from
/// what stands above it.
const FLOORS: &[&str] = &[
    "error",
    "limits",
    "id",
    "model", // 0 the words
    "format",
    "vector",
    "graph",
    "pacing",
    "os", // 1 pure matter
    "wal",
    "segment",
    "manifest", // 2 files
    "snapshot",
    "write_log",
    "reconciler",
    "checkpoint", // 3 living state
    "engine",     // 4 the engine
    "bin",        // 5 faces
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                out.push((path, text));
            }
        }
    }
    let mut out = Vec::new();
    walk(&root().join("src"), &mut out);
    assert!(out.len() > 20, "the walk found the sources");
    out
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn floor(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules that a source names after `crate::`, in `use` trees and in
/// paths.
fn imports(text: &str) -> Vec<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(tree) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut item = String::new();
            for c in tree.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 || (depth == 1 && c == ',') {
                    found.push(item.trim().to_owned());
                    item.clear();
                    if depth == 0 {
                        break;
                    }
                } else {
                    item.push(c);
                }
            }
        } else {
            found.push(rest.to_owned());
        }
    }
    found
        .iter()
        .map(|path| path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .filter(|name: &String| !name.is_empty())
        .collect()
}

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in sources() {
        let from = floor(&path);
        if from == "lib" {
            continue;
        }
        let at = FLOORS.iter().position(|f| *f == from);
        let at = at.unwrap_or_else(|| panic!("{} is on no floor", path.display()));
        if from == "bin" {
            assert!(!text.contains("use super::super"), "{}", path.display());
            continue;
        }
        for to in imports(&text) {
            // Re-exports of lib.rs are for users, not for the floors.
            let below = FLOORS.iter().position(|f| *f == to);
            seen += 1;
            match below {
                Some(below) if below <= at => {}
                _ => wrong.push(format!("{} uses crate::{to}", path.display())),
            }
        }
    }
    assert!(seen > 50, "the parser sees imports");
    assert!(wrong.is_empty(), "imports that run the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn imports_are_read_right() {
    let text = "use crate::{error::{Error, Result}, id::NodeId,\n model};\n let x = crate::wal::DIR; // crate::engine";
    assert_eq!(imports(text), ["error", "id", "model", "wal"]);
}

#[test]
fn unsafe_std_fs_and_clocks_stay_where_they_belong() {
    for (path, text) in sources() {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        if name.starts_with("src/bin/") || name == "src/os/real.rs" {
            continue;
        }
        for (line, text) in text.lines().enumerate() {
            let code = text.split("//").next().unwrap();
            for banned in [
                "std::fs",
                "fs::File",
                "Instant::now",
                "SystemTime::now",
                "unsafe ",
                "thread::sleep",
            ] {
                // The view of a graph, and kernels for instructions that not
                // every processor has: each with its argument.
                let argued = ["src/vector/hnsw.rs", "src/vector/simd.rs"].contains(&name);
                assert!(
                    (argued && banned == "unsafe ") || !code.contains(banned),
                    "{name}:{}: {banned}",
                    line + 1
                );
            }
        }
    }
}

#[test]
fn one_file_names_usearch() {
    for (path, text) in sources() {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        assert!(name == "src/vector/hnsw.rs" || !text.contains("usearch"), "{name}");
    }
}

#[test]
fn sources_have_no_banners_and_nothing_left_for_later() {
    for (path, text) in sources() {
        for (line, text) in text.lines().enumerate() {
            for banned in ["TODO", "FIXME", "XXX", "=====", "-----", "todo!", "unimplemented!"] {
                let table =
                    text.trim_start().trim_start_matches(['/', '!']).trim_start().starts_with('|');
                assert!(
                    table || !text.contains(banned),
                    "{}:{}: {banned}",
                    path.display(),
                    line + 1
                );
            }
        }
    }
}

#[test]
fn top_level_holds_only_what_was_agreed() {
    let agreed = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "fuzz",
        "tests",
        "benches",
        "docs",
        "README.md",
        "target",
    ];
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.starts_with('.') || name.starts_with("LICENSE") || agreed.contains(&name.as_str()),
            "top level holds {name}"
        );
    }
}

/// docs/format.md carries a hash of src/format, so that the page is looked at
/// when the code changes.
#[test]
fn the_format_page_is_in_step_with_the_code() {
    let mut files: Vec<_> =
        sources().into_iter().filter(|(path, _)| floor(path) == "format").collect();
    files.sort();
    let mut hash = crc32fast::Hasher::new();
    for (_, text) in &files {
        hash.update(text.as_bytes());
    }
    let line = format!("Written for src/format with CRC-32 {:08x}.", hash.finalize());
    let page = fs::read_to_string(root().join("docs/format.md")).unwrap();
    assert!(
        page.contains(&line),
        "src/format has changed: see whether docs/format.md still tells the truth, then let it end with\n{line}"
    );
}

/// Each promise of the README, and each invariant, names the tests that hold
/// it; each is there.
#[test]
fn the_promises_name_tests_that_exist() {
    fn sources(dir: &Path, tests: &mut String) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, tests);
            } else if path.extension().is_some_and(|end| end == "rs") {
                tests.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut tests = String::new();
    sources(&root().join("tests"), &mut tests);
    sources(&root().join("src"), &mut tests);
    for page in ["README.md", "docs/security.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let mut names = 0;
        for row in text.lines().filter(|line| line.starts_with("| ") && line.contains(" | `")) {
            let cell = row.rsplit('|').nth(1).unwrap();
            for name in cell.split('`').skip(1).step_by(2) {
                // Written out, or given its name by a macro.
                let there = [format!("fn {name}("), format!("\n    {name}:")];
                assert!(
                    there.iter().any(|t| tests.contains(t)),
                    "{page} names {name}, no test does"
                );
                names += 1;
            }
        }
        assert!(names > 10, "{page}: the table is found");
    }
    let security = fs::read_to_string(root().join("docs/security.md")).unwrap();
    for invariant in 1..=18 {
        assert!(security.contains(&format!("\n| I{invariant} ")), "no row for I{invariant}");
    }
}
