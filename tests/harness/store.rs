//! Stores with changed files: changed bytes, rows, or whole files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use arbitrary::{Result, Unstructured};
use ingrain::{
    Batch, Direction, Edge, Engine, ErrorKind, KeyRange, Method, Metric, Node, NodeId, Op, Options,
    Patch, Seq, Snapshot, Space, Timestamp,
    admin::RecoveryMode,
    format::{
        FileKind, Header,
        manifest::{DataFile, Manifest},
        wal::{Frames, encode_batch},
    },
    graph::PathOptions,
    os::Fs,
    search::{Effort, Search},
    sim::{Loss, SimDisk},
};

use super::{
    disks::on_disk,
    files::{golden_dir, read_image},
    formats::wal_payload,
    ops::any_op,
    oracle::options,
    seal,
};

/// The files of a store, by their path in its directory.
pub type Image = BTreeMap<String, Vec<u8>>;

const PATH: &str = "/s";
const MANIFEST: &str = "MANIFEST";

/// A disk with these files, all of them durable.
pub fn disk_of(image: &Image) -> SimDisk {
    let disk = SimDisk::new();
    let root = Path::new(PATH);
    for dir in [root.to_owned(), root.join("wal"), root.join("data")] {
        disk.create_dir(&dir).unwrap();
    }
    for (name, bytes) in image {
        disk.create_new(&root.join(name)).unwrap().write_at(0, bytes).unwrap();
    }
    disk.crash(Loss::Nothing, 0)
}

fn image_of(disk: &SimDisk) -> Image {
    let mut image = Image::new();
    for dir in ["", "wal", "data"] {
        for name in disk.list(&Path::new(PATH).join(dir)).unwrap() {
            let name = Path::new(dir).join(name);
            let Ok(file) = disk.open(&Path::new(PATH).join(&name)) else { continue };
            let mut bytes = vec![0; file.size().unwrap() as usize];
            file.read_at(0, &mut bytes).unwrap();
            image.insert(name.to_str().unwrap().to_owned(), bytes);
        }
    }
    image.remove("LOCK");
    image
}

/// The store of the golden files.
pub fn golden() -> &'static Image {
    static GOLDEN: OnceLock<Image> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        let image = read_image(&golden_dir());
        let named = |(name, bytes): (PathBuf, _)| (name.to_str().unwrap().to_owned(), bytes);
        image.into_iter().map(named).collect()
    })
}

fn id(n: u16) -> NodeId {
    NodeId::from_content(&n.to_le_bytes())
}

/// A store that has several of everything: partitions, heaps, external
/// contents, vector files with dead rows, codes, log files.
pub fn rich() -> &'static Image {
    static RICH: OnceLock<Image> = OnceLock::new();
    RICH.get_or_init(|| {
        let disk = SimDisk::new();
        let open = || {
            let options = options()
                .space("wide", Space::new(8, Metric::Cosine))
                .space("gone", Space::new(2, Metric::Dot))
                .partition_bytes(4 << 10)
                .index_rows(1);
            on_disk(&disk, options).open(PATH).unwrap()
        };
        let engine = open();
        let mut batch = Batch::new();
        for n in 0..300_u16 {
            let vector: Vec<f32> = (0..8).map(|d| f32::from((n * 7 + d * 13) % 19) - 9.5).collect();
            let kind = ["note", "person", "place"][usize::from(n % 3)];
            let mut node = Node::new(id(n), kind)
                .content(vec![n as u8; usize::from(n % 90)])
                .vector("wide", vector);
            if n % 10 == 0 {
                node = node
                    .key("first", n.to_be_bytes())
                    .key("second", [n as u8])
                    .attribute("n", i64::from(n))
                    .vector("flat", [f32::from(n), 1.0])
                    .vector("gone", [1.0, 2.0]);
                node.expires = Timestamp::from_micros(i64::from(n)).into();
            }
            batch.put(node);
        }
        for n in 0..60_u16 {
            let edge = Edge::new(id(n), "knows", id(n * 7 % 60)).weight(f64::from(n));
            batch.link(if n % 4 == 0 { edge.attribute("since", i64::from(n)) } else { edge });
        }
        engine.write(batch).unwrap();
        engine.checkpoint().unwrap();
        let mut batch = Batch::new();
        for n in 0..20_u16 {
            batch.patch(id(n * 15), Patch::new().strength(0.5).kind("place"));
            batch.delete(id(n * 15 + 1));
        }
        batch.push(Op::SetMethod { name: "flat".to_owned(), method: Method::Pq8 });
        batch.push(Op::DropSpace { name: "gone".to_owned() });
        engine.write(batch).unwrap();
        engine.checkpoint().unwrap();
        for n in 0..4_u16 {
            let mut batch = Batch::new();
            batch.put(Node::new(id(500 + n), "late").vector("flat", [1.0, 2.0]));
            batch.touch(id(0)).link(Edge::new(id(500 + n), "knows", id(0)));
            engine.write(batch).unwrap();
        }
        drop(engine);
        let engine = open();
        let mut batch = Batch::new();
        batch.put(Node::new(id(600), "late").key("first", [9]));
        engine.write(batch).unwrap();
        drop(engine);
        image_of(&disk)
    })
}

