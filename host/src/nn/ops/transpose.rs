//! Squares of 16 x 16 numbers, transposed in registers where the machine has AVX-512: the way of
//! 16 images into vectors of 16 samples and back.

use super::buffer::LINE;

/// Calls `work` with a function that transposes, compiled for this machine.
pub(super) fn with_transpose(work: impl Transposing) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V4::try_new() {
        simd.vectorize(Avx512 { simd, work });
        return;
    }
    work.run(plain);
}

/// What needs squares transposed.
pub(super) trait Transposing {
    /// Does its work with `transpose`; to be marked `#[inline(always)]`.
    fn run(self, transpose: impl Fn(&mut [[f32; LINE]; LINE]));
}

fn plain(square: &mut [[f32; LINE]; LINE]) {
    for row in 1..LINE {
        let (above, below) = square.split_at_mut(row);
        for (column, other) in above.iter_mut().enumerate() {
            std::mem::swap(&mut other[row], &mut below[0][column]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
struct Avx512<Work> {
    simd: pulp::x86::V4,
    work: Work,
}

#[cfg(target_arch = "x86_64")]
impl<Work: Transposing> pulp::NullaryFnOnce for Avx512<Work> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let simd = self.simd;
        self.work.run(
            #[inline(always)]
            |square| avx512(simd, square),
        );
    }
}

/// Exchanges the lowest bit of the row's index with that of the column's, then the second, then
/// both upper ones at once in blocks of four numbers.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn avx512(simd: pulp::x86::V4, square: &mut [[f32; LINE]; LINE]) {
    use std::arch::x86_64::__m512;

    let avx = simd.avx512f;
    let mut rows = square.map(bytemuck::cast::<[f32; LINE], __m512>);
    for pair in rows.as_chunks_mut::<2>().0 {
        let [a, b] = *pair;
        *pair = [avx._mm512_unpacklo_ps(a, b), avx._mm512_unpackhi_ps(a, b)];
    }
    for four in rows.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = four.map(|row| avx._mm512_castps_pd(row));
        *four = [
            avx._mm512_unpacklo_pd(a, c),
            avx._mm512_unpackhi_pd(a, c),
            avx._mm512_unpacklo_pd(b, d),
            avx._mm512_unpackhi_pd(b, d),
        ]
        .map(|row| avx._mm512_castpd_ps(row));
    }
    for column in 0..4 {
        let [a, b, c, d] = [0, 4, 8, 12].map(|group| rows[group + column]);
        let even = [
            avx._mm512_shuffle_f32x4::<0x88>(a, b),
            avx._mm512_shuffle_f32x4::<0x88>(c, d),
        ];
        let odd = [
            avx._mm512_shuffle_f32x4::<0xdd>(a, b),
            avx._mm512_shuffle_f32x4::<0xdd>(c, d),
        ];
        square[column] = bytemuck::cast(avx._mm512_shuffle_f32x4::<0x88>(even[0], even[1]));
        square[column + 4] = bytemuck::cast(avx._mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]));
        square[column + 8] = bytemuck::cast(avx._mm512_shuffle_f32x4::<0xdd>(even[0], even[1]));
        square[column + 12] = bytemuck::cast(avx._mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Check;

    impl Transposing for Check {
        fn run(self, transpose: impl Fn(&mut [[f32; LINE]; LINE])) {
            let number = |row: usize, column: usize| (row * LINE + column) as f32;
            let square =
                || std::array::from_fn(|row| std::array::from_fn(|column| number(row, column)));
            let mut once = square();
            transpose(&mut once);
            for (row, line) in once.iter().enumerate() {
                for (column, value) in line.iter().enumerate() {
                    assert_eq!(*value, number(column, row), "row {row}, column {column}");
                }
            }
        }
    }

    #[test]
    fn rows_become_columns() {
        Check.run(plain);
        with_transpose(Check);
    }
}
