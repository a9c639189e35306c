//! The execution of a vector search.
//!
//! Vectors in memory are compared one by one. In a file, codes or a graph give
//! candidates, whose vectors are then compared, so every distance is exact. If
//! a file has neither, or too few rows pass the filter, all rows that pass are
//! compared.

use crate::{
    format::vectors::IndexHead,
    model::{error::Result, id::NodeId, space::Method},
    num,
    read::{
        filter::{
            expr::{Expr, Subject, has_id},
            mask::{Bits, all_of, mask_like, rows_of},
        },
        search::query::{CandidateSource, Effort, HitOrigin},
        snapshot::Snapshot,
    },
    state::{
        base::{
            Base,
            vector_index::{Codes, GraphIndex, Index},
            vectors::{MASK_ROWS, VectorPartition},
        },
        layer::{Layer, change::Change},
    },
    vector::{
        exact::{Closest, Least},
        metric::Measure,
        pq::Candidates,
        recall::{NEIGHBOURS, STRETCHES, Stretch, Usual},
    },
};

/// Up to this many nodes that a filter names are looked up and compared one by one.
pub(crate) const COMPARED: usize = 1_000;
/// Candidates that a search compares at least, and beyond twice `k`.
const SPARE: usize = 16;

/// How many times as many candidates a scan collects as it compares at least.
/// Few searches need more, which takes another scan.
const COLLECTED: usize = 4;

/// Files in which at most this many rows pass are compared whole.
const FEW_ROWS: usize = 256;

/// A row that is walked to costs as much as this many whose codes are scanned.
const WALKED_ROWS: usize = 256;

/// A walk may always take this many candidates.
const WALKED_LEAST: usize = 256;

/// The candidates of a walk are compared up to this many times the rank of the
/// last that was close.
const RANKED: usize = 2;

/// A graph is walked if at least this percentage of the rows may be hits.
const WALKED: usize = 15;

/// More neighbours than this are not looked up in vector files with so many rows.
pub(crate) fn many(rows: usize) -> u64 {
    num::wide((rows / 4).max(COMPARED))
}

/// A search under way.
pub(crate) struct SearchRun<'s, 'q> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) number: u32,
    pub(super) query: &'q [f32],
    pub(super) measure: Measure<'q>,
    pub(super) k: usize,
    /// A node that must not be a hit.
    pub(super) excluded: Option<NodeId>,
    /// What nodes have to meet.
    pub(super) filter: &'q [Expr<'q>],
    /// What of it masks of rows show.
    pub(super) masks: Vec<&'q Expr<'q>>,
    /// What candidates are asked.
    pub(super) rest: Vec<&'q Expr<'q>>,
    /// Of about so many candidates one meets the rest, as far as that is known.
    pub(super) thinned: usize,
    pub(super) effort: Effort,
    pub(super) within: Option<f64>,
    /// Newest first.
    pub(super) layers: Vec<&'s Layer>,
    /// Rows of the current file that were candidates, so that a second method
    /// does not offer them again.
    pub(super) tried: Vec<u32>,
    pub(super) closest: Closest<HitOrigin>,
    /// The least distances of what passed the filter, `k` but at least ten.
    pub(super) least: Least,
}

/// Which rows of a file may be hits: a bit for each, as in `Dead`, and their
/// number; `None` for all.
type Mask = Option<(Bits, usize)>;

