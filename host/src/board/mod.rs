//! Boards: registry, transports, flash and verify.