fn kind_of(name: &str) -> Option<FileKind> {
    Some(match name.rsplit('.').next()? {
        "nodes" => FileKind::Nodes,
        "out" => FileKind::Out,
        "in" => FileKind::In,
        "keys" => FileKind::Keys,
        "heap" => FileKind::Heap,
        "vec" => FileKind::Vectors,
        "vix" => FileKind::VectorIndex,
        _ => return None,
    })
}

/// An offset in a file, preferably of a byte that is not zero.
fn place(u: &mut Unstructured<'_>, bytes: &[u8]) -> Result<usize> {
    let at = u.int_in_range(0..=bytes.len().saturating_sub(1))?;
    let near = bytes.iter().skip(at).take(4096).position(|byte| *byte != 0);
    Ok(at + near.unwrap_or(0))
}

fn any_name(u: &mut Unstructured<'_>, image: &Image) -> Result<String> {
    let names: Vec<&String> = image.keys().collect();
    Ok((*u.choose(&names)?).clone())
}

/// A number that is likely to be wrong: a limit value or a random one.
fn number(u: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match u.int_in_range(0..=7_u8)? {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => u64::from(u32::MAX),
        4 => 1 << 31,
        5 => u64::from(u.arbitrary::<u8>()?),
        6 => u64::from(u.arbitrary::<u32>()?),
        _ => u.arbitrary()?,
    })
}

/// Changes a row of a data file, or a field of one.
fn row(u: &mut Unstructured<'_>, bytes: &mut [u8]) -> Result<()> {
    let count = bytes.get(72..76).map_or(0, |n| u32::from_le_bytes(n.try_into().unwrap()));
    let section = 80 + 24 * u.int_in_range(0..=count.clamp(1, 8) as usize - 1)?;
    let Some(fields) = bytes.get(section..section + 24) else { return Ok(()) };
    let row_bytes = u32::from_le_bytes(fields[4..8].try_into().unwrap()).max(1) as usize;
    let offset = u64::from_le_bytes(fields[8..16].try_into().unwrap()) as usize;
    let len = u64::from_le_bytes(fields[16..24].try_into().unwrap()) as usize;
    let rows = bytes.get_mut(offset..offset.saturating_add(len)).unwrap_or_default();
    if rows.len() < 2 * row_bytes {
        return Ok(());
    }
    let last = rows.len() / row_bytes - 1;
    let (a, b) = (u.int_in_range(0..=last)?, u.int_in_range(0..=last)?);
    match u.int_in_range(0..=3_u8)? {
        // Two rows are exchanged, or one is copied over another.
        0 => (0..row_bytes).for_each(|at| rows.swap(a * row_bytes + at, b * row_bytes + at)),
        1 => rows.copy_within(a * row_bytes..(a + 1) * row_bytes, b * row_bytes),
        _ => {
            let at = a * row_bytes + u.int_in_range(0..=row_bytes - 1)? / 4 * 4;
            let value = number(u)?.to_le_bytes();
            let size = (*u.choose(&[4, 8])?).min(rows.len() - at);
            rows[at..at + size].copy_from_slice(&value[..size]);
        }
    }
    Ok(())
}

