//! From sums to codes: two channels of four positions.
//!
//! ```text
//!   r0   parameters of the channels    r4 zero point   r5 multiplier   r6 r7 bias   r8 shift
//!   r1   sums, the addends 32 bytes    lr multiplier of the addend     r9 bytes from pixel to pixel
//!        behind them                   r10 sum, addend
//!   r2   code to be written            r11 r12 64 bits before the shift
//!   r3   sums of the patches
//! ```
//! A code takes ten instructions, with an addend twelve.

use core::arch::naked_asm;

use crate::kernels::conv2d::tiled::{Channel, Tile};

/// What is added before the shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Added {
    Nothing,
    /// The code that is overwritten.
    InPlace,
    /// The tile's addends.
    Addends,
}

/// Writes the codes 0 to `highest` of a whole tile, whose first code is the first of `codes`, with
/// `channels` codes from pixel to pixel. Shifts are at least 32. Returns `false`, having done
/// nothing, if `highest` is not one of `1, 3, 7 ... 255` or `codes` is too short.
pub(in crate::kernels) fn tile(
    parameters: &[Channel; 2],
    tile: &Tile,
    added: Added,
    highest: i32,
    channels: usize,
    codes: &mut [u8],
) -> bool {
    let finish = match (added, highest) {
        (Added::Nothing, 1) => nothing::finish::<1>,
        (Added::Nothing, 3) => nothing::finish::<2>,
        (Added::Nothing, 7) => nothing::finish::<3>,
        (Added::Nothing, 15) => nothing::finish::<4>,
        (Added::Nothing, 31) => nothing::finish::<5>,
        (Added::Nothing, 63) => nothing::finish::<6>,
        (Added::Nothing, 127) => nothing::finish::<7>,
        (Added::Nothing, 255) => nothing::finish::<8>,
        (Added::InPlace, 1) => in_place::finish::<1>,
        (Added::InPlace, 3) => in_place::finish::<2>,
        (Added::InPlace, 7) => in_place::finish::<3>,
        (Added::InPlace, 15) => in_place::finish::<4>,
        (Added::InPlace, 31) => in_place::finish::<5>,
        (Added::InPlace, 63) => in_place::finish::<6>,
        (Added::InPlace, 127) => in_place::finish::<7>,
        (Added::InPlace, 255) => in_place::finish::<8>,
        (Added::Addends, 1) => addends::finish::<1>,
        (Added::Addends, 3) => addends::finish::<2>,
        (Added::Addends, 7) => addends::finish::<3>,
        (Added::Addends, 15) => addends::finish::<4>,
        (Added::Addends, 31) => addends::finish::<5>,
        (Added::Addends, 63) => addends::finish::<6>,
        (Added::Addends, 127) => addends::finish::<7>,
        (Added::Addends, 255) => addends::finish::<8>,
        _ => return false,
    };
    if codes.len() < 3 * channels + 2 {
        return false;
    }
    // SAFETY: the last of the codes written is number `3 * channels + 1`; the rest is read from the
    // references.
    unsafe { finish(parameters, tile, codes.as_mut_ptr(), channels) };
    true
}

macro_rules! finish {
    ($module:ident, [$($added:literal),*]) => {
        mod $module {
            use super::{Channel, Tile, naked_asm};

            /// # Safety
            /// `codes` is valid for two bytes at each of four multiples of `channels`.
            #[unsafe(naked)]
            pub(super) unsafe extern "C" fn finish<const BITS: u32>(
                parameters: &[Channel; 2],
                tile: &Tile,
                codes: *mut u8,
                channels: usize,
            ) {
                naked_asm!(
                    "push {{r4-r11, lr}}",
                    "mov r9, r3",
                    "add r3, r1, #64",
                    ".rept 2",
                    "ldm r0, {{r4-r8, lr}}",
                    "add r0, #28",
                    ".irp patch, 0, 4, 8, 12",
                    "ldr r10, [r1], #4",
                    "ldr r11, [r3, #\\patch]",
                    "mla r10, r11, r4, r10",
                    "mov r11, r6",
                    "mov r12, r7",
                    "smlal r11, r12, r10, r5",
                    $($added,)*
                    "asr r12, r12, r8",
                    "usat r12, #{bits}, r12",
                    "strb r12, [r2]",
                    "add r2, r9",
                    ".endr",
                    "sub r2, r2, r9, lsl #2",
                    "add r2, #1",
                    ".endr",
                    "pop {{r4-r11, pc}}",
                    bits = const BITS,
                )
            }
        }
    };
}

finish!(nothing, []);
finish!(in_place, ["ldrb r10, [r2]", "smlal r11, r12, r10, lr"]);
finish!(addends, ["ldr r10, [r1, #28]", "smlal r11, r12, r10, lr"]);
