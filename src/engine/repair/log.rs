//! Applies the log of the damaged store to the new one.

use std::{io, path::Path, sync::Arc};

use crate::{
    engine::repair::{
        report::LossItem,
        salvage::{Repair, count},
    },
    format::{
        header::Damage,
        wal::{LoggedBatch, decode_batch},
    },
    model::{
        batch::{Batch, Durability, Named, Op},
        error::{Error, ErrorKind, Result},
        time::{Seq, Timestamp},
    },
    os::file::Fs,
    store::wal,
};

impl<'r> Repair<'r> {
    /// Applies the batches that the base does not have.
    pub(crate) fn log(&mut self, from: &Path, fs: &Arc<dyn Fs>) -> Result<()> {
        let dir = from.join(wal::DIR);
        let place = wal::LogDir::new(&**fs, &dir, self.manifest.store);
        let place = place.in_sizes(self.engine.log_sizes);
        let mut failed = None;
        let manifest = self.manifest;
        let read = wal::salvage(place, manifest, &mut |seq, logged| {
            let batch = decode_batch(logged.payload())?;
            self.batch(seq, batch, &dir).map_err(|error| {
                let damage = Damage::new(0, "the new store cannot be written");
                failed = Some(error);
                damage.into()
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let read = match read {
            Err(Error::Io { path, source, .. })
                if path == dir && source.kind() == io::ErrorKind::NotFound =>
            {
                let next = manifest.checkpoint.next();
                self.lost(&dir, 0, LossItem::Commits(next), "the directory is missing");
                return Ok(());
            }
            read => read?,
        };
        self.report.seq = read.seq;
        self.report.torn_tail = read.torn_tail;
        if let Some(error) = &read.damage {
            self.lost_by(LossItem::Commits(read.seq.next()), error);
        }
        Ok(())
    }

    /// Applies a batch of the log, or those of its operations that can be applied.
    fn batch(&mut self, seq: Seq, batch: LoggedBatch, dir: &Path) -> Result<()> {
        let LoggedBatch { time, ops } = batch;
        if self.apply(time, ops.clone())?.is_none() {
            count(&mut self.report.batches);
            return Ok(());
        }
        let mut whole = true;
        for (at, op) in ops.into_iter().enumerate() {
            if self.is_gone(&op) {
                continue;
            }
            if let Some(error) = self.apply(time, vec![op])? {
                whole = false;
                let item = LossItem::Operation { seq, op: at };
                self.lost(dir, 0, item, error.with_causes().to_string());
            }
        }
        let report = &mut self.report;
        count(if whole { &mut report.batches } else { &mut report.partial_batches });
        Ok(())
    }

    /// Whether an operation renames a kind that no node and no edge had: the new
    /// store has only the kinds that it needs, so nothing is lost.
    fn is_gone(&self, op: &Op) -> bool {
        let Op::Rename { what: Named::Kind, from, .. } = op else { return false };
        !self.engine.snapshot().kinds().any(|kind| kind == from)
    }

    /// Writes operations with their own time. Returns the error if they are
    /// refused.
    fn apply(&mut self, time: Timestamp, ops: Vec<Op>) -> Result<Option<Error>> {
        self.make_room()?;
        let mut batch = Batch::from_iter(ops);
        match self.engine.write_at(batch.durability(Durability::Os), time) {
            Ok(_) => Ok(None),
            Err(error) => match error.kind() {
                ErrorKind::Conflict | ErrorKind::Invalid | ErrorKind::Limit => Ok(Some(error)),
                _ => Err(error),
            },
        }
    }
}
