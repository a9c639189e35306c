//! What is measured, as a line of JSON.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// One phase of one peer in one round. Figures that a phase has not are left
/// out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Line {
    pub round: u32,
    pub peer: String,
    pub phase: String,
    pub threads: u32,
    /// Records of the store and bytes of a value.
    pub records: u64,
    pub value: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<u64>,
    /// Of all operations; of openings the median of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<f64>,
    /// Of one operation; where a write has many records, of one write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999_us: Option<f64>,
    /// What the last settling took of `seconds`, or after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle_seconds: Option<f64>,
    /// Records that the other thread wrote, while the figures are a reader's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer_ops_per_second: Option<f64>,
    /// Records that were written before the process was killed, and that were
    /// there afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<u64>,
    /// Bytes allocated to the store's files, at the end of the phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Anonymous memory of the peer's process, at the end of the phase and its
    /// peak in it. A few MB are the bench's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anon_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anon_peak_bytes: Option<u64>,
}

impl Line {
    /// With the rate of so many operations.
    pub fn rate(mut self, ops: u64, seconds: f64) -> Self {
        self.ops = Some(ops);
        self.seconds = Some(seconds);
        self.ops_per_second = Some(ops as f64 / seconds);
        self
    }

    /// With the percentiles of a histogram of nanoseconds.
    pub fn latency(mut self, histogram: &Histogram<u64>) -> Self {
        let at = |quantile| Some(histogram.value_at_quantile(quantile) as f64 / 1e3);
        (self.p50_us, self.p99_us, self.p999_us) = (at(0.5), at(0.99), at(0.999));
        self
    }
}

/// A histogram of nanoseconds up to ten minutes, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).unwrap()
}
