//! Convolution and its gradients, all three as convolutions.

use candle_core::{D, Tensor};

use super::spatial::{Margins, spread};
use super::{depthwise, in_precision, per_channel, sum_per_channel};
use crate::graph::{Conv2d, Precision};
use crate::nn::Result;
use crate::nn::ops::conv2d::Geometry;

/// Zeros around the image.
pub(super) fn margins(geometry: &Geometry) -> Margins {
    let padding = geometry.padding;
    Margins {
        before: [padding.top as isize, padding.left as isize],
        after: [padding.bottom as isize, padding.right as isize],
    }
}

/// What has to lie around the spread gradient for the windows of the kernel to begin at the
/// pixels of the input.
fn gradient_margins(geometry: &Geometry) -> Margins {
    let before = [geometry.padding.top, geometry.padding.left];
    let side = |axis: usize| {
        let before = geometry.kernel[axis] as isize - 1 - before[axis] as isize;
        let needed = geometry.input[axis] + geometry.kernel[axis] - 1;
        let spread = geometry.output[axis] * geometry.stride;
        (before, needed as isize - before - spread as isize)
    };
    let (rows, columns) = (side(0), side(1));
    Margins {
        before: [rows.0, columns.0],
        after: [rows.1, columns.1],
    }
}

/// Slides `kernel` over `image`. Zeros that are the same on all sides are left to candle, which
/// adds them without a copy.
fn slide(
    image: &Tensor,
    kernel: &Tensor,
    margins: &Margins,
    steps: Steps,
    precision: Precision,
) -> Result<Tensor> {
    in_precision(precision, image, kernel, |image, kernel| {
        let (image, padding) = match margins.uniform() {
            Some(padding) => (image.clone(), padding),
            None => (margins.around(image)?, 0),
        };
        let Steps {
            stride,
            dilation,
            groups,
        } = steps;
        Ok(image.conv2d(kernel, padding, stride, dilation, groups)?)
    })
}

#[derive(Clone, Copy)]
struct Steps {
    stride: usize,
    dilation: usize,
    groups: usize,
}

/// A weight whose taps are in reverse order and whose input and output channels have changed
/// places within each group.
fn turned(weight: &Tensor, groups: usize) -> Result<Tensor> {
    let (outputs, inputs, rows, columns) = weight.dims4()?;
    let turned = weight
        .reshape((groups, outputs / groups, inputs, rows * columns))?
        .transpose(1, 2)?;
    let turned = match rows * columns {
        1 => turned,
        _ => turned.contiguous()?.flip(&[3])?,
    };
    Ok(turned.reshape((groups * inputs, outputs / groups, rows, columns))?)
}

pub(super) fn forward(
    conv: &Conv2d,
    weight: &Tensor,
    input: &Tensor,
    precision: Precision,
) -> Result<Tensor> {
    let geometry = Geometry::new(conv, input.dims())?;
    let margins = margins(&geometry);
    let output = if depthwise::applies(&geometry) {
        depthwise::slide(
            &margins.around(input)?,
            weight,
            geometry.stride,
            geometry.output,
        )?
    } else {
        let steps = Steps {
            stride: geometry.stride,
            dilation: 1,
            groups: geometry.groups,
        };
        slide(input, weight, &margins, steps, precision)?
    };
    Ok(match &conv.bias {
        Some(bias) => output.broadcast_add(&per_channel(bias, 4)?)?,
        None => output,
    })
}

/// The turned kernel slides over the gradient, whose pixels are as far apart as the windows were.
pub(super) fn backward_input(
    conv: &Conv2d,
    weight: &Tensor,
    input_shape: &[usize],
    gradient: &Tensor,
    precision: Precision,
) -> Result<Tensor> {
    let geometry = Geometry::new(conv, input_shape)?;
    let spread = spread(gradient, [geometry.stride; 2])?;
    let margins = gradient_margins(&geometry);
    let weight = turned(weight, geometry.groups)?;
    if depthwise::applies(&geometry) {
        return depthwise::slide(&margins.around(&spread)?, &weight, 1, geometry.input);
    }
    let steps = Steps {
        stride: 1,
        dilation: 1,
        groups: geometry.groups,
    };
    slide(&spread, &weight, &margins, steps, precision)
}

/// With samples in the place of channels, the gradient slides over the input: what it meets at a
/// distance of `(ky, kx)` is the gradient of that tap.
pub(super) fn backward_weight(
    conv: &Conv2d,
    input: &Tensor,
    gradient: &Tensor,
    precision: Precision,
) -> Result<Tensor> {
    let geometry = Geometry::new(conv, input.dims())?;
    if depthwise::applies(&geometry) {
        let image = margins(&geometry).around(input)?;
        return depthwise::backward_weight(&geometry, &image, gradient);
    }
    let groups = geometry.groups;
    let (inputs, outputs) = (
        geometry.channels_in / groups,
        geometry.channels_out / groups,
    );
    let of_group = |group: usize| {
        let input = input.narrow(1, group * inputs, inputs)?;
        let gradient = gradient.narrow(1, group * outputs, outputs)?;
        backward_weight_of_group(&geometry, &input, &gradient, precision)
    };
    let weights = (0..groups).map(of_group).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&weights, 0)?)
}

fn backward_weight_of_group(
    geometry: &Geometry,
    input: &Tensor,
    gradient: &Tensor,
    precision: Precision,
) -> Result<Tensor> {
    let steps = Steps {
        stride: 1,
        dilation: geometry.stride,
        groups: 1,
    };
    let image = input.transpose(0, 1)?;
    let kernel = gradient.transpose(0, 1)?.contiguous()?;
    let taps = slide(&image, &kernel, &margins(geometry), steps, precision)?;
    // Rows and columns that no window reached give taps beyond the kernel.
    let [rows, columns] = geometry.kernel;
    let taps = taps.narrow(D::Minus2, 0, rows)?;
    let taps = taps.narrow(D::Minus1, 0, columns)?;
    Ok(taps.transpose(0, 1)?.contiguous()?)
}

pub(super) fn backward_bias(gradient: &Tensor) -> Result<Tensor> {
    sum_per_channel(gradient)
}
