//! A comparison of many numbers with one.

/// Appends to `out` a bit for each of the little-endian `u32` in `numbers`, set
/// if it equals `wanted`. Each `u32` of `out` has the bits of 32 numbers, the
/// first in the lowest bit.
pub(crate) fn equal(numbers: &[u8], wanted: u32, out: &mut Vec<u32>) {
    let (numbers, _) = numbers.as_chunks::<4>();
    let wanted = wanted.to_le_bytes();
    out.extend(numbers.chunks(32).map(|numbers| {
        let bits = (0_u32..).zip(numbers);
        bits.fold(0, |bits, (at, number)| bits | (u32::from(*number == wanted) << at))
    }));
}
