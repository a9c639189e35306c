//! The container of every file under `data/`: sections of rows or bytes, in
//! blocks that are checked one by one.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4,096 | block 0: [`Header`], length of the file, the sections, checksum |
//! | 4,096 | … | the sections; each starts at a multiple of 4,096, with zeros between them |
//! | … | … | checksum pages, to the end of the file |
//!
//! Block 0:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 64 | [`Header`]; its number is that of the file |
//! | 64 | 8 | length of the file |
//! | 72 | 4 | number of sections, at most 8 |
//! | 76 | 4 | zero |
//! | 80 | 24 each | section: tag (4), bytes of a row (4), offset (8), length (8) |
//! | … | … | zeros |
//! | 4,092 | 4 | CRC-32 of bytes 0 to 4,091 |
//!
//! A checksum page holds the CRC-32 of 1,023 blocks; the first page begins with
//! that of the block after block 0. Its last 4 bytes are the CRC-32 of: store
//! id, number of the file, salt, index of the page (8 bytes), and the page's
//! first 4,092 bytes. This ties a page to its file, and a block to its place in
//! the file.

use bytemuck::Pod;

use crate::{
    format::header::{Damage, Fields, FileKind, HEADER_BYTES, Header},
    num,
};

/// Bytes of a block, the unit that a checksum covers.
pub const BLOCK_BYTES: usize = 4096;
/// Checksums in a checksum page.
pub const PAGE_CHECKSUMS: usize = 1023;
/// The largest number of sections of a file.
pub const SECTIONS: usize = 8;

const BLOCK: u64 = 4096;
const CRC_AT: usize = BLOCK_BYTES.saturating_sub(4);

/// A range of a data file with rows of one type, or with bytes.
///
/// ```
/// use ingrain::format::{FileKind, Header, segment::{self, Layout}};
///
/// let header = Header::new(FileKind::Keys, [7; 16], 1, 9);
/// let bytes = segment::encode(header, &[(1, 1, b"abc"), (5, 4, &[0, 0, 0, 0, 2, 0, 0, 0])])?;
/// let layout = Layout::decode(FileKind::Keys, &bytes, bytes.len() as u64)?;
/// let section = layout.section(5, 4)?; // of tag 5, with rows of 4 bytes
/// assert_eq!((section.offset, section.rows()), (8192, 2));
/// assert_eq!(bytes[section.offset as usize..][..section.len as usize], [0, 0, 0, 0, 2, 0, 0, 0]);
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// What the section holds. The meaning depends on the kind of the file.
    pub tag: u32,
    /// Bytes of a row; 1 for a section of bytes.
    pub row_bytes: u32,
    /// Offset in the file in bytes: a multiple of [`BLOCK_BYTES`].
    pub offset: u64,
    /// Length in bytes: a multiple of `row_bytes`.
    pub len: u64,
}

impl Section {
    /// Number of rows of the section.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.len.checked_div(u64::from(self.row_bytes)).unwrap_or(0)
    }

    /// The end of the section, where the zeros begin.
    fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.len)
    }
}

/// What block 0 says: the header and the sections of a data file.
///
/// ```
/// use ingrain::format::{FileKind, Header, segment::{self, BLOCK_BYTES, Layout}};
///
/// let header = Header::new(FileKind::Heap, [7; 16], 1, 9);
/// let bytes = segment::encode(header, &[(1, 1, b"dogs bark")])?;
///
/// // Checks one block, by reading that, block 0 and a checksum page.
/// let read = |offset: u64| &bytes[offset as usize..][..BLOCK_BYTES];
/// let layout = Layout::decode(FileKind::Heap, read(0), bytes.len() as u64)?;
/// assert_eq!(layout.blocks(), 1);
/// layout.check_block(1, read(4096), read(layout.page_of(1)))?;
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The header of the file.
    pub header: Header,
    /// The length of the file in bytes.
    pub len: u64,
    /// Its sections, in the order of their offsets.
    pub sections: Vec<Section>,
    /// Blocks between block 0 and the checksum pages.
    blocks: u64,
}

/// Checksum pages of a file with this many blocks.
const fn pages(blocks: u64) -> u64 {
    blocks.div_ceil(1023)
}

