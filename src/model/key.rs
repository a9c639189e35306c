//! Keys of ordered indexes.

use std::{
    fmt,
    ops::{Bound, RangeBounds},
};

use crate::model::{
    error::{Error, Result},
    time::Timestamp,
};

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

/// A range of index keys.
///
/// ```
/// use ingrain::{KeyBuilder, KeyRange};
///
/// let since = KeyRange::from(KeyBuilder::new().int(1_000).build()..);
/// let of_session = KeyRange::prefix(&KeyBuilder::new().text("session-1").build());
/// # let _ = (since, of_session);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
}

impl KeyRange {
    pub(crate) fn new(start: Bound<Vec<u8>>, end: Bound<Vec<u8>>) -> Self {
        Self { start, end }
    }

    pub(crate) fn start(&self) -> Bound<&[u8]> {
        self.start.as_ref().map(Vec::as_slice)
    }

    pub(crate) fn end(&self) -> Bound<&[u8]> {
        self.end.as_ref().map(Vec::as_slice)
    }

    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// Every key that begins with these bytes.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        // The smallest key that is larger than all with the prefix: the prefix
        // without trailing 0xff, its last byte plus one.
        let mut end = prefix.to_vec();
        while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
        let end = match end.last_mut() {
            Some(byte) => {
                *byte += 1;
                Bound::Excluded(end)
            }
            None => Bound::Unbounded,
        };
        Self { start: Bound::Included(prefix.to_vec()), end }
    }

    pub(crate) fn check(&self) -> Result<()> {
        use Bound::{Excluded, Included, Unbounded};
        let reversed = match (&self.start, &self.end) {
            (Unbounded, _) | (_, Unbounded) => false,
            (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start > end,
        };
        if reversed { Err(Error::invalid("key range: it ends before it starts")) } else { Ok(()) }
    }

    /// Whether a key lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        let start = match &self.start {
            Bound::Included(start) => **start <= *key,
            Bound::Excluded(start) => **start < *key,
            Bound::Unbounded => true,
        };
        let end = match &self.end {
            Bound::Included(end) => *key <= **end,
            Bound::Excluded(end) => *key < **end,
            Bound::Unbounded => true,
        };
        start && end
    }
}

impl fmt::Display for KeyRange {
    /// For people: the bounds as hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |key: &[u8], f: &mut fmt::Formatter<'_>| {
            key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        match &self.start {
            Bound::Unbounded => {}
            Bound::Included(key) => hex(key, f)?,
            Bound::Excluded(key) => {
                f.write_str("after ")?;
                hex(key, f)?;
            }
        }
        f.write_str("..")?;
        match &self.end {
            Bound::Unbounded => Ok(()),
            Bound::Included(key) => {
                f.write_str("=")?;
                hex(key, f)
            }
            Bound::Excluded(key) => hex(key, f),
        }
    }
}

impl<R: RangeBounds<Vec<u8>>> From<R> for KeyRange {
    fn from(range: R) -> Self {
        Self { start: range.start_bound().cloned(), end: range.end_bound().cloned() }
    }
}
