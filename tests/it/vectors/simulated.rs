//! Builds that fail, and crashes, on the simulated disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use ingrain::{
    Batch, Durability, Engine, Error, Method, Metric, Node, NodeId, Space,
    format::manifest::Manifest,
    os::Fs,
    sim::{self, Failure, Loss, Points, SimDisk},
};

use crate::harness::{
    nodes::{id, put_all},
    random::Random,
};

use super::model::{INDEX, Model, any_node, eager};
use super::stored::DATA;

const PATH: &str = "/s";

fn open(disk: &SimDisk) -> ingrain::Result<Engine> {
    eager()
        .fs(Arc::new(disk.clone()))
        .clock(Arc::new(disk.clock()))
        .index(INDEX)
        .durability(Durability::Sync)
        .open(PATH)
}

/// Nothing is in the directory that the manifest does not name.
fn check_names(disk: &SimDisk) {
    let bytes = disk.map(&Path::new(PATH).join("MANIFEST")).unwrap();
    let manifest = Manifest::decode(&bytes).unwrap();
    let names = disk.list(&Path::new(PATH).join(DATA)).unwrap();
    assert_eq!(names.len(), manifest.files().count(), "{names:?}");
}

fn change(engine: &Engine, model: &mut Model, random: &mut Random) {
    let mut batch = Batch::new();
    for n in 0..30 {
        let node = any_node(n * 2, &model.spaces, random);
        batch.put(node.clone());
        model.nodes.insert(node.id, node);
    }
    batch.delete(id(1)).delete(id(3));
    model.nodes.remove(&id(1));
    model.nodes.remove(&id(3));
    engine.write(batch).unwrap();
}

/// I10 of vector files and what is derived from them, at each call.
fn every_call(only: Option<sim::Call>, failure: Failure, sticky: bool) {
    let first = SimDisk::new();
    let engine = open(&first).unwrap();
    let mut model = Model::default();
    let mut random = Random(1);
    for (name, method) in [("a", Method::Hnsw), ("b", Method::Pq8)] {
        let space = Space::new(3, Metric::L2);
        engine.create_space(name, space).unwrap();
        engine.set_method(name, method).unwrap();
        model.spaces.insert(name, space);
    }
    for n in 0..40 {
        let node = any_node(n, &model.spaces, &mut random);
        model.nodes.insert(node.id, node);
    }
    engine.write(put_all(model.nodes.values().cloned())).unwrap();
    engine.compact().unwrap();
    drop(engine);
    let mut failed = BTreeSet::new();
    for n in 1.. {
        let disk = first.crash(Loss::Nothing, 0);
        let (mut model, mut random) = (model.clone(), Random(n));
        let engine = open(&disk).unwrap();
        change(&engine, &mut model, &mut random);
        // A base that will not do, too.
        engine.set_method("a", Method::Pq8).unwrap();
        engine.set_method("b", Method::Hnsw).unwrap();
        let count = || match only {
            Some(call) => disk.calls().get(&call).copied().unwrap_or(0),
            None => disk.calls().values().sum::<u64>(),
        };
        let before = count();
        disk.fail(n, only, failure, sticky);
        let made = engine.checkpoint().and_then(|_| engine.rebuild(None));
        let calls = count() - before;
        model.check(&engine, &mut random, 1);
        disk.heal();
        if let Err(error) = &made {
            let Error::Checkpoint { step, .. } = error else { panic!("call {n}: {error}") };
            failed.insert(*step);
        }
        for loss in [Loss::Nothing, Loss::All] {
            let left = disk.crash(loss, n);
            let again = open(&left).unwrap_or_else(|e| panic!("call {n} {loss:?}: {e}"));
            model.check(&again, &mut random, 1);
            drop(again);
            check_names(&left);
        }
        engine.checkpoint().unwrap_or_else(|error| panic!("call {n}, healed: {error}"));
        engine.rebuild(None).unwrap_or_else(|error| panic!("call {n}, healed: {error}"));
        let report = engine.verify().unwrap();
        assert!(report.is_sound(), "call {n}: {:#?}", report.damage);
        model.check(&engine, &mut random, 1);
        drop(engine);
        drop(open(&disk).unwrap());
        check_names(&disk);
        if n > calls {
            break;
        }
    }
    println!("{only:?} {failure:?} {sticky}: {failed:?}");
    if only.is_none() {
        let expected = ["heap", "index", "map", "publish", "sync", "truncate", "vectors"];
        assert!(expected.iter().all(|step| failed.contains(step)), "{failed:?}");
    }
}