impl Layout {
    /// The layout of a file with these sections, in this order.
    ///
    /// # Errors
    /// [`Damage`] if there are too many sections, or they are too long or not
    /// in order. No writer of this crate causes that.
    pub fn new(header: Header, sections: Vec<Section>) -> Result<Self, Damage> {
        let end = sections.last().map_or(Some(BLOCK), |last| last.end());
        let len = end.and_then(|end| {
            let blocks = end.div_ceil(BLOCK).checked_sub(1)?;
            blocks.checked_add(pages(blocks))?.checked_add(1)?.checked_mul(BLOCK)
        });
        let len = len.ok_or_else(|| Damage::new(64, "the sections end before they begin"))?;
        Self::checked(header, len, sections)
    }

    fn checked(header: Header, len: u64, sections: Vec<Section>) -> Result<Self, Damage> {
        if sections.len() > SECTIONS {
            return Err(Damage::new(
                72,
                format!("{} sections declared, at most {SECTIONS} are allowed", sections.len()),
            ));
        }
        let mut end = BLOCK;
        for (index, section) in sections.iter().enumerate() {
            let at = index.saturating_mul(24).saturating_add(80);
            let whole = section.len.checked_rem(u64::from(section.row_bytes)) == Some(0);
            let begins = end.checked_next_multiple_of(BLOCK) == Some(section.offset);
            let section_end = section.end().filter(|_| begins && whole);
            let Some(section_end) = section_end else {
                return Err(Damage::new(
                    at,
                    format!("section {index} is not where it has to be: {section:?}"),
                ));
            };
            end = section_end;
        }
        let blocks = end.div_ceil(BLOCK).saturating_sub(1);
        let expected = blocks
            .checked_add(pages(blocks))
            .and_then(|blocks| blocks.checked_add(1)?.checked_mul(BLOCK));
        if expected != Some(len) {
            return Err(Damage::new(
                64,
                format!("the file has {len} bytes, its sections need {expected:?}"),
            ));
        }
        Ok(Self { header, len, sections, blocks })
    }

