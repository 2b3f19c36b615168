//! Sums of codes, four per word.
//!
//! Operands of at most eight bits together look their sum up in a table. Others are multiplied in 32
//! bits: with multipliers and bias in an upper part and 16 lower bits,
//!
//! ```text
//!   multiplier = upper * 2^16 + lower      -2^15 <= lower < 2^15,   |upper| <= 2^14
//!   low  = lower[0] * left + lower[1] * right + bias.lower                      below 2^25
//!   high = upper[0] * left + upper[1] * right + bias.upper + (low >> 16)        below 2^31
//! ```
//! `high` is what the exact sum has above its lowest 16 bits.

use super::{Add, Operand};
use crate::arithmetic::saturate_i32;
use crate::kernels::elements::{Elements, ElementsMut};

/// Least elements for which a table is filled.
const TABLE_ELEMENTS: usize = 1024;
/// Bits of a table's index.
const TABLE_BITS: u8 = 8;

/// Computes `count` codes, or returns `false` and does nothing if not everything is in codes, they do
/// not start at whole words, or the numbers are too large.
pub(super) fn run(
    add: &Add,
    [left, right]: [&Operand<'_>; 2],
    count: usize,
    output: &mut ElementsMut<'_>,
) -> bool {
    let ElementsMut::Code8 { codes, zero_point } = output else {
        return false;
    };
    let zero_point = *zero_point;
    let Some(output) = codes.get_mut(..count) else {
        return false;
    };
    let terms = [
        Term::new(left, add.affine.multiplier, zero_point, count),
        Term::new(right, add.right_multiplier, zero_point, count),
    ];
    let [Some(left), Some(right)] = terms else {
        return false;
    };
    // The left operand is the one that may lie in the output's place.
    let (left, right) = if right.codes.is_none() {
        (right, left)
    } else {
        (left, right)
    };
    let Some(right_codes) = right.codes else {
        return false;
    };
    let words = |codes: &[u8]| codes.as_ptr().addr().is_multiple_of(4);
    if !words(output) || !words(right_codes) || !left.codes.is_none_or(words) {
        return false;
    }
    let sum = Sum {
        add,
        terms: [left, right],
        zero_point,
    };
    if left.bits + right.bits <= TABLE_BITS && count >= TABLE_ELEMENTS {
        let table = sum.table();
        let bits = u32::from(left.bits);
        each(left.codes, right_codes, output, |[left, right]| {
            let indices = left | right.wrapping_shl(bits);
            u32::from_ne_bytes(indices.to_ne_bytes().map(|index| table[usize::from(index)]))
        });
        return true;
    }
    let Some(split) = Split::new(&sum) else {
        return false;
    };
    #[cfg(lowbit_cortex_m_dsp)]
    let done = split.on_core(left.codes, right_codes, output);
    #[cfg(not(lowbit_cortex_m_dsp))]
    let done = 0;
    let left = left
        .codes
        .map(|codes| codes.get(done..).unwrap_or_default());
    let right = right_codes.get(done..).unwrap_or_default();
    let output = output.get_mut(done..).unwrap_or_default();
    each(left, right, output, |words| split.word(words));
    true
}

/// Writes what `of` makes of four codes of both operands; the left one lies in the output's place if it
/// is `None`.
fn each(left: Option<&[u8]>, right: &[u8], output: &mut [u8], of: impl Fn([u32; 2]) -> u32) {
    let whole = output.len() / 4 * 4;
    let (words, tail) = output.split_at_mut(whole);
    let (right_words, right_tail) = right.split_at(whole.min(right.len()));
    let left = left.map(|left| left.split_at(whole.min(left.len())));
    let padded = |codes: &[u8]| {
        let mut word = [0; 4];
        for (to, &from) in word.iter_mut().zip(codes) {
            *to = from;
        }
        u32::from_ne_bytes(word)
    };
    let left_tail = left.map_or(&*tail, |(_, tail)| tail);
    let last = of([padded(left_tail), padded(right_tail)]).to_ne_bytes();
    for (to, from) in tail.iter_mut().zip(last) {
        *to = from;
    }
    let words: &mut [u32] = bytemuck::try_cast_slice_mut(words).unwrap_or_default();
    let right: &[u32] = bytemuck::try_cast_slice(right_words).unwrap_or_default();
    match left {
        Some((left, _)) => {
            let left: &[u32] = bytemuck::try_cast_slice(left).unwrap_or_default();
            for ((to, &left), &right) in words.iter_mut().zip(left).zip(right) {
                *to = of([left, right]);
            }
        }
        None => {
            for (to, &right) in words.iter_mut().zip(right) {
                *to = of([*to, right]);
            }
        }
    }
}

/// An operand in codes.
#[derive(Debug, Clone, Copy)]
struct Term<'a> {
    /// `None` in the output's place.
    codes: Option<&'a [u8]>,
    bits: u8,
    zero_point: i32,
    multiplier: i32,
}

