//! Two products per `mul` that fill their halves of a word, see [`Lanes`](crate::kernels::lanes::Lanes):
//! four positions by two channels.
//!
//! ```text
//!   a0       patch, two words per tap: positions 0 and 1, positions 2 and 3
//!   a1       weights, one word per tap: both channels
//!   a2       end of the weights
//!   a3       where the sums go
//!   t0 t1    patch of a tap                      channel 0   channel 1
//!   t2 t3    weights of a tap                    a4 a5       t5 t6       sums of words
//!   t4       product                             a6 a7       s0 s1       sums of upper halves
//! ```
//! A tap takes 20 instructions for 8 products.

use core::arch::naked_asm;

use crate::kernels::conv2d::tiled::Sums;

/// Taps in the unrolled loop.
const TAPS: usize = 16;
/// Bytes of code of a tap: twenty instructions of four bytes.
const TAP_BYTES: usize = 80;

/// Sums of products of codes: per tap one word of weights and two words of the patch. Does nothing if
/// there are no taps, or the patch is too short.
pub(in crate::kernels) fn filled_product(patch: &[u32], weights: &[u32], sums: &mut Sums) {
    let taps = weights.len();
    if taps == 0 || patch.len() / 2 < taps {
        return;
    }
    let left_out = taps.wrapping_neg() % TAPS;
    // SAFETY: what is left out fills the taps up to whole passes, of which there is at least one; they
    // read one word of weights and two of the patch per tap, and end where the weights end. Eight
    // sums are written.
    unsafe {
        let sums = sums.as_flattened_mut().as_mut_ptr();
        let end = weights.as_ptr_range().end;
        product(patch.as_ptr(), weights.as_ptr(), end, sums, left_out);
    }
}

/// # Safety
/// `patch` and `weights` are valid for two words and one word per tap; the taps are those up to `end`
/// of the weights, whole passes but for those that the first leaves out. `sums` is valid for eight
/// words.
#[unsafe(naked)]
unsafe extern "C" fn product(
    patch: *const u32,
    weights: *const u32,
    end: *const u32,
    sums: *mut i32,
    left_out: usize,
) {
    naked_asm!(
        ".option push",
        // Functions in assembly are not assembled for the target's extensions.
        ".option arch, +m",
        ".option norvc",
        "addi sp, sp, -16",
        "sw s0, 0(sp)",
        "sw s1, 4(sp)",
        // The loop's addresses count from its first tap.
        "slli t0, a4, 2",
        "sub a1, a1, t0",
        "slli t0, a4, 3",
        "sub a0, a0, t0",
        "li t1, {tap_bytes}",
        "mul t1, a4, t1",
        "lla t0, 2f",
        "add t0, t0, t1",
        "li a4, 0",
        "li a5, 0",
        "li a6, 0",
        "li a7, 0",
        "li t5, 0",
        "li t6, 0",
        "li s0, 0",
        "li s1, 0",
        "jr t0",
        "2:",
        ".irp tap, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "lhu t2, 4 * \\tap(a1)",
        "lhu t3, 4 * \\tap + 2(a1)",
        "lw t0, 8 * \\tap(a0)",
        "lw t1, 8 * \\tap + 4(a0)",
        "mul t4, t0, t2",
        "add a4, a4, t4",
        "srli t4, t4, 16",
        "add a6, a6, t4",
        "mul t4, t1, t2",
        "add a5, a5, t4",
        "srli t4, t4, 16",
        "add a7, a7, t4",
        "mul t4, t0, t3",
        "add t5, t5, t4",
        "srli t4, t4, 16",
        "add s0, s0, t4",
        "mul t4, t1, t3",
        "add t6, t6, t4",
        "srli t4, t4, 16",
        "add s1, s1, t4",
        ".endr",
        "addi a1, a1, 4 * {taps}",
        "addi a0, a0, 8 * {taps}",
        "bne a1, a2, 2b",
        ".option pop",
        "slli t0, a6, 16",
        "sub a4, a4, t0",
        "slli t0, a7, 16",
        "sub a5, a5, t0",
        "slli t0, s0, 16",
        "sub t5, t5, t0",
        "slli t0, s1, 16",
        "sub t6, t6, t0",
        "sw a4, 0(a3)",
        "sw a6, 4(a3)",
        "sw a5, 8(a3)",
        "sw a7, 12(a3)",
        "sw t5, 16(a3)",
        "sw s0, 20(a3)",
        "sw t6, 24(a3)",
        "sw s1, 28(a3)",
        "lw s0, 0(sp)",
        "lw s1, 4(sp)",
        "addi sp, sp, 16",
        "ret",
        tap_bytes = const TAP_BYTES,
        taps = const TAPS,
    )
}
