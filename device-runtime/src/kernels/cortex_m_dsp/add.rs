//! Sums of codes of 8 bits, four at a time.
//!
//! ```text
//!   r0 left    r1 right    r2 output    r3 words left
//!   r4 lower parts of both multipliers    r6 lower part of the bias
//!   r5 upper parts of both multipliers    r7 upper part of the bias
//!   r8 two lifted codes in a word         r9 r10 words of both operands     r11 r12 lr
//! ```
//! The codes are lifted by as many bits as the shift lacks to 32, so that the upper half of the upper sum
//! is what is left: two of them make a word, which `USAT16` limits. Four codes take 30 instructions.

use core::arch::naked_asm;

/// Parameters of a sum: `(lower + upper * 2^16)` is the multiplier of each code.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) struct Addition {
    /// -2^15 to 2^15 - 1.
    pub(in crate::kernels) lower: [i32; 2],
    /// At most 2^14 in size.
    pub(in crate::kernels) upper: [i32; 2],
    /// Lifted; below 2^46 in size.
    pub(in crate::kernels) bias: i64,
}

/// Most bits by which codes are lifted.
const MOST_LIFT: u32 = 7;
// Two products and the lower part of the bias fit 32 bits, and so do those with the upper parts.
const _: () = assert!(2 * (1 << 15) * (255u64 << MOST_LIFT) + (1 << 16) < 1 << 31);
const _: () = assert!(2 * (1 << 14) * (255u64 << MOST_LIFT) + (1 << 30) + (1 << 15) < 1 << 31);

#[repr(C)]
struct Parameters {
    lower: u32,
    upper: u32,
    bias_lower: u32,
    bias_upper: i32,
}

type Run = unsafe extern "C" fn(*const u8, *const u8, *mut u8, usize, &Parameters);

/// Writes `clamp((sum of multiplier * code * 2^lift + bias) >> 32, 0, 255)` for as many codes as fill
/// words; the left operand lies in the output's place if it is `None`. Returns the number of codes: none
/// if `lift` is above 7 or an operand is shorter than the output.
pub(in crate::kernels) fn add_words(
    addition: &Addition,
    lift: u32,
    left: Option<&[u8]>,
    right: &[u8],
    output: &mut [u8],
) -> usize {
    let run: Run = match lift {
        0 => run::<0, 8>,
        1 => run::<1, 7>,
        2 => run::<2, 6>,
        3 => run::<3, 5>,
        4 => run::<4, 4>,
        5 => run::<5, 3>,
        6 => run::<6, 2>,
        MOST_LIFT => run::<MOST_LIFT, 1>,
        _ => return 0,
    };
    let words = output.len() / 4;
    let short = left.is_some_and(|left| left.len() < 4 * words) || right.len() < 4 * words;
    if short || words == 0 {
        return 0;
    }
    let both = |[left, right]: [i32; 2]| u32::from(left as u16) | u32::from(right as u16) << 16;
    let parameters = Parameters {
        lower: both(addition.lower),
        upper: both(addition.upper),
        bias_lower: (addition.bias as u16).into(),
        bias_upper: (addition.bias >> 16) as i32,
    };
    let into = output.as_mut_ptr();
    let left = left.map_or(into.cast_const(), <[u8]>::as_ptr);
    // SAFETY: all three have `words` words. A word of the left operand that lies in the output's place
    // is read before it is overwritten. They may lie at any byte: these cores load words unaligned.
    unsafe { run(left, right.as_ptr(), into, words, &parameters) };
    4 * words
}

/// # Safety
/// `words` is not 0, and all pointers are valid for so many.
#[unsafe(naked)]
unsafe extern "C" fn run<const LIFT: u32, const LOWER: u32>(
    left: *const u8,
    right: *const u8,
    output: *mut u8,
    words: usize,
    parameters: &Parameters,
) {
    naked_asm!(
        core_with_dsp!(),
        "push {{r4-r11, lr}}",
        "ldr r12, [sp, #36]",
        "ldm r12, {{r4-r7}}",
        "mov r8, #0x00ff00ff",
        "lsl r8, r8, #{lift}",
        "2:",
        "ldr r9, [r0], #4",
        "ldr r10, [r1], #4",
        "and r11, r8, r9, lsl #{lift}",
        "and r12, r8, r10, lsl #{lift}",
        "pkhbt lr, r11, r12, lsl #16",
        "pkhtb r11, r12, r11, asr #16",
        "smlad r12, lr, r4, r6",
        "smlad lr, lr, r5, r7",
        "add lr, lr, r12, asr #16",
        "smlad r12, r11, r4, r6",
        "smlad r11, r11, r5, r7",
        "add r11, r11, r12, asr #16",
        "pkhtb lr, r11, lr, asr #16",
        "usat16 lr, #8, lr",
        "and r11, r8, r9, lsr #{lower}",
        "and r12, r8, r10, lsr #{lower}",
        "pkhbt r9, r11, r12, lsl #16",
        "pkhtb r11, r12, r11, asr #16",
        "smlad r12, r9, r4, r6",
        "smlad r9, r9, r5, r7",
        "add r9, r9, r12, asr #16",
        "smlad r12, r11, r4, r6",
        "smlad r11, r11, r5, r7",
        "add r11, r11, r12, asr #16",
        "pkhtb r9, r11, r9, asr #16",
        "usat16 r9, #8, r9",
        "orr lr, lr, r9, lsl #8",
        "str lr, [r2], #4",
        "subs r3, #1",
        "bne 2b",
        "pop {{r4-r11, pc}}",
        lift = const LIFT,
        lower = const LOWER,
    )
}
