//! Two products per `MULS`, see [`Lanes`](crate::kernels::lanes::Lanes): four positions by two
//! channels.
//!
//! ```text
//!   r0       patch, two words per tap: positions 0 and 1, positions 2 and 3
//!   r1       weights, one word per tap: both channels
//!   r2 r3    patch of a tap
//!   r4       product
//!   r5       weight of channel 1
//!   r6 r7    weights of two taps
//!   r12      end of the weights
//!                                    bits 0 .. 16    16 .. 32
//!   r8       sums with r2, channel 0      p0 c0      p1 c0 + p0 c1
//!   r9       sums with r3, channel 0      p2 c0      p3 c0 + p2 c1
//!   r10      sums with r2, channel 1      p0 c1      p1 c1
//!   r11      sums with r3, channel 1      p2 c1      p3 c1
//! ```
//! Two taps take 3 loads, 8 `MULS` and 8 additions, 2 shifts and 2 copies for 16 products.

use core::arch::naked_asm;

use crate::kernels::conv2d::tiled::Sums;
use crate::kernels::lanes::ROUND;

/// Taps in the unrolled loop.
const TAPS: usize = 16;
/// Bytes of code of four taps: 46 instructions of two bytes.
const ROUND_BYTES: usize = 92;

const _: () = assert!(ROUND == 4 && TAPS.is_multiple_of(ROUND as usize));

/// Sums of products of codes that are small enough for their halves of a word: per tap one word of
/// weights and two words of the patch. Does nothing if the taps are not whole rounds, or the patch is too
/// short.
pub(in crate::kernels) fn lanes_chunk(patch: &[u32], weights: &[u32], sums: &mut Sums) {
    let taps = weights.len();
    if taps == 0 || !taps.is_multiple_of(ROUND as usize) || patch.len() / 2 < taps {
        return;
    }
    let rounds = (taps.wrapping_neg() % TAPS) / ROUND as usize;
    let end = weights.as_ptr_range().end;
    // SAFETY: what is skipped fills the taps up to whole passes, of which there is at least one; they
    // read one word of weights and two of the patch per tap, and end where the weights end. Eight
    // sums are written.
    unsafe {
        let sums = sums.as_flattened_mut().as_mut_ptr();
        chunk(
            patch.as_ptr(),
            weights.as_ptr(),
            &Job {
                skipped: rounds * ROUND_BYTES,
                end,
            },
            sums,
        );
    }
}

#[repr(C)]
struct Job {
    /// Bytes of the unrolled loop that the first pass leaves out.
    skipped: usize,
    /// Of the weights.
    end: *const u32,
}

/// # Safety
/// `patch` and `weights` are valid for two words and one word per tap; the taps are those up to the
/// end of the weights, whole passes but for the whole rounds that the first leaves out. `sums` is
/// valid for eight words.
#[unsafe(naked)]
unsafe extern "C" fn chunk(patch: *const u32, weights: *const u32, job: &Job, sums: *mut i32) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r3-r7}}",
        "ldm r2!, {{r4, r5}}",
        "mov r12, r5",
        "adr r6, 2f",
        "adds r6, r6, r4",
        "movs r5, #0",
        "mov r8, r5",
        "mov r9, r5",
        "mov r10, r5",
        "mov r11, r5",
        "mov pc, r6",
        ".p2align 2",
        "2:",
        ".rept {pairs}",
        "ldm r1!, {{r6, r7}}",
        ".irp weight, r6, r7",
        "ldm r0!, {{r2, r3}}",
        "lsrs r5, \\weight, #16",
        "mov r4, r2",
        "muls r4, \\weight, r4",
        "add r8, r4",
        "muls r2, r5, r2",
        "add r10, r2",
        "muls \\weight, r3, \\weight",
        "add r9, \\weight",
        "muls r3, r5, r3",
        "add r11, r3",
        ".endr",
        ".endr",
        "cmp r1, r12",
        "beq 3f",
        "b 2b",
        "3:",
        "mov r4, r8",
        "mov r0, r10",
        "lsls r2, r0, #16",
        "subs r4, r4, r2",
        "lsrs r5, r4, #16",
        "uxth r4, r4",
        "mov r6, r9",
        "mov r1, r11",
        "lsls r2, r1, #16",
        "subs r6, r6, r2",
        "lsrs r7, r6, #16",
        "uxth r6, r6",
        "pop {{r3}}",
        "stm r3!, {{r4-r7}}",
        "uxth r4, r0",
        "lsrs r5, r0, #16",
        "uxth r6, r1",
        "lsrs r7, r1, #16",
        "stm r3!, {{r4-r7}}",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
        pairs = const TAPS / 2,
    )
}
