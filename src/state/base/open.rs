//! Maps the files of a manifest.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
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

/// Decides whether to continue without a file that cannot be opened.
type Failed<'a> = dyn FnMut(FileKind, DataFile, Error) -> Result<()> + 'a;

/// The files of a manifest, to be opened kind by kind.
struct Files<'a> {
    segment: &'a dyn Fn(FileKind, DataFile) -> Result<Segment>,
    manifest: &'a Manifest,
    old: Option<&'a Base>,
    manifest_path: PathBuf,
}

impl Files<'_> {
    fn damaged(&self, what: &str) -> Error {
        Damage::new(72, format!("the manifest has {what}")).in_file(&self.manifest_path)
    }

    /// Ascending by number.
    fn heaps(&self, check: bool, failed: &mut Failed<'_>) -> Result<Vec<Arc<Heap>>> {
        let mut heaps = Vec::new();
        for heap in &self.manifest.heaps {
            let known = self.old.and_then(|old| old.heap(heap.file.number).ok());
            let opened = match known {
                Some(known) => Ok(Arc::clone(known)),
                None => (self.segment)(FileKind::Heap, heap.file).and_then(|file| {
                    let heap = Heap::new(file);
                    if check {
                        heap.section()?;
                    }
                    Ok(Arc::new(heap))
                }),
            };
            match opened {
                Ok(heap) => heaps.push(heap),
                Err(error) => failed(FileKind::Heap, heap.file, error)?,
            }
        }
        heaps.sort_unstable_by_key(|heap| heap.number());
        Ok(heaps)
    }

    /// The partitions of a table.
    fn partitions<P: Partition>(
        &self,
        kind: FileKind,
        files: &[TableFile],
        old: Option<&[Arc<P>]>,
        failed: &mut Failed<'_>,
        open: impl Fn(&TableFile, Arc<Segment>) -> Result<P>,
    ) -> Result<Vec<Arc<P>>> {
        let mut partitions = Vec::new();
        for file in files {
            let opened =
                reuse(old, file, || open(file, Arc::new((self.segment)(kind, file.file)?)));
            match opened {
                Ok(partition) => partitions.push(partition),
                Err(error) => failed(kind, file.file, error)?,
            }
        }
        Ok(partitions)
    }

    fn nodes(&self, failed: &mut Failed<'_>) -> Result<Vec<Arc<NodePartition>>> {
        let old = self.old.map(|old| &*old.nodes);
        self.partitions(FileKind::Nodes, &self.manifest.nodes, old, failed, |file, segment| {
            let first = file.first.as_slice().try_into();
            Ok(NodePartition {
                first: NodeId::from_bytes(first.map_err(|_| self.damaged("a wrong key"))?),
                rows: Table::open(&segment, tables::ROWS)?,
                kinds: Table::open(&segment, tables::KINDS)?,
                members: Table::open(&segment, tables::MEMBERS)?,
                refs: Table::open(&segment, tables::REFS)?,
            })
        })
    }

    /// The edges by source, whose files have references to heaps, or by target.
    fn edges(&self, kind: FileKind, failed: &mut Failed<'_>) -> Result<Vec<Arc<EdgePartition>>> {
        let outbound = kind == FileKind::Out;
        let (files, old) = if outbound {
            (&self.manifest.out, self.old.map(|old| &*old.out))
        } else {
            (&self.manifest.in_edges, self.old.map(|old| &*old.in_edges))
        };
        self.partitions(kind, files, old, failed, |file, segment| {
            let refs = outbound.then(|| Table::open(&segment, tables::REFS)).transpose()?;
            let first = decode_edge_key(&file.first);
            Ok(EdgePartition {
                first: first.ok_or_else(|| self.damaged("a wrong key"))?,
                rows: Table::open(&segment, tables::ROWS)?,
                refs,
            })
        })
    }

    fn keys(&self, failed: &mut Failed<'_>) -> Result<Vec<Arc<KeyPartition>>> {
        let old = self.old.map(|old| &*old.keys);
        self.partitions(FileKind::Keys, &self.manifest.keys, old, failed, |file, segment| {
            IndexEntryRef::decode(&file.first).map_err(|_| self.damaged("a wrong key"))?;
            Ok(KeyPartition::new(file.first.clone(), KeyTable::open(&segment)?))
        })
    }

    fn vectors(&self, failed: &mut Failed<'_>) -> Result<Vec<VectorPartition>> {
        let mut partitions = Vec::new();
        for file in &self.manifest.vectors {
            let known = self.old.and_then(|old| {
                let of_number =
                    |known: &&VectorPartition| known.rows.segment.file().number == file.file.number;
                old.vectors.iter().find(of_number)
            });
            let space = self.manifest.space(file.space);
            let space = space.ok_or_else(|| self.damaged("vectors of an unknown space"))?;
            match VectorPartition::open(self.segment, file, space, known) {
                Ok(partition) => partitions.push(partition),
                Err(error) => failed(FileKind::Vectors, file.file, error)?,
            }
        }
        Ok(partitions)
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
        failed: &mut Failed<'_>,
    ) -> Result<Self> {
        // All files are mapped before one is read, so that the disk gets all
        // requests at once.
        let known = old.iter().flat_map(|old| old.segments()).map(|known| known.file().number);
        let known: HashSet<u32> = known.collect();
        let unknown = manifest.files().filter(|(_, file)| !known.contains(&file.number));
        let maps = unknown.map(|(kind, file)| (file.number, segment::map(fs, dir, kind, file)));
        let maps: RefCell<HashMap<_, _>> = RefCell::new(maps.collect());
        let manifest_path = dir.with_file_name(manifest::FILE);
        let segment = |kind, file: DataFile| {
            let map = maps.borrow_mut().remove(&file.number);
            let map = map.unwrap_or_else(|| segment::map(fs, dir, kind, file))?;
            Segment::open(fs, dir, kind, manifest.store, file, map)
        };
        let files = Files { segment: &segment, manifest, old, manifest_path };
        let path = dir.parent().unwrap_or(dir).to_owned();
        let rebuild_signal = old.map(|old| old.rebuild_signal.clone()).unwrap_or_default();
        let key_rows = old.map(|old| Arc::clone(&old.key_rows)).unwrap_or_default();
        let manifest_of = Arc::new(manifest.clone());
        let mut base =
            Self { path, manifest: manifest_of, rebuild_signal, key_rows, ..Self::default() };
        base.heaps = files.heaps(check_heaps, failed)?;
        base.heap_places = places(&base.heaps);
        base.nodes = files.nodes(failed)?;
        base.out = files.edges(FileKind::Out, failed)?;
        base.in_edges = files.edges(FileKind::In, failed)?;
        base.keys = files.keys(failed)?;
        base.vectors = files.vectors(failed)?;
        let bytes = total_bytes(&base.nodes)
            + total_bytes(&base.keys)
            + total_bytes(&base.out)
            + total_bytes(&base.in_edges);
        base.table_bytes = num::size(bytes);
        let sorted = base.nodes.is_sorted_by(|a, b| a.first < b.first)
            && base.out.is_sorted_by(|a, b| a.first < b.first)
            && base.in_edges.is_sorted_by(|a, b| a.first < b.first)
            && base.keys.is_sorted_by(|a, b| a.first() < b.first());
        if sorted { Ok(base) } else { Err(files.damaged("partitions out of order")) }
    }
}
