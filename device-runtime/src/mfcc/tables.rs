//! Constants of the front end, computed by the compiler, in integers.

use super::bands::BANDS;
use super::{COEFFICIENTS, SAMPLE_RATE, WINDOW};

/// Bits behind the point of [`HANN`] and [`TWIDDLES`].
pub(super) const WEIGHT_FRACTION: u32 = 30;
/// Bits behind the point of [`MEL`].
pub(super) const MEL_FRACTION: u32 = 16;
/// Bits behind the point of logarithms.
pub(super) const LOG2_FRACTION: u32 = 20;
/// Bits behind the point of [`COSINES`].
pub(super) const COSINE_FRACTION: u32 = 14;

/// Points of the real Fourier transform.
const TRANSFORM: i128 = 512;

/// The periodic Hann window, `(1 - cos(2 pi n / 480)) / 2`, in pairs.
pub(super) static HANN: [[i32; 2]; WINDOW / 2] = {
    let mut table = [[0; 2]; WINDOW / 2];
    let mut n = 0;
    while n < WINDOW {
        let cosine = cosine(2 * n as i128, WINDOW as i128);
        table[n / 2][n % 2] = rounded((ONE - cosine) / 2, WEIGHT_FRACTION) as i32;
        n += 1;
    }
    table
};

/// Cosine and sine of `2 pi n / 512`, a quarter turn of them.
pub(super) static TWIDDLES: [[i32; 2]; 128] = {
    let mut table = [[0; 2]; 128];
    let mut n = 0;
    while n < table.len() as i128 {
        let sine = cosine(TRANSFORM / 2 - 2 * n, TRANSFORM);
        table[n as usize] = [
            rounded(cosine(2 * n, TRANSFORM), WEIGHT_FRACTION) as i32,
            rounded(sine, WEIGHT_FRACTION) as i32,
        ];
        n += 1;
    }
    table
};

/// Where the transform's numbers 1 to 127 lie on the mel scale: at 0 is 20 Hz, at 41 are 4000 Hz,
/// and the middle of band `i` is at `i + 1`.
pub(super) static MEL: [u32; 127] = {
    // A mel is proportional to log(1 + frequency / 700).
    let lowest = log2(700 + 20, 700);
    let highest = log2(700 + 4000, 700);
    let mut table = [0; 127];
    let mut n = 0;
    while n < table.len() {
        let hertz = (n as i128 + 1) * SAMPLE_RATE as i128;
        let above = log2(700 * TRANSFORM + hertz, 700 * TRANSFORM) - lowest;
        let position = above * ONE / (highest - lowest) * (BANDS as i128 + 1);
        table[n] = rounded(position, MEL_FRACTION) as u32;
        n += 1;
    }
    table
};

/// `log2(1 + n / 64)`.
pub(super) static LOG2: [u32; 65] = {
    let mut table = [0; 65];
    let mut n = 0;
    while n < table.len() {
        table[n] = rounded(log2(64 + n as i128, 64), LOG2_FRACTION) as u32;
        n += 1;
    }
    table
};

/// `log2(10^6)`, with [`LOG2_FRACTION`] bits behind the point.
pub(super) const LOG2_MILLION: i64 = rounded(log2(1_000_000, 1), LOG2_FRACTION) as i64;

/// `ln(2) * sqrt(2 / 40)`, what an octave in one band adds to coefficient 0, with 48 bits behind
/// the point.
pub(super) const OCTAVE: u64 = 43_626_488_207_957;

/// `cos(pi k (n + 1/2) / 40)` for every coefficient `k` and the first half of the bands `n`.
pub(super) static COSINES: [[i16; BANDS / 2]; COEFFICIENTS] = {
    let mut table = [[0; BANDS / 2]; COEFFICIENTS];
    let mut k = 0;
    while k < table.len() {
        let mut n = 0;
        while n < table[k].len() {
            let cosine = cosine((k * (2 * n + 1)) as i128, 2 * BANDS as i128);
            table[k][n] = rounded(cosine, COSINE_FRACTION) as i16;
            n += 1;
        }
        k += 1;
    }
    table
};

