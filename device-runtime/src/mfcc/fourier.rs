//! The Fourier transform of a window: 512 real samples as 256 complex points, the even samples in
//! their real and the odd ones in their imaginary parts.

use super::tables::{HANN, TWIDDLES, WEIGHT_FRACTION};

/// Complex points.
pub(super) const POINTS: usize = 256;

/// Real and imaginary parts.
///
/// A part cannot get larger than the sum of the sizes of all weighted samples, which is at most
/// 240 * 2^23; roundings add less than 2^10 to that.
pub(super) type Spectrum = [[i32; 2]; POINTS];

/// Weights `window`, none of whose samples is larger than `loudest`, and puts it in the order that
/// [`transform`] takes. Returns how far the samples were shifted to the left, 8 to 23.
pub(super) fn load(window: &[i16], loudest: u16, spectrum: &mut Spectrum) -> u32 {
    let bits = u16::BITS - loudest.saturating_sub(1).leading_zeros();
    let shift = 23 - bits;
    let weighted = |sample: i16, weight: i32| {
        rounded(i64::from(i32::from(sample) << shift) * i64::from(weight))
    };
    *spectrum = [[0; 2]; POINTS];
    let (pairs, last) = window.as_chunks::<2>();
    let last = last.first().map(|&sample| [sample, 0]);
    let pairs = pairs.iter().copied().chain(last);
    for (point, ([even, odd], weights)) in pairs.zip(&HANN).enumerate() {
        let place = usize::from((point as u8).reverse_bits());
        spectrum[place] = [weighted(even, weights[0]), weighted(odd, weights[1])];
    }
    shift
}

/// A product with a weight, as an integer again.
fn rounded(product: i64) -> i32 {
    ((product + (1 << (WEIGHT_FRACTION - 1))) >> WEIGHT_FRACTION) as i32
}

/// The complex transform, in place: bit-reversed order goes in, natural order comes out.
pub(super) fn transform(spectrum: &mut Spectrum) {
    for four in spectrum.as_chunks_mut::<4>().0 {
        first_two_stages(four);
    }
    for stage in 2..POINTS.ilog2() {
        for block in spectrum.chunks_exact_mut(2 << stage) {
            merge(block, POINTS >> stage);
        }
    }
}

/// The stages whose factors are 1 and -i.
fn first_two_stages(points: &mut [[i32; 2]; 4]) {
    let [a, b, c, d] = *points;
    let (even, odd) = (add(a, b), subtract(a, b));
    let (later_even, later_odd) = (add(c, d), quarter_turn(subtract(c, d)));
    *points = [
        add(even, later_even),
        add(odd, later_odd),
        subtract(even, later_even),
        subtract(odd, later_odd),
    ];
}

/// Makes one transform of two of half the length. Factors are `step` apart in their table.
fn merge(block: &mut [[i32; 2]], step: usize) {
    // With the factor of a point comes that of the one a quarter turn further.
    let (first, second) = block.split_at_mut(block.len() / 2);
    let (first, first_later) = first.split_at_mut(first.len() / 2);
    let (second, second_later) = second.split_at_mut(second.len() / 2);
    let firsts = first.iter_mut().zip(first_later);
    let seconds = second.iter_mut().zip(second_later);
    for (index, ((a, a_later), (b, b_later))) in firsts.zip(seconds).enumerate() {
        let twiddle = TWIDDLES[index * step % TWIDDLES.len()];
        butterfly(a, b, turned(*b, twiddle));
        butterfly(a_later, b_later, quarter_turn(turned(*b_later, twiddle)));
    }
}

fn butterfly(sum: &mut [i32; 2], difference: &mut [i32; 2], turned: [i32; 2]) {
    *difference = subtract(*sum, turned);
    *sum = add(*sum, turned);
}

fn add(a: [i32; 2], b: [i32; 2]) -> [i32; 2] {
    [a[0] + b[0], a[1] + b[1]]
}

fn subtract(a: [i32; 2], b: [i32; 2]) -> [i32; 2] {
    [a[0] - b[0], a[1] - b[1]]
}

/// Times -i.
fn quarter_turn(point: [i32; 2]) -> [i32; 2] {
    [point[1], -point[0]]
}

/// Times `cosine - i sine`.
fn turned(point: [i32; 2], [cosine, sine]: [i32; 2]) -> [i32; 2] {
    let [re, im] = point.map(i64::from);
    let (cosine, sine) = (i64::from(cosine), i64::from(sine));
    [
        rounded(re * cosine + im * sine),
        rounded(im * cosine - re * sine),
    ]
}

/// Sizes of the real transform's numbers 1 to 127, which are those of 31.25 to 3968.75 Hz.
pub(super) fn magnitudes(spectrum: &Spectrum) -> impl Iterator<Item = u32> {
    let mirrored = spectrum[POINTS / 2 + 1..].iter().rev();
    let pairs = spectrum[1..POINTS / 2].iter().zip(mirrored);
    pairs
        .zip(&TWIDDLES[1..])
        .map(|((&point, &mirrored), &twiddle)| {
            // Halves, so that their sum is the mean.
            let [point, mirrored] = [point, mirrored].map(|point| point.map(|part| part >> 1));
            let even = [point[0] + mirrored[0], point[1] - mirrored[1]];
            let odd = [point[1] + mirrored[1], mirrored[0] - point[0]];
            magnitude(add(even, turned(odd, twiddle)))
        })
}

/// Rounded down; of large ones, the leading 15 bits are right.
fn magnitude([re, im]: [i32; 2]) -> u32 {
    let square = |part: i32| u64::from(part.unsigned_abs()) * u64::from(part.unsigned_abs());
    let squared = square(re) + square(im);
    let excess = u32::BITS
        .saturating_sub(squared.leading_zeros())
        .next_multiple_of(2);
    ((squared >> excess) as u32).isqrt() << (excess / 2)
}
