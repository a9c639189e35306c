//! The limits of the machine: mappings, descriptors, long paths, and file systems
//! that cannot do what a store needs.

use ingrain::{Engine, ErrorKind, Options};

use crate::harness::{
    dirs::temp_dir,
    nodes::{id, put},
};

#[test]
fn a_partition_is_no_smaller_than_a_block() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let error = Options::new().partition_bytes(4_095).open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(text.contains("partition_bytes = 4095") && text.contains("4096..="), "{text}");
    assert!(!path.exists());
    Options::new().partition_bytes(4_096).open(&path).unwrap();
}

/// A path that is too long for a file of the store is refused before the store
/// is made, and not by the first checkpoint.
#[test]
fn a_path_is_long_enough_for_every_file_or_refused_at_once() {
    let dir = temp_dir();
    let mut above = dir.path().to_owned();
    while above.as_os_str().len() < 3_800 {
        above.push("d".repeat(200));
        std::fs::create_dir(&above).unwrap();
    }
    let at = |len: usize| above.join("s".repeat(len - above.as_os_str().len() - 1));
    let mut made = 0;
    for len in 4_040..4_096 {
        let path = at(len);
        match Engine::open(&path) {
            Ok(engine) => {
                made += 1;
                engine.write(put(1, "one")).unwrap();
                engine.checkpoint().unwrap();
                engine.close().unwrap();
                drop(engine);
                assert!(Engine::open(&path).unwrap().snapshot().contains(id(1)).unwrap());
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                assert!(!path.join("MANIFEST").exists());
            }
        }
    }
    assert!((10..56).contains(&made), "{made} of 56");
}

#[cfg(feature = "sim")]
mod simulated {
    use std::{collections::BTreeSet, path::Path};

    use ingrain::{
        Batch, Edge, Error, Metric, Node, NodeId, Op, Snapshot, Space,
        format::manifest::Manifest,
        os::Fs,
        sim::{Call, Failure, SimDisk},
    };

    use super::*;
    use crate::harness::disks::on_disk;

    const DIR: &str = "/s";

    fn options(disk: &SimDisk) -> Options {
        let options = Options::new().tiny_partition_bytes(64).write_chunk_bytes(8 << 10);
        on_disk(disk, options.index("i").space("v", Space::new(1, Metric::L2)))
    }

    fn manifest(disk: &SimDisk) -> Manifest {
        Manifest::decode(&disk.map(Path::new("/s/MANIFEST")).unwrap()).unwrap()
    }

    fn ordered(n: u64) -> NodeId {
        NodeId::from_bytes((u128::from(n) << 64).to_be_bytes())
    }

    /// Nodes in the order of their numbers.
    fn nodes(from: u64, to: u64) -> Batch {
        (from..to).map(|n| Op::put(Node::new(ordered(n), "node"))).collect()
    }

    /// The same with keys, each linked with the one before.
    fn chain(from: u64, to: u64) -> Batch {
        let mut batch = Batch::new();
        for n in from..to {
            batch.put(Node::new(ordered(n), "node").key("i", n.to_be_bytes()));
            if n > 0 {
                batch.link(Edge::new(ordered(n), "after", ordered(n - 1)));
            }
        }
        batch
    }

    /// However small partitions are to be, and whether or not old ones are touched
    /// again.
    #[test]
    fn a_table_has_a_bounded_number_of_partitions() {
        const STEPS: u64 = 7;
        let disk = SimDisk::new();
        let engine = options(&disk).open(DIR).unwrap();
        let mut n = 600;
        let mut most = 0;
        engine.write(nodes(0, n)).unwrap();
        for _ in 0..STEPS {
            engine.checkpoint().unwrap();
            // Always behind all that are there.
            let next = n * 8 / 5;
            engine.write(nodes(n, next)).unwrap();
            n = next;
            let manifest = manifest(&disk);
            most = most.max(manifest.nodes.len());
        }
        println!("{n} nodes, at most {most} partitions");
        assert!((1_024..2_300).contains(&most), "{most}");
        engine.compact().unwrap();
        assert_eq!(engine.snapshot().node_count() as u64, n);
        assert!(engine.verify().unwrap().is_sound());
    }

    fn digest(snapshot: &Snapshot) -> String {
        snapshot.digest().unwrap().to_string()
    }

    #[track_caller]
    fn assert_too_many(error: &Error, step: &str) {
        let Error::Checkpoint { step: at, cause, .. } = error else { panic!("{error}") };
        assert_eq!((*at, error.kind()), (step, ErrorKind::Limit), "{error}");
        let text = cause.to_string();
        assert!(text.contains("mapped files") && text.contains("snapshots"), "{text}");
    }

