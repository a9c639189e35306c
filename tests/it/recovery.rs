//! Opening a store with a log that is complete, torn, damaged, of another
//! store, or missing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ingrain::{
    Batch, Durability, Engine, Error, ErrorKind, Node, NodeId, Op, Options, Seq, Timestamp,
    admin::RecoveryMode,
    format::{
        FileKind, HEADER_BYTES, Header,
        manifest::Manifest,
        wal::{Frames, encode_batch},
    },
};

use crate::harness::{
    dirs::temp_dir,
    faults::{Call, FaultFs, hooked},
    files::{Image, read_image, write_image},
    in_small_pieces,
    nodes::id,
    seal,
};

fn wal_files(image: &Image) -> Vec<PathBuf> {
    image.keys().filter(|name| name.extension().is_some_and(|e| e == "wal")).cloned().collect()
}

/// Commit `n` puts one node that says so.
fn put(n: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put(Node::new(id(n), "n").content(vec![n as u8; (n * 7 % 50) as usize]));
    batch
}

/// The store holds exactly commits 1 to `n`.
fn assert_holds(engine: &Engine, n: u64) {
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.seq(), Seq::new(n));
    assert_eq!(snapshot.node_count() as u64, n);
    for n in 1..=n {
        let node = snapshot.get(id(n)).unwrap().unwrap();
        assert_eq!(node.content(), vec![n as u8; (n * 7 % 50) as usize]);
        assert_eq!(node.version(), Seq::new(n));
    }
}

/// What a SIGKILL leaves of a store with commits 1 to `n`, each in a group of
/// its own.
fn killed_store(n: u64, durability: Durability) -> Image {
    let dir = temp_dir();
    let engine = Options::new()
        .durability(durability)
        .wal_file_bytes(64 << 10)
        .open(dir.path().join("s"))
        .unwrap();
    for n in 1..=n {
        assert_eq!(engine.write(put(n)).unwrap(), Seq::new(n));
    }
    read_image(engine.path())
}

/// Offsets at which the frames of a file start, and where the last one ends.
fn frame_starts(bytes: &[u8]) -> Vec<usize> {
    let frames = Frames::new(&Header::decode(FileKind::Wal, bytes).unwrap());
    let mut starts = vec![HEADER_BYTES];
    while let Some(frame) = frames.open(bytes, *starts.last().unwrap()) {
        starts.push(starts.last().unwrap() + frame.size);
    }
    starts
}

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(temp_dir())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("s")
    }

    fn open(&self, image: &Image) -> Result<Engine, Error> {
        write_image(&self.path(), image);
        in_small_pieces(Options::new()).open(self.path())
    }

    /// Opening refuses with `Corrupt`, and changes nothing.
    fn refuses(&self, image: &Image, file: &Path) -> u64 {
        let error = self.open(image).unwrap_err();
        let mut after = read_image(&self.path());
        after.remove(Path::new("LOCK"));
        let mut before = image.clone();
        before.remove(Path::new("LOCK"));
        assert!(before == after, "a refused opening changed the files: {error}");
        let Error::Corrupt { file: named, offset, .. } = &error else { panic!("{error}") };
        assert!(named.ends_with(file), "{error} should name {}", file.display());
        *offset
    }
}

#[test]
fn a_killed_store_is_whole() {
    for durability in [Durability::Sync, Durability::Os] {
        let image = killed_store(300, durability);
        let scratch = Scratch::new();
        let engine = scratch.open(&image).unwrap();
        assert_holds(&engine, 300);
        assert_eq!(engine.recovery().batches, 300);
        assert_eq!(engine.recovery().torn_tail, None);
    }
}

#[test]
fn a_tail_cut_at_any_byte_loses_only_what_it_cut() {
    let image = killed_store(12, Durability::Sync);
    let wal = wal_files(&image).pop().unwrap();
    let starts = frame_starts(&image[&wal]);
    let scratch = Scratch::new();
    for len in HEADER_BYTES..=*starts.last().unwrap() {
        let mut cut = image.clone();
        cut.get_mut(&wal).unwrap().truncate(len);
        let whole = starts.iter().filter(|start| **start <= len).count() as u64 - 1;
        let engine = scratch.open(&cut).unwrap();
        assert_holds(&engine, whole);
        // What was cut is said, unless nothing or only zeros were.
        let rest = &cut[&wal][starts[whole as usize]..];
        let torn = rest.iter().any(|byte| *byte != 0);
        assert_eq!(engine.recovery().torn_tail.is_some(), torn, "{len}");
        // The store goes on, and what is written now stays.
        assert_eq!(engine.write(put(whole + 1)).unwrap(), Seq::new(whole + 1));
        drop(engine);
        let engine = Engine::open(scratch.path()).unwrap();
        assert_holds(&engine, whole + 1);
    }
    for len in 0..HEADER_BYTES {
        let mut cut = image.clone();
        cut.get_mut(&wal).unwrap().truncate(len);
        scratch.refuses(&cut, &wal);
    }
}

