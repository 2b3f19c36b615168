//! From sums to codes: two channels of four positions.
//!
//! ```text
//!   a1   tile                            t0   zero point of the weights
//!   a2   code to be written              t1   multiplier
//!   a3   codes from pixel to pixel       t2   bias, lower word
//!   a4   highest code                    t3   bias, upper word
//!   t6   64 bits before the shift,       t4   shift of the upper word
//!   a5   a5 the upper word               t5   multiplier of the addend
//! ```
//! A code takes 16 instructions or so, with an addend 24; one more if sums are lifted.

use core::arch::naked_asm;

use crate::kernels::conv2d::tiled::{ADDEND_LIFT, Added, CHANNELS, Channel, SUM_LIFT, Tile, WIDTH};

/// Writes the codes 0 to `highest` of a whole tile, whose positions are `pixel` apart. Channels are lifted,
/// and sums by `lift` bits, 0 or [`SUM_LIFT`]. `false`, having done nothing, if `codes` is too short.
pub(in crate::kernels) fn finish_tile(
    channels: &[Channel; CHANNELS],
    tile: &Tile,
    (added, lift): (Added, u32),
    highest: i32,
    pixel: usize,
    codes: &mut [u8],
) -> bool {
    let last = pixel.checked_mul(WIDTH - 1);
    if last.is_none_or(|last| codes.len().saturating_sub(last) < CHANNELS) {
        return false;
    }
    let finish = match (added, lift) {
        (Added::Nothing, 0) => nothing::<0>,
        (Added::Nothing, _) => nothing::<SUM_LIFT>,
        (Added::InPlace, 0) => in_place::<0>,
        (Added::InPlace, _) => in_place::<SUM_LIFT>,
        (Added::Listed, 0) => listed::<0>,
        (Added::Listed, _) => listed::<SUM_LIFT>,
    };
    // SAFETY: the codes of both channels of the last position exist; the rest is read from the
    // references.
    unsafe { finish(channels, tile, codes.as_mut_ptr(), pixel, highest) };
    true
}

macro_rules! finish {
    ($name:ident, [$($added:literal),*]) => {
        /// # Safety
        /// `codes` is valid for two bytes at each of four multiples of `pixel`.
        #[unsafe(naked)]
        unsafe extern "C" fn $name<const LIFT: u32>(
            channels: &[Channel; CHANNELS],
            tile: &Tile,
            codes: *mut u8,
            pixel: usize,
            highest: i32,
        ) {
            naked_asm!(
                ".option push",
                // Functions in assembly are not assembled for the target's extensions.
                ".option arch, +m",
                ".irp channel, 0, 1",
                "lw t0, 24 * \\channel(a0)",
                "lw t1, 24 * \\channel + 4(a0)",
                "lw t2, 24 * \\channel + 8(a0)",
                "lw t3, 24 * \\channel + 12(a0)",
                "lw t4, 24 * \\channel + 16(a0)",
                "lw t5, 24 * \\channel + 20(a0)",
                ".irp position, 0, 1, 2, 3",
                "lw t6, 16 * \\channel + 4 * \\position(a1)",
                "lw a5, 64 + 4 * \\position(a1)",
                "mul a5, a5, t0",
                "add t6, t6, a5",
                ".if {lift}",
                "slli t6, t6, {lift}",
                ".endif",
                "mulh a5, t6, t1",
                "mul t6, t6, t1",
                "add t6, t6, t2",
                "sltu a6, t6, t2",
                "add a5, a5, t3",
                "add a5, a5, a6",
                $($added,)*
                "bgez a5, 2f",
                "li a5, 0",
                "j 3f",
                "2:",
                "srl a5, a5, t4",
                "bleu a5, a4, 3f",
                "mv a5, a4",
                "3:",
                "sb a5, 0(a2)",
                "add a2, a2, a3",
                ".endr",
                // To the next channel of the first position.
                "slli a5, a3, 2",
                "sub a2, a2, a5",
                "addi a2, a2, 1",
                ".endr",
                ".option pop",
                "ret",
                lift = const LIFT,
            )
        }
    };
}

const _: () = assert!(size_of::<Channel>() == 24 && ADDEND_LIFT == 4);
const _: () = assert!(
    core::mem::offset_of!(Tile, addends) == 32 && core::mem::offset_of!(Tile, patch_sums) == 64
);

finish!(nothing, []);
finish!(
    in_place,
    [
        "lbu a7, 0(a2)",
        "slli a7, a7, 4",
        "mul a6, a7, t5",
        "mulh a7, a7, t5",
        "add t6, t6, a6",
        "sltu a6, t6, a6",
        "add a5, a5, a7",
        "add a5, a5, a6"
    ]
);
finish!(
    listed,
    [
        "lw a7, 32 + 16 * \\channel + 4 * \\position(a1)",
        "mul a6, a7, t5",
        "mulh a7, a7, t5",
        "add t6, t6, a6",
        "sltu a6, t6, a6",
        "add a5, a5, a7",
        "add a5, a5, a6"
    ]
);
