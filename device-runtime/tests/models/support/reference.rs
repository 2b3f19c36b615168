//! What operators compute, written for reading: plain loops over 64-bit integers.

/// Height, width, channels and the values, channels last.
#[derive(Debug, Clone)]
pub(crate) struct Plain {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) values: Vec<i64>,
}

impl Plain {
    pub(crate) fn from_fn(shape: [usize; 3], value: impl Fn(usize, usize, usize) -> i64) -> Self {
        let [height, width, channels] = shape;
        let mut values = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for channel in 0..channels {
                    values.push(value(y, x, channel));
                }
            }
        }
        Self {
            height,
            width,
            channels,
            values,
        }
    }

    /// The value at a place, `None` outside the image.
    pub(crate) fn at(&self, y: i64, x: i64, channel: usize) -> Option<i64> {
        let inside = (0..self.height as i64).contains(&y) && (0..self.width as i64).contains(&x);
        let index = (y * self.width as i64 + x) * self.channels as i64 + channel as i64;
        inside.then(|| self.values[index as usize])
    }
}

pub(crate) struct Geometry {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) groups: usize,
}

/// Accumulators of a convolution; `weights[o]` is ordered kernel row, kernel column, channel.
pub(crate) fn convolve(
    input: &Plain,
    geometry: &Geometry,
    weights: &[Vec<i64>],
    size: [usize; 2],
) -> Plain {
    let group_inputs = input.channels / geometry.groups;
    let group_outputs = weights.len() / geometry.groups;
    Plain::from_fn([size[0], size[1], weights.len()], |y, x, output| {
        let group = output / group_outputs;
        let mut sum = 0;
        for ky in 0..geometry.kernel[0] {
            for kx in 0..geometry.kernel[1] {
                for channel in 0..group_inputs {
                    let tap = (ky * geometry.kernel[1] + kx) * group_inputs + channel;
                    let iy = (y * geometry.stride[0] + ky) as i64 - geometry.padding[0] as i64;
                    let ix = (x * geometry.stride[1] + kx) as i64 - geometry.padding[1] as i64;
                    let value = input.at(iy, ix, group * group_inputs + channel);
                    sum += weights[output][tap] * value.unwrap_or(0);
                }
            }
        }
        sum
    })
}

/// Values of a window that lie within the image.
pub(crate) fn window(
    input: &Plain,
    [y, x, channel]: [usize; 3],
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Vec<i64> {
    let mut values = Vec::new();
    for wy in 0..size[0] {
        for wx in 0..size[1] {
            let iy = (y * stride[0] + wy) as i64 - padding[0] as i64;
            let ix = (x * stride[1] + wx) as i64 - padding[1] as i64;
            values.extend(input.at(iy, ix, channel));
        }
    }
    values
}

/// `clamp(floor((sum + bias) / 2^shift), low, high)`, where `sum` is already multiplied.
pub(crate) fn requantize(sum: i128, bias: i64, shift: u8, low: i64, high: i64) -> i64 {
    let exact = (sum + i128::from(bias)).div_euclid(1 << shift);
    exact.clamp(low.into(), high.into()) as i64
}
