//! Convolution of an enlarged image, computed on the small one.
//!
//! Nearest-neighbour upsampling makes `factor` x `factor` copies of every pixel. Taps of the kernel
//! that fall on copies of one pixel are one tap with the sum of their weights, and which taps these
//! are depends only on the position of the output within its square of copies:
//!
//! ```text
//! output rows        2y        2y + 1          factor 2, kernel 3, padding 1
//! row y - 1 of x     w0
//! row y              w1 + w2   w0 + w1
//! row y + 1                    w2
//! ```
//! So the outputs of each position are a convolution of the small image: here four of 2 x 2 taps in
//! place of one of 3 x 3 on four times the pixels, 2.25 times fewer products in all three passes.

use candle_core::Tensor;

use super::conv2d::Geometry;
use super::correlation::Correlation;
use super::outer_product::OuterProduct;
use super::packed::Packed;
use crate::graph::{Conv2d, Padding};
use crate::nn::values::{tensor, values};
use crate::nn::{Error, Result};

/// Sizes of a convolution of an image that is enlarged first.
struct Enlarged {
    factor: usize,
    /// Of the convolution, on the enlarged image.
    geometry: Geometry,
    /// Rows and columns of the small image.
    small: [usize; 2],
    axes: [Axis; 2],
}

/// Rows or columns.
struct Axis {
    /// For each position within a square of copies, what the outputs there read.
    positions: Vec<Vec<Reading>>,
    /// Pixels needed before the first and after the last of the small image.
    padding: [usize; 2],
    /// Outputs needed before the first and after the last in the gradient of the small image.
    gradient_padding: [usize; 2],
}

/// Taps of the kernel that read the same small pixel.
struct Reading {
    taps: Vec<usize>,
    /// The pixel minus that of the output.
    distance: isize,
}

/// A sum of taps that reads one pixel of a channel.
struct Cell {
    /// Row and column relative to the first that is stored.
    place: [usize; 2],
    /// Taps within a channel of the kernel.
    taps: Vec<usize>,
}

impl Axis {
    fn new(factor: usize, kernel: usize, before: usize, small: usize, output: usize) -> Self {
        let position = |position: usize| {
            let mut readings: Vec<Reading> = Vec::new();
            for tap in 0..kernel {
                let place = (position + tap) as isize - before as isize;
                let distance = place.div_euclid(factor as isize);
                match readings.last_mut() {
                    Some(last) if last.distance == distance => last.taps.push(tap),
                    _ => readings.push(Reading {
                        taps: vec![tap],
                        distance,
                    }),
                }
            }
            readings
        };
        let positions = (0..factor).map(position).collect::<Vec<_>>();
        let (small, output, factor) = (small as isize, output as isize, factor as isize);
        let distances = positions.iter().flatten().map(|reading| reading.distance);
        let last = (output - 1).div_euclid(factor) + distances.clone().max().unwrap_or(0);
        let first = distances.min().unwrap_or(0);
        let outputs = positions
            .iter()
            .enumerate()
            .flat_map(|(position, readings)| {
                readings
                    .iter()
                    .map(move |reading| position as isize - factor * reading.distance)
            });
        let last_output = factor * (small - 1) + outputs.clone().max().unwrap_or(0);
        let first_output = outputs.min().unwrap_or(0);
        let missing = |count: isize| count.max(0) as usize;
        Self {
            padding: [missing(-first), missing(last - (small - 1))],
            gradient_padding: [missing(-first_output), missing(last_output - (output - 1))],
            positions,
        }
    }
}

impl Enlarged {
    fn new(conv: &Conv2d, factor: usize, input: &[usize]) -> Result<Self> {
        let (&[batch, channels, height, width], true, 1) = (input, factor > 0, conv.stride) else {
            let expected = "an image to enlarge and a convolution of stride 1";
            return Err(Error::shape("upsampled conv2d", expected, input));
        };
        let large = [batch, channels, height * factor, width * factor];
        let geometry = Geometry::new(conv, &large)?;
        let axis = |axis: usize, before: usize, small: usize| {
            Axis::new(
                factor,
                geometry.kernel[axis],
                before,
                small,
                geometry.output[axis],
            )
        };
        let Padding { top, left, .. } = conv.padding;
        Ok(Self {
            factor,
            geometry,
            small: [height, width],
            axes: [axis(0, top, height), axis(1, left, width)],
        })
    }