    /// A checkpoint that would map too much fails with advice, and nothing is lost.
    #[test]
    fn mappings_are_bounded_before_the_machine_bounds_them() {
        let disk = SimDisk::new();
        let engine = options(&disk).open(DIR).unwrap();
        engine.write(chain(0, 30)).unwrap();
        engine.checkpoint().unwrap();
        let files = |disk: &SimDisk| -> BTreeSet<_> {
            disk.list(Path::new("/s/data")).unwrap().into_iter().collect()
        };
        let before = files(&disk);
        disk.limit_mappings(Some(before.len() * 2));
        engine.write(chain(0, 30)).unwrap(); // all of it is to be rewritten
        engine.write(chain(30, 200)).unwrap();
        let digest_before = digest(&engine.snapshot());
        for _ in 0..2 {
            assert_too_many(&engine.checkpoint().unwrap_err(), "nodes");
            assert!(files(&disk) == before, "what the checkpoint made is gone");
            assert_eq!(digest(&engine.snapshot()), digest_before);
        }
        // What crashes now has lost nothing.
        let crashed = disk.crash(ingrain::sim::Loss::All, 1);
        let recovered = options(&crashed).open(DIR).unwrap();
        assert_eq!(digest(&recovered.snapshot()), digest_before);
        disk.limit_mappings(None);
        engine.checkpoint().unwrap();

        // Held snapshots count.
        let most = disk.clone();
        let room = |files: usize| most.limit_mappings(Some(files));
        room(2 * files(&disk).len());
        let mut held = Vec::new();
        let error = loop {
            held.push(engine.snapshot());
            engine.write(chain(0, 200)).unwrap();
            if let Err(error) = engine.checkpoint() {
                break error;
            }
            assert!(held.len() < 9);
        };
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        let counted = disk.mappings().unwrap();
        assert!(counted.now <= counted.most, "{counted:?}");
        for snapshot in &held {
            assert_eq!(snapshot.node_count(), 200);
            assert_eq!(snapshot.scan("node").count(), 200);
        }
        drop(held);
        engine.checkpoint().unwrap();
        // With much in use, only a compaction is let begin.
        room(files(&disk).len() * 5 / 4);
        engine.write(chain(200, 201)).unwrap();
        assert_too_many(&engine.checkpoint().unwrap_err(), "freeze");
        room(files(&disk).len() * 3);
        engine.compact().unwrap();
        engine.close().unwrap();
        drop(engine);
        // Where fewer can be mapped, opening says it.
        let engine = options(&disk).open(DIR).unwrap();
        let before = digest(&engine.snapshot());
        drop(engine);
        room(files(&disk).len() - 1);
        let error = options(&disk).open(DIR).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        room(files(&disk).len());
        assert_eq!(digest(&options(&disk).open(DIR).unwrap().snapshot()), before);
    }

    /// Before anything was acknowledged.
    #[test]
    fn a_file_system_without_what_a_store_needs_is_refused_at_creation() {
        let needs = [
            (Call::Map, "map files into memory (mmap)"),
            (Call::Lock, "lock files (flock)"),
            (Call::SyncDir, "sync directories (fsync)"),
        ];
        #[track_caller]
        fn assert_lacks(error: &Error, what: &str) {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains(what) && error.to_string().contains("/"), "{error}");
        }
        for (call, what) in needs {
            let disk = SimDisk::new();
            disk.fail(1, Some(call), Failure::Unsupported, true);
            assert_lacks(&options(&disk).open(DIR).unwrap_err(), what);
            assert!(disk.open(Path::new("/s/MANIFEST")).is_err(), "no store was made");
            disk.heal();
            // Other failures are what they are.
            disk.fail(1, Some(call), Failure::Io, true);
            assert_eq!(options(&disk).open(DIR).unwrap_err().kind(), ErrorKind::Io);
            disk.heal();
            let engine = options(&disk).open(DIR).unwrap();
            engine.write(chain(0, 9)).unwrap();
            engine.close().unwrap();
            drop(engine);
            // A store without data files was moved to such a file system.
            disk.fail(1, Some(call), Failure::Unsupported, true);
            assert_lacks(&options(&disk).open(DIR).unwrap_err(), what);
            disk.heal();
            // A backup to one.
            let engine = options(&disk).open(DIR).unwrap();
            engine.checkpoint().unwrap();
            disk.fail(1, Some(call), Failure::Unsupported, true);
            assert_lacks(&engine.backup("/b").unwrap_err(), what);
            assert!(disk.open(Path::new("/b/MANIFEST")).is_err(), "no store was made");
            disk.heal();
            engine.backup("/b").unwrap();
            assert_eq!(engine.snapshot().node_count(), 9);
        }
    }
}
