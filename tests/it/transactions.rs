//! Transactions: what they read, when they run again, and that they are
//! serialisable.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Barrier, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use ingrain::{
    Batch, Committed, ConflictReason, Direction, Durability, Edge, Engine, Error, ErrorKind,
    KeyRange, Named, Node, NodeId, Op, Options, Patch, Result, Seq, Snapshot, Timestamp,
    Transaction, Value, limits,
};

use crate::harness::{
    dirs::temp_dir,
    nodes::{after, id, node, one},
    oracle::{self, Oracle},
    random::Random,
};

fn open(path: &Path) -> Engine {
    Options::new().index("i").durability(Durability::Os).open(path).unwrap()
}

fn number(snapshot: &Snapshot, n: u64) -> i64 {
    snapshot.get(id(n)).unwrap().unwrap().attributes().unwrap()["n"].as_i64().unwrap()
}

/// Adds one to the attribute `n` of a node: reads it and writes it.
fn add_one(engine: &Engine, id: NodeId) -> Committed<()> {
    let added = engine.transact(|tx| {
        let node = tx.get(id)?.unwrap();
        let n = node.attributes()?["n"].as_i64().unwrap();
        tx.patch(id, Patch::new().attribute("n", n + 1));
        Ok(())
    });
    added.unwrap()
}

#[test]
fn a_transaction_reads_a_snapshot_and_writes_at_its_end() {
    let dir = temp_dir();
    for inline in [false, true] {
        let path = dir.path().join(format!("s {inline}"));
        let engine = Options::new().inline(inline).index("i").open(&path).unwrap();
        let seq = engine.write(one(|b| b.put(node(1)).put(node(2)))).unwrap();
        let done = engine
            .transact(|tx| {
                assert_eq!(tx.seq(), seq);
                assert_eq!((tx.node_count()?, tx.edge_count()?), (2, 0));
                assert!(tx.get(id(3))?.is_none());
                tx.put(node(3).key("i", [3])).link(Edge::new(id(1), "e", id(3)));
                assert_eq!((tx.ops().len(), engine.snapshot().node_count()), (2, 2));
                Ok("done")
            })
            .unwrap();
        assert_eq!((done.value, done.seq, done.tries), ("done", after(seq), 1));
        let snapshot = engine.snapshot();
        assert_eq!((snapshot.node_count(), snapshot.edge_count()), (3, 1));
        // One that only reads, one that takes everything back, and one that only
        // requires.
        let bytes = engine.stats().write.wal_bytes;
        let read = engine.transact(|tx| tx.scan("n")?.collect::<Result<Vec<_>>>()).unwrap();
        assert_eq!((read.value.len(), read.seq), (3, done.seq));
        let back = engine.transact(|tx| {
            tx.put(node(9)).delete(id(1));
            tx.discard();
            assert!(tx.get(id(1))?.is_some());
            Ok(())
        });
        assert_eq!(back.unwrap().seq, done.seq);
        let required = engine.transact(|tx| {
            tx.extend(one(|b| b.require_exists(id(1))));
            Ok(())
        });
        assert_eq!(required.unwrap().seq, done.seq);
        assert_eq!((engine.snapshot().seq(), engine.stats().write.wal_bytes), (done.seq, bytes));
        // An error ends it, at the first try, and nothing is written.
        let mut runs = 0;
        let failed = engine.transact(|tx| {
            runs += 1;
            tx.put(node(9));
            tx.range("none", .., Direction::Ascending).map(drop)
        });
        assert_eq!((failed.unwrap_err().kind(), runs), (ErrorKind::Invalid, 1));
        // So does an operation that needs what is not there.
        let failed = engine.transact(|tx| {
            runs += 1;
            tx.link(Edge::new(id(1), "e", id(8)));
            Ok(())
        });
        let reason = ConflictReason::Missing;
        assert!(matches!(failed, Err(Error::Conflict { reason: r, .. }) if r == reason));
        assert_eq!((engine.snapshot().seq(), runs), (done.seq, 2));
        engine.close().unwrap();
        let closed = engine.transact(|tx| Ok(tx.seq())).unwrap_err();
        assert_eq!(closed.kind(), ErrorKind::Closed);
    }
}