    fn small_shape(&self) -> [usize; 4] {
        let Geometry {
            batch, channels_in, ..
        } = self.geometry;
        [batch, channels_in, self.small[0], self.small[1]]
    }

    /// Positions within a square of copies.
    fn positions(&self) -> impl Iterator<Item = [usize; 2]> + use<> {
        let factor = self.factor;
        (0..factor * factor).map(move |index| [index / factor, index % factor])
    }

    fn packed(&self, small: &[f32]) -> Packed {
        let [rows, columns] = [0, 1].map(|axis| self.axes[axis].padding);
        Packed::new(small, self.small_shape(), around(rows, columns))
    }

    /// What the outputs at `position` read of a channel of the small image.
    fn cells(&self, position: [usize; 2]) -> Vec<Cell> {
        let readings = [0, 1].map(|axis: usize| &self.axes[axis].positions[position[axis]]);
        let stored = |axis: usize, distance: isize| {
            (distance + self.axes[axis].padding[0] as isize) as usize
        };
        let cells = readings[0].iter().flat_map(|row| {
            readings[1].iter().map(move |column| Cell {
                place: [stored(0, row.distance), stored(1, column.distance)],
                taps: self.joined(row, column),
            })
        });
        cells.collect()
    }

    /// What a pixel of the small image reads of a channel of the gradient.
    fn gradient_cells(&self) -> Vec<Cell> {
        let stored = |axis: usize, position: usize, reading: &Reading| {
            let output = position as isize - self.factor as isize * reading.distance;
            (output + self.axes[axis].gradient_padding[0] as isize) as usize
        };
        let mut cells = Vec::new();
        for [y, x] in self.positions() {
            for row in &self.axes[0].positions[y] {
                for column in &self.axes[1].positions[x] {
                    cells.push(Cell {
                        place: [stored(0, y, row), stored(1, x, column)],
                        taps: self.joined(row, column),
                    });
                }
            }
        }
        cells.sort_unstable_by_key(|cell| cell.place);
        cells
    }

    fn joined(&self, row: &Reading, column: &Reading) -> Vec<usize> {
        let width = self.geometry.kernel[1];
        let taps = row.taps.iter();
        taps.flat_map(|ky| column.taps.iter().map(move |kx| ky * width + kx))
            .collect()
    }

    /// Outputs at `position` in rows and columns.
    fn outputs(&self, position: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis: usize| {
            let behind = self.geometry.output[axis].saturating_sub(position[axis]);
            behind.div_ceil(self.factor)
        })
    }

    fn kernel_area(&self) -> usize {
        self.geometry.kernel[0] * self.geometry.kernel[1]
    }
}

fn around([top, bottom]: [usize; 2], [left, right]: [usize; 2]) -> Padding {
    Padding {
        top,
        left,
        bottom,
        right,
    }
}

/// Where the cells of `channels` channels lie in an image of `size` rows and columns.
fn offsets(cells: &[Cell], channels: usize, size: [usize; 2]) -> Vec<usize> {
    let channels = 0..channels;
    let of_channel = |channel: usize| {
        let place =
            move |cell: &Cell| (channel * size[0] + cell.place[0]) * size[1] + cell.place[1];
        cells.iter().map(place)
    };
    channels.flat_map(of_channel).collect()
}

/// `y = w * upsample(x) + bias`.
///
/// # Errors
/// When the shapes do not fit or the convolution's stride is not 1.
pub fn forward(conv: &Conv2d, weight: &Tensor, factor: usize, input: &Tensor) -> Result<Tensor> {
    let enlarged = Enlarged::new(conv, factor, input.dims())?;
    let geometry = &enlarged.geometry;
    let (x, w) = (values(input)?, values(weight)?);
    let bias = conv.bias.as_ref().map(values).transpose()?;
    let x = enlarged.packed(&x);
    let correlation = Correlation {
        input: &x,
        groups: geometry.groups,
        group_inputs: geometry.group_inputs(),
        group_outputs: geometry.group_outputs(),
        stride: 1,
        step: factor,
        output: geometry.output,
        bias: bias.as_deref(),
    };
    let area = enlarged.kernel_area();
    let phase = |position| {
        let cells = enlarged.cells(position);
        let offsets = offsets(&cells, geometry.group_inputs(), x.size);
        correlation.phase(position, offsets, |output, index| {
            let (input, cell) = (index / cells.len(), &cells[index % cells.len()]);
            let kernel = &w[(output * geometry.group_inputs() + input) * area..][..area];
            cell.taps.iter().map(|tap| kernel[*tap]).sum()
        })
    };
    let phases = enlarged.positions().map(phase).collect::<Vec<_>>();
    let output = correlation.compute(&phases, geometry.batch);
    tensor(output, &geometry.output_shape())
}

