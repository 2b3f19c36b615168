//! From sums to codes: two channels of four positions.
//!
//! ```text
//!   r0   parameters of the channels    r4 zero point   r5 multiplier   r6 r7 bias   r8 shift
//!   r1   sums                          lr multiplier of the addend     r9 bytes from pixel to pixel
//!                                      r10 sum, addend
//!   r2   code to be written            r11 r12 64 bits before the shift
//!   r3   sums of the patches
//! ```
//! A code takes ten instructions, with an addend twelve.

use core::arch::naked_asm;

use crate::kernels::conv2d::tiled::{Channel, Sums, WIDTH};

/// What is added before the shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Added {
    Nothing,
    /// The code that is overwritten.
    InPlace,
}

type Finish = unsafe extern "C" fn(&[Channel; 2], &Sums, *mut u8, usize, &[i32; WIDTH]);

/// The codes of a column of whole tiles, to be written.
pub(in crate::kernels) struct Codes<'a> {
    codes: &'a mut [u8],
    row: usize,
    pixel: usize,
    rows: usize,
    finish: Finish,
}

impl<'a> Codes<'a> {
    /// Codes are 0 to `highest`; the first of `codes` is the tile's first channel at its first
    /// position, with `row` codes to the next row and `pixel` to the next position. `None` if
    /// `highest` is not one of `1, 3, 7 ... 255` or there is no whole tile.
    pub(in crate::kernels) fn new(
        added: Added,
        highest: i32,
        [row, pixel]: [usize; 2],
        rows: usize,
        codes: &'a mut [u8],
    ) -> Option<Self> {
        let within = pixel.checked_mul(WIDTH - 1)?.checked_add(2)?;
        let whole = codes.len().checked_sub(within)?.checked_div(row)? + 1;
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
            _ => return None,
        };
        Some(Self {
            codes,
            row,
            pixel,
            rows: rows.min(whole),
            finish,
        })
    }

    /// Rows of tiles of which every code exists.
    pub(in crate::kernels) fn rows(&self) -> usize {
        self.rows
    }

    /// Writes a tile; shifts are at least 32. Does nothing for a `row` that was not asked for.
    #[inline(always)]
    pub(in crate::kernels) fn write(
        &mut self,
        row: usize,
        parameters: &[Channel; 2],
        sums: &Sums,
        patch_sums: &[i32; WIDTH],
    ) {
        if row >= self.rows {
            return;
        }
        // SAFETY: `new` has seen that the last code of the last row exists; the rest is read from
        // the references.
        unsafe {
            let codes = self.codes.as_mut_ptr().add(row * self.row);
            (self.finish)(parameters, sums, codes, self.pixel, patch_sums);
        }
    }
}

macro_rules! finish {
    ($module:ident, [$($added:literal),*]) => {
        mod $module {
            use super::{Channel, Sums, WIDTH, naked_asm};

            /// # Safety
            /// `codes` is valid for two bytes at each of four multiples of `pixel`.
            #[unsafe(naked)]
            pub(super) unsafe extern "C" fn finish<const BITS: u32>(
                parameters: &[Channel; 2],
                sums: &Sums,
                codes: *mut u8,
                pixel: usize,
                patch_sums: &[i32; WIDTH],
            ) {
                naked_asm!(
                    core_with_dsp!(),
                    "push {{r4-r11, lr}}",
                    "mov r9, r3",
                    "ldr r3, [sp, #36]",
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

/// Writes the codes 0 to `highest` of one channel: rows of `width` sums, of which as many are taken as
/// `columns`, to codes `pixel` apart in rows `row` apart. The shift is at least 32. `false`, having done
/// nothing, if `highest` is not one of `1, 3, 7 ... 255` or `codes` is too short.
pub(in crate::kernels) fn finish_rows(
    channel: &Channel,
    sums: &[i32],
    [width, columns]: [usize; 2],
    highest: i32,
    [row, pixel]: [usize; 2],
    codes: &mut [u8],
) -> bool {
    let finish = match highest {
        1 => plane::<1>,
        3 => plane::<2>,
        7 => plane::<3>,
        15 => plane::<4>,
        31 => plane::<5>,
        63 => plane::<6>,
        127 => plane::<7>,
        255 => plane::<8>,
        _ => return false,
    };
    let rows = sums.len().checked_div(width).unwrap_or_default();
    if rows == 0 || columns == 0 || columns > width {
        return false;
    }
    let last = (rows - 1)
        .checked_mul(row)
        .zip((columns - 1).checked_mul(pixel));
    let last = last.and_then(|(row, pixel)| row.checked_add(pixel));
    let Some(next) = row.checked_sub(columns.saturating_mul(pixel)) else {
        return false;
    };
    if last.is_none_or(|last| last >= codes.len()) {
        return false;
    }
    let plane = Plane {
        pixel,
        columns,
        rows,
        skipped_sums: 4 * (width - columns),
        next,
    };
    // SAFETY: the last code written is number `last`, and the last sum read is one of `rows` times
    // `width`.
    unsafe { finish(channel, sums.as_ptr(), codes.as_mut_ptr(), &plane) };
    true
}

#[repr(C)]
struct Plane {
    pixel: usize,
    columns: usize,
    rows: usize,
    /// Bytes of sums behind the last column.
    skipped_sums: usize,
    /// Codes from behind the last column to the next row.
    next: usize,
}

/// # Safety
/// `sums` and `codes` are valid for all that `plane` names; it has rows and columns.
#[unsafe(naked)]
unsafe extern "C" fn plane<const BITS: u32>(
    channel: &Channel,
    sums: *const i32,
    codes: *mut u8,
    plane: &Plane,
) {
    naked_asm!(
        core_with_dsp!(),
        "push {{r4-r11, lr}}",
        "ldm r0, {{r4, r5, r6, r7, r8}}",
        "mov r9, r3",
        "ldr r3, [r9]",
        "ldr r10, [r9, #8]",
        "2:",
        "ldr r4, [r9, #4]",
        "3:",
        "ldr r12, [r1], #4",
        "mov r0, r6",
        "mov lr, r7",
        "smlal r0, lr, r12, r5",
        "asr lr, lr, r8",
        "usat lr, #{bits}, lr",
        "strb lr, [r2]",
        "add r2, r3",
        "subs r4, #1",
        "bne 3b",
        "ldrd r0, lr, [r9, #12]",
        "add r1, r0",
        "add r2, lr",
        "subs r10, #1",
        "bne 2b",
        "pop {{r4-r11, pc}}",
        bits = const BITS,
    )
}
