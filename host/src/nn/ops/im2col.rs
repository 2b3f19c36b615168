//! Images to matrices of patches, and back.

use super::conv2d::Geometry;

/// Writes the patches of one group's channels: row `(channel, kernel row, kernel column)`, column
/// `(output row, output column)`.
pub(super) fn im2col(geometry: &Geometry, image: &[f32], patches: &mut [f32]) {
    let positions = geometry.positions();
    let rows = patches.chunks_exact_mut(positions).zip(taps(geometry));
    for (row, (channel, ky, kx)) in rows {
        let plane = &image[channel * geometry.plane()..][..geometry.plane()];
        for (oy, line) in row.chunks_exact_mut(geometry.output[1]).enumerate() {
            let Some(source) = source_row(geometry, plane, oy, ky) else {
                line.fill(0.0);
                continue;
            };
            let (from, to) = geometry.columns_inside(kx);
            line[..from].fill(0.0);
            line[to..].fill(0.0);
            if from == to {
                continue;
            }
            let first = from * geometry.stride + kx - geometry.padding.left;
            if geometry.stride == 1 {
                line[from..to].copy_from_slice(&source[first..first + to - from]);
            } else {
                let values = source[first..].iter().step_by(geometry.stride);
                for (target, value) in line[from..to].iter_mut().zip(values) {
                    *target = *value;
                }
            }
        }
    }
}

/// Adds every element of the patches to the pixel that it came from.
pub(super) fn col2im(geometry: &Geometry, patches: &[f32], image: &mut [f32]) {
    let positions = geometry.positions();
    for (row, (channel, ky, kx)) in patches.chunks_exact(positions).zip(taps(geometry)) {
        let plane = &mut image[channel * geometry.plane()..][..geometry.plane()];
        for (oy, line) in row.chunks_exact(geometry.output[1]).enumerate() {
            let Some(y) = geometry.input_row(oy, ky) else {
                continue;
            };
            let (from, to) = geometry.columns_inside(kx);
            if from == to {
                continue;
            }
            let first = y * geometry.input[1] + from * geometry.stride + kx - geometry.padding.left;
            if geometry.stride == 1 {
                let target = &mut plane[first..first + to - from];
                for (target, value) in target.iter_mut().zip(&line[from..to]) {
                    *target += value;
                }
            } else {
                let target = plane[first..].iter_mut().step_by(geometry.stride);
                for (target, value) in target.zip(&line[from..to]) {
                    *target += value;
                }
            }
        }
    }
}

fn taps(geometry: &Geometry) -> impl Iterator<Item = (usize, usize, usize)> {
    let [height, width] = geometry.kernel;
    let channels = geometry.channels_in / geometry.groups;
    (0..channels * height * width)
        .map(move |tap| (tap / (height * width), tap / width % height, tap % width))
}

fn source_row<'a>(
    geometry: &Geometry,
    plane: &'a [f32],
    oy: usize,
    ky: usize,
) -> Option<&'a [f32]> {
    let y = geometry.input_row(oy, ky)?;
    Some(&plane[y * geometry.input[1]..][..geometry.input[1]])
}
