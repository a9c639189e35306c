//! Search in sorted rows.

use crate::model::error::Result;

/// The first of `low..high` of which `look` does not say that it is less than
/// what is looked for, and its rank. `ranks` are those at `low` and at about
/// `high`; they steer, and decide nothing.
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
    // From the last guess on in growing steps.
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

/// A row of `low..high` in proportion to where `rank` lies between the ranks.
pub(crate) fn interpolate(
    low: usize,
    high: usize,
    low_rank: u64,
    high_rank: u64,
    rank: u64,
) -> usize {
    let last = high.saturating_sub(1);
    let (Some(span), Some(partition)) =
        (high_rank.checked_sub(low_rank).filter(|s| *s > 0), rank.checked_sub(low_rank))
    else {
        return if rank < low_rank { low } else { low.midpoint(last) };
    };
    // 32 bits of each are enough for a guess, and a quotient of 64 bits is not
    // worth a quarter of one of 128.
    let shift = 32_u32.saturating_sub(span.leading_zeros());
    let rows = u64::try_from(last.saturating_sub(low)).unwrap_or(0);
    let ahead = rows.saturating_mul(partition >> shift).checked_div(span >> shift).unwrap_or(0);
    low.saturating_add(usize::try_from(ahead).unwrap_or(usize::MAX)).min(last)
}

/// Guesses by interpolation before a search goes by halves.
const GUESSES: usize = 4;
