//! Reading and replacing the file `MANIFEST`.

use std::{io, path::Path};

use crate::{
    format::manifest::Manifest,
    model::error::{Error, Result},
    os::{self, file::Fs},
};

/// The name of the file in the directory of the store.
pub(crate) const FILE: &str = "MANIFEST";

/// Reads the manifest of the store in `dir`. `None` if it is missing.
pub(crate) fn load(fs: &dyn Fs, dir: &Path) -> Result<Option<Manifest>> {
    let path = dir.join(FILE);
    let bytes = match os::read_all(fs, &path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    Manifest::decode(&bytes).map(Some).map_err(|damage| damage.in_file(&path))
}

/// Replaces the manifest of the store in `dir`, durably.
pub(crate) fn publish(fs: &dyn Fs, dir: &Path, manifest: &Manifest) -> Result<(), os::Failure> {
    let path = dir.join(FILE);
    let bytes = manifest.encode().map_err(|damage| {
        let error = io::Error::new(io::ErrorKind::InvalidData, damage);
        os::Failure::before("encode", &path, error)
    })?;
    os::write_atomic(fs, &path, &bytes)?;
    Ok(())
}
