//! ingrain with its default options.
//!
//! * `delta_bytes` 256 MiB: at half of it a checkpoint begins by itself.
//!   `wal_bytes` 128 MiB, likewise. There is no cache: the base is mapped, and
//!   what of it is in memory is the kernel's business.
//! * Os: `Durability::Os`, written to the log but not synced. Sync:
//!   `Durability::Sync`.
//! * Settled: `checkpoint`, after which everything is in the base and synced.
//! * A record is a node of the kind `record`; `scan_all` goes by kind and id.

use std::{path::Path, time::Duration};

use anyhow::Result;
use ingrain::{Batch, Engine, Node, NodeId, Options};

use crate::store::{Change, Durability, Key, Snapshot, Store};

pub struct Ingrain(Engine);

impl Store for Ingrain {
    type Snapshot<'s> = ingrain::Snapshot;

    fn open(dir: &Path) -> Result<Self> {
        Ok(Self(Options::new().open(dir.join("store"))?))
    }

    fn write(&self, changes: &[Change<'_>], durability: Durability) -> Result<()> {
        let mut batch = Batch::new();
        batch.durability(match durability {
            Durability::Os => ingrain::Durability::Os,
            Durability::Sync => ingrain::Durability::Sync,
        });
        for change in changes {
            let id = NodeId::from_bytes(change.key);
            match change.value {
                Some(value) => batch.put(Node::new(id, "record").content(value)),
                None => batch.delete(id),
            };
        }
        self.0.write(batch)?;
        Ok(())
    }

    fn settle(&self) -> Result<Duration> {
        self.0.checkpoint()?;
        Ok(Duration::ZERO)
    }

    fn snapshot(&self) -> Result<ingrain::Snapshot> {
        Ok(self.0.snapshot())
    }

    fn close(self) -> Result<()> {
        Ok(self.0.close()?)
    }
}

impl Snapshot for ingrain::Snapshot {
    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let node = ingrain::Snapshot::get(self, NodeId::from_bytes(*key))?;
        Ok(node.map(|node| look(node.content())))
    }

    fn scan(&self, mut look: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        for node in self.scan_all() {
            let node = node?;
            look(node.id().as_bytes(), node.content())?;
        }
        Ok(())
    }
}
