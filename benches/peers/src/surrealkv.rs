//! SurrealKV.
//!
//! * Block cache of 256 MiB; its default is 32 MiB. No compression, which is the
//!   default. The log is written into zeros written ahead, which its
//!   documentation names as what small synced commits cost without; it is off by
//!   default. Else the defaults: blocks of 64 KiB, a memtable of 100 MiB of keys
//!   (values do not count), values in the tree.
//! * Os: `Durability::Eventual`. Sync: `Durability::Immediate`.
//! * It is asynchronous; each thread blocks on its commit, in a runtime of two
//!   threads that the store has for itself.
//! * Settled: `compact_range` that only flushes the memtables; then no file
//!   changes for 200 ms, which are subtracted. There is no call that waits for
//!   compactions.
//! * A single read is a read-only transaction of its own.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use surrealkv::{CompactRangeOptions, LSMIterator, Mode, Options, Transaction, Tree, TreeBuilder};
use tokio::runtime::{Builder, Runtime};

use crate::store::{CACHE_BYTES, Change, Durability, Key, Snapshot, Store, until_quiet};

pub struct SurrealKv {
    tree: Tree,
    runtime: Runtime,
    dir: PathBuf,
}

pub struct Held(Transaction);

impl Store for SurrealKv {
    type Snapshot<'s> = Held;

    fn open(dir: &Path) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let options = Options::new()
            .with_path(dir.join("store"))
            .with_block_cache_capacity(CACHE_BYTES)
            .without_compression()
            .with_wal_preallocation(true);
        let entered = runtime.enter();
        let tree = TreeBuilder::with_options(options).build()?;
        drop(entered);
        Ok(Self { tree, runtime, dir: dir.to_owned() })
    }

    fn write(&self, changes: &[Change<'_>], durability: Durability) -> Result<()> {
        let mut transaction = self.tree.begin_with_mode(Mode::WriteOnly)?;
        transaction.set_durability(match durability {
            Durability::Os => surrealkv::Durability::Eventual,
            Durability::Sync => surrealkv::Durability::Immediate,
        });
        for change in changes {
            match change.value {
                Some(value) => transaction.set(&change.key, value)?,
                None => transaction.delete(&change.key)?,
            }
        }
        Ok(self.runtime.block_on(transaction.commit())?)
    }

    fn settle(&self) -> Result<Duration> {
        let options = CompactRangeOptions {
            flush_memtable: true,
            target_level: Some(0),
            ..CompactRangeOptions::default()
        };
        self.tree.compact_range(None, None, &options)?;
        until_quiet(&self.dir, || false)
    }

    fn snapshot(&self) -> Result<Held> {
        Ok(Held(self.tree.begin_with_mode(Mode::ReadOnly)?))
    }

    fn close(self) -> Result<()> {
        Ok(self.runtime.block_on(self.tree.close())?)
    }
}

impl Snapshot for Held {
    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.0.get(key)?.map(|value| look(&value)))
    }

    fn scan(&self, mut look: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let mut iterator = self.0.iter()?;
        let mut valid = iterator.seek_first()?;
        while valid {
            let key = iterator.key().user_key();
            let value = iterator.value_ref().context("a value of the scan")?;
            look(key, &value)?;
            valid = iterator.next()?;
        }
        Ok(())
    }
}
