//! Weights on disk: mapped safetensors, one file or several shards.