/// Gradient with respect to the small image, whose shape is `input_shape`.
///
/// # Errors
/// When the shapes do not fit or the convolution's stride is not 1.
pub fn backward_input(
    conv: &Conv2d,
    weight: &Tensor,
    factor: usize,
    input_shape: &[usize],
    gradient: &Tensor,
) -> Result<Tensor> {
    let enlarged = Enlarged::new(conv, factor, input_shape)?;
    let geometry = &enlarged.geometry;
    let (g, w) = (values(gradient)?, values(weight)?);
    let [rows, columns] = [0, 1].map(|axis: usize| enlarged.axes[axis].gradient_padding);
    let g = Packed::new(&g, geometry.output_shape(), around(rows, columns));
    let (group_inputs, group_outputs) = (geometry.group_inputs(), geometry.group_outputs());
    let correlation = Correlation {
        input: &g,
        groups: geometry.groups,
        group_inputs: group_outputs,
        group_outputs: group_inputs,
        stride: factor,
        step: 1,
        output: enlarged.small,
        bias: None,
    };
    let (cells, area) = (enlarged.gradient_cells(), enlarged.kernel_area());
    let offsets = offsets(&cells, group_outputs, g.size);
    let phase = correlation.phase([0, 0], offsets, |channel, index| {
        let (group, input) = (channel / group_inputs, channel % group_inputs);
        let (output, cell) = (index / cells.len(), &cells[index % cells.len()]);
        let output = group * group_outputs + output;
        let kernel = &w[(output * group_inputs + input) * area..][..area];
        cell.taps.iter().map(|tap| kernel[*tap]).sum()
    });
    let output = correlation.compute(&[phase], geometry.batch);
    tensor(output, &enlarged.small_shape())
}

/// Gradient with respect to the weight, for the small image `input`.
///
/// # Errors
/// When the shapes do not fit or the convolution's stride is not 1.
pub fn backward_weight(
    conv: &Conv2d,
    factor: usize,
    input: &Tensor,
    gradient: &Tensor,
) -> Result<Tensor> {
    let enlarged = Enlarged::new(conv, factor, input.dims())?;
    let geometry = &enlarged.geometry;
    let (x, g) = (values(input)?, values(gradient)?);
    let x = enlarged.packed(&x);
    let g = Packed::new(&g, geometry.output_shape(), Padding::default());
    let (group_inputs, rows) = (geometry.group_inputs(), geometry.group_outputs());
    let area = enlarged.kernel_area();
    let mut total = vec![0f32; geometry.channels_out * group_inputs * area];
    for position in enlarged.positions() {
        let (pixels, cells) = (enlarged.outputs(position), enlarged.cells(position));
        if pixels.contains(&0) {
            continue;
        }
        let offsets = offsets(&cells, group_inputs, x.size);
        for group in 0..geometry.groups {
            let product = OuterProduct {
                left: &g,
                left_start: position,
                left_stride: factor,
                pixels,
                right: &x,
                right_stride: 1,
                rows: group * rows..(group + 1) * rows,
                first_right: group * group_inputs,
                offsets: &offsets,
            };
            let total = &mut total[group * rows * group_inputs * area..];
            let kernels = total.chunks_exact_mut(area);
            for (kernel, sums) in kernels.zip(product.compute().chunks_exact(cells.len())) {
                for (cell, sum) in cells.iter().zip(sums) {
                    cell.taps.iter().for_each(|tap| kernel[*tap] += sum);
                }
            }
        }
    }
    tensor(total, conv.weight.dims())
}
