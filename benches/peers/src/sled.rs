//! sled 0.34, the last release that is not an alpha.
//!
//! * Cache of 256 MiB, mode and compression as by default (`LowSpace`, none).
//! * Os: the default. What is written is in memory and in sled's log buffers,
//!   and is synced each 500 ms: SIGKILL costs what came after the last time,
//!   which `recover` shows.
//! * Sync: `flush` after the write, by each thread. On Linux that is
//!   `sync_file_range` over the log's bytes, which syncs neither the file's
//!   metadata nor a volatile cache of the device: less than the others give. It
//!   has nothing stronger for a write.
//! * Settled: `flush`. It has nothing else to wait for.
//! * It has no snapshots, so a held one is the newest state.

use std::{path::Path, time::Duration};

use anyhow::Result;
use sled::{Batch, Config, Db};

use crate::store::{CACHE_BYTES, Change, Durability, Key, Snapshot, Store};

pub struct Sled(Db);

impl Store for Sled {
    type Snapshot<'s> = &'s Sled;

    fn open(dir: &Path) -> Result<Self> {
        Ok(Self(Config::new().path(dir.join("store")).cache_capacity(CACHE_BYTES).open()?))
    }

    fn write(&self, changes: &[Change<'_>], durability: Durability) -> Result<()> {
        if let [Change { key, value: Some(value) }] = changes {
            self.0.insert(key, *value)?;
        } else {
            let mut batch = Batch::default();
            for change in changes {
                match change.value {
                    Some(value) => batch.insert(&change.key, value),
                    None => batch.remove(&change.key),
                }
            }
            self.0.apply_batch(batch)?;
        }
        if durability == Durability::Sync {
            self.0.flush()?;
        }
        Ok(())
    }

    fn settle(&self) -> Result<Duration> {
        self.0.flush()?;
        Ok(Duration::ZERO)
    }

    fn snapshot(&self) -> Result<&Sled> {
        Ok(self)
    }

    fn close(self) -> Result<()> {
        self.0.flush()?;
        Ok(())
    }
}

impl Snapshot for &Sled {
    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.0.get(key)?.map(|value| look(&value)))
    }

    fn scan(&self, mut look: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        for entry in self.0.iter() {
            let (key, value) = entry?;
            look(&key, &value)?;
        }
        Ok(())
    }
}
