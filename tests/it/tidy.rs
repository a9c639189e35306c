//! Checks the structure of the source tree.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    UseTree,
    visit::{self, Visit},
};

/// The floors of docs/architecture.md, the lowest first: a file imports only
/// from its own floor and those below it.
const FLOORS: &[&str] = &[
    "num",
    "model",
    "format",
    "cpu",
    "parallel",
    "vector",
    "graph",
    "sync",
    "os",
    "exchange",
    "store",
    "state",
    "read",
    "write",
    "checkpoint",
    "engine",
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

/// The engine's own sources, by their path below src.
fn engine_sources() -> Vec<(String, String)> {
    let engine = sources().into_iter().filter(|(path, _)| FLOORS.contains(&&*floor(path)));
    let named = engine.map(|(path, text)| {
        let below = path.strip_prefix(root().join("src")).unwrap();
        (below.to_str().unwrap().to_owned(), text)
    });
    named.collect()
}

#[test]
fn imports_run_one_way_and_in_no_circle() {
    let sources = engine_sources();
    let imports = Imports::of(&sources);
    assert!(imports.edges.len() > 80, "the files are found");
    assert!(imports.edges.values().map(BTreeSet::len).sum::<usize>() > 400, "imports are seen");
    let upward = imports.upward();
    assert!(upward.is_empty(), "imports of a higher floor:\n{}", upward.join("\n"));
    let circle = imports.circle();
    assert!(circle.is_none(), "files that import each other: {}", circle.unwrap().join(" -> "));
    let known: BTreeSet<String> = imports
        .edges
        .keys()
        .map(|file| file.split(['/', '.']).next().unwrap().to_owned())
        .collect();
    assert!(FLOORS.iter().all(|floor| known.contains(*floor)), "each floor has files");
}

/// Circles and upward imports that are planted, in each way that one can be
/// written, among the real sources.
#[test]
fn planted_circles_and_upward_imports_are_found() {
    let plant = |file: &str, line: &str| {
        let mut sources = engine_sources();
        let (_, text) = sources.iter_mut().find(|(name, _)| name == file).unwrap();
        text.push_str(line);
        Imports::of(&sources)
    };
    // state/mod.rs imports state/record.rs; read/snapshot.rs imports read/node.rs.
    for (file, line) in [
        ("state/record.rs", "use crate::state::State;"),
        ("state/record.rs", "use super::{State as _, apply};"),
        ("state/record.rs", "fn f(_: &crate::state::State) {}"),
        ("read/node.rs", "mod inner { use super::super::snapshot::Snapshot; }"),
        ("os/file.rs", "use crate::os::RealFs;"), // through the re-export of os/mod.rs
        ("write/pacing.rs", "use crate::write::{stats::*, pacing};"),
    ] {
        let found = plant(file, line);
        assert!(found.circle().is_some(), "{file}: {line}");
        assert!(found.upward().is_empty(), "{file}: {line}");
    }
    for (file, line) in [
        ("model/time.rs", "use crate::engine::options::Options;"),
        ("store/manifest.rs", "fn f() { crate::write::decide::decide() }"),
        ("read/node.rs", "use super::super::checkpoint;"),
        ("vector/exact.rs", "use crate::{model::id, os::Fs};"),
    ] {
        let found = plant(file, line);
        assert!(found.upward().iter().any(|found| found.starts_with(file)), "{file}: {line}");
    }
    // Neither is one of a test, nor the re-export of a folder.
    let found = plant("state/record.rs", "#[cfg(test)] mod more { use crate::engine::Engine; }");
    assert!(found.circle().is_none() && found.upward().is_empty());
}

/// Which file imports from which, tests aside.
struct Imports {
    edges: BTreeMap<String, BTreeSet<String>>,
}

/// What a source says of names: what it imports, and what it re-exports.
#[derive(Default)]
struct Names {
    /// Absolute paths, in segments.
    paths: Vec<Vec<String>>,
    /// By name, the path of what a `mod.rs` gives on.
    re_exports: BTreeMap<String, Vec<String>>,
    module: Vec<String>,
    is_folder: bool,
}

impl Names {
    fn of(file: &str, text: &str) -> Self {
        let mut module: Vec<String> =
            file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        let is_folder = module.last().is_some_and(|last| last == "mod");
        if is_folder {
            module.pop();
        }
        let mut names = Self { module, is_folder, ..Self::default() };
        names.visit_file(&syn::parse_file(text).unwrap_or_else(|e| panic!("{file}: {e}")));
        names
    }

    /// The path from the crate's root; `None` of what is another crate's or a
    /// plain name.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut module = self.module.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => module.clear(),
            "self" => {}
            "super" => {
                while rest.get(1).is_some_and(|next| next == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
                module.pop();
            }
            // A child of the folder.
            _ if self.is_folder => {
                module.extend(rest.iter().cloned());
                return Some(module);
            }
            _ => return None,
        }
        module.extend(rest[1..].iter().cloned());
        Some(module)
    }

    fn flatten(tree: &UseTree, before: &[String], out: &mut Vec<(String, Vec<String>)>) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => Self::flatten(&path.tree, &with(&path.ident), out),
            UseTree::Name(name) if name.ident == "self" => {
                out.push((before.last().cloned().unwrap_or_default(), before.to_vec()));
            }
            UseTree::Name(name) => out.push((name.ident.to_string(), with(&name.ident))),
            UseTree::Rename(name) => out.push((name.rename.to_string(), with(&name.ident))),
            UseTree::Glob(_) => out.push(("*".to_owned(), before.to_vec())),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| Self::flatten(tree, before, out));
            }
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let cfg = attribute.path().is_ident("cfg");
        cfg && quote_of(attribute).split(|c: char| !c.is_alphanumeric()).any(|word| word == "test")
    })
}

