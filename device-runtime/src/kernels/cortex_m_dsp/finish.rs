//! From sums to codes.
//!
//! Two channels of four positions, nothing added:
//!
//! ```text
//!   r0   parameters of the channels    r4 zero point   r5 multiplier   r8 shift
//!   r1   sums                          r3 r6 r7 lr sums of the patches
//!   r2   code to be written            r9 bytes from pixel to pixel
//!   r10  sum                           r11 r12 64 bits before the shift
//! ```
//! A code takes seven instructions. With an addend the sums of the patches stay in memory: r3 points to
//! them, r6 is three times r9 and lr the multiplier of the addend; a code takes eleven. Where sums are
//! lifted, as those of narrow codes are at times, it takes one more.

use core::arch::naked_asm;

use crate::kernels::conv2d::tiled::{ADDEND_LIFT, Channel, SUM_LIFT, Sums, WIDTH};

/// What is added before the shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Added {
    Nothing,
    /// The code that is overwritten.
    InPlace,
}

/// Sums where bit 4 of the address tells the channel.
#[derive(Debug, Default)]
#[repr(C, align(32))]
pub(in crate::kernels) struct AlignedSums(pub(in crate::kernels) Sums);

type Finish = unsafe extern "C" fn(&[Channel; 2], &AlignedSums, *mut u8, usize, &[i32; WIDTH]);

/// The codes of a column of whole tiles, to be written.
pub(in crate::kernels) struct Codes<'a> {
    codes: &'a mut [u8],
    row: usize,
    pixel: usize,
    rows: usize,
    finish: Finish,
}

/// The instance of `$finish` for codes of 0 to `$highest` from sums that are lifted by `$lift`.
macro_rules! of_width {
    ($finish:ident, $lift:expr, $highest:expr) => {
        match ($lift, $highest) {
            (0, 3) => Some($finish::<2, 0> as _),
            (0, 7) => Some($finish::<3, 0> as _),
            (0, 15) => Some($finish::<4, 0> as _),
            (0, 31) => Some($finish::<5, 0> as _),
            (0, 63) => Some($finish::<6, 0> as _),
            (0, 127) => Some($finish::<7, 0> as _),
            (0, 255) => Some($finish::<8, 0> as _),
            (SUM_LIFT, 3) => Some($finish::<2, SUM_LIFT> as _),
            (SUM_LIFT, 7) => Some($finish::<3, SUM_LIFT> as _),
            (SUM_LIFT, 15) => Some($finish::<4, SUM_LIFT> as _),
            _ => None,
        }
    };
}

impl<'a> Codes<'a> {
    /// Codes are 0 to `highest`; the first of `codes` is the tile's first channel at its first
    /// position, with `row` codes to the next row and `pixel` to the next position. Channels are
    /// lifted, and sums by `lift` bits. `None` if `highest` is not one of `3, 7 ... 255` (`15` with such
    /// sums), or if there is no whole tile.
    pub(in crate::kernels) fn new(
        (added, lift): (Added, u32),
        highest: i32,
        [row, pixel]: [usize; 2],
        rows: usize,
        codes: &'a mut [u8],
    ) -> Option<Self> {
        let within = pixel.checked_mul(WIDTH - 1)?.checked_add(2)?;
        let whole = codes.len().checked_sub(within)?.checked_div(row)? + 1;
        let finish: Option<Finish> = match added {
            Added::Nothing => of_width!(finish_nothing, lift, highest),
            Added::InPlace => of_width!(finish_in_place, lift, highest),
        };
        Some(Self {
            codes,
            row,
            pixel,
            rows: rows.min(whole),
            finish: finish?,
        })
    }

    /// Rows of tiles of which every code exists.
    pub(in crate::kernels) fn rows(&self) -> usize {
        self.rows
    }

