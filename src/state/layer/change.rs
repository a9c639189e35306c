//! Entries of the ordered maps of a layer.

use im::OrdMap;

/// What a layer says about a key. A layer without an entry for a key says that
/// it is as it is below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change<T> {
    /// There, and not below: without this entry it would not be there.
    Added(T),
    /// There, in place of what is below.
    Over(T),
    /// A tombstone: it is below, and no longer there.
    Gone,
}

impl<T> Change<T> {
    /// The value; `None` for a tombstone.
    #[inline]
    pub(crate) fn value(&self) -> Option<&T> {
        match self {
            Self::Added(value) | Self::Over(value) => Some(value),
            Self::Gone => None,
        }
    }

    /// `count` and what this adds to the number of entries below.
    #[inline]
    pub(crate) fn more(&self, count: i64) -> i64 {
        match self {
            Self::Added(_) => count.saturating_add(1),
            Self::Over(_) => count,
            Self::Gone => count.saturating_sub(1),
        }
    }

    #[inline]
    pub(crate) fn is_there(&self) -> bool {
        self.value().is_some()
    }
}

/// Sets or removes the value of a key in a map of the active layer. `there` says
/// whether the key is there before: in this layer, or below if this layer has no
/// entry. Only what is below gets a tombstone. Returns the old entry.
pub(crate) fn set<K: Ord + Clone, T: Clone>(
    map: &mut OrdMap<K, Change<T>>,
    key: K,
    value: Option<T>,
    there: bool,
) -> Option<Change<T>> {
    let below = match map.get(&key) {
        Some(Change::Added(_)) => false,
        Some(Change::Over(_) | Change::Gone) => true,
        None => there,
    };
    match (value, below) {
        (Some(value), false) => map.insert(key, Change::Added(value)),
        (Some(value), true) => map.insert(key, Change::Over(value)),
        (None, true) => map.insert(key, Change::Gone),
        (None, false) => map.remove(&key),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Three layers, each of which becomes part of what is below: the merged view
    /// is that of a plain map, and an entry is there only if it says something.
    #[test]
    fn only_what_is_below_leaves_a_tombstone() {
        let (mut below, mut now) = (BTreeMap::new(), BTreeMap::new());
        let mut random = 7_u32;
        for _ in 0..3 {
            let mut layer: OrdMap<u32, Change<u32>> = OrdMap::new();
            for _ in 0..200 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (key, value) = (random >> 16 & 31, random >> 8 & 7);
                let value = (value < 4).then_some(value);
                set(&mut layer, key, value, now.contains_key(&key));
                match value {
                    Some(value) => now.insert(key, value),
                    None => now.remove(&key),
                };
                let mut merged = below.clone();
                for (key, change) in &layer {
                    let (under, value) = (below.contains_key(key), change.value().copied());
                    assert_eq!(!matches!(change, Change::Added(_)), under, "{key}");
                    match value {
                        Some(value) => merged.insert(*key, value),
                        None => merged.remove(key),
                    };
                }
                assert_eq!(merged, now);
            }
            below.clone_from(&now);
        }
    }
}
