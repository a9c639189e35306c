//! The records: made from their number, the same for all peers.

use crate::store::{Change, Key};

/// Splitmix64: the next number of a row of random ones.
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix(*state)
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The id of a record: random bytes, so that the order of the numbers is a
/// random order of the keys.
pub fn key(n: u64) -> Key {
    let mut state = n.wrapping_mul(0x2545_f491_4f6c_dd1d);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&random(&mut state).to_be_bytes());
    key[8..].copy_from_slice(&random(&mut state).to_be_bytes());
    key
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn xor(value: &[u8]) -> u64 {
    value.chunks_exact(8).fold(0, |all, bytes| all ^ word(bytes))
}

/// Reads all of a value. Gives its generation if it is one of this key's: the
/// exclusive or of its words is the second half of the key.
pub fn check(key: &[u8], value: &[u8], len: usize) -> Option<u64> {
    let sound = value.len() == len && xor(value) == word(key.get(8..16)?);
    sound.then(|| word(&value[..8]))
}

/// Makes values: the generation, then random bytes, then a word that makes the
/// check come out right.
pub struct Values {
    pool: Vec<u8>,
    len: usize,
}

impl Values {
    /// For values of this length, a multiple of 8 and at least 24.
    pub fn new(len: usize) -> Self {
        let mut state = 1;
        let words = (0..(1 << 17) + len / 8).flat_map(|_| random(&mut state).to_le_bytes());
        Self { pool: words.collect(), len }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    fn fill(&self, key: &Key, generation: u64, value: &mut [u8]) {
        let from = (word(&key[..8]) as usize % (1 << 17)) * 8;
        value.copy_from_slice(&self.pool[from..from + self.len]);
        value[..8].copy_from_slice(&generation.to_le_bytes());
        let last = self.len - 8;
        let rest = xor(&value[..last]) ^ word(&key[8..]);
        value[last..].copy_from_slice(&rest.to_le_bytes());
    }
}

/// Changes that go into one write, with room for their values.
pub struct Batch<'v> {
    values: &'v Values,
    keys: Vec<Key>,
    bytes: Vec<u8>,
}

impl<'v> Batch<'v> {
    pub fn new(values: &'v Values) -> Self {
        Self { values, keys: Vec::new(), bytes: Vec::new() }
    }

    /// Replaces what the batch has by these records, each a different one, of a
    /// generation.
    pub fn fill(&mut self, numbers: impl Iterator<Item = u64>, generation: u64) {
        self.keys.clear();
        self.keys.extend(numbers.map(key));
        self.bytes.resize(self.keys.len() * self.values.len, 0);
        for (key, value) in self.keys.iter().zip(self.bytes.chunks_exact_mut(self.values.len)) {
            self.values.fill(key, generation, value);
        }
    }

    pub fn puts(&self) -> Vec<Change<'_>> {
        let values = self.bytes.chunks_exact(self.values.len);
        self.keys.iter().zip(values).map(|(key, v)| Change { key: *key, value: Some(v) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_the_one_written_is_noticed() {
        let values = Values::new(24);
        let mut batch = Batch::new(&values);
        batch.fill(0..2, 7);
        let puts = batch.puts();
        let value = puts[0].value.unwrap();
        assert_eq!(check(&puts[0].key, value, 24), Some(7));
        assert_eq!(check(&puts[1].key, value, 24), None, "of another key");
        assert_eq!(check(&puts[0].key, &value[..16], 24), None, "shorter");
        for bit in 0..24 * 8 {
            let mut flipped = value.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check(&puts[0].key, &flipped, 24), None, "bit {bit}");
        }
    }
}
