//! Convolution and its gradients, on images with the samples innermost.

use candle_core::Tensor;

use super::correlation::Correlation;
use super::depthwise;
use super::outer_product::OuterProduct;
use super::packed::Packed;
use super::slices::sum;
use crate::graph::{Conv2d, Padding};
use crate::nn::values::{tensor, values};
use crate::nn::{Error, Result};

/// All sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Images.
    pub batch: usize,
    /// Channels read.
    pub channels_in: usize,
    /// Channels written.
    pub channels_out: usize,
    /// Rows and columns read.
    pub input: [usize; 2],
    /// Rows and columns written.
    pub output: [usize; 2],
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Step in rows and columns.
    pub stride: usize,
    /// Zeros around the image.
    pub padding: Padding,
    /// Channel groups.
    pub groups: usize,
}

impl Geometry {
    /// Sizes of `conv` applied to an image of shape `input`.
    ///
    /// # Errors
    /// [`Error::Shape`] when they do not fit.
    pub fn new(conv: &Conv2d, input: &[usize]) -> Result<Self> {
        let &[batch, channels_in, height, width] = input else {
            return Err(Error::shape(
                "conv2d",
                "an image [batch, channels, height, width]",
                input,
            ));
        };
        let &[channels_out, group_channels, kernel_height, kernel_width] = conv.weight.dims()
        else {
            return Err(Error::shape(
                "conv2d",
                "a weight of rank 4",
                conv.weight.dims(),
            ));
        };
        let (groups, padding, stride) = (conv.groups, conv.padding, conv.stride);
        let divides = groups > 0 && channels_out.is_multiple_of(groups);
        if !divides || group_channels * groups != channels_in || stride == 0 {
            let expected = format!("{} channels", group_channels * groups);
            return Err(Error::shape("conv2d", expected, input));
        }
        let padded = [
            height + padding.top + padding.bottom,
            width + padding.left + padding.right,
        ];
        if padded[0] < kernel_height || padded[1] < kernel_width {
            let expected = format!("at least {kernel_height} x {kernel_width} pixels with padding");
            return Err(Error::shape("conv2d", expected, input));
        }
        Ok(Self {
            batch,
            channels_in,
            channels_out,
            input: [height, width],
            output: [
                (padded[0] - kernel_height) / stride + 1,
                (padded[1] - kernel_width) / stride + 1,
            ],
            kernel: [kernel_height, kernel_width],
            stride,
            padding,
            groups,
        })
    }

    /// Elements of the output.
    #[must_use]
    pub fn output_shape(&self) -> [usize; 4] {
        [
            self.batch,
            self.channels_out,
            self.output[0],
            self.output[1],
        ]
    }

    fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.channels_in, self.input[0], self.input[1]]
    }

    fn taps(&self) -> usize {
        self.channels_in / self.groups * self.kernel[0] * self.kernel[1]
    }

    /// Where the taps of one group lie relative to the first in an image of `size` rows and columns.
    fn tap_offsets(&self, size: [usize; 2]) -> Vec<usize> {
        let [height, width] = self.kernel;
        let tap = |tap: usize| {
            let (channel, ky, kx) = (tap / (height * width), tap / width % height, tap % width);
            (channel * size[0] + ky) * size[1] + kx
        };
        (0..self.taps()).map(tap).collect()
    }

    /// Which outputs each pixel of the input takes part in, in rows (`axis` 0) or columns (1).
    fn reach(&self, axis: usize) -> Reach {
        let before = [self.padding.top, self.padding.left][axis];
        let (input, output) = (self.input[axis] as isize, self.output[axis] as isize);
        let stride = self.stride as isize;
        let distances = (0..stride).map(|first| {
            let kernel = (0..self.kernel[axis]).filter_map(move |tap| {
                let distance = first + before as isize - tap as isize;
                (distance % stride == 0).then_some((tap, distance / stride))
            });
            kernel.collect::<Vec<_>>()
        });
        let distances = distances.collect::<Vec<_>>();
        let all = || distances.iter().flatten().map(|(_, distance)| *distance);
        let lowest = all().min().unwrap_or(0).min(0);
        let highest = (input - 1) / stride + all().max().unwrap_or(0);
        let shifted = |(tap, distance): &(usize, isize)| (*tap, (distance - lowest) as usize);
        Reach {
            before: -lowest as usize,
            after: (highest - (output - 1)).max(0) as usize,
            taps: distances
                .iter()
                .map(|taps| taps.iter().map(shifted).collect())
                .collect(),
        }
    }

    pub(super) fn group_inputs(&self) -> usize {
        self.channels_in / self.groups
    }

    pub(super) fn group_outputs(&self) -> usize {
        self.channels_out / self.groups
    }
}

/// The outputs that the pixels of an input take part in, along one axis.
struct Reach {
    /// Zeros needed before the first output.
    before: usize,
    /// Zeros needed after the last output.
    after: usize,
    /// For the pixels `first`, `first + stride`, ...: the taps that reach an output, each with
    /// where that output of the first pixel lies behind the zeros.
    taps: Vec<Vec<(usize, usize)>>,
}

