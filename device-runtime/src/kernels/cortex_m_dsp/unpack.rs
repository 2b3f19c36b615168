//! Weights out of packed words, see [`Layout::Pairs`](crate::format::Layout::Pairs).
//!
//! ```text
//!   r0   packed words    r1 how many    r2 where the codes go    r3 the codes' bits in a rotated word
//!   r12  a packed word   from r4 on     words with the codes of both channels
//! ```
//! A tap takes one instruction, and three quarters to five quarters of one for the word that it is in.

use core::arch::naked_asm;

/// Unpacks words with pairs of codes of `bits` bits, as many as fit `into`, and returns their number; none
/// if there is no such width.
pub(in crate::kernels) fn lanes_unpack(bits: u8, words: &[[u8; 4]], into: &mut [u32]) -> usize {
    let (unpack, taps): (Unpack, usize) = match bits {
        2 => (unpack_2, 8),
        3 => (unpack_3, 5),
        4 => (unpack_4, 4),
        5 => (unpack_5, 3),
        _ => return 0,
    };
    let count = words.len().min(into.len() / taps);
    if count > 0 {
        let code = (1u32 << bits) - 1;
        let mask = code | code << (32 - u32::from(bits));
        // SAFETY: there are `count` words, and room for `taps` codes of each. Words may lie at any
        // byte: these cores load them unaligned.
        unsafe { unpack(words.as_ptr().cast(), count, into.as_mut_ptr(), mask) };
    }
    count
}

type Unpack = unsafe extern "C" fn(*const u32, usize, *mut u32, u32);

macro_rules! unpack {
    ($name:ident, $registers:literal, [$(($register:literal, $rotation:literal)),*]) => {
        /// # Safety
        /// `count` is not 0; `words` is valid for so many words, and `into` for the taps in them.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(words: *const u32, count: usize, into: *mut u32, mask: u32) {
            naked_asm!(
                core_with_dsp!(),
                "push {{r4-r11}}",
                "2:",
                "ldr r12, [r0], #4",
                $(concat!("and ", $register, ", r3, r12, ror #", $rotation),)*
                concat!("stmia r2!, {{", $registers, "}}"),
                "subs r1, #1",
                "bne 2b",
                "pop {{r4-r11}}",
                "bx lr",
            )
        }
    };
}

unpack!(
    unpack_2,
    "r4-r11",
    [
        ("r4", 2),
        ("r5", 6),
        ("r6", 10),
        ("r7", 14),
        ("r8", 18),
        ("r9", 22),
        ("r10", 26),
        ("r11", 30)
    ]
);
unpack!(
    unpack_3,
    "r4-r8",
    [("r4", 3), ("r5", 9), ("r6", 15), ("r7", 21), ("r8", 27)]
);
unpack!(
    unpack_4,
    "r4-r7",
    [("r4", 4), ("r5", 12), ("r6", 20), ("r7", 28)]
);
unpack!(unpack_5, "r4-r6", [("r4", 5), ("r5", 15), ("r6", 25)]);
