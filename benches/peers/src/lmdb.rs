//! LMDB, by heed.
//!
//! * A map of 256 GiB of addresses, which the file grows into. There is no
//!   cache: pages are the kernel's.
//! * Os: `NO_SYNC`, so pages are written to the file and not synced. The flag is
//!   of the environment, so it is switched when the durability that is asked
//!   for changes. With it a power cut can damage the file.
//! * Sync: the default, two syncs a commit.
//! * Settled: `force_sync`. Nothing works in the background.

use std::{path::Path, sync::Mutex, time::Duration};

use anyhow::{Result, anyhow};
use heed::{
    CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, FlagSetMode, RoTxn, WithTls,
    types::Bytes,
};

use crate::store::{Change, Durability, Key, Snapshot, Store};

type Table = Database<'static, Bytes, Bytes>;

pub struct Lmdb {
    env: Env,
    table: Table,
    /// What the flags of the environment are. Held while a transaction writes.
    durability: Mutex<Durability>,
}

pub struct Held<'s> {
    table: Table,
    transaction: RoTxn<'s, WithTls>,
}

impl Store for Lmdb {
    type Snapshot<'s> = Held<'s>;

    fn open(dir: &Path) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(256 << 30);
        // SAFETY: the directory is this process's own, and nothing else touches
        // the files while they are mapped.
        let env = unsafe { options.open(dir) }?;
        let made = env.create_databases_and_commit(env.write_txn()?, |made, transaction| {
            made.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
        });
        let table = made.map(CommitOrAbort::unwrap_commit)?;
        Ok(Self { env, table, durability: Mutex::new(Durability::Sync) })
    }

    fn write(&self, changes: &[Change<'_>], durability: Durability) -> Result<()> {
        let mut current = self.durability.lock().map_err(|_| anyhow!("a writer has panicked"))?;
        if *current != durability {
            let mode = match durability {
                Durability::Os => FlagSetMode::Enable,
                Durability::Sync => FlagSetMode::Disable,
            };
            if durability == Durability::Sync {
                self.env.force_sync()?;
            }
            // SAFETY: under the lock, so no other thread does the same. What
            // the flag costs is said above.
            unsafe { self.env.set_flags(EnvFlags::NO_SYNC, mode) }?;
            *current = durability;
        }
        let mut transaction = self.env.write_txn()?;
        for change in changes {
            match change.value {
                Some(value) => self.table.put(&mut transaction, &change.key, value)?,
                None => drop(self.table.delete(&mut transaction, &change.key)?),
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn settle(&self) -> Result<Duration> {
        self.env.force_sync()?;
        Ok(Duration::ZERO)
    }

    fn snapshot(&self) -> Result<Held<'_>> {
        Ok(Held { table: self.table, transaction: self.env.read_txn()? })
    }

    fn close(self) -> Result<()> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

impl Snapshot for Held<'_> {
    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.table.get(&self.transaction, key)?.map(look))
    }

    fn scan(&self, mut look: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        for entry in self.table.iter(&self.transaction)? {
            let (key, value) = entry?;
            look(key, value)?;
        }
        Ok(())
    }
}
