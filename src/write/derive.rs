//! Derives the keys of nodes for the indexes that declare what they are on.

use std::sync::Arc;

use crate::{
    model::{
        error::{Error, Result},
        index::{Fields, Index},
        limits::{self, check_count},
    },
    state::{
        catalog::{Indexes, Phase},
        record::NodeRecord,
    },
};

/// Index and key, as records have them.
pub(super) type Keys = Box<[(u32, Arc<[u8]>)]>;

/// What an operation changes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    Anything,
    /// Its access time and count.
    Access,
    Expiry,
    /// Nothing, but this index is being built.
    Index(u32),
}

impl Changed {
    /// Whether keys of an index may change.
    fn concerns(self, number: u32, index: &Index) -> bool {
        match self {
            Self::Anything => true,
            Self::Access => index.follows_access(),
            Self::Expiry => index.follows_expiry(),
            Self::Index(of) => of == number,
        }
    }
}

/// What of a record an index may be on. `kind` is the name of its kind.
pub(super) fn fields<'r>(record: &'r NodeRecord, kind: &'r str) -> Fields<'r> {
    Fields {
        kind,
        attributes: record.attributes(),
        strength: record.strength,
        confidence: record.confidence,
        created: record.created,
        updated: record.updated,
        accessed: record.accessed,
        access_count: record.access_count,
        expires: record.expires,
    }
}

/// The keys of a record after a change, with those that are derived; `None` if they
/// are as they were.
///
/// # Errors
/// `Invalid` for a key that is too long, and `Limit` for too many of them.
pub(super) fn keys(
    indexes: &Indexes,
    kind: &str,
    record: &NodeRecord,
    changed: Changed,
) -> Result<Option<Keys>> {
    let concerned = |number: u32| {
        let derived = indexes.derived(number);
        derived.is_some_and(|derived| changed.concerns(number, &derived.definition))
    };
    if !indexes.all_derived().any(|(number, ..)| concerned(number)) {
        return Ok(None);
    }
    let kept = record.keys.iter().filter(|(number, _)| !concerned(*number));
    let mut keys: Vec<(u32, Arc<[u8]>)> = kept.cloned().collect();
    let fields = fields(record, kind);
    let mut found = Vec::new();
    for (number, index, derived) in indexes.all_derived() {
        if !concerned(number) || matches!(derived.phase, Phase::Failed(_)) {
            continue;
        }
        derived.definition.derive(&fields, &mut found).map_err(|error| {
            named(error, &format!("index {:?}, node {}", index.name, record.id))
        })?;
        keys.extend(found.drain(..).map(|key| (number, Arc::from(key))));
    }
    keys.sort_unstable();
    keys.dedup();
    check_count("index keys of a node", keys.len(), limits::NODE_KEYS)?;
    Ok(Some(keys.into()))
}

/// Says of what an error is.
fn named(error: Error, what: &str) -> Error {
    match error {
        Error::Limit { .. } => Error::invalid(format!("{what}: {error}")),
        other => other,
    }
}
