//! Maps the files of a manifest.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use crate::{
    format::{
        header::{Damage, FileKind},
        manifest::{DataFile, Manifest, TableFile},
        tables::{self, IndexEntryRef},
    },
    model::{
        error::{Error, Result},
        id::NodeId,
    },
    num,
    os::file::Fs,
    state::base::{
        Base,
        heap::{Heap, places},
        partitions::{
            EdgePartition, KeyPartition, NodePartition, Partition, decode_edge_key, total_bytes,
        },
        vectors::VectorPartition,
    },
    store::{
        manifest,
        segment::{self, file::Segment, keys::KeyTable, table::Table},
    },
};

/// A file that could not be opened, and why.
pub(crate) type Unopened = (FileKind, DataFile, Error);

/// The error of a file that is intact, but is not the one that the manifest
/// names.
fn foreign_file(segment: &Segment) -> Option<Error> {
    let mut checks = segment.verify();
    let error = checks.next()?.err()?;
    // Otherwise the file's own checksums report the damage.
    checks.all(|check| check.is_ok()).then_some(error)
}

fn reuse<P: Partition>(
    old: Option<&[Arc<P>]>,
    file: &TableFile,
    open: impl FnOnce() -> Result<P>,
) -> Result<Arc<P>> {
    let known =
        old.and_then(|old| old.iter().find(|partition| partition.segment().file() == file.file));
    match known {
        Some(known) => Ok(Arc::clone(known)),
        None => open().map(Arc::new),
    }
}

impl Base {
    /// Maps the files of a manifest, except those that `old` has mapped.
    ///
    /// Without `old`, as when a store is opened, heaps are not read before
    /// their first use. With it, the heaps that a checkpoint wrote are checked
    /// at once.
    pub(crate) fn open(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        manifest: &Manifest,
        old: Option<&Self>,
    ) -> Result<Self> {
        Self::open_with(fs, dir, manifest, old, old.is_some(), &mut |_, _, error| Err(error))
    }

    /// Maps the files of a manifest that can be opened, and returns the others
    /// with their errors. Lookups find nothing in the missing files. Only for
    /// salvage, since reads of an incomplete base give wrong answers.
    pub(crate) fn open_salvageable(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        manifest: &Manifest,
    ) -> Result<(Self, Vec<Unopened>)> {
        let mut unopened = Vec::new();
        let mut base = Self::open_with(fs, dir, manifest, None, true, &mut |kind, file, error| {
            if !matches!(error, Error::Corrupt { .. }) {
                return Err(error);
            }
            unopened.push((kind, file, error));
            Ok(())
        })?;
        // Leaves out intact files that replaced another, such as one from a
        // copy of the store.
        let mut keep = |kind, segment: &Segment| match foreign_file(segment) {
            Some(error) => {
                unopened.push((kind, segment.file(), error));
                false
            }
            None => true,
        };
        base.heaps.retain(|heap| keep(FileKind::Heap, &heap.segment));
        base.heap_places = places(&base.heaps);
        base.nodes.retain(|partition| keep(FileKind::Nodes, partition.segment()));
        base.out.retain(|partition| keep(FileKind::Out, partition.segment()));
        base.in_edges.retain(|partition| keep(FileKind::In, partition.segment()));
        base.keys.retain(|partition| keep(FileKind::Keys, partition.segment()));
        base.vectors.retain(|partition| keep(FileKind::Vectors, &partition.rows.segment));
        Ok((base, unopened))
    }