impl<'a> Term<'a> {
    fn new(
        operand: &Operand<'a>,
        multiplier: i32,
        output_zero_point: i32,
        count: usize,
    ) -> Option<Self> {
        let (codes, zero_point) = match operand.elements {
            Some(Elements::Code8 { codes, zero_point }) => (Some(codes.get(..count)?), zero_point),
            Some(_) => return None,
            None => (None, output_zero_point),
        };
        Some(Self {
            codes,
            bits: operand.bits?,
            zero_point,
            multiplier,
        })
    }
}

/// What is computed for every pair of codes.
#[derive(Debug, Clone, Copy)]
struct Sum<'a> {
    add: &'a Add,
    terms: [Term<'a>; 2],
    /// Of the output.
    zero_point: i32,
}

impl Sum<'_> {
    /// `(multiplier * code + ... + bias) >> shift` is what comes before the limits.
    fn bias(&self) -> i64 {
        self.terms.iter().fold(self.add.affine.bias, |bias, term| {
            bias.wrapping_add(i64::from(term.multiplier).wrapping_mul(term.zero_point.into()))
        })
    }

    /// A code of the output.
    fn finish(&self, value: i32) -> u8 {
        let value = value.max(self.add.low).min(self.add.high);
        value.wrapping_sub(self.zero_point) as u8
    }

    /// The results for all pairs of codes; those of the right operand lie above the left one's bits.
    fn table(&self) -> [u8; 1 << TABLE_BITS] {
        let (bias, [left, right]) = (self.bias(), self.terms);
        let product = |multiplier: i32, code: u32| i64::from(multiplier).wrapping_mul(code.into());
        let mask = (1u32 << left.bits) - 1;
        let mut table = [0; 1 << TABLE_BITS];
        let entries = 1usize << (left.bits + right.bits).min(TABLE_BITS);
        for (index, entry) in (0u32..).zip(table.iter_mut().take(entries)) {
            let value = bias
                .wrapping_add(product(left.multiplier, index & mask))
                .wrapping_add(product(right.multiplier, index >> left.bits))
                .wrapping_shr(self.add.affine.shift.into());
            *entry = self.finish(saturate_i32(value));
        }
        table
    }
}

/// Parameters in two parts, see above.
#[derive(Debug, Clone, Copy)]
struct Split<'a> {
    sum: &'a Sum<'a>,
    lower: [i32; 2],
    upper: [i32; 2],
    /// Lower and upper part.
    bias: [i32; 2],
    /// Of `high`.
    shift: u32,
}

impl<'a> Split<'a> {
    fn new(sum: &'a Sum<'a>) -> Option<Self> {
        let multipliers = sum.terms.map(|term| term.multiplier);
        let lower = multipliers.map(|multiplier| i32::from(multiplier as i16));
        let bias = sum.bias();
        let shift = u32::from(sum.add.affine.shift).checked_sub(16)?;
        (bias.unsigned_abs() < 1 << 46).then(|| Self {
            sum,
            lower,
            upper: [0, 1].map(|index| multipliers[index].wrapping_sub(lower[index]) >> 16),
            bias: [bias as u16 as i32, (bias >> 16) as i32],
            // From 31 on only the sign is left.
            shift: shift.min(31),
        })
    }

    /// Four codes. Once in the program: small flashes have no room for a copy per caller.
    #[inline(never)]
    fn word(&self, words: [u32; 2]) -> u32 {
        let [[a, b, c, d], [e, f, g, h]] = words.map(u32::to_ne_bytes);
        u32::from_ne_bytes([[a, e], [b, f], [c, g], [d, h]].map(|codes| self.code(codes)))
    }

    #[inline(always)]
    fn code(&self, codes: [u8; 2]) -> u8 {
        let [left, right] = codes.map(i32::from);
        let dot = |[first, second]: [i32; 2], start: i32| {
            start
                .wrapping_add(first.wrapping_mul(left))
                .wrapping_add(second.wrapping_mul(right))
        };
        let low = dot(self.lower, self.bias[0]);
        let high = dot(self.upper, self.bias[1]).wrapping_add(low >> 16);
        self.sum.finish(high >> self.shift)
    }

    /// Computes codes by the core's own code and returns how many: as many as fill words, or none.
    #[cfg(lowbit_cortex_m_dsp)]
    fn on_core(&self, left: Option<&[u8]>, right: &[u8], output: &mut [u8]) -> usize {
        use crate::kernels::cortex_m_dsp::{Addition, add_words};
        let (add, zero_point) = (self.sum.add, self.sum.zero_point);
        let ends = [add.low, add.high].map(|end| end.wrapping_sub(zero_point));
        let shift = u32::from(add.affine.shift);
        let Some(lift) = 32u32.checked_sub(shift).filter(|_| ends == [0, 255]) else {
            return 0;
        };
        let bias = self.sum.bias().wrapping_sub(i64::from(zero_point) << shift);
        if bias.unsigned_abs() >= 1 << (46 - lift) {
            return 0;
        }
        let addition = Addition {
            lower: self.lower,
            upper: self.upper,
            bias: bias << lift,
        };
        add_words(&addition, lift, left, right, output)
    }
}
