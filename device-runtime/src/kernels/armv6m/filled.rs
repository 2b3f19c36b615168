//! Two products per `MULS` that fill their halves of a word, see [`Lanes`](crate::kernels::lanes::Lanes):
//! four positions by one channel, then by the other.
//!
//! ```text
//!   r0      patch, two words per tap: positions 0 and 1, positions 2 and 3
//!   r1      weights, one word per tap: both channels
//!   r2 r3   patch of a tap, products
//!   r4      weight
//!   r5      the whole patch                    r8    sums of words, positions 0 and 1
//!   r6      where the weights begin            r9    sums of upper halves: position 1
//!   r7      where the sums go                  r10   sums of words, positions 2 and 3
//!   r12     where the weights end              r11   sums of upper halves: position 3
//!   lr      where the loop is entered
//! ```
//! A tap takes ten instructions for four products.

use core::arch::naked_asm;

use crate::kernels::conv2d::tiled::Sums;

/// Sums of products of codes: per tap one word of weights and two words of the patch. Does nothing if
/// there are no taps, or the patch is too short.
pub(in crate::kernels) fn filled_product(patch: &[u32], weights: &[u32], sums: &mut Sums) {
    let taps = weights.len();
    if taps == 0 || patch.len() / 2 < taps {
        return;
    }
    // SAFETY: the loop reads one word of weights and two of the patch per tap, and eight sums are
    // written.
    unsafe {
        let sums = sums.as_flattened_mut().as_mut_ptr();
        product(patch.as_ptr(), weights.as_ptr(), taps, sums);
    }
}

/// # Safety
/// `taps` is not 0; `patch` and `weights` are valid for two words and one word per tap, `sums` is valid
/// for eight words.
#[unsafe(naked)]
unsafe extern "C" fn product(patch: *const u32, weights: *const u32, taps: usize, sums: *mut i32) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "movs r7, r3",
        "lsls r3, r2, #2",
        "adds r3, r3, r1",
        "mov r12, r3",
        // The first pass leaves out what taps lack to whole passes.
        "rsbs r2, r2, #0",
        "movs r3, #15",
        "ands r2, r3",
        "lsls r3, r2, #2",
        "subs r6, r1, r3",
        "movs r3, #20",
        "muls r2, r3, r2",
        "adr r3, 2f",
        "adds r3, r3, r2",
        "mov lr, r3",
        "movs r5, r0",
        "1:",
        "movs r0, r5",
        "movs r1, r6",
        "movs r4, #0",
        "mov r8, r4",
        "mov r9, r4",
        "mov r10, r4",
        "mov r11, r4",
        "mov pc, lr",
        ".p2align 2",
        "2:",
        ".irp tap, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "ldrh r4, [r1, #4 * \\tap]",
        "ldm r0!, {{r2, r3}}",
        "muls r2, r4, r2",
        "add r8, r2",
        "lsrs r2, r2, #16",
        "add r9, r2",
        "muls r3, r4, r3",
        "add r10, r3",
        "lsrs r3, r3, #16",
        "add r11, r3",
        ".endr",
        "adds r1, #64",
        "cmp r1, r12",
        "beq 3f",
        "b 2b",
        "3:",
        "mov r0, r8",
        "mov r1, r9",
        "lsls r4, r1, #16",
        "subs r0, r0, r4",
        "mov r2, r10",
        "mov r3, r11",
        "lsls r4, r3, #16",
        "subs r2, r2, r4",
        "stm r7!, {{r0, r1, r2, r3}}",
        // The other channel lies two bytes further, where no word begins.
        "mov r0, r12",
        "lsls r1, r0, #30",
        "bmi 4f",
        "adds r0, #2",
        "mov r12, r0",
        "adds r6, #2",
        "b 1b",
        "4:",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
    )
}
