//! Files that are mapped.

use std::{fmt, io, ops::Deref, sync::Arc};

/// The bytes of a file, mapped for reading by [`Fs::map`].
pub struct Mapping(pub(super) Bytes);

/// Variants and not a trait object: looking at the bytes is a branch, not a
/// virtual call.
pub(crate) enum Bytes {
    Mapped(Mapped),
    Owned(Arc<Vec<u8>>),
    /// A copy, where the bytes did not begin as a map does.
    Aligned(Box<[u64]>, usize),
}

impl Mapping {
    /// Bytes in memory, for a file system that has its files there and for
    /// tests.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::from_shared(Arc::new(bytes))
    }

    pub(crate) fn from_shared(bytes: Arc<Vec<u8>>) -> Self {
        if bytes.as_ptr().addr().is_multiple_of(align_of::<u64>()) {
            return Self(Bytes::Owned(bytes));
        }
        // Few allocators do that. Numbers are read where they lie.
        let mut words = vec![0_u64; bytes.len().div_ceil(size_of::<u64>())];
        let copy: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        copy.iter_mut().zip(&*bytes).for_each(|(to, from)| *to = *from);
        Self(Bytes::Aligned(words.into(), bytes.len()))
    }
}

impl Mapping {
    /// Tells the operating system what to read, which is the same bytes in any
    /// case.
    pub(crate) fn advise(&self, expected: Expected) {
        if let Bytes::Mapped(mapped) = &self.0 {
            mapped.advise(expected);
        }
    }
}

/// How much of a mapped file is going to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A page here and there, and these many bytes at the beginning.
    Little { first: usize },
    /// So much that what lies around a page is read with it.
    Much,
}

impl Deref for Mapping {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(mapped) => mapped.bytes(),
            Bytes::Owned(bytes) => bytes,
            Bytes::Aligned(words, len) => {
                bytemuck::cast_slice(words).get(..*len).unwrap_or_default()
            }
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("len", &self.len()).finish()
    }
}

/// A file that is mapped: it lives as long as this, without a descriptor.
pub(crate) struct Mapped(memmap2::Mmap);

impl Mapped {
    #[allow(unsafe_code, reason = "a slice of a mapped file is sound only while the file stays")]
    pub(crate) fn new(file: impl memmap2::MmapAsRawDesc) -> io::Result<Self> {
        // SAFETY: the bytes must not change, nor the file become shorter, while
        // they are borrowed. The engine maps only files that it has written and
        // synced and never changes again: they are replaced by new files under
        // new names and removed, and a removed file lasts as long as its
        // mappings. Other callers of `Fs::map` promise the same. Another program
        // that cuts the file short brings SIGBUS upon this one, which is
        // documented at `RealFs` as the fault of its user.
        let map = unsafe { memmap2::Mmap::map(file) }?;
        Ok(Self(map))
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn advise(&self, expected: Expected) {
        let told = match expected {
            Expected::Little { first } => {
                let first = first.min(self.0.len());
                let told = self.0.advise(memmap2::Advice::Random);
                let fetch = || self.0.advise_range(memmap2::Advice::WillNeed, 0, first);
                told.and_then(|()| if first == 0 { Ok(()) } else { fetch() })
            }
            Expected::Much => self.0.advise(memmap2::Advice::Normal),
        };
        // Some kernels take no advice. What is read is the same.
        let _ = told;
    }
}
