//! Vectors from files that the user names: .npy, or JSON arrays of numbers.

use std::{io::Read, path::Path};

use ingrain::{Space, exchange::npy::MAGIC};
use serde_json::Value as Json;

use crate::{
    error::{CliError, Result},
    input,
    npy::{self, Npy},
};

/// Vectors that are read together.
const TOGETHER: usize = 256;

/// A file of vectors, and its name for messages.
pub(crate) enum Vectors {
    Npy(Npy, String),
    Json(std::vec::IntoIter<Vec<f32>>, String),
}

impl Vectors {
    /// Opens a file, or standard input as `-`. `what` is the word for one of the
    /// vectors.
    pub(crate) fn open(path: &Path, what: &str) -> Result<Self> {
        let shown = input::shown(path).into_owned();
        let failed = |error| CliError::io("read", path, error);
        let mut file = input::regular(path)?;
        let mut bytes = Vec::new();
        file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut bytes).map_err(failed)?;
        if bytes == MAGIC {
            return Ok(Self::Npy(Npy::over(path, file, 256 << 10)?, shown));
        }
        file.read_to_end(&mut bytes).map_err(failed)?;
        let mut vectors = Vec::new();
        for value in serde_json::Deserializer::from_slice(&bytes).into_iter() {
            value
                .map_err(|error| error.to_string())
                .and_then(|value| add_vectors(&value, 0, &mut vectors))
                .map_err(|error| {
                    CliError::message(format!(
                        "{shown}: it is neither a .npy file nor JSON arrays of numbers: {error}"
                    ))
                })?;
        }
        if vectors.is_empty() {
            return Err(CliError::message(format!("{shown}: it holds no {what}")));
        }
        Ok(Self::Json(vectors.into_iter(), shown))
    }

    /// How many vectors there are, before the first is read.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Npy(npy, _) => npy.rows(),
            Self::Json(vectors, _) => u64::try_from(vectors.len()).unwrap_or(u64::MAX),
        }
    }

    /// The next vectors, from row `from` on; an empty list at the end.
    pub(crate) fn some(&mut self, from: u64, name: &str, space: Space) -> Result<Vec<Vec<f32>>> {
        let mut some = Vec::new();
        for row in (from..).take(TOGETHER) {
            let next = match self {
                Self::Npy(npy, _) => npy.next()?,
                Self::Json(vectors, _) => vectors.next(),
            };
            let Some(vector) = next else { break };
            let vector = if vector.len() == space.dimension {
                npy::check_row(vector, space.metric)
                    .and_then(|vector| vector.ok_or_else(|| "its vector is all NaN".to_owned()))
            } else {
                let numbers = vector.len();
                Err(format!(
                    "it has {numbers} numbers, vectors of space {name:?} have {}",
                    space.dimension
                ))
            };
            some.push(vector.map_err(|cause| {
                let (Self::Npy(_, shown) | Self::Json(_, shown)) = self;
                CliError::message(format!("{shown}: row {row}: {cause}"))
            })?);
        }
        Ok(some)
    }
}

/// Adds the vectors of an array: the array itself if it has numbers, or those of
/// the arrays in it.
fn add_vectors(value: &Json, depth: usize, vectors: &mut Vec<Vec<f32>>) -> Result<(), String> {
    /// Deeper nesting is a mistake.
    const DEPTH: usize = 4;
    let Json::Array(values) = value else { return Err(format!("{value} is not an array")) };
    if values.iter().any(Json::is_array) && depth < DEPTH {
        return values.iter().try_for_each(|value| add_vectors(value, depth + 1, vectors));
    }
    vectors.push(values.iter().map(binary32).collect::<Result<_, _>>()?);
    Ok(())
}

#[expect(clippy::as_conversions, reason = "only a cast rounds to the closest binary32")]
fn binary32(value: &Json) -> Result<f32, String> {
    let number = value.as_f64().map(|number| number as f32);
    number.ok_or_else(|| format!("{value} is not a number"))
}
