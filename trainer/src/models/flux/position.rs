//! Rotary positions over three axes: image index, row, column.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// FLUX's base of the rotation frequencies.
const THETA: f64 = 10_000.0;

/// Cosines and sines for every token: text first, then the image, then the control image.
#[derive(Debug, Clone)]
pub struct Rope {
    /// `[tokens, head_dim / 2]`, float32.
    pub cos: Tensor<2>,
    /// `[tokens, head_dim / 2]`, float32.
    pub sin: Tensor<2>,
}

impl Rope {
    /// The tables for `text` tokens at the origin and `images` grids of `[rows, columns]` tokens,
    /// the i-th at index i of the first axis. Angles are computed in float64, as the reference
    /// does.
    pub fn new(
        axes: [usize; 3],
        text: usize,
        images: usize,
        [rows, columns]: [usize; 2],
        device: &Device,
    ) -> Self {
        let origin = std::iter::repeat_n([0; 3], text);
        let grid = (0..images).flat_map(|image| {
            (0..rows).flat_map(move |row| (0..columns).map(move |column| [image, row, column]))
        });
        let half: usize = axes.iter().sum::<usize>() / 2;
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in origin.chain(grid) {
            for (axis, coordinate) in axes.into_iter().zip(position) {
                for pair in 0..axis / 2 {
                    let frequency = THETA.powf(-((2 * pair) as f64) / axis as f64);
                    let angle = coordinate as f64 * frequency;
                    cos.push(angle.cos() as f32);
                    sin.push(angle.sin() as f32);
                }
            }
        }
        let tokens = text + images * rows * columns;
        let upload =
            |table| Tensor::from_data(TensorData::new(table, [tokens, half]), (device, DType::F32));
        Self {
            cos: upload(cos),
            sin: upload(sin),
        }
    }

    /// The rows `start..end`.
    #[must_use]
    pub fn slice(&self, start: usize, end: usize) -> Self {
        let slice = |table: &Tensor<2>| table.clone().slice(start..end);
        Self {
            cos: slice(&self.cos),
            sin: slice(&self.sin),
        }
    }
}