#[test]
fn every_flipped_byte_is_refused_or_cut_but_never_believed() {
    const N: u64 = 8;
    let image = killed_store(N, Durability::Sync);
    let wal = wal_files(&image).pop().unwrap();
    let starts = frame_starts(&image[&wal]);
    let scratch = Scratch::new();
    for at in 0..*starts.last().unwrap() + 64 {
        let mut flipped = image.clone();
        flipped.get_mut(&wal).unwrap()[at] ^= 0x55;
        if at < HEADER_BYTES {
            scratch.open(&flipped).map(drop).unwrap_err();
            continue;
        }
        // The frame that holds the byte, from 0; the frame after it says that
        // it was durable.
        let frame = starts.iter().filter(|start| **start <= at).count() - 1;
        if (frame as u64) < N - 1 {
            let offset = scratch.refuses(&flipped, &wal);
            assert_eq!(offset, starts[frame] as u64);
        } else {
            let engine = scratch.open(&flipped).unwrap();
            assert_holds(&engine, frame as u64);
            assert_eq!(engine.recovery().torn_tail.as_ref().unwrap().offset, starts[frame] as u64);
        }
    }
    let mut flips = 0;
    for at in 0..image[Path::new("MANIFEST")].len() {
        let mut flipped = image.clone();
        flipped.get_mut(Path::new("MANIFEST")).unwrap()[at] ^= 0x55;
        scratch.refuses(&flipped, Path::new("MANIFEST"));
        flips += 1;
    }
    assert!(flips > HEADER_BYTES);
}

#[test]
fn unsynced_frames_may_be_lost_in_any_order() {
    // Nothing of an `Os` log is known to be durable: whichever frame is torn,
    // those before it are kept and those after it cut.
    let image = killed_store(10, Durability::Os);
    let wal = wal_files(&image).pop().unwrap();
    let starts = frame_starts(&image[&wal]);
    let scratch = Scratch::new();
    for (frame, start) in starts[..10].iter().enumerate() {
        for zero in [false, true] {
            let mut torn = image.clone();
            let end = starts[frame + 1];
            let bytes = &mut torn.get_mut(&wal).unwrap()[*start..end];
            if zero {
                bytes.fill(0)
            } else {
                bytes[30] ^= 1
            }
            let engine = scratch.open(&torn).unwrap();
            assert_holds(&engine, frame as u64);
            // Zeros at the very end look like the end.
            let cut = engine.recovery().torn_tail.as_ref().map(|cut| cut.offset);
            assert_eq!(cut, (!zero || frame < 9).then_some(*start as u64));
            engine.write(put(frame as u64 + 1)).unwrap();
            drop(engine);
            assert_holds(&Engine::open(scratch.path()).unwrap(), frame as u64 + 1);
        }
    }
}

#[test]
fn garbage_after_the_log_is_cut() {
    let image = killed_store(5, Durability::Sync);
    let wal = wal_files(&image).pop().unwrap();
    let end = *frame_starts(&image[&wal]).last().unwrap();
    let scratch = Scratch::new();
    let mut garbage = image.clone();
    let bytes = garbage.get_mut(&wal).unwrap();
    let mut x = 1_u32;
    for byte in &mut bytes[end..] {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (x >> 24) as u8;
    }
    let engine = scratch.open(&garbage).unwrap();
    assert_holds(&engine, 5);
    assert!(engine.recovery().torn_tail.is_some());
}

