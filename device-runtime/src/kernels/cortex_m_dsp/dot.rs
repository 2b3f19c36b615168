//! Dual 16-bit multiply-accumulate (`SMLAD`) of Cortex-M4, M7 and cores with the DSP extension.

use core::arch::asm;

/// Taps per round of the loop.
const ROUND: usize = 8;

/// The same sums as [`dot::portable`](super::super::dot): each patch (outer index) with each row of weights
/// (inner index). Per round of 8 taps 16 loads and 16 `SMLAD` do 32 multiplications.
pub(in crate::kernels) fn dot_2x2(weights: [&[i16]; 2], patches: [&[i16]; 2]) -> [[i32; 2]; 2] {
    let [first, second] = weights;
    let [left, right] = patches;
    let shortest = first
        .len()
        .min(second.len())
        .min(left.len())
        .min(right.len());
    let taps = shortest - shortest % ROUND;
    let mut sums = [[0i32; 2]; 2];
    if taps == 0 {
        return sums;
    }
    let [[left_first, left_second], [right_first, right_second]] = &mut sums;
    // SAFETY: every pointer advances by `taps` elements, a positive multiple of `ROUND`, of a slice
    // that is at least as long; the loop ends when the first of them has done so. Nothing is
    // written. Words may lie at any multiple of 2 bytes: these cores load them unaligned.
    unsafe {
        asm!(
            "2:",
            ".rept 4",
            "ldr {weight}, [{first}], #4",
            "ldr {l}, [{left}], #4",
            "ldr {r}, [{right}], #4",
            "smlad {lf}, {weight}, {l}, {lf}",
            "smlad {rf}, {weight}, {r}, {rf}",
            "ldr {weight}, [{second}], #4",
            "smlad {ls}, {weight}, {l}, {ls}",
            "smlad {rs}, {weight}, {r}, {rs}",
            ".endr",
            "cmp {first}, {end}",
            "bne 2b",
            first = inout(reg) first.as_ptr() => _,
            second = inout(reg) second.as_ptr() => _,
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right.as_ptr() => _,
            end = in(reg) first.as_ptr().add(taps),
            weight = out(reg) _,
            l = out(reg) _,
            r = out(reg) _,
            lf = inout(reg) *left_first,
            ls = inout(reg) *left_second,
            rf = inout(reg) *right_first,
            rs = inout(reg) *right_second,
            options(nostack, readonly),
        );
    }
    sums
}
