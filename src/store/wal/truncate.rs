//! Removing the log files that a checkpoint covers.

use crate::{
    model::{
        error::{Error, Result},
        time::Seq,
    },
    store::wal::{
        dir::{LogDir, file_path},
        recover as replay,
        recover::covered,
    },
};

/// Removes the log files that a checkpoint covers completely: those whose next
/// file begins at or before the commit after the checkpoint. Adds their number
/// and bytes to `removed`, also if it fails half way.
pub(crate) fn cut(place: LogDir<'_>, checkpoint: Seq, removed: &mut Removed) -> Result<()> {
    let firsts = replay::list(place)?;
    for first in firsts.iter().take(covered(&firsts, checkpoint)) {
        let path = file_path(place.dir, *first);
        let len = place.fs.open(&path).and_then(|file| file.size());
        let len = len.map_err(|error| Error::io("read", &path, error))?;
        place.fs.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
        removed.files = removed.files.saturating_add(1);
        removed.bytes = removed.bytes.saturating_add(len);
    }
    if removed.files > 0 {
        place.fs.sync_dir(place.dir).map_err(|error| Error::io("sync", place.dir, error))?;
    }
    Ok(())
}

/// How much of a log was removed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Removed {
    pub(super) files: u64,
    pub(super) bytes: u64,
}
