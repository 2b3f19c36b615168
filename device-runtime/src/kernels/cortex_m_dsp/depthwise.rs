//! Rows of a 3x3 depthwise convolution with stride 1, two positions at a time.
//!
//! ```text
//!   r0   values of 16 bits, three rows r1 bytes apart      r4 r5   taps 0 1 and 1 2 of the first row
//!   r2   sums                       r3 pairs of a row  r6-r9   the same of the others
//!   r12  values x and x + 1         lr values x + 2 and x + 3     r10 r11 sums of both positions
//!
//!   position 0: w0 v0 + w1 v1 by SMLAD, w2 v2 by SMLABT
//!   position 1: w0 v1 by SMLATB, w1 v2 + w2 v3 by SMLAD
//! ```

use core::arch::naked_asm;

/// Sums of products of `weights`, three rows of three taps, with `values` in rows of `pitch`, for output
/// rows of `width` sums. `false`, having done nothing, if there are too few values or the width or the
/// pitch is odd.
pub(in crate::kernels) fn depthwise_rows(
    values: &[i16],
    pitch: usize,
    weights: &[i16; 9],
    width: usize,
    sums: &mut [i32],
) -> bool {
    let rows = sums.len().checked_div(width).unwrap_or_default();
    let last = (rows + 1).checked_mul(pitch);
    let short = last.is_none_or(|last| last + width + 2 > values.len());
    let aligned = values.as_ptr().addr().is_multiple_of(4)
        && sums.as_ptr().addr().is_multiple_of(4)
        && pitch.is_multiple_of(2)
        && width.is_multiple_of(2);
    if rows == 0 || short || !aligned {
        return false;
    }
    let both = |low: i16, high: i16| u32::from(low as u16) | u32::from(high as u16) << 16;
    let [a, b, c, d, e, f, g, h, i] = *weights;
    let job = Job {
        taps: [
            both(a, b),
            both(b, c),
            both(d, e),
            both(e, f),
            both(g, h),
            both(h, i),
        ],
        pairs: width / 2,
        next: 2 * pitch - 2 * width,
        rows,
    };
    // SAFETY: the last pair of the last row reads two words at `width - 2` of the row two further
    // down, which are there; `rows` times `width` sums are written. Words lie at multiples of four.
    unsafe { run(values.as_ptr(), 2 * pitch, sums.as_mut_ptr(), &job) };
    true
}

#[repr(C)]
struct Job {
    taps: [u32; 6],
    /// Pairs of positions in a row.
    pairs: usize,
    /// Bytes from behind an output row's first values to the next row.
    next: usize,
    rows: usize,
}

/// # Safety
/// `values` is valid for what `job` reads of rows `pitch` bytes apart, all at multiples of four bytes;
/// `sums` is valid for all pairs of all rows; neither is 0.
#[unsafe(naked)]
unsafe extern "C" fn run(values: *const i16, pitch: usize, sums: *mut i32, job: &Job) {
    naked_asm!(
        core_with_dsp!(),
        "push {{r4-r11, lr}}",
        "ldr r4, [r3, #32]",
        "push {{r3, r4}}",
        "ldm r3, {{r4-r9}}",
        "ldr r3, [r3, #24]",
        "2:",
        "ldrd r12, lr, [r0]",
        "smuad r10, r12, r4",
        "smultb r11, r12, r4",
        "smlabt r10, lr, r5, r10",
        "smlad r11, lr, r5, r11",
        "add r0, r1",
        "ldrd r12, lr, [r0]",
        "smlad r10, r12, r6, r10",
        "smlatb r11, r12, r6, r11",
        "smlabt r10, lr, r7, r10",
        "smlad r11, lr, r7, r11",
        "add r0, r1",
        "ldrd r12, lr, [r0]",
        "smlad r10, r12, r8, r10",
        "smlatb r11, r12, r8, r11",
        "smlabt r10, lr, r9, r10",
        "smlad r11, lr, r9, r11",
        "sub r0, r0, r1, lsl #1",
        "adds r0, #4",
        "strd r10, r11, [r2], #8",
        "subs r3, #1",
        "bne 2b",
        "ldrd r10, r11, [sp]",
        "ldrd r3, r12, [r10, #24]",
        "add r0, r12",
        "subs r11, #1",
        "str r11, [sp, #4]",
        "bne 2b",
        "add sp, #8",
        "pop {{r4-r11, pc}}",
    )
}

/// Copies codes plus `zero_point`: rows of `columns`, `row` and `step` apart, to rows that are `pitch`
/// apart, as many as `into` has begun. `false`, having done nothing, if there are not that many.
pub(in crate::kernels) fn depthwise_copy(
    codes: &[u8],
    [row, step]: [usize; 2],
    zero_point: i16,
    into: &mut [i16],
    [pitch, columns]: [usize; 2],
) -> bool {
    let rows = (into.len() + pitch)
        .saturating_sub(1)
        .checked_div(pitch)
        .unwrap_or_default();
    if rows == 0 || columns == 0 || columns > pitch {
        return false;
    }
    let last = (rows - 1)
        .checked_mul(row)
        .zip((columns - 1).checked_mul(step));
    let last = last.and_then(|(row, column)| row.checked_add(column));
    let whole = (rows - 1) * pitch + columns <= into.len();
    if !whole || last.is_none_or(|last| last >= codes.len()) || row < columns * step {
        return false;
    }
    let copy = Copy {
        zero_point: zero_point.into(),
        step,
        columns,
        rows,
        next: row - columns * step,
        skipped: 2 * (pitch - columns),
    };
    // SAFETY: the last code read is number `last`, and the last value written is within `into`.
    unsafe { copy_rows(codes.as_ptr(), into.as_mut_ptr(), &copy) };
    true
}

#[repr(C)]
struct Copy {
    zero_point: i32,
    step: usize,
    columns: usize,
    rows: usize,
    /// Codes from behind the last column to the next row.
    next: usize,
    /// Bytes of values behind the last column.
    skipped: usize,
}

/// # Safety
/// `codes` and `values` are valid for all that `copy` names; it has rows and columns.
#[unsafe(naked)]
unsafe extern "C" fn copy_rows(codes: *const u8, values: *mut i16, copy: &Copy) {
    naked_asm!(
        core_with_dsp!(),
        "push {{r4-r8, lr}}",
        "ldm r2, {{r3, r4, r5, r6, r7, r8}}",
        "2:",
        "mov r2, r5",
        "3:",
        "ldrb r12, [r0]",
        "add r0, r4",
        "add r12, r3",
        "strh r12, [r1], #2",
        "subs r2, #1",
        "bne 3b",
        "add r0, r7",
        "add r1, r8",
        "subs r6, #1",
        "bne 2b",
        "pop {{r4-r8, pc}}",
    )
}
