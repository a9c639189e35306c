//! Merges sorted changes with sorted rows.

use crate::model::error::Result;

/// What a merge emits for a key.
pub(crate) enum Merged<R, C> {
    /// The old row.
    Old(R),
    /// The change that replaces it.
    New(C),
}

/// Merges rows with changes that override them, both ascending. A change of
/// `None` deletes.
pub(crate) fn merge<R, C, K: Ord>(
    old: impl Iterator<Item = Result<R>>,
    key: impl Fn(&R) -> K,
    changes: impl Iterator<Item = (K, Option<C>)>,
    mut emit: impl FnMut(Merged<R, C>) -> Result<()>,
) -> Result<()> {
    let mut changes = changes.peekable();
    for row in old {
        let row = row?;
        let place = key(&row);
        while let Some((_, change)) = changes.next_if(|(key, _)| *key < place) {
            if let Some(change) = change {
                emit(Merged::New(change))?;
            }
        }
        match changes.next_if(|(key, _)| *key == place) {
            Some((_, Some(change))) => emit(Merged::New(change))?,
            Some((_, None)) => {}
            None => emit(Merged::Old(row))?,
        }
    }
    for (_, change) in changes {
        if let Some(change) = change {
            emit(Merged::New(change))?;
        }
    }
    Ok(())
}
