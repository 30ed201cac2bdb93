//! What flows from segment to segment.

use burn::tensor::{Gradients, Tensor};

/// The hidden state: image and text apart (double blocks), or joined, text first (single blocks).
/// Each tensor is `[batch, tokens, channels]`.
#[derive(Debug, Clone)]
pub enum Hidden {
    /// Two streams.
    Streams {
        /// Text tokens.
        txt: Tensor<3>,
        /// Image tokens.
        img: Tensor<3>,
    },
    /// One stream.
    Joined(Tensor<3>),
}

impl Hidden {
    /// Text and image, of which the first has `text_tokens` tokens.
    pub fn streams(self, text_tokens: usize) -> (Tensor<3>, Tensor<3>) {
        match self {
            Self::Streams { txt, img } => (txt, img),
            Self::Joined(x) => {
                let image_tokens = x.dims()[1] - text_tokens;
                (
                    x.clone().narrow(1, 0, text_tokens),
                    x.narrow(1, text_tokens, image_tokens),
                )
            }
        }
    }

    /// Text, then image.
    pub fn joined(self) -> Tensor<3> {
        match self {
            Self::Streams { txt, img } => Tensor::cat(vec![txt, img], 1),
            Self::Joined(x) => x,
        }
    }

    fn map(self, f: impl Fn(Tensor<3>) -> Tensor<3>) -> Self {
        match self {
            Self::Streams { txt, img } => Self::Streams {
                txt: f(txt),
                img: f(img),
            },
            Self::Joined(x) => Self::Joined(f(x)),
        }
    }

    /// The same values as leaves of a new autodiff graph.
    #[must_use]
    pub(crate) fn lift(self) -> Self {
        self.map(|x| x.autodiff().require_grad())
    }

    /// The gradients of a lifted state; zero where the result did not depend on it.
    pub(crate) fn gradients(self, all: &mut Gradients) -> Self {
        let all = std::cell::RefCell::new(all);
        self.map(|x| {
            x.grad_remove(&mut all.borrow_mut())
                .unwrap_or_else(|| x.inner().zeros_like())
        })
    }

    /// The sum of all products, `[1]`: its gradient with respect to `self` is exactly `other`.
    pub(crate) fn dot(self, other: Self) -> Tensor<1> {
        let dot = |x: Tensor<3>, y: Tensor<3>| (x * y).sum();
        match (self, other) {
            (
                Self::Streams { txt, img },
                Self::Streams {
                    txt: other_txt,
                    img: other_img,
                },
            ) => dot(txt, other_txt) + dot(img, other_img),
            (Self::Joined(x), Self::Joined(other)) => dot(x, other),
            _ => panic!("a segment's output and its gradient differ in form"),
        }
    }
}
