//! A repair under way.

use std::{path::Path, sync::Arc};

use crate::{
    engine::{
        Engine,
        repair::report::{Loss, LossItem, MOST_LOST, RepairReport},
    },
    format::{
        header::FileKind,
        manifest::{Counts, DataFile, Manifest},
    },
    model::{
        batch::{Batch, Durability, Op},
        error::{Error, ErrorKind, Result},
    },
    num,
    os::file::Fs,
    read::snapshot::Snapshot,
    state::{
        base::{Base, open::Unopened},
        catalog::Indexes,
    },
    store::segment,
};

/// Most operations of a batch that is written to the new store.
const BATCH_OPS: usize = 1_000;

/// Bytes after which a batch is written, however few operations it has.
const BATCH_BYTES: usize = 4 << 20;

/// Rows between two calls of `progress`.
const PROGRESS_ROWS: u64 = 1_024;

pub(crate) fn count(count: &mut u64) {
    *count += 1;
}

pub(crate) struct Repair<'r> {
    /// The new store.
    pub(super) engine: &'r Engine,
    /// Its state after the last flush.
    pub(super) snapshot: Snapshot,
    /// What could be opened of the old base.
    pub(super) base: &'r Base,
    pub(super) data_dir: &'r Path,
    pub(super) manifest: &'r Manifest,
    /// Those of the manifest.
    pub(super) indexes: Indexes,
    pub(super) unopened: &'r [Unopened],
    pub(super) report: RepairReport,
    /// Operations that are not written yet, and an estimate of their bytes.
    pub(super) pending: Vec<Op>,
    pub(super) pending_bytes: usize,
    pub(super) progress: &'r mut dyn FnMut(u64, u64),
    pub(super) done: u64,
}

impl<'r> Repair<'r> {
    pub(crate) fn all(&mut self, from: &Path, fs: &Arc<dyn Fs>) -> Result<()> {
        self.report.unreadable = self.unopened.iter().map(|(_, _, error)| error.clone()).collect();
        self.report.seq = self.manifest.checkpoint;
        self.definitions()?;
        self.nodes()?;
        self.flush()?;
        let mut gaps = self.edges()?;
        self.flush()?;
        self.edges_at_targets(&mut gaps)?;
        self.flush()?;
        self.gaps(gaps);
        let had = self.manifest.counts;
        self.report.missing = Counts {
            nodes: had.nodes.saturating_sub(self.report.nodes),
            edges: had.edges.saturating_sub(self.report.edges),
            keys: had.keys.saturating_sub(self.report.keys),
            vectors: had.vectors.saturating_sub(self.report.vectors),
        };
        self.declared_indexes()?;
        self.log(from, fs)?;
        self.engine.checkpoint()?;
        let total = self.total();
        (self.progress)(total, total);
        Ok(())
    }

    fn total(&self) -> u64 {
        self.manifest.counts.nodes.saturating_add(self.manifest.counts.edges)
    }

    pub(crate) fn advance(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(PROGRESS_ROWS) {
            let total = self.total();
            (self.progress)(self.done.min(total), total);
        }
    }

    pub(crate) fn lost(
        &mut self,
        file: &Path,
        offset: u64,
        item: LossItem,
        why: impl Into<String>,
    ) {
        if self.report.lost.len() < MOST_LOST {
            let file = file.to_owned();
            self.report.lost.push(Loss { file, offset, item, why: why.into() });
        } else {
            count(&mut self.report.more);
        }
    }

    /// Adds a loss because of this error.
    pub(crate) fn lost_by(&mut self, item: LossItem, error: &Error) {
        match error {
            Error::Corrupt { file, offset, what } => {
                // The error of a file that could not be opened has only its name.
                let file = match file.strip_prefix(segment::DIR) {
                    Ok(name) if file.is_relative() => self.data_dir.join(name),
                    _ => file.clone(),
                };
                self.lost(&file, *offset, item, what.clone());
            }
            error => self.lost(self.data_dir, 0, item, error.with_causes().to_string()),
        }
    }

    /// Why a file could not be opened.
    pub(crate) fn unopened(&self, file: DataFile) -> Option<&'r Error> {
        let unopened = self.unopened.iter().find(|(_, other, _)| other.number == file.number);
        unopened.map(|(_, _, error)| error)
    }

    /// How many rows an unopened file had, if it is the only unopened one of its
    /// table.
    pub(crate) fn rows_of(
        &self,
        kind: FileKind,
        all: u64,
        others: impl Iterator<Item = usize>,
    ) -> Option<u64> {
        let missing = self.unopened.iter().filter(|(of, _, _)| *of == kind).count();
        let others = others.map(num::wide).sum::<u64>();
        (missing == 1).then(|| all.saturating_sub(others))
    }

    /// Creates and builds the indexes whose keys are derived. One that cannot be built
    /// is left failed, as in the damaged store, and says why.
    fn declared_indexes(&mut self) -> Result<()> {
        for (_, index, derived) in self.indexes.all_derived() {
            self.engine.create_index_on(&*index.name, (*derived.definition).clone())?;
            match self.engine.build_index(&index.name) {
                Err(Error::NotReady { .. }) => {}
                built => built?,
            }
        }
        self.snapshot = self.engine.snapshot();
        Ok(())
    }

    /// Creates the spaces, and the indexes whose keys are given, in the order of their
    /// numbers.
    fn definitions(&mut self) -> Result<()> {
        let spaces = self.manifest.numbered_spaces();
        let spaces = spaces.flat_map(|(_, named)| {
            let (name, space) = (named.name.clone(), named.space);
            let method = Op::SetMethod { name: name.clone(), method: named.method };
            [Op::CreateSpace { name, space }, method]
        });
        // Those whose keys are derived come last: a node that has no place in one is
        // salvaged all the same.
        let given = self.indexes.numbered().filter(|(_, index)| index.derived.is_none());
        let indexes =
            given.map(|(_, index)| Op::CreateIndex { name: index.name.to_string(), index: None });
        let ops: Vec<Op> = spaces.chain(indexes).collect();
        if !ops.is_empty() {
            self.engine.write(Batch::from_iter(ops).durability(Durability::Os))?;
        }
        Ok(())
    }

    /// Queues an operation. Returns an inner error if it is invalid.
    pub(crate) fn queue(&mut self, op: Op) -> Result<Result<(), Error>> {
        let mut batch = Batch::from(op);
        if let Err(error) = batch.check(&*self.engine.reconciler.state()) {
            return match error.kind() {
                ErrorKind::Invalid | ErrorKind::Limit => Ok(Err(error)),
                _ => Err(error),
            };
        }
        if let Some(op) = batch.take_ops().pop() {
            self.pending_bytes += op.memory();
            self.pending.push(op);
        }
        if self.pending.len() >= BATCH_OPS || self.pending_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(Ok(()))
    }

    /// Writes what is queued.
    fn flush(&mut self) -> Result<()> {
        self.pending_bytes = 0;
        if !self.pending.is_empty() {
            let ops = std::mem::take(&mut self.pending);
            self.make_room()?;
            self.engine.write(Batch::from_iter(ops).durability(Durability::Os))?;
        }
        self.snapshot = self.engine.snapshot();
        Ok(())
    }

    /// Makes a checkpoint if one is due. Made here, its failure is reported.
    pub(crate) fn make_room(&self) -> Result<()> {
        if self.engine.reconciler.checkpoint_due() {
            self.engine.checkpoint()?;
        }
        Ok(())
    }

    pub(crate) fn kind(&self, number: u32) -> Option<&'r str> {
        self.manifest.kind(number)
    }
}
