//! The one source of randomness: a counter-based generator on the host.
//!
//! Every draw is a pure function of (seed, purpose, step, sample), so a run has the same randomness
//! on every device and any number of machines, a resumed run continues exactly, and backends can be
//! compared step by step.

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha12Rng;
use rand_distr::StandardNormal;

/// What numbers are drawn for. Streams of different purposes never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// The starting values of the LoRA matrices.
    LoraInit = 1,
    /// The sample drawn from the VAE's posterior.
    VaeSample = 2,
    /// The order of an epoch.
    Shuffle = 3,
    /// The flow-matching noise.
    Noise = 4,
    /// The timestep.
    Timestep = 5,
    /// LoRA dropout masks.
    Dropout = 6,
    /// Whether a caption is dropped.
    DropCaption = 7,
    /// The order of tags in a caption.
    ShuffleTags = 8,
}

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Rng(ChaCha12Rng);

impl Rng {
    /// The stream of `(seed, purpose, step, sample)`. `step` and `sample` are whatever counts the
    /// purpose: for a shuffle, `step` is the epoch and `sample` is 0.
    pub fn new(seed: u64, purpose: Purpose, step: u64, sample: u64) -> Self {
        let mut key = [0; 32];
        for (chunk, word) in key
            .chunks_exact_mut(8)
            .zip([seed, purpose as u64, step, sample])
        {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha12Rng::from_seed(key))
    }

    /// One number from the standard normal distribution.
    pub fn normal(&mut self) -> f32 {
        self.0.sample(StandardNormal)
    }

    /// `count` numbers from the standard normal distribution.
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal()).collect()
    }

    /// One integer, every value as likely.
    pub fn integer(&mut self) -> u64 {
        self.0.random()
    }

    /// One number in `[0, 1)`.
    pub fn uniform(&mut self) -> f32 {
        self.0.random()
    }

    /// Puts `items` in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        items.shuffle(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_every_part_of_its_key_and_on_nothing_else() {
        let draw = |seed, purpose, step, sample| Rng::new(seed, purpose, step, sample).normals(4);
        let base = draw(1, Purpose::Noise, 2, 3);
        assert_eq!(base, draw(1, Purpose::Noise, 2, 3));
        for other in [
            draw(2, Purpose::Noise, 2, 3),
            draw(1, Purpose::Timestep, 2, 3),
            draw(1, Purpose::Noise, 3, 3),
            draw(1, Purpose::Noise, 2, 4),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn normals_have_mean_0_and_variance_1() {
        let draws = Rng::new(7, Purpose::Noise, 0, 0).normals(100_000);
        let mean = draws.iter().sum::<f32>() / draws.len() as f32;
        let variance = draws.iter().map(|x| x * x).sum::<f32>() / draws.len() as f32;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
    }
}