/// `y = w * x + bias`.
///
/// # Errors
/// When the shapes do not fit.
pub fn forward(conv: &Conv2d, weight: &Tensor, input: &Tensor) -> Result<Tensor> {
    let geometry = Geometry::new(conv, input.dims())?;
    let (x, w) = (values(input)?, values(weight)?);
    let bias = conv.bias.as_ref().map(values).transpose()?;
    if depthwise::applies(&geometry) {
        let output = depthwise::forward(&geometry, &x, &w, bias.as_deref());
        return tensor(output, &geometry.output_shape());
    }
    let x = Packed::new(&x, geometry.input_shape(), geometry.padding);
    let correlation = Correlation {
        input: &x,
        groups: geometry.groups,
        group_inputs: geometry.group_inputs(),
        group_outputs: geometry.group_outputs(),
        stride: geometry.stride,
        step: 1,
        output: geometry.output,
        bias: bias.as_deref(),
    };
    let taps = geometry.taps();
    let phase = correlation.phase([0, 0], geometry.tap_offsets(x.size), |channel, tap| {
        w[channel * taps + tap]
    });
    let output = correlation.compute(&[phase], geometry.batch);
    tensor(output, &geometry.output_shape())
}

/// Gradient with respect to the input.
///
/// # Errors
/// When the shapes do not fit.
pub fn backward_input(
    conv: &Conv2d,
    weight: &Tensor,
    input_shape: &[usize],
    gradient: &Tensor,
) -> Result<Tensor> {
    let geometry = Geometry::new(conv, input_shape)?;
    let (g, w) = (values(gradient)?, values(weight)?);
    if depthwise::applies(&geometry)
        && let Some(input) = depthwise::backward_input(&geometry, &g, &w)
    {
        return tensor(input, &geometry.input_shape());
    }
    let (rows, columns) = (geometry.reach(0), geometry.reach(1));
    let padding = Padding {
        top: rows.before,
        left: columns.before,
        bottom: rows.after,
        right: columns.after,
    };
    let g = Packed::new(&g, geometry.output_shape(), padding);
    let (group_inputs, group_outputs) = (geometry.group_inputs(), geometry.group_outputs());
    let correlation = Correlation {
        input: &g,
        groups: geometry.groups,
        group_inputs: group_outputs,
        group_outputs: group_inputs,
        stride: 1,
        step: geometry.stride,
        output: geometry.input,
        bias: None,
    };
    let area = geometry.kernel[0] * geometry.kernel[1];
    let mut phases = Vec::new();
    for (row, row_taps) in rows.taps.iter().enumerate() {
        for (column, column_taps) in columns.taps.iter().enumerate() {
            let (mut offsets, mut taps) = (Vec::new(), Vec::new());
            for output in 0..group_outputs {
                for (ky, y) in row_taps {
                    for (kx, x) in column_taps {
                        offsets.push((output * g.size[0] + y) * g.size[1] + x);
                        taps.push((output, ky * geometry.kernel[1] + kx));
                    }
                }
            }
            phases.push(correlation.phase([row, column], offsets, |channel, index| {
                let (group, input) = (channel / group_inputs, channel % group_inputs);
                let (output, tap) = taps[index];
                w[((group * group_outputs + output) * group_inputs + input) * area + tap]
            }));
        }
    }
    let output = correlation.compute(&phases, geometry.batch);
    tensor(output, &geometry.input_shape())
}

/// Gradient with respect to the weight.
///
/// # Errors
/// When the shapes do not fit.
pub fn backward_weight(conv: &Conv2d, input: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let geometry = Geometry::new(conv, input.dims())?;
    let (x, g) = (values(input)?, values(gradient)?);
    let group_channels = geometry.group_inputs();
    let [height, width] = geometry.kernel;
    let shape = [geometry.channels_out, group_channels, height, width];
    if depthwise::applies(&geometry) {
        return tensor(depthwise::backward_weight(&geometry, &x, &g), &shape);
    }
    let x = Packed::new(&x, geometry.input_shape(), geometry.padding);
    let g = Packed::new(&g, geometry.output_shape(), Padding::default());
    let offsets = geometry.tap_offsets(x.size);
    let rows = geometry.group_outputs();
    let mut total = Vec::with_capacity(geometry.channels_out * geometry.taps());
    for group in 0..geometry.groups {
        let product = OuterProduct {
            left: &g,
            left_start: [0, 0],
            left_stride: 1,
            pixels: geometry.output,
            right: &x,
            right_stride: geometry.stride,
            rows: group * rows..(group + 1) * rows,
            first_right: group * geometry.group_inputs(),
            offsets: &offsets,
        };
        total.extend(product.compute());
    }
    tensor(total, &shape)
}

/// Gradient with respect to the bias: the sum over batch, rows and columns.
///
/// # Errors
/// When the gradient is no image.
pub fn backward_bias(gradient: &Tensor) -> Result<Tensor> {
    let &[_, channels, height, width] = gradient.dims() else {
        return Err(Error::shape("conv2d bias", "an image", gradient.dims()));
    };
    let g = values(gradient)?;
    let mut total = vec![0f32; channels];
    for (index, plane) in g.chunks_exact(height * width).enumerate() {
        total[index % channels] += sum(plane);
    }
    tensor(total, &[channels])
}
