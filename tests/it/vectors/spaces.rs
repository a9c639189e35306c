//! Spaces that are created and dropped, and the disk space of their vectors.

use std::path::Path;

use ingrain::{
    Batch, ErrorKind, Method, Metric, Node, Op, Patch, Space, format::FileKind, limits,
    search::Filter,
};

use crate::harness::{
    dirs::temp_dir,
    files::{data_kind, read_image},
    nodes::{id, put_all},
    random::{Random, whole_vector},
};

use super::model::eager;

/// Bytes of files with these endings.
fn bytes_of(path: &Path, kinds: &[FileKind]) -> u64 {
    let image = read_image(path);
    let files = image.iter().filter(|(n, _)| data_kind(n).is_some_and(|k| kinds.contains(&k)));
    files.map(|(_, bytes)| bytes.len() as u64).sum()
}

#[test]
fn replaced_vectors_leave_few_dead_rows_and_little_garbage() {
    const ROWS: u64 = 600;
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = eager().graph_rows(1 << 20).open(&path).unwrap();
    engine.create_space("v", Space::new(32, Metric::Dot)).unwrap();
    let mut random = Random(9);
    for round in 0..40 {
        let mut batch = Batch::new();
        for n in 0..ROWS {
            // All of them, then some of them.
            if round <= 20 || random.below(7) == 0 {
                batch.put(Node::new(id(n), "n").vector("v", whole_vector(&mut random, 32)));
            }
        }
        engine.write(batch).unwrap();
        engine.checkpoint().unwrap();
        let files = engine.stats().spaces.remove(0).files;
        let rows: usize = files.iter().map(|file| file.rows).sum();
        let dead: usize = files.iter().map(|file| file.dead).sum();
        assert_eq!(rows - dead, ROWS as usize);
        assert!(dead * 3 <= rows, "round {round}: {dead} of {rows}");
        assert!(files.len() <= 12, "{files:?}");
        let live = ROWS * (4 * 32 + 32 + 4 + 16);
        let bytes = bytes_of(&path, &[FileKind::Vectors, FileKind::VectorIndex]);
        // Each file has blocks that are not full.
        let most = live * 3 / 2 + files.len() as u64 * (10 << 12);
        assert!(bytes <= most, "round {round}: {bytes} of at most {most}");
    }
    // All gone: nothing stays.
    let mut batch = Batch::new();
    for n in 0..ROWS {
        batch.delete(id(n));
    }
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    assert_eq!(bytes_of(&path, &[FileKind::Vectors, FileKind::VectorIndex]), 0);
}

#[test]
fn a_dropped_space_takes_its_files_with_it() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = eager().open(&path).unwrap();
    let mut random = Random(9);
    for name in ["a", "b"] {
        engine.create_space(name, Space::new(3, Metric::L2)).unwrap();
        engine.set_method(name, Method::Hnsw).unwrap();
        let nodes =
            (0..300).map(|n| Node::new(id(n), "n").vector(name, whole_vector(&mut random, 3)));
        engine.write(put_all(nodes.collect::<Vec<_>>())).unwrap();
        engine.compact().unwrap();
    }
    let kinds = [FileKind::Vectors, FileKind::VectorIndex];
    // The second put took the first vectors away.
    let one = bytes_of(&path, &kinds);
    assert!(one > 0);
    let held = engine.snapshot();
    engine.drop_space("b").unwrap();
    assert_eq!(engine.snapshot().vector_count(), 0);
    let error = engine.snapshot().nearest("b", &[1.0; 3], 3, &Filter::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    engine.checkpoint().unwrap();
    // Whoever had it has it.
    assert_eq!(held.nearest("b", &[1.0; 3], 9, &Filter::new()).unwrap().len(), 9);
    assert_eq!(bytes_of(&path, &kinds), one);
    drop(held);
    assert_eq!(bytes_of(&path, &kinds), 0);
    // The name is free for another.
    engine.create_space("b", Space::new(5, Metric::Dot)).unwrap();
    engine.rebuild(None).unwrap();
    assert!(engine.verify().unwrap().is_sound());
    let node = engine.snapshot().get(id(1)).unwrap().unwrap().to_exact_node().unwrap();
    assert!(node.vectors.is_empty());
}

/// A node with as many vectors as it may have: one of another space takes the
/// place of that of a space that goes, in one batch.
#[test]
fn a_space_that_is_dropped_and_made_again_leaves_nothing_behind() {
    let dir = temp_dir();
    let engine = eager().open(dir.path().join("s")).unwrap();
    let mut node = Node::new(id(1), "n");
    for n in 0..limits::NODE_VECTORS {
        engine.create_space(format!("v{n}"), Space::new(2, Metric::L2)).unwrap();
        node = node.vector(format!("v{n}"), [1.0, n as f32]);
    }
    engine.write(put_all([node])).unwrap();
    for (round, metric) in [(0, Metric::Dot), (1, Metric::Cosine)] {
        let mut batch = Batch::new();
        batch.push(Op::DropSpace { name: "v0".into() });
        batch.push(Op::CreateSpace { name: "v0".into(), space: Space::new(2, metric) });
        batch.patch(id(1), Patch::new().vector("v0", [2.0; 2]).kind(format!("k{round}")));
        engine.write(batch).unwrap_or_else(|error| panic!("{round}: {error}"));
        engine.checkpoint().unwrap();
        assert_eq!(engine.snapshot().vector_count(), limits::NODE_VECTORS);
        assert!(engine.verify().unwrap().is_sound());
    }
}
