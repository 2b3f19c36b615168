//! Four products per `UMLAL`, see [`Lanes`]: four positions by two channels.
//!
//! ```text
//!   r0       patch, two words per tap: positions 0 and 1, positions 2 and 3
//!   r1       weights, one word per tap: both channels
//!   r2 r3    sums of positions 0 and 1        bits   0 .. P  P .. C  C .. C+P  C+P .. 64
//!   r4 r5    sums of positions 2 and 3        sum    p0 c0   p1 c0   p0 c1     p1 c1
//!   r6-r9    patch of two taps
//!   r10-lr   weights of four taps
//! ```
//! Four taps take 3 loads and 8 `UMLAL` for 32 products. After each chunk the sums are set apart:
//! `E` collects the fields at 0 and C, which then have C bits each, `T` everything. At the end
//! `(T - E) >> P` are the other two.
//!
//! ```text
//!   sp +0 E0   +8 T0   +16 E1   +24 T1   +32 where a chunk starts   +36 chunks left
//!      +40 what follows a chunk   +48 where the sums go
//! ```

use core::arch::naked_asm;

use crate::kernels::conv2d::tiled::Sums;
use crate::kernels::lanes::{LONGEST_CHUNK, Lanes, ROUND};

/// Rounds of four taps in the unrolled loop.
const ROUNDS: u32 = LONGEST_CHUNK / ROUND;
/// Bytes of code of a round: eleven instructions of four bytes.
const ROUND_BYTES: u32 = 44;

/// Chunks of a row of taps.
#[repr(C)]
pub(super) struct Job {
    /// How many chunks.
    pub(super) chunks: u32,
    /// How long the first chunk is: bytes of the unrolled loop that it leaves out.
    pub(super) first: u32,
    /// The same for the others.
    pub(super) next: u32,
}

/// Sums of products of codes: per tap one word of weights and two words of the patch. Does nothing if
/// one of them is too short.
pub(in crate::kernels) fn lanes_product(
    patch: &[u32],
    weights: &[u32],
    lanes: Lanes,
    sums: &mut Sums,
) {
    if let Some(products) = LanesProducts::new(patch, weights, lanes, 0, 1) {
        products.product(0, sums);
    }
}

type Product = unsafe extern "C" fn(*const u32, *const u32, *const Job, *mut i32);

/// Sums of products of the same weights with patches that follow each other.
pub(in crate::kernels) struct LanesProducts<'a> {
    patches: &'a [u32],
    weights: &'a [u32],
    step: usize,
    rows: usize,
    job: Job,
    product: Product,
}

impl<'a> LanesProducts<'a> {
    /// Patches start every `step` words. `None` if there are fewer than `rows` patches, or fewer
    /// weights than taps.
    pub(in crate::kernels) fn new(
        patches: &'a [u32],
        weights: &'a [u32],
        lanes: Lanes,
        step: usize,
        rows: usize,
    ) -> Option<Self> {
        let taps = lanes.first as usize + (lanes.chunks as usize - 1) * lanes.chunk as usize;
        let last = rows.checked_sub(1)?.checked_mul(step)?;
        if weights.len() < taps || patches.len().checked_sub(last)? < 2 * taps {
            return None;
        }
        let (job, product) = job(lanes);
        Some(Self {
            patches,
            weights,
            step,
            rows,
            job,
            product,
        })
    }

    /// Does nothing for a `row` that was not asked for.
    #[inline(always)]
    pub(in crate::kernels) fn product(&self, row: usize, sums: &mut Sums) {
        if row >= self.rows {
            return;
        }
        let into = sums.as_flattened_mut().as_mut_ptr();
        // SAFETY: `Lanes` has these fields, its `chunks` is at least 1, and its chunks are whole
        // rounds, with four products at most `LONGEST_CHUNK` taps. Together they read one word of weights and two of
        // the patch per tap, which `new` has seen to be there, and eight sums are written.
        unsafe {
            let patch = self.patches.as_ptr().add(row * self.step);
            (self.product)(patch, self.weights.as_ptr(), &self.job, into);
        }
    }
}