#[test]
fn a_transaction_does_not_read_what_it_may_have_written() {
    let dir = temp_dir();
    let engine = open(&dir.path().join("s"));
    engine.write(one(|b| b.put(node(1)).put(node(2)).put(node(3)))).unwrap();
    let invalid = |what: &str, run: &dyn Fn(&mut Transaction<'_>) -> Result<()>| {
        let error = engine.transact(|tx| run(tx)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
        assert!(error.to_string().contains("read first"), "{what}: {error}");
    };
    invalid("get", &|tx| tx.patch(id(1), Patch::new()).get(id(1)).map(drop));
    invalid("touched", &|tx| tx.touch(id(1)).get(id(1)).map(drop));
    invalid("edge", &|tx| {
        tx.link(Edge::new(id(1), "e", id(2))).edge(id(1), "e", id(2), 0).map(drop)
    });
    invalid("edges", &|tx| tx.link(Edge::new(id(1), "e", id(2))).edges_in(id(2), None).map(drop));
    invalid("deleted", &|tx| tx.delete(id(1)).edges_out(id(2), Some("e")).map(drop));
    invalid("range", &|tx| tx.put(node(4)).range("i", .., Direction::Ascending).map(drop));
    invalid("scan", &|tx| tx.delete(id(1)).scan("n").map(drop));
    invalid("count", &|tx| tx.ensure(id(9), "n").node_count().map(drop));
    invalid("edge count", &|tx| tx.delete(id(1)).edge_count().map(drop));
    // What it has not written can be read, and an iterator goes on.
    let done = engine.transact(|tx| {
        let mut seen = 0;
        for id in tx.scan("n")? {
            let node = tx.get(id?)?.unwrap();
            tx.patch(node.id(), Patch::new().attribute("seen", seen));
            seen += 1;
        }
        tx.edges_out(id(1), None)?.count();
        Ok(seen)
    });
    assert_eq!(done.unwrap().value, 3);
}

/// What another writer does between a read and the commit makes the closure run
/// again if the read would show it, and only then.
#[test]
fn a_transaction_runs_again_if_and_only_if_what_it_read_has_changed() {
    type Read = fn(&mut Transaction<'_>) -> Result<()>;
    type Write = fn(&mut Batch) -> &mut Batch;
    let first: Read = |tx| {
        tx.range("i", .., Direction::Ascending)?.next().transpose()?;
        Ok(())
    };
    let all: Read = |tx| tx.range("i", .., Direction::Descending)?.try_for_each(|e| e.map(drop));
    let some: Read = |tx| {
        let range = KeyRange::from(vec![1_u8]..vec![3]);
        tx.range("i", range, Direction::Ascending)?.try_for_each(|e| e.map(drop))
    };
    let out: Read = |tx| tx.edges_out(id(1), None)?.try_for_each(|e| e.map(drop));
    let of_kind: Read = |tx| tx.edges_out(id(1), Some("f"))?.try_for_each(|e| e.map(drop));
    let reached: Read = |tx| tx.edges_in(id(2), None)?.try_for_each(|e| e.map(drop));
    let kind: Read = |tx| tx.scan("n")?.try_for_each(|e| e.map(drop));
    let other_kind: Read = |tx| tx.scan("late")?.try_for_each(|e| e.map(drop));
    let get: Read = |tx| tx.get(id(1)).map(drop);
    let absent: Read = |tx| tx.get(id(9)).map(drop);
    let edge: Read = |tx| tx.edge(id(1), "e", id(2), 0).map(drop);
    let no_edge: Read = |tx| tx.edge(id(2), "e", id(1), 0).map(drop);
    let nodes: Read = |tx| tx.node_count().map(drop);
    let edges: Read = |tx| tx.edge_count().map(drop);

    let touch: Write = |b| b.touch(id(1));
    let expire: Write = |b| b.expire(id(1), Some(Timestamp::from_micros(7)));
    let patch: Write = |b| b.patch(id(1), Patch::new());
    let put: Write = |b| b.put(node(9));
    let put_other: Write = |b| b.put(Node::new(id(9), "late"));
    let key: Write = |b| b.put(node(9).key("i", [2]));
    let last_key: Write = |b| b.put(node(9).key("i", [9]));
    let same_key: Write = |b| b.put(node(1).key("i", [1]).content("other"));
    let link: Write = |b| b.link(Edge::new(id(1), "e", id(3)));
    let link_back: Write = |b| b.link(Edge::new(id(2), "e", id(1)));
    let link_kind: Write = |b| b.link(Edge::new(id(1), "f", id(3)));
    let weight: Write = |b| b.increment_weight(id(1), "e", id(2), 1.0);
    let delete: Write = |b| b.delete(id(2));

    let cases: &[(&str, Read, Write, bool)] = &[
        ("get, patch", get, patch, true),
        ("get, touch", get, touch, false),
        ("get, expire", get, expire, true),
        ("get, put of another", get, put, false),
        ("absent, put", absent, put, true),
        ("absent, patch of another", absent, patch, false),
        ("first key, a later one", first, last_key, false),
        ("first key, a patch", first, patch, false),
        ("first key, its node put again", first, same_key, false),
        ("all keys, a new one", all, key, true),
        ("all keys, a deletion", all, delete, true),
        ("some keys, one among them", some, key, true),
        ("some keys, one beyond", some, last_key, false),
        ("edges, a new one", out, link, true),
        ("edges, one the other way", out, link_back, false),
        ("edges, a weight", out, weight, true),
        ("edges, the other end deleted", out, delete, true),
        ("edges of a kind, of another", of_kind, link, false),
        ("edges of an unknown kind, the first", of_kind, link_kind, true),
        ("edges that reach, a weight", reached, weight, true),
        ("edges that reach, others", reached, link, false),
        ("kind, a new node", kind, put, true),
        ("kind, one of another kind", kind, put_other, false),
        ("kind, a patch", kind, patch, false),
        ("unknown kind, its first node", other_kind, put_other, true),
        ("edge, its weight", edge, weight, true),
        ("edge, its end deleted", edge, delete, true),
        ("edge, another", edge, link, false),
        ("no edge, the edge", no_edge, link_back, true),
        ("number of nodes, a new one", nodes, put, true),
        ("number of nodes, a patch", nodes, patch, false),
        ("number of edges, a deletion", edges, delete, true),
        ("number of edges, a weight", edges, weight, false),
    ];
    let dir = temp_dir();
    for (at, (what, read, write, again)) in cases.iter().enumerate() {
        for moved in [false, true] {
            let engine = open(&dir.path().join(format!("{at} {moved}")));
            engine
                .write(one(|b| {
                    b.put(node(1).key("i", [1]))
                        .put(node(2).key("i", [2]))
                        .put(node(3))
                        .link(Edge::new(id(1), "e", id(2)))
                        .link(Edge::new(id(3), "f", id(3)))
                }))
                .unwrap();
            let mut runs = 0;
            let done = engine.transact(|tx| {
                read(tx)?;
                runs += 1;
                if runs == 1 {
                    engine.write(one(*write))?;
                    if moved {
                        // Everything is elsewhere, and the same.
                        engine.checkpoint()?;
                    }
                }
                tx.put(Node::new(id(100), "own"));
                Ok(())
            });
            let tries = done.unwrap().tries;
            assert_eq!((tries, runs), (1 + u32::from(*again), tries), "{what}, moved: {moved}");
        }
    }
}

#[test]
fn what_a_transaction_reads_is_bounded() {
    let dir = temp_dir();
    let engine = open(&dir.path().join("s"));
    let nodes = (0..=limits::TRANSACTION_READS as u64).map(|n| Op::put(node(n)));
    engine.write(nodes.collect::<Batch>()).unwrap();
    let mut read = 0;
    let error = engine.transact(|tx| {
        // Also of a closure that goes on after the error.
        read = tx.scan("n")?.filter(Result::is_ok).count();
        tx.put(node(0));
        Ok(())
    });
    assert!(matches!(
        error,
        Err(Error::Limit { limit, .. }) if limit == limits::TRANSACTION_READS as u64
    ));
    // The scan itself is one.
    assert_eq!(read, limits::TRANSACTION_READS - 1);
    let before = engine.snapshot().seq();
    let fits = engine.transact(|tx| {
        tx.scan("n")?.take(limits::TRANSACTION_READS - 1).try_for_each(|id| id.map(drop))?;
        if engine.snapshot().seq() == before {
            engine.write(one(|b| b.patch(id(3), Patch::new())))?;
        }
        tx.put(node(0));
        Ok(())
    });
    assert_eq!(fits.unwrap().tries, 1);
}

#[test]
fn transactions_do_not_nest_and_end_after_their_tries() {
    let dir = temp_dir();
    let engine = open(&dir.path().join("s"));
    engine.write(one(|b| b.put(node(1).attribute("n", 0)))).unwrap();
    let other = open(&dir.path().join("t"));
    let done = engine.transact(|_| {
        let nested = engine.transact(|_| Ok(())).unwrap_err();
        assert_eq!(nested.kind(), ErrorKind::Invalid);
        // Of another engine it is none, and this one is still known after it.
        other.transact(|_| Ok(())).unwrap();
        Ok(engine.transact(|_| Ok(())).is_err())
    });
    assert!(done.unwrap().value);
    assert!(engine.transact(|_| Ok(())).is_ok());
    // A closure that panics leaves nothing behind.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = engine.transact(|_| -> Result<()> { panic!("on purpose") });
    }));
    assert!(panicked.is_err());
    // One that always meets a change, here its own.
    let mut runs = 0;
    let error = engine.transact(|tx| {
        tx.get(id(1))?;
        runs += 1;
        engine.write(one(|b| b.increment(id(1), "n", 1)))?;
        tx.put(node(2));
        Ok(())
    });
    let Err(Error::Conflict { node, reason, .. }) = error else { panic!("{error:?}") };
    let tries = limits::TRANSACTION_TRIES;
    assert_eq!((node, reason, runs), (id(1), ConflictReason::Read { tries }, tries));
    assert_eq!(number(&engine.snapshot(), 1), i64::from(tries));
    add_one(&engine, id(1));
}

