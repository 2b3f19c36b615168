//! Two products per `SMLAD`: two positions by two channels.
//!
//! ```text
//!   r0       patch, per two taps a word of each position
//!   r1       weights, per two taps a word of each channel
//!   r2-r5    sums: channel 0 with both positions, channel 1 with both positions
//!   r6-r9    patch of four taps
//!   r10-lr   weights of four taps
//! ```
//! Four taps take 2 loads and 8 `SMLAD` for 16 products.

use core::arch::naked_asm;

/// Rounds of four taps in the unrolled loop.
const ROUNDS: usize = 18;
/// Bytes of code of a round: ten instructions of four bytes.
const ROUND_BYTES: usize = 40;

/// Sums of products of two positions (inner index) with two channels (outer index), over as many
/// taps as there are weights, a multiple of 4. 0 if the patch is shorter.
pub(in crate::kernels) fn duals_product(patch: &[u32], weights: &[u32]) -> [[i32; 2]; 2] {
    let mut sums = [[0; 2]; 2];
    let rounds = weights.len() / 4;
    if rounds == 0 || patch.len() < weights.len() {
        return sums;
    }
    let passes = rounds.div_ceil(ROUNDS);
    let skipped = (passes * ROUNDS - rounds) * ROUND_BYTES;
    let into = sums.as_flattened_mut().as_mut_ptr();
    // SAFETY: `passes` times the unrolled loop without what is skipped are `rounds` rounds, each of
    // which reads four words of both operands; four sums are written.
    unsafe { product(patch.as_ptr(), weights.as_ptr(), skipped, passes, into) };
    sums
}

/// # Safety
/// `patch` and `weights` are valid for four words per round, `sums` for four; the first of `passes`
/// leaves out `skipped` bytes of the loop, whole rounds and fewer than all.
#[unsafe(naked)]
unsafe extern "C" fn product(
    patch: *const u32,
    weights: *const u32,
    skipped: usize,
    passes: usize,
    sums: *mut i32,
) {
    naked_asm!(
        "push {{r3-r11, lr}}",
        "adr r7, 2f",
        "adds r7, #1",
        "add r7, r2",
        "movs r2, #0",
        "movs r3, #0",
        "movs r4, #0",
        "movs r5, #0",
        "bx r7",
        ".p2align 2",
        "2:",
        ".rept {rounds}",
        "ldmia.w r1!, {{r10, r11, r12, lr}}",
        "ldmia.w r0!, {{r6, r7, r8, r9}}",
        "smlad r2, r6, r10, r2",
        "smlad r3, r7, r10, r3",
        "smlad r4, r6, r11, r4",
        "smlad r5, r7, r11, r5",
        "smlad r2, r8, r12, r2",
        "smlad r3, r9, r12, r3",
        "smlad r4, r8, lr, r4",
        "smlad r5, r9, lr, r5",
        ".endr",
        "ldr r6, [sp]",
        "subs r6, #1",
        "str r6, [sp]",
        "bne 2b",
        "ldr r6, [sp, #40]",
        "stm r6, {{r2-r5}}",
        "pop {{r3-r11, pc}}",
        rounds = const ROUNDS,
    )
}