#[test]
fn a_lost_end_of_the_log_is_noticed_after_a_clean_close() {
    let scratch = Scratch::new();
    let engine = Engine::open(scratch.path()).unwrap();
    for n in 1..=5 {
        engine.write(put(n)).unwrap();
    }
    engine.close().unwrap();
    let image = read_image(&scratch.path());
    let wal = wal_files(&image).pop().unwrap();
    let starts = frame_starts(&image[&wal]);
    let mut cut = image.clone();
    cut.get_mut(&wal).unwrap().truncate(starts[4]);
    scratch.refuses(&cut, &wal);
    // To the last byte it is fine without the zeros behind.
    let mut cut = image;
    cut.get_mut(&wal).unwrap().truncate(starts[5]);
    assert_holds(&scratch.open(&cut).unwrap(), 5);
}

/// A store whose log has at least four files.
fn many_files() -> (Image, u64) {
    let dir = temp_dir();
    let engine = Options::new()
        .durability(Durability::Os)
        .wal_file_bytes(64 << 10)
        .open(dir.path().join("s"))
        .unwrap();
    let mut n = 0;
    while engine.stats().write.wal_files < 4 {
        for _ in 0..50 {
            n += 1;
            engine.write(put(n)).unwrap();
        }
    }
    let image = read_image(engine.path());
    assert_eq!(wal_files(&image).len(), 4);
    (image, n)
}

#[test]
fn damage_before_the_last_file_is_refused() {
    let (image, n) = many_files();
    let scratch = Scratch::new();
    assert_holds(&scratch.open(&image).unwrap(), n);
    let wals = wal_files(&image);
    for wal in &wals[..3] {
        let starts = frame_starts(&image[wal]);
        for frame in [0, 1, starts.len() / 2, starts.len() - 2] {
            let mut damaged = image.clone();
            damaged.get_mut(wal).unwrap()[starts[frame] + 5] ^= 0x10;
            assert_eq!(scratch.refuses(&damaged, wal), starts[frame] as u64);
            let mut zeroed = image.clone();
            zeroed.get_mut(wal).unwrap()[starts[frame]..starts[frame + 1]].fill(0);
            assert_eq!(scratch.refuses(&zeroed, wal), starts[frame] as u64);
        }
        let mut short = image.clone();
        short.get_mut(wal).unwrap().truncate(starts[starts.len() - 2]);
        scratch.refuses(&short, wal);
    }
}

#[test]
fn missing_files_are_refused() {
    let (image, _) = many_files();
    let scratch = Scratch::new();
    let wals = wal_files(&image);
    let mut without = image.clone();
    without.remove(&wals[0]);
    scratch.refuses(&without, Path::new("wal"));
    for gap in [1, 2] {
        let mut without = image.clone();
        without.remove(&wals[gap]);
        scratch.refuses(&without, &wals[gap - 1]);
    }
    let mut without = image.clone();
    wals.iter().for_each(|wal| drop(without.remove(wal)));
    scratch.refuses(&without, Path::new("wal"));
    let mut without = image.clone();
    without.remove(Path::new("MANIFEST"));
    scratch.refuses(&without, Path::new("MANIFEST"));
    // Also where the log holds nothing whole any more.
    let mut image = killed_store(3, Durability::Sync);
    let wal = wal_files(&image).pop().unwrap();
    image.remove(Path::new("MANIFEST"));
    for byte in [HEADER_BYTES, HEADER_BYTES + 40] {
        let mut damaged = image.clone();
        damaged.get_mut(&wal).unwrap()[byte] ^= 1;
        scratch.refuses(&damaged, Path::new("MANIFEST"));
    }
}

#[test]
fn what_is_not_ours_is_not_removed() {
    let image = killed_store(3, Durability::Sync);
    let scratch = Scratch::new();
    write_image(&scratch.path(), &image);
    let path = |name: &str| scratch.path().join(name);
    let strangers = ["notes.tmp", "wal/notes.tmp", "wal/1.wal.tmp", "wal/x.damaged.tmp"];
    let ours = ["MANIFEST.tmp", "wal/00000000000000000009.wal.tmp"];
    for name in strangers.iter().chain(&ours) {
        fs::write(path(name), "x").unwrap();
    }
    fs::create_dir(path("dir.tmp")).unwrap();
    assert_holds(&Engine::open(scratch.path()).unwrap(), 3);
    assert!(strangers.iter().all(|name| path(name).exists()) && path("dir.tmp").exists());
    assert!(ours.iter().all(|name| !path(name).exists()));
}

#[test]
fn of_many_who_create_a_store_one_has_it() {
    for _ in 0..30 {
        let scratch = Scratch::new();
        let barrier = std::sync::Barrier::new(4);
        let opened: Vec<Result<Engine, Error>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        Engine::open(scratch.path())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(opened.iter().filter(|result| result.is_ok()).count(), 1);
        for error in opened.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        }
    }
}