fn with_manifest(image: &mut Image, change: impl FnOnce(&mut Manifest)) {
    let Some(Ok(mut manifest)) = image.get(MANIFEST).map(|bytes| Manifest::decode(bytes)) else {
        return;
    };
    change(&mut manifest);
    image.insert(MANIFEST.to_owned(), manifest.encode().unwrap());
}

/// Changes a field of the manifest, which remains well-formed.
fn fields(u: &mut Unstructured<'_>, image: &mut Image) -> Result<()> {
    let (what, value, at) =
        (u.int_in_range(0..=22_u8)?, number(u)?, usize::from(u.arbitrary::<u8>()?));
    let name = ["", "note", "flat", "wide", "text"][at % 5].to_owned();
    let dimension = u.int_in_range(0..=9)?;
    with_manifest(image, |m| {
        fn one<T>(list: &mut [T], at: usize, change: impl FnOnce(&mut T)) {
            if let Some(at) = at.checked_rem(list.len()) {
                change(&mut list[at]);
            }
        }
        match what {
            0 => m.checkpoint = Seq::new(value),
            1 => m.durable = Seq::new(value),
            2 => m.salvaging = true,
            3 => m.next_file = value as u32,
            4 => m.counts.nodes = value,
            5 => m.counts.edges = value,
            6 => m.counts.keys = value,
            7 => m.counts.vectors = value,
            8 => one(&mut m.heaps, at, |heap| heap.live = value),
            9 => one(&mut m.kinds, at, |kind| *kind = name),
            10 => one(&mut m.indexes, at, |index| *index = name),
            11 => one(&mut m.spaces, at, |space| space.name = name),
            12 => one(&mut m.spaces, at, |space| space.space.dimension = dimension),
            13 => one(&mut m.spaces, at, |space| space.dropped = !space.dropped),
            14 => one(&mut m.spaces, at, |space| space.vectors = value),
            15 => one(&mut m.vectors, at, |file| file.space = value as u32),
            16 => one(&mut m.vectors, at, |file| file.live = value),
            17 => {
                let bits = value.to_le_bytes()[..dimension.min(8)].to_vec();
                one(&mut m.vectors, at, |file| file.dead = bits);
            }
            18 => one(&mut m.vectors, at, |file| file.graph = file.codes.take()),
            19 => {
                let mut tables = [&mut m.nodes, &mut m.out, &mut m.in_edges, &mut m.keys];
                let table = &mut tables[at % 4];
                match value % 3 {
                    0 => drop(table.pop()),
                    1 => table.reverse(),
                    _ => drop(table.first_mut().map(|part| part.first.truncate(dimension))),
                }
            }
            20 => m.spaces.reverse(),
            21 => one(&mut m.kind_rows, at, |rows| *rows = value),
            _ => drop((m.kinds.pop(), m.kind_rows.pop(), m.heaps.pop())),
        }
    });
    Ok(())
}

