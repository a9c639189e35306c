//! A closed store with codes and a graph, whose files tests damage.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ingrain::{
    Engine, Error, ErrorKind, Method, Metric, Node, Options, Space,
    format::manifest::{DataFile, Manifest, VectorFile},
    search::Search,
};

use crate::harness::{
    dirs::temp_dir,
    faults::FaultFs,
    files::{Image, read_image, write_image},
    nodes::{id, put_all},
    random::{Random, whole_vector},
};

use super::model::{Found, Model, Wanted, eager, found};

/// A store with a space of so many rows in one file with codes and a graph,
/// closed, and what it says.
pub(super) struct Stored {
    pub(super) image: Image,
    pub(super) manifest: Manifest,
    pub(super) queries: Vec<Vec<f32>>,
    pub(super) exact: Vec<Found>,
}

pub(super) fn indexed() -> Options {
    eager().create(false)
}

pub(super) const DATA: &str = "data";

impl Stored {
    /// Two stores of one seed differ in their vectors only, if in anything.
    pub(super) fn new(rows: u64, dimension: usize, seed: u64, vectors: u64) -> Self {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let faults = FaultFs::new();
        faults.seed(seed);
        let engine = eager().fs(faults.handle()).open(&path).unwrap();
        let space = Space::new(dimension, Metric::L2);
        engine.create_space("v", space).unwrap();
        engine.set_method("v", Method::Hnsw).unwrap();
        let mut random = Random(vectors);
        let mut model = Model::default();
        model.spaces.insert("v", space);
        for n in 0..rows {
            let node = Node::new(id(n), "n").vector("v", whole_vector(&mut random, dimension));
            model.nodes.insert(node.id, node);
        }
        engine.write(put_all(model.nodes.values().cloned())).unwrap();
        engine.checkpoint().unwrap();
        engine.compact().unwrap();
        let queries: Vec<Vec<f32>> = (0..3).map(|_| whole_vector(&mut random, dimension)).collect();
        let exact = queries.iter().map(|q| model.ranking("v", q, &Wanted::ALL)).collect();
        let file = engine.stats().spaces.remove(0).files.remove(0);
        assert!(file.codes.is_some() && file.graph.is_some() == cfg!(feature = "hnsw"));
        engine.close().unwrap();
        let image = read_image(&path);
        let manifest = Manifest::decode(&image[Path::new("MANIFEST")]).unwrap();
        Self { image, manifest, queries, exact }
    }

    pub(super) fn search(engine: &Engine, queries: &[Vec<f32>]) -> ingrain::Result<Vec<Found>> {
        let snapshot = engine.snapshot();
        let hits = queries.iter().map(|query| {
            let search = Search::new("v", query, 5);
            snapshot.search(&search).map(|hits| found(&hits))
        });
        hits.collect()
    }

    pub(super) fn named(&self, of: impl Fn(&VectorFile) -> Option<DataFile>) -> PathBuf {
        let number = of(&self.manifest.vectors[0]).unwrap().number;
        let names = self.image.keys();
        let mut of_number = names.filter(|name| {
            name.file_stem().is_some_and(|stem| stem.to_str() == Some(&format!("{number:010}")))
        });
        of_number.next().unwrap().clone()
    }

    /// The derived files.
    pub(super) fn derived(&self) -> Vec<PathBuf> {
        let mut files = vec![self.named(|file| file.codes)];
        if cfg!(feature = "hnsw") {
            files.push(self.named(|file| file.graph));
        }
        files
    }

    pub(super) fn write(&self, path: &Path) {
        let mut image = self.image.clone();
        image.insert("MANIFEST".into(), self.manifest.encode().unwrap());
        write_image(path, &image);
    }

    /// Searches by the graph and by the codes, whichever it is that is damaged.
    #[track_caller]
    pub(super) fn check(&self, engine: &Engine, what: &str) {
        let found = Self::search(engine, &self.queries).unwrap_or_else(|e| panic!("{what}: {e}"));
        for (found, exact) in found.iter().zip(&self.exact) {
            self.check_distances(found, exact, what);
            let near = found.iter().filter(|(d, _)| *d <= exact[4].0).count();
            assert!(near >= 4, "{what}: {found:?}");
        }
    }

    /// What the stats say is wrong with the codes or the graph.
    pub(super) fn damage(engine: &Engine) -> Vec<String> {
        let file = engine.stats().spaces.remove(0).files.remove(0);
        let damage = file.codes.into_iter().chain(file.graph).filter_map(|index| index.damage);
        damage.collect()
    }

    /// Sees that something is found to be wrong, by these words, told by the
    /// stats and by verification, and made good.
    #[track_caller]
    pub(super) fn damaged(&self, path: &Path, words: &str, by_itself: bool) {
        let engine = indexed().open(path).unwrap();
        self.check(&engine, words);
        let damage = Self::damage(&engine);
        assert!(damage.iter().any(|what| what.contains(words)), "{words}: {damage:?}");
        let report = engine.verify().unwrap();
        let told = |error: &Error| {
            error.kind() == ErrorKind::Corrupt && error.with_causes().to_string().contains(words)
        };
        assert!(report.damage.iter().any(told), "{words}: {:#?}", report.damage);
        if by_itself {
            // A step with each write.
            let mut writes = 0;
            while !Self::damage(&engine).is_empty() {
                writes += 1;
                assert!(writes < 200, "{words}: it is not built again by itself");
                engine.write(put_all([Node::new(id(1 << 40), "other")])).unwrap();
            }
        } else {
            engine.rebuild(Some("v")).unwrap();
        }
        self.sound(&engine, words);
        drop(engine);
        self.sound(&indexed().open(path).unwrap(), words);
        let names = fs::read_dir(path.join(DATA)).unwrap().count();
        let manifest = Manifest::decode(&fs::read(path.join("MANIFEST")).unwrap()).unwrap();
        assert_eq!(names, manifest.files().count(), "{words}: files that nobody names");
    }

    #[track_caller]
    pub(super) fn sound(&self, engine: &Engine, what: &str) {
        assert_eq!(Self::damage(engine), [""; 0], "{what}");
        let report = engine.verify().unwrap();
        assert!(report.is_sound(), "{what}: {:#?}", report.damage);
        let file = engine.stats().spaces.remove(0).files.remove(0);
        assert!(file.codes.is_some() && file.graph.is_some() == cfg!(feature = "hnsw"));
        let hits = Self::search(engine, &self.queries).unwrap();
        for (found, exact) in hits.iter().zip(&self.exact) {
            self.check_distances(found, exact, what);
        }
    }

    #[track_caller]
    pub(super) fn check_distances(&self, found: &Found, exact: &Found, what: &str) {
        assert_eq!(found.len(), 5, "{what}");
        assert!(found.iter().all(|hit| exact.contains(hit)), "{what}: {found:?}");
        assert!(found.is_sorted_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).is_lt()));
    }
}

/// 300 rows: the least that is searched by what is derived.
pub(super) fn small() -> Stored {
    Stored::new(300, 2, 0x1d, 1)
}