#[test]
fn a_salvage_that_is_cut_short_is_not_taken_for_done() {
    let (image, _) = many_files();
    let wals = wal_files(&image);
    let mut damaged = image.clone();
    let starts = frame_starts(&image[&wals[1]]);
    damaged.get_mut(&wals[1]).unwrap()[starts[5] + 40] ^= 4;
    let keeps = wals[1].file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap() + 4;
    let scratch = Scratch::new();
    for n in 1.. {
        write_image(&scratch.path(), &damaged);
        let faults = FaultFs::new();
        faults.fail(n, None, true);
        let salvage = || in_small_pieces(Options::new()).recovery(RecoveryMode::Salvage);
        let result = salvage().fs(faults.handle()).open(scratch.path());
        let done = result.is_ok();
        drop(result);
        // Until it is done, only another salvage may open the store. It is
        // done when its second manifest is there, even if it failed later.
        let manifest =
            Manifest::decode(&fs::read(scratch.path().join("MANIFEST")).unwrap()).unwrap();
        match Engine::open(scratch.path()) {
            Ok(engine) => {
                assert_eq!(manifest.generation, 3, "{n}");
                assert_holds(&engine, keeps);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{n}: {error}");
                let engine = salvage().open(scratch.path()).unwrap();
                assert_holds(&engine, keeps);
                drop(engine);
                assert_holds(&Engine::open(scratch.path()).unwrap(), keeps);
            }
        }
        if done {
            assert!(n > 15, "a salvage has more than {n} calls");
            break;
        }
    }
}

#[test]
fn hostile_content_does_not_turn_a_torn_write_into_damage() {
    // Content that looks like headers of frames with plausible numbers.
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    let word = [&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0][..], &3_u64.to_le_bytes()].concat();
    engine.write(put(1)).unwrap();
    let mut batch = Batch::new();
    batch.put(Node::new(id(2), "n").content(word.repeat(100_000)));
    engine.write(batch).unwrap();
    let mut image = read_image(&path);
    drop(engine);
    let wal = wal_files(&image).pop().unwrap();
    let starts = frame_starts(&image[&wal]);
    image.get_mut(&wal).unwrap()[starts[1]..starts[1] + 512].fill(0);
    let engine = Scratch::new().open(&image).unwrap();
    assert_holds(&engine, 1);
}

#[test]
fn files_of_another_store_are_refused() {
    let (a, b) = (killed_store(5, Durability::Sync), killed_store(5, Durability::Sync));
    let scratch = Scratch::new();
    let wal = wal_files(&a).pop().unwrap();
    let mut mixed = a.clone();
    mixed.insert(wal.clone(), b[&wal].clone());
    scratch.refuses(&mixed, &wal);
    let mut renamed = a.clone();
    let bytes = renamed.remove(&wal).unwrap();
    renamed.insert(PathBuf::from("wal/00000000000000000002.wal"), bytes);
    scratch.refuses(&renamed, Path::new("wal"));
}

#[test]
fn frames_of_another_store_or_life_never_replay() {
    // The frames of one store, pasted to where the next frames of another, or
    // of its own next life, would stand.
    let (a, b) = (killed_store(3, Durability::Sync), killed_store(9, Durability::Sync));
    let wal = wal_files(&a).pop().unwrap();
    let (start, donor) = (frame_starts(&a[&wal]), frame_starts(&b[&wal]));
    let scratch = Scratch::new();
    let mut pasted = a.clone();
    let bytes = pasted.get_mut(&wal).unwrap();
    let frames = &b[&wal][donor[3]..donor[9]];
    bytes[start[3]..start[3] + frames.len()].copy_from_slice(frames);
    let engine = scratch.open(&pasted).unwrap();
    assert_holds(&engine, 3);
    drop(engine);

    let engine = scratch.open(&a).unwrap();
    for n in 4..=6 {
        engine.write(put(n)).unwrap();
    }
    let second = read_image(&scratch.path());
    drop(engine);
    let newest = wal_files(&second).pop().unwrap();
    assert_ne!(newest, wal, "a life begins a file of its own");
    let mut pasted = second.clone();
    let old = second[&wal][start[0]..start[3]].to_vec();
    let at = *frame_starts(&second[&newest]).last().unwrap();
    pasted.get_mut(&newest).unwrap()[at..at + old.len()].copy_from_slice(&old);
    assert_holds(&scratch.open(&pasted).unwrap(), 6);
}