/// The chunks of `lanes` and the loop for them.
fn job(lanes: Lanes) -> (Job, Product) {
    let skipped = |taps: u32| (ROUNDS - taps / ROUND) * ROUND_BYTES;
    let job = Job {
        chunks: lanes.chunks,
        first: skipped(lanes.first),
        next: skipped(lanes.chunk),
    };
    match lanes.channel {
        30 => (job, product_15_30),
        29 => (job, product_14_29),
        28 => (job, product_14_28),
        #[cfg(not(lowbit_cortex_m_dsp))]
        16 => (super::wide::job(lanes), super::wide::product),
        _ => (job, product_13_27),
    }
}

/// The loop for fields that start at bits 0, `$position`, `$channel` and their sum.
macro_rules! product {
    ($name:ident, $position:literal, $channel:literal) => {
        const _: () = assert!(
            $position <= $channel - $position
                && $channel < 32
                && $position + $channel > 32
        );

        /// # Safety
        /// `job` divides the taps into whole rounds; `patch`, `weights` and `sums` are valid for two
        /// words per tap, one word per tap and eight words.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            patch: *const u32,
            weights: *const u32,
            job: *const Job,
            sums: *mut i32,
        ) {
            naked_asm!(
                core_with_dsp!(),
                "push {{r3-r11, lr}}",
                "sub sp, #48",
                "ldm r2, {{r4, r5, r6}}",
                "adr r7, 2f",
                "adds r7, #1",
                "add r6, r7",
                "add r7, r5",
                "adr r8, 3f",
                "adr r9, 5f",
                "subs r4, #1",
                "it eq",
                "moveq r8, r9",
                "add r8, #1",
                "strd r6, r4, [sp, #32]",
                "str r8, [sp, #40]",
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
                "umlal r2, r3, r6, r10",
                "umlal r4, r5, r7, r10",
                "umlal r2, r3, r8, r11",
                "umlal r4, r5, r9, r11",
                "ldmia.w r0!, {{r6, r7, r8, r9}}",
                "umlal r2, r3, r6, r12",
                "umlal r4, r5, r7, r12",
                "umlal r2, r3, r8, lr",
                "umlal r4, r5, r9, lr",
                ".endr",
                "ldr pc, [sp, #40]",
                // The first of several chunks.
                ".p2align 2",
                "3:",
                "strd r2, r3, [sp, #8]",
                "strd r4, r5, [sp, #24]",
                "bfc r2, #{position}, #{channel} - {position}",
                "ubfx r3, r3, #0, #{position} + {channel} - 32",
                "bfc r4, #{position}, #{channel} - {position}",
                "ubfx r5, r5, #0, #{position} + {channel} - 32",
                "strd r2, r3, [sp]",
                "strd r4, r5, [sp, #16]",
                "adr r8, 4f",
                "add r8, #1",
                "str r8, [sp, #40]",
                "movs r2, #0",
                "movs r3, #0",
                "movs r4, #0",
                "movs r5, #0",
                "ldr pc, [sp, #32]",
                // A later chunk.
                ".p2align 2",
                "4:",
                "ldm sp, {{r6-r12, lr}}",
                "adds r8, r8, r2",
                "adc r9, r9, r3",
                "adds r12, r12, r4",
                "adc lr, lr, r5",
                "bfc r2, #{position}, #{channel} - {position}",
                "ubfx r3, r3, #0, #{position} + {channel} - 32",
                "bfc r4, #{position}, #{channel} - {position}",
                "ubfx r5, r5, #0, #{position} + {channel} - 32",
                "adds r6, r6, r2",
                "adc r7, r7, r3",
                "adds r10, r10, r4",
                "adc r11, r11, r5",
                "ldr r2, [sp, #36]",
                "subs r2, #1",
                "beq 6f",
                "str r2, [sp, #36]",
                "stm sp, {{r6-r12, lr}}",
                "movs r2, #0",
                "movs r3, #0",
                "movs r4, #0",
                "movs r5, #0",
                "ldr pc, [sp, #32]",
                // The only chunk.
                ".p2align 2",
                "5:",
                "ubfx r0, r2, #0, #{position}",
                "ubfx r1, r2, #{position}, #{channel} - {position}",
                "lsr r8, r2, #{channel}",
                "bfi r8, r3, #32 - {channel}, #{position} + {channel} - 32",
                "lsr r9, r3, #{position} + {channel} - 32",
                "ubfx r2, r4, #0, #{position}",
                "ubfx r3, r4, #{position}, #{channel} - {position}",
                "lsr r10, r4, #{channel}",
                "bfi r10, r5, #32 - {channel}, #{position} + {channel} - 32",
                "lsr r11, r5, #{position} + {channel} - 32",
                "ldr r12, [sp, #48]",
                "stm r12, {{r0, r1, r2, r3, r8, r9, r10, r11}}",
                "add sp, #52",
                "pop {{r4-r11, pc}}",
                // The last of several chunks.
                "6:",
                "subs r8, r8, r6",
                "sbc r9, r9, r7",
                "subs r12, r12, r10",
                "sbc lr, lr, r11",
                "ubfx r0, r6, #0, #{channel}",
                "lsr r1, r8, #{position}",
                "bfi r1, r9, #32 - {position}, #{position} + {channel} - 32",
                "lsr r4, r6, #{channel}",
                "orr r4, r4, r7, lsl #32 - {channel}",
                "lsr r5, r9, #{position} + {channel} - 32",
                "ubfx r2, r10, #0, #{channel}",
                "lsr r3, r12, #{position}",
                "bfi r3, lr, #32 - {position}, #{position} + {channel} - 32",
                "lsr r6, r10, #{channel}",
                "orr r6, r6, r11, lsl #32 - {channel}",
                "lsr r7, lr, #{position} + {channel} - 32",
                "ldr r12, [sp, #48]",
                "stm r12, {{r0-r7}}",
                "add sp, #52",
                "pop {{r4-r11, pc}}",
                rounds = const ROUNDS,
                position = const $position,
                channel = const $channel,
            )
        }
    };
}

