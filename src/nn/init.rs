//! Initial values: Keras's defaults, drawn from Philox by tensor number and place.

use toile_kernels::rng::{Stream, purpose};

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initializer {
    /// All the same number.
    Constant(f32),
    /// Uniform in ±sqrt(6 / (fan in + fan out)) (Glorot and Bengio, AISTATS 2010).
    GlorotUniform {
        /// Inputs that reach one output.
        fan_in: usize,
        /// Outputs that one input reaches.
        fan_out: usize,
    },
}

impl Initializer {
    /// The first `len` values for parameter number `tensor` under `seed`.
    #[must_use]
    pub fn values(self, len: usize, tensor: u16, seed: u64) -> Vec<f32> {
        match self {
            Initializer::Constant(value) => vec![value; len],
            Initializer::GlorotUniform { fan_in, fan_out } => {
                let limit = libm::sqrt(6.0 / (fan_in + fan_out) as f64) as f32;
                let stream = Stream { seed, purpose: purpose::initializer(tensor), step: 0 };
                (0..len as u64).map(|i| (2.0 * stream.uniform(i) - 1.0) * limit).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean 0 and variance limit² / 3, as of any uniform distribution around 0.
    #[test]
    fn glorot_has_the_stated_moments() {
        let x = Initializer::GlorotUniform { fan_in: 288, fan_out: 288 }.values(40_000, 3, 42);
        let limit = (6.0f64 / 576.0).sqrt();
        assert!(x.iter().all(|&x| f64::from(x).abs() <= limit));
        let n = x.len() as f64;
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
        let deviation_of_mean = limit / (3.0 * n).sqrt();
        assert!(mean.abs() < 5.0 * deviation_of_mean, "{mean}");
        assert!((variance / (limit * limit / 3.0) - 1.0).abs() < 0.03, "{variance}");
    }

    #[test]
    fn tensors_and_seeds_differ() {
        let glorot = Initializer::GlorotUniform { fan_in: 1, fan_out: 1 };
        let [a, b, c] =
            [(0, 1), (1, 1), (0, 2)].map(|(tensor, seed)| glorot.values(8, tensor, seed));
        assert!(a != b && a != c && b != c);
    }
}