/// Appends a frame to a log file. Its operations may be invalid after what
/// precedes them.
fn frame(u: &mut Unstructured<'_>, file: &mut Vec<u8>) -> Result<()> {
    let Ok(header) = Header::decode(FileKind::Wal, file) else { return Ok(()) };
    let frames = seal::frames(file);
    let end = frames.last().map_or(64, |frame| frame.end);
    let seq = header.number.saturating_add(frames.len() as u64);
    let ops = match u.int_in_range(0..=3_u8)? {
        0 => vec![Op::CreateSpace {
            name: (*u.choose(&["", "flat", "new"])?).to_owned(),
            space: Space::new(number(u)? as usize, Metric::L2),
        }],
        1 => {
            let floats: Vec<f32> = (0..u.int_in_range(0..=9_u8)?)
                .map(|_| Ok(f32::from_bits(u.arbitrary()?)))
                .collect::<Result<_>>()?;
            let space = *u.choose(&["flat", "wide", "text", "new"])?;
            let mut node = Node::new(id(u.int_in_range(0..=20)?), *u.choose(&["", "note"])?)
                .vector(space, floats)
                .key(*u.choose(&["first", "timeline"])?, vec![0; u.int_in_range(0..=2_000)?]);
            node.strength = f32::from_bits(u.arbitrary()?);
            node.confidence = f32::from_bits(u.arbitrary()?);
            node.access_count = Some(u.arbitrary()?);
            vec![Op::Put { node, precondition: ingrain::Precondition::None }]
        }
        _ => (0..u.int_in_range(0..=3_u8)?).map(|_| any_op(u)).collect::<Result<_>>()?,
    };
    let Ok(payload) = encode_batch(Timestamp::from_micros(1), &ops) else { return Ok(()) };
    file.truncate(end);
    let durable = Seq::new(seq.saturating_sub(1));
    Frames::new(&header).seal(Seq::new(seq), durable, &payload, file);
    Ok(())
}

fn mutation(u: &mut Unstructured<'_>, image: &mut Image) -> Result<()> {
    let name = any_name(u, image)?;
    let mut bytes = image[&name].clone();
    match u.int_in_range(0..=15_u8)? {
        0..=2 if !bytes.is_empty() => {
            let at = place(u, &bytes)?;
            bytes[at] = u.arbitrary()?;
        }
        3 if !bytes.is_empty() => {
            let at = place(u, &bytes)?;
            let value = number(u)?.to_le_bytes();
            let size = value.len().min(bytes.len() - at);
            bytes[at..at + size].copy_from_slice(&value[..size]);
        }
        4 => bytes.truncate(u.int_in_range(0..=bytes.len())?),
        5 => bytes.resize(bytes.len() + u.int_in_range(0..=8192)?, u.arbitrary()?),
        6 if bytes.len() > 1 => {
            let (from, to) = (place(u, &bytes)?, place(u, &bytes)?);
            let len = u.int_in_range(1..=64)?.min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + len, to);
        }
        7 => {
            let other = any_name(u, image)?;
            bytes = image.insert(other, bytes).unwrap();
        }
        8 => {
            image.remove(&name);
            return Ok(());
        }
        9 => {
            let to =
                format!("data/{:010}.{}", u.int_in_range(0..=30_u8)?, u.choose(&["vec", "heap"])?);
            image.insert(to, bytes);
            return Ok(());
        }
        10 | 11 => return fields(u, image),
        12 => {
            let logs: Vec<String> = image.keys().filter(|n| n.ends_with(".wal")).cloned().collect();
            if let Some(log) = logs.last() {
                frame(u, image.get_mut(log).unwrap())?;
            }
            return Ok(());
        }
        _ if kind_of(&name).is_some() => row(u, &mut bytes)?,
        _ => {}
    }
    image.insert(name, bytes);
    Ok(())
}

