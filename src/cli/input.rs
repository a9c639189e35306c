//! The files that the user names: paths, or `-` for standard input.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use crate::error::{CliError, Result};

/// Whether the path stands for standard input or output.
pub(crate) fn is_dash(path: &Path) -> bool {
    path == Path::new("-")
}

/// The name of an input for messages.
pub(crate) fn shown(path: &Path) -> Cow<'_, str> {
    if is_dash(path) { "standard input".into() } else { path.display().to_string().into() }
}

/// Opens an input that is read once, from its beginning to its end. Also returns
/// how many bytes it has; 0 for standard input, where that is not known.
pub(crate) fn stream(path: &Path) -> Result<(Box<dyn Read>, u64)> {
    if is_dash(path) {
        return Ok((Box::new(io::stdin().lock()), 0));
    }
    let failed = |error| CliError::io("open", path, error);
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    Ok((Box::new(file), bytes))
}

/// Opens an input that is read more than once or at several places. What is not
/// a regular file, such as standard input or a pipe, is copied to a temporary
/// file first.
pub(crate) fn regular(path: &Path) -> Result<File> {
    let mut reader: Box<dyn Read> = if is_dash(path) {
        Box::new(io::stdin().lock())
    } else {
        let failed = |error| CliError::io("open", path, error);
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if about.is_file() {
            return Ok(file);
        }
        if about.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        Box::new(file)
    };
    let place = std::env::temp_dir();
    let copied = |error| CliError::io("copy standard input or a pipe to a file in", &place, error);
    let mut copy = tempfile::tempfile_in(&place).map_err(copied)?;
    io::copy(&mut reader, &mut copy).map_err(copied)?;
    copy.rewind().map_err(copied)?;
    Ok(copy)
}

/// Refuses that two of these paths are standard input, or standard output.
pub(crate) fn one_dash<'p>(
    paths: impl IntoIterator<Item = Option<&'p Path>>,
    what: &str,
) -> Result<()> {
    if paths.into_iter().flatten().filter(|path| is_dash(path)).count() > 1 {
        return Err(CliError::usage(format!(
            "two files are -, but there is only one {what}; give the others a name"
        )));
    }
    Ok(())
}
