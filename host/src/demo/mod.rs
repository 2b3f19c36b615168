//! What the demo needs beside the main chain: a float network of its own.

pub mod float_training;
