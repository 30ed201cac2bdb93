//! Rectified flow (arXiv 2209.03003, flow matching 2210.02747) as FLUX is trained.
//!
//! x_t = (1 - t)·x + t·noise; the model predicts the velocity noise - x; t = 1 is pure noise.

use burn::tensor::Tensor;

/// Latents to tokens: each 2×2 patch of 16 channels becomes one token of 64.
///
/// # Shapes
/// `[batch, channels, height, width]` to `[batch, height/2·width/2, channels·4]`.
pub fn pack(latents: Tensor<4>) -> Tensor<3> {
    let [b, c, h, w] = latents.dims();
    latents
        .reshape([b, c, h / 2, 2, w / 2, 2])
        .permute([0, 2, 4, 1, 3, 5]) // [b, h/2, w/2, c, 2, 2]
        .reshape([b, h / 2 * (w / 2), c * 4])
}

/// x_t, for one timestep per sample (`[batch]`).
///
/// # Shapes
/// `latents`, `noise` and the result: `[batch, channels, height, width]`.
pub fn add_noise(latents: Tensor<4>, noise: Tensor<4>, timesteps: Tensor<1>) -> Tensor<4> {
    let t = timesteps.reshape([-1, 1, 1, 1]);
    latents * (-t.clone() + 1.0) + noise * t
}

/// What the model should predict.
pub fn target(latents: Tensor<4>, noise: Tensor<4>) -> Tensor<4> {
    noise - latents
}

/// The mean of mask·(prediction - target)² over **all** elements, masked ones included, in float32.
///
/// # Shapes
/// `prediction`, `target` and `mask`: `[batch, tokens, channels]`; the result: `[1]`.
pub fn loss(prediction: Tensor<3>, target: Tensor<3>, mask: Option<Tensor<3>>) -> Tensor<1> {
    let difference = prediction - target;
    let squared = difference.clone() * difference;
    match mask {
        Some(mask) => (squared * mask).mean(),
        None => squared.mean(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn range(shape: [usize; 4]) -> Tensor<4> {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i| i as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn a_token_holds_a_patch_channel_by_channel() {
        // [1, 2, 2, 4]: rows of channel 0 are 0..4 and 4..8, of channel 1 8..12 and 12..16.
        let tokens: Vec<f32> = pack(range([1, 2, 2, 4])).into_data().to_vec().unwrap();
        assert_eq!(tokens[..8], [0., 1., 4., 5., 8., 9., 12., 13.]);
        assert_eq!(tokens[8..], [2., 3., 6., 7., 10., 11., 14., 15.]);
    }

    #[test]
    fn time_0_is_the_image_and_time_1_is_the_noise() {
        let latents = range([2, 1, 2, 2]);
        let noise = latents.clone() * -1.0;
        let timesteps = Tensor::<1>::from_data([0.0, 1.0], &Device::flex());
        let x: Vec<f32> = add_noise(latents, noise, timesteps)
            .into_data()
            .to_vec()
            .unwrap();
        assert_eq!(x, [0., 1., 2., 3., -4., -5., -6., -7.]);
    }

    #[test]
    fn the_loss_divides_by_all_elements() {
        let zeros = Tensor::<3>::zeros([1, 2, 2], &Device::flex());
        let mask = Tensor::from_data([[[1.0, 1.0], [0.0, 0.0]]], &Device::flex());
        let value = |mask| -> f32 { loss(zeros.clone() + 2.0, zeros.clone(), mask).into_scalar() };
        assert_eq!(value(None), 4.0);
        assert_eq!(value(Some(mask)), 2.0);
    }
}
