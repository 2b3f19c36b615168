//! Inner loops for Cortex-M0, M0+ and M23, which multiply 32 bits by 32 to 32 in one instruction that
//! overwrites a factor, and reach only eight registers with most instructions.
#![expect(unsafe_code, reason = "inline assembly")]

mod filled;
mod finish;
mod lanes;
mod pack;
mod unpack;

pub(super) use filled::filled_product;
pub(super) use finish::finish_tile;
pub(super) use lanes::lanes_chunk;
pub(super) use pack::lanes_pack;
pub(super) use unpack::lanes_unpack;
