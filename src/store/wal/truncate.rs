//! Removes what of a log a checkpoint covers.

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

/// Removes the files that a checkpoint covers: those that another file follows
/// at the commit after it, or before. Adds how many, and their bytes, to
/// `removed`, also when it fails half way.
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

/// What was removed of a log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Removed {
    pub(super) files: u64,
    pub(super) bytes: u64,
}