/// Who has the turn may wait for a transaction of another thread.
#[test]
fn a_turn_is_not_waited_for_longer_than_patience() {
    let dir = temp_dir();
    let patience = Duration::from_millis(20);
    let engine = Options::new().patience(patience).open(dir.path().join("s")).unwrap();
    engine.write(one(|b| b.put(node(1).attribute("n", 0)).put(node(2).attribute("n", 0)))).unwrap();
    let mut runs = 0;
    let done = engine.transact(|tx| {
        tx.get(id(1))?;
        runs += 1;
        // From the fifth try on, others wait before they begin.
        if runs < 6 {
            engine.write(one(|b| b.increment(id(1), "n", 1)))?;
        } else {
            thread::scope(|s| s.spawn(|| add_one(&engine, id(2))).join().unwrap());
        }
        tx.put(node(3));
        Ok(())
    });
    assert_eq!(done.unwrap().tries, 6);
    assert_eq!(number(&engine.snapshot(), 2), 1);
}

#[test]
fn increments_of_many_threads_all_count_and_are_done_in_few_tries() {
    const THREADS: u64 = 8;
    const EACH: u64 = 1_000;
    let dir = temp_dir();
    let engine = open(&dir.path().join("s"));
    engine.write(one(|b| b.put(node(1).attribute("n", 0)).put(node(2)))).unwrap();
    let (tries, most) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|s| {
        for _ in 0..THREADS {
            s.spawn(|| {
                for _ in 0..EACH {
                    let done = add_one(&engine, id(1));
                    tries.fetch_add(done.tries, Ordering::Relaxed);
                    most.fetch_max(done.tries, Ordering::Relaxed);
                }
            });
        }
    });
    let (tries, most) = (tries.into_inner(), most.into_inner());
    println!(
        "{:.3} tries for a success, at most {most}",
        f64::from(tries) / (THREADS * EACH) as f64
    );
    assert_eq!(number(&engine.snapshot(), 1), (THREADS * EACH) as i64);
    assert!(most <= 16, "{most} tries");
    thread::scope(|s| {
        for _ in 0..THREADS {
            s.spawn(|| {
                for _ in 0..EACH {
                    engine.write(one(|b| b.increment(id(2), "n", 1))).unwrap();
                }
            });
        }
    });
    assert_eq!(number(&engine.snapshot(), 2), (THREADS * EACH) as i64);
}