/// Corrects all checksums, and makes the manifest describe the files as they
/// are.
fn reseal(image: &mut Image) {
    let mut digests: BTreeMap<u32, (u64, [u8; 16])> = BTreeMap::new();
    for (name, bytes) in image.iter_mut() {
        if name.ends_with(".wal") {
            seal::wal(bytes, false);
        } else if name == MANIFEST {
            seal::manifest(bytes);
        } else if kind_of(name).is_some()
            && let Some(digest) = seal::data(bytes)
            && let Some(number) = name.get(5..15).and_then(|number| number.parse().ok())
        {
            digests.insert(number, (bytes.len() as u64, digest));
        }
    }
    with_manifest(image, |m| {
        let set = |file: &mut DataFile| {
            if let Some((len, digest)) = digests.get(&file.number) {
                (file.len, file.digest) = (*len, *digest);
            }
        };
        m.heaps.iter_mut().for_each(|heap| set(&mut heap.file));
        let tables = [&mut m.nodes, &mut m.out, &mut m.in_edges, &mut m.keys];
        tables.into_iter().flatten().for_each(|part| set(&mut part.file));
        for vectors in &mut m.vectors {
            set(&mut vectors.file);
            [&mut vectors.codes, &mut vectors.graph].into_iter().flatten().for_each(set);
        }
    });
    // An index file names its vector file by the digest.
    let derived: Vec<(DataFile, DataFile)> = match image.get(MANIFEST).map(|m| Manifest::decode(m))
    {
        Some(Ok(m)) => m.vectors.iter().filter_map(|v| Some((v.file, v.codes?))).collect(),
        _ => return,
    };
    for (rows, codes) in derived {
        let name = format!("data/{:010}.vix", codes.number);
        let Some(bytes) = image.get_mut(&name).filter(|bytes| bytes.len() >= 3 * 4096) else {
            continue;
        };
        bytes[4096..4112].copy_from_slice(&rows.digest);
        let Some(digest) = seal::data(bytes) else { continue };
        with_manifest(image, |m| {
            for file in m.vectors.iter_mut().filter_map(|v| v.codes.as_mut()) {
                if file.number == codes.number {
                    file.digest = digest;
                }
            }
        });
    }
}

/// Reads everything, in every way. Returns how many reads met damage.
fn read_all(snapshot: &Snapshot) -> usize {
    let mut damaged = 0;
    let mut met = |error: ingrain::Error| {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        damaged += 1;
    };
    let mut ids = Vec::new();
    for node in snapshot.scan_all() {
        match node {
            Ok(node) => {
                ids.push(node.id());
                node.to_exact_node().map_or_else(&mut met, drop);
                snapshot.get(node.id()).map_or_else(&mut met, drop);
            }
            Err(error) => {
                met(error);
                break;
            }
        }
    }
    for id in ids.iter().copied().chain([NodeId::MIN, NodeId::MAX]) {
        for edge in snapshot.edges_out(id).chain(snapshot.edges_in(id)) {
            match edge.and_then(|edge| edge.to_exact_edge()) {
                Ok(edge) => snapshot
                    .edge(edge.source, &edge.kind, edge.target, edge.discriminator)
                    .map_or_else(&mut met, drop),
                Err(error) => {
                    met(error);
                    break;
                }
            }
        }
    }
    for kind in snapshot.kinds() {
        snapshot.scan(kind).try_for_each(|node| node.map(drop)).unwrap_or_else(&mut met);
    }
    for index in snapshot.indexes() {
        for direction in [Direction::Ascending, Direction::Descending] {
            match snapshot.range(index.name, KeyRange::all(), direction) {
                Ok(mut range) => {
                    range.try_for_each(|entry| entry.map(drop)).unwrap_or_else(&mut met);
                }
                Err(error) => met(error),
            }
        }
    }
    let end = Timestamp::from_micros(i64::MAX);
    snapshot.expired(end).try_for_each(|id| id.map(drop)).unwrap_or_else(&mut met);
    for (name, space) in snapshot.spaces() {
        // The cosine metric refuses a query of zeros.
        let query: Vec<f32> = (0..space.dimension).map(|n| 1.0 + (n % 5) as f32).collect();
        for effort in [Effort::Normal, Effort::Exact] {
            match snapshot.search(&Search::new(name, &query, 10).effort(effort)) {
                Ok(hits) => {
                    assert!(hits.is_sorted_by(|a, b| a.distance <= b.distance), "{hits:?}");
                }
                Err(error) => met(error),
            }
        }
    }
    if let [first, .., last] = ids[..] {
        match snapshot.shortest_path(first, last, &PathOptions::default()) {
            // In a table out of order, a lookup may not find an id that the scan
            // has found.
            Err(error) if error.kind() == ErrorKind::Invalid => damaged += 1,
            path => path.map_or_else(&mut met, drop),
        }
    }
    damaged
}

