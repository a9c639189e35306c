//! Verifies vector files and their indexes.

use crate::{
    engine::verify::verifier::Verifier,
    model::error::Error,
    num,
    state::base::{
        vector_index::{Codes, Index, Load},
        vector_rows::VectorRows,
    },
    vector,
};

impl<'a> Verifier<'a> {
    /// Verifies the vector files.
    pub(crate) fn vectors(&mut self) {
        let base = self.base;
        for partition in base.vectors() {
            let dead = partition.dead_count();
            let partition = partition.rows();
            let segment = partition.segment();
            let mut declared = base.manifest().vectors.iter();
            let declared = declared.find(|file| file.file.number == segment.file().number);
            let space = base.manifest().space(partition.space());
            let mut last = None;
            for at in 0..partition.len() {
                let Ok((head, components)) = partition.row(at) else { continue };
                let (id, offset) = (head.id(), partition.offset(at));
                if last.is_some_and(|last| last >= id) {
                    self.wrong(segment, offset, format!("the vector of node {id} is out of order"));
                }
                last = Some(id);
                if head.seq() > base.manifest().checkpoint {
                    let what = format!("commit {} is after the checkpoint", head.seq());
                    self.wrong(segment, offset, format!("vector of node {id}: {what}"));
                }
                if let Some(space) = space
                    && let Err(error) = space.space.check_vector(&space.name, components)
                {
                    self.wrong(segment, offset, format!("vector of node {id}: {error}"));
                }
                let norm = vector::norm(components);
                if head.norm.get().to_bits() != norm.to_bits() {
                    let what = format!(
                        "vector of node {id}: its length is {norm}, not {}",
                        head.norm.get()
                    );
                    self.wrong(segment, offset, what);
                }
            }
            self.advance(segment.file().len);
            let number = segment.file().number;
            let live = declared.map_or(0, |file| num::size(file.live));
            if live.saturating_add(dead) != partition.len() {
                let rows = partition.len();
                let what = format!("vector file {number}: {rows} rows, {live} live, {dead} dead");
                self.found(Error::corrupt(&self.manifest, 72, what));
            }
        }
    }

    /// Verifies codes and graphs, and requests a rebuild of damaged ones.
    pub(crate) fn indexes(&mut self) {
        let base = self.base;
        let mut wrong = false;
        for partition in base.vectors() {
            // They are derived, so they are built again, and are no damage.
            let old_codes = partition.codes().is_some_and(|index| index.is_outdated());
            let old_graph = partition.graph().is_some_and(|index| index.is_outdated());
            wrong = wrong || old_codes || old_graph;
            if !old_codes
                && let Some(codes) = partition.codes()
                && let Some(error) = self.codes(partition.rows(), codes)
            {
                codes.fail(error.clone());
                wrong = true;
                self.found_in_index(codes, error);
            }
            if !old_graph
                && let Some(graph) = partition.graph()
                && let Err(error) = graph.get(partition.rows())
            {
                wrong = true;
                self.found_in_index(graph, error);
            }
        }
        if wrong {
            base.signal_maintenance();
        }
    }

    /// Reports a damaged index, unless its blocks were reported.
    fn found_in_index<T: Load>(&mut self, index: &Index<T>, error: Error) {
        if !self.damaged.contains(&index.file().number) {
            self.found(error);
        }
    }

    /// Compares the codes with those of the vectors. Returns the first error.
    fn codes(&mut self, rows: &VectorRows, index: &Index<Codes>) -> Option<Error> {
        /// Rows that are encoded at once: a multiple of the rows of a block of
        /// codes.
        const ENCODED: usize = 4096;
        let loaded = index.get(rows).and_then(|codes| Ok((codes, codes.bytes()?)));
        let (codes, bytes) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return Some(error),
        };
        let mut at = 0_usize;
        for from in (0_usize..rows.len()).step_by(ENCODED) {
            let to = (from + ENCODED).min(rows.len());
            let mut expected = Vec::new();
            // Damaged vectors were reported.
            let (codebook, threads) = (codes.codebook(), self.threads);
            if vector::build::encode(codebook, rows, from, to, threads, &mut expected).is_err() {
                return None;
            }
            let end = at + expected.len();
            if bytes.get(at..end) != Some(expected.as_slice()) {
                let what = format!("the codes of rows {from} to {to} are wrong");
                return Some(codes.damaged(at, what));
            }
            at = end;
        }
        None
    }
}
