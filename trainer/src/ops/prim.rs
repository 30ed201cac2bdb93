//! Backend primitives with operators, so that a default body reads like its formula.

use std::ops::{Add, Div, Mul, Neg, Sub};

use burn::{
    backend::{Backend, TensorMetadata, tensor::FloatTensor},
    tensor::{DType, FloatDType, Shape, Slice},
};

/// A float tensor of backend `B`, of any rank. Binary operators broadcast dimensions of size 1.
pub(super) struct Prim<B: Backend>(FloatTensor<B>);

impl<B: Backend> Clone for Prim<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: Backend> Prim<B> {
    /// Wraps a primitive.
    pub(super) fn new(tensor: FloatTensor<B>) -> Self {
        Self(tensor)
    }

    /// The primitive.
    pub(super) fn into_inner(self) -> FloatTensor<B> {
        self.0
    }

    /// The size of each dimension.
    pub(super) fn dims<const D: usize>(&self) -> [usize; D] {
        self.0.shape().dims()
    }

    /// The element type.
    pub(super) fn dtype(&self) -> DType {
        self.0.dtype()
    }

    /// Converts the elements to `dtype`; nothing happens if they have it.
    pub(super) fn cast(self, dtype: DType) -> Self {
        if self.dtype() == dtype {
            return self;
        }
        Self(B::float_cast(self.0, FloatDType::from(dtype)))
    }

    /// As float32: norms, softmax, rotations and activations lose too much in 8 bits of mantissa.
    pub(super) fn f32(self) -> Self {
        self.cast(DType::F32)
    }

    pub(super) fn matmul(self, rhs: Self) -> Self {
        Self(B::float_matmul(self.0, rhs.0))
    }

    /// Swaps the last two dimensions.
    pub(super) fn t(self) -> Self {
        Self(B::float_transpose(self.0))
    }

    pub(super) fn swap_dims(self, a: usize, b: usize) -> Self {
        Self(B::float_swap_dims(self.0, a, b))
    }

    pub(super) fn reshape<const D: usize>(self, dims: [usize; D]) -> Self {
        Self(B::float_reshape(self.0, Shape::from(dims)))
    }

    /// `[.., start..end, ..]` in dimension `dim`.
    pub(super) fn narrow(&self, dim: usize, start: usize, end: usize) -> Self {
        let slices: Vec<Slice> = self
            .0
            .shape()
            .iter()
            .enumerate()
            .map(|(i, &size)| {
                if i == dim {
                    (start..end).into()
                } else {
                    (0..size).into()
                }
            })
            .collect();
        Self(B::float_slice(self.0.clone(), &slices))
    }

    /// Joins tensors along `dim`.
    pub(super) fn cat(parts: Vec<Self>, dim: usize) -> Self {
        Self(B::float_cat(
            parts.into_iter().map(Self::into_inner).collect(),
            dim,
        ))
    }

    pub(super) fn exp(self) -> Self {
        Self(B::float_exp(self.0))
    }

    pub(super) fn log(self) -> Self {
        Self(B::float_log(self.0))
    }

    pub(super) fn sqrt(self) -> Self {
        Self(B::float_sqrt(self.0))
    }

    pub(super) fn recip(self) -> Self {
        Self(B::float_recip(self.0))
    }

    pub(super) fn square(self) -> Self {
        self.clone() * self
    }

    /// Sums `dim`, which keeps size 1.
    pub(super) fn sum_dim(self, dim: usize) -> Self {
        Self(B::float_sum_dim(self.0, dim))
    }

    /// The mean over `dim`, which keeps size 1.
    pub(super) fn mean_dim(self, dim: usize) -> Self {
        Self(B::float_mean_dim(self.0, dim))
    }

    /// The maximum over `dim`, which keeps size 1.
    pub(super) fn max_dim(self, dim: usize) -> Self {
        Self(B::float_max_dim(self.0, dim))
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $tensor:ident, $scalar:ident) => {
        impl<B: Backend> $trait for Prim<B> {
            type Output = Self;
            fn $method(self, rhs: Self) -> Self {
                Self(B::$tensor(self.0, rhs.0))
            }
        }
        impl<B: Backend> $trait<f32> for Prim<B> {
            type Output = Self;
            fn $method(self, rhs: f32) -> Self {
                Self(B::$scalar(self.0, rhs.into()))
            }
        }
    };
}
operator!(Add, add, float_add, float_add_scalar);
operator!(Sub, sub, float_sub, float_sub_scalar);
operator!(Mul, mul, float_mul, float_mul_scalar);
operator!(Div, div, float_div, float_div_scalar);

impl<B: Backend> Neg for Prim<B> {
    type Output = Self;
    fn neg(self) -> Self {
        Self(B::float_neg(self.0))
    }
}
