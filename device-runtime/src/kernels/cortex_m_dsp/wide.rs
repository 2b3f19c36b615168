//! Two products per `UMLAL`, for codes of up to 8 bits on cores without `SMLAD`: four positions by two
//! channels, see [`Lanes`].
//!
//! ```text
//!   r0       patch, two words per tap: positions 0 and 1, positions 2 and 3
//!   r1       weights, one word per tap: both channels, 16 bits each
//!   r2 r3    channel 0, positions 0 and 1       bits   0 .. 24   24 .. 64
//!   r4 r5    channel 0, positions 2 and 3       sum    p0        p1
//!   r6 r7    channel 1, positions 0 and 1
//!   r8 r9    channel 1, positions 2 and 3
//!   r10 r11  patch of a tap                     r12 lr weights of a tap
//!   sp +0 chunks left   +4 where the weights of the chunk end   +8 bytes of a later chunk
//!      +12 where the sums go
//! ```
//! Four taps take 31 instructions for 32 products. After each chunk the sums are set apart, and added to
//! those of the chunks before.

use core::arch::naked_asm;

use super::lanes::Job;
use crate::kernels::lanes::{LONGEST_WIDE_CHUNK, Lanes, WIDE};

/// Bytes of weights of a tap.
const TAP_BYTES: u32 = 4;

// No sum of a chunk outgrows the lower field; the upper one has more room.
const _: () = assert!(LONGEST_WIDE_CHUNK as u64 * 255 * 255 < 1 << WIDE);

/// The taps of `lanes`, in bytes of weights.
pub(super) fn job(lanes: Lanes) -> Job {
    Job {
        chunks: lanes.chunks,
        first: lanes.first * TAP_BYTES,
        next: lanes.chunk * TAP_BYTES,
    }
}

/// # Safety
/// `job` divides the taps into chunks, whole rounds of four taps and not empty; `patch`, `weights` and
/// `sums` are valid for two words per tap, one word per tap and eight words.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn product(
    patch: *const u32,
    weights: *const u32,
    job: *const Job,
    sums: *mut i32,
) {
    naked_asm!(
        core_with_dsp!(),
        "push {{r3-r11, lr}}",
        "ldm r2, {{r4, r5, r6}}",
        "add r5, r5, r1",
        "push {{r4, r5, r6}}",
        "movs r4, #0",
        "movs r5, #0",
        "strd r4, r5, [r3]",
        "strd r4, r5, [r3, #8]",
        "strd r4, r5, [r3, #16]",
        "strd r4, r5, [r3, #24]",
        "2:",
        "movs r2, #0",
        "movs r3, #0",
        "movs r4, #0",
        "movs r5, #0",
        "movs r6, #0",
        "movs r7, #0",
        "mov r8, r2",
        "mov r9, r2",
        "3:",
        ".rept 4",
        "ldrh lr, [r1, #2]",
        "ldrh r12, [r1], #4",
        "ldrd r10, r11, [r0], #8",
        "umlal r2, r3, r10, r12",
        "umlal r4, r5, r11, r12",
        "umlal r6, r7, r10, lr",
        "umlal r8, r9, r11, lr",
        ".endr",
        "ldr r10, [sp, #4]",
        "cmp r1, r10",
        "bne 3b",
        "ldr r10, [sp, #12]",
        ".macro set_apart lower, upper, place",
        "ubfx r11, \\lower, #0, #{field}",
        "lsr \\lower, \\lower, #{field}",
        "orr \\lower, \\lower, \\upper, lsl #32 - {field}",
        "ldrd r12, lr, [r10, #\\place]",
        "add r12, r12, r11",
        "add lr, lr, \\lower",
        "strd r12, lr, [r10, #\\place]",
        ".endm",
        "set_apart r2, r3, 0",
        "set_apart r4, r5, 8",
        "set_apart r6, r7, 16",
        "set_apart r8, r9, 24",
        ".purgem set_apart",
        "ldm sp, {{r2, r3, r4}}",
        "add r3, r3, r4",
        "subs r2, r2, #1",
        "stm sp, {{r2, r3}}",
        "bne 2b",
        "add sp, #16",
        "pop {{r4-r11, pc}}",
        field = const WIDE,
    )
}

/// Packs the codes of four pixels, and returns the sum of each pixel's codes. Pixels that are shorter than
/// the first are left out.
pub(in crate::kernels) fn wide_pack(pixels: [&[u8]; 4], into: &mut [u32]) -> [i32; 4] {
    let [first, rest @ ..] = pixels;
    let count = first.len();
    let mut sums = [0; 4];
    if count == 0 || rest.iter().any(|pixel| pixel.len() < count) || into.len() < 2 * count {
        return sums;
    }
    let pointers = pixels.map(<[u8]>::as_ptr);
    // SAFETY: all pixels have at least `count` codes, and there is room for twice as many words.
    unsafe { pack(&pointers, count, into.as_mut_ptr(), &mut sums) };
    sums
}

/// Thirteen instructions for two words.
///
/// # Safety
/// `count` is not 0, and valid for each of `pixels`; `into` is valid for `2 * count` words.
#[unsafe(naked)]
unsafe extern "C" fn pack(
    pixels: &[*const u8; 4],
    count: usize,
    into: *mut u32,
    sums: &mut [i32; 4],
) {
    naked_asm!(
        core_with_dsp!(),
        "push {{r3-r11, lr}}",
        "ldm r0, {{r3, r4, r5, r6}}",
        "movs r0, #0",
        "mov r11, r0",
        "mov r12, r0",
        "mov lr, r0",
        "2:",
        "ldrb r7, [r3], #1",
        "ldrb r8, [r4], #1",
        "ldrb r9, [r5], #1",
        "ldrb r10, [r6], #1",
        "add r0, r0, r7",
        "add r11, r11, r8",
        "add r12, r12, r9",
        "add lr, lr, r10",
        "orr r7, r7, r8, lsl #{field}",
        "orr r9, r9, r10, lsl #{field}",
        "strd r7, r9, [r2], #8",
        "subs r1, #1",
        "bne 2b",
        "ldr r3, [sp]",
        "stm r3, {{r0, r11, r12, lr}}",
        "pop {{r3-r11, pc}}",
        field = const WIDE,
    )
}
