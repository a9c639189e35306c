//! The vector files of a checkpoint: writes the vectors of the frozen layer, and
//! merges some old files with them.

use std::{collections::BTreeMap, sync::Arc};

use bytemuck::bytes_of;

use crate::{
    checkpoint::{output::FileSink, plan::Scope},
    format::{
        header::FileKind,
        manifest::VectorFile,
        tables::{self, Le32, Le64, LeF64, VectorHead, vector_bytes},
        vectors::{dead_bits, dead_rows},
    },
    model::{error::Result, id::NodeId, limits},
    num,
    state::{
        base::{Base, vectors::VectorPartition},
        layer::Frozen,
        record::Vector,
    },
    store::segment::writer::Writer,
};

/// This many vector files of about one size are merged.
const VECTOR_FILES: usize = 4;

/// Most bytes of vectors of a merged file, except in a compaction: the delta
/// grows while a checkpoint writes.
const MERGED_BYTES: u64 = 256 << 20;

/// The vector files of a space after a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(super) kept: Vec<VectorFile>,
    pub(super) new: Option<VectorFile>,
}

/// What becomes of the vector files of a space.
struct Plan<'b> {
    kept: Vec<VectorFile>,
    /// Files whose live rows go into the new one.
    merged: Vec<&'b VectorPartition>,
    /// Whether there are vectors that no file has.
    fresh: bool,
}

/// The vectors of a space that a layer has, and their deletions.
fn changes_of(space: u32, frozen: &Frozen) -> impl Iterator<Item = (NodeId, Option<&Arc<Vector>>)> {
    let all = (space, NodeId::MIN)..=(space, NodeId::MAX);
    frozen.layer().vectors().range(all).map(|((_, id), vector)| (*id, vector.value()))
}

/// Writes the vectors of a space that are new, or in files that are to be
/// merged, into one file.
pub(crate) fn seal(
    space: u32,
    frozen: &Frozen,
    old: &Base,
    scope: Scope,
    sink: &mut FileSink<'_>,
) -> Result<Files> {
    let Some(named) = frozen.space(space) else { return Ok(Files::default()) };
    let dimension = named.space.dimension;
    let Plan { kept, merged, fresh } = plan(space, dimension, frozen, old, scope)?;
    if !fresh && merged.is_empty() {
        return Ok(Files { kept, new: None });
    }
    let new = merge(space, dimension, frozen, &merged, sink)?;
    Ok(Files { kept, new })
}

/// Decides which files of a space are merged. Cost: a lookup for each vector of
/// the layer.
fn plan<'b>(
    space: u32,
    dimension: usize,
    frozen: &Frozen,
    old: &'b Base,
    scope: Scope,
) -> Result<Plan<'b>> {
    // Rows that die with this checkpoint, by file.
    let mut gone: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut fresh = 0_u64;
    for (id, vector) in changes_of(space, frozen) {
        fresh += u64::from(vector.is_some());
        for partition in old.vectors_of(space) {
            if let Some(row) = partition.live_row(id)? {
                gone.entry(partition.rows().segment().file().number).or_default().push(row);
                break;
            }
        }
    }
    let (mut kept, mut merged) = (Vec::new(), Vec::new());
    // Files by the order of magnitude of their live rows.
    let mut classes: BTreeMap<u32, Vec<(VectorFile, &VectorPartition)>> = BTreeMap::new();
    let all = old.manifest().vectors.iter().zip(old.vectors());
    for (file, partition) in all.filter(|(file, _)| file.space == space) {
        let len = num::wide(partition.rows().len());
        let mut now = file.clone();
        if let Some(gone) = gone.get(&file.file.number) {
            let count = num::wide(gone.len());
            now.live = now.live.saturating_sub(count);
            let dead = dead_rows(&file.dead).chain(gone.iter().copied());
            now.dead = dead_bits(dead, partition.rows().len());
        }
        if now.live == 0 {
            continue;
        }
        // Searches read dead rows too, so files with many are rewritten.
        if now.live.saturating_mul(3) < len.saturating_mul(2)
            || (scope == Scope::Full && now.live < len)
        {
            merged.push(partition);
        } else {
            classes.entry(class(now.live)).or_default().push((now, partition));
        }
    }
    let several = merged.len() + classes.values().map(Vec::len).sum::<usize>() > 1;
    let most = num::wide(limits::VECTOR_FILE_ROWS);
    let row_bytes = num::wide(vector_bytes(dimension));
    // Rows of the new file.
    let of_merged = merged
        .iter()
        .map(|partition: &&VectorPartition| partition.rows().len() - partition.dead_count());
    let mut rows = fresh + of_merged.map(num::wide).sum::<u64>();
    for (size, of_size) in classes {
        let with_fresh = of_size.len() + usize::from(class(fresh) == size);
        let more = of_size.iter().map(|(now, _)| now.live).fold(rows, u64::saturating_add);
        let wanted = match scope {
            Scope::Full => (several || fresh > 0) && more <= most,
            Scope::Incremental => {
                with_fresh >= VECTOR_FILES && more.saturating_mul(row_bytes) <= MERGED_BYTES
            }
        };
        if wanted {
            rows = more;
            merged.extend(of_size.into_iter().map(|(_, partition)| partition));
        } else {
            kept.extend(of_size.into_iter().map(|(now, _)| now));
        }
    }
    Ok(Plan { kept, merged, fresh: fresh > 0 })
}