    /// Encodes block 0.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut out = Vec::with_capacity(BLOCK_BYTES);
        out.extend(self.header.encode());
        out.extend(self.len.to_le_bytes());
        out.extend(num::short(self.sections.len()).to_le_bytes());
        out.extend([0; 4]);
        for section in &self.sections {
            out.extend(section.tag.to_le_bytes());
            out.extend(section.row_bytes.to_le_bytes());
            out.extend(section.offset.to_le_bytes());
            out.extend(section.len.to_le_bytes());
        }
        out.resize(CRC_AT, 0);
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out.try_into().unwrap_or([0; BLOCK_BYTES])
    }

    /// Decodes block 0 of a file of `len` bytes.
    ///
    /// # Errors
    /// [`Damage`] when it is too short, of another kind or version, fails its
    /// checksum, or does not match the length of the file.
    pub fn decode(kind: FileKind, bytes: &[u8], len: u64) -> Result<Self, Damage> {
        let header = Header::decode(kind, bytes)?;
        let Some((block, _)) = bytes.split_first_chunk::<BLOCK_BYTES>() else {
            return Err(Damage::new(bytes.len(), "the file ends within its first block"));
        };
        let mut crc = Fields { bytes: block, at: CRC_AT };
        let crc = u32::from_le_bytes(crc.take()?);
        if crc != crc32fast::hash(block.get(..CRC_AT).unwrap_or_default()) {
            return Err(Damage::new(CRC_AT, "the first block fails its checksum"));
        }
        let mut fields = Fields { bytes: block, at: HEADER_BYTES };
        let declared = u64::from_le_bytes(fields.take()?);
        if declared != len {
            return Err(Damage::new(
                HEADER_BYTES,
                format!("a file of {declared} bytes declared, {len} found"),
            ));
        }
        let count = u32::from_le_bytes(fields.take()?);
        let zero: [u8; 4] = fields.take()?;
        let mut sections = Vec::new();
        for _ in 0..num::index(count).min(SECTIONS.saturating_add(1)) {
            sections.push(Section {
                tag: u32::from_le_bytes(fields.take()?),
                row_bytes: u32::from_le_bytes(fields.take()?),
                offset: u64::from_le_bytes(fields.take()?),
                len: u64::from_le_bytes(fields.take()?),
            });
        }
        let rest = block.get(fields.at..CRC_AT).unwrap_or_default();
        if zero != [0; 4] || rest.iter().any(|byte| *byte != 0) {
            return Err(Damage::new(76, "reserved bytes of the first block are not zero"));
        }
        Self::checked(header, len, sections)
    }

    /// The section with this tag and this size of rows.
    ///
    /// # Errors
    /// [`Damage`] when the file has no such section.
    pub fn section(&self, tag: u32, row_bytes: usize) -> Result<Section, Damage> {
        let found = self.sections.iter().find(|section| section.tag == tag);
        match found {
            Some(section) if usize::try_from(section.row_bytes) == Ok(row_bytes) => Ok(*section),
            Some(section) => Err(Damage::new(
                80,
                format!("section {tag} has rows of {} bytes, not {row_bytes}", section.row_bytes),
            )),
            None => Err(Damage::new(72, format!("section {tag} is missing"))),
        }
    }

    /// Number of blocks that the checksum pages cover; the first of them is
    /// block 1.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Offset of the checksum pages in the file.
    #[must_use]
    pub fn pages_offset(&self) -> u64 {
        self.blocks.saturating_add(1).saturating_mul(BLOCK)
    }

    /// Encodes the checksum pages for blocks with these checksums.
    #[must_use]
    pub fn encode_pages(&self, checksums: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, checksums) in checksums.chunks(PAGE_CHECKSUMS).enumerate() {
            let mut page = Vec::with_capacity(BLOCK_BYTES);
            page.extend(checksums.iter().flat_map(|crc| crc.to_le_bytes()));
            page.resize(CRC_AT, 0);
            let crc = self.page_crc(num::wide(index), &page);
            page.extend(crc.to_le_bytes());
            out.extend(page);
        }
        out
    }

    fn page_crc(&self, index: u64, covered: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.header.store);
        crc.update(&self.header.number.to_le_bytes());
        crc.update(&self.header.salt.to_le_bytes());
        crc.update(&index.to_le_bytes());
        crc.update(covered);
        crc.finalize()
    }

    /// Offset in the file of the checksum page of a block.
    #[must_use]
    pub fn page_of(&self, block: u64) -> u64 {
        let page = block.saturating_sub(1) / 1023;
        self.pages_offset().saturating_add(page.saturating_mul(BLOCK))
    }

    /// Checks block `index` (from 1) against `page`, its checksum page, which
    /// is at [`page_of`](Self::page_of). The page itself is checked too.
    ///
    /// # Errors
    /// [`Damage`], with its offset in the file, when the block or the page does
    /// not match its checksum, or the file has no such block.
    pub fn check_block(&self, index: u64, block: &[u8], page: &[u8]) -> Result<(), Damage> {
        let place = |offset: u64| num::size(offset);
        let before = index.checked_sub(1).filter(|before| *before < self.blocks);
        let Some(before) = before else {
            return Err(Damage::new(place(self.len), format!("block {index} does not exist")));
        };
        let page_at = place(self.page_of(index));
        let mut crc = Fields { bytes: page, at: CRC_AT };
        let crc = u32::from_le_bytes(crc.take()?);
        if page.len() != BLOCK_BYTES
            || crc != self.page_crc(before / 1023, page.get(..CRC_AT).unwrap_or_default())
        {
            return Err(Damage::new(page_at, "a checksum page fails its own checksum"));
        }
        let slot = num::size(before % 1023).saturating_mul(4);
        let mut entry = Fields { bytes: page, at: slot };
        if block.len() != BLOCK_BYTES || u32::from_le_bytes(entry.take()?) != crc32fast::hash(block)
        {
            let at = place(index.saturating_mul(BLOCK));
            return Err(Damage::new(at, format!("block {index} fails its checksum")));
        }
        Ok(())
    }
}

/// A data file in memory or in a mapping.
/// [`Contents`](super::contents::Contents) decodes its sections.
///
/// ```
/// use ingrain::format::{FileKind, Header, segment::{self, File}};
///
/// let header = Header::new(FileKind::Heap, [7; 16], 1, 9);
/// let mut bytes = segment::encode(header, &[(1, 1, b"dogs bark")])?;
/// assert_eq!(File::decode(FileKind::Heap, &bytes)?.section(1, 1)?, b"dogs bark");
///
/// bytes[5000] ^= 1; // in block 1, whose first bytes are at 4096
/// let file = File::decode(FileKind::Heap, &bytes)?;
/// let damage: Vec<_> = file.damage().collect();
/// assert_eq!((damage.len(), damage[0].offset), (1, 4096));
/// assert!(!file.is_good(4096..4105)); // where the section is
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File<'a> {
    layout: Layout,
    bytes: &'a [u8],
}