fn quote_of(attribute: &syn::Attribute) -> String {
    attribute.meta.require_list().map_or_else(|_| String::new(), |list| list.tokens.to_string())
}

impl<'a> Visit<'a> for Names {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if is_test(&item.attrs) {
            return;
        }
        let folder = std::mem::replace(&mut self.is_folder, true);
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
        self.is_folder = folder;
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let mut flat = Vec::new();
        Self::flatten(&item.tree, &[], &mut flat);
        for (name, path) in flat {
            let Some(path) = self.absolute(&path) else { continue };
            if self.is_folder && !matches!(item.vis, syn::Visibility::Inherited) {
                self.re_exports.insert(name, path);
            } else {
                self.paths.push(path);
            }
        }
    }

    fn visit_visibility(&mut self, _: &'a syn::Visibility) {}

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if matches!(segments[0].as_str(), "crate" | "super") {
            self.paths.extend(self.absolute(&segments));
        }
        visit::visit_path(self, path);
    }
}

impl Imports {
    fn of(sources: &[(String, String)]) -> Self {
        let names: BTreeMap<&str, Names> =
            sources.iter().map(|(file, text)| (file.as_str(), Names::of(file, text))).collect();
        let modules: BTreeMap<&[String], &str> =
            names.iter().map(|(file, names)| (names.module.as_slice(), *file)).collect();
        // The file that has what a path names.
        let resolve = |path: &[String]| {
            let mut path = path.to_vec();
            for _ in 0..8 {
                let at = (0..=path.len()).rev().find(|at| modules.contains_key(&path[..*at]))?;
                let file = modules[&path[..at]];
                match path.get(at).and_then(|name| names[file].re_exports.get(name)) {
                    Some(given) => path = given.clone(),
                    None => return Some(file),
                }
            }
            None
        };
        let edges = names.iter().map(|(file, names)| {
            let to = names.paths.iter().filter_map(|path| resolve(path));
            let to = to.filter(|to| to != file).map(str::to_owned).collect();
            ((*file).to_owned(), to)
        });
        Self { edges: edges.collect() }
    }

    fn upward(&self) -> Vec<String> {
        let floor = |file: &str| {
            let name = file.split(['/', '.']).next().unwrap();
            FLOORS.iter().position(|floor| *floor == name).unwrap()
        };
        let edges = self.edges.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
        let upward = edges.filter(|(from, to)| floor(to) > floor(from));
        upward.map(|(from, to)| format!("{from} imports {to}")).collect()
    }

    /// A way along the imports that comes back to where it began.
    fn circle(&self) -> Option<Vec<String>> {
        fn visit<'a>(
            imports: &'a Imports,
            file: &'a str,
            way: &mut Vec<&'a str>,
            done: &mut BTreeSet<&'a str>,
        ) -> bool {
            if let Some(at) = way.iter().position(|before| *before == file) {
                way.drain(..at);
                way.push(file);
                return true;
            }
            if done.contains(file) {
                return false;
            }
            way.push(file);
            for to in &imports.edges[file] {
                if visit(imports, to, way, done) {
                    return true;
                }
            }
            way.pop();
            done.insert(file);
            false
        }
        let mut done = BTreeSet::new();
        self.edges.keys().find_map(|file| {
            let mut way = Vec::new();
            visit(self, file, &mut way, &mut done)
                .then(|| way.into_iter().map(str::to_owned).collect())
        })
    }
}

#[test]
fn unsafe_std_fs_and_clocks_stay_where_they_belong() {
    for (path, text) in sources() {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        if name.starts_with("src/cli/") || name == "src/os/real.rs" {
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
                // A prefetch, the mapping of files, the view of a graph, and
                // kernels for instructions that not every processor has: each
                // with its argument.
                let argued =
                    ["src/cpu.rs", "src/os/map.rs", "src/vector/hnsw.rs", "src/vector/simd.rs"]
                        .contains(&name);
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
    // A hash says that somebody looked; these are what a reader goes by.
    let page = fs::read_to_string(root().join("docs/format.md")).unwrap();
    let version = ingrain::format::VERSION;
    for says in [
        format!("# Format, version {version}\n"),
        format!("| format version: {version} |"),
        format!("`tests/golden/v{version}/`"),
        format!("\n| {version} | "),
    ] {
        assert!(page.contains(&says), "docs/format.md does not say {says:?}");
    }
    let header = ingrain::format::Header::new(ingrain::format::FileKind::Heap, [1; 16], 2, 3);
    let written = header.encode()[8..12].try_into().map(u32::from_le_bytes).unwrap();
    assert_eq!(written, version, "the page has the version at byte 8");
    let line = format!("Written for src/format with CRC-32 {:08x}.", hash.finalize());
    assert!(
        page.contains(&line),
        "src/format has changed: see whether docs/format.md still tells the truth, then let it end with\n{line}"
    );
}

/// Each guarantee of README.md and docs/guarantees.md, and each invariant of
/// docs/security.md, names its tests. Each of them exists.
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
    for page in ["README.md", "docs/guarantees.md", "docs/security.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let mut names = 0;
        let mut lists_tests = false;
        for row in text.lines() {
            let cell = row.rsplit('|').nth(1).unwrap_or_default().trim();
            // By the head of the table.
            lists_tests = row.starts_with("| ")
                && (lists_tests || matches!(cell, "test" | "tests"))
                || lists_tests && row.starts_with("|-");
            if !lists_tests {
                continue;
            }
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
