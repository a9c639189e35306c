//! Mapped files.

use std::{fmt, io, ops::Deref, sync::Arc};

use crate::os::mapped::Counted;

/// The bytes of a file, as mapped by [`Fs::map`](crate::os::Fs::map).
///
/// ```
/// use ingrain::os::Mapping;
///
/// let mapping = Mapping::from_bytes(vec![1, 2, 3]);
/// assert_eq!(&mapping[..], [1, 2, 3]);
/// ```
pub struct Mapping {
    bytes: Bytes,
    /// For file systems that bound their mappings.
    _counted: Option<Counted>,
}

/// Variants rather than a trait object, so that an access is a branch and not a
/// virtual call.
pub(crate) enum Bytes {
    Mapped(Mapped),
    Owned(Arc<Vec<u8>>),
    /// An aligned copy, for bytes that were not aligned like a mapping.
    Aligned(Box<[u64]>, usize),
}

impl Mapping {
    pub(super) fn new(bytes: Bytes, counted: Option<Counted>) -> Self {
        Self { bytes, _counted: counted }
    }

    /// A mapping of bytes in memory, for file systems in memory and for tests.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::from_shared(Arc::new(bytes))
    }

    pub(crate) fn from_shared(bytes: Arc<Vec<u8>>) -> Self {
        if bytes.as_ptr().addr().is_multiple_of(align_of::<u64>()) {
            return Self::new(Bytes::Owned(bytes), None);
        }
        // Few allocators return such memory. Rows are read in place, so the
        // bytes have to be aligned.
        let mut words = vec![0_u64; bytes.len().div_ceil(size_of::<u64>())];
        let copy: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        copy.iter_mut().zip(&*bytes).for_each(|(to, from)| *to = *from);
        Self::new(Bytes::Aligned(words.into(), bytes.len()), None)
    }

    /// The same mapping, counted until it is dropped.
    #[cfg(feature = "sim")]
    pub(super) fn counted(self, counted: Counted) -> Self {
        Self { _counted: Some(counted), ..self }
    }
}

impl Mapping {
    /// Advises the operating system what to read ahead. It does not change
    /// which bytes are read.
    pub(crate) fn advise(&self, expected: Expected) {
        if let Bytes::Mapped(mapped) = &self.bytes {
            mapped.advise(expected);
        }
    }
}

/// How much of a mapped file is expected to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Single pages, and this number of bytes at the beginning.
    Little { first: usize },
    /// Much of it, so that the pages around each page are read ahead.
    Much,
}

impl Deref for Mapping {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.bytes {
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

/// A mapped file. It stays readable as long as this value exists; no descriptor
/// stays open.
pub(crate) struct Mapped(memmap2::Mmap);

impl Mapped {
    #[allow(
        unsafe_code,
        reason = "a slice of a mapped file is sound only while the file does not change"
    )]
    pub(crate) fn new(file: impl memmap2::MmapAsRawDesc) -> io::Result<Self> {
        // SAFETY: the bytes must not change, and the file must not become
        // shorter, while they are borrowed. The engine maps only files that it
        // has written and synced and never changes again: they are replaced by
        // new files under new names and removed, and a removed file lasts as
        // long as its mappings. Other callers of `Fs::map` promise the same. If
        // another program truncates the file, this process gets SIGBUS; the
        // documentation of `RealFs` says so.
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
        // Some kernels ignore advice. It does not change which bytes are read.
        let _ = told;
    }
}