/// Options without codes: building them would make trying a damaged store a
/// hundred times slower.
fn plain(disk: &SimDisk) -> Options {
    on_disk(disk, Options::new().create(false).index_rows(1 << 24))
}

/// Asserts that an error is one that damaged files may cause.
fn of_files(error: &ingrain::Error) {
    let kinds = [ErrorKind::Corrupt, ErrorKind::Unsupported];
    assert!(kinds.contains(&error.kind()), "{error:?}");
}

/// Checks a store that has opened: it is read, verified, and written into a new
/// base. If it verifies as sound, it must read without damage and keep its
/// content.
fn check(engine: Engine, disk: &SimDisk, compact: bool) {
    let snapshot = engine.snapshot();
    let damaged = read_all(&snapshot);
    let report = engine.verify().unwrap();
    if !report.is_sound() {
        report.damage.iter().for_each(of_files);
        of_damage(engine.checkpoint());
        if compact {
            of_damage(engine.compact());
        }
        read_all(&engine.snapshot());
        let _ = engine.close();
        drop(engine);
        let _ = plain(disk).open(PATH).map_err(|error| of_files(&error));
        return;
    }
    assert_eq!(damaged, 0, "a sound store has damage");
    let digest = snapshot.digest().unwrap();
    if ran_out_of_numbers(engine.checkpoint()) {
        assert_eq!(engine.snapshot().digest().unwrap(), digest);
        return;
    }
    assert_eq!(engine.snapshot().digest().unwrap(), digest);
    engine.close().unwrap();
    drop(engine);
    let engine = plain(disk).open(PATH).unwrap();
    assert_eq!(engine.snapshot().digest().unwrap(), digest);
    let report = engine.verify().unwrap();
    assert!(report.is_sound(), "after a checkpoint: {:?}", report.damage);
    if !compact {
        return;
    }
    let out = ran_out_of_numbers(engine.compact());
    assert_eq!(engine.snapshot().digest().unwrap(), digest);
    if out {
        return;
    }
    assert_eq!(read_all(&engine.snapshot()), 0);
    let report = engine.verify().unwrap();
    assert!(report.is_sound(), "after compaction: {:?}", report.damage);
}

fn is_out_of_numbers(error: &ingrain::Error) -> bool {
    matches!(error, ingrain::Error::Checkpoint { cause, .. } if cause.kind() == ErrorKind::Limit)
}

/// Whether a checkpoint failed because the manifest says that nearly all file
/// numbers are used up. It must not fail for other reasons.
fn ran_out_of_numbers(done: ingrain::Result<Seq>) -> bool {
    match done {
        Err(error) if is_out_of_numbers(&error) => true,
        done => {
            done.unwrap();
            false
        }
    }
}

/// A checkpoint of a damaged store may also fail because of the damage.
fn of_damage(done: ingrain::Result<Seq>) {
    match done {
        Err(error) if is_out_of_numbers(&error) => {}
        Err(error) => of_files(&error),
        Ok(_) => {}
    }
}

/// Opens the store of a disk and checks it.
fn open(disk: &SimDisk, compact: bool) {
    match plain(disk).open(PATH) {
        Ok(engine) => check(engine, disk, compact),
        // The manifest is missing, so this is not a store.
        Err(error) if error.kind() == ErrorKind::Invalid => {}
        Err(error) => {
            of_files(&error);
            salvage(disk, compact);
        }
    }
}

