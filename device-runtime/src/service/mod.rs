//! A board's command loop.
