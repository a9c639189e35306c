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
        batch::{Batch, Durability, Op},
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
        for (at, op) in ops.into_iter().enumerate() {
            if let Some(error) = self.apply(time, vec![op])? {
                let item = LossItem::Operation { seq, op: at };
                self.lost(dir, 0, item, error.with_causes().to_string());
            }
        }
        count(&mut self.report.partial_batches);
        Ok(())
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
