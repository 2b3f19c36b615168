//! Codes of four pixels into words of two.
//!
//! ```text
//!   r0-r3   pixels                        r8    sum of the words of positions 0 and 1
//!   r4      where the words go            r9    sum of the words of positions 2 and 3
//!   r5 r6   codes                         r10   codes per pixel
//!   r7      index of the code
//! ```
//! Two words take 13 instructions.

use core::arch::naked_asm;

/// Packs the codes of four pixels, 16 bits between those of two positions, and returns the sums of the
/// words of both pairs. Does nothing if a pixel is shorter than the first, or there is no room.
pub(in crate::kernels) fn lanes_pack(pixels: [&[u8]; 4], into: &mut [u32]) -> [u32; 2] {
    let [first, rest @ ..] = pixels;
    let count = first.len();
    let mut sums = [0; 2];
    if count == 0 || rest.iter().any(|pixel| pixel.len() < count) || into.len() / 2 < count {
        return sums;
    }
    let pointers = pixels.map(<[u8]>::as_ptr);
    // SAFETY: all pixels have at least `count` codes, and there is room for twice as many words.
    unsafe { pack(&pointers, count, into.as_mut_ptr(), &mut sums) };
    sums
}

/// # Safety
/// `count` is not 0, and valid for each of `pixels`; `into` is valid for `2 * count` words.
#[unsafe(naked)]
unsafe extern "C" fn pack(
    pixels: &[*const u8; 4],
    count: usize,
    into: *mut u32,
    sums: &mut [u32; 2],
) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "push {{r3-r6}}",
        "mov r10, r1",
        // Into the middle of four codes, if their number is not a multiple of four.
        "rsbs r5, r1, #0",
        "movs r6, #3",
        "ands r5, r6",
        "movs r6, #26",
        "muls r5, r6, r5",
        "adr r6, 2f",
        "adds r6, r6, r5",
        "mov r12, r6",
        "mov r4, r2",
        "ldm r0, {{r0, r1, r2, r3}}",
        "movs r7, #0",
        "mov r8, r7",
        "mov r9, r7",
        "mov pc, r12",
        ".p2align 2",
        "2:",
        ".rept 4",
        "ldrb r5, [r0, r7]",
        "ldrb r6, [r1, r7]",
        "lsls r6, r6, #16",
        "orrs r5, r6",
        "add r8, r5",
        "stm r4!, {{r5}}",
        "ldrb r5, [r2, r7]",
        "ldrb r6, [r3, r7]",
        "lsls r6, r6, #16",
        "orrs r5, r6",
        "add r9, r5",
        "stm r4!, {{r5}}",
        "adds r7, #1",
        ".endr",
        "cmp r7, r10",
        "bne 2b",
        "mov r0, r8",
        "mov r1, r9",
        "pop {{r3-r6}}",
        "stm r3!, {{r0, r1}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "pop {{r4-r7, pc}}",
    )
}
