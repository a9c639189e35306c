//! The subset of MessagePack that the log and the heaps use. Built on `rmp`,
//! with bounds on lengths, offsets in errors and no panics.

use std::collections::BTreeMap;

use rmp::{
    Marker,
    decode::{self, Bytes},
    encode::{self, ByteBuf},
};

use crate::{
    format::header::Damage,
    model::{
        error::Result,
        limits::{self, check_count},
        value::{Attributes, Value},
    },
    num,
};

/// Writes MessagePack into memory.
pub(super) struct Packer {
    out: ByteBuf,
}

/// Converts a length. Everything that is packed was checked against limits far
/// below 4 GiB before.
fn len32(len: usize) -> u32 {
    num::short(len)
}

impl Packer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { out: ByteBuf::with_capacity(bytes) }
    }

    /// Continues after the given bytes.
    pub(super) fn over(bytes: Vec<u8>) -> Self {
        Self { out: ByteBuf::from_vec(bytes) }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out.into_vec()
    }

    pub(super) fn len(&self) -> usize {
        self.out.as_slice().len()
    }

    pub(super) fn array(&mut self, len: usize) {
        let Ok(_) = encode::write_array_len(&mut self.out, len32(len));
    }

    fn map(&mut self, len: usize) {
        let Ok(_) = encode::write_map_len(&mut self.out, len32(len));
    }

    pub(super) fn nil(&mut self) {
        let Ok(()) = encode::write_nil(&mut self.out);
    }

    fn bool(&mut self, value: bool) {
        let Ok(()) = encode::write_bool(&mut self.out, value);
    }

    pub(super) fn uint(&mut self, value: u64) {
        let Ok(_) = encode::write_uint(&mut self.out, value);
    }

    pub(super) fn int(&mut self, value: i64) {
        let Ok(_) = encode::write_sint(&mut self.out, value);
    }

    pub(super) fn f32(&mut self, value: f32) {
        let Ok(()) = encode::write_f32(&mut self.out, value);
    }

    pub(super) fn f64(&mut self, value: f64) {
        let Ok(()) = encode::write_f64(&mut self.out, value);
    }

    pub(super) fn str(&mut self, value: &str) {
        let Ok(()) = encode::write_str(&mut self.out, value);
    }

    pub(super) fn bin(&mut self, value: &[u8]) {
        let Ok(()) = encode::write_bin(&mut self.out, value);
    }

    /// A vector, as one `bin` with its components as little-endian binary32.
    pub(super) fn vector(&mut self, value: &[f32]) {
        let Ok(_) = encode::write_bin_len(
            &mut self.out,
            len32(value.len().saturating_mul(size_of::<f32>())),
        );
        let out = self.out.as_mut_vec();
        out.reserve(value.len().saturating_mul(size_of::<f32>()));
        for number in value {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, pack: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => pack(self, value),
            None => self.nil(),
        }
    }

    pub(super) fn attributes(&mut self, attributes: &Attributes) {
        self.map(attributes.len());
        for (name, value) in attributes {
            self.str(name);
            self.value(value);
        }
    }

    // The recursion is bounded, because values were checked against
    // `limits::VALUE_DEPTH` before.
    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.nil(),
            Value::Bool(value) => self.bool(*value),
            Value::Int(value) => self.int(*value),
            Value::Float(value) => self.f64(*value),
            Value::Text(value) => self.str(value),
            Value::Bytes(value) => self.bin(value),
            Value::List(values) => {
                self.array(values.len());
                values.iter().for_each(|value| self.value(value));
            }
            Value::Map(map) => self.attributes(map),
        }
    }
}

pub(super) fn check_attributes_len(len: usize) -> Result<()> {
    check_count("bytes of the attributes of a node or edge", len, limits::ATTRIBUTE_BYTES)
}

/// Checks attributes against the limit on their encoded size. Costs one
/// encoding.
pub(crate) fn check_attributes_size(attributes: &Attributes) -> Result<()> {
    let mut packer = Packer::with_capacity(64);
    packer.attributes(attributes);
    check_attributes_len(packer.len())
}