product!(product_15_30, 15, 30);
product!(product_14_29, 14, 29);
product!(product_14_28, 14, 28);
product!(product_13_27, 13, 27);

/// Packs the codes of four pixels, `shift` bits between those of two positions, and returns the sums
/// of the words of both pairs. Pixels that are shorter than the first are left out.
pub(in crate::kernels) fn lanes_pack(pixels: [&[u8]; 4], shift: u32, into: &mut [u32]) -> [u32; 2] {
    let [first, rest @ ..] = pixels;
    let count = first.len();
    let mut sums = [0; 2];
    if count == 0 || rest.iter().any(|pixel| pixel.len() < count) || into.len() < 2 * count {
        return sums;
    }
    let pack = match shift {
        15 => pack::<15>,
        14 => pack::<14>,
        _ => pack::<13>,
    };
    let pointers = pixels.map(<[u8]>::as_ptr);
    // SAFETY: all pixels have at least `count` codes, and there is room for twice as many words.
    unsafe { pack(&pointers, count, into.as_mut_ptr(), &mut sums) };
    sums
}

/// Nine instructions for two words.
///
/// # Safety
/// `count` is not 0, and valid for each of `pixels`; `into` is valid for `2 * count` words.
#[unsafe(naked)]
unsafe extern "C" fn pack<const SHIFT: u32>(
    pixels: &[*const u8; 4],
    count: usize,
    into: *mut u32,
    sums: &mut [u32; 2],
) {
    naked_asm!(
        core_with_dsp!(),
        "push {{r3-r11, lr}}",
        "ldm r0, {{r3, r4, r5, r6}}",
        "movs r0, #0",
        "mov r12, r0",
        // Into the middle of four codes, if their number is not a multiple of four.
        "rsb r7, r1, #0",
        "and r7, r7, #3",
        "adds r1, r1, #3",
        "lsrs r1, r1, #2",
        "adr r8, 2f",
        "movs r9, #36",
        "mla r8, r7, r9, r8",
        "add r8, #1",
        "bx r8",
        ".p2align 2",
        "2:",
        ".rept 4",
        "ldrb r7, [r3], #1",
        "ldrb r8, [r4], #1",
        "ldrb r9, [r5], #1",
        "ldrb r10, [r6], #1",
        "orr r7, r7, r8, lsl #{shift}",
        "orr r9, r9, r10, lsl #{shift}",
        "add.w r0, r0, r7",
        "add.w r12, r12, r9",
        "strd r7, r9, [r2], #8",
        ".endr",
        "subs r1, #1",
        "bne 2b",
        "ldr r3, [sp]",
        "strd r0, r12, [r3]",
        "pop {{r3-r11, pc}}",
        shift = const SHIFT,
    )
}