#[test]
fn each_of_sixteen_contenders_gets_through() {
    const CONTENDERS: u64 = 16;
    const ROUNDS: u64 = 12;
    let dir = temp_dir();
    let engine = open(&dir.path().join("s"));
    engine.write(one(|b| b.put(node(1).attribute("n", 0)))).unwrap();
    let barrier = Barrier::new(CONTENDERS as usize);
    let most = AtomicU32::new(0);
    thread::scope(|s| {
        for _ in 0..CONTENDERS {
            s.spawn(|| {
                for _ in 0..ROUNDS {
                    // All begin at the same state.
                    barrier.wait();
                    let mut first = true;
                    let done = engine.transact(|tx| {
                        let n = tx.get(id(1))?.unwrap().attributes()?["n"].as_i64().unwrap();
                        if std::mem::take(&mut first) {
                            barrier.wait();
                        }
                        tx.patch(id(1), Patch::new().attribute("n", n + 1));
                        Ok(())
                    });
                    most.fetch_max(done.unwrap().tries, Ordering::Relaxed);
                }
            });
        }
    });
    let most = most.into_inner();
    println!("at most {most} tries");
    assert!(most <= 16, "{most} tries");
    assert_eq!(number(&engine.snapshot(), 1), (CONTENDERS * ROUNDS) as i64);
}

