//! Convolution as matrix products with patches, image by image.

use candle_core::Tensor;
use rayon::prelude::*;

use super::im2col::{col2im, im2col};
use super::matmul::{Matrix, matmul};
use super::outer_product::OuterProduct;
use super::packed::Packed;
use super::{sum, vectorized};
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

    pub(super) fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }

    pub(super) fn plane(&self) -> usize {
        self.input[0] * self.input[1]
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

    fn image_in(&self) -> usize {
        self.channels_in * self.plane()
    }

    fn image_out(&self) -> usize {
        self.channels_out * self.positions()
    }

    /// Patches of an unpadded 1x1 convolution are the image itself.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == 1 && self.padding == Padding::default()
    }

    pub(super) fn input_row(&self, oy: usize, ky: usize) -> Option<usize> {
        let y = (oy * self.stride + ky).checked_sub(self.padding.top)?;
        (y < self.input[0]).then_some(y)
    }

    /// Output columns `from..to` whose tap in kernel column `kx` lies within the image.
    pub(super) fn columns_inside(&self, kx: usize) -> (usize, usize) {
        let columns = self.output[1];
        let from = self
            .padding
            .left
            .saturating_sub(kx)
            .div_ceil(self.stride)
            .min(columns);
        let end = (self.input[1] + self.padding.left)
            .saturating_sub(kx)
            .div_ceil(self.stride);
        (from, end.clamp(from, columns))
    }
}

/// `y = w * x + bias`.
///
/// # Errors
/// When the shapes do not fit.
pub fn forward(conv: &Conv2d, weight: &Tensor, input: &Tensor) -> Result<Tensor> {
    let geometry = Geometry::new(conv, input.dims())?;
    let (x, w) = (values(input)?, values(weight)?);
    let bias = conv.bias.as_ref().map(values).transpose()?;
    let mut output = vec![0f32; geometry.batch * geometry.image_out()];
    let images = output
        .par_chunks_mut(geometry.image_out())
        .zip(x.par_chunks(geometry.image_in()));
    images.for_each_init(Vec::new, |patches, (out, image)| {
        for group in 0..geometry.groups {
            let patches = group_patches(&geometry, image, group, patches);
            let (out, w) = group_slices(&geometry, out, &w, group);
            let size = (
                geometry.channels_out / geometry.groups,
                geometry.taps(),
                geometry.positions(),
            );
            let weights = Matrix::rows(w, geometry.taps());
            matmul(
                size,
                out,
                weights,
                Matrix::rows(patches, geometry.positions()),
            );
        }
        if let Some(bias) = &bias {
            for (plane, bias) in out.chunks_exact_mut(geometry.positions()).zip(bias.iter()) {
                plane.iter_mut().for_each(|value| *value += bias);
            }
        }
    });
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
    let mut output = vec![0f32; geometry.batch * geometry.image_in()];
    let images = output
        .par_chunks_mut(geometry.image_in())
        .zip(g.par_chunks(geometry.image_out()));
    images.for_each_init(Vec::new, |patches, (image, gradient)| {
        for group in 0..geometry.groups {
            let (gradient, w) = group_slices_ref(&geometry, gradient, &w, group);
            let size = (
                geometry.taps(),
                geometry.channels_out / geometry.groups,
                geometry.positions(),
            );
            let weights = Matrix::transposed(w, geometry.taps());
            let gradient = Matrix::rows(gradient, geometry.positions());
            let image = group_image_mut(&geometry, image, group);
            if geometry.is_pointwise() {
                matmul(size, image, weights, gradient);
            } else {
                patches.resize(geometry.taps() * geometry.positions(), 0.0);
                matmul(size, patches, weights, gradient);
                vectorized(|| col2im(&geometry, patches, image));
            }
        }
    });
    tensor(output, &geometry.input_shape())
}

/// Gradient with respect to the weight.
///
/// # Errors
/// When the shapes do not fit.
pub fn backward_weight(conv: &Conv2d, input: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let geometry = Geometry::new(conv, input.dims())?;
    let (x, g) = (values(input)?, values(gradient)?);
    let x = Packed::new(&x, geometry.input_shape(), geometry.padding);
    let g = Packed::new(&g, geometry.output_shape(), Padding::default());
    let offsets = geometry.tap_offsets(x.size);
    let rows = geometry.channels_out / geometry.groups;
    let mut total = Vec::with_capacity(geometry.channels_out * geometry.taps());
    for group in 0..geometry.groups {
        let product = OuterProduct {
            left: &g,
            left_start: [0, 0],
            pixels: geometry.output,
            right: &x,
            stride: geometry.stride,
            rows: group * rows..(group + 1) * rows,
            first_right: group * geometry.channels_in / geometry.groups,
            offsets: &offsets,
        };
        total.extend(product.compute());
    }
    let group_channels = geometry.channels_in / geometry.groups;
    let [height, width] = geometry.kernel;
    tensor(
        total,
        &[geometry.channels_out, group_channels, height, width],
    )
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

fn group_image_mut<'a>(geometry: &Geometry, image: &'a mut [f32], group: usize) -> &'a mut [f32] {
    let length = geometry.image_in() / geometry.groups;
    &mut image[group * length..][..length]
}

fn group_slices<'a, 'b>(
    geometry: &Geometry,
    out: &'a mut [f32],
    weight: &'b [f32],
    group: usize,
) -> (&'a mut [f32], &'b [f32]) {
    let rows = geometry.channels_out / geometry.groups;
    let (length, taps) = (rows * geometry.positions(), rows * geometry.taps());
    (
        &mut out[group * length..][..length],
        &weight[group * taps..][..taps],
    )
}

fn group_slices_ref<'a>(
    geometry: &Geometry,
    gradient: &'a [f32],
    weight: &'a [f32],
    group: usize,
) -> (&'a [f32], &'a [f32]) {
    let rows = geometry.channels_out / geometry.groups;
    let (length, taps) = (rows * geometry.positions(), rows * geometry.taps());
    (
        &gradient[group * length..][..length],
        &weight[group * taps..][..taps],
    )
}

/// The patches of one group, in `buffer` unless the image serves as it is.
fn group_patches<'a>(
    geometry: &Geometry,
    image: &'a [f32],
    group: usize,
    buffer: &'a mut Vec<f32>,
) -> &'a [f32] {
    let length = geometry.image_in() / geometry.groups;
    let image = &image[group * length..][..length];
    if geometry.is_pointwise() {
        return image;
    }
    buffer.resize(geometry.taps() * geometry.positions(), 0.0);
    im2col(geometry, image, buffer);
    buffer
}