#[test]
fn sequence_numbers_go_on() {
    let scratch = Scratch::new();
    let mut n = 0;
    for life in 0..6 {
        let engine = Engine::open(scratch.path()).unwrap();
        assert_holds(&engine, n);
        for _ in 0..3 {
            n += 1;
            assert_eq!(engine.write(put(n)).unwrap(), Seq::new(n));
        }
        if life % 2 == 0 {
            engine.close().unwrap();
        }
    }
    // A life without writes leaves no file.
    let files = wal_files(&read_image(&scratch.path())).len();
    drop(Engine::open(scratch.path()).unwrap());
    assert_eq!(wal_files(&read_image(&scratch.path())).len(), files);
}

/// A number means one commit for as long as that commit is there: what a crash
/// took gives its number back.
#[test]
fn the_numbers_of_commits_that_were_lost_are_given_again() {
    let scratch = Scratch::new();
    let engine = Engine::open(scratch.path()).unwrap();
    for n in 1..=3 {
        assert_eq!(engine.write(put(n)).unwrap(), Seq::new(n));
    }
    // As a crash leaves it: the last frame is torn.
    let mut image = read_image(&scratch.path());
    drop(engine);
    let name = wal_files(&image).pop().unwrap();
    let bytes = image.get_mut(&name).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end - 8..].fill(0);
    write_image(&scratch.path(), &image);
    let engine = Engine::open(scratch.path()).unwrap();
    assert!(engine.recovery().torn_tail.is_some());
    assert_holds(&engine, 2);
    assert_eq!(engine.write(put(3)).unwrap(), Seq::new(3));
}

/// Whole frames whose batch could not have been committed: the log is applied
/// while it is read, and yet the first of them is named, and all before it kept.
#[test]
fn a_batch_that_does_not_follow_is_damage_in_its_place() {
    let (image, n) = many_files();
    let scratch = Scratch::new();
    for wal in wal_files(&image) {
        let first = wal.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
        let whole = &image[&wal];
        let frames = Frames::new(&Header::decode(FileKind::Wal, whole).unwrap());
        let starts = frame_starts(whole);
        let last = starts.len() - 2;
        for wrong in [0, 1, last / 2, last] {
            let mut bytes = whole[..HEADER_BYTES].to_vec();
            let mut at = 0;
            for (index, start) in starts[..=last].iter().enumerate() {
                let frame = frames.open(whole, *start).unwrap();
                // What comes after the first is wrong as well.
                let missing = Op::Touch { id: NodeId::MAX, count: 1 };
                let touch = encode_batch(Timestamp::from_micros(0), &[missing]).unwrap();
                let payload = if index < wrong { frame.payload } else { &touch };
                at = if index == wrong { bytes.len() } else { at };
                frames.seal(frame.seq, frame.durable, payload, &mut bytes);
            }
            let mut image = image.clone();
            image.insert(wal.clone(), bytes);
            write_image(&scratch.path(), &image);
            let before = read_image(&scratch.path());
            let error = Engine::open(scratch.path()).unwrap_err();
            let Error::Corrupt { file, offset, what, .. } = &error else { panic!("{error}") };
            assert_eq!((file.file_name(), *offset), (wal.file_name(), at as u64), "{error}");
            assert!(what.contains("does not follow from the commits before"), "{error}");
            assert!(read_image(&scratch.path()) == before, "nothing is changed");
            let options = Options::new().recovery(RecoveryMode::Salvage);
            let keeps = first - 1 + wrong as u64;
            assert!(keeps < n);
            assert_holds(&options.open(scratch.path()).unwrap(), keeps);
        }
    }
}