/// Something that a transaction read, and what it found.
#[derive(Debug)]
enum Seen {
    Node(NodeId, Option<(u64, Option<Value>)>),
    Edges { of: NodeId, inbound: bool, found: Vec<(NodeId, f64)>, ended: bool },
    Keys { below: u8, found: Vec<(Vec<u8>, NodeId)>, ended: bool },
    Kind { kind: String, found: Vec<NodeId>, ended: bool },
    Count(usize),
}

/// What a transaction did, the last time that it ran.
#[derive(Debug, Default)]
struct Done {
    seen: Vec<Seen>,
    ops: Vec<Op>,
}

/// Checks a partial read against all that there is.
fn starts<T: PartialEq + std::fmt::Debug>(found: &[T], ended: bool, all: &[T], what: &str) {
    if ended {
        assert_eq!(found, all, "{what}");
    } else {
        assert_eq!(found, &all[..found.len().min(all.len())], "{what}");
    }
}

impl Seen {
    fn check(&self, oracle: &Oracle) {
        match self {
            Self::Node(id, found) => {
                let expected = oracle.node(*id);
                let expected = expected.map(|(n, v)| (*v, n.attributes.get("n").cloned()));
                assert_eq!(*found, expected, "node {id}");
            }
            Self::Edges { of, inbound, found, ended } => {
                let all: Vec<(NodeId, f64)> = oracle
                    .edges()
                    .values()
                    .filter(|e| *of == if *inbound { e.target } else { e.source })
                    .map(|e| (if *inbound { e.source } else { e.target }, e.weight))
                    .collect();
                starts(found, *ended, &all, "edges");
            }
            Self::Keys { below, found, ended } => {
                let all: Vec<_> = oracle
                    .entries("first")
                    .into_iter()
                    .filter(|(k, _)| k[..] < [*below][..])
                    .collect();
                starts(found, *ended, &all, "keys");
            }
            Self::Kind { kind, found, ended } => {
                starts(found, *ended, &oracle.of_kind(kind), "kind");
            }
            Self::Count(found) => assert_eq!(*found, oracle.edges().len()),
        }
    }
}

