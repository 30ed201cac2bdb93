//! The seam between the model and the backends.
//!
//! [`FluxOps`] is what the model calls, dispatched at run time to the backend a tensor lives on.
//! [`Kernels`] is what a backend computes with; its default bodies are written in the backend's own
//! tensor operations, run anywhere and are the reference. A backend that does better overrides
//! them here.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
use burn::backend::Cube;
use burn::backend::{
    Autodiff, Backend, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension,
    tensor::FloatTensor,
};

use super::{attention, gated_add, gelu, lora_linear, modulate, node::record, qk_norm_rope};

/// The custom operations; [`super`] documents each.
#[backend_extension(Flex, Cube: cfg(any(feature = "wgpu", feature = "cuda")), Autodiff)]
pub(super) trait FluxOps: Backend {
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn lora_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self>;
    fn modulate(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn gated_add(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        gate: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn qk_norm_rope(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Forward and backward kernels of one backend.
pub(super) trait Kernels: Backend {
    fn attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention::forward::<Self>(q, k, v)
    }
    fn attention_backward(
        state: attention::State<Self>,
        gradient: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3] {
        attention::backward::<Self>(state, gradient)
    }
    fn lora_linear_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        lora_linear::forward::<Self>(x, weight, bias, a, b, scale)
    }
    fn lora_linear_backward(
        state: lora_linear::State<Self>,
        gradient: FloatTensor<Self>,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        lora_linear::backward::<Self>(state, gradient, needed)
    }
    fn modulate_forward(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        modulate::forward::<Self>(x, shift, scale)
    }
    fn modulate_backward(
        state: (FloatTensor<Self>, FloatTensor<Self>),
        gradient: FloatTensor<Self>,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        modulate::backward::<Self>(state, gradient, needed)
    }
    fn gated_add_forward(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        gate: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        gated_add::forward::<Self>(x, y, gate)
    }
    fn gated_add_backward(
        state: (FloatTensor<Self>, FloatTensor<Self>),
        gradient: FloatTensor<Self>,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        gated_add::backward::<Self>(state, gradient, needed)
    }
    fn gelu_tanh_forward(x: FloatTensor<Self>) -> FloatTensor<Self> {
        gelu::forward::<Self>(x)
    }
    fn gelu_tanh_backward(x: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        gelu::backward::<Self>(x, gradient)
    }
    fn qk_norm_rope_forward(state: qk_norm_rope::State<Self>) -> FloatTensor<Self> {
        qk_norm_rope::forward::<Self>(state)
    }
    fn qk_norm_rope_backward(
        state: qk_norm_rope::State<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        qk_norm_rope::backward::<Self>(state, gradient)
    }
}

impl Kernels for Flex {}
#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl Kernels for Cube {}

/// A backend without autodiff runs the forward kernels.
macro_rules! forward_only {
    ($backend:ty) => {
        impl FluxOps for $backend {
            fn attention(
                q: FloatTensor<Self>,
                k: FloatTensor<Self>,
                v: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                Self::attention_forward(q, k, v).0
            }
            fn lora_linear(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                a: FloatTensor<Self>,
                b: FloatTensor<Self>,
                scale: f32,
            ) -> FloatTensor<Self> {
                Self::lora_linear_forward(x, weight, bias, a, b, scale).0
            }
            fn modulate(
                x: FloatTensor<Self>,
                shift: FloatTensor<Self>,
                scale: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                Self::modulate_forward(x, shift, scale)
            }
            fn gated_add(
                x: FloatTensor<Self>,
                y: FloatTensor<Self>,
                gate: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                Self::gated_add_forward(x, y, gate)
            }
            fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::gelu_tanh_forward(x)
            }
            fn qk_norm_rope(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                cos: FloatTensor<Self>,
                sin: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                Self::qk_norm_rope_forward([x, weight, cos, sin])
            }
        }
    };
}
forward_only!(Flex);
#[cfg(any(feature = "wgpu", feature = "cuda"))]
forward_only!(Cube);

impl<B: Kernels, C: CheckpointStrategy> FluxOps for Autodiff<B, C> {
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [qp, kp, vp] = [&q, &k, &v].map(|t| t.primitive().clone());
        let (output, log_sum) = B::attention_forward(qp.clone(), kp.clone(), vp.clone());
        record::<B, C, _, 3>(
            [&q, &k, &v],
            output.clone(),
            [qp, kp, vp, output, log_sum],
            |state, gradient, _| B::attention_backward(state, gradient).map(Some),
        )
    }

    fn lora_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        let [xp, ap, bp] = [&x, &a, &b].map(|t| t.primitive().clone());
        let weight = weight.into_primitive();
        let (output, xa) = B::lora_linear_forward(
            xp.clone(),
            weight.clone(),
            bias.into_primitive(),
            ap.clone(),
            bp.clone(),
            scale,
        );
        let state = lora_linear::State {
            x: xp,
            weight,
            a: ap,
            b: bp,
            xa,
            scale,
        };
        record::<B, C, _, 3>([&x, &a, &b], output, state, B::lora_linear_backward)
    }

    fn modulate(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let state = (x.primitive().clone(), scale.primitive().clone());
        let output =
            B::modulate_forward(state.0.clone(), shift.primitive().clone(), state.1.clone());
        record::<B, C, _, 3>([&x, &shift, &scale], output, state, B::modulate_backward)
    }

    fn gated_add(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        gate: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let state = (y.primitive().clone(), gate.primitive().clone());
        let output = B::gated_add_forward(x.primitive().clone(), state.0.clone(), state.1.clone());
        record::<B, C, _, 3>([&x, &y, &gate], output, state, B::gated_add_backward)
    }

    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let state = x.primitive().clone();
        record::<B, C, _, 1>(
            [&x],
            B::gelu_tanh_forward(state.clone()),
            state,
            |x, gradient, _| [Some(B::gelu_tanh_backward(x, gradient))],
        )
    }

    fn qk_norm_rope(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let state = [
            x.primitive().clone(),
            weight.into_primitive(),
            cos.into_primitive(),
            sin.into_primitive(),
        ];
        record::<B, C, _, 1>(
            [&x],
            B::qk_norm_rope_forward(state.clone()),
            state,
            |state, gradient, _| [Some(B::qk_norm_rope_backward(state, gradient))],
        )
    }
}
