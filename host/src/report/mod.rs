//! Tables, curves and pictures.