#[test]
fn salvage_keeps_what_comes_before_the_damage() {
    let (image, n) = many_files();
    let wals = wal_files(&image);
    let scratch = Scratch::new();
    let salvage = |image: &Image| {
        write_image(&scratch.path(), image);
        Options::new().recovery(RecoveryMode::Salvage).open(scratch.path()).unwrap()
    };
    let first = |wal: &Path| wal.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    let mut cases: Vec<(Image, u64)> = Vec::new();
    for wal in &wals {
        let starts = frame_starts(&image[wal]);
        for frame in [0, 3, starts.len() - 3] {
            let mut damaged = image.clone();
            damaged.get_mut(wal).unwrap()[starts[frame] + 40] ^= 4;
            cases.push((damaged, first(wal) - 1 + frame as u64));
        }
        let mut headless = image.clone();
        headless.get_mut(wal).unwrap()[3] ^= 4;
        cases.push((headless, first(wal) - 1));
        let mut without = image.clone();
        without.remove(wal);
        cases.push((without, first(wal) - 1));
    }
    for (damaged, keeps) in cases {
        let engine = salvage(&damaged);
        assert_holds(&engine, keeps);
        let report = engine.recovery();
        // A frame of the last file that nothing says was durable is a torn
        // write, and the lack of a last file cannot be noticed.
        if report.damage.is_none() {
            assert!(keeps + 1 >= first(&wals[3]));
        }
        for aside in &report.quarantined {
            let name = aside.from.strip_prefix(scratch.path()).unwrap();
            assert_eq!(fs::read(&aside.to).unwrap(), damaged[name], "kept as it was");
        }
        engine.write(put(keeps + 1)).unwrap();
        engine.close().unwrap();
        // From then on it is a store like any other.
        assert_holds(&Engine::open(scratch.path()).unwrap(), keeps + 1);
    }
    assert!(n > 1000);
}

/// A crash between a checkpoint and the removal of the log that it covers.
#[test]
fn salvage_of_a_log_that_a_checkpoint_covers_loses_nothing() {
    const N: u64 = 20;
    let scratch = Scratch::new();
    let engine = Engine::open(scratch.path()).unwrap();
    for n in 1..=N {
        engine.write(put(n)).unwrap();
    }
    let before = read_image(&scratch.path());
    engine.checkpoint().unwrap();
    let mut image = read_image(&scratch.path());
    drop(engine);
    wal_files(&image).iter().for_each(|wal| drop(image.remove(wal)));
    let [wal] = &wal_files(&before)[..] else { panic!() };
    let starts = frame_starts(&before[wal]);
    for frame in [0, 1, 7, N as usize - 2] {
        let mut damaged = before[wal].clone();
        damaged[starts[frame] + 40] ^= 4;
        image.insert(wal.clone(), damaged);
        scratch.refuses(&image, wal);
        let engine = Options::new().recovery(RecoveryMode::Salvage).open(scratch.path()).unwrap();
        assert_holds(&engine, N);
        engine.write(put(N + 1)).unwrap();
        engine.close().unwrap();
        assert_holds(&Engine::open(scratch.path()).unwrap(), N + 1);
    }
}

#[test]
fn salvage_opens_a_log_that_lost_its_end() {
    let scratch = Scratch::new();
    let engine = Engine::open(scratch.path()).unwrap();
    for n in 1..=5 {
        engine.write(put(n)).unwrap();
    }
    engine.close().unwrap();
    let mut image = read_image(&scratch.path());
    let wal = wal_files(&image).pop().unwrap();
    let starts = frame_starts(&image[&wal]);
    image.get_mut(&wal).unwrap().truncate(starts[3]);
    scratch.refuses(&image, &wal);
    let engine = Options::new().recovery(RecoveryMode::Salvage).open(scratch.path()).unwrap();
    assert_holds(&engine, 3);
    drop(engine);
    assert_holds(&Engine::open(scratch.path()).unwrap(), 3);
}

/// Opens and drops a store on a file system that fails at the `n`th call, with
/// `sticky` also at all after it. Whether it opened; if not, it told of the disk.
fn opens_although_a_call_fails(path: &Path, n: u64, sticky: bool) -> bool {
    let faults = FaultFs::new();
    faults.fail(n, None, sticky);
    let result = Options::new().fs(faults.handle()).open(path);
    if let Err(error) = &result {
        assert!(error.io_error().is_some(), "call {n}: {error}");
    }
    result.is_ok()
}

#[test]
fn every_prefix_of_a_creation_opens_as_the_empty_store() {
    for sticky in [false, true] {
        for n in 1.. {
            let scratch = Scratch::new();
            let done = opens_although_a_call_fails(&scratch.path(), n, sticky);
            let engine = Engine::open(scratch.path())
                .unwrap_or_else(|error| panic!("after a creation that ended at call {n}: {error}"));
            assert_holds(&engine, 0);
            engine.write(put(1)).unwrap();
            drop(engine);
            assert_holds(&Engine::open(scratch.path()).unwrap(), 1);
            if done {
                assert!(n > 10, "a creation has more than {n} calls");
                break;
            }
        }
    }
}

