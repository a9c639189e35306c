//! A model of the store as plain maps, which searches are compared with.

use std::collections::{BTreeMap, BTreeSet};

use ingrain::{
    Durability, Engine, KeyRange, Method, Node, NodeId, Options, Snapshot, Space, limits,
    search::{CandidateSource, Effort, Filter, Hit, Search},
};

use crate::harness::{
    in_small_pieces,
    nodes::id,
    oracle::distance,
    random::{Random, whole_vector},
};

pub(super) const KINDS: [&str; 3] = ["note", "person", "place"];
pub(super) const INDEX: &str = "i";
pub(super) const METHODS: [Method; 5] =
    [Method::Auto, Method::Exact, Method::Pq4, Method::Pq8, Method::Hnsw];
pub(super) const EFFORTS: [Effort; 4] =
    [Effort::Fast, Effort::Normal, Effort::Thorough, Effort::Exact];

/// Every vector file that is large enough gets all that there is.
pub(super) fn eager() -> Options {
    let options = Options::new().index_rows(1).graph_rows(1);
    in_small_pieces(options).inline(true).durability(Durability::Os)
}

/// The store as plain maps.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Model {
    pub(super) spaces: BTreeMap<&'static str, Space>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
}

/// What a search may find.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) kind: Option<&'static str>,
    /// First bytes of keys: from, up to.
    pub(super) keys: Option<(u8, u8)>,
    /// The least strength.
    pub(super) strong: Option<f32>,
}

impl Wanted {
    pub(super) const ALL: Self = Self { kind: None, keys: None, strong: None };

    pub(super) fn any(random: &mut Random) -> Self {
        let mut wanted = Self::ALL;
        match random.below(8) {
            0 | 1 => wanted.kind = Some(KINDS[random.below(3) as usize]),
            2 => wanted.keys = Some((random.below(256) as u8, random.below(256) as u8)),
            3 => wanted.strong = Some([0.1, 0.5, 0.9, 0.99][random.below(4) as usize]),
            4 => {
                wanted.kind = Some(KINDS[random.below(3) as usize]);
                wanted.keys = Some((random.below(128) as u8, 200));
                wanted.strong = Some(0.5);
            }
            5 => {
                wanted.keys = Some((0, 250));
                wanted.strong = Some(0.9);
            }
            _ => {}
        }
        wanted
    }

    pub(super) fn lets_by(&self, node: &Node) -> bool {
        self.kind.is_none_or(|kind| node.kind == kind)
            && self.keys.is_none_or(|(from, to)| {
                node.keys.iter().any(|key| key.index == INDEX && (from..to).contains(&key.key[0]))
            })
            && self.strong.is_none_or(|least| node.strength >= least)
    }

    pub(super) fn filter(self) -> Filter<'static> {
        let mut filter = Filter::new();
        if let Some(kind) = self.kind {
            filter = filter.kind(kind);
        }
        if let Some((from, to)) = self.keys {
            let to = to.max(from);
            filter = filter.index(INDEX, KeyRange::from(vec![from]..vec![to]));
        }
        if let Some(least) = self.strong {
            filter = filter.test(move |node| node.strength() >= least);
        }
        filter
    }
}

pub(super) type Found = Vec<(f64, NodeId)>;

