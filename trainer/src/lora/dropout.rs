//! Dropout whose draws are the same on every device.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::rng::{Purpose, Rng};

/// The dropout of one micro-batch.
///
/// A mask has tokens × channels elements for each of some 500 layers: too many to draw on the host.
/// So the host draws a key per row and per column, and the device mixes the two keys of each
/// element with the finalizer of `MurmurHash3`, in 32-bit integers that wrap alike everywhere. The
/// mask is a pure function of (seed, step, sample, layer, token, channel): the recomputation of a
/// segment and a resumed run draw the same one.
#[derive(Debug, Clone)]
pub struct Dropout {
    /// In (0, 1).
    probability: f64,
    /// One random number per sample of the micro-batch.
    samples: Vec<u64>,
}

impl Dropout {
    /// The dropout of `samples` (indices into the global batch) at optimizer step `step`; `None`
    /// when nothing is dropped.
    pub fn new(
        probability: f64,
        seed: u64,
        step: u64,
        samples: impl IntoIterator<Item = u64>,
    ) -> Option<Self> {
        (probability > 0.0).then(|| Self {
            probability,
            samples: samples
                .into_iter()
                .map(|sample| Rng::new(seed, Purpose::Dropout, step, sample).integer())
                .collect(),
        })
    }

    /// 0 with the dropout's probability p, else 1 / (1 - p); `[batch·tokens, channels]`, float32.
    pub fn mask(
        &self,
        layer: usize,
        [batch, tokens, channels]: [usize; 3],
        device: &Device,
    ) -> Tensor<2> {
        assert_eq!(batch, self.samples.len(), "dropout: samples in the batch");
        let layer = mix64(layer as u64);
        let rows: Vec<i32> = self
            .samples
            .iter()
            .flat_map(|sample| {
                (0..tokens as u64).map(move |token| mix64((sample ^ layer) + token) as i32)
            })
            .collect();
        let columns: Vec<i32> = (0..channels as u64)
            .map(|channel| mix64(!layer ^ channel) as i32)
            .collect();
        let upload = |keys: Vec<i32>, shape: [usize; 2]| {
            Tensor::<2, Int>::from_data(TensorData::new(keys, shape), (device, DType::I32))
        };
        let bits = upload(rows, [batch * tokens, 1])
            .expand([batch * tokens, channels])
            .bitwise_xor(upload(columns, [1, channels]).expand([batch * tokens, channels]));
        let bits = mix32(bits).bitwise_and_scalar(i32::MAX);
        let threshold = (self.probability * f64::from(i32::MAX)) as i32;
        let keep = bits.greater_elem(threshold).float().cast(DType::F32);
        keep * (1.0 / (1.0 - self.probability)) as f32
    }
}

/// The finalizer of `SplitMix64`.
fn mix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The finalizer of `MurmurHash3` on each element.
fn mix32(x: Tensor<2, Int>) -> Tensor<2, Int> {
    // The shift of a signed integer repeats the sign; the mask removes it.
    let shift = |x: Tensor<2, Int>, by: i32| {
        x.bitwise_right_shift_scalar(by)
            .bitwise_and_scalar(i32::MAX >> (by - 1))
    };
    let x = x.clone().bitwise_xor(shift(x, 16));
    let x = x * 0x85eb_ca6b_u32.cast_signed();
    let x = x.clone().bitwise_xor(shift(x, 13));
    let x = x * 0xc2b2_ae35_u32.cast_signed();
    x.clone().bitwise_xor(shift(x, 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(step: u64, layer: usize, samples: &[u64]) -> Vec<f32> {
        let dropout = Dropout::new(0.25, 5, step, samples.iter().copied()).unwrap();
        let shape = [samples.len(), 40, 50];
        let mask = dropout.mask(layer, shape, &Device::flex());
        mask.into_data().to_vec().unwrap()
    }

    #[test]
    fn the_mask_mixes_as_murmur_hash_3_does() {
        fn reference(mut x: u32) -> u32 {
            x ^= x >> 16;
            x = x.wrapping_mul(0x85eb_ca6b);
            x ^= x >> 13;
            x = x.wrapping_mul(0xc2b2_ae35);
            x ^ (x >> 16)
        }
        let keys = [0, 1, -1, i32::MIN, i32::MAX, 123_456_789];
        let tensor = Tensor::<2, Int>::from_data(
            TensorData::new(keys.to_vec(), [1, 6]),
            (&Device::flex(), DType::I32),
        );
        let mixed: Vec<i32> = mix32(tensor).into_data().to_vec().unwrap();
        let want = keys.map(|key| reference(key.cast_unsigned()).cast_signed());
        assert_eq!(mixed, want);
    }

    #[test]
    fn a_quarter_is_dropped_and_the_mean_stays() {
        let mask = mask(0, 3, &[0, 1]);
        let dropped = mask.iter().filter(|&&x| x == 0.0).count() as f64 / mask.len() as f64;
        assert!((dropped - 0.25).abs() < 0.02, "dropped {dropped}");
        assert!(mask.iter().all(|&x| x == 0.0 || (x - 4.0 / 3.0).abs() < 1e-6));
    }

    #[test]
    fn a_mask_depends_on_step_layer_and_sample_only() {
        let base = mask(0, 3, &[7]);
        assert_eq!(base, mask(0, 3, &[7]));
        assert_ne!(base, mask(1, 3, &[7]));
        assert_ne!(base, mask(0, 4, &[7]));
        assert_ne!(base, mask(0, 3, &[8]));
        let batch = mask(0, 3, &[6, 7]);
        assert_eq!(base, batch[base.len()..], "the batch it is in does not matter");
    }

    #[test]
    fn nothing_is_dropped_at_probability_0() {
        assert!(Dropout::new(0.0, 0, 0, [0]).is_none());
    }
}
