//! The engine on a disk that fails and crashes, compared with a model of plain
//! maps.

use std::{collections::BTreeMap, sync::Arc};

use arbitrary::{Result, Unstructured};
use ingrain::{
    Batch, Edge, Engine, Error, ErrorKind, IndexKey, Method, Metric, Node, NodeId, Op, Options,
    Patch, Precondition, Seq, Snapshot, Space, Timestamp, Value,
    format::wal::{decode_batch, encode_batch},
    sim::{Call, Failure, Loss, SimClock, SimDisk},
};

use super::oracle::{IDS, INDEXES, KINDS, Oracle, SPACES, as_logged, batch, id, options};

const PATH: &str = "/s";
/// A space that is created and dropped repeatedly.
const EXTRA: &str = "extra";
/// The largest number of actions; more would only be slow.
const ACTIONS: usize = 48;

fn any_id(u: &mut Unstructured<'_>) -> Result<NodeId> {
    Ok(id(u.int_in_range(0..=IDS - 1)?))
}

fn any_kind(u: &mut Unstructured<'_>) -> Result<String> {
    Ok((*u.choose(KINDS)?).to_owned())
}

fn any_time(u: &mut Unstructured<'_>) -> Result<Timestamp> {
    Ok(Timestamp::from_micros(u.int_in_range(0..=99)?))
}