#[test]
fn an_opening_that_fails_at_any_call_changes_nothing_that_counts() {
    let image = killed_store(40, Durability::Os);
    let scratch = Scratch::new();
    for sticky in [false, true] {
        for n in 1.. {
            write_image(&scratch.path(), &image);
            let done = opens_although_a_call_fails(&scratch.path(), n, sticky);
            assert_holds(&Engine::open(scratch.path()).unwrap(), 40);
            if done {
                assert!(n > 5, "an opening has more than {n} calls");
                break;
            }
        }
    }
}

/// What is found under a name may be lost with it, if an earlier life failed to
/// sync the directory: nothing is built upon it before that is made up for,
/// whichever thread does it.
#[test]
fn nothing_is_changed_before_the_directories_are_synced() {
    let mut image = killed_store(40, Durability::Os);
    let orphans = ["MANIFEST.tmp", "data/0000000009.heap"];
    image.extend(orphans.map(|name| (PathBuf::from(name), vec![1])));
    let scratch = Scratch::new();
    for (inline, dir) in [false, true].into_iter().flat_map(|i| ["", "wal", "data"].map(|d| (i, d)))
    {
        write_image(&scratch.path(), &image);
        let dir = match dir {
            "" => scratch.path(),
            dir => scratch.path().join(dir),
        };
        let failing = dir.clone();
        let fs = hooked(move |call, path| match call {
            Call::SyncDir if path == failing => Err(io::Error::other("injected")),
            _ => Ok(()),
        });
        let error = Options::new().fs(fs).inline(inline).open(scratch.path()).unwrap_err();
        let Error::Io { path, .. } = &error else { panic!("{error}") };
        assert_eq!(*path, dir);
        assert!(read_image(&scratch.path()) == image, "{inline}: {error}");
    }
    // What would be changed.
    assert_holds(&scratch.open(&image).unwrap(), 40);
    let after = read_image(&scratch.path());
    assert!(orphans.iter().all(|name| !after.contains_key(Path::new(name))));
    assert!(wal_files(&image).iter().any(|name| after.get(name) != image.get(name)));
}

#[test]
fn what_recovery_keeps_is_rewritten_and_synced_before_it_is_shown() {
    // After a failed sync the cache may be all there is of the tail.
    let image = killed_store(6, Durability::Os);
    let scratch = Scratch::new();
    write_image(&scratch.path(), &image);
    let faults = FaultFs::new();
    let engine = Options::new().fs(faults.handle()).open(scratch.path()).unwrap();
    let calls = faults.take_record();
    let sync = calls.iter().position(|c| *c == Call::Sync).unwrap();
    let rename = calls.iter().position(|c| *c == Call::Rename).unwrap();
    assert!(sync < rename && calls[rename + 1] == Call::SyncDir, "{calls:?}");
    assert_eq!(engine.stats().write.durable, Seq::new(6));
    // What is known to be durable is not written again.
    engine.close().unwrap();
    drop(engine);
    faults.take_record();
    let engine = Options::new().fs(faults.handle()).open(scratch.path()).unwrap();
    assert!(!faults.take_record().contains(&Call::Write));
    assert_holds(&engine, 6);
}

#[test]
fn a_future_version_is_told_apart_from_damage() {
    let mut image = killed_store(2, Durability::Sync);
    let manifest = image.get_mut(Path::new("MANIFEST")).unwrap();
    manifest[8] = 99;
    assert!(seal::header(manifest));
    let error = Scratch::new().open(&image).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.with_causes().to_string().contains("version 99"), "{error}");
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path()).unwrap();
    fs::write(scratch.path().join("thesis.txt"), "precious").unwrap();
    let error = Engine::open(scratch.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.with_causes().to_string().contains("thesis.txt"), "{error}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);

    let none = scratch.0.path().join("none");
    let error = Options::new().create(false).open(&none).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoStore);
    assert!(!none.exists());
    let file = scratch.path().join("thesis.txt");
    assert_eq!(Engine::open(&file).unwrap_err().kind(), ErrorKind::Invalid);
    let deep = scratch.0.path().join("no/parent");
    assert_eq!(Engine::open(&deep).unwrap_err().kind(), ErrorKind::Io);
}
