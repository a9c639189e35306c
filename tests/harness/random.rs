//! Pseudo-random numbers, bytes and vectors.

/// Pseudo-random numbers: the same for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Pseudo-random bytes, which do not compress.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed);
    (0..len).map(|_| random.below(256) as u8).collect()
}

/// A vector of small integers, never all zero: sums of their products are
/// exact.
pub fn whole_vector(random: &mut Random, dimension: usize) -> Vec<f32> {
    let mut vector: Vec<f32> = (0..dimension).map(|_| random.below(33) as f32 - 16.0).collect();
    if vector.iter().all(|x| *x == 0.0) {
        vector[0] = 1.0;
    }
    vector
}

/// A vector of independent components from -1 to 1, the worst case for
/// quantisation.
pub fn noise_vector(random: &mut Random, dimension: usize) -> Vec<f32> {
    (0..dimension).map(|_| (random.below(1 << 24) as f32 / (1 << 23) as f32) - 1.0).collect()
}
