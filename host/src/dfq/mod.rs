//! Adaptive data-free quantization.
