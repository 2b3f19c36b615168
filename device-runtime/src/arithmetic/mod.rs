//! Requantization, rounding, saturation and packed sub-byte codes.
