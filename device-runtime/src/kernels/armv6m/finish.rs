//! From sums to codes: two channels of four positions.
//!
//! ```text
//!   r0   sums                    r8    zero point of the weights
//!   r1   sums of the patches     r9    lower half of the multiplier
//!   r2   code to be written      r10   upper half of the multiplier, signed
//!   r6   64 bits before the      r11   bias, lower word
//!   r7   shift, r7 the lower     r12   bias, upper word
//!                                lr    shift of the upper word
//!   sp   +0 lower half of the addend's multiplier   +4 its upper half   +8 highest code
//!        +12 codes from pixel to pixel   +16 parameters of the next channel
//! ```
//! There is no multiplication to 64 bits. Of numbers in halves of 16 bits, the upper ones signed, all
//! four products fit 32 bits: `x y = xl yl + ((xl yh + xh yl) << 16) + (xh yh << 32)`.
//!
//! A code takes 37 instructions, with one that is overwritten 50, with any other addend 60; one more
//! if sums are lifted.

use core::arch::naked_asm;

use crate::kernels::conv2d::tiled::{ADDEND_LIFT, Added, CHANNELS, Channel, SUM_LIFT, Tile, WIDTH};

/// Where codes go.
#[repr(C)]
struct Place {
    /// Codes from pixel to pixel.
    pixel: usize,
    /// Largest code.
    highest: i32,
}

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
    unsafe {
        finish(
            channels,
            tile,
            codes.as_mut_ptr(),
            &Place { pixel, highest },
        )
    };
    true
}

macro_rules! finish {
    ($name:ident, [$($added:literal),*]) => {
        /// # Safety
        /// `codes` is valid for two bytes at each of four multiples of `place.pixel`.
        #[unsafe(naked)]
        unsafe extern "C" fn $name<const LIFT: u32>(
            channels: &[Channel; CHANNELS],
            tile: &Tile,
            codes: *mut u8,
            place: &Place,
        ) {
            naked_asm!(
                "push {{r4-r7, lr}}",
                "mov r4, r8",
                "mov r5, r9",
                "mov r6, r10",
                "mov r7, r11",
                "push {{r4-r7}}",
                "sub sp, #20",
                "ldm r3!, {{r4, r5}}",
                "str r4, [sp, #12]",
                "str r5, [sp, #8]",
                "mov r7, r0",
                "mov r0, r1",
                "adds r1, #64",
                "2:",
                "ldm r7!, {{r3, r4, r5, r6}}",
                "mov r8, r3",
                "uxth r3, r4",
                "mov r9, r3",
                "asrs r4, r4, #16",
                "mov r10, r4",
                "mov r11, r5",
                "mov r12, r6",
                "ldm r7!, {{r3, r4}}",
                "mov lr, r3",
                "uxth r3, r4",
                "asrs r4, r4, #16",
                "str r3, [sp]",
                "str r4, [sp, #4]",
                "str r7, [sp, #16]",
                ".rept 4",
                "ldm r0!, {{r3}}",
                "ldm r1!, {{r4}}",
                "mov r5, r8",
                "muls r4, r5, r4",
                "adds r3, r3, r4",
                ".if {lift}",
                "lsls r3, r3, #{lift}",
                ".endif",
                // times the multiplier
                "uxth r4, r3",
                "asrs r3, r3, #16",
                "mov r5, r9",
                "mov r6, r10",
                "mov r7, r4",
                "muls r7, r5, r7",
                "muls r4, r6, r4",
                "muls r5, r3, r5",
                "muls r6, r3, r6",
                "lsls r3, r4, #16",
                "asrs r4, r4, #16",
                "adds r7, r7, r3",
                "adcs r6, r6, r4",
                "lsls r3, r5, #16",
                "asrs r5, r5, #16",
                "adds r7, r7, r3",
                "adcs r6, r6, r5",
                $($added,)*
                // plus the bias
                "mov r3, r11",
                "adds r7, r7, r3",
                "mov r3, r12",
                "adcs r6, r6, r3",
                // Less than 0 is 0.
                "asrs r3, r6, #31",
                "bics r6, r6, r3",
                "mov r4, lr",
                "lsrs r6, r6, r4",
                "ldr r3, [sp, #8]",
                "cmp r6, r3",
                "bls 3f",
                "mov r6, r3",
                "3:",
                "strb r6, [r2]",
                "ldr r3, [sp, #12]",
                "adds r2, r2, r3",
                ".endr",
                "lsls r3, r3, #2",
                "subs r2, r2, r3",
                "adds r2, #1",
                "subs r1, #16",
                "ldr r7, [sp, #16]",
                // The sums end 32 bytes before those of the patches.
                "mov r3, r1",
                "subs r3, #32",
                "cmp r0, r3",
                "beq 4f",
                "b 2b",
                "4:",
                "add sp, #20",
                "pop {{r4-r7}}",
                "mov r8, r4",
                "mov r9, r5",
                "mov r10, r6",
                "mov r11, r7",
                "pop {{r4-r7, pc}}",
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
        "ldrb r4, [r2]",
        "lsls r4, r4, #4",
        "ldr r5, [sp]",
        "muls r5, r4, r5",
        "adds r7, r7, r5",
        "movs r5, #0",
        "adcs r6, r6, r5",
        "ldr r5, [sp, #4]",
        "muls r4, r5, r4",
        "lsls r5, r4, #16",
        "asrs r4, r4, #16",
        "adds r7, r7, r5",
        "adcs r6, r6, r4"
    ]
);
finish!(
    listed,
    [
        // r0 is behind the sum already.
        "ldr r3, [r0, #28]",
        "uxth r4, r3",
        "asrs r3, r3, #16",
        "ldr r5, [sp]",
        "muls r5, r4, r5",
        "adds r7, r7, r5",
        "movs r5, #0",
        "adcs r6, r6, r5",
        "ldr r5, [sp, #4]",
        "muls r5, r3, r5",
        "adds r6, r6, r5",
        "ldr r5, [sp, #4]",
        "muls r4, r5, r4",
        "lsls r5, r4, #16",
        "asrs r4, r4, #16",
        "adds r7, r7, r5",
        "adcs r6, r6, r4",
        "ldr r5, [sp]",
        "muls r3, r5, r3",
        "lsls r5, r3, #16",
        "asrs r3, r3, #16",
        "adds r7, r7, r5",
        "adcs r6, r6, r3"
    ]
);
