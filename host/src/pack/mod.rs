//! Integer programs to packed files.
