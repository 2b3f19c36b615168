//! Quantized graphs to integer programs.
