//! Interpolation search in sorted rows.

use crate::{model::error::Result, num};

/// Returns the first position of `low..high` that is not less than the wanted
/// key. `look` returns the rank at a position, and whether it is less. `ranks`
/// are those at `low` and approximately at `high`; they only affect the speed.
/// `look` is called about as often as the distance of the guesses requires, at
/// most about twice as often as by a binary search.
#[inline]
pub(crate) fn search(
    (mut low, mut high): (usize, usize),
    (mut low_rank, mut high_rank): (u64, u64),
    rank: u64,
    look: impl Fn(usize) -> Result<(u64, bool)>,
) -> Result<usize> {
    let mut rising = None;
    for _ in 0..GUESSES {
        if high.saturating_sub(low) <= 4 {
            break;
        }
        let guess = interpolate(low, high, low_rank, high_rank, rank);
        let (found, less) = look(guess)?;
        if less {
            low = guess.saturating_add(1);
            low_rank = found;
        } else {
            high = guess;
            high_rank = found;
        }
        rising = Some(less);
    }
    // Galloping from the last guess, with steps that double.
    let mut step = 1_usize;
    while let Some(rising) = rising {
        let next = if rising { low.saturating_add(step) } else { high.saturating_sub(step) };
        if next >= high || next < low || (rising && next == low) {
            break;
        }
        let (_, less) = look(next)?;
        if less {
            low = next.saturating_add(1);
        } else {
            high = next;
        }
        if less != rising {
            break;
        }
        step = step.saturating_mul(2);
    }
    while low < high {
        let middle = low.midpoint(high);
        let (_, less) = look(middle)?;
        if less {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The row of `low..high` whose position is proportional to that of `rank`
/// between the two ranks.
#[inline]
pub(crate) fn interpolate(
    low: usize,
    high: usize,
    low_rank: u64,
    high_rank: u64,
    rank: u64,
) -> usize {
    let last = high.saturating_sub(1);
    let (Some(span), Some(distance)) =
        (high_rank.checked_sub(low_rank).filter(|s| *s > 0), rank.checked_sub(low_rank))
    else {
        return if rank < low_rank { low } else { low.midpoint(last) };
    };
    // 32 bits of each are enough for a guess; a division of 64 bits takes less
    // than a quarter of the time of one of 128 bits.
    let shift = 32_u32.saturating_sub(span.leading_zeros());
    let rows = num::wide(last.saturating_sub(low));
    let ahead = rows.saturating_mul(distance >> shift).checked_div(span >> shift).unwrap_or(0);
    low.saturating_add(num::size(ahead)).min(last)
}

/// Number of guesses by interpolation before the search gallops and then
/// continues as a binary search.
const GUESSES: usize = 4;