    /// Writes a tile. Does nothing for a `row` that was not asked for.
    #[inline(always)]
    pub(in crate::kernels) fn write(
        &mut self,
        row: usize,
        parameters: &[Channel; 2],
        sums: &AlignedSums,
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

const _: () = assert!(size_of::<Channel>() == 24);

/// # Safety
/// `codes` is valid for two bytes at each of four multiples of `pixel`.
#[unsafe(naked)]
unsafe extern "C" fn finish_nothing<const BITS: u32, const LIFT: u32>(
    parameters: &[Channel; 2],
    sums: &AlignedSums,
    codes: *mut u8,
    pixel: usize,
    patch_sums: &[i32; WIDTH],
) {
    naked_asm!(
        core_with_dsp!(),
        "push {{r4-r11, lr}}",
        "mov r9, r3",
        "ldr r3, [sp, #36]",
        "ldm r3, {{r3, r6, r7, lr}}",
        "2:",
        "ldrd r4, r5, [r0]",
        "ldr r8, [r0, #16]",
        ".irp patch, r3, r6, r7, lr",
        "ldr r10, [r1], #4",
        "mla r10, \\patch, r4, r10",
        "ldrd r11, r12, [r0, #8]",
        ".if {lift}",
        "lsl r10, r10, #{lift}",
        ".endif",
        "smlal r11, r12, r10, r5",
        "asr r12, r12, r8",
        "usat r12, #{bits}, r12",
        ".ifc \\patch, r3",
        "strb r12, [r2]",
        ".endif",
        ".ifc \\patch, r6",
        "strb r12, [r2, r9]",
        ".endif",
        ".ifc \\patch, r7",
        "strb r12, [r2, r9, lsl #1]",
        ".endif",
        ".endr",
        "add r10, r9, r9, lsl #1",
        "strb r12, [r2, r10]",
        "adds r0, #24",
        "adds r2, #1",
        "tst r1, #16",
        "bne 2b",
        "pop {{r4-r11, pc}}",
        bits = const BITS,
        lift = const LIFT,
    )
}

/// # Safety
/// `codes` is valid for two bytes at each of four multiples of `pixel`.
#[unsafe(naked)]
unsafe extern "C" fn finish_in_place<const BITS: u32, const LIFT: u32>(
    parameters: &[Channel; 2],
    sums: &AlignedSums,
    codes: *mut u8,
    pixel: usize,
    patch_sums: &[i32; WIDTH],
) {
    naked_asm!(
        core_with_dsp!(),
        "push {{r4-r11, lr}}",
        "mov r9, r3",
        "add r6, r9, r9, lsl #1",
        "ldr r3, [sp, #36]",
        "2:",
        "ldrd r4, r5, [r0]",
        "ldrd r8, lr, [r0, #16]",
        ".irp patch, 0, 4, 8, 12",
        "ldr r10, [r1], #4",
        "ldr r11, [r3, #\\patch]",
        "mla r10, r11, r4, r10",
        "ldrd r11, r12, [r0, #8]",
        ".if {lift}",
        "lsl r10, r10, #{lift}",
        ".endif",
        "smlal r11, r12, r10, r5",
        ".if \\patch == 0",
        "ldrb r10, [r2]",
        ".elseif \\patch == 4",
        "ldrb r10, [r2, r9]",
        ".elseif \\patch == 8",
        "ldrb r10, [r2, r9, lsl #1]",
        ".else",
        "ldrb r10, [r2, r6]",
        ".endif",
        "lsl r10, r10, #{addend_lift}",
        "smlal r11, r12, r10, lr",
        "asr r12, r12, r8",
        "usat r12, #{bits}, r12",
        ".if \\patch == 0",
        "strb r12, [r2]",
        ".elseif \\patch == 4",
        "strb r12, [r2, r9]",
        ".elseif \\patch == 8",
        "strb r12, [r2, r9, lsl #1]",
        ".else",
        "strb r12, [r2, r6]",
        ".endif",
        ".endr",
        "adds r0, #24",
        "adds r2, #1",
        "tst r1, #16",
        "bne 2b",
        "pop {{r4-r11, pc}}",
        bits = const BITS,
        lift = const LIFT,
        addend_lift = const ADDEND_LIFT,
    )
}

/// Writes the codes 0 to `highest` of one channel: rows of `width` sums, of which as many are taken as
/// `columns`, to codes `pixel` apart in rows `row` apart. The channel is lifted, and sums
/// by `lift` bits. `false`, having done nothing, if `highest` is not one of `3, 7 ... 255` (`15` with such
/// sums) or if `codes` is too short.
pub(in crate::kernels) fn finish_rows(
    (channel, lift): (&Channel, u32),
    sums: &[i32],
    [width, columns]: [usize; 2],
    highest: i32,
    [row, pixel]: [usize; 2],
    codes: &mut [u8],
) -> bool {
    let finish: Option<FinishPlane> = of_width!(finish_plane, lift, highest);
    let Some(finish) = finish else {
        return false;
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

type FinishPlane = unsafe extern "C" fn(&Channel, *const i32, *mut u8, &Plane);

/// # Safety
/// `sums` and `codes` are valid for all that `plane` names; it has rows and columns.
#[unsafe(naked)]
unsafe extern "C" fn finish_plane<const BITS: u32, const LIFT: u32>(
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
        ".if {lift}",
        "lsl r12, r12, #{lift}",
        ".endif",
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
        lift = const LIFT,
    )
}
