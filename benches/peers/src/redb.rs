//! redb.
//!
//! * Cache of 256 MiB; its default is 1 GiB.
//! * Os: `Durability::None`. redb has no mode that hands a commit to the
//!   operating system and does not sync it: such commits are lost with the
//!   process unless a durable one follows, which `recover` shows.
//! * Sync: `Durability::Immediate`, one-phase, which is the default.
//! * Settled: an empty durable commit. Nothing works in the background.
//! * A read transaction opens the table; a snapshot that is held keeps it open.

use std::{path::Path, time::Duration};

use anyhow::Result;
use redb::{Builder, Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use crate::store::{CACHE_BYTES, Change, Durability, Key, Snapshot, Store};

const TABLE: TableDefinition<'static, &[u8; 16], &[u8]> = TableDefinition::new("records");

pub struct Redb(Database);

pub struct Held(ReadOnlyTable<&'static [u8; 16], &'static [u8]>);

impl Store for Redb {
    type Snapshot<'s> = Held;

    fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("store.redb");
        let new = !path.exists();
        let store = Self(Builder::new().set_cache_size(CACHE_BYTES as usize).create(path)?);
        if new {
            store.write(&[], Durability::Sync)?;
        }
        Ok(store)
    }

    fn write(&self, changes: &[Change<'_>], durability: Durability) -> Result<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(match durability {
            Durability::Os => redb::Durability::None,
            Durability::Sync => redb::Durability::Immediate,
        })?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for change in changes {
                match change.value {
                    Some(value) => table.insert(&change.key, value)?,
                    None => table.remove(&change.key)?,
                };
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn settle(&self) -> Result<Duration> {
        self.write(&[], Durability::Sync)?;
        Ok(Duration::ZERO)
    }

    fn snapshot(&self) -> Result<Held> {
        Ok(Held(self.0.begin_read()?.open_table(TABLE)?))
    }

    fn close(self) -> Result<()> {
        Ok(self.0.close()?)
    }
}

impl Snapshot for Held {
    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(ReadableTable::get(&self.0, key)?.map(|value| look(value.value())))
    }

    fn scan(&self, mut look: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        for entry in self.0.iter()? {
            let (key, value) = entry?;
            look(key.value(), value.value())?;
        }
        Ok(())
    }
}
