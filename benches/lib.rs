//! What the benches share.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "benches"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A directory on the medium that a bench is about: where the build is, not a
/// tmpfs.
pub fn scratch() -> tempfile::TempDir {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target");
    let _ = fs::create_dir(&target);
    tempfile::tempdir_in(target).unwrap()
}

/// Splitmix64.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number less than `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// From a normal distribution, about: the sum of twelve even ones.
    pub fn normal(&mut self) -> f32 {
        let even = |x: u64| (x >> 40) as f32 / (1 << 24) as f32;
        (0..12).map(|_| even(self.bits())).sum::<f32>() - 6.0
    }

    /// Numbers from a normal distribution.
    pub fn gauss(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.normal()).collect()
    }
}

/// The rows of an `.npy` array of little-endian f16 or f32, but for zeros.
#[must_use]
pub fn read_vectors(path: &Path) -> Vec<Vec<f32>> {
    let bytes = fs::read(path).unwrap();
    let header = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    let text = std::str::from_utf8(&bytes[10..10 + header]).unwrap();
    let shape = text.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let dimension: usize = shape.split(',').nth(1).unwrap().trim().parse().unwrap();
    let data = &bytes[10 + header..];
    let numbers: Vec<f32> = if text.contains("<f2") {
        data.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()
    } else {
        data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let rows = numbers.chunks(dimension).filter(|row| row.iter().any(|x| *x != 0.0));
    rows.map(<[f32]>::to_vec).collect()
}