/// After a salvaging recovery has opened the store, a strict one must open it
/// too.
fn salvage(disk: &SimDisk, compact: bool) {
    match plain(disk).recovery(RecoveryMode::Salvage).open(PATH) {
        Ok(engine) => {
            let (seq, digest) = (engine.snapshot().seq(), engine.snapshot().digest());
            drop(engine);
            let engine = plain(disk).open(PATH).unwrap();
            assert_eq!(engine.snapshot().seq(), seq);
            if let Ok(digest) = digest {
                assert_eq!(engine.snapshot().digest().unwrap(), digest);
            }
            check(engine, disk, compact);
        }
        Err(error) => of_files(&error),
    }
}

/// If a repair succeeds, the new store must be sound.
fn repair(disk: &SimDisk) {
    match plain(disk).repair(PATH, "/r", &mut |_, _| {}) {
        Ok(_) => {
            let engine = plain(disk).open("/r").unwrap();
            let report = engine.verify().unwrap();
            assert!(report.is_sound(), "after a repair: {:?}", report.damage);
            assert_eq!(read_all(&engine.snapshot()), 0);
        }
        Err(error) if error.kind() == ErrorKind::Invalid => {}
        Err(error) => of_files(&error),
    }
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let mut image = if u.arbitrary()? { rich().clone() } else { golden().clone() };
    let sealed = u.ratio(7, 8)?;
    let way = u.int_in_range(0..=3_u8)?;
    for _ in 0..16 {
        if u.is_empty() || image.is_empty() || mutation(u, &mut image).is_err() {
            break;
        }
    }
    if sealed {
        reseal(&mut image);
    }
    let disk = disk_of(&image);
    match way {
        0 => repair(&disk),
        _ => open(&disk, way == 1),
    }
    Ok(())
}

/// Target: a store whose files were changed, usually with the checksums
/// corrected afterwards.
pub fn store(data: &[u8]) {
    let _ = run(&mut Unstructured::new(data));
}

/// Target: a log file. The first byte says whether its checksums are corrected
/// and its frames renumbered. Frames that decode encode to the same bytes. A
/// store with this file opens, if necessary with a salvaging recovery, and can
/// be written to.
pub fn wal_file(data: &[u8]) {
    let Some((how, file)) = data.split_first() else { return };
    let mut file = file.to_vec();
    if how & 1 == 1 {
        seal::wal(&mut file, how & 2 == 2);
    }
    let Ok(header) = Header::decode(FileKind::Wal, &file) else { return };
    assert_eq!(header.encode(), file[..64]);
    let frames = Frames::new(&header);
    let mut at = 64;
    while let Some(frame) = frames.open(&file, at) {
        let mut again = Vec::new();
        frames.seal(frame.seq, frame.durable, frame.payload, &mut again);
        assert_eq!(again, file[at..at + frame.size]);
        assert_eq!(frames.header(&file, at).unwrap().len, frame.payload.len());
        wal_payload(frame.payload);
        at += frame.size;
    }
    let before = header.number.saturating_sub(1);
    let manifest = Manifest {
        store: header.store,
        generation: 1,
        checkpoint: Seq::new(before),
        next_file: 1,
        ..Manifest::default()
    };
    let log = format!("wal/{:020}.wal", header.number);
    let image = [(MANIFEST.to_owned(), manifest.encode().unwrap()), (log, file)].into();
    let disk = disk_of(&image);
    match plain(&disk).open(PATH) {
        Ok(engine) => {
            let seq = engine.snapshot().seq();
            let mut batch = Batch::new();
            batch.put(Node::new(NodeId::MIN, "note"));
            let next = engine.write(batch).unwrap();
            assert_eq!(next.get(), seq.get() + 1);
            check(engine, &disk, false);
        }
        Err(error) => {
            of_files(&error);
            salvage(&disk, false);
        }
    }
}
