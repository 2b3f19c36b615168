//! Walks a program over one arena that the caller owns.
