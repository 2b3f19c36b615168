//! Inner loops for RV32IM, where multiplications read two registers and write a third.
#![expect(unsafe_code, reason = "inline assembly")]

mod lanes;

pub(super) use lanes::lanes_chunk;
