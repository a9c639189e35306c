//! The real and the simulated file system follow the same rules; and what only
//! the simulated one can do.

use std::{io::ErrorKind, path::Path};

use ingrain::os::{Fs, Mapping, RealFs};

use crate::harness::dirs::temp_dir;

/// What every `Fs` does.
fn conforms(fs: &dyn Fs, dir: &Path) {
    let kind = |result: std::io::Result<()>| result.unwrap_err().kind();
    let file = |name: &str| dir.join(name);
    let names = || {
        let mut names = fs.list(dir).unwrap();
        names.sort();
        names
    };
    // Directories.
    fs.create_dir(&file("d")).unwrap();
    assert_eq!(kind(fs.create_dir(&file("d"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.create_dir(&file("none/d"))), ErrorKind::NotFound);
    assert_eq!(kind(fs.list(&file("none")).map(drop)), ErrorKind::NotFound);
    assert_eq!(fs.list(&file("d")).unwrap(), Vec::<std::ffi::OsString>::new());
    fs.sync_dir(&file("d")).unwrap();
    fs.sync_dir(dir).unwrap();
    assert_eq!(kind(fs.sync_dir(&file("none"))), ErrorKind::NotFound);
    // Files.
    let f = fs.create_new(&file("f")).unwrap();
    assert_eq!(kind(fs.create_new(&file("f")).map(drop)), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.create_new(&file("d")).map(drop)), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.create_new(&file("none/f")).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(fs.open(&file("none")).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(fs.list(&file("f")).map(drop)), ErrorKind::NotADirectory);
    assert_eq!(f.size().unwrap(), 0);
    f.write_at(0, b"hello").unwrap();
    f.write_at(10, b"world").unwrap();
    f.write_at(4, b"").unwrap();
    assert_eq!(f.size().unwrap(), 15);
    let mut all = [9; 15];
    f.read_at(0, &mut all).unwrap();
    assert_eq!(&all, b"hello\0\0\0\0\0world");
    f.write_at(3, b"XY").unwrap();
    let mut part = [0; 3];
    f.read_at(2, &mut part).unwrap();
    assert_eq!(&part, b"lXY");
    assert_eq!(kind(f.read_at(13, &mut part)), ErrorKind::UnexpectedEof);
    assert_eq!(kind(f.read_at(99, &mut part)), ErrorKind::UnexpectedEof);
    f.read_at(15, &mut []).unwrap();
    f.sync().unwrap();
    // Another handle sees the same, and only reads.
    let g = fs.open(&file("f")).unwrap();
    g.read_at(2, &mut part).unwrap();
    assert_eq!((&part, g.size().unwrap()), (b"lXY", 15));
    g.write_at(0, b"no").unwrap_err();
    // Renaming, also over another, which handles keep.
    assert_eq!(kind(fs.rename(&file("none"), &file("x"))), ErrorKind::NotFound);
    let h = fs.create_new(&file("h")).unwrap();
    h.write_at(0, b"h").unwrap();
    fs.rename(&file("h"), &file("f")).unwrap();
    assert_eq!(names(), ["d", "f"]);
    assert_eq!(fs.open(&file("f")).unwrap().size().unwrap(), 1);
    assert_eq!(f.size().unwrap(), 15, "the old file lives as long as its handles");
    h.write_at(1, b"i").unwrap();
    assert_eq!(fs.open(&file("f")).unwrap().size().unwrap(), 2, "a handle follows its file");
    // Removing.
    assert_eq!(kind(fs.remove(&file("none"))), ErrorKind::NotFound);
    fs.remove(&file("f")).unwrap();
    assert_eq!(names(), ["d"]);
    assert_eq!(h.size().unwrap(), 2);
    // Mapping.
    assert_eq!(kind(fs.map(&file("none")).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(fs.map(&file("none/f")).map(drop)), ErrorKind::NotFound);
    let m = fs.create_new(&file("m")).unwrap();
    assert_eq!(&*fs.map(&file("m")).unwrap(), b"", "nothing of an empty file");
    let long: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
    m.write_at(0, &long).unwrap();
    m.sync().unwrap();
    drop(m);
    let (removed, renamed) = (fs.map(&file("m")).unwrap(), fs.map(&file("m")).unwrap());
    assert_eq!(*removed, *long);
    fs.remove(&file("m")).unwrap();
    assert_eq!(*removed, *long, "a mapping keeps its file");
    fs.create_new(&file("m")).unwrap().write_at(0, b"new").unwrap();
    fs.create_new(&file("t")).unwrap().write_at(0, b"newer").unwrap();
    let replaced = fs.map(&file("m")).unwrap();
    fs.rename(&file("t"), &file("m")).unwrap();
    assert_eq!((&*replaced, &*fs.map(&file("m")).unwrap()), (&b"new"[..], &b"newer"[..]));
    assert_eq!(*renamed, *long);
    // Links.
    assert_eq!(kind(fs.link(&file("none"), &file("l"))), ErrorKind::NotFound);
    assert_eq!(kind(fs.link(&file("m"), &file("none/l"))), ErrorKind::NotFound);
    assert_eq!(kind(fs.link(&file("m"), &file("m"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.link(&file("m"), &file("d"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.link(&file("d"), &file("l"))), ErrorKind::PermissionDenied);
    let l = fs.create_new(&file("l")).unwrap();
    assert_eq!(kind(fs.link(&file("l"), &file("m"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.link(&file("m"), &file("l"))), ErrorKind::AlreadyExists);
    fs.link(&file("l"), &file("d/l")).unwrap();
    assert_eq!(fs.list(&file("d")).unwrap(), ["l"]);
    l.write_at(0, b"both").unwrap();
    assert_eq!(&*fs.map(&file("d/l")).unwrap(), b"both", "one file with two names");
    fs.remove(&file("l")).unwrap();
    assert_eq!(kind(fs.open(&file("l")).map(drop)), ErrorKind::NotFound);
    assert_eq!(&*fs.map(&file("d/l")).unwrap(), b"both", "the other name stays");
    fs.link(&file("d/l"), &file("l")).unwrap();
    fs.link(&file("d/l"), &file("k")).unwrap();
    fs.rename(&file("k"), &file("l")).unwrap();
    assert_eq!(names(), ["d", "k", "l", "m"], "renamed to another of its names, it keeps both");
    fs.rename(&file("m"), &file("l")).unwrap();
    assert_eq!(&*fs.map(&file("l")).unwrap(), b"newer");
    assert_eq!(&*fs.map(&file("k")).unwrap(), b"both", "one name replaced, the others stay");
    // Locks.
    let lock = fs.lock(&file("LOCK")).unwrap().unwrap();
    assert!(fs.lock(&file("LOCK")).unwrap().is_none());
    drop(lock);
    assert!(fs.lock(&file("LOCK")).unwrap().is_some());
    assert_ne!(fs.random(), fs.random());
}

#[test]
fn the_real_file_system_conforms_to_fs() {
    let dir = temp_dir();
    conforms(&RealFs, dir.path());
}

#[test]
fn a_mapping_shows_its_bytes_and_prints_their_number() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    let mapping = Mapping::from_bytes(b"abc".to_vec());
    shared(&mapping);
    assert_eq!(mapping[1..], *b"bc");
    assert_eq!(format!("{mapping:?}"), "Mapping { len: 3 }");
}

#[cfg(feature = "sim")]
mod sim {
    use std::{collections::BTreeSet, path::PathBuf};

    use ingrain::sim::{Call, Failure, Loss, Points, SimDisk, explore};

    use super::*;

    fn path(name: &str) -> PathBuf {
        Path::new("/").join(name)
    }

    #[test]
    fn the_simulated_disk_conforms_to_fs() {
        conforms(&SimDisk::new(), Path::new("/"));
        let disk = SimDisk::new();
        disk.create_dir(&path("base")).unwrap();
        conforms(&disk, &path("base"));
        // And still after crashes that lose nothing, or had nothing to lose.
        let disk = SimDisk::new().crash(Loss::All, 0);
        conforms(&disk, Path::new("/"));
    }

    fn content(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
        let file = disk.open(&path(name)).ok()?;
        let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn a_crash_leaves_what_was_synced_and_any_part_of_the_rest() {
        let disk = SimDisk::new();
        let f = disk.create_new(&path("f")).unwrap();
        f.write_at(0, &[1; 1024]).unwrap();
        f.sync().unwrap();
        assert_eq!(content(&disk.crash(Loss::All, 0), "f"), None, "its name was not synced");
        disk.sync_dir(Path::new("/")).unwrap();
        f.write_at(512, &[2; 1024]).unwrap();
        let old = [1; 1024].to_vec();
        assert_eq!(content(&disk.crash(Loss::All, 0), "f"), Some(old.clone()));
        assert_eq!(content(&disk.crash(Loss::Data, 0), "f"), Some(old.clone()));
        let new = [[1; 512], [2; 512], [2; 512]].concat();
        assert_eq!(content(&disk.crash(Loss::Nothing, 0), "f"), Some(new.clone()));
        assert_eq!(
            content(&disk.crash(Loss::Zeros, 0), "f"),
            Some([old.clone(), vec![0; 512]].concat())
        );
        let some: BTreeSet<_> =
            (0..64).map(|s| content(&disk.crash(Loss::Some, s), "f").unwrap()).collect();
        assert_eq!(some, BTreeSet::from([old, new]));
        let torn: BTreeSet<_> =
            (0..64).map(|s| content(&disk.crash(Loss::Torn, s), "f").unwrap()).collect();
        assert_eq!(torn.len(), 4, "each of two sectors, or not");
    }

    #[test]
    fn entries_are_lost_apart_from_data() {
        let disk = SimDisk::new();
        let a = disk.create_new(&path("a")).unwrap();
        a.write_at(0, b"old").unwrap();
        a.sync().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let t = disk.create_new(&path("t")).unwrap();
        t.write_at(0, b"new").unwrap();
        disk.rename(&path("t"), &path("a")).unwrap();
        // The classic mistake: renamed before it was synced.
        assert_eq!(content(&disk.crash(Loss::Data, 0), "a"), Some(Vec::new()));
        assert_eq!(content(&disk.crash(Loss::Entries, 0), "a"), Some(b"old".to_vec()));
        assert_eq!(content(&disk.crash(Loss::Nothing, 0), "a"), Some(b"new".to_vec()));
        t.sync().unwrap();
        let seen: BTreeSet<_> = (0..64)
            .map(|seed| {
                let left = disk.crash(Loss::Some, seed);
                (content(&left, "a"), content(&left, "t"))
            })
            .collect();
        let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
        assert_eq!(seen, BTreeSet::from([(old.clone(), None), (old, new.clone()), (new, None)]));
    }

    #[test]
    fn a_directory_whose_name_is_lost_takes_its_files_along() {
        let disk = SimDisk::new();
        disk.create_dir(&path("d")).unwrap();
        let f = disk.create_new(&path("d/f")).unwrap();
        f.write_at(0, b"x").unwrap();
        f.sync().unwrap();
        disk.sync_dir(&path("d")).unwrap();
        assert!(disk.crash(Loss::All, 0).list(Path::new("/")).unwrap().is_empty());
        assert!(disk.crash(Loss::All, 0).open(&path("d/f")).is_err());
        disk.sync_dir(Path::new("/")).unwrap();
        assert_eq!(content(&disk.crash(Loss::All, 0), "d/f"), Some(b"x".to_vec()));
    }

    /// A disk with a synced file "a" of the bytes "old" and a directory "d".
    fn disk_to_link_on() -> SimDisk {
        let disk = SimDisk::new();
        let a = disk.create_new(&path("a")).unwrap();
        a.write_at(0, b"old").unwrap();
        a.sync().unwrap();
        disk.create_dir(&path("d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk
    }

    #[test]
    fn a_link_is_durable_once_its_own_directory_is_synced() {
        let disk = disk_to_link_on();
        let old = Some(b"old".to_vec());
        disk.link(&path("a"), &path("d/b")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let lost = disk.crash(Loss::All, 0);
        assert_eq!((content(&lost, "a"), content(&lost, "d/b")), (old.clone(), None));
        assert_eq!(content(&disk.crash(Loss::Entries, 0), "d/b"), None);
        for loss in [Loss::Nothing, Loss::Data, Loss::Zeros] {
            assert_eq!(content(&disk.crash(loss, 0), "d/b"), old, "{loss:?}");
        }
        disk.sync_dir(&path("d")).unwrap();
        let kept = disk.crash(Loss::All, 0);
        assert_eq!((content(&kept, "a"), content(&kept, "d/b")), (old.clone(), old.clone()));
        // The first name goes, also for good; the file stays.
        disk.remove(&path("a")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let left = disk.crash(Loss::All, 0);
        assert_eq!((content(&left, "a"), content(&left, "d/b")), (None, old.clone()));
        // And is one file still after the crash.
        left.link(&path("d/b"), &path("c")).unwrap();
        left.sync_dir(Path::new("/")).unwrap();
        left.remove(&path("d/b")).unwrap();
        assert_eq!(content(&left.crash(Loss::Nothing, 0), "c"), old);
    }

    #[test]
    fn each_name_of_a_file_is_lost_by_itself() {
        let disk = disk_to_link_on();
        let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
        disk.link(&path("a"), &path("b")).unwrap();
        disk.remove(&path("a")).unwrap();
        let seen = |x: &str, y: &str| -> BTreeSet<_> {
            (0..64)
                .map(|seed| {
                    let left = disk.crash(Loss::Some, seed);
                    (content(&left, x), content(&left, y))
                })
                .collect()
        };
        let each =
            [(None, None), (None, old.clone()), (old.clone(), None), (old.clone(), old.clone())];
        // The mistake: removed before the link was synced.
        assert_eq!(seen("a", "b"), BTreeSet::from(each));
        // A name that is used again is the old file, nothing or the new one.
        let t = disk.create_new(&path("d/t")).unwrap();
        t.write_at(0, b"new").unwrap();
        t.sync().unwrap();
        disk.link(&path("d/t"), &path("a")).unwrap();
        assert_eq!(content(&disk.crash(Loss::Nothing, 0), "a"), new);
        let a: BTreeSet<_> = seen("a", "b").into_iter().map(|(a, _)| a).collect();
        assert_eq!(a, BTreeSet::from([old.clone(), None, new.clone()]));
        disk.sync_dir(Path::new("/")).unwrap();
        assert_eq!(seen("a", "b"), BTreeSet::from([(new, old)]));
    }

    #[test]
    fn the_data_of_a_file_are_synced_under_all_its_names() {
        let disk = disk_to_link_on();
        let f = disk.create_new(&path("f")).unwrap();
        f.write_at(0, b"x").unwrap();
        disk.link(&path("f"), &path("d/g")).unwrap();
        disk.sync_dir(&path("d")).unwrap();
        assert_eq!(content(&disk.crash(Loss::All, 0), "d/g"), Some(Vec::new()));
        f.sync().unwrap();
        let left = disk.crash(Loss::All, 0);
        assert_eq!((content(&left, "f"), content(&left, "d/g")), (None, Some(b"x".to_vec())));
    }

    #[test]
    fn the_explorer_finds_a_link_that_is_not_synced() {
        let run = |synced: bool| {
            explore(
                Points::Boundaries,
                4,
                |disk| {
                    let f = disk.create_new(&path("f")).unwrap();
                    f.write_at(0, b"x").unwrap();
                    f.sync().unwrap();
                    disk.link(&path("f"), &path("g")).unwrap();
                    if synced {
                        disk.sync_dir(Path::new("/")).unwrap();
                    }
                    disk.mark(1);
                    disk.remove(&path("f")).unwrap();
                },
                |crash| match content(&crash.disk, "g") {
                    None if crash.marks.is_empty() => Ok(()),
                    Some(bytes) if bytes == b"x" => Ok(()),
                    other => Err(format!("{other:?}")),
                },
            )
        };
        assert!(run(true).unwrap().crashes > 10);
        run(false).unwrap_err();
    }

    #[test]
    fn injected_faults_reach_links_and_maps() {
        let disk = disk_to_link_on();
        disk.fail(1, Some(Call::Map), Failure::Io, false);
        disk.map(&path("a")).unwrap_err();
        disk.fail(1, Some(Call::Link), Failure::NoSpace, false);
        let error = disk.link(&path("a"), &path("b")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(content(&disk, "b"), None);
        // Maps and reads are counted together.
        disk.flip_reads(3, 0x20);
        assert_eq!(content(&disk, "a").unwrap(), b"old");
        assert_eq!(&*disk.map(&path("a")).unwrap(), b"old");
        let flipped = disk.map(&path("a")).unwrap();
        assert_eq!(&*disk.map(&path("a")).unwrap(), b"old", "once");
        assert_eq!(&*flipped, b"Old", "and for good");
        disk.flip(&path("a"), 1, 0x20).unwrap();
        assert_eq!(&*disk.map(&path("a")).unwrap(), b"oLd");
        assert_eq!((disk.calls()[&Call::Map], disk.calls()[&Call::Link]), (5, 1));
    }

    #[test]
    fn injected_faults_come_at_the_call_they_name() {
        let disk = SimDisk::new();
        let f = disk.create_new(&path("f")).unwrap();
        disk.fail(2, Some(Call::Write), Failure::Io, false);
        f.write_at(0, b"one").unwrap();
        f.sync().unwrap();
        f.write_at(3, b"two").unwrap_err();
        f.write_at(3, b"TWO").unwrap();
        assert_eq!(content(&disk, "f").unwrap(), b"oneTWO");
        disk.fail(1, None, Failure::NoSpace, true);
        assert_eq!(f.sync().unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(f.read_at(0, &mut [0]).unwrap_err().kind(), ErrorKind::StorageFull);
        disk.fail(1, Some(Call::Write), Failure::Short(2), false);
        assert_eq!(f.write_at(6, b"three").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(content(&disk, "f").unwrap(), b"oneTWOth");
        disk.limit_space(Some(3));
        f.write_at(0, b"12").unwrap();
        f.write_at(2, b"34").unwrap_err();
        f.write_at(0, b"5").unwrap_err();
        disk.heal();
        f.write_at(0, b"0").unwrap();
        assert_eq!(content(&disk, "f").unwrap(), b"023TWOth");
        assert_eq!(disk.calls()[&Call::Write], 8);
    }

    #[test]
    fn syncs_after_one_that_lost_pages_succeed_without_writing_them() {
        let disk = SimDisk::new();
        let f = disk.create_new(&path("f")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        f.write_at(0, b"one").unwrap();
        f.sync().unwrap();
        f.write_at(3, b"two").unwrap();
        disk.fail(1, Some(Call::Sync), Failure::LoseDirty, false);
        f.sync().unwrap_err();
        f.sync().unwrap();
        assert_eq!(content(&disk, "f").unwrap(), b"onetwo", "the cache has it");
        assert_eq!(
            content(&disk.crash(Loss::Nothing, 0), "f").unwrap(),
            b"one",
            "nothing else has"
        );
    }

    #[test]
    fn flip_and_truncate_damage_files_of_the_simulated_disk() {
        let disk = SimDisk::new();
        let f = disk.create_new(&path("f")).unwrap();
        f.write_at(0, b"abc").unwrap();
        disk.flip(&path("f"), 1, 0x20).unwrap();
        assert_eq!(content(&disk, "f").unwrap(), b"aBc");
        disk.truncate(&path("f"), 1).unwrap();
        assert_eq!(content(&disk, "f").unwrap(), b"a");
        assert!(disk.flip(&path("f"), 7, 1).is_err());
        disk.flip_reads(2, 1);
        assert_eq!(content(&disk, "f").unwrap(), b"a");
        assert_eq!(content(&disk, "f").unwrap(), b"`", "once");
        assert_eq!(content(&disk, "f").unwrap(), b"a");
    }

    /// A toy that replaces a file and says when it is done; broken, it forgets
    /// one of the steps.
    fn replace(disk: &SimDisk, forget: Option<usize>) {
        for n in 0..4_u64 {
            let t = disk.create_new(&path("t")).unwrap();
            let steps: [&dyn Fn(); 4] = [
                &|| t.write_at(0, &[n as u8; 700]).unwrap(),
                &|| t.sync().unwrap(),
                &|| disk.rename(&path("t"), &path("f")).unwrap(),
                &|| disk.sync_dir(Path::new("/")).unwrap(),
            ];
            for (at, step) in steps.iter().enumerate() {
                if forget != Some(at) {
                    step();
                }
            }
            disk.mark(n);
        }
    }

    #[test]
    fn the_explorer_finds_each_step_that_is_forgotten() {
        let check = |crash: &ingrain::sim::Crash| {
            let least = crash.marks.last().copied();
            match content(&crash.disk, "f") {
                None if least.is_none() => Ok(()),
                Some(f)
                    if f.len() == 700
                        && f.iter().all(|b| *b == f[0])
                        && Some(u64::from(f[0])) >= least =>
                {
                    Ok(())
                }
                other => Err(format!("promised {least:?}, found {:?}", other.map(|f| f.len()))),
            }
        };
        for points in [Points::All, Points::Boundaries] {
            let explored = explore(points, 4, |disk| replace(disk, None), check).unwrap();
            assert!(explored.crashes > 50, "{explored:?}");
            for forget in [1, 3] {
                let found =
                    explore(points, 4, |disk| replace(disk, Some(forget)), check).unwrap_err();
                assert!(found.to_string().contains("seed"), "{found}");
            }
        }
    }

    #[test]
    fn a_run_is_a_function_of_its_seed() {
        let images = || {
            let disk = SimDisk::new();
            replace(&disk, None);
            disk.crashes(Points::All, 3)
                .map(|crash| {
                    (crash.point, crash.seed, content(&crash.disk, "f"), content(&crash.disk, "t"))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(images(), images());
    }
}