pub(super) fn found(hits: &[Hit<'_>]) -> Found {
    hits.iter().map(|hit| (hit.distance, hit.node.id())).collect()
}

impl Model {
    /// All that may be found, best first, ties by id.
    pub(super) fn ranking(&self, space: &str, query: &[f32], wanted: &Wanted) -> Found {
        let metric = self.spaces[space].metric;
        let nodes = self.nodes.values().filter(|node| wanted.lets_by(node));
        let mut all: Found = nodes
            .filter_map(|node| Some((distance(metric, query, node.vectors.get(space)?), node.id)))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all
    }

    /// What must hold of hits, however they were found.
    #[track_caller]
    pub(super) fn check_hits(
        &self,
        hits: &[Hit<'_>],
        ranking: &Found,
        k: usize,
        exact: bool,
        what: &str,
    ) {
        let found = found(hits);
        if exact {
            assert_eq!(found, ranking[..k.min(ranking.len())], "{what}");
            return;
        }
        let of: BTreeMap<NodeId, f64> = ranking.iter().map(|(d, id)| (*id, *d)).collect();
        for (distance, id) in &found {
            assert_eq!(of.get(id), Some(distance), "{what}: {id}");
        }
        let ascend = found.is_sorted_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).is_lt());
        assert!(ascend, "{what}: order, or the same twice: {found:?}");
        assert_eq!(found.len(), k.min(ranking.len()), "{what}: count");
    }

    /// Tries searches of every kind. Returns how hits were found.
    #[track_caller]
    pub(super) fn check(
        &self,
        engine: &Engine,
        random: &mut Random,
        tries: usize,
    ) -> BTreeSet<&'static str> {
        let snapshot = engine.snapshot();
        self.check_in(&snapshot, random, tries, &files_of(engine))
    }

    #[track_caller]
    pub(super) fn check_in(
        &self,
        snapshot: &Snapshot,
        random: &mut Random,
        tries: usize,
        files: &BTreeMap<String, BTreeSet<u32>>,
    ) -> BTreeSet<&'static str> {
        let mut ways = BTreeSet::new();
        let spaces: BTreeMap<&str, Space> = snapshot.spaces().collect();
        assert_eq!(spaces, self.spaces);
        for (name, space) in &self.spaces {
            for _ in 0..tries {
                let mut stored = self.nodes.values().filter_map(|node| node.vectors.get(*name));
                let query = match random.below(3) {
                    0 => stored.nth(random.below(50) as usize).cloned(),
                    _ => None,
                };
                let query = query.unwrap_or_else(|| whole_vector(random, space.dimension));
                let wanted = Wanted::any(random);
                let k = [0, 1, 3, 10, 10, 10, 40, 2_000][random.below(8) as usize];
                let ranking = self.ranking(name, &query, &wanted);
                let mut singles = Vec::new();
                let searches = || {
                    EFFORTS.map(|effort| {
                        let search = Search::new(name, &query, k).filter(wanted.filter());
                        search.effort(effort).explain(true)
                    })
                };
                for (search, effort) in searches().into_iter().zip(EFFORTS) {
                    let what = format!("{name} {query:?} {k} {effort:?} {wanted:?}");
                    let hits = snapshot.search(&search).unwrap();
                    self.check_hits(&hits, &ranking, k, effort == Effort::Exact, &what);
                    for hit in &hits {
                        let found = hit.origin.unwrap();
                        let way = match found.by {
                            CandidateSource::Codes => "codes",
                            CandidateSource::Graph => "graph",
                            _ if found.file.is_none() => "memory",
                            _ => "comparison",
                        };
                        ways.insert(way);
                        let ranked =
                            matches!(found.by, CandidateSource::Codes | CandidateSource::Graph);
                        assert_eq!(found.rank.is_some(), ranked, "{what}");
                        if let Some(file) = found.file {
                            assert!(files[*name].contains(&file), "{what}: no file {file}");
                        }
                    }
                    let mut same = Search::new(name, &query, k).filter(wanted.filter());
                    same = same.effort(effort).diversity(0.0);
                    let again = snapshot.search(&same).unwrap();
                    assert_eq!(found(&again), found(&hits), "{what}");
                    assert!(again.iter().all(|hit| hit.origin.is_none()));
                    singles.push(found(&hits));
                }
                let many = snapshot.search_many(&searches()).unwrap();
                let many: Vec<Found> = many.iter().map(|hits| found(hits)).collect();
                assert_eq!(many, singles);
                let plain = snapshot.nearest(name, &query, k, &wanted.filter()).unwrap();
                assert_eq!(found(&plain), singles[1]);
                if let Some((bound, _)) = ranking.get(random.below(30) as usize) {
                    let near: Found = ranking.iter().filter(|(d, _)| d <= bound).copied().collect();
                    let search = Search::new(name, &query, k).filter(wanted.filter());
                    let hits = snapshot.search(&search.within(*bound)).unwrap();
                    self.check_hits(&hits, &near, k, true, "within");
                }
                if let Some((_, like)) = ranking.first() {
                    let vector = &self.nodes[like].vectors[*name];
                    let mut ranking = self.ranking(name, vector, &wanted);
                    ranking.retain(|(_, id)| id != like);
                    for effort in EFFORTS {
                        let search = Search::like(name, *like, k).filter(wanted.filter());
                        let hits = snapshot.search(&search.effort(effort)).unwrap();
                        let exact = effort == Effort::Exact;
                        self.check_hits(&hits, &ranking, k, exact, "like");
                    }
                }
                let k = k.min(limits::DIVERSE_K);
                let search = Search::new(name, &query, k).filter(wanted.filter());
                let hits = snapshot.search(&search.diversity(0.7)).unwrap();
                let ids: BTreeSet<NodeId> = hits.iter().map(|hit| hit.node.id()).collect();
                assert_eq!(ids.len(), k.min(ranking.len()));
                let all: BTreeSet<NodeId> = ranking.iter().map(|(_, id)| *id).collect();
                assert!(ids.is_subset(&all));
            }
        }
        ways
    }
}

/// The vector files of each space, as the stats name them.
pub(super) fn files_of(engine: &Engine) -> BTreeMap<String, BTreeSet<u32>> {
    let spaces = engine.stats().spaces.into_iter();
    spaces.map(|s| (s.name, s.files.iter().map(|file| file.file).collect())).collect()
}

/// A node whose all follows from the seed.
pub(super) fn any_node(
    n: u64,
    spaces: &BTreeMap<&'static str, Space>,
    random: &mut Random,
) -> Node {
    let mut node = Node::new(id(n), KINDS[random.below(3) as usize])
        .key(INDEX, [random.below(256) as u8, n as u8]);
    node.strength = random.below(1_000) as f32 / 1_000.0;
    for (name, space) in spaces {
        if random.below(8) > 0 {
            node.vectors.insert((*name).to_owned(), whole_vector(random, space.dimension));
        }
    }
    node
}
