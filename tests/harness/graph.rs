//! Reads of edges over the whole store, degrees and counts by kind, compared with
//! plain maps.

use std::{cmp::Ordering, collections::BTreeMap};

use ingrain::{Cursor, Edge, EdgeRef, NodeId, Snapshot};

use super::oracle::EdgeName;

/// Compares the counts by kind with the kinds of all nodes and of all edges.
pub fn check_counts<'n>(
    snapshot: &Snapshot,
    nodes: impl Iterator<Item = &'n str>,
    edges: impl Iterator<Item = &'n str>,
) {
    let mut expected: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    nodes.for_each(|kind| expected.entry(kind).or_default().0 += 1);
    edges.for_each(|kind| expected.entry(kind).or_default().1 += 1);
    let counts = snapshot.kind_counts().unwrap();
    // In the order of all kinds.
    let live = snapshot.kinds().filter(|kind| expected.contains_key(kind));
    assert!(live.eq(counts.iter().map(|count| count.kind)));
    let found: BTreeMap<&str, (u64, u64)> =
        counts.iter().map(|count| (count.kind, (count.nodes, count.edges))).collect();
    assert_eq!(found, expected);
    for kind in snapshot.kinds().chain(["never used"]) {
        let nodes = expected.get(kind).map_or(0, |(nodes, _)| *nodes);
        assert_eq!(snapshot.count(kind).unwrap(), nodes, "{kind}");
    }
}

fn exact(edge: EdgeRef<'_>) -> Edge {
    edge.to_exact_edge().unwrap()
}

/// Heaviest first. Sorting is stable, so equal ones stay in order.
fn by_weight(mut edges: Vec<Edge>) -> Vec<Edge> {
    edges.sort_by(|a, b| b.weight.partial_cmp(&a.weight).unwrap_or(Ordering::Equal));
    edges
}

/// Compares the scans of edges, and degrees and heaviest edges of these nodes, with
/// all edges that the snapshot shows.
pub fn check_edges(snapshot: &Snapshot, edges: &BTreeMap<EdgeName, Edge>, ids: &[NodeId]) {
    let kinds: Vec<&str> = snapshot.kinds().collect();
    let place = |kind: &str| kinds.iter().position(|known| *known == kind).unwrap();
    let mut all: Vec<Edge> = edges.values().cloned().collect();
    all.sort_by_key(|e| (e.source, place(&e.kind), e.target, e.discriminator));
    let found: Vec<Edge> = snapshot.edges().map(|edge| exact(edge.unwrap())).collect();
    assert!(found == all, "{} edges, not {}", found.len(), all.len());
    assert!(snapshot.edges_owned().map(Result::unwrap).eq(all.iter().cloned()));
    let some = all.len() / 3 + 1;
    // Goes on from each of its pages.
    let mut pages: (Vec<Edge>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let mut page = snapshot.edges();
        if let Some(cursor) = &pages.1 {
            let cursor = Cursor::from_bytes(&cursor.to_bytes()).unwrap();
            page = page.after(&cursor).unwrap();
            assert!(snapshot.edges_of_kind("never used").after(&cursor).is_err());
        }
        let before = pages.0.len();
        pages.0.extend(page.by_ref().take(some).map(|edge| exact(edge.unwrap())));
        if pages.0.len() == before {
            break;
        }
        assert!(pages.0.len() <= all.len(), "a page goes on after the one before");
        pages.1 = page.cursor();
    }
    assert!(pages.0 == all);
    for kind in kinds.iter().copied().chain(["never used"]) {
        let of_kind: Vec<Edge> = all.iter().filter(|edge| edge.kind == kind).cloned().collect();
        let read = || snapshot.edges_of_kind(kind);
        let found: Vec<Edge> = read().map(|edge| exact(edge.unwrap())).collect();
        assert!(found == of_kind, "{kind}: {} edges, not {}", found.len(), of_kind.len());
        assert!(snapshot.edges_of_kind_owned(kind).map(Result::unwrap).eq(of_kind.clone()));
        let mut first = read();
        let head = first.by_ref().take(some).count();
        if let Some(cursor) = first.cursor() {
            let rest = read().after(&cursor).unwrap().map(|edge| exact(edge.unwrap()));
            assert!(rest.eq(of_kind.iter().skip(head).cloned()), "{kind}");
        }
        let heaviest = read().heaviest(some).unwrap().into_iter().map(exact);
        assert!(heaviest.eq(by_weight(of_kind).into_iter().take(some)), "{kind}");
    }
    for id in ids {
        for kind in kinds.iter().copied().map(Some).chain([None, Some("never used")]) {
            let is_kind = |edge: &&Edge| kind.is_none_or(|kind| edge.kind == kind);
            let out = all.iter().filter(is_kind).filter(|edge| edge.source == *id);
            let reached = all.iter().filter(is_kind).filter(|edge| edge.target == *id);
            let degrees = (out.clone().count() as u64, reached.count() as u64);
            let degree_out = snapshot.degree_out(*id, kind).unwrap();
            assert_eq!((degree_out, snapshot.degree_in(*id, kind).unwrap()), degrees, "{kind:?}");
            let read = || match kind {
                Some(kind) => snapshot.edges_out(*id).kind(kind),
                None => snapshot.edges_out(*id),
            };
            let sorted = by_weight(out.cloned().collect());
            for k in [0, 1, 3, 100] {
                let heaviest = read().heaviest(k).unwrap().into_iter().map(exact);
                assert!(heaviest.eq(sorted.iter().take(k).cloned()), "{k} of {kind:?}");
            }
            let mut rest = read();
            let first = rest.next().map(|edge| exact(edge.unwrap()));
            let left = rest.heaviest(100).unwrap().into_iter().map(exact);
            let others = sorted.into_iter().filter(|edge| Some(edge) != first.as_ref());
            assert!(left.eq(others.take(100)));
        }
        let reached: Vec<Edge> = snapshot.edges_in(*id).map(|edge| exact(edge.unwrap())).collect();
        let heaviest = snapshot.edges_in(*id).heaviest(2).unwrap().into_iter().map(exact);
        assert!(heaviest.eq(by_weight(reached).into_iter().take(2)));
    }
}
