//! The files of a store: reading and writing all of them, and taking data files
//! apart and putting them together again.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use ingrain::format::{
    FileKind, VERSION,
    manifest::DataFile,
    segment::{BLOCK_BYTES, Layout, Section, digest},
};

/// The directory of the golden files of the current format version.
pub fn golden_dir() -> PathBuf {
    golden_dir_of(VERSION)
}

/// The directory of the golden files of a format version.
pub fn golden_dir_of(version: u32) -> PathBuf {
    Path::new(crate::REPOSITORY).join(format!("tests/golden/v{version}"))
}

/// The files of a directory, by relative path.
pub type Image = BTreeMap<PathBuf, Vec<u8>>;

/// The files of a directory and of those below it.
pub fn read_image(dir: &Path) -> Image {
    let mut image = Image::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            for (below, bytes) in read_image(&path) {
                image.insert(name.join(below), bytes);
            }
        } else {
            image.insert(name, fs::read(&path).unwrap());
        }
    }
    image
}

/// Writes a file anew, in place, also a data file, which nobody may write.
pub fn overwrite(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    make_writable(path.as_ref());
    fs::write(path, bytes).unwrap();
}

/// Gives permission to write a file, if it is there.
pub fn make_writable(path: &Path) {
    if path.exists() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

/// A directory of a store with exactly these files.
pub fn write_image(dir: &Path, image: &Image) {
    let _ = fs::remove_dir_all(dir);
    for below in ["wal", "data"] {
        fs::create_dir_all(dir.join(below)).unwrap();
    }
    for (name, bytes) in image {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// The kind of a data file, from its name.
pub fn data_kind(name: &Path) -> Option<FileKind> {
    let suffix = name.extension()?.to_str()?;
    FileKind::DATA.into_iter().find(|kind| kind.suffix() == suffix)
}

/// Sections of a data file: tag, bytes of a row, bytes.
pub type Sections = Vec<(u32, u32, Vec<u8>)>;

/// The sections of a file, without the zeros between them.
pub fn read_file(layout: &Layout, bytes: &[u8]) -> Sections {
    let section = |s: &Section| {
        let (from, len) = (s.offset as usize, s.len as usize);
        (s.tag, s.row_bytes, bytes[from..from + len].to_vec())
    };
    layout.sections.iter().map(section).collect()
}

/// Makes a file with correct checksums, and its entry in a manifest.
pub fn write_file(layout: &Layout, sections: &Sections) -> (Vec<u8>, DataFile) {
    let mut bytes = vec![0; BLOCK_BYTES];
    let mut placed = Vec::new();
    for (tag, row_bytes, rows) in sections {
        let (offset, len) = (bytes.len() as u64, rows.len() as u64);
        placed.push(Section { tag: *tag, row_bytes: *row_bytes, offset, len });
        bytes.extend(rows);
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    let layout = Layout::new(layout.header, placed).unwrap();
    let checksums: Vec<u32> =
        bytes[BLOCK_BYTES..].chunks(BLOCK_BYTES).map(crc32fast::hash).collect();
    let (block0, pages) = (layout.encode(), layout.encode_pages(&checksums));
    bytes[..BLOCK_BYTES].copy_from_slice(&block0);
    bytes.extend(&pages);
    let number = layout.header.number as u32;
    let file = DataFile { number, len: bytes.len() as u64, digest: digest(&block0, &pages) };
    (bytes, file)
}