#[test]
fn a_build_that_fails_at_any_call_leaves_everything_as_it_was() {
    every_call(None, Failure::Io, false);
}

#[test]
fn a_build_that_fails_from_any_call_on_leaves_everything_as_it_was() {
    every_call(None, Failure::Io, true);
}

#[test]
fn a_build_without_space_leaves_everything_as_it_was() {
    every_call(Some(sim::Call::Write), Failure::NoSpace, false);
    every_call(Some(sim::Call::Write), Failure::NoSpace, true);
    every_call(Some(sim::Call::Rename), Failure::NoSpace, true);
    every_call(Some(sim::Call::Map), Failure::Io, true);
}

/// A workload whose vector files are large enough to be searched by what is
/// derived from them, and every crash of it.
#[test]
fn every_crash_leaves_the_vectors_of_some_commit_and_nothing_else() {
    let mut states: BTreeMap<u64, Model> = BTreeMap::new();
    // Its states, which the check needs.
    let mut workload = |disk: &SimDisk| {
        let mut model = Model::default();
        let mut random = Random(4);
        states.insert(1, model.clone());
        let engine = open(disk).unwrap();
        disk.mark(1);
        let mut seq = 1;
        let mut commit = |model: &Model, write: &mut dyn FnMut()| {
            seq += 1;
            states.insert(seq, model.clone());
            write();
            assert_eq!(engine.snapshot().seq().get(), seq);
            disk.mark(seq);
        };
        for (dimension, methods) in
            [(3, [Method::Pq4, Method::Hnsw]), (2, [Method::Pq8, Method::Auto])]
        {
            let space = Space::new(dimension, Metric::L2);
            model.spaces.insert("v", space);
            commit(&model, &mut || {
                engine.create_space("v", space).unwrap();
            });
            let nodes: Vec<Node> =
                (0..330).map(|n| any_node(n, &model.spaces, &mut random)).collect();
            model.nodes.extend(nodes.iter().map(|node| (node.id, node.clone())));
            commit(&model, &mut || {
                engine.write(put_all(nodes.clone())).unwrap();
            });
            commit(&model, &mut || {
                engine.set_method("v", methods[0]).unwrap();
            });
            engine.checkpoint().unwrap();
            let nodes: Vec<Node> =
                (0..30).map(|n| any_node(n, &model.spaces, &mut random)).collect();
            model.nodes.extend(nodes.iter().map(|node| (node.id, node.clone())));
            commit(&model, &mut || {
                engine.write(put_all(nodes.clone())).unwrap();
            });
            commit(&model, &mut || {
                engine.set_method("v", methods[1]).unwrap();
            });
            engine.checkpoint().unwrap();
            engine.rebuild(None).unwrap();
            let gone: Vec<NodeId> = (100..140).map(id).collect();
            gone.iter().for_each(|id| drop(model.nodes.remove(id)));
            let mut batch = Batch::new();
            for id in &gone {
                batch.delete(*id);
            }
            commit(&model, &mut || {
                engine.write(batch.clone()).unwrap();
            });
            engine.compact().unwrap();
            model.spaces.clear();
            model.nodes.values_mut().for_each(|node| node.vectors.clear());
            commit(&model, &mut || {
                engine.drop_space("v").unwrap();
            });
        }
        engine.checkpoint().unwrap();
    };
    let disk = SimDisk::new();
    workload(&disk);
    let mut random = Random(8);
    let mut tried = 0;
    // All of them, or every third.
    let step = if std::env::var_os("INGRAIN_TORTURE").is_some() { 1 } else { 3 };
    for crash in disk.crashes(Points::Boundaries, 1).step_by(step) {
        tried += 1;
        let what = format!("point {} {:?} {}", crash.point, crash.loss, crash.seed);
        let engine = open(&crash.disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        let seq = engine.snapshot().seq().get();
        assert!(seq >= crash.marks.last().copied().unwrap_or(1), "{what}: {seq}");
        states[&seq].check(&engine, &mut random, 1);
        if tried % 20 == 0 {
            engine.rebuild(None).unwrap();
            engine.compact().unwrap();
            states[&seq].check(&engine, &mut random, 1);
            let report = engine.verify().unwrap();
            assert!(report.is_sound(), "{what}: {:#?}", report.damage);
            drop(engine);
            check_names(&crash.disk);
        }
    }
    println!("{tried} crashes");
    assert!(tried > 200, "{tried}");
}
