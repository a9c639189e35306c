//! The vector files of a checkpoint.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytemuck::bytes_of;
use foldhash::quality::RandomState;

use super::{Extent, output::Making};
use crate::{
    error::Result,
    format::{
        FileKind,
        manifest::VectorFile,
        tables::{self, Le64, LeF64, VectorHead, vector_row_bytes},
    },
    id::NodeId,
    segment::Writer,
    snapshot::{Base, Frozen, Vector, VectorPart},
};

/// Vector files of about one size before they are merged.
const VECTOR_FILES: usize = 4;

/// The vector files of a space: what was there, what was frozen, and some of
/// them made one.
pub(super) fn vectors(
    space: u32,
    frozen: &Frozen,
    old: &Base,
    extent: Extent,
    making: &mut Making<'_>,
) -> Result<Vec<VectorFile>> {
    let changes = || {
        let all = (space, NodeId::MIN)..=(space, NodeId::MAX);
        frozen.layer.vectors.range(all).map(|((_, id), vector)| (*id, vector))
    };
    let dimension = usize::try_from(space).ok().and_then(|at| frozen.spaces.get(at));
    let dimension = dimension.map_or(0, |named| named.space.dimension);
    let mut dead: HashMap<u32, u64, RandomState> = HashMap::default();
    let mut fresh = 0_u64;
    for (id, vector) in changes() {
        fresh = fresh.saturating_add(u64::from(vector.is_some()));
        if let Some(node) = old.node(id)?
            && let Some((_, seq)) = node.vectors().find(|(of, _)| *of == space)
            && let Some(part) = old.vector_part(space, id, seq)?
        {
            let count = dead.entry(part).or_default();
            *count = count.saturating_add(1);
        }
    }
    let mut kept = Vec::new();
    let mut merged: Vec<&Arc<VectorPart>> = Vec::new();
    // Files by the order of magnitude of what lives in them.
    let mut classes: BTreeMap<u32, Vec<(VectorFile, &Arc<VectorPart>)>> = BTreeMap::new();
    let files = old.manifest.vectors.iter().zip(&old.vectors);
    for (file, part) in files.filter(|(file, _)| file.space == space) {
        let now = VectorFile {
            live: file.live.saturating_sub(dead.get(&file.file.number).copied().unwrap_or(0)),
            ..*file
        };
        let len = u64::try_from(part.len).unwrap_or(u64::MAX);
        if now.live == 0 {
            continue;
        }
        if now.live < len / 2 || (extent == Extent::All && now.live < len) {
            merged.push(part);
        } else {
            classes.entry(class(now.live)).or_default().push((now, part));
        }
    }
    let several = classes.values().map(Vec::len).fold(merged.len(), usize::saturating_add) > 1;
    for (size, files) in classes {
        let with_fresh = files.len().saturating_add(usize::from(class(fresh) == size));
        if with_fresh >= VECTOR_FILES || (extent == Extent::All && (several || fresh > 0)) {
            merged.extend(files.into_iter().map(|(_, part)| part));
        } else {
            kept.extend(files.into_iter().map(|(now, _)| now));
        }
    }
    if fresh == 0 && merged.is_empty() {
        return Ok(kept);
    }
    let mut writer: Option<Writer> = None;
    let mut live = 0_u64;
    let mut put = |making: &mut Making<'_>, head: VectorHead, numbers: &[f32]| -> Result<()> {
        let writer = match &mut writer {
            Some(writer) => writer,
            none => {
                let mut begun = making.create(FileKind::Vectors)?;
                begun.section(tables::ROWS, vector_row_bytes(dimension));
                none.insert(begun)
            }
        };
        writer.write(bytes_of(&head))?;
        writer.write(bytemuck::cast_slice(numbers))?;
        live = live.saturating_add(1);
        Ok(())
    };
    let head = |id: NodeId, vector: &Vector| VectorHead {
        id: *id.as_bytes(),
        seq: Le64::new(vector.seq.get()),
        norm: LeF64::new(vector.norm),
    };
    let mut rows = vec![0_usize; merged.len()];
    let mut changes = changes().peekable();
    loop {
        // The smallest id that any has next.
        let mut least: Option<(NodeId, usize)> = None;
        for (at, (part, row)) in merged.iter().zip(&rows).enumerate() {
            if *row < part.len {
                let id = part.row(*row)?.0.id();
                if least.is_none_or(|(least, _)| id < least) {
                    least = Some((id, at));
                }
            }
        }
        let before = changes.next_if(|(id, _)| least.is_none_or(|(least, _)| *id < least));
        if let Some((id, vector)) = before {
            if let Some(vector) = vector {
                put(making, head(id, vector), &vector.numbers)?;
            }
            continue;
        }
        let Some((id, at)) = least else { break };
        let (Some(part), Some(row)) = (merged.get(at), rows.get_mut(at)) else { break };
        let (stored, numbers) = part.row(*row)?;
        *row = row.saturating_add(1);
        let current = !frozen.layer.vectors.contains_key(&(space, id))
            && old.node(id)?.is_some_and(|node| {
                node.vectors().any(|(of, seq)| of == space && seq == stored.seq())
            });
        if current {
            put(making, *stored, numbers)?;
        }
    }
    if let Some(writer) = writer {
        kept.push(VectorFile { file: making.finish(writer)?, space, live });
    }
    Ok(kept)
}

/// The order of magnitude of a count, in powers of four.
pub(super) const fn class(count: u64) -> u32 {
    (u64::BITS - count.leading_zeros()) / 2
}
