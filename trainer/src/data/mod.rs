//! From image and caption files to batches of cached latents and embeddings.