impl<'a> File<'a> {
    /// Decodes block 0 of a file. `bytes` is the whole file; the rest of it is
    /// not read.
    ///
    /// # Errors
    /// As [`Layout::decode`].
    pub fn decode(kind: FileKind, bytes: &'a [u8]) -> Result<Self, Damage> {
        let len = num::wide(bytes.len());
        Ok(Self { layout: Layout::decode(kind, bytes, len)?, bytes })
    }

    /// What block 0 says: the header and the sections of a data file.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Iterates over all blocks that do not match their checksum, with their
    /// offset in the file. A damaged checksum page is reported for each of its
    /// blocks. Reads the whole file.
    pub fn damage(&self) -> impl Iterator<Item = Damage> {
        (1..=self.layout.blocks()).filter_map(|index| self.check_block(index).err())
    }

    fn check_block(&self, index: u64) -> Result<(), Damage> {
        let block = self.block(index.saturating_mul(BLOCK));
        self.layout.check_block(index, block, self.block(self.layout.page_of(index)))
    }

    fn block(&self, at: u64) -> &'a [u8] {
        let at = num::size(at);
        self.bytes.get(at..at.saturating_add(BLOCK_BYTES)).unwrap_or_default()
    }

    /// Whether all blocks that overlap this byte range of the file match their
    /// checksums.
    #[must_use]
    pub fn is_good(&self, range: std::ops::Range<u64>) -> bool {
        let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
        range.is_empty() || blocks.into_iter().all(|index| self.check_block(index).is_ok())
    }

    /// The [digest] of the file, as it is in the manifest.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        let pages = num::size(self.layout.pages_offset());
        digest(self.block(0), self.bytes.get(pages..).unwrap_or_default())
    }

    /// The bytes of a section with this size of rows. Checksums are not
    /// compared.
    ///
    /// # Errors
    /// As [`Layout::section`].
    pub fn section(&self, tag: u32, row_bytes: usize) -> Result<&'a [u8], Damage> {
        let section = self.layout.section(tag, row_bytes)?;
        let place = |number: u64| num::size(number);
        let rest = self.bytes.get(place(section.offset)..);
        let bytes = rest.and_then(|rest| rest.get(..place(section.len)));
        bytes.ok_or_else(|| {
            Damage::new(80, format!("section {tag} ends beyond the end of the file"))
        })
    }

    pub(super) fn bytes(&self, tag: u32) -> Result<&'a [u8], Damage> {
        self.section(tag, 1)
    }

    /// The rows of a section. Checksums are not compared.
    ///
    /// # Errors
    /// As [`Layout::section`].
    pub fn rows<R: Pod>(&self, tag: u32) -> Result<&'a [R], Damage> {
        bytemuck::try_cast_slice(self.section(tag, size_of::<R>())?)
            .map_err(|error| Damage::new(80, format!("section {tag}: {error}")))
    }
}

/// Encodes a data file with these sections. Each is given as its tag, the bytes
/// of a row, and all of its bytes.
///
/// # Errors
/// As [`Layout::new`].
pub fn encode(header: Header, sections: &[(u32, usize, &[u8])]) -> Result<Vec<u8>, Damage> {
    let mut out = vec![0; BLOCK_BYTES];
    let mut placed = Vec::new();
    for (tag, row_bytes, bytes) in sections {
        placed.push(Section {
            tag: *tag,
            row_bytes: num::short(*row_bytes),
            offset: num::wide(out.len()),
            len: num::wide(bytes.len()),
        });
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    let layout = Layout::new(header, placed)?;
    let (blocks, _) = out.as_chunks::<BLOCK_BYTES>();
    let checksums: Vec<u32> = blocks.iter().skip(1).map(|block| crc32fast::hash(block)).collect();
    out.extend(layout.encode_pages(&checksums));
    if let Some(block0) = out.first_chunk_mut::<BLOCK_BYTES>() {
        *block0 = layout.encode();
    }
    Ok(out)
}

/// The digest of a file: the first 16 bytes of the BLAKE3 hash of its block 0
/// and its checksum pages. It stands for the whole file, as far as CRC-32
/// detects changes.
#[must_use]
pub fn digest(block0: &[u8], pages: &[u8]) -> [u8; 16] {
    let mut digest = [0; 16];
    blake3::Hasher::new().update(block0).update(pages).finalize_xof().fill(&mut digest);
    digest
}