/// Bits behind the point of the numbers that tables are computed with.
const FRACTION: u32 = 60;
const ONE: i128 = 1 << FRACTION;
const PI: i128 = 3_622_009_729_038_561_421;

const fn rounded(value: i128, fraction: u32) -> i128 {
    let dropped = FRACTION - fraction;
    (value + (1 << (dropped - 1))) >> dropped
}

/// `cos(pi numerator / denominator)`, by its series.
const fn cosine(numerator: i128, denominator: i128) -> i128 {
    let turn = numerator % (2 * denominator);
    let half_turn = if turn > denominator {
        2 * denominator - turn
    } else {
        turn
    };
    let angle = PI * half_turn / denominator;
    let squared = (angle * angle) >> FRACTION;
    let (mut sum, mut term, mut n) = (0, ONE, 0);
    while term != 0 {
        sum += term;
        term = -((term * squared) >> FRACTION) / ((n + 1) * (n + 2));
        n += 2;
    }
    sum
}

/// `log2(numerator / denominator)`, at least 0, bit by bit: squaring a number doubles its
/// logarithm.
const fn log2(numerator: i128, denominator: i128) -> i128 {
    let mut whole = 0;
    while numerator >> (whole + 1) >= denominator {
        whole += 1;
    }
    let mut value = (numerator << FRACTION) / (denominator << whole);
    let mut result = (whole as i128) << FRACTION;
    let mut bit = ONE >> 1;
    // Errors double with the logarithm; the last bits would be noise.
    while bit > 1 << 16 {
        value = (value * value) >> FRACTION;
        if value >= 2 * ONE {
            value >>= 1;
            result += bit;
        }
        bit >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use core::f64::consts::{LN_2, PI};

    use super::*;

    /// Not further off than rounding to `fraction` bits puts it.
    #[track_caller]
    fn assert_rounded(entry: impl Into<f64>, fraction: u32, exact: f64) {
        let scaled = exact * f64::from(1u32 << fraction);
        let entry = entry.into();
        assert!((entry - scaled).abs() < 0.501, "{entry}, not {scaled}");
    }

    fn mel(hertz: f64) -> f64 {
        1127.0 * (1.0 + hertz / 700.0).ln()
    }

    #[test]
    fn tables_are_what_they_say() {
        for (n, &entry) in HANN.as_flattened().iter().enumerate() {
            let exact = 0.5 - 0.5 * (2.0 * PI * n as f64 / 480.0).cos();
            assert_rounded(entry, WEIGHT_FRACTION, exact);
        }
        for (n, &[cosine, sine]) in TWIDDLES.iter().enumerate() {
            let angle = 2.0 * PI * n as f64 / 512.0;
            assert_rounded(cosine, WEIGHT_FRACTION, angle.cos());
            assert_rounded(sine, WEIGHT_FRACTION, angle.sin());
        }
        for (n, &entry) in MEL.iter().enumerate() {
            let above = mel((n + 1) as f64 * 31.25) - mel(20.0);
            let exact = 41.0 * above / (mel(4000.0) - mel(20.0));
            assert_rounded(entry, MEL_FRACTION, exact);
        }
        for (n, &entry) in LOG2.iter().enumerate() {
            assert_rounded(entry, LOG2_FRACTION, (1.0 + n as f64 / 64.0).log2());
        }
        for (k, row) in COSINES.iter().enumerate() {
            for (n, &entry) in row.iter().enumerate() {
                let exact = (PI * k as f64 * (n as f64 + 0.5) / 40.0).cos();
                assert_rounded(entry, COSINE_FRACTION, exact);
            }
        }
        assert_rounded(LOG2_MILLION as f64, LOG2_FRACTION, 1e6f64.log2());
        let octave = LN_2 * (2.0f64 / 40.0).sqrt() * (1u64 << 48) as f64;
        assert!((OCTAVE as f64 - octave).abs() < 0.51);
    }
}