fn maybe<'a, T>(
    u: &mut Unstructured<'a>,
    some: impl FnOnce(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Option<T>> {
    u.arbitrary::<bool>()?.then(|| some(u)).transpose()
}

fn any_bytes(u: &mut Unstructured<'_>, most: usize) -> Result<Vec<u8>> {
    let len = u.int_in_range(0..=most)?;
    Ok(u.bytes(len.min(u.len()))?.to_vec())
}

/// Contents. Long ones become external when something else of the node changes.
fn any_content(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut content = any_bytes(u, 20)?;
    if u.ratio(1, 3)? {
        content.resize(content.len() + 65, 0x5a);
    }
    Ok(content)
}

fn any_value(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    Ok(match u.int_in_range(0..=if depth > 0 { 7_u8 } else { 5 })? {
        0 => Value::Null,
        1 => Value::Bool(u.arbitrary()?),
        2 => Value::Int(u.arbitrary()?),
        3 => {
            let float: f64 = u.arbitrary()?;
            Value::Float(if float.is_finite() { float } else { 0.5 })
        }
        4 => Value::Text(String::from_utf8_lossy(&any_bytes(u, 6)?).into_owned()),
        5 => Value::Bytes(any_bytes(u, 6)?),
        6 => {
            let len = u.int_in_range(0..=2_u8)?;
            Value::List((0..len).map(|_| any_value(u, depth - 1)).collect::<Result<_>>()?)
        }
        _ => {
            let len = u.int_in_range(0..=2_u8)?;
            let entry = |u: &mut Unstructured<'_>| Ok((any_name(u)?, any_value(u, depth - 1)?));
            Value::Map((0..len).map(|_| entry(u)).collect::<Result<_>>()?)
        }
    })
}

fn any_name(u: &mut Unstructured<'_>) -> Result<String> {
    Ok((*u.choose(&["a", "b", "c", "ab"])?).to_owned())
}

/// Vectors of small integers, never all zero: their sums are exact in any
/// order.
fn any_vector(u: &mut Unstructured<'_>, dimension: usize) -> Result<Vec<f32>> {
    let mut vector = (0..dimension)
        .map(|_| Ok(f32::from(u.int_in_range(-4..=4_i8)?)))
        .collect::<Result<Vec<f32>>>()?;
    if vector.iter().all(|n| *n == 0.0) {
        vector[0] = 1.0;
    }
    Ok(vector)
}

fn any_key(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let len = u.int_in_range(0..=2_u8)?;
    (0..len).map(|_| Ok(*u.choose(&[0, 1, 0xff])?)).collect()
}

fn any_strength(u: &mut Unstructured<'_>) -> Result<f32> {
    Ok(f32::from(u.arbitrary::<i8>()?) / 64.0)
}

fn any_confidence(u: &mut Unstructured<'_>) -> Result<f32> {
    Ok(f32::from(u.arbitrary::<u8>()?) / 255.0)
}

fn any_node(u: &mut Unstructured<'_>) -> Result<Node> {
    let mut node = Node::new(any_id(u)?, any_kind(u)?).content(any_content(u)?);
    for _ in 0..u.int_in_range(0..=2_u8)? {
        node.attributes.insert(any_name(u)?, any_value(u, 3)?);
    }
    if u.arbitrary()? {
        (node.strength, node.confidence) = (any_strength(u)?, any_confidence(u)?);
        (node.created, node.updated) = (maybe(u, any_time)?, maybe(u, any_time)?);
        (node.accessed, node.expires) = (maybe(u, any_time)?, maybe(u, any_time)?.into());
        node.access_count = maybe(u, |u| u.int_in_range(0..=9))?;
    }
    for _ in 0..u.int_in_range(0..=3_u8)? {
        node.keys.push(IndexKey::new(*u.choose(INDEXES)?, any_key(u)?));
    }
    for (name, dimension, _) in SPACES {
        if let Some(vector) = maybe(u, |u| any_vector(u, *dimension))? {
            node.vectors.insert((*name).to_owned(), vector);
        }
    }
    Ok(node)
}

fn any_patch(u: &mut Unstructured<'_>) -> Result<Patch> {
    let mut patch = Patch::new();
    (patch.kind, patch.content) = (maybe(u, any_kind)?, maybe(u, any_content)?);
    (patch.strength, patch.confidence) = (maybe(u, any_strength)?, maybe(u, any_confidence)?);
    for _ in 0..u.int_in_range(0..=2_u8)? {
        patch.attributes.insert(any_name(u)?, maybe(u, |u| any_value(u, 2))?);
    }
    for _ in 0..u.int_in_range(0..=1_u8)? {
        let keys = (0..u.int_in_range(0..=2_u8)?).map(|_| any_key(u)).collect::<Result<_>>()?;
        patch.keys.insert((*u.choose(INDEXES)?).to_owned(), keys);
    }
    for (name, dimension, _) in SPACES {
        if u.ratio(1, 3)? {
            let vector = maybe(u, |u| any_vector(u, *dimension))?;
            patch.vectors.insert((*name).to_owned(), vector);
        }
    }
    Ok(patch)
}

fn any_edge(u: &mut Unstructured<'_>) -> Result<Edge> {
    let mut edge = Edge::new(any_id(u)?, any_kind(u)?, any_id(u)?);
    edge.discriminator = u.int_in_range(0..=1)?;
    if u.arbitrary()? {
        edge.weight = f64::from(u.arbitrary::<i16>()?) / 8.0;
        edge.confidence = any_confidence(u)?;
        (edge.created, edge.updated) = (maybe(u, any_time)?, maybe(u, any_time)?);
        edge.attributes.insert(any_name(u)?, any_value(u, 1)?);
    }
    Ok(edge)
}

/// The name of an edge that others concern too.
fn near_edge(u: &mut Unstructured<'_>) -> Result<(NodeId, String, NodeId)> {
    let (from, to) = (u.int_in_range(0..=1)?, u.int_in_range(0..=1)?);
    Ok((id(from), KINDS[0].to_owned(), id(to)))
}

/// An operation that passes every check; its precondition may or may not hold.
pub fn any_op(u: &mut Unstructured<'_>) -> Result<Op> {
    Ok(match u.int_in_range(0..=21_u8)? {
        0..=3 => Op::Put { node: any_node(u)?, precondition: Precondition::None },
        4 => Op::Put { node: any_node(u)?, precondition: Precondition::Absent },
        5 => {
            // Versions are small, so that some are right.
            let version = Seq::new(u.int_in_range(1..=20)?);
            Op::Put { node: any_node(u)?, precondition: Precondition::Version(version) }
        }
        6 | 7 => Op::Patch { id: any_id(u)?, patch: any_patch(u)? },
        8 => Op::Touch { id: any_id(u)?, count: u.int_in_range(0..=3)? },
        9 => Op::Expire { id: any_id(u)?, expires: maybe(u, any_time)? },
        10 => Op::Delete { id: any_id(u)? },
        11 => Op::Prune { id: any_id(u)?, before: any_time(u)? },
        12..=14 => Op::Link { edge: any_edge(u)? },
        15 => Op::PutOrKeep { node: any_node(u)? },
        16 => {
            let version = Seq::new(u.int_in_range(1..=20)?);
            let precondition = *u.choose(&[
                Precondition::Exists,
                Precondition::Exists,
                Precondition::Absent,
                Precondition::Version(version),
                Precondition::None,
            ])?;
            Op::Require { id: any_id(u)?, precondition }
        }
        17 => {
            let (source, kind, target) = near_edge(u)?;
            Op::RequireEdge { source, kind, target, discriminator: 0 }
        }
        18 => {
            let attribute = (*u.choose(&["n", "n", "a"])?).to_owned();
            let by = match u.int_in_range(0..=5_u8)? {
                0 => Value::Int(i64::MAX),
                1 => Value::Float(0.5),
                n => Value::Int(i64::from(n)),
            };
            Op::Increment { id: any_id(u)?, attribute, by }
        }
        19 => {
            let (source, kind, target) = near_edge(u)?;
            let by = *u.choose(&[0.5, 0.25, -1.0, f64::MAX])?;
            Op::IncrementWeight { source, kind, target, discriminator: 0, by }
        }
        20 => {
            let (source, kind, target) = near_edge(u)?;
            Op::Link { edge: Edge::new(source, kind, target) }
        }
        _ => {
            let edge = any_edge(u)?;
            Op::Unlink {
                source: edge.source,
                kind: edge.kind,
                target: edge.target,
                discriminator: edge.discriminator,
            }
        }
    })
}

fn any_ops(u: &mut Unstructured<'_>) -> Result<Vec<Op>> {
    let len = u.int_in_range(1..=4_u8)?;
    (0..len).map(|_| any_op(u)).collect()
}

/// An invalid operation, which every store refuses.
fn wrong_op(u: &mut Unstructured<'_>) -> Result<Op> {
    let mut node = any_node(u)?;
    let mut edge = any_edge(u)?;
    match u.int_in_range(0..=13_u8)? {
        0 => node.kind.clear(),
        1 => node.kind = "k".repeat(256),
        2 => node.confidence = 1.5,
        3 => node.confidence = f32::NAN,
        4 => node.strength = f32::INFINITY,
        5 => node = node.key("none", [1]),
        6 => node = node.key(INDEXES[0], vec![0; 1025]),
        7 => node = node.vector("none", [1.0]),
        8 => node = node.vector("flat", [1.0, 2.0, 3.0]),
        9 => node = node.vector("flat", [1.0, f32::NAN]),
        10 => node = node.vector("turn", [0.0, 0.0, 0.0]),
        11 => drop(node.attributes.insert("x".to_owned(), Value::Float(f64::NAN))),
        12 => drop(node.attributes.insert(String::new(), Value::Null)),
        _ => {
            match u.int_in_range(0..=2_u8)? {
                0 => edge.weight = f64::NAN,
                1 => edge.confidence = -0.5,
                _ => edge.kind.clear(),
            }
            return Ok(Op::Link { edge });
        }
    }
    Ok(Op::Put { node, precondition: Precondition::None })
}

/// A batch survives encoding and decoding, except for its preconditions and
/// requirements.
fn logged(time: Timestamp, ops: &[Op]) {
    let bytes = encode_batch(time, ops).unwrap();
    let batch = decode_batch(&bytes).unwrap();
    assert_eq!((batch.time, batch.ops), (time, as_logged(ops)));
}

/// The engine, the model, and the state of the run.
struct Run {
    disk: SimDisk,
    clock: SimClock,
    /// From this number of rows on, vector files have codes, which are slow to
    /// build.
    index_rows: usize,
    /// `None` only while the store is reopened.
    engine: Option<Engine>,
    /// The states of the model by sequence number, up to the last batch that
    /// was submitted.
    states: Vec<Oracle>,
    /// The last commit that was acknowledged.
    acknowledged: u64,
    /// The last commit that was acknowledged as durable, or that an opening has
    /// shown.
    durable: u64,
    /// Whether calls may fail.
    faulty: bool,
    /// Whether flipped bits may have been read or mapped.
    flipped: bool,
    /// Snapshots that are held, with the state that they have to show.
    held: Vec<(Snapshot, Oracle)>,
    /// Backups by path, with the state that they have to hold.
    backups: BTreeMap<String, Oracle>,
}

impl Run {
    fn new(index_rows: usize) -> Self {
        Self {
            disk: SimDisk::new(),
            clock: SimClock::default(),
            index_rows,
            engine: None,
            // The spaces and indexes are the first commit.
            states: vec![Oracle::default(), Oracle::after(1)],
            acknowledged: 0,
            durable: 0,
            faulty: false,
            flipped: false,
            held: Vec::new(),
            backups: BTreeMap::new(),
        }
    }

    fn options(&self) -> Options {
        options()
            .index_rows(self.index_rows)
            .wal_bytes(16 << 10)
            .inline(true)
            .fs(Arc::new(self.disk.clone()))
            .clock(Arc::new(self.clock.clone()))
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn last(&self) -> &Oracle {
        self.states.last().unwrap()
    }

    fn heal(&mut self) {
        self.disk.heal();
        self.faulty = false;
    }

    /// Opens the store, whose last commit must be `least` or a later one.
    fn open(&mut self, least: u64) {
        self.engine = None;
        let engine = match self.options().open(PATH) {
            Ok(engine) => engine,
            Err(error) => {
                assert!(self.faulty, "{error}");
                // Flipped bits may make opening refuse the store.
                let expected = [ErrorKind::Corrupt, ErrorKind::Poisoned];
                assert!(error.io_error().is_some() || expected.contains(&error.kind()), "{error}");
                self.heal();
                self.options().open(PATH).unwrap()
            }
        };
        let snapshot = engine.snapshot();
        let seq = snapshot.seq().get();
        let most = self.last().seq;
        assert!((least.max(1)..=most).contains(&seq), "{seq} is not in {least}..={most}");
        self.states.truncate(usize::try_from(seq).unwrap() + 1);
        self.last().check(&snapshot);
        // A later crash must not lose what was shown.
        (self.acknowledged, self.durable) = (seq, seq);
        self.flipped &= self.faulty;
        self.engine = Some(engine);
    }

    /// The log has failed: writes must be refused, and reads show what was
    /// acknowledged.
    fn poisoned(&mut self) {
        assert!(self.faulty, "the log failed without an injected fault");
        let engine = self.engine();
        self.states[usize::try_from(self.acknowledged).unwrap()].check(&engine.snapshot());
        let again = engine.write(batch(&[Op::Delete { id: NodeId::MIN }], true));
        assert_eq!(again.unwrap_err().kind(), ErrorKind::Poisoned);
        match engine.checkpoint() {
            // There may be nothing left to do.
            Ok(seq) => assert_eq!(seq.get(), self.acknowledged),
            Err(error) => {
                assert!(error.io_error().is_some(), "{error}");
            }
        }
        assert_eq!(engine.close().unwrap_err().kind(), ErrorKind::Poisoned);
        self.open(self.acknowledged);
    }

    fn write(&mut self, now: Timestamp, ops: &[Op], sync: bool, submit: bool) {
        logged(now, ops);
        let mut next = self.last().clone();
        let expected = next.write(now, ops);
        let batch = batch(ops, sync);
        let answer = match submit {
            true => self.engine().submit(batch).and_then(|ticket| ticket.wait()),
            false => self.engine().write(batch),
        };
        match (answer, expected) {
            (Ok(seq), Ok(commits)) => {
                assert_eq!(seq.get(), next.seq);
                if commits {
                    self.states.push(next);
                    self.acknowledged = seq.get();
                    if sync {
                        self.durable = seq.get();
                    }
                }
            }
            (Err(Error::Poisoned { .. }), expected) => {
                // The batch may or may not survive.
                if expected == Ok(true) {
                    self.states.push(next);
                }
                self.poisoned();
            }
            (Err(error), Err(expected)) => {
                assert!(expected.is(&error), "{error}, not {expected:?}")
            }
            (answer, expected) => panic!("engine: {answer:?}, maps: {expected:?}"),
        }
    }

    /// Writes an invalid batch, which must be refused and change nothing.
    fn refused(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let mut ops = any_ops(u)?;
        let at = u.int_in_range(0..=ops.len())?;
        ops.insert(at, wrong_op(u)?);
        let error = self.engine().write(batch(&ops, true)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Limit), "{error}");
        self.engine().write(Batch::new()).unwrap_err();
        self.last().check(&self.engine().snapshot());
        Ok(())
    }

    fn maintain(&mut self, what: u8) {
        let engine = self.engine();
        let before = engine.snapshot().digest().unwrap();
        let seq = engine.snapshot().seq();
        let made = match what {
            0 => engine.checkpoint(),
            1 => engine.compact(),
            _ => engine.rebuild(None).map(|()| seq),
        };
        match made {
            Ok(covered) => assert_eq!(covered, seq),
            Err(error @ Error::Checkpoint { .. }) => assert!(self.faulty, "{error}"),
            Err(Error::Poisoned { .. }) => return self.poisoned(),
            Err(error) => panic!("{error}"),
        }
        let engine = self.engine();
        assert_eq!(engine.snapshot().digest().unwrap(), before);
        self.last().check(&engine.snapshot());
    }

    fn verify(&self) {
        let report = self.engine().verify().unwrap();
        assert!(report.is_sound() || self.faulty || self.flipped, "{:?}", report.damage);
    }

    fn close(&mut self) {
        if let Err(error) = self.engine().close() {
            assert!(self.faulty, "{error}");
        }
        self.open(self.acknowledged);
    }

    /// Crashes the disk and reopens the store. Commits that were acknowledged
    /// as durable must survive any loss; without a loss all of them do.
    fn crash(&mut self, loss: Loss, seed: u64) {
        self.engine = None;
        self.disk = self.disk.crash(loss, seed);
        self.faulty = false;
        self.backups.clear();
        self.open(self.durable);
    }

    fn backup(&mut self, n: u8) {
        let path = format!("/b{n}");
        let state = self.last().clone();
        match self.engine().backup(&path) {
            Ok(report) => {
                assert_eq!(report.seq.get(), state.seq);
                assert!(self.backups.insert(path, state).is_none(), "a backup was overwritten");
            }
            Err(error) => {
                let there = self.backups.contains_key(&path) || self.disk_has(&path);
                assert!(self.faulty || there && error.kind() == ErrorKind::Invalid, "{error}");
            }
        }
        self.last().check(&self.engine().snapshot());
    }

    fn disk_has(&self, path: &str) -> bool {
        use ingrain::os::Fs as _;
        self.disk.list(path.as_ref()).is_ok()
    }

    /// Ends the run: snapshots that were held and backups must be unchanged.
    fn end(mut self) {
        self.heal();
        for (snapshot, state) in &self.held {
            state.check(snapshot);
        }
        for (path, state) in &self.backups {
            let copy = self.options().create(false).open(path).unwrap();
            state.check(&copy.snapshot());
        }
        self.last().check(&self.engine().snapshot());
        // The faults are removed, so what failed before has to succeed now,
        // also the mapping of index files, which a checkpoint leaves to the
        // background.
        self.maintain(0);
        self.maintain(2);
        self.verify();
        self.close();
        self.verify();
        self.repaired();
    }

    /// A repair of a sound store loses nothing.
    fn repaired(&mut self) {
        // Compared without versions, which the new store assigns again.
        let contents = |snapshot: &Snapshot| -> (Vec<Node>, Vec<Edge>) {
            let mut nodes: Vec<Node> =
                snapshot.scan_all().map(|node| node.unwrap().to_exact_node().unwrap()).collect();
            // The scan is ordered by kind number, which may differ between the
            // stores.
            nodes.sort_by_key(|node| node.id);
            let edges = nodes.iter().flat_map(|node| snapshot.edges_out(node.id));
            let mut edges: Vec<Edge> =
                edges.map(|edge| edge.unwrap().to_exact_edge().unwrap()).collect();
            edges.sort_by_key(|e| (e.source, e.kind.clone(), e.target, e.discriminator));
            (nodes, edges)
        };
        let before = contents(&self.engine().snapshot());
        self.engine = None;
        let report = self.options().repair(PATH, "/r", &mut |_, _| {}).unwrap();
        assert!(report.is_complete(), "{report:?}");
        let again = self.options().open("/r").unwrap();
        assert_eq!(contents(&again.snapshot()), before);
        assert!(again.verify().unwrap().is_sound());
    }

    fn action(&mut self, step: usize, u: &mut Unstructured<'_>) -> Result<()> {
        // The time goes back now and then.
        let now = Timestamp::from_micros(i64::try_from(step * 37 % 100).unwrap());
        self.clock.set(now);
        match u.int_in_range(0..=31_u8)? {
            0..=11 => {
                let (ops, sync) = (any_ops(u)?, u.arbitrary()?);
                self.write(now, &ops, sync, false);
            }
            12 => {
                let (ops, sync) = (any_ops(u)?, u.arbitrary()?);
                self.write(now, &ops, sync, true);
            }
            13 => {
                // Large enough to rotate the log and make a checkpoint due.
                let bytes = u.int_in_range(1..=20_000)?;
                let node = any_node(u)?.content(vec![0xa5; bytes]);
                let ops = [Op::Put { node, precondition: Precondition::None }];
                self.write(now, &ops, u.arbitrary()?, false);
            }
            14 => self.refused(u)?,
            15..=17 => self.maintain(0),
            18 => self.maintain(1),
            19 => self.maintain(2),
            20 => self.close(),
            21 => self.open(self.acknowledged),
            22 | 23 => {
                let loss = *u.choose(&Loss::EACH)?;
                self.crash(loss, u.arbitrary::<u8>()?.into());
            }
            24 | 25 => {
                let n = u.int_in_range(1..=40)?;
                let only = *u.choose(&[
                    None,
                    None,
                    Some(Call::Write),
                    Some(Call::Sync),
                    Some(Call::SyncDir),
                    Some(Call::Rename),
                    Some(Call::Remove),
                    Some(Call::Create),
                    Some(Call::Map),
                    Some(Call::Read),
                ])?;
                let short = Failure::Short(u.int_in_range(0..=200)?);
                let failure =
                    *u.choose(&[Failure::Io, Failure::NoSpace, short, Failure::LoseDirty])?;
                self.disk.fail(n, only, failure, u.arbitrary()?);
                self.faulty = true;
            }
            26 => {
                self.disk.limit_space(Some(u.int_in_range(0..=100_000)?));
                self.faulty = true;
            }
            27 => {
                self.disk.flip_reads(u.int_in_range(1..=8)?, 1 << u.int_in_range(0..=7_u8)?);
                (self.faulty, self.flipped) = (true, true);
            }
            28 => {
                if self.held.len() < 8 {
                    self.held.push((self.engine().snapshot(), self.last().clone()));
                }
                self.verify();
            }
            29 => self.backup(u.int_in_range(0..=3)?),
            30 => {
                let ops = self.space_ops(u)?;
                self.write(now, &ops, u.arbitrary()?, false);
            }
            _ => self.heal(),
        }
        Ok(())
    }

    /// The next operations on the space that comes and goes, or a change of the
    /// method of a space.
    fn space_ops(&self, u: &mut Unstructured<'_>) -> Result<Vec<Op>> {
        let name = EXTRA.to_owned();
        let Some(space) = self.last().space(EXTRA) else {
            let (dimension, metric) = *u.choose(&[(2, Metric::Dot), (3, Metric::L2)])?;
            return Ok(vec![Op::CreateSpace { name, space: Space::new(dimension, metric) }]);
        };
        Ok(match u.int_in_range(0..=3_u8)? {
            0 => vec![Op::DropSpace { name }],
            1 => {
                let methods = [Method::Pq8, Method::Exact, Method::Hnsw, Method::Pq4];
                let name = (*u.choose(&[EXTRA, "flat", "turn"])?).to_owned();
                vec![Op::SetMethod { name, method: *u.choose(&methods)? }]
            }
            _ => {
                let mut ops = vec![Op::Delete { id: NodeId::MIN }];
                for id in self.last().ids() {
                    let patch = Patch::new().vector(EXTRA, any_vector(u, space.dimension)?);
                    ops.push(Op::Patch { id, patch });
                }
                ops
            }
        })
    }
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let mut run = Run::new(if u.ratio(1, 4)? { 1 } else { 1 << 24 });
    if u.ratio(1, 8)? {
        run.disk.fail(u.int_in_range(1..=40)?, None, Failure::Io, u.arbitrary()?);
        run.faulty = true;
    }
    run.open(0);
    for step in 0..ACTIONS {
        // The run ends with the input.
        if u.is_empty() || run.action(step, u).is_err() {
            break;
        }
    }
    run.end();
    Ok(())
}

/// Whatever is done and whatever fails, the engine holds the same as the model:
/// all that was acknowledged, no batch in part, and the same by every read.
pub fn ops(data: &[u8]) {
    let _ = run(&mut Unstructured::new(data));
}
