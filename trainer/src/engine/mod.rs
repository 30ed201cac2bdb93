//! Gradients segment by segment.
//!
//! The model is a list of segments. With checkpointing the forward pass runs without a tape and
//! keeps only each segment's input; then, in reverse, each segment runs again under autodiff from a
//! lifted input and gives the gradients of its LoRA matrices and of its input (a vector-Jacobian
//! product). Without checkpointing one tape spans all segments. Both give the same gradients; they
//! differ in memory and in one more forward pass.

mod gradients;
mod tape;

pub use gradients::LoraGradients;
pub use tape::Tape;

use burn::tensor::Tensor;

use crate::{
    lora::{Adapter, Dropout, Lora},
    models::flux::{Conditioning, Flux, Hidden, Input, Segment},
};

/// What the backward pass keeps of the forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpointing {
    /// Everything: fastest.
    Off,
    /// The input of each block; blocks run twice.
    Blocks,
}

/// The result of one micro-batch.
#[derive(Debug)]
pub struct Pass {
    /// `[1]`
    pub loss: Tensor<1>,
    /// What the model predicted, `[batch, tokens, channels]`, float32.
    pub prediction: Tensor<3>,
    /// The gradients of the loss.
    pub gradients: LoraGradients,
}

/// The loss of the model's prediction on `input` and its gradients. `loss` takes the prediction as
/// float32 `[batch, tokens, channels]` and returns `[1]`.
pub fn forward_backward(
    model: &Flux,
    lora: &Lora,
    dropout: Option<&Dropout>,
    input: &Input,
    checkpointing: Checkpointing,
    loss: impl Fn(Tensor<3>) -> Tensor<1>,
) -> Pass {
    let (hidden, conditioning) = model.embed(input);
    let segments: Vec<&dyn Segment> = model.segments().collect();
    let head = |hidden| model.head(hidden, &conditioning);
    let context = Context {
        lora,
        dropout,
        conditioning: &conditioning,
    };
    match checkpointing {
        Checkpointing::Off => one_tape(&segments, &context, hidden, head, loss),
        Checkpointing::Blocks => by_segment(&segments, &context, hidden, head, loss),
    }
}

struct Context<'a> {
    lora: &'a Lora,
    dropout: Option<&'a Dropout>,
    conditioning: &'a Conditioning,
}

impl Context<'_> {
    fn run(&self, segment: &dyn Segment, hidden: Hidden, tape: &Tape) -> Hidden {
        let adapter = Adapter {
            lora: Some(self.lora),
            tape,
            dropout: self.dropout,
        };
        segment.forward(hidden, self.conditioning, &adapter)
    }
}

fn one_tape(
    segments: &[&dyn Segment],
    context: &Context,
    mut hidden: Hidden,
    head: impl Fn(Hidden) -> Tensor<3>,
    loss: impl Fn(Tensor<3>) -> Tensor<1>,
) -> Pass {
    let tape = Tape::on();
    for segment in segments {
        hidden = context.run(*segment, hidden, &tape);
    }
    let prediction = head(hidden);
    let loss = loss(prediction.clone());
    let mut gradients = LoraGradients::new(context.lora.targets.len());
    tape.collect(&mut loss.backward(), &mut gradients);
    Pass {
        loss: loss.inner(),
        prediction: prediction.inner(),
        gradients,
    }
}

fn by_segment(
    segments: &[&dyn Segment],
    context: &Context,
    mut hidden: Hidden,
    head: impl Fn(Hidden) -> Tensor<3>,
    loss: impl Fn(Tensor<3>) -> Tensor<1>,
) -> Pass {
    let mut inputs = Vec::with_capacity(segments.len());
    for segment in segments {
        inputs.push(hidden.clone());
        hidden = context.run(*segment, hidden, &Tape::Off);
    }

    let hidden = hidden.lift();
    let prediction = head(hidden.clone());
    let loss = loss(prediction.clone());
    let mut output_gradient = hidden.gradients(&mut loss.backward());

    let mut gradients = LoraGradients::new(context.lora.targets.len());
    for (index, segment) in segments.iter().enumerate().rev() {
        let tape = Tape::on();
        let input = inputs.pop().expect("one input for each segment");
        // Nothing before the first segment is trained.
        let input = if index == 0 { input } else { input.lift() };
        let output = context.run(*segment, input.clone(), &tape);
        let mut all = output.dot(output_gradient).backward();
        tape.collect(&mut all, &mut gradients);
        if index == 0 {
            break;
        }
        output_gradient = input.gradients(&mut all);
    }
    Pass {
        loss: loss.inner(),
        prediction: prediction.inner(),
        gradients,
    }
}