/// Reads a part of a read or all of it.
fn part<T>(random: &mut Random, items: impl Iterator<Item = Result<T>>) -> Result<(Vec<T>, bool)> {
    let most = if random.below(2) == 0 { usize::MAX } else { 1 + random.below(3) as usize };
    let found: Vec<T> = items.take(most).collect::<Result<_>>()?;
    let ended = found.len() < most;
    Ok((found, ended))
}

/// A random transaction over few nodes, edges and keys.
fn some_work(random: &mut Random, tx: &mut Transaction<'_>) -> Result<Done> {
    let mut done = Done::default();
    let any = |random: &mut Random| oracle::id(random.below(u64::from(oracle::IDS)) as u8);
    let mut known = 0;
    for _ in 0..1 + random.below(3) {
        // Lets others in between.
        thread::yield_now();
        done.seen.push(match random.below(8) {
            0..=2 => {
                let id = any(random);
                let node = tx.get(id)?;
                known += i64::from(node.is_some());
                let found = match node {
                    Some(n) => Some((n.version().get(), n.attributes()?.get("n").cloned())),
                    None => None,
                };
                Seen::Node(id, found)
            }
            3 | 4 => {
                let (of, inbound) = (any(random), random.below(2) == 0);
                let edges: Box<dyn Iterator<Item = _>> = match inbound {
                    true => Box::new(tx.edges_in(of, None)?),
                    false => Box::new(tx.edges_out(of, Some("note"))?),
                };
                let edges = edges.map(|edge| {
                    let edge = edge?;
                    Ok((if inbound { edge.source() } else { edge.target() }, edge.weight()))
                });
                let (found, ended) = part(random, edges)?;
                known += found.len() as i64;
                Seen::Edges { of, inbound, found, ended }
            }
            5 => {
                let below = 1 + random.below(4) as u8;
                let range = KeyRange::from(..vec![below]);
                let entries = tx.range("first", range, Direction::Ascending)?;
                let entries = entries.map(|entry| entry.map(|(key, id)| (key.to_vec(), id)));
                let (found, ended) = part(random, entries)?;
                known += found.len() as i64;
                Seen::Keys { below, found, ended }
            }
            6 => {
                let kind = oracle::KINDS[random.below(2) as usize].to_owned();
                let (found, ended) = part(random, tx.scan(&kind)?)?;
                known += found.len() as i64;
                Seen::Kind { kind, found, ended }
            }
            _ => Seen::Count(tx.edge_count()?),
        });
    }
    for _ in 0..random.below(3) {
        let (a, b) = (any(random), any(random));
        match random.below(8) {
            0..=2 => {
                let kind = oracle::KINDS[random.below(2) as usize];
                let key = vec![random.below(5) as u8];
                tx.put(Node::new(a, kind).attribute("n", known).key("first", key));
            }
            3 => drop(tx.delete(a)),
            4 => drop(tx.ensure(a, "note").increment(a, "n", known)),
            5 => drop(tx.unlink(a, "note", b)),
            _ => drop(tx.link_ensuring(Edge::new(a, "note", b).weight(known as f64), "person")),
        }
    }
    done.ops = tx.ops().to_vec();
    Ok(done)
}