/// Writes the vectors of the layer, and the live rows of files that it does not
/// override, into a new file, by node.
fn merge(
    space: u32,
    dimension: usize,
    frozen: &Frozen,
    merged: &[&VectorPartition],
    sink: &mut FileSink<'_>,
) -> Result<Option<VectorFile>> {
    let mut output = Output::new(dimension);
    let mut rows = vec![0_usize; merged.len()];
    let mut changes = changes_of(space, frozen).peekable();
    loop {
        // The file whose next live row has the smallest id.
        let mut least: Option<(NodeId, usize)> = None;
        for (at, (partition, row)) in merged.iter().zip(&mut rows).enumerate() {
            while partition.is_dead(*row) {
                *row += 1;
            }
            if *row < partition.rows().len() {
                let id = partition.rows().heads().row(*row)?.id();
                if least.is_none_or(|(least, _)| id < least) {
                    least = Some((id, at));
                }
            }
        }
        let before = changes.next_if(|(id, _)| least.is_none_or(|(least, _)| *id < least));
        if let Some((id, vector)) = before {
            if let Some(vector) = vector {
                output.put(sink, head(id, vector), vector.kind, &vector.components)?;
            }
            continue;
        }
        let Some((id, at)) = least else { break };
        let (Some(partition), Some(row)) = (merged.get(at), rows.get_mut(at)) else { break };
        let (stored, components) = partition.rows().row(*row)?;
        let kind = partition.rows().kinds().row(*row)?.get();
        *row += 1;
        if !frozen.layer().vectors().contains_key(&(space, id)) {
            output.put(sink, *stored, kind, components)?;
        }
    }
    output.finish(sink, space)
}

fn head(id: NodeId, vector: &Vector) -> VectorHead {
    VectorHead {
        id: *id.as_bytes(),
        seq: Le64::new(vector.seq.get()),
        norm: LeF64::new(vector.norm),
    }
}

/// A vector file that is being written. Vectors are written as they come; heads
/// and kinds follow them in the file, and are kept in memory until then, 36
/// bytes a row.
struct Output {
    dimension: usize,
    writer: Option<Writer>,
    heads: Vec<VectorHead>,
    kinds: Vec<Le32>,
}

impl Output {
    fn new(dimension: usize) -> Self {
        Self { dimension, writer: None, heads: Vec::new(), kinds: Vec::new() }
    }

    fn put(
        &mut self,
        sink: &mut FileSink<'_>,
        head: VectorHead,
        kind: u32,
        components: &[f32],
    ) -> Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let mut begun = sink.create(FileKind::Vectors)?;
                begun.section(tables::COMPONENTS, vector_bytes(self.dimension));
                none.insert(begun)
            }
        };
        self.heads.push(head);
        self.kinds.push(Le32::new(kind));
        writer.write(bytemuck::cast_slice(components))
    }

    fn finish(self, sink: &mut FileSink<'_>, space: u32) -> Result<Option<VectorFile>> {
        let Some(mut writer) = self.writer else { return Ok(None) };
        writer.section(tables::ROWS, size_of::<VectorHead>());
        for head in &self.heads {
            writer.write(bytes_of(head))?;
        }
        writer.section(tables::ROW_KINDS, size_of::<Le32>());
        writer.write(bytemuck::cast_slice(&self.kinds))?;
        let live = num::wide(self.heads.len());
        let file = sink.finish(writer)?;
        Ok(Some(VectorFile { file, space, live, dead: Vec::new(), codes: None, graph: None }))
    }
}

/// The order of magnitude of a count, in powers of four.
const fn class(count: u64) -> u32 {
    (u64::BITS - count.leading_zeros()) / 2
}
