//! Trains FLUX LoRAs with [burn].
//!
//! ```text
//! dataset scan → buckets → cache (VAE, CLIP, T5 run once) → batches → noise and timestep
//!     → model segments → loss → gradients by segment → accumulate → clip → optimizer → save, log
//! ```
//!
//! The modules stand in the order in which data flows through them. This crate never parses TOML
//! (that is `config_core`) and never prints (it reports [`events`]).

pub mod error;
pub mod events;

pub mod device;
pub mod rng;

pub mod weights;

pub mod data;

pub mod ops;

pub mod models;

pub use error::{Error, Result};
