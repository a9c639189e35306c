//! Integer conversions: those that lose nothing on 64-bit machines, and one
//! that loses nothing by an invariant.
//!
//! Files may be larger than 4 GiB and are mapped whole, so positions in them
//! are `usize` in memory and `u64` on disk, which have the same range on the
//! supported machines. A value that may not fit, such as a length that a caller
//! gave, is converted with `try_from` and refused with an error that names it.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("files larger than 4 GiB are mapped whole, which needs a 64-bit machine");

/// A 32-bit number as an index or a length in memory.
#[inline]
pub(crate) const fn index(number: u32) -> usize {
    number as usize
}

/// A length or a position in memory as one of a file.
#[inline]
pub(crate) const fn wide(size: usize) -> u64 {
    size as u64
}

/// A length or a position of a file as one in memory.
#[inline]
pub(crate) const fn size(number: u64) -> usize {
    number as usize
}

/// A count that an invariant keeps below 2^32. The caller names the invariant.
#[inline]
pub(crate) fn short(count: usize) -> u32 {
    debug_assert!(u32::try_from(count).is_ok(), "{count} in 32 bits");
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_at_either_end() {
        for number in [0, 1, u32::MAX - 1, u32::MAX] {
            assert_eq!(short(index(number)), number);
            assert_eq!(wide(index(number)), u64::from(number));
        }
        for number in [0, 1, u64::from(u32::MAX) + 1, u64::MAX] {
            assert_eq!(wide(size(number)), number);
        }
    }
}
