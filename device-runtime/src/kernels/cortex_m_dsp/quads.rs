//! Bytes to pairs of values of 16 bits, four taps at a time: first the first and third, then the second
//! and fourth, as `UXTAB16` finds them in a word. Patches and weights agree on that order.

use core::arch::naked_asm;

/// The same number in both halves of a word.
fn twice(number: i16) -> u32 {
    u32::from(number as u16) * 0x1_0001
}

/// Writes `code + zero_point` for whole quads of `codes`: per two taps one word, each followed by a word
/// of another position that stays as it is. Does nothing if there is no room.
pub(in crate::kernels) fn quads_pack(codes: &[u8], zero_point: i16, into: &mut [u32]) {
    let quads = codes.len() / 4;
    if quads == 0 || into.len() + 1 < 4 * quads {
        return;
    }
    // SAFETY: there are four codes per quad, and every second word from the first on is there for
    // two words per quad. Codes may lie at any byte: these cores load words unaligned.
    unsafe { pack(codes.as_ptr(), quads, into.as_mut_ptr(), twice(zero_point)) };
}

/// # Safety
/// `quads` is not 0; `codes` is valid for four times as many bytes, and `into` for every second word up
/// to number `4 * quads - 2`.
#[unsafe(naked)]
unsafe extern "C" fn pack(codes: *const u8, quads: usize, into: *mut u32, zero_points: u32) {
    naked_asm!(
        core_with_dsp!(),
        "push {{r4, r5}}",
        "lsrs r12, r1, #1",
        "beq 3f",
        "2:",
        ".rept 2",
        "ldr r4, [r0], #4",
        "uxtab16 r5, r3, r4",
        "uxtab16 r4, r3, r4, ror #8",
        "str r5, [r2], #8",
        "str r4, [r2], #8",
        ".endr",
        "subs r12, #1",
        "bne 2b",
        "3:",
        "tst r1, #1",
        "beq 4f",
        "ldr r4, [r0]",
        "uxtab16 r5, r3, r4",
        "uxtab16 r4, r3, r4, ror #8",
        "str r5, [r2]",
        "str r4, [r2, #8]",
        "4:",
        "pop {{r4, r5}}",
        "bx lr",
    )
}

/// Writes the weights of two channels, code plus zero point: per two taps a word of each. Does nothing if
/// the rows are not equally long, whole quads, or there is no room.
pub(in crate::kernels) fn quads_unpack(rows: [&[u8]; 2], zero_points: [i16; 2], into: &mut [u32]) {
    let [first, second] = rows;
    let quads = first.len() / 4;
    if quads == 0 || first.len() != second.len() || into.len() < 4 * quads {
        return;
    }
    let zero_points = zero_points.map(twice);
    // SAFETY: both rows have four codes per quad, and there is room for four words per quad.
    unsafe {
        unpack(
            first.as_ptr(),
            second.as_ptr(),
            into.as_mut_ptr(),
            quads,
            &zero_points,
        );
    }
}

/// # Safety
/// `quads` is not 0; `first` and `second` are valid for four times as many bytes, and `into` for four
/// times as many words.
#[unsafe(naked)]
unsafe extern "C" fn unpack(
    first: *const u8,
    second: *const u8,
    into: *mut u32,
    quads: usize,
    zero_points: &[u32; 2],
) {
    naked_asm!(
        core_with_dsp!(),
        "push {{r4-r9}}",
        "ldr r12, [sp, #24]",
        "ldrd r8, r9, [r12]",
        "2:",
        "ldr r6, [r0], #4",
        "ldr r7, [r1], #4",
        "uxtab16 r4, r8, r6",
        "uxtab16 r5, r9, r7",
        "uxtab16 r6, r8, r6, ror #8",
        "uxtab16 r7, r9, r7, ror #8",
        "stmia r2!, {{r4-r7}}",
        "subs r3, #1",
        "bne 2b",
        "pop {{r4-r9}}",
        "bx lr",
    )
}
