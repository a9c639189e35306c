//! A verification under way.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::PathBuf,
    sync::Arc,
};

use crate::{
    engine::verify::report::{MOST_DAMAGE, VerifyReport},
    model::error::Error,
    state::{base::Base, catalog::Indexes},
    store::segment::file::Segment,
};

/// Bytes between two calls of `progress`.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Bytes referred to, by heap.
pub(crate) type Refs = BTreeMap<u32, u64>;

/// Which contents could not all be read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gaps {
    pub(super) nodes: bool,
    /// Names of kinds.
    pub(super) kinds: bool,
    /// Rows of nodes or their records.
    pub(super) records: bool,
    pub(super) edges: bool,
    pub(super) keys: bool,
    pub(super) vectors: bool,
    /// References to heaps.
    pub(super) refs: bool,
}

pub(crate) struct Verifier<'a> {
    pub(super) base: &'a Base,
    pub(super) indexes: Arc<Indexes>,
    pub(super) manifest: PathBuf,
    pub(super) report: VerifyReport,
    pub(super) progress: &'a mut dyn FnMut(u64, u64),
    /// The most threads that a computation takes.
    pub(super) threads: usize,
    pub(super) done: u64,
    /// The value of `done` at the last call of `progress`.
    pub(super) reported: u64,
    pub(super) total: u64,
    /// The numbers of the files with bytes that fail their checksums.
    pub(super) damaged: HashSet<u32>,
    pub(super) refs: Refs,
    /// Rows that are the current vector of their node, by vector file.
    pub(super) live: BTreeMap<u32, u64>,
    /// Nodes and edges, by kind.
    pub(super) kinds: BTreeMap<u32, u64>,
    /// Entries of the key table that were found by the records of nodes.
    pub(super) entries: u64,
    pub(super) gaps: Gaps,
}

pub(crate) fn count(count: &mut u64) {
    *count += 1;
}

pub(crate) fn refer(refs: &mut Refs, heap: u32, bytes: u64) {
    let sum = refs.entry(heap).or_default();
    *sum += bytes;
}

impl<'a> Verifier<'a> {
    pub(crate) fn found(&mut self, error: Error) {
        if self.report.damage.len() < MOST_DAMAGE {
            self.report.damage.push(error);
        } else {
            count(&mut self.report.more);
        }
    }

    pub(crate) fn wrong(&mut self, segment: &Segment, at: usize, what: impl Into<String>) {
        self.found(segment.damaged(at, what));
    }

    pub(crate) fn unreadable(&mut self, path: PathBuf, error: io::Error) {
        self.found(match error.kind() {
            io::ErrorKind::NotFound => Error::corrupt(path, 0, "the file is missing"),
            _ => Error::io("open", path, error),
        });
    }

    pub(crate) fn advance(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes).min(self.total);
        if self.done - self.reported >= PROGRESS_BYTES {
            self.reported = self.done;
            (self.progress)(self.done, self.total);
        }
    }

    pub(crate) fn end(&mut self) {
        (self.progress)(self.total, self.total);
    }

    /// Verifies the checksums of a file.
    pub(crate) fn file(&mut self, segment: &Segment) {
        count(&mut self.report.files);
        for checked in segment.verify() {
            match checked {
                Ok(bytes) => self.advance(bytes),
                Err(error) => {
                    self.damaged.insert(segment.file().number);
                    self.found(error);
                }
            }
        }
    }

    /// Verifies the counts in the manifest.
    pub(crate) fn sums(&mut self) {
        let manifest = self.base.manifest();
        let Gaps { nodes, kinds, records, edges, keys, vectors, refs } = self.gaps;
        let mut wrong = Vec::new();
        let counts = manifest.counts;
        for (what, declared, found, gap) in [
            ("nodes", counts.nodes, self.report.nodes, nodes),
            ("edges", counts.edges, self.report.edges, edges),
            ("keys", counts.keys, self.report.keys, keys),
            ("vectors", counts.vectors, self.report.vectors, records),
        ] {
            if declared != found && !gap {
                wrong.push(format!("{declared} {what} declared, {found} found"));
            }
        }
        // A kind with too few would leave the manifest while rows have it.
        let all = counts.nodes == self.report.nodes && counts.edges == self.report.edges;
        let declared = manifest.rows_by_kind().filter(|_| all && !nodes && !edges && !kinds);
        for (kind, declared) in declared.into_iter().flatten() {
            let found = self.kinds.get(&kind).copied().unwrap_or(0);
            if declared != found {
                wrong.push(format!("kind {kind}: {declared} rows declared, {found} found"));
            }
        }
        for heap in manifest.heaps.iter().filter(|_| !refs) {
            let found = self.refs.get(&heap.file.number).copied().unwrap_or(0);
            if heap.live != found {
                wrong.push(format!(
                    "heap {}: {} live bytes declared, {found} are referred to",
                    heap.file.number, heap.live
                ));
            }
        }
        for file in manifest.vectors.iter().filter(|_| !records && !vectors) {
            let found = self.live.get(&file.file.number).copied().unwrap_or(0);
            if file.live != found {
                wrong.push(format!(
                    "vector file {}: {} live rows declared, {found} are referred to",
                    file.file.number, file.live
                ));
            }
        }
        for what in wrong {
            self.found(Error::corrupt(&self.manifest, 72, what));
        }
    }
}
