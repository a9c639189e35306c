//! Keys of ordered indexes.

use crate::model::time::Timestamp;

/// Encodes composite index keys so that the order of the bytes is the order of
/// the values, component by component.
///
/// | component | encoding |
/// |---|---|
/// | integer | big-endian, sign bit flipped |
/// | float | IEEE 754 bits big-endian; all flipped if negative, else the sign bit; -0 as 0 |
/// | text, bytes | 0x00 as 0x00 0xFF, then 0x00 0x01 at the end |
/// | descending | the component's bytes, each flipped |
///
/// A key is as long as its components: 8 bytes a number, text its length and
/// two. Keys of one index should have the same sequence of component types.
///
/// ```
/// use ingrain::KeyBuilder;
///
/// // By success rate, best first, then by name.
/// let key = |rate, name| KeyBuilder::new().descending().float(rate).text(name).build();
/// assert!(key(0.9, "b") < key(0.5, "a"));
/// assert!(key(0.5, "a") < key(0.5, "b"));
/// assert!(key(0.5, "a") < key(0.5, "aa"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct KeyBuilder {
    bytes: Vec<u8>,
    descending: bool,
}

impl KeyBuilder {
    /// An empty key.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reverses the order of the next component, and of no other.
    #[must_use]
    pub fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    /// Adds a whole number.
    #[must_use]
    pub fn int(self, value: i64) -> Self {
        self.component(&(value ^ i64::MIN).to_be_bytes())
    }

    /// Adds a time.
    #[must_use]
    pub fn time(self, time: Timestamp) -> Self {
        self.int(time.as_micros())
    }

    /// Adds a number. NaN, which has no place in an order, goes last (first
    /// when descending).
    #[must_use]
    pub fn float(self, value: f64) -> Self {
        let value = if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
        let bits = value.to_bits();
        let ordered = if bits >> 63 == 1 { !bits } else { bits ^ (1 << 63) };
        self.component(&ordered.to_be_bytes())
    }

    /// Adds text, ordered by its UTF-8 bytes.
    #[must_use]
    pub fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(self, value: &[u8]) -> Self {
        let mut escaped = Vec::with_capacity(value.len().saturating_add(2));
        for byte in value {
            escaped.push(*byte);
            if *byte == 0 {
                escaped.push(0xff);
            }
        }
        escaped.extend([0, 1]);
        self.component(&escaped)
    }

    /// The key. Where bytes are expected, a builder can be given without this.
    #[must_use]
    pub fn build(self) -> Vec<u8> {
        self.bytes
    }

    fn component(mut self, bytes: &[u8]) -> Self {
        let mask = if self.descending { 0xff } else { 0 };
        self.descending = false;
        self.bytes.extend(bytes.iter().map(|byte| byte ^ mask));
        self
    }
}

impl From<KeyBuilder> for Vec<u8> {
    /// As [`KeyBuilder::build`].
    fn from(key: KeyBuilder) -> Self {
        key.build()
    }
}
