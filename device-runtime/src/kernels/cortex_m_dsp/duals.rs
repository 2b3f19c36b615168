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

use crate::kernels::conv2d::tiled::Sums;

/// Rounds of four taps in the unrolled loop.
const ROUNDS: usize = 18;
/// Bytes of code of a round: ten instructions of four bytes.
const ROUND_BYTES: usize = 40;

/// Sums of products of four positions, two per patch, with two channels, over as many taps as there
/// are weights, a multiple of 4. Does nothing if a patch is shorter.
pub(in crate::kernels) fn duals_product(patches: [&[u32]; 2], weights: &[u32], sums: &mut Sums) {
    if let Some(products) = DualsProducts::new(patches, weights, 0, 1) {
        products.product(0, sums);
    }
}

/// Sums of products of the same weights with patches that follow each other.
pub(in crate::kernels) struct DualsProducts<'a> {
    patches: [&'a [u32]; 2],
    weights: &'a [u32],
    step: usize,
    rows: usize,
    passes: usize,
    skipped: usize,
}

impl<'a> DualsProducts<'a> {
    /// Patches start every `step` words. `None` if there are fewer than `rows` patches.
    pub(in crate::kernels) fn new(
        patches: [&'a [u32]; 2],
        weights: &'a [u32],
        step: usize,
        rows: usize,
    ) -> Option<Self> {
        let rounds = weights.len() / 4;
        let last = rows.checked_sub(1)?.checked_mul(step)?;
        let [first, second] = patches.map(<[u32]>::len);
        if rounds == 0 || first.min(second).checked_sub(last)? < weights.len() {
            return None;
        }
        let passes = rounds.div_ceil(ROUNDS);
        Some(Self {
            patches,
            weights,
            step,
            rows,
            passes,
            skipped: (passes * ROUNDS - rounds) * ROUND_BYTES,
        })
    }

    /// Does nothing for a `row` that was not asked for.
    #[inline(always)]
    pub(in crate::kernels) fn product(&self, row: usize, sums: &mut Sums) {
        if row >= self.rows {
            return;
        }
        let into = sums.as_flattened_mut().as_mut_ptr();
        let weights = self.weights.as_ptr();
        let [first, second] = self.patches.map(<[u32]>::as_ptr);
        // SAFETY: `passes` times the unrolled loop without what is skipped reads as many words of
        // patch and weights as there are whole rounds of weights, which `new` has seen to be there.
        // Sums are written at numbers 0, 1, 4 and 5 from the pointer given.
        unsafe {
            let (first, second) = (first.add(row * self.step), second.add(row * self.step));
            product(first, weights, self.skipped, self.passes, into);
            product(second, weights, self.skipped, self.passes, into.add(2));
        }
    }
}

/// # Safety
/// `patch` and `weights` are valid for four words per round, `sums` for six; the first of `passes`
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
        core_with_dsp!(),
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
        "strd r2, r3, [r6]",
        "strd r4, r5, [r6, #16]",
        "pop {{r3-r11, pc}}",
        rounds = const ROUNDS,
    )
}
