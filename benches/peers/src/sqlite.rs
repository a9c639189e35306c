//! SQLite, by rusqlite, the version that it bundles.
//!
//! * A table `WITHOUT ROWID`, so that a record is found in one tree; pages of
//!   4 KiB. Values above about 1,000 bytes have overflow pages in such a table.
//! * WAL, checkpointed by itself at 64 MiB: at the default of 4 MiB nearly each
//!   batch of random keys would checkpoint and sync.
//! * Page cache of 256 MiB a connection, and the whole file mapped (up to 2 GiB,
//!   the most that is built in).
//! * One connection writes, behind a mutex; readers take one each from a pool.
//! * Os: `synchronous = NORMAL`, in which a commit does not sync the WAL.
//! * Sync: `synchronous = FULL`. It is switched when the durability that is
//!   asked for changes.
//! * Settled: `wal_checkpoint(TRUNCATE)`.
//! * A held snapshot is a read transaction; a single read is one statement.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use anyhow::{Result, anyhow, ensure};
use rusqlite::{Connection, OptionalExtension};

use crate::store::{CACHE_BYTES, Change, Durability, Key, Snapshot, Store};

const GET: &str = "SELECT value FROM records WHERE id = ?1";
const PUT: &str = "INSERT OR REPLACE INTO records (id, value) VALUES (?1, ?2)";
const DELETE: &str = "DELETE FROM records WHERE id = ?1";
const SCAN: &str = "SELECT id, value FROM records ORDER BY id";

struct Writer {
    connection: Connection,
    durability: Durability,
}

pub struct Sqlite {
    path: PathBuf,
    writer: Mutex<Writer>,
    readers: Mutex<Vec<Connection>>,
}

/// A connection, which goes back to the pool.
pub struct Held<'s> {
    store: &'s Sqlite,
    connection: Option<Connection>,
    transaction: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    mutex.lock().map_err(|_| anyhow!("a thread has panicked"))
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "cache_size", -(CACHE_BYTES as i64 / 1024))?;
    connection.pragma_update_and_check(None, "mmap_size", i64::from(i32::MAX), |_| Ok(()))?;
    connection.busy_timeout(Duration::from_secs(60))?;
    Ok(connection)
}

impl Sqlite {
    fn reader(&self) -> Result<Connection> {
        match lock(&self.readers)?.pop() {
            Some(connection) => Ok(connection),
            None => connect(&self.path),
        }
    }

    fn held(&self, transaction: bool) -> Result<Held<'_>> {
        let connection = self.reader()?;
        if transaction {
            connection.prepare_cached("BEGIN")?.execute([])?;
        }
        Ok(Held { store: self, connection: Some(connection), transaction })
    }
}

impl Store for Sqlite {
    type Snapshot<'s> = Held<'s>;

    fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("store.sqlite");
        let connection = connect(&path)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update_and_check(None, "wal_autocheckpoint", 16_384, |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS records \
             (id BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID",
        )?;
        let writer = Mutex::new(Writer { connection, durability: Durability::Sync });
        Ok(Self { path, writer, readers: Mutex::default() })
    }

    fn write(&self, changes: &[Change<'_>], durability: Durability) -> Result<()> {
        let mut writer = lock(&self.writer)?;
        if writer.durability != durability {
            let synchronous = match durability {
                Durability::Os => "NORMAL",
                Durability::Sync => "FULL",
            };
            writer.connection.pragma_update(None, "synchronous", synchronous)?;
            writer.durability = durability;
        }
        let connection = &writer.connection;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let write = || -> Result<()> {
            let mut put = connection.prepare_cached(PUT)?;
            let mut delete = connection.prepare_cached(DELETE)?;
            for change in changes {
                match change.value {
                    Some(value) => put.execute((&change.key[..], value))?,
                    None => delete.execute((&change.key[..],))?,
                };
            }
            Ok(())
        };
        if let Err(error) = write() {
            connection.execute_batch("ROLLBACK")?;
            return Err(error);
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    fn settle(&self) -> Result<Duration> {
        let writer = lock(&self.writer)?;
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: i64 = writer.connection.query_row(checkpoint, [], |row| row.get(0))?;
        ensure!(busy == 0, "the checkpoint was held up by a reader");
        Ok(Duration::ZERO)
    }

    fn snapshot(&self) -> Result<Held<'_>> {
        self.held(true)
    }

    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        self.held(false)?.get(key, look)
    }

    fn close(self) -> Result<()> {
        drop(self.readers);
        let writer = self.writer.into_inner().map_err(|_| anyhow!("a thread has panicked"))?;
        writer.connection.close().map_err(|(_, error)| error.into())
    }
}

impl Held<'_> {
    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or_else(|| anyhow!("the connection was given back"))
    }
}

impl Snapshot for Held<'_> {
    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let mut statement = self.connection()?.prepare_cached(GET)?;
        let found = statement
            .query_row((&key[..],), |row| Ok(look(row.get_ref(0)?.as_blob()?)))
            .optional()?;
        Ok(found)
    }

    fn scan(&self, mut look: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let mut statement = self.connection()?.prepare_cached(SCAN)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            look(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?)?;
        }
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let ended = !self.transaction
            || connection.prepare_cached("COMMIT").is_ok_and(|mut end| end.execute([]).is_ok());
        // One that did not end is closed.
        if ended && let Ok(mut readers) = self.store.readers.lock() {
            readers.push(connection);
        }
    }
}
