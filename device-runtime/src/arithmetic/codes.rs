//! Unsigned codes of 2 to 8 bits, packed lowest bit first.

/// Codes that fill a whole number of bytes at every width.
const GROUP: usize = 8;

/// Unpacks as many codes of `bits` bits as `into` holds, and adds `zero_point` to each.
///
/// `codes` holds at least `ceil(into.len() * bits / 8)` bytes and `bits` is 2 to 8; otherwise the
/// rest of `into` keeps its values. Sums wrap, so the caller vouches for `code + zero_point`
/// fitting 16 bits.
pub fn unpack(bits: u8, codes: &[u8], zero_point: i16, into: &mut [i16]) {
    match bits {
        2 => unpack_width::<2>(codes, zero_point, into),
        3 => unpack_width::<3>(codes, zero_point, into),
        4 => unpack_width::<4>(codes, zero_point, into),
        5 => unpack_width::<5>(codes, zero_point, into),
        6 => unpack_width::<6>(codes, zero_point, into),
        7 => unpack_width::<7>(codes, zero_point, into),
        8 => unpack_width::<8>(codes, zero_point, into),
        _ => {}
    }
}

fn unpack_width<const BITS: usize>(codes: &[u8], zero_point: i16, into: &mut [i16]) {
    let (groups, tail) = into.as_chunks_mut::<GROUP>();
    let (words, rest) = codes.as_chunks::<BITS>();
    let whole = groups.len();
    for (group, word) in groups.iter_mut().zip(words) {
        *group = unpack_group::<BITS>(word, zero_point);
    }
    if tail.is_empty() {
        return;
    }
    let last = words.get(whole).map_or(rest, |word| word.as_slice());
    for (to, from) in tail.iter_mut().zip(unpack_group::<BITS>(last, zero_point)) {
        *to = from;
    }
}

/// Unpacks the first `count` codes of `bits` bits, eight at a time, and adds `zero_point` to each;
/// what a last group has behind them means nothing.
#[inline(always)]
pub(crate) fn unpack_groups(
    bits: u8,
    codes: &[u8],
    zero_point: i16,
    count: usize,
    take: impl FnMut([i16; GROUP]),
) {
    match bits {
        2 => groups::<2>(codes, zero_point, count, take),
        3 => groups::<3>(codes, zero_point, count, take),
        4 => groups::<4>(codes, zero_point, count, take),
        5 => groups::<5>(codes, zero_point, count, take),
        6 => groups::<6>(codes, zero_point, count, take),
        7 => groups::<7>(codes, zero_point, count, take),
        8 => groups::<8>(codes, zero_point, count, take),
        _ => {}
    }
}

#[inline(always)]
fn groups<const BITS: usize>(
    codes: &[u8],
    zero_point: i16,
    count: usize,
    mut take: impl FnMut([i16; GROUP]),
) {
    let (words, rest) = codes.as_chunks::<BITS>();
    let whole = count / GROUP;
    for word in words.iter().take(whole) {
        take(whole_group(word, zero_point));
    }
    if !count.is_multiple_of(GROUP) {
        let last = words.get(whole).map_or(rest, |word| word.as_slice());
        take(unpack_group::<BITS>(last, zero_point));
    }
}

/// Eight codes out of `BITS` bytes, by shifts of 32 bits.
#[inline(always)]
fn whole_group<const BITS: usize>(bytes: &[u8; BITS], zero_point: i16) -> [i16; GROUP] {
    let word = |from: usize| {
        let byte = |index: usize| bytes.get(from + index).copied().unwrap_or_default();
        u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
    };
    let mask = (1 << BITS) - 1;
    core::array::from_fn(|index| {
        let bit = index * BITS;
        // A word that starts with the code's first byte holds all of the code.
        let code = word(bit / 8) >> (bit % 8) & mask;
        (code as i16).wrapping_add(zero_point)
    })
}

/// Eight codes out of at most `BITS` bytes; bytes that are missing read as 0.
fn unpack_group<const BITS: usize>(bytes: &[u8], zero_point: i16) -> [i16; GROUP] {
    let mut word = [0; 8];
    for (to, &from) in word.iter_mut().zip(bytes.iter().take(BITS)) {
        *to = from;
    }
    let word = u64::from_le_bytes(word);
    let mask = (1 << BITS) - 1;
    core::array::from_fn(|index| {
        let code = (word >> (index * BITS)) & mask;
        (code as i16).wrapping_add(zero_point)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One bit after the other.
    fn pack(bits: u8, codes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; (codes.len() * usize::from(bits)).div_ceil(8)];
        for (index, code) in codes.iter().enumerate() {
            for bit in 0..usize::from(bits) {
                let place = index * usize::from(bits) + bit;
                bytes[place / 8] |= ((code >> bit) & 1) << (place % 8);
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn every_width_and_length_is_unpacked(
            bits in 2u8..=8,
            raw in proptest::collection::vec(any::<u8>(), 0..70),
            zero_point in -4095i16..=4095,
        ) {
            let mask = ((1u16 << bits) - 1) as u8;
            let codes: Vec<u8> = raw.iter().map(|code| code & mask).collect();
            let mut values = vec![0; codes.len()];
            unpack(bits, &pack(bits, &codes), zero_point, &mut values);
            let expected: Vec<i16> = codes.iter().map(|&code| i16::from(code) + zero_point).collect();
            prop_assert_eq!(values, expected);
        }
    }
}
