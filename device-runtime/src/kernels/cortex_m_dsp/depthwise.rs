//! A row of a 3x3 depthwise convolution with stride 1, two positions at a time.
//!
//! ```text
//!   r0   values of 16 bits, three rows r1 bytes apart      r4 r5   taps 0 1 and 1 2 of the first row
//!   r2   sums                       r3 pairs of positions  r6-r9   the same of the others
//!   r12  values x and x + 1         lr values x + 2 and x + 3     r10 r11 sums of both positions
//!
//!   position 0: w0 v0 + w1 v1 by SMLAD, w2 v2 by SMLABT
//!   position 1: w0 v1 by SMLATB, w1 v2 + w2 v3 by SMLAD
//! ```

use core::arch::naked_asm;

/// Sums of products of `weights`, three rows of three taps, with three rows of `values`, `pitch` apart.
/// All but the first `sums.len() + 2` values of a row are ignored. `false`, having done nothing, if
/// there are too few values or the number of sums or the pitch is odd.
pub(in crate::kernels) fn depthwise_row(
    values: &[i16],
    pitch: usize,
    weights: &[i16; 9],
    sums: &mut [i32],
) -> bool {
    let (pairs, odd) = sums.as_chunks_mut::<2>();
    let needed = pitch
        .checked_mul(2)
        .and_then(|rows| rows.checked_add(2 * pairs.len() + 2));
    let short = needed.is_none_or(|needed| needed > values.len());
    let aligned = values.as_ptr().addr().is_multiple_of(4) && pitch.is_multiple_of(2);
    if pairs.is_empty() || !odd.is_empty() || short || !aligned {
        return false;
    }
    let both = |low: i16, high: i16| u32::from(low as u16) | u32::from(high as u16) << 16;
    let [a, b, c, d, e, f, g, h, i] = *weights;
    let taps = [
        both(a, b),
        both(b, c),
        both(d, e),
        both(e, f),
        both(g, h),
        both(h, i),
    ];
    // SAFETY: the last pair reads two words at `2 * pairs - 2` of the third row, which are there;
    // as many pairs of sums are written. Values lie at multiples of four bytes.
    unsafe {
        row(
            values.as_ptr(),
            2 * pitch,
            pairs.as_mut_ptr(),
            pairs.len(),
            &taps,
        );
    }
    true
}

/// # Safety
/// `values` is valid for `2 * pairs + 2` values in each of three rows, `pitch` bytes apart, all at
/// multiples of four bytes; `sums` is valid for `pairs`, not 0.
#[unsafe(naked)]
unsafe extern "C" fn row(
    values: *const i16,
    pitch: usize,
    sums: *mut [i32; 2],
    pairs: usize,
    taps: &[u32; 6],
) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldr r4, [sp, #36]",
        "ldm r4, {{r4-r9}}",
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
        "pop {{r4-r11, pc}}",
    )
}