    /// Calls `failed` for each file that cannot be opened, to decide whether to
    /// continue without it.
    fn open_with(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        manifest: &Manifest,
        old: Option<&Self>,
        check_heaps: bool,
        failed: &mut dyn FnMut(FileKind, DataFile, Error) -> Result<()>,
    ) -> Result<Self> {
        // All files are mapped before one is read, so that the disk gets all
        // requests at once.
        let known = old.iter().flat_map(|old| old.segments()).map(|known| known.file().number);
        let known: HashSet<u32> = known.collect();
        let unknown = manifest.files().filter(|(_, file)| !known.contains(&file.number));
        let maps = unknown.map(|(kind, file)| (file.number, segment::map(fs, dir, kind, file)));
        let maps: RefCell<HashMap<_, _>> = RefCell::new(maps.collect());
        let segment = |kind, file: DataFile| {
            let map = maps.borrow_mut().remove(&file.number);
            let map = map.unwrap_or_else(|| segment::map(fs, dir, kind, file))?;
            Segment::open(fs, dir, kind, manifest.store, file, map)
        };
        let damaged = |what: &str| {
            Damage::new(72, format!("the manifest has {what}"))
                .in_file(&dir.with_file_name(manifest::FILE))
        };
        let path = dir.parent().unwrap_or(dir).to_owned();
        let rebuild_signal = old.map(|old| old.rebuild_signal.clone()).unwrap_or_default();
        let manifest_of = Arc::new(manifest.clone());
        let mut base = Self { path, manifest: manifest_of, rebuild_signal, ..Self::default() };
        for heap in &manifest.heaps {
            let known = old.and_then(|old| old.heap(heap.file.number).ok());
            let opened = match known {
                Some(known) => Ok(Arc::clone(known)),
                None => segment(FileKind::Heap, heap.file).and_then(|file| {
                    let heap = Heap::new(file);
                    if check_heaps {
                        heap.section()?;
                    }
                    Ok(Arc::new(heap))
                }),
            };
            match opened {
                Ok(heap) => base.heaps.push(heap),
                Err(error) => failed(FileKind::Heap, heap.file, error)?,
            }
        }
        base.heaps.sort_unstable_by_key(|heap| heap.number());
        base.heap_places = places(&base.heaps);
        for file in &manifest.nodes {
            let opened = reuse(old.map(|old| &*old.nodes), file, || {
                let segment = Arc::new(segment(FileKind::Nodes, file.file)?);
                let first = file.first.as_slice().try_into();
                Ok(NodePartition {
                    first: NodeId::from_bytes(first.map_err(|_| damaged("a wrong key"))?),
                    rows: Table::open(&segment, tables::ROWS)?,
                    kinds: Table::open(&segment, tables::KINDS)?,
                    members: Table::open(&segment, tables::MEMBERS)?,
                    refs: Table::open(&segment, tables::REFS)?,
                })
            });
            match opened {
                Ok(partition) => base.nodes.push(partition),
                Err(error) => failed(FileKind::Nodes, file.file, error)?,
            }
        }
        for (kind, files, partitions, old) in [
            (FileKind::Out, &manifest.out, &mut base.out, old.map(|old| &*old.out)),
            (FileKind::In, &manifest.in_edges, &mut base.in_edges, old.map(|old| &*old.in_edges)),
        ] {
            for file in files {
                let opened = reuse(old, file, || {
                    let segment = Arc::new(segment(kind, file.file)?);
                    let first = decode_edge_key(&file.first);
                    let refs = match kind {
                        FileKind::Out => Some(Table::open(&segment, tables::REFS)?),
                        _ => None,
                    };
                    Ok(EdgePartition {
                        first: first.ok_or_else(|| damaged("a wrong key"))?,
                        rows: Table::open(&segment, tables::ROWS)?,
                        refs,
                    })
                });
                match opened {
                    Ok(partition) => partitions.push(partition),
                    Err(error) => failed(kind, file.file, error)?,
                }
            }
        }
        for file in &manifest.keys {
            let opened = reuse(old.map(|old| &*old.keys), file, || {
                let segment = Arc::new(segment(FileKind::Keys, file.file)?);
                IndexEntryRef::decode(&file.first).map_err(|_| damaged("a wrong key"))?;
                Ok(KeyPartition { first: file.first.clone(), entries: KeyTable::open(&segment)? })
            });
            match opened {
                Ok(partition) => base.keys.push(partition),
                Err(error) => failed(FileKind::Keys, file.file, error)?,
            }
        }
        for file in &manifest.vectors {
            let old = old.map(|old| old.vectors.iter());
            let known = old.and_then(|mut partitions| {
                partitions
                    .find(|partition| partition.rows.segment.file().number == file.file.number)
            });
            let space = manifest.spaces.get(num::index(file.space));
            let space = space.ok_or_else(|| damaged("vectors of an unknown space"))?;
            match VectorPartition::open(&segment, file, space, known) {
                Ok(partition) => base.vectors.push(partition),
                Err(error) => failed(FileKind::Vectors, file.file, error)?,
            }
        }
        let bytes = total_bytes(&base.nodes)
            + total_bytes(&base.keys)
            + total_bytes(&base.out)
            + total_bytes(&base.in_edges);
        base.table_bytes = num::size(bytes);
        let sorted = base.nodes.is_sorted_by(|a, b| a.first < b.first)
            && base.out.is_sorted_by(|a, b| a.first < b.first)
            && base.in_edges.is_sorted_by(|a, b| a.first < b.first)
            && base.keys.is_sorted_by(|a, b| a.first() < b.first());
        if sorted { Ok(base) } else { Err(damaged("partitions out of order")) }
    }
}
