//! fjall.
//!
//! * Block cache of 256 MiB; its default is 32 MiB. No compression of blocks or
//!   of the journal. Else the defaults: memtable of 64 MiB, journals of at most
//!   512 MiB.
//! * Os: a batch with `PersistMode::Buffer`, the default. Sync: with `SyncData`.
//! * Settled: the memtable is rotated and waited for; then no compaction runs
//!   and no file changes for 200 ms, which are subtracted.
//! * A single read is one of the keyspace, without a snapshot.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable,
    config::CompressionPolicy,
};

use crate::store::{CACHE_BYTES, Change, Durability, Key, Snapshot, Store, until_quiet};

pub struct Fjall {
    // Dropped in this order.
    keyspace: Keyspace,
    database: Database,
    dir: PathBuf,
}

pub struct Held<'s> {
    store: &'s Fjall,
    snapshot: fjall::Snapshot,
}

impl Store for Fjall {
    type Snapshot<'s> = Held<'s>;

    fn open(dir: &Path) -> Result<Self> {
        let database = Database::builder(dir.join("store"))
            .cache_size(CACHE_BYTES)
            .journal_compression(CompressionType::None)
            .open()?;
        let keyspace = database.keyspace("records", || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::disabled())
                .index_block_compression_policy(CompressionPolicy::disabled())
        })?;
        Ok(Self { keyspace, database, dir: dir.to_owned() })
    }

    fn write(&self, changes: &[Change<'_>], durability: Durability) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(match durability {
            Durability::Os => PersistMode::Buffer,
            Durability::Sync => PersistMode::SyncData,
        }));
        for change in changes {
            match change.value {
                Some(value) => batch.insert(&self.keyspace, change.key, value),
                None => batch.remove(&self.keyspace, change.key),
            }
        }
        Ok(batch.commit()?)
    }

    fn settle(&self) -> Result<Duration> {
        self.keyspace.rotate_memtable_and_wait()?;
        let database = &self.database;
        until_quiet(&self.dir, || {
            database.active_compactions() > 0 || database.outstanding_flushes() > 0
        })
    }

    fn snapshot(&self) -> Result<Held<'_>> {
        Ok(Held { store: self, snapshot: self.database.snapshot() })
    }

    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.keyspace.get(key)?.map(|value| look(&value)))
    }

    fn close(self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

impl Snapshot for Held<'_> {
    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.snapshot.get(&self.store.keyspace, key)?.map(|value| look(&value)))
    }

    fn scan(&self, mut look: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        for entry in self.snapshot.iter(&self.store.keyspace) {
            let (key, value) = entry.into_inner()?;
            look(&key, &value)?;
        }
        Ok(())
    }
}
