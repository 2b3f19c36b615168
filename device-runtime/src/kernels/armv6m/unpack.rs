//! Weights out of packed words, see [`Layout::Pairs`](crate::format::Layout::Pairs).
//!
//! ```text
//!   r0   packed words               r3   where a code of channel 0 goes: the lowest bits
//!   r1   their end                  r4   where one of channel 1 goes: from bit 16 on
//!   r2   where the codes go         r5   a packed word
//!                                   r6 r7   codes of a tap
//! ```
//! A tap takes six instructions, a word three more.

use core::arch::naked_asm;

/// Unpacks words of which all taps fit `into`. Returns how many those are; none if there is no such
/// width or words cannot be loaded from where they lie.
pub(in crate::kernels) fn lanes_unpack(bits: u8, words: &[[u8; 4]], into: &mut [u32]) -> usize {
    let (unpack, taps): (Unpack, usize) = match bits {
        2 => (unpack_2, 8),
        3 => (unpack_3, 5),
        4 => (unpack_4, 4),
        5 => (unpack_5, 3),
        _ => return 0,
    };
    // At most the last word is too much.
    let last = usize::from(words.len() * taps > into.len());
    let count = words.len().saturating_sub(last);
    if count == 0 || count * taps > into.len() || !words.as_ptr().addr().is_multiple_of(4) {
        return 0;
    }
    let first = words.as_ptr();
    // SAFETY: there are `count` words, one at least, at multiples of four bytes, and room for `taps`
    // codes of each.
    unsafe {
        let end = first.add(count).cast();
        unpack(first.cast(), end, into.as_mut_ptr(), (1 << bits) - 1);
    }
    count
}

type Unpack = unsafe extern "C" fn(*const u32, *const u32, *mut u32, u32);

macro_rules! unpack {
    ($name:ident, $bits:literal, $places:literal) => {
        /// # Safety
        /// `words`, aligned, are valid up to `end`, which lies behind them; `into` is valid for the taps
        /// in them.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(words: *const u32, end: *const u32, into: *mut u32, code: u32) {
            naked_asm!(
                "push {{r4-r7, lr}}",
                "lsls r4, r3, #16",
                "2:",
                "ldm r0!, {{r5}}",
                concat!(".irp place, ", $places),
                "lsrs r6, r5, #\\place + {bits}",
                "ands r6, r3",
                ".if \\place < 16",
                "lsls r7, r5, #16 - \\place",
                ".elseif \\place == 16",
                "mov r7, r5",
                ".else",
                "lsrs r7, r5, #\\place - 16",
                ".endif",
                "ands r7, r4",
                "orrs r6, r7",
                "stm r2!, {{r6}}",
                ".endr",
                "cmp r0, r1",
                "bne 2b",
                "pop {{r4-r7, pc}}",
                bits = const $bits,
            )
        }
    };
}

unpack!(unpack_2, 2, "0, 4, 8, 12, 16, 20, 24, 28");
unpack!(unpack_3, 3, "0, 6, 12, 18, 24");
unpack!(unpack_4, 4, "0, 8, 16, 24");
unpack!(unpack_5, 5, "0, 10, 20");
