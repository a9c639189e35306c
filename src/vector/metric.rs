//! The distances that [`Metric`] names, between finite vectors of the same
//! length.

use crate::{
    model::space::Metric,
    vector::simd::{dot, l2_squared},
};

/// Measures distances to one query.
///
/// Products are summed in f64 in a fixed order: sums of finite f32 never
/// overflow, and a result does not depend on the machine.
#[derive(Debug)]
pub(crate) struct Measure<'q> {
    metric: Metric,
    query: &'q [f32],
    norm: f64,
}

impl<'q> Measure<'q> {
    pub(crate) fn new(metric: Metric, query: &'q [f32]) -> Self {
        Self { metric, query, norm: norm(query) }
    }

    pub(crate) fn metric(&self) -> Metric {
        self.metric
    }

    /// The Euclidean length of the query.
    pub(crate) fn norm(&self) -> f64 {
        self.norm
    }

    /// The distance to `vector`, which has as many components as the query and
    /// the Euclidean length `vector_norm`. Smaller is closer. The cosine
    /// distance is from 0 to 2; the dot distance is the negated inner product.
    pub(crate) fn distance(&self, vector: &[f32], vector_norm: f64) -> f64 {
        match self.metric {
            Metric::Cosine => {
                (1.0 - dot(self.query, vector) / (self.norm * vector_norm)).clamp(0.0, 2.0)
            }
            Metric::Dot => -dot(self.query, vector),
            Metric::L2 => l2_squared(self.query, vector).sqrt(),
        }
    }
}

/// The Euclidean length of a vector.
pub(crate) fn norm(vector: &[f32]) -> f64 {
    dot(vector, vector).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_match_their_definitions() {
        let (a, b) = ([3.0, 4.0], [4.0, -3.0]);
        for (metric, expected) in
            [(Metric::Cosine, 1.0), (Metric::Dot, 0.0), (Metric::L2, 50f64.sqrt())]
        {
            assert_eq!(Measure::new(metric, &a).distance(&b, norm(&b)), expected, "{metric:?}");
        }
        assert_eq!(Measure::new(Metric::Dot, &a).distance(&a, 5.0), -25.0);
        assert_eq!(Measure::new(Metric::Cosine, &a).distance(&a, 5.0), 0.0);
    }

    #[test]
    fn every_component_is_summed_and_extremes_stay_finite() {
        for len in 1..70_u8 {
            let a: Vec<f32> = (1..=len).map(f32::from).collect();
            let expected: f64 = a.iter().map(|x| f64::from(*x).powi(2)).sum();
            assert_eq!(norm(&a), expected.sqrt(), "{len}");
        }
        let (huge, tiny) = ([f32::MAX; 9], [f32::MIN_POSITIVE / 2.0; 9]);
        for vector in [huge, tiny] {
            let measure = Measure::new(Metric::Cosine, &vector);
            assert!(measure.distance(&vector, norm(&vector)) < 1e-6);
        }
    }
}