#[test]
fn transactions_are_serialisable_in_the_order_of_their_commits() {
    const THREADS: u64 = 8;
    const EACH: u64 = 60;
    let dir = temp_dir();
    let engine = oracle::options().durability(Durability::Os).open(dir.path().join("s")).unwrap();
    // By sequence number: one that wrote, and those that read what it left.
    let writers: Mutex<BTreeMap<Seq, Done>> = Mutex::default();
    let readers: Mutex<Vec<(Seq, Done)>> = Mutex::default();
    let (tries, ended) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|s| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (engine, writers, readers, tries) = (&engine, &writers, &readers, &tries);
                s.spawn(move || {
                    let mut random = Random(thread);
                    for _ in 0..EACH {
                        let done = engine.transact(|tx| some_work(&mut random, tx)).unwrap();
                        tries.fetch_add(done.tries, Ordering::Relaxed);
                        if done.value.ops.is_empty() {
                            readers.lock().unwrap().push((done.seq, done.value));
                        } else {
                            let before = writers.lock().unwrap().insert(done.seq, done.value);
                            assert!(before.is_none(), "one sequence number, one commit");
                        }
                    }
                })
            })
            .collect();
        // What they read moves into files meanwhile.
        s.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                engine.checkpoint().unwrap();
                thread::yield_now();
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        ended.store(true, Ordering::Relaxed);
    });
    let (writers, readers) = (writers.into_inner().unwrap(), readers.into_inner().unwrap());
    println!("{} commits, {} tries of {}", writers.len(), tries.into_inner(), THREADS * EACH);
    let mut oracle = Oracle::after(1);
    let check = |oracle: &Oracle| {
        for (_, done) in readers.iter().filter(|(seq, _)| seq.get() == oracle.seq) {
            done.seen.iter().for_each(|seen| seen.check(oracle));
        }
    };
    check(&oracle);
    for (seq, done) in &writers {
        done.seen.iter().for_each(|seen| seen.check(&oracle));
        oracle.write(Timestamp::from_micros(0), &done.ops).unwrap();
        assert_eq!(oracle.seq, seq.get(), "no number is missing");
        check(&oracle);
    }
    assert_eq!(engine.snapshot().seq().get(), oracle.seq);
    assert_eq!(engine.snapshot().edge_count(), oracle.edges().len());
}

/// What a name stands for is part of what was read, although no entry changes.
#[test]
fn a_name_that_comes_to_stand_for_something_else_is_a_change() {
    let dir = temp_dir();
    let engine = Options::new().index("j").index("i").open(dir.path().join("s")).unwrap();
    engine.write(one(|batch| batch.put(node(1).key("i", [1])).put(node(2).key("j", [2])))).unwrap();
    engine.write(one(|batch| batch.link(Edge::new(id(1), "a", id(2))))).unwrap();
    let schema: [&dyn Fn(); 3] = [
        &|| {
            let mut swap = Batch::new();
            swap.rename(Named::Index, "i", "k").rename(Named::Index, "j", "i");
            engine.write(swap.rename(Named::Index, "k", "j")).unwrap();
        },
        &|| {
            engine.rename_kind("a", "b").unwrap();
        },
        &|| {
            engine.drop_index("i").unwrap();
            engine.create_index("i").unwrap();
        },
    ];
    for (at, change) in schema.into_iter().enumerate() {
        let mut seen = Vec::new();
        let done = engine.transact(|tx| {
            let first = tx.range("i", .., Direction::Ascending)?.next().transpose()?;
            let edges = tx.edges_out(id(1), Some("a"))?.count();
            seen.push((first.map(|(_, node)| node), edges));
            if seen.len() == 1 {
                change();
            }
            tx.put(node(9));
            Ok(())
        });
        assert_eq!(done.unwrap().tries, 2, "{at}");
        assert_ne!(seen[0], seen[1], "{at}");
    }
}
