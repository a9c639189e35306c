//! RocksDB.
//!
//! * Block cache of 256 MiB, Bloom filters of 10 bits a key, no compression, two
//!   threads for background work. Else the defaults: memtables of 64 MiB, blocks
//!   of 4 KiB, leveled compaction.
//! * Os: the default; the log is written and not synced.
//! * Sync: `WriteOptions::set_sync`, which is fdatasync.
//! * Settled: `wait_for_compact` with a flush before.
//! * Reads are `get_pinned`, so that a value is not copied out of the cache; a
//!   single read is one of the database, without a snapshot.

use std::{path::Path, time::Duration};

use anyhow::Result;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, WaitForCompactOptions, WriteBatch,
    WriteOptions,
};

use crate::store::{CACHE_BYTES, Change, Durability, Key, Snapshot, Store};

pub struct RocksDb(DB);

pub struct Held<'s>(rocksdb::Snapshot<'s>);

impl Store for RocksDb {
    type Snapshot<'s> = Held<'s>;

    fn open(dir: &Path) -> Result<Self> {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES as usize));
        table.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.increase_parallelism(2);
        options.set_compression_type(DBCompressionType::None);
        options.set_block_based_table_factory(&table);
        Ok(Self(DB::open(&options, dir.join("store"))?))
    }

    fn write(&self, changes: &[Change<'_>], durability: Durability) -> Result<()> {
        let mut batch = WriteBatch::default();
        for change in changes {
            match change.value {
                Some(value) => batch.put(change.key, value),
                None => batch.delete(change.key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Sync);
        Ok(self.0.write_opt(batch, &options)?)
    }

    fn settle(&self) -> Result<Duration> {
        let mut options = WaitForCompactOptions::default();
        options.set_flush(true);
        self.0.wait_for_compact(&options)?;
        Ok(Duration::ZERO)
    }

    fn snapshot(&self) -> Result<Held<'_>> {
        Ok(Held(self.0.snapshot()))
    }

    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.0.get_pinned(key)?.map(|value| look(&value)))
    }

    fn close(self) -> Result<()> {
        // Dropping closes it.
        Ok(())
    }
}

impl Snapshot for Held<'_> {
    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.0.get_pinned(key)?.map(|value| look(&value)))
    }

    fn scan(&self, mut look: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let mut iterator = self.0.raw_iterator();
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            look(key, value)?;
            iterator.next();
        }
        Ok(iterator.status()?)
    }
}