/// Reads MessagePack from memory, and accepts only the canonical form.
pub(super) struct Unpacker<'a> {
    bytes: Bytes<'a>,
    len: usize,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: Bytes::new(bytes), len: bytes.len() }
    }

    pub(super) fn offset(&self) -> usize {
        self.len.saturating_sub(self.bytes.remaining_slice().len())
    }

    pub(super) fn damage(&self, what: impl Into<String>) -> Damage {
        Damage::new(self.offset(), what)
    }

    pub(super) fn finish(self) -> Result<(), Damage> {
        match self.bytes.remaining_slice().len() {
            0 => Ok(()),
            n => Err(self.damage(format!("{n} bytes follow after the end of the payload"))),
        }
    }

    fn read<T, E>(
        &mut self,
        what: &str,
        read: impl FnOnce(&mut Bytes<'a>) -> Result<T, E>,
    ) -> Result<T, Damage> {
        let at = self.offset();
        let found = self.bytes.remaining_slice().first().copied();
        read(&mut self.bytes).map_err(|_| {
            Damage::new(
                at,
                match found {
                    Some(byte) => format!("expected {what}, found {:?}", Marker::from_u8(byte)),
                    None => format!("expected {what}, found the end"),
                },
            )
        })
    }

    /// Checks a declared number of items against the bytes that are left. Each
    /// item takes at least one byte.
    fn count(&self, len: u32, what: &str) -> Result<usize, Damage> {
        let remaining = self.bytes.remaining_slice().len();
        match usize::try_from(len) {
            Ok(len) if len <= remaining => Ok(len),
            _ => Err(self.damage(format!(
                "{what} of length {len} declared, but only {remaining} bytes are left"
            ))),
        }
    }

    /// Reads a number or a length. It must have the shortest form, which the
    /// packer writes, so that whatever decodes also encodes to the same bytes.
    fn shortest<T: Copy + Into<i128>, E>(
        &mut self,
        what: &str,
        read: impl FnOnce(&mut Bytes<'a>) -> Result<T, E>,
    ) -> Result<T, Damage> {
        let marker = self.peek()?;
        let at = self.offset();
        let value = self.read(what, read)?;
        if is_shortest(marker, value.into()) {
            return Ok(value);
        }
        Err(Damage::new(at, format!("{what} is not in its shortest form")))
    }

    pub(super) fn array(&mut self) -> Result<usize, Damage> {
        let len = self.shortest("an array", decode::read_array_len)?;
        self.count(len, "an array")
    }

    pub(super) fn array_of(&mut self, expected: usize) -> Result<(), Damage> {
        match self.array()? {
            len if len == expected => Ok(()),
            len => Err(self.damage(format!("expected an array of {expected} items, found {len}"))),
        }
    }

    fn take(&mut self, len: u32, what: &str) -> Result<&'a [u8], Damage> {
        let len = self.count(len, what)?;
        let Some((taken, rest)) = self.bytes.remaining_slice().split_at_checked(len) else {
            return Err(self.damage(format!("{what}: found the end")));
        };
        self.bytes = Bytes::new(rest);
        Ok(taken)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.remaining_slice().is_empty()
    }

    /// The next `len` bytes, not decoded.
    pub(super) fn bytes(&mut self, len: u64) -> Result<&'a [u8], Damage> {
        let len = u32::try_from(len)
            .map_err(|_| self.damage(format!("a field of {len} bytes is too long")))?;
        self.take(len, "a field")
    }

    /// The rest of the input, not decoded.
    pub(super) fn rest(self) -> &'a [u8] {
        self.bytes.remaining_slice()
    }

    pub(super) fn bin(&mut self) -> Result<&'a [u8], Damage> {
        let len = self.shortest("bytes", decode::read_bin_len)?;
        self.take(len, "bytes")
    }

    pub(super) fn bin_of<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let bytes = self.bin()?;
        bytes
            .try_into()
            .map_err(|_| self.damage(format!("expected {N} bytes, found {}", bytes.len())))
    }

    pub(super) fn str(&mut self) -> Result<&'a str, Damage> {
        let len = self.shortest("text", decode::read_str_len)?;
        let bytes = self.take(len, "text")?;
        str::from_utf8(bytes).map_err(|error| self.damage(format!("text is not UTF-8: {error}")))
    }

    /// The next number and its encoded length, if it is not negative and in its
    /// shortest form. Nearly all numbers are; this fast path takes a fraction
    /// of the time of the general one.
    #[inline]
    fn front(&self) -> Option<(u64, usize)> {
        let (value, least, len) = match *self.bytes.remaining_slice() {
            [a @ 0..0x80, ..] => (u64::from(a), 0, 1),
            [0xcc, a, ..] => (u64::from(a), 0x80, 2),
            [0xcd, a, b, ..] => (u64::from(u16::from_be_bytes([a, b])), 1 << 8, 3),
            [0xce, a, b, c, d, ..] => (u64::from(u32::from_be_bytes([a, b, c, d])), 1 << 16, 5),
            [0xcf, a, b, c, d, e, f, g, h, ..] => {
                (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 1 << 32, 9)
            }
            _ => return None,
        };
        (value >= least).then_some((value, len))
    }

    fn skip(&mut self, len: usize) {
        self.bytes = Bytes::new(self.bytes.remaining_slice().get(len..).unwrap_or_default());
    }

    #[inline]
    pub(super) fn uint(&mut self) -> Result<u64, Damage> {
        if let Some((value, len)) = self.front() {
            self.skip(len);
            return Ok(value);
        }
        self.shortest("an integer", decode::read_int)
    }

    #[inline]
    pub(super) fn int(&mut self) -> Result<i64, Damage> {
        if let Some((value, len)) = self.front()
            && let Ok(value) = i64::try_from(value)
        {
            self.skip(len);
            return Ok(value);
        }
        self.shortest("an integer", decode::read_int)
    }

    pub(super) fn f32(&mut self) -> Result<f32, Damage> {
        self.read("a binary32", decode::read_f32)
    }

    pub(super) fn f64(&mut self) -> Result<f64, Damage> {
        self.read("a binary64", decode::read_f64)
    }

    pub(super) fn vector(&mut self) -> Result<Vec<f32>, Damage> {
        let bytes = self.bin()?;
        let (numbers, rest) = bytes.as_chunks::<{ size_of::<f32>() }>();
        if !rest.is_empty() {
            return Err(
                self.damage(format!("a vector of {} bytes, not a multiple of 4", bytes.len()))
            );
        }
        Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
    }

    pub(super) fn option<T>(
        &mut self,
        unpack: impl FnOnce(&mut Self) -> Result<T, Damage>,
    ) -> Result<Option<T>, Damage> {
        if self.peek()? == Marker::Null {
            self.read("nil", decode::read_nil)?;
            return Ok(None);
        }
        unpack(self).map(Some)
    }

    fn peek(&self) -> Result<Marker, Damage> {
        match self.bytes.remaining_slice().first() {
            Some(byte) => Ok(Marker::from_u8(*byte)),
            None => Err(self.damage("expected a value, found the end")),
        }
    }

    pub(super) fn attributes(&mut self) -> Result<Attributes, Damage> {
        self.map(1)
    }

    /// Adds an entry to `map`. Its name must be larger than all names before
    /// it.
    pub(super) fn insert<T>(
        &self,
        map: &mut BTreeMap<String, T>,
        name: String,
        value: T,
    ) -> Result<(), Damage> {
        if map.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return Err(self.damage(format!("{name:?} is out of order")));
        }
        map.insert(name, value);
        Ok(())
    }

    fn map(&mut self, depth: usize) -> Result<Attributes, Damage> {
        let len = self.shortest("a map", decode::read_map_len)?;
        let len = self.count(len, "a map")?;
        let mut map = Attributes::new();
        for _ in 0..len {
            let name = self.str()?.to_owned();
            let value = self.value(depth)?;
            self.insert(&mut map, name, value)?;
        }
        Ok(map)
    }

    pub(super) fn value(&mut self, depth: usize) -> Result<Value, Damage> {
        if depth > limits::VALUE_DEPTH {
            return Err(self
                .damage(format!("values are nested deeper than {} levels", limits::VALUE_DEPTH)));
        }
        let deeper = depth.saturating_add(1);
        Ok(match self.peek()? {
            Marker::Null => {
                self.read("nil", decode::read_nil)?;
                Value::Null
            }
            Marker::True | Marker::False => Value::Bool(self.read("a boolean", decode::read_bool)?),
            Marker::F64 => Value::Float(self.f64()?),
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                Value::Text(self.str()?.to_owned())
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => Value::Bytes(self.bin()?.to_vec()),
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                let len = self.array()?;
                let mut values = Vec::new();
                for _ in 0..len {
                    values.push(self.value(deeper)?);
                }
                Value::List(values)
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => Value::Map(self.map(deeper)?),
            _ => Value::Int(self.int()?),
        })
    }
}

/// Whether the packer would choose this marker for a number or a length of this
/// value.
fn is_shortest(marker: Marker, value: i128) -> bool {
    match marker {
        Marker::U8 => value >= 1 << 7,
        Marker::U16 | Marker::Str16 | Marker::Bin16 => value >= 1 << 8,
        Marker::U32 | Marker::Str32 | Marker::Bin32 | Marker::Array32 | Marker::Map32 => {
            value >= 1 << 16
        }
        Marker::U64 => value >= 1 << 32,
        Marker::I8 => value < -32,
        Marker::I16 => value < -(1 << 7),
        Marker::I32 => value < -(1 << 15),
        Marker::I64 => value < -(1 << 31),
        Marker::Str8 => value >= 32,
        Marker::Array16 | Marker::Map16 => value >= 16,
        _ => true,
    }
}
