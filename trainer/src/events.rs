//! What a run reports while it goes on. The library never prints; the caller shows events.

use std::path::PathBuf;

/// A stretch of work whose progress is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Images through the VAE, in images.
    CachingLatents,
    /// Captions through CLIP and T5, in captions.
    CachingText,
    /// The transformer from disk to the device, in tensors.
    LoadingTransformer,
}

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A device was chosen.
    Device {
        /// Its name: `cuda:0 (NVIDIA H100)`.
        name: String,
        /// Why this one.
        reason: String,
    },
    /// Something is likely not what the user wants; the run goes on.
    Warning {
        /// What, naming the file or key.
        message: String,
    },
    /// Progress within `task`; `done` goes from 0 to `total`.
    Progress {
        /// Which task.
        task: Task,
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
    },
    /// Training starts.
    Started {
        /// The folder of this run.
        run_dir: PathBuf,
        /// Optimizer steps in all.
        steps: u64,
        /// Optimizer steps per epoch.
        steps_per_epoch: u64,
        /// Trainable parameters.
        parameters: u64,
    },
    /// An optimizer step is done.
    Step(StepReport),
    /// A LoRA file was written.
    Saved {
        /// The file.
        path: PathBuf,
    },
    /// The run is over.
    Finished {
        /// The last LoRA file.
        lora: PathBuf,
        /// Optimizer steps done.
        steps: u64,
        /// Seconds of training, without caching and loading.
        seconds: f64,
    },
}

/// One optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct StepReport {
    /// From 1.
    pub step: u64,
    /// From 1.
    pub epoch: u64,
    /// Mean over the micro-batches.
    pub loss: f32,
    /// The learning rate this step used.
    pub learning_rate: f64,
    /// Global norm of the gradients before clipping.
    pub gradient_norm: f32,
    /// Wall-clock time of the step.
    pub seconds: f64,
}

/// Receives events. Any `FnMut(Event)` is one.
pub trait Observer {
    /// Called on the training thread, so it should return soon.
    fn observe(&mut self, event: Event);
}

impl<F: FnMut(Event)> Observer for F {
    fn observe(&mut self, event: Event) {
        self(event);
    }
}