impl<'s, 'q> SearchRun<'s, 'q> {
    fn base(&self) -> &'s Base {
        self.snapshot.state.base()
    }

    /// Rows of all files.
    fn rows(&self) -> usize {
        let rows = self.base().vectors_of(self.number).map(|partition| partition.rows().len());
        rows.sum()
    }

    /// Decides what masks show and what candidates are asked. Of very many ids or
    /// neighbours, it costs less to look each candidate up among them than to find
    /// the row of each.
    pub(crate) fn split(&mut self) -> Result<()> {
        let rows = num::wide(self.rows());
        let many = many(self.rows());
        let (filter, snapshot) = (self.filter, self.snapshot);
        for expr in filter {
            let listed = match expr {
                Expr::Ids(_) | Expr::Edge { .. } => expr.at_most(snapshot)?,
                _ => None,
            };
            let masked = expr.is_maskable() && listed.is_none_or(|nodes| nodes <= many);
            if masked {
                self.masks.push(expr);
            } else {
                let thinned = listed.map_or(1, |nodes| rows.div_ceil(nodes.max(1)).max(1));
                self.thinned = self.thinned.saturating_mul(num::size(thinned));
            }
            // The mask of ids is of rows whose ids are like these.
            if !masked || matches!(expr, Expr::Ids(_)) {
                self.rest.push(expr);
            }
        }
        Ok(())
    }

    /// The distance of a vector. Finite components have one; damage sorts first,
    /// so it is reported.
    fn distance(&self, components: &[f32], norm: f64) -> f64 {
        let distance = self.measure.distance(components, norm);
        if distance.is_nan() { f64::NEG_INFINITY } else { distance }
    }

    /// Whether a node at this distance would be among the closest so far.
    fn is_close(&self, id: NodeId, distance: f64) -> bool {
        self.within.is_none_or(|within| distance <= within)
            && self.closest.wants(distance, id)
            && Some(id) != self.excluded
    }

    /// The distance of a vector, if it would be among the closest so far.
    fn close(&self, id: NodeId, components: &[f32], norm: f64) -> Option<f64> {
        let distance = self.distance(components, norm);
        self.is_close(id, distance).then_some(distance)
    }

    /// Whether a node passes, of which nothing is known. A node that a view hides does
    /// not pass.
    fn passes(&self, id: NodeId) -> Result<bool> {
        self.meets(id, self.filter.iter())
    }

    /// Whether the node of a row that the mask selects passes.
    fn passes_rest(&self, id: NodeId) -> Result<bool> {
        self.meets(id, self.rest.iter().copied())
    }

    /// The node is looked up only if its id does not answer.
    fn meets<'e>(&self, id: NodeId, all: impl Iterator<Item = &'e Expr<'q>>) -> Result<bool>
    where
        'q: 'e,
    {
        let mut node = None;
        for expr in all {
            if let Expr::Ids(ids) = expr {
                if !has_id(ids, id)? {
                    return Ok(false);
                }
                continue;
            }
            let subject = match &node {
                Some(subject) => subject,
                None => match self.snapshot.get(id)? {
                    Some(found) => node.insert(Subject::new(found)),
                    None => return Ok(false),
                },
            };
            if !expr.holds(self.snapshot, subject)? {
                return Ok(false);
            }
        }
        Ok(node.is_some() || !self.snapshot.hides_id(id)?)
    }

    /// Whether a node of this kind may pass.
    fn may_be(&self, kind: u32) -> bool {
        self.filter.iter().all(|expr| match expr {
            Expr::Kinds(kinds) => kinds.binary_search(&kind).is_ok(),
            _ => true,
        })
    }

    /// Compares a vector that is known to be the current one of its node.
    fn offer(&mut self, id: NodeId, components: &[f32], norm: f64, found: HitOrigin) -> Result<()> {
        if let Some(distance) = self.close(id, components, norm)
            && self.passes(id)?
        {
            self.least.offer(distance);
            self.closest.offer(distance, id, found);
        }
        Ok(())
    }

    /// Whether a layer overrides the vector of a node in the files.
    fn is_overridden(&self, id: NodeId) -> bool {
        self.layers.iter().any(|layer| layer.vectors().contains_key(&(self.number, id)))
    }

    /// Searches only these nodes.
    pub(crate) fn among(&mut self, ids: &[NodeId]) -> Result<()> {
        for id in ids {
            let key = (self.number, *id);
            let layers = &self.layers;
            let layered = layers.iter().find_map(|layer| layer.vectors().get(&key));
            match layered.map(Change::value) {
                Some(None) => {}
                Some(Some(vector)) => {
                    if self.may_be(vector.kind) {
                        self.offer(*id, &vector.components, vector.norm, IN_MEMORY)?;
                    }
                }
                None => {
                    for partition in self.base().vectors_of(self.number) {
                        if let Some(row) = partition.live_row(*id)? {
                            let (head, components) = partition.rows().row(row)?;
                            let kind = partition.rows().kinds().row(row)?.get();
                            if self.may_be(kind) {
                                let found = compared(partition);
                                self.offer(*id, components, head.norm.get(), found)?;
                            }
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Searches all layers and files.
    pub(crate) fn all(&mut self, method: Method) -> Result<()> {
        let all = (self.number, NodeId::MIN)..=(self.number, NodeId::MAX);
        for at in 0..self.layers.len() {
            let Some(layer) = self.layers.get(at).copied() else { break };
            for ((_, id), vector) in layer.vectors().range(all.clone()) {
                let Some(vector) = vector.value() else { continue };
                let newer = self.layers.get(..at).unwrap_or_default();
                if self.may_be(vector.kind)
                    && !newer.iter().any(|layer| layer.vectors().contains_key(&(self.number, *id)))
                {
                    self.offer(*id, &vector.components, vector.norm, IN_MEMORY)?;
                }
            }
        }
        for partition in self.base().vectors_of(self.number) {
            self.partition(partition, method)?;
        }
        Ok(())
    }

    /// Searches a file.
    fn partition(&mut self, partition: &VectorPartition, method: Method) -> Result<()> {
        let rows = partition.rows().len();
        let mut mask = self.mask(partition)?;
        self.tried.clear();
        let live = mask.as_ref().map_or(rows, |(_, count)| *count);
        if self.effort == Effort::Exact || live <= FEW_ROWS.max(self.k.saturating_mul(4)) {
            return self.compare(partition, &mask);
        }
        // A walk may miss a half of what is near a query between two groups of rows, and
        // nothing shows that: with `Thorough` the codes are scanned.
        if method == Method::Hnsw
            && (self.effort != Effort::Thorough || partition.codes().is_none())
            && live * 100 >= rows * WALKED
            && let Some(graph) = partition.graph()
        {
            let before = (self.closest.clone(), self.least.clone());
            // If the graph is damaged, that is reported, and codes are used.
            if self.walk(partition, graph, &mask)? {
                return Ok(());
            }
            // What the walk found is found again by the codes: how deep they
            // have to be searched shows in the ranks that they give it.
            (self.closest, self.least) = before;
            self.tried.clear();
        }
        if let Some(index) = partition.codes() {
            match index.get(partition.rows()).and_then(|codes| Ok((codes, codes.bytes()?))) {
                Ok((codes, bytes)) => {
                    if self.scan(partition, codes, bytes, &mask)? {
                        return Ok(());
                    }
                    mask = self.rest(rows, mask);
                }
                Err(error) => {
                    index.fail(error);
                    self.base().signal_maintenance();
                }
            }
        }
        self.compare(partition, &mask)
    }

    /// The rows of a file that are live and meet what masks show.
    fn mask(&self, partition: &VectorPartition) -> Result<Mask> {
        let of = |expr: &Expr<'_>| match expr {
            Expr::Ids(ids) => mask_like(ids, partition),
            expr => self.snapshot.mask(expr, partition),
        };
        let mut mask = match self.masks.split_first() {
            Some((first, _)) => of(first)?,
            None if partition.dead().is_empty() => return Ok(None),
            None => all_of(partition.rows().len()),
        };
        for expr in self.masks.iter().skip(1) {
            for (word, other) in mask.iter_mut().zip(of(expr)?) {
                *word &= other;
            }
        }
        for (word, dead) in mask.iter_mut().zip(partition.dead().iter()) {
            *word &= !dead;
        }
        let count = mask.iter().map(|word| num::index(word.count_ones())).sum();
        Ok(Some((mask, count)))
    }

    /// The mask without the rows that were candidates already.
    fn rest(&mut self, rows: usize, mask: Mask) -> Mask {
        if self.tried.is_empty() {
            return mask;
        }
        let (mut mask, mut count) = mask.unwrap_or_else(|| (all_of(rows), rows));
        for row in self.tried.drain(..) {
            let row = num::index(row);
            let bit = 1 << (row % MASK_ROWS);
            if let Some(word) = mask.get_mut(row / MASK_ROWS).filter(|word| **word & bit != 0) {
                *word &= !bit;
                count -= 1;
            }
        }
        Some((mask, count))
    }

    /// Compares all rows of the mask.
    fn compare(&mut self, partition: &VectorPartition, mask: &Mask) -> Result<()> {
        let found = compared(partition);
        let row = |run: &mut Self, row: usize| -> Result<()> {
            let (head, components) = partition.rows().row(row)?;
            let id = head.id();
            if let Some(distance) = run.close(id, components, head.norm.get())
                && !run.is_overridden(id)
                && run.passes_rest(id)?
            {
                run.least.offer(distance);
                run.closest.offer(distance, id, found);
            }
            Ok(())
        };
        match mask {
            None => (0..partition.rows().len()).try_for_each(|at| row(self, at)),
            Some((mask, _)) => rows_of(mask).try_for_each(|at| row(self, at)),
        }
    }

    /// How many candidates of a file are compared at least, and how far beyond
    /// the last that was close; `None` if no number is enough.
    fn depth(&self, head: &IndexHead) -> Option<(usize, Stretch)> {
        let at = match self.effort {
            Effort::Fast => 0,
            Effort::Normal => 1,
            Effort::Thorough | Effort::Exact => 2,
        };
        // Where rows differ much in length, no query is like all of them: a
        // step deeper.
        let at = if head.directed.get() > 0.0 { (at + 1).min(2) } else { at };
        let depth = head.depths[at].get();
        let depth = Some(depth).filter(|depth| *depth < u32::MAX).map(num::index)?;
        // Measured for ten hits.
        let depth = depth.saturating_mul(self.k.max(NEIGHBOURS)) / NEIGHBOURS;
        let depth = depth.max(self.k.saturating_mul(2)).saturating_add(SPARE);
        Some((depth, STRETCHES[at]))
    }

    /// Whether the query is farther from the rows than those for which the
    /// depths of an index were measured. Of the rows, `passed` in `of` pass the
    /// filter: about the same share of the ten nearest rows are among those that do.
    fn is_foreign(&self, head: &IndexHead, passed: usize, of: usize) -> bool {
        let usual =
            Usual { reach: head.reach.get(), lengths: head.lengths.map(|length| length.get()) };
        let (metric, length) = (self.measure.metric(), self.measure.norm());
        let tenth = if passed >= of {
            self.least.last()
        } else {
            let share = NEIGHBOURS.saturating_mul(passed) / of.max(1);
            self.least.nth(share.min(NEIGHBOURS.saturating_sub(1)))
        };
        tenth.is_some_and(|tenth| usual.is_foreign(metric, length, tenth))
    }

    /// Compares a candidate if no layer overrides its vector and it passes the
    /// filter. Returns whether it is nearer than all but the closest so far;
    /// `None` if it was skipped.
    fn candidate(
        &mut self,
        partition: &VectorPartition,
        row: u32,
        by: CandidateSource,
        rank: usize,
    ) -> Result<Option<bool>> {
        self.tried.push(row);
        let row = num::index(row);
        let id = partition.rows().heads().row(row)?.id();
        if self.is_overridden(id) || Some(id) == self.excluded || !self.passes_rest(id)? {
            return Ok(None);
        }
        let (head, components) = partition.rows().row(row)?;
        let distance = self.distance(components, head.norm.get());
        if self.is_close(id, distance) {
            let file = Some(partition.rows().segment().file().number);
            let found = HitOrigin { file, by, rank: Some(num::short(rank)) };
            self.closest.offer(distance, id, found);
        }
        Ok(Some(self.least.offer(distance)))
    }

    /// Searches by codes. Returns whether that was enough.
    fn scan(
        &mut self,
        partition: &VectorPartition,
        codes: &Codes,
        bytes: &[u8],
        mask: &Mask,
    ) -> Result<bool> {
        let rows = partition.rows().len();
        let live = mask.as_ref().map_or(rows, |(_, count)| *count);
        let Some((depth, stretch)) = self.depth(codes.head()) else { return Ok(false) };
        // When a quarter of the rows would be compared, all are.
        let most = live / 4;
        if depth >= most {
            return Ok(false);
        }
        let table = codes.table(self.query, self.measure.norm());
        let allowed = mask.as_ref().map(|(mask, _)| mask.as_slice());
        // A file with less than half of the rows is left earlier, since the
        // closest may be in other files.
        let patient = self.effort == Effort::Thorough || rows * 2 >= self.rows();
        let patience = if patient { depth } else { depth.saturating_mul(2) / 3 };
        let mut progress = Progress { depth, patience, counted: 0, last: 0 };
        let mut foreign = None;
        let collected = COLLECTED.saturating_mul(self.thinned);
        let (mut wanted, mut seen) = (depth.saturating_mul(collected).min(most), 0);
        loop {
            let mut candidates = Candidates::new(wanted);
            table.scan(bytes, rows, allowed, &mut candidates);
            let candidates = candidates.into_sorted();
            for (rank, (_, row)) in candidates.iter().enumerate().skip(seen) {
                let close = self.candidate(partition, *row, CandidateSource::Codes, rank)?;
                if let Some(close) = close
                    && progress.is_enough(close)
                {
                    if close || foreign.is_none() {
                        let passed = live.saturating_mul(progress.counted) / (rank + 1);
                        foreign = Some(self.is_foreign(codes.head(), passed, rows));
                    }
                    let far = foreign == Some(true);
                    let stretch = if far { stretch.foreign } else { stretch.usual };
                    if progress.is_enough_with(stretch) {
                        return Ok(true);
                    }
                }
            }
            if wanted == most {
                return Ok(false);
            }
            // A larger number begins with the same candidates.
            seen = candidates.len();
            wanted = wanted.saturating_mul(COLLECTED).min(most);
        }
    }

    /// Searches by a graph. Returns whether that was enough.
    fn walk(
        &mut self,
        partition: &VectorPartition,
        index: &Index<GraphIndex>,
        mask: &Mask,
    ) -> Result<bool> {
        let graph = match index.get(partition.rows()) {
            Ok(graph) => graph,
            Err(_) => {
                self.base().signal_maintenance();
                return Ok(false);
            }
        };
        let depth = self.depth(graph.head()).map(|(depth, _)| depth);
        // For more candidates, a scan of the codes is cheaper.
        let most = (partition.rows().len() / WALKED_ROWS).max(WALKED_LEAST);
        let Some(depth) = depth.filter(|depth| *depth <= most || partition.codes().is_none())
        else {
            return Ok(false);
        };
        // Room for rows that the walk finds but the search skips.
        let layered: usize = self.layers.iter().map(|layer| layer.vectors().len()).sum();
        let spare = layered.min(depth) + usize::from(self.excluded.is_some());
        let allowed = mask.as_ref().map(|(mask, _)| {
            move |row: u32| {
                let at = num::index(row);
                mask.get(at / MASK_ROWS).is_some_and(|word| word & (1 << (at % MASK_ROWS)) != 0)
            }
        });
        let allowed = allowed.as_ref().map(|allowed| allowed as &dyn Fn(u32) -> bool);
        let found = match graph.graph().search(self.query, depth.saturating_add(spare), 0, allowed)
        {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(false),
            Err(error) => {
                index.fail(error);
                self.base().signal_maintenance();
                return Ok(false);
            }
        };
        // The walk cannot distinguish rows that it does not reach from rows
        // that do not exist.
        if mask.is_some() && found.len() < depth {
            return Ok(false);
        }
        let rows = partition.rows().len();
        let live = mask.as_ref().map_or(rows, |(_, count)| *count);
        // The graph orders rows by 8-bit components, which is nearly exact.
        let compared = self.k.saturating_mul(2).saturating_add(SPARE);
        let mut progress = Progress { depth: compared, patience: compared, counted: 0, last: 0 };
        for (rank, row) in found.iter().enumerate() {
            if let Some(close) = self.candidate(partition, *row, CandidateSource::Graph, rank)?
                && progress.is_enough(close)
                && progress.is_enough_with(RANKED)
            {
                // Where it was not measured, a walk is not relied on.
                let passed = live.saturating_mul(progress.counted) / (rank + 1);
                return Ok(!self.is_foreign(graph.head(), passed, rows));
            }
        }
        // Too few, but the codes may give more.
        Ok(found.len() >= partition.rows().len())
    }
}

/// What a search of a file has compared.
struct Progress {
    /// The least number of candidates.
    depth: usize,
    /// As many in succession that are not close are enough as well.
    patience: usize,
    counted: usize,
    /// The number of the last candidate that was among the closest.
    last: usize,
}

impl Progress {
    /// Counts a candidate. Returns whether the least number was compared.
    fn is_enough(&mut self, close: bool) -> bool {
        self.counted += 1;
        if close {
            self.last = self.counted;
        }
        self.counted >= self.depth || self.counted - self.last >= self.patience
    }

    /// Whether so many times as many were compared as when the last was close.
    /// Where the order of the candidates says little, further ones are close
    /// again and again, and the search goes on.
    fn is_enough_with(&self, stretch: usize) -> bool {
        self.counted >= self.last.saturating_mul(stretch)
    }
}

const IN_MEMORY: HitOrigin = HitOrigin { file: None, by: CandidateSource::Comparison, rank: None };

fn compared(partition: &VectorPartition) -> HitOrigin {
    HitOrigin {
        file: Some(partition.rows().segment().file().number),
        by: CandidateSource::Comparison,
        rank: None,
    }
}
