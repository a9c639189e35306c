//! Vector spaces: dimension, metric, and how they are searched.

use serde::{Deserialize, Serialize};

use crate::model::{
    error::{Error, Result},
    limits::{self, check_name},
};

/// How the distance of two vectors is measured. Smaller is closer.
///
/// ```
/// use ingrain::{Metric, Space};
///
/// // What most text embedding models are trained for.
/// let space = Space::new(384, Metric::Cosine);
/// assert_ne!(space.metric, Metric::L2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Metric {
    /// `1 - cos(a, b)`, from 0 to 2. Zero vectors have no direction and are
    /// refused.
    Cosine,
    /// `-(a · b)`.
    Dot,
    /// `|a - b|`, the Euclidean distance.
    L2,
}

/// How the components of a space's vectors are stored.
///
/// ```
/// use ingrain::{Element, Metric, Space};
///
/// assert_eq!(Space::new(3, Metric::Dot).element, Element::F32);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Element {
    /// IEEE 754 binary32, little-endian.
    #[default]
    F32,
}

/// How a space is searched, unless an exact search is asked for.
///
/// The method of a space can be changed at any time. The vectors stay as they
/// are, and what is derived from them is built again.
///
/// ```
/// use ingrain::{Batch, Method, Op};
///
/// assert_eq!(Method::default(), Method::Auto);
/// let mut batch = Batch::new();
/// batch.push(Op::SetMethod { name: "text".to_owned(), method: Method::Pq8 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Method {
    /// The engine chooses: today what [`Pq4`](Self::Pq4) does.
    #[default]
    Auto,
    /// Every vector is compared.
    Exact,
    /// A scan of codes of four bits for each one to four dimensions (product
    /// quantisation), then of the vectors of the best.
    Pq4,
    /// The same with codes of eight bits for twice the dimensions: closer, and
    /// several times slower.
    Pq8,
    /// A graph (HNSW) beside the codes, built in the background for large
    /// files. Needs the crate's feature `hnsw`; without it the codes serve.
    Hnsw,
}

/// What is fixed about a vector space when it is created.
///
/// ```
/// use ingrain::{Metric, Options, Space};
///
/// let space = Space::new(384, Metric::Cosine);
/// assert_eq!(space.dimension, 384);
/// let options = Options::new().space("text", space);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Space {
    /// Components of each vector: 1 to [`limits::DIMENSION`].
    pub dimension: usize,
    /// How distances are measured.
    pub metric: Metric,
    /// How components are stored.
    #[serde(default)]
    pub element: Element,
}

impl Space {
    /// A space of vectors of `f32` with so many components. Creating it fails
    /// if that is not in 1 to [`limits::DIMENSION`].
    #[must_use]
    pub const fn new(dimension: usize, metric: Metric) -> Self {
        Self { dimension, metric, element: Element::F32 }
    }

    /// Checks the bounds of the definition.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        check_name("space", name)?;
        if self.dimension == 0 || self.dimension > limits::DIMENSION {
            return Err(Error::invalid(format!(
                "space {name:?}: dimension {} is not in 1..={}",
                self.dimension,
                limits::DIMENSION
            )));
        }
        Ok(())
    }

    /// Checks that `vector` may stand in this space, or be a query to it.
    pub(crate) fn check_vector(&self, name: &str, vector: &[f32]) -> Result<()> {
        if vector.len() != self.dimension {
            return Err(Error::invalid(format!(
                "vector for space {name:?}: it has {} numbers, the space has {}",
                vector.len(),
                self.dimension
            )));
        }
        if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
            return Err(Error::invalid(format!(
                "vector for space {name:?}: number {at} is not finite"
            )));
        }
        // The metrics sum in f64, where neither the square of a finite f32
        // overflows nor that of a subnormal one vanishes.
        if self.metric == Metric::Cosine && vector.iter().all(|x| *x == 0.0) {
            return Err(Error::invalid(format!(
                "vector for space {name:?}: a zero vector has no cosine"
            )));
        }
        Ok(())
    }
}
