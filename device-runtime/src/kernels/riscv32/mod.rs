//! Inner loops for RV32IM, where multiplications read two registers and write a third.
#![expect(unsafe_code, reason = "inline assembly")]

mod filled;
mod finish;
mod lanes;

pub(super) use filled::filled_product;
pub(super) use finish::finish_tile;
pub(super) use lanes::lanes_chunk;
